"""Another program's SQLite file: the command line leaves it untouched, unless it is told to put its tables there."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from twitor_fsm.cli.app import twitor

Run = Callable[..., Result]

VERBS = {
    "crawl": ("crawl", "posts.json", "--user-id", "42"),
    "demo": ("demo",),
    "worker": ("worker",),
    "enqueue": ("enqueue", "crawl", "--user", "42"),
    "status": ("status",),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A folder with posts, and with the file of another program in which there is a row."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "VALKEY_URL", "TWITOR_TOKEN_DIR", "TWITOR_METRICS_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("X_BEARER_TOKEN", "a-token")
    Path("posts.json").write_text(json.dumps({"data": [{"id": "1" * 19, "text": "t"}]}))
    with closing(sqlite3.connect("photos.db")) as db:
        db.execute("CREATE TABLE photo (name TEXT)")
        db.execute("CREATE VIEW newest AS SELECT name FROM photo")
        db.execute("INSERT INTO photo VALUES ('a cat')")
        db.commit()

    def invoke(*args: str) -> Result:
        return CliRunner().invoke(twitor, [*args, "--db", "photos.db"], prog_name="twitor")

    return invoke


@pytest.mark.parametrize("verb", VERBS)
def test_it_is_refused_and_left_untouched(run: Run, verb: str) -> None:
    before = Path("photos.db").read_bytes()

    refused = run(*VERBS[verb])

    assert refused.exit_code == 2, refused.output
    assert "photos.db is another program's database (newest, photo)" in refused.stderr
    assert "left untouched" in refused.stderr
    assert "twitor db upgrade --db photos.db" in refused.stderr
    assert Path("photos.db").read_bytes() == before
    assert {file.name for file in Path().iterdir() if file.is_file()} == {"photos.db", "posts.json"}


def test_told_to_it_puts_its_tables_beside_the_others(run: Run) -> None:
    assert run("db", "upgrade").exit_code == 0
    crawled = run(*VERBS["crawl"])
    assert crawled.exit_code == 0, crawled.output
    assert run("export").stdout.count("\n") == 1
    with closing(sqlite3.connect("photos.db")) as db:
        assert db.execute("SELECT name FROM photo").fetchall() == [("a cat",)]


def test_a_file_without_tables_is_nobodys(run: Run) -> None:
    Path("photos.db").unlink()
    Path("photos.db").touch()
    assert run(*VERBS["crawl"]).exit_code == 0
