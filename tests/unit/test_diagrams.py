"""What a picture says is what the table says, in every text format; no name acts as anything but text."""

import pytest

from twitor_fsm.core.states import DEFAULT_SPEC, Kind, MachineSpec, Row, StateDef
from twitor_fsm.diagrams import FORMATS, Format, render
from twitor_fsm.diagrams.graph import Edge, Event, Graph
from twitor_fsm.diagrams.mermaid import escaped
from twitor_fsm.diagrams.scene import scene_of
from twitor_fsm.diagrams.text import clipped, visible, width
from twitor_fsm.errors import ConfigurationError


def test_there_is_one_edge_per_pair_of_states_with_all_its_events() -> None:
    graph = Graph.of(DEFAULT_SPEC)

    pairs = [edge.pair for edge in graph.edges]
    assert len(pairs) == len(set(pairs)) == 17
    drawn = sum(len(edge.events) for edge in graph.edges)
    assert drawn == sum(len(row.sources) for row in DEFAULT_SPEC.rows)
    assert (
        Edge(
            "running",
            "aborting",
            (
                Event(
                    "network_failed",
                    "no_tries_left",
                    ("save_checkpoint", "run_cleanup"),
                ),
                Event("auth_failed", None, ("run_cleanup",)),
            ),
        )
        in graph.edges
    )


def test_a_row_without_a_target_is_a_loop_on_each_of_its_states() -> None:
    loops = {edge.source for edge in Graph.of(DEFAULT_SPEC).edges if edge.is_loop}

    assert loops == {"running", "retrying", "paused_rate_limit"}


@pytest.mark.parametrize("format_", ["mermaid", "dot"])
def test_every_state_trigger_guard_and_effect_is_written(format_: Format) -> None:
    drawn = str(render(format=format_)).replace("#91;", "[").replace("#93;", "]")

    words = [str(state.name) for state in DEFAULT_SPEC.states]
    for row in DEFAULT_SPEC.rows:
        words += [str(row.trigger), *map(str, row.effects)]
        words += [f"{row.trigger} [{row.guard}]"] if row.guard else []
    assert [word for word in words if word not in drawn] == []


def test_the_description_tells_every_edge_in_words() -> None:
    said = scene_of(DEFAULT_SPEC).description

    assert "From paused_rate_limit to running: resume." in said
    assert said.count("From ") == len(Graph.of(DEFAULT_SPEC).edges)
    assert escaped(said) in render()


def test_an_extended_machine_is_drawn_with_what_it_adds() -> None:
    spec = DEFAULT_SPEC.extend(
        states=(StateDef("warming_up", Kind.WORK),),
        rows=(
            Row("warm_up", ("running",), "warming_up"),
            Row("warm", ("warming_up",), "running"),
        ),
    )

    drawn = render(spec)
    assert "<b>warming_up</b>" in drawn
    assert '["warm_up"]' in drawn


def machine_named(state: str, trigger: str) -> MachineSpec:
    """A machine of one step."""
    return MachineSpec(
        states=(StateDef(state, Kind.WORK), StateDef("end", Kind.FINAL)),
        initial=state,
        rows=(Row(trigger, (state,), "end"),),
    )


def test_names_with_markup_add_no_line_quote_or_tag() -> None:
    plain = machine_named("a", "go")
    hostile = machine_named('a"]; <script>', "go: --> [*]\n%%")

    for format_ in ("mermaid", "dot"):
        before, after = str(render(plain, format=format_)), str(render(hostile, format=format_))
        assert len(before.splitlines()) == len(after.splitlines())
        assert "<script" not in after
        assert before.replace('\\"', "").count('"') == after.replace('\\"', "").count('"')


def test_marks_of_direction_and_control_characters_are_shown_and_not_obeyed() -> None:
    assert visible("a\u202eb\x1b[0m\u2028c\td") == r"a\u202eb\x1b[0m c d"
    for format_ in ("mermaid", "dot"):
        drawn = str(render(machine_named("a\u202eb", "c\u2066\x07d"), format=format_))
        assert all(char.isprintable() or char in "\n\u2060" for char in drawn)


def test_a_name_that_is_too_long_is_cut() -> None:
    assert clipped("x" * 60) == "x" * 60
    assert clipped("x" * 61) == "x" * 59 + "…"


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0.0, 0.0),
        ("iiii", 11.0, 11.2),
        ("WWWW", 39.5, 39.6),
        ("中文", 20.0, 20.0),
        ("e\u0301", 6.1, 6.2),
        ("ЖЖ", 21.5, 22.0),
    ],
)
def test_width_is_an_upper_bound_of_what_a_common_font_needs(
    text: str, least: float, most: float
) -> None:
    assert least <= width(text, 10.0) <= most


def test_bold_text_is_wider() -> None:
    assert width("running", 13.0, bold=True) > width("running", 13.0)


def test_an_unknown_format_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="no format 'gif'; nothing was drawn"):
        render(format="gif")  # type: ignore[call-overload]
    assert FORMATS == ("mermaid", "dot", "svg", "png")


def test_what_is_no_machine_at_all_is_refused_with_what_is_one() -> None:
    with pytest.raises(ConfigurationError, match=r"not a str; nothing was drawn.*DEFAULT_SPEC"):
        render("svg")  # type: ignore[call-overload]
