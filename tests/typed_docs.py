"""Checks the types of every Python block in docs/, those of a page as one module; run by `make lint`.

People copy blocks into hosts that run `mypy --strict`: they have to pass as they stand.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_BLOCK: Final = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main() -> int:
    """mypy's exit code; the lines that it names are those of the page."""
    with tempfile.TemporaryDirectory() as folder:
        for page in sorted((ROOT / "docs").glob("*.md")):
            (Path(folder) / f"{page.stem.replace('-', '_')}.py").write_text(_blocks(page), "utf-8")
        options = ["--config-file", "pyproject.toml", "--cache-dir", ".mypy_cache"]
        command = [sys.executable, "-m", "mypy", *options, folder]
        return subprocess.run(command, cwd=ROOT, check=False).returncode


def _blocks(page: Path) -> str:
    """The page's blocks, each at its line."""
    text = page.read_text("utf-8")
    code, at = "", 0
    for block in _BLOCK.finditer(text):
        code += "\n" * text.count("\n", at, block.start(1)) + block[1]
        at = block.end(1)
    return code


if __name__ == "__main__":
    sys.exit(main())
