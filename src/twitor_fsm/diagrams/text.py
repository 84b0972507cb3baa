"""Text as it may stand in a picture: on one line, nothing in it that acts, and how much room it takes.

Pure. Must not know: formats (each escapes for itself what its own syntax reads), machines.
"""

import unicodedata
from functools import lru_cache
from typing import Final

__all__ = ["clipped", "visible", "width"]

LONGEST: Final = 60
"""Characters of a name that are drawn; a longer one is cut, so that it cannot push everything else out of sight."""

_REGULAR: Final = """
318 401 460 838 636 950 780 275 390 390 500 838 318 361 318 337 636 636 636 636 636 636 636 636 636 636 337
337 838 838 838 531 1000 684 686 698 770 632 575 775 752 295 295 656 557 863 748 787 603 787 695 635 611 732
684 989 685 611 685 390 337 390 838 500 500 613 635 550 635 615 352 635 634 278 278 579 278 974 634 612 635
635 411 521 392 634 592 818 592 592 525 636 337 636 838
"""
_BOLD: Final = """
348 456 521 838 696 1002 872 306 457 457 523 838 380 415 380 365 696 696 696 696 696 696 696 696 696 696 400
400 838 838 838 580 1000 774 762 734 830 683 683 821 837 372 372 775 637 995 837 850 733 850 770 720 682 812
774 1103 771 724 725 457 365 457 838 500 500 675 716 593 716 678 435 716 712 343 343 665 343 1042 712 687 716
716 493 595 478 712 652 924 645 652 582 712 365 712 838
"""
"""Advance widths of U+0020 to U+007E in thousandths of the font size, regular and bold. Source: DejaVu Sans 2.37; no
sans-serif font in common use is wider (Verdana has the same proportions), so no label outgrows the room kept for it."""

_WIDEST: Final = 1100.0
"""Of any other character of an alphabet in the same font (but a few digraphs)."""

_OURS: Final = {"…": 1000.0, "×": 838.0, "·": 380.0, "→": 838.0}
"""Characters that our own labels use."""


def _table(numbers: str) -> dict[str, float]:
    return {chr(32 + i): float(n) for i, n in enumerate(numbers.split())} | _OURS


_WIDTHS: Final = {False: _table(_REGULAR), True: _table(_BOLD)}


def visible(text: str) -> str:
    r"""One line of printable text: white space becomes a blank, what cannot be printed its escape (`\u202e`).

    So no control character, line end or mark of direction reaches a picture, and yet none is hidden.
    """
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in line
    )


def clipped(text: str, longest: int = LONGEST) -> str:
    """`visible` text of at most so many characters."""
    line = visible(text)
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"


@lru_cache(maxsize=2048)
def width(text: str, size: float, *, bold: bool = False) -> float:
    """Upper bound of a line's width, in the unit of the font size."""
    return sum(_advance(char, _WIDTHS[bold]) for char in text) * size / 1000.0


def _advance(char: str, table: dict[str, float]) -> float:
    known = table.get(char)
    if known is not None:
        return known
    if unicodedata.combining(char):
        return 0.0
    return 1000.0 if unicodedata.east_asian_width(char) in "WF" else _WIDEST
