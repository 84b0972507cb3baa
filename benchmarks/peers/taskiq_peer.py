"""taskiq with Redis streams in the queue benchmark: it acknowledges; it has no bulk call.

A cancelled receiver does not end while its read blocks, so it is left behind and the next one gets a new stream.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from measure import run
from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker


class Taskiq:
    """One task, one receiver."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.name = name
        self.turn = 0
        self.broker: Any = None
        self.task: Any = None
        self.on_task: Callable[[dict[str, object]], None] = lambda _: None

    async def _open(self) -> None:
        if self.broker is None:
            self.turn += 1
            self.broker = RedisStreamBroker(self.url, queue_name=f"{self.name}-{self.turn}")

            async def job(payload: dict[str, object]) -> None:
                self.on_task(payload)

            self.task = self.broker.task(task_name="job")(job)
            await self.broker.startup()

    async def add(self, payload: dict[str, object]) -> None:
        await self._open()
        await self.task.kiq(payload)

    async def add_many(self, payloads: Sequence[dict[str, object]]) -> None:
        await self._open()
        for payload in payloads:
            await self.task.kiq(payload)

    async def start(
        self, concurrency: int, on_task: Callable[[dict[str, object]], None]
    ) -> Callable[[], Awaitable[None]]:
        await self._open()
        self.on_task = on_task
        receiving = asyncio.create_task(run_receiver_task(self.broker, max_async_tasks=concurrency))

        async def stop() -> None:
            receiving.cancel()
            self.broker = None

        return stop


run(Taskiq)
