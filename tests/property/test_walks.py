"""Whole walks by the real plan and progress over listings in memory: nothing is lost, ends are verified."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_crawl import SIZES, Listing, Memory, run

from twitor_fsm.core import plan as ops
from twitor_fsm.core.progress import Rules
from twitor_fsm.core.taxonomy import Reason


def ids(count: int, seed: int = 1) -> list[str]:
    """Ids of unequal length in no order."""
    draw = random.Random(seed)
    return [str(n) for n in draw.sample(range(10**3, 10**6), count)]


def after(operations: int) -> Callable[[ops.Operation], bool]:
    """A death after so many operations."""
    left = iter(range(operations))
    return lambda _: next(left, None) is None


@pytest.mark.parametrize("count", [0, 1, 5, 19, 20, 89, 90, 91, 180, 181, 400])
def test_a_listing_is_stored_whole(count: int) -> None:
    listing, memory = Listing(ids(count)), Memory()

    assert run(listing, memory).reason is Reason.END_VERIFIED
    assert list(memory.stored) == listing.ids
    assert set(memory.stored.values()) <= {1}


@pytest.mark.parametrize("above", [5, 19, 20, 50, 89])
@pytest.mark.parametrize("after", [1, 3])
def test_an_early_end_is_not_believed(above: int, after: int) -> None:
    listing, memory = Listing(ids(700), early_above=above, early_after=after), Memory()

    assert run(listing, memory).reason is Reason.END_VERIFIED
    assert sorted(memory.stored) == sorted(listing.ids)


def test_an_end_costs_the_tail_at_the_next_smaller_size() -> None:
    listing, memory = Listing(ids(180)), Memory()

    assert run(listing, memory).requests == 2 + 5  # the tail of 90 again, 20 at a time


def test_the_same_answer_twice_suffices_at_the_smallest_size() -> None:
    listing, memory = Listing(ids(10)), Memory()

    assert run(listing, memory, rules=Rules(page_size=5, page_sizes=SIZES)).requests == 3


@given(
    count=st.integers(0, 260),
    size=st.sampled_from([5, 7, 20, 90]),
    early=st.sampled_from([None, 5, 10, 50]),
    every=st.sampled_from([1, 3, 10]),
    handler=st.booleans(),
    deaths=st.lists(st.integers(1, 60), max_size=6),
)
def test_no_death_loses_or_doubles_an_item(
    count: int, size: int, early: int | None, every: int, handler: bool, deaths: list[int]
) -> None:
    listing, memory = Listing(ids(count), early_above=early), Memory()
    rules = Rules(page_size=size, page_sizes=SIZES, checkpoint_every=every, has_handler=handler)
    for operations in deaths:
        if run(listing, memory, rules=rules, die=after(operations)).reason is not None:
            break

    assert run(listing, memory, rules=rules).reason in {Reason.END_VERIFIED, Reason.CAUGHT_UP}
    assert sorted(memory.stored) == sorted(listing.ids)
    assert set(memory.stored.values()) <= {1}


def test_new_bookmarks_on_top_cost_one_request() -> None:
    listing, memory = Listing(ids(500)), Memory()
    run(listing, memory)
    new = [f"new{n}" for n in range(7)]
    listing.bookmark(new)

    outcome = run(listing, memory)

    assert (outcome.reason, outcome.requests) == (Reason.CAUGHT_UP, 1)
    assert set(new) <= set(memory.stored)


def test_nothing_new_costs_one_request() -> None:
    listing, memory = Listing(ids(500)), Memory()
    run(listing, memory)

    assert run(listing, memory).requests == 1


def test_removed_items_do_not_stop_the_early_stop() -> None:
    listing, memory = Listing(ids(500)), Memory()
    run(listing, memory)
    listing.remove(listing.ids[2:40:3])

    assert run(listing, memory).requests == 1
    assert run(listing, memory).requests == 1


def test_old_items_bookmarked_again_in_their_order_are_no_reason_to_stop() -> None:
    listing, memory = Listing(ids(500)), Memory()
    run(listing, memory)
    again = listing.ids[200:230]
    new = [f"new{n}" for n in range(120)]
    listing.bookmark(new)
    listing.bookmark(again)

    assert run(listing, memory).reason is Reason.CAUGHT_UP
    assert set(new) <= set(memory.stored)


def test_what_was_bookmarked_between_an_interruption_and_its_resume_is_not_missed() -> None:
    listing, memory = Listing(ids(900)), Memory()
    fetches = 0

    def die(operation: ops.Operation) -> bool:
        nonlocal fetches
        fetches += isinstance(operation, ops.Fetch)
        return fetches > 4

    run(listing, memory, die=die)
    new = [f"new{n}" for n in range(30)]
    listing.bookmark(new)

    run(listing, memory)

    assert sorted(memory.stored) == sorted(listing.ids)


def test_items_of_an_interrupted_crawl_are_no_reason_to_stop() -> None:
    listing, memory = Listing(ids(900)), Memory()
    run(listing, memory)
    listing.bookmark([f"a{n}" for n in range(300)])
    fetches = 0

    def die(operation: ops.Operation) -> bool:
        nonlocal fetches
        fetches += isinstance(operation, ops.Fetch)
        return fetches > 2

    run(listing, memory, die=die)
    listing.bookmark([f"b{n}" for n in range(100)])

    assert run(listing, memory).reason is Reason.CAUGHT_UP
    assert sorted(memory.stored) == sorted(listing.ids)


@given(data=st.data())
def test_whatever_happens_to_the_listing_between_crawls_nothing_is_missing(
    data: st.DataObject,
) -> None:
    listing, memory, fresh = Listing(ids(data.draw(st.integers(0, 150)))), Memory(), 0
    is_interrupted = False
    rules = Rules(page_size=20, page_sizes=SIZES)
    for _ in range(data.draw(st.integers(1, 6))):
        change = data.draw(st.sampled_from(["add", "remove", "again", "die"]))
        amount = data.draw(st.integers(0, 45))
        if change == "add":
            listing.bookmark([f"n{fresh + n}" for n in range(amount)])
            fresh += amount
        elif change == "remove" and listing.ids:
            start = data.draw(st.integers(0, len(listing.ids) - 1))
            listing.remove(listing.ids[start : start + amount])
        elif change == "again" and listing.ids:
            start = data.draw(st.integers(0, len(listing.ids) - 1))
            # A block that fills whole pages exactly looks as an unchanged listing does: decision 0003.
            most = min(amount, 19) if is_interrupted else amount
            listing.bookmark(listing.ids[start : start + most])
        elif change == "die":
            is_interrupted = run(listing, memory, rules=rules, die=after(amount)).reason is None
            continue
        is_interrupted = False
        assert run(listing, memory, rules=rules).reason in {Reason.END_VERIFIED, Reason.CAUGHT_UP}
        assert set(listing.ids) <= set(memory.stored)


@pytest.mark.parametrize("cycle", [1, 2, 3])
def test_a_listing_that_goes_round_is_given_up_within_three_pages(cycle: int) -> None:
    class Circle(Listing):
        def page(self, cursor: str | None, size: int) -> tuple[tuple[str, ...], str | None]:
            self.requests += 1
            at = 0 if cursor is None else int(cursor)
            return tuple(f"{at}-{n}" for n in range(size)), str((at + 1) % cycle)

    listing, memory = Circle([]), Memory()

    outcome = run(listing, memory)

    assert outcome.reason is Reason.SOURCE_LOOPS
    assert outcome.requests <= cycle + 3


def test_a_refused_cursor_restarts_from_the_top_without_trusting_the_walk_given_up() -> None:
    listing, memory = Listing(ids(300)), Memory()
    refused = iter([False, False, True])

    outcome = run(listing, memory, refuse=lambda _: next(refused, False))

    assert outcome.reason is Reason.END_VERIFIED
    assert sorted(memory.stored) == sorted(listing.ids)


def test_a_cursor_refused_twice_without_a_new_item_between_is_given_up() -> None:
    listing, memory = Listing(ids(300)), Memory()
    refused = iter([False, False, True, False, True])

    assert (
        run(listing, memory, refuse=lambda _: next(refused, False)).reason is Reason.CURSOR_REFUSED
    )


@pytest.mark.parametrize("size", [100, 90, 20, 10])
def test_cursors_dropped_from_some_item_on_above_the_smallest_size_lose_nothing(size: int) -> None:
    class Dropping(Listing):
        limit = 0

        def page(self, cursor: str | None, size: int) -> tuple[tuple[str, ...], str | None]:
            keys, following = super().page(cursor, size)
            met = self.ids.index(keys[-1]) + 1 if keys else 0
            return keys, None if size > 5 and met >= self.limit else following

    for limit in range(1, 240, 3):
        listing, memory = Dropping(ids(240)), Memory()
        listing.limit = limit
        run(listing, memory, rules=Rules(page_size=size, page_sizes=SIZES))
        assert sorted(memory.stored) == sorted(listing.ids), limit


@pytest.mark.parametrize(("block", "new"), [(20, 100), (20, 500), (35, 60), (60, 100)])
def test_the_top_bookmarked_again_above_new_ones_is_no_reason_to_stop(block: int, new: int) -> None:
    listing, memory = Listing(ids(500)), Memory()
    run(listing, memory)
    top = listing.ids[:block]
    listing.bookmark([f"n{n}" for n in range(new)])
    listing.bookmark(top)

    run(listing, memory)

    assert set(listing.ids) <= set(memory.stored)


def test_a_refused_cursor_of_an_earlier_run_is_forgotten() -> None:
    listing, memory = Listing(ids(300)), Memory()
    refused = iter([False, False, True, False, True])
    run(listing, memory, refuse=lambda _: next(refused, False))

    again = iter([True])
    assert run(listing, memory, refuse=lambda _: next(again, False)).reason is Reason.END_VERIFIED
