"""Which bookmarks are on a page, where the walk goes on, and what changes while it does.

Must not know: texts, answers, HTTP.
"""

import attrs

from .account import Account
from .cursors import Cursor, encode
from .draws import number
from .faults import EarlyEnd, Fault, FaultKind
from .query import Query

__all__ = ["Walk", "change_listing"]

_NEAR = 20


@attrs.frozen
class Walk:
    """One page of one walk through a listing."""

    account: Account
    query: Query
    cursor: Cursor
    fault: Fault | None
    early_end: EarlyEnd | None
    seed: int
    """Seed of the draws."""

    def ranks(self) -> list[int]:
        """The bookmarks on the page by rank, highest first; a duplicate is there again."""
        listing, rank, size = self.account.listing, self.cursor.rank, self.query.max_results
        if self.cursor.backwards:
            return listing.above(rank, size)
        doubled = 0 if self.fault is None else min(self.fault.items or 1, size - 1)
        match self.fault:
            case Fault(kind=FaultKind.SHORT_PAGE, items=items):
                return listing.below(rank, min(self._short(size) if items is None else items, size))
            case Fault(kind=FaultKind.DUPLICATE) if doubled and self.query.token is None:
                found = listing.below(rank, size - doubled)
                return found + found[-doubled:]
            case Fault(kind=FaultKind.DUPLICATE):
                again = listing.above(rank - 1, doubled)
                return again + listing.below(rank, size - len(again))
            case _:
                return listing.below(rank, size)

    def tokens(self, ranks: list[int]) -> dict[str, str]:
        """`next_token` and `previous_token` of the page with these bookmarks, if any."""
        listing, asked = self.account.listing, self.query.token
        lowest = ranks[-1] if ranks else self.cursor.rank
        tokens: dict[str, str] = {}
        if listing.below(lowest, 1) and not self._ends_early():
            tokens["next_token"] = self._token(Cursor(lowest, self.cursor.depth + 1))
            if self._has(FaultKind.REPEATED_CURSOR) and asked is not None:
                tokens["next_token"] = asked
        if ranks and asked is not None and listing.above(ranks[0], 1):
            depth = max(1, self.cursor.depth - 1)
            tokens["previous_token"] = self._token(Cursor(ranks[0], depth, backwards=True))
        return tokens

    def _short(self, size: int) -> int:
        draw = number(self.seed, "short", self.account.user_id, self.cursor.rank)
        return 1 + draw % max(1, size - 1)

    def _ends_early(self) -> bool:
        rule = self.early_end
        by_rule = rule is not None and rule.applies(self.query.max_results, self.cursor.depth)
        return by_rule or self._has(FaultKind.EARLY_END)

    def _has(self, kind: FaultKind) -> bool:
        return self.fault is not None and self.fault.kind is kind

    def _token(self, cursor: Cursor) -> str:
        sealed = attrs.evolve(cursor, epoch=self.account.epoch)
        return encode(sealed, secret=self.account.secret)


def change_listing(account: Account, fault: Fault, token: str, *, seed: int, ordinal: int) -> None:
    """Insert on top, remove, or move to the top: near the page that is asked for.

    Args:
        account: Whose listing.
        fault: Of one of the `LISTING_KINDS`.
        token: The request's page token, "" for none.
        seed: Seed of the draws.
        ordinal: The request's ordinal.
    """
    listing = account.listing
    cursor = account.cursor(token or None)
    for place in range(1 if fault.items is None else fault.items):
        if fault.kind is FaultKind.INSERT or not len(listing):
            listing.add()
            continue
        rank = cursor.rank if cursor else listing.top + 1
        near = listing.above(rank - 1, _NEAR) + listing.below(rank, _NEAR)
        draw = number(seed, "victim", account.user_id, ordinal, place)
        victim = listing.index_at(near[draw % len(near)])
        if fault.kind is FaultKind.REMOVE:
            listing.remove(victim)
        else:
            listing.rebookmark(victim)
