"""Hypothesis strategies: plans of what goes wrong, that shrink to a few readable words.

Must not know: what is done with a plan.
"""

from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

from .mishaps import CATEGORIES, COMMIT_MISHAPS, Mishap, Plan

__all__ = ["error_sequences", "fault_plans"]

_ATTEMPT_MISHAPS: Final = (*CATEGORIES, Mishap.CANCEL, Mishap.DEATH, Mishap.SLOW)
"""What a request or a call of the handler may meet, the simplest first: examples shrink towards it."""


def error_sequences(
    *,
    at: str = "handles",
    mishaps: Sequence[Mishap] = (*_ATTEMPT_MISHAPS, Mishap.OK),
    max_size: int = 12,
) -> st.SearchStrategy[Plan]:
    """Sequences of what successive attempts meet: errors of all six categories, cancels, deaths, successes.

    Args:
        at: Whose attempts: `handles` (calls of the handler), `fetches` (requests), or a place such as `item 1`.
        mishaps: What to choose from.
        max_size: Longest sequence.
    """
    return st.lists(st.sampled_from(mishaps), max_size=max_size).map(lambda met: Plan.of({at: met}))


def fault_plans(
    *,
    items: int = 10,
    pages: int = 4,
    commits: int = 12,
    handler: bool = True,
    max_places: int = 6,
) -> st.SearchStrategy[Plan]:
    """Plans of faults at items, pages and commits; a failing one shrinks to `Plan('item 1: NETWORK, RATE_LIMIT')`.

    Args:
        items: Items of the listing.
        pages: Its pages.
        commits: Attempts at a transaction that may meet something.
        handler: Whether a handler meets what befalls items; without one, items can be broken or refused only.
        max_places: Places at which something goes wrong.
    """
    of_items = _ATTEMPT_MISHAPS if handler else (Mishap.VALIDATION, Mishap.DATABASE)
    places = [
        _places("item", items, of_items),
        _places("page", pages, _ATTEMPT_MISHAPS),
        _places("commit", commits, COMMIT_MISHAPS),
        _places("lookup", pages, (Mishap.BUSY, Mishap.SLOW, Mishap.CANCEL, Mishap.DEATH)),
    ]
    return st.lists(
        st.one_of(places), max_size=max_places, unique_by=lambda place_and_met: place_and_met[0]
    ).map(lambda meets: Plan.of(dict(meets)))


def _places(
    word: str, count: int, mishaps: Sequence[Mishap]
) -> st.SearchStrategy[tuple[str, list[Mishap]]]:
    return st.tuples(
        st.integers(1, count).map(lambda number: f"{word} {number}"),
        st.lists(st.sampled_from(mishaps), min_size=1, max_size=4),
    )
