"""What the verbs say of a database on a medium that cannot be written: a mount of its own, real and for one process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

READ_ONLY = (
    "unshare", "-rm", "sh", "-c",
    'mount --bind medium medium && mount -o remount,ro,bind medium && exec "$@"', "-",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `medium/d.db`, with one crawl; skips where there is no such mount."""
    tmp_path = tmp_path_factory.mktemp("read_only")
    (tmp_path / "medium").mkdir()
    tried = subprocess.run(
        [*READ_ONLY, "touch", "medium/x"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    if "Read-only file system" not in tried.stderr:
        pytest.skip(f"this system makes no read-only mount for us: {tried.stderr}")
    page = {"data": [{"id": "1", "text": "a"}], "meta": {"result_count": 1}}
    (tmp_path / "page.json").write_text(json.dumps(page), "utf-8")
    assert twitor(tmp_path, "crawl", "page.json", "--db", "medium/d.db", before=()).returncode == 0
    return tmp_path


def twitor(
    folder: Path, *args: str, before: tuple[str, ...] = READ_ONLY
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "VALKEY_URL"}
    return subprocess.run(
        [*before, sys.executable, "-m", "twitor_fsm.cli", *args],
        cwd=folder,
        env={**kept, "X_BEARER_TOKEN": "t" * 30},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("database", "verb"),
    [
        ("d.db", ("worker",)),
        ("new.db", ("worker",)),
        ("d.db", ("enqueue", "crawl", "--user", "42")),
        ("d.db", ("queue", "stats")),
    ],
)
def test_the_embedded_queue_is_refused_with_a_word(
    folder: Path, verb: tuple[str, ...], database: str
) -> None:
    result = twitor(folder, *verb, "--db", f"medium/{database}")

    assert result.returncode == 14, result.stderr
    assert f"the folder {folder / 'medium'} is read-only" in result.stderr
    assert "nothing was changed. Allow writing to that folder" in result.stderr
    assert [file.name for file in (folder / "medium").iterdir()] == ["d.db"]


def test_an_upgrade_says_that_the_file_is_read_only(folder: Path) -> None:
    result = twitor(folder, "db", "upgrade", "--db", "medium/d.db")

    assert result.returncode == 14
    assert f"the database {folder / 'medium' / 'd.db'} is read-only; nothing was changed" in (
        result.stderr
    )


def checks(folder: Path, database: str) -> dict[str, dict[str, Any]]:
    result = twitor(folder, "doctor", "--offline", "--json", "--db", database)
    assert result.returncode == 1, result.stderr
    return {check["name"]: check for check in json.loads(result.stdout)["checks"]}


def test_the_doctor_reads_what_can_be_read(folder: Path) -> None:
    found = checks(folder, "medium/d.db")

    looked_at = (
        "database",
        "permissions",
        "integrity",
        "journal_mode",
        "schema",
        "checkpoints",
        "retries",
    )
    assert {name: found[name]["verdict"] for name in looked_at} == dict.fromkeys(looked_at, "ok")
    assert found["writing"]["verdict"] == "fail"
    assert "is read-only" in found["writing"]["detail"]


def test_the_doctor_does_not_say_that_a_crawl_makes_what_cannot_be_made(folder: Path) -> None:
    found = checks(folder, "medium/new.db")["database"]

    assert (found["verdict"], "crawl" in found["remedy"]) == ("fail", False)
    assert "cannot be made" in found["detail"]
