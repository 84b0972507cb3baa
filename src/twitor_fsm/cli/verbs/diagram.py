"""`twitor diagram`: pictures of the machine, of a session's path over it, and of its time."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ..failures import Failure, close
from ..machines import machine, machine_of, refused
from ..options import common
from ..terminal import emit, is_terminal, say
from ..words import parts

if TYPE_CHECKING:
    from ..journals import Taken

SECTION = "Look"

_SUFFIXES: Final = {
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".dot": "dot",
    ".gv": "dot",
    ".svg": "svg",
    ".png": "png",
}


@click.command(short_help="Draw the state machine, or what a session did on it.")
@common
@click.option(
    "--format",
    "shape",
    type=click.Choice(["mermaid", "dot", "svg", "png"]),
    help="[default: as FILE is called; else mermaid, for a timeline svg]",
)
@click.option("--session", metavar="ID", help="Draw this session's path; `last` is the newest.")
@click.option("--journal", metavar="FILE", help="Draw the session of a journal file; - is stdin.")
@click.option("--timeline", is_flag=True, help="Draw the session's time instead.")
@click.option(
    "--theme",
    type=click.Choice(["auto", "light", "dark"]),
    default="auto",
    show_default=True,
    help="Of svg and png; auto follows the reader (png: light).",
)
@machine
@click.option("-o", "--output", metavar="FILE", help="Write a file instead of stdout; - is stdout.")
def command(
    *,
    db: str | None,
    as_json: bool,
    shape: str | None,
    session: str | None,
    journal: str | None,
    timeline: bool,
    theme: str,
    machine: str | None,
    output: str | None,
) -> int:
    """Draw the state machine; with --session or --journal what a session did on it.

    Mermaid and DOT are text. SVG and PNG need the extra: pip install "twitor-fsm[diagram]"
    """
    file = Path(output) if output not in (None, "-") else None
    shape = shape or _shape_of(file)
    taken = _taken(db, session, journal)
    if timeline and taken is None:
        raise Failure("a timeline is of a session: name one with --session or --journal", 2)
    shape = shape or ("svg" if timeline else "mermaid")
    drawn = _draw(taken, machine, shape, theme, timeline=timeline)
    content = drawn if isinstance(drawn, bytes) else drawn.encode()
    if file is None:
        _print(content, shape, as_json=as_json)
    else:
        _write(file, content)
        told = {"output": str(file), "format": shape, "bytes": len(content)}
        emit(told) if as_json else say(f"drew {file} ({shape})")
    damage = taken.damage("drawn") if taken is not None else None
    return 0 if damage is None else close(damage, as_json=False, db=db)  # stdout holds the picture


def _shape_of(file: Path | None) -> str | None:
    """As the file is called; none if that says nothing."""
    if file is None or not file.suffix:
        return None
    shape = _SUFFIXES.get(file.suffix.lower())
    if shape is None:
        raise Failure(
            f"nothing is drawn as {file.suffix}; call the file {', '.join(sorted(_SUFFIXES))}, or name a --format",
            2,
        )
    return shape


def _taken(db: str | None, session: str | None, journal: str | None) -> "Taken | None":
    from ..journals import from_database, from_file

    if session is not None and journal is not None:
        raise Failure("--session and --journal are two journals; name one of them", 2)
    if journal is not None:
        return from_file(journal)
    return from_database(db, session) if session is not None else None


def _draw(
    taken: "Taken | None", machine: str | None, shape: str, theme: str, *, timeline: bool
) -> str | bytes:
    from ...diagrams import render, render_session, render_timeline
    from ...errors import JournalRefused

    spec = machine_of(machine)
    options: dict[str, Any] = {"spec": spec, "format": shape, "theme": theme}
    drawn: str | bytes
    if taken is None:
        drawn = render(**options)
        return drawn
    options |= {"title": _title(taken), "now": taken.now, "alive": taken.alive}
    if timeline:
        items = None if taken.record is None else taken.record.counters.seen
        begun = taken.record is None or not taken.record.is_only_asked_for
        options |= {"started_at": taken.started_at, "items": items, "begun": begun}
    try:
        drawn = (render_timeline if timeline else render_session)(taken.rows, **options)
    except JournalRefused as exc:
        raise refused(taken.name, exc, machine) from exc
    return drawn


def _title(taken: "Taken") -> str:
    if taken.record is None:
        return taken.name
    counters = taken.record.counters
    dealt = [
        (counters.stored, "stored"),
        (counters.already_known, "known already"),
        (counters.skipped, "skipped"),
    ]
    nothing = "no item yet" if taken.record.ended_at is None else "no item"
    return f"{taken.name}: {parts(dealt) or nothing}"


def _print(content: bytes, shape: str, *, as_json: bool) -> None:
    if as_json:
        if shape == "png":
            raise Failure("a PNG does not fit into JSON; write it to a file with -o", 2)
        emit({"format": shape, "drawn": content.decode()})
        return
    if shape == "png" and is_terminal(sys.stdout):
        raise Failure("a PNG is no text for a terminal; write it to a file with -o", 2)
    sys.stdout.flush()
    sys.stdout.buffer.write(content)


def _write(file: Path, content: bytes) -> None:
    from ..targets import refuse_target

    refuse_target(file, None, undone="nothing was drawn", pipe="twitor diagram |")
    try:
        file.write_bytes(content)
    except OSError as exc:
        raise Failure(
            f"{file} cannot be written ({exc.strerror}). Name another file with -o", 2
        ) from exc
