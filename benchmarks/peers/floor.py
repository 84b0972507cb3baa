"""The least that an at-least-once queue does with redis-py: two scripts, claims and acknowledgements in batches.

No retries, delays, dead letters, priorities, renewal or reclaiming: a floor, not a queue.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from itertools import count

import redis.asyncio
from measure import run

ADD = """
for i = 1, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('LPUSH', KEYS[2], ARGV[i])
end
if redis.call('EXISTS', KEYS[3]) == 0 then redis.call('LPUSH', KEYS[3], 1) end
"""
TAKE = """
for i = 2, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[i])
  redis.call('ZREM', KEYS[3], ARGV[i])
end
local ids = redis.call('RPOP', KEYS[2], ARGV[1])
if not ids then return {} end
local reply = redis.call('HMGET', KEYS[1], unpack(ids))
local now = redis.call('TIME')[1] + 30
local leases = {}
for _, id in ipairs(ids) do leases[#leases + 1] = now; leases[#leases + 1] = id end
redis.call('ZADD', KEYS[3], unpack(leases))
return {ids, reply}
"""


class Floor:
    """redis-py and two scripts."""

    def __init__(self, url: str, name: str) -> None:
        self.client = redis.asyncio.Redis.from_url(url)
        self.keys = [f"{name}:{key}" for key in ("tasks", "ready", "bell")]
        self.leased = f"{name}:leased"
        self.adding = self.client.register_script(ADD)
        self.taking = self.client.register_script(TAKE)
        self.ids = count()

    async def add(self, payload: dict[str, object]) -> None:
        await self.add_many([payload])

    async def add_many(self, payloads: Sequence[dict[str, object]]) -> None:
        for start in range(0, len(payloads), 500):
            words: list[str] = []
            for payload in payloads[start : start + 500]:
                words += (f"{next(self.ids):032}", json.dumps(payload))
            await self.adding(keys=self.keys, args=words)

    async def start(
        self, concurrency: int, on_task: Callable[[dict[str, object]], None]
    ) -> Callable[[], Awaitable[None]]:
        async def work(raw: bytes) -> None:
            on_task(json.loads(raw))

        async def consume() -> None:
            done: list[bytes] = []
            keys = [self.keys[0], self.keys[1], self.leased]
            while True:
                reply = await self.taking(keys=keys, args=[concurrency, *done])
                done = []
                if not reply:
                    await self.client.blpop([self.keys[2]], 1)
                    continue
                await asyncio.gather(*(asyncio.create_task(work(raw)) for raw in reply[1]))
                done = reply[0]

        consuming = asyncio.create_task(consume())

        async def stop() -> None:
            consuming.cancel()
            await asyncio.gather(consuming, return_exceptions=True)

        return stop


run(Floor)
