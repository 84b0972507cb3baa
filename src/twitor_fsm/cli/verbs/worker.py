"""`twitor worker`: runs crawls from the queue until it is told to stop."""

import asyncio

import click

from ..database import database_of, opened, refuse_memory
from ..options import common
from ..queueing import queue_of, queue_settings
from ..sourcing import Wanted, source_of
from ..stopping import Stop
from ..terminal import emit, say

SECTION = "Crawl"

DRAINING = (
    "stopping: nothing more is taken, running crawls save a checkpoint and go back to the queue "
    "(a second signal ends at once; the last checkpoints stand then)"
)


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
    "-v", "--verbose", count=True, help="Show log records (-v INFO, -vv DEBUG) on stderr."
)
def command(
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    api_url: str | None,
    concurrency: int,
    verbose: int,
) -> int:
    """Take crawls from the queue and run them, until SIGTERM or SIGINT.

    Ask for crawls with `twitor enqueue crawl`. Any number of workers, on any number of machines, may
    share a queue and a database: each crawl has one owner at a time. A rate-limit pause holds no
    worker. Tokens come from X_BEARER_TOKEN or TWITOR_TOKEN_DIR, by user id.
    """
    with Stop(DRAINING) as stop:
        from ..logging_setup import log_records

        with log_records(verbose=verbose, as_json=False):
            asyncio.run(_work(db, api_url, concurrency, stop))
    if as_json:
        emit({"stopped": True})
    return 0


async def _work(db: str | None, api_url: str | None, concurrency: int, stop: Stop) -> None:
    from ...worker import Worker

    settings = queue_settings(db, quiet=True)
    refuse_memory(database_of(db, settings))
    source = source_of(Wanted(api_url=api_url), settings)
    async with (
        queue_of(db, must_exist=False) as queue,
        opened(db, settings=settings, must_exist=False) as engine,
    ):
        worker = Worker(engine, queue, source, concurrency=concurrency)
        stop.react(worker.stop)
        paused = await queue.is_paused()
        say(f"working: {concurrency} crawls at once; stop with SIGTERM or Ctrl-C")
        if paused:
            say("the queue is paused, so nothing is taken until: twitor queue resume")
        await worker.run()
