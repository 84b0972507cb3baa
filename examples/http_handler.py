"""A handler that calls an HTTP service for every new bookmark and stores what it answers with the bookmark.

Run it as it is: `python examples/http_handler.py`. The simulated X API and the service are started here.

The handler runs at least once per item. Its answer is stored in the item's own transaction, so every stored bookmark
has exactly one; `fence` never falls within a crawl, and a service can refuse a caller with an older one.
"""

import asyncio
import json
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from twitor_fsm import CrawlEngine, Item, XBookmarks
from twitor_fsm.simulator import Simulator


class Labels(BaseHTTPRequestHandler):
    """Labels a text by its length; every 40th call fails, as services do."""

    calls = 0

    def do_POST(self) -> None:
        """Answer one text."""
        Labels.calls += 1
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if Labels.calls % 40 == 0:
            self.send_error(503)
            return
        label = "long" if len(body["text"]) > 200 else "short"
        answer = json.dumps({"label": label}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


async def main() -> None:
    """Crawl 100 simulated bookmarks, each labelled."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Labels)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.server_port}") as client:

        async def label(item: Item, fence: int) -> dict[str, str]:
            answer = await client.post("/", json={"text": item.text or "", "fence": fence})
            answer.raise_for_status()  # a 503 is a NETWORK error: the item is tried again
            result: dict[str, str] = answer.json()
            return result

        with tempfile.TemporaryDirectory() as folder:
            async with Simulator(100) as x, CrawlEngine(str(Path(folder) / "b.db")) as engine:
                source = XBookmarks(x.token, base_url=x.base_url)
                report = await engine.crawl(source, user_id=x.user_id, handler=label)
                labels = [bookmark.result async for bookmark in engine.bookmarks(x.user_id)]
    server.shutdown()
    server.server_close()
    print(f"{report.state}: {report.counters.stored} stored, {report.counters.retries} retried")
    print(f"{sum(1 for found in labels if found)} bookmarks have a label")


if __name__ == "__main__":
    asyncio.run(main())
