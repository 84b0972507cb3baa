"""A whole crawl in memory: the real plan and progress over a listing and a store made of plain dicts.

Synchronous and instant: what the shell does with sockets and SQL is done here with lists, so that decisions are tested
by the hundred thousand.
"""

from collections.abc import Callable
from datetime import UTC, datetime

import attrs

from twitor_fsm.core import plan as ops
from twitor_fsm.core.listing import End, Known, Mark, stands_above
from twitor_fsm.core.progress import Checkpoint, Listed, Progress, Rules, Save, Status, begin
from twitor_fsm.core.states import DEFAULT_SPEC, SessionValue, Trigger
from twitor_fsm.core.taxonomy import Reason

SIZES = (90, 20, 10, 5)


class Listing:
    """A bookmarks listing served in pages.

    A cursor names a place, as X's do: what comes and goes above it shifts nothing. Bookmarking an id (again) gives it
    the highest place of all.
    """

    def __init__(
        self, ids: list[str], *, early_above: int | None = None, early_after: int = 3
    ) -> None:
        """The ids, newest first; pages above a size lose their cursor after so many pages' worth of items."""
        self._places = {key: -number for number, key in enumerate(ids)}
        self._next = 1
        self._early_above = early_above
        self._early_after = early_after
        self.requests = 0

    @property
    def ids(self) -> list[str]:
        """The listing now."""
        return sorted(self._places, key=lambda key: -self._places[key])

    def bookmark(self, keys: list[str]) -> None:
        """Put ids on top, the first one topmost, whether they were in the listing or not."""
        for key in reversed(keys):
            self._places[key] = self._next
            self._next += 1

    def remove(self, keys: list[str]) -> None:
        """Take ids away."""
        for key in keys:
            del self._places[key]

    def page(self, cursor: str | None, size: int) -> tuple[tuple[str, ...], str | None]:
        """One request."""
        self.requests += 1
        ids = self.ids
        below = [k for k in ids if cursor is None or self._places[k] < int(cursor)]
        keys = tuple(below[:size])
        if len(below) <= size:
            return keys, None
        served = len(ids) - len(below) + size
        dropped = self._early_above is not None and size > self._early_above
        if dropped and served >= self._early_after * size:
            return keys, None
        return keys, str(self._places[keys[-1]])


@attrs.define
class Memory:
    """What is durable."""

    stored: dict[str, int] = attrs.field(factory=dict)
    """Id -> how often it was inserted; more than once would be a doubled item."""
    places: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    sessions: dict[str, int] = attrs.field(factory=dict)
    mark: Mark | None = None
    ordinal: int = 0

    def lookup(self, keys: tuple[str, ...]) -> dict[str, Known]:
        """What is known of these ids."""
        return {
            key: Known(
                stored=key in self.stored,
                walk=self.places.get(key, (0, 0))[0],
                position=self.places.get(key, (0, 0))[1],
                session=self.sessions.get(key, 0),
            )
            for key in keys
            if key in self.stored or key in self.places
        }

    def missing(self, above: tuple[int, int], walk: int) -> int:
        """Ids of the last listing above this place that `walk` has not met."""
        return sum(
            1
            for place in self.places.values()
            if place[0] not in {0, walk} and stands_above(place, above)
        )

    def write(self, progress: Progress, save: Save) -> None:
        """One commit."""
        entries = progress.page.entries[save.first : save.upto] if progress.page else ()
        for entry in entries:
            if entry.status is Status.NEW:
                self.stored[entry.key] = self.stored.get(entry.key, 0) + 1
            if entry.position is not None:
                self.places[entry.key] = (progress.mark.walk, entry.position)
            if entry.status is not Status.REPEATED:
                self.sessions[entry.key] = progress.ordinal
        if save.listed is not None:
            self._forget(save.listed)
        elif self.mark is not None and self.mark.under_way and save.mark.walk > self.mark.walk:
            self._void(self.mark.walk)
        self.mark = save.mark

    def _forget(self, listed: Listed) -> None:
        for key, place in list(self.places.items()):
            older = place[0] not in {0, listed.walk}
            at = listed.caught_up_at
            if older and (at is None or stands_above(place, at)):
                del self.places[key]

    def _void(self, walk: int) -> None:
        for key, place in list(self.places.items()):
            if place[0] == walk:
                del self.places[key]


@attrs.define
class Outcome:
    """How a run of a session ended."""

    reason: Reason | None
    requests: int
    tally: object


def run(
    listing: Listing,
    memory: Memory,
    *,
    rules: Rules | None = None,
    die: Callable[[ops.Operation], bool] = lambda _: False,
    refuse: Callable[[str | None], bool] = lambda _: False,
) -> Outcome:
    """Run one session until it finishes, posts a fatal error, or dies.

    Args:
        listing: The source.
        memory: The store.
        rules: How to crawl.
        die: Asked before every operation; True kills the process there.
        refuse: Asked with the cursor of every request; True refuses it.
    """
    rules = rules if rules is not None else Rules(page_size=90, page_sizes=SIZES)
    memory.ordinal += 1
    checkpoint = (
        Checkpoint(
            last_tweet_id=None,
            bookmarks_count=len(memory.stored),
            last_crawled_at=datetime.fromtimestamp(0, UTC),
            mark=memory.mark,
        )
        if memory.mark is not None
        else None
    )
    progress = begin(checkpoint, rules=rules, ordinal=memory.ordinal)
    session, kinds, before = SessionValue(), DEFAULT_SPEC.kinds, listing.requests

    def outcome(reason: Reason | None) -> Outcome:
        return Outcome(reason, listing.requests - before, progress.tally)

    for _ in range(100_000):
        operation = ops.plan(session, progress, now=0.0, kinds=kinds).operation
        if die(operation):
            return outcome(None)
        match operation:
            case ops.Fetch(cursor, size):
                if refuse(cursor):
                    again = progress.cursor_refused()
                    if again is None:
                        return outcome(Reason.CURSOR_REFUSED)
                    progress = again
                    continue
                keys, following = listing.page(cursor, size or 90)
                progress = progress.fetched(
                    keys,
                    next_cursor=following,
                    end=End.MORE if following is not None else End.UNVERIFIED,
                )
            case ops.Lookup(keys):
                progress = progress.looked_up(memory.lookup(keys))
            case ops.Count(above, walk):
                progress = progress.sighted(memory.missing(above, walk))
            case ops.Handle():
                progress = progress.handled()
            case ops.Commit():
                save = progress.save()
                memory.write(progress, save)
                progress = progress.committed(save)
            case ops.Post(trigger, _, reason):
                save = progress.save(finishing=trigger is Trigger.FINISH)
                memory.write(progress, save)
                progress = progress.committed(save)
                return outcome(reason)
            case _:
                raise AssertionError(operation)
    raise AssertionError("the session does not end")
