"""A run that is over, for people and as JSON: what the engine says, how it was called, what it cost.

Must not know: terminals.
"""

from typing import TYPE_CHECKING, Any, Final

import attrs

from .failures import ERROR_WORDS

if TYPE_CHECKING:
    from ..report import CrawlReport

__all__ = ["Outcome", "cost_note"]

_COST_X: Final = (
    "an estimate, items fetched x 0.001 USD: X's price where the bookmarks belong to the owner of "
    "the developer app (owned reads); otherwise an item is 0.005 USD. X does not say whether "
    "expansions (authors, media, referenced posts) are billed. The same item again on the same "
    "UTC day is not charged, as X says without guarantee"
)
_COST_ELSEWHERE: Final = "this was not X's own address: the estimate is what X would charge. {note}"
_COST_FILE: Final = "reading a file costs nothing"


def cost_note(source: str, api_url: str | None) -> str:
    """What is known and what is unknown about the price."""
    if source != "x":
        return _COST_FILE
    return _COST_X if api_url is None else _COST_ELSEWHERE.format(note=f"It is {_COST_X}")


@attrs.frozen(kw_only=True)
class Outcome:
    """A run that is over.

    Attributes:
        report: What the engine says.
        user_id_from: How the user id was known.
        api_url: Where the API was, if not X's own.
        db: What `--db` was.
        again: The same command again.
        is_no_wait: Whether it ends at a pause.
    """

    report: "CrawlReport"
    user_id_from: str
    api_url: str | None
    db: str | None
    again: str
    is_no_wait: bool = False

    @property
    def exit_code(self) -> int:
        """The documented exit code."""
        from ..report import exit_code

        return exit_code(self.report)

    @property
    def asked_where(self) -> str:
        """Names another address than X's own, where that may be what is wrong; else empty."""
        is_suspect = self.report.category == "NETWORK" or self.report.reason == "request_refused"
        if self.api_url is None or not is_suspect:
            return ""
        from ..config import without_password

        return f" (the API was asked at {without_password(self.api_url)})"

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        code = self.exit_code
        return {
            **self.report.to_dict(),
            "user_id_from": self.user_id_from,
            "cost_note": cost_note(self.report.source, self.api_url),
            "error": None if code == 0 else ERROR_WORDS[code],
            "exit_code": code,
        }
