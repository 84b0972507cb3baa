"""Draws a machine's table as Mermaid text: one edge per pair of states, one line per event.

Must not know: sessions, files, renderers. Everything drawn comes from the `MachineSpec`.
"""

from collections.abc import Iterator

from .core.states import DEFAULT_SPEC, Kind, MachineSpec

__all__ = ["mermaid"]

_ESCAPES = {c: f"#{ord(c)};" for c in '#;:"<>{}[]|&%\\'}


def mermaid(spec: MachineSpec = DEFAULT_SPEC) -> str:
    """The machine as a Mermaid state diagram.

    Args:
        spec: The machine.

    Returns:
        Text that Mermaid (and so GitHub) renders; every name is escaped.
    """
    names = {str(state.name): f"s{number}" for number, state in enumerate(spec.states)}
    lines = ["stateDiagram-v2", "    direction LR", f"    [*] --> {names[str(spec.initial)]}"]
    lines += [f'    state "{_escape(name)}" as {short}' for name, short in names.items()]
    for (source, target), events in _edges(spec).items():
        label = "<br/>".join(_escape(event) for event in events)
        lines.append(f"    {names[source]} --> {names[target]} : {label}")
    lines += [
        f"    {names[str(state.name)]} --> [*]" for state in spec.states if state.kind is Kind.FINAL
    ]
    return "\n".join(lines) + "\n"


def _edges(spec: MachineSpec) -> dict[tuple[str, str], list[str]]:
    edges: dict[tuple[str, str], list[str]] = {}
    for source, target, event in _events(spec):
        edges.setdefault((source, target), []).append(event)
    return edges


def _events(spec: MachineSpec) -> Iterator[tuple[str, str, str]]:
    for row in spec.rows:
        event = str(row.trigger) + (f" [{row.guard}]" if row.guard is not None else "")
        for source in row.sources:
            yield str(source), str(row.target if row.target is not None else source), event


def _escape(text: str) -> str:
    return "".join(
        _ESCAPES.get(c, c if c.isprintable() else f"#{ord(c)};") for c in " ".join(text.split())
    )
