"""A database file that was made for a crawl that never began: removed, unless anything or anybody is in it."""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from store_factories import claim

from twitor_fsm.cli.database import opened
from twitor_fsm.cli.failures import Failure
from twitor_fsm.core.taxonomy import Reason
from twitor_fsm.errors import StoreUnavailable
from twitor_fsm.storage.sqlite import SqliteFile
from twitor_fsm.storage.store import SqlStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bookmarks.db"


async def open_and_close(path: Path) -> SqlStore:
    store = SqlStore(path)
    await store.open()
    await store.close()
    return store


class CtrlC(Exception):
    """What ends a command before its crawl began."""


def test_a_file_that_was_made_for_nothing_is_removed_with_its_log(path: Path) -> None:
    async def begin() -> None:
        async with opened(str(path), must_exist=False, begins=True):
            assert list(path.parent.glob("bookmarks.db*"))
            raise CtrlC

    with pytest.raises(CtrlC):
        asyncio.run(begin())

    assert list(path.parent.iterdir()) == []


async def test_a_file_is_not_removed_while_its_store_is_open(path: Path) -> None:
    store = SqlStore(path)
    await store.open()

    assert not store.remove_unused()
    await store.close()
    assert store.remove_unused()
    assert not store.remove_unused()


def test_a_file_that_was_there_before_stays(path: Path) -> None:
    path.touch()
    store = asyncio.run(open_and_close(path))

    assert not store.remove_unused()
    assert path.exists()


async def test_a_file_in_which_a_crawl_has_begun_stays(path: Path) -> None:
    store = SqlStore(path)
    await store.open()
    await claim(store)
    await store.close()

    assert not store.remove_unused()
    await store.open()
    assert (await store.session("s1")).session_id == "s1"
    await store.close()


@pytest.mark.parametrize("statement", ["CREATE TABLE note (text)", "CREATE VIEW note AS SELECT 1"])
def test_a_file_that_somebody_else_has_put_something_into_stays(path: Path, statement: str) -> None:
    store = asyncio.run(open_and_close(path))
    with closing(sqlite3.connect(path)) as other:
        other.execute(statement)
        other.commit()

    assert not store.remove_unused()
    assert path.exists()


async def test_a_file_that_another_process_has_open_stays(path: Path) -> None:
    store, other = SqlStore(path), SqlStore(path)
    await store.open()
    await other.open()
    await store.close()

    assert not store.remove_unused()
    await claim(other)
    assert (await other.session("s1")).session_id == "s1"
    await other.close()


def test_a_file_that_has_replaced_ours_stays(path: Path) -> None:
    store = asyncio.run(open_and_close(path))
    path.rename(path.with_name("moved.db"))
    path.touch()

    assert not store.remove_unused()
    assert path.exists()


async def test_who_has_opened_a_file_in_the_moment_in_which_it_went_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening and the look at its place: what is written then could never be found again."""
    store = await open_and_close(path)
    with monkeypatch.context() as patch:
        patch.setattr(SqliteFile, "_place", lambda _: None)
        await store.open()
        with pytest.raises(StoreUnavailable, match="was deleted or replaced"):
            await claim(store)
    await store.close()


def test_a_link_to_a_file_that_is_still_to_be_made_stays_with_its_file(path: Path) -> None:
    path.symlink_to(path.with_name("real.db"))
    store = asyncio.run(open_and_close(path))

    assert path.with_name("real.db").stat().st_mode & 0o077 == 0
    assert not store.remove_unused()
    assert path.is_symlink()


async def test_a_database_in_memory_leaves_nothing_to_remove() -> None:
    store = SqlStore(":memory:")
    await store.open()
    await store.close()

    assert not store.remove_unused()


async def test_that_nothing_may_be_written_is_found_out_without_writing(path: Path) -> None:
    store = SqlStore(path)
    await store.open()
    await store.check_writing()
    await store.close()
    looking = SqlStore(path, read_only=True)
    await looking.open()

    with pytest.raises(StoreUnavailable) as raised:
        await looking.check_writing()

    await looking.close()
    assert (raised.value.reason, raised.value.retryable) == (Reason.STORE_READ_ONLY, False)


def test_a_crawl_is_refused_a_file_that_may_not_be_written(path: Path) -> None:
    asyncio.run(open_and_close(path))
    path.chmod(0o400)
    if os.access(path, os.W_OK):
        pytest.skip("nothing is read-only for root")

    async def begin() -> None:
        async with opened(str(path), must_exist=False, begins=True):
            raise AssertionError("it was opened as if it could be written")

    with pytest.raises(Failure, match="read-only"):
        asyncio.run(begin())
