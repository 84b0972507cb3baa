"""`twitor worker`: runs crawls from the queue until it is told to stop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from ..database import clear_name, database_of, file_of, make_engine, opened, refuse_memory, refused
from ..failures import ERROR_WORDS, Failure
from ..options import common
from ..queueing import place_of, queue_of, queue_settings
from ..sourcing import Wanted, source_of
from ..stopping import Stop, TimeLimit
from ..terminal import emit, say
from ..words import count, duration

if TYPE_CHECKING:
    from ...config import Settings
    from ...core.taxonomy import Reason
    from ...engine import CrawlEngine
    from ...events import Observer
    from ...metrics import PrometheusMetrics
    from ...probes import Probes
    from ...queue_manager import QueueManager
    from ...worker import Worker
    from ..working import WorkerVoice

SECTION = "Crawl"

DRAINING = (
    "stopping: nothing more is taken, running crawls save a checkpoint and go back to the queue "
    "(a second signal ends at once; the last checkpoints stand then)"
)

_INTERRUPTED: Final = 75


@attrs.frozen
class Plan:
    """What the command line and the settings say together."""

    settings: "Settings"
    db: str | None
    api_url: str | None
    concurrency: int


@click.command(short_help="Run crawls from the queue.")
@common
@click.option("--api-url", metavar="URL", help="Another address of the API, such as a simulator's.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    default=10,
    show_default=True,
    help="Crawls at once.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    metavar="PORT",
    help="Serve /metrics, /healthz and /readyz; 0 takes a free port.  [default: no port]",
)
@click.option("--metrics-host", metavar="HOST", help="Where to listen.  [default: 127.0.0.1]")
@click.option(
    "--drain-timeout",
    type=click.FloatRange(1, 86_400),
    metavar="SECONDS",
    help="How long an end may take after a signal.  [default: 30]",
)
@click.option(
    "-v", "--verbose", count=True, help="Show log records (-v INFO, -vv DEBUG) on stderr."
)
def command(
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    *,
    api_url: str | None,
    concurrency: int,
    metrics_port: int | None,
    metrics_host: str | None,
    drain_timeout: float | None,
    verbose: int,
) -> int:
    """Take crawls from the queue and run them, until SIGTERM, SIGINT or SIGHUP.

    Ask for crawls with `twitor enqueue crawl`. Any number of workers, on any number of machines, may
    share a queue and a database: each crawl has one owner at a time. A rate-limit pause holds no
    worker. Tokens come from TWITOR_TOKEN_DIR, by user id, else from X_BEARER_TOKEN: one user's.

    Ends with 0 after a signal, with 75 if that took longer than --drain-timeout, and if it drained by
    itself with 1 (memory or disk ran out) or 14 (the database is full).
    """
    with Stop(DRAINING) as stop:
        from ...clock import SystemClock
        from ..logging_setup import log_records
        from ..working import WorkerVoice

        settings = _settings(db, metrics_port, metrics_host, drain_timeout)
        stop.limit(_limit(settings, as_json=as_json))
        voice = WorkerVoice(SystemClock())
        with log_records(verbose=verbose, timed=True):
            drained_by = asyncio.run(_work(Plan(settings, db, api_url, concurrency), voice, stop))
        voice.tell_summary()
    code = 0
    if drained_by is not None:
        failure = _drained(drained_by)
        say(f"twitor: {failure.message}", colour="red")
        code = failure.exit_code
    if as_json:
        error = ERROR_WORDS.get(code)
        emit({"stopped": True, **voice.summary(), "error": error, "exit_code": code})
    return code


def _drained(reason: "Reason") -> Failure:
    from ...core.taxonomy import Reason

    return Failure(
        f"this worker has stopped by itself: {reason.replace('_', ' ')}; its crawls are in the queue, with their last "
        "checkpoints. Free what is used up and start it again",
        14 if reason is Reason.STORE_FULL else 1,
    )


def _settings(
    db: str | None, port: int | None, host: str | None, drain_timeout: float | None
) -> "Settings":
    settings = queue_settings(db)
    given: dict[str, Any] = {
        "metrics_port": port,
        "metrics_host": host,
        "drain_timeout_s": drain_timeout,
    }
    settings = attrs.evolve(
        settings, **{name: value for name, value in given.items() if value is not None}
    )
    # A handler may take a third of the time, so that its session can still save its checkpoint and clean up.
    grace_s = min(settings.cancel_grace_s, settings.drain_timeout_s / 3.0)
    return attrs.evolve(settings, cancel_grace_s=grace_s)


def _limit(settings: "Settings", *, as_json: bool) -> TimeLimit:
    seconds = settings.drain_timeout_s
    failure = Failure(
        f"not everything ended within {duration(seconds)}, so the process ended without it; the last checkpoints stand, "
        "and tasks in hand come again when their lease ends. Look for what hangs, or set a longer --drain-timeout",
        _INTERRUPTED,
    )
    return TimeLimit(seconds, failure, as_json)


async def _work(plan: Plan, voice: "WorkerVoice", stop: Stop) -> "Reason | None":
    """Work until a signal; returns what drained it, if something did."""
    from ...worker import Worker

    settings = plan.settings
    refuse_memory(database_of(plan.db, settings))
    source = source_of(Wanted(api_url=plan.api_url, many=True), settings)
    workers: list[Worker] = []

    def is_draining() -> bool:
        return stop.asked or any(worker.is_draining for worker in workers)

    async with (
        _port(settings, is_draining) as port,
        queue_of(plan.db, must_exist=False, lease_s=settings.lease_s) as queue,
    ):
        observers = (voice.observe, *((port.metrics,) if port else ()))
        if port is not None:
            port.metrics.watch(queue)
        while True:
            async with _ready(plan, observers, stop, port) as engine:
                if engine is None:
                    return None
                is_first = not workers
                worker = Worker(engine, queue, source, concurrency=plan.concurrency)
                workers[:] = [worker]
                stop.react(worker.stop)
                if port is not None:
                    port.probes.opened(engine, queue)
                await _tell_start(plan, queue, port)
                if is_first:
                    _warn_of_sqlite(settings.database_url)
                await _run(worker, voice, queue, stop, lease_s=settings.lease_s)
            if not worker.is_outdated or stop.asked:
                return worker.drained_by
            # The worker has closed its own.
            source = source_of(Wanted(api_url=plan.api_url, many=True), settings)


@asynccontextmanager
async def _ready(
    plan: Plan, observers: "Iterable[Observer]", stop: Stop, port: "Port | None"
) -> "AsyncIterator[CrawlEngine | None]":
    """An engine over the database, when its schema is this version's; None if a signal came first.

    A SQLite file is brought up here and now; on PostgreSQL that is done by `twitor db upgrade` alone.
    """
    settings = plan.settings
    database = database_of(plan.db, settings)
    if file_of(database) is not None:
        async with opened(
            plan.db, settings=settings, must_exist=False, observers=observers
        ) as engine:
            yield engine
        return
    from ...readiness import open_when_ready

    asked = asyncio.Event()
    stop.react(asked.set)
    engine = make_engine(database, settings, observers=observers)
    with refused(plan.db, database):
        on_wait = port.probes.waiting if port is not None else lambda _: None
        is_open = await open_when_ready(engine, stop=asked, on_wait=on_wait)
    try:
        yield engine if is_open else None
    finally:
        await engine.close()


async def _run(
    worker: "Worker", voice: "WorkerVoice", queue: "QueueManager", stop: Stop, *, lease_s: float
) -> None:
    async def drain_in_time() -> None:
        await worker.until_draining()  # perhaps by itself, without a signal
        if not worker.is_outdated:  # the process goes on
            stop.hurry()

    beside = [
        asyncio.create_task(voice.watch(queue, lease_s=lease_s)),
        asyncio.create_task(drain_in_time()),
    ]
    try:
        await worker.run()
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


def _warn_of_sqlite(database: str) -> None:
    """Once, not whenever the schema was brought up: other processes may have the same file."""
    from ..check_database import sqlite_warning

    warning = sqlite_warning(database)
    if warning is not None:
        say(f"warning: {warning}", colour="yellow")


async def _tell_start(plan: Plan, queue: "QueueManager", port: "Port | None") -> None:
    from ...errors import QueueError

    settings = plan.settings
    is_paused = False
    say(
        f"working: {count(plan.concurrency, 'crawl')} at once, from queue {queue.queue_name} at {place_of(settings)} "
        f"into {clear_name(settings.database_url)}; "
        f"{f'metrics and probes at {port.url}' if port else 'no port for metrics'}; "
        "stop with SIGTERM or Ctrl-C"
    )
    with suppress(QueueError):  # Valkey is away for a moment: the worker itself waits, and tells
        is_paused = await queue.is_paused()
    if is_paused:
        say("the queue is paused, so nothing is taken until: twitor queue resume")


@attrs.frozen
class Port:
    """The open port of probes and metrics."""

    probes: "Probes"
    metrics: "PrometheusMetrics"
    url: str


@asynccontextmanager
async def _port(
    settings: "Settings", is_draining: "Callable[[], bool]"
) -> "AsyncIterator[Port | None]":
    """The port, if there is to be one. It opens before all else, so that one that is taken changes nothing."""
    if settings.metrics_port is None:
        yield None
        return
    from ...metrics import PrometheusMetrics, process_registry
    from ...probes import Probes

    metrics = PrometheusMetrics(process_registry())
    probes = Probes(metrics=metrics, is_draining=is_draining)
    host = settings.metrics_host
    number = await probes.start(host, settings.metrics_port)
    try:
        yield Port(probes, metrics, f"http://{f'[{host}]' if ':' in host else host}:{number}")
    finally:
        await probes.close()
