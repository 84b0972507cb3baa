"""A crawl that runs in the background, as an embedder holds it, and what it may be started with.

Must not know: how a session runs, which engine started it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypedDict

from .cleanup import CleanupTask
from .core.states import Trigger
from .core.taxonomy import Reason
from .errors import ConfigurationError
from .events import CrawlEvent, Observer
from .handling import Handler
from .report import CrawlReport
from .session import CrawlSession

__all__ = ["CrawlHandle", "CrawlOptions"]


class CrawlOptions(TypedDict, total=False):
    """What `CrawlEngine.crawl` and `start` take besides source and user.

    Attributes:
        handler: Run on every new item before it is stored, with the item and the session's fence; at least once per
            item; what it returns (JSON or None) is stored in the item's transaction.
        cleanup: Awaitables or callables, run when the session ends in any other state than `completed`.
        wait: Whether to wait out rate-limit pauses (the default); if not, the report says `paused_rate_limit` and
            `resume_at`.
        max_items: Stop after so many items are stored or skipped, resumably: the same limit again goes on.
        page_size: Items to ask for per page; the default is that of the settings.
        observers: Called with every event of this session.
    """

    handler: Handler | None
    cleanup: Iterable[CleanupTask]
    wait: bool
    max_items: int | None
    page_size: int | None
    observers: Iterable[Observer]


class CrawlHandle:
    """A crawl that runs in the background.

    Iterate it for typed events (`async for event in handle`): every iteration sees all of them; one that lags
    1,000 behind loses the oldest and gets `EventsMissed` in their place. The last event is always `SessionEnded`.
    """

    def __init__(self, session: CrawlSession, task: asyncio.Task[CrawlReport]) -> None:
        """Made by `CrawlEngine.start`."""
        self._session = session
        self._task = task

    @property
    def session_id(self) -> str:
        """The session's id: any process with the same database can ask for it or cancel it."""
        return self._session.session_id

    @property
    def state(self) -> str:
        """The session's state now."""
        return str(self._session.value.state)

    def __aiter__(self) -> AsyncIterator[CrawlEvent]:
        return self._session.hub.read()

    def cancel(self, reason: str = Reason.STOPPED_BY_USER) -> None:
        """End it gracefully: checkpoint, cleanup, then `shut_down`; `wait` returns the report."""
        self._session.cancel_for_good(reason)

    def post(self, trigger: str, *, reason: str | None = None) -> None:
        """Send an event of an extended machine; those of the default machine are the session's own to send.

        One that the table does not allow in the state that the session is in when it comes is dropped, with a warning.

        Raises:
            ConfigurationError: It is one of those, or none that the machine knows.
        """
        if trigger == Trigger.CANCEL:
            raise ConfigurationError("nothing was sent; end the session with cancel(reason)")
        if trigger in set(Trigger):
            raise ConfigurationError(
                f"{trigger} is an event of the session itself; nothing was sent. Post events of your own machine"
            )
        if trigger not in self._session.triggers:
            raise ConfigurationError(
                f"the machine knows no event {trigger!r}; nothing was sent. Its own are: "
                f"{', '.join(sorted(self._session.triggers - set(Trigger))) or 'none'}"
            )
        self._session.post(trigger, reason=reason)

    async def wait(self) -> CrawlReport:
        """The report, when the session is over. Cancelling this wait does not touch the session."""
        return await asyncio.shield(self._task)
