"""Serves pages of a bookmarks listing as fast as Python can: every page is rendered before the first request.

Usage: page_server.py ITEMS PAGE_SIZE; prints its base URL when it is ready, ends when its input closes.
"""

import asyncio
import random
import sys
from urllib.parse import parse_qs, urlsplit

import msgspec


def post(number: int, draw: random.Random) -> dict[str, object]:
    """A post of about 1.65 KB, as the API gives it with the usual fields."""
    key = str(draw.randrange(10**9, 2 * 10**18))
    return {
        "id": key,
        "text": f"Post {number}: " + " ".join(["lorem ipsum dolor sit amet"] * 8),
        "author_id": str(draw.randrange(10**6, 10**12)),
        "created_at": "2024-05-06T07:08:09.000Z",
        "lang": "en",
        "conversation_id": key,
        "edit_history_tweet_ids": [key],
        "possibly_sensitive": False,
        "reply_settings": "everyone",
        "public_metrics": {
            name: draw.randrange(10_000)
            for name in (
                "retweet_count",
                "reply_count",
                "like_count",
                "quote_count",
                "bookmark_count",
                "impression_count",
            )
        },
        "entities": {
            "urls": [
                {
                    "start": n,
                    "end": n + 23,
                    "url": f"https://t.co/{n:010d}",
                    "expanded_url": f"https://example.com/a/rather/long/path/{number}/{n}",
                    "display_url": "example.com/a/rather/long...",
                }
                for n in range(4)
            ],
            "annotations": [
                {
                    "start": n,
                    "end": n + 5,
                    "probability": 0.9,
                    "type": "Other",
                    "normalized_text": "lorem",
                }
                for n in range(2)
            ],
        },
    }


def render(items: int, size: int) -> list[bytes]:
    """All pages as whole HTTP answers."""
    draw = random.Random(1)
    answers = []
    count = max(1, -(-items // size))
    for page in range(count):
        data = [post(n, draw) for n in range(page * size, min(items, (page + 1) * size))]
        meta: dict[str, object] = {"result_count": len(data)}
        if page + 1 < count:
            meta["next_token"] = f"p{page + 1}"
        body = msgspec.json.encode({"data": data, "meta": meta})
        head = (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nx-rate-limit-limit: 1000000\r\n"
            "x-rate-limit-remaining: 999999\r\nx-rate-limit-reset: 4000000000\r\n\r\n"
        )
        answers.append(head.encode() + body)
    return answers


async def serve(items: int, size: int) -> None:
    """Answer until standard input closes."""
    answers = render(items, size)
    loop = asyncio.get_running_loop()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ", 2)[1].decode()
                query = parse_qs(urlsplit(target).query)
                token = query.get("pagination_token", ["p0"])[0]
                # Whatever size is asked for: an end that is asked for again is the same last page.
                writer.write(answers[int(token[1:])])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
