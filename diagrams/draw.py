"""Draws this folder's files from the table."""

from pathlib import Path

from twitor_fsm.diagrams import render

HERE = Path(__file__).parent
MACHINE = "The state machine of a crawl session"


def drawn() -> dict[str, bytes]:
    """Every generated file of this folder, by name."""
    return {
        "machine.mmd": render(title=MACHINE).encode(),
        "machine.dot": render(format="dot", title=MACHINE).encode(),
        "machine.svg": render(format="svg").encode(),
        "machine.png": render(format="png"),
    }


def main() -> None:
    """Write them."""
    for name, content in drawn().items():
        (HERE / name).write_bytes(content)


if __name__ == "__main__":
    main()
