"""What to do about an exception, and the two things an app may want done about it: save the checkpoint, shut down.

The design document's interface over `classify` and `core.recovery`, for code outside of a session (a session asks them
itself). Never sleeps and never ends the process: the caller waits `strategy.delay`, and decides when to exit.
Must not know: sessions, stores.
"""

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakSet

import attrs

from . import logs
from .classify import ErrorRules, classify, is_cancellation
from .cleanup import CleanupTask, run_cleanup
from .clock import Clock, SystemClock
from .config import Settings, get_settings
from .core.recovery import ErrorFacts, Policy, RecoveryStrategy, decide
from .core.taxonomy import ErrorAction, ErrorCategory, Reason
from .errors import ConfigurationError
from .plugins import whole_number

if TYPE_CHECKING:
    from .checkpoint_manager import CheckpointManager

__all__ = [
    "CheckpointManager",
    "ErrorAction",
    "ErrorCategory",
    "ErrorContext",
    "ErrorHandler",
    "RecoveryStrategy",
    "SavesCheckpoints",
]

SAVE_LIMIT_S: Final = 10.0
"""How long one save may take, seconds: twice what a store waits for a lock. What hangs longer is given up."""

CLEANUP_LIMIT_S: Final = 10.0
"""How long one cleanup task may take, seconds, as a session allows it."""

_OTHERS_WORK: Final = frozenset({Reason.LEASE_LOST, Reason.OWNED_ELSEWHERE})
"""Another process runs the crawl: a checkpoint of ours could only set its own back."""


class SavesCheckpoints(Protocol):
    """What the handler needs of a checkpoint manager."""

    def save_checkpoint(
        self, tweet_id: str, bookmarks_count: int | None = None
    ) -> Awaitable[object]:
        """Set the checkpoint to the item processed last; None keeps the stored count."""
        ...


@attrs.frozen
class ErrorContext:
    """One failure.

    Attributes:
        error: The exception, as it was caught.
        retry_count: Failures of this operation before this one, from 0.
        last_processed_id: The item processed last; None saves no checkpoint.
        session_id: For the log; None when unknown.
        user_id: For the log; None when unknown.
        operation: What failed. `decode_item` and `process_bookmark` make ValueError and its like VALIDATION.
        bookmarks_count: Items processed so far; None keeps the stored count.
    """

    error: BaseException = attrs.field(
        eq=id
    )  # the same failure, not an equal one; some are not hashable
    retry_count: int = 0
    last_processed_id: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    operation: str | None = None
    bookmarks_count: int | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse at once what the handler could only stumble over.

        Raises:
            ConfigurationError: `error` is no exception, or `retry_count` no whole number from 0.
        """
        given: object = self.error
        if not isinstance(given, BaseException):
            raise ConfigurationError(
                f"error must be the exception as it was caught, not {given!r:.50}; nothing was saved"
            )
        tries = whole_number(self.retry_count)
        if tries is None or tries < 0:
            raise ConfigurationError(
                f"retry_count must be a whole number from 0, not {self.retry_count!r:.50}; nothing was saved"
            )

    @property
    def extra(self) -> dict[str, str | None]:
        """What every log record about it carries."""
        return {
            "session_id": self.session_id,
            "user_id": self.user_id,
            "operation": self.operation,
        }


class ErrorHandler:
    """Decides about errors, saves checkpoints, shuts down gracefully."""

    def __init__(
        self,
        checkpoint_manager: SavesCheckpoints | None = None,
        max_retries: int | None = None,
        initial_backoff: float | None = None,
        *,
        clock: Clock | None = None,
        rules: ErrorRules | None = None,
        policy: Callable[..., RecoveryStrategy] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Prepare; nothing is opened.

        Args:
            checkpoint_manager: Keeps the checkpoint; None saves none.
            max_retries: Network failures of one operation before it is given up; None takes MAX_RETRIES.
            initial_backoff: First backoff, seconds; None takes INITIAL_BACKOFF.
            clock: Tells now from a reset time; None is the system's.
            rules: Categories of an app's own exception types.
            policy: In place of `recovery.decide`, called with the same arguments.
            rng: Spreads the reset times that a service names.

        Raises:
            ConfigurationError: One of the numbers is out of its range, given here or in the environment.
        """
        from_environment = max_retries is None or initial_backoff is None
        settings = get_settings() if from_environment else Settings()
        settings = attrs.evolve(  # checks the ranges
            settings,
            max_retries=settings.max_retries if max_retries is None else max_retries,
            initial_backoff=settings.initial_backoff
            if initial_backoff is None
            else initial_backoff,
        )
        self._policy: Final = Policy(settings.max_retries, settings.initial_backoff)
        self._manager = checkpoint_manager
        self._clock = clock if clock is not None else SystemClock()
        self._rules = rules
        self._decide = policy if policy is not None else decide
        self._rng = rng if rng is not None else random.Random()
        self._saved: WeakSet[ErrorContext] = WeakSet()

    @property
    def max_retries(self) -> int:
        """Network failures of one operation before it is given up, from 0."""
        return self._policy.max_retries

    @property
    def initial_backoff(self) -> float:
        """First backoff, seconds; doubles with every try."""
        return self._policy.initial_backoff

    async def handle_error(self, context: ErrorContext) -> RecoveryStrategy:
        """Classify, decide and log. Nothing is done yet.

        Returns:
            The action, its delay in seconds (which the caller waits), a message for the user, and whether a checkpoint
            is to be saved first.

        Raises:
            asyncio.CancelledError: `context.error` is a cancellation, which is no error and is raised again; a group that
                holds one is raised as it is.
        """
        if is_cancellation(context.error):
            raise context.error
        strategy = self._strategy(context)
        logs.log_strategy(strategy, tries=context.retry_count, extra=context.extra)
        return strategy

    async def execute_recovery_strategy(
        self, strategy: RecoveryStrategy, context: ErrorContext
    ) -> None:
        """Save the checkpoint, if the strategy says so, and there is a manager and an id to save; never sleeps.

        A save that fails, is refused or hangs is logged; the error that led here stands. A cancellation passes through
        when the save has ended.
        """
        if strategy.save_checkpoint:
            await _to_its_end(self._save(context, SAVE_LIMIT_S))

    async def graceful_shutdown(
        self,
        context: ErrorContext,
        cleanup_tasks: Iterable[CleanupTask] | CleanupTask | None = (),
        *,
        timeout_s: float = CLEANUP_LIMIT_S,
    ) -> None:
        """Save the checkpoint, run every cleanup task, and return.

        The checkpoint is saved once, also when `execute_recovery_strategy` was called for this context before; it is
        not saved for an AUTH error, nor when another process runs the crawl. Whatever fails or hangs is logged and
        stops nothing. A cancellation passes through when all had their time.

        Args:
            context: Why.
            cleanup_tasks: Awaitables, or callables without arguments, in order; one alone, or None, will do.
            timeout_s: Limit of each task, and of the save, seconds; what is no number gives the default.
        """
        is_number = isinstance(timeout_s, (int, float))  # no moment to complain of an argument
        limit_s = timeout_s if is_number else CLEANUP_LIMIT_S
        await _to_its_end(self._shut_down(context, cleanup_tasks, limit_s))

    async def _shut_down(
        self,
        context: ErrorContext,
        cleanup: Iterable[CleanupTask] | CleanupTask | None,
        timeout_s: float,
    ) -> None:
        message, save = "cancelled", True
        if not is_cancellation(context.error):
            strategy = self._strategy(context)
            message, save = strategy.message, _saves_at_the_end(strategy)
        logs.log_shutdown(message, extra=context.extra)
        if save:
            await self._save(context, timeout_s)
        tasks, unlisted = _listed(cleanup)
        problems = await run_cleanup(tasks, timeout_s=timeout_s, extra=context.extra) + unlisted
        logs.log_shut_down(len(tasks), problems, extra=context.extra)

    def _strategy(self, context: ErrorContext) -> RecoveryStrategy:
        now = self._clock.now()
        found = classify(context.error, operation=context.operation, rules=self._rules, now=now)
        facts = ErrorFacts(
            found.category, found.reason, context.retry_count, found.reset_at, found.message
        )
        strategy = self._decide(facts, self._policy, now=now, jitter=self._rng.random())
        if found.reason in _OTHERS_WORK:
            return attrs.evolve(strategy, save_checkpoint=False)
        return strategy

    async def _save(self, context: ErrorContext, limit_s: float) -> None:
        """Save once for this context; every failure is logged, none is raised."""
        manager, tweet_id = self._manager, context.last_processed_id
        if manager is None or not tweet_id or context in self._saved:
            return
        saving = asyncio.ensure_future(_call(manager, tweet_id, context.bookmarks_count))
        done, _ = await asyncio.wait({saving}, timeout=limit_s)
        if not done:
            saving.cancel()
            problem = f"no answer within {limit_s:g} s; whether it was saved is not known"
        elif saving.cancelled():
            problem = "the save was cancelled"
        elif (error := saving.exception()) is not None:
            problem = _words(error)
        else:
            self._saved.add(context)
            logs.log_progress_saved(tweet_id, extra=context.extra)
            return
        logs.log_not_saved(tweet_id, problem, extra=context.extra)


async def _call(manager: SavesCheckpoints, tweet_id: str, count: int | None) -> None:
    await manager.save_checkpoint(tweet_id=tweet_id, bookmarks_count=count)


def _words(error: BaseException) -> str:
    return type(error).__name__ if is_cancellation(error) else classify(error).message


def _listed(
    cleanup: Iterable[CleanupTask] | CleanupTask | None,
) -> tuple[tuple[CleanupTask, ...], tuple[str, ...]]:
    """The tasks, as far as they can be had, and a line if that was not all: the last moment to complain of an argument."""
    if cleanup is None:
        return (), ()
    if inspect.isawaitable(cleanup) or callable(cleanup):
        return (cleanup,), ()
    found: list[CleanupTask] = []
    try:
        found.extend(iter(cleanup))
    except Exception as exc:  # noqa: BLE001 - an iterable may raise anything
        return tuple(found), (f"the cleanup tasks could not all be had: {type(exc).__name__}",)
    return tuple(found), ()


def _saves_at_the_end(strategy: RecoveryStrategy) -> bool:
    """A shutdown saves what there is, except where that would be wrong: see the design document on AUTH."""
    return strategy.category is not ErrorCategory.AUTH and strategy.reason not in _OTHERS_WORK


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Finish the work although the caller is cancelled meanwhile, as often as it may be; then let that pass."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is None:
        task.result()
        return
    if not task.cancelled():
        task.exception()  # seen: what passes through is the cancellation
    raise cancelled


def __getattr__(name: str) -> Any:
    if name == "CheckpointManager":  # pulls in the store's protocol; only who asks for it pays
        from .checkpoint_manager import CheckpointManager

        return CheckpointManager
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
