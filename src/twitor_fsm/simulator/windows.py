"""Rate-limit windows as X counts them: one for each user and endpoint, opened by its first request.

Pure: the time comes in. Source of the numbers: X API v2, rate limits (180 bookmark pages, 75
    lookups, 15 minutes).
Must not know: users, answers, who asks.
"""

import math
from typing import Final

import attrs

__all__ = ["LIMIT_BOOKMARKS", "LIMIT_ME", "WINDOW_S", "Window"]

WINDOW_S: Final = 900.0
LIMIT_BOOKMARKS: Final = 180
LIMIT_ME: Final = 75


@attrs.define
class Window:
    """How much of one limit is used."""

    limit: int
    """Requests in a window."""
    length_s: float
    opened_at: float | None = None
    """Server's epoch seconds of the first request; None before it."""
    used: int = 0
    lie: str | None = None
    """How refusals misstate the end: "past", "missing", "milliseconds"; None: not at all."""

    def take(self, *, now: float) -> bool:
        """Count one request; False when the window is used up. An ended window opens anew."""
        self._roll(now)
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def close(self, *, now: float, lie: str | None = None) -> None:
        """Use up what is left of the window."""
        self._roll(now)
        self.used = max(self.used, self.limit)
        self.lie = lie

    def headers(self, *, now: float, refused: bool = False) -> dict[str, str]:
        """The `x-rate-limit-*` headers; an honest reset is never before the true end."""
        opened_at = now if self.opened_at is None or self._has_ended(now) else self.opened_at
        used = 0 if self._has_ended(now) else self.used
        reset: int | None = math.ceil(opened_at + self.length_s)
        match self.lie if refused else None:
            case "past":
                reset = math.floor(now) - 60
            case "milliseconds":
                reset = math.ceil((opened_at + self.length_s) * 1000)
            case "missing":
                reset = None
        headers = {
            "x-rate-limit-limit": str(self.limit),
            "x-rate-limit-remaining": str(max(0, self.limit - used)),
        }
        return headers if reset is None else {**headers, "x-rate-limit-reset": str(reset)}

    def _has_ended(self, now: float) -> bool:
        return self.opened_at is not None and now >= self.opened_at + self.length_s

    def _roll(self, now: float) -> None:
        if self.opened_at is None or self._has_ended(now):
            self.opened_at, self.used, self.lie = now, 0, None
