"""Whether a journal is a path that the machine allows: replayed through the very `step` that production runs.

Must not know: where a journal comes from.
"""

from collections.abc import Iterable

import attrs

from ..core.states import DEFAULT_SPEC, JournalRow, MachineSpec, SessionValue
from ..errors import IllegalStep
from ..machine import machine_for

__all__ = ["assert_conforms"]


def assert_conforms(
    journal: Iterable[JournalRow], spec: MachineSpec = DEFAULT_SPEC
) -> SessionValue:
    """Replay a session's journal; every row must be exactly what the machine makes of its event.

    Args:
        journal: All rows of one session, in order: `await engine.journal(session_id)`.
        spec: The machine that the session ran on.

    Returns:
        The session's value after the last row.

    Raises:
        AssertionError: Names the first row that the machine does not allow, and what it says instead.
    """
    machine, value = machine_for(spec), SessionValue(spec.initial)
    for number, row in enumerate(journal, start=1):
        where = f"row {number} ({_short(row)})"
        if row.spec != spec.fingerprint:
            raise AssertionError(
                f"{where} was written by another machine: its table has the fingerprint {row.spec}, "
                f"this one {spec.fingerprint}"
            )
        try:
            step = machine.step(value, row.trigger, row.to_facts())
        except IllegalStep as exc:
            raise AssertionError(f"{where} is not allowed: {exc}") from exc
        if step.journal is None:
            raise AssertionError(f"{where} is not allowed: {row.trigger} was absorbed before")
        _compare(where, row, step.journal)
        value = step.session
    return value


def _compare(where: str, row: JournalRow, allowed: JournalRow) -> None:
    for name in (field.name for field in attrs.fields(JournalRow)):
        written, expected = getattr(row, name), getattr(allowed, name)
        if name == "facts":  # a key may hold None or be left out
            written = {key: value for key, value in written.items() if value is not None}
        if written != expected:
            raise AssertionError(
                f"{where} is not what the machine makes of its event: {name} is {written!r}, "
                f"the machine says {expected!r}"
            )


def _short(row: JournalRow) -> str:
    category = f", {row.category}" if row.category is not None else ""
    return f"{row.seq}: {row.trigger} in {row.source} -> {row.target}{category}"
