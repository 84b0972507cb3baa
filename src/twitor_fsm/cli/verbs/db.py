"""`twitor db`: the database's schema."""

import asyncio

import click

from ..database import clear_name, database_of, refuse_memory
from ..options import common
from ..terminal import emit, tell

SECTION = "Manage"


@click.group(short_help="The database's schema: upgrade.")
def command() -> None:
    """Look after the database. A SQLite file is brought up to date by itself; PostgreSQL is not."""


@command.command("upgrade")
@common
def upgrade(db: str | None, as_json: bool) -> int:  # noqa: FBT001 - click passes by name
    """Create the tables, or bring them up to this version's schema. Stored rows stay."""

    async def run() -> int:
        from ...config import get_settings
        from ...storage.store import SqlStore
        from ...storage.tables import REVISION

        database = database_of(db, get_settings())
        refuse_memory(database)
        store = SqlStore(database, migrate=True)
        await store.open()
        await store.close()
        if as_json:
            emit({"database": clear_name(database), "revision": REVISION})
        else:
            tell(f"{clear_name(database)} has this version's schema (revision {REVISION})")
        return 0

    return asyncio.run(run())
