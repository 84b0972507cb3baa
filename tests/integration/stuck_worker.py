"""`twitor worker` as it is, over a source that hangs: what a test stops.

Usage: stuck_worker.py MODE ARGS...; the first request of MODE `deaf` ignores every cancellation, that of `blocking` holds
the event loop itself, that of `chatty` writes more to stderr than anybody reads, that of `waiting` waits as long as it may.
Each says "hanging" first. Leases of tasks are short. MODE `memory` is as `deaf`, but user 1 runs out of memory
(in MODE `alone` at once).
"""

import asyncio
import os
import sys
import time
from typing import Any

from twitor_fsm.cli.app import twitor
from twitor_fsm.sources.x_api import XBookmarks

HANGS = asyncio.Event()


async def fetch(_self: Any, user_id: str, _cursor: object, _page_size: object) -> Any:
    if user_id == "1":
        if MODE != "alone":
            await HANGS.wait()
        raise MemoryError
    HANGS.set()
    sys.stderr.write("hanging\n")
    sys.stderr.flush()
    while True:
        try:
            if MODE == "chatty":
                sys.stderr.write("x" * (64 << 20))
            if MODE == "blocking":
                time.sleep(60)  # noqa: ASYNC251 - that is what hangs
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if MODE == "waiting":
                raise


if __name__ == "__main__":
    MODE = sys.argv.pop(1)
    setattr(XBookmarks, "fetch", fetch)  # noqa: B010 - mypy refuses the plain form
    os.environ["TWITOR_LEASE_S"] = "1"
    twitor.main(sys.argv[1:], prog_name="twitor")
