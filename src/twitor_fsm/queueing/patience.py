"""Goes on trying while Valkey is away: the one place that repeats calls of the queue.

An outage is logged once when it begins and once when it is over, whoever notices it; both as warnings, so that whoever
hears of the one hears of the other.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ..clock import Clock
from ..errors import QueueUnavailable
from ..log_facts import logger_of

__all__ = ["PATIENCE_S", "Patience", "Until"]

PATIENCE_S: Final = 2.0
"""How long a call that is no consumer's tries to reach Valkey, seconds: a restart is bridged, an outage is told."""

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 0.5
"""Pauses between two tries, seconds: half a second after the server is back, work goes on at the latest."""

_LOG: Final = logger_of("twitor_fsm.queue")

T = TypeVar("T")

Until = float | Callable[[], float]
"""When to give up, monotonic seconds."""


class Patience:
    """Repeats what may be repeated."""

    def __init__(self, clock: Clock, *, revive: Callable[[], None] | None = None) -> None:
        """Prepare. `revive` is called after each try without an answer: it may start the server, and does not wait."""
        self._clock: Final = clock
        self._revive: Final = revive
        self._out_since: float | None = None

    async def briefly(self, call: Callable[[], Awaitable[T]]) -> T:
        """Try a call for `PATIENCE_S`. Raises as `keep_trying`."""
        return await self.keep_trying(lambda _: call(), until=self._clock.monotonic() + PATIENCE_S)

    async def keep_trying(self, attempt: Callable[[int], Awaitable[T]], *, until: Until) -> T:
        """Try until it succeeds.

        Args:
            attempt: Makes one try; gets the number of failed ones before it.
            until: When to give up, on the clock's monotonic scale; one try is made in any case. A function is asked
                after each try: what it says may change meanwhile.

        Raises:
            QueueUnavailable: The last try's, when time is up.
        """
        tries = 0
        while True:
            try:
                answer = await attempt(tries)
            except QueueUnavailable as error:
                self._note_outage(error)
                if self._revive is not None:
                    self._revive()
                pause = min(FIRST_PAUSE_S * 2.0 ** min(tries, 10), LONGEST_PAUSE_S)
                if self._clock.monotonic() + pause >= (until() if callable(until) else until):
                    raise
                await self._clock.sleep(pause)
                tries += 1
            else:
                self._note_success()
                return answer

    def _note_outage(self, error: QueueUnavailable) -> None:
        if self._out_since is None:
            self._out_since = self._clock.monotonic()
            _LOG.warning("%s", error)

    def _note_success(self) -> None:
        if self._out_since is not None:
            away_s, self._out_since = self._clock.monotonic() - self._out_since, None
            _LOG.warning("Valkey answers again, after %.1f s", away_s)
