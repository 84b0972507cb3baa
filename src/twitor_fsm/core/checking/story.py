"""Tells a way to a world: as one line, and as a Mermaid diagram.

Pure. Must not know: what was wrong with it.
"""

import re
from collections.abc import Iterator
from typing import Final

import attrs

__all__ = ["Moment", "Story"]

_HANDLED: Final = re.compile(r"handle item (\d+)")
_ESCAPES: Final = {c: f"#{ord(c)};" for c in '#;:"<>{}[]|&%\\'}


@attrs.frozen
class Moment:
    """One event of a story, and how things stand after it.

    Attributes:
        what: What happened.
        state: The session's state; None while no process is at it.
        settled: Items that are stored or recorded as skipped.
    """

    what: str
    state: str | None
    settled: int


@attrs.frozen
class Story:
    """A shortest way from the first start to a world.

    Attributes:
        moments: What happened, in order.
    """

    moments: tuple[Moment, ...]

    def __str__(self) -> str:
        """One line: `start, fetch page 1, look up, handle items 1-3, handle item 4: NETWORK, death`."""
        return ", ".join(_told(self.moments)) or "from the very start"

    @property
    def errors(self) -> str:
        """What went wrong on the way, and nothing else."""
        return ", ".join(m.what for m in self.moments if _is_trouble(m.what)) or "nothing"

    def mermaid(self) -> str:
        """A flow chart: a node for each moment, with state and number of items that are safe."""
        lines = ["flowchart TD", '    m0(["nothing yet"])']
        for number, moment in enumerate(self.moments, start=1):
            state = moment.state if moment.state is not None else "no process"
            lines.append(f'    m{number}["{_escape(state)}<br/>{moment.settled} safe"]')
            lines.append(f'    m{number - 1} -->|"{_escape(moment.what)}"| m{number}')
        return "\n".join(lines) + "\n"


def _is_trouble(what: str) -> bool:
    return ":" in what or "(" in what or what in {"cancel", "death"}


def _told(moments: tuple[Moment, ...]) -> Iterator[str]:
    """What happened; a run of items that were handled is one entry."""
    first = last = 0
    for moment in (*moments, None):
        found = _HANDLED.fullmatch(moment.what) if moment is not None else None
        if found is not None and int(found[1]) == last + 1 and first:
            last += 1
            continue
        if first:
            yield f"handle item {first}" if first == last else f"handle items {first}-{last}"
            first = last = 0
        if found is not None:
            first = last = int(found[1])
        elif moment is not None:
            yield moment.what


def _escape(text: str) -> str:
    return "".join(_ESCAPES.get(c, c) for c in text)
