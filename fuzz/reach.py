"""What fuzzing does not reach: reads the inputs of `fuzz/corpus` again under coverage, and names the lines that none runs.

    python fuzz/reach.py               # all readers together
    python fuzz/reach.py csv har       # these alone

A line that is named waits for a seed, or for a name in `names.dict`; or it cannot be reached by bytes (a file that is gone,
a text of megabytes).
"""

import sys
from pathlib import Path

import coverage

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "src" / "twitor_fsm"
READING = (
    *("sources/file_*.py", "sources/*_split.py", "sources/formats/*.py", "sources/archive_zip.py"),
    *("sources/loose_json.py", "sources/web_posts.py", "sources/x_decode.py", "sources/x_items.py"),
    *("sources/x_problems.py", "sources/x_times.py", "journal.py", "queueing/records.py"),
    *("simulator/plan_files.py", "simulator/faults.py"),
)
"""Modules that bytes from outside come to."""


def main() -> None:
    """Print each module's share of lines and branches, and the lines that are missing."""
    files = [str(path) for pattern in READING for path in sorted(PACKAGE.glob(pattern))]
    watch = coverage.Coverage(branch=True, include=files, data_file=None, config_file=False)
    watch.start()
    from twitor_fsm.testing.hostile import READERS

    for name in sys.argv[1:] or READERS:
        for path in sorted((HERE / "corpus" / name).glob("*")):
            READERS[name](path.read_bytes())
    watch.stop()
    watch.report(show_missing=True, skip_covered=False)


if __name__ == "__main__":
    main()
