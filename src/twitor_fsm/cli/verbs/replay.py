"""`twitor replay`: a session's journal, taken through the machine again step by step."""

from typing import TYPE_CHECKING, Any

import click

from ..failures import Failure
from ..machines import machine, machine_of, refused
from ..options import common
from ..terminal import emit, printable, tell
from ..words import clock_time, duration, state_colour

if TYPE_CHECKING:
    from ...core.states import SessionValue
    from ...replaying import Replayed
    from ..journals import Taken

SECTION = "Look"


@click.command(short_help="Take a session's journal through the machine again.")
@click.argument("of", metavar="[ID|FILE]", required=False)
@common
@click.option("--until", metavar="N", type=click.IntRange(min=1), help="Stop after step N.")
@machine
def command(
    of: str | None,
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    until: int | None,
    machine: str | None,
) -> int:
    """Take each step of a journal again, and show trigger, guard, effects and state.

    ID is a session (without one the newest), FILE what `sessions show ID --journal` wrote; - is
    stdin. A journal that the machine does not allow is refused at its first wrong row.
    """
    from ...errors import JournalRefused

    taken = _taken(of, db)
    spec = machine_of(machine)
    steps: list[Replayed] = []
    try:
        _take(taken, spec, steps, until, as_json=as_json)
    except JournalRefused as exc:
        raise refused(taken.name, exc, machine) from exc
    damage = taken.damage("taken through the machine")
    if damage is not None and (until is None or len(steps) < until):
        raise damage
    if until is None:
        _compare(taken, steps)
    value = steps[-1].after if steps else None
    if as_json:
        emit(
            {
                "of": taken.name,
                "steps": [_shape(step) for step in steps],
                "value": None if value is None else _value_shape(value),
                "whole": len(steps) == len(taken.rows),
            }
        )
    elif value is None:
        tell(f"{taken.name} has no step yet: it is in {spec.initial}")
    else:
        _close(taken, steps, value)
    return 0


def _taken(of: str | None, db: str | None) -> "Taken":
    from ..journals import from_database, from_file, is_file_name

    if of is not None and is_file_name(of):
        return from_file(of)
    return from_database(db, of)


def _take(
    taken: "Taken", spec: Any, steps: "list[Replayed]", until: int | None, *, as_json: bool
) -> None:
    """Take steps and tell each, so that all that is right is seen before what is wrong."""
    from ...replaying import replay

    for step in replay(taken.rows, spec):
        steps.append(step)
        if not as_json:
            _tell(step, began=steps[0].row.at)
        if until is not None and step.position >= until:
            return


def _compare(taken: "Taken", steps: "list[Replayed]") -> None:
    """The session's own row must say what its journal leads to. Raises `Failure`."""
    if taken.record is None or not steps:
        return
    said, led = taken.record.value, steps[-1].after
    if (str(said.state), said.tries, said.seq) != (led.state, led.tries, led.seq):
        raise Failure(
            f"the journal leads to {led.state} (step {led.seq}), but {taken.name} is kept as {said.state} "
            f"(step {said.seq}); nothing was changed. This is a bug, or somebody wrote into the database",
            1,
        )


def _tell(step: "Replayed", *, began: float) -> None:
    row = step.row
    kept = row.source == row.target
    change = f"stays {row.target}" if kept else f"{row.source} -> {row.target}"
    told = "absorbed, changes nothing" if row.absorbed else ", ".join(step.effects) or "no effect"
    if row.category is not None or row.reason is not None:
        why = (row.reason or "").replace("_", " ")
        told += f"; {row.category.value}: {why}" if row.category else f"; {why}"
    if row.delay_s:
        told += f"; wait {duration(row.delay_s)}"
    if row.tries:
        told += f"; failure {row.tries} of {row.tries_allowed}"
    at = f"{clock_time(row.at, now=began)} +{duration(row.at - began)}"
    tell(printable(f"{row.seq:>4}  {at}  {step.title}"))
    tell(printable(f"      {change}"), colour=state_colour(row.target))
    tell(printable(f"      {told}"))


def _close(taken: "Taken", steps: "list[Replayed]", value: "SessionValue") -> None:
    left = len(taken.rows) - len(steps)
    tell("", f"state {value.state}, tries {value.tries}, step {value.seq}", bold=True)
    if value.retry_at is not None:
        tell(f"tries again at {clock_time(value.retry_at, now=steps[-1].row.at)}")
    if value.resume_at is not None:
        tell(f"resumes at {clock_time(value.resume_at, now=steps[-1].row.at)}")
    tell(
        f"{left} more steps in the journal"
        if left
        else f"the machine allows all {len(steps)} steps of {taken.name}"
    )


def _shape(step: "Replayed") -> dict[str, Any]:
    from ...journal import row_shape

    return row_shape(step.row) | {
        "guard": step.rule.guard if step.rule is not None else None,
        "effects": list(step.effects),
    }


def _value_shape(value: "SessionValue") -> dict[str, Any]:
    return {
        "state": value.state,
        "seq": value.seq,
        "tries": value.tries,
        "retry_at": value.retry_at,
        "resume_at": value.resume_at,
        "category": value.category.value if value.category else None,
        "reason": value.reason,
    }
