"""A large file of bookmarks, read by the real command, killed twice on its way: memory, speed, and what is stored.

Usage: big_file.py [--mb N] [--keep FOLDER]: writes JSON Lines as fieldtheory-cli does, N MB of them (default 50), runs
`twitor crawl FILE`, kills it with SIGKILL at a third and at two thirds of the bookmarks, and lets it end. Prints the
peak memory of each of the three processes, their progress lines, and fails unless each bookmark is stored exactly once.
"""

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import attrs

POLL_S = 0.1
TEXT = 'a text of "usual" length, with a line\nand \U0001f600 more ' * 4


def record(number: int) -> str:
    """One bookmark as a line of some 2 KB."""
    picture = {"type": "photo", "url": f"https://pbs.twimg.com/media/{number}.jpg", "width": 1200}
    return json.dumps(
        {
            "id": str(10**18 + number),
            "tweetId": str(10**18 + number),
            "url": f"https://x.com/somebody/status/{10**18 + number}",
            "text": f"{number} {TEXT}",
            "authorHandle": "somebody",
            "authorName": "Some Body",
            "author": {"id": "7", "handle": "somebody", "bio": "words " * 40},
            "postedAt": "Wed May 01 04:34:56 +0000 2024",
            "bookmarkedAt": None,
            "syncedAt": "2026-04-08T10:00:00.000Z",
            "engagement": {"likeCount": 5, "repostCount": 0, "viewCount": 1234},
            "mediaObjects": [picture] * 4,
            "links": ["https://example.org/some/long/path"] * 3,
            "ingestedVia": "graphql",
            "sortIndex": str(2 * 10**18 - number),
        },
        ensure_ascii=False,
    )


def write(path: Path, megabytes: int) -> int:
    """Write the file; how many bookmarks that is."""
    size, number = megabytes * 1_000_000, 0
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            file.write("".join(record(n) + "\n" for n in range(number, number + 100)))
            number += 100
    return number


def stored(database: Path) -> int:
    """How many bookmarks the database has now; 0 before there is one."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT coalesce(max(id), 0) FROM twitor_bookmark").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


@attrs.frozen
class Run:
    """What one process did."""

    seconds: float
    peak_mib: float
    exit_code: int
    said: list[str]


def run(file: Path, database: Path, kill_at: int | None) -> Run:
    """Crawl the file; kill the process when so many bookmarks are stored."""
    begun, peak = time.perf_counter(), 0.0
    command = [sys.executable, "-m", "twitor_fsm.cli", "crawl", str(file), "--db", str(database)]
    said = database.with_suffix(".said")
    with said.open("w+", encoding="utf-8") as stderr:
        process = subprocess.Popen(command, stderr=stderr, stdout=stderr)
        while process.poll() is None:
            peak = max(peak, peak_mib(process.pid))
            if kill_at is not None and stored(database) >= kill_at:
                process.kill()
            time.sleep(POLL_S)
        stderr.seek(0)
        lines = stderr.read().splitlines()
    return Run(time.perf_counter() - begun, peak, process.returncode, lines)


def peak_mib(pid: int) -> float:
    """The most memory that a process has held so far, MiB; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) / 1024 if found else 0.0


def main() -> None:
    """Write, crawl, kill, crawl, kill, crawl, count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=int, default=50)
    parser.add_argument("--keep", type=Path, help="folder for the file and the database")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = options.keep or Path(folder)
        file, database = home / "bookmarks.jsonl", home / "big.db"
        begun = time.perf_counter()
        number = write(file, options.mb)
        size = file.stat().st_size
        print(
            f"{size / 1e6:,.0f} MB, {number:,} bookmarks, written in {time.perf_counter() - begun:.0f} s"
        )
        runs = [run(file, database, kill) for kill in (number // 3, number * 2 // 3, None)]
        for each in runs:
            print(
                f"{each.seconds:6.1f} s  peak {each.peak_mib:5.0f} MiB  exit code {each.exit_code}"
            )
            for line in [line for line in each.said if " stored, " in line][-2:]:
                print(f"          {line}")
        with closing(sqlite3.connect(database)) as db:
            query = "SELECT count(*), count(DISTINCT item_id) FROM twitor_bookmark"
            rows, distinct = db.execute(query).fetchone()
        total = sum(each.seconds for each in runs)
        print(
            f"{rows:,} rows of {number:,} bookmarks, {number / total:,.0f} a second, killed twice"
        )
        if not rows == distinct == number or runs[-1].exit_code != 0:
            print("\n".join(runs[-1].said[-5:]))
            sys.exit("not every bookmark is stored exactly once")


if __name__ == "__main__":
    main()
