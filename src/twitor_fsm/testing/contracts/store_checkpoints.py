"""A checkpoint goes with its items, and names nothing that is not there."""

from typing import Any

import pytest

from ...core.listing import Known, Mark
from ...core.progress import Listed
from ...core.records import Owner
from ...errors import CrawlOwned
from ...storage.base import KnownItem
from .place import Place
from .rows import ALICE, LEASE_S, ME, NOW, UNUSUAL, batch, claim, finish, new, over, walking


class CheckpointContract:
    async def test_a_checkpoint_goes_with_its_items(self, place: Place[Any]) -> None:
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

    async def test_no_mark_writes_no_checkpoint(self, place: Place[Any]) -> None:
        store = await place.store()
        await store.commit(batch(await claim(store), last_key="7"))

        assert await store.checkpoint(ME) is None

    async def test_the_last_id_stays_when_a_batch_has_none(self, place: Place[Any]) -> None:
        store = await place.store()
        claimed = await claim(store)
        await store.commit(batch(claimed, new=new("1"), mark=walking(1, 1), last_key="1"))
        await store.commit(batch(claimed, mark=walking(1, 2)))

        saved = await store.checkpoint(ME)

        assert saved is not None
        assert (saved.last_tweet_id, saved.mark.position, saved.bookmarks_count) == ("1", 2, 1)

    async def test_a_checkpoint_set_by_hand_walks_from_the_top(self, place: Place[Any]) -> None:
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

    async def test_a_checkpoint_can_be_set_before_the_first_crawl(self, place: Place[Any]) -> None:
        store = await place.store()

        saved = await store.save_checkpoint(ME, tweet_id=UNUSUAL, bookmarks_count=5, now=NOW)

        assert (saved.last_tweet_id, saved.bookmarks_count) == (UNUSUAL, 5)
        assert (await claim(store)).checkpoint == saved

    async def test_places_of_a_completed_listing_outlive_a_manual_save(
        self, place: Place[Any]
    ) -> None:
        store = await place.store()
        claimed = await claim(store)
        await finish(store, claimed, new=new("1"), mark=over(1, 1), listed=Listed(1, None))

        await store.save_checkpoint(ME, tweet_id="1", bookmarks_count=None, now=NOW)

        assert (await store.lookup(ME, ("1",)))["1"].walk == 1

    async def test_clearing_forgets_places_and_keeps_items(self, place: Place[Any]) -> None:
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

    async def test_clearing_a_crawl_that_never_was_changes_nothing(self, place: Place[Any]) -> None:
        store = await place.store()

        await store.clear_checkpoint(ME, now=NOW)

        assert await store.crawls() == []

    async def test_a_running_session_keeps_its_checkpoint_from_others(
        self, place: Place[Any]
    ) -> None:
        store = await place.store()
        await claim(store)

        with pytest.raises(CrawlOwned):
            await store.save_checkpoint(ME, tweet_id="1", bookmarks_count=1, now=NOW)
        with pytest.raises(CrawlOwned):
            await store.clear_checkpoint(ME, now=NOW)

        assert await store.checkpoint(ME) is None

    async def test_a_dead_session_does_not(self, place: Place[Any]) -> None:
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
