"""`twitor verify`: explores every error sequence, and says what is proved by that."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from ..options import json_flag
from ..terminal import emit, say, table, tell
from ..words import count

if TYPE_CHECKING:
    from ...core.checking.proof import Explored, Finding, Proof

SECTION = "Look"

_COLOURS: Final = {"holds": "green", "violated": "red", "open": "yellow"}


@click.command(short_help="Prove what is promised, for every error sequence.")
@click.option(
    "--full", is_flag=True, help="The real numbers (25 items, a checkpoint every 10, 5 tries) too."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    help="Simulate a whole deployment from this seed instead, and print what happens in it.",
)
@json_flag
def command(full: bool, seed: int | None, as_json: bool) -> int:  # noqa: FBT001 - click passes by name
    """Explore every world that a crawl can come into, whatever fails, however often, in whatever order.

    Needs no database, account or network. Ends with 0 if everything holds, else 1.
    """
    if seed is not None:
        return _simulated(seed, as_json=as_json)
    from ...clock import SystemClock

    clock = SystemClock()
    proof, after = _explored(clock.monotonic, full=full, quiet=as_json)
    code = 0 if proof.holds else 1
    if as_json:
        emit({**_shape(proof, after), "exit_code": code})
        return code
    _show(proof, after)
    return code


def _simulated(seed: int, *, as_json: bool) -> int:
    """The story of one seed; the same each time, so that a failure can be looked at again."""
    import logging

    from ...testing.simulation import SimulationFailed, simulate

    logging.disable(logging.CRITICAL)  # the trace says it
    wrong = None
    try:
        lines = simulate(seed).lines
    except SimulationFailed as exc:
        wrong, lines = exc.wrong, exc.lines
    finally:
        logging.disable(logging.NOTSET)
    code = 0 if wrong is None else 1
    if as_json:
        emit(
            {
                "seed": seed,
                "holds": wrong is None,
                "wrong": wrong,
                "trace": lines,
                "exit_code": code,
            }
        )
        return code
    tell(*lines)
    if wrong is not None:
        tell(f"seed {seed}: {wrong}", colour="red", bold=True)
    return code


def _explored(
    monotonic: Callable[[], float], *, full: bool, quiet: bool
) -> "tuple[Proof, list[float]]":
    """The proof, and the seconds after which each scope was explored: several are at a time."""
    from ...core.checking.scope import FULL, SMALL
    from ...proving import prove

    begin, after = monotonic(), list[float]()

    def told(explored: "Explored") -> None:
        after.append(monotonic() - begin)
        if not quiet:
            say(_scope_line(explored, after[-1]))

    scopes = (*SMALL, *FULL) if full else SMALL
    proof = prove(scopes=scopes, told=told, processes=os.cpu_count() or 1)
    return proof, after


def _scope_line(explored: "Explored", after_s: float) -> str:
    scope = explored.scope
    return (
        f"{scope.name:<10} {explored.worlds:>9,} worlds {explored.edges:>11,} edges, after {after_s:>5.1f} s"
        f"   {scope.sentence}"
    )


def _show(proof: "Proof", after: list[float]) -> None:
    total = after[-1]
    tell(
        f"{proof.worlds:,} worlds, {proof.edges:,} edges in {total:.1f} s "
        f"({proof.worlds / max(total, 1e-9):,.0f} worlds/s)",
        bold=True,
    )
    for name, verdict in proof.verdicts.items():
        tell(f"  {verdict:<8}  {proof.sentences[name]}", colour=_COLOURS[verdict])
    unreached = ", ".join(proof.unreached) or "none"
    dead = count(len(proof.dead), "cell")
    tell(
        *table(
            [
                ("states that no world is in", unreached),
                (
                    "cells that no world takes",
                    f"{dead}   (--json names them)" if proof.dead else dead,
                ),
            ]
        )
    )
    if proof.finding is not None:
        _show_finding(proof.finding)
    tell("", f"what this means: {proof.claim}")


def _show_finding(finding: "Finding") -> None:
    tell("", f"violated: {finding.sentence}", colour="red", bold=True)
    tell(f"  in scope {finding.scope}: {finding.story}", "")
    tell(*finding.story.mermaid().splitlines())


def _shape(proof: "Proof", after: list[float]) -> dict[str, Any]:
    total, finding = after[-1], proof.finding
    return {
        "holds": proof.holds,
        "claim": proof.claim,
        "worlds": proof.worlds,
        "edges": proof.edges,
        "seconds": round(total, 3),
        "worlds_per_s": round(proof.worlds / max(total, 1e-9)),
        "invariants": [
            {"name": name, "verdict": str(verdict), "sentence": proof.sentences[name]}
            for name, verdict in proof.verdicts.items()
        ],
        "scopes": [
            {
                "name": explored.scope.name,
                "sentence": explored.scope.sentence,
                "worlds": explored.worlds,
                "edges": explored.edges,
                "after_s": round(after_s, 3),
            }
            for explored, after_s in zip(proof.explored, after, strict=True)
        ],
        "unreached_states": list(proof.unreached),
        "dead_cells": list(proof.dead),
        "violation": None
        if finding is None
        else {
            "invariant": finding.name,
            "scope": finding.scope,
            "sequence": str(finding.story),
            "mermaid": finding.story.mermaid(),
        },
    }
