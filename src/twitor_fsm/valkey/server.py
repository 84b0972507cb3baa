"""The server that VALKEY_URL names: one that runs somewhere, or one of our own that has to be started.

The one place where that makes a difference. Must not know: queues.
"""

from collections.abc import Callable
from typing import Final

from ..clock import Clock
from ..config import Settings
from .connection import Connection, check_options
from .embedded import EMBEDDED, EmbeddedServer, folder_beside

__all__ = ["Server"]


class Server:
    """Where a queue is, as one process uses it."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Prepare; nothing is opened.

        Args:
            settings: Where it is, connections at most, and the database beside which a server of our own has its files.
            clock: Times the start of a server of our own.

        Raises:
            ConfigurationError: A server of our own has no place there; or the URL has an option that is not understood.
        """
        if settings.valkey_url != EMBEDDED:
            check_options(settings.valkey_url)
        self._settings: Final = settings
        self._embedded: Final = (
            EmbeddedServer(folder_beside(settings.database_url), clock)
            if settings.valkey_url == EMBEDDED
            else None
        )

    @property
    def revive(self) -> Callable[[], None] | None:
        """Sees to it that the server runs; None where that is somebody else's business."""
        return self._embedded.revive if self._embedded is not None else None

    async def acquire(self) -> None:
        """Use the server. Raises as `EmbeddedServer.acquire`."""
        if self._embedded is not None:
            await self._embedded.acquire()

    def release(self) -> None:
        """Use it no longer."""
        if self._embedded is not None:
            self._embedded.release()

    def connection(self) -> Connection:
        """A new connection; nothing is opened."""
        limit = self._settings.valkey_max_connections
        if self._embedded is None:
            return Connection(self._settings.valkey_url, max_connections=limit)
        return Connection(self._embedded.url, max_connections=limit, remedy=self._embedded.remedy)
