"""XBookmarks over real sockets: each answer of X becomes the right page or the right exception."""

import asyncio
import gzip
import json
import logging
import pickle
import traceback
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import httpx
import pytest

from twitor_fsm.config import Settings
from twitor_fsm.core.taxonomy import Reason
from twitor_fsm.errors import (
    AuthenticationFailed,
    BillingRefused,
    ConfigurationError,
    CredentialsMissing,
    CursorRefused,
    RateLimited,
    RequestRefused,
    SourceUnavailable,
    TwitorError,
)
from twitor_fsm.simulator import Fault, FaultKind, FaultPlan, ItemFault, ItemKind, Simulator
from twitor_fsm.sources.base import End, Item, Source, Usage
from twitor_fsm.sources.credentials import TokenFiles
from twitor_fsm.sources.x_api import XBookmarks

TOKEN = "canary-token-5f2c"
NOW = 1_790_000_000.0
USER = "2244994945"


class FixedClock:
    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a source never sleeps")


@attrs.define
class Server:
    """Answers each request with the next of some byte strings; keeps what was asked."""

    base_url: str = ""
    asked: list[str] = attrs.Factory(list)
    answers: list[bytes] = attrs.Factory(list)
    write: Callable[[asyncio.StreamWriter, bytes], Any] | None = None
    tasks: set[asyncio.Task[Any]] = attrs.Factory(set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if self.write is None:
                writer.write(answer)
                await writer.drain()
            else:
                await self.write(writer, answer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            self.tasks.discard(task)
            writer.close()

    def query(self, place: int = -1) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.asked[place].split()[1]).query, strict_parsing=True)

    def header(self, name: str, place: int = -1) -> list[str]:
        lines = self.asked[place].split("\r\n")[1:]
        pairs = [line.split(": ", 1) for line in lines if line]
        return [value for key, value in pairs if key.lower() == name]


@asynccontextmanager
async def serving(*answers: bytes) -> AsyncIterator[Server]:
    server = Server(answers=list(answers))
    sockets = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=1 << 20)
    server.base_url = f"http://127.0.0.1:{sockets.sockets[0].getsockname()[1]}"
    async with sockets:
        yield server
        left = list(server.tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def http(status: int, body: bytes | dict[str, Any] = b"", **headers: str) -> bytes:
    text = json.dumps(body).encode() if isinstance(body, dict) else body
    sent = {"content_length": str(len(text)), "connection": "close", **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in sent.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + text


EMPTY = {"meta": {"result_count": 0}}
ONE = {"data": [{"id": "1", "text": "private words"}], "meta": {"result_count": 1}}


def source(server: Server, **options: Any) -> XBookmarks:
    credentials = options.pop("credentials", TOKEN)
    return XBookmarks(credentials, base_url=server.base_url, clock=FixedClock(), **options)


async def fetch(*answers: bytes, cursor: str | None = None, **options: Any) -> Any:
    async with serving(*answers) as server, source(server, **options) as x:
        return await x.fetch(USER, cursor, None)


async def refused(*answers: bytes, cursor: str | None = None, **options: Any) -> TwitorError:
    """What an answer raises; it never shows the token, nor does its traceback."""
    with pytest.raises(TwitorError) as caught:
        await fetch(*answers, cursor=cursor, **options)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
    return caught.value


# -- the table of refusals ------------------------------------------------------------------------

TYPE = "https://api.twitter.com/2/problems/"
BLANK = {"type": "about:blank", "detail": "…"}
CURSOR_PROBLEM = {
    "errors": [{"parameters": {"pagination_token": ["abc"]}, "message": "is not valid"}],
    "title": "Invalid Request",
    "type": "https://api.x.com/2/problems/invalid-request",
}
SIZE_PROBLEM = {
    "errors": [{"parameters": {"max_results": ["900"]}, "message": "one of [id,pagination_token]"}],
    "title": "Invalid Request",
    "type": TYPE + "invalid-request",
}
USAGE_CAP = {
    "account_id": 1,
    "product_name": "standard-basic",
    "title": "UsageCapExceeded",
    "period": "Monthly",
    "scope": "Product",
    "detail": "Usage cap exceeded: Monthly product cap",
    "type": TYPE + "usage-capped",
}
NOT_ENROLLED = {
    "title": "Client Forbidden",
    "reason": "client-not-enrolled",
    "required_enrollment": "Appropriate Level of API Access",
    "registration_url": "https://developer.x.com/en/docs/projects/overview",
    "client_id": "1",
    "type": TYPE + "client-forbidden",
}
APP_ONLY = {
    "title": "Unsupported Authentication",
    "detail": "Authenticating with OAuth 2.0 Application-Only is forbidden for this endpoint.",
    "type": TYPE + "unsupported-authentication",
}
HTML = b"<!DOCTYPE html><html><body>Something went wrong</body></html>"


def old(code: int) -> dict[str, Any]:
    return {"errors": [{"code": code, "message": "in words"}]}


TABLE: list[tuple[int, Any, str | None, type[TwitorError], Reason | None]] = [
    (400, CURSOR_PROBLEM, "abc", CursorRefused, None),
    (400, {"title": "Invalid", "detail": "bad pagination token"}, "abc", CursorRefused, None),
    (400, CURSOR_PROBLEM, None, RequestRefused, Reason.REQUEST_REFUSED),
    (400, SIZE_PROBLEM, "abc", RequestRefused, Reason.REQUEST_REFUSED),
    (400, HTML, "abc", RequestRefused, Reason.REQUEST_REFUSED),
    (400, b"", None, RequestRefused, Reason.REQUEST_REFUSED),
    (400, old(214), None, RequestRefused, Reason.REQUEST_REFUSED),
    (401, {"title": "Unauthorized", **BLANK}, None, AuthenticationFailed, Reason.TOKEN_REFUSED),
    (401, old(89), None, AuthenticationFailed, Reason.TOKEN_REFUSED),
    (401, b"", None, AuthenticationFailed, Reason.TOKEN_REFUSED),
    (402, {"title": "CreditsDepleted"}, None, BillingRefused, None),
    (402, b"", None, BillingRefused, None),
    (403, APP_ONLY, None, AuthenticationFailed, Reason.APP_ONLY_TOKEN),
    (403, NOT_ENROLLED, None, AuthenticationFailed, Reason.ACCESS_REFUSED),
    (403, {"title": "SpendCapReached", "reset_date": "2026-12-01"}, None, BillingRefused, None),
    (403, USAGE_CAP, None, BillingRefused, None),
    (
        403,
        {"title": "Forbidden", "detail": "Your token lacks a required scope: bookmark.read."},
        None,
        AuthenticationFailed,
        Reason.SCOPE_MISSING,
    ),
    (
        403,
        {"title": "Forbidden", "detail": "must be the same as the authenticating user"},
        None,
        AuthenticationFailed,
        Reason.ACCESS_REFUSED,
    ),
    (403, {"title": "Forbidden", **BLANK}, None, AuthenticationFailed, Reason.ACCESS_REFUSED),
    (403, old(326), None, AuthenticationFailed, Reason.ACCESS_REFUSED),
    (403, HTML, None, AuthenticationFailed, Reason.ACCESS_REFUSED),
    (404, {"title": "Not Found", **BLANK}, None, RequestRefused, Reason.REQUEST_REFUSED),
    (404, HTML, "abc", RequestRefused, Reason.REQUEST_REFUSED),
    (408, b"", None, SourceUnavailable, Reason.SERVER_ERROR),
    (410, b"", None, RequestRefused, Reason.REQUEST_REFUSED),
    (429, {"title": "Too Many Requests", **BLANK}, None, RateLimited, Reason.RATE_LIMITED),
    (429, {"title": "Rate", "type": TYPE + "rate-limit-exceeded"}, None, RateLimited, None),
    (429, old(88), None, RateLimited, Reason.RATE_LIMITED),
    (429, HTML, None, RateLimited, Reason.RATE_LIMITED),
    (429, USAGE_CAP, None, BillingRefused, None),
    (500, b"", None, SourceUnavailable, Reason.SERVER_ERROR),
    (502, HTML, None, SourceUnavailable, Reason.SERVER_ERROR),
    (503, {"title": "Service Unavailable"}, None, SourceUnavailable, Reason.SERVER_ERROR),
    (503, old(130), None, SourceUnavailable, Reason.SERVER_ERROR),
    (504, HTML, "abc", SourceUnavailable, Reason.SERVER_ERROR),
    (522, HTML, None, SourceUnavailable, Reason.SERVER_ERROR),
    (204, b"", None, SourceUnavailable, Reason.BAD_PAGE),
    (200, HTML, None, SourceUnavailable, Reason.BAD_PAGE),
    (200, b"", None, SourceUnavailable, Reason.BAD_PAGE),
    (200, {"data": {}, "meta": {}}, None, SourceUnavailable, Reason.BAD_PAGE),
    (200, b"[" * 100_000, None, SourceUnavailable, Reason.BAD_PAGE),
    (200, {"data": [], "meta": None}, None, SourceUnavailable, Reason.BAD_PAGE),
]


@pytest.mark.parametrize(
    ("status", "body", "cursor", "kind", "reason"),
    TABLE,
    ids=[f"{row[0]}-{place}" for place, row in enumerate(TABLE)],
)
async def test_each_refusal_becomes_its_exception(
    status: int, body: Any, cursor: str | None, kind: type[TwitorError], reason: Reason | None
) -> None:
    error = await refused(http(status, body), cursor=cursor)
    assert type(error) is kind
    assert reason is None or getattr(error, "reason", None) is reason


async def test_an_app_only_token_is_told_what_is_needed_instead() -> None:
    message = str(await refused(http(403, APP_ONLY)))
    for word in ("app-only", "bookmark.read", "tweet.read", "users.read", "offline.access", "PKCE"):
        assert word in message


async def test_refusals_name_the_remedy() -> None:
    assert "https://developer.x.com/en/docs/projects" in str(await refused(http(403, NOT_ENROLLED)))
    assert "2026-12-01" in str(
        await refused(http(403, {"title": "SpendCapReached", "reset_date": "2026-12-01"}))
    )


async def test_words_of_the_service_are_quoted_short_and_printable() -> None:
    error = await refused(http(400, {"title": "\x1b[31mBad", "detail": "x" * 5000 + TOKEN}))
    assert "\x1b" not in str(error)
    assert len(str(error)) < 700
    assert TOKEN not in str(await refused(http(400, {"detail": f"token {TOKEN} is bad"})))


async def test_errors_without_data_are_no_empty_account() -> None:
    problem = {
        "resource_type": "user",
        "resource_id": USER,
        "parameter": "id",
        "title": "Not Found Error",
        "type": TYPE + "resource-not-found",
    }
    for body in ({"errors": [problem]}, {"errors": [problem], "meta": {"result_count": 0}}):
        error = await refused(http(200, body))
        assert isinstance(error, RequestRefused)
        assert "Not Found Error" in str(error)


async def test_nothing_has_changed_is_no_redirect() -> None:
    """Nothing asks for 304: a cache on the way that gives it may be right the next time."""
    error = await refused(http(304, b""))
    assert isinstance(error, SourceUnavailable)
    assert error.reason is Reason.BAD_PAGE
    assert "not asked for" in str(error)
    assert "redirect" not in str(error)


async def test_a_redirect_is_not_followed_and_carries_no_token() -> None:
    async with serving(http(200, ONE)) as other:
        answer = http(307, b"", location=f"{other.base_url}/2/users/{USER}/bookmarks")
        error = await refused(answer, client=None)
        assert isinstance(error, RequestRefused)
        assert "redirect" in str(error)
        assert "nothing was stored" not in str(error)  # earlier pages may well have been
        async with httpx.AsyncClient(follow_redirects=True) as client:
            assert isinstance(await refused(answer, client=client), RequestRefused)
        assert other.asked == []


# -- rate limits and clocks -------------------------------------------------------------------------


def limited(**headers: str) -> bytes:
    return http(429, {"title": "Too Many Requests", **BLANK}, **headers)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x_rate_limit_reset": str(int(NOW) + 600)}, NOW + 600),
        ({"x_rate_limit_reset": str(int(NOW) + 600), "x_rate_limit_remaining": "0"}, NOW + 600),
        ({"x_rate_limit_reset": str((int(NOW) + 600) * 1000)}, NOW + 600),
        ({"x_rate_limit_reset": str(int(NOW) - 60)}, NOW - 60),
        ({"x_rate_limit_reset": str(int(NOW) + 5600), "date": formatdate(NOW + 5000)}, NOW + 600),
        ({"x_rate_limit_reset": str(int(NOW) - 4400), "date": formatdate(NOW - 5000)}, NOW + 600),
        ({"x_rate_limit_reset": str(int(NOW) + 600), "date": "no date"}, NOW + 600),
        ({"x_rate_limit_reset": "nan", "retry_after": "30"}, NOW + 30),
        ({"x_rate_limit_reset": "900", "retry_after": "30"}, NOW + 30),
        ({"retry_after": "30", "x_rate_limit_remaining": "5"}, NOW + 30),
        ({"retry_after": formatdate(NOW + 90, usegmt=True)}, NOW + 90),
        (
            {"retry_after": formatdate(NOW + 590, usegmt=True), "date": formatdate(NOW + 500)},
            NOW + 90,
        ),
        ({"retry_after": "-5"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "inf"}, None),
        ({"x_rate_limit_reset": ""}, None),
        ({}, None),
    ],
)
async def test_a_rate_limit_says_by_our_clock_when_it_ends(
    headers: dict[str, str], expected: float | None
) -> None:
    error = await refused(limited(**headers))
    assert isinstance(error, RateLimited)
    assert error.reset_at == expected


async def test_a_header_that_a_proxy_doubles_still_counts() -> None:
    """Two lines of one name: the second begins inside the first one's value here."""
    again = f"{int(NOW) + 600}\r\nX-Rate-Limit-Reset: {int(NOW) + 600}"
    error = await refused(limited(x_rate_limit_reset=again))
    assert isinstance(error, RateLimited)
    assert error.reset_at == NOW + 600

    ends = {"x_rate_limit_remaining": "0\r\nx-rate-limit-remaining: 0", "x_rate_limit_reset": again}
    assert (await fetch(http(200, EMPTY, **ends))).usage.closed_until == NOW + 600


async def test_a_429_with_requests_left_is_about_money() -> None:
    headers = {"x_rate_limit_limit": "40000", "x_rate_limit_remaining": "39999"}
    assert isinstance(await refused(limited(**headers)), BillingRefused)


async def test_the_last_request_of_a_window_closes_it() -> None:
    headers = {"x_rate_limit_remaining": "0", "x_rate_limit_reset": str(int(NOW) + 1600)}
    page = await fetch(http(200, EMPTY, date=formatdate(NOW + 1000), **headers))
    assert page.usage == Usage(requests=1, items=0, closed_until=NOW + 600)
    headers["x_rate_limit_remaining"] = "1"
    page = await fetch(http(200, EMPTY, **headers))
    assert page.usage.closed_until is None


# -- the network ------------------------------------------------------------------------------------


async def test_no_connection_is_unavailable() -> None:
    async with serving(b"") as server:
        url = server.base_url
    async with XBookmarks(TOKEN, base_url=url) as x:
        with pytest.raises(SourceUnavailable) as caught:
            await x.fetch(USER, None, None)
    assert caught.value.reason is Reason.CONNECTION
    assert isinstance(caught.value.__cause__, httpx.ConnectError)


@pytest.mark.parametrize("keep", [0, 10, 40])
async def test_a_connection_that_breaks_is_unavailable(keep: int) -> None:
    error = await refused(http(200, ONE)[:keep])
    assert isinstance(error, SourceUnavailable)
    assert error.reason is Reason.CONNECTION


async def test_a_body_that_breaks_off_is_a_bad_page() -> None:
    error = await refused(http(200, ONE)[:-10])
    assert isinstance(error, SourceUnavailable)
    assert error.reason is Reason.BAD_PAGE
    assert "private" not in str(error)


async def test_silence_is_a_timeout() -> None:
    async def nothing(*_: object) -> None:
        await asyncio.sleep(0.2)

    async with serving(b"") as server, source(server, request_timeout_s=0.02) as x:
        server.write = nothing
        with pytest.raises(SourceUnavailable) as caught:
            await x.fetch(USER, None, None)
    assert caught.value.reason is Reason.TIMEOUT


async def test_a_dripping_body_does_not_outlive_the_deadline() -> None:
    async def drip(writer: asyncio.StreamWriter, answer: bytes) -> None:
        for place in range(len(answer)):
            writer.write(answer[place : place + 1])
            await writer.drain()
            await asyncio.sleep(0.002)

    async with serving(http(200, b" " * 100_000)) as server, source(server, deadline_s=0.08) as x:
        server.write = drip
        with pytest.raises(SourceUnavailable) as caught:
            async with asyncio.timeout(5):
                await x.fetch(USER, None, None)
        assert caught.value.reason is Reason.TIMEOUT


async def test_a_cancelled_fetch_is_cancelled_and_the_source_goes_on() -> None:
    async def late(writer: asyncio.StreamWriter, answer: bytes) -> None:
        await asyncio.sleep(0.05)
        writer.write(answer)

    async with serving(http(200, ONE)) as server, source(server) as x:
        server.write = late
        task = asyncio.create_task(x.fetch(USER, None, None))
        while not server.asked:  # noqa: ASYNC110 - a turn or two
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len((await x.fetch(USER, None, None)).items) == 1


# -- packed answers -----------------------------------------------------------------------------


async def test_a_packed_page_is_unpacked() -> None:
    packed = gzip.compress(json.dumps(ONE).encode())
    page = await fetch(http(200, packed, content_encoding="gzip"))
    assert [item.key for item in page.items] == ["1"]


@pytest.mark.parametrize("packing", ["gzip, identity", "Identity,GZIP", "x-gzip"])
async def test_a_packing_that_packs_nothing_is_passed_over(packing: str) -> None:
    page = await fetch(http(200, gzip.compress(json.dumps(ONE).encode()), content_encoding=packing))
    assert [item.key for item in page.items] == ["1"]


@pytest.mark.parametrize("at", [1, 10, 17])
async def test_a_page_packed_in_several_members_is_unpacked(at: int) -> None:
    text = json.dumps(ONE).encode()
    packed = gzip.compress(text[:at]) + gzip.compress(b"") + gzip.compress(text[at:])
    page = await fetch(http(200, packed, content_encoding="gzip"))
    assert [item.key for item in page.items] == ["1"]


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(json.dumps(ONE).encode())[:-9], "gzip"),
        (gzip.compress(json.dumps(ONE).encode()) + b"more", "gzip"),
        (gzip.compress(json.dumps(ONE).encode()) + gzip.compress(b" ")[:-1], "gzip"),
        (b"not gzip at all", "gzip"),
        (zlib.compress(json.dumps(ONE).encode()), "deflate"),
        (b"x", "br"),
    ],
    ids=["cut", "more behind", "second member cut", "no gzip", "deflate", "brotli"],
)
async def test_what_cannot_be_unpacked_is_a_bad_page(body: bytes, encoding: str) -> None:
    error = await refused(http(200, body, content_encoding=encoding))
    assert isinstance(error, SourceUnavailable)
    assert error.reason is Reason.BAD_PAGE


@pytest.mark.parametrize("status", [200, 503])
async def test_a_bomb_takes_little_memory(status: int) -> None:
    pack = zlib.compressobj(wbits=31)
    bomb = b"".join([*(pack.compress(bytes(1 << 20)) for _ in range(100)), pack.flush()])
    assert len(bomb) < 110_000
    limit = 1 << 20
    async with (
        serving(http(status, bomb, content_encoding="gzip")) as server,
        source(server, max_page_bytes=limit) as x,
    ):
        tracemalloc.start()
        try:
            with pytest.raises(SourceUnavailable) as caught:
                await x.fetch(USER, None, None)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 4 * limit
    assert caught.value.reason is (Reason.BAD_PAGE if status == 200 else Reason.SERVER_ERROR)


async def test_a_page_beyond_the_limit_is_a_bad_page() -> None:
    body = json.dumps(ONE).encode() + b" " * 5000
    error = await refused(http(200, body), max_page_bytes=5000)
    assert isinstance(error, SourceUnavailable)
    assert error.reason is Reason.BAD_PAGE


# -- what is asked --------------------------------------------------------------------------------


async def test_one_fetch_is_one_request() -> None:
    async with serving(http(200, ONE)) as server, source(server) as x:
        page = await x.fetch(USER, "tok+/=&?#", 20)
        assert len(server.asked) == 1
        assert server.asked[0].startswith(f"GET /2/users/{USER}/bookmarks?")
        assert server.query()["pagination_token"] == ["tok+/=&?#"]
        assert server.query()["max_results"] == ["20"]
        assert server.header("authorization") == [f"Bearer {TOKEN}"]
        assert TOKEN not in server.asked[0].split("\r\n")[0]
        assert (page.end, page.next_cursor) == (End.UNVERIFIED, None)
        assert page.usage == Usage(requests=1, items=1, closed_until=None)
        assert isinstance(x, Source)
        assert (x.name, x.service, x.endpoint) == ("x", "x", "bookmarks")
        assert (x.page_sizes, x.price_usd) == ((90, 20, 10, 5), 0.001)


@pytest.mark.parametrize(("asked", "sent"), [(None, "90"), (5, "5"), (0, "1"), (1000, "100")])
async def test_the_page_size_stays_within_what_x_takes(asked: int | None, sent: str) -> None:
    async with serving(http(200, EMPTY)) as server, source(server) as x:
        await x.fetch(USER, None, asked)
        assert server.query()["max_results"] == [sent]
        assert "pagination_token" not in server.query()


@pytest.mark.parametrize("vocabulary", ["tweet", "post"])
@pytest.mark.parametrize("expand", ["all", "none", "author", ("media", "long_text"), "referenced"])
async def test_x_accepts_what_is_asked_for(vocabulary: str, expand: Any) -> None:
    plan = FaultPlan(vocabulary={"tweet": "old", "post": "new"}[vocabulary])
    async with (
        Simulator(bookmarks=60, faults=plan) as sim,
        XBookmarks(sim.token, base_url=sim.base_url, expand=expand, vocabulary=vocabulary) as x,
    ):
        items = [i for i in (await x.fetch(sim.user_id, None, None)).items if isinstance(i, Item)]
    assert [item.key for item in items] == sim.truth()
    raws = [json.loads(item.raw) for item in items]
    kinds = {kind for raw in raws for kind in raw.get("includes", {})}
    noun = vocabulary + "s"
    wanted = {
        "all": {"users", "media", noun},
        "none": set(),
        "author": {"users"},
        "referenced": {noun},
    }.get(expand if isinstance(expand, str) else "", {"media"})
    assert kinds == wanted
    assert any(item.author_username for item in items) == ("users" in wanted)
    is_long = any(f"note_{vocabulary}" in raw["data"] for raw in raws)
    assert is_long == (expand == "all" or "long_text" in expand)


async def test_both_vocabularies_give_the_same_bookmarks() -> None:
    found = []
    async with Simulator(bookmarks=90, seed=5) as sim:
        for vocabulary in ("tweet", "post"):
            async with XBookmarks(sim.token, base_url=sim.base_url, vocabulary=vocabulary) as x:
                page = await x.fetch(sim.user_id, None, None)
            assert all(x.decode(item.raw) == item for item in page.items)
            items = [item for item in page.items if isinstance(item, Item)]
            assert len(items) == 90
            found.append([attrs.evolve(item, raw="") for item in items])
    assert found[0] == found[1]
    assert any(len(item.text or "") > 300 for item in found[0])
    assert any(item.author_username is None for item in found[0])
    assert any(item.created_at is None for item in found[0])
    assert any("\u2028" in (item.text or "") for item in found[0])


async def test_a_next_page_that_is_an_address_is_only_ever_a_parameter() -> None:
    evil = "http://169.254.169.254/latest?x=1"
    body = {**ONE, "meta": {"result_count": 1, "next_token": evil}}
    async with serving(http(200, body), http(200, EMPTY)) as server, source(server) as x:
        page = await x.fetch(USER, None, None)
        await x.fetch(USER, page.next_cursor, None)
        assert server.query()["pagination_token"] == [evil]
        assert server.asked[1].startswith(f"GET /2/users/{USER}/bookmarks?")


@pytest.mark.parametrize("user_id", ["../2/tweets", "1/2", "", "ada", "1?x", "1" * 21, "１"])
async def test_a_user_id_that_is_none_makes_no_request(user_id: str) -> None:
    async with serving(http(200, ONE)) as server, source(server) as x:
        with pytest.raises(RequestRefused, match="no request was made"):
            await x.fetch(user_id, None, None)
        assert server.asked == []


async def test_a_kept_page_token_that_is_none_starts_from_the_top() -> None:
    async with serving(http(200, ONE)) as server, source(server) as x:
        for cursor in ("a b", "x" * 1025, "\n", ""):
            with pytest.raises(CursorRefused):
                await x.fetch(USER, cursor, None)
        assert server.asked == []


@pytest.mark.parametrize(
    "base_url",
    [
        "ftp://x",
        "api.x.com",
        "https://",
        "https://u:p@x.com",
        "https://x.com?a=1",
        "http://[",
        "",
        "https://x.com\n",
        "https://x.com/a path",
    ],
)
def test_an_address_that_is_none_is_refused_at_once(base_url: str) -> None:
    with pytest.raises(ConfigurationError):
        XBookmarks(TOKEN, base_url=base_url)


@pytest.mark.parametrize(
    "options",
    [
        {"expand": "authors"},
        {"expand": ["author", "x"]},
        {"vocabulary": "tweets"},
        {"page_size": 0},
        {"page_size": 101},
        {"deadline_s": 0},
    ],
)
def test_an_option_that_cannot_work_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        XBookmarks(TOKEN, **options)


def test_tokens_over_plain_http_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    XBookmarks(TOKEN, base_url="http://proxy.internal:8080")
    assert "unencrypted" in caplog.text
    caplog.clear()
    XBookmarks(TOKEN, base_url="http://127.0.0.1:8080/api/")
    assert caplog.text == ""


# -- credentials ------------------------------------------------------------------------------------


class Provider:
    def __init__(self, *tokens: Any) -> None:
        self.tokens = list(tokens)
        self.asked: list[tuple[str, bool]] = []

    async def token(self, user_id: str, *, refused: bool = False) -> Any:
        self.asked.append((user_id, refused))
        given = self.tokens.pop(0)
        if isinstance(given, Exception):
            raise given
        return given


UNAUTHORIZED = http(401, {"title": "Unauthorized", **BLANK})


async def test_a_refused_token_is_replaced_once() -> None:
    provider = Provider("old", "new")
    async with serving(UNAUTHORIZED, http(200, ONE)) as server:
        async with source(server, credentials=provider) as x:
            page = await x.fetch(USER, None, None)
        assert page.usage.requests == len(server.asked) == 2
        assert server.header("authorization", 0) == ["Bearer old"]
        assert server.header("authorization", 1) == ["Bearer new"]
    assert provider.asked == [(USER, False), (USER, True)]


@pytest.mark.parametrize(
    ("tokens", "requests"),
    [
        (("old", "old"), 1),
        (("old", "new"), 2),
        (("old", CredentialsMissing("none")), 1),
        (("old", OSError("vault")), 1),
        (("old", "bad\ntoken"), 1),
    ],
)
async def test_a_token_that_cannot_be_replaced_ends_it(tokens: Any, requests: int) -> None:
    provider = Provider(*tokens)
    async with serving(UNAUTHORIZED) as server, source(server, credentials=provider) as x:
        with pytest.raises(AuthenticationFailed) as caught:
            await x.fetch(USER, None, None)
        assert caught.value.reason is Reason.TOKEN_REFUSED
        assert len(server.asked) == requests
    assert len(provider.asked) == 2


def test_tokens_in_no_directory_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="Set TWITOR_TOKEN_DIR"):
        TokenFiles(Settings(token_dir=None).token_dir)


async def test_a_provider_without_a_token_makes_no_request() -> None:
    for given in (CredentialsMissing("none"), "", "a b", None):
        async with serving(http(200, ONE)) as server:
            async with source(server, credentials=Provider(given)) as x:
                with pytest.raises(CredentialsMissing):
                    await x.fetch(USER, None, None)
            assert server.asked == []


async def test_a_provider_that_fails_to_answer_at_first_is_heard() -> None:
    async with (
        serving(http(200, ONE)) as server,
        source(server, credentials=Provider(OSError("vault"))) as x,
    ):
        with pytest.raises(OSError, match="vault"):
            await x.fetch(USER, None, None)


async def test_the_token_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        serving(http(401, {"detail": TOKEN}), http(200, b"?")) as server,
        source(server) as x,
    ):
        for _ in range(2):
            with pytest.raises(TwitorError) as caught:
                await x.fetch(USER, "cursor", None)
            found = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
            ours = [frame for frame in found.stack if "twitor_fsm" in frame.filename]
            assert len(ours) >= 2
            assert TOKEN not in str([frame.locals for frame in ours])
        said = [r.getMessage() for r in caplog.records if r.name.startswith("twitor_fsm")]
        assert any("401" in message for message in said)
        assert not any("cursor" in message for message in said)
        assert TOKEN not in caplog.text
        assert TOKEN not in repr(x) + str(vars(x))
        with pytest.raises(TypeError):
            pickle.dumps(x._credentials)


# -- me -------------------------------------------------------------------------------------------


async def test_me_is_asked_once() -> None:
    async with Simulator(bookmarks=3) as sim, XBookmarks(sim.token, base_url=sim.base_url) as x:
        assert await x.me() == sim.user_id
        assert await x.me() == sim.user_id
        page = await x.fetch("me", None, None)
        assert page.usage.requests == 1
        assert [entry.path for entry in sim.ledger] == [
            "/2/users/me",
            f"/2/users/{sim.user_id}/bookmarks",
        ]
    async with Simulator(bookmarks=3) as sim, XBookmarks(sim.token, base_url=sim.base_url) as x:
        assert (await x.fetch("me", None, None)).usage.requests == 2
        assert (await x.fetch("me", None, None)).usage.requests == 1


@pytest.mark.parametrize("body", [{}, {"data": {"id": 5}}, {"data": {"id": "../x"}}, HTML])
async def test_an_answer_that_names_no_user_is_a_bad_page(body: Any) -> None:
    async with serving(http(200, body)) as server, source(server) as x:
        with pytest.raises(SourceUnavailable):
            await x.me()


# -- clients ----------------------------------------------------------------------------------------


async def test_a_shared_client_stays_open_and_its_habits_do_not_matter() -> None:
    async with serving(http(200, ONE)) as server:
        client = httpx.AsyncClient(
            auth=("user", "password"),
            base_url="http://elsewhere.invalid",
            headers={"accept-encoding": "br"},
        )
        async with client:
            for _ in range(2):
                async with source(server, client=client) as x:
                    await x.fetch(USER, None, None)
            assert not client.is_closed
        assert server.header("authorization") == [f"Bearer {TOKEN}"]
        assert server.header("accept-encoding") == ["gzip"]


async def test_a_closed_source_can_be_used_again() -> None:
    async with serving(http(200, ONE)) as server:
        x = source(server)
        await x.fetch(USER, None, None)
        await x.aclose()
        await x.aclose()
        await x.fetch(USER, None, None)
        await x.aclose()


# -- against the simulated API ----------------------------------------------------------------------


@pytest.mark.parametrize("faults", ["none", "typical", "hostile"])
async def test_a_patient_walk_brings_every_bookmark(faults: str) -> None:
    now = [NOW]
    async with Simulator(bookmarks=400, seed=2, faults=faults, now=lambda: now[0]) as sim:
        x = XBookmarks(sim.token, base_url=sim.base_url, client=None)
        async with x:
            met: dict[str, Item] = {}
            cursor: str | None = None
            sizes = [90, 20, 10, 5, 5]
            for _ in range(2000):
                try:
                    page = await x.fetch(sim.user_id, cursor, sizes[0])
                except RateLimited:
                    now[0] += 900
                    continue
                except CursorRefused:
                    cursor = None
                    continue
                except (SourceUnavailable, RequestRefused, BillingRefused, AuthenticationFailed):
                    continue
                met |= {item.key: item for item in page.items if isinstance(item, Item)}
                cursor = page.next_cursor
                if cursor is None:
                    sizes.pop(0)
                if not sizes:
                    break
    assert set(sim.obtainable()) <= set(met)


@pytest.mark.parametrize(
    ("kind", "expected", "reason"),
    [
        (FaultKind.SERVER_ERROR, SourceUnavailable, Reason.SERVER_ERROR),
        (FaultKind.CONNECTION_RESET, SourceUnavailable, None),
        (FaultKind.TRUNCATED, SourceUnavailable, Reason.BAD_PAGE),
        (FaultKind.GZIP_TRUNCATED, SourceUnavailable, Reason.BAD_PAGE),
        (FaultKind.NOT_JSON, SourceUnavailable, Reason.BAD_PAGE),
        (FaultKind.RATE_LIMITED, RateLimited, None),
        (FaultKind.USAGE_CAPPED, BillingRefused, None),
        (FaultKind.CREDITS_DEPLETED, BillingRefused, None),
        (FaultKind.SPEND_CAP, BillingRefused, None),
        (FaultKind.UNAUTHORIZED, AuthenticationFailed, Reason.TOKEN_REFUSED),
        (FaultKind.CURSOR_REFUSED, CursorRefused, None),
        (FaultKind.ERRORS_ONLY, RequestRefused, None),
    ],
)
async def test_each_simulated_refusal_becomes_its_exception(
    kind: FaultKind, expected: type[TwitorError], reason: Reason | None
) -> None:
    plan = FaultPlan(faults=(Fault(kind=kind, at=(2,)),))
    async with (
        Simulator(bookmarks=200, faults=plan) as sim,
        XBookmarks(sim.token, base_url=sim.base_url) as x,
    ):
        first = await x.fetch(sim.user_id, None, None)
        with pytest.raises(expected) as caught:
            await x.fetch(sim.user_id, first.next_cursor, None)
        assert reason is None or caught.value.reason is reason  # type: ignore[attr-defined]
        if kind is FaultKind.RATE_LIMITED:
            assert caught.value.reset_at is not None  # type: ignore[attr-defined]


async def test_items_that_nobody_can_obtain_are_tombstones_or_invalid() -> None:
    plan = FaultPlan(
        items=tuple(ItemFault(kind=kind, at=(n,)) for n, kind in enumerate(ItemKind, 3))
    )
    async with (
        Simulator(bookmarks=20, faults=plan) as sim,
        XBookmarks(sim.token, base_url=sim.base_url) as x,
    ):
        page = await x.fetch(sim.user_id, None, None)
    good = {item.key for item in page.items if isinstance(item, Item) and item.kind == "post"}
    assert good == set(sim.obtainable())
    assert len(page.items) == 20
    assert len([i for i in page.items if isinstance(i, Item) and i.kind == "tombstone"]) == 2


async def test_tokens_of_the_wrong_kind_are_told_apart() -> None:
    async with Simulator(bookmarks=5, users=2) as sim:

        async def reason(token: str, user_id: str = sim.user_id) -> Reason:
            async with XBookmarks(token, base_url=sim.base_url) as x:
                with pytest.raises(AuthenticationFailed) as caught:
                    await x.fetch(user_id, None, None)
            return caught.value.reason

        assert await reason(sim.app_only_token) is Reason.APP_ONLY_TOKEN
        assert await reason("unknown") is Reason.TOKEN_REFUSED
        narrow = sim.issue_token("narrow", scopes=["tweet.read"])
        assert await reason(narrow) is Reason.SCOPE_MISSING
        assert await reason(sim.token, sim.user_ids[1]) is Reason.ACCESS_REFUSED


async def test_a_source_without_an_address_asks_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(http(200, ONE)) as server:
        monkeypatch.setenv("TWITOR_API_URL", server.base_url)
        async with XBookmarks(TOKEN) as x:
            await x.fetch(USER, None, None)

        assert len(server.asked) == 1


async def test_what_a_service_says_twice_is_quoted_once() -> None:
    error = await refused(http(401, {"title": "Unauthorized", "detail": "Unauthorized"}))
    assert str(error).count("Unauthorized") == 1
