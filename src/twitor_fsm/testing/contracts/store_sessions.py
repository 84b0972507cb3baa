"""What a running session writes: the fence, the lease, the journal, a cancel wish."""

import asyncio
from typing import Any

import pytest

from ...core.states import SessionValue, State
from ...errors import LeaseLost, SessionNotFound, StoreError
from .place import Place
from .rows import (
    ANNA,
    ARCHIVE,
    BOB,
    LEASE_S,
    ME,
    NOW,
    UNUSUAL,
    batch,
    claim,
    finish,
    journal_row,
    new,
    walking,
)


class FenceContract:
    async def test_a_replaced_owner_writes_nothing(self, place: Place[Any]) -> None:
        store, other = await place.store(), await place.store()
        old = await claim(store)
        await claim(other, owner=BOB, gone=lambda _: True)

        with pytest.raises(LeaseLost):
            await store.commit(batch(old, new=new("1"), mark=walking(1, 1), last_key="1"))
        with pytest.raises(LeaseLost):
            await store.heartbeat("s1", old.session.fence, now=NOW, lease_until=NOW + 99)

        assert await store.count_bookmarks() == 0
        assert await store.checkpoint(ME) is None
        assert (await store.session("s1")).lease_until == NOW + LEASE_S

    async def test_an_ended_session_takes_no_more(self, place: Place[Any]) -> None:
        store = await place.store()
        claimed = await claim(store)
        await finish(store, claimed)

        with pytest.raises(LeaseLost):
            await store.commit(batch(claimed, new=new("1"), mark=walking(1, 1)))

        assert await store.count_bookmarks() == 0

    async def test_a_final_state_gives_up_owner_and_lease(self, place: Place[Any]) -> None:
        store = await place.store()
        await finish(store, await claim(store))

        ended = await store.session("s1")

        assert ended.value.state == State.COMPLETED
        assert ended.owner is None
        assert ended.ended_at == NOW + 1

    async def test_a_heartbeat_moves_the_lease_and_not_the_revision(
        self, place: Place[Any]
    ) -> None:
        store = await place.store()
        before = (await claim(store)).session

        assert await store.heartbeat("s1", before.fence, now=NOW, lease_until=NOW + 99) is None

        after = await store.session("s1")
        assert (after.lease_until, after.revision) == (NOW + 99, before.revision)

    async def test_each_commit_raises_the_revision(self, place: Place[Any]) -> None:
        store = await place.store()
        claimed = await claim(store)
        await store.commit(batch(claimed))
        await store.commit(batch(claimed))

        session = await store.session("s1")

        assert session.revision == claimed.session.revision + 2
        assert session.lease_until == NOW + 1 + LEASE_S
        assert session.updated_at == NOW + 1

    async def test_another_revision_than_the_batch_names_is_a_lost_lease(
        self, place: Place[Any]
    ) -> None:
        """What a commit whose answer was lost may have written is not written a second time."""
        store = await place.store()
        claimed = await claim(store)
        named = claimed.session.revision
        await store.commit(batch(claimed, revision=named))

        with pytest.raises(LeaseLost):
            await store.commit(batch(claimed, revision=named, new=new("1"), mark=walking(1, 1)))
        assert await store.count_bookmarks() == 0

        await store.commit(batch(claimed, revision=named + 1, new=new("1"), mark=walking(1, 1)))
        assert await store.count_bookmarks() == 1

    async def test_a_cancel_wish_reaches_the_owner(self, place: Place[Any]) -> None:
        store, other = await place.store(), await place.store()
        claimed = await claim(store)

        wished = await other.wish_cancel("s1", UNUSUAL)

        assert wished.cancel_wish == UNUSUAL
        assert await store.commit(batch(claimed)) == UNUSUAL
        beat = await store.heartbeat("s1", claimed.session.fence, now=NOW, lease_until=NOW + 9)
        assert beat == UNUSUAL

    async def test_a_release_gives_nothing_up_while_a_cancel_is_wished(
        self, place: Place[Any]
    ) -> None:
        store = await place.store()
        claimed = await claim(store)
        await store.wish_cancel("s1", "stop")

        assert await store.commit(batch(claimed, lease_until=NOW + 1)) == "stop"

        assert (await store.session("s1")).lease_until == NOW + LEASE_S

    async def test_a_release_ends_the_lease_now(self, place: Place[Any]) -> None:
        store = await place.store()

        assert await store.commit(batch(await claim(store), lease_until=NOW + 1)) is None

        assert (await store.session("s1")).lease_until == NOW + 1

    async def test_a_cancel_wish_leaves_an_ended_session_alone(self, place: Place[Any]) -> None:
        store = await place.store()
        await finish(store, await claim(store))

        assert (await store.wish_cancel("s1", "stop")).cancel_wish is None

    async def test_sessions_of_two_crawls_commit_at_once(self, place: Place[Any]) -> None:
        one, two = await place.store(), await place.store()
        mine, hers = await claim(one), await claim(two, "s2", crawl=ANNA)

        async def crawl(store: Any, claimed: Any, prefix: str) -> None:
            for n in range(20):
                await store.commit(
                    batch(claimed, new=new(f"{prefix}{n}", start=n), mark=walking(1, n + 1))
                )

        await asyncio.gather(crawl(one, mine, "a"), crawl(two, hers, "b"), crawl(one, mine, "c"))

        assert await one.count_bookmarks("me") == 40
        assert await one.count_bookmarks("anna") == 20


class SessionsContract:
    async def test_the_first_message_stays(self, place: Place[Any]) -> None:
        store = await place.store()
        claimed = await claim(store)
        for message in ("", f"first {UNUSUAL}", "second"):
            await store.commit(batch(claimed, message=message, durable=message != "second"))

        session = await store.session("s1")

        assert session.message == f"first {UNUSUAL}"
        assert not session.durable

    async def test_the_journal_comes_back_in_order(self, place: Place[Any]) -> None:
        store = await place.store()
        rows = (
            journal_row(1, facts={"message": UNUSUAL, "operation": "fetch", "n": [1, None]}),
            journal_row(2, category=None, reason=None, absorbed=True),
            journal_row(3, delay_s=2.0, tries=2),
        )
        claimed = await claim(store)
        await store.commit(batch(claimed, journal=rows[:2]))
        await store.commit(batch(claimed, journal=rows[2:]))

        assert await store.journal("s1") == list(rows)

    async def test_a_journal_row_twice_is_a_bug_and_names_no_item(self, place: Place[Any]) -> None:
        store = await place.store()
        claimed = await claim(store)
        await store.commit(batch(claimed, journal=(journal_row(1),)))

        with pytest.raises(StoreError) as raised:
            await store.commit(batch(claimed, journal=(journal_row(1),), new=new("1")))

        assert type(raised.value) is StoreError
        assert await store.count_bookmarks() == 0
        await store.commit(batch(claimed, new=new("1"), mark=walking(1, 1)))  # usable again

    async def test_an_unknown_session_is_not_found(self, place: Place[Any]) -> None:
        store = await place.store()
        for ask in (store.session, store.journal):
            with pytest.raises(SessionNotFound):
                await ask(UNUSUAL)
        with pytest.raises(SessionNotFound):
            await store.wish_cancel("none", "stop")

    async def test_a_session_without_steps_has_an_empty_journal(self, place: Place[Any]) -> None:
        store = await place.store()
        await claim(store)

        assert await store.journal("s1") == []

    async def test_sessions_are_listed_newest_first(self, place: Place[Any]) -> None:
        store = await place.store()
        await finish(store, await claim(store, "a1"))
        await claim(store, "a2", now=NOW + 10)
        await claim(store, "b1", crawl=ANNA, now=NOW + 20)

        async def ids(**which: Any) -> list[str]:
            return [s.session_id for s in await store.sessions(**which)]

        assert await ids() == ["b1", "a2", "a1"]
        assert await ids(limit=2) == ["b1", "a2"]
        assert await ids(user_id="me") == ["a2", "a1"]
        assert await ids(crawl=ANNA) == ["b1"]
        assert await ids(crawl=ARCHIVE) == []

    async def test_unfinished_sessions_are_found_however_many_have_ended(
        self, place: Place[Any]
    ) -> None:
        store = await place.store()
        assert [s async for s in store.unfinished()] == []
        await finish(store, await claim(store, "a1"))
        await claim(store, "b1", crawl=ANNA)
        await claim(store, "a2", now=NOW + 10)
        await finish(store, await claim(store, "c1", crawl=ARCHIVE, now=NOW + 20))

        found = [s async for s in store.unfinished()]

        assert {s.session_id: s.crawl for s in found} == {"a2": ME, "b1": ANNA}
        assert found == [await store.session(s.session_id) for s in found]

    async def test_pauses_that_last_longer_are_left_out_on_request(self, place: Place[Any]) -> None:
        store = await place.store()
        await claim(store, "works")
        for session_id, crawl, until in (("soon", ANNA, 60.0), ("late", ARCHIVE, 60.5)):
            paused = SessionValue(state=State.PAUSED_RATE_LIMIT, seq=1, resume_at=NOW + until)
            await store.commit(batch(await claim(store, session_id, crawl=crawl), value=paused))

        async def ids(**options: float) -> set[str]:
            return {s.session_id async for s in store.unfinished(**options)}

        assert await ids(due_by=NOW + 60) == {"works", "soon"}
        assert await ids() == {"works", "soon", "late"}

    async def test_crawls_are_listed(self, place: Place[Any]) -> None:
        store = await place.store()
        for n, key in enumerate((ME, ANNA, ARCHIVE)):
            await claim(store, f"s{n}", crawl=key)

        assert await store.crawls() == [ME, ANNA, ARCHIVE]
