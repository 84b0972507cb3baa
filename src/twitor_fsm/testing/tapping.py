"""Hears of every statement that SQLite's driver gets and of every HTTP request that httpx sends, and may interfere.

It sits below whatever builds the statements: while a tap is on, `sqlite3.connect` makes connections of a class of ours,
so that SQLAlchemy, aiosqlite and bare sqlite3 are heard alike. Must not know: what the statements are for.
"""

import itertools
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Final, Literal, Protocol, TypeVar, cast

import attrs
import httpx

__all__ = ["Call", "Tap", "tapped"]

T = TypeVar("T")
Kind = Literal["sql", "http"]


@attrs.frozen
class Call:
    """One call to the outside.

    Attributes:
        kind: "sql" (a statement, or COMMIT and ROLLBACK) or "http" (a request).
        number: The how-manieth of its kind since the tap was opened, from 1.
        text: The statement, or method and path of the request.
        connection: Whose statement it is. `sqlite3.Connection.execute(call.connection, ...)`, of the base class, is not heard.
    """

    kind: Kind
    number: int
    text: str
    connection: sqlite3.Connection | None = attrs.field(default=None, eq=False, repr=False)


class Tap(Protocol):
    """What hears of the calls; called in the thread that makes them."""

    def before(self, call: Call) -> None:
        """The call is about to be made. Whatever this raises is raised in its place: it is not made."""
        ...

    def after(self, call: Call) -> None:
        """The call was made, or failed. Whatever this raises is raised instead of the answer: that is lost."""
        ...


@contextmanager
def tapped(tap: Tap) -> Iterator[None]:
    """Let a tap hear of all calls inside; SQLite connections opened before are not heard.

    One at a time, in the whole process: it replaces functions of `sqlite3` and `httpx` and puts them back.
    """
    line = _Line(tap)
    with ExitStack() as undo:
        connect = line.connect(sqlite3.connect)
        for module in (sqlite3, sqlite3.dbapi2):
            undo.enter_context(_replaced(module, "connect", connect))
        for transport, name, around in (
            (httpx.AsyncHTTPTransport, "handle_async_request", line.around_async),
            (httpx.HTTPTransport, "handle_request", line.around_request),
        ):
            undo.enter_context(_replaced(transport, name, around(getattr(transport, name))))
        yield


@contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


class _Line:
    """Numbers the calls and hands them to the tap."""

    def __init__(self, tap: Tap) -> None:
        self._tap: Final = tap
        self._numbers: Final[dict[Kind, Iterator[int]]] = defaultdict(lambda: itertools.count(1))
        self._lock: Final = threading.Lock()

    @contextmanager
    def call(
        self, kind: Kind, text: str, connection: sqlite3.Connection | None = None
    ) -> Iterator[None]:
        """Around one call."""
        with self._lock:
            number = next(self._numbers[kind])
        call = Call(kind, number, text, connection)
        self._tap.before(call)
        try:
            yield
        finally:
            self._tap.after(call)

    def connect(self, original: Callable[..., sqlite3.Connection]) -> Callable[..., Any]:
        """`sqlite3.connect`, whose connections are heard."""
        kind = cast("type[_Connection]", type("Connection", (_Connection,), {"line": self}))

        def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            kwargs.setdefault("factory", kind)
            return original(*args, **kwargs)

        return connect

    def around_async(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A transport's method, heard."""

        async def handle(transport: object, request: httpx.Request) -> Any:
            with self.call("http", _told(request)):
                return await original(transport, request)

        return handle

    def around_request(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The same without asyncio."""

        def handle(transport: object, request: httpx.Request) -> Any:
            with self.call("http", _told(request)):
                return original(transport, request)

        return handle


def _told(request: httpx.Request) -> str:
    return f"{request.method} {request.url.path}"  # no query: it may hold a secret


class _Cursor(sqlite3.Cursor):
    """A cursor whose statements are heard."""

    @property
    def _line(self) -> _Line:
        return cast("_Connection", self.connection).line

    def execute(self, sql: str, *args: Any) -> "_Cursor":
        with self._line.call("sql", sql, self.connection):
            super().execute(sql, *args)
        return self

    def executemany(self, sql: str, *args: Any) -> "_Cursor":
        with self._line.call("sql", sql, self.connection):
            super().executemany(sql, *args)
        return self

    def executescript(self, sql: str, /) -> "_Cursor":
        with self._line.call("sql", sql, self.connection):
            super().executescript(sql)
        return self


class _Connection(sqlite3.Connection):
    """A connection whose statements are heard: the C code takes short cuts past `cursor`, which are closed here."""

    line: _Line

    def cursor(self, *_: Any, **__: Any) -> _Cursor:  # type: ignore[override]
        return super().cursor(_Cursor)

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        return self.cursor().execute(sql, *args)

    def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
        return self.cursor().executemany(sql, *args)

    def executescript(self, sql: str, /) -> sqlite3.Cursor:
        return self.cursor().executescript(sql)

    def commit(self) -> None:
        if self.in_transaction:  # else the driver does nothing
            with self.line.call("sql", "COMMIT", self):
                super().commit()

    def rollback(self) -> None:
        if self.in_transaction:
            with self.line.call("sql", "ROLLBACK", self):
                super().rollback()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> Literal[False]:
        if kind is None:
            self.commit()
        else:
            self.rollback()
        return False
