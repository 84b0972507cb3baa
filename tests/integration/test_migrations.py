"""The schema's history: up and down with rows, beside a host app's own, and refused untouched when it is newer."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from store_factories import (
    batch,
    claim,
    journal_row,
    new,
    postgres_place,
    postgres_server,
    skip,
    walking,
)

from twitor_fsm.core.records import Closed
from twitor_fsm.errors import SchemaMismatch
from twitor_fsm.storage import migrations, tables
from twitor_fsm.storage.store import SqlStore

Do = Callable[[Callable[[sa.Connection], Any]], Any]
"""Runs a function of a connection in a transaction on the database under test."""


@pytest.fixture
def server() -> Any:
    return postgres_server()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bookmarks.db"


@pytest.fixture(params=["sqlite", "postgres"])
def do(request: pytest.FixtureRequest, path: Path) -> Do:
    if request.param == "sqlite":
        return lambda fn: on_sqlite(path, fn)
    place = postgres_place(request.getfixturevalue("server"), AsyncExitStack())
    url = place.make().engine.url

    def on_postgres(fn: Callable[[sa.Connection], Any]) -> Any:
        async def run() -> Any:
            from sqlalchemy.ext.asyncio import create_async_engine

            engine = create_async_engine(url, poolclass=sa.NullPool)
            async with engine.begin() as connection:
                return await connection.run_sync(fn)

        return asyncio.run(run())

    return on_postgres


def on_sqlite(path: Path, fn: Callable[[sa.Connection], Any]) -> Any:
    """Run it in a transaction on a file."""
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        return fn(connection)


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder and what it holds."""
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def up(revision: str = "head") -> Callable[[sa.Connection], None]:
    """Migrate upwards."""
    return lambda connection: migrations.upgrade(connection, revision)


def down(revision: str) -> Callable[[sa.Connection], None]:
    """Migrate downwards."""
    return lambda connection: migrations.downgrade(connection, revision)


def ours(connection: sa.Connection) -> set[str]:
    """Names of our tables in the database."""
    names = sa.inspect(connection).get_table_names()
    return {name for name in names if name in tables.metadata.tables}


def diff(metadata: sa.MetaData, **options: Any) -> Callable[[sa.Connection], list[Any]]:
    """What autogenerate would change."""

    def compare(connection: sa.Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, **options})
        return list(compare_metadata(context, metadata))

    return compare


def fill(connection: sa.Connection) -> None:
    """A row in every table of ours, whatever its columns are at this revision."""
    metadata = sa.MetaData()
    metadata.reflect(connection)
    for table in metadata.tables.values():
        if table.name.startswith(tables.PREFIX) and table.name != tables.VERSION_TABLE:
            columns = {c.name: _sample(c) for c in table.c if not c.nullable}
            connection.execute(sa.insert(table).values(columns))


def _sample(column: sa.Column[Any]) -> Any:
    if isinstance(column.type, sa.Boolean):
        return True
    if isinstance(column.type, (sa.Integer, sa.Float)):
        return 1
    return "{}"


def count(connection: sa.Connection) -> dict[str, int]:
    """Rows in each of our tables."""
    return {
        name: connection.execute(sa.text(f"SELECT count(*) FROM {name}")).scalar_one()
        for name in ours(connection)
    }


def revisions() -> list[str]:
    """Every revision, oldest first."""
    scripts = ScriptDirectory.from_config(migrations.config())
    return [script.revision for script in scripts.walk_revisions()][::-1]


def test_the_tables_are_of_the_newest_revision() -> None:
    assert migrations.head() == tables.REVISION
    assert revisions()[-1] == tables.REVISION


def test_migrations_make_the_tables_that_the_code_expects(do: Do) -> None:
    do(up())

    assert (
        do(diff(tables.metadata, include_name=lambda name, kind, _: not_version(name, kind))) == []
    )


def not_version(name: str | None, kind: str) -> bool:
    return not (kind == "table" and name == tables.VERSION_TABLE)


async def test_a_new_file_gets_the_same_schema_as_a_migrated_one(tmp_path: Path) -> None:
    on_sqlite(tmp_path / "migrated.db", up())
    store = SqlStore(tmp_path / "new.db")
    await store.open()
    await store.close()

    def schema(name: str) -> list[tuple[str, str]]:
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
            return sorted((name, " ".join(sql.split())) for name, sql in found)

    assert schema("new.db") == schema("migrated.db")


def test_up_and_down_with_rows(do: Do) -> None:
    for revision in revisions():
        do(up(revision))
        do(fill)
        before = do(count)
        do(up())
        assert do(count).items() >= before.items()
        for earlier in [*revisions()[::-1][1:], "base"]:
            do(down(earlier))
        assert do(ours) == set()
    do(up())
    assert do(ours) == set(tables.metadata.tables)


async def test_a_database_with_rows_goes_down_and_up_and_is_used_again(path: Path) -> None:
    store = SqlStore(path)
    await store.open()
    content = batch(
        await claim(store),
        new=new("1"),
        skips=(skip("2", 1),),
        journal=(journal_row(1),),
        closed=(Closed("x", "me", "bookmarks", 1.0),),
        mark=walking(1, 2),
    )
    await store.commit(content)
    await store.close()

    await asyncio.to_thread(on_sqlite, path, down("base"))
    await store.open()

    assert await store.count_bookmarks() == 0
    await claim(store)
    await store.close()


@pytest.fixture
def next_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """As if this version had one migration more than the database."""
    folder = tmp_path / "versions"
    folder.mkdir()
    (folder / "next.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        f"revision, down_revision = 'next', {tables.REVISION!r}\n"
        "def upgrade():\n"
        "    op.add_column('twitor_bookmark', sa.Column('extra', sa.Integer, server_default='7', nullable=False))\n"
        "def downgrade():\n"
        "    with op.batch_alter_table('twitor_bookmark') as table:\n"
        "        table.drop_column('extra')\n"
    )
    real = migrations.config
    built_in = Path(migrations.__file__).parent / "versions"

    def config(connection: sa.Connection | None = None) -> Config:
        settings = real(connection)
        settings.set_main_option("path_separator", "os")
        settings.set_main_option("version_locations", f"{built_in}{os.pathsep}{folder}")
        return settings

    monkeypatch.setattr(migrations, "config", config)
    monkeypatch.setattr(tables, "REVISION", "next")
    return "next"


async def opened_once(store: SqlStore) -> SqlStore:
    await store.open()
    await store.commit(batch(await claim(store), new=new("1"), mark=walking(1, 1)))
    await store.close()
    return store


async def test_an_older_file_is_brought_up_with_its_rows(
    path: Path, request: pytest.FixtureRequest
) -> None:
    store = await opened_once(SqlStore(path))
    request.getfixturevalue("next_revision")

    await store.open()

    assert [b.id async for b in store.bookmarks()] == ["1"]
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT extra FROM twitor_bookmark").fetchall() == [(7,)]
        assert connection.execute("SELECT * FROM twitor_alembic_version").fetchall() == [("next",)]


async def test_a_migration_that_fails_leaves_the_file_as_it_was(
    path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened_once(SqlStore(path))
    request.getfixturevalue("next_revision")
    real = migrations.upgrade

    def torn(connection: sa.Connection, revision: str) -> None:
        real(connection, revision)
        raise OSError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "upgrade", torn)
        with pytest.raises(OSError, match="the power went"):
            await store.open()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM twitor_alembic_version").fetchall() == [
            (revisions()[0],)
        ]
        assert "extra" not in connection.execute("SELECT * FROM twitor_bookmark").description
    await store.open()
    await store.close()


@pytest.mark.parametrize(
    ("sabotage", "said"),
    [
        ("UPDATE twitor_alembic_version SET version_num = '9999'", "'9999' is not known"),
        ("DROP TABLE twitor_alembic_version", "does not say of which revision"),
        ("DELETE FROM twitor_alembic_version", "does not say of which revision"),
        ("INSERT INTO twitor_alembic_version VALUES ('9999')", "2 schema revisions"),
    ],
)
async def test_a_schema_that_is_not_ours_is_left_untouched(
    path: Path, sabotage: str, said: str
) -> None:
    store = await opened_once(SqlStore(path))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute(sabotage)
    before = files(path.parent)

    with pytest.raises(SchemaMismatch, match=said) as raised:
        await store.open()

    assert "left untouched" in str(raised.value)
    assert files(path.parent) == before


async def test_beside_a_host_apps_own_history(path: Path, tmp_path: Path) -> None:
    host = host_app(tmp_path / "host")
    await asyncio.to_thread(host_upgrade, host, path)
    store = await opened_once(SqlStore(path))
    await asyncio.to_thread(host_upgrade, host, path)  # and once more, with our tables there

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("h1",)]
        assert connection.execute("SELECT count(*) FROM host_notes").fetchall() == [(1,)]
    metadata = sa.MetaData()
    sa.Table("host_notes", metadata, sa.Column("id", sa.Integer, primary_key=True))
    changes = await asyncio.to_thread(
        on_sqlite, path, diff(metadata, include_name=tables.include_name)
    )
    assert changes == []
    careless = await asyncio.to_thread(on_sqlite, path, diff(metadata))
    assert any("remove_table" in str(change) for change in careless)  # what the helper is for
    await store.open()
    assert await store.count_bookmarks() == 1
    await store.close()
    await asyncio.to_thread(on_sqlite, path, down("base"))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM host_notes").fetchall() == [(1,)]


def host_app(folder: Path) -> Path:
    """Alembic scripts of an app that has one table."""
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(
        "from alembic import context\n"
        "context.configure(connection=context.config.attributes['connection'])\n"
        "with context.begin_transaction():\n"
        "    context.run_migrations()\n"
    )
    (folder / "versions" / "h1.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        "revision, down_revision = 'h1', None\n"
        "def upgrade():\n"
        "    notes = op.create_table('host_notes', sa.Column('id', sa.Integer, primary_key=True))\n"
        "    op.bulk_insert(notes, [{'id': 1}])\n"
    )
    return folder


def host_upgrade(folder: Path, path: Path) -> None:
    """The host app migrates its own tables."""

    def run(connection: sa.Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(folder))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    on_sqlite(path, run)


async def test_postgres_is_changed_only_when_allowed(server: Any) -> None:
    async with AsyncExitStack() as stack:
        url = postgres_place(server, stack).make().engine.url
        careful = SqlStore(url)
        with pytest.raises(SchemaMismatch, match="twitor db upgrade"):
            await careful.open()
        await opened_once(SqlStore(url, migrate=True))

        await careful.open()

        assert await careful.count_bookmarks() == 1
        await careful.close()


async def test_a_file_is_not_created_where_that_is_not_allowed(path: Path) -> None:
    with pytest.raises(SchemaMismatch):
        await SqlStore(path, migrate=False).open()
    assert files(path.parent) == {}
