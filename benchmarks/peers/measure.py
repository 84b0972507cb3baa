"""What each peer of the queue benchmark measures, in the same way; standard library only, since every peer has its own env.

A peer gives five coroutines; `run` prints one line of JSON: tasks per second, and milliseconds from enqueue to start.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

COUNT = 2000
SINGLE = 500
WARM = 50
LATENCIES = 150
PAUSE_S = 0.004
PAYLOAD = {
    "bookmark_id": "1234567890123456789",
    "url": "https://x.com/i/status/1234567890123456789",
    "n": 1,
}


class Peer(Protocol):
    """One queue library."""

    async def add(self, payload: dict[str, object]) -> None:
        """Enqueue one task."""
        ...

    async def add_many(self, payloads: Sequence[dict[str, object]]) -> None:
        """Enqueue many, in the fastest way that the library offers."""
        ...

    async def start(
        self, concurrency: int, on_task: Callable[[dict[str, object]], None]
    ) -> Callable[[], Awaitable[None]]:
        """Start one consumer in this process; returns what stops it."""
        ...


def run(make: Callable[[str, str], Peer]) -> None:
    """Measure the peer that `make(url, queue_name)` returns."""
    url, round_name = sys.argv[1:]
    asyncio.run(_measure(make, url, round_name))


async def _measure(make: Callable[[str, str], Peer], url: str, round_name: str) -> None:
    peer = make(url, f"bench-{round_name}")
    found: dict[str, float] = {}
    for n in range(WARM):  # connects, loads scripts and libraries
        await peer.add(PAYLOAD | {"n": n})
    start = time.perf_counter()
    for n in range(SINGLE):
        await peer.add(PAYLOAD | {"n": n})
    found["enqueue_per_s"] = SINGLE / (time.perf_counter() - start)
    await _drain(peer, WARM + SINGLE, 10)
    for concurrency in (10, 100):
        start = time.perf_counter()
        await peer.add_many([PAYLOAD | {"n": n} for n in range(COUNT)])
        found["bulk_per_s"] = COUNT / (time.perf_counter() - start)
        found[f"drain_{concurrency}_per_s"] = COUNT / await _drain(peer, COUNT, concurrency)
    found["p50_ms"] = await _latency(peer)
    print(json.dumps(found), flush=True)
    os._exit(0)  # whatever a library left running


async def _drain(peer: Peer, count: int, concurrency: int) -> float:
    """Seconds from the start of the consumer until the last of so many tasks has started."""
    left = count
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    ended = 0.0

    def on_task(_payload: dict[str, object]) -> None:
        nonlocal left, ended
        left -= 1
        if left == 0:
            ended = time.perf_counter()
            loop.call_soon_threadsafe(over.set)

    start = time.perf_counter()
    stop = await peer.start(concurrency, on_task)
    await over.wait()
    await stop()
    return ended - start


async def _latency(peer: Peer) -> float:
    waits: list[float] = []
    loop = asyncio.get_running_loop()
    came = asyncio.Event()

    def on_task(payload: dict[str, object]) -> None:
        waits.append((time.perf_counter() - float(str(payload["n"]))) * 1000)
        loop.call_soon_threadsafe(came.set)

    stop = await peer.start(10, on_task)
    for _ in range(LATENCIES):
        await asyncio.sleep(PAUSE_S)  # the consumer waits again
        came.clear()
        await peer.add(PAYLOAD | {"n": str(time.perf_counter())})
        await came.wait()
    await stop()
    return statistics.median(waits)
