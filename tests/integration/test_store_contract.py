"""What every store promises, tried on SQLite, on an app's own engine and on PostgreSQL.

Each test gets a `Place`, an empty database on which it opens as many stores as it likes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest
from store_factories import (
    ALICE,
    BOB,
    LEASE_S,
    ME,
    NOW,
    UNUSUAL,
    Place,
    app_engine_place,
    batch,
    claim,
    finish,
    item,
    journal_row,
    new,
    over,
    postgres_place,
    postgres_server,
    refuse_bad_texts,
    skip,
    sqlite_place,
    walking,
)

from twitor_fsm.core.listing import Known, Mark
from twitor_fsm.core.progress import Listed
from twitor_fsm.core.records import Closed, Counters, CrawlKey, Owner
from twitor_fsm.core.states import SessionValue, State
from twitor_fsm.core.taxonomy import ErrorCategory, Reason
from twitor_fsm.errors import (
    CrawlOwned,
    ItemsRefused,
    LeaseLost,
    SessionNotFound,
    StoreError,
    StoreUnavailable,
)
from twitor_fsm.storage.base import KnownItem, NewItem

ANNA = CrawlKey("anna", "x")
ARCHIVE = CrawlKey("me", "file:archive.json")


@pytest.fixture
def server() -> Any:
    return postgres_server()


@pytest.fixture(params=["sqlite", "app_engine", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as closing:
        match request.param:
            case "sqlite":
                yield sqlite_place(tmp_path, closing)
            case "app_engine":
                yield app_engine_place(tmp_path, closing)
            case _:
                yield postgres_place(request.getfixturevalue("server"), closing)


class TestLife:
    async def test_what_was_committed_is_there_in_the_next_store(self, place: Place) -> None:
        store = await place.store()
        claimed = await claim(store)
        await store.commit(batch(claimed, new=new("1"), mark=walking(1, 1), last_key="1"))
        await store.close()

        again = await place.store()

        assert [b.id async for b in again.bookmarks()] == ["1"]
        assert await again.crawls() == [ME]

    async def test_opening_and_closing_twice_is_harmless(self, place: Place) -> None:
        store = await place.store()
        await store.open()
        await store.close()
        await store.close()
        await store.open()

        assert await store.crawls() == []

    async def test_a_store_that_is_not_open_says_so(self, place: Place) -> None:
        with pytest.raises(StoreUnavailable, match="not open"):
            await place.make().crawls()

    async def test_many_stores_open_a_new_database_at_once(self, place: Place) -> None:
        stores = await asyncio.gather(*(place.store() for _ in range(4)))

        assert [await store.crawls() for store in stores] == [[]] * 4


class TestClaim:
    async def test_the_first_claim_starts_a_session(self, place: Place) -> None:
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

    async def test_a_live_owner_keeps_its_crawl_and_nothing_is_written(self, place: Place) -> None:
        store = await place.store()
        before = (await claim(store)).session

        with pytest.raises(CrawlOwned) as refused:
            await claim(await place.store(), "s2", owner=BOB)

        assert refused.value.session_id == "s1"
        assert await store.sessions() == [before]

    async def test_another_crawl_is_free(self, place: Place) -> None:
        store = await place.store()
        await claim(store)

        assert (await claim(store, "s2", crawl=ANNA)).session.ordinal == 1
        assert (await claim(store, "s3", crawl=ARCHIVE)).session.ordinal == 1

    async def test_a_dead_owners_session_is_taken_over_at_once(self, place: Place) -> None:
        store = await place.store()
        first = (await claim(store)).session

        taken = await claim(store, "s2", owner=BOB, gone=lambda owner: owner == ALICE)

        assert taken.taken_over
        assert taken.session.session_id == "s1"
        assert taken.session.owner == BOB
        assert taken.session.fence > first.fence
        assert taken.session.revision > first.revision

    async def test_a_lease_that_ended_is_taken_over(self, place: Place) -> None:
        store = await place.store()
        await claim(store)

        taken = await claim(store, "s2", owner=BOB, now=NOW + LEASE_S)

        assert taken.taken_over
        assert taken.session.lease_until == NOW + 2 * LEASE_S

    async def test_takeover_keeps_the_sessions_value_and_counters(self, place: Place) -> None:
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

    async def test_a_cancel_wished_from_a_dead_run_is_void(self, place: Place) -> None:
        store = await place.store()
        await claim(store)
        await store.wish_cancel("s1", "stop")

        taken = await claim(store, "s2", owner=BOB, gone=lambda _: True)

        assert taken.session.cancel_wish is None

    async def test_of_many_claims_at_once_exactly_one_wins(self, place: Place) -> None:
        stores = [await place.store() for _ in range(4)]

        results = await asyncio.gather(
            *(claim(s, f"s{n}", owner=attrs.evolve(ALICE, pid=n)) for n, s in enumerate(stores)),
            return_exceptions=True,
        )

        assert sorted(type(r).__name__ for r in results) == ["Claim"] + ["CrawlOwned"] * 3
        assert len(await stores[0].sessions()) == 1

    async def test_of_many_takeovers_at_once_exactly_one_wins(self, place: Place) -> None:
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

    async def test_after_an_end_the_next_session_begins(self, place: Place) -> None:
        store = await place.store()
        await finish(store, await claim(store), mark=over(1))

        second = await claim(store, "s2", owner=BOB)

        assert not second.taken_over
        assert second.session.ordinal == 2
        assert second.session.resumed_from is None

    async def test_a_walk_that_had_begun_names_its_session(self, place: Place) -> None:
        store = await place.store()
        await finish(store, await claim(store), new=new("1"), mark=walking(1, 1), last_key="1")

        second = await claim(store, "s2")

        assert second.session.resumed_from == "s1"
        assert second.checkpoint is not None
        assert second.checkpoint.mark == walking(1, 1)

    async def test_a_closed_limit_holds_until_its_time(self, place: Place) -> None:
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


class TestFence:
    async def test_a_replaced_owner_writes_nothing(self, place: Place) -> None:
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

    async def test_an_ended_session_takes_no_more(self, place: Place) -> None:
        store = await place.store()
        claimed = await claim(store)
        await finish(store, claimed)

        with pytest.raises(LeaseLost):
            await store.commit(batch(claimed, new=new("1"), mark=walking(1, 1)))

        assert await store.count_bookmarks() == 0

    async def test_a_final_state_gives_up_owner_and_lease(self, place: Place) -> None:
        store = await place.store()
        await finish(store, await claim(store))

        ended = await store.session("s1")

        assert ended.value.state == State.COMPLETED
        assert ended.owner is None
        assert ended.ended_at == NOW + 1

    async def test_a_heartbeat_moves_the_lease_and_not_the_revision(self, place: Place) -> None:
        store = await place.store()
        before = (await claim(store)).session

        assert await store.heartbeat("s1", before.fence, now=NOW, lease_until=NOW + 99) is None

        after = await store.session("s1")
        assert (after.lease_until, after.revision) == (NOW + 99, before.revision)

    async def test_each_commit_raises_the_revision(self, place: Place) -> None:
        store = await place.store()
        claimed = await claim(store)
        await store.commit(batch(claimed))
        await store.commit(batch(claimed))

        session = await store.session("s1")

        assert session.revision == claimed.session.revision + 2
        assert session.lease_until == NOW + 1 + LEASE_S
        assert session.updated_at == NOW + 1

    async def test_a_cancel_wish_reaches_the_owner(self, place: Place) -> None:
        store, other = await place.store(), await place.store()
        claimed = await claim(store)

        wished = await other.wish_cancel("s1", UNUSUAL)

        assert wished.cancel_wish == UNUSUAL
        assert await store.commit(batch(claimed)) == UNUSUAL
        beat = await store.heartbeat("s1", claimed.session.fence, now=NOW, lease_until=NOW + 9)
        assert beat == UNUSUAL

    async def test_a_cancel_wish_leaves_an_ended_session_alone(self, place: Place) -> None:
        store = await place.store()
        await finish(store, await claim(store))

        assert (await store.wish_cancel("s1", "stop")).cancel_wish is None

    async def test_sessions_of_two_crawls_commit_at_once(self, place: Place) -> None:
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


class TestSessions:
    async def test_the_first_message_stays(self, place: Place) -> None:
        store = await place.store()
        claimed = await claim(store)
        for message in ("", f"first {UNUSUAL}", "second"):
            await store.commit(batch(claimed, message=message, durable=message != "second"))

        session = await store.session("s1")

        assert session.message == f"first {UNUSUAL}"
        assert not session.durable

    async def test_the_journal_comes_back_in_order(self, place: Place) -> None:
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

    async def test_a_journal_row_twice_is_a_bug_and_names_no_item(self, place: Place) -> None:
        store = await place.store()
        claimed = await claim(store)
        await store.commit(batch(claimed, journal=(journal_row(1),)))

        with pytest.raises(StoreError) as raised:
            await store.commit(batch(claimed, journal=(journal_row(1),), new=new("1")))

        assert type(raised.value) is StoreError
        assert await store.count_bookmarks() == 0
        await store.commit(batch(claimed, new=new("1"), mark=walking(1, 1)))  # usable again

    async def test_an_unknown_session_is_not_found(self, place: Place) -> None:
        store = await place.store()
        for ask in (store.session, store.journal):
            with pytest.raises(SessionNotFound):
                await ask(UNUSUAL)
        with pytest.raises(SessionNotFound):
            await store.wish_cancel("none", "stop")

    async def test_a_session_without_steps_has_an_empty_journal(self, place: Place) -> None:
        store = await place.store()
        await claim(store)

        assert await store.journal("s1") == []

    async def test_sessions_are_listed_newest_first(self, place: Place) -> None:
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

    async def test_crawls_are_listed(self, place: Place) -> None:
        store = await place.store()
        for n, key in enumerate((ME, ANNA, ARCHIVE)):
            await claim(store, f"s{n}", crawl=key)

        assert await store.crawls() == [ME, ANNA, ARCHIVE]


class TestItems:
    async def test_items_come_back_as_they_were_in_the_order_stored(self, place: Place) -> None:
        store = await place.store()
        whole = item(
            "9",
            text=UNUSUAL,
            author_id="7",
            author_username="anna",
            author_name=UNUSUAL,
            created_at="2024-01-01T00:00:00Z",
            raw=UNUSUAL,
        )
        items = (NewItem(whole, 0, '{"n": 1}'), NewItem(item("10", text=None), 1))
        await store.commit(batch(await claim(store), new=items, mark=walking(1, 2)))

        first, second = [b async for b in store.bookmarks("me")]

        assert (first.id, first.text, first.author_name, first.raw) == (
            "9",
            UNUSUAL,
            UNUSUAL,
            UNUSUAL,
        )
        assert (first.author_id, first.author_username) == ("7", "anna")
        assert (first.created_at, first.kind, first.source) == ("2024-01-01T00:00:00Z", "post", "x")
        assert (first.stored_at, first.result) == (NOW + 1, '{"n": 1}')
        assert (second.id, second.text, second.result) == ("10", None, None)

    async def test_many_bookmarks_are_read_in_portions(self, place: Place) -> None:
        store = await place.store()
        keys = [str(n) for n in range(1203)]
        claimed = await claim(store)
        await store.commit(batch(claimed, new=new(*keys), mark=walking(1, len(keys))))
        hers = await claim(store, "s2", crawl=ANNA)
        await store.commit(batch(hers, new=new("x"), mark=walking(1, 1)))

        assert [b.id async for b in store.bookmarks("me")] == keys
        assert [b.id async for b in store.bookmarks()] == [*keys, "x"]
        assert [b.id async for b in store.bookmarks("nobody")] == []
        assert await store.count_bookmarks() == 1204
        assert await store.count_bookmarks("anna") == 1

    async def test_unusual_ids_are_found_again(self, place: Place) -> None:
        store = await place.store()
        keys = ("\x00", "\ud800", "\ufdd0", "\ufdd00000", "\u2028", "a'b", "")
        await store.commit(batch(await claim(store), new=new(*keys), mark=walking(1, 7)))

        known = await store.lookup(ME, keys)

        assert set(known) == set(keys)
        assert all(fact.stored for fact in known.values())
        assert [b.id async for b in store.bookmarks()] == list(keys)

    async def test_a_poorer_record_never_replaces_a_richer_one(self, place: Place) -> None:
        store = await place.store()
        claimed = await claim(store)
        rich = NewItem(item("1", text="rich", richness=5), 0)
        await store.commit(batch(claimed, new=(rich,), mark=walking(1, 1)))
        archive = await claim(store, "s2", crawl=ARCHIVE)

        async def text_after(**content: Any) -> str | None:
            await store.commit(batch(archive, mark=walking(1, 1), **content))
            return (await anext(store.bookmarks())).text

        poor = item("1", text="poor", richness=4)
        same = item("1", text="same", richness=5)
        richer = item("1", text="richer", richness=6)
        richest = item("1", text="richest", richness=7)
        assert await text_after(new=(NewItem(poor, 0),)) == "rich"
        assert await text_after(known=(KnownItem("1", None, poor),)) == "rich"
        assert await text_after(known=(KnownItem("1", None, same),)) == "rich"
        assert await text_after(known=(KnownItem("1", None, richer),)) == "richer"
        assert await text_after(new=(NewItem(richest, 0),)) == "richest"
        assert await store.count_bookmarks() == 1
        assert [b.source async for b in store.bookmarks()] == [ARCHIVE.source]

    async def test_a_result_is_kept_whichever_source_brings_it(self, place: Place) -> None:
        store = await place.store()
        await store.commit(batch(await claim(store), new=new("1"), mark=walking(1, 1)))
        archive = await claim(store, "s2", crawl=ARCHIVE)
        poor = item("1", text="poor", richness=0)

        for result in ("[1]", "[2]"):
            poor_again = (NewItem(poor, 0, result),)
            await store.commit(batch(archive, new=poor_again, mark=walking(1, 1)))

        (kept,) = [b async for b in store.bookmarks()]
        assert (kept.result, kept.text) == ("[1]", "text of 1")

    async def test_users_do_not_share_bookmarks(self, place: Place) -> None:
        store = await place.store()
        await store.commit(batch(await claim(store), new=new("1"), mark=walking(1, 1)))

        assert await store.lookup(ANNA, ("1",)) == {}
        assert await store.lookup(ARCHIVE, ("1",)) == {"1": Known(stored=True)}


class TestLookup:
    async def test_nothing_is_known_before_the_first_crawl(self, place: Place) -> None:
        store = await place.store()

        assert await store.lookup(ME, ("1", "2")) == {}
        assert await store.lookup(ME, ()) == {}
        assert await store.count_missing(ME, (9, 9), 1) == 0
        assert await store.due_skips(ME, 10) == []

    async def test_places_and_sessions_are_known(self, place: Place) -> None:
        store = await place.store()
        first = await claim(store)
        items = batch(
            first, new=new("1", "2"), skips=(skip("3", 2),), mark=walking(1, 3), last_key="2"
        )
        await store.commit(items)
        await finish(store, first)
        second = await claim(store, "s2")
        await store.commit(batch(second, known=(KnownItem("2", None),), mark=walking(1, 3)))

        assert await store.lookup(ME, ("1", "2", "3", "4")) == {
            "1": Known(stored=True, walk=1, position=0, session=1),
            "2": Known(stored=True, walk=1, position=1, session=2),
            "3": Known(skipped=True, walk=1, position=2, session=1, undecoded=True),
        }

    @pytest.mark.parametrize("size", [1, 32, 33, 90, 501, 1300])
    async def test_any_number_of_ids_can_be_asked_for(self, place: Place, size: int) -> None:
        store = await place.store()
        keys = tuple(str(n) for n in range(size))
        await store.commit(batch(await claim(store), new=new(*keys), mark=walking(1, size)))

        found = await store.lookup(ME, (*keys, "other"))

        assert {key: fact.position for key, fact in found.items()} == {
            key: n for n, key in enumerate(keys)
        }

    async def test_an_item_known_from_another_source_gets_a_place(self, place: Place) -> None:
        store = await place.store()
        await store.commit(batch(await claim(store), new=new("1"), mark=walking(1, 1)))
        archive = await claim(store, "s2", crawl=ARCHIVE)
        fresh = (KnownItem("1", 0, fresh=True),)
        await store.commit(batch(archive, known=fresh, mark=walking(1, 1), last_key="1"))

        assert await store.lookup(ARCHIVE, ("1",)) == {
            "1": Known(stored=True, walk=1, position=0, session=1)
        }
        saved = await store.checkpoint(ARCHIVE)
        assert saved is not None
        assert saved.bookmarks_count == 1


class TestSkips:
    async def test_a_skip_is_kept_and_counted_each_time(self, place: Place) -> None:
        store = await place.store()
        claimed = await claim(store)
        one = skip("1", 0, raw=UNUSUAL, message=UNUSUAL)
        again = skip("1", at=NOW + 5, reason=Reason.CONSTRAINT, category=ErrorCategory.DATABASE)
        await store.commit(batch(claimed, skips=(one,), mark=walking(1, 1)))
        (first,) = await store.skipped()
        await store.commit(batch(claimed, skips=(again,), mark=walking(1, 1)))
        (second,) = await store.skipped()

        assert (first.skip, first.tries, first.due, first.crawl) == (one.skip, 1, False, ME)
        assert (second.skip, second.tries) == (again.skip, 2)

    async def test_skips_are_listed_oldest_first(self, place: Place) -> None:
        store = await place.store()
        skips = (skip("2", 0, at=NOW + 2), skip("1", 1, at=NOW + 1))
        await store.commit(batch(await claim(store), skips=skips, mark=walking(1, 2)))
        hers = await claim(store, "s2", crawl=ANNA)
        await store.commit(batch(hers, skips=(skip("1", 0),), mark=walking(1, 1)))

        async def keys(**which: Any) -> list[str]:
            return [row.skip.key for row in await store.skipped(**which)]

        assert await keys(user_id="me") == ["1", "2"]
        assert await keys(user_id="anna") == ["1"]
        assert len(await keys()) == 3
        assert len(await keys(limit=2)) == 2

    async def test_skips_become_due_on_request_and_are_gone_once_stored(self, place: Place) -> None:
        store = await place.store()
        first = await claim(store)
        skips = tuple(skip(str(n), n, at=NOW + n) for n in range(3))
        await store.commit(batch(first, skips=skips, mark=walking(1, 3)))
        assert await store.due_skips(ME, 10) == []

        assert await store.retry_skipped(keys=("0", "0", "2", "other")) == 2
        assert await store.retry_skipped(user_id="anna") == 0
        assert [s.key for s in await store.due_skips(ME, 10)] == ["0", "2"]
        assert [s.key for s in await store.due_skips(ME, 1)] == ["0"]
        await finish(store, first)
        second = await claim(store, "s2")
        assert second.due_skips == 2

        await store.commit(
            batch(
                second,
                new=(NewItem(item("0"), None),),
                skips=(skip("2", at=NOW + 9),),
                mark=walking(1, 3),
            )
        )

        assert await store.due_skips(ME, 10) == []
        assert [(r.skip.key, r.tries) for r in await store.skipped()] == [("1", 1), ("2", 2)]
        assert (await store.lookup(ME, ("0",)))["0"] == Known(
            stored=True, walk=1, position=0, session=2
        )
        assert await store.retry_skipped(user_id="me") == 2

    async def test_a_batch_can_make_skips_due(self, place: Place) -> None:
        store = await place.store()
        skips = (skip("1", 0), skip("2", 1))
        await store.commit(
            batch(await claim(store), skips=skips, due=("2", "other"), mark=walking(1, 2))
        )

        assert [s.key for s in await store.due_skips(ME, 10)] == ["2"]


class TestCheckpoint:
    async def test_a_checkpoint_goes_with_its_items(self, place: Place) -> None:
        store = await place.store()
        claimed = await claim(store)
        mark = Mark(
            walk=1,
            under_way=True,
            cursor=UNUSUAL,
            page_size=20,
            position=2,
            tail=0,
            resumed=True,
            barren=1,
            refused=True,
        )
        await store.commit(batch(claimed, new=new("1", "2"), mark=mark, last_key="2"))

        saved = await store.checkpoint(ME)

        assert saved is not None
        assert saved.mark == mark
        assert (saved.last_tweet_id, saved.bookmarks_count, saved.generation) == ("2", 2, 0)
        assert saved.last_crawled_at.timestamp() == NOW + 1
        assert saved.last_crawled_at.utcoffset() is not None

    async def test_no_mark_writes_no_checkpoint(self, place: Place) -> None:
        store = await place.store()
        await store.commit(batch(await claim(store), last_key="7"))

        assert await store.checkpoint(ME) is None

    async def test_the_last_id_stays_when_a_batch_has_none(self, place: Place) -> None:
        store = await place.store()
        claimed = await claim(store)
        await store.commit(batch(claimed, new=new("1"), mark=walking(1, 1), last_key="1"))
        await store.commit(batch(claimed, mark=walking(1, 2)))

        saved = await store.checkpoint(ME)

        assert saved is not None
        assert (saved.last_tweet_id, saved.mark.position, saved.bookmarks_count) == ("1", 2, 1)

    async def test_a_checkpoint_set_by_hand_walks_from_the_top(self, place: Place) -> None:
        store = await place.store()
        claimed = await claim(store)
        await store.commit(batch(claimed, new=new("1", "2"), mark=walking(3, 2), last_key="2"))
        await finish(store, claimed)

        saved = await store.save_checkpoint(ME, tweet_id="77", bookmarks_count=None, now=NOW + 9)

        assert saved == await store.checkpoint(ME)
        assert (saved.last_tweet_id, saved.bookmarks_count) == ("77", 2)
        assert saved.mark == Mark(walk=3)
        assert (await store.lookup(ME, ("1",)))["1"].walk == 0
        again = await store.save_checkpoint(ME, tweet_id="78", bookmarks_count=100, now=NOW)
        assert again.bookmarks_count == 100

    async def test_a_checkpoint_can_be_set_before_the_first_crawl(self, place: Place) -> None:
        store = await place.store()

        saved = await store.save_checkpoint(ME, tweet_id=UNUSUAL, bookmarks_count=5, now=NOW)

        assert (saved.last_tweet_id, saved.bookmarks_count) == (UNUSUAL, 5)
        assert (await claim(store)).checkpoint == saved

    async def test_places_of_a_completed_listing_outlive_a_manual_save(self, place: Place) -> None:
        store = await place.store()
        claimed = await claim(store)
        await finish(store, claimed, new=new("1"), mark=over(1, 1), listed=Listed(1, None))

        await store.save_checkpoint(ME, tweet_id="1", bookmarks_count=None, now=NOW)

        assert (await store.lookup(ME, ("1",)))["1"].walk == 1

    async def test_clearing_forgets_places_and_keeps_items(self, place: Place) -> None:
        store = await place.store()
        claimed = await claim(store)
        await finish(store, claimed, new=new("1", "2"), mark=over(4, 2), listed=Listed(4, None))

        await store.clear_checkpoint(ME, now=NOW)

        assert await store.checkpoint(ME) is None
        assert (await store.lookup(ME, ("1",)))["1"] == Known(
            stored=True, walk=0, position=0, session=1
        )
        assert await store.count_bookmarks() == 2
        second = await claim(store, "s2")
        assert second.checkpoint is None
        known = (KnownItem("1", 0),)
        await store.commit(batch(second, known=known, mark=walking(1, 1), last_key="1"))
        saved = await store.checkpoint(ME)
        assert saved is not None
        assert (saved.generation, saved.bookmarks_count) == (1, 2)

    async def test_clearing_a_crawl_that_never_was_changes_nothing(self, place: Place) -> None:
        store = await place.store()

        await store.clear_checkpoint(ME, now=NOW)

        assert await store.crawls() == []

    async def test_a_running_session_keeps_its_checkpoint_from_others(self, place: Place) -> None:
        store = await place.store()
        await claim(store)

        with pytest.raises(CrawlOwned):
            await store.save_checkpoint(ME, tweet_id="1", bookmarks_count=1, now=NOW)
        with pytest.raises(CrawlOwned):
            await store.clear_checkpoint(ME, now=NOW)

        assert await store.checkpoint(ME) is None

    async def test_a_dead_session_does_not(self, place: Place) -> None:
        store = await place.store()
        await claim(store)

        def gone(owner: Owner) -> bool:
            return owner == ALICE

        await store.save_checkpoint(ME, tweet_id="1", bookmarks_count=1, now=NOW + LEASE_S)
        await store.clear_checkpoint(ME, now=NOW, is_gone=gone)
        saved = await store.save_checkpoint(
            ME, tweet_id="1", bookmarks_count=1, now=NOW, is_gone=gone
        )

        assert saved.generation == 1


class TestListing:
    """Walk 1 met 0 1 2 3 4 and reached the end of the listing."""

    async def listed(self, place: Place) -> Any:
        store = await place.store()
        claimed = await claim(store)
        await store.commit(batch(claimed, new=new("0", "1", "2"), mark=walking(1, 3)))
        await store.commit(
            batch(claimed, new=new("3", "4", start=3), mark=over(1, 5), listed=Listed(1, None))
        )
        return store, claimed

    async def walks(self, store: Any) -> dict[str, int]:
        known = await store.lookup(ME, tuple("0123456789"))
        return {key: fact.walk for key, fact in sorted(known.items())}

    async def test_missing_ids_stand_above_and_were_not_met(self, place: Place) -> None:
        store, claimed = await self.listed(place)
        assert await store.count_missing(ME, (1, 3), 2) == 3
        known = (KnownItem("1", 0),)
        await store.commit(batch(claimed, known=known, mark=walking(2, 1)))

        assert await store.count_missing(ME, (1, 3), 2) == 2
        assert await store.count_missing(ME, (1, 0), 2) == 0
        assert await store.count_missing(ME, (2, 0), 3) == 0
        assert await store.count_missing(ME, (1, 0), 3) == 1

    async def test_a_whole_walk_leaves_only_what_it_met(self, place: Place) -> None:
        store, claimed = await self.listed(place)
        known = (KnownItem("4", 0), KnownItem("1", 1))

        await store.commit(batch(claimed, known=known, mark=over(2, 2), listed=Listed(2, None)))

        assert await self.walks(store) == {"0": 0, "1": 2, "2": 0, "3": 0, "4": 2}

    async def test_an_early_stop_keeps_what_stands_below(self, place: Place) -> None:
        store, claimed = await self.listed(place)
        items = batch(
            claimed,
            new=new("9"),
            known=(KnownItem("1", 1), KnownItem("2", 2)),
            mark=over(2, 3),
            listed=Listed(2, (1, 2)),
        )

        await store.commit(items)

        assert await self.walks(store) == {"0": 0, "1": 2, "2": 2, "3": 1, "4": 1, "9": 2}
        assert await store.count_missing(ME, (1, 4), 3) == 4  # 9, 1, 2, 3

    async def test_places_above_across_walks(self, place: Place) -> None:
        store, claimed = await self.listed(place)
        await store.commit(
            batch(claimed, new=new("8", "9"), mark=over(2, 2), listed=Listed(2, (1, 0)))
        )
        assert await self.walks(store) == {"0": 1, "1": 1, "2": 1, "3": 1, "4": 1, "8": 2, "9": 2}

        known = (KnownItem("9", 0), KnownItem("0", 1))
        await store.commit(batch(claimed, known=known, mark=over(3, 2), listed=Listed(3, (1, 0))))

        assert await self.walks(store) == {"0": 3, "1": 1, "2": 1, "3": 1, "4": 1, "8": 0, "9": 3}

    async def test_the_places_of_the_last_page_belong_to_the_walk_that_ended(
        self, place: Place
    ) -> None:
        store, claimed = await self.listed(place)
        items = batch(
            claimed, new=new("9"), mark=walking(3, 0, cursor=None), listed=Listed(2, (1, 0))
        )

        await store.commit(items)

        assert (await self.walks(store))["9"] == 2

    async def test_an_abandoned_walk_leaves_no_places(self, place: Place) -> None:
        store, claimed = await self.listed(place)
        items = batch(claimed, new=new("9"), known=(KnownItem("0", 1),), mark=walking(2, 2))
        await store.commit(items)
        await store.commit(batch(claimed, known=(KnownItem("9", 0),), mark=walking(3, 1)))

        assert await self.walks(store) == {"0": 0, "1": 1, "2": 1, "3": 1, "4": 1, "9": 3}

    async def test_a_walk_abandoned_and_the_next_ended_in_one_batch(self, place: Place) -> None:
        store, claimed = await self.listed(place)
        items = batch(claimed, new=new("8", "9"), mark=walking(2, 2))
        await store.commit(items)
        await store.commit(
            batch(claimed, known=(KnownItem("9", 0),), mark=over(3, 1), listed=Listed(3, (1, 0)))
        )

        assert await self.walks(store) == {"0": 1, "1": 1, "2": 1, "3": 1, "4": 1, "8": 0, "9": 3}

    async def test_a_walk_that_goes_on_keeps_its_places(self, place: Place) -> None:
        store, claimed = await self.listed(place)
        await store.commit(batch(claimed, new=new("8"), mark=walking(2, 1)))
        await finish(store, claimed)
        second = await claim(store, "s2")
        await store.commit(
            batch(second, known=(KnownItem("8", None),), mark=walking(2, 1, resumed=True))
        )

        assert (await store.lookup(ME, ("8",)))["8"] == Known(
            stored=True, walk=2, position=0, session=2
        )

    async def test_other_crawls_keep_their_places(self, place: Place) -> None:
        store, claimed = await self.listed(place)
        hers = await claim(store, "s2", crawl=ANNA)
        await store.commit(batch(hers, new=new("0"), mark=walking(1, 1)))

        await store.commit(batch(claimed, mark=over(2, 0), listed=Listed(2, None)))

        assert (await store.lookup(ANNA, ("0",)))["0"].walk == 1
        assert set((await self.walks(store)).values()) == {0}


class TestRefusedItems:
    async def test_the_refused_items_are_named_and_nothing_is_written(self, place: Place) -> None:
        store = await place.store()
        await refuse_bad_texts(store)
        claimed = await claim(store)
        before = claimed.session
        items = batch(
            claimed,
            journal=(journal_row(1),),
            new=(NewItem(item("1"), 0), NewItem(item("2", text="bad secret"), 1)),
            known=(KnownItem("7", 2),),
            skips=(skip("3", 3, raw="bad secret"), skip("4", 4)),
            mark=walking(1, 5),
            last_key="1",
        )

        with pytest.raises(ItemsRefused) as refused:
            await store.commit(items)

        assert sorted(refused.value.refused) == ["2", "3"]
        for reason, message in refused.value.refused.values():
            assert reason is Reason.CONSTRAINT
            assert "refuses the item" in message
            assert "secret" not in message
        assert await store.session("s1") == before
        assert await store.journal("s1") == []
        assert await store.lookup(ME, ("1", "2", "3", "4", "7")) == {}
        assert await store.skipped() == []
        assert await store.checkpoint(ME) is None

    async def test_the_rest_of_the_batch_can_be_committed_then(self, place: Place) -> None:
        store = await place.store()
        await refuse_bad_texts(store)
        claimed = await claim(store)
        with pytest.raises(ItemsRefused):
            await store.commit(
                batch(claimed, new=(NewItem(item("2", text="bad"), 0),), mark=walking(1, 1))
            )

        await store.commit(batch(claimed, skips=(skip("2", 0),), mark=walking(1, 1)))

        assert [row.skip.key for row in await store.skipped()] == ["2"]

    async def test_richer_content_that_is_refused_names_its_item(self, place: Place) -> None:
        store = await place.store()
        await refuse_bad_texts(store)
        claimed = await claim(store)
        await store.commit(batch(claimed, new=new("1"), mark=walking(1, 1)))
        bad = KnownItem("1", None, item("1", text="bad", richness=9))

        with pytest.raises(ItemsRefused) as refused:
            await store.commit(batch(claimed, known=(bad,), mark=walking(1, 1)))

        assert list(refused.value.refused) == ["1"]

    async def test_values_of_the_wrong_type_are_refused(self, place: Place) -> None:
        store = await place.store()
        claimed = await claim(store)
        wrong: list[Any] = [
            item("text", text=7),
            item("raw", raw=b"bytes"),
            item("raw2", raw=None),
            item("richness", richness=2**80),
            item("kind", kind={"a": 1}),
        ]
        items = tuple(NewItem(each, n) for n, each in enumerate([item("fine"), *wrong]))

        with pytest.raises(ItemsRefused) as refused:
            await store.commit(batch(claimed, new=items, mark=walking(1, 6)))

        assert set(refused.value.refused) == {each.key for each in wrong}
        assert await store.commit(batch(claimed, new=items[:1], mark=walking(1, 1))) is None

    async def test_another_rows_refusal_is_not_blamed_on_items(self, place: Place) -> None:
        store = await place.store()
        await refuse_bad_texts(store)
        claimed = await claim(store)

        with pytest.raises(StoreError) as raised:
            await store.commit(batch(claimed, new=new("1"), mark=walking(1, 1), last_key="bad"))

        assert type(raised.value) is StoreError
        assert "bug" in str(raised.value)
        assert await store.count_bookmarks() == 0

    async def test_a_replaced_owner_hears_that_first(self, place: Place) -> None:
        store = await place.store()
        await refuse_bad_texts(store)
        old = await claim(store)
        await claim(store, owner=BOB, gone=lambda _: True)

        with pytest.raises(LeaseLost):
            await store.commit(
                batch(old, new=(NewItem(item("2", text="bad"), 0),), mark=walking(1, 1))
            )


class TestCancellation:
    async def test_a_cancelled_caller_leaves_no_transaction_open(self, place: Place) -> None:
        store, other = await place.store(), await place.store()
        claimed = await claim(store)
        for n in range(10):
            task = asyncio.create_task(
                store.commit(batch(claimed, new=new(str(n), start=n), mark=walking(1, n + 1)))
            )
            for _ in range(n % 4):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        await store.close()  # what is under way ends as it would have
        await other.commit(batch(claimed, new=new("last", start=10), mark=walking(1, 11)))

        stored = await other.count_bookmarks()
        saved = await other.checkpoint(ME)
        assert saved is not None
        assert saved.bookmarks_count == stored
