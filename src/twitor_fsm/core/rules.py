"""How a session crawls.

Pure. Must not know: where the numbers come from.
"""

import attrs

__all__ = ["Rules"]


@attrs.frozen(kw_only=True)
class Rules:
    """How a session crawls.

    Attributes:
        checkpoint_every: Handled items after which a checkpoint is due. Source: "Every 10 bookmarks processed".
        max_skips_in_a_row: A run of skips this long is a bug or an outage, not bad data.
        max_items: Items stored or skipped after which the session stops; those that were known before do not count,
            so that the same limit again goes on. None for no limit.
        page_size: Page size of a new walk; None leaves it to the source.
        page_sizes: Sizes to doubt an end with, falling; empty if the source has none.
        has_handler: Whether every new item goes through a handler first.
        prefetch: Whether the next page is fetched while this one is handled and stored.
    """

    checkpoint_every: int = 10
    max_skips_in_a_row: int = 50
    max_items: int | None = None
    page_size: int | None = None
    page_sizes: tuple[int, ...] = ()
    has_handler: bool = False
    prefetch: bool = True
