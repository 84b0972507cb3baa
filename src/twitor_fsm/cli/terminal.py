"""Where words meet a terminal: results on stdout, people on stderr, and what may be printed at all.

The one place that decides which characters reach a terminal: text from elsewhere (a bookmark, a service, a file name)
may hold escape sequences or marks that turn the writing around.
Must not know: what is being said.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TextIO

import click

from ..config import colour_from_environment

__all__ = [
    "drop_stdout",
    "emit",
    "is_terminal",
    "json_text",
    "printable",
    "safe_json",
    "say",
    "saying_through",
    "show_cursor",
    "table",
    "tell",
    "use_colour",
    "write_json",
]

_RISKY: Final = re.compile(
    "[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Valid in JSON and yet trouble: control characters, marks of direction, line ends that only some know, and lone
surrogates, which UTF-8 cannot hold. JSON's own `\\uXXXX` carries them safely."""


def printable(text: str) -> str:
    """One line that a terminal shows and does not obey: whatever is not printable becomes its escape."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON that every reader takes: valid for any text, safe on a terminal, in UTF-8 otherwise."""
    return safe_json(json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False))


def safe_json(text: str) -> str:
    """JSON text with the risky characters of its strings escaped; they can stand nowhere else in valid JSON."""
    return _RISKY.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_SPEAKERS: Final[list[Callable[[str], object]]] = []


@contextmanager
def saying_through(speaker: Callable[[str], object]) -> Iterator[None]:
    """Hand what is said to somebody else meanwhile, such as a log."""
    _SPEAKERS.append(speaker)
    try:
        yield
    finally:
        _SPEAKERS.remove(speaker)


def say(*lines: str, colour: str | None = None) -> None:
    """Tell the person, on stderr; nobody listening is no reason to stop."""
    if _SPEAKERS:
        for line in lines:
            _SPEAKERS[-1](line)
        return
    with suppress(OSError):
        _write(sys.stderr, lines, colour)


def drop_stdout() -> None:
    """Whoever read our results went away: keep the interpreter's own flush at exit from complaining."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        sys.stdout = None


def tell(*lines: str, colour: str | None = None, bold: bool = False) -> None:
    """Give a result for reading, on stdout."""
    _write(sys.stdout, lines, colour, bold=bold)


def emit(value: Any) -> None:
    """Give a result for programs: one JSON value on one line of stdout, in UTF-8 whatever the locale says."""
    write_json(json_text(value) + "\n")
    if sys.stdout is not None:
        sys.stdout.flush()


def write_json(text: str) -> None:
    """Write text of JSON to stdout as UTF-8."""
    stream = sys.stdout
    if stream is None:  # closed by whoever started us
        return
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(text)
    else:
        stream.flush()
        buffer.write(text.encode())


def table(rows: Iterable[tuple[str, str]], *, indent: str = "  ") -> list[str]:
    """Lines of labels and values, the values below each other."""
    known = list(rows)
    width = max((len(label) for label, _ in known), default=0)
    return [f"{indent}{label:<{width}}  {value}".rstrip() for label, value in known]


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person watches this stream."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def use_colour(stream: TextIO | None) -> bool:
    """Whether colours may be used: on a terminal that has some, unless NO_COLOR is set (https://no-color.org)."""
    return is_terminal(stream) and colour_from_environment()


def show_cursor() -> None:
    """Bring back a cursor that a panel has hidden; for an end that runs no clean-up."""
    if is_terminal(sys.__stderr__):
        os.write(2, b"\x1b[?25h\n")


def _write(
    stream: TextIO | None, lines: Iterable[str], colour: str | None, *, bold: bool = False
) -> None:
    if stream is None:
        return
    coloured = (colour is not None or bold) and use_colour(stream)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    for line in lines:
        shown = printable(line).encode(encoding, "backslashreplace").decode(encoding)
        if coloured and shown:
            shown = click.style(shown, fg=colour, bold=bold)
        stream.write(shown + "\n")
    stream.flush()
