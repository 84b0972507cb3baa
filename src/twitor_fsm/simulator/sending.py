"""Sends an answer as planned: whole, slowly, cut short, or with the connection broken.

Must not know: why.
"""

from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import Any, Final, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .answers import Answer, Wire

__all__ = ["CONNECTION", "Connection", "PlannedResponse"]

CONNECTION: Final = "twitor_fsm.simulator.connection"
"""Key of the request's `Connection` in the ASGI scope's state."""

_SLICES: Final = 8


class Connection(Protocol):
    """What a fault may do to the connection below a request."""

    def reset(self) -> None:
        """Break it at once; the client sees a reset."""

    def hang_up(self) -> None:
        """Close it after what was written."""


class PlannedResponse(Response):
    """An answer and the way it is sent.

    Args:
        answer: Status, headers, body and way.
        date_s: The `Date` header, epoch seconds.
        sleep: Waits for seconds.
    """

    def __init__(
        self, answer: Answer, *, date_s: float, sleep: Callable[[float], Awaitable[Any]]
    ) -> None:
        headers = {**answer.headers, "date": formatdate(date_s, usegmt=True)}
        super().__init__(answer.body, answer.status, headers)
        self._wire = answer.wire
        self._sleep = sleep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; faults that break the connection need our own server below."""
        wire = self._wire
        connection: Connection | None = _state(scope).get(CONNECTION)
        if wire is None or (connection is None and wire.kind != "slow"):
            await super().__call__(scope, receive, send)
            return
        if wire.kind == "reset" and wire.part == 0 and connection is not None:
            connection.reset()
            await _until_disconnected(receive)
            return
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        if wire.kind == "slow":
            await self._send_slowly(send, wire)
            return
        sent = bytes(self.body[: int(len(self.body) * wire.part)])
        await send({"type": "http.response.body", "body": sent, "more_body": True})
        if connection is not None:
            connection.reset() if wire.kind == "reset" else connection.hang_up()
        await _until_disconnected(receive)

    async def _send_slowly(self, send: Send, wire: Wire) -> None:
        size = -(-len(self.body) // _SLICES)
        for place in range(_SLICES):
            await self._sleep(wire.seconds / _SLICES)
            piece = bytes(self.body[place * size : (place + 1) * size])
            await send(
                {"type": "http.response.body", "body": piece, "more_body": place < _SLICES - 1}
            )


def _state(scope: Scope) -> Mapping[str, Any]:
    state = scope.get("state")
    return state if isinstance(state, Mapping) else {}


async def _until_disconnected(receive: Receive) -> None:
    """Wait for the connection's end, so that the server does not report an unfinished answer."""
    while (await receive())["type"] != "http.disconnect":
        pass
