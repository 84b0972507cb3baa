"""Keeps an embedded server alive as long as anyone uses it: a process of its own, started by `embedded.py`.

Users hold a shared lock on a file; the kernel drops it however they die. The keeper waits for the exclusive lock: when it
gets it, nobody is left, and it stops the server and removes the folder of its socket, if that is a folder of its own. Until
it has ended, newcomers wait for their lock, and make that folder after it.
Uses the standard library alone, so that it takes little memory.

Usage: keeper.py USERS_LOCK SOCKET_FOLDER SERVER ARGUMENT...
"""

import contextlib
import ctypes
import fcntl
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1  # Linux: <sys/prctl.h>
RESTARTS = 5
"""A server that dies so many times in a row is not started again: something is wrong with its files."""

LIVED_S = 60.0
"""A server that lived so long was well, seconds: its death begins a new row."""


class ServerDied(Exception):
    """The server ended by itself."""


def die_with_parent() -> None:
    """In the server's process: get SIGTERM when the keeper dies. Linux only; elsewhere it outlives a killed keeper."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def on_child(_number: int, _frame: FrameType | None) -> None:
    """SIGCHLD."""
    raise ServerDied


def deaths_in_a_row(before: int, *, lived_s: float) -> int:
    """Deaths to count now that a server died that had lived so long."""
    return 1 if lived_s >= LIVED_S else before + 1


def keep(users_lock: Path, socket_folder: Path, command: list[str]) -> int:
    """Run the server until nobody uses it; returns the exit code."""
    with users_lock.open("r+") as users:
        deaths = 0
        while deaths < RESTARTS:
            started = time.monotonic()
            signal.signal(signal.SIGCHLD, on_child)
            server = subprocess.Popen(command, preexec_fn=die_with_parent)  # noqa: S603, PLW1509  the wheel's server
            try:
                fcntl.flock(users, fcntl.LOCK_EX)
            except ServerDied:
                server.wait()
                deaths = deaths_in_a_row(deaths, lived_s=time.monotonic() - started)
                continue
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            server.terminate()
            server.wait()
            with contextlib.suppress(OSError):  # the data's own folder, say, which is not empty
                socket_folder.rmdir()
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
