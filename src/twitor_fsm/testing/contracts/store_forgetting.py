"""A user who is forgotten leaves nothing behind, and nobody else loses anything."""

from typing import Any

import pytest

from ...core.listing import Known
from ...core.progress import Listed
from ...core.records import Closed, CrawlKey, Owner
from ...errors import CrawlOwned, LeaseLost, SessionNotFound
from .place import Place
from .rows import (
    ALICE,
    ANNA,
    ARCHIVE,
    LEASE_S,
    LIMIT,
    ME,
    NOW,
    UNUSUAL,
    batch,
    claim,
    finish,
    journal_row,
    new,
    over,
    skip,
    walking,
)


def alive(_owner: Owner) -> bool:
    """Nobody is gone."""
    return False


class ForgettingContract:
    async def crawled(self, place: Place[Any]) -> Any:
        """`ME` and the same user's archive, both over, and Anna's crawl, which knows one of the same items."""
        store = await place.store()
        mine = await claim(store)
        await finish(
            store,
            mine,
            new=new("1", "2"),
            skips=(skip("3", 2),),
            mark=over(1, 3),
            listed=Listed(1, None),
            journal=(journal_row(1),),
            closed=(Closed(*LIMIT, until=NOW + 900),),
        )
        await finish(store, await claim(store, "s2", crawl=ARCHIVE), new=new("4"), mark=over(1, 1))
        hers = await claim(store, "s3", crawl=ANNA)
        await finish(
            store,
            hers,
            new=new("1"),
            skips=(skip("3", 1),),
            mark=over(1, 2),
            listed=Listed(1, None),
            journal=(journal_row(1),),
        )
        return store

    async def test_nothing_of_a_forgotten_user_is_left(self, place: Place[Any]) -> None:
        store = await self.crawled(place)

        gone = await store.forget("me", now=NOW, is_gone=alive)

        assert (gone.crawls, gone.sessions, gone.bookmarks, gone.skipped) == (2, 2, 3, 1)
        assert gone.was_known
        assert await store.crawls() == [ANNA]
        assert await store.count_bookmarks("me") == 0
        assert await store.skipped(user_id="me") == []
        assert await store.checkpoint(ME) is None
        assert await store.lookup(ME, ("1", "2", "3")) == {}
        with pytest.raises(SessionNotFound):
            await store.journal("s1")
        assert await store.sessions(user_id="me") == []

    async def test_others_keep_what_they_have(self, place: Place[Any]) -> None:
        store = await self.crawled(place)

        await store.forget("me", now=NOW, is_gone=alive)

        known = await store.lookup(ANNA, ("1", "3"))
        assert known["1"] == Known(stored=True, walk=1, position=0, session=1)
        assert known["3"].skipped
        assert [row.skip.key for row in await store.skipped()] == ["3"]
        assert len(await store.journal("s3")) == 1
        assert await store.checkpoint(ANNA) is not None

    async def test_a_forgotten_user_begins_anew(self, place: Place[Any]) -> None:
        store = await self.crawled(place)
        await store.forget("me", now=NOW, is_gone=alive)

        again = await claim(store, "s9")

        assert (again.session.ordinal, again.checkpoint) == (1, None)
        assert (again.closed_until, again.due_skips, again.taken_over) == (None, 0, False)

    async def test_nobody_is_forgotten_while_a_session_runs(self, place: Place[Any]) -> None:
        store = await self.crawled(place)
        await claim(store, "s9", crawl=ARCHIVE)

        with pytest.raises(CrawlOwned) as refused:
            await store.forget("me", now=NOW, is_gone=alive)

        assert refused.value.session_id == "s9"
        assert await store.count_bookmarks("me") == 3
        assert set(await store.crawls()) == {ME, ARCHIVE, ANNA}

    @pytest.mark.parametrize("ended", ["owner", "lease"])
    async def test_a_dead_session_keeps_nobody(self, place: Place[Any], ended: str) -> None:
        store = await place.store()
        dead = await claim(store)
        await store.commit(batch(dead, new=new("1"), mark=walking(1, 1), last_key="1"))

        gone = await store.forget(
            "me",
            now=NOW + (2 * LEASE_S if ended == "lease" else 0.0),
            is_gone=lambda owner: ended == "owner" and owner == ALICE,
        )

        assert (gone.sessions, gone.bookmarks) == (1, 1)
        with pytest.raises(LeaseLost):
            await store.commit(batch(dead, new=new("2")))
        assert await store.count_bookmarks() == 0

    async def test_who_is_not_known_is_said(self, place: Place[Any]) -> None:
        store = await self.crawled(place)

        gone = await store.forget("you", now=NOW, is_gone=alive)

        assert not gone.was_known
        assert len(await store.crawls()) == 3

    async def test_any_name_can_be_forgotten(self, place: Place[Any]) -> None:
        store = await place.store()
        await finish(store, await claim(store, crawl=CrawlKey(UNUSUAL, "x")), new=new("1"))

        assert (await store.forget(UNUSUAL, now=NOW, is_gone=alive)).bookmarks == 1
