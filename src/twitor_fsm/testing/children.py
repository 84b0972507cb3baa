"""Child processes by fork: one function each, in a process that shares nothing but files with ours and may be killed.

A fork of a warm process costs milliseconds, a new interpreter a second. Must not know: what the functions do.
"""

import os
import signal
import traceback
import warnings
from collections.abc import Callable
from typing import Final, NoReturn

import attrs

__all__ = ["Child", "Ended", "Say"]

Say = Callable[[str], None]
"""Tells the parent something, at once."""

_FAILED: Final = 1


@attrs.frozen
class Ended:
    """How a child ended.

    Attributes:
        signal: The signal that killed it, or 0.
        code: Its exit code, 0 when its function returned.
        said: All that it said and nobody has heard yet; the traceback last if its function raised.
    """

    signal: int
    code: int
    said: str

    @property
    def is_fine(self) -> bool:
        """Whether its function returned."""
        return self.signal == 0 and self.code == 0

    def __str__(self) -> str:
        how = f"was killed by signal {self.signal}" if self.signal else f"ended with {self.code}"
        return f"{how}: {self.said}" if self.said else how


class Child:
    """A process that runs one function and ends, whatever the function does.

    Only processes without other threads should fork, or child and parent may share a lock for ever; a thread that
    waits for input, as a test runner has, does no harm.
    """

    def __init__(self, work: Callable[[Say], object], *, timeout_s: int) -> None:
        """Start it.

        Args:
            work: What it does.
            timeout_s: A child that lives longer is killed by SIGALRM, seconds.
        """
        self._from, to = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any thread
            self.pid: Final = os.fork()
        if self.pid == 0:
            os.close(self._from)
            _run(work, to, timeout_s)
        os.close(to)
        self._said = b""

    def next_line(self) -> str:
        """The next line that it says, without its end; what is left when it ends before that."""
        while b"\n" not in self._said and self._listen():
            pass
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()

    def wait(self) -> Ended:
        """Wait until it has ended; once."""
        while self._listen():
            pass
        os.close(self._from)
        _, status = os.waitpid(self.pid, 0)
        if os.WIFSIGNALED(status):
            return Ended(os.WTERMSIG(status), 0, self._said.decode())
        return Ended(0, os.WEXITSTATUS(status), self._said.decode())

    def _listen(self) -> bool:
        said = os.read(self._from, 1 << 16)
        self._said += said
        return bool(said)


def _run(work: Callable[[Say], object], to: int, timeout_s: int) -> NoReturn:
    """In the child: nothing of the parent's is run, neither `finally` blocks nor exit handlers."""

    def say(text: str) -> None:
        data = text.encode()
        while data:
            data = data[os.write(to, data) :]

    code = _FAILED
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(timeout_s)
        work(say)
        code = 0
    except BaseException:  # noqa: BLE001 - told, and seen by the exit code
        say(traceback.format_exc())
    finally:
        os._exit(code)
