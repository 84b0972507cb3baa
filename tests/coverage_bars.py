"""Compares what the suite covers with the bars; run by `make coverage` after the measurement.

`python tests/coverage_bars.py REPORT.json`: prints a line for each part, and what is missing where a bar is not met.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

ROOT: Final = "src/twitor_fsm/"


@attrs.frozen
class Part:
    """A part of the package, and the share of its lines and branches that must be covered, percent."""

    name: str
    prefixes: tuple[str, ...]
    lines: float
    branches: float

    def holds(self, path: str) -> bool:
        """Whether a file (below src/twitor_fsm) belongs to it; "" stands for the modules at the top."""
        return any(
            path.startswith(prefix) if prefix else "/" not in path for prefix in self.prefixes
        )


PARTS: Final = (
    Part("core and machine", ("core/", "machine.py"), 100.0, 100.0),
    Part("storage", ("storage/",), 95.0, 95.0),
    Part("engine", ("", "classifying/"), 95.0, 95.0),
)
"""The first part that holds a file counts it. Source of the bars: the issue "Proof"."""


def share(covered: int, of: int) -> float:
    """Percent; all of nothing is 100."""
    return 100.0 * covered / of if of else 100.0


def missing(part: Part, files: dict[str, Any]) -> Iterator[str]:
    """What keeps a part from its bars, file by file."""
    for path, file in files.items():
        arcs = [f"{start}->{end}" for start, end in file["missing_branches"]]
        if file["missing_lines"] or arcs:
            yield f"  {path}: lines {file['missing_lines']}, branches {', '.join(arcs)}"


def main(report: Path) -> int:
    """Print every part; 1 if one is below its bar."""
    left = {
        path.removeprefix(ROOT): file
        for path, file in json.loads(report.read_text())["files"].items()
    }
    failed = 0
    for part in PARTS:
        files = {path: left.pop(path) for path in sorted(left) if part.holds(path)}
        sums = [file["summary"] for file in files.values()]
        lines = share(sum(s["covered_lines"] for s in sums), sum(s["num_statements"] for s in sums))
        branches = share(
            sum(s["covered_branches"] for s in sums), sum(s["num_branches"] for s in sums)
        )
        sys.stdout.write(
            f"{part.name}: {lines:.1f} % of lines (bar {part.lines:g}), "
            f"{branches:.1f} % of branches (bar {part.branches:g}), {len(files)} files\n"
        )
        if not files or lines < part.lines or branches < part.branches:
            failed = 1
            sys.stdout.writelines(f"{line}\n" for line in missing(part, files))
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
