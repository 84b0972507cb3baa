"""A session's signs of life: one at a third of its lease, for as long as the session is ours.

Hears what the store answers (a cancel wish, a new owner), and notices a blocked event loop.
Must not know: what the session does about it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from .clock import Clock
from .core.records import SessionRecord
from .errors import LeaseLost
from .log_facts import logger_of
from .storage.base import Store

__all__ = ["Heartbeat"]

_LOG: Final = logger_of("twitor_fsm.session")

LATE_S: Final = 1.0
"""A sign of life that comes so much too late, seconds, is told: the loop was blocked."""


class Heartbeat:
    """The signs of life of one session."""

    def __init__(
        self,
        session: SessionRecord,
        store: Store,
        clock: Clock,
        *,
        lease_s: float,
        on_wish: Callable[[str], None],
        on_lost: Callable[[], None],
        extra: dict[str, str | None],
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            session: Whose lease is renewed, and under which fence.
            store: Where.
            clock: Time.
            lease_s: How long each sign of life lasts, seconds.
            on_wish: Called with the reason when somebody else wants the session to end.
            on_lost: Called when another process owns it; no sign of life follows.
            extra: What every log record carries.
        """
        self._session: Final = session
        self._store: Final = store
        self._clock: Final = clock
        self._lease_s: Final = lease_s
        self._on_wish: Final = on_wish
        self._on_lost: Final = on_lost
        self._extra: Final = extra
        self._beating: Final = asyncio.Lock()
        """Held by a sign of life under way: one that came after the release would take the lease back."""
        self._rests = False

    @asynccontextmanager
    async def resting(self) -> AsyncIterator[None]:
        """Let the lease go inside of this: afterwards no sign of life is given, until `go_on`."""
        async with self._beating:
            yield
            self._rests = True

    def go_on(self) -> None:
        """Give signs of life again."""
        self._rests = False

    async def run(self) -> None:
        """Give signs of life until cancelled, or until the lease is lost."""
        loop, pace_s = asyncio.get_running_loop(), self._lease_s / 3.0
        for_ever = loop.create_future()
        while True:
            due = loop.time() + pace_s
            await asyncio.wait({for_ever}, timeout=pace_s)
            if loop.time() - due > LATE_S:
                self._tell_late(loop.time() - due)
            try:
                wish = await self._beat()
            except LeaseLost:
                self._on_lost()
                return
            except Exception as exc:  # noqa: BLE001 - the next beat may work; without beats the lease ends
                _LOG.warning("no sign of life: %s", exc, extra=self._extra)
                continue
            if wish is not None:
                self._on_wish(wish)

    async def _beat(self) -> str | None:
        """One sign of life; returns the cancel wish that the store holds, if any."""
        async with self._beating:
            if self._rests:
                return None
            now, session = self._clock.now(), self._session
            return await self._store.heartbeat(
                session.session_id, session.fence, now=now, lease_until=now + self._lease_s
            )

    def _tell_late(self, late_s: float) -> None:
        _LOG.warning(
            "the event loop stood still for %.1f s or longer: something blocks it (a handler, a source or an "
            "observer that does not await), and nothing of this process goes on meanwhile. After %g s another "
            "process may take the session over; put such work into asyncio.to_thread",
            late_s,
            self._lease_s,
            extra=self._extra,
        )
