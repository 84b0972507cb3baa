"""A session's events as sentences: what happened, what is done about it, until when.

Pure. Must not know: terminals.
"""

from typing import Final

from ..core.states import State, Trigger
from ..core.taxonomy import Reason
from ..events import Event, ItemSkipped, SessionStarted, Transition
from .words import clock_time, count, duration, state_words, what_happened

__all__ = ["Narrator"]

_SKIPS_TOLD: Final = 20


class Narrator:
    """Tells one session."""

    def __init__(self) -> None:
        self._skips = 0

    def lines(self, event: Event) -> list[str]:
        """What to say about an event; nothing for most."""
        match event:
            case SessionStarted(resumed=True):
                return [f"going on where the crawl of user {event.user_id} from {event.source} stood"]
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
            return [said, "further skipped items are not named here: twitor skipped list"]
        return [said]


def short_key(key: str) -> str:
    """An item's key, for a sentence."""
    if key.startswith("sha256:"):
        return f"an item without an id ({key[:15]}…)"
    return f"item {key}"


def _transition(event: Transition) -> str | None:
    row = event.row
    if row.absorbed:
        return None
    what = what_happened(str(row.facts.get("message", "")))
    match row.trigger:
        case Trigger.RATE_LIMITED:
            return _pause(event, what)
        case Trigger.NETWORK_FAILED if row.target == State.RETRYING:
            return (
                f"network: {what}; trying again in {duration(row.delay_s)} "
                f"(try {row.tries} of {row.tries_allowed})"
            )
        case Trigger.NETWORK_FAILED:
            return f"network: {what}; {count(row.tries, 'try')} failed".replace("trys", "tries") + (
                ": ending with a checkpoint"
            )
        case Trigger.RECOVERED:
            return "recovered: the request that failed has worked now"
        case Trigger.RESUME:
            return "the pause is over: going on"
        case Trigger.AUTH_FAILED:
            return f"the token is refused: {what}; ending"
        case Trigger.FATAL_FAILED:
            return f"fatal: {what}; saving a checkpoint and ending"
        case Trigger.STORE_FAILED:
            return f"database: {what}; ending"
        case Trigger.RESTARTED:
            return f"the process that ran this session is gone; it was {state_words(row.target)}"
        case Trigger.CANCEL:
            return _cancel(row.reason)
        case Trigger.FINISH:
            return _finish(row.reason)
        case Trigger.CLEANED_UP | Trigger.ITEM_SKIPPED:
            return None
        case _:  # an extended machine's own
            return f"{row.trigger}: {row.source} -> {row.target}"


def _pause(event: Transition, what: str) -> str:
    row = event.row
    until = event.until if event.until is not None else event.at + row.delay_s
    why = {
        Reason.WINDOW_USED_UP: "rate limit: this window's requests are used up",
        Reason.CLOSED_UNTIL: "rate limit: this window's requests are used up",
    }.get(Reason(row.reason) if row.reason in list(Reason) else Reason.UNKNOWN, f"rate limit: {what}")
    return (
        f"{why}; checkpoint saved, pausing {duration(until - event.at)} "
        f"(until {clock_time(until, now=event.at)}), then it goes on by itself"
    )


def _cancel(reason: str | None) -> str:
    match reason:
        case Reason.MAX_ITEMS:
            return "as many items as --max-items allows: saving a checkpoint and stopping"
        case Reason.SIGNAL:
            return "stopping: checkpoint saved"
        case _:
            return f"stopped ({reason or 'asked to'}): checkpoint saved"


def _finish(reason: str | None) -> str:
    if reason == Reason.CAUGHT_UP:
        return "caught up with the last completed crawl"
    return "the end of the listing is reached and verified"
