"""The SQL schema: one place for every table, written so that SQLite and PostgreSQL take it as it is.

Times are epoch seconds, UTC. Nothing is ever deleted but rows of `twitor_skipped` whose item was stored, and all of a user
who is forgotten. There are no foreign keys: every id written comes from a row read or written in the same transaction, and
no parent is deleted without its children.
Must not know: transactions, migrations, connections.
"""

from typing import Any, Final

import sqlalchemy as sa

from . import text

__all__ = [
    "PREFIX",
    "REVISION",
    "VERSION_TABLE",
    "AnyText",
    "bookmark",
    "closed",
    "crawl",
    "include_name",
    "journal",
    "listing",
    "metadata",
    "session",
    "skipped",
    "version",
]

PREFIX: Final = "twitor_"
"""Every table's and index's name begins with it, so that they can live in a host app's database."""

VERSION_TABLE: Final = "twitor_alembic_version"
"""Our own version table: a host app's alembic history is neither read nor touched."""

REVISION: Final = "0001"
"""The migration that makes these tables; a test compares it with the newest script."""


class AnyText(sa.types.TypeDecorator[str]):
    """Text of any content, NUL and lone surrogates included; see `storage.text`."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Spell it for the database."""
        return None if value is None else text.encode(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Read it back; what somebody else has put there, and is no text, is left for who reads the row."""
        return text.decode(value) if isinstance(value, str) else value


_BigKey: Final = sa.BigInteger().with_variant(
    sa.Integer(), "sqlite"
)  # SQLite: an alias of the rowid

metadata: Final = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "uq": "%(table_name)s_uq_%(column_0_N_name)s",
        "ix": "%(table_name)s_ix_%(column_0_N_name)s",
    }
)


def _column(name: str, type_: Any, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=options.pop("nullable", False), **options)


crawl: Final = sa.Table(
    "twitor_crawl",
    metadata,
    sa.Column("id", _BigKey, primary_key=True),
    _column("user_id", AnyText),
    _column("source", AnyText),
    _column("generation", sa.Integer),
    _column("has_checkpoint", sa.Boolean),
    _column("last_tweet_id", AnyText, nullable=True),
    _column("bookmarks_count", sa.BigInteger),
    _column("last_crawled_at", sa.Double, nullable=True),
    _column("mark", sa.Text),  # JSON of `Mark`, ASCII
    _column("last_session_id", AnyText, nullable=True),
    _column("last_session_ordinal", sa.Integer),
    sa.UniqueConstraint("user_id", "source"),
)

session: Final = sa.Table(
    "twitor_session",
    metadata,
    sa.Column("session_id", AnyText, primary_key=True),
    _column("crawl_id", sa.BigInteger),
    _column("ordinal", sa.Integer),
    _column("state", AnyText),
    _column("seq", sa.Integer),
    _column("tries", sa.Integer),
    _column("retry_at", sa.Double, nullable=True),
    _column("resume_at", sa.Double, nullable=True),
    _column("category", AnyText, nullable=True),
    _column("reason", AnyText, nullable=True),
    _column("absorbed", sa.Text),  # JSON list
    _column("counters", sa.Text),  # JSON of `Counters`
    _column("message", AnyText),
    _column("durable", sa.Boolean),
    _column("fence", sa.BigInteger),
    _column("revision", sa.BigInteger),
    _column("owner", sa.Text, nullable=True),  # JSON of `Owner`
    _column("lease_until", sa.Double),
    _column("cancel_wish", AnyText, nullable=True),
    _column("resumed_from", AnyText, nullable=True),
    _column("started_at", sa.Double),
    _column("updated_at", sa.Double),
    _column("ended_at", sa.Double, nullable=True),
    sa.UniqueConstraint("crawl_id", "ordinal"),
)

_ALIVE: Final = sa.text("ended_at IS NULL")
sa.Index(  # at most one session of a crawl is not final
    "twitor_session_one_alive",
    session.c.crawl_id,
    unique=True,
    sqlite_where=_ALIVE,
    postgresql_where=_ALIVE,
)
sa.Index(None, session.c.started_at)

journal: Final = sa.Table(
    "twitor_journal",
    metadata,
    sa.Column("session_id", AnyText, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    _column("at", sa.Double),
    _column("trigger", AnyText),
    _column("source", AnyText),
    _column("target", AnyText),
    _column("category", AnyText, nullable=True),
    _column("reason", AnyText, nullable=True),
    _column("delay_s", sa.Double),
    _column("tries", sa.Integer),
    _column("tries_allowed", sa.Integer),
    _column("facts", sa.Text),  # JSON object
    _column("spec", AnyText),
    _column("absorbed", sa.Boolean),
)

bookmark: Final = sa.Table(
    "twitor_bookmark",
    metadata,
    sa.Column("id", _BigKey, primary_key=True),  # rises in the order in which they were stored
    _column("user_id", AnyText),
    _column("item_id", AnyText),
    _column("text", AnyText, nullable=True),
    _column("author_id", AnyText, nullable=True),
    _column("author_username", AnyText, nullable=True),
    _column("author_name", AnyText, nullable=True),
    _column("created_at", AnyText, nullable=True),
    _column("kind", AnyText),
    _column("richness", sa.Integer),
    _column("source", AnyText),
    _column("stored_at", sa.Double),
    _column("result", AnyText, nullable=True),
    _column("raw", AnyText),
    sa.UniqueConstraint("user_id", "item_id"),
)
sa.Index(None, bookmark.c.user_id, bookmark.c.id)  # reading one user's in order, in portions

listing: Final = (
    sa.Table(  # keyed by numbers that rise: new rows go to the end, whatever the items' ids are
        "twitor_listing",
        metadata,
        sa.Column("crawl_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("bookmark_id", sa.BigInteger, primary_key=True, autoincrement=False),
        _column("walk", sa.Integer),  # 0: no place
        _column("position", sa.Integer),
        _column("session", sa.Integer),  # ordinal of the session that met it last
        sqlite_with_rowid=False,
    )
)

skipped: Final = sa.Table(
    "twitor_skipped",
    metadata,
    sa.Column("crawl_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("item_key", AnyText, primary_key=True),
    _column("category", AnyText),
    _column("reason", AnyText),
    _column("message", AnyText),
    _column("at", sa.Double),
    _column("tries", sa.Integer),
    _column("due", sa.Boolean),
    _column("walk", sa.Integer),  # its place in the listing, as in twitor_listing
    _column("position", sa.Integer),
    _column("session", sa.Integer),
    _column("raw", AnyText),
)

closed: Final = sa.Table(
    "twitor_closed",
    metadata,
    sa.Column("service", AnyText, primary_key=True),
    sa.Column("account", AnyText, primary_key=True),
    sa.Column("endpoint", AnyText, primary_key=True),
    _column("until", sa.Double),
)

version: Final = sa.Table(  # written by alembic too; not of `metadata`, alembic makes it itself
    VERSION_TABLE,
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)


def include_name(name: str | None, type_: str, _parent_names: Any = None) -> bool:
    """For a host app's alembic `env.py`: leaves our tables out of its autogenerate.

    Pass it as `context.configure(..., include_name=include_name)`; without it, autogenerate would drop them.
    """
    return not (type_ == "table" and name is not None and name.startswith(PREFIX))
