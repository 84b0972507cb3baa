"""A service, or somebody in its place, that answers what no service should: whole crawls over real sockets into SQLite.

The first page is good, so each story shows what becomes of it; afterwards the service heals, and the same crawl again
brings everything.
"""

import asyncio
import gzip
import json
import ssl
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from raw_http import Answer, RawServer, answer, page, post, self_signed, serving

from twitor_fsm.config import Settings
from twitor_fsm.core.recovery import PAUSE_SLACK_S, WINDOW_S
from twitor_fsm.core.taxonomy import ErrorCategory, Reason
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.report import CrawlReport, exit_code
from twitor_fsm.sources.x_api import XBookmarks
from twitor_fsm.testing import VirtualClock
from twitor_fsm.testing.clock import START

USER = "42"
TOKEN = "canary-of-http"
PATH = f"/2/users/{USER}/bookmarks?"
FIRST = [post(n) for n in range(5)]
SECOND = [post(n) for n in range(5, 8)]
GOOD = answer(200, page(FIRST, "token2"))
LAST = answer(200, page(SECOND))
TRUSTED = ssl.create_default_context()
"""Made once: it takes longer than most of these crawls."""
LADDER = [1.0, 2.0, 4.0, 8.0, 16.0]


def ids(posts: list[Any]) -> list[str]:
    return [str(one["id"]) for one in posts]


@attrs.define
class Crawl:
    """One account at one server, and its database."""

    server: RawServer
    engine: CrawlEngine
    clock: VirtualClock
    options: dict[str, Any]

    async def run(self) -> CrawlReport:
        self.clock.sleeps.clear()
        source = XBookmarks(TOKEN, base_url=self.server.url, clock=self.clock, **self.options)
        return await self.engine.crawl(source, user_id=USER)

    async def stored(self) -> list[str]:
        return sorted([bookmark.id async for bookmark in self.engine.bookmarks()], key=int)

    async def heal(self) -> None:
        """The service is well again: nothing is missing, nothing is there twice."""
        self.server.route = lambda target: LAST if "token2" in target else GOOD
        report = await self.run()
        assert report.completed, report.message
        assert await self.stored() == ids(FIRST + SECOND)


@asynccontextmanager
async def crawling(
    folder: Path, *answers: Answer, settings: Settings | None = None, **options: Any
) -> AsyncIterator[Crawl]:
    clock = VirtualClock()
    async with (
        httpx.AsyncClient(verify=TRUSTED) as client,
        serving(*answers) as server,
        CrawlEngine(
            str(folder / "bookmarks.db"), settings=settings or Settings(), clock=clock
        ) as engine,
    ):
        yield Crawl(server, engine, clock, {"client": client, **options})


def ended(report: CrawlReport) -> tuple[str, ErrorCategory | None, str | None, int]:
    return report.state, report.category, report.reason, exit_code(report)


def bad_page(requests: int = 7) -> tuple[str, ErrorCategory, Reason, int]:
    return "aborted", ErrorCategory.NETWORK, Reason.BAD_PAGE, 12


# -- links and redirects ------------------------------------------------------------------------------

ELSEWHERE = [
    "http://{trap}/next",
    "https://{trap}/next",
    "//{trap}/next",
    "http://user@{trap}/",
    "http://169.254.169.254/latest/meta-data",
    "../../../2/tweets?x=",
    "x&user_id=1#",
    "%0d%0aHost:evil",
    "@{trap}/",
]


@pytest.mark.parametrize("link", ELSEWHERE)
async def test_a_next_link_leads_nowhere_but_into_the_parameter(tmp_path: Path, link: str) -> None:
    async with serving(answer(200, page(SECOND))) as trap:
        token = link.format(trap=trap.url.removeprefix("http://"))
        first = answer(200, page(FIRST, token))
        async with crawling(tmp_path, first, LAST) as crawl:
            report = await crawl.run()

            assert report.completed
            assert await crawl.stored() == ids(FIRST + SECOND)
            assert all(target.startswith(PATH) for target in crawl.server.paths)
            assert all("evil" not in head.split("\r\n", 1)[1] for head in crawl.server.asked)
        assert trap.connections == 0


@pytest.mark.parametrize("token", ["a b", "\x00", "snow\u2603man", "x" * 1025, "a\r\nHost: evil"])
async def test_a_next_link_that_is_no_token_is_not_sent(tmp_path: Path, token: str) -> None:
    async with crawling(tmp_path, answer(200, page(FIRST, token))) as crawl:
        report = await crawl.run()

        assert ended(report) == bad_page()
        assert crawl.clock.sleeps == LADDER
        assert await crawl.stored() == []
        assert all("pagination_token" not in target for target in crawl.server.paths)
        await crawl.heal()


@pytest.mark.parametrize(
    ("status", "target"),
    [
        (301, "elsewhere"),
        (302, "https"),
        (303, "elsewhere"),
        (307, "elsewhere"),
        (307, "itself"),
        (308, "elsewhere"),
        (308, "nowhere"),
    ],
)
async def test_a_redirect_is_not_followed_and_ends_the_crawl(
    tmp_path: Path, status: int, target: str
) -> None:
    async with serving(LAST) as trap, crawling(tmp_path, GOOD) as crawl:
        location = {
            "elsewhere": f"{trap.url}{PATH}",
            "https": f"https://{trap.url.removeprefix('http://')}/",
            "itself": f"{crawl.server.url}{PATH}",
            "nowhere": "",
        }[target]
        crawl.server.answers[:] = [GOOD, answer(status, b"", location=location)]
        report = await crawl.run()

        assert ended(report) == ("shut_down", ErrorCategory.FATAL, Reason.REQUEST_REFUSED, 1)
        assert "redirect" in report.message
        assert crawl.clock.sleeps == []
        assert await crawl.stored() == ids(FIRST)
        assert (len(crawl.server.asked), trap.connections) == (2, 0)
        await crawl.heal()


async def test_a_host_with_another_certificate_is_told_nothing(tmp_path: Path) -> None:
    """Whoever takes the place of the address, by a lying name server say, has no certificate for its name."""
    async with (
        serving(GOOD, tls=self_signed(tmp_path)) as impostor,
        CrawlEngine(str(tmp_path / "b.db"), settings=Settings(), clock=VirtualClock()) as engine,
    ):
        report = await engine.crawl(XBookmarks(TOKEN, base_url=impostor.url), user_id=USER)

    assert ended(report) == ("aborted", ErrorCategory.NETWORK, Reason.CONNECTION, 12)
    assert impostor.asked == []


# -- bodies and headers --------------------------------------------------------------------------------

BODY = json.dumps(page(SECOND)).encode()
BOMB = gzip.compress(b" " * (9 << 20))


def cut(whole: bytes, by: int) -> bytes:
    return whole[:-by]


def reset_after(sent: bytes) -> Answer:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()
        writer.transport.abort()  # RST instead of FIN

    return write


BROKEN: dict[str, tuple[Answer, Reason]] = {
    "a bomb": (answer(200, BOMB, content_encoding="gzip"), Reason.BAD_PAGE),
    "deflate": (answer(200, zlib.compress(BODY), content_encoding="deflate"), Reason.BAD_PAGE),
    "brotli": (answer(200, b"\x8b", content_encoding="br"), Reason.BAD_PAGE),
    "zstd": (answer(200, b"\x28\xb5\x2f\xfd", content_encoding="zstd"), Reason.BAD_PAGE),
    "gzip twice": (
        answer(200, gzip.compress(gzip.compress(BODY)), content_encoding="gzip, gzip"),
        Reason.BAD_PAGE,
    ),
    "gzip that is none": (answer(200, BODY, content_encoding="gzip"), Reason.BAD_PAGE),
    "gzip cut off": (
        answer(200, cut(gzip.compress(BODY), 9), content_encoding="gzip"),
        Reason.BAD_PAGE,
    ),
    "a body cut off": (cut(LAST, 9), Reason.BAD_PAGE),
    "a length too large": (answer(200, BODY, content_length="99999"), Reason.BAD_PAGE),
    "a length too small": (answer(200, BODY, content_length="40"), Reason.BAD_PAGE),
    "a length that is none": (answer(200, BODY, content_length="many"), Reason.CONNECTION),
    "two lengths": (
        answer(200, BODY, content_length="10\r\ncontent-length: 20"),
        Reason.CONNECTION,
    ),
    "chunks that are none": (
        b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        Reason.BAD_PAGE,
    ),
    "chunks cut off": (
        b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{",
        Reason.BAD_PAGE,
    ),
    "a reset amid the body": (reset_after(cut(LAST, 20)), Reason.BAD_PAGE),
    "a reset amid the headers": (reset_after(b"HTTP/1.1 200 X\r\nconte"), Reason.CONNECTION),
    "a reset at once": (reset_after(b""), Reason.CONNECTION),
    "no answer": (b"", Reason.CONNECTION),
    "no HTTP": (b"\x16\x03\x01 not http\r\n\r\n", Reason.CONNECTION),
    "a flood of headers": (
        b"HTTP/1.1 200 X\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(50_000)) + b"\r\n" + BODY,
        Reason.CONNECTION,
    ),
    "a header of 10 MB": (
        b"HTTP/1.1 200 X\r\nx: " + b"y" * 10_000_000 + b"\r\n\r\n" + BODY,
        Reason.CONNECTION,
    ),
    "a header with NUL": (answer(200, BODY, x="a\0b"), Reason.CONNECTION),
    "not JSON": (answer(200, b"<html>sign in</html>"), Reason.BAD_PAGE),
    "not UTF-8": (answer(200, b'\xff\xfe{"data":[]}'), Reason.BAD_PAGE),
    "brackets without end": (answer(200, b"[" * 100_000), Reason.BAD_PAGE),
    "members without end": (answer(200, b'{"data":' * 100_000), Reason.BAD_PAGE),
    "a number of 5,000 digits": (
        answer(200, b'{"data":[],"meta":{"result_count":%s}}' % (b"9" * 5000)),
        Reason.BAD_PAGE,
    ),
    "a million elements": (
        answer(200, b'{"meta":{},"data":[' + b"{}," * 1_000_000 + b"{}]}"),
        Reason.BAD_PAGE,
    ),
    "data of another type": (answer(200, {"data": "x", "meta": {}}), Reason.BAD_PAGE),
    "a token of another type": (
        answer(200, {"data": SECOND, "meta": {"next_token": 5}}),
        Reason.BAD_PAGE,
    ),
    "an empty answer": (answer(200, b""), Reason.BAD_PAGE),
    "an empty object": (answer(200, b"{}"), Reason.BAD_PAGE),
}  # fmt: skip


@pytest.mark.parametrize(("broken", "reason"), BROKEN.values(), ids=list(BROKEN))
async def test_a_broken_answer_is_asked_for_again_by_the_ladder_and_nothing_of_it_is_stored(
    tmp_path: Path, broken: Answer, reason: Reason
) -> None:
    async with crawling(tmp_path, GOOD, broken) as crawl:
        report = await crawl.run()

        assert ended(report) == ("aborted", ErrorCategory.NETWORK, reason, 12)
        assert crawl.clock.sleeps == LADDER
        assert report.counters.requests == len(crawl.server.asked) == 7
        assert await crawl.stored() == ids(FIRST)
        assert report.counters.skipped == 0
        await crawl.heal()


async def endless_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\n \r\n")
        await writer.drain()
        await asyncio.sleep(0.005)


async def endless_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\n")
    while True:
        writer.write(b"x: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.005)


async def silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize("slow", [endless_body, endless_headers, silence])
async def test_what_drips_for_ever_meets_the_deadline_of_the_whole_request(
    tmp_path: Path, slow: Callable[..., Any]
) -> None:
    settings = Settings(max_retries=1)
    async with crawling(tmp_path, GOOD, slow, settings=settings, deadline_s=0.3) as crawl:
        async with asyncio.timeout(20):
            report = await crawl.run()

        assert ended(report) == ("aborted", ErrorCategory.NETWORK, Reason.TIMEOUT, 12)
        assert crawl.clock.sleeps == LADDER[:1]
        assert await crawl.stored() == ids(FIRST)
        crawl.options["deadline_s"] = 60.0
        await crawl.heal()


# -- elements ------------------------------------------------------------------------------------------

ELEMENTS: dict[str, bytes] = {
    "NaN": b'{"id":"1","text":"a","x":NaN}',
    "infinity": b'{"id":"1","text":"a","x":-Infinity}',
    "no object": b"[1]",
    "null": b"null",
    "no id": b'{"text":"a"}',
    "an id beyond 2^63": b'{"id":9223372036854775808,"text":"a"}',
    "an id of a number": b'{"id":1,"text":"a"}',
    "an id with a space": b'{"id":"1 2","text":"a"}',
    "an id of 101 characters": b'{"id":"%s","text":"a"}' % (b"1" * 101),
    "an id with NUL": b'{"id":"1\\u0000","text":"a"}',
    "no text": b'{"id":"1"}',
    "text of a list": b'{"id":"1","text":["a"]}',
    "brackets without end": b'{"id":"1","text":"a","x":' + b"[" * 90_000 + b"]" * 90_000 + b"}",
    "a number of 5,000 digits": b'{"id":"1","text":%s}' % (b"9" * 5000),
    "not UTF-8": b'{"id":"1","text":"\xff"}',
    "text of 2 MB": b'{"id":"1","text":"%s"}' % (b"x" * 2_000_000),
}


@pytest.mark.parametrize("element", ELEMENTS.values(), ids=list(ELEMENTS))
async def test_a_bad_element_costs_itself_and_not_its_page(tmp_path: Path, element: bytes) -> None:
    rest = ",".join(json.dumps(one) for one in SECOND).encode()
    body = b'{"data":[%s,%s],"meta":{"result_count":4}}' % (element, rest)
    async with crawling(tmp_path, GOOD, answer(200, body)) as crawl:
        report = await crawl.run()

        assert ended(report) == ("completed", None, Reason.END_VERIFIED, 0)
        assert await crawl.stored() == ids(FIRST + SECOND)
        assert report.counters.skipped == 1
        (row,) = await crawl.engine.skipped()
        assert row.skip.category is ErrorCategory.VALIDATION
        assert row.skip.raw.encode("utf-8", "surrogateescape") == element
        assert crawl.clock.sleeps == []


async def test_of_members_with_one_name_the_last_counts_and_a_bom_is_passed_over(
    tmp_path: Path,
) -> None:
    body = b'\xef\xbb\xbf{"data":[{"id":"7","id":"8","text":"a","text":"b"}],"meta":{"result_count":1}}'
    async with crawling(tmp_path, answer(200, body)) as crawl:
        assert (await crawl.run()).completed
        (row,) = [bookmark async for bookmark in crawl.engine.bookmarks()]
    assert (row.id, row.text) == ("8", "b")


# -- a listing without end ------------------------------------------------------------------------------


def cycle(*pages: Answer) -> Callable[[int], Answer]:
    return lambda number: pages[number % len(pages)]


LOOPS: dict[str, Callable[[int], Answer]] = {
    "the same token": cycle(answer(200, page(FIRST, "same"))),
    "tokens in a circle": cycle(answer(200, page(FIRST, "one")), answer(200, page(SECOND, "two"))),
    "empty pages for ever": lambda number: answer(200, page([], f"token{number}")),
    "known items for ever": lambda number: answer(200, page(FIRST, f"token{number}")),
}


@pytest.mark.parametrize("listing", LOOPS.values(), ids=list(LOOPS))
async def test_a_listing_that_goes_round_is_given_up_soon(
    tmp_path: Path, listing: Callable[[int], Answer]
) -> None:
    endless = [listing(number) for number in range(100)]
    async with crawling(tmp_path, *endless) as crawl:
        report = await crawl.run()

        assert ended(report) == ("shut_down", ErrorCategory.FATAL, Reason.SOURCE_LOOPS, 1)
        assert len(crawl.server.asked) <= 6
        assert set(await crawl.stored()) <= set(ids(FIRST + SECOND))
        await crawl.heal()


# -- absurd reset times ----------------------------------------------------------------------------------

RESETS: dict[str, dict[str, str]] = {
    "in the past": {"x_rate_limit_reset": str(int(START) - 4000)},
    "ten years ahead": {"x_rate_limit_reset": str(int(START) + 315_000_000)},
    "in milliseconds, ten years ahead": {"x_rate_limit_reset": f"{int(START) + 315_000_000}000"},
    "not a number": {"x_rate_limit_reset": "NaN"},
    "infinite": {"x_rate_limit_reset": "inf"},
    "negative": {"x_rate_limit_reset": "-5"},
    "of 400 digits": {"x_rate_limit_reset": "9" * 400},
    "zero": {"x_rate_limit_reset": "0"},
    "missing": {},
    "a wait of 10^15 s": {"retry_after": "1000000000000000"},
    "a wait of nothing": {"retry_after": "0"},
    "a wait below zero": {"retry_after": "-1"},
    "a date of the year 9999": {"retry_after": "Fri, 31 Dec 9999 23:59:59 GMT"},
    "a date that is none": {"retry_after": "Fri, 99 Dec 2026"},
    "a server in the year 1": {"date": "Mon, 01 Jan 0001 00:00:00 GMT", "x_rate_limit_reset": "5"},
}


@pytest.mark.parametrize("headers", RESETS.values(), ids=list(RESETS))
async def test_an_absurd_reset_time_is_a_pause_of_a_second_to_a_window(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    limited = answer(429, {"title": "Too Many Requests"}, **headers)
    async with crawling(tmp_path, GOOD, limited, LAST) as crawl:
        report = await crawl.run()

        assert report.completed
        assert report.counters.pauses == 1
        assert 1.0 <= sum(crawl.clock.sleeps) <= WINDOW_S + PAUSE_SLACK_S
        assert await crawl.stored() == ids(FIRST + SECOND)


# -- what a 200 may hide -----------------------------------------------------------------------------------

NOT_FOUND = {
    "resource_type": "user",
    "resource_id": USER,
    "parameter": "id",
    "title": "Not Found Error",
    "type": "https://api.x.com/2/problems/resource-not-found",
}
HIDDEN: dict[str, tuple[dict[str, Any], ErrorCategory, str, int]] = {
    "an unknown user": (
        {"errors": [NOT_FOUND]},
        ErrorCategory.FATAL,
        Reason.REQUEST_REFUSED,
        1,
    ),
    "a refused token": (
        {"errors": [{"code": 89, "message": "Invalid or expired token"}]},
        ErrorCategory.AUTH,
        Reason.TOKEN_REFUSED,
        10,
    ),
    "used up credits": (
        {"errors": [{"title": "CreditsDepleted", "detail": "out of credits"}]},
        ErrorCategory.FATAL,
        Reason.BILLING,
        1,
    ),
    "a service over capacity": (
        {"errors": [{"code": 130, "message": "Over capacity"}]},
        ErrorCategory.NETWORK,
        Reason.SERVER_ERROR,
        12,
    ),
}


@pytest.mark.parametrize(("body", "category", "reason", "code"), HIDDEN.values(), ids=list(HIDDEN))
async def test_errors_in_a_200_are_what_they_say_and_never_an_end(
    tmp_path: Path, body: dict[str, Any], category: ErrorCategory, reason: str, code: int
) -> None:
    async with crawling(tmp_path, GOOD, answer(200, body)) as crawl:
        report = await crawl.run()

        assert ended(report)[1:] == (category, reason, code)
        assert not report.completed
        assert len(crawl.server.asked) == (7 if category is ErrorCategory.NETWORK else 2)
        assert await crawl.stored() == ids(FIRST)
        await crawl.heal()
