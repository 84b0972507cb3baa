"""What an exploration found out.

Pure. Must not know: how worlds are explored.
"""

from enum import StrEnum
from typing import Final

import attrs

from .scope import Scope
from .story import Story

__all__ = ["CLAIM", "Explored", "Finding", "Proof", "Verdict"]

CLAIM: Final = (
    "decisions are proved; their execution is simulated and crash-tested: in each scope every sequence of errors, lost "
    "answers, cancels and deaths, of any length, was followed through the table, plan, recovery and progress that run "
    "in production. What the database and the service do is modelled"
)
"""What `Proof.holds` means."""


class Verdict(StrEnum):
    """What is known of an invariant."""

    HOLDS = "holds"
    VIOLATED = "violated"
    OPEN = "open"
    """Exploration stopped before, at another violation."""


@attrs.frozen
class Finding:
    """An invariant that does not hold, and a shortest way to where it does not.

    Attributes:
        name: The invariant's.
        sentence: What it says.
        scope: The setting.
        story: The way.
    """

    name: str
    sentence: str
    scope: str
    story: Story

    def __str__(self) -> str:
        return f"{self.name} ({self.sentence}): {self.story}"


@attrs.frozen
class Explored:
    """One scope, explored.

    Attributes:
        scope: The setting.
        worlds: Worlds that can be reached.
        edges: What can happen in them, counted once each.
        states: Session states that were reached.
        taken: (trigger, state before, state after) of every step that was taken.
        finding: The first violation, at which exploration stopped; None if everything holds.
    """

    scope: Scope
    worlds: int
    edges: int
    states: frozenset[str]
    taken: frozenset[tuple[str, str, str]]
    finding: Finding | None


@attrs.frozen
class Proof:
    """The result over all scopes.

    Attributes:
        explored: By scope; exploration stops at the first violation.
        verdicts: By the invariant's name.
        sentences: What each says.
        unreached: States of the machine that no world is in.
        dead: Cells of the table that no world takes, as `trigger: state -> target`.
        claim: What `holds` means, and what it does not.
    """

    explored: tuple[Explored, ...]
    verdicts: dict[str, Verdict]
    sentences: dict[str, str]
    unreached: tuple[str, ...]
    dead: tuple[str, ...]
    claim: str = CLAIM

    @property
    def worlds(self) -> int:
        """Worlds of all scopes."""
        return sum(explored.worlds for explored in self.explored)

    @property
    def edges(self) -> int:
        """Edges of all scopes."""
        return sum(explored.edges for explored in self.explored)

    @property
    def finding(self) -> Finding | None:
        """The violation; None if everything holds."""
        found = (explored.finding for explored in self.explored)
        return next((finding for finding in found if finding is not None), None)

    @property
    def holds(self) -> bool:
        """Whether every invariant holds in every world of every scope."""
        return self.finding is None
