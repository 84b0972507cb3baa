"""No artefact holds a secret: a token and two passwords that nothing else spells go through every path.

The command line as a process of its own, a worker with its metrics, SQLite, PostgreSQL and Valkey with passwords, a service
that repeats the token in its answers; then everything that is left behind is searched: outputs, logs, files, dumps.
"""

import asyncio
import base64
import json
import logging
import os
import signal
import sqlite3
import sys
import traceback
import urllib.request
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from raw_http import RawServer, answer, serving
from sqlalchemy.ext.asyncio import create_async_engine
from store_factories import postgres_server
from valkey_server import Server, until

from twitor_fsm.config import Settings
from twitor_fsm.errors import TwitorError
from twitor_fsm.queue_manager import QueueManager
from twitor_fsm.simulator import Fault, FaultKind, FaultPlan, ItemFault, ItemKind, Simulator
from twitor_fsm.sources.x_api import XBookmarks
from twitor_fsm.sources.x_problems import refusal

TOKEN = "canary-of-x-7f3a9c51e088"
DATABASE = "canary-of-sql-2b64d0f7a1"
VALKEY = "canary-of-valkey-c93e5d02"
SECRETS = (TOKEN, DATABASE, VALKEY)


def spellings(secret: str) -> Iterator[bytes]:
    """The secret, and what encodings make of it wherever it stands."""
    raw = secret.encode()
    yield raw
    yield raw[::-1]
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for shift in range(3):
        encoded = base64.b64encode(b"?" * shift + raw)
        yield encoded[4 if shift else 0 : len(encoded) - 4]


NEEDLES = {needle: secret for secret in SECRETS for needle in spellings(secret)}


def leaks(content: bytes) -> set[str]:
    """Which secrets this holds."""
    return {secret for needle, secret in NEEDLES.items() if needle in content}


def leaking(artefacts: dict[str, bytes]) -> dict[str, set[str]]:
    return {name: found for name, content in artefacts.items() if (found := leaks(content))}


@pytest.mark.parametrize("secret", SECRETS)
def test_the_search_finds_a_secret_however_it_is_written(secret: str) -> None:
    for front in ("", "a", "Bearer "):
        text = f"{front}{secret} and more".encode()
        for written in (text, text.hex().encode(), base64.b64encode(text), text[::-1]):
            assert leaks(b"noise" + written) == {secret}
    assert leaks(b"canary-of-x canary-of-sql") == set()


# -- processes ----------------------------------------------------------------------------------------

RUNNER = """
import json, sys
from twitor_fsm.cli import main
for args in json.loads(sys.argv[1]):
    try:
        code = main(args)
    except SystemExit as end:
        code = end.code
    print("==", args[0], code or 0, flush=True)
"""


def environment(**more: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TWITOR_", "VALKEY"))}
    return {
        **inherited,
        "X_BEARER_TOKEN": TOKEN,
        "DATABASE_URL": "",
        "INITIAL_BACKOFF": "0.01",
        "NO_COLOR": "1",
        **more,
    }


async def commands(folder: Path, *lines: str, **more: str) -> tuple[list[int], bytes]:
    """The exit codes of these commands, run one after the other, and all that they said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUNNER, json.dumps([line.split() for line in lines])),
        cwd=folder,
        env=environment(**more),
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    ends = [line.split() for line in out.decode().split("\n") if line.startswith("== ")]
    assert [end[1] for end in ends] == [line.split()[0] for line in lines], err.decode()
    return [int(end[2]) for end in ends], out + b"\n" + err


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def dump(path: Path) -> bytes:
    with closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump()).encode("utf-8", "surrogateescape")


def faulty() -> FaultPlan:
    return FaultPlan(
        faults=(
            Fault(kind=FaultKind.SERVER_ERROR, at=(2,)),
            Fault(kind=FaultKind.RATE_LIMITED, at=(4,)),
        ),
        items=(ItemFault(kind=ItemKind.WRONG_TYPES, at=(3,)),),
    )


async def test_no_verb_leaves_a_secret_anywhere(tmp_path: Path) -> None:
    async with Simulator(60, token=TOKEN, faults=faulty(), window_s=0.3) as simulator:
        codes, said = await commands(
            tmp_path,
            f"crawl --api-url {simulator.base_url} --page-size 20 -vv",
            f"crawl --api-url {simulator.base_url} --json --log-json",
            "status",
            "status --json",
            "sessions list",
            "sessions show --json",
            "diagram --session last -o path.svg",
            "diagram --session last --timeline -o time.svg",
            "diagram --session last --format dot",
            "replay last",
            "export -o all.jsonl",
            "export -o all.csv",
            "skipped list --json",
            "checkpoint show",
            "doctor --offline",
            "doctor --offline --json",
        )
    assert codes == [0] * 16
    assert any(entry.path.endswith("/bookmarks") for entry in simulator.ledger)
    artefacts = {"output": said, **files(tmp_path), "dump": dump(tmp_path / "bookmarks.db")}
    assert {"bookmarks.db", "path.svg", "time.svg", "all.jsonl", "all.csv"} <= set(artefacts)
    assert leaking(artefacts) == {}


# -- a service that repeats what it was told --------------------------------------------------------------


@asynccontextmanager
async def parrot(status: int) -> AsyncIterator[RawServer]:
    """Answers with this status, and with the request's own header in each place that is ever quoted."""
    async with serving(b"") as server:

        def repeat(_target: str) -> bytes:
            lines = server.asked[-1].split("\r\n")
            (heard,) = [
                line.split(" ", 1)[1] for line in lines if line[:14].lower() == "authorization:"
            ]
            body = {"title": heard, "detail": heard, "reason": heard, "registration_url": heard}
            return answer(status, body, location=f"http://127.0.0.1:9/{heard.split()[-1]}")

        server.route = repeat
        yield server


STATUSES = [200, 301, 400, 401, 402, 403, 404, 418, 429, 500, 503]


async def test_no_refusal_repeats_the_token_that_the_service_repeats(tmp_path: Path) -> None:
    said: dict[str, bytes] = {}
    for status in (200, 301, 401, 403, 500):
        async with parrot(status) as server:
            tell = f"crawl --api-url {server.url} --user-id 42 --no-wait --db {status}.db"
            codes, said[str(status)] = await commands(
                tmp_path, f"{tell} -vv --debug", f"{tell} --json", MAX_RETRIES="0"
            )
            assert 0 not in codes
            assert server.asked
    assert leaking({**said, **files(tmp_path)}) == {}


def escaped(text: str) -> str:
    """As JSON may spell it, too."""
    return "".join(f"\\u{ord(c):04x}" for c in text)


def broken_up(text: str) -> str:
    """With a mark between its characters that cannot be seen, and so is left out of messages."""
    return "\\u200b".join(text)


@pytest.mark.parametrize("status", [200, 401, 403])
@pytest.mark.parametrize("spell", [str, escaped, broken_up])
async def test_no_spelling_of_the_token_is_repeated(
    status: int, spell: Callable[[str], str]
) -> None:
    heard = f"Bearer {spell(TOKEN)}"
    body = f'{{"errors":[{{"title":"{heard}","detail":"{heard}","message":"{heard}"}}]}}'
    async with serving(b"") as server, XBookmarks(TOKEN, base_url=server.url) as source:
        server.answers[:] = [answer(status, body.encode())]
        with pytest.raises(TwitorError) as caught:
            await source.fetch("42", None, None)
    assert "***" in str(caught.value)
    assert (
        leaking({"exception": "".join(filter(str.isprintable, str(caught.value))).encode()}) == {}
    )


@pytest.mark.parametrize("heard", ["a%2fb%2bc%3d", "a/b%2Bc%3D", "a%252fb%252bc%253d"])
@pytest.mark.parametrize("token", ["a/b+c=", "a%2Fb%2Bc%3D"])
def test_no_spelling_of_urls_shows_the_token(token: str, heard: str) -> None:
    body = json.dumps({"title": "refused", "detail": f"not {heard}"}).encode()
    assert heard not in str(refusal(403, {}, body, now=0.0, secret=token))
    assert heard in str(refusal(403, {}, body, now=0.0, secret="another"))


@pytest.mark.parametrize("status", STATUSES)
async def test_no_exception_and_no_log_of_any_library_holds_the_token(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)  # of all loggers: httpx, httpcore, asyncio
    async with serving(b"") as server, XBookmarks(TOKEN, base_url=server.url) as source:
        body = {"title": f"Bearer {TOKEN}", "detail": TOKEN, "reason": TOKEN}
        server.answers[:] = [answer(status, body)]
        with pytest.raises(TwitorError) as caught:
            await source.fetch("42", None, None)
        assert TOKEN in server.asked[0]
    error = caught.value
    shown = "".join(traceback.format_exception(error)) + str(error) + repr(error) + repr(source)
    assert len(caplog.records) > 5
    assert leaking({"exception": shown.encode(), "log": caplog.text.encode()}) == {}


# -- a queue and a server database, each behind its password ------------------------------------------------


def guarded_postgres(name: str) -> str:
    """A database of the server's, by a URL with a password; a server of this kind asks for none, so any will do."""
    server = postgres_server()
    server.psql(f"CREATE DATABASE {name};")
    url = sa.make_url(server.get_uri(database=name))
    return url.set(drivername="postgresql+asyncpg", password=DATABASE).render_as_string(
        hide_password=False
    )


async def everything_in(url: str) -> bytes:
    """All rows of all tables, as text."""
    engine = create_async_engine(url)
    parts: list[str] = []
    async with engine.connect() as connection:
        names = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
        for name in names:
            rows = await connection.execute(sa.text(f'SELECT * FROM "{name}"'))
            parts += [name, *(repr(tuple(row)) for row in rows)]
    await engine.dispose()
    assert "twitor_bookmark" in parts
    return "\n".join(parts).encode()


def keys_of(server: Server) -> dict[str, bytes]:
    """Every key of the server, its log of slow commands and its own files."""
    with redis.Redis(unix_socket_path=str(server.socket), password=VALKEY) as client:
        run: Callable[..., Any] = client.execute_command
        found = {f"key {key!r}": run("DUMP", key) or b"" for key in run("KEYS", "*")}
        found["slow log"] = repr(run("SLOWLOG", "GET", "100")).encode()
        found["clients"] = repr(run("CLIENT", "LIST")).encode()
        run("SAVE")
    return {
        **found,
        **{f"valkey/{name}": content for name, content in files(server.folder).items()},
    }


async def test_no_worker_metric_queue_or_server_holds_a_secret(
    tmp_path: Path, own_server: Server
) -> None:
    with own_server.client() as client:
        client.config_set("slowlog-log-slower-than", "0")
        client.config_set("requirepass", VALKEY)
    url = guarded_postgres("canary")
    more = {"DATABASE_URL": url, "VALKEY_URL": f"unix://:{VALKEY}@{own_server.socket}"}
    artefacts: dict[str, bytes] = {}
    async with Simulator(60, token=TOKEN, faults=faulty(), window_s=0.3) as simulator:
        user = simulator.user_id
        codes, artefacts["asking"] = await commands(
            tmp_path, "db upgrade", f"enqueue crawl --user {user}", "queue health", **more
        )
        assert codes == [0, 0, 0]
        async with QueueManager(more["VALKEY_URL"], settings=Settings()) as queue:
            await queue.enqueue("crawl", {"user_id": user, "source": "forged"}, task_id="dead")
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "twitor_fsm.cli", "worker", "-vv", "--metrics-port", "0"),
            *("--api-url", simulator.base_url),
            cwd=tmp_path,
            env=environment(**more),
            stdout=PIPE,
            stderr=PIPE,
        )
        try:
            said = await listen(worker, "metrics and probes at ")
            address = said.partition("metrics and probes at ")[2].partition(";")[0]
            await until(lambda: len(simulator.ledger) >= 4, 30.0)
            scraped = await asyncio.to_thread(scrape, f"{address}/metrics")
            assert b"twitor" in scraped
            await until(lambda: is_stored(url, 59), 30.0)
        finally:
            worker.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(worker.communicate(), 60)
        artefacts |= {"metrics": scraped, "worker": said.encode() + out + err}
        codes, artefacts["looking"] = await commands(
            tmp_path,
            "status",
            "sessions show --json",
            "queue stats",
            "queue dead list --json",
            "doctor --offline",
            "export --format json",
            **more,
        )
        assert codes == [0] * 6
        assert b'"dead"' in artefacts["looking"]
    artefacts |= keys_of(own_server) | files(tmp_path)
    artefacts["rows"] = await everything_in(url)
    assert any(name.startswith("key ") for name in artefacts)
    assert any(name.startswith("valkey/") and ".aof" in name for name in artefacts)
    assert leaking(artefacts) == {}


async def listen(process: asyncio.subprocess.Process, words: str) -> str:
    """Wait until stderr says this."""
    assert process.stderr is not None
    seen = ""
    while words not in seen:
        line = await asyncio.wait_for(process.stderr.readline(), 60)
        assert line, f"never said {words!r}: {seen}"
        seen += line.decode()
    return seen


def scrape(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=10) as found:
        content: bytes = found.read()
    return content


async def is_stored(url: str, wanted: int) -> bool:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            count = await connection.scalar(sa.text("SELECT count(*) FROM twitor_bookmark"))
            return bool(count is not None and count >= wanted)
    finally:
        await engine.dispose()


async def test_no_failure_of_a_server_shows_its_password(
    tmp_path: Path, own_server: Server
) -> None:
    with own_server.client() as client:
        client.config_set("requirepass", "another")
    nowhere = tmp_path / "no" / "socket"
    down = f"postgresql+asyncpg://me:{DATABASE}@127.0.0.1:1/none"
    lines = [
        "queue health",
        "queue health --json",
        "status --debug",
        "doctor --offline",
        "enqueue crawl --user 7",
    ]
    artefacts: dict[str, bytes] = {}
    for name, valkey in {
        "refused": f"unix://:{VALKEY}@{own_server.socket}",
        "as a user": f"unix://me:{VALKEY}@{own_server.socket}",
        "nowhere": f"unix://:{VALKEY}@{nowhere}",
        "wrong": f"redis://:{VALKEY}@",
    }.items():
        codes, artefacts[name] = await commands(
            tmp_path, *lines, DATABASE_URL=down, VALKEY_URL=valkey
        )
        assert 0 not in codes
    assert leaking({**artefacts, **files(tmp_path)}) == {}
