"""A queue URL that is wrong, refused, unauthorised or without permission: one clear line saying which, without password."""

import asyncio
import contextlib
import re
import ssl
import subprocess
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from valkey_server import QueueNames, Server

from twitor_fsm.classify import classify
from twitor_fsm.config import Settings
from twitor_fsm.core.taxonomy import ErrorCategory
from twitor_fsm.errors import (
    ConfigurationError,
    QueueError,
    QueueMisconfigured,
    QueueUnauthorized,
    QueueUnavailable,
)
from twitor_fsm.queue_manager import QueueManager

PASSWORD = "hunter2-secret"


async def refusal(url: str, queue_name: str = "q") -> QueueError:
    queue = QueueManager(url, queue_name, settings=Settings())
    with pytest.raises(QueueError) as caught:
        await queue.connect()
    health = await queue.health_check()
    assert health["status"] == "unhealthy"
    for said in (str(caught.value), repr(caught.value), health["error"] or "", repr(queue)):
        assert PASSWORD not in said
        assert "\n" not in said
    assert isinstance(caught.value, QueueError)
    return caught.value


@contextlib.asynccontextmanager
async def speaking(answer: bytes, *, is_friendly: bool = False) -> AsyncIterator[int]:
    """A port where something else answers; a friendly one says OK to everything but scripts."""

    talks: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(writer)
        while data := await reader.read(65536):
            count = len(re.findall(rb"(?:^|\n)\*\d+\r\n", data))
            is_script = b"EVALSHA" in data
            writer.write(b"+OK\r\n" * count if is_friendly and not is_script else answer)
            if not is_friendly:
                break
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in talks:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await server.wait_closed()


@pytest.mark.parametrize(
    "url",
    [
        "localhost",
        "http://x",
        "redis://",
        f"redis://:{PASSWORD}@",
        "redis://h:99999",
        "",
        "unix://",
    ],
)
def test_a_wrong_url_is_refused_before_anything(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"VALKEY_URL is .* allowed is") as caught:
        QueueManager(url, settings=Settings())
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "option", ["decode_responses=1", "protocol=3", "socket_timeout=0.1", "x=", f"a={PASSWORD}@b"]
)
def test_an_option_that_would_change_how_we_speak_is_refused(option: str) -> None:
    with pytest.raises(ConfigurationError, match="options that are not understood") as caught:
        QueueManager(f"redis://:{PASSWORD}@127.0.0.1:1/0?{option}", settings=Settings())
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1?db=x", "redis://127.0.0.1:1?ssl_keyfile=x"])
async def test_a_value_that_cannot_be_is_told_as_such(url: str) -> None:
    queue = QueueManager(url, settings=Settings())
    with pytest.raises(ConfigurationError, match="the URL of Valkey has"):
        await queue.connect()
    assert (await queue.health_check())["status"] == "unhealthy"


async def test_nobody_listens() -> None:
    async with speaking(b"") as port:
        pass
    error = await refusal(f"redis://me:{PASSWORD}@127.0.0.1:{port}/0")
    assert isinstance(error, QueueUnavailable)
    assert not error.is_outcome_unknown
    assert f"redis://me:***@127.0.0.1:{port}/0 (" in str(error)
    assert "refused" in str(error)
    assert "docker-compose -f docker-compose.valkey.yml up -d" in str(error)
    assert "the project's repository" in str(error)
    assert 'pip install "twitor-fsm[embedded]" and set VALKEY_URL=embedded' in str(error)


async def test_no_such_host() -> None:
    error = await refusal(f"redis://:{PASSWORD}@no-such-host.invalid/0")
    assert isinstance(error, QueueUnavailable)
    assert "no such host" in str(error)
    assert "embedded" not in str(error)  # which serves one machine


async def test_the_line_is_cut_at_once() -> None:
    async with speaking(b"") as port:
        error = await refusal(f"redis://127.0.0.1:{port}/0")
    assert isinstance(error, QueueUnavailable)


@pytest.mark.parametrize(
    "answer",
    [
        b"-CLUSTERDOWN The cluster is down\r\n",
        b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
        b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
        b"-LOADING Valkey is loading the dataset in memory\r\n",
        b"-MISCONF Errors writing to the AOF file: No space left on device\r\n",
        b"-NOREPLICAS Not enough good replicas to write.\r\n",
        b"-READONLY You can't write against a read only replica.\r\n",
    ],
    ids=lambda answer: answer.partition(b" ")[0].decode(),
)
async def test_a_server_that_will_serve_again_is_no_wrong_server(answer: bytes) -> None:
    """What ends by itself ends no worker; of some of these words redis-py leaves only the class."""
    async with speaking(answer, is_friendly=True) as port:
        error = await refusal(f"redis://127.0.0.1:{port}/0")
    assert isinstance(error, QueueUnavailable), error
    assert "Redis 7" not in str(error)


async def test_something_else_answers() -> None:
    async with speaking(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        error = await refusal(f"redis://:{PASSWORD}@127.0.0.1:{port}/0")
    assert isinstance(error, QueueMisconfigured)
    assert "cannot run the queue" in str(error)


REPEATED = f"unknown command 'AUTH', with args beginning with: 'me' '{PASSWORD}'"


@pytest.mark.parametrize("reply", [f"ERR {REPEATED}", f"NOPERM {PASSWORD}", f"WEIRD {PASSWORD}"])
@pytest.mark.parametrize("login", [f"me:{PASSWORD}@", f":{PASSWORD.replace('-', '%2D')}@"])
async def test_a_server_that_repeats_the_password_is_not_quoted_with_it(
    reply: str, login: str
) -> None:
    async with speaking(f"-{reply}\r\n".encode()) as port:
        error = await refusal(f"redis://{login}127.0.0.1:{port}/0")
    assert "***" in str(error).partition("@")[2]
    assert PASSWORD not in "".join(traceback.format_exception(error))


async def test_a_password_is_asked_for(own_server: Server) -> None:
    with own_server.client() as client:
        client.config_set("requirepass", "right")
    path = str(own_server.socket)
    for login in ("", f":{PASSWORD}@", f"nobody:{PASSWORD}@"):
        error = await refusal(f"unix://{login}{path}")
        assert isinstance(error, QueueUnauthorized)
        assert "refuses the password or the user" in str(error)
        assert classify(error).category is ErrorCategory.AUTH
    async with QueueManager(f"unix://:right@{path}", "q", settings=Settings()) as queue:
        assert (await queue.health_check())["status"] == "healthy"


async def test_a_user_of_another_queue_may_not_use_this_one(own_server: Server) -> None:
    with own_server.client() as client:
        client.execute_command(
            *("ACL", "SETUSER", "worker", "on", f">{PASSWORD}", "resetchannels"),
            *("~{mine}:*", "+@all", "-@dangerous", "-@admin"),
        )
        client.execute_command("ACL", "SETUSER", "reader", "on", f">{PASSWORD}", "~*", "+ping")
    path = str(own_server.socket)
    error = await refusal(f"unix://worker:{PASSWORD}@{path}", "other")
    assert isinstance(error, QueueMisconfigured)
    assert "may not do this" in str(error)
    assert classify(error).category is ErrorCategory.FATAL
    assert isinstance(await refusal(f"unix://reader:{PASSWORD}@{path}"), QueueMisconfigured)

    async with QueueManager(
        f"unix://worker:{PASSWORD}@{path}", "mine", settings=Settings(initial_backoff=0.01)
    ) as queue:
        await queue.enqueue_many([("x", {}), ("y", {})], max_retries=0)
        await queue.enqueue("z", {}, delay=0.01)
        for settle in (queue.complete, queue.retry_task, queue.complete):
            task = await queue.dequeue(timeout=5)
            assert task is not None
            await settle(task)
        assert await queue.pause()
        assert await queue.resume()
        assert await queue.dead_letters.retry_all() == 1
        assert await queue.peek()


async def test_an_old_server_is_told_from_a_new_one() -> None:
    async with speaking(b"-ERR unknown command 'EVALSHA'\r\n", is_friendly=True) as port:
        assert isinstance(await refusal(f"redis://127.0.0.1:{port}"), QueueMisconfigured)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of `localhost` and its key, in one file."""
    file = tmp_path / "both.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext"),
            *("subjectAltName=DNS:localhost", "-keyout", file, "-out", tmp_path / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    with file.open("a") as both:
        both.write((tmp_path / "cert.pem").read_text())
    return file


async def test_tls_with_a_certificate_that_is_checked(
    names: QueueNames, certificate: Path, tmp_path: Path
) -> None:
    """The wheel's server is built without TLS, so a real TLS end stands before it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(names.server.socket)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        url = f"rediss://localhost:{port}/0"
        async with QueueManager(
            f"{url}?ssl_ca_certs={tmp_path / 'cert.pem'}", names.name, settings=Settings()
        ) as queue:
            await queue.enqueue("x", {})
            task = await queue.dequeue(timeout=0)
            assert task is not None
            assert await queue.complete(task)
        error = await refusal(url)
        assert isinstance(error, QueueMisconfigured)
        assert "no TLS" in str(error)
        assert isinstance(await refusal(f"redis://localhost:{port}"), QueueError)
    finally:
        server.close()
