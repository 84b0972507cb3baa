"""What goes wrong, when and how often: the fault plan as a value.

Pure. A draw depends on the seed, the user, the endpoint and the request's ordinal, on nothing else,
so the same requests meet the same faults.
Must not know: where a plan is read from, how a fault is carried out.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import attrs

from twitor_fsm.errors import ConfigurationError

from .draws import chance

__all__ = [
    "LISTING_KINDS",
    "NETWORK_KINDS",
    "OPTIONS",
    "PAGE_KINDS",
    "TOKEN_KINDS",
    "EarlyEnd",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "ItemFault",
    "ItemKind",
]


class FaultKind(StrEnum):
    """What may happen to one request."""

    # no usable answer
    SERVER_ERROR = "server_error"
    CONNECTION_RESET = "connection_reset"
    TRUNCATED = "truncated"
    GZIP_TRUNCATED = "gzip_truncated"
    NOT_JSON = "not_json"
    SLOW = "slow"
    # refused
    RATE_LIMITED = "rate_limited"
    USAGE_CAPPED = "usage_capped"
    CREDITS_DEPLETED = "credits_depleted"
    SPEND_CAP = "spend_cap"
    UNAUTHORIZED = "unauthorized"
    CURSOR_REFUSED = "cursor_refused"
    ERRORS_ONLY = "errors_only"
    # a page that misleads
    EARLY_END = "early_end"
    SHORT_PAGE = "short_page"
    DUPLICATE = "duplicate"
    REPEATED_CURSOR = "repeated_cursor"
    # the listing changes just before the answer
    INSERT = "insert"
    REMOVE = "remove"
    REBOOKMARK = "rebookmark"


class ItemKind(StrEnum):
    """What may be wrong with one bookmark, in every answer that holds it."""

    TOMBSTONE = "tombstone"
    PROTECTED = "protected"
    MISSING_ID = "missing_id"
    WRONG_TYPES = "wrong_types"
    NOT_AN_OBJECT = "not_an_object"


NETWORK_KINDS: Final = frozenset(
    {
        FaultKind.SERVER_ERROR,
        FaultKind.CONNECTION_RESET,
        FaultKind.TRUNCATED,
        FaultKind.GZIP_TRUNCATED,
        FaultKind.NOT_JSON,
        FaultKind.SLOW,
    }
)
"""Faults that the same request, sent again, may be free of: `max_in_a_row` counts them."""

LISTING_KINDS: Final = frozenset({FaultKind.INSERT, FaultKind.REMOVE, FaultKind.REBOOKMARK})
"""Faults that change the listing and leave the answer alone; they may come with another fault."""

PAGE_KINDS: Final = frozenset(
    {
        FaultKind.EARLY_END,
        FaultKind.SHORT_PAGE,
        FaultKind.DUPLICATE,
        FaultKind.REPEATED_CURSOR,
    }
)
"""Faults that leave the answer a page."""

TOKEN_KINDS: Final = frozenset({FaultKind.CURSOR_REFUSED, FaultKind.REPEATED_CURSOR})
"""Faults that only a request with a page token can meet."""

OPTIONS: Final[Mapping[FaultKind, tuple[str, ...]]] = {
    FaultKind.SERVER_ERROR: ("status", "body"),
    FaultKind.CONNECTION_RESET: ("part",),
    FaultKind.TRUNCATED: ("part",),
    FaultKind.GZIP_TRUNCATED: ("part",),
    FaultKind.SLOW: ("seconds",),
    FaultKind.RATE_LIMITED: ("reset",),
    FaultKind.SHORT_PAGE: ("items",),
    FaultKind.DUPLICATE: ("items",),
    FaultKind.INSERT: ("items",),
    FaultKind.REMOVE: ("items",),
    FaultKind.REBOOKMARK: ("items",),
}
"""The options that a kind has beside `at`, `probability`, `times` and `endpoint`."""


def _fail(name: str, seen: object, understood: str) -> ConfigurationError:
    return ConfigurationError(
        f"fault plan: {name} = {seen!r} is not understood; it must be {understood}"
    )


def _one_of(*allowed: object) -> Any:
    def check(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if isinstance(value, bool) or value not in allowed:
            raise _fail(attribute.name, value, "one of " + ", ".join(map(str, allowed)))

    return check


def _number(low: float, high: float, *, whole: bool = False, optional: bool = False) -> Any:
    understood = f"{'a whole number' if whole else 'a number'} from {low:g} to {high:g}"

    def check(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if value is None and optional:
            return
        allowed = (int,) if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, allowed) or not low <= value <= high:
            raise _fail(attribute.name, value, understood)

    return check


def _ordinals(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    fine = isinstance(value, tuple) and all(type(at) is int and at >= 1 for at in value)
    if not fine:
        raise _fail(attribute.name, value, "a list of whole numbers from 1 on")


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, Collection) and not isinstance(value, str) else value


def _as_fault_kind(value: str) -> FaultKind:
    if value not in list(FaultKind):
        raise _fail("kind", value, "one of " + ", ".join(FaultKind))
    return FaultKind(value)


def _as_item_kind(value: str) -> ItemKind:
    if value not in list(ItemKind):
        raise _fail("kind", value, "one of " + ", ".join(ItemKind))
    return ItemKind(value)


_MANY: Final = 10**9


@attrs.frozen(kw_only=True)
class Fault:
    """One rule: which requests meet which fault."""

    kind: FaultKind = attrs.field(converter=_as_fault_kind)
    at: tuple[int, ...] = attrs.field(default=(), converter=_as_tuple, validator=_ordinals)
    """Ordinals of a user's requests to the endpoint, from 1, refused ones counted."""
    probability: float = attrs.field(default=0.0, validator=_number(0, 1))
    """Chance of every other request."""
    times: int | None = attrs.field(
        default=None, validator=_number(1, _MANY, whole=True, optional=True)
    )
    """How often at most, for each user; None: no limit."""
    endpoint: str = attrs.field(default="bookmarks", validator=_one_of("bookmarks", "me", "any"))
    status: int = attrs.field(default=503, validator=_one_of(500, 502, 503, 504))
    body: str = attrs.field(default="html", validator=_one_of("html", "empty", "json"))
    part: float = attrs.field(default=0.5, validator=_number(0, 0.99))
    """Share of the body that is sent; a reset with 0 comes before the first byte of the answer."""
    seconds: float = attrs.field(default=1.0, validator=_number(0, 3600))
    """How long the body takes."""
    reset: str = attrs.field(
        default="honest", validator=_one_of("honest", "past", "missing", "milliseconds")
    )
    """What the headers of a closed window say about its end."""
    items: int | None = attrs.field(
        default=None, validator=_number(0, 100, whole=True, optional=True)
    )
    """Size of a short page (None: drawn); else how many are doubled, inserted, removed or moved."""

    def __attrs_post_init__(self) -> None:
        if not self.at and not self.probability:
            raise ConfigurationError(
                f"fault plan: {self.kind} never happens; give `at` (ordinals) or `probability`"
            )

    def happens(self, seed: int, user_id: str, endpoint: str, ordinal: int, rule: int) -> bool:
        """Whether a request meets this rule of its plan; `times` is the caller's to count."""
        if self.endpoint not in (endpoint, "any"):
            return False
        if ordinal in self.at:
            return True
        return (
            self.probability > 0
            and chance(seed, "fault", user_id, endpoint, ordinal, rule) < self.probability
        )


@attrs.frozen(kw_only=True)
class ItemFault:
    """One rule: which bookmarks are never obtainable."""

    kind: ItemKind = attrs.field(converter=_as_item_kind)
    at: tuple[int, ...] = attrs.field(default=(), converter=_as_tuple, validator=_ordinals)
    """Places in the listing at the start, from 1."""
    probability: float = attrs.field(default=0.0, validator=_number(0, 1))

    def hits(self, seed: int, serial: int, place: int, rule: int) -> bool:
        """Whether the bookmark with this serial number and first place is such an item."""
        return place in self.at or chance(seed, "item", serial, rule) < self.probability


@attrs.frozen(kw_only=True)
class EarlyEnd:
    """X's habit of dropping `next_token` on large pages while bookmarks remain.

    Source: steipete/birdclaw PR 23 and Fergana-Labs/stash PR 970: at 100 a page, after one to three
        pages.
    """

    above: int = attrs.field(default=90, validator=_number(0, 100, whole=True))
    """Page sizes above this lose their token; 0: all of them do, so the rest cannot be reached."""
    after_pages: int = attrs.field(default=1, validator=_number(1, _MANY, whole=True))
    """Pages of a walk that still have a token."""

    def applies(self, max_results: int, depth: int) -> bool:
        """Whether the `depth`-th page of a walk (from 1) ends early."""
        return max_results > self.above and depth > self.after_pages


@attrs.frozen(kw_only=True)
class FaultPlan:
    """Everything that goes wrong in one simulator."""

    faults: tuple[Fault, ...] = attrs.field(default=(), converter=_as_tuple)
    items: tuple[ItemFault, ...] = attrs.field(default=(), converter=_as_tuple)
    early_end: EarlyEnd | None = None
    seed: int | None = attrs.field(
        default=None, validator=_number(-_MANY, _MANY, whole=True, optional=True)
    )
    """Seed of the draws; None: the simulator's."""
    max_in_a_row: int = attrs.field(default=4, validator=_number(1, _MANY, whole=True))
    """How many drawn network faults a page may meet in a row; those of `at` have no limit."""
    refuse_cursors_after_s: float | None = attrs.field(
        default=None, validator=_number(0, _MANY, optional=True)
    )
    """After a longer pause of a user, seconds, the page tokens issued before it are refused."""
    clock_skew_s: float = attrs.field(default=0.0, validator=_number(-_MANY, _MANY))
    """How far the server's clock is ahead, seconds."""
    vocabulary: str = attrs.field(default="both", validator=_one_of("both", "old", "new"))
    """Which names are understood: "old" (`tweet.fields`), "new" (`post.fields`) or "both"."""

    @staticmethod
    def preset(name: str) -> "FaultPlan":
        """The plan "none", "typical" or "hostile".

        Raises:
            ConfigurationError: There is no such preset.
        """
        from .plan_files import read_preset

        return read_preset(name)

    @staticmethod
    def load(path_or_preset: str | Path) -> "FaultPlan":
        """The plan of a TOML file, or a preset's when the word is a preset's name.

        Raises:
            ConfigurationError: The file cannot be read, or says something that is not understood.
        """
        from .plan_files import read_plan

        return read_plan(path_or_preset)
