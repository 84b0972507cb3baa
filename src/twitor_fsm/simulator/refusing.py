"""Faults that are an answer of their own, and faults in the way that an answer is sent.

Must not know: when a fault happens, what is on a page.
"""

import gzip
from typing import Final

import attrs

from . import problems
from .account import Account
from .answers import Answer, Wire, json_answer
from .faults import Fault, FaultKind

__all__ = ["refuse_by", "send_by"]

_HTML: Final = b"""<!DOCTYPE html>
<html><head><title>X / Error</title></head>
<body><h1>Something went wrong, but don&rsquo;t fret &mdash; let&rsquo;s give it another shot.</h1>
</body></html>
"""
_PLENTY: Final = {"x-rate-limit-limit": "40000", "x-rate-limit-remaining": "39999"}
"""Source: the usage-capped 429 of xdevplatform/xdk issue 25."""


def refuse_by(
    fault: Fault, account: Account, endpoint: str, token: str, now: float
) -> Answer | None:
    """The whole answer when the fault is one.

    Args:
        fault: What happens.
        account: Whose request it is; a fault may close its window or refuse its page tokens.
        endpoint: "bookmarks" or "me".
        token: The request's page token, "" for none.
        now: The server's epoch seconds.

    Returns:
        The answer, or None when the fault leaves the usual one.
    """
    window = account.windows[endpoint]
    headers = window.headers(now=now)
    html = {"content-type": "text/html; charset=utf-8", **headers}
    match fault.kind:
        case FaultKind.SERVER_ERROR if fault.body == "json":
            return json_answer(fault.status, problems.server_error(fault.status), headers)
        case FaultKind.SERVER_ERROR:
            body = _HTML if fault.body == "html" else b""
            return Answer(status=fault.status, body=body, headers=html)
        case FaultKind.NOT_JSON:
            return Answer(status=200, body=_HTML, headers=html)
        case FaultKind.RATE_LIMITED:
            window.close(now=now, lie=None if fault.reset == "honest" else fault.reset)
            refused = window.headers(now=now, refused=True)
            return json_answer(429, problems.TOO_MANY_REQUESTS, refused)
        case FaultKind.USAGE_CAPPED:
            return json_answer(429, problems.USAGE_CAPPED, headers | _PLENTY)
        case FaultKind.CREDITS_DEPLETED:
            return json_answer(402, problems.CREDITS_DEPLETED, headers)
        case FaultKind.SPEND_CAP:
            return json_answer(403, problems.SPEND_CAP, headers)
        case FaultKind.UNAUTHORIZED:
            return json_answer(401, problems.UNAUTHORIZED, headers)
        case FaultKind.ERRORS_ONLY:
            return json_answer(200, {"errors": [problems.unknown_user(account.user_id)]}, headers)
        case FaultKind.CURSOR_REFUSED:
            account.epoch += 1
            return json_answer(400, problems.refused_cursor(token), headers)
        case _:
            return None


def send_by(fault: Fault, answer: Answer, *, accepts_gzip: bool) -> Answer:
    """The answer as the fault has it sent: unchanged for faults that do not touch the sending."""
    match fault.kind:
        case FaultKind.CONNECTION_RESET:
            return attrs.evolve(answer, wire=Wire("reset", fault.part))
        case FaultKind.GZIP_TRUNCATED if accepts_gzip:
            packed = gzip.compress(answer.body, mtime=0)
            headers = {**answer.headers, "content-encoding": "gzip"}
            kept = packed[: int(len(packed) * fault.part)]
            return attrs.evolve(answer, body=kept, headers=headers)
        case FaultKind.TRUNCATED | FaultKind.GZIP_TRUNCATED:
            return attrs.evolve(answer, wire=Wire("cut", fault.part))
        case FaultKind.SLOW:
            return attrs.evolve(answer, wire=Wire("slow", seconds=fault.seconds))
        case _:
            return answer
