"""Opening a store, starting sessions and taking them over: one owner at a time."""

import asyncio
from typing import Any

import attrs
import pytest

from ...core.records import Closed, Counters
from ...core.states import SessionValue, State
from ...core.taxonomy import ErrorCategory, Reason
from ...errors import CrawlOwned, StoreUnavailable
from .place import Place
from .rows import (
    ALICE,
    ANNA,
    ARCHIVE,
    BOB,
    LEASE_S,
    ME,
    NOW,
    batch,
    claim,
    finish,
    new,
    over,
    walking,
)


class LifeContract:
    async def test_what_was_committed_is_there_in_the_next_store(self, place: Place[Any]) -> None:
        store = await place.store()
        claimed = await claim(store)
        await store.commit(batch(claimed, new=new("1"), mark=walking(1, 1), last_key="1"))
        await store.close()

        again = await place.store()

        assert [b.id async for b in again.bookmarks()] == ["1"]
        assert await again.crawls() == [ME]

    async def test_opening_and_closing_twice_is_harmless(self, place: Place[Any]) -> None:
        store = await place.store()
        await store.open()
        await store.close()
        await store.close()
        await store.open()

        assert await store.crawls() == []

    async def test_a_store_that_is_not_open_says_so(self, place: Place[Any]) -> None:
        with pytest.raises(StoreUnavailable, match="not open"):
            await place.make().crawls()

    async def test_many_stores_open_a_new_database_at_once(self, place: Place[Any]) -> None:
        stores = await asyncio.gather(*(place.store() for _ in range(4)))

        assert [await store.crawls() for store in stores] == [[]] * 4


class ClaimContract:
    async def test_the_first_claim_starts_a_session(self, place: Place[Any]) -> None:
        store = await place.store()

        claimed = await claim(store)

        assert claimed.session == await store.session("s1")
        assert claimed.session.crawl == ME
        assert claimed.session.ordinal == 1
        assert claimed.session.value == SessionValue()
        assert claimed.session.owner == ALICE
        assert claimed.session.lease_until == NOW + LEASE_S
        assert claimed.session.counters == Counters()
        assert claimed.session.ended_at is None
        assert (claimed.checkpoint, claimed.closed_until, claimed.due_skips) == (None, None, 0)
        assert not claimed.taken_over

    async def test_a_live_owner_keeps_its_crawl_and_nothing_is_written(
        self, place: Place[Any]
    ) -> None:
        store = await place.store()
        before = (await claim(store)).session

        with pytest.raises(CrawlOwned) as refused:
            await claim(await place.store(), "s2", owner=BOB)

        assert refused.value.session_id == "s1"
        assert await store.sessions() == [before]

    async def test_another_crawl_is_free(self, place: Place[Any]) -> None:
        store = await place.store()
        await claim(store)

        assert (await claim(store, "s2", crawl=ANNA)).session.ordinal == 1
        assert (await claim(store, "s3", crawl=ARCHIVE)).session.ordinal == 1

    async def test_a_dead_owners_session_is_taken_over_at_once(self, place: Place[Any]) -> None:
        store = await place.store()
        first = (await claim(store)).session

        taken = await claim(store, "s2", owner=BOB, gone=lambda owner: owner == ALICE)

        assert taken.taken_over
        assert taken.session.session_id == "s1"
        assert taken.session.owner == BOB
        assert taken.session.fence > first.fence
        assert taken.session.revision > first.revision

    async def test_a_lease_that_ended_is_taken_over(self, place: Place[Any]) -> None:
        store = await place.store()
        await claim(store)

        taken = await claim(store, "s2", owner=BOB, now=NOW + LEASE_S)

        assert taken.taken_over
        assert taken.session.lease_until == NOW + 2 * LEASE_S

    async def test_takeover_keeps_the_sessions_value_and_counters(self, place: Place[Any]) -> None:
        store = await place.store()
        value = SessionValue(
            state=State.PAUSED_RATE_LIMIT,
            seq=3,
            tries=2,
            retry_at=NOW + 1,
            resume_at=NOW + 900,
            category=ErrorCategory.RATE_LIMIT,
            reason=Reason.WINDOW_USED_UP,
            absorbed=("cancel",),
        )
        counters = Counters(seen=1, stored=1, errors={"NETWORK": 2})
        await store.commit(batch(await claim(store), value=value, counters=counters))

        taken = await claim(store, "s2", owner=BOB, gone=lambda _: True)

        assert taken.session.value == value
        assert taken.session.counters == counters

    async def test_a_cancel_wished_from_a_dead_run_is_void(self, place: Place[Any]) -> None:
        store = await place.store()
        await claim(store)
        await store.wish_cancel("s1", "stop")

        taken = await claim(store, "s2", owner=BOB, gone=lambda _: True)

        assert taken.session.cancel_wish is None

    async def test_of_many_claims_at_once_exactly_one_wins(self, place: Place[Any]) -> None:
        stores = [await place.store() for _ in range(4)]

        results = await asyncio.gather(
            *(claim(s, f"s{n}", owner=attrs.evolve(ALICE, pid=n)) for n, s in enumerate(stores)),
            return_exceptions=True,
        )

        assert sorted(type(r).__name__ for r in results) == ["Claim"] + ["CrawlOwned"] * 3
        assert len(await stores[0].sessions()) == 1

    async def test_of_many_takeovers_at_once_exactly_one_wins(self, place: Place[Any]) -> None:
        stores = [await place.store() for _ in range(4)]
        await claim(stores[0])

        results = await asyncio.gather(
            *(
                claim(
                    s,
                    f"t{n}",
                    owner=attrs.evolve(BOB, pid=10 + n),
                    gone=lambda owner: owner == ALICE,
                )
                for n, s in enumerate(stores)
            ),
            return_exceptions=True,
        )

        assert sorted(type(r).__name__ for r in results) == ["Claim"] + ["CrawlOwned"] * 3
        assert (await stores[0].session("s1")).fence == 2

    async def test_after_an_end_the_next_session_begins(self, place: Place[Any]) -> None:
        store = await place.store()
        await finish(store, await claim(store), mark=over(1))

        second = await claim(store, "s2", owner=BOB)

        assert not second.taken_over
        assert second.session.ordinal == 2
        assert second.session.resumed_from is None

    async def test_a_fence_never_falls_within_a_crawl(self, place: Place[Any]) -> None:
        store = await place.store()
        fences: list[int] = []
        for session_id in ("s1", "s2", "s3"):
            fences.append((await claim(store, session_id)).session.fence)
            taken = await claim(store, "another", gone=lambda _: True)
            fences.append(taken.session.fence)
            await finish(store, taken, mark=over(1))

        assert fences == sorted(set(fences))

    async def test_a_walk_that_had_begun_names_its_session(self, place: Place[Any]) -> None:
        store = await place.store()
        await finish(store, await claim(store), new=new("1"), mark=walking(1, 1), last_key="1")

        second = await claim(store, "s2")

        assert second.session.resumed_from == "s1"
        assert second.checkpoint is not None
        assert second.checkpoint.mark == walking(1, 1)

    async def test_a_closed_limit_holds_until_its_time(self, place: Place[Any]) -> None:
        store = await place.store()
        closed = (
            Closed("x", "me", "bookmarks", NOW + 4000),
            Closed("x", "me", "bookmarks", NOW + 900),
            Closed("x", "anna", "bookmarks", NOW + 2000),
        )
        await store.commit(batch(await claim(store), closed=closed))

        soon = await claim(store, owner=BOB, now=NOW + 899, gone=lambda _: True)
        later = await claim(store, owner=BOB, now=NOW + 900, gone=lambda _: True)

        assert (soon.closed_until, later.closed_until) == (NOW + 900, None)
