"""How large a world is explored: the listing, the rules of the session, and what the service may do.

Pure. Must not know: how worlds are explored.
"""

from typing import Final

import attrs

from ..progress import Rules

__all__ = ["FULL", "SMALL", "Scope"]


@attrs.frozen(kw_only=True)
class Scope:
    """One bounded setting, in which every sequence of events of any length is explored.

    Attributes:
        name: One word for it.
        sentence: What it is for.
        items: Items of the listing.
        page_sizes: Sizes that the source offers, falling; the first one is asked for.
        checkpoint_every: See `Rules`.
        max_retries: MAX_RETRIES.
        max_skips_in_a_row: See `Rules`.
        max_items: See `Rules`.
        has_handler: Whether items go through a handler.
        broken: Items that may arrive undecodable (and may be whole at another time).
        arrivals: Items at the top of the listing that are bookmarked while it is crawled, at any time.
        drops_tokens: Whether the service may leave out the next page's token on any page above the smallest size.
        is_endless: Whether the last page names the top again instead of ending.
        refuses_cursors: Whether the service may forget a cursor at any time.
        says_closed: Whether a page may say that the rate limit is used up with it.
        changed_by_hand: Whether people have skipped items tried again, set the checkpoint or clear it between runs.
        counts: Whether a session's counts are part of a world; without them, their equation is checked a commit at
            a time.
        reduced: Whether worlds that can only differ in whether a durable item is stored or skipped count as one;
            see `normal`.
    """

    name: str
    sentence: str
    items: int
    page_sizes: tuple[int, ...]
    checkpoint_every: int
    max_retries: int
    max_skips_in_a_row: int = 50
    max_items: int | None = None
    has_handler: bool = True
    broken: frozenset[int] = frozenset()
    arrivals: int = 0
    drops_tokens: bool = False
    is_endless: bool = False
    refuses_cursors: bool = False
    says_closed: bool = False
    changed_by_hand: bool = False
    counts: bool = False
    reduced: bool = False

    @property
    def keeps_counts(self) -> bool:
        """Whether a session's counts are part of a world: asked for, or needed for a limit on items."""
        return self.counts or self.max_items is not None

    @property
    def rules(self) -> Rules:
        """The session's rules. The page fetched ahead is left out: its outcome counts only when its turn comes."""
        return Rules(
            checkpoint_every=self.checkpoint_every,
            max_skips_in_a_row=self.max_skips_in_a_row,
            max_items=self.max_items,
            page_size=self.page_sizes[0],
            page_sizes=self.page_sizes,
            has_handler=self.has_handler,
            prefetch=False,
        )


SMALL: Final = (
    Scope(
        name="handler",
        sentence="each item through a handler, checkpoints within a page, retries to their end",
        items=3,
        page_sizes=(2, 1),
        checkpoint_every=1,
        max_retries=2,
    ),
    Scope(
        name="no_retries",
        sentence="MAX_RETRIES is 0, a run of two skips is too long, a page may say that the limit is used up with it",
        items=3,
        page_sizes=(3, 1),
        checkpoint_every=2,
        max_retries=0,
        max_skips_in_a_row=2,
        says_closed=True,
    ),
    Scope(
        name="tokens",
        sentence="no handler; the service leaves out tokens above the smallest page",
        items=3,
        page_sizes=(2, 1),
        checkpoint_every=10,
        max_retries=0,
        has_handler=False,
        drops_tokens=True,
    ),
    Scope(
        name="cursors",
        sentence="no handler; the service forgets cursors, and says with a page that the limit is used up",
        items=3,
        page_sizes=(2, 1),
        checkpoint_every=10,
        max_retries=0,
        has_handler=False,
        refuses_cursors=True,
        says_closed=True,
    ),
    Scope(
        name="arrivals",
        sentence="no handler; something is bookmarked while the listing is crawled",
        items=3,
        page_sizes=(2, 1),
        checkpoint_every=10,
        max_retries=0,
        has_handler=False,
        arrivals=1,
    ),
    Scope(
        name="loop",
        sentence="the listing never ends: its last page names the top again",
        items=2,
        page_sizes=(1,),
        checkpoint_every=10,
        max_retries=0,
        has_handler=False,
        is_endless=True,
    ),
    Scope(
        name="broken",
        sentence="an item that arrives undecodable, or whole; people change checkpoint and skipped items between runs",
        items=2,
        page_sizes=(2, 1),
        checkpoint_every=2,
        max_retries=0,
        broken=frozenset({0}),
        changed_by_hand=True,
    ),
    Scope(
        name="early_stop",
        sentence="a listing that is long enough to be recognised by the next crawl; something is bookmarked on top",
        items=21,
        page_sizes=(21,),
        checkpoint_every=100,
        max_retries=0,
        has_handler=False,
        arrivals=1,
        reduced=True,
    ),
    Scope(
        name="limit",
        sentence="a limit on items, and counts over restarts",
        items=3,
        page_sizes=(2, 1),
        checkpoint_every=2,
        max_retries=0,
        max_items=1,
    ),
)
"""Small enough for every test run, each with something of its own."""

FULL: Final = (
    Scope(
        name="real",
        sentence="the real numbers: 25 items, a checkpoint every 10, 5 tries",
        items=25,
        page_sizes=(20, 10, 5),
        checkpoint_every=10,
        max_retries=5,
        reduced=True,
    ),
    Scope(
        name="real_service",
        sentence="the same listing without a handler; tokens left out, cursors forgotten, limits used up",
        items=25,
        page_sizes=(20, 10, 5),
        checkpoint_every=10,
        max_retries=5,
        has_handler=False,
        drops_tokens=True,
        refuses_cursors=True,
        says_closed=True,
        reduced=True,
    ),
)
"""The real numbers, for once in a while."""
