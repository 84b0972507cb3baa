"""What a disk may hold after a power loss: acted out from the writes and syncs that a process really made.

A write is sure to be there once its file has been synced. Of what was written since, nothing may be there, or all, or
any part, in whatever order it was written: pages are torn nowhere else than between two writes.
"""

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import attrs

__all__ = ["Act", "Disk", "acts_of"]


@attrs.frozen
class Act:
    """One thing that was done to a file: 'w' write, 's' sync, 't' truncate, 'u' unlink."""

    what: str
    name: str
    offset: int
    data: bytes


def acts_of(log: bytes) -> Iterator[Act]:
    """The records of `disk_log.c`."""
    at = 0
    while at < len(log):
        what, length, size, offset = struct.unpack_from("=cIIQ", log, at)
        at += struct.calcsize("=cIIQ")
        path = log[at : at + length].decode()
        data = log[at + length : at + length + size]
        at += length + size
        yield Act(what.decode(), Path(path).name, offset, data)


@attrs.define
class _File:
    """Contents that are sure, and what was done since; None: the file is not there."""

    sure: bytearray | None = None
    pending: list[Act] = attrs.field(factory=list)

    def after(self, acts: list[Act]) -> bytearray | None:
        found = None if self.sure is None else bytearray(self.sure)
        for act in acts:
            found = _done(found, act)
        return found


def _done(found: bytearray | None, act: Act) -> bytearray | None:
    if act.what == "u":
        return None
    if found is None:
        found = bytearray()
    if act.what == "t":
        del found[act.offset :]
        found.extend(bytes(act.offset - len(found)))
    else:
        found.extend(bytes(max(0, act.offset - len(found))))
        found[act.offset : act.offset + len(act.data)] = act.data
    return found


class Disk:
    """A folder on a disk that may lose its power at any moment."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}

    def do(self, act: Act) -> None:
        """Go on by one act. A new file is there for sure once it was synced: SQLite syncs its folder then."""
        file = self._files.setdefault(act.name, _File())
        if act.what != "s":
            file.pending.append(act)
            return
        file.sure = file.after(file.pending)
        file.pending.clear()

    def lose_power(self, draw: random.Random | None, folder: Path, *, share: float) -> None:
        """Write what is left into a folder.

        Args:
            draw: Chooses the writes that arrived; None: those at the front, a share of them.
            folder: An empty one.
            share: Part of what was not synced that arrived, 0 to 1.
        """
        for name, file in self._files.items():
            if draw is None:
                arrived = file.pending[: round(len(file.pending) * share)]
            else:
                arrived = [act for act in file.pending if draw.random() < share]
            left = file.after(arrived)
            if left is not None:
                (folder / name).write_bytes(left)
