"""What the store does, on values: a commit, and the questions that a session asks.

As `storage.writer` and `storage.reads` have it in SQL; the contract suite holds those to the same rules.
Pure. Must not know: sessions, errors.
"""

from collections.abc import Callable, Iterable

import attrs

from ..listing import Known, Mark, Place, stands_above
from ..page import Entry, Status
from ..progress import Listed, Progress, Save
from .world import Durable, Kept

__all__ = [
    "asked_again",
    "cleared",
    "due_keys",
    "known",
    "missing",
    "set_by_hand",
    "written",
]


def known(durable: Durable, keys: tuple[str, ...]) -> dict[str, Known]:
    """What is known of these ids; see `Store.lookup`."""
    return {
        key: Known(
            kept.stored,
            kept.skipped,
            kept.walk,
            kept.position,
            int(kept.met),
            kept.undecoded,
        )
        for key in keys
        if (kept := durable.items[int(key)]).is_settled
    }


def missing(durable: Durable, above: Place, walk: int) -> int:
    """See `Store.count_missing`."""
    return sum(
        1
        for kept in durable.items
        if kept.walk not in {0, walk} and stands_above((kept.walk, kept.position), above)
    )


def due_keys(durable: Durable) -> tuple[str, ...]:
    """See `Store.due_skips`."""
    return tuple(str(n) for n, kept in enumerate(durable.items) if kept.due)


def asked_again(durable: Durable) -> Durable:
    """See `Store.retry_skipped`."""
    items = tuple(attrs.evolve(kept, due=kept.skipped) for kept in durable.items)
    return attrs.evolve(durable, items=items)


def set_by_hand(durable: Durable) -> Durable:
    """See `Store.save_checkpoint`: the next crawl walks from the top; a walk under way is void."""
    mark = durable.mark if durable.mark is not None else Mark()
    items = list(durable.items)
    if mark.under_way:
        _void(items, lambda kept: kept.walk == mark.walk)
    return attrs.evolve(durable, items=tuple(items), mark=Mark(walk=mark.walk))


def cleared(durable: Durable) -> Durable:
    """See `Store.clear_checkpoint`: every place is void."""
    items = list(durable.items)
    _void(items, lambda _: True)
    return attrs.evolve(durable, items=tuple(items), mark=None)


def written(
    durable: Durable,
    progress: Progress,
    save: Save,
    *,
    due: Iterable[str] = (),
    closing: float | None = None,
) -> Durable:
    """What is durable after a commit; see `Store.commit`."""
    items = list(durable.items)
    _void_abandoned(items, durable, save)
    walk = save.listed.walk if save.listed is not None else save.mark.walk
    page = progress.page
    if page is not None:
        for index in range(save.first, save.upto):
            _write(items, page.entries[index], walk, is_invalid=index in page.invalid)
    if save.listed is not None:
        _void_unlisted(items, save.listed)
    for key in due:
        if (kept := items[int(key)]).is_settled:  # in a reduced scope it may be known as stored
            items[int(key)] = attrs.evolve(kept, stored=False, skipped=True, due=True)
    closed = closing if closing is not None else durable.closed
    return Durable(tuple(items), save.mark, closed, save.tally)


def _write(items: list[Kept], entry: Entry, walk: int, *, is_invalid: bool) -> None:
    number = int(entry.key)
    kept = items[number]
    stored, skipped = kept.stored, kept.skipped
    undecoded, due = kept.undecoded, kept.due
    match entry.status:
        case Status.REPEATED:
            return
        case Status.NEW:
            stored, skipped, undecoded, due = True, False, False, False
        case Status.SKIPPED:
            skipped, undecoded, due = True, is_invalid, False
        case _ if not kept.is_settled:
            return  # there is no row to note anything in
        case _:
            pass
    place = (kept.walk, kept.position) if entry.position is None else (walk, entry.position)
    items[number] = Kept(stored, skipped, undecoded, due, *place, met=True)


def _void_abandoned(items: list[Kept], durable: Durable, save: Save) -> None:
    before = durable.mark
    if before is None or not before.under_way or before.walk == save.mark.walk:
        return
    if save.listed is None or save.listed.walk != before.walk:
        _void(items, lambda kept: kept.walk == before.walk)


def _void_unlisted(items: list[Kept], listed: Listed) -> None:
    at = listed.caught_up_at
    _void(
        items,
        lambda kept: (
            kept.walk != listed.walk
            and (at is None or stands_above((kept.walk, kept.position), at))
        ),
    )


def _void(items: list[Kept], which: Callable[[Kept], bool]) -> None:
    for number, kept in enumerate(items):
        if kept.walk and which(kept):
            items[number] = attrs.evolve(kept, walk=0, position=0)
