"""Draws this folder's files from the table, and the README's copy of the machine."""

import re
from pathlib import Path

from twitor_fsm.diagrams import mermaid

HERE = Path(__file__).parent


def main() -> None:
    """Write `machine.mmd` and the README's diagram."""
    drawn = mermaid()
    (HERE / "machine.mmd").write_text(drawn)
    readme = HERE.parent / "README.md"
    text = readme.read_text()
    readme.write_text(
        re.sub(r"```mermaid\n.*?```", lambda _: f"```mermaid\n{drawn}```", text, flags=re.DOTALL)
    )


if __name__ == "__main__":
    main()
