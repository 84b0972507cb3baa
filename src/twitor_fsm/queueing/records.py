"""What a task is, and how it is written: JSON behind a head of numbers that the scripts can read.

    1 PRIORITY MAX_RETRIES CREATED_MS ["TASK_TYPE",{PAYLOAD}]

Pure. A record that we cannot read is never guessed at: it goes to the dead letters byte by byte as it is.
Must not know: Valkey.
"""

import math
import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, TypeGuard

import attrs
import msgspec

from ..errors import TaskRefused
from ..plugins import is_finite

__all__ = [
    "MAX_PAYLOAD_BYTES",
    "DeadReason",
    "DeadTask",
    "MalformedRecord",
    "NewTask",
    "QueueTask",
    "as_text",
    "body_of",
    "dead_task",
    "is_number",
    "log_facts_of",
    "new_task",
    "queue_task",
    "record_of",
]

MAX_PAYLOAD_BYTES: Final = 1024 * 1024
"""Size of a payload as JSON at most, bytes. What is larger belongs into a database, its id into the payload."""

MAX_RECORD_BYTES: Final = 65 * 1024 * 1024
"""A larger record is none of ours: 64 MiB is the largest payload that a manager may be told to allow."""

MAX_PRIORITY: Final = 10**9
MAX_RETRIES: Final = 1000
MAX_DELAY_S: Final = 366 * 86_400.0
MAX_NAME: Final = 200
TEXT_LIMIT: Final = 10_000
"""How much of a record that cannot be read is shown, characters."""

NO_WORD: Final = "-"
_COUNT_DIGITS: Final = 9


class DeadReason(StrEnum):
    """Why a task is among the dead letters."""

    FAILED = "failed"
    """Its handler failed and no tries were left."""
    LEASE_EXPIRED = "lease_expired"
    """Its workers died or fell silent, each time, and no tries were left."""
    MALFORMED = "malformed"
    """It cannot be read."""
    REJECTED = "rejected"
    """Its worker saw that trying again is of no use."""


class MalformedRecord(Exception):
    """A record that is not one of ours."""


@attrs.frozen(kw_only=True)
class QueueTask:
    """A task that was taken from the queue.

    Attributes:
        task_id: Unique in its queue while the task is not done.
        task_type: What its handler is found by.
        payload: A JSON object.
        priority: Higher is processed first.
        retry_count: Tries before this one that failed or whose worker died, from 0.
        max_retries: Tries after the first one at most.
        created_at: When it was enqueued, epoch seconds by the server's clock.
        lease_token: Rises with each time the task is taken: a fencing number for an app's own writes.
    """

    task_id: str
    task_type: str
    payload: dict[str, Any]
    priority: int = 0
    retry_count: int = 0
    max_retries: int = 0
    created_at: float = 0.0
    lease_token: int = 0


def log_facts_of(task: QueueTask) -> dict[str, str]:
    """What records about a task carry: its type as `operation`, and whose it is if its payload says so in a text.

    Payloads name user and session as the records do: `user_id`, `session_id`.
    """
    facts = {"operation": task.task_type}
    for name in ("session_id", "user_id"):
        value = task.payload.get(name)
        if isinstance(value, str):
            facts[name] = value
    return facts


@attrs.frozen(kw_only=True)
class DeadTask:
    """A task among the dead letters.

    Attributes:
        task_id: Its id.
        task_type: Its type; empty when the record cannot be read.
        payload: Its payload; for a record that cannot be read, the record as text.
        priority: Its priority.
        retry_count: Tries after the first one.
        max_retries: How many of them it had.
        created_at: When it was enqueued, epoch seconds; 0 when unknown.
        reason: Why it is here.
        first_error: Class of the first error; None when its worker died each time.
        last_error: Class of the last one.
        died_at: When it came here, epoch seconds by the server's clock.
    """

    task_id: str
    task_type: str
    payload: dict[str, Any] | str
    priority: int
    retry_count: int
    max_retries: int
    created_at: float
    reason: DeadReason
    first_error: str | None
    last_error: str | None
    died_at: float


@attrs.frozen(kw_only=True)
class NewTask:
    """A task that is to be added.

    Attributes:
        task_id: Unique; one that is known already adds nothing.
        body: Type and payload as JSON.
        priority: Higher is processed first.
        max_retries: Tries after the first one at most.
        delay_ms: Not before so many milliseconds from now.
    """

    task_id: str
    body: bytes
    priority: int
    max_retries: int
    delay_ms: int


def body_of(task_type: str, payload: Mapping[str, Any], *, limit: int = MAX_PAYLOAD_BYTES) -> bytes:
    """Type and payload as JSON.

    Raises:
        TaskRefused: It is no JSON object, or too large.
    """
    if not _is_name(task_type):
        raise TaskRefused(
            f"task_type is {str(task_type)[:50]!r}, allowed are 1 to {MAX_NAME} printable characters; "
            "nothing was added"
        )
    if not isinstance(payload, Mapping):
        raise TaskRefused(
            f"a payload has to be a JSON object (dict), this one is a {type(payload).__name__}; nothing was added"
        )
    try:
        body = msgspec.json.encode((task_type, payload))
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise TaskRefused(
            f"the payload of a {task_type!r} task cannot be written as JSON ({type(error).__name__}); "
            "nothing was added"
        ) from error
    if not is_finite(payload):
        raise TaskRefused(
            f"the payload of a {task_type!r} task holds a number that JSON does not know (NaN or infinite); "
            "nothing was added"
        )
    if len(body) > limit:
        raise TaskRefused(
            f"the payload of a {task_type!r} task has {len(body)} bytes, allowed are {limit}; nothing was added. "
            "Put the data into a database and its id into the payload"
        )
    return body


def new_task(
    *, task_id: str, body: bytes, priority: int, max_retries: int, delay_s: float
) -> NewTask:
    """Check the numbers of a task.

    Raises:
        TaskRefused: One of them is out of its range.
    """
    problems = []
    if not _is_name(task_id):
        problems.append(f"task_id has to have 1 to {MAX_NAME} printable characters")
    if not _is_whole(priority, -MAX_PRIORITY, MAX_PRIORITY):
        problems.append(f"priority has to be a whole number from {-MAX_PRIORITY} to {MAX_PRIORITY}")
    if not _is_whole(max_retries, 0, MAX_RETRIES):
        problems.append(f"max_retries has to be a whole number from 0 to {MAX_RETRIES}")
    if not is_number(delay_s) or not 0 <= delay_s <= MAX_DELAY_S:
        problems.append(f"delay has to be from 0 to {MAX_DELAY_S:.0f} seconds")
    if problems:
        raise TaskRefused(f"{'; '.join(problems)}; nothing was added")
    return NewTask(
        task_id=task_id,
        body=body,
        priority=priority,
        max_retries=max_retries,
        delay_ms=round(delay_s * 1000),
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable()


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is one to reckon with: infinity is; NaN, truth values and what no float can hold are not."""
    if isinstance(value, float):
        return not math.isnan(value)
    return (
        isinstance(value, int) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    )


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


_BODY: Final = msgspec.json.Decoder(tuple[str, dict[str, Any]])


def queue_task(task_id: bytes, record: bytes, *, tries: int, token: int) -> QueueTask:
    """Read a record.

    Args:
        task_id: Its id.
        record: As it stands in the queue.
        tries: How often it was taken so far; 0 when it only waits.
        token: Of its lease; 0 without one.

    Raises:
        MalformedRecord: It is not one of ours.
    """
    if len(record) > MAX_RECORD_BYTES:
        raise MalformedRecord(f"{len(record)} bytes")
    try:
        version, priority, max_retries, created_ms, body = record.split(b" ", 4)
        if version != b"1":
            raise MalformedRecord(f"version {version[:20]!r}")
        task_type, payload = _BODY.decode(body)
        return QueueTask(
            task_id=task_id.decode(),
            task_type=task_type,
            payload=payload,
            priority=int(priority),
            retry_count=max(0, tries - 1),
            max_retries=int(max_retries),
            created_at=int(created_ms) / 1000,
            lease_token=token,
        )
    except (ValueError, OverflowError, msgspec.MsgspecError, RecursionError) as error:
        raise MalformedRecord(type(error).__name__) from error


def record_of(task: QueueTask) -> bytes:
    """The record that a task was read from, written again."""
    head = f"1 {task.priority} {task.max_retries} {round(task.created_at * 1000)} "
    return head.encode() + msgspec.json.encode((task.task_type, task.payload))


def dead_task(task_id: bytes, record: bytes, note: bytes, *, died_ms: float) -> DeadTask:
    """Read a dead letter; a record that cannot be read is shown as text."""
    words = [word.decode("utf-8", "replace") for word in note.split(b" ")]
    reason, tries, _, first, last = (
        words if len(words) == 5 else [DeadReason.MALFORMED, "0", "0", NO_WORD, NO_WORD]
    )
    count = int(tries) if tries.isdecimal() and len(tries) <= _COUNT_DIGITS else 0
    try:
        task = queue_task(task_id, record, tries=count, token=0)
    except MalformedRecord:
        task = None
    return DeadTask(
        task_id=as_text(task_id),
        task_type=task.task_type if task else "",
        payload=task.payload if task else as_text(record),
        priority=task.priority if task else 0,
        retry_count=max(0, count - 1),
        max_retries=task.max_retries if task else 0,
        created_at=task.created_at if task else 0.0,
        reason=DeadReason(reason) if reason in set(DeadReason) else DeadReason.MALFORMED,
        first_error=None if first == NO_WORD else first,
        last_error=None if last == NO_WORD else last,
        died_at=died_ms / 1000,
    )


def as_text(raw: bytes) -> str:
    """Any bytes as text that can be read and printed; long ones are cut and say so."""
    text = raw[:TEXT_LIMIT].decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(raw) <= TEXT_LIMIT else f"{shown}… ({len(raw)} bytes)"
