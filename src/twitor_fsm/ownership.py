"""Who runs a session: names this process so that another can tell whether it still lives.

Must not know: sessions, leases, databases. What cannot be told is answered with "not certainly gone"; the lease decides then.
"""

import os
import socket
from functools import cache
from pathlib import Path
from typing import Final

from .core.records import Owner

__all__ = ["LIVE_RUNS", "is_gone", "this_process"]

LIVE_RUNS: Final[set[str]] = set()
"""Run ids of the sessions that this process runs now."""


def this_process(run_id: str) -> Owner:
    """This process as the owner of a session.

    Args:
        run_id: Unique per run of a session; two engines in one process have different ones.
    """
    pid = os.getpid()
    return Owner(_host(), _boot_id(), pid, _started(pid), run_id)


def is_gone(owner: Owner) -> bool:
    """Whether the owner is certainly dead, or a run of this process that has ended.

    A process of another machine, or of another container on this one, is never certainly gone.
    """
    if owner.host != _host():
        return False
    if owner.boot_id and _boot_id() and owner.boot_id != _boot_id():
        return True
    if owner.pid == os.getpid() and owner.process_started == _started(owner.pid):
        return owner.run_id not in LIVE_RUNS
    return not _is_alive(owner.pid, owner.process_started)


@cache
def _host() -> str:
    """Name of the machine and of the process's own pid namespace: containers may share the name."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return f"{socket.gethostname()} {namespace}".strip()


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Start of a process in clock ticks since boot; empty where the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[
        19
    ]  # field 22; the name before may hold spaces and brackets


def _is_alive(pid: int, started: str) -> bool:
    now_started = _started(pid)
    if started and now_started:
        return started == now_started and not _is_zombie(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_zombie(pid: int) -> bool:
    """A killed process that its parent has not reaped yet still has an entry, but runs nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except OSError:
        return False
