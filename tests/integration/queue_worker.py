"""A worker process for tests: consumes a queue and writes down what it starts and what it has done.

Usage: queue_worker.py URL QUEUE LEASE_S LOG. A payload with `kill` kills the process; `s` is how long the work takes.
"""

import asyncio
import os
import signal
import sys

from twitor_fsm.config import Settings
from twitor_fsm.queue_manager import QueueManager, QueueTask


async def work(url: str, name: str, lease_s: float, log: str) -> None:
    with open(log, "ab", buffering=0) as lines:  # noqa: PTH123, ASYNC230  one write each, before what comes next

        async def handler(task: QueueTask) -> None:
            lines.write(f"start {task.task_id} {task.lease_token}\n".encode())
            if task.payload.get("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(task.payload.get("s", 0))
            lines.write(f"done {task.task_id} {task.lease_token}\n".encode())

        async with QueueManager(url, name, lease_s=lease_s, settings=Settings()) as queue:
            await queue.consume(handler, concurrency=10)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]))
