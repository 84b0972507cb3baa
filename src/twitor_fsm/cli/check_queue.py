"""`twitor doctor`'s look at the queue: Valkey, what it keeps, what waits, dead letters.

Only asks; an embedded server that is not running is started for that, and stops again.
Must not know: terminals.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from .checkup import Check, fail, ok, warn
from .database import database_of, file_of
from .words import count, duration, parts

if TYPE_CHECKING:
    from ..config import Settings
    from ..queue_manager import QueueHealth, QueueManager
    from ..valkey.server_facts import ServerFacts

__all__ = ["check_queue"]

_LETTERS: Final = 1000
"""Dead letters that are counted by reason."""

_LONG_S: Final = 600.0
"""A task that waits longer while nobody works: no worker runs, most likely."""

_REACH: Final = (
    "does it run? docker-compose -f docker-compose.valkey.yml ps (and: logs valkey); "
    "redis-cli -h HOST -p PORT ping says PONG; VALKEY_URL says where it is looked for"
)


def check_queue(db: str | None, settings: "Settings") -> list[Check]:
    """Everything about the queue; one line if none is used."""
    from ..config import valkey_is_chosen
    from ..valkey.embedded import EMBEDDED, folder_beside

    database = database_of(db, settings)
    settings = attrs.evolve(settings, database_url=database)
    file = file_of(database)
    if not valkey_is_chosen():
        if file is None or not folder_beside(database).exists():
            return [
                ok("valkey", "not used: VALKEY_URL is not set, and no queue is beside the database")
            ]
        settings = attrs.evolve(settings, valkey_url=EMBEDDED)
    if (
        settings.valkey_url == EMBEDDED
        and file is not None
        and not folder_beside(database).exists()
    ):
        return [ok("valkey", "embedded, and not used yet: the first task makes it")]
    return asyncio.run(_look(settings))


async def _look(settings: "Settings") -> list[Check]:
    from ..errors import QueueUnavailable, TwitorError
    from ..queue_manager import QueueManager
    from ..valkey.embedded import EMBEDDED

    found: list[Check] = []
    try:
        async with QueueManager(settings=settings) as queue:
            found += await _check_server(queue, settings)
            health = await queue.health_check()
            found.append(_check_tasks(health, is_paused=await queue.is_paused()))
            found.append(await _check_dead_letters(queue, health["dead_letter_size"] or 0))
    except QueueUnavailable as exc:
        remedy = (
            _REACH
            if settings.valkey_url != EMBEDDED
            else "look at what it says; then run doctor again"
        )
        found.append(fail("valkey", str(exc), remedy))
    except TwitorError as exc:
        found.append(fail("valkey", str(exc), "correct VALKEY_URL: its host, user and password"))
    return found


async def _check_server(queue: "QueueManager", settings: "Settings") -> list[Check]:
    from ..config import without_password
    from ..errors import QueueMisconfigured

    url = settings.valkey_url
    where = "the embedded server" if url == "embedded" else without_password(url)
    try:
        facts = await queue.server_facts()
    except QueueMisconfigured:  # a user of an ACL, as docs/queue.md advises
        said = f"{where} answers; its settings are not shown to this user, so they were not checked"
        return [ok("valkey", said)]
    return [
        ok("valkey", f"{where} answers: {facts.name} {facts.version}"),
        _check_persistence(facts),
        _check_memory(facts),
    ]


def _check_persistence(facts: "ServerFacts") -> Check:
    name = "valkey_persistence"
    if not facts.appends:
        return warn(
            name,
            "no append-only file: a restart of Valkey forgets tasks (crawls come again from the database)",
            "start it with --appendonly yes, as docker-compose.valkey.yml does",
        )
    if facts.is_write_failing:
        return fail(
            name,
            "its last write to the append-only file failed, so it takes no tasks",
            "look at its disk and its log: docker-compose -f docker-compose.valkey.yml logs valkey",
        )
    return ok(name, "append-only file: what is in the queue survives a restart")


def _check_memory(facts: "ServerFacts") -> Check:
    name = "valkey_memory"
    if facts.policy == "noeviction":
        limit = f"{facts.limit_bytes >> 20:,} MiB" if facts.limit_bytes else "none"
        return ok(name, f"maxmemory-policy noeviction (limit: {limit}): no task is thrown away")
    remedy = "redis-cli CONFIG SET maxmemory-policy noeviction, and in its configuration"
    said = f"maxmemory-policy {facts.policy}"
    if facts.limit_bytes and facts.policy.startswith("allkeys"):
        return fail(name, f"{said}: a full server throws tasks away", remedy)
    return warn(name, f"{said}: with a limit of memory, tasks may be thrown away", remedy)


def _check_tasks(health: "QueueHealth", *, is_paused: bool) -> Check:
    waiting, in_flight = health["queue_size"] or 0, health["in_flight"] or 0
    oldest_s = health["oldest_s"] or 0.0
    said = f"{waiting:,} waiting, {in_flight:,} in flight, {health['delayed'] or 0:,} delayed"
    if health["error"] is not None:
        return fail(
            "queue",
            f"{said}; {health['error']}",
            "name the primary in VALKEY_URL, or look at its log",
        )
    if is_paused:
        return warn(
            "queue",
            f"{said}; it is paused, so nothing is handed out",
            "twitor queue resume, when what paused it is settled (a refused bill pauses it, too)",
        )
    if waiting and not in_flight and oldest_s > _LONG_S:
        return warn(
            "queue",
            f"{said}; the oldest has waited {duration(oldest_s)}, and nobody works",
            "start a worker: twitor worker",
        )
    return ok("queue", said)


async def _check_dead_letters(queue: "QueueManager", size: int) -> Check:
    if not size:
        return ok("dead_letters", "none")
    letters = await queue.dead_letters.list(limit=_LETTERS)
    reasons = Counter(letter.reason.value for letter in letters)
    among = f" among the newest {_LETTERS:,}" if size > _LETTERS else ""
    said = parts([(number, reason) for reason, number in reasons.most_common()])
    return warn(
        "dead_letters",
        f"{count(size, 'task')} failed for good: {said}{among}",
        " ".join(_advice(reasons)),
    )


def _advice(reasons: Counter[str]) -> Iterator[str]:
    """The design document's remedies, "Dead Letter Queue Growing", where they apply."""
    yield "look at their payloads: twitor queue dead list;"
    if reasons["malformed"] or reasons["rejected"]:
        yield "check the data that was enqueued, and that workers know its task types;"
    if reasons["failed"]:
        yield "check that the services that they need are there, or set a larger MAX_RETRIES;"
    if reasons["lease_expired"]:
        yield "find out what killed their workers (memory?);"
    yield "then: twitor queue dead retry, or dead purge"
