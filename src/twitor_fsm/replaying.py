"""Takes a journal through its machine again: the same events must lead through the same states.

Must not know: files, databases, pictures. Judges a journal by nothing but the table.
"""

from collections.abc import Iterable, Iterator

import attrs

from .core.states import (
    DEFAULT_SPEC,
    Draft,
    JournalRow,
    MachineSpec,
    Row,
    SessionValue,
)
from .errors import IllegalStep, JournalRefused
from .machine import machine_for

__all__ = ["Replayed", "replay"]


@attrs.frozen
class Replayed:
    """One step, taken again.

    Attributes:
        position: Which row of the journal it is, from 1.
        row: What the journal says.
        before: The session's value before it.
        after: The session's value after it.
        effects: What the step asked for, in order.
        rule: The row of the table that allowed it; None for an absorbed event.
    """

    position: int
    row: JournalRow
    before: SessionValue
    after: SessionValue
    effects: tuple[str, ...]
    rule: Row | None

    @property
    def title(self) -> str:
        """The trigger, and in brackets the guard that held."""
        guard = self.rule.guard if self.rule is not None else None
        return self.row.trigger if guard is None else f"{self.row.trigger} [{guard}]"


def replay(journal: Iterable[JournalRow], spec: MachineSpec = DEFAULT_SPEC) -> Iterator[Replayed]:
    """Take a journal's events through the machine, one by one.

    Args:
        journal: Rows in order, from the session's first.
        spec: The machine that it was written with.

    Yields:
        Each step as soon as it has been taken, so that a wrong row is met after all that came before it.

    Raises:
        JournalRefused: A row was written with another table, or is not what the machine does; names the first one.
    """
    machine = machine_for(spec)
    value = SessionValue(str(spec.initial))
    for position, row in enumerate(journal, 1):
        if row.spec != spec.fingerprint:
            raise JournalRefused(
                position,
                row.seq,
                f"it was written with another table ({row.spec}); this one is {spec.fingerprint}",
            )
        _check_place(position, row, value)
        facts = row.to_facts()
        rule = _rule(spec, value, row) if not row.absorbed else None
        try:
            step = machine.step(value, row.trigger, facts)
        except IllegalStep as exc:
            raise JournalRefused(
                position, row.seq, f"the machine allows no {row.trigger} in {value.state}"
            ) from exc
        if step.journal is None:
            raise JournalRefused(
                position, row.seq, f"{row.trigger} was absorbed before, so it is journalled once"
            )
        _check_outcome(position, row, step.journal)
        yield Replayed(position, row, value, step.session, step.effects, rule)
        value = step.session


def _check_place(position: int, row: JournalRow, value: SessionValue) -> None:
    if row.seq != value.seq + 1:
        raise JournalRefused(
            position, row.seq, f"step {value.seq + 1} was expected; rows are missing or doubled"
        )
    if row.source != value.state:
        raise JournalRefused(
            position, row.seq, f"it begins in {row.source}, but the session is in {value.state}"
        )


def _check_outcome(position: int, row: JournalRow, again: JournalRow) -> None:
    for name in (field.name for field in attrs.fields(JournalRow)):
        said, is_so = getattr(row, name), getattr(again, name)
        if name == "facts":  # a key may hold None or be left out
            said = {key: value for key, value in said.items() if value is not None}
        if said != is_so:
            raise JournalRefused(
                position, row.seq, f"its {name} is {said}, but {row.trigger} gives {is_so}"
            )


def _rule(spec: MachineSpec, value: SessionValue, row: JournalRow) -> Row | None:
    """The row of the table that this event takes: the first whose guard holds, as in the machine."""
    draft = Draft(value.state, value.tries, value.retry_at, value.resume_at, row.to_facts(), [])
    for rule in spec.rows:
        is_here = rule.trigger == row.trigger and value.state in rule.sources
        if is_here and (rule.guard is None or spec.guards[rule.guard](draft)):
            return rule
    return None
