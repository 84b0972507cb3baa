"""The statements of the hot path: those of every transaction of a running session, prepared once per dialect.

Parameters are named after the columns, those that only choose a row with `the_` in front.
Must not know: when they are run.
"""

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ..core.taxonomy import Reason
from ..errors import ConfigurationError
from . import tables as t
from .prepared import Prepared, PreparedRows
from .rows import json_text
from .text import encode

__all__ = ["PLACED", "Statements", "above", "insert", "new", "statements", "the"]


def insert(table: sa.Table, dialect: sa.Dialect) -> Any:
    """An INSERT that knows ON CONFLICT; the two dialects spell its construct alike but share no type."""
    if dialect.name == "sqlite":
        return sqlite.insert(table)
    if dialect.name == "postgresql":
        return postgresql.insert(table)
    raise ConfigurationError(
        f"the store knows SQLite and PostgreSQL, not {dialect.name}; nothing was written"
    )


def the(column: sa.Column[Any]) -> sa.BindParameter[Any]:
    """The parameter that chooses rows by this column: `the_<column>`."""
    return sa.bindparam(f"the_{column.name}", type_=column.type)


def _set(*columns: sa.Column[Any]) -> dict[str, sa.BindParameter[Any]]:
    """Assignments of an UPDATE from parameters."""
    return {c.name: new(c) for c in columns}


def new(column: sa.Column[Any]) -> sa.BindParameter[Any]:
    """The parameter for the column's new value: `new_<column>` (Core keeps the bare names for itself)."""
    return sa.bindparam(f"new_{column.name}", type_=column.type)


PLACED: Final = (t.listing, t.skipped)
"""The tables whose rows have places in a crawl's listing: `crawl_id`, `walk` (0: none), `position`."""


def above(c: Any) -> sa.ColumnElement[bool]:
    """The row's place is nearer to the top of the last completed listing than `above_walk`, `above_position`.

    See `core.listing`. Every place is above (0, 0).
    """
    walk = sa.bindparam("above_walk", type_=c.walk.type)
    position = sa.bindparam("above_position", type_=c.position.type)
    return sa.or_(c.walk > walk, sa.and_(c.walk == walk, c.position < position))


class Statements:
    """All of them, for one dialect."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self.lookup = self._prepare(_lookup(dialect))
        self.update_session = self._prepare(_update_session())
        self.heartbeat = self._prepare(_heartbeat())
        self.update_crawl = self._prepare(_update_crawl())
        self.update_count = self._prepare(_update_count())
        self.insert_journal = self._prepare(sa.insert(t.journal))
        self.upsert_bookmark = PreparedRows(
            _upsert_bookmark(dialect), dialect, row=" ".join(_BOOKMARK)
        )
        self.enrich_bookmark = self._prepare(_enrich_bookmark())
        self.place_bookmark = PreparedRows(
            _place_bookmark(dialect),
            dialect,
            row="the_item_id the_position",
            shared="the_crawl_id the_walk the_session the_user_id",
        )
        self.meet_bookmark = self._prepare(_meet_bookmark(dialect))
        self.meet_skipped = self._prepare(_meet_skipped())
        self.upsert_skipped = self._prepare(_upsert_skipped(dialect))
        self.delete_skipped = PreparedRows(
            _delete_skipped(dialect), dialect, row="the_item_key", shared="the_crawl_id"
        )
        self.mark_due = self._prepare(
            sa.update(t.skipped)
            .values(_set(t.skipped.c.due))
            .where(
                t.skipped.c.crawl_id == the(t.skipped.c.crawl_id),
                t.skipped.c.item_key == the(t.skipped.c.item_key),
            )
        )
        self.upsert_closed = self._prepare(_upsert_closed(dialect))
        self.void_walk = [self._prepare(_void_walk(table)) for table in PLACED]
        self.void_above = [self._prepare(_void_above(table)) for table in PLACED]

    def _prepare(self, statement: Any) -> Prepared:
        return Prepared(statement, self._dialect)

    def key_list(self, keys: Iterable[str]) -> str | list[str]:
        """Keys as the parameter `keys` of `lookup`: one value, however many they are."""
        spelled = [encode(key) for key in keys]
        return json_text(spelled) if self._dialect.name == "sqlite" else spelled


_PREPARED: Final[dict[tuple[str, str], Statements]] = {}


def statements(dialect: sa.Dialect) -> Statements:
    """The statements for a dialect, prepared at the first call for its driver (some 10 ms), then shared."""
    key = (dialect.name, dialect.driver)
    found = _PREPARED.get(key)
    if found is None:
        found = _PREPARED[key] = Statements(dialect)
    return found


def _update_session() -> Any:
    """Answers (cancel wish, crawl id, the crawl's mark, whether there are skipped items at all)."""
    c = t.session.c
    mark = sa.select(t.crawl.c.mark).where(t.crawl.c.id == c.crawl_id).correlate(t.session)
    skips = sa.exists(sa.select(t.skipped.c.crawl_id))
    values = _set(
        c.state,
        c.seq,
        c.tries,
        c.retry_at,
        c.resume_at,
        c.category,
        c.reason,
        c.absorbed,
        c.counters,
        c.durable,
        c.updated_at,
        c.ended_at,
    )
    # A release gives nothing up while a cancel is wished: the owner hears of it by this very statement.
    is_release = sa.and_(the(c.ended_at).is_(None), new(c.lease_until) <= new(c.updated_at))
    kept = sa.case(
        (sa.and_(c.cancel_wish.is_not(None), is_release), c.lease_until), else_=new(c.lease_until)
    )
    first_message = sa.case((c.message != sa.literal_column("''"), c.message), else_=the(c.message))
    given_up = sa.case((the(c.ended_at).is_(None), c.owner), else_=sa.null())
    return (
        sa.update(t.session)
        .values(
            **values,
            lease_until=kept,
            message=first_message,
            owner=given_up,
            revision=c.revision + sa.literal_column("1"),
        )
        .where(
            c.session_id == the(c.session_id),
            c.fence == the(c.fence),
            c.revision == sa.func.coalesce(the(c.revision), c.revision),
            c.ended_at.is_(None),
        )
        .returning(c.cancel_wish, c.crawl_id, mark.scalar_subquery(), sa.case((skips, 1), else_=0))
    )


def _heartbeat() -> Any:
    c = t.session.c
    return (
        sa.update(t.session)
        .values(_set(c.lease_until))
        .where(c.session_id == the(c.session_id), c.fence == the(c.fence), c.ended_at.is_(None))
        .returning(c.cancel_wish)
    )


def _update_crawl() -> Any:
    c = t.crawl.c
    return (
        sa.update(t.crawl)
        .values(
            **_set(c.last_crawled_at, c.mark),
            has_checkpoint=sa.true(),
            last_tweet_id=sa.func.coalesce(the(c.last_tweet_id), c.last_tweet_id),
            bookmarks_count=c.bookmarks_count + the(c.bookmarks_count),
        )
        .where(c.id == the(c.id))
    )


def _update_count() -> Any:
    c = t.crawl.c
    return (
        sa.update(t.crawl)
        .values(bookmarks_count=c.bookmarks_count + the(c.bookmarks_count))
        .where(c.id == the(c.id))
    )


_CONTENT: Final = (
    "text",
    "author_id",
    "author_username",
    "author_name",
    "created_at",
    "kind",
    "richness",
    "source",
    "raw",
)
"""What a richer record replaces."""


_BOOKMARK: Final = tuple(column.name for column in t.bookmark.c if column.name != "id")
"""A row of `upsert_bookmark`, in the table's order."""


def _upsert_bookmark(dialect: sa.Dialect) -> Any:
    """A richer record replaces the content; a result is kept once there is one."""
    put = insert(t.bookmark, dialect).values(
        {name: sa.bindparam(name, type_=t.bookmark.c[name].type) for name in _BOOKMARK}
    )
    old, new = t.bookmark.c, put.excluded
    richer = new["richness"] > old["richness"]
    values: dict[str, Any] = {
        name: sa.case((richer, new[name]), else_=old[name]) for name in _CONTENT
    }
    values["result"] = sa.func.coalesce(old["result"], new["result"])
    news = sa.or_(richer, sa.and_(old["result"].is_(None), new["result"].is_not(None)))
    return put.on_conflict_do_update(index_elements=["user_id", "item_id"], set_=values, where=news)


def _enrich_bookmark() -> Any:
    c = t.bookmark.c
    return (
        sa.update(t.bookmark)
        .values(_set(*(c[name] for name in _CONTENT)))
        .where(
            c.user_id == the(c.user_id),
            c.item_id == the(c.item_id),
            c.richness < the(c.richness),
        )
    )


def _row_of_bookmark(*columns: Any) -> Any:
    """A row for the listing, with the bookmark's number looked up by its id; none if it is not stored."""
    c = t.bookmark.c
    return sa.select(the(t.listing.c.crawl_id), c.id, *columns).where(
        c.user_id == the(c.user_id), c.item_id == the(c.item_id)
    )


def _place_bookmark(dialect: sa.Dialect) -> Any:
    """Give a bookmark a place in the walk."""
    c, b = t.listing.c, t.bookmark.c
    if dialect.name == "sqlite":  # all rows in one statement; see `prepared`
        parameters = [c.crawl_id, c.walk, c.session, b.item_id, c.position, b.user_id]
        return sa.text(_PLACE_IN_SQLITE).bindparams(*(the(column) for column in parameters))
    put = insert(t.listing, dialect).from_select(
        ["crawl_id", "bookmark_id", "walk", "position", "session"],
        _row_of_bookmark(the(c.walk), the(c.position), the(c.session)),
    )
    return put.on_conflict_do_update(
        index_elements=["crawl_id", "bookmark_id"],
        set_={name: put.excluded[name] for name in ("walk", "position", "session")},
    )


_PLACE_IN_SQLITE: Final = """
INSERT INTO twitor_listing (crawl_id, bookmark_id, walk, position, session)
SELECT :the_crawl_id, b.id, :the_walk, v.column2, :the_session
FROM (VALUES (:the_item_id, :the_position)) AS v
JOIN twitor_bookmark AS b ON b.user_id = :the_user_id AND b.item_id = v.column1
WHERE true
ON CONFLICT (crawl_id, bookmark_id) DO UPDATE
SET walk = excluded.walk, position = excluded.position, session = excluded.session
"""


def _meet_bookmark(dialect: sa.Dialect) -> Any:
    """Note that a session met a bookmark, which keeps its place, or takes over the one it had as a skipped item."""
    s = t.skipped.c
    zero: Any = sa.literal_column("0")

    def inherited(column: sa.Column[Any]) -> Any:
        kept = sa.select(column).where(
            s.crawl_id == the(s.crawl_id), s.item_key == the(t.bookmark.c.item_id)
        )
        return sa.func.coalesce(kept.scalar_subquery(), zero)

    put = insert(t.listing, dialect).from_select(
        ["crawl_id", "bookmark_id", "walk", "position", "session"],
        _row_of_bookmark(inherited(s.walk), inherited(s.position), the(t.listing.c.session)),
    )
    return put.on_conflict_do_update(
        index_elements=["crawl_id", "bookmark_id"], set_={"session": put.excluded["session"]}
    )


def _meet_skipped() -> Any:
    """Note that a session met a skipped item again; walk 0 leaves its place."""
    s = t.skipped.c
    placeless = sa.bindparam("new_walk", type_=s.walk.type) == sa.literal_column("0")
    values = _set(s.walk, s.position, s.session)
    return (
        sa.update(t.skipped)
        .values(
            walk=sa.case((placeless, s.walk), else_=values["walk"]),
            position=sa.case((placeless, s.position), else_=values["position"]),
            session=values["session"],
        )
        .where(s.crawl_id == the(s.crawl_id), s.item_key == the(s.item_key))
    )


def _delete_skipped(dialect: sa.Dialect) -> Any:
    c = t.skipped.c
    if dialect.name == "sqlite":
        sql = "DELETE FROM twitor_skipped WHERE crawl_id = :the_crawl_id AND item_key IN (VALUES (:the_item_key))"
        return sa.text(sql).bindparams(the(c.crawl_id), the(c.item_key))
    return sa.delete(t.skipped).where(c.crawl_id == the(c.crawl_id), c.item_key == the(c.item_key))


def _upsert_skipped(dialect: sa.Dialect) -> Any:
    put = insert(t.skipped, dialect)
    old, new = t.skipped.c, put.excluded
    names = ("category", "reason", "message", "at", "due", "session", "raw")
    values: dict[str, Any] = {name: new[name] for name in names}
    placeless = new["walk"] == sa.literal_column("0")
    for name in ("walk", "position"):
        values[name] = sa.case((placeless, old[name]), else_=new[name])
    return put.on_conflict_do_update(
        index_elements=["crawl_id", "item_key"],
        set_={**values, "tries": old["tries"] + sa.literal_column("1")},
    )


def _upsert_closed(dialect: sa.Dialect) -> Any:
    """The last word holds: a later time may have been written by a clock that was wrong."""
    put = insert(t.closed, dialect)
    return put.on_conflict_do_update(
        index_elements=["service", "account", "endpoint"],
        set_={"until": put.excluded["until"]},
    )


def _void_walk(table: sa.Table) -> Any:
    """Take all places of a walk away."""
    c = table.c
    values: dict[str, Any] = {"walk": sa.literal_column("0")}
    return (
        sa.update(table).values(values).where(c.crawl_id == the(c.crawl_id), c.walk == the(c.walk))
    )


def _void_above(table: sa.Table) -> Any:
    """Take the places above one away, but for those of a walk."""
    c = table.c
    values: dict[str, Any] = {"walk": sa.literal_column("0")}
    return (
        sa.update(table)
        .values(values)
        .where(
            c.crawl_id == the(c.crawl_id),
            c.walk != sa.literal_column("0"),
            c.walk != the(c.walk),
            above(c),
        )
    )


def _lookup(dialect: sa.Dialect) -> Any:
    """Rows (key, whether stored, walk, position, session, whether undecoded); a key may have two rows, or none."""

    def among_keys(column: sa.Column[Any]) -> sa.ColumnElement[bool]:
        if dialect.name == "sqlite":
            keys = sa.func.json_each(sa.bindparam("keys", type_=sa.Text)).table_valued("value")
            return column.in_(sa.select(keys.c.value))
        return column == sa.any_(sa.bindparam("keys", type_=sa.ARRAY(sa.Text)))

    zero: Any = sa.literal_column("0")
    one: Any = sa.literal_column("1")
    b, m, s = t.bookmark.c, t.listing.c, t.skipped.c
    user, source = the(t.crawl.c.user_id), the(t.crawl.c.source)
    crawl_id = (
        sa.select(t.crawl.c.id)
        .where(t.crawl.c.user_id == user, t.crawl.c.source == source)
        .scalar_subquery()
    )
    places = [sa.func.coalesce(column, zero) for column in (m.walk, m.position, m.session)]
    join = t.bookmark.outerjoin(t.listing, sa.and_(m.crawl_id == crawl_id, m.bookmark_id == b.id))
    stored = (
        sa.select(b.item_id, one, *places, zero)
        .select_from(join)
        .where(b.user_id == user, among_keys(b.item_id))
    )
    undecoded = sa.case(
        (s.reason == sa.literal_column(f"'{Reason.INVALID_ITEM}'"), one), else_=zero
    )
    kept = sa.select(s.item_key, zero, s.walk, s.position, s.session, undecoded).where(
        s.crawl_id == crawl_id, among_keys(s.item_key)
    )
    return sa.union_all(stored, kept)
