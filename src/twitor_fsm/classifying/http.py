"""HTTP clients: httpx, its kin, and those that an embedder's source may use.

A failed certificate check is NETWORK like every other transport error: nothing was sent, captive portals and wrong clocks
cause it for minutes, and after the ladder the crawl ends with a checkpoint.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from ..core.taxonomy import Reason
from ..http_dates import http_date
from .case import AUTH, FATAL, NETWORK, RATE_LIMIT, Case, Classified, Rule, always
from .system import CONNECTION, TIMEOUT

__all__ = ["HTTPX", "OTHER_CLIENTS"]

_NUMBER: Final = re.compile(r"\d{1,15}(\.\d{1,6})?")
_EPOCHS: Final = (1e9, 1e11)
"""What can be epoch seconds (2001 to the year 5138); larger numbers are milliseconds."""


def _by_status(case: Case, status: Any, headers: Any, host: str = "") -> Classified | None:
    """The verdict on an HTTP status. Source: RFC 9110, RFC 6585; 402 as the X API uses it."""
    if not isinstance(status, int):
        return None
    what = f"HTTP {status}{host}"
    match status:
        case 401 | 403:
            return case.found(AUTH, Reason.TOKEN_REFUSED, what)
        case 402:
            return case.found(FATAL, Reason.BILLING, f"{what}: payment is required")
        case 408:
            return case.found(NETWORK, Reason.TIMEOUT, what)
        case 429:
            reset_at = _reset_at(headers if headers is not None else {}, case.now)
            return case.found(RATE_LIMIT, Reason.RATE_LIMITED, what, reset_at)
        case _ if status >= 500:
            return case.found(NETWORK, Reason.SERVER_ERROR, what)
        case _:
            return case.found(FATAL, Reason.REQUEST_REFUSED, what)


def _reset_at(headers: Any, now: float) -> float | None:
    """When the service opens again, by our clock: `x-rate-limit-reset`, else `Retry-After` in either form."""
    server_now = http_date(headers.get("date"))
    skew = 0.0 if server_now is None else now - server_now
    reset = _number(headers.get("x-rate-limit-reset"))
    if reset is not None:
        reset = reset / 1000 if reset > _EPOCHS[1] else reset
        if reset >= _EPOCHS[0]:
            return reset + skew
    retry_after = headers.get("retry-after")
    seconds = _number(retry_after)
    if seconds is not None:
        return now + seconds
    date = http_date(retry_after)
    return None if date is None else date + skew


def _number(text: Any) -> float | None:
    is_number = isinstance(text, str) and _NUMBER.fullmatch(text.strip())
    return float(text) if is_number else None  # float() alone would take nan, inf and 1_0


def _host(error: Any) -> str:
    """Of the request, if it is known; never its path or query."""
    try:
        host = error.request.url.host  # httpx raises RuntimeError where no request was set
    except (AttributeError, RuntimeError):
        return ""
    return f" from {host}" if isinstance(host, str) and host else ""


def _of_response(case: Case) -> Classified | None:
    """httpx, requests, tweepy: the exception carries the response."""
    response: Any = getattr(case.error, "response", None)
    status = getattr(response, "status_code", getattr(response, "status", None))
    return _by_status(case, status, getattr(response, "headers", None), _host(case.error))


def _of_attributes(case: Case) -> Classified | None:
    """In aiohttp and urllib the exception carries status and headers itself."""
    error: Any = case.error
    status = getattr(error, "status", None)
    return _by_status(case, status, getattr(error, "headers", None))


def _asking(reason: Reason) -> Rule:
    return lambda case: case.found(NETWORK, reason, _host(case.error).removeprefix(" "))


HTTPX: Final[Mapping[str, Rule]] = {
    "HTTPStatusError": _of_response,
    "TransportError": _asking(Reason.CONNECTION),
    "TimeoutException": _asking(Reason.TIMEOUT),
    "DecodingError": _asking(Reason.BAD_PAGE),
    "TooManyRedirects": always(FATAL, Reason.REQUEST_REFUSED, "redirected without end"),
    "UnsupportedProtocol": always(FATAL, Reason.CONFIGURATION, "the URL is not http or https"),
    "InvalidURL": always(FATAL, Reason.CONFIGURATION, "the URL is none"),
}

OTHER_CLIENTS: Final[Mapping[str, Rule]] = {
    "httpcore.TimeoutException": TIMEOUT,
    "httpcore.NetworkError": CONNECTION,
    "httpcore.ProtocolError": CONNECTION,
    "httpcore.ProxyError": CONNECTION,
    "h11.ProtocolError": CONNECTION,
    "anyio.BrokenResourceError": CONNECTION,
    "anyio.EndOfStream": CONNECTION,
    "aiohttp.ClientConnectionError": CONNECTION,
    "aiohttp.ClientPayloadError": CONNECTION,
    "aiohttp.ServerTimeoutError": TIMEOUT,
    "aiohttp.ClientResponseError": _of_attributes,
    "requests.ConnectionError": CONNECTION,
    "requests.Timeout": TIMEOUT,
    "requests.ChunkedEncodingError": CONNECTION,
    "requests.HTTPError": _of_response,
    "urllib.URLError": CONNECTION,
    "urllib.HTTPError": _of_attributes,
    "tweepy.HTTPException": _of_response,
}
