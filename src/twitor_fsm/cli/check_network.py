"""`twitor doctor`'s look at the network: name, connection, TLS, answer, clock. No token is sent, nothing is billed.

Standard library only; every step has a time limit, so that it is quick without a network.
Must not know: terminals.
"""

import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from ..clock import SystemClock
from ..http_dates import http_date
from .checkup import Check, fail, ok, warn

__all__ = ["check_network"]

T = TypeVar("T")

_LIMIT_S: Final = 3.0
_SKEW_S: Final = 60.0
_NETWORK: Final = (
    "check the network, a firewall or proxy; a crawl tries again by itself, MAX_RETRIES times"
)


def check_network(api_url: str) -> Iterator[Check]:
    """Every step towards the API, as far as it gets."""
    parts = urlsplit(api_url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if urllib.request.getproxies().get(parts.scheme) and not urllib.request.proxy_bypass(host):
        yield from _check_answer(api_url, "through the proxy that the environment names")
        return
    try:
        addresses = _within(
            _LIMIT_S, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
    except OSError as exc:
        yield fail("dns", f"the name {host} is not found ({_named(exc)})", _NETWORK)
        return
    yield ok("dns", f"{host} has {len({address[4][0] for address in addresses})} address(es)")
    try:
        connection = _within(
            _LIMIT_S, lambda: socket.create_connection((host, port), timeout=_LIMIT_S)
        )
    except OSError as exc:
        yield fail("connection", f"{host} port {port} does not answer ({_named(exc)})", _NETWORK)
        return
    with connection:
        yield ok("connection", f"{host} port {port} answers")
        if parts.scheme == "https":
            tls = _check_tls(connection, host)
            yield tls
            if tls.verdict == "fail":
                return
    yield from _check_answer(api_url, "")


def _check_tls(connection: socket.socket, host: str) -> Check:
    try:
        context = ssl.create_default_context()
        with context.wrap_socket(connection, server_hostname=host) as secured:
            return ok("tls", f"{secured.version()}, and the certificate is {host}'s")
    except ssl.SSLCertVerificationError as exc:
        return fail(
            "tls",
            f"the certificate is not accepted ({exc.verify_message})",
            "check the clock of this machine; a company proxy needs its own certificate in "
            "SSL_CERT_FILE",
        )
    except OSError as exc:
        return fail("tls", f"no secure connection ({_named(exc)})", _NETWORK)


def _check_answer(api_url: str, how: str) -> Iterator[Check]:
    """An answer of any status, and its Date."""
    try:
        status, date = _within(_LIMIT_S, lambda: _ask(api_url))
    except OSError as exc:
        yield fail("answer", f"{api_url} gives no answer {how}({_named(exc)})", _NETWORK)
        return
    said = f"{api_url} answers {how}(HTTP {status}, without a token)"
    if status >= 500:
        yield warn("answer", said, "X seems to have trouble: look at its status page, try later")
    elif status == 404:  # X answers 401
        yield warn("answer", said, "X's API is not there: correct --api-url or TWITOR_API_URL")
    else:
        yield ok("answer", said)
    yield _check_clock(date)


def _ask(api_url: str) -> tuple[int, str | None]:
    request = urllib.request.Request(api_url.rstrip("/") + "/2/users/me", method="GET")  # noqa: S310 - http(s) only, checked by the settings
    try:
        with urllib.request.urlopen(request, timeout=_LIMIT_S) as answer:  # noqa: S310
            return int(answer.status), answer.headers.get("Date")
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.headers.get("Date")


def _check_clock(date: str | None) -> Check:
    if date is None:
        return ok("clock", "not compared: the answer has no Date")
    said = http_date(date)
    if said is None:
        return ok("clock", "not compared: the answer's Date cannot be read")
    skew = SystemClock().now() - said
    if abs(skew) > _SKEW_S:
        ahead = "ahead of" if skew > 0 else "behind"
        return warn(
            "clock",
            f"this machine's clock is {abs(skew):.0f} s {ahead} the service's",
            "set the clock (NTP); pauses are computed by the service's, tokens may fail",
        )
    return ok("clock", f"within {max(1, round(abs(skew)))} s of the service's")


def _within(seconds: float, fn: Callable[[], T]) -> T:
    """The result, or TimeoutError: looking a name up has no time limit of its own, and its thread must not hold us."""
    done: list[Any] = []

    def work() -> None:
        try:
            done.append((True, fn()))
        except BaseException as exc:  # noqa: BLE001 - handed over to the caller
            done.append((False, exc))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds + 0.5)
    if not done:
        raise TimeoutError("no answer in time")
    worked, result = done[0]
    if not worked:
        raise result
    return result  # type: ignore[no-any-return]  # what fn returned


def _named(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    if isinstance(reason, OSError):
        error = reason
    return error.strerror or str(error) or type(error).__name__
