"""How a crawl ended, in lines for people: what came of it, what it cost, what to do next.

Must not know: terminals.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from .outcome import Outcome
from .words import before_again, clock_time, count, duration, parts, state_colour, with_db

if TYPE_CHECKING:
    from ..report import CrawlReport

__all__ = ["PRICE_OTHERWISE_USD", "summary"]

PRICE_OTHERWISE_USD: Final = 0.005
"""Of one post for an app that reads other accounts. Source: X API, pricing, 2026-04-20."""

Line = tuple[str, str | None]


def summary(outcome: Outcome, *, now: float, closing: Sequence[str] | None = None) -> list[Line]:
    """The lines, each with its colour or None; the first one is the headline.

    `closing` stands for the next steps after a completed run.
    """
    report = outcome.report
    lines: list[Line] = [(_headline(report, now=now), state_colour(report.state))]
    lines += [(line, None) for line in _numbers(report)]
    lines += [(line, None) for line in _skipped(report)]
    lines += [(line, None) for line in _cost(outcome)]
    lines += [(f"  cleanup: {error}", "red") for error in report.cleanup_errors]
    if not report.durable:
        lines.append(("  the database failed: only what was committed before is in it", "red"))
    steps = closing if closing is not None and report.completed else next_steps(outcome)
    return [*lines, ("", None), *((line, None) for line in steps)]


def _headline(report: "CrawlReport", *, now: float) -> str:
    if report.completed:
        if report.counters.seen == 0 and not report.resumed_from:
            return f"Completed: there was nothing in the {_place(report)}."
        if report.counters.stored == 0 and report.counters.already_known:
            return f"Completed: nothing new; all in the {_place(report)} was stored or recorded as skipped before."
        return f"Completed: everything in the {_place(report)} is stored or recorded as skipped."
    if report.lost:
        return "Taken over: another process goes on with this crawl."
    if report.resume_at is not None:
        return (
            f"Paused by the rate limit until {clock_time(report.resume_at, now=now)} "
            f"(in {duration(report.resume_at - now)}); a checkpoint is saved."
        )
    why = report.reason or "no reason given"
    if report.category is None:
        return f"Stopped ({why.replace('_', ' ')}); a checkpoint is saved."
    return f"Ended by an error: {report.category.value} ({why})."


def _place(report: "CrawlReport") -> str:
    """What was crawled to its end: a file may hold a part of a listing only."""
    return "file" if report.source.startswith("file:") else "listing"


def _numbers(report: "CrawlReport") -> list[str]:
    from .terminal import table

    c = report.counters
    known = f", {c.already_known:,} known already" if c.already_known else ""
    skipped = f", {c.skipped:,} skipped" if c.skipped else ""
    rows = [("this session", f"{count(c.stored, 'bookmark')} stored{known}{skipped}")]
    if report.bookmarks_count is not None:
        stored = count(report.bookmarks_count, "bookmark")
        rows.append(("in the database", f"{stored} of this user from this source"))
    errors = parts([(number, name) for name, number in sorted(c.errors.items())])
    recovered = ", ".join(
        count(number, word)
        for number, word in ((c.retries, "retry"), (c.pauses, "pause"))
        if number
    )
    rows.append(("errors met", (errors or "none") + (f" ({recovered})" if recovered else "")))
    rows.append(
        ("requests", f"{count(c.requests, 'request')}, {count(c.items_fetched, 'item')} fetched")
    )
    rows.append(("session", report.session_id))
    return table(rows)


def _skipped(report: "CrawlReport") -> list[str]:
    if not report.skipped_items:
        return []
    from .narrating import short_key
    from .words import what_happened

    shown = report.skipped_items[:5]
    lines = ["", "  Skipped, and kept:"]
    lines += [f"    {short_key(item.id)}: {what_happened(item.message)}" for item in shown]
    if report.counters.skipped > len(shown):
        lines.append(f"    ... and {report.counters.skipped - len(shown):,} more")
    return lines


def _cost(outcome: Outcome) -> list[str]:
    report = outcome.report
    if report.source != "x" or not report.cost_usd_estimate or not report.counters.requests:
        return []
    dearer = report.counters.items_fetched * PRICE_OTHERWISE_USD
    lines = ["", f"  Cost: about {report.cost_usd_estimate:.2f} USD if you own the developer app,"]
    lines.append(f"        {dearer:.2f} USD if not (X bills per item fetched).")
    lines.append("        Unknown: whether X bills expansions too (--expand none asks for none).")
    if outcome.api_url is not None:
        lines.append("        This was not X's own address: it is what X would charge.")
    return lines


def next_steps(outcome: Outcome) -> list[str]:
    """What to do now."""
    report, db, again = outcome.report, outcome.db, outcome.again
    if report.completed:
        steps = [f"Next: {with_db('twitor export', db)} > bookmarks.jsonl"]
        if not report.source.startswith("file:"):
            steps.append(f"      {again}   (later: brings what is new)")
        if report.counters.skipped:
            skipped = with_db("twitor skipped list", db)
            steps.append(f"      {skipped}   (what was left out, and why)")
        return steps
    if report.lost:
        return [f"Next: {with_db('twitor status', db)}"]
    before = before_again(report.category, report.reason)
    steps = [f"Next: {before + ' ' if before else ''}run the same command again: {again}"]
    if outcome.user_id_from == "database" and report.category == "AUTH":
        steps.append(
            f"      The user id {report.user_id} came from the database: if the token is "
            "someone else's, say so with --user-id"
        )
    if report.resume_at is not None:
        without = "Without --no-wait it" if outcome.is_no_wait else "It"
        steps.append(f"      {without} waits out the rest of the pause by itself.")
    return steps
