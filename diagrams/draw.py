"""Draws this folder's files: the machine from its table, sessions from runs of the engine against the simulated X.

Every run gives the same bytes; a test fails when a file is stale.
"""

import logging
import sys
from pathlib import Path

from twitor_fsm.diagrams import render, render_session, render_timeline
from twitor_fsm.journal import write_journal

HERE = Path(__file__).parent
MACHINE = "The state machine of a crawl session"


def machine() -> dict[str, bytes]:
    """The machine in every format."""
    return {
        "machine.mmd": render(title=MACHINE).encode(),
        "machine.dot": render(format="dot", title=MACHINE).encode(),
        "machine.svg": render(format="svg").encode(),
        "machine.png": render(format="png"),
    }


def sessions() -> dict[str, bytes]:
    """Each session: its journal, its path and its time."""
    sys.path.append(str(HERE.parent / "tests" / "acceptance"))
    from recorded import SESSIONS, record

    drawn: dict[str, bytes] = {}
    for name in SESSIONS:
        run = record(name)
        rows, title, now = run.rows, run.title, run.now
        files = {
            f"{name}.jsonl": write_journal(rows, session_id=name, started_at=run.started_at),
            f"{name}.mmd": render_session(rows, title=title, now=now, alive=run.alive),
            f"{name}.svg": render_session(
                rows, format="svg", title=title, now=now, alive=run.alive
            ),
            f"{name}-timeline.svg": render_timeline(
                rows, title=title, started_at=run.started_at, now=now, alive=run.alive
            ),
        }
        drawn |= {f"sessions/{file}": text.encode() for file, text in files.items()}
    return drawn


def drawn() -> dict[str, bytes]:
    """Every generated file of this folder, by name."""
    return machine() | sessions()


def main() -> None:
    """Write them."""
    logging.getLogger("twitor_fsm").addHandler(logging.NullHandler())
    (HERE / "sessions").mkdir(exist_ok=True)
    for name, content in drawn().items():
        (HERE / name).write_bytes(content)


if __name__ == "__main__":
    main()
