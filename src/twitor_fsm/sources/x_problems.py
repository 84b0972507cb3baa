"""What a refusal by X means: status, headers and body in, one of our exceptions out.

Pure. Three forms of body are read: problem details ({title, detail, type, ...}), the older {errors: [{code, message}]},
and what is neither (a web page, or nothing). The host of a problem's type differs between answers, so only its last
path segment counts.
Sources: X API v2, "Response codes and errors"; for what the documentation does not say: xdevplatform/xdk issue 25
(usage cap), xdevplatform/samples 58 and 160 (client-forbidden), Fergana-Labs/stash PR 806 (402).
Must not know: HTTP clients, pages, tokens.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

import attrs
import msgspec

from ..core.taxonomy import Reason
from ..errors import (
    AuthenticationFailed,
    BillingRefused,
    CursorRefused,
    RateLimited,
    RequestRefused,
    SourceError,
    SourceUnavailable,
)
from .credentials import HOW_TO_GET_A_TOKEN, SCOPES
from .x_times import number, reset_at

__all__ = ["Problem", "errors_only", "read_problem", "refusal"]

_SHOWN: Final = 300
"""Characters of X's own words that a message quotes."""

_CREDITS: Final = frozenset({"creditsdepleted", "spendcapreached", "usagecapexceeded"})
_BILLING_TYPES: Final = frozenset({"usage-capped", "credits", "credits-depleted", "spend-cap"})
_LIMIT_TYPES: Final = frozenset({"rate-limit-exceeded"})

_TOKEN_CODES: Final = frozenset({32, 89, 99, 135, 215})
_LIMIT_CODE: Final = 88
_BUSY_CODES: Final = frozenset({130, 131})
_LOCKED_CODES: Final = frozenset({63, 64, 326})
"""Codes of the older form. Source: X API, "Twitter error codes"."""


@attrs.frozen
class Problem:
    """What a body says is wrong, as far as we read it.

    Attributes:
        title: X's word for it, "" for none.
        kind: Last path segment of its type, "" for none or about:blank.
        detail: X's sentence, or the messages of the older form; "" for none.
        reason: A finer word of some refusals ("client-not-enrolled").
        codes: Codes of the older form.
        parameters: Names of the parameters that are wrong.
        address: Where the user can put it right.
        resets: When a spend cap ends, in X's words.
        is_json: Whether the body was an object of JSON at all.
    """

    title: str = ""
    kind: str = ""
    detail: str = ""
    reason: str = ""
    codes: frozenset[int] = frozenset()
    parameters: frozenset[str] = frozenset()
    address: str = ""
    resets: str = ""
    is_json: bool = False

    @property
    def text(self) -> str:
        """All its words in lower case, to look for some."""
        return f"{self.title} {self.kind} {self.reason} {self.detail}".lower()

    @property
    def quoted(self) -> str:
        """X's own words, for a message: short, printable, in brackets; "" for none."""
        words = ": ".join(dict.fromkeys(part for part in (self.title, self.detail) if part))
        shown = "".join(c if c.isprintable() else " " for c in words[:_SHOWN])
        return f" ({shown}{'…' if len(words) > _SHOWN else ''})" if shown else ""

    @property
    def is_billing(self) -> bool:
        """Whether it is about money: credits, a spend cap or a usage cap."""
        return (
            self.kind in _BILLING_TYPES
            or self.title.replace(" ", "").lower() in _CREDITS
            or any(
                word in self.text
                for word in ("out of credits", "spend cap", "usage cap", "credits")
            )
        )

    @property
    def is_about_cursor(self) -> bool:
        """Whether the page token is what is wrong. Names of parameters outweigh the prose, which may list them all."""
        if self.parameters:
            return "pagination_token" in self.parameters
        return any(
            word in self.text
            for word in ("pagination_token", "pagination token", "next_token", "cursor")
        )


def read_problem(body: bytes, *, secret: str = "") -> Problem:
    """Read the body of a refusal, whatever it is; never raises. No word of it holds the secret."""
    try:
        found = _without(secret, msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf")))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return Problem()
    if not isinstance(found, dict):
        return Problem()
    inner = [entry for entry in _list(found.get("errors")) if isinstance(entry, dict)]
    messages = "; ".join(filter(None, (_text(e, "message") or _text(e, "detail") for e in inner)))
    # {"errors": [<one problem>]} says no more than the problem itself
    outer = found if not inner or _text(found, "title") else {**inner[0], **found}
    detail = _text(outer, "detail") or _text(outer, "message")
    if messages and messages != detail:
        detail = f"{detail} {messages}".strip()
    return Problem(
        title=_text(outer, "title"),
        kind=_text(outer, "type").rstrip("/").rpartition("/")[2].removeprefix("about:blank"),
        detail=detail,
        reason=_text(outer, "reason"),
        codes=frozenset(e["code"] for e in [found, *inner] if type(e.get("code")) is int),
        parameters=frozenset(_parameters(inner)),
        address=_text(outer, "registration_url"),
        resets=_text(outer, "reset_date"),
        is_json=True,
    )


def refusal(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float,
    cursor_sent: bool = False,
    secret: str = "",
) -> SourceError:
    """The exception that an answer other than 200 is.

    Args:
        status: HTTP status.
        headers: By lower-case name.
        body: As far as it was read.
        now: Our clock, epoch seconds.
        cursor_sent: Whether the request named a page token.
        secret: The token, which the answer may repeat and the exception does not.
    """
    problem = read_problem(body, secret=secret)
    if status == 304:
        return SourceUnavailable(
            "the answer is that nothing has changed (HTTP 304), which was not asked for: a cache on the way may be at fault; "
            "nothing was concluded from it",
            Reason.BAD_PAGE,
        )
    if 300 <= status < 400:
        return RequestRefused(
            f"the service answers with a redirect ({status}), which is not followed because the token would go along; "
            "nothing was concluded from it. Check the address of the API"
        )
    if status in (408, 425) or status >= 500:
        return SourceUnavailable(
            f"the service has a problem of its own (HTTP {status}){problem.quoted}",
            Reason.SERVER_ERROR,
        )
    if status >= 400 and problem.codes:
        by_code = _by_code(problem, lambda: reset_at(headers, now))
        if by_code is not None:
            return by_code
    match status:
        case 400 | 404 if cursor_sent and problem.is_about_cursor:
            return CursorRefused(f"the service no longer knows the page token{problem.quoted}")
        case 401:
            return AuthenticationFailed(
                f"the service refuses the token{problem.quoted}: it is expired, revoked or of another app. "
                f"Get a new one and run again. {HOW_TO_GET_A_TOKEN}"
            )
        case 402:
            return _billing(problem)
        case 403:
            return _forbidden(problem)
        case 429:
            return _too_many(problem, headers, now)
        case _ if 400 <= status < 500:
            return RequestRefused(
                f"the service refuses the request (HTTP {status}){problem.quoted}; asking again will not help"
            )
        case _:
            return SourceUnavailable(
                f"the answer is no page of bookmarks (HTTP {status})", Reason.BAD_PAGE
            )


def errors_only(
    body: bytes, *, now: float, headers: Mapping[str, str], secret: str = ""
) -> SourceError:
    """The exception that an answer 200 with errors and without data is: never an empty account."""
    problem = read_problem(body, secret=secret)
    if problem.is_billing:
        return _billing(problem)
    if problem.kind in _LIMIT_TYPES:
        return RateLimited(reset_at(headers, now))
    by_code = _by_code(problem, lambda: reset_at(headers, now))
    if by_code is not None:
        return by_code
    refused = problem.kind in ("not-authorized-for-resource", "client-forbidden")
    return RequestRefused(
        f"the service answers with errors instead of bookmarks{problem.quoted}; this is no empty account, and nothing "
        "was concluded from it. Check the user id",
        Reason.ACCESS_REFUSED if refused else Reason.REQUEST_REFUSED,
    )


def _billing(problem: Problem) -> BillingRefused:
    when = f" It ends on {_printable(problem.resets)}." if problem.resets else ""
    return BillingRefused(
        f"credits, a usage cap or a spend cap are used up{problem.quoted}.{when} What is stored stays; put it right "
        "in the developer console (https://console.x.com) and run again"
    )


def _forbidden(problem: Problem) -> SourceError:
    text = problem.text
    if problem.is_billing:
        return _billing(problem)
    if (
        problem.kind == "unsupported-authentication"
        or "application-only" in text
        or "app-only" in text
    ):
        return AuthenticationFailed(
            f"this kind of token cannot read bookmarks{problem.quoted}: an app-only bearer token belongs to no user. "
            f"A user token with the scopes {SCOPES} is needed (offline.access for refreshing it). "
            f"{HOW_TO_GET_A_TOKEN}",
            Reason.APP_ONLY_TOKEN,
        )
    if problem.kind == "client-forbidden" or problem.reason or problem.address:
        where = _printable(problem.address) or "https://developer.x.com/en/portal/dashboard"
        return AuthenticationFailed(
            f"the app behind the token may not use this endpoint{problem.quoted}. Put the app into a project with "
            f"access to it ({where}), get a new token from it and run again",
            Reason.ACCESS_REFUSED,
        )
    if "scope" in text:
        return AuthenticationFailed(
            f"the token lacks a scope{problem.quoted}: {SCOPES} are needed. Let the user consent to them and run "
            f"again. {HOW_TO_GET_A_TOKEN}",
            Reason.SCOPE_MISSING,
        )
    if "authenticating user" in text or "authenticated user" in text:
        return AuthenticationFailed(
            f"the token belongs to another user{problem.quoted}: bookmarks can be read by their owner only. Give the "
            "user id that belongs to the token, or leave it out",
            Reason.ACCESS_REFUSED,
        )
    if not problem.is_json:
        return AuthenticationFailed(
            "the service refuses access (HTTP 403) without X's own words, so a proxy or firewall on the way may be the "
            "one that refuses; try from another network, and check the token",
            Reason.ACCESS_REFUSED,
        )
    return AuthenticationFailed(
        f"the service refuses access{problem.quoted}. Most often the token lacks a scope: {SCOPES} are needed; or the "
        "account is suspended or locked: log in at https://x.com to see",
        Reason.ACCESS_REFUSED,
    )


def _too_many(problem: Problem, headers: Mapping[str, str], now: float) -> SourceError:
    """A 429: a rate limit heals by itself, a usage cap does not.

    Told apart by type and title, or by a window that is not used up although no other time is named. Source:
    xdevplatform/xdk issue 25, a usage cap with 39,999 requests remaining.
    """
    if problem.is_billing:
        return _billing(problem)
    remaining = number(headers.get("x-rate-limit-remaining"))
    is_open = remaining is not None and remaining > 0
    if is_open and problem.kind not in _LIMIT_TYPES and "retry-after" not in headers:
        return _billing(problem)
    return RateLimited(reset_at(headers, now))


def _by_code(problem: Problem, opens_at: Callable[[], float | None]) -> SourceError | None:
    """The exception by a code of the older form; None when the status says enough."""
    if _LIMIT_CODE in problem.codes:
        return RateLimited(opens_at())
    if problem.codes & _TOKEN_CODES:
        return AuthenticationFailed(
            f"the service refuses the token{problem.quoted}. Get a new one and run again. {HOW_TO_GET_A_TOKEN}"
        )
    if problem.codes & _LOCKED_CODES:
        return AuthenticationFailed(
            f"the account is suspended or locked{problem.quoted}: log in at https://x.com to see, then run again",
            Reason.ACCESS_REFUSED,
        )
    if problem.codes & _BUSY_CODES:
        return SourceUnavailable(
            f"the service has a problem of its own{problem.quoted}", Reason.SERVER_ERROR
        )
    return None


# -- bodies ---------------------------------------------------------------------------------------


def _without(secret: str, value: Any) -> Any:
    """What JSON says, the secret in none of its texts: it may be spelled with escapes, so this is done behind them."""
    if isinstance(value, str):
        return _hidden(secret, value)
    if isinstance(value, list):
        return [_without(secret, each) for each in value]
    if isinstance(value, dict):
        return {name: _without(secret, each) for name, each in value.items()}
    return value


def _hidden(secret: str, text: str) -> str:
    if not secret:
        return text
    for spelled in (secret, quote(secret, safe=""), unquote(secret)):
        text = text.replace(spelled, "***")
    bare = _bare(text)
    return "***" if secret in bare or _unquoted(secret) in _unquoted(bare) else text


def _unquoted(text: str) -> str:
    """Without what URLs quote, which has more than one spelling (`%2f`, `%2F`) and may be quoted again."""
    for _ in range(3):
        text = unquote(text)
    return text


def _bare(text: str) -> str:
    """Without what cannot be seen: it is left out of messages, and would hide a secret until then."""
    return "".join(c for c in text if c.isprintable() and not c.isspace())


def _parameters(entries: list[dict[str, Any]]) -> Iterator[str]:
    for entry in entries:
        named = entry.get("parameters")
        if isinstance(named, dict):
            yield from (name for name in named if isinstance(name, str))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""


def _printable(text: str) -> str:
    return "".join(c for c in text[:_SHOWN] if c.isprintable())
