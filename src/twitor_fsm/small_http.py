"""A small HTTP server for a handful of pages: one GET or HEAD on a connection, within 5 seconds and 8 KiB.

The only importer of h11, which knows the protocol; limits and sockets are asyncio's. Whatever arrives costs little and
ends soon: nothing is read beyond a request's head.
Must not know: what the pages say.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import attrs

from .errors import ConfigurationError
from .log_facts import logger_of

if TYPE_CHECKING:
    import h11

__all__ = ["Answer", "Page", "SmallServer"]

REQUEST_S: Final = 5.0
"""From the connection to the last byte of the answer, seconds."""

HEAD_BYTES: Final = 8192
"""Size of a request's head at most, bytes."""

CONNECTIONS: Final = 100
"""At once at most; a further one is closed."""


@attrs.frozen
class Answer:
    """A page as it is now."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


_LOG: Final = logger_of("twitor_fsm.probes")

Page = Callable[[str], Awaitable[Answer]]
"""Makes an answer, given the request's Accept header."""


class SmallServer:
    """Serves pages by their paths."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        """Prepare; nothing is opened."""
        self._pages: Final = dict(pages)
        self._server: asyncio.Server | None = None
        self._serving: Final[set[asyncio.Task[None]]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; port 0 takes a free one.

        Returns:
            The port.

        Raises:
            ConfigurationError: The port is taken, the address is not this machine's, or h11 is missing.
        """
        try:
            import h11  # noqa: F401 - missing: said now, not at the first request
        except ModuleNotFoundError as exc:
            raise ConfigurationError(
                'h11 is not installed; nothing was started. Run: pip install "twitor-fsm[metrics]"'
            ) from exc
        try:
            self._server = await asyncio.start_server(self._connected, host, port)
        except OSError as exc:
            why = os.strerror(exc.errno).lower() if exc.errno and exc.errno > 0 else "no such host"
            raise ConfigurationError(
                f"cannot listen at {host} port {port} ({why}); nothing was started. "
                "Choose another port, or 0 for a free one"
            ) from exc
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Close the port and all connections; safe to call twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._serving) >= CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_S):
                await self._answer(reader, writer)
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError):  # too slow, or gone
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import h11

        protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES - 1)
        is_head = False
        try:
            request = await _request(protocol, reader)
            if request is None:
                return
            is_head = request.method == b"HEAD"
            answer = await self._page(request)
        except h11.RemoteProtocolError as error:
            answer = Answer(error.error_status_hint, b"this is no request\n")
        headers = [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            ("Connection", "close"),
            *([("Allow", "GET, HEAD")] if answer.status == 405 else []),
        ]
        head = protocol.send(
            h11.Response(
                status_code=answer.status,
                headers=headers,
                reason=HTTPStatus(answer.status).phrase.encode(),
            )
        )
        writer.write(head or b"")
        if not is_head:
            writer.write(answer.body)
        await writer.drain()

    async def _page(self, request: "h11.Request") -> Answer:
        page = self._pages.get(request.target.partition(b"?")[0].decode("latin-1"))
        if page is None:
            return Answer(404, f"there are {', '.join(sorted(self._pages))}\n".encode())
        if request.method not in {b"GET", b"HEAD"}:
            return Answer(405, b"only GET and HEAD\n")
        accept = b",".join(value for name, value in request.headers if name == b"accept")
        try:
            return await page(accept.decode("latin-1"))
        except Exception:  # noqa: BLE001 - a host's collector may raise anything; the server goes on
            _LOG.exception("a page failed")
            return Answer(500, b"this page failed; the log says why\n")


async def _request(
    protocol: "h11.Connection", reader: asyncio.StreamReader
) -> "h11.Request | None":
    """The request's head; None if the other side leaves before that. Raises `h11.RemoteProtocolError`."""
    import h11

    room = HEAD_BYTES
    while True:
        event = protocol.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        data = await reader.read(room)
        room -= len(data)
        protocol.receive_data(data)
