"""Claims of many connections at once on a real PostgreSQL: one wins, and none waits behind another's lock."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from store_factories import (
    ALICE,
    BOB,
    LEASE_S,
    ME,
    NOW,
    Place,
    batch,
    claim,
    new,
    postgres_place,
    postgres_server,
    walking,
)

from twitor_fsm.core.records import Claim, CrawlKey
from twitor_fsm.errors import CrawlOwned
from twitor_fsm.storage.store import SqlStore

OVER = NOW + LEASE_S
"""When the lease of a claim made at `NOW` is over."""

LONG_S = 10.0
"""A claim that waits for a lock waits for longer than this: the lock is held until it has answered."""


@pytest.fixture
async def place() -> AsyncIterator[Place[SqlStore]]:
    async with AsyncExitStack() as closing:
        yield postgres_place(postgres_server(), closing)


LOCKS = {
    "the session, as a commit does": "SELECT 1 FROM twitor_session FOR UPDATE",
    "the crawl, as a commit and a claim do": "SELECT 1 FROM twitor_crawl FOR UPDATE",
    "a sign of life": "UPDATE twitor_session SET lease_until = lease_until + 30",
}


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
async def test_a_takeover_does_not_wait_for_a_lock(place: Place[SqlStore], lock: str) -> None:
    store, other = await place.store(), await place.store()
    first = (await claim(store)).session

    async with other.engine.connect() as holder, holder.begin() as holding:
        await holder.execute(sa.text(lock))
        with pytest.raises(CrawlOwned):
            await asyncio.wait_for(claim(store, "s2", owner=BOB, now=OVER), LONG_S)
        await holding.rollback()

    assert await store.session("s1") == first
    assert (await claim(store, "s2", owner=BOB, now=OVER)).taken_over


async def test_a_first_claim_does_not_wait_for_another_one(place: Place[SqlStore]) -> None:
    """The other one's transaction is held open before it commits, with the rows that it has made."""
    store, other = await place.store(), await place.store()

    async with other.engine.connect() as holder, holder.begin():
        await hold_claim(holder)
        with pytest.raises(CrawlOwned, match="at this moment"):
            await asyncio.wait_for(claim(store, "s2", owner=BOB), LONG_S)
        assert (await claim(store, "s3", crawl=CrawlKey("another", "x"))).session.ordinal == 1

    assert (await store.session("s1")).owner == ALICE
    with pytest.raises(CrawlOwned, match="s1"):
        await claim(store, "s2", owner=BOB)


async def test_a_first_claim_does_not_wait_for_a_checkpoint_set_by_hand(
    place: Place[SqlStore],
) -> None:
    from twitor_fsm.storage import claims

    store, other = await place.store(), await place.store()

    async with other.engine.connect() as holder, holder.begin():
        await holder.run_sync(lambda connection: claims.ensure_crawl(connection, ME))
        with pytest.raises(CrawlOwned, match="at this moment"):
            await asyncio.wait_for(claim(store, "s2", owner=BOB), LONG_S)

    assert (await claim(store, "s2", owner=BOB)).session.ordinal == 1


async def hold_claim(holder: Any) -> None:
    """All that a claim does, in a transaction that stays open."""
    from twitor_fsm.core.states import SessionValue
    from twitor_fsm.storage import claims

    await holder.run_sync(
        lambda connection: claims.claim(
            connection,
            ME,
            ALICE,
            session_id="s1",
            initial=SessionValue(),
            now=NOW,
            lease_s=LEASE_S,
            limit=("x", "me", "bookmarks"),
            is_gone=lambda _: False,
        )
    )


async def test_a_commit_under_way_keeps_its_session(place: Place[SqlStore]) -> None:
    """Its lease has ended, but it is not dead: what it writes now stands, and it goes on."""
    store, other = await place.store(), await place.store()
    claimed = await claim(store)
    content = batch(claimed, new=new("1"), mark=walking(1, 1), lease_until=OVER + LEASE_S)

    async with other.engine.connect() as holder, holder.begin():
        await holder.run_sync(lambda c: commit_on(c, content))
        with pytest.raises(CrawlOwned):
            await asyncio.wait_for(claim(store, "s2", owner=BOB, now=OVER), LONG_S)

    with pytest.raises(CrawlOwned):
        await claim(store, "s2", owner=BOB, now=OVER)
    assert (await store.session("s1")).fence == claimed.session.fence
    assert await store.count_bookmarks() == 1


def commit_on(connection: sa.Connection, content: Any) -> None:
    from twitor_fsm.storage import writer
    from twitor_fsm.storage.driver import CoreDriver

    writer.commit(CoreDriver(connection), content)


async def test_of_many_workers_that_claim_everything_at_once_each_session_has_one(
    place: Place[SqlStore],
) -> None:
    count, workers = 60, 6
    stores = [await place.store() for _ in range(workers)]
    crawls = [CrawlKey(f"user{n}", "x") for n in range(count)]
    for n, crawl in enumerate(crawls[: count // 2]):  # half of them are to be taken over
        await claim(stores[0], f"s{n}", crawl=crawl)

    async def work(number: int) -> list[tuple[CrawlKey, Claim]]:
        mine = []
        for crawl in random.Random(number).sample(crawls, count):
            owner = attrs.evolve(BOB, run_id=f"worker {number}")
            try:
                won = await claim(
                    stores[number], f"{number} {crawl.user_id}", crawl=crawl, owner=owner, now=OVER
                )
            except CrawlOwned:
                continue
            mine.append((crawl, won))
        return mine

    won = [one for part in await asyncio.gather(*map(work, range(workers))) for one in part]

    assert sorted(crawl.user_id for crawl, _ in won) == sorted(c.user_id for c in crawls)
    for crawl, taken in won:
        (session,) = await stores[0].sessions(crawl=crawl)
        assert session.owner == taken.session.owner
        assert session.fence == (2 if taken.taken_over else 1)
    assert sum(taken.taken_over for _, taken in won) == count // 2
