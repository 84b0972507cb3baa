"""Settings: one frozen object, and the only reader of the environment.

A wrong value is refused before anything starts, by the name of its variable. What a setting does is decided where it is
used; here stand its name, default and range only. An embedder may construct `Settings` without any environment.

By hand, not through typed-settings: a name of its own for each variable and an error that says it needed a loader and a
converter of ours, and what was left for the library to do cost 60 ms at the first call and 4.6 ms at each other one.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from .errors import ConfigurationError

__all__ = [
    "Settings",
    "api_url_from_environment",
    "bearer_token_from_environment",
    "colour_from_environment",
    "get_settings",
    "settings_from",
    "valkey_is_chosen",
    "without_password",
]

TOKEN_VARIABLE: Final = "X_BEARER_TOKEN"  # noqa: S105  the variable's name
PREFIX: Final = "TWITOR_"
DAY_S: Final = 86_400.0
MIB: Final = 1024 * 1024

_NOTHING_STARTED: Final = "Nothing was started"
_QUOTED: Final = 100

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HOST_PORT: Final = re.compile(
    r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/.*)?|/.*", re.ASCII | re.DOTALL
)
_HOST: Final = re.compile(r"[\w.:-]{1,253}", re.ASCII)
_NO_USER: Final = re.compile("[@/?#]")
_NUMBERS: Final = {
    int: re.compile(r"[+-]?[0-9]{1,18}"),
    float: re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"),
}


def without_password(url: str) -> str:
    """A URL fit to be shown: password and query (drivers read passwords from there too) are masked.

    Works on what is no valid URL too: that is what messages quote. What may be a password without its host is masked.
    """
    found = _SCHEME.match(url)
    scheme = found[0] if found else ""
    # Up to the last "@", wherever it is: a password that was not escaped may hold any character.
    login, at, rest = url[len(scheme) :].rpartition("@")
    host, question, _ = rest.partition("?")
    host = host.partition("#")[0]
    is_in_query = "=" in login.partition("?")[2]  # so is the end of its value, behind the "@"
    if is_in_query or (not at and ":" in host and not _HOST_PORT.fullmatch(host)):
        host = "***"  # `redis://:password`, `user:password`
    user, colon, _ = login.partition(":")
    is_user = colon and not _NO_USER.search(user)
    masked = (f"{user}:***@" if is_user else "***@") if at else ""
    return f"{scheme}{masked}{host}{'?***' if question else ''}"


def _shown(value: object) -> str:
    """Any value as a message may quote it: without passwords, and not at any length."""
    text = repr(without_password(value) if isinstance(value, str) else value)
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}… ({len(text)} characters)"


@attrs.frozen
class _Range:
    """What a setting may be: kind and limits, both ends included."""

    kind: type
    low: float = 0
    high: float = 0
    schemes: tuple[str, ...] = ()
    or_path: bool = False
    """Whether a URL may be a file's path instead."""
    or_word: str = ""
    """A word that may stand in place of a URL."""
    or_none: bool = False
    """Whether it may be left open."""
    is_host: bool = False
    """Whether it is a name or an address of a machine instead of a URL."""

    @property
    def words(self) -> str:
        """What is allowed, for the message."""
        if self.kind is Path:
            return "the path of a folder"
        if self.is_host:
            return "the name or the address of a machine"
        if self.kind is str:
            urls = "a URL that begins with " + " or ".join(f"{s}://" for s in self.schemes)
            word = f", or the word {self.or_word}" if self.or_word else ""
            return f"{urls}, or a path" if self.or_path else f"{urls} and names a host{word}"
        unit = "a whole number" if self.kind is int else "a number"
        return f"{unit} from {_plain(self.low)} to {_plain(self.high)}"

    def parse(self, text: str) -> Any:
        """The value that an environment variable's text stands for.

        Raises:
            ValueError: It stands for none.
        """
        text = text.strip()
        if self.kind is Path:
            return _expanded(text)
        if self.kind is not str and not _NUMBERS[self.kind].fullmatch(text):
            raise ValueError(
                "not a plain decimal number"
            )  # nan, inf, 1_000, digits of other scripts
        return self.kind(text)

    def allows(self, value: Any) -> bool:
        """Whether the value is one of this setting's."""
        if value is None and self.or_none:
            return True
        if self.kind is Path:
            return isinstance(value, Path) and "\0" not in str(value)
        if self.is_host:
            return isinstance(value, str) and _HOST.fullmatch(value) is not None
        if self.kind is str:
            is_text = isinstance(value, str) and value.isprintable()
            return is_text and (value == self.or_word != "" or self._allows_url(value))
        kinds = (int,) if self.kind is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return False
        return bool(self.low <= value <= self.high)  # false for NaN

    def _allows_url(self, value: str) -> bool:
        scheme, mark, _ = value.partition("://")
        if (
            self.or_path
        ):  # SQLAlchemy's URLs name the driver too, and say host and path in ways of their own
            return bool(value.strip()) and (not mark or scheme.partition("+")[0] in self.schemes)
        try:
            parts = urlsplit(value)
            is_open = parts.port is None or parts.port > 0
        except ValueError:
            return False
        has_host = bool(parts.hostname) and not re.search(r"\s", parts.netloc)
        return parts.scheme in self.schemes and (
            bool(parts.path) if parts.scheme == "unix" else has_host and is_open
        )


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as exc:
        raise ValueError("no such user") from exc


def _check(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    allowed: _Range = attribute.metadata["range"]
    if not allowed.allows(value):
        raise ConfigurationError(_refused([_problem(attribute, value)]))


def _problem(attribute: "attrs.Attribute[Any]", value: Any) -> str:
    allowed: _Range = attribute.metadata["range"]
    return f"{attribute.metadata['env']} is {_shown(value)}, allowed is {allowed.words}"


def _refused(problems: list[str]) -> str:
    return f"{'; '.join(problems)}. {_NOTHING_STARTED}"


def _setting(
    default: Any, what: str, allowed: _Range, env: str, show: Callable[[object], str] | None = None
) -> Any:
    return attrs.field(
        default=default,
        validator=_check,
        converter=_CONVERTERS.get(allowed.kind),
        repr=show if show is not None else True,
        metadata={"env": env, "range": allowed, "what": what},
    )


def _as_float(value: Any) -> Any:
    is_int = isinstance(value, int) and not isinstance(value, bool)
    try:
        return float(value) if is_int else value
    except OverflowError:  # the range refuses it, by its name
        return value


def _as_path(value: Any) -> Any:
    return Path(value) if isinstance(value, str) and value else value


_CONVERTERS: Final = {float: _as_float, Path: _as_path}


def _seconds(low: float, high: float = DAY_S) -> _Range:
    return _Range(float, low, high)


def _count(low: int, high: int) -> _Range:
    return _Range(int, low, high)


@attrs.frozen(kw_only=True)
class Settings:
    """Every setting. Names in the environment: docs/configuration.md."""

    valkey_url: str = _setting(
        "redis://localhost:6379/0",
        "Where the queue's Valkey (or Redis) is",
        _Range(str, schemes=("redis", "rediss", "unix"), or_word="embedded"),
        "VALKEY_URL",
        _shown,
    )
    valkey_max_connections: int = _setting(
        10, "Connections to Valkey at most", _count(1, 10_000), "VALKEY_MAX_CONNECTIONS"
    )
    max_retries: int = _setting(
        5, "Network failures of one operation that are tried again", _count(0, 1000), "MAX_RETRIES"
    )
    initial_backoff: float = _setting(
        1.0,
        "Wait before the first retry of an operation; it doubles with each, seconds",
        _seconds(0),
        "INITIAL_BACKOFF",
    )
    database_url: str = _setting(
        "sqlite+aiosqlite:///bookmarks.db",
        "Where bookmarks and progress are kept: an SQLAlchemy URL, or the path of an SQLite file",
        _Range(str, schemes=("sqlite", "postgresql"), or_path=True),
        "DATABASE_URL",
        _shown,
    )
    checkpoint_every: int = _setting(
        10,
        "Handled items between two checkpoints at most",
        _count(1, 100_000),
        f"{PREFIX}CHECKPOINT_EVERY",
    )
    max_skips_in_a_row: int = _setting(
        50,
        "Skipped items in a row that end a session as too_many_skips",
        _count(1, 1_000_000),
        f"{PREFIX}MAX_SKIPS_IN_A_ROW",
    )
    lease_s: float = _setting(
        30.0,
        "How long a session belongs to a process that gives no sign of life, seconds",
        _seconds(1),
        f"{PREFIX}LEASE_S",
    )
    handler_timeout_s: float = _setting(
        60.0,
        "Limit of a handler for one item, seconds",
        _seconds(0.001),
        f"{PREFIX}HANDLER_TIMEOUT_S",
    )
    cancel_grace_s: float = _setting(
        10.0,
        "Time that a running handler gets to end when its crawl is cancelled, seconds",
        _seconds(0),
        f"{PREFIX}CANCEL_GRACE_S",
    )
    cleanup_timeout_s: float = _setting(
        10.0,
        "Limit of each cleanup task, and of each effect of an app's own, seconds",
        _seconds(0.001),
        f"{PREFIX}CLEANUP_TIMEOUT_S",
    )
    shutdown_timeout_s: float = _setting(
        25.0,
        "Limit of a whole graceful shutdown, seconds",
        _seconds(0.001),
        f"{PREFIX}SHUTDOWN_TIMEOUT_S",
    )
    request_timeout_s: float = _setting(
        30.0,
        "Limit of connecting, and of each read of an answer, seconds",
        _seconds(0.001),
        f"{PREFIX}REQUEST_TIMEOUT_S",
    )
    request_deadline_s: float = _setting(
        120.0,
        "Limit of a whole request with its answer, seconds",
        _seconds(0.001),
        f"{PREFIX}REQUEST_DEADLINE_S",
    )
    max_page_bytes: int = _setting(
        8 * MIB,
        "Size of a page at most, decompressed, bytes",
        _count(1024, 1024 * MIB),
        f"{PREFIX}MAX_PAGE_BYTES",
    )
    max_item_bytes: int = _setting(
        MIB,
        "Size of a bookmark with all that belongs to it at most, bytes",
        _count(1024, 1024 * MIB),
        f"{PREFIX}MAX_ITEM_BYTES",
    )
    page_size: int = _setting(
        90, "Bookmarks asked for with one request", _count(1, 100), f"{PREFIX}PAGE_SIZE"
    )
    prefetch: int = _setting(
        1, "Pages fetched while one is being stored (0 or 1)", _count(0, 1), f"{PREFIX}PREFETCH"
    )
    store_retry_s: float = _setting(
        5.0,
        "How long a busy or lost database is tried again, seconds",
        _seconds(0, 3600),
        f"{PREFIX}STORE_RETRY_S",
    )
    api_url: str = _setting(
        "https://api.x.com",
        "Where the X API is",
        _Range(str, schemes=("https", "http")),
        f"{PREFIX}API_URL",
        _shown,
    )
    token_dir: Path | None = _setting(
        None,
        "Folder with one token file for each user, named by the user's id",
        _Range(Path, or_none=True),
        f"{PREFIX}TOKEN_DIR",
    )
    metrics_host: str = _setting(
        "127.0.0.1",
        "Where a worker listens for probes and scrapes, if it does",
        _Range(str, is_host=True),
        f"{PREFIX}METRICS_HOST",
    )
    metrics_port: int | None = _setting(
        None,
        "Port of a worker for /metrics, /healthz and /readyz; 0 takes a free one",
        _Range(int, 0, 65_535, or_none=True),
        f"{PREFIX}METRICS_PORT",
    )
    drain_timeout_s: float = _setting(
        30.0,
        "How long a worker that is told to stop may take, seconds",
        _seconds(1),
        f"{PREFIX}DRAIN_TIMEOUT_S",
    )


def get_settings() -> Settings:
    """Settings from the environment, read anew at each call: nothing is cached, so nothing can be stale.

    An empty variable counts as not set, as shells and Compose files leave them.

    Raises:
        ConfigurationError: Values that are not allowed; names each variable, what was seen and what is allowed.
    """
    return settings_from(os.environ)


def settings_from(variables: Mapping[str, str]) -> Settings:
    """Settings from variables by their names; others are passed over.

    Raises:
        ConfigurationError: As for `get_settings`.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for attribute in attrs.fields(Settings):
        allowed: _Range = attribute.metadata["range"]
        text = variables.get(attribute.metadata["env"], "")
        if not text.strip():
            continue
        try:
            values[attribute.name] = value = allowed.parse(text)
        except ValueError:
            problems.append(_problem(attribute, text))
            continue
        if not allowed.allows(value):
            problems.append(_problem(attribute, text))
    if problems:
        raise ConfigurationError(_refused(problems))
    return Settings(**values)


def colour_from_environment() -> bool:
    """Whether the terminal may be coloured: not if NO_COLOR is set (https://no-color.org) or it is a dumb one."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def valkey_is_chosen() -> bool:
    """Whether the environment says where Valkey is, or leaves it to a default."""
    return bool(os.environ.get("VALKEY_URL", "").strip())


def api_url_from_environment() -> str:
    """Where the X API is: `TWITOR_API_URL`, or X's own address; not checked."""
    own = attrs.fields(Settings).api_url
    return os.environ.get(own.metadata["env"], "").strip() or str(own.default)


def bearer_token_from_environment() -> str | None:
    """The X API user token in `X_BEARER_TOKEN`; None when it is not set or empty. Never part of `Settings`."""
    return os.environ.get(TOKEN_VARIABLE, "").strip() or None
