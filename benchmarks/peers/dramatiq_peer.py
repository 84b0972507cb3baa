"""dramatiq in the queue benchmark: threads; it has no bulk call."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.worker import Worker
from measure import run


class Dramatiq:
    """One actor, one worker with `concurrency` threads."""

    def __init__(self, url: str, name: str) -> None:
        self.broker = RedisBroker(url=url, namespace=name)
        dramatiq.set_broker(self.broker)
        self.on_task: Callable[[dict[str, object]], None] = lambda _: None

        def job(payload: dict[str, object]) -> None:
            self.on_task(payload)

        self.actor: Any = dramatiq.actor(job, broker=self.broker)

    async def add(self, payload: dict[str, object]) -> None:
        self.actor.send(payload)

    async def add_many(self, payloads: Sequence[dict[str, object]]) -> None:
        for payload in payloads:
            self.actor.send(payload)

    async def start(
        self, concurrency: int, on_task: Callable[[dict[str, object]], None]
    ) -> Callable[[], Awaitable[None]]:
        self.on_task = on_task
        worker = Worker(self.broker, worker_threads=concurrency)
        worker.start()

        async def stop() -> None:
            await asyncio.to_thread(worker.stop)

        return stop


run(Dramatiq)
