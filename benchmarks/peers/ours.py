"""twitor_fsm in the queue benchmark."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from measure import run

from twitor_fsm import QueueManager, QueueTask, Settings


class Ours:
    """`enqueue`, `enqueue_many`, `consume`."""

    def __init__(self, url: str, name: str) -> None:
        self.queue = QueueManager(url, name, settings=Settings())

    async def add(self, payload: dict[str, object]) -> None:
        await self.queue.connect()
        await self.queue.enqueue("job", payload)

    async def add_many(self, payloads: Sequence[dict[str, object]]) -> None:
        await self.queue.enqueue_many([("job", payload) for payload in payloads])

    async def start(
        self, concurrency: int, on_task: Callable[[dict[str, object]], None]
    ) -> Callable[[], Awaitable[None]]:
        ending = asyncio.Event()

        async def handler(task: QueueTask) -> None:
            on_task(task.payload)

        consuming = asyncio.create_task(self.queue.consume(handler, concurrency, stop=ending))

        async def stop() -> None:
            ending.set()
            await consuming

        return stop


run(Ours)
