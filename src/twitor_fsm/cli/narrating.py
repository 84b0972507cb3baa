"""A session's events as sentences: what happened, what is done about it, until when.

Pure. Must not know: terminals.
"""

import re
from typing import Final

from ..core.states import JournalRow, State, Trigger
from ..core.taxonomy import Reason
from ..events import Event, ItemSkipped, SessionStarted, Transition
from .words import clock_time, duration, local_times, program, state_words, what_happened

__all__ = ["Narrator"]

_SKIPS_TOLD: Final = 20
_UNTIL: Final = re.compile(r" until \d.*")
"""The time in a service's words, which is told in the local zone instead."""


class Narrator:
    """Tells one session."""

    def __init__(self) -> None:
        self._skips = 0

    def lines(self, event: Event) -> list[str]:
        """What to say about an event; nothing for most."""
        match event:
            case SessionStarted(resumed=True):
                return [
                    f"going on where the crawl of user {event.user_id} from {event.source} stood"
                ]
            case SessionStarted():
                return [f"starting the crawl of user {event.user_id} from {event.source}"]
            case ItemSkipped():
                return self._skipped(event)
            case Transition():
                said = _transition(event)
                return [said] if said else []
            case _:
                return []

    def _skipped(self, event: ItemSkipped) -> list[str]:
        self._skips += 1
        if self._skips > _SKIPS_TOLD:
            return []
        said = f"skipped {short_key(event.item)}: {what_happened(event.message)}; it is kept"
        if self._skips == _SKIPS_TOLD:
            return [said, f"further skipped items are not named here: {program()} skipped list"]
        return [said]


def short_key(key: str) -> str:
    """An item's key, for a sentence."""
    if key.startswith("sha256:"):
        return f"an item without an id ({key[:15]}…)"
    return f"item {key}"


_FIXED: Final = {
    Trigger.RECOVERED: "recovered: the request that failed has worked now",
    Trigger.RESUME: "the pause is over: going on",
    Trigger.AUTH_FAILED: "the token is refused, ending: {what}",
    Trigger.FATAL_FAILED: "fatal error, saving a checkpoint and ending: {what}",
    Trigger.STORE_FAILED: "the database failed; ending without it",  # how, the end tells
    Trigger.CLEANED_UP: "",
    Trigger.ITEM_SKIPPED: "",
}
"""Sentences that need no more than what happened; an empty one is told by another event."""

_ENDS: Final = {
    Reason.CAUGHT_UP: "everything from here on was walked before",
    Reason.END_VERIFIED: "the end of the listing is reached and verified",
    Reason.MAX_ITEMS: "as many items as --max-items allows: checkpoint saved, stopping",
    Reason.SIGNAL: "checkpoint saved, stopping",
}


def _transition(event: Transition) -> str:
    row = event.row
    if row.absorbed:
        return ""
    what = local_times(what_happened(str(row.facts.get("message", ""))), now=event.at)
    match row.trigger:
        case Trigger.RATE_LIMITED:
            return _pause(event, what)
        case Trigger.NETWORK_FAILED:
            return _network(row, what)
        case Trigger.RESTARTED:
            return _restarted(event)
        case Trigger.CANCEL | Trigger.FINISH:
            why = (row.reason or "asked to").replace("_", " ")
            return _ENDS.get(
                Reason(row.reason) if row.reason in _ENDS else Reason.UNKNOWN,
                f"checkpoint saved, stopping ({why})",
            )
        case _:
            said = _FIXED.get(Trigger(row.trigger)) if row.trigger in _FIXED else None
            return (
                f"{row.trigger}: {row.source} -> {row.target}"  # an extended machine's own
                if said is None
                else said.format(what=what)
            )


def _restarted(event: Transition) -> str:
    """A session that nobody ran: one that ended at a pause (`--no-wait`) was left in order."""
    if event.row.reason == Reason.ASKED_FOR:
        return "it was asked for, and nobody had begun it"
    target = str(event.row.target)
    if target != State.PAUSED_RATE_LIMIT:
        return (
            f"its last session was not ended and nobody runs it now; it was {state_words(target)}"
        )
    if event.until is None or event.until <= event.at:
        return f"it is {state_words(target)}, and the pause is over"
    return f"it is {state_words(target)} until {clock_time(event.until, now=event.at)}"


def _network(row: JournalRow, what: str) -> str:
    if row.target == State.RETRYING:
        return (
            f"network: {what}; trying again in {duration(row.delay_s)} "
            f"(try {row.tries} of {row.tries_allowed})"
        )
    return f"network: {what}; no try is left ({row.tries} made): checkpoint saved, ending"


def _pause(event: Transition, what: str) -> str:
    row = event.row
    until = event.until if event.until is not None else event.at + row.delay_s
    foreseen = row.reason in {Reason.WINDOW_USED_UP, Reason.CLOSED_UNTIL}
    why = "this window's requests are used up" if foreseen else _UNTIL.sub("", what)
    return (
        f"rate limit: {why}; checkpoint saved, pausing {duration(until - event.at)} "
        f"until {clock_time(until, now=event.at)}, then it goes on by itself"
    )
