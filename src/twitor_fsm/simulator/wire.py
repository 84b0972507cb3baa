"""Serves an ASGI app on loopback through uvicorn's HTTP protocol, in the running loop.

The only module that knows uvicorn. It takes uvicorn's protocol without its server: no signal
handlers, no logging set up, no ticking task, and stopping takes no time. Below each request the app
finds its connection, so that a fault can break it.
"""

import asyncio
import socket
import struct
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from twitor_fsm.errors import ConfigurationError

from .sending import CONNECTION

__all__ = ["LoopbackServer"]

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: closing sends a reset


class _Protocol(H11Protocol):
    """One connection; also the `Connection` that faults act on."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, CONNECTION: self}

    def reset(self) -> None:
        """Break the connection at once; the client sees a reset."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def hang_up(self) -> None:
        """Close the connection after what was written."""
        self.transport.close()


class LoopbackServer:
    """An ASGI app on 127.0.0.1.

    Args:
        app: The app.
        port: Port; 0 takes a free one, which `port` names after `start`.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.port = port
        self._app = app
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._stopping = False

    async def start(self) -> None:
        """Listen; raises ConfigurationError when the port is taken."""
        config = Config(
            self._serve,
            http=_Protocol,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            proxy_headers=False,
            timeout_keep_alive=75,
        )
        config.load()
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: _Protocol(
                    config=config, server_state=self._state, app_state={}, _loop=loop
                ),
                "127.0.0.1",
                self.port,
            )
        except OSError as exc:
            raise ConfigurationError(
                f"port {self.port} on 127.0.0.1 cannot be used ({exc.strerror}); "
                "nothing was started. Choose another port, or 0 for a free one"
            ) from exc
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Break every connection and wait until nothing is left running."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._state.connections):
            connection.transport.abort()
        while self._state.connections:  # noqa: ASYNC110 - uvicorn's own set; a turn or two
            await asyncio.sleep(0)
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            # the connection is gone already, and uvicorn would log the cancellation as an error
