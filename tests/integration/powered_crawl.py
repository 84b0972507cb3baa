"""The small crawl, run as a process of its own: each checkpoint that is reported is noted in a file beside the database.

`python powered_crawl.py FOLDER SYNCHRONOUS`: the second argument overrules the store's own setting.
"""

import asyncio
import json
import logging
import os
import sqlite3
import sys
from pathlib import Path

from faulty_sql import Faults, SmallCrawl

from twitor_fsm.events import CheckpointSaved, Event
from twitor_fsm.testing.tapping import Call


async def crawl(folder: Path, synchronous: str) -> None:
    promises = os.open(folder / "promises", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def promise(event: Event) -> None:
        if isinstance(event, CheckpointSaved):
            said = {"stored": event.counters.stored, "last": event.last_tweet_id}
            os.write(promises, f"{json.dumps(said)}\n".encode())

    def overrule(call: Call) -> None:
        if call.text.startswith("PRAGMA synchronous") and call.connection is not None:
            sqlite3.Connection.execute(call.connection, f"PRAGMA synchronous={synchronous}")

    small = SmallCrawl(folder / "bookmarks.db", observer=promise)
    report = await small.run(Faults(after_call=overrule))
    assert report.completed, report


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(crawl(Path(sys.argv[1]), sys.argv[2]))
