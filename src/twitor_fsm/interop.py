"""The table for others: as a configuration that the library `transitions` loads by itself.

Imports nothing of that library: what comes out is plain values, good for JSON and YAML too.
Must not know: sessions, how our own machine runs.
"""

from typing import Any

from .core.states import DEFAULT_SPEC, Kind, MachineSpec

__all__ = ["to_transitions"]


def to_transitions(spec: MachineSpec = DEFAULT_SPEC) -> dict[str, Any]:
    """A machine as keyword arguments of `transitions.Machine`.

        Machine(model, **to_transitions(spec))

    The model needs a method for each guard (it says whether the row applies) and for each effect (called in order,
    before the state changes). Events that a session absorbs while it ends are internal transitions there: they
    change nothing, and calling them again is allowed too.

    Returns:
        `states`, `initial`, `transitions` and the options under which they mean the same as here.
    """
    return {
        "states": [
            {"name": str(state.name), "final": state.kind is Kind.FINAL} for state in spec.states
        ],
        "initial": str(spec.initial),
        "transitions": [
            *(
                {
                    "trigger": str(row.trigger),
                    "source": [str(source) for source in row.sources],
                    "dest": "=" if row.target is None else str(row.target),
                    "conditions": [str(row.guard)] if row.guard is not None else [],
                    "before": [str(effect) for effect in row.effects],
                }
                for row in spec.rows
            ),
            *(
                {
                    "trigger": str(trigger),
                    "source": [str(state) for state in absorb.states],
                    "dest": None,
                }
                for absorb in spec.absorbs
                for trigger in absorb.triggers
            ),
        ],
        "auto_transitions": False,
        "send_event": False,
        "queued": False,
    }
