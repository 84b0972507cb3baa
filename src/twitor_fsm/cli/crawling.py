"""Runs one crawl for a person: watched, stoppable by signals, ending with a summary or JSON and an exit code.

`crawl` and `demo` share it. Must not know: how a session runs.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .outcome import Outcome
from .stopping import Stop
from .summary import Line, summary
from .terminal import drop_stdout, emit, say, tell
from .watching import Watcher
from .words import local_times, without_advice

if TYPE_CHECKING:
    from ..engine import CrawlEngine
    from ..report import CrawlReport
    from ..sources.base import Source

__all__ = [
    "deliver",
    "other_address",
    "run_session",
]


async def run_session(
    engine: "CrawlEngine",
    source: "Source",
    *,
    user_id: str,
    stop: Stop,
    watcher: Watcher,
    wait: bool = True,
    max_items: int | None = None,
    page_size: int | None = None,
) -> "CrawlReport":
    """Start or resume the crawl and see it to an end; a first signal cancels it gracefully."""
    with watcher:
        handle = await engine.start(
            source,
            user_id=user_id,
            wait=wait,
            max_items=max_items,
            page_size=page_size,
            observers=(watcher.observe,),
        )
        from ..core.taxonomy import Reason

        stop.react(lambda: handle.cancel(Reason.SIGNAL))
        return await handle.wait()


def deliver(
    outcome: Outcome,
    *,
    as_json: bool,
    quiet: bool,
    now: float,
    closing: Sequence[str] | None = None,
) -> int:
    """Print how it ended.

    Args:
        outcome: The run.
        as_json: One JSON object instead of a summary.
        quiet: No summary.
        now: Epoch seconds.
        closing: Said at the end of a completed run, instead of the usual next steps.

    Returns:
        The exit code.
    """
    code = outcome.exit_code
    if code != 0:
        message = local_times(outcome.report.message, now=now)
        said = message if as_json else without_advice(message)
        say(f"twitor: {said}{outcome.asked_where}", colour="red" if code != 75 else "yellow")
    try:
        if as_json:
            emit(outcome.to_dict())
        elif not quiet:
            _tell(summary(outcome, now=now, closing=closing))
    except BrokenPipeError:  # how the crawl ended matters more than that nobody reads it
        drop_stdout()
    return code


def _tell(lines: Sequence[Line]) -> None:
    (headline, colour), *rest = lines
    tell(headline, colour=colour, bold=True)
    for line, line_colour in rest:
        tell(line, colour=line_colour)


def other_address(api_url: str) -> str | None:
    """The API's address if it is not X's own."""
    from urllib.parse import urlsplit

    return None if urlsplit(api_url).hostname in {"api.x.com", "api.twitter.com"} else api_url
