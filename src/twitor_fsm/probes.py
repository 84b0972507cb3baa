"""What a worker tells orchestrators and Prometheus over HTTP: `/metrics`, `/healthz`, `/readyz`.

    probes = Probes(metrics=metrics, is_draining=lambda: worker.is_draining)
    await probes.start("127.0.0.1", 9464)
    probes.opened(engine, queue)

Must not know: HTTP (`small_http.py`), what a worker does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from .errors import ConfigurationError, TwitorError
from .small_http import Answer, SmallServer

if TYPE_CHECKING:
    from .engine import CrawlEngine
    from .metrics import PrometheusMetrics
    from .queue_manager import QueueManager

__all__ = ["Probes"]

ASK_S: Final = 2.0
"""How long a part may take to answer, seconds; then it counts as not ready."""

FRESH_S: Final = 1.0
"""An answer that is younger serves another request, seconds: requests cannot keep database and loop busy."""

OK: Final = "ok"
NOT_OPEN: Final = "not open yet"
CLOSING: Final = "closing: the worker ends"


class Probes:
    """The HTTP port of one worker.

    `/healthz` answers 200 as long as the event loop turns: a process that is stuck does not answer at all.
    `/readyz` answers 200, or 503 while the worker starts, drains, or cannot reach its database or Valkey; as JSON, with
    what each part says. `/metrics` answers in the format that the request accepts.
    """

    def __init__(
        self,
        *,
        metrics: "PrometheusMetrics",
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare; nothing is opened, and no part is ready.

        Args:
            metrics: What `/metrics` shows.
            is_draining: Whether the worker takes nothing more.
        """
        self._metrics: Final = metrics
        self._is_draining: Final = is_draining
        self._parts: Final[dict[str, _Part]] = {"database": _Part(), "queue": _Part()}
        self._scraped: tuple[str, Answer | None, float] = "", None, 0.0
        self._server: Final = SmallServer(
            {"/metrics": self._scrape, "/healthz": _health, "/readyz": self._readiness}
        )

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises `ConfigurationError` if it cannot be had."""
        return await self._server.start(host, port)

    async def close(self) -> None:
        """Close the port; what is asked ends."""
        await self._server.close()
        for part in self._parts.values():
            await part.close()

    def waiting(self, why: str) -> None:
        """The database is not open: `/readyz` says what is waited for, until `opened`."""
        self._parts["database"].wait(f"{NOT_OPEN}: {why}")

    def opened(self, engine: "CrawlEngine", queue: "QueueManager") -> None:
        """Both are open: from now on they are asked."""

        async def ask_database() -> str:
            try:
                store = engine.store
            except ConfigurationError:  # it was open: the worker closes it before this port
                return CLOSING
            await store.check()
            return OK

        async def ask_queue() -> str:
            health = await queue.health_check()
            return OK if health["status"] == "healthy" else str(health["error"])

        self._parts["database"].ask = ask_database
        self._parts["queue"].ask = ask_queue

    async def _scrape(self, accept: str) -> Answer:
        asked, answer, until = self._scraped
        now = asyncio.get_running_loop().time()
        if answer is not None and asked == accept and now < until:
            return answer
        body, content_type = await self._metrics.exposition(accept)
        answer = Answer(200, body, content_type)
        self._scraped = accept, answer, now + FRESH_S
        return answer

    async def _readiness(self, _accept: str) -> Answer:
        said = await asyncio.gather(*(part.answer() for part in self._parts.values()))
        parts = dict(zip(self._parts, said, strict=True))
        is_draining = self._is_draining()  # asked last: it may have begun meanwhile
        is_ready = not is_draining and all(word == OK for word in said)
        return _json(
            200 if is_ready else 503, {"ready": is_ready, "draining": is_draining, **parts}
        )


async def _health(_accept: str) -> Answer:
    return _json(200, {"status": OK})


def _json(status: int, value: dict[str, Any]) -> Answer:
    return Answer(status, msgspec.json.encode(value) + b"\n", "application/json")


@attrs.define(eq=False)
class _Part:
    """Something that has to answer; asked once at a time, whoever wants to know."""

    ask: Callable[[], Awaitable[str]] | None = None
    _waits_for: str = NOT_OPEN
    _asking: "asyncio.Task[str] | None" = None
    _said: str = NOT_OPEN
    _said_at: float = float("-inf")

    def wait(self, why: str) -> None:
        """It cannot be asked."""
        self.ask, self._waits_for = None, why

    async def answer(self) -> str:
        """Whether it answers, or why not."""
        if self.ask is None:
            return self._waits_for
        now = asyncio.get_running_loop().time()
        if now - self._said_at < FRESH_S:
            return self._said
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._note(self.ask))
        await asyncio.wait({self._asking}, timeout=ASK_S)
        return self._said if self._asking.done() else f"no answer within {ASK_S:g} s"

    async def _note(self, ask: Callable[[], Awaitable[str]]) -> str:
        try:
            self._said = await ask()
        except TwitorError as error:
            self._said = str(error)
        except Exception as error:  # noqa: BLE001 - an embedder's store may raise anything; it is not ready then
            self._said = type(error).__name__
        self._said_at = asyncio.get_running_loop().time()
        return self._said

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
