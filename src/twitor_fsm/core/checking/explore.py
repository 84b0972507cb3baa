"""Visits every reachable world, breadth first: what is found is found on a shortest way.

Pure. Must not know: what happens in a world, what must hold there.
"""

from collections.abc import Callable, Iterable
from typing import Final

from ..spec import MachineSpec
from .atlas import Atlas
from .codes import CALM, NO_NETWORK, NO_STORE
from .deciding import Decisions
from .invariants import INVARIANTS, Invariant
from .proof import Explored, Finding, Proof, Verdict
from .scope import SMALL, Scope
from .shell import Shell
from .story import Story

__all__ = ["ENDINGS", "Over", "explore", "prove_scopes"]

Over = Callable[[Callable[[Scope], Explored], Iterable[Scope]], Iterable[Explored]]

MOST_WORLDS: Final = 20_000_000
"""More than memory holds: a scope that needs them has worlds without end."""

ENDINGS: Final = {
    CALM: Invariant(
        name="ends_when_faults_stop",
        sentence="from every world, once nothing fails any more, the session comes to an end without anybody's help",
    ),
    NO_STORE: Invariant(
        name="ends_without_store",
        sentence="from every world, the process comes to an end though the store is gone for good",
    ),
    NO_NETWORK: Invariant(
        name="ends_without_network",
        sentence="from every world, the session comes to an end though the network is gone for good",
    ),
}
"""What is asked of whole ways, by setting."""

FINITE: Final = Invariant(
    name="worlds_are_finite", sentence="nothing that decisions depend on grows without end"
)


def explore(
    scope: Scope,
    spec: MachineSpec,
    decisions: Decisions,
    invariants: tuple[Invariant, ...] = INVARIANTS,
    *,
    most: int = MOST_WORLDS,
) -> Explored:
    """Visit every world of a scope, up to the first violation.

    Args:
        scope: The setting.
        spec: The machine.
        decisions: The code that decides.
        invariants: What must hold.
        most: Worlds after which they count as endless.
    """
    shell = Shell(scope, spec, decisions, invariants)
    atlas = Atlas(shell)
    finding, edges = _visit(atlas, invariants, most)
    finding = finding or _first_stuck(atlas)
    states = {str(shell.decider.values[code[0]].state) for code in atlas.codes if code[0] >= 0}
    return Explored(
        scope,
        len(atlas.codes),
        edges,
        frozenset(states),
        frozenset(shell.decider.taken),
        finding,
    )


def _visit(
    atlas: Atlas, invariants: tuple[Invariant, ...], most: int
) -> tuple[Finding | None, int]:
    shell, codes, edges = atlas.shell, atlas.codes, 0
    of_world = [i for i in invariants if i.of_world is not None]
    sentences = {i.name: i for i in invariants}

    def finding(invariant: Invariant, story: Story) -> Finding:
        return Finding(invariant.name, invariant.sentence, shell.scope.name, story)

    for number, code in enumerate(codes):  # grows while it is walked
        world = shell.world(code)
        for invariant in of_world:
            if invariant.of_world is not None and not invariant.of_world(world):
                return finding(invariant, atlas.story(number)), edges
        found = shell.edges(code)
        edges += len(found)
        for what, after, _, broken in found:
            if broken:
                return finding(sentences[broken], atlas.story(number, (what, after))), edges
        atlas.note(number, found)
        if len(codes) > most:
            return finding(FINITE, atlas.story(len(codes) - 1)), edges
    return None, edges


def _first_stuck(atlas: Atlas) -> Finding | None:
    for setting, invariant in ENDINGS.items():
        stuck = atlas.stuck(setting)
        if stuck is not None:
            name = atlas.shell.scope.name
            return Finding(invariant.name, invariant.sentence, name, atlas.story(stuck))
    return None


def prove_scopes(
    spec: MachineSpec,
    decisions: Decisions,
    invariants: Iterable[Invariant] = (),
    *,
    scopes: tuple[Scope, ...] = SMALL,
    most: int = MOST_WORLDS,
    told: Callable[[Explored], object] | None = None,
    over: Over = map,
) -> Proof:
    """Explore scope after scope, up to the first violation.

    Args:
        spec: The machine.
        decisions: The code that decides.
        invariants: What is asked besides the invariants of every crawl.
        scopes: The settings.
        most: Worlds after which a scope counts as endless.
        told: Called with each result.
        over: Calls a function for each scope and gives its results in order, as `map` does.
    """
    asked = (*INVARIANTS, *invariants)
    done: list[Explored] = []
    for explored in over(lambda scope: explore(scope, spec, decisions, asked, most=most), scopes):
        done.append(explored)
        if told is not None:
            told(done[-1])
        if done[-1].finding is not None:
            break
    everything = (*asked, *ENDINGS.values(), FINITE)
    finding = done[-1].finding if done else None
    verdict = Verdict.HOLDS if finding is None else Verdict.OPEN
    verdicts = dict.fromkeys((i.name for i in everything), verdict)
    if finding is not None:
        verdicts[finding.name] = Verdict.VIOLATED
    reached = {state for explored in done for state in explored.states}
    taken = {step for explored in done for step in explored.taken}
    return Proof(
        tuple(done),
        verdicts,
        {i.name: i.sentence for i in everything},
        tuple(str(s.name) for s in spec.states if str(s.name) not in reached),
        tuple(_dead(spec, taken)),
    )


def _dead(spec: MachineSpec, taken: set[tuple[str, str, str]]) -> Iterable[str]:
    """Cells of the table that were never used."""
    for row in spec.rows:
        for source in row.sources:
            target = str(row.target if row.target is not None else source)
            if (str(row.trigger), str(source), target) not in taken:
                yield f"{row.trigger}: {source} -> {target}"
    for absorb in spec.absorbs:
        for state in absorb.states:
            for trigger in absorb.triggers:
                if (str(trigger), str(state), str(state)) not in taken:
                    yield f"{trigger}: absorbed in {state}"
