"""What the store is asked to write and what it answers: values only.

Pure. Must not know: SQL, tables, sources. Items appear by key; their content is the shell's.
"""

from collections.abc import Mapping

import attrs

from .progress import Checkpoint
from .states import SessionValue
from .taxonomy import ErrorCategory, Reason

__all__ = [
    "Claim",
    "Closed",
    "Counters",
    "CrawlKey",
    "Owner",
    "SessionRecord",
    "Skip",
]


@attrs.frozen
class CrawlKey:
    """Names a crawl: whose bookmarks, from which source."""

    user_id: str
    source: str


@attrs.frozen
class Owner:
    """The process that runs a session.

    Attributes:
        host: Name of the machine.
        boot_id: Changes when that machine starts anew; empty when unknown.
        pid: Process id.
        process_started: Start of the process as the system tells it; tells a reused pid; empty when unknown.
        run_id: Unique per engine object.
    """

    host: str
    boot_id: str
    pid: int
    process_started: str
    run_id: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@attrs.frozen
class Counters:
    """Running counts of one session; all from 0, none ever falls.

    Attributes:
        seen: Distinct items met; always stored + already_known + skipped.
        stored: Items stored by this session.
        already_known: Items met that were stored before.
        skipped: Items met that are kept as skipped.
        requests: Requests made.
        items_fetched: Items that the service counted.
        retries: Repeats of a failed operation.
        pauses: Rate-limit pauses.
        errors: Errors by category.
    """

    seen: int = 0
    stored: int = 0
    already_known: int = 0
    skipped: int = 0
    requests: int = 0
    items_fetched: int = 0
    retries: int = 0
    pauses: int = 0
    errors: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen
class Skip:
    """An item that was left out, kept so that it can be tried again.

    Attributes:
        key: The item's key.
        raw: Its raw form, JSON text.
        category: VALIDATION or DATABASE.
        reason: Finer kind.
        message: What was wrong, without the item's content.
        at: Epoch seconds.
    """

    key: str
    raw: str
    category: ErrorCategory
    reason: str
    message: str
    at: float


@attrs.frozen
class Closed:
    """A service's limit is used up until a time; honoured by every session of the account, also after a restart."""

    service: str
    account: str
    endpoint: str
    until: float


@attrs.frozen(kw_only=True)
class SessionRecord:
    """A session as the store knows it.

    Attributes:
        session_id: UUID version 7, text.
        crawl: Its crawl.
        ordinal: 1, 2, 3, ... within the crawl.
        value: State and timers as of the last commit.
        counters: As of the last commit.
        fence: Rises with every change of owner, and with every session of the crawl.
        revision: Rises with every commit.
        owner: Who runs it; None if nobody does.
        lease_until: Until when the owner may be trusted, epoch seconds.
        cancel_wish: Reason of a cancel asked for by anybody, or None.
        resumed_from: Session that the crawl's progress came from, or None.
        message: What the first error said; empty when there was none.
        durable: False after the store failed: what came after the last commit is not known here.
        started_at: Epoch seconds.
        updated_at: Epoch seconds of the last commit.
        ended_at: Epoch seconds, None while it is not final.
    """

    session_id: str
    crawl: CrawlKey
    ordinal: int
    value: SessionValue
    counters: Counters
    fence: int
    revision: int
    owner: Owner | None
    lease_until: float
    cancel_wish: str | None
    resumed_from: str | None
    message: str
    durable: bool
    started_at: float
    updated_at: float
    ended_at: float | None

    @property
    def is_only_asked_for(self) -> bool:
        """Whether nobody has begun it yet: it was made without a lease, none was taken since, and no step."""
        return self.lease_until <= self.started_at and self.value.seq == 0

    @property
    def is_unwanted(self) -> bool:
        """Whether somebody asked for its end while its process was ending it for a reason of its own.

        The first reason stays the session's; yet nobody is to go on with the crawl.
        """
        return self.cancel_wish is not None and self.cancel_wish != Reason.SIGNAL


@attrs.frozen(kw_only=True)
class Claim:
    """What a process gets when it starts or takes over a crawl.

    Attributes:
        session: The session to run: new, or found and taken over.
        checkpoint: Where the crawl stands; None if it never saved one in this generation.
        taken_over: Whether the session existed before (its process died, or its lease ended).
        closed_until: When the source's limit opens again, epoch seconds, if it is known to be closed.
        due_skips: Number of skipped items that are to be tried again first.
        was_only_asked_for: Whether nobody had begun it, though it existed; a store that does not know says False.
    """

    session: SessionRecord
    checkpoint: Checkpoint | None
    taken_over: bool
    closed_until: float | None
    due_skips: int
    was_only_asked_for: bool = False

    @property
    def is_resumed(self) -> bool:
        """Whether the session goes on with earlier progress, its own or another's."""
        return self.taken_over or self.session.resumed_from is not None
