"""A crawl into SQLite against a bare loop, in the same run: items a second as a ratio, peak memory, and small parts.

Usage: crawl.py [--items N] [--rounds N]. The bare loop is the least that is resumable: one httpx client, `executemany`,
the page token in the page's transaction, WAL with synchronous=NORMAL. Ours commits with synchronous=FULL.
"""

import argparse
import asyncio
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PAGE = 90
HERE = Path(__file__).parent


def bare_loop(url: str, path: str) -> int:
    """The floor."""
    import json

    import httpx

    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute(
        "CREATE TABLE bookmark (id TEXT PRIMARY KEY, text TEXT, author TEXT, at TEXT, raw TEXT)"
    )
    db.execute("CREATE TABLE token (id INTEGER PRIMARY KEY, value TEXT)")
    token = None
    with httpx.Client(base_url=url, headers={"authorization": "Bearer x"}) as client:
        while True:
            params = {"max_results": PAGE} | ({"pagination_token": token} if token else {})
            page = client.get("/2/users/1/bookmarks", params=params).json()
            rows = [
                (p["id"], p["text"], p["author_id"], p["created_at"], json.dumps(p))
                for p in page.get("data", [])
            ]
            token = page["meta"].get("next_token")
            with db:
                db.executemany("INSERT OR IGNORE INTO bookmark VALUES (?,?,?,?,?)", rows)
                db.execute("INSERT OR REPLACE INTO token VALUES (1, ?)", (token,))
            if token is None:
                break
    count = int(db.execute("SELECT count(*) FROM bookmark").fetchone()[0])
    db.close()
    return count


def engine(url: str, path: str, *, handler: bool) -> int:
    """Ours, with defaults."""
    from twitor_fsm import CrawlEngine, Item, Settings, XBookmarks

    async def nothing(item: Item, fence: int) -> None:
        """A handler that does nothing."""

    async def crawl() -> int:
        async with CrawlEngine(path, settings=Settings(page_size=PAGE)) as crawler:
            report = await crawler.crawl(
                XBookmarks("x", base_url=url), user_id="1", handler=nothing if handler else None
            )
            if not report.completed:
                raise SystemExit(report.message)
            return await crawler.store.count_bookmarks("1")

    return asyncio.run(crawl())


CONTENDERS: dict[str, Callable[[str, str], int]] = {
    "bare loop": bare_loop,
    "twitor_fsm": lambda url, path: engine(url, path, handler=False),
    "twitor_fsm, handler": lambda url, path: engine(url, path, handler=True),
}


def run_one(name: str, url: str) -> None:
    """In a process of its own: print items, seconds and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        count = CONTENDERS[name](url, str(Path(folder) / "bench.db"))
        seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime
    print(count, seconds, usage.ru_maxrss / 1024, cpu)


@contextmanager
def page_server(items: int) -> Iterator[str]:
    """The URL of a server of so many items, in a process of its own."""
    server = subprocess.Popen(
        [sys.executable, str(HERE / "page_server.py"), str(items), str(PAGE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.stdin.close()
        server.wait(10)


def contend(name: str, url: str, items: int) -> tuple[float, float, float]:
    """One contender once: seconds, peak MiB, CPU seconds."""
    out = subprocess.run(
        [sys.executable, __file__, "--one", name, "--url", url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    if int(out[0]) != items:
        raise SystemExit(f"{name} stored {out[0]} of {items}")
    return float(out[1]), float(out[2]), float(out[3])


def measure(items: int, rounds: int) -> None:
    """All contenders in turn, `rounds` times."""
    results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in CONTENDERS}
    with page_server(items) as url:
        for _ in range(rounds):
            for name, rows in results.items():
                rows.append(contend(name, url, items))
    floor = results["bare loop"]
    print(f"{items} items, {rounds} rounds in turn, median (min-max)")
    print(f"{'':22}{'items/s':>24}{'of the bare loop':>20}{'CPU s':>8}{'peak MiB':>10}")
    for name, rows in results.items():
        speeds = sorted(items / seconds for seconds, _, _ in rows)
        ratios = [bare[0] / mine[0] for bare, mine in zip(floor, rows, strict=True)]
        speed = f"{statistics.median(speeds):,.0f} ({speeds[0]:,.0f}-{speeds[-1]:,.0f})"
        print(
            f"{name:22}{speed:>24}{statistics.median(ratios):>20.2f}"
            f"{statistics.median(c for _, _, c in rows):>8.1f}{max(m for _, m, _ in rows):>10.0f}"
        )


def memory() -> None:
    """Peak memory must not grow with the listing."""
    for items in (10_000, 100_000):
        with page_server(items) as url:
            seconds, peak, _ = contend("twitor_fsm", url, items)
        print(f"{items:>7} items: peak {peak:.0f} MiB, {seconds:.1f} s")


def small_parts() -> None:
    """A trigger, a step, a session's value."""
    from twitor_fsm import ErrorCategory, Facts, SessionValue, Trigger, machine_for
    from twitor_fsm.core.states import Draft

    machine = machine_for()
    facts = Facts(now=1.0, category=ErrorCategory.NETWORK, reason="timeout", delay_s=1.0)
    session = SessionValue()
    event = machine._events[Trigger.NETWORK_FAILED]

    def trigger() -> None:
        draft = Draft("running", 0, None, None, facts, [])
        event.trigger(draft, draft)

    number = 20_000
    for name, action in (
        ("a trigger", trigger),
        ("step", lambda: machine.step(session, Trigger.NETWORK_FAILED, facts)),
    ):
        best = min(timeit.repeat(action, number=number, repeat=5)) / number
        print(f"{name:22}{best * 1e6:>8.1f} us")
    sizes = [sys.getsizeof(session), sys.getsizeof(1.5), sys.getsizeof(())]
    print(f"{'a session value':22}{sum(sizes):>8} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one")
    parser.add_argument("--url")
    arguments = parser.parse_args()
    if arguments.one:
        run_one(arguments.one, arguments.url)
    else:
        measure(arguments.items, arguments.rounds)
        memory()
        small_parts()
