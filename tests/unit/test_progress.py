"""Progress and listing: what the whole walks of test_walks.py do not show."""

import re
from datetime import UTC, datetime

import attrs
import pytest

from twitor_fsm.core.listing import (
    End,
    Known,
    Mark,
    Run,
    Sighting,
    Verdict,
    conclude,
    recognise,
    smaller_size,
    stands_above,
)
from twitor_fsm.core.page import Entry, Status, Tally, count
from twitor_fsm.core.progress import Checkpoint, Progress, Rules, Save, begin
from twitor_fsm.core.records import Claim, Counters, CrawlKey, Owner, SessionRecord
from twitor_fsm.core.recovery import (
    MAX_BACKOFF_S,
    MIN_PAUSE_S,
    PAUSE_SLACK_S,
    WINDOW_S,
    ErrorFacts,
    RecoveryStrategy,
    believable,
    is_believable,
)
from twitor_fsm.core.states import DEFAULT_SPEC, Facts, JournalRow, SessionValue
from twitor_fsm.core.taxonomy import ErrorAction, ErrorCategory, Reason


def new(rules: Rules | None = None) -> Progress:
    return begin(None, rules=rules if rules is not None else Rules(), ordinal=1)


def checkpoint(mark: Mark) -> Checkpoint:
    return Checkpoint(
        last_tweet_id="7",
        bookmarks_count=3,
        last_crawled_at=datetime.fromtimestamp(0, UTC),
        mark=mark,
    )


def test_a_checkpoint_names_cursor_page_size_and_position() -> None:
    found = checkpoint(Mark(walk=1, under_way=True, cursor="c", page_size=20, position=40))

    assert (found.cursor, found.page_size, found.position) == ("c", 20, 40)


def test_an_id_that_stands_on_a_page_twice_is_met_once() -> None:
    progress = new().fetched(("a", "b", "a"), next_cursor="3", end=End.MORE).looked_up({})
    assert progress.page is not None

    assert [entry.status for entry in progress.page.entries] == [
        Status.NEW, Status.NEW, Status.REPEATED,
    ]  # fmt: skip
    assert [entry.position for entry in progress.page.entries] == [0, 1, None]
    assert (progress.save().tally.seen, progress.save().mark.position) == (2, 2)


def test_a_resumed_walk_has_met_no_page_without_news_yet() -> None:
    mark = Mark(walk=1, under_way=True, cursor="c", page_size=20, position=40, barren=2)

    assert begin(checkpoint(mark), rules=Rules(), ordinal=2).mark.barren == 0


@pytest.mark.parametrize(("due_skips", "redo"), [(0, False), (1, True), (2, True)])
def test_a_single_skipped_item_that_is_due_is_tried_again(due_skips: int, *, redo: bool) -> None:
    assert begin(None, rules=Rules(), ordinal=2, due_skips=due_skips).redo is redo


@pytest.mark.parametrize(
    ("stored", "rules", "resumed"), [(90, 20, 20), (20, 90, 20), (None, 90, None), (90, None, 90)]
)
def test_a_resumed_walk_keeps_the_smaller_page_size(
    stored: int | None, rules: int | None, resumed: int | None
) -> None:
    mark = Mark(walk=1, under_way=True, cursor="c", page_size=stored, position=9)

    progress = begin(checkpoint(mark), rules=Rules(page_size=rules), ordinal=2)

    assert (progress.mark.page_size, progress.mark.resumed) == (resumed, True)


def test_a_sighting_is_asked_about_only_where_there_is_one() -> None:
    progress = new().fetched(("a",), next_cursor="1", end=End.MORE).looked_up({})

    assert progress.sighted(0) is progress


def test_nothing_is_done_without_a_page_in_hand() -> None:
    with pytest.raises(AssertionError, match="no page in hand"):
        new().handled().settled()


def test_a_verified_end_is_believed_at_once() -> None:
    verdict = conclude(
        Mark(walk=1, under_way=True),
        items=1,
        unseen=1,
        new=1,
        next_cursor=None,
        end=End.VERIFIED,
        sizes=(20, 10),
    )

    assert verdict.ended is Reason.END_VERIFIED


def test_without_sizes_to_choose_from_an_end_is_doubted_with_the_same_size() -> None:
    assert smaller_size(None, (20, 10)) is None
    assert smaller_size(10, (20, 10)) == 10
    assert smaller_size(20, (20, 10)) == 10


def test_a_page_that_names_itself_as_the_next_is_a_loop() -> None:
    mark = Mark(walk=1, under_way=True, cursor="c")

    verdict = conclude(
        mark, items=1, unseen=1, new=1, next_cursor="c", end=End.MORE, sizes=()
    )  # fmt: skip

    assert verdict.fault is Reason.SOURCE_LOOPS


def test_a_refused_cursor_is_forgiven_once_until_something_new_was_met() -> None:
    mark = Mark(walk=1, under_way=True, cursor="c", position=9)
    progress = begin(checkpoint(mark), rules=Rules(), ordinal=2)

    again = progress.cursor_refused()

    assert again is not None
    assert (again.mark.walk, again.mark.cursor, again.mark.refused) == (2, None, True)
    assert again.gave_up_walk
    assert again.cursor_refused() is None
    known = again.fetched(("a",), next_cursor="d", end=End.MORE).looked_up(
        {"a": Known(stored=True)}
    )
    met = again.fetched(("a",), next_cursor="d", end=End.MORE).looked_up({})
    assert known.committed(known.save()).cursor_refused() is None
    assert met.committed(met.save()).cursor_refused() is not None


@pytest.mark.parametrize(
    ("until", "believed"),
    [(0.0, False), (0.1, True), (WINDOW_S + PAUSE_SLACK_S, True), (WINDOW_S + PAUSE_SLACK_S + 1, False)],
)  # fmt: skip
def test_a_limit_is_believed_to_last_one_window_at_most(until: float, believed: bool) -> None:
    assert is_believable(until, now=0.0) is believed


def test_an_owner_is_named_for_people() -> None:
    assert str(Owner("host", "boot", 7, "1", "run")) == "process 7 on host"


def page_of(
    mark: Mark, *, items: int, unseen: int, next_cursor: str | None, sizes: tuple[int, ...] = ()
) -> Verdict:
    """What a page of known items means."""
    end = End.MORE if next_cursor is not None else End.UNVERIFIED
    return conclude(
        mark, items=items, unseen=unseen, new=0, next_cursor=next_cursor, end=end, sizes=sizes
    )


def test_an_empty_page_behind_the_tail_that_was_met_again_is_an_end() -> None:
    doubting = Mark(walk=1, under_way=True, cursor="c", page_size=10, tail=10)

    again = page_of(doubting, items=10, unseen=0, next_cursor="d", sizes=(20, 10))
    last = page_of(again.mark, items=0, unseen=0, next_cursor=None, sizes=(20, 10))

    assert (again.mark.tail, again.mark.cursor, again.ended) == (0, "d", None)
    assert last.ended is Reason.END_VERIFIED


def test_a_tail_of_which_a_part_was_met_again_is_doubted_whole() -> None:
    doubting = Mark(walk=1, under_way=True, cursor="c", page_size=20, tail=30)

    verdict = page_of(doubting, items=12, unseen=0, next_cursor=None, sizes=(20, 10))

    assert (verdict.ended, verdict.mark.page_size, verdict.mark.tail) == (None, 10, 30)


def test_a_doubted_page_is_no_page_of_a_loop() -> None:
    """It is asked for again, so the pages that come then bring nothing unseen, and are not to be counted with those before."""
    mark = Mark(walk=1, under_way=True, cursor="c", page_size=20, barren=2)

    assert page_of(mark, items=20, unseen=0, next_cursor=None, sizes=(20, 10)).mark.barren == 0


def test_three_pages_without_an_unseen_id_are_a_loop_and_two_are_none() -> None:
    mark = Mark(walk=1, under_way=True, cursor="a", barren=2)
    faults, barren = [], []
    for unseen, cursor in ((1, "b"), (0, "c"), (0, "d"), (0, "e")):
        verdict = page_of(mark, items=1, unseen=unseen, next_cursor=cursor)
        mark = verdict.mark
        faults.append(verdict.fault)
        barren.append(mark.barren)

    assert barren == [0, 1, 2, 3]
    assert faults == [None, None, None, Reason.SOURCE_LOOPS]


def test_the_position_counts_each_id_that_has_a_place() -> None:
    page = new(Rules(has_handler=True, checkpoint_every=2)).fetched(
        ("a", "b", "c"), next_cursor="3", end=End.MORE
    )
    progress = page.looked_up({}).handled().handled()

    assert progress.save().mark.position == 2
    assert progress.committed(progress.save()).handled().save().mark.position == 3


def test_nothing_is_pending_between_pages() -> None:
    before = new()
    page = before.fetched(("a", "b"), next_cursor="2", end=End.MORE).looked_up({})

    after = page.committed(page.save())

    assert before.save() == Save(0, 0, before.mark, None, Tally(), None)
    assert (after.page, after.done, after.saved, after.unsaved) == (None, 0, 0, 0)


def test_a_walk_with_a_single_item_has_begun() -> None:
    assert Mark(walk=1, under_way=True, position=1).has_begun
    assert not Mark(walk=1, under_way=True).has_begun
    assert not Mark(walk=1, position=1).has_begun


def test_an_item_that_was_skipped_whole_is_left_alone() -> None:
    fetched = new().fetched(("a", "b", "c"), next_cursor="3", end=End.MORE, invalid=frozenset({2}))
    skipped = Known(skipped=True)
    undecoded = attrs.evolve(skipped, undecoded=True)

    page = fetched.looked_up({"a": skipped, "b": undecoded, "c": undecoded}).page

    assert page is not None
    assert [entry.status for entry in page.entries] == [
        Status.SKIPPED_BEFORE, Status.NEW, Status.SKIPPED_BEFORE,
    ]  # fmt: skip


def test_a_limit_on_items_counts_those_of_earlier_pages() -> None:
    first = new(Rules(max_items=4)).fetched(("a", "b", "c"), next_cursor="3", end=End.MORE)
    stored = first.looked_up({})

    second = stored.committed(stored.save()).fetched(("d", "e"), next_cursor="5", end=End.MORE)
    limited = second.looked_up({})

    assert limited.page is not None
    assert (limited.page.limit, limited.done) == (1, 1)


@pytest.mark.parametrize(("count", "is_sighted"), [(19, False), (20, True), (21, True)])
@pytest.mark.parametrize("first", [(), ("new",)], ids=["at the top", "below something new"])
def test_twenty_ids_in_the_order_of_the_last_listing_are_a_sighting(
    count: int, is_sighted: bool, first: tuple[str, ...]
) -> None:
    known = {str(n): Known(stored=True, walk=1, position=n) for n in range(count)}

    run, sighting = recognise((*first, *known), known, 2, Run())

    assert run == Run(count, (1, count - 1))
    assert (sighting == Sighting((1, 19), 19)) is is_sighted
    assert (sighting is not None) is is_sighted


def test_a_reset_time_is_believed_within_a_window_and_its_slack() -> None:
    assert believable(1e9, now=100.0) == 100.0 + WINDOW_S + PAUSE_SLACK_S
    assert believable(50.0, now=100.0) == 100.0
    assert believable(150.0, now=100.0) == 150.0


@pytest.mark.parametrize(("tail", "items", "barren"), [(3, 1, 0), (1, 2, 0), (0, 2, 1), (3, 0, 1)])
def test_only_pages_of_a_tail_that_is_walked_again_count_for_no_loop(
    tail: int, items: int, barren: int
) -> None:
    mark = Mark(walk=1, under_way=True, cursor="a", tail=tail)

    verdict = page_of(mark, items=items, unseen=0, next_cursor="b")

    assert verdict.mark.barren == barren


@pytest.mark.parametrize(("missing", "ended"), [(19, Reason.CAUGHT_UP), (20, None)])
def test_twenty_ids_missing_above_a_sighting_forbid_the_early_stop(
    missing: int, ended: Reason | None
) -> None:
    known = {str(n): Known(stored=True, walk=1, position=n) for n in range(25)}
    second = begin(checkpoint(Mark(walk=1)), rules=Rules(), ordinal=2)
    sighted = second.fetched(tuple(known), next_cursor="c", end=End.MORE).looked_up(known)
    assert sighted.page is not None
    assert sighted.page.sighting is not None

    page = sighted.sighted(sighted.page.sighting.above_on_page + missing).page

    assert page is not None
    assert page.verdict is not None
    assert page.verdict.ended is ended


def test_a_session_begins_with_nothing_counted_and_nothing_to_be_tried_again() -> None:
    progress = new()

    assert list(attrs.asdict(Counters()).values()) == [0, 0, 0, 0, 0, 0, 0, 0, {}]
    assert not progress.redo
    fetched = progress.fetched(("a",), next_cursor="1", end=End.MORE)
    assert fetched.page is not None
    assert fetched.page.limit == 0


@pytest.mark.parametrize("has_handler", [True, False])
def test_a_run_of_skips_is_too_long_at_its_last_skip(has_handler: bool) -> None:
    rules = Rules(max_skips_in_a_row=3, has_handler=has_handler)
    keys = ("a", "b", "c", "d")
    page = new(rules).fetched(keys, next_cursor="4", end=End.MORE, invalid=frozenset(range(4)))

    two = page.looked_up({}).skipped(0).skipped(1)
    three = two.skipped(2)

    assert (two.skip_run, two.fault) == (("a", "b"), None)
    assert (three.skip_run, three.fault) == (("a", "b", "c"), Reason.TOO_MANY_SKIPS)


def test_skips_of_items_that_are_tried_again_are_no_run() -> None:
    progress = begin(None, rules=Rules(max_skips_in_a_row=2), ordinal=2, due_skips=3)
    again = progress.fetched_skipped(("a", "b", "c"), invalid=frozenset(range(3))).looked_up({})

    assert (again.done, again.saved) == (0, 0)

    skipped = again.skipped(0).skipped(1).skipped(2)

    assert (skipped.skip_run, skipped.fault) == ((), None)


def test_how_far_the_last_listing_was_recognised_is_kept_within_a_walk() -> None:
    known = {str(n): Known(stored=True, walk=1, position=n) for n in range(3)}
    second = begin(checkpoint(Mark(walk=1)), rules=Rules(), ordinal=2)

    page = second.fetched(tuple(known), next_cursor="c", end=End.MORE).looked_up(known)
    save = page.save()

    assert page.committed(save).run == Run(3, (1, 2))
    other_walk = attrs.evolve(save, mark=save.mark.next_walk(None))
    assert page.committed(other_walk).run == Run()


def test_a_refused_cursor_leaves_nothing_of_its_page() -> None:
    mark = Mark(walk=1, under_way=True, cursor="c", position=9)
    page = begin(checkpoint(mark), rules=Rules(), ordinal=2).fetched(
        ("a", "b"), next_cursor="d", end=End.MORE
    )

    again = page.looked_up({}).cursor_refused()

    assert again is not None
    assert (again.page, again.done, again.saved) == (None, 0, 0)
    assert (again.mark.walk, again.mark.cursor, again.mark.refused) == (2, None, True)


def test_a_walk_is_over_only_with_the_commit_that_finishes_the_crawl() -> None:
    page = new().fetched(("a",), next_cursor=None, end=End.VERIFIED).looked_up({})

    assert page.save().mark.under_way
    assert not page.save(finishing=True).mark.under_way


def test_no_place_stands_above_itself() -> None:
    assert stands_above((2, 5), (1, 0))
    assert stands_above((1, 4), (1, 5))
    assert not stands_above((1, 5), (1, 5))
    assert not stands_above((1, 0), (2, 5))


def test_the_numbers_of_the_document_are_the_defaults() -> None:
    assert (Rules().checkpoint_every, Rules().max_skips_in_a_row) == (10, 50)
    assert (WINDOW_S, PAUSE_SLACK_S, MIN_PAUSE_S, MAX_BACKOFF_S) == (900.0, 60.0, 1.0, 86_400.0)


def test_what_is_not_said_is_the_ordinary_case() -> None:
    row = JournalRow(1, 0.0, "cancel", "a", "b", None, None, 0.0, 0, 0, {}, "x")

    assert not row.absorbed
    assert ErrorFacts(ErrorCategory.NETWORK, Reason.TIMEOUT).tries == 0
    assert not Progress(rules=Rules(), mark=Mark(), ordinal=1).redo
    assert not any([*attrs.astuple(Known()), *attrs.astuple(Mark())])
    assert (Facts(now=1.0).delay_s, Facts(now=1.0).tries_allowed) == (0.0, 5)
    assert checkpoint(Mark()).generation == 0
    assert not Mark().next_walk(None).refused
    assert Run() == Run(0, None)
    strategy = RecoveryStrategy(ErrorAction.SKIP, 0.0, "", True, ErrorCategory.VALIDATION)
    assert not strategy.graceful_shutdown


def test_each_item_counts_once_and_in_one_way() -> None:
    statuses = (
        Status.NEW, Status.NEW, Status.NEW, Status.KNOWN, Status.KNOWN, Status.SKIPPED,
    )  # fmt: skip
    entries = [Entry(str(n), status, n, True) for n, status in enumerate(statuses)]
    repeated = Entry("0", Status.REPEATED, None, False)

    assert count(Tally(), (*entries, repeated)) == Tally(6, 3, 2, 1, 4)


def test_a_table_is_named_by_16_digits() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", DEFAULT_SPEC.fingerprint)


SESSION = SessionRecord(
    session_id="s",
    crawl=CrawlKey("me", "x"),
    ordinal=1,
    value=SessionValue(),
    counters=Counters(),
    fence=1,
    revision=0,
    owner=None,
    lease_until=100.0,
    cancel_wish=None,
    resumed_from=None,
    message="",
    durable=True,
    started_at=100.0,
    updated_at=100.0,
    ended_at=None,
)


@pytest.mark.parametrize(
    ("lease_until", "steps", "only_asked_for"),
    [(99.0, 0, True), (100.0, 0, True), (101.0, 0, False), (100.0, 1, False)],
)
def test_a_session_without_a_lease_and_a_step_was_only_asked_for(
    lease_until: float, steps: int, only_asked_for: bool
) -> None:
    session = attrs.evolve(SESSION, lease_until=lease_until, value=SessionValue(seq=steps))

    assert session.is_only_asked_for == only_asked_for


@pytest.mark.parametrize(
    ("wish", "unwanted"),
    [(None, False), (Reason.SIGNAL, False), (Reason.STOPPED_BY_USER, True), ("my own", True)],
)
def test_whose_end_somebody_asked_for_is_unwanted_unless_a_process_stops(
    wish: str | None, unwanted: bool
) -> None:
    assert attrs.evolve(SESSION, cancel_wish=wish).is_unwanted == unwanted


@pytest.mark.parametrize("taken_over", [False, True])
@pytest.mark.parametrize("resumed_from", [None, "before"])
def test_a_claim_goes_on_with_progress_of_its_own_session_or_of_the_one_before(
    resumed_from: str | None, taken_over: bool
) -> None:
    claim = Claim(
        session=attrs.evolve(SESSION, resumed_from=resumed_from),
        checkpoint=None,
        taken_over=taken_over,
        closed_until=None,
        due_skips=0,
    )

    assert claim.is_resumed == (taken_over or resumed_from is not None)
    assert not claim.was_only_asked_for
