"""`twitor db`: the database's schema."""

import asyncio

import click

from ..database import clear_name, database_of, file_of, refuse_memory, refused
from ..failures import Failure
from ..groups import NamingGroup
from ..options import common
from ..terminal import emit, tell

SECTION = "Manage"


@click.group(cls=NamingGroup, short_help="The database's schema: current, upgrade.")
def command() -> None:
    """Look after the database.

    A SQLite file is brought up to date by itself; PostgreSQL only by `twitor db upgrade`.
    """


@command.command("upgrade")
@common
def upgrade(db: str | None, as_json: bool) -> int:  # noqa: FBT001 - click passes by name
    """Create the tables, or bring them up to this version's schema. Stored rows stay.

    Two at once are safe: on PostgreSQL the second waits for the first, and finds nothing to do.
    """

    async def run() -> int:
        from ...config import get_settings
        from ...storage.store import SqlStore
        from ...storage.tables import REVISION

        database = database_of(db, get_settings())
        refuse_memory(database)
        store = SqlStore(database, migrate=True)
        with refused(db, database):
            before = await store.revision()
            await store.open()
        await store.close()
        name = clear_name(database)
        if as_json:
            changed = before != REVISION
            emit({"database": name, "revision": REVISION, "before": before, "changed": changed})
        elif before == REVISION:
            tell(
                f"{name} had this version's schema already (revision {REVISION}); nothing was done"
            )
        elif before is None:
            tell(f"{name} has its tables now (revision {REVISION})")
        else:
            tell(f"{name} was brought from revision {before} to {REVISION}; stored rows stay")
        return 0

    return asyncio.run(run())


@command.command("current", short_help="Say which schema the database has.")
@common
def current(db: str | None, as_json: bool) -> int:  # noqa: FBT001 - click passes by name
    """Say which schema the database has, and whether it is this version's. Nothing is changed.

    Ends with 0 if it is, with 14 if not: workers wait then, and crawls are refused.
    """

    async def run() -> int:
        from ...config import get_settings
        from ...storage.store import SqlStore
        from ...storage.tables import REVISION

        database = database_of(db, get_settings())
        refuse_memory(database)
        file = file_of(database)
        if file is not None and not file.exists():
            raise Failure(
                f"there is no database {file}; nothing was made. Name the right one with --db", 2
            )
        store = SqlStore(database, read_only=True)
        with refused(db, database):
            found = await store.revision()
        await store.close()
        if as_json:
            emit(
                {
                    "database": clear_name(database),
                    "revision": found,
                    "needed": REVISION,
                    "is_current": found == REVISION,
                }
            )
        else:
            has = f"schema revision {found}" if found is not None else "no tables of ours"
            needs = (
                "as this version needs" if found == REVISION else f"this version needs {REVISION}"
            )
            tell(f"{clear_name(database)} has {has}, {needs}")
        return 0 if found == REVISION else 14

    return asyncio.run(run())
