"""Where ids stood in the last completed listing, and which of them are missing."""

from typing import Any

from ...core.listing import Known
from ...core.progress import Listed
from ...storage.base import KnownItem
from .place import Place
from .rows import ANNA, ME, batch, claim, finish, new, over, walking


class ListingContract:
    """Walk 1 met 0 1 2 3 4 and reached the end of the listing."""

    async def listed(self, place: Place[Any]) -> Any:
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

    async def test_missing_ids_stand_above_and_were_not_met(self, place: Place[Any]) -> None:
        store, claimed = await self.listed(place)
        assert await store.count_missing(ME, (1, 3), 2) == 3
        known = (KnownItem("1", 0),)
        await store.commit(batch(claimed, known=known, mark=walking(2, 1)))

        assert await store.count_missing(ME, (1, 3), 2) == 2
        assert await store.count_missing(ME, (1, 0), 2) == 0
        assert await store.count_missing(ME, (2, 0), 3) == 0
        assert await store.count_missing(ME, (1, 0), 3) == 1

    async def test_a_whole_walk_leaves_only_what_it_met(self, place: Place[Any]) -> None:
        store, claimed = await self.listed(place)
        known = (KnownItem("4", 0), KnownItem("1", 1))

        await store.commit(batch(claimed, known=known, mark=over(2, 2), listed=Listed(2, None)))

        assert await self.walks(store) == {"0": 0, "1": 2, "2": 0, "3": 0, "4": 2}

    async def test_an_early_stop_keeps_what_stands_below(self, place: Place[Any]) -> None:
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

    async def test_places_above_across_walks(self, place: Place[Any]) -> None:
        store, claimed = await self.listed(place)
        await store.commit(
            batch(claimed, new=new("8", "9"), mark=over(2, 2), listed=Listed(2, (1, 0)))
        )
        assert await self.walks(store) == {"0": 1, "1": 1, "2": 1, "3": 1, "4": 1, "8": 2, "9": 2}

        known = (KnownItem("9", 0), KnownItem("0", 1))
        await store.commit(batch(claimed, known=known, mark=over(3, 2), listed=Listed(3, (1, 0))))

        assert await self.walks(store) == {"0": 3, "1": 1, "2": 1, "3": 1, "4": 1, "8": 0, "9": 3}

    async def test_the_places_of_the_last_page_belong_to_the_walk_that_ended(
        self, place: Place[Any]
    ) -> None:
        store, claimed = await self.listed(place)
        items = batch(
            claimed, new=new("9"), mark=walking(3, 0, cursor=None), listed=Listed(2, (1, 0))
        )

        await store.commit(items)

        assert (await self.walks(store))["9"] == 2

    async def test_an_abandoned_walk_leaves_no_places(self, place: Place[Any]) -> None:
        store, claimed = await self.listed(place)
        items = batch(claimed, new=new("9"), known=(KnownItem("0", 1),), mark=walking(2, 2))
        await store.commit(items)
        await store.commit(batch(claimed, known=(KnownItem("9", 0),), mark=walking(3, 1)))

        assert await self.walks(store) == {"0": 0, "1": 1, "2": 1, "3": 1, "4": 1, "9": 3}

    async def test_a_walk_abandoned_and_the_next_ended_in_one_batch(
        self, place: Place[Any]
    ) -> None:
        store, claimed = await self.listed(place)
        items = batch(claimed, new=new("8", "9"), mark=walking(2, 2))
        await store.commit(items)
        await store.commit(
            batch(claimed, known=(KnownItem("9", 0),), mark=over(3, 1), listed=Listed(3, (1, 0)))
        )

        assert await self.walks(store) == {"0": 1, "1": 1, "2": 1, "3": 1, "4": 1, "8": 0, "9": 3}

    async def test_a_walk_that_goes_on_keeps_its_places(self, place: Place[Any]) -> None:
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

    async def test_other_crawls_keep_their_places(self, place: Place[Any]) -> None:
        store, claimed = await self.listed(place)
        hers = await claim(store, "s2", crawl=ANNA)
        await store.commit(batch(hers, new=new("0"), mark=walking(1, 1)))

        await store.commit(batch(claimed, mark=over(2, 0), listed=Listed(2, None)))

        assert (await store.lookup(ANNA, ("0",)))["0"].walk == 1
        assert set((await self.walks(store)).values()) == {0}
