"""A source that has nothing to do with X: articles of a local JSON API, into the same kind of database.

Run it as it is: `python examples/json_pages.py`. It starts the API itself, crawls it twice, and says what came.
"""

import asyncio
import json
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

from twitor_fsm import CrawlEngine, End, InvalidRaw, Item, Page, SourceUnavailable, Usage


class Articles:
    """`GET /articles?after=N` gives `{"articles": [...], "next": N | null}`; null is an explicit end."""

    name = "articles"
    service = "articles"
    endpoint = "articles"
    page_sizes: tuple[int, ...] = ()
    price_usd = 0.0

    def __init__(self, base_url: str) -> None:
        """Read from the API at `base_url`."""
        self._base_url = base_url

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        """One request; whatever the network does is a `SourceUnavailable`, and the engine repeats it."""
        url = f"{self._base_url}/articles?user={user_id}&after={cursor or 0}"
        try:
            answer = json.loads(await asyncio.to_thread(_get, url))
        except (OSError, ValueError) as exc:
            raise SourceUnavailable(f"the articles API gave no page: {type(exc).__name__}") from exc
        following = answer["next"]
        return Page(
            items=tuple(self.decode(json.dumps(raw)) for raw in answer["articles"]),
            next_cursor=None if following is None else str(following),
            end=End.VERIFIED if following is None else End.MORE,
            usage=Usage(requests=1, items=len(answer["articles"])),
        )

    def decode(self, raw: str) -> Item | InvalidRaw:
        """An article needs an id and a title; one without is skipped and kept."""
        article = json.loads(raw)
        if "title" not in article:
            return InvalidRaw(key=str(article["id"]), raw=raw, message="an article without a title")
        return Item(key=str(article["id"]), raw=raw, text=article["title"])

    async def aclose(self) -> None:
        """Nothing is held."""


def _get(url: str) -> bytes:
    with urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
    return body


class Api(BaseHTTPRequestHandler):
    """Fifty articles, ten a page; one has no title, and the third request fails."""

    requests = 0

    def do_GET(self) -> None:
        """Serve one page."""
        Api.requests += 1
        if Api.requests == 3:
            self.send_error(503)
            return
        after = int(self.path.rpartition("=")[2])
        articles = [{"id": n, "title": f"Article {n}"} for n in range(after, min(50, after + 10))]
        for article in articles:
            if article["id"] == 17:
                del article["title"]
        body = json.dumps({"articles": articles, "next": after + 10 if after < 40 else None})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


async def main() -> None:
    """Crawl twice: everything, then nothing new."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source = Articles(f"http://127.0.0.1:{server.server_port}")
    with tempfile.TemporaryDirectory() as folder:
        async with CrawlEngine(str(Path(folder) / "articles.db")) as engine:
            for run in ("first", "second"):
                report = await engine.crawl(source, user_id="reader")
                counts = report.counters
                print(
                    f"{run}: {report.state}, {counts.stored} stored, {counts.already_known} known, "
                    f"{counts.skipped} skipped, {counts.retries} retried"
                )
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    asyncio.run(main())
