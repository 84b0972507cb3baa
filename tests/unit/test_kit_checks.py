"""What the kit calls wrong: a good journal and good transactions pass, and each way of being wrong is told."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from twitor_fsm.core.listing import Mark
from twitor_fsm.core.records import Counters, CrawlKey, Skip
from twitor_fsm.core.recovery import Policy
from twitor_fsm.core.states import (
    Facts,
    JournalRow,
    SessionValue,
    State,
    Trigger,
)
from twitor_fsm.core.taxonomy import ErrorCategory, Reason
from twitor_fsm.machine import step
from twitor_fsm.sources.base import Item
from twitor_fsm.storage.base import Batch, NewItem, SkippedItem
from twitor_fsm.testing.conformance import assert_conforms
from twitor_fsm.testing.invariants import Durable, of_journal, of_transaction
from twitor_fsm.testing.listings import Listing

NETWORK, RATE_LIMIT = ErrorCategory.NETWORK, ErrorCategory.RATE_LIMIT
EVENTS: list[tuple[Trigger, float, dict[str, Any]]] = [
    (Trigger.NETWORK_FAILED, 0.0, {"category": NETWORK, "delay_s": 1.0, "operation": "fetch"}),
    (Trigger.NETWORK_FAILED, 1.0, {"category": NETWORK, "delay_s": 2.0}),
    (Trigger.RECOVERED, 3.0, {}),
    (Trigger.ITEM_SKIPPED, 3.0, {"category": ErrorCategory.VALIDATION, "item": "7"}),
    (Trigger.RATE_LIMITED, 4.0, {"category": RATE_LIMIT, "delay_s": 900.0}),
    (Trigger.RESTARTED, 10.0, {}),
    (Trigger.RESUME, 904.0, {}),
    (Trigger.CANCEL, 905.0, {"reason": Reason.STOPPED_BY_USER}),
    (Trigger.CANCEL, 905.0, {"reason": Reason.STOPPED_BY_USER}),
    (Trigger.CLEANED_UP, 906.0, {}),
]
POLICY = Policy(max_retries=5, initial_backoff=1.0)


def journal(*events: tuple[Trigger, float, dict[str, Any]]) -> list[JournalRow]:
    """The journal of these events, taken through the machine."""
    value, rows = SessionValue(), []
    for trigger, at, facts in events:
        taken = step(value, trigger, Facts(now=at, **facts))
        value = taken.session
        if taken.journal is not None:
            rows.append(taken.journal)
    return rows


GOOD = journal(*EVENTS)


def with_row(number: int, **changes: Any) -> list[JournalRow]:
    """The good journal with one row (from 1) changed."""
    return [attrs.evolve(r, **changes) if r.seq == number else r for r in GOOD]


def test_a_good_journal_conforms() -> None:
    value = assert_conforms(GOOD)

    assert (value.state, value.seq) == (State.SHUT_DOWN, len(GOOD))
    assert list(of_journal(GOOD, POLICY)) == []
    assert assert_conforms([]) == SessionValue()


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (with_row(3, spec="0" * 16), "row 3 .*: it was written with another table"),
        (
            with_row(1, source="retrying"),
            "row 1 .*: it begins in retrying, but the session is in running",
        ),
        (
            with_row(1, target="aborting"),
            "row 1 .*: its target is aborting, but network_failed gives retrying",
        ),
        (with_row(2, tries=1), "row 2 .*: its tries is 1, but network_failed gives 2"),
        (with_row(4, facts={"item": "8", "more": 1}), "row 4 .*: its facts is"),
        (with_row(9, absorbed=False), "row 9 .*: its absorbed is False, but cancel gives True"),
        (with_row(7, source="running"), "row 7 .*: it begins in running"),
        (with_row(7, trigger="cleaned_up"), "row 7 .*: the machine allows no cleaned_up in paused"),
        (GOOD[1:], "row 1 \\(step 2\\): step 1 was expected"),
        ([*GOOD[:2], *GOOD[3:]], "row 3 \\(step 4\\): step 3 was expected"),
        ([GOOD[0], GOOD[6]], "row 2 \\(step 7\\): step 2 was expected"),
        ([*GOOD[:9], attrs.evolve(GOOD[8], seq=10)], "cancel was absorbed before"),
        ([*GOOD, GOOD[0]], "row 11 .*: step 11 was expected"),
    ],
)
def test_the_first_row_that_the_machine_does_not_allow_is_named(
    rows: list[JournalRow], told: str
) -> None:
    with pytest.raises(AssertionError, match=told):
        assert_conforms(rows)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (with_row(2, tries=1), "row 2: try 1 of 5 after try 1"),
        (with_row(2, tries_allowed=1), "row 2: try 2 of 1 after try 1"),
        (with_row(2, delay_s=3.0), "row 2: a delay of 3.0 s before try 2"),
        (with_row(2, at=0.5), "row 2: network_failed came 0.500 s before its time"),
        (with_row(3, tries=2), "row 3: recovered leaves 2 tries"),
        (with_row(7, at=900.0), "row 7: resume came 4.000 s before its time"),
        (with_row(5, reason=Reason.BUG), "row 5: a bug of the engine"),
        ([*GOOD, attrs.evolve(GOOD[0], source="shut_down", tries=1)], "leaves the final state"),
    ],
)
def test_a_journal_that_keeps_no_promise_is_told(rows: list[JournalRow], told: str) -> None:
    assert any(told in problem for problem in of_journal(rows, POLICY))


# -- transactions -----------------------------------------------------------------------------------

LISTING = Listing(("1", "2", "3", "4"), {None: frozenset(), "b": frozenset({"1", "2"})})


def new(*keys: str) -> tuple[NewItem, ...]:
    return tuple(NewItem(Item(key=key, raw="{}"), None) for key in keys)


def batch(*events: tuple[Trigger, float, dict[str, Any]], **content: Any) -> Batch:
    rows = journal(*events)
    state = rows[-1].target if rows else State.RUNNING
    defaults: dict[str, Any] = {
        "session_id": "s",
        "fence": 2,
        "crawl": CrawlKey("me", "x"),
        "ordinal": 1,
        "now": 0.0,
        "lease_until": 30.0,
        "value": SessionValue(state=state),
        "final": False,
        "counters": Counters(),
        "journal": tuple(rows),
    }
    return Batch(**{**defaults, **content})


def wrong(
    of: Batch, *, stored: str = "", handled: str = "", before: Durable | None = None
) -> list[str]:
    durable = before if before is not None else Durable(stored=set(stored))
    return list(of_transaction(of, durable, LISTING, set(handled)))


PAUSE = EVENTS[4]
AUTH: tuple[Trigger, float, dict[str, Any]] = (
    Trigger.AUTH_FAILED,
    0.0,
    {"category": ErrorCategory.AUTH},
)
AT_B = Mark(walk=1, under_way=True, cursor="b", position=2)
SKIPPED_2 = (SkippedItem(Skip("2", "{}", ErrorCategory.VALIDATION, "r", "m", 0.0), None),)


def test_good_transactions_pass() -> None:
    assert wrong(batch(new=new("1", "2"), mark=AT_B, last_key="2")) == []
    assert wrong(batch(new=new("1"), skips=SKIPPED_2, mark=AT_B, last_key="1")) == []
    assert wrong(batch(PAUSE, new=new("2"), mark=AT_B), stored="1", handled="12") == []
    assert wrong(batch(AUTH), handled="12") == []
    assert wrong(batch((Trigger.FINISH, 0.0, {}), mark=Mark(walk=1)), stored="1234") == []


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("item 1 is stored twice", lambda: wrong(batch(new=new("1")), stored="1")),
        (
            "a session that has ended writes running once more",
            lambda: wrong(batch(), before=Durable(ended={"s"})),
        ),
        (
            "a process that was replaced still writes (fence 2)",
            lambda: wrong(batch(), before=Durable(fences={"s": 3})),
        ),
        ("3 items seen, but 1 + 0 + 1", lambda: wrong(batch(counters=Counters(3, 1, 0, 1)))),
        (
            "the checkpoint is ahead of the items: item 2 is not durable",
            lambda: wrong(batch(new=new("1"), mark=AT_B)),
        ),
        (
            "the checkpoint names 9, which is not stored",
            lambda: wrong(batch(new=new("1", "2"), mark=AT_B, last_key="9")),
        ),
        ("a failed authentication saves progress", lambda: wrong(batch(AUTH, new=new("1")))),
        ("paused_rate_limit without a checkpoint", lambda: wrong(batch(PAUSE))),
        (
            "paused_rate_limit although item 2 is handled and not durable",
            lambda: wrong(batch(PAUSE, mark=Mark()), stored="1", handled="12"),
        ),
        (
            "completed although items 3, 4 are neither stored nor recorded as skipped",
            lambda: wrong(batch((Trigger.FINISH, 0.0, {}), mark=Mark(walk=1)), stored="12"),
        ),
    ],
)
def test_a_transaction_that_keeps_no_promise_is_told(
    told: str, found: Callable[[], list[str]]
) -> None:
    assert any(told in problem for problem in found()), found()
