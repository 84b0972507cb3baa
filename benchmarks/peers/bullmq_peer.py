"""BullMQ's Python port in the queue benchmark."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from bullmq import Queue, Worker
from measure import run


class BullMq:
    """`add`, `addBulk`, one Worker."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self.options: dict[str, Any] = {"connection": url}
        self.made: Any = None

    @property
    def queue(self) -> Any:
        if self.made is None:
            self.made = Queue(self.name, self.options)
        return self.made

    async def add(self, payload: dict[str, object]) -> None:
        await self.queue.add("job", payload)

    async def add_many(self, payloads: Sequence[dict[str, object]]) -> None:
        await self.queue.addBulk([{"name": "job", "data": payload} for payload in payloads])

    async def start(
        self, concurrency: int, on_task: Callable[[dict[str, object]], None]
    ) -> Callable[[], Awaitable[None]]:
        async def process(job: Any, _token: str) -> None:
            on_task(job.data)

        worker = Worker(self.name, process, self.options | {"concurrency": concurrency})

        async def stop() -> None:
            await worker.close(force=True)

        return stop


run(BullMq)
