"""The README's first example: no account, no server; it crawls a simulated X twice."""

import asyncio

from twitor_fsm import CrawlEngine, XBookmarks
from twitor_fsm.simulator import Simulator


async def main() -> None:
    """Crawl 1,000 bookmarks through faults and a rate limit, then once more."""
    async with (
        Simulator(1000, faults="typical", window_s=3) as x,
        CrawlEngine("sqlite+aiosqlite:///:memory:") as engine,
    ):
        for _ in range(2):
            report = await engine.crawl(XBookmarks(x.token, base_url=x.base_url), user_id=x.user_id)
            print(report.state, report.reason, report.counters)


if __name__ == "__main__":
    asyncio.run(main())
