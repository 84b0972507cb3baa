"""A crawl whose disk fills up, in a process of its own: what went wrong is said once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKS = 600
"""How large a file may become, in units of 512 bytes: the tables fit, the crawl does not."""

WORDS = "the database's file failed"


def crawl_until_full(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    posts = [{"id": str(10**18 + n), "text": "t" * 300, "author_id": "7"} for n in range(3000)]
    (folder / "posts.json").write_text(json.dumps({"data": posts}))
    crawl = [sys.executable, "-m", "twitor_fsm.cli", "crawl", "posts.json", "--user-id", "42"]
    return subprocess.run(
        ["/bin/sh", "-c", f'ulimit -f {BLOCKS} && exec "$@"', "sh", *crawl, *options],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("options", [(), ("--quiet",)], ids=["plain", "quiet"])
def test_what_went_wrong_with_the_disk_is_said_once(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    ended = crawl_until_full(tmp_path, *options)

    assert ended.returncode == 14, ended.stderr
    assert ended.stderr.count(WORDS) == 1, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("twitor: reading or writing")
    if options != ("--quiet",):
        assert "the database failed; ending without it" in ended.stderr


def test_the_log_has_it_for_who_asks(tmp_path: Path) -> None:
    ended = crawl_until_full(tmp_path, "-v")

    assert ended.returncode == 14
    assert [line for line in ended.stderr.splitlines() if WORDS in line and "[error" in line]
