"""The plan: what is fetched ahead, and what a limit on items allows."""

import attrs
import pytest

from twitor_fsm.core import plan as ops
from twitor_fsm.core.listing import End, Known, Mark
from twitor_fsm.core.progress import Progress, Rules, begin
from twitor_fsm.core.recovery import PAUSE_SLACK_S, WINDOW_S
from twitor_fsm.core.states import DEFAULT_SPEC, SessionValue, State, Trigger
from twitor_fsm.core.taxonomy import ErrorCategory, Reason

NOW = 1000.0
LONGEST_CLOSED_S = WINDOW_S + PAUSE_SLACK_S


def page_in_hand(
    *,
    rules: Rules | None = None,
    known: dict[str, Known] | None = None,
    end: End = End.MORE,
    invalid: frozenset[int] = frozenset(),
) -> Progress:
    """A new crawl with its first page of three looked up."""
    progress = begin(None, rules=rules if rules is not None else Rules(page_size=3), ordinal=1)
    following = "3" if end is End.MORE else None
    fetched = progress.fetched(("a", "b", "c"), next_cursor=following, end=end, invalid=invalid)
    return fetched.looked_up(known or {})


def planned(progress: Progress, session: SessionValue | None = None, now: float = NOW) -> ops.Plan:
    value = session if session is not None else SessionValue()
    return ops.plan(value, progress, now=now, kinds=DEFAULT_SPEC.kinds)


def test_the_next_page_is_fetched_ahead_while_this_one_is_stored() -> None:
    assert planned(page_in_hand()) == ops.Plan(ops.Commit(), ops.Fetch("3", 3))


def test_nothing_is_fetched_ahead_of_a_judgement_that_may_end_the_walk() -> None:
    progress = begin(None, rules=Rules(page_size=3), ordinal=1)
    arrived = progress.fetched(("a", "b", "c"), next_cursor="3", end=End.MORE)

    assert planned(arrived) == ops.Plan(ops.Lookup(("a", "b", "c")))


def test_nothing_is_fetched_ahead_of_skipped_items_tried_again() -> None:
    stands = Mark(walk=1, under_way=True, cursor="2", page_size=3)
    again = attrs.evolve(begin(None, rules=Rules(page_size=3), ordinal=1), mark=stands)

    again = again.fetched_skipped(("a",))

    assert planned(again) == ops.Plan(ops.Lookup(("a",)))


def test_nothing_is_fetched_ahead_if_prefetch_is_off() -> None:
    rules = Rules(page_size=3, prefetch=False)

    assert planned(page_in_hand(rules=rules)).prefetch is None


def test_nothing_is_fetched_ahead_of_an_end() -> None:
    assert planned(page_in_hand(end=End.VERIFIED)) == ops.Plan(
        ops.Post(Trigger.FINISH, reason=Reason.END_VERIFIED)
    )


@pytest.mark.parametrize(
    ("until", "ahead"),
    [
        (NOW + 1, None),
        (NOW + LONGEST_CLOSED_S, None),
        (NOW + LONGEST_CLOSED_S + 1, ops.Fetch("3", 3)),
        (NOW, ops.Fetch("3", 3)),
    ],
)
def test_nothing_is_fetched_ahead_of_a_limits_reset(until: float, ahead: ops.Fetch | None) -> None:
    assert planned(page_in_hand().closed(until)).prefetch == ahead


@pytest.mark.parametrize(
    ("until", "operation"),
    [
        (NOW + 1, ops.Post(Trigger.RATE_LIMITED, ErrorCategory.RATE_LIMIT, Reason.CLOSED_UNTIL)),
        (NOW, ops.Fetch(None, 3)),
        (NOW + LONGEST_CLOSED_S + 1, ops.Fetch(None, 3)),  # noted before the clock was set back
    ],
)
def test_a_page_is_asked_for_from_the_instant_of_the_reset(
    until: float, operation: ops.Operation
) -> None:
    progress = begin(None, rules=Rules(page_size=3), ordinal=1, closed_until=until)

    assert planned(progress).operation == operation


def test_no_wait_is_believed_that_is_longer_than_two_days() -> None:
    paused = SessionValue(State.PAUSED_RATE_LIMIT, resume_at=NOW + 2 * 86_400.0)
    assert planned(page_in_hand(), paused).operation == ops.Wait(paused.resume_at)

    later = SessionValue(State.PAUSED_RATE_LIMIT, resume_at=NOW + 2 * 86_400.0 + 1.0)
    assert planned(page_in_hand(), later).operation == ops.Post(Trigger.RESUME)


def test_nothing_is_fetched_ahead_of_skipped_items_that_are_tried_again() -> None:
    progress = begin(None, rules=Rules(), ordinal=1, due_skips=2)
    assert planned(progress).operation == ops.FetchSkipped()

    again = progress.fetched_skipped(("a", "b")).looked_up({})

    assert planned(again) == ops.Plan(ops.Commit())


@pytest.mark.parametrize(
    ("most", "ahead"), [(2, None), (3, None), (4, ops.Fetch("3", 3)), (None, ops.Fetch("3", 3))]
)
def test_nothing_is_fetched_ahead_that_a_limit_on_items_would_leave(
    most: int | None, ahead: ops.Fetch | None
) -> None:
    assert planned(page_in_hand(rules=Rules(page_size=3, max_items=most))).prefetch == ahead


def test_an_item_that_was_skipped_and_not_yet_saved_counts_for_the_limit() -> None:
    rules = Rules(page_size=3, max_items=3)

    progress = page_in_hand(rules=rules, invalid=frozenset({0})).skipped(0)
    saved = progress.committed(progress.save())

    assert planned(progress) == ops.Plan(ops.Commit())
    assert planned(saved) == ops.Plan(ops.Post(Trigger.CANCEL, reason=Reason.MAX_ITEMS))


@pytest.mark.parametrize(("most", "ahead"), [(5, None), (6, ops.Fetch("6", 3))])
def test_what_was_saved_of_a_page_counts_once_for_the_limit(
    most: int, ahead: ops.Fetch | None
) -> None:
    rules = Rules(page_size=3, max_items=most, has_handler=True, checkpoint_every=1)
    first = page_in_hand(rules=rules).handled().handled().handled()
    second = first.committed(first.save()).fetched(("d", "d", "e"), next_cursor="6", end=End.MORE)

    one_saved = second.looked_up({}).handled()
    one_saved = one_saved.committed(one_saved.save())

    assert planned(one_saved) == ops.Plan(ops.Handle(2), ahead)


def test_known_items_are_no_reason_to_stop_fetching_ahead() -> None:
    known = {key: Known(stored=True) for key in "abc"}

    progress = page_in_hand(rules=Rules(page_size=3, max_items=1), known=known)

    assert planned(progress).prefetch == ops.Fetch("3", 3)


def test_a_limit_on_items_ends_the_session_within_a_page() -> None:
    progress = page_in_hand(rules=Rules(page_size=3, max_items=2))

    assert progress.done == 2
    assert planned(progress).operation == ops.Post(Trigger.CANCEL, reason=Reason.MAX_ITEMS)


def test_a_limit_on_items_ends_the_session_between_pages() -> None:
    progress = page_in_hand(rules=Rules(page_size=3, max_items=3))

    after = progress.committed(progress.save())

    assert planned(after).operation == ops.Post(Trigger.CANCEL, reason=Reason.MAX_ITEMS)


def test_an_undecodable_element_is_an_event_of_its_own() -> None:
    assert planned(page_in_hand(invalid=frozenset({1}))).operation == ops.Post(
        Trigger.ITEM_SKIPPED, ErrorCategory.VALIDATION, Reason.INVALID_ITEM, index=1
    )


@pytest.mark.parametrize(
    ("resume_at", "operation"),
    [
        (NOW + 1, ops.Wait(NOW + 1)),
        (NOW, ops.Post(Trigger.RESUME)),
        (NOW + ops.LONGEST_WAIT_S, ops.Wait(NOW + ops.LONGEST_WAIT_S)),
        (NOW + ops.LONGEST_WAIT_S + 1, ops.Post(Trigger.RESUME)),
        (None, ops.Wait(None)),
    ],
)
def test_a_pause_is_waited_out_unless_a_wrong_clock_named_its_end(
    resume_at: float | None, operation: ops.Operation
) -> None:
    session = SessionValue(State.PAUSED_RATE_LIMIT, resume_at=resume_at)

    assert planned(page_in_hand(), session).operation == operation


@pytest.mark.parametrize(
    ("retry_at", "operation"),
    [
        (NOW + 1, ops.Wait(NOW + 1)),
        (NOW, ops.Commit()),
        (NOW + ops.LONGEST_WAIT_S + 1, ops.Commit()),
        (None, ops.Commit()),
    ],
)
def test_a_retry_is_waited_for_unless_a_wrong_clock_named_its_time(
    retry_at: float | None, operation: ops.Operation
) -> None:
    session = SessionValue(State.RETRYING, tries=1, retry_at=retry_at)

    assert planned(page_in_hand(), session).operation == operation


@pytest.mark.parametrize(
    ("state", "operation"),
    [(State.ABORTING, ops.Cleanup()), (State.SHUTTING_DOWN, ops.Cleanup()), (State.COMPLETED, ops.End())],
)  # fmt: skip
def test_a_session_that_ends_does_nothing_but_that(state: State, operation: ops.Operation) -> None:
    assert planned(page_in_hand(), SessionValue(state)) == ops.Plan(operation)
