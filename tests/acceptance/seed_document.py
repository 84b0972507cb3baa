"""Runs the code blocks of the design document as they stand: only the package prefix is put before their imports."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any, Final

import attrs

DOCUMENT: Final = Path(__file__).parent / "data" / "error-handling-and-recovery.md"

_FENCE: Final = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^#{2,4} (.+)$", re.MULTILINE)
_IMPORT: Final = re.compile(r"^from (error_handler|config|queue_manager) import", re.MULTILINE)


@attrs.frozen
class Block:
    """One fenced block and the heading that it stands under."""

    heading: str
    language: str
    code: str

    def replaced(self, old: str, new: str) -> "Block":
        """With an elided part filled in; what is elided must stand there exactly once."""
        assert self.code.count(old) == 1, f"{old!r} is not what {self.heading!r} elides"
        return attrs.evolve(self, code=self.code.replace(old, new))

    async def run(self, **names: Any) -> dict[str, Any]:
        """Execute it with the names that it leaves undefined; returns all names afterwards."""
        code = _IMPORT.sub(r"from twitor_fsm.\1 import", self.code)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        compiled = compile(code, f"<{self.heading}>", "exec", flags=flags, dont_inherit=True)
        outcome = eval(compiled, names)
        if inspect.iscoroutine(outcome):
            await outcome
        return names


def blocks(language: str = "python") -> list[Block]:
    """All blocks of a language, in their order."""
    text = DOCUMENT.read_text("utf-8")
    headings = [(found.start(), found[1]) for found in _HEADING.finditer(text)]
    return [
        Block([name for at, name in headings if at < found.start()][-1], language, found["code"])
        for found in _FENCE.finditer(text)
        if found["language"] == language
    ]


def block(heading: str, language: str = "python") -> Block:
    """The one block under a heading."""
    (found,) = (each for each in blocks(language) if each.heading == heading)
    return found
