"""The power goes at any moment: what was reported durable is there, nothing is torn, and the crawl goes on from it.

Once by cutting the log that SQLite left, at every frame and within it; once from the writes and syncs that the process
really made, taken from it by a preloaded library.
"""

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from disks import Disk, acts_of
from faulty_sql import TRUTH, Faults, SmallCrawl

from twitor_fsm.events import CheckpointSaved, Event
from twitor_fsm.testing.soundness import Holdings, assert_sound
from twitor_fsm.testing.tapping import Call

HERE = Path(__file__).parent
HEADER, FRAME = 32, 24 + 4096
"""Bytes of the log's header and of a frame. Source: https://www.sqlite.org/fileformat2.html#the_write_ahead_log"""


# -- the log, cut --------------------------------------------------------------------------------


@attrs.frozen
class Promise:
    """A checkpoint that observers were told of, and how long the log was then."""

    size: int
    stored: int


@attrs.frozen
class Recorded:
    """The files as they were just after the crawl's last commit, and what had been promised until then.

    Attributes:
        database: The file itself; nothing was copied into it from the log yet.
        log: All frames.
        commits: Length of the log after each commit that wrote.
        promises: In order.
    """

    database: bytes
    log: bytes
    commits: tuple[int, ...]
    promises: tuple[Promise, ...]

    def cut(self, folder: Path, log: bytes) -> Path:
        """The database as it is when only this of the log has reached the disk."""
        path = folder / "cut.db"
        path.write_bytes(self.database)
        path.with_name("cut.db-wal").write_bytes(log)
        path.with_name("cut.db-shm").unlink(missing_ok=True)
        return path


@pytest.fixture
async def recorded(tmp_path: Path) -> Recorded:
    """A crawl into a new file, whose log is copied before it is closed."""
    path, copy = tmp_path / "bookmarks.db", tmp_path / "copy.db"
    log = path.with_name("bookmarks.db-wal")
    sizes: list[int] = []
    promises: list[Promise] = []

    def after(call: Call) -> None:
        if call.text == "COMMIT" and log.exists():
            sizes.append(log.stat().st_size)
            shutil.copyfile(path, copy)
            shutil.copyfile(log, copy.with_name("copy.db-wal"))

    def observe(event: Event) -> None:
        if isinstance(event, CheckpointSaved):
            promises.append(Promise(log.stat().st_size, event.counters.stored))

    report = await SmallCrawl(path, observer=observe).run(Faults(after_call=after))
    assert report.completed
    whole = copy.with_name("copy.db-wal").read_bytes()
    commits = [size for size, _ in itertools.groupby(sizes) if size]
    assert len(commits) > 5
    assert (len(whole) - HEADER) % FRAME == 0
    return Recorded(copy.read_bytes(), whole, tuple(commits), tuple(promises))


def test_what_was_reported_durable_is_in_the_log_of_that_moment(
    recorded: Recorded, tmp_path: Path
) -> None:
    assert [promise.stored for promise in recorded.promises][-1] == len(TRUTH.stored)
    for promise in recorded.promises:
        assert promise.size in recorded.commits
        held = assert_sound(recorded.cut(tmp_path, recorded.log[: promise.size]))
        assert len(held.stored) == promise.stored


def test_a_log_cut_anywhere_is_the_state_of_the_last_commit_before(
    recorded: Recorded, tmp_path: Path
) -> None:
    """At every frame, one byte short of it, amid its header and amid its page; and with unwritten sectors behind."""
    states = {0: assert_sound(recorded.cut(tmp_path, b""))}
    for size in recorded.commits:
        states[size] = assert_sound(recorded.cut(tmp_path, recorded.log[:size]))
    assert len(set(states.values())) > 3
    cuts = 0
    for end in range(HEADER, len(recorded.log) + 1, FRAME):
        for size in {end, end - 1, end + 12, end + 24 + 2048} & set(range(len(recorded.log) + 1)):
            last = max(commit for commit in states if commit <= size)
            for log in (recorded.log[:size], recorded.log[:size].ljust(len(recorded.log), b"\0")):
                assert assert_sound(recorded.cut(tmp_path, log)) == states[last], size
                cuts += 1
    assert cuts > 200


def test_frames_that_arrived_before_those_in_front_of_them_are_no_commit(
    recorded: Recorded, tmp_path: Path
) -> None:
    """A disk may write the sectors of one transaction in any order."""
    for before, after in itertools.pairwise((HEADER, *recorded.commits)):
        here = assert_sound(recorded.cut(tmp_path, recorded.log[:before]))
        for missing in range(before, after, FRAME):
            log = bytearray(recorded.log[:after])
            log[missing : missing + FRAME] = bytes(FRAME)
            assert assert_sound(recorded.cut(tmp_path, bytes(log))) == here


async def test_from_whatever_is_left_of_the_log_the_crawl_goes_on_exactly(
    recorded: Recorded, tmp_path: Path
) -> None:
    for size in (0, *recorded.commits):
        for torn in (0, 1000):
            log = recorded.log[: size + torn]
            await SmallCrawl(recorded.cut(tmp_path, log)).finish()


# -- the disk, acted out --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that notes what a process does to its files."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    made = tmp_path_factory.mktemp("library") / "disk_log.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(HERE / "disk_log.c")]
    subprocess.run([*command, "-ldl", "-lpthread"], check=True)
    return made


def disk_log(library: Path, folder: Path, synchronous: str) -> bytes:
    """What a crawl in a process of its own did to the files of the folder."""
    place, log = folder / "disk", folder / "log"
    place.mkdir()
    environment = {"LD_PRELOAD": str(library), "DISK_LOG": str(log), "DISK_FOLDER": f"{place}/"}
    subprocess.run(
        [sys.executable, str(HERE / "powered_crawl.py"), str(place), synchronous],
        env={**os.environ, **environment},
        check=True,
    )
    return log.read_bytes()


@attrs.frozen
class Left:
    """A folder after a power loss, and what had been promised before."""

    act: int
    folder: Path
    promised: int

    def holdings(self) -> Holdings:
        database = self.folder / "bookmarks.db"
        return assert_sound(database) if database.exists() else Holdings()


def losses(log: bytes, folder: Path) -> Iterator[Left]:
    """A power loss after each act, each in a few ways."""
    draw, disk, promised = random.Random(1), Disk(), 0
    for number, act in enumerate(acts_of(log)):
        if act.name == "promises":
            promised = json.loads(act.data)["stored"]
            continue
        disk.do(act)
        for chooser, share in ((None, 0.0), (None, 0.5), (draw, 0.5), (None, 1.0)):
            place = folder / "after"
            place.mkdir()
            disk.lose_power(chooser, place, share=share)
            yield Left(number, place, promised)
            shutil.rmtree(place)


async def test_whenever_the_power_goes_what_was_reported_is_there_and_the_crawl_goes_on(
    library: Path, tmp_path: Path
) -> None:
    tried, states = 0, set()
    for left in losses(disk_log(library, tmp_path, "FULL"), tmp_path):
        tried += 1
        held = left.holdings()
        assert len(held.stored) >= left.promised, left
        if (held, left.promised) not in states:
            states.add((held, left.promised))
            await SmallCrawl(left.folder / "bookmarks.db").finish()
    assert tried > 200
    assert {len(held.stored) for held, _ in states} >= {0, 10, 24}


def test_a_database_that_syncs_less_is_caught(library: Path, tmp_path: Path) -> None:
    """The acting out bites: with synchronous=NORMAL a commit is reported and then lost."""
    assert any(
        len(left.holdings().stored) < left.promised
        for left in losses(disk_log(library, tmp_path, "NORMAL"), tmp_path)
    )
