"""What a picture costs: the first of a process, in processes of their own, and the next ones.

    python benchmarks/diagrams.py

Promised: Mermaid and DOT below 5 ms, SVG and PNG below 3 s the first time.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from twitor_fsm.diagrams import FORMATS, Format, render, render_session, render_timeline
from twitor_fsm.journal import read_journal

FRESH = """
import time
from twitor_fsm.diagrams import render
begin = time.perf_counter()
render(format={format!r})
print(time.perf_counter() - begin)
"""

JOURNAL = Path(__file__).parents[1] / "diagrams" / "sessions" / "typical.jsonl"


def first_s(format_: Format, *, times: int = 3) -> float:
    """Median time of the first picture in a fresh process, imports of the format's parts included."""
    code = FRESH.format(format=format_)
    told = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(times)
    ]
    return statistics.median(float(one.stdout) for one in told)


def next_ms(draw: object, *, times: int) -> float:
    """Median time of a picture when everything is loaded."""
    assert callable(draw)
    draw()
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        draw()
        taken.append(time.perf_counter() - begin)
    return 1000.0 * statistics.median(taken)


def main() -> None:
    """Measure and print."""
    rows = read_journal(JOURNAL.read_bytes()).rows
    print(f"{'format':<10}{'first':>10}{'next':>12}{'a session':>12}")
    for format_ in FORMATS:
        times = 5 if format_ == "png" else 100

        def machine(format_: Format = format_) -> object:
            return render(format=format_)

        def session(format_: Format = format_) -> object:
            return render_session(rows, format=format_)

        first, machine_ms = first_s(format_), next_ms(machine, times=times)
        session_ms = next_ms(session, times=times)
        print(f"{format_:<10}{1000 * first:>7.0f} ms{machine_ms:>9.2f} ms{session_ms:>9.2f} ms")
    print(f"timeline, svg: {next_ms(lambda: render_timeline(rows), times=100):.2f} ms")


if __name__ == "__main__":
    main()
