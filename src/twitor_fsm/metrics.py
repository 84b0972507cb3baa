"""Metrics for Prometheus: counted from the events of sessions, and read from queues when somebody scrapes.

The only importer of prometheus-client. An observer like any other: nothing here can stop, slow or change a crawl.
Must not know: how a scrape arrives (`probes.py`).
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Final

import attrs

from .core.records import Counters
from .core.states import DEFAULT_SPEC, Kind, State
from .core.taxonomy import ErrorAction, ErrorCategory, Reason
from .errors import ConfigurationError, QueueError
from .events import CheckpointSaved, ErrorSeen, Event, SessionEnded, SessionStarted, Transition

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily

    from .queue_manager import QueueHealth, QueueManager

__all__ = ["PrometheusMetrics", "process_registry"]

READ_S: Final = 2.0
"""How long a queue may take to answer a scrape, seconds; Prometheus itself gives up after 10."""

FRESH_S: Final = 1.0
"""A reading of a queue that is younger serves another scrape, seconds."""

BUCKETS_S: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0)
"""Of the time that a session runs in this process, seconds: 900 is one window of the X API."""

LOST: Final = "lost"
"""How a run ends whose session another process took over: no state of the machine."""


@attrs.define
class _Run:
    """A session that runs in this process."""

    state: str
    counters: Counters
    started_at: float
    runs: int = 1
    """Two while a run that lost its lease has not noticed that this process took its session over."""


class PrometheusMetrics:
    """Counts what sessions do, for Prometheus.

        engine = CrawlEngine(database, observers=[PrometheusMetrics()])

    One object serves any number of engines. Labels are words of closed lists: no user, session or item ever is one.
    All names: docs/metrics.md.
    """

    def __init__(self, registry: "CollectorRegistry | None" = None) -> None:
        """Register all metrics.

        Args:
            registry: Where; None takes the registry of prometheus-client that exporters use by default.

        Raises:
            ConfigurationError: The extra is missing, or this registry has these metrics already.
        """
        with _needs_extra():
            from prometheus_client import REGISTRY
        self.registry: Final = registry if registry is not None else REGISTRY
        self._queues: Final = _Queues()
        self._runs: Final[dict[str, _Run]] = {}
        try:
            self._register()
        except ValueError as exc:
            raise ConfigurationError(
                "this registry has the metrics of twitor_fsm already; nothing was changed. "
                "Hand one PrometheusMetrics to all engines, or use a registry of its own"
            ) from exc

    def _register(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        to = self.registry
        to.register(self._queues)
        self._errors = Counter(
            "twitor_errors", "Errors that sessions met.", ["category"], registry=to
        )
        self._retries = Counter(
            "twitor_retries", "Operations that are tried again after a failure.", registry=to
        )
        self._checkpoint_saves = Counter(
            "twitor_checkpoint_saves", "Transactions that saved progress.", registry=to
        )
        self._checkpoint_at = Gauge(
            "twitor_checkpoint_last_save_timestamp_seconds",
            "When progress was last saved, epoch seconds; 0 if it was not yet.",
            registry=to,
        )
        self._items = Counter(
            "twitor_items", "Items dealt with, by what became of them.", ["outcome"], registry=to
        )
        self._requests = Counter("twitor_requests", "Requests to sources.", registry=to)
        self._fetched = Counter(
            "twitor_items_fetched", "Items that services counted, and may bill.", registry=to
        )
        self._transitions = Counter(
            "twitor_transitions",
            "Steps that sessions took.",
            ["trigger", "from_state", "to_state"],
            registry=to,
        )
        self._sessions = Gauge(
            "twitor_sessions", "Sessions that run in this process.", ["state"], registry=to
        )
        self._ended = Counter(
            "twitor_session_runs", "Sessions that ended or left here.", ["state"], registry=to
        )
        self._run_s = Histogram(
            "twitor_session_run_seconds",
            "How long a session ran in this process.",
            buckets=BUCKETS_S,
            registry=to,
        )
        self._lease_losses = Counter(
            "twitor_lease_losses", "Sessions that another process took over.", registry=to
        )
        self._show_zeros()

    def _show_zeros(self) -> None:
        """A series that appears with its first error has no rate to alert on: all known ones are there from the start."""
        for category in ErrorCategory:
            self._errors.labels(category)
        for outcome in ("stored", "already_known", "skipped"):
            self._items.labels(outcome)
        for state, kind in DEFAULT_SPEC.kinds.items():
            if kind is Kind.FINAL:
                self._ended.labels(state)
            else:
                self._sessions.labels(state)
        for state in (State.PAUSED_RATE_LIMIT, LOST):
            self._ended.labels(state)

    # -- events -----------------------------------------------------------------------------------

    def __call__(self, event: Event) -> None:
        """Take one event: what an engine calls."""
        match event:
            case SessionStarted():
                self._started(event)
            case Transition():
                self._stepped(event)
            case ErrorSeen() if event.reason != Reason.CLOSED_UNTIL:  # foreseen, no error
                self._errors.labels(event.category).inc()
                if event.action is ErrorAction.RETRY:
                    self._retries.inc()
            case CheckpointSaved():
                self._checkpoint_saves.inc()
                self._checkpoint_at.set(event.at)
                self._count(event.session_id, event.counters)
            case SessionEnded():
                self._count(event.session_id, event.counters)
                self._leave(event)
            case _:
                pass

    def _started(self, event: SessionStarted) -> None:
        known = self._runs.get(event.session_id)
        if known is not None:
            known.runs += 1
            return
        self._runs[event.session_id] = _Run(event.state, event.counters, event.at)
        self._sessions.labels(event.state).inc()

    def _stepped(self, event: Transition) -> None:
        row, run = event.row, self._runs.get(event.session_id)
        self._transitions.labels(row.trigger, row.source, row.target).inc()
        if run is not None and run.state != row.target:
            self._sessions.labels(run.state).dec()
            self._sessions.labels(row.target).inc()
            run.state = str(row.target)

    def _count(self, session_id: str, now: Counters) -> None:
        """What came on top since the last time: a session's counts begin before this process."""
        run = self._runs.get(session_id)
        if run is None:
            return
        before = run.counters
        for outcome in ("stored", "already_known", "skipped"):
            more = getattr(now, outcome) - getattr(before, outcome)
            self._items.labels(outcome).inc(max(0, more))
        self._requests.inc(max(0, now.requests - before.requests))
        self._fetched.inc(max(0, now.items_fetched - before.items_fetched))
        if now.seen >= before.seen:
            run.counters = now

    def _leave(self, event: SessionEnded) -> None:
        if event.lost:
            self._lease_losses.inc()
        self._ended.labels(LOST if event.lost else event.state).inc()
        run = self._runs.get(event.session_id)
        if run is None:
            return
        run.runs -= 1
        if not run.runs:
            del self._runs[event.session_id]
            self._sessions.labels(run.state).dec()
            self._run_s.observe(max(0.0, event.at - run.started_at))

    # -- queues and scrapes -----------------------------------------------------------------------

    def watch(self, queue: "QueueManager") -> None:
        """Show a queue's size, dead letters and health too, read when somebody scrapes.

        Call it in the event loop that the queue is used in. A scrape on another thread waits for a fresh reading, 2 s at
        most; one on the loop's own thread gets the latest, since it cannot wait. `exposition` is always fresh.
        """
        self._queues.add(queue)

    async def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics of the registry as text, with fresh readings of the queues.

        Args:
            accept: The request's Accept header: OpenMetrics or the older text format.

        Returns:
            The body and its content type.
        """
        from prometheus_client.exposition import choose_encoder

        await self._queues.read_all()
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


def process_registry() -> "CollectorRegistry":
    """A registry of its own that holds what is known of this process: memory, CPU, files, garbage collection."""
    with _needs_extra():
        from prometheus_client import (
            CollectorRegistry,
            GCCollector,
            PlatformCollector,
            ProcessCollector,
        )
    registry = CollectorRegistry()
    for collector in (GCCollector, PlatformCollector, ProcessCollector):
        collector(registry=registry)
    return registry


@contextlib.contextmanager
def _needs_extra() -> Iterator[None]:
    """Turn the missing library into the line to run."""
    try:
        yield
    except ModuleNotFoundError as exc:
        raise ConfigurationError(
            f"{exc.name} is not installed; nothing was started. "
            'Run: pip install "twitor-fsm[metrics]"'
        ) from exc


@attrs.frozen
class _Reading:
    """What a queue said; None where it said nothing."""

    health: "QueueHealth | None"
    is_paused: bool | None


class _Reader:
    """Reads one queue, one reading at a time whoever asks."""

    def __init__(self, queue: "QueueManager") -> None:
        self.queue: Final = queue
        self._loop: Final = asyncio.get_running_loop()
        self._thread: Final = threading.get_ident()
        self._asking: asyncio.Task[_Reading] | None = None
        self._read_at = 0.0
        self.latest: _Reading | None = None

    async def read(self) -> _Reading:
        """A reading that is fresh."""
        if self.latest is not None and self._loop.time() - self._read_at < FRESH_S:
            return self.latest
        return await asyncio.shield(self._ask())

    def _ask(self) -> "asyncio.Task[_Reading]":
        if self._asking is None or self._asking.done():
            self._asking = self._loop.create_task(self._answer())
        return self._asking

    async def _answer(self) -> _Reading:
        health: QueueHealth | None = None
        is_paused: bool | None = None
        with contextlib.suppress(TimeoutError, QueueError):
            async with asyncio.timeout(READ_S):
                health = await self.queue.health_check()
                if health["status"] == "healthy":
                    is_paused = await self.queue.is_paused()
        self.latest, self._read_at = _Reading(health, is_paused), self._loop.time()
        return self.latest

    def from_anywhere(self) -> _Reading | None:
        """The reading for a scrape on this thread, whichever it is; None if there is none yet."""
        if threading.get_ident() != self._thread:
            return self._from_another_thread()
        if self._loop.time() - self._read_at >= FRESH_S:
            _ = self._ask()  # for the next scrape
        return self.latest

    def _from_another_thread(self) -> _Reading:
        reading = self.read()
        try:
            waiting = asyncio.run_coroutine_threadsafe(reading, self._loop)
        except RuntimeError:  # the loop is closed
            reading.close()
            return _Reading(None, None)
        try:
            return waiting.result(READ_S + 1.0)
        except (TimeoutError, CancelledError):  # the loop is stuck, or ends
            waiting.cancel()
            return _Reading(None, None)


class _Queues:
    """The gauges of all watched queues: a collector of prometheus-client."""

    def __init__(self) -> None:
        self._readers: Final[list[_Reader]] = []

    def add(self, queue: "QueueManager") -> None:
        if any(reader.queue.queue_name == queue.queue_name for reader in self._readers):
            raise ConfigurationError(
                f"queue {queue.queue_name!r} is watched already; nothing was changed"
            )
        self._readers.append(_Reader(queue))

    async def read_all(self) -> None:
        await asyncio.gather(*(reader.read() for reader in self._readers))

    def describe(self) -> Iterable["GaugeMetricFamily"]:
        """Names, for the registry."""
        return _families().values()

    def collect(self) -> Iterator["GaugeMetricFamily"]:
        """Values, whenever somebody scrapes."""
        families = _families()
        for reader in self._readers:
            reading = reader.from_anywhere()
            for name, value in _values(reading).items() if reading is not None else ():
                families[name].add_metric([reader.queue.queue_name], value)
        yield from families.values()


def _families() -> "dict[str, GaugeMetricFamily]":
    from prometheus_client.core import GaugeMetricFamily

    return {
        name: GaugeMetricFamily(f"twitor_{name}", what, labels=["queue"])
        for name, what in {
            "queue_up": "Whether Valkey answers for this queue (1 or 0).",
            "queue_size": "Tasks that wait to be taken now.",
            "queue_in_flight": "Tasks that workers have in hand.",
            "queue_delayed": "Tasks that wait for their time: pauses, retries, delays.",
            "queue_oldest_task_age_seconds": "How long the oldest waiting task has waited.",
            "queue_paused": "Whether nothing is handed out until it is resumed (1 or 0).",
            "dead_letters": "Tasks that failed for good and are kept to be looked at.",
        }.items()
    }


def _values(reading: _Reading) -> dict[str, float]:
    """By name, what is known."""
    health = reading.health
    if health is None or health["status"] != "healthy":
        return {"queue_up": 0.0}
    known = {
        "queue_up": 1.0,
        "queue_size": health["queue_size"],
        "queue_in_flight": health["in_flight"],
        "queue_delayed": health["delayed"],
        "queue_oldest_task_age_seconds": health["oldest_s"],
        "queue_paused": reading.is_paused,
        "dead_letters": health["dead_letter_size"],
    }
    return {name: float(value) for name, value in known.items() if value is not None}
