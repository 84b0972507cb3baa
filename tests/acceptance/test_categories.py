"""Every category and every row of the machine, end to end: engine, SQLite file, simulated X over sockets, one clock.

What holds after any run (sums, journal replayed through the machine, checkpoint within the rows) is checked by
`World.crawl` each time.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
from virtual import HookedStore, Watched, World, forget, world

from twitor_fsm.config import Settings, get_settings
from twitor_fsm.core.states import State, Trigger
from twitor_fsm.core.taxonomy import ErrorCategory, Reason
from twitor_fsm.engine import CrawlHandle
from twitor_fsm.events import Transition
from twitor_fsm.report import exit_code
from twitor_fsm.simulator import EarlyEnd, Fault, FaultKind, FaultPlan, ItemFault, ItemKind
from twitor_fsm.sources.base import Item
from twitor_fsm.testing.clock import START

COUNT = 195
"""Pages of 90, 90 and 15, and one more request that verifies the end."""

WHOLE = 4
"""Requests of a crawl in which nothing goes wrong."""

SLOW_S = 0.4
"""Deadline of a request where an answer hangs: real time, so no longer than a loaded machine needs for the others."""

ONCE = ["network_failed:retrying", "recovered:running", "finish:completed"]
PAUSED = ["rate_limited:paused_rate_limit", "resume:running"]
FATAL = ["fatal_failed:shutting_down", "cleaned_up:shut_down"]
AUTH = ["auth_failed:aborting", "cleaned_up:aborted"]


def fault(kind: FaultKind, *at: int, **options: Any) -> Fault:
    return Fault(kind=kind, at=at, **options)


# -- what one fault does --------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Case:
    """A fault in a crawl, and what becomes of the crawl."""

    faults: tuple[Fault, ...]
    state: State = State.COMPLETED
    category: ErrorCategory | None = None
    reason: Reason = Reason.END_VERIFIED
    code: int = 0
    path: list[str]
    sleeps: list[float] = attrs.Factory(list)
    stored: int = COUNT
    requests: int = WHOLE
    errors: dict[str, int] = attrs.Factory(dict)
    window_s: float = 900.0
    skew_s: float = 0.0
    says: str = ""


def gets_over(kind: FaultKind, **options: Any) -> Case:
    """A network fault, once."""
    return Case(
        faults=(fault(kind, 2, **options),),
        path=ONCE,
        sleeps=[1.0],
        requests=WHOLE + 1,
        errors={"NETWORK": 1},
    )


def gives_up(kind: FaultKind, reason: Reason, **options: Any) -> Case:
    """A network fault without end."""
    return Case(
        faults=(fault(kind, *range(2, 30), **options),),
        state=State.ABORTED,
        category=ErrorCategory.NETWORK,
        reason=reason,
        code=12,
        path=[*["network_failed:retrying"] * 5, "network_failed:aborting", "cleaned_up:aborted"],
        sleeps=[1.0, 2.0, 4.0, 8.0, 16.0],
        stored=90,
        requests=7,
        errors={"NETWORK": 6},
        says="check network if persistent",
    )


def pauses(*sleeps: float, refused: int = 1, **options: Any) -> Case:
    """A rate limit in mid-crawl."""
    more = {key: options.pop(key) for key in ("window_s", "skew_s") if key in options}
    return Case(
        faults=(fault(FaultKind.RATE_LIMITED, 2, **options),),
        path=[*PAUSED * refused, "finish:completed"],
        sleeps=list(sleeps),
        requests=WHOLE + refused,
        errors={"RATE_LIMIT": refused},
        **more,
    )


def costs(kind: FaultKind, says: str) -> Case:
    """What no clock heals."""
    return Case(
        faults=(fault(kind, 2),),
        state=State.SHUT_DOWN,
        category=ErrorCategory.FATAL,
        reason=Reason.BILLING,
        code=1,
        path=FATAL,
        stored=90,
        requests=2,
        errors={"FATAL": 1},
        says=says,
    )


CASES: dict[str, Case] = {
    "nothing": Case(faults=(fault(FaultKind.SHORT_PAGE, 99),), path=["finish:completed"]),
    # NETWORK
    "500 empty": gets_over(FaultKind.SERVER_ERROR, status=500, body="empty"),
    "502 json": gets_over(FaultKind.SERVER_ERROR, status=502, body="json"),
    "503 html": gets_over(FaultKind.SERVER_ERROR, status=503, body="html"),
    "504 html": gets_over(FaultKind.SERVER_ERROR, status=504, body="html"),
    "reset": gets_over(FaultKind.CONNECTION_RESET, part=0.0),
    "reset in the body": gets_over(FaultKind.CONNECTION_RESET, part=0.5),
    "truncated": gets_over(FaultKind.TRUNCATED),
    "gzip truncated": gets_over(FaultKind.GZIP_TRUNCATED),
    "html as 200": gets_over(FaultKind.NOT_JSON),
    "slow": gets_over(FaultKind.SLOW),
    "503 for ever": gives_up(FaultKind.SERVER_ERROR, Reason.SERVER_ERROR),
    "reset for ever": gives_up(FaultKind.CONNECTION_RESET, Reason.CONNECTION, part=0.0),
    "reset in the body for ever": gives_up(FaultKind.CONNECTION_RESET, Reason.BAD_PAGE, part=0.5),
    "truncated for ever": gives_up(FaultKind.TRUNCATED, Reason.BAD_PAGE),
    "gzip truncated for ever": gives_up(FaultKind.GZIP_TRUNCATED, Reason.BAD_PAGE),
    "html as 200 for ever": gives_up(FaultKind.NOT_JSON, Reason.BAD_PAGE),
    "slow for ever": gives_up(FaultKind.SLOW, Reason.TIMEOUT),
    "five failures and then an answer": Case(
        faults=(fault(FaultKind.SERVER_ERROR, 2, 3, 4, 5, 6),),
        path=[*["network_failed:retrying"] * 5, *ONCE[1:]],
        sleeps=[1.0, 2.0, 4.0, 8.0, 16.0],
        requests=WHOLE + 5,
        errors={"NETWORK": 5},
    ),
    "the ladder begins anew after an answer": Case(
        faults=(fault(FaultKind.SERVER_ERROR, 2, 3, 5, 6),),
        path=[*[*["network_failed:retrying"] * 2, "recovered:running"] * 2, "finish:completed"],
        sleeps=[1.0, 2.0, 1.0, 2.0],
        requests=WHOLE + 4,
        errors={"NETWORK": 4},
    ),
    # RATE_LIMIT
    "429": pauses(600.0, window_s=600.0),
    "429 of a server whose clock is behind": pauses(600.0, window_s=600.0, skew_s=-5000.0),
    "429 of a server whose clock is ahead": pauses(600.0, window_s=600.0, skew_s=5000.0),
    "429 in milliseconds": pauses(600.0, window_s=600.0, reset="milliseconds"),
    "429 without a time": pauses(900.0, window_s=600.0, reset="missing"),
    "429 with a past time": pauses(
        1.0, 1.0, 1.0, 1.0, refused=4, window_s=4.0, reset="past"
    ),
    "429 with a time beyond any window": pauses(960.0, 940.0, refused=2, window_s=1900.0),
    "429 among network failures keeps the tries": Case(
        faults=(
            fault(FaultKind.SERVER_ERROR, 2, 3, 5),
            fault(FaultKind.RATE_LIMITED, 4),
        ),
        path=[
            *["network_failed:retrying"] * 2,
            *PAUSED,
            "network_failed:retrying",
            *ONCE[1:],
        ],
        sleeps=[1.0, 2.0, 597.0, 4.0],
        requests=WHOLE + 4,
        errors={"NETWORK": 3, "RATE_LIMIT": 1},
        window_s=600.0,
    ),
    "429 after a failure, then an answer": Case(
        faults=(fault(FaultKind.SERVER_ERROR, 2), fault(FaultKind.RATE_LIMITED, 3)),
        path=["network_failed:retrying", *PAUSED, *ONCE[1:]],
        sleeps=[1.0, 599.0],
        requests=WHOLE + 2,
        errors={"NETWORK": 1, "RATE_LIMIT": 1},
        window_s=600.0,
    ),
    # FATAL
    "usage cap with healthy headers": costs(FaultKind.USAGE_CAPPED, "resume"),
    "402": costs(FaultKind.CREDITS_DEPLETED, "credit"),
    "spend cap": costs(FaultKind.SPEND_CAP, "2026-12-01"),
    "402 while retrying": Case(
        faults=(fault(FaultKind.SERVER_ERROR, 2), fault(FaultKind.CREDITS_DEPLETED, 3)),
        state=State.SHUT_DOWN,
        category=ErrorCategory.FATAL,
        reason=Reason.BILLING,
        code=1,
        path=["network_failed:retrying", *FATAL],
        sleeps=[1.0],
        stored=90,
        requests=3,
        errors={"NETWORK": 1, "FATAL": 1},
    ),
    "errors only": Case(
        faults=(fault(FaultKind.ERRORS_ONLY, 2),),
        state=State.SHUT_DOWN,
        category=ErrorCategory.FATAL,
        reason=Reason.REQUEST_REFUSED,
        code=1,
        path=FATAL,
        stored=90,
        requests=2,
        errors={"FATAL": 1},
    ),
    "errors only is no empty account": Case(
        faults=(fault(FaultKind.ERRORS_ONLY, 1),),
        state=State.SHUT_DOWN,
        category=ErrorCategory.FATAL,
        reason=Reason.REQUEST_REFUSED,
        code=1,
        path=FATAL,
        stored=0,
        requests=1,
        errors={"FATAL": 1},
    ),
    "cursor refused": Case(
        faults=(fault(FaultKind.CURSOR_REFUSED, 3),),
        path=["finish:completed"],
        requests=3 + WHOLE,
    ),
    "cursor refused again without a new item": Case(
        faults=(fault(FaultKind.CURSOR_REFUSED, 3, 5),),
        state=State.SHUT_DOWN,
        category=ErrorCategory.FATAL,
        reason=Reason.CURSOR_REFUSED,
        code=1,
        path=FATAL,
        stored=180,
        requests=5,
        errors={"FATAL": 1},
    ),
    "cursor refused again after new items": Case(
        faults=(fault(FaultKind.CURSOR_REFUSED, 2, 5),),
        path=["finish:completed"],
        requests=5 + WHOLE,
    ),
    "repeated cursor": Case(
        faults=(fault(FaultKind.REPEATED_CURSOR, 2),),
        state=State.SHUT_DOWN,
        category=ErrorCategory.FATAL,
        reason=Reason.SOURCE_LOOPS,
        code=1,
        path=FATAL,
        stored=180,
        requests=2,
        errors={"FATAL": 1},
        says="twitor checkpoint clear",
    ),
    # AUTH
    "401": Case(
        faults=(fault(FaultKind.UNAUTHORIZED, 2),),
        state=State.ABORTED,
        category=ErrorCategory.AUTH,
        reason=Reason.TOKEN_REFUSED,
        code=10,
        path=AUTH,
        stored=90,
        requests=2,
        errors={"AUTH": 1},
        says="Update credentials and retry",
    ),
    "401 while retrying": Case(
        faults=(fault(FaultKind.SERVER_ERROR, 2), fault(FaultKind.UNAUTHORIZED, 3)),
        state=State.ABORTED,
        category=ErrorCategory.AUTH,
        reason=Reason.TOKEN_REFUSED,
        code=10,
        path=["network_failed:retrying", *AUTH],
        sleeps=[1.0],
        stored=90,
        requests=3,
        errors={"NETWORK": 1, "AUTH": 1},
    ),
    # pages that mislead
    "early end of one answer": Case(
        # 90, 90 without a token; from there 20 at a time: 5 to the first unseen, 1 to the end, 1 to verify it at 10
        faults=(fault(FaultKind.EARLY_END, 2),),
        path=["finish:completed"],
        requests=2 + 6 + 1,
    ),
    "a short page": Case(
        # 90, 5, 90, 10, and its tail at 20
        faults=(fault(FaultKind.SHORT_PAGE, 2, items=5),),
        path=["finish:completed"],
        requests=5,
    ),
    "an empty page that names a next one": Case(
        faults=(fault(FaultKind.SHORT_PAGE, 2, items=0),),
        path=["finish:completed"],
        requests=WHOLE + 1,
    ),
    "duplicates": Case(
        # the second page repeats 3 of the first: 90, 87 new, 18, and its tail at 20
        faults=(fault(FaultKind.DUPLICATE, 2, items=3),),
        path=["finish:completed"],
        requests=WHOLE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_a_fault_ends_where_its_category_says(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    deadline_s = SLOW_S if name.startswith("slow") else 120.0
    async with world(
        tmp_path,
        COUNT,
        *case.faults,
        window_s=case.window_s,
        skew_s=case.skew_s,
        deadline_s=deadline_s,
    ) as w:
        report = await w.crawl()

        assert (report.state, report.category, report.reason, exit_code(report)) == (
            case.state, case.category, case.reason, case.code,
        )  # fmt: skip
        assert w.clock.sleeps == case.sleeps
        assert await w.path_of(report) == case.path
        assert await w.delays_of(report) == case.sleeps
        counts = report.counters
        assert (counts.stored, counts.seen, len(w.stored())) == (case.stored,) * 3
        assert counts.requests == w.requests == case.requests
        assert counts.errors == case.errors
        assert counts.retries == case.errors.get("NETWORK", 0) - (case.code == 12)
        assert counts.pauses == case.path.count(PAUSED[0])
        assert case.says in report.message
        checkpoint = await w.checkpoint()
        assert (checkpoint.bookmarks_count if checkpoint else 0) == case.stored
        assert report.durable


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, case in CASES.items()
        if case.state is not State.COMPLETED and not name.startswith("slow")
    ],
)
async def test_the_next_run_after_a_fault_that_is_over_brings_the_rest(
    name: str, tmp_path: Path
) -> None:
    case = CASES[name]
    last = case.requests
    short = [attrs.evolve(f, at=tuple(n for n in f.at if n <= last)) for f in case.faults]
    async with world(tmp_path, COUNT, *short) as w:
        first = await w.crawl()
        again = await w.crawl()

        assert (first.state, again.state) == (case.state, State.COMPLETED)
        assert sorted(w.stored()) == sorted(w.sim.truth())
        assert first.counters.stored + again.counters.stored == COUNT


async def test_retries_and_backoff_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_RETRIES", "2")
    monkeypatch.setenv("INITIAL_BACKOFF", "0.5")
    down = fault(FaultKind.SERVER_ERROR, *range(2, 30))
    async with world(tmp_path, COUNT, down, settings=get_settings()) as w:
        report = await w.crawl()

        assert w.clock.sleeps == [0.5, 1.0]
        assert (report.state, report.reason, exit_code(report)) == (
            State.ABORTED, Reason.SERVER_ERROR, 12,
        )  # fmt: skip
        assert w.requests == 4
        assert await w.path_of(report) == [
            *["network_failed:retrying"] * 2,
            "network_failed:aborting",
            "cleaned_up:aborted",
        ]


async def test_without_retries_the_first_failure_aborts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_RETRIES", "0")
    async with world(tmp_path, COUNT, fault(FaultKind.TRUNCATED, 2), settings=get_settings()) as w:
        report = await w.crawl()

        assert (w.clock.sleeps, exit_code(report), w.requests) == ([], 12, 2)


# -- AUTH -----------------------------------------------------------------------------------------

CHECKPOINT = (
    "SELECT last_tweet_id, bookmarks_count, last_crawled_at, mark, generation FROM twitor_crawl"
)


async def test_auth_leaves_the_checkpoint_as_it_was(tmp_path: Path) -> None:
    before: list[Any] = []

    def snapshot(name: str, batch: Any) -> None:
        if name == "commit" and batch.value.state == State.ABORTING:
            w.clock.time += 5.0  # a checkpoint written now would tell by its time
            before.extend(w.query(CHECKPOINT))
            assert batch.mark is None
            assert (batch.new, batch.known, batch.skips) == ((), (), ())

    async with world(tmp_path, COUNT, fault(FaultKind.UNAUTHORIZED, 3)) as w:
        report = await w.crawl(store=HookedStore(w.path, snapshot))

        assert report.category is ErrorCategory.AUTH
        assert before == w.query(CHECKPOINT)
        assert before[0][1] == 180


async def test_a_token_revoked_in_mid_crawl_costs_no_item(
    tmp_path: Path,
) -> None:
    handled: list[str] = []

    async def handler(item: Item, fence: int) -> None:
        handled.append(item.key)
        if len(handled) == 137:
            w.sim.revoke_token(w.sim.token)

    async with world(tmp_path, COUNT, settings=Settings(prefetch=0)) as w:
        report = await w.crawl(handler=handler)
        assert (report.category, report.counters.stored) == (ErrorCategory.AUTH, 180)
        assert report.counters.stored == len(w.stored())

        w.sim.issue_token(w.sim.token)
        again = await w.crawl(handler=handler)

        assert again.completed
        assert sorted(handled) == sorted(w.sim.truth())


@pytest.mark.parametrize(
    ("which", "reason", "says"),
    [
        ("app only", Reason.APP_ONLY_TOKEN, "bookmark.read"),
        ("unknown", Reason.TOKEN_REFUSED, "Update credentials"),
        ("scope", Reason.SCOPE_MISSING, "bookmark.read"),
    ],
)
async def test_a_token_that_may_not_ends_the_crawl_before_its_first_item(
    which: str, reason: Reason, says: str, tmp_path: Path
) -> None:
    async with world(tmp_path, COUNT) as w:
        w.sim.issue_token("scoped", scopes=["tweet.read", "users.read"])
        w.token = {"app only": w.sim.app_only_token, "unknown": "nobodys", "scope": "scoped"}[which]

        report = await w.crawl()

        assert (report.state, report.category, report.reason, exit_code(report)) == (
            State.ABORTED, ErrorCategory.AUTH, reason, 10,
        )  # fmt: skip
        assert says in report.message
        assert w.token not in report.message
        assert (w.requests, w.stored(), w.clock.sleeps) == (1, [], [])
        assert await w.path_of(report) == AUTH


async def test_requests_of_a_refused_replacement_token_are_all_counted(tmp_path: Path) -> None:
    class Provider:
        async def token(self, user_id: str, *, refused: bool = False) -> str:
            return "second" if refused else "first"

    async with world(tmp_path, COUNT) as w:
        from twitor_fsm.sources.x_api import XBookmarks

        source = XBookmarks(Provider(), base_url=w.sim.base_url, clock=w.clock)
        report = await w.crawl(source)

        assert report.reason == Reason.TOKEN_REFUSED
        assert w.requests == 2
        assert report.counters.requests == 2  # no hidden requests


async def test_a_page_fetched_ahead_and_given_up_is_counted_in_the_database_too(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, COUNT) as w, w.engine() as engine:
        gate, ahead = asyncio.Event(), asyncio.Event()

        class Stuck(Watched):
            async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Any:
                page = await self.inner.fetch(user_id, cursor, page_size)
                if cursor is not None:
                    ahead.set()
                    await gate.wait()
                return page

        async def handler(item: Item, fence: int) -> None:
            await ahead.wait()  # the next page was asked for, and paid for

        handle = await engine.start(
            Stuck(w.source(), lambda _: None), user_id=w.sim.user_id, handler=handler
        )
        await ahead.wait()
        handle.cancel()
        report = await handle.wait()
        record = await engine.status(report.session_id)

        assert w.requests == report.counters.requests == 2
        assert record.counters.requests == 2  # no hidden requests


# -- VALIDATION and DATABASE ----------------------------------------------------------------------


async def test_items_nobody_can_decode_are_skipped_kept_and_counted(tmp_path: Path) -> None:
    bad = [
        ItemFault(kind=ItemKind.MISSING_ID, at=(5,)),
        ItemFault(kind=ItemKind.WRONG_TYPES, at=(100,)),
        ItemFault(kind=ItemKind.NOT_AN_OBJECT, at=(190,)),
    ]
    gone = [
        ItemFault(kind=ItemKind.TOMBSTONE, at=(7, 101)),
        ItemFault(kind=ItemKind.PROTECTED, at=(191,)),
    ]
    async with world(tmp_path, COUNT, items=[*bad, *gone]) as w:
        report = await w.crawl()

        counts = report.counters
        assert (report.state, exit_code(report)) == (State.COMPLETED, 0)
        assert (counts.seen, counts.stored, counts.skipped) == (COUNT, COUNT - 3, 3)
        assert counts.errors == {"VALIDATION": 3}
        assert await w.path_of(report) == [*["item_skipped:running"] * 3, "finish:completed"]
        assert len(w.skipped()) == len(report.skipped_items) == 3
        assert {brief.category for brief in report.skipped_items} == {"VALIDATION"}
        kinds = dict(w.query("SELECT item_id, kind FROM twitor_bookmark"))
        assert sorted(k for k, kind in kinds.items() if kind == "post") == sorted(
            w.sim.obtainable()
        )
        assert {k for k, kind in kinds.items() if kind == "tombstone"} == {
            key for key, kind in w.sim.invalid().items() if kind in ("tombstone", "protected")
        }
        again = await w.crawl()
        assert (again.counters.skipped, again.counters.stored, again.counters.requests) == (1, 0, 1)


async def test_a_skip_ends_a_run_of_failures(tmp_path: Path) -> None:
    """item_skipped from a session that has tries: the handler fails twice, then finds the item bad."""
    calls = 0

    async def handler(item: Item, fence: int) -> None:
        nonlocal calls
        calls += 1
        if calls in (3, 4):
            raise ConnectionResetError
        if calls == 5:
            from twitor_fsm.errors import InvalidItem

            raise InvalidItem("no text after all")

    async with world(tmp_path, 8) as w:
        report = await w.crawl(handler=handler)

        assert w.clock.sleeps == [1.0, 2.0]
        assert await w.path_of(report) == [
            *["network_failed:retrying"] * 2, "item_skipped:running", "finish:completed",
        ]  # fmt: skip
        assert (report.counters.stored, report.counters.skipped) == (7, 1)


async def test_only_bad_items_end_in_a_fatal_error_and_nothing_completes(tmp_path: Path) -> None:
    broken = [ItemFault(kind=ItemKind.WRONG_TYPES, probability=1.0)]
    async with world(tmp_path, COUNT, items=broken) as w:
        report = await w.crawl()

        assert (report.state, report.category, report.reason, exit_code(report)) == (
            State.SHUT_DOWN, ErrorCategory.FATAL, Reason.TOO_MANY_SKIPS, 13,
        )  # fmt: skip
        assert (report.counters.skipped, report.counters.seen) == (50, 50)
        assert w.requests <= 2


async def test_an_item_that_our_own_database_refuses_is_skipped_and_the_rest_is_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(tmp_path, COUNT) as w:
        async with w.engine():
            pass
        victim = w.sim.truth()[33]
        refuse(w, victim)
        with caplog.at_level(logging.WARNING, "twitor_fsm"):
            report = await w.crawl()

        assert (report.state, exit_code(report)) == (State.COMPLETED, 0)
        assert sorted([*w.stored(), victim]) == sorted(w.sim.truth())
        assert w.skipped() == [victim]
        assert report.counters.errors == {"DATABASE": 1}
        assert await w.path_of(report) == ["item_skipped:running", "finish:completed"]
        assert {logging.ERROR, logging.WARNING} <= {record.levelno for record in caplog.records}

        with closing(sqlite3.connect(w.path)) as other:
            other.execute("DROP TRIGGER refuse")
        async with w.engine() as engine:
            assert await engine.retry_skipped(w.sim.user_id) == 1
        await w.crawl()
        assert sorted(w.stored()) == sorted(w.sim.truth())
        assert w.skipped() == []


def refuse(w: World, key: str) -> None:
    """Have the database refuse this item."""
    with closing(sqlite3.connect(w.path)) as other:
        other.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON twitor_bookmark "
            f"WHEN NEW.item_id = '{key}' BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )


async def test_a_handlers_own_database_that_refuses_an_item_skips_that_item(
    tmp_path: Path,
) -> None:
    with closing(sqlite3.connect(":memory:")) as notes:
        notes.execute("CREATE TABLE note (text TEXT CHECK (length(text) < 250))")

        async def handler(item: Item, fence: int) -> None:
            notes.execute("INSERT INTO note VALUES (?)", (item.text,))

        async with world(tmp_path, 100) as w:
            report = await w.crawl(handler=handler)

            [[kept]] = notes.execute("SELECT count(*) FROM note").fetchall()
            assert report.completed
            assert report.counters.skipped > 0
            assert (report.counters.stored, report.counters.skipped) == (kept, 100 - kept)
            assert report.counters.errors == {"DATABASE": 100 - kept}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), Reason.OUT_OF_MEMORY),
        (OSError(28, "No space left on device"), Reason.DISK_FULL),
        (RuntimeError("a bug"), Reason.UNKNOWN),
    ],
)
async def test_fatal_errors_keep_everything_that_was_handled(
    error: Exception, reason: Reason, tmp_path: Path
) -> None:
    handled: list[str] = []
    cleaned: list[str] = []

    async def handler(item: Item, fence: int) -> None:
        if len(handled) == 95 and error.args != ("over",):
            raise error
        handled.append(item.key)

    async def cleanup() -> None:
        cleaned.append("once")

    async with world(tmp_path, COUNT) as w:
        report = await w.crawl(handler=handler, cleanup=[cleanup])

        assert (report.state, report.category, report.reason, exit_code(report)) == (
            State.SHUT_DOWN, ErrorCategory.FATAL, reason, 1,
        )  # fmt: skip
        assert await w.path_of(report) == FATAL
        assert w.stored() == handled == w.sim.truth()[:95]
        assert cleaned == ["once"]
        checkpoint = await w.checkpoint()
        assert checkpoint is not None
        assert checkpoint.last_tweet_id == handled[-1]
        error.args = ("over",)
        assert (await w.crawl(handler=handler)).completed
        assert sorted(handled) == sorted(w.sim.truth())


# -- the rows that come from outside --------------------------------------------------------------


@attrs.define
class Held:
    """A session that stands still in a state, and the way to let it go."""

    handle: CrawlHandle
    release: Callable[[], None]


async def stand_still(w: World, engine: Any, state: State) -> Held:
    """Begin a crawl and hold it: at its second request, or in the wait that follows it."""
    gate = asyncio.Event()
    source = w.source()
    if state is State.RUNNING:
        reached = asyncio.Event()

        class Stuck(Watched):
            async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Any:
                self.number += 1
                if self.number == 2:
                    reached.set()
                    await gate.wait()
                return await self.inner.fetch(user_id, cursor, page_size)

        handle = await engine.start(Stuck(source, lambda _: None), user_id=w.sim.user_id)
        await reached.wait()
        while len(w.stored()) < 90:  # noqa: ASYNC110 - the row is the condition
            await asyncio.sleep(0.001)
    else:
        w.clock.gate = gate
        handle = await engine.start(source, user_id=w.sim.user_id)
        async for event in handle:
            if isinstance(event, Transition) and event.row.target == state:
                break
    assert handle.state == state
    return Held(handle, gate.set)


FAULT_FOR: dict[State, tuple[Fault, ...]] = {
    State.RUNNING: (),
    State.RETRYING: (fault(FaultKind.SERVER_ERROR, 2),),
    State.PAUSED_RATE_LIMIT: (fault(FaultKind.RATE_LIMITED, 2),),
}
ACTIVE = list(FAULT_FOR)

OUTSIDE = [
    (Trigger.CANCEL, State.SHUT_DOWN, 75),
    (Trigger.FATAL_FAILED, State.SHUT_DOWN, 75),
    (Trigger.AUTH_FAILED, State.ABORTED, 75),
]


@pytest.mark.parametrize("state", ACTIVE)
@pytest.mark.parametrize(("trigger", "final", "code"), OUTSIDE)
async def test_an_event_from_outside_ends_any_active_state(
    state: State, trigger: Trigger, final: State, code: int, tmp_path: Path
) -> None:
    async with world(tmp_path, COUNT, *FAULT_FOR[state]) as w, w.engine() as engine:
        here = await stand_still(w, engine, state)
        here.handle._session.post(trigger, reason="wished")
        report = await here.handle.wait()

        assert (report.state, report.reason, exit_code(report)) == (final, "wished", code)
        ending = "aborting" if final is State.ABORTED else "shutting_down"
        path = await w.path_of(report)
        assert path[-2:] == [f"{trigger}:{ending}", f"cleaned_up:{final}"]
        await w.check(engine, report)
        assert len(w.stored()) == 90
        here.release()
        w.clock.gate = None
        assert (await engine.crawl(w.source(), user_id=w.sim.user_id)).completed
        assert sorted(w.stored()) == sorted(w.sim.truth())


@pytest.mark.parametrize("state", ACTIVE)
async def test_a_new_process_goes_on_in_the_state_that_it_finds(
    state: State, tmp_path: Path
) -> None:
    """restarted: the session goes on with fence + 1; tries, retry_at and resume_at are honoured."""
    async with world(tmp_path, COUNT, *FAULT_FOR[state]) as w:
        async with w.engine() as first:
            here = await stand_still(w, first, state)
            await forget(first, here.handle.session_id)
            before = await first.status(here.handle.session_id)
            w.clock.gate, w.clock.time = None, w.clock.time + 0.25
            w.clock.sleeps.clear()
            made = w.requests
            async with w.engine() as second:
                report = await second.crawl(w.source(), user_id=w.sim.user_id)
                await w.check(second, report)
                after = await second.status(report.session_id)

            assert (report.session_id, report.completed) == (before.session_id, True)
            assert report.resumed
            assert after.fence == before.fence + 1
            due = before.value.retry_at or before.value.resume_at
            assert w.clock.sleeps == ([due - START - 0.25] if due else [])
            path = await w.path_of(report)
            assert f"restarted:{state}" in path
            assert sorted(w.stored()) == sorted(w.sim.truth())
            # what is left: 90, 15 and its probe, then the top-up walk that recognises this one
            assert w.requests - made == 4
            here.release()
            lost = await here.handle.wait()

        assert lost.lost
        assert exit_code(lost) == 75
        assert sorted(w.stored()) == sorted(w.sim.truth())
        assert await w.path_of(report) == path  # the old owner wrote nothing


LATE = (Trigger.CANCEL, Trigger.CANCEL, Trigger.NETWORK_FAILED)
"""Events that change nothing any more."""


async def test_failures_while_ending_are_journalled_once_and_change_nothing(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, COUNT) as w, w.engine() as engine:
        here = await stand_still(w, engine, State.RUNNING)
        for trigger in (Trigger.FATAL_FAILED, *LATE):
            here.handle._session.post(trigger, reason="in time" if trigger not in LATE else "late")
        report = await here.handle.wait()
        await w.check(engine, report)
        rows = await engine.journal(report.session_id)

    # a cancel goes first, whatever waits before it
    assert report.reason == "late"
    assert [(str(row.trigger), row.target, row.absorbed) for row in rows] == [
        ("cancel", "shutting_down", False),
        ("cancel", "shutting_down", True),
        ("fatal_failed", "shutting_down", True),
        ("network_failed", "shutting_down", True),
        ("cleaned_up", "shut_down", False),
    ]


async def test_events_during_the_cleanup_are_journalled_once_and_change_nothing(
    tmp_path: Path,
) -> None:
    async with (
        world(tmp_path, COUNT, fault(FaultKind.CREDITS_DEPLETED, 2)) as w,
        w.engine() as engine,
    ):

        async def cleanup() -> None:
            for trigger in LATE:
                handle._session.post(trigger, reason="too late")

        handle = await engine.start(w.source(), user_id=w.sim.user_id, cleanup=[cleanup])
        report = await handle.wait()
        await w.check(engine, report)
        rows = await engine.journal(report.session_id)

    assert (report.reason, exit_code(report), report.cleanup_errors) == (Reason.BILLING, 1, ())
    assert {row.target for row in rows} == {"shutting_down", "shut_down"}
    assert [str(row.trigger) for row in rows if row.absorbed] == ["cancel", "network_failed"]


async def test_an_event_of_its_own_that_the_table_does_not_allow_is_a_bug_and_keeps_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, COUNT) as w, w.engine() as engine:
        here = await stand_still(w, engine, State.RUNNING)
        steps = here.handle._session._steps
        monkeypatch.setattr(steps, "hear", steps.post)  # as what the session itself decides
        here.handle._session.post(Trigger.RESUME)
        report = await here.handle.wait()
        await w.check(engine, report)

        assert (report.category, report.reason, exit_code(report)) == (
            ErrorCategory.FATAL, Reason.BUG, 1,
        )  # fmt: skip
        assert await w.path_of(report) == FATAL
        assert len(w.stored()) == 90


async def test_a_session_that_died_in_its_cleanup_is_buried_and_a_new_one_goes_on(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, COUNT, fault(FaultKind.CREDITS_DEPLETED, 2)) as w:
        async with w.engine() as first:
            inside, gate = asyncio.Event(), asyncio.Event()

            async def cleanup() -> None:
                inside.set()
                await gate.wait()

            handle = await first.start(w.source(), user_id=w.sim.user_id, cleanup=[cleanup])
            await inside.wait()
            await forget(first, handle.session_id)
            async with w.engine() as second:
                report = await second.crawl(w.source(), user_id=w.sim.user_id)
                await w.check(second, report)
                rows = await second.journal(handle.session_id)
            gate.set()
            lost = await handle.wait()

        assert report.completed
        assert report.session_id != handle.session_id
        assert report.resumed_from == handle.session_id
        assert [(r.target, r.reason) for r in rows] == [
            ("shutting_down", "billing"),
            ("shut_down", "died_in_cleanup"),
        ]
        assert lost.lost
        assert sorted(w.stored()) == sorted(w.sim.truth())


async def test_a_pause_that_is_not_waited_for_is_honoured_by_the_next_process(
    tmp_path: Path,
) -> None:
    limited = fault(FaultKind.RATE_LIMITED, 3, reset="missing")
    async with world(tmp_path, COUNT, limited, window_s=600.0) as w:
        first = await w.crawl(wait=False)
        assert (first.state, exit_code(first), first.resume_at) == (
            "paused_rate_limit", 11, START + 900.0,
        )  # fmt: skip
        assert (len(w.stored()), w.clock.sleeps) == (180, [])
        async with w.engine() as engine:
            record = await engine.status(first.session_id)
            assert record.lease_until <= w.clock.now()  # whoever comes first may go on
        w.clock.time += 300.0
        again = await w.crawl()

        assert again.completed
        assert again.session_id == first.session_id
        assert w.clock.sleeps == [600.0]
        assert (again.counters.pauses, again.counters.errors) == (1, {"RATE_LIMIT": 1})


async def test_early_ends_down_to_the_smallest_pages_are_no_completion(
    tmp_path: Path,
) -> None:
    """Only pages of 10 and 5 keep their tokens."""
    plan = FaultPlan(early_end=EarlyEnd(above=10, after_pages=1))
    async with world(tmp_path, 150, plan=plan) as w:
        report = await w.crawl()

        assert report.completed
        assert sorted(w.stored()) == sorted(w.sim.truth())
