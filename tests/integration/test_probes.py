"""The worker's HTTP port on real sockets: what it says of itself, and what hostile requests get."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import attrs
import pytest
from prometheus_client import CollectorRegistry
from valkey_server import QueueNames, Server, until

from twitor_fsm import small_http
from twitor_fsm.config import Settings
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import ConfigurationError
from twitor_fsm.metrics import PrometheusMetrics
from twitor_fsm.probes import Probes
from twitor_fsm.queue_manager import QueueManager

GET: Final = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


@attrs.define
class Port:
    """A port of probes, and whether its worker drains."""

    probes: Probes
    number: int = 0
    is_draining: bool = False

    async def send(self, request: bytes) -> bytes:
        """Everything that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def get(self, path: str, method: bytes = b"GET") -> tuple[int, bytes]:
        answer = await self.send(GET.replace(b"GET", method) % path.encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body

    async def ready(self) -> tuple[int, dict[str, Any]]:
        status, body = await self.get("/readyz")
        return status, json.loads(body)


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    metrics = PrometheusMetrics(CollectorRegistry())
    here = Port(Probes(metrics=metrics, is_draining=lambda: here.is_draining))
    here.number = await here.probes.start("127.0.0.1", 0)
    yield here
    await here.probes.close()
    await here.probes.close()  # twice is harmless


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twitor_fsm.probes.FRESH_S", 0.0)


# -- what it says ---------------------------------------------------------------------------------


async def test_a_loop_that_turns_is_alive(port: Port) -> None:
    assert await port.get("/healthz") == (200, b'{"status":"ok"}\n')
    assert await port.get("/healthz?probe=1") == (200, b'{"status":"ok"}\n')
    assert await port.get("/healthz", b"HEAD") == (200, b"")


async def test_metrics_are_served_in_both_formats(port: Port) -> None:
    status, body = await port.get("/metrics")
    assert (status, b'twitor_errors_total{category="NETWORK"} 0.0' in body) == (200, True)
    accept = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n"
    assert (await port.send(accept)).endswith(b"# EOF\n")


async def test_many_scrapes_are_one(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twitor_fsm.probes.FRESH_S", 60.0)
    metrics = port.probes._metrics
    first = await port.get("/metrics")
    metrics._retries.inc()
    assert await port.get("/metrics") == first
    other = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n"
    assert b"twitor_retries_total 1.0" in await port.send(other), "of another format: made anew"
    monkeypatch.setattr("twitor_fsm.probes.FRESH_S", 0.0)
    await port.send(other)
    metrics._retries.inc()
    assert b"twitor_retries_total 2.0" in (await port.get("/metrics"))[1]


async def test_a_worker_that_waits_says_what_for(port: Port, own_server: Server, db: str) -> None:
    port.probes.waiting("schema revision 1, this version needs 2")
    waits = {"database": "not open yet: schema revision 1, this version needs 2"}
    status, said = await port.ready()
    assert (status, said["database"]) == (503, waits["database"])
    async with (
        QueueManager(own_server.url, settings=Settings()) as queue,
        CrawlEngine(db, settings=Settings()) as engine,
    ):
        port.probes.opened(engine, queue)
        assert (await port.ready())[1]["database"] == "ok"
        port.probes.waiting("it was upgraded")
        assert (await port.ready())[1]["database"] == "not open yet: it was upgraded"


async def test_a_worker_is_ready_when_both_its_parts_answer(
    port: Port, own_server: Server, db: str
) -> None:
    assert await port.ready() == (
        503,
        {"ready": False, "draining": False, "database": "not open yet", "queue": "not open yet"},
    )
    async with QueueManager(own_server.url, settings=Settings()) as queue:
        engine = CrawlEngine(db, settings=Settings())
        await engine.open()
        port.probes.opened(engine, queue)
        good = {"ready": True, "draining": False, "database": "ok", "queue": "ok"}
        assert await port.ready() == (200, good)
        own_server.stop()
        status, said = await port.ready()
        assert (status, said["ready"], said["database"]) == (503, False, "ok")
        assert said["queue"].startswith("no answer from Valkey at unix://")
        own_server.start()
        assert await port.ready() == (200, good)
        port.is_draining = True
        assert await port.ready() == (503, good | {"ready": False, "draining": True})
        assert (await port.get("/healthz"))[0] == 200, "it lives until it ends"
        port.is_draining = False
        await engine.close()
        status, said = await port.ready()
        assert (status, said["queue"]) == (503, "ok")
        assert said["database"] == "closing: the worker ends"


async def test_a_database_that_hangs_is_asked_once(
    port: Port, names: QueueNames, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twitor_fsm.probes.ASK_S", 0.05)
    answers = asyncio.Event()
    asked: list[int] = []

    class Hanging(CrawlEngine):
        @property
        def store(self) -> Any:
            class Store:
                async def check(self) -> None:
                    asked.append(1)
                    await answers.wait()

            return Store()

    async with QueueManager(names.url, names.name, settings=Settings()) as queue:
        port.probes.opened(Hanging(db, settings=Settings()), queue)
        answers_now = await asyncio.gather(*(port.ready() for _ in range(10)), port.ready())
        assert {(status, said["database"]) for status, said in answers_now} == {
            (503, "no answer within 0.05 s")
        }
        assert asked == [1]
        answers.set()
        await until(lambda: _is_ready(port))


async def _is_ready(port: Port) -> bool:
    return (await port.ready())[0] == 200


async def test_many_requests_ask_the_database_no_more_than_once_a_second(
    port: Port, names: QueueNames, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twitor_fsm.probes.FRESH_S", 60.0)
    asked: list[int] = []
    async with (
        QueueManager(names.url, names.name, settings=Settings()) as queue,
        CrawlEngine(db, settings=Settings()) as engine,
    ):
        real = engine.store.check

        async def counted() -> None:
            asked.append(1)
            await real()

        monkeypatch.setattr(engine.store, "check", counted)
        port.probes.opened(engine, queue)
        for _ in range(3):
            assert all(
                status == 200
                for status, _ in await asyncio.gather(*(port.ready() for _ in range(20)))
            )
    assert len(asked) == 1


async def test_a_page_that_fails_is_a_500_and_the_next_one_is_served(port: Port) -> None:
    class Broken:
        def collect(self) -> Any:
            raise ZeroDivisionError

        def describe(self) -> Any:
            return []

    registry: Any = port.probes._metrics.registry
    broken = Broken()
    registry.register(broken)
    assert (await port.get("/metrics"))[0] == 500
    registry.unregister(broken)
    assert (await port.get("/metrics"))[0] == 200


async def test_a_port_that_is_taken_is_told_in_one_line(port: Port) -> None:
    metrics = PrometheusMetrics(CollectorRegistry())
    with pytest.raises(ConfigurationError) as raised:
        await Probes(metrics=metrics).start("127.0.0.1", port.number)
    assert str(raised.value) == (
        f"cannot listen at 127.0.0.1 port {port.number} (address already in use); nothing was started. "
        "Choose another port, or 0 for a free one"
    )
    with pytest.raises(ConfigurationError, match="no such host"):
        await Probes(metrics=metrics).start("no-such-host.invalid", 0)


# -- what hostile requests get --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET http://other/metrics HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 405),
        (b"DELETE /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"garbage\r\n\r\n", 400),
        (b"GET / SPDY/1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", 400),
        (b"GET /" + b"a" * 8_165 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 404),  # just fits
        (b"GET /" + b"a" * 8_166 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000 + b"\r\n", 431),
    ],
)
async def test_what_is_no_request_of_ours_is_refused(
    port: Port, request_: bytes, status: int
) -> None:
    is_huge = len(request_) > small_http.HEAD_BYTES  # not listened to, so the answer may be lost
    with contextlib.suppress(*[ConnectionResetError] if is_huge else []):
        answer = await port.send(request_)
        assert int(answer.split()[1]) == status
        assert b"Connection: close" in answer
    assert (await port.get("/healthz"))[0] == 200


async def test_a_request_that_does_not_come_is_not_waited_for(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_http, "REQUEST_S", 0.1)
    assert await port.send(b"GET /hea") == b""
    assert await port.send(b"") == b""
    assert (await port.get("/healthz"))[0] == 200


async def test_a_reader_that_does_not_read_is_not_waited_for(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_http, "REQUEST_S", 0.1)
    large = b"x" * (64 << 20)

    asked: list[str] = []

    async def page(accept: str) -> small_http.Answer:
        asked.append(accept)
        return small_http.Answer(200, large)

    port.probes._server._pages["/large"] = page
    reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
    writer.write(GET % b"/large")
    await until(lambda: asked == [""] and port.probes._server._serving == set(), 5)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(len(large))
    writer.close()
    assert (await port.get("/healthz"))[0] == 200


async def test_more_connections_than_there_is_room_for_are_closed(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_http, "CONNECTIONS", 5)
    held = [await asyncio.open_connection("127.0.0.1", port.number) for _ in range(5)]
    await until(lambda: len(port.probes._server._serving) == 5)
    reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    assert len(port.probes._server._serving) == 5, "the others stay"
    writer.close()
    for _, one in held:
        one.close()
    await until(lambda: port.probes._server._serving == set())
    assert (await port.get("/healthz"))[0] == 200


async def test_closing_leaves_no_connection_and_no_port(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_http, "REQUEST_S", 600.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
    await until(lambda: len(port.probes._server._serving) == 1)
    async with asyncio.timeout(20):
        await port.probes.close()
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port.number)
