"""A world: all that what happens next may depend on, in a value.

Pure. Must not know: what can happen in it.
"""

import attrs

from ..listing import Mark
from ..page import Tally
from ..plan import Operation
from ..progress import Progress
from ..values import SessionValue
from .scope import Scope

__all__ = ["Durable", "Kept", "Work", "World"]


@attrs.frozen(cache_hash=True)
class Kept:
    """What the store holds of one item.

    Attributes:
        stored: Whether it is stored.
        skipped: Whether it is recorded as skipped.
        undecoded: Whether it was skipped because it could not be decoded.
        due: Whether it is to be tried again.
        walk: The walk that met it last, 0 for none.
        position: Its position in that walk.
        met: Whether the present session met it.
    """

    stored: bool = False
    skipped: bool = False
    undecoded: bool = False
    due: bool = False
    walk: int = 0
    position: int = 0
    met: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether it is stored or recorded as skipped: not lost."""
        return self.stored or self.skipped


@attrs.frozen(cache_hash=True)
class Durable:
    """What survives the process, the session's own row left aside.

    Attributes:
        items: By their number, from the top of the listing.
        mark: The checkpoint; None before the first.
        closed: The source's limit is used up for so many seconds more; None when it is open.
        tally: The session's counts.
    """

    items: tuple[Kept, ...]
    mark: Mark | None = None
    closed: float | None = None
    tally: Tally = Tally()


@attrs.frozen
class Work:
    """A crawl's progress in memory, what is durable of it, and the listing.

    Attributes:
        progress: None while no process is at it.
        durable: What survives.
        closing: What the next commit will say of `Durable.closed`; None leaves it.
        hidden: Items at the top that are not bookmarked yet.
        hidden_at_start: As many as there were when the process began.
    """

    progress: Progress | None
    durable: Durable
    closing: float | None = None
    hidden: int = 0
    hidden_at_start: int = 0

    def having(self, progress: Progress) -> "Work":
        """With other progress in memory."""
        return Work(progress, self.durable, self.closing, self.hidden, self.hidden_at_start)

    def holding(self, durable: Durable) -> "Work":
        """With something else durable."""
        return Work(self.progress, durable, self.closing, self.hidden, self.hidden_at_start)


@attrs.frozen
class World:
    """One world, as invariants see it. Times are seconds from now.

    Attributes:
        scope: The setting.
        session: The session in memory; None while no process is at it.
        row: The session as the store has it; None before the first.
        progress: Progress in memory; None while no process is at it.
        durable: What survives the process.
        operation: What the plan does next; None while no process is at it.
        is_cancelled: Whether somebody asked for a cancel that was not heard yet.
        is_store_out: Whether the session ends without its store.
        is_behind: Whether a commit took place without our knowledge.
        hidden_at_start: Items at the top that were not bookmarked yet when the process began.
    """

    scope: Scope
    session: SessionValue | None
    row: SessionValue | None
    progress: Progress | None
    durable: Durable
    operation: Operation | None
    is_cancelled: bool
    is_store_out: bool
    is_behind: bool
    hidden_at_start: int
