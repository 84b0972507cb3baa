"""Bringing a database's schema up to date, or refusing it untouched.

A current database costs two small reads; a new one gets its tables from the metadata; alembic, whose import costs 0.3 s,
is loaded only for a database of another revision.
Must not know: how connections are made.
"""

import sqlalchemy as sa

from ..errors import ConfigurationError, OtherSchemaVersion, SchemaMismatch
from . import tables as t

__all__ = [
    "bring_up",
    "find_revision",
    "is_current",
    "not_current",
    "not_ours",
    "require_current",
    "require_ours",
    "require_unicode",
    "upgrade",
    "write_nothing",
]

_LOCK_KEY = (
    7_745_170_115  # any constant: creators of the same PostgreSQL database wait for each other
)


def find_revision(connection: sa.Connection) -> str | None:
    """The schema's revision; None for a database without our tables.

    Raises:
        SchemaMismatch: There are tables of ours and no revision, or several.
    """
    inspector = sa.inspect(connection)
    if inspector.has_table(t.VERSION_TABLE):
        found = list(connection.execute(sa.select(t.version.c.version_num)).scalars())
        if len(found) == 1:
            return str(found[0])
        if found:
            raise SchemaMismatch(_untouched(f"it names {len(found)} schema revisions at once"))
    ours = [name for name in inspector.get_table_names() if name in t.metadata.tables]
    if ours:
        raise SchemaMismatch(
            _untouched(f"it has tables like {ours[0]} but does not say of which revision")
        )
    return None


def is_current(connection: sa.Connection) -> bool:
    """Whether the database has exactly our schema. Raises `SchemaMismatch` if it is newer or not ours."""
    found = find_revision(connection)
    if found == t.REVISION:
        return True
    if found is not None:
        _require_known(found)
    return False


def bring_up(connection: sa.Connection) -> None:
    """Create or upgrade the schema, in the transaction under way. Raises `SchemaMismatch`."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY)))
    found = find_revision(connection)
    if found is None:
        t.metadata.create_all(connection, checkfirst=False)
        t.version.create(connection, checkfirst=True)
        connection.execute(sa.insert(t.version).values(version_num=t.REVISION))
    elif found != t.REVISION:
        _require_known(found)
        upgrade(connection, "head")


def upgrade(connection: sa.Connection, revision: str) -> None:
    """Run the migrations up to a revision; "head" is the newest."""
    from .migrations import upgrade as run  # imports alembic

    run(connection, revision)


def write_nothing(connection: sa.Connection) -> None:
    """An update of no row: refused like any other where nothing may be written."""
    connection.execute(sa.update(t.closed).values(until=0.0).where(sa.false()))


def require_current(connection: sa.Connection) -> None:
    """Raise `SchemaMismatch` unless the database has exactly our schema."""
    if not is_current(connection):
        raise not_current(find_revision(connection))


def require_ours(connection: sa.Connection) -> None:
    """Raise unless there are tables of ours; nothing is changed. Raises `SchemaMismatch` as `find_revision` does."""
    if find_revision(connection) is None:
        raise not_ours(makes_tables=connection.dialect.name == "sqlite")


def require_unicode(connection: sa.Connection) -> None:
    """Refuse a database that cannot hold every text: its first emoji would end each crawl. Raises `ConfigurationError`."""
    if connection.dialect.name != "postgresql":
        return
    encoding = str(connection.execute(sa.text("SHOW server_encoding")).scalar())
    if encoding not in {"UTF8", "SQL_ASCII"}:  # the latter keeps any bytes as they are
        raise ConfigurationError(
            f"the database's encoding is {encoding}, in which most bookmarks cannot be written; nothing was changed. "
            "Use one that was made with: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"
        )


def not_ours(*, makes_tables: bool = True) -> ConfigurationError:
    """What is said of a database in which nothing of ours is.

    Args:
        makes_tables: Whether a crawl makes them by itself.
    """
    how = "crawl into this one" if makes_tables else "make its tables with: twitor db upgrade"
    return ConfigurationError(
        f"this database holds no crawls; it was left untouched. Name the right one, or {how}"
    )


def not_current(found: str | None = None) -> OtherSchemaVersion:
    """What is said of a database that may not be brought up here.

    Args:
        found: Its revision; None if it has no tables of ours.
    """
    what = (
        "it has no tables of ours"
        if found is None
        else f"its schema is of revision {found}, this version needs {t.REVISION}"
    )
    return OtherSchemaVersion(f"{_untouched(what)}. Bring it up with: twitor db upgrade")


def _require_known(revision: str) -> None:
    from .migrations import is_known  # imports alembic

    if not is_known(revision):
        raise OtherSchemaVersion(
            _untouched(f"its schema revision {revision!r} is not known to this version")
            + ". Install the version of twitor_fsm that wrote it, or a newer one"
        )


def _untouched(what: str) -> str:
    return f"the database cannot be used: {what}; it was left untouched"
