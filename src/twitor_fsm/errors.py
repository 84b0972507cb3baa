"""Every exception that twitor_fsm raises, and what it says about the data.

    TwitorError
    ├── ConfigurationError        a setting, argument or missing extra; nothing was started
    ├── SpecError                 a machine's table is wrong; names the row
    ├── IllegalStep               the table has no row for this event in this state
    ├── JournalRefused            a journal is damaged, or its machine does not allow what it says
    ├── SourceError               a source could not give a page or an item
    │   ├── CredentialsMissing    no token for this user
    │   ├── AuthenticationFailed  the service refuses the token
    │   ├── RateLimited           the service asks to wait
    │   ├── SourceUnavailable     no or no usable answer; the same request may succeed later
    │   ├── CursorRefused         the service no longer knows the page cursor
    │   ├── RequestRefused        the service refuses the request itself; asking again will not help
    │   ├── BillingRefused        credits or a spend cap are used up
    │   ├── SourceLoops           the listing repeats itself and never ends
    │   ├── InvalidItem           one item lacks what it must have
    │   └── UnreadableFile        a file is not in a format that we understand
    ├── StoreError                the database
    │   ├── StoreUnavailable      no answer, full, read-only, broken; what was committed before stands
    │   ├── ItemsRefused          the database refuses some items of a batch; nothing was written
    │   ├── LeaseLost             another process took this session over; our result was dropped
    │   ├── CrawlOwned            another process runs this crawl
    │   ├── SessionNotFound       no session with this id
    │   ├── SessionUnreadable     a session's row holds what no version of ours wrote
    │   ├── RowUnreadable         so does another row: a journal's, a checkpoint's, a bookmark's, a skipped item's
    │   └── SchemaMismatch        the database's schema is not this version's; left untouched
    │       └── OtherSchemaVersion  it is an older or a newer one, or not there yet: an upgrade puts it right
    └── QueueError                the task queue
        ├── QueueUnavailable      no answer from Valkey; calling again is safe
        ├── QueueUnauthorized     Valkey refuses the password or the user
        ├── QueueMisconfigured    Valkey forbids a command or a key, or what answers is no Valkey
        ├── QueueFull             the queue's own limit is reached; nothing was added
        ├── QueueOutOfMemory      the server's memory is used up; nothing was added
        ├── TaskRefused           a task cannot be written as it is; nothing was added
        └── TaskLeaseLost         another worker has the task; our result was dropped

A message says what happened, what state the data is in and what to do next. No message holds a token or a bookmark's text.
"""

from datetime import UTC, datetime

import attrs

from .core.taxonomy import Reason
from .core.values import JournalRow

__all__ = [
    "AuthenticationFailed",
    "BillingRefused",
    "ConfigurationError",
    "CrawlOwned",
    "CredentialsMissing",
    "CursorRefused",
    "IllegalStep",
    "InvalidItem",
    "ItemsRefused",
    "JournalRefused",
    "LeaseLost",
    "OtherSchemaVersion",
    "QueueError",
    "QueueFull",
    "QueueMisconfigured",
    "QueueOutOfMemory",
    "QueueUnauthorized",
    "QueueUnavailable",
    "RateLimited",
    "RequestRefused",
    "RowUnreadable",
    "SchemaMismatch",
    "SessionNotFound",
    "SessionUnreadable",
    "SourceError",
    "SourceLoops",
    "SourceUnavailable",
    "SpecError",
    "StoreError",
    "StoreUnavailable",
    "TaskLeaseLost",
    "TaskRefused",
    "TwitorError",
    "UnreadableFile",
]


class TwitorError(Exception):
    """Root of everything we raise on purpose."""


class ConfigurationError(TwitorError):
    """A setting, an argument or an extra is missing or wrong; nothing was started and nothing changed."""


class SpecError(TwitorError):
    """A machine's table contradicts itself; the message names the row."""


@attrs.define(eq=False)
class IllegalStep(TwitorError):
    """The table has no row for this trigger in this state: a bug of the caller, the session's value is unchanged."""

    state: str
    trigger: str

    def __str__(self) -> str:
        return f"trigger {self.trigger!r} is not allowed in state {self.state!r}; the session was left as it was"


@attrs.define(eq=False)
class JournalRefused(TwitorError):
    """A journal is damaged, or is not what its machine does; it was only read.

    Attributes:
        position: Which row it is, from 1.
        seq: The row's own number; None if it could not be read.
        why: What is wrong with it.
    """

    position: int
    seq: int | None
    why: str

    def __str__(self) -> str:
        name = f"row {self.position}" + (f" (step {self.seq})" if self.seq is not None else "")
        before = "nothing of it was used" if self.position == 1 else "what stands before was read"
        return f"the journal is refused at its {name}: {self.why}; {before}. Nothing was changed"


class SourceError(TwitorError):
    """A source could not give what was asked for; nothing of it was stored.

    Attributes:
        requests: Requests that were made for it, for the count of the session.
    """

    requests: int = 1


class CredentialsMissing(SourceError):
    """No token is known for this user; no request was made."""

    requests: int = 0


@attrs.define(eq=False)
class AuthenticationFailed(SourceError):
    """The service refuses the token; what is stored stays as it is."""

    message: str
    reason: Reason = Reason.TOKEN_REFUSED

    def __str__(self) -> str:
        return self.message


@attrs.define(eq=False)
class RateLimited(SourceError):
    """The service asks to wait before the next request."""

    reset_at: float | None = None
    """When the service opens again, epoch seconds by *our* clock; None when it did not say."""
    reason: Reason = Reason.RATE_LIMITED

    def __str__(self) -> str:
        if self.reset_at is None:
            return "the service's rate limit is used up; it did not say until when"
        try:
            when = datetime.fromtimestamp(self.reset_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        except (OverflowError, OSError, ValueError):
            when = "a time that no calendar has"
        return f"the service's rate limit is used up until {when}"


@attrs.define(eq=False)
class SourceUnavailable(SourceError):
    """No answer, or none that can be used; the same request may succeed later."""

    message: str
    reason: Reason = Reason.CONNECTION

    def __str__(self) -> str:
        return self.message


@attrs.define(eq=False)
class CursorRefused(SourceError):
    """The service no longer knows the page cursor; the listing has to be walked from the top."""

    message: str

    def __str__(self) -> str:
        return self.message


@attrs.define(eq=False)
class RequestRefused(SourceError):
    """The service refuses the request itself; asking again will not help."""

    message: str
    reason: Reason = Reason.REQUEST_REFUSED

    def __str__(self) -> str:
        return self.message


@attrs.define(eq=False)
class BillingRefused(SourceError):
    """Credits, a usage cap or a spend cap are used up; no clock heals it, a person must."""

    message: str

    def __str__(self) -> str:
        return self.message


@attrs.define(eq=False)
class SourceLoops(SourceError):
    """The listing repeats itself: the crawl stopped instead of paying for the same pages for ever."""

    message: str

    def __str__(self) -> str:
        return self.message


@attrs.define(eq=False)
class InvalidItem(SourceError):
    """One item lacks what it must have; the others of its page are fine."""

    message: str

    def __str__(self) -> str:
        return self.message


class UnreadableFile(SourceError):
    """A file is not in a format that we understand; says what was seen and what is understood."""


class StoreError(TwitorError):
    """The database did not do what was asked; what was committed before stands."""


@attrs.define(eq=False)
class StoreUnavailable(StoreError):
    """No answer from the database, or it is full, read-only or broken; what was committed before stands."""

    message: str
    reason: Reason = Reason.STORE_UNAVAILABLE
    retryable: bool = True
    """Whether the same transaction may succeed within seconds (busy, connection) or not (full, read-only, corrupt)."""

    def __str__(self) -> str:
        return self.message


@attrs.define(eq=False)
class ItemsRefused(StoreError):
    """The database refuses some items of a batch; the whole batch was rolled back.

    `refused` maps the item's key to what the database said of it (without the item's text).
    """

    refused: dict[str, tuple[Reason, str]]

    def __str__(self) -> str:
        return f"the database refuses {len(self.refused)} item(s) of the batch; nothing of it was written"


@attrs.define(eq=False)
class LeaseLost(StoreError):
    """Another process took the session over; our uncommitted work was dropped and will be done by the new owner."""

    session_id: str

    def __str__(self) -> str:
        return (
            f"session {self.session_id} was taken over by another process; this process wrote nothing more "
            "and the new owner goes on from the last checkpoint"
        )


@attrs.define(eq=False)
class CrawlOwned(StoreError):
    """Another live process runs this crawl; nothing was started, or changed."""

    session_id: str | None
    """Its session; None if the other one is just about to start it, or to take it over."""
    owner: str
    lease_until: float
    """When another try makes sense, unless the owner gives a sign of life, epoch seconds."""
    undone: str = "nothing was started"
    """What did not happen, in words."""

    def __str__(self) -> str:
        if self.session_id is None:
            return f"{self.owner} takes this crawl at this moment; {self.undone}. Try again"
        return (
            f"this crawl is already running as session {self.session_id} ({self.owner}); "
            f"{self.undone}. Wait for it, or end it with: twitor sessions cancel " + self.session_id
        )


@attrs.define(eq=False)
class SessionNotFound(StoreError):
    """No session has this id."""

    session_id: str

    def __str__(self) -> str:
        return f"no session {self.session_id!r:.60} in this database; list them with: twitor sessions list"


@attrs.define(eq=False)
class SessionUnreadable(StoreError):
    """A session's row holds what no version of ours wrote; it was left as it is, and so were the others."""

    session_id: str
    why: str
    """The class of the error that its content met."""

    def __str__(self) -> str:
        return (
            f"session {self.session_id} cannot be read ({self.why}): somebody else has written its row; nothing was "
            "changed. Repair or delete that row of twitor_session; other crawls go on"
        )


@attrs.define(eq=False)
class RowUnreadable(StoreError):
    """A row holds what no version of ours wrote; it was left as it is, and so were the others."""

    table: str
    row: str
    """Which one, in words."""
    why: str
    """The class of the error that its content met."""
    remedy: str = "Repair or delete that row"
    others: tuple[JournalRow, ...] = attrs.field(default=(), kw_only=True, repr=False)
    """Of a journal: the steps that can be read, in order."""

    def __str__(self) -> str:
        return (
            f"{self.row} cannot be read ({self.why}): somebody else has written its row of {self.table}; nothing was "
            f"changed. {self.remedy}"
        )


class SchemaMismatch(StoreError):
    """The database's schema is not this version's; it was left untouched."""


class OtherSchemaVersion(SchemaMismatch):
    """The database has the schema of an older or a newer version, or no tables yet.

    An upgrade, of the database or of this program, puts it right: what waits for that need not be started again.
    """


class QueueError(TwitorError):
    """The queue did not do what was asked; tasks that it accepted before stand."""


@attrs.define(eq=False)
class QueueUnavailable(QueueError):
    """No answer from Valkey: down, restarting, out of reach or too slow. Each call of ours may be repeated."""

    message: str
    is_outcome_unknown: bool = True
    """Whether the change may have been made all the same; False when the server was not even reached."""

    def __str__(self) -> str:
        return self.message


@attrs.define(eq=False)
class QueueUnauthorized(QueueError):
    """Valkey refuses the password or the user of the URL; nothing was changed."""

    message: str

    def __str__(self) -> str:
        return self.message


@attrs.define(eq=False)
class QueueMisconfigured(QueueError):
    """Valkey forbids the user a command or a key, or what answers there is no Valkey; nothing was changed."""

    message: str

    def __str__(self) -> str:
        return self.message


@attrs.define(eq=False)
class QueueFull(QueueError):
    """The queue's own limit is reached; nothing was added."""

    queue_name: str
    max_size: int

    def __str__(self) -> str:
        return (
            f"queue {self.queue_name!r} holds its {self.max_size} tasks (max_size); nothing was added. "
            'Wait until workers have taken some, or use when_full="block"'
        )


@attrs.define(eq=False)
class QueueOutOfMemory(QueueError):
    """The server's memory limit is reached; nothing was added, and workers go on draining."""

    queue_name: str

    def __str__(self) -> str:
        return (
            f"Valkey has reached its maxmemory; nothing was added to queue {self.queue_name!r}. "
            "Workers go on: try again when they have drained it, or give the server more memory"
        )


@attrs.define(eq=False)
class TaskRefused(QueueError):
    """A task cannot be written as it is (no JSON, too large, no such priority); nothing was added."""

    message: str

    def __str__(self) -> str:
        return self.message


@attrs.define(eq=False)
class TaskLeaseLost(QueueError):
    """Another worker took this task over; our result must be dropped."""

    task_id: str

    def __str__(self) -> str:
        return (
            f"the lease on task {self.task_id!r} ended and it was taken back; this worker's result was dropped "
            "and another try decides (raise lease_s, or let the event loop breathe)"
        )
