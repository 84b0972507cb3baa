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
from .reads import find_session, select_sessions
from .row_readers import read_checkpoint, read_session
from .rows import (
    counters_text,
    owner_text,
    value_columns,
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
    mine = _find_crawl(crawl)
    held = connection.execute(mine.with_for_update(skip_locked=True)).scalar()
    if held is not None:
        return int(held)
    if connection.execute(mine).scalar() is not None or not _may_make(connection, crawl):
        return None
    connection.execute(_make_crawl(connection, crawl))  # nobody else sees it before we commit
    made = connection.execute(mine.with_for_update(skip_locked=True)).scalar()
    return None if made is None else int(made)


def _find_crawl(crawl: CrawlKey) -> sa.Select[Any]:
    c = t.crawl.c
    return sa.select(c.id).where(c.user_id == crawl.user_id, c.source == crawl.source)


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
    return int(connection.execute(_find_crawl(crawl)).scalar_one())


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
    c = t.session.c
    row = connection.execute(
        select_sessions().where(c.crawl_id == crawl_id, c.ended_at.is_(None))
    ).mappings()
    found = row.first()
    return None if found is None else read_session(found)


def wish_cancel(connection: sa.Connection, session_id: str, reason: str) -> SessionRecord:
    """Note the wish in the session's row unless it has ended. Raises `SessionNotFound`."""
    c = t.session.c
    connection.execute(
        sa.update(t.session)
        .values(cancel_wish=reason)
        .where(c.session_id == session_id, c.ended_at.is_(None))
    )
    return find_session(connection, session_id)


def _is_free(session: SessionRecord, now: float, is_gone: Callable[[Owner], bool]) -> bool:
    return session.owner is None or session.lease_until <= now or is_gone(session.owner)


def _start(connection: sa.Connection, crawl_id: int, columns: dict[str, Any]) -> None:
    """Insert a session and note it in the crawl's row, which is held.

    Its fence goes on from the last session's: a handler's service compares fences over the sessions of a crawl.
    """
    row = connection.execute(sa.select(t.crawl).where(t.crawl.c.id == crawl_id)).mappings().one()
    checkpoint = read_checkpoint(row)
    goes_on = checkpoint is not None and checkpoint.mark.has_begun
    ordinal = row["last_session_ordinal"] + 1
    c = t.session.c
    spelled = sa.cast(c.fence, sa.BigInteger)  # a number, whatever somebody wrote there
    last = sa.select(spelled).where(c.session_id == row["last_session_id"])
    fence = (connection.execute(last).scalar() or 0) + 1
    put = sa.insert(t.session).values(
        **columns,
        crawl_id=crawl_id,
        ordinal=ordinal,
        counters=counters_text(Counters()),
        message="",
        durable=True,
        fence=fence,
        revision=0,
        resumed_from=row["last_session_id"] if goes_on else None,
    )
    connection.execute(put)
    connection.execute(
        sa.update(t.crawl)
        .values(last_session_id=columns["session_id"], last_session_ordinal=ordinal)
        .where(t.crawl.c.id == crawl_id)
    )


def _take_over(
    connection: sa.Connection, found: SessionRecord, owner: Owner, lease_until: float
) -> bool:
    """Raise the fence; False if the session's row changed meanwhile, or is locked: its owner is at work after all.

    A cancel wished from the dead run is void.
    """
    c = t.session.c
    values: dict[Any, Any] = {
        "fence": c.fence + 1,
        "revision": c.revision + 1,
        "owner": owner_text(owner),
        "lease_until": lease_until,
        "cancel_wish": None,
    }
    unchanged = (
        sa.select(c.session_id)
        .where(
            c.session_id == found.session_id,
            c.fence == found.fence,
            c.lease_until == found.lease_until,
            c.ended_at.is_(None),
        )
        .with_for_update(skip_locked=True)
    )
    done = connection.execute(
        sa.update(t.session).values(values).where(c.session_id == unchanged.scalar_subquery())
    )
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
    crawl = connection.execute(sa.select(t.crawl).where(t.crawl.c.id == crawl_id)).mappings().one()
    c = t.closed.c
    service, account, endpoint = limit
    until = connection.execute(
        sa.select(c.until).where(
            c.service == service, c.account == account, c.endpoint == endpoint, c.until > now
        )
    ).scalar()
    s = t.skipped.c
    due = sa.select(sa.func.count()).where(s.crawl_id == crawl_id, s.due.is_(True))
    return Claim(
        session=find_session(connection, session_id),
        checkpoint=read_checkpoint(crawl),
        taken_over=found is not None,
        was_only_asked_for=found is not None and found.is_only_asked_for,
        closed_until=until,
        due_skips=int(connection.execute(due).scalar_one()),
    )
