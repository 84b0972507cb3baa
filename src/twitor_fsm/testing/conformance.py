"""Whether a journal is a path that the machine allows, as an assertion.

Must not know: where a journal comes from, how it is replayed (`twitor_fsm.replaying`).
"""

from collections.abc import Iterable

from ..core.states import DEFAULT_SPEC, JournalRow, MachineSpec, SessionValue
from ..errors import JournalRefused
from ..replaying import replay

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
    value = SessionValue(spec.initial)
    try:
        for taken in replay(journal, spec):
            value = taken.after
    except JournalRefused as exc:
        raise AssertionError(str(exc)) from exc
    return value
