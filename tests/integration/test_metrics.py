"""Metrics of real crawls and a real Valkey: what is counted is what the reports say, and a scrape never waits for long."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from scripted import ids
from valkey_server import QueueNames, Server, until

from twitor_fsm.config import Settings
from twitor_fsm.core.records import Counters
from twitor_fsm.core.states import State
from twitor_fsm.core.taxonomy import ErrorCategory
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import (
    AuthenticationFailed,
    ConfigurationError,
    RateLimited,
    SourceUnavailable,
    StoreUnavailable,
)
from twitor_fsm.events import CheckpointSaved, ErrorSeen, Event, SessionStarted
from twitor_fsm.metrics import PrometheusMetrics, process_registry
from twitor_fsm.queue_manager import QueueHealth, QueueManager
from twitor_fsm.report import CrawlReport
from twitor_fsm.storage.base import Batch
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing import ListSource, VirtualClock

Sums = Counter[str]


@pytest.fixture
def metrics() -> PrometheusMetrics:
    return PrometheusMetrics(CollectorRegistry())


@pytest.fixture
async def engine(
    db: str, clock: VirtualClock, metrics: PrometheusMetrics
) -> AsyncIterator[CrawlEngine]:
    async with CrawlEngine(db, settings=Settings(), clock=clock, observers=[metrics]) as engine:
        yield engine


def value(metrics: PrometheusMetrics, name: str, **labels: str) -> float | None:
    found: float | None = metrics.registry.get_sample_value(f"twitor_{name}", labels)
    return found


def by_label(metrics: PrometheusMetrics, name: str, label: str) -> dict[str, float]:
    """Values above zero, by a label."""
    found: Counter[str] = Counter()
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.name == f"twitor_{name}" and sample.value:
                found[sample.labels[label]] += sample.value  # type: ignore[assignment]
    return dict(found)


def assert_counts(metrics: PrometheusMetrics, reports: list[CrawlReport]) -> None:
    """All counts agree with the sums of the reports."""
    errors: Counter[str] = Counter()
    for report in reports:
        errors.update(report.counters.errors)

    def total(name: str) -> int:
        return sum(getattr(report.counters, name) for report in reports)

    assert by_label(metrics, "errors_total", "category") == dict(errors)
    outcomes = {name: total(name) for name in ("stored", "already_known", "skipped")}
    assert by_label(metrics, "items_total", "outcome") == {k: v for k, v in outcomes.items() if v}
    assert value(metrics, "retries_total") == total("retries")
    assert value(metrics, "requests_total") == total("requests")
    assert value(metrics, "items_fetched_total") == total("items_fetched")
    ends = Counter(report.state for report in reports)
    assert by_label(metrics, "session_runs_total", "state") == dict(ends)
    assert by_label(metrics, "sessions", "state") == {}, "nothing runs any more"


async def test_what_is_counted_is_what_the_reports_say(
    engine: CrawlEngine, clock: VirtualClock, metrics: PrometheusMetrics
) -> None:
    shaky = ListSource(
        ids(100),
        script={1: SourceUnavailable("no route"), 3: RateLimited(clock.now() + 60)},
        bad={ids(100)[50]},
    )
    refused = ListSource(ids(40), script={2: AuthenticationFailed("revoked")})
    down = ListSource(ids(5), script={n: SourceUnavailable("no route") for n in range(1, 9)})
    foreseen = ListSource(
        ids(60), closed_until=lambda request: clock.now() + 60 if request == 1 else None
    )
    reports = [
        await engine.crawl(shaky, user_id="1"),
        await engine.crawl(shaky, user_id="1"),
        await engine.crawl(refused, user_id="2"),
        await engine.crawl(down, user_id="3"),
        await engine.crawl(foreseen, user_id="4"),
    ]
    assert [report.state for report in reports] == [
        State.COMPLETED,
        State.COMPLETED,
        State.ABORTED,
        State.ABORTED,
        State.COMPLETED,
    ]
    assert (reports[-1].counters.pauses, reports[-1].counters.errors) == (1, {}), (
        "foreseen, no error"
    )
    assert_counts(metrics, reports)
    assert value(metrics, "errors_total", category="VALIDATION") == 1
    assert value(metrics, "errors_total", category="RATE_LIMIT") == 1
    assert value(metrics, "errors_total", category="FATAL") == 0, "there before it happens"


async def test_transitions_and_saved_checkpoints_are_those_of_the_journal(
    db: str, clock: VirtualClock, metrics: PrometheusMetrics
) -> None:
    saves: list[Event] = []

    def see(event: Event) -> None:
        if isinstance(event, CheckpointSaved):
            saves.append(event)

    source = ListSource(ids(60), script={2: SourceUnavailable("no route")})
    async with CrawlEngine(
        db, settings=Settings(), clock=clock, observers=[metrics, see]
    ) as engine:
        report = await engine.crawl(source, user_id="me")
        journal = await engine.journal(report.session_id)
    steps = Counter((row.trigger, str(row.source), str(row.target)) for row in journal)
    assert ("network_failed", "running", "retrying") in steps
    for (trigger, source_state, target), number in steps.items():
        labels = {"trigger": trigger, "from_state": source_state, "to_state": target}
        assert value(metrics, "transitions_total", **labels) == number
    assert sum(by_label(metrics, "transitions_total", "trigger").values()) == len(journal)
    assert value(metrics, "checkpoint_saves_total") == len(saves) > 0
    assert value(metrics, "checkpoint_last_save_timestamp_seconds") == saves[-1].at


async def test_sessions_are_shown_by_state_while_they_run(
    engine: CrawlEngine, clock: VirtualClock, metrics: PrometheusMetrics
) -> None:
    seen: list[dict[str, float]] = []

    async def handler(_item: object, _fence: int) -> None:
        seen.append(by_label(metrics, "sessions", "state"))

    def look(event: Event) -> None:
        if isinstance(event, ErrorSeen):
            clock.time += 1.0  # time passes, so that a run has a length

    down: dict[int, BaseException] = {1: SourceUnavailable("no route")}
    await engine.crawl(
        ListSource(ids(2), script=down), user_id="me", handler=handler, observers=[look]
    )
    assert seen == [{"running": 1}, {"running": 1}]
    assert by_label(metrics, "sessions", "state") == {}
    assert value(metrics, "session_run_seconds_count") == 1
    assert (value(metrics, "session_run_seconds_sum") or 0) >= 1.0


async def test_a_session_that_goes_on_here_counts_only_what_is_new(
    db: str, clock: VirtualClock, metrics: PrometheusMetrics
) -> None:
    source = ListSource(ids(100), script={3: RateLimited(clock.now() + 60)})
    async with CrawlEngine(db, settings=Settings(), clock=clock) as before:
        first = await before.crawl(source, user_id="me", wait=False)
    assert (first.state, first.counters.stored) == (State.PAUSED_RATE_LIMIT, 40)
    async with CrawlEngine(db, settings=Settings(), clock=clock, observers=[metrics]) as engine:
        report = await engine.crawl(source, user_id="me")
    assert (report.session_id, report.counters.stored) == (first.session_id, 100)
    assert value(metrics, "items_total", outcome="stored") == 60
    assert value(metrics, "requests_total") == report.counters.requests - first.counters.requests


def test_an_older_count_that_comes_late_is_not_counted_again(metrics: PrometheusMetrics) -> None:
    """As of a run that lost its lease and ends after the one that took it over here."""
    said: dict[str, Any] = {"session_id": "s", "at": 1.0}
    metrics(SessionStarted(**said, user_id="me", source="x", state="running", resumed=False))
    for stored in (10, 4, 12):
        counters = Counters(seen=stored, stored=stored)
        metrics(CheckpointSaved(**said, counters=counters, last_tweet_id=None, position=stored))

    assert value(metrics, "items_total", outcome="stored") == 12


async def test_a_lost_session_is_a_lease_loss_and_not_an_end(
    engine: CrawlEngine, clock: VirtualClock, metrics: PrometheusMetrics
) -> None:
    go_on = asyncio.Event()
    begun = asyncio.Event()

    async def handler(_item: object, _fence: int) -> None:
        begun.set()
        await go_on.wait()

    old = await engine.start(ListSource(ids(3)), user_id="me", handler=handler)
    await begun.wait()
    clock.time += 100.0  # its lease is over
    new = await engine.start(ListSource(ids(3)), user_id="me")
    report = await new.wait()
    assert by_label(metrics, "sessions", "state") == {"completed": 1}, "the old run is not over"
    go_on.set()
    assert (await old.wait()).lost
    assert report.state == State.COMPLETED
    assert value(metrics, "lease_losses_total") == 1
    assert by_label(metrics, "session_runs_total", "state") == {"completed": 1, "lost": 1}
    assert by_label(metrics, "sessions", "state") == {}
    assert value(metrics, "items_total", outcome="stored") == 3


async def test_an_error_of_the_store_and_a_bug_are_counted_too(
    db: str, clock: VirtualClock, metrics: PrometheusMetrics
) -> None:
    class Full(SqlStore):
        async def commit(self, batch: Batch) -> str | None:
            if batch.new:
                raise StoreUnavailable("the disk is full", retryable=False)
            return await super().commit(batch)

    def buggy(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    async with CrawlEngine(
        Full(db), settings=Settings(), clock=clock, observers=[metrics]
    ) as engine:
        full = await engine.crawl(ListSource(ids(5)), user_id="1")
    async with CrawlEngine(
        db,
        settings=Settings(),
        clock=clock,
        observers=[metrics],
        policy=buggy,  # type: ignore[arg-type]
    ) as engine:
        down = ListSource(ids(5), script={1: SourceUnavailable("no route")})
        bug = await engine.crawl(down, user_id="2")
    assert (full.category, bug.category) == (ErrorCategory.DATABASE, ErrorCategory.FATAL)
    assert_counts(metrics, [full, bug])


async def test_no_label_names_a_user_a_session_or_an_item(
    engine: CrawlEngine, metrics: PrometheusMetrics, names: QueueNames
) -> None:
    async with QueueManager(names.url, names.name, settings=Settings()) as queue:
        metrics.watch(queue)
        source = ListSource(ids(30), bad={ids(30)[3]})
        report = await engine.crawl(source, user_id="user-4711")
        engine_says = await metrics.exposition()
    text = engine_says[0].decode()
    allowed = {"category", "outcome", "state", "trigger", "from_state", "to_state", "le", "queue"}
    labels = {
        label
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        for label in sample.labels
    }
    assert labels == allowed
    assert "user-4711" not in text
    assert report.session_id not in text


def test_a_registry_takes_one_and_the_hosts_metrics_stay() -> None:
    registry = process_registry()
    PrometheusMetrics(registry)
    with pytest.raises(ConfigurationError, match="has the metrics of twitor_fsm already"):
        PrometheusMetrics(registry)
    assert b"process_resident_memory_bytes" in generate_latest(registry)


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ("prometheus_client", "from twitor_fsm import PrometheusMetrics; PrometheusMetrics()"),
        ("prometheus_client", "from twitor_fsm.metrics import process_registry as p; p()"),
        (
            "h11",
            "import asyncio, twitor_fsm.small_http as s; asyncio.run(s.SmallServer({}).start('x', 0))",
        ),
    ],
)
def test_a_missing_extra_is_told_with_the_line_to_run(missing: str, code: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ConfigurationError: " in done.stderr
    assert (
        'is not installed; nothing was started. Run: pip install "twitor-fsm[metrics]"'
        in done.stderr
    )


# -- queues ---------------------------------------------------------------------------------------


def queue_values(text: bytes) -> dict[str, float]:
    return {
        family.name.removeprefix("twitor_"): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if "queue" in sample.labels
    }


async def test_a_queue_is_read_when_somebody_scrapes(
    names: QueueNames, metrics: PrometheusMetrics
) -> None:
    async with QueueManager(names.url, names.name, settings=Settings()) as queue:
        metrics.watch(queue)
        await queue.enqueue_many([("x", {})] * 4)
        await queue.enqueue("x", {}, delay=60)
        task = await queue.dequeue(timeout=0)
        assert task is not None
        other = await queue.dequeue(timeout=0)
        assert other is not None
        await queue.reject(other)
        await queue.pause()
        text, content_type = await metrics.exposition()
        read = queue_values(text)
        assert read.pop("queue_oldest_task_age_seconds") >= 0
        assert read == {
            "queue_up": 1,
            "queue_size": 2,
            "queue_in_flight": 0,
            "queue_delayed": 1,
            "queue_paused": 1,
            "dead_letters": 1,
        }
        assert content_type.startswith("text/plain; version=0.0.4")
        openmetrics, content_type = await metrics.exposition("application/openmetrics-text")
        assert openmetrics.endswith(b"# EOF\n")
        assert content_type.startswith("application/openmetrics-text")
        with pytest.raises(ConfigurationError, match="is watched already"):
            metrics.watch(queue)
    names.may_be_left |= names.left()


async def test_a_scrape_says_that_valkey_is_away(
    own_server: Server, metrics: PrometheusMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twitor_fsm.metrics.FRESH_S", 0.0)
    async with QueueManager(own_server.url, settings=Settings()) as queue:
        metrics.watch(queue)
        assert queue_values((await metrics.exposition())[0])["queue_up"] == 1
        own_server.stop()
        assert queue_values((await metrics.exposition())[0]) == {"queue_up": 0}
        own_server.start()
        assert queue_values((await metrics.exposition())[0])["queue_up"] == 1


async def test_a_scrape_outlasts_a_server_that_hangs_and_the_loop_goes_on(
    own_server: Server, metrics: PrometheusMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twitor_fsm.metrics.READ_S", 0.2)
    monkeypatch.setattr("twitor_fsm.metrics.FRESH_S", 0.0)
    asked: list[int] = []
    async with QueueManager(own_server.url, settings=Settings()) as queue:
        health_check = queue.health_check

        async def counted() -> QueueHealth:
            asked.append(1)
            return await health_check()

        monkeypatch.setattr(queue, "health_check", counted)
        metrics.watch(queue)
        process = own_server._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        scrapes = [asyncio.create_task(metrics.exposition()) for _ in range(20)]
        turns = 0
        while not all(scrape.done() for scrape in scrapes):
            await asyncio.sleep(0)
            turns += 1
        assert turns > 3, "the loop has gone on"  # 1 where a scrape blocks it
        assert {queue_values(scrape.result()[0])["queue_up"] for scrape in scrapes} == {0}
        assert asked == [1], "twenty scrapes are one question"
        process.send_signal(signal.SIGCONT)
        assert queue_values((await metrics.exposition())[0])["queue_up"] == 1


async def test_a_scrape_does_not_wait_for_an_answer_that_never_comes(
    names: QueueNames, metrics: PrometheusMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twitor_fsm.metrics.READ_S", 0.05)
    queue = QueueManager(names.url, names.name, settings=Settings())
    monkeypatch.setattr(queue, "health_check", asyncio.Event().wait)
    metrics.watch(queue)
    async with asyncio.timeout(20):
        text, _ = await metrics.exposition()
    assert queue_values(text) == {"queue_up": 0}


async def test_an_exporter_of_the_host_reads_the_queue_from_its_own_thread(
    names: QueueNames, metrics: PrometheusMetrics
) -> None:
    async with QueueManager(names.url, names.name, settings=Settings()) as queue:
        metrics.watch(queue)
        await queue.enqueue("x", {})
        text = await asyncio.to_thread(generate_latest, metrics.registry)
        assert queue_values(text)["queue_size"] == 1
        await queue.complete(await queue.dequeue(timeout=0))  # type: ignore[arg-type]
    names.may_be_left |= names.left()


async def test_an_exporter_on_the_loop_itself_gets_the_latest_reading(
    names: QueueNames, metrics: PrometheusMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twitor_fsm.metrics.FRESH_S", 0.0)
    async with QueueManager(names.url, names.name, settings=Settings()) as queue:
        metrics.watch(queue)
        assert queue_values(generate_latest(metrics.registry)) == {}, "nothing is known yet"
        await queue.enqueue("x", {})
        # It cannot wait: each scrape begins a reading for the next.
        await until(lambda: queue_values(generate_latest(metrics.registry)).get("queue_size") == 1)
        await queue.complete(await queue.dequeue(timeout=0))  # type: ignore[arg-type]
        await metrics.exposition()
    names.may_be_left |= names.left()


def test_a_scrape_after_the_loops_end_says_that_the_queue_is_not_reached(
    valkey_server: Server, metrics: PrometheusMetrics
) -> None:
    async def story() -> None:
        metrics.watch(QueueManager(valkey_server.url, "over", settings=Settings()))

    asyncio.run(story())
    result: list[bytes] = []
    other = threading.Thread(target=lambda: result.append(generate_latest(metrics.registry)))
    other.start()
    other.join()
    assert queue_values(result[0]) == {"queue_up": 0}
