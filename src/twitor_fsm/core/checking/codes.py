"""Worlds and edges by numbers: a million of them have to be kept and compared.

Pure. Must not know: what the numbers stand for; see `Crawl` and `Decider`.
"""

from typing import Final

__all__ = [
    "ALWAYS",
    "ANSWERED",
    "BEHIND",
    "CALM",
    "NOBODY",
    "NO_NETWORK",
    "NO_STORE",
    "OUT",
    "SAME",
    "WISH",
    "Code",
    "Edge",
]

Code = tuple[int, int, int, int]
"""A world: the session in memory, its row in the store, the work, flags."""

NOBODY: Final = -1
"""No session: no process is at it, or no row was ever written."""

SAME: Final = -2
"""The row, whatever it holds."""

WISH: Final = 1
"""Flag: a cancel is asked for."""

OUT: Final = 2
"""Flag: the session ends without its store."""

BEHIND: Final = 4
"""Flag: a commit took place without our knowledge."""

Edge = tuple[str, Code, int, str]
"""What happens, the world then, in which settings it does, and the invariant that it breaks (empty for none)."""

CALM: Final = 1
"""Setting: nothing fails any more."""

NO_STORE: Final = 2
"""Setting: the store is gone for good."""

NO_NETWORK: Final = 4
"""Setting: the network is gone for good."""

ALWAYS: Final = CALM | NO_STORE | NO_NETWORK
"""In every setting."""

ANSWERED: Final = CALM | NO_NETWORK
"""In every setting in which the store answers."""
