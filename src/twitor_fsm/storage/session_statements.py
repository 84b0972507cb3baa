"""The statements that start, take over and find sessions, and find checkpoints: made once, run through Core.

To make such a statement anew takes longer than to run it on SQLite (0.2 to 0.5 ms), and each crawl starts with a dozen.
Parameters are named as in `statements`.
Must not know: when they are run.
"""

from typing import Final

import sqlalchemy as sa

from ..core.records import CrawlKey
from . import tables as t
from .statements import PLACED, above, new, the

__all__ = [
    "CLOSED_UNTIL",
    "COUNT_MISSING",
    "CRAWL",
    "CRAWL_BY_KEY",
    "CRAWL_ID",
    "DUE_SKIPS",
    "FREE_CRAWL_ID",
    "LAST_FENCE",
    "LIVE_SESSION",
    "NEW_SESSION",
    "NOTE_SESSION",
    "SESSION",
    "SESSIONS",
    "TAKE_OVER",
    "WISH_CANCEL",
    "of_key",
]

_crawl: Final = t.crawl.c
_session: Final = t.session.c
_closed: Final = t.closed.c
_skipped: Final = t.skipped.c

_OF_KEY: Final = sa.and_(_crawl.user_id == the(_crawl.user_id), _crawl.source == the(_crawl.source))


def of_key(crawl: CrawlKey) -> dict[str, str]:
    """The parameters that choose a crawl by its user and source."""
    return {"the_user_id": crawl.user_id, "the_source": crawl.source}


CRAWL_ID: Final = sa.select(_crawl.id).where(_OF_KEY)
FREE_CRAWL_ID: Final = CRAWL_ID.with_for_update(skip_locked=True)
CRAWL_BY_KEY: Final = sa.select(t.crawl).where(_OF_KEY)
CRAWL: Final = sa.select(t.crawl).where(_crawl.id == the(_crawl.id))

SESSIONS: Final = sa.select(t.session, _crawl.user_id, _crawl.source).select_from(
    t.session.join(t.crawl, _crawl.id == _session.crawl_id)
)
"""Sessions with their crawl's user and source."""

SESSION: Final = SESSIONS.where(_session.session_id == the(_session.session_id))
LIVE_SESSION: Final = SESSIONS.where(
    _session.crawl_id == the(_session.crawl_id), _session.ended_at.is_(None)
)

NEW_SESSION: Final = sa.insert(t.session)
NOTE_SESSION: Final = (
    sa.update(t.crawl)
    .values(
        last_session_id=new(_crawl.last_session_id),
        last_session_ordinal=new(_crawl.last_session_ordinal),
    )
    .where(_crawl.id == the(_crawl.id))
)
LAST_FENCE: Final = sa.select(
    sa.cast(_session.fence, sa.BigInteger)  # a number, whatever somebody wrote there
).where(_session.session_id == the(_session.session_id))

_AS_FOUND: Final = (
    sa.select(_session.session_id)
    .where(
        _session.session_id == the(_session.session_id),
        _session.fence == the(_session.fence),
        _session.lease_until == the(_session.lease_until),
        _session.ended_at.is_(None),
    )
    .with_for_update(skip_locked=True)
)
TAKE_OVER: Final = (
    sa.update(t.session)
    .values(
        fence=_session.fence + 1,
        revision=_session.revision + 1,
        owner=new(_session.owner),
        lease_until=new(_session.lease_until),
        cancel_wish=None,
    )
    .where(_session.session_id == _AS_FOUND.scalar_subquery())
)
"""Changes no row if the session changed since it was found, or is locked."""

WISH_CANCEL: Final = (
    sa.update(t.session)
    .values(cancel_wish=new(_session.cancel_wish))
    .where(_session.session_id == the(_session.session_id), _session.ended_at.is_(None))
)

CLOSED_UNTIL: Final = sa.select(_closed.until).where(
    _closed.service == the(_closed.service),
    _closed.account == the(_closed.account),
    _closed.endpoint == the(_closed.endpoint),
    _closed.until > the(_closed.until),
)
DUE_SKIPS: Final = sa.select(sa.func.count()).where(
    _skipped.crawl_id == the(_skipped.crawl_id), _skipped.due.is_(True)
)
COUNT_MISSING: Final = [
    sa.select(sa.func.count()).where(
        table.c.crawl_id == CRAWL_ID.scalar_subquery(),
        table.c.walk != sa.literal_column("0"),
        table.c.walk != the(table.c.walk),
        above(table.c),
    )
    for table in PLACED
]
