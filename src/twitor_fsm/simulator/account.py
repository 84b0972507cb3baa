"""What the simulator remembers of one user, and which faults that user meets.

Must not know: HTTP, texts, what a fault does.
"""

from collections.abc import Iterator

import attrs

from .cursors import Cursor, decode
from .faults import (
    LISTING_KINDS,
    NETWORK_KINDS,
    PAGE_KINDS,
    TOKEN_KINDS,
    Fault,
    FaultKind,
    FaultPlan,
)
from .listing import Listing
from .windows import Window

__all__ = ["Account"]


@attrs.define
class Account:
    """One user: bookmarks, rate-limit windows, and how far the fault plan has come."""

    user_id: str
    place: int
    """Which user of the simulator it is, from 0."""
    listing: Listing
    windows: dict[str, Window]
    """By endpoint: "bookmarks", "me"."""
    secret: str
    """Seals this user's page tokens."""
    ordinals: dict[str, int] = attrs.Factory(dict)
    """Requests so far, by endpoint."""
    epoch: int = 0
    """How often all page tokens were refused; those of earlier epochs stay refused."""
    last_request_at: float | None = None
    _fired: dict[int, int] = attrs.Factory(dict)
    _in_a_row: dict[str, int] = attrs.Factory(dict)
    _last_drawn_end: str | None = None

    def count(self, endpoint: str) -> int:
        """Count a request; answers with its ordinal, from 1."""
        self.ordinals[endpoint] = self.ordinals.get(endpoint, 0) + 1
        return self.ordinals[endpoint]

    def notice_pause(self, now: float, refuse_after_s: float | None) -> None:
        """Refuse all tokens issued before too long a pause; `now`: server's epoch seconds."""
        before, self.last_request_at = self.last_request_at, now
        if refuse_after_s is not None and before is not None and now - before > refuse_after_s:
            self.epoch += 1

    def cursor(self, token: str | None) -> Cursor | None:
        """Where the page of a token starts (None: at the top), or None when it is refused."""
        if token is None:
            return Cursor(rank=self.listing.top + 1, depth=1, epoch=self.epoch)
        found = decode(token, secret=self.secret)
        return found if found is not None and found.epoch == self.epoch else None

    def faults(
        self, plan: FaultPlan, seed: int, endpoint: str, ordinal: int, page: str
    ) -> Iterator[Fault]:
        """The faults of one request: all that change the listing, and the first of the others.

        Args:
            plan: The fault plan.
            seed: Seed of the draws.
            endpoint: "bookmarks" or "me".
            ordinal: The request's ordinal at the endpoint, from 1.
            page: What a repeated request shares with the one before: its page token, "" at the top.
        """
        chosen: Fault | None = None
        for rule, fault in enumerate(plan.faults):
            if chosen is not None and fault.kind not in LISTING_KINDS:
                continue
            if not self._is_possible(fault, rule, page) or not fault.happens(
                seed, self.user_id, endpoint, ordinal, rule
            ):
                continue
            if ordinal not in fault.at and self._is_too_much(fault, plan, endpoint + page):
                continue
            self._fired[rule] = self._fired.get(rule, 0) + 1
            if fault.kind in LISTING_KINDS:
                yield fault
            else:
                chosen = fault
        self._remember(chosen, endpoint + page)
        if chosen is not None:
            yield chosen

    def _is_possible(self, fault: Fault, rule: int, page: str) -> bool:
        is_left = fault.times is None or self._fired.get(rule, 0) < fault.times
        return is_left and (bool(page) or fault.kind not in TOKEN_KINDS)

    def _is_too_much(self, fault: Fault, plan: FaultPlan, page: str) -> bool:
        """Whether no client could get over this drawn fault: the page had it just before."""
        if fault.kind in NETWORK_KINDS:
            return self._in_a_row.get(page, 0) >= plan.max_in_a_row
        return fault.kind is FaultKind.EARLY_END and self._last_drawn_end == page

    def _remember(self, fault: Fault | None, page: str) -> None:
        """Count network faults of a page until it is answered; refusals change nothing."""
        if fault is None or fault.kind in PAGE_KINDS:
            self._in_a_row.pop(page, None)
        elif fault.kind in NETWORK_KINDS:
            self._in_a_row[page] = self._in_a_row.get(page, 0) + 1
        if fault is not None and fault.kind is FaultKind.EARLY_END:
            self._last_drawn_end = page
