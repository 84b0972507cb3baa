"""Items come back as they were, each once; what is known of an id; skipped items are kept."""

from typing import Any

import pytest

from ...core.listing import Known
from ...core.taxonomy import ErrorCategory, Reason
from ...storage.base import KnownItem, NewItem
from .place import Place
from .rows import ANNA, ARCHIVE, ME, NOW, UNUSUAL, batch, claim, finish, item, new, skip, walking


class ItemsContract:
    async def test_items_come_back_as_they_were_in_the_order_stored(
        self, place: Place[Any]
    ) -> None:
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

    async def test_many_bookmarks_are_read_in_portions(self, place: Place[Any]) -> None:
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

    async def test_unusual_ids_are_found_again(self, place: Place[Any]) -> None:
        store = await place.store()
        keys = ("\x00", "\ud800", "\ufdd0", "\ufdd00000", "\u2028", "a'b", "")
        await store.commit(batch(await claim(store), new=new(*keys), mark=walking(1, 7)))

        known = await store.lookup(ME, keys)

        assert set(known) == set(keys)
        assert all(fact.stored for fact in known.values())
        assert [b.id async for b in store.bookmarks()] == list(keys)

    async def test_a_poorer_record_never_replaces_a_richer_one(self, place: Place[Any]) -> None:
        store = await place.store()
        claimed = await claim(store)
        rich = NewItem(item("1", text="rich", richness=5), 0)
        await store.commit(batch(claimed, new=(rich,), mark=walking(1, 1)))
        archive = await claim(store, "s2", crawl=ARCHIVE)

        async def text_after(**content: Any) -> str | None:
            await store.commit(batch(archive, mark=walking(1, 1), **content))
            (kept,) = [b async for b in store.bookmarks()]
            text: str | None = kept.text
            return text

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

    async def test_a_result_is_kept_whichever_source_brings_it(self, place: Place[Any]) -> None:
        store = await place.store()
        await store.commit(batch(await claim(store), new=new("1"), mark=walking(1, 1)))
        archive = await claim(store, "s2", crawl=ARCHIVE)
        poor = item("1", text="poor", richness=0)

        for result in ("[1]", "[2]"):
            poor_again = (NewItem(poor, 0, result),)
            await store.commit(batch(archive, new=poor_again, mark=walking(1, 1)))

        (kept,) = [b async for b in store.bookmarks()]
        assert (kept.result, kept.text) == ("[1]", "text of 1")

    async def test_users_do_not_share_bookmarks(self, place: Place[Any]) -> None:
        store = await place.store()
        await store.commit(batch(await claim(store), new=new("1"), mark=walking(1, 1)))

        assert await store.lookup(ANNA, ("1",)) == {}
        assert await store.lookup(ARCHIVE, ("1",)) == {"1": Known(stored=True)}


class LookupContract:
    async def test_nothing_is_known_before_the_first_crawl(self, place: Place[Any]) -> None:
        store = await place.store()

        assert await store.lookup(ME, ("1", "2")) == {}
        assert await store.lookup(ME, ()) == {}
        assert await store.count_missing(ME, (9, 9), 1) == 0
        assert await store.due_skips(ME, 10) == []

    async def test_places_and_sessions_are_known(self, place: Place[Any]) -> None:
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
    async def test_any_number_of_ids_can_be_asked_for(self, place: Place[Any], size: int) -> None:
        store = await place.store()
        keys = tuple(str(n) for n in range(size))
        await store.commit(batch(await claim(store), new=new(*keys), mark=walking(1, size)))

        found = await store.lookup(ME, (*keys, "other"))

        assert {key: fact.position for key, fact in found.items()} == {
            key: n for n, key in enumerate(keys)
        }

    async def test_an_item_known_from_another_source_gets_a_place(self, place: Place[Any]) -> None:
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


class SkipsContract:
    async def test_a_skip_is_kept_and_counted_each_time(self, place: Place[Any]) -> None:
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

    async def test_skips_are_listed_oldest_first(self, place: Place[Any]) -> None:
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

    async def test_skips_become_due_on_request_and_are_gone_once_stored(
        self, place: Place[Any]
    ) -> None:
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

    async def test_a_batch_can_make_skips_due(self, place: Place[Any]) -> None:
        store = await place.store()
        skips = (skip("1", 0), skip("2", 1))
        await store.commit(
            batch(await claim(store), skips=skips, due=("2", "other"), mark=walking(1, 2))
        )

        assert [s.key for s in await store.due_skips(ME, 10)] == ["2"]
