"""Tells the log and the observers what a session does. Decides nothing; what it tells can never fail the session."""

from . import logs
from .clock import Clock
from .core.progress import Progress
from .core.records import Claim, Counters, Skip
from .core.recovery import RecoveryStrategy
from .core.states import Effect, Facts, Step
from .core.taxonomy import ErrorAction, ErrorCategory
from .events import (
    CheckpointSaved,
    ErrorSeen,
    EventHub,
    ItemSkipped,
    PageFetched,
    SessionEnded,
    SessionStarted,
    Transition,
)
from .report import CrawlReport

__all__ = ["Teller"]


class Teller:
    """The voice of one session."""

    def __init__(self, claim: Claim, clock: Clock, hub: EventHub) -> None:
        """Speak for this session to this hub."""
        self._session = claim.session
        self._clock = clock
        self._hub = hub
        self._id = claim.session.session_id

    def extra(self, operation: str) -> dict[str, str | None]:
        """What every log record carries."""
        return {
            "session_id": self._id,
            "user_id": self._session.crawl.user_id,
            "operation": operation,
        }

    def started(self, *, resumed: bool) -> None:
        """The session begins or goes on."""
        crawl = self._session.crawl
        self._hub.emit(
            SessionStarted(
                session_id=self._id,
                at=self._clock.now(),
                user_id=crawl.user_id,
                source=crawl.source,
                state=str(self._session.value.state),
                resumed=resumed,
                counters=self._session.counters,
            )
        )

    def ended(self, report: CrawlReport) -> None:
        """The run is over; nothing comes after this."""
        self._hub.emit(
            SessionEnded(
                session_id=self._id,
                at=self._clock.now(),
                state=report.state,
                reason=report.reason,
                message=report.message,
                counters=report.counters,
                resume_at=report.resume_at,
                lost=report.lost,
            )
        )
        self._hub.end()

    def fetched(self, items: int, cursor: str | None) -> None:
        """A page arrived."""
        self._hub.emit(
            PageFetched(session_id=self._id, at=self._clock.now(), items=items, cursor=cursor)
        )

    def error(
        self, strategy: RecoveryStrategy, *, tries: int, operation: str, item: str | None
    ) -> None:
        """An error was met and its recovery decided."""
        logs.log_strategy(strategy, tries=tries, extra=self.extra(operation))
        self._hub.emit(
            ErrorSeen(
                session_id=self._id,
                at=self._clock.now(),
                category=strategy.category,
                reason=str(strategy.reason),
                action=strategy.action,
                delay_s=strategy.delay,
                message=strategy.message,
                operation=operation,
                item=item,
            )
        )

    def broke(self, facts: Facts, *, operation: str) -> None:
        """Something failed that no strategy recovers from, the store or the program itself; the log has it."""
        self._hub.emit(
            ErrorSeen(
                session_id=self._id,
                at=self._clock.now(),
                category=facts.category or ErrorCategory.FATAL,
                reason=str(facts.reason),
                action=ErrorAction.ABORT,
                delay_s=0.0,
                message=facts.message,
                operation=operation,
            )
        )

    def skipped(self, skip: Skip) -> None:
        """An item is left out."""
        self._hub.emit(
            ItemSkipped(
                session_id=self._id,
                at=skip.at,
                item=skip.key,
                category=skip.category,
                reason=skip.reason,
                message=skip.message,
            )
        )

    def stepped(self, step: Step) -> None:
        """A step was adopted."""
        if step.journal is None:
            return
        value = step.session
        until = value.retry_at if value.retry_at is not None else value.resume_at
        self._hub.emit(
            Transition(session_id=self._id, at=step.journal.at, row=step.journal, until=until)
        )

    def saved(
        self, step: Step | None, progress: Progress, counters: Counters, last: str | None
    ) -> None:
        """Progress became durable."""
        if step is not None and Effect.SAVE_CHECKPOINT in step.effects:
            logs.log_checkpoint(last, extra=self.extra("save_checkpoint"))
        self._hub.emit(
            CheckpointSaved(
                session_id=self._id,
                at=self._clock.now(),
                counters=counters,
                last_tweet_id=last,
                position=progress.mark.position,
            )
        )
