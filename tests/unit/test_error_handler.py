"""The handler's promises: what is decided is the core's, a save happens once, nothing here sleeps or ends the process.

Regressions of the earlier system: C2 (a named reset time is used), C7 (one ladder, exactly the documented one),
C11 (a cleanup that fails or hangs hides nothing), C12 (one final checkpoint, bounded cleanup).
"""

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import attrs
import pytest
import tenacity

from twitor_fsm import error_handler as module
from twitor_fsm.config import Settings
from twitor_fsm.core.recovery import ErrorFacts, Policy, RecoveryStrategy, decide
from twitor_fsm.core.taxonomy import USER_ACTIONS
from twitor_fsm.error_handler import (
    ErrorAction,
    ErrorCategory,
    ErrorContext,
    ErrorHandler,
)
from twitor_fsm.errors import (
    AuthenticationFailed,
    ConfigurationError,
    CrawlOwned,
    InvalidItem,
    LeaseLost,
    RateLimited,
    StoreError,
    StoreUnavailable,
)

NOW: Final = 1_700_000_000.0
WHO: Final = {"session_id": "s1", "user_id": "u1", "operation": "fetch"}


@attrs.frozen
class FixedClock:
    """Time that stands; to sleep is an error."""

    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("the handler never sleeps")


@attrs.define
class Manager:
    """Notes each save; fails or hangs as told."""

    error: BaseException | None = None
    gate: asyncio.Event | None = None
    saves: list[tuple[str, int | None]] = attrs.field(factory=list)
    entered: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def save_checkpoint(self, tweet_id: str, bookmarks_count: int | None = None) -> None:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.saves.append((tweet_id, bookmarks_count))


def handler(manager: Manager | None = None, **options: Any) -> ErrorHandler:
    defaults: dict[str, Any] = {"max_retries": 5, "initial_backoff": 1.0, "clock": FixedClock()}
    return ErrorHandler(checkpoint_manager=manager, **(defaults | options))


def context(error: BaseException, **fields: Any) -> ErrorContext:
    return ErrorContext(error=error, **({"last_processed_id": "42"} | WHO | fields))


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only the event loop's own limits may pass time; a call of asyncio.sleep fails the test."""

    async def sleep(seconds: float, result: object = None) -> None:
        raise AssertionError(f"slept {seconds} s")

    real = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", sleep)
    yield
    monkeypatch.setattr(asyncio, "sleep", real)


async def turns(number: int = 5) -> None:
    """Let other tasks run."""
    for _ in range(number):
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(done.set_result, None)
        await done


# -- numbers ---------------------------------------------------------------------------------------


def test_without_numbers_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_RETRIES", "2")
    monkeypatch.setenv("INITIAL_BACKOFF", "0.25")

    assert (ErrorHandler().max_retries, ErrorHandler().initial_backoff) == (2, 0.25)
    assert (
        ErrorHandler(max_retries=7).max_retries,
        ErrorHandler(max_retries=7).initial_backoff,
    ) == (7, 0.25)


def test_with_both_numbers_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_RETRIES", "many")

    assert ErrorHandler(None, 3, 2.0).max_retries == 3
    with pytest.raises(ConfigurationError, match="MAX_RETRIES"):
        ErrorHandler(max_retries=3)


@pytest.mark.parametrize(
    "numbers",
    [
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"initial_backoff": -1.0},
        {"initial_backoff": float("nan")},
        {"initial_backoff": float("inf")},
    ],
)
def test_a_number_out_of_range_is_refused(numbers: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        handler(**numbers)


def test_the_defaults_are_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAX_RETRIES", raising=False)
    monkeypatch.delenv("INITIAL_BACKOFF", raising=False)

    assert (ErrorHandler().max_retries, ErrorHandler().initial_backoff) == (5, 1.0)
    assert (Settings().max_retries, Settings().initial_backoff) == (5, 1.0)


# -- decisions -------------------------------------------------------------------------------------


async def ladder(handler: ErrorHandler) -> list[float]:
    """The delays until the handler gives up."""
    delays: list[float] = []
    while True:
        strategy = await handler.handle_error(context(TimeoutError(), retry_count=len(delays)))
        if strategy.action is not ErrorAction.RETRY:
            assert (strategy.action, strategy.save_checkpoint) == (ErrorAction.ABORT, True)
            return delays
        delays.append(strategy.delay)


async def test_the_ladder_is_exact_and_then_it_aborts() -> None:
    assert await ladder(handler()) == [1.0, 2.0, 4.0, 8.0, 16.0]


async def test_the_ladder_follows_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_RETRIES", "3")
    monkeypatch.setenv("INITIAL_BACKOFF", "0.5")

    assert await ladder(ErrorHandler(clock=FixedClock())) == [0.5, 1.0, 2.0]
    assert await ladder(handler(max_retries=0)) == []


@pytest.mark.parametrize("initial", [0.25, 1.0, 3.0])
async def test_the_ladder_is_that_of_tenacity(initial: float) -> None:
    """An oracle: the exponential wait of a widely used library."""
    oracle = tenacity.wait_exponential(multiplier=initial, exp_base=2)
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    expected = []
    for state.attempt_number in range(1, 9):
        expected.append(oracle(state))

    assert await ladder(handler(max_retries=8, initial_backoff=initial)) == expected


async def test_a_rate_limit_without_a_time_pauses_for_exactly_a_quarter_of_an_hour() -> None:
    strategy = await handler().handle_error(context(RateLimited()))

    assert (strategy.action, strategy.delay, strategy.save_checkpoint) == (
        ErrorAction.PAUSE,
        900.0,
        True,
    )


@pytest.mark.parametrize(("reset_in", "shortest"), [(100.0, 100.0), (-50.0, 1.0), (1e9, 960.0)])
async def test_a_named_reset_time_is_kept_within_bounds_and_spread(
    reset_in: float, shortest: float
) -> None:
    """C2: the reset time was thrown away."""
    draws = [
        (
            await handler(rng=random.Random(seed)).handle_error(
                context(RateLimited(NOW + reset_in))
            )
        ).delay
        for seed in range(20)
    ]

    assert all(shortest <= delay <= min(shortest + 5.0, 960.0) for delay in draws)
    assert len(set(draws)) > 1 or shortest == 960.0


EXPECTED: Final = [
    (AuthenticationFailed("no"), ErrorCategory.AUTH, ErrorAction.ABORT, False, False),
    (RateLimited(), ErrorCategory.RATE_LIMIT, ErrorAction.PAUSE, True, False),
    (ConnectionError("no"), ErrorCategory.NETWORK, ErrorAction.RETRY, False, False),
    (InvalidItem("no"), ErrorCategory.VALIDATION, ErrorAction.SKIP, False, False),
    (StoreError("no"), ErrorCategory.DATABASE, ErrorAction.SKIP, False, False),
    (MemoryError(), ErrorCategory.FATAL, ErrorAction.ABORT, True, True),
]


@pytest.mark.parametrize(("error", "category", "action", "saves", "shuts_down"), EXPECTED)
async def test_each_category_has_the_documents_strategy(
    error: Exception, category: ErrorCategory, action: ErrorAction, *, saves: bool, shuts_down: bool
) -> None:
    manager = Manager()
    subject = handler(manager)
    strategy = await subject.handle_error(context(error))

    assert (strategy.category, strategy.action) == (category, action)
    assert (strategy.save_checkpoint, strategy.graceful_shutdown) == (saves, shuts_down)
    assert strategy.message.endswith(f"User action: {USER_ACTIONS[category]}")
    assert manager.saves == []  # to decide is not to do

    await subject.execute_recovery_strategy(strategy, context(error, bookmarks_count=7))
    assert manager.saves == ([("42", 7)] if saves else [])


async def test_the_decision_is_the_cores() -> None:
    strategy = await handler().handle_error(context(ConnectionError("x"), retry_count=2))
    facts = ErrorFacts(strategy.category, strategy.reason, 2)

    expected = decide(facts, Policy(5, 1.0), now=NOW)
    assert attrs.evolve(strategy, message="") == attrs.evolve(expected, message="")


async def test_the_operation_tells_bad_data_from_a_bug() -> None:
    bad = await handler().handle_error(context(ValueError("x"), operation="process_bookmark"))
    bug = await handler().handle_error(context(ValueError("x"), operation="risky_operation"))

    assert (bad.action, bug.action) == (ErrorAction.SKIP, ErrorAction.ABORT)


async def test_an_apps_rules_and_policy_are_asked() -> None:
    class Quota(Exception):
        pass

    calls: list[dict[str, Any]] = []

    def policy(error: ErrorFacts, policy: Policy, **now: Any) -> RecoveryStrategy:
        calls.append(now)
        return attrs.evolve(decide(error, policy, **now), delay=7.0)

    subject = handler(rules={Quota: ErrorCategory.RATE_LIMIT}, policy=policy)
    strategy = await subject.handle_error(context(Quota()))

    assert (strategy.action, strategy.delay) == (ErrorAction.PAUSE, 7.0)
    assert calls[0]["now"] == NOW


async def test_a_cancellation_is_not_handled() -> None:
    cancelled = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError) as passed:
        await handler().handle_error(context(cancelled))

    assert passed.value is cancelled


# -- saves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{"last_processed_id": None}, {"last_processed_id": ""}])
async def test_without_an_id_nothing_is_saved(fields: dict[str, Any]) -> None:
    manager = Manager()
    subject = handler(manager)
    failed = context(MemoryError(), **fields)

    await subject.execute_recovery_strategy(await subject.handle_error(failed), failed)

    assert not manager.entered.is_set()


async def test_without_a_manager_nothing_is_saved() -> None:
    failed = context(MemoryError())
    await handler().execute_recovery_strategy(await handler().handle_error(failed), failed)
    await handler().graceful_shutdown(failed)


@pytest.mark.parametrize(
    "problem",
    [
        CrawlOwned("s2", "other:1", NOW),
        StoreUnavailable("gone"),
        ConfigurationError("the id is no text"),
        RuntimeError("bug"),
        asyncio.CancelledError(),
    ],
)
async def test_a_save_that_fails_is_logged_and_the_error_stands(
    problem: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    subject = handler(Manager(error=problem))
    failed = context(MemoryError())

    await subject.execute_recovery_strategy(await subject.handle_error(failed), failed)

    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "not saved" in record.getMessage()


async def test_a_save_that_hangs_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SAVE_LIMIT_S", 0.01)
    subject = handler(Manager(gate=asyncio.Event()))
    failed = context(MemoryError())

    await subject.execute_recovery_strategy(await subject.handle_error(failed), failed)

    assert "not known" in caplog.text
    await turns()
    assert len(asyncio.all_tasks()) == 1  # nothing is left running


@pytest.mark.parametrize("error", [LeaseLost("s1"), CrawlOwned("s1", "other:1", NOW)])
async def test_who_lost_the_crawl_does_not_touch_its_checkpoint(error: Exception) -> None:
    manager = Manager()
    subject = handler(manager)
    failed = context(error)

    strategy = await subject.handle_error(failed)
    await subject.execute_recovery_strategy(strategy, failed)
    await subject.graceful_shutdown(failed)

    assert strategy.action is ErrorAction.ABORT
    assert not manager.entered.is_set()


async def test_a_cancelled_caller_leaves_when_the_save_has_ended() -> None:
    gate = asyncio.Event()
    manager = Manager(gate=gate)
    subject = handler(manager)
    failed = context(MemoryError())
    strategy = await subject.handle_error(failed)
    saving = asyncio.ensure_future(subject.execute_recovery_strategy(strategy, failed))
    await manager.entered.wait()

    for _ in range(3):  # B10: a second cancel lost the checkpoint
        saving.cancel()
        await turns()
        assert not saving.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await saving

    assert manager.saves == [("42", None)]


# -- graceful shutdown -----------------------------------------------------------------------------


async def test_what_is_no_cleanup_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A client, say, where its `aclose()` was meant: nothing closes it."""
    no_task: Any = object()

    await handler().graceful_shutdown(context(MemoryError()), cleanup_tasks=[no_task])

    assert "cleanup object failed: TypeError" in caplog.text


async def test_a_shutdown_saves_once_then_cleans_up_in_order_and_returns() -> None:
    manager, order = Manager(), []

    async def awaited() -> None:
        order.append(("awaitable", len(manager.saves)))

    def called() -> None:
        order.append(("callable", len(manager.saves)))

    async def called_async() -> None:
        order.append(("async callable", len(manager.saves)))

    await handler(manager).graceful_shutdown(
        context(MemoryError(), bookmarks_count=3), cleanup_tasks=[awaited(), called, called_async]
    )

    assert manager.saves == [("42", 3)]
    assert order == [("awaitable", 1), ("callable", 1), ("async callable", 1)]


async def test_one_fatal_error_writes_one_checkpoint() -> None:
    """C12: it was written up to three times."""
    manager = Manager()
    subject = handler(manager)
    failed = context(MemoryError())

    await subject.execute_recovery_strategy(await subject.handle_error(failed), failed)
    await subject.graceful_shutdown(failed)
    await subject.graceful_shutdown(failed)
    assert len(manager.saves) == 1

    await subject.graceful_shutdown(context(MemoryError()))  # another error is another save
    assert len(manager.saves) == 2


async def test_a_failed_save_is_tried_again_by_the_shutdown() -> None:
    manager = Manager(error=StoreUnavailable("busy"))
    subject = handler(manager)
    failed = context(MemoryError())
    await subject.execute_recovery_strategy(await subject.handle_error(failed), failed)
    manager.error = None

    await subject.graceful_shutdown(failed)

    assert manager.saves == [("42", None)]


async def test_a_shutdown_for_an_auth_error_saves_nothing() -> None:
    manager, cleaned = Manager(), []

    await handler(manager).graceful_shutdown(
        context(AuthenticationFailed("no")), cleanup_tasks=[lambda: cleaned.append(1)]
    )

    assert (manager.saves, cleaned) == ([], [1])


async def test_a_shutdown_because_of_a_cancellation_saves_and_cleans_up() -> None:
    manager, cleaned = Manager(), []

    await handler(manager).graceful_shutdown(
        context(asyncio.CancelledError()), cleanup_tasks=[lambda: cleaned.append(1)]
    )

    assert (manager.saves, cleaned) == ([("42", None)], [1])


async def test_a_cleanup_that_raises_or_hangs_stops_neither_the_others_nor_the_shutdown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """C11, C12."""
    cleaned: list[str] = []

    async def hangs() -> None:
        await asyncio.Event().wait()

    def leaves() -> None:
        raise SystemExit(3)

    def raises() -> None:
        raise RuntimeError("cleanup")

    manager = Manager(error=RuntimeError("save"))
    await handler(manager).graceful_shutdown(
        context(MemoryError()),
        cleanup_tasks=[raises, hangs(), leaves, lambda: cleaned.append("last")],
        timeout_s=0.01,
    )

    assert cleaned == ["last"]
    assert "3 failed" in caplog.text
    assert len(asyncio.all_tasks()) == 1


def failing() -> Iterator[Callable[[], None]]:
    yield print
    raise OSError


@pytest.mark.parametrize("given", [None, 5, failing()], ids=["None", "a number", "an iterator"])
async def test_cleanup_tasks_that_are_none_do_not_cost_the_checkpoint(
    given: Any, caplog: pytest.LogCaptureFixture
) -> None:
    manager = Manager()
    await handler(manager).graceful_shutdown(context(MemoryError()), cleanup_tasks=given)

    assert len(manager.saves) == 1
    assert ("could not all be had" in caplog.text) == (given is not None)


async def test_a_limit_that_is_no_number_does_not_cost_the_checkpoint() -> None:
    manager, cleaned, limit = Manager(), list[int](), cast("float", "10")

    await handler(manager).graceful_shutdown(
        context(MemoryError()), [lambda: cleaned.append(1)], timeout_s=limit
    )

    assert (len(manager.saves), cleaned) == (1, [1])


async def test_one_cleanup_task_alone_is_run() -> None:
    ran: list[str] = []

    async def task() -> None:
        ran.append("run")

    await handler(Manager()).graceful_shutdown(context(MemoryError()), cleanup_tasks=task)
    await handler(Manager()).graceful_shutdown(context(MemoryError()), cleanup_tasks=task())
    assert ran == ["run", "run"]


@pytest.mark.parametrize(
    "fields",
    [{"error": None}, {"error": "text"}, {"error": ValueError}]
    + [{"error": OSError(), "retry_count": wrong} for wrong in (None, "1", 1.5, -1)],
)
def test_a_context_that_nothing_can_be_decided_about_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="nothing was saved"):
        ErrorContext(**fields)


async def test_a_save_that_hangs_does_not_keep_the_cleanups_from_running() -> None:
    cleaned: list[int] = []

    await handler(Manager(gate=asyncio.Event())).graceful_shutdown(
        context(MemoryError()), cleanup_tasks=[lambda: cleaned.append(1)], timeout_s=0.01
    )

    assert cleaned == [1]


@pytest.mark.parametrize("moment", ["save", "cleanup"])
async def test_a_cancelled_shutdown_ends_as_cancelled_after_all_had_their_chance(
    moment: str,
) -> None:
    gate, in_cleanup, cleaned = asyncio.Event(), asyncio.Event(), []
    manager = Manager(gate=gate if moment == "save" else None)

    async def slow() -> None:
        in_cleanup.set()
        await gate.wait()
        cleaned.append("slow")

    shutdown = asyncio.ensure_future(
        handler(manager).graceful_shutdown(
            context(MemoryError()), cleanup_tasks=[slow, lambda: cleaned.append("last")]
        )
    )
    await (manager.entered if moment == "save" else in_cleanup).wait()
    for _ in range(2):
        shutdown.cancel()
        await turns()
    assert not shutdown.done()
    gate.set()

    with pytest.raises(asyncio.CancelledError):
        await shutdown
    assert (manager.saves, cleaned) == ([("42", None)], ["slow", "last"])


# -- the log ---------------------------------------------------------------------------------------

D, I, W, E, C = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL  # noqa: E741


@pytest.mark.parametrize(
    ("error", "tries", "levels"),
    [
        (TimeoutError(), 0, [D, I]),
        (TimeoutError(), 5, [E, I]),
        (RateLimited(), 0, [W, I]),
        (InvalidItem("x"), 0, [W, I]),
        (StoreError("x"), 0, [E, W, I]),
        (AuthenticationFailed("x"), 0, [E, I]),
        (MemoryError(), 0, [C, I]),
    ],
)
async def test_each_error_is_logged_with_the_documents_severities(
    error: Exception, tries: int, levels: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "twitor_fsm")

    await handler().handle_error(context(error, retry_count=tries))

    assert [record.levelno for record in caplog.records] == levels
    assert all(WHO.items() <= vars(record).items() for record in caplog.records)


async def test_a_retry_tells_its_attempt_and_its_backoff(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "twitor_fsm")
    await handler().handle_error(context(TimeoutError(), retry_count=2))

    assert "retry 3 in 4 s" in caplog.records[0].getMessage()


async def test_saves_are_info_and_shutdowns_critical(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "twitor_fsm")
    await handler(Manager()).graceful_shutdown(context(MemoryError()), [lambda: None])

    assert [record.levelno for record in caplog.records] == [C, I, C]
    assert all(WHO.items() <= vars(record).items() for record in caplog.records)


async def test_what_is_unknown_is_none_on_every_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "twitor_fsm")
    await handler().handle_error(ErrorContext(StoreError("x")))

    for record in caplog.records:
        assert {name: vars(record)[name] for name in WHO} == dict.fromkeys(WHO)


async def test_an_error_that_has_no_hash_is_handled() -> None:
    @attrs.define(eq=True)
    class Unhashable(Exception):
        code: int

    manager = Manager()
    subject = handler(manager)
    failed = context(Unhashable(1))
    await subject.execute_recovery_strategy(await subject.handle_error(failed), failed)
    await subject.graceful_shutdown(failed)

    assert manager.saves == [("42", None)]


async def test_handled_errors_are_not_kept_alive() -> None:
    subject = handler(Manager())
    failed = context(MemoryError())
    await subject.execute_recovery_strategy(await subject.handle_error(failed), failed)
    kept = subject._saved
    assert len(kept) == 1
    del failed
    gc.collect()

    assert len(kept) == 0


def test_the_documents_names_are_importable_from_here() -> None:
    from twitor_fsm.checkpoint_manager import CheckpointManager

    assert module.CheckpointManager is CheckpointManager
    assert set(module.__all__) >= {
        "ErrorAction",
        "ErrorCategory",
        "RecoveryStrategy",
        "ErrorContext",
    }
    missing: Callable[[], Any] = lambda: module.nothing  # noqa: E731
    with pytest.raises(AttributeError, match="nothing"):
        missing()
