"""Bookmarks from the X API v2, one request a page: the only module that speaks HTTP to X.

What a request asks for stands in `x_request`, what an answer means in `x_problems` and `x_decode`.
Must not know: sessions, retries, waiting, storage.
"""

import asyncio
import re
import zlib
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import aclosing
from typing import Final, NoReturn, Self, cast
from urllib.parse import quote, urlencode

import attrs
import httpx
import msgspec

from ..clock import Clock, SystemClock
from ..core.taxonomy import Reason
from ..errors import (
    AuthenticationFailed,
    ConfigurationError,
    CredentialsMissing,
    CursorRefused,
    RequestRefused,
    SourceError,
    SourceUnavailable,
    TwitorError,
)
from ..log_facts import logger_of
from .base import End, InvalidRaw, Item, Page, Usage
from .credentials import (
    HOW_TO_GET_A_TOKEN,
    CredentialProvider,
    Secret,
    as_provider,
    checked,
)
from .x_decode import decode_element, decode_page, is_page_token
from .x_items import MAX_ITEM_BYTES
from .x_problems import errors_only, refusal
from .x_request import Expand, Vocabulary, checked_base_url, expansions_of, parameters
from .x_times import closes_until

__all__ = ["DEFAULT_PAGE_SIZE", "PAGE_SIZES", "PRICE_USD", "XBookmarks"]

_LOG: Final = logger_of("twitor_fsm.sources.x_api")

PAGE_SIZES: Final = (90, 20, 10, 5)
"""Above 90 X drops the next page's token early. Source: measured by steipete/birdclaw PR 23, Fergana-Labs/stash PR 970."""

DEFAULT_PAGE_SIZE: Final = PAGE_SIZES[0]

PRICE_USD: Final = 0.001
"""Of one item, for the owner of the developer app ("Owned Read"). Source: X API, pricing, 2026-04-20."""

MAX_PAGE_BYTES: Final = 8 << 20
"""Of one page, decompressed: 90 posts with everything expanded take about 0.5 MB."""

_MAX_RESULTS: Final = 100
_PROBLEM_BYTES: Final = 64 << 10
_USER_ID: Final = re.compile(r"[0-9]{1,20}")
_OWN: Final = "me"


@attrs.frozen
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes = attrs.field(repr=False)  # bookmarks, or whatever a refusal quotes
    token: Secret  # with which it was asked for, and which it may repeat


class _Me(msgspec.Struct):
    id: str


class _MeAnswer(msgspec.Struct):
    data: _Me


class _Bearer(httpx.Auth):
    """Puts the token into the request at the last moment, so that no header dictionary of ours ever holds it."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        yield request


class XBookmarks:
    """The bookmarks of an X account, newest first: `GET /2/users/{id}/bookmarks`.

    Args:
        credentials: A user's bearer token, or what gives one for each user.
        base_url: Where the API is: a simulator or a proxy of yours, say. None takes `TWITOR_API_URL`, or X's own address.
        expand: What is asked for beside the posts: "all", "none", or names of `Expand`.
        vocabulary: The names to ask in; answers are understood in both.
        client: A client to share, which stays open; None makes one when it is first needed.
        clock: Our time; a test puts its own here.
        request_timeout_s: Each step of a request: connecting, sending, waiting for the next bytes.
        deadline_s: A whole request with its body, however slowly it drips.
        max_page_bytes: A larger body is refused; also the limit of decompressing.
        max_item_bytes: A larger post is invalid: it costs itself and not its page.
        page_size: Size of a page when none is asked for, 1 to 100.
        price_usd: Estimated price of an item, USD; None when unknown. X prices what an app reads of *other* accounts
            higher (0.005).

    Raises:
        ConfigurationError: An argument cannot work.
        CredentialsMissing: The token given is empty or cannot be one.
    """

    name: Final = "x"
    service: Final = "x"
    endpoint: Final = "bookmarks"
    page_sizes: Final[tuple[int, ...]] = PAGE_SIZES

    def __init__(
        self,
        credentials: str | Secret | CredentialProvider,
        *,
        base_url: str | None = None,
        expand: str | Iterable[str] = "all",
        vocabulary: str = Vocabulary.TWEET,
        client: httpx.AsyncClient | None = None,
        clock: Clock | None = None,
        request_timeout_s: float = 30.0,
        deadline_s: float = 120.0,
        max_page_bytes: int = MAX_PAGE_BYTES,
        max_item_bytes: int = MAX_ITEM_BYTES,
        page_size: int = DEFAULT_PAGE_SIZE,
        price_usd: float | None = PRICE_USD,
    ) -> None:
        self._credentials: Final = as_provider(credentials)
        self._base_url: Final = checked_base_url(_address() if base_url is None else base_url)
        self._expand: Final[frozenset[Expand]] = expansions_of(expand)
        if vocabulary not in list(Vocabulary):
            raise ConfigurationError(
                f"vocabulary {vocabulary!r} is unknown; one of: {', '.join(Vocabulary)}"
            )
        if not 1 <= page_size <= _MAX_RESULTS:
            raise ConfigurationError(f"page_size {page_size} is not between 1 and {_MAX_RESULTS}")
        if request_timeout_s <= 0 or deadline_s <= 0 or min(max_page_bytes, max_item_bytes) <= 0:
            raise ConfigurationError(
                "request_timeout_s, deadline_s, max_page_bytes and max_item_bytes must be above 0"
            )
        asked = parameters(self._expand, Vocabulary(vocabulary))
        self._query: Final = urlencode(
            asked
        )  # once: httpx would quote its 800 characters twice for each page
        self._clock: Final[Clock] = clock if clock is not None else SystemClock()
        self._timeout: Final = httpx.Timeout(request_timeout_s)
        self._deadline_s: Final = deadline_s
        self._max_page_bytes: Final = max_page_bytes
        self._max_item_bytes: Final = max_item_bytes
        self._page_size: Final = page_size
        self._price_usd: Final = price_usd
        self._shared: Final = client
        self._client = client
        self._own_id: str | None = None

    @property
    def price_usd(self) -> float | None:
        """Estimated price of one item, USD; None when unknown."""
        return self._price_usd

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; those of a shared client stay open. Safe to call twice."""
        client, self._client = self._client, self._shared
        if client is not None and client is not self._shared:
            await client.aclose()

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        """Ask for one page: one request, and one more if a refused token could be replaced.

        Args:
            user_id: Whose bookmarks: digits, the user that the token belongs to. "me" is looked up by one request of
                its own, once for each source.
            cursor: The page token; None for the top.
            page_size: 1 to 100; None for the size given to the source.

        Raises:
            CredentialsMissing, AuthenticationFailed, RateLimited, SourceUnavailable, CursorRefused, RequestRefused,
                BillingRefused: As their names say.
        """
        requests = 0
        if user_id == _OWN:
            if self._own_id is None:
                self._own_id, requests = await self._me()
            account = self._own_id
        else:
            account = user_id
        if _USER_ID.fullmatch(account) is None:
            raise _unasked(
                RequestRefused(
                    "the user id is no X user id (digits, not the handle); no request was made. Leave it out to ask X for it"
                )
            )
        if cursor is not None and not is_page_token(cursor):
            raise _unasked(
                CursorRefused("the page token kept is none that X gives; no request was made")
            )
        size = self._page_size if page_size is None else min(max(page_size, 1), _MAX_RESULTS)
        query = f"{self._query}&max_results={size}"
        if cursor is not None:
            query += f"&pagination_token={quote(cursor, safe='')}"
        try:
            answer, made = await self._ask(
                user_id, f"/2/users/{account}/bookmarks", query, cursor_sent=cursor is not None
            )
        except SourceError as exc:
            exc.requests += requests
            raise
        return self._page(answer, requests + made)

    async def me(self) -> str:
        """The id of the user that the token belongs to: one request, `GET /2/users/me`.

        Raises:
            CredentialsMissing, AuthenticationFailed, RateLimited, SourceUnavailable, RequestRefused, BillingRefused:
                As their names say.
        """
        if self._own_id is None:
            self._own_id, _ = await self._me()
        return self._own_id

    def decode(self, raw: str) -> Item | InvalidRaw:
        """Decode one kept element again."""
        return decode_element(raw, self._max_item_bytes)

    async def _me(self) -> tuple[str, int]:
        answer, made = await self._ask(_OWN, "/2/users/me", "", cursor_sent=False)
        try:
            found = msgspec.json.decode(answer.body, type=_MeAnswer).data.id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = ""
        if _USER_ID.fullmatch(found) is None:
            raise SourceUnavailable("the answer does not say who the user is", Reason.BAD_PAGE)
        return found, made

    def _page(self, answer: _Answer, requests: int) -> Page:
        body = decode_page(answer.body, limit=self._max_item_bytes)
        if not body.has_data and body.errors:
            raise errors_only(
                answer.body,
                now=self._clock.now(),
                headers=answer.headers,
                secret=answer.token.reveal(),
            )
        return Page(
            items=body.items,
            next_cursor=body.next_token,
            end=End.UNVERIFIED if body.next_token is None else End.MORE,
            usage=Usage(
                requests=requests,
                items=body.counted,
                closed_until=closes_until(answer.headers, self._clock.now()),
            ),
        )

    # -- requests ---------------------------------------------------------------------------------

    async def _ask(
        self, user_id: str, path: str, query: str, *, cursor_sent: bool
    ) -> tuple[_Answer, int]:
        """An answer 200 and the requests made for it; anything else is raised.

        A refused token is asked for once more; another one is tried once.
        """
        token = checked(await self._credentials.token(user_id), "what the provider gave")
        requests = 1
        try:
            answer = await self._send(path, query, token)
            if answer.status == 401:
                other = await self._other_token(user_id)
                if other is not None and other != token:
                    _LOG.info("the token was refused; the provider gave another one, tried once")
                    requests = 2
                    answer = await self._send(path, query, other)
        except SourceError as exc:
            exc.requests = requests
            raise
        if answer.status == 200:
            return answer, requests
        _LOG.info("GET %s was answered with HTTP %d", path, answer.status)
        refused = refusal(
            answer.status,
            answer.headers,
            answer.body,
            now=self._clock.now(),
            cursor_sent=cursor_sent,
            secret=answer.token.reveal(),
        )
        refused.requests = requests
        raise refused

    async def _other_token(self, user_id: str) -> Secret | None:
        try:
            given = await self._credentials.token(user_id, refused=True)
            return checked(given, "what the provider gave")
        except Exception as exc:
            if isinstance(exc, TwitorError) and not isinstance(exc, CredentialsMissing):
                raise  # a provider that knows our errors says what it means
            raise AuthenticationFailed(
                "the service refuses the token, and the provider failed when asked for another one "
                f"({type(exc).__name__}). Get a new one and run again. {HOW_TO_GET_A_TOKEN}"
            ) from exc

    async def _send(self, path: str, query: str, token: Secret) -> _Answer:
        """One request, whole answer; never follows a redirect."""
        if self._client is None:
            self._client = httpx.AsyncClient()
        request = self._client.build_request(
            "GET",
            f"{self._base_url}{path}?{query}" if query else self._base_url + path,
            headers={"Accept": "application/json", "Accept-Encoding": "gzip"},
            timeout=self._timeout,
        )
        response: httpx.Response | None = None
        try:
            async with asyncio.timeout(self._deadline_s):
                response = await self._client.send(
                    request, auth=_Bearer(token), stream=True, follow_redirects=False
                )
                limit = self._max_page_bytes if response.status_code == 200 else _PROBLEM_BYTES
                body = await _read(response, limit)
        except (TimeoutError, httpx.TimeoutException) as exc:
            raise SourceUnavailable("the service did not answer in time", Reason.TIMEOUT) from exc
        except (httpx.HTTPError, httpx.StreamError, OSError) as exc:
            if response is not None:
                raise SourceUnavailable(
                    f"the connection broke in the middle of the answer ({type(exc).__name__})",
                    Reason.BAD_PAGE,
                ) from exc
            raise SourceUnavailable(
                f"no connection to the service ({type(exc).__name__})", Reason.CONNECTION
            ) from exc
        finally:
            if response is not None:
                await response.aclose()
        # Of one said twice the last counts: `items` would join them to what is no number and no date.
        headers = {name.lower(): value for name, value in response.headers.multi_items()}
        return _Answer(response.status_code, headers, body, token)


def _address() -> str:
    from ..config import api_url_from_environment  # the only reader of the environment

    return api_url_from_environment()


def _unasked(error: SourceError) -> SourceError:
    """An error that was found without a request."""
    error.requests = 0
    return error


async def _read(response: httpx.Response, limit: int) -> bytes:
    """The body, unpacked, never more than `limit` bytes of it.

    httpx itself would unpack 67 MB at once out of one packet, so it is not asked to. A refusal's body is cut at the
    limit; that of a page must be whole.

    Raises:
        SourceUnavailable: It is too large, broken, or packed in a way that was not asked for (reason `bad_page`).
    """
    named = response.headers.get("content-encoding", "").lower().split(",")
    packing = [word for each in named if (word := each.strip()) not in ("", "identity")]
    if packing not in ([], ["gzip"], ["x-gzip"]):
        _bad("is packed in a way that was not asked for")
    unpack = _Gzip() if packing else None
    body = bytearray()
    async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as pieces:
        async for piece in pieces:
            try:
                body += unpack.decompress(piece, limit + 1 - len(body)) if unpack else piece
            except zlib.error as exc:
                _bad("cannot be unpacked", exc)
            if len(body) > limit:
                break
    if len(body) > limit:
        if response.status_code == 200:
            _bad(f"is larger than {limit} bytes, so it is no page of bookmarks")
        return bytes(body[:limit])
    if unpack is not None and not unpack.is_whole:
        _bad("breaks off")
    return bytes(body)


class _Gzip:
    """Unpacks gzip: one member, or several in a row. Source: RFC 1952, 2.2."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    def decompress(self, piece: bytes, limit: int) -> bytes:
        """What the next piece holds, at most `limit` bytes of it, from 1. Raises `zlib.error`."""
        out = bytearray()
        while piece and len(out) < limit:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
            out += self._member.decompress(piece, limit - len(out))
            piece = self._member.unused_data
        return bytes(out)

    @property
    def is_whole(self) -> bool:
        """Whether the last member has ended."""
        return self._member.eof


def _bad(what: str, cause: Exception | None = None) -> NoReturn:
    raise SourceUnavailable(
        f"the answer {what}; nothing of it was used", Reason.BAD_PAGE
    ) from cause
