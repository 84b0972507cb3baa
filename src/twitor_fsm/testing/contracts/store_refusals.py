"""Items that the database refuses, and callers that are cancelled: whole transactions or nothing."""

import asyncio
from typing import Any

import pytest

from ...core.taxonomy import Reason
from ...errors import ItemsRefused, LeaseLost, StoreError
from ...storage.base import KnownItem, NewItem
from .place import Place
from .rows import BOB, ME, batch, claim, item, journal_row, new, skip, walking


class RefusedItemsContract:
    async def test_the_refused_items_are_named_and_nothing_is_written(
        self, place: Place[Any]
    ) -> None:
        store = await place.store()
        await place.refuse_bad_texts(store)
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

    async def test_the_rest_of_the_batch_can_be_committed_then(self, place: Place[Any]) -> None:
        store = await place.store()
        await place.refuse_bad_texts(store)
        claimed = await claim(store)
        with pytest.raises(ItemsRefused):
            await store.commit(
                batch(claimed, new=(NewItem(item("2", text="bad"), 0),), mark=walking(1, 1))
            )

        await store.commit(batch(claimed, skips=(skip("2", 0),), mark=walking(1, 1)))

        assert [row.skip.key for row in await store.skipped()] == ["2"]

    async def test_richer_content_that_is_refused_names_its_item(self, place: Place[Any]) -> None:
        store = await place.store()
        await place.refuse_bad_texts(store)
        claimed = await claim(store)
        await store.commit(batch(claimed, new=new("1"), mark=walking(1, 1)))
        bad = KnownItem("1", None, item("1", text="bad", richness=9))

        with pytest.raises(ItemsRefused) as refused:
            await store.commit(batch(claimed, known=(bad,), mark=walking(1, 1)))

        assert list(refused.value.refused) == ["1"]

    async def test_values_of_the_wrong_type_are_refused(self, place: Place[Any]) -> None:
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

    async def test_another_rows_refusal_is_not_blamed_on_items(self, place: Place[Any]) -> None:
        store = await place.store()
        await place.refuse_bad_texts(store)
        claimed = await claim(store)

        with pytest.raises(StoreError) as raised:
            await store.commit(batch(claimed, new=new("1"), mark=walking(1, 1), last_key="bad"))

        assert type(raised.value) is StoreError
        assert "bug" in str(raised.value)
        assert await store.count_bookmarks() == 0

    async def test_a_replaced_owner_hears_that_first(self, place: Place[Any]) -> None:
        store = await place.store()
        await place.refuse_bad_texts(store)
        old = await claim(store)
        await claim(store, owner=BOB, gone=lambda _: True)

        with pytest.raises(LeaseLost):
            await store.commit(
                batch(old, new=(NewItem(item("2", text="bad"), 0),), mark=walking(1, 1))
            )


class CancellationContract:
    async def test_a_cancelled_caller_leaves_no_transaction_open(self, place: Place[Any]) -> None:
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
