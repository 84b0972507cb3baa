"""Who runs a crawl: starting a session or taking one over, and asking it to end.

Plain functions of a connection, each one transaction. A claim holds its crawl's row from the first to the last statement,
so that two never both win; it takes locks that are free and waits for none (SKIP LOCKED), so that a worker is never held
up, and the order of locks cannot matter. Whoever holds one is at work on the crawl: it is as good as owned.
Must not know: how a process finds out that another is dead.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

from ..core.records import Claim, Counters, CrawlKey, Owner, SessionRecord
from ..core.states import SessionValue
from ..errors import CrawlOwned
from . import tables as t
from .reads import find_session
from .row_readers import read_checkpoint, read_session
from .rows import (
    counters_text,
    owner_text,
    value_columns,
)
from .session_statements import (
    CLOSED_UNTIL,
    CRAWL,
    CRAWL_ID,
    DUE_SKIPS,
    FREE_CRAWL_ID,
    LAST_FENCE,
    LIVE_SESSION,
    NEW_SESSION,
    NOTE_SESSION,
    TAKE_OVER,
    WISH_CANCEL,
    of_key,
)
from .statements import insert

__all__ = ["claim", "ensure_crawl", "hold_crawls", "live_session", "wish_cancel"]

_ROUNDS: Final = 2  # a session that ended or was renewed between two statements is looked at again

_MOMENT_S: Final = 1.0
"""After so long a lock is worth another try, seconds; transactions take milliseconds."""


def claim(
    connection: sa.Connection,
    crawl: CrawlKey,
    owner: Owner,
    *,
    session_id: str,
    initial: SessionValue,
    now: float,
    lease_s: float,
    limit: tuple[str, str, str],
    is_gone: Callable[[Owner], bool],
) -> Claim:
    """Start a session of the crawl, or take over the one that nobody runs; see `Store.claim`."""
    crawl_id = _hold_crawl(connection, crawl)
    if crawl_id is None:
        raise CrawlOwned(None, "another process", now + _MOMENT_S)
    lease_until = now + lease_s
    found: SessionRecord | None = None
    for _ in range(_ROUNDS):
        found = live_session(connection, crawl_id)
        if found is None:
            columns = {
                **value_columns(initial),
                "session_id": session_id,
                "owner": owner_text(owner),
                "lease_until": lease_until,
                "started_at": now,
                "updated_at": now,
            }
            _start(connection, crawl_id, columns)
            return _claimed(connection, crawl_id, session_id, limit, now, found=None)
        if not _is_free(found, now, is_gone):
            raise CrawlOwned(found.session_id, str(found.owner), found.lease_until)
        if _take_over(connection, found, owner, lease_until):
            return _claimed(connection, crawl_id, found.session_id, limit, now, found=found)
    raise CrawlOwned(None, "another process", now + _MOMENT_S)


def _hold_crawl(connection: sa.Connection, crawl: CrawlKey) -> int | None:
    """The id of the crawl's row, made if it is new, and ours until the transaction ends; None if another has it."""
    mine = of_key(crawl)
    held = connection.execute(FREE_CRAWL_ID, mine).scalar()
    if held is not None:
        return int(held)
    if connection.execute(CRAWL_ID, mine).scalar() is not None or not _may_make(connection, crawl):
        return None
    connection.execute(_make_crawl(connection, crawl))  # nobody else sees it before we commit
    made = connection.execute(FREE_CRAWL_ID, mine).scalar()
    return None if made is None else int(made)


def _make_crawl(connection: sa.Connection, crawl: CrawlKey) -> Any:
    put = insert(t.crawl, connection.dialect).values(
        user_id=crawl.user_id,
        source=crawl.source,
        generation=0,
        has_checkpoint=False,
        bookmarks_count=0,
        mark="{}",
        last_session_ordinal=0,
    )
    return put.on_conflict_do_nothing()


def _may_make(connection: sa.Connection, crawl: CrawlKey) -> bool:
    """Whether no other claim makes this crawl's row now, and nobody forgets its user.

    PostgreSQL would have us wait for the other's transaction; and a crawl that begins while its user is forgotten would
    find as stored what is about to go.
    """
    if connection.dialect.name != "postgresql":
        return True
    user = sa.func.pg_try_advisory_xact_lock_shared(_number_of_user(crawl.user_id))
    row = sa.func.pg_try_advisory_xact_lock(_number_of(crawl))
    return all(connection.execute(sa.select(user, row)).one())


def _number_of(crawl: CrawlKey) -> int:
    """What an advisory lock calls the crawl whose row is being made."""
    name = f"{crawl.source}\0{crawl.user_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), signed=True)


def _number_of_user(user_id: str) -> int:
    """What an advisory lock calls a user who is being forgotten."""
    name = user_id.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(name, digest_size=8, person=b"user").digest()
    return int.from_bytes(digest, signed=True)


def ensure_crawl(connection: sa.Connection, crawl: CrawlKey) -> int:
    """The id of the crawl's row, made if it is new; waits for whoever makes it, and has claims not wait for us."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_number_of(crawl))))
    connection.execute(_make_crawl(connection, crawl))
    return int(connection.execute(CRAWL_ID, of_key(crawl)).scalar_one())


def hold_crawls(connection: sa.Connection, user_id: str) -> list[int]:
    """The ids of all rows of a user's crawls, ours until the transaction ends; waits, and has claims not wait for us.

    Meanwhile no claim makes another.
    """
    c = t.crawl.c
    mine = sa.select(c.id, c.source).where(c.user_id == user_id).order_by(c.id)
    if connection.dialect.name == "postgresql":
        alone = sa.func.pg_advisory_xact_lock(_number_of_user(user_id))
        connection.execute(sa.select(alone))
        for row in connection.execute(mine).all():  # first what `ensure_crawl` takes first
            number = _number_of(CrawlKey(user_id, row.source))
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))
    return [row.id for row in connection.execute(mine.with_for_update())]


def live_session(connection: sa.Connection, crawl_id: int) -> SessionRecord | None:
    """The crawl's session that is not final, if there is one. Raises `SessionUnreadable`."""
    row = connection.execute(LIVE_SESSION, {"the_crawl_id": crawl_id}).mappings().first()
    return None if row is None else read_session(row)


def wish_cancel(connection: sa.Connection, session_id: str, reason: str) -> SessionRecord:
    """Note the wish in the session's row unless it has ended. Raises `SessionNotFound`."""
    values = {"the_session_id": session_id, "new_cancel_wish": reason}
    connection.execute(WISH_CANCEL, values)
    return find_session(connection, session_id)


def _is_free(session: SessionRecord, now: float, is_gone: Callable[[Owner], bool]) -> bool:
    return session.owner is None or session.lease_until <= now or is_gone(session.owner)


def _start(connection: sa.Connection, crawl_id: int, columns: dict[str, Any]) -> None:
    """Insert a session and note it in the crawl's row, which is held.

    Its fence goes on from the last session's: a handler's service compares fences over the sessions of a crawl.
    """
    row = connection.execute(CRAWL, {"the_id": crawl_id}).mappings().one()
    checkpoint = read_checkpoint(row)
    goes_on = checkpoint is not None and checkpoint.mark.has_begun
    ordinal, last = row["last_session_ordinal"] + 1, row["last_session_id"]
    fence = connection.execute(LAST_FENCE, {"the_session_id": last}).scalar() or 0
    session = {
        **columns,
        "crawl_id": crawl_id,
        "ordinal": ordinal,
        "counters": counters_text(Counters()),
        "message": "",
        "durable": True,
        "fence": fence + 1,
        "revision": 0,
        "resumed_from": last if goes_on else None,
    }
    connection.execute(NEW_SESSION, session)
    note = {
        "the_id": crawl_id,
        "new_last_session_id": columns["session_id"],
        "new_last_session_ordinal": ordinal,
    }
    connection.execute(NOTE_SESSION, note)


def _take_over(
    connection: sa.Connection, found: SessionRecord, owner: Owner, lease_until: float
) -> bool:
    """Raise the fence; False if the session's row changed meanwhile, or is locked: its owner is at work after all.

    A cancel wished from the dead run is void.
    """
    values = {
        "the_session_id": found.session_id,
        "the_fence": found.fence,
        "the_lease_until": found.lease_until,
        "new_owner": owner_text(owner),
        "new_lease_until": lease_until,
    }
    done = connection.execute(TAKE_OVER, values)
    return done.rowcount == 1


def _claimed(
    connection: sa.Connection,
    crawl_id: int,
    session_id: str,
    limit: tuple[str, str, str],
    now: float,
    *,
    found: SessionRecord | None,
) -> Claim:
    """What the claimer gets; `found` is the session as it was before, None for a new one."""
    crawl = connection.execute(CRAWL, {"the_id": crawl_id}).mappings().one()
    service, account, endpoint = limit
    of_limit = {"the_service": service, "the_account": account, "the_endpoint": endpoint}
    until = connection.execute(CLOSED_UNTIL, {**of_limit, "the_until": now}).scalar()
    due = connection.execute(DUE_SKIPS, {"the_crawl_id": crawl_id}).scalar_one()
    return Claim(
        session=find_session(connection, session_id),
        checkpoint=read_checkpoint(crawl),
        taken_over=found is not None,
        was_only_asked_for=found is not None and found.is_only_asked_for,
        closed_until=until,
        due_skips=int(due),
    )
