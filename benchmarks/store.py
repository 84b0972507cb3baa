"""One transaction of the store against raw sqlite3 that writes the same rows, both in WAL with synchronous=FULL.

Usage: store.py [--items N] [--rounds N]: median microseconds of a checkpoint with N new items, and the ratio.
"""

import argparse
import asyncio
import json
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from twitor_fsm import Item, SessionValue
from twitor_fsm.core.listing import Mark
from twitor_fsm.core.records import Counters, CrawlKey, Owner
from twitor_fsm.storage.base import Batch, NewItem
from twitor_fsm.storage.store import SqlStore

CRAWL = CrawlKey("me", "x")
OWNER = Owner("host", "boot", 1, "start", "run")
RAW = json.dumps({"id": "x", "text": "t" * 200, "entities": {"urls": ["u" * 100] * 3}})


def batch(start: int, count: int) -> Batch:
    """So many new items with their checkpoint; ids in no order, as X's."""
    new = tuple(
        NewItem(
            Item(
                key=str((n * 7_919_777_777_777) % 1_999_999_999_999_999_999),
                raw=RAW,
                text="t" * 200,
                author_id="12345",
                author_username="someone",
                created_at="2024-01-01T00:00:00Z",
            ),
            n,
        )
        for n in range(start, start + count)
    )
    return Batch(
        session_id="s1",
        fence=1,
        crawl=CRAWL,
        ordinal=1,
        now=101.0,
        lease_until=131.0,
        value=SessionValue(),
        final=False,
        counters=Counters(seen=start + count, stored=start + count),
        new=new,
        mark=Mark(walk=1, under_way=True, cursor=f"c{start}", page_size=90, position=start + count),
        last_key=new[-1].item.key,
    )


async def prepared(path: Path) -> SqlStore:
    """A store with one crawl and one session."""
    store = SqlStore(str(path))
    await store.open()
    await store.claim(
        CRAWL,
        OWNER,
        session_id="s1",
        initial=SessionValue(),
        now=100.0,
        lease_s=30.0,
        limit=("x", "me", "bookmarks"),
        is_gone=lambda _: False,
    )
    return store


def raw_commit(db: sqlite3.Connection, b: Batch) -> None:
    """The same rows, by hand."""
    db.execute("BEGIN IMMEDIATE")
    db.execute(
        "UPDATE twitor_session SET counters=?, lease_until=?, updated_at=?, revision=revision+1 "
        "WHERE session_id=? AND fence=? AND ended_at IS NULL",
        ('{"seen":1}', b.lease_until, b.now, "s1", 1),
    )
    db.executemany(
        "INSERT INTO twitor_bookmark (user_id, item_id, text, author_id, author_username, created_at, kind, "
        "richness, source, stored_at, raw) VALUES ('me',?,?,?,?,?,'post',1,'x',?,?)",
        [
            (
                n.item.key,
                n.item.text,
                n.item.author_id,
                n.item.author_username,
                n.item.created_at,
                b.now,
                n.item.raw,
            )
            for n in b.new
        ],
    )
    db.executemany(
        "INSERT INTO twitor_listing SELECT 1, id, 1, ?, 1 FROM twitor_bookmark WHERE user_id='me' AND item_id=?",
        [(n.position, n.item.key) for n in b.new],
    )
    db.execute(
        "UPDATE twitor_crawl SET last_tweet_id=?, bookmarks_count=bookmarks_count+?, mark=?, has_checkpoint=1, "
        "last_crawled_at=? WHERE id=1",
        (b.last_key, len(b.new), '{"cursor":"c"}', b.now),
    )
    db.execute("COMMIT")


async def measure(count: int, rounds: int) -> None:
    """Both in turn, fifty transactions at a time."""
    with tempfile.TemporaryDirectory() as folder:
        other = await prepared(Path(folder) / "raw.db")
        await other.close()
        db = sqlite3.connect(Path(folder) / "raw.db", isolation_level=None)
        db.execute("PRAGMA synchronous=FULL")
        store = await prepared(Path(folder) / "store.db")
        raw: list[float] = []
        ours: list[float] = []
        for number in range(rounds):
            batches = [batch((number * 50 + n) * count, count) for n in range(50)]
            for b in batches:
                start = time.perf_counter()
                raw_commit(db, b)
                raw.append(time.perf_counter() - start)
            for b in batches:
                start = time.perf_counter()
                await store.commit(b)
                ours.append(time.perf_counter() - start)
        await store.close()
        db.close()
    floor, mine = statistics.median(raw) * 1e6, statistics.median(ours) * 1e6
    print(
        f"checkpoint + {count} items: raw {floor:.0f} us, store {mine:.0f} us, ratio {mine / floor:.2f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="*", default=[10, 90])
    parser.add_argument("--rounds", type=int, default=12)
    arguments = parser.parse_args()
    for items in arguments.items:
        asyncio.run(measure(items, arguments.rounds))
