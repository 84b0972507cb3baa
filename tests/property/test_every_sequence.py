"""Every sequence of errors, none left out: the six categories and success, four calls of a handler, three requests.

A shorter sequence is one that ends in successes, so the 7^4 = 2,401 of length four are all 2,801 of up to four.
One database for each part of the suite, a fresh crawl in it for every sequence.
"""

import itertools
from collections.abc import Iterator

import pytest

from twitor_fsm.config import Settings
from twitor_fsm.sources.base import Item
from twitor_fsm.testing import ListSource, MemoryStore, Mishap, Plan, Trial
from twitor_fsm.testing.listings import read_listing
from twitor_fsm.testing.mishaps import CATEGORIES

SYMBOLS = (Mishap.OK, *CATEGORIES)
LENGTH = {"handles": 4, "fetches": 3}
SETTINGS = Settings(checkpoint_every=2)
"""Four calls of the handler are two checkpoints, so that errors fall before, between and after them."""


async def handler(item: Item, fence: int) -> None:
    """Nothing goes wrong but what is planned."""


def source() -> ListSource:
    return ListSource([f"{n * 7919 % 1009}" for n in range(1, 6)], size=2)


def sequences(first: Mishap, length: int) -> Iterator[tuple[Mishap, ...]]:
    return ((first, *rest) for rest in itertools.product(SYMBOLS, repeat=length - 1))


@pytest.mark.parametrize("at", LENGTH)
@pytest.mark.parametrize("first", SYMBOLS)
async def test_every_sequence_of_errors_is_survived(first: Mishap, at: str) -> None:
    listing = await read_listing(source(), "me")
    store = MemoryStore()
    await store.open()
    count = 0
    for met in sequences(first, LENGTH[at]):
        count += 1
        async with Trial(
            source(),
            Plan.of({at: met}),
            handler=handler if at == "handles" else None,
            store=store,
            settings=SETTINGS,
            user_id=f"user {count}",
            listing=listing,
            check_each_run=False,
        ) as trial:
            await trial.finish()
            assert trial.faults.met == [f"{at}: {m}" for m in met if m is not Mishap.OK]
    await store.close()

    assert count == len(SYMBOLS) ** (LENGTH[at] - 1)
