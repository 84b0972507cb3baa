"""The picture says what the table says."""

from pathlib import Path

from twitor_fsm.core.states import DEFAULT_SPEC, Kind, MachineSpec, Row, StateDef
from twitor_fsm.diagrams import mermaid

ROOT = Path(__file__).parents[2]


def test_the_committed_diagram_and_the_readme_show_the_present_table() -> None:
    drawn = mermaid()

    assert (ROOT / "diagrams" / "machine.mmd").read_text() == drawn, "run: make diagrams"
    assert f"```mermaid\n{drawn}```" in (ROOT / "README.md").read_text(), "run: make diagrams"


def test_there_is_one_edge_per_pair_of_states_with_all_its_events() -> None:
    lines = mermaid().splitlines()
    edges = [line.partition(" : ")[0].strip() for line in lines if " : " in line]

    assert len(edges) == len(set(edges))
    events = sum(line.count("<br/>") + 1 for line in lines if " : " in line)
    assert events == sum(len(row.sources) for row in DEFAULT_SPEC.rows)


def test_names_with_markup_are_drawn_as_text() -> None:
    spec = MachineSpec(
        states=(StateDef('a"]; <script>', Kind.WORK), StateDef("b", Kind.FINAL)),
        initial='a"]; <script>',
        rows=(Row("go: --> [*]\n%%", ('a"]; <script>',), "b"),),
    )

    drawn = mermaid(spec)

    assert "<script>" not in drawn
    assert drawn.count('"') == 2 * len(spec.states)
    assert "--> [*]\n%%" not in drawn
