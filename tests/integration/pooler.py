"""A pooler of transactions in front of PostgreSQL, as PgBouncer is one: after each transaction the connection changes hands.

Speaks as much of the protocol as asyncpg needs without TLS and without a password. Must not know: what is asked.
"""

import asyncio
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

__all__ = ["pooling"]

_CONNECTIONS: Final = 3  # reads and writes take turns: of two, each would always meet its own
_ASK_FOR_TLS: Final = 80877103
_TERMINATE: Final = b"X"
_ANSWERED_BY_READY: Final = {b"S", b"Q"}
_Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Pooler:
    """A few connections to the server, handed out in turns."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._idle: asyncio.Queue[_Pair] = asyncio.Queue()
        self._greeting = b""
        self._opening = asyncio.Lock()
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until it goes."""
        try:
            startup = await _first(reader)
            if struct.unpack("!i", startup[4:8])[0] == _ASK_FOR_TLS:
                writer.write(b"N")
                startup = await _first(reader)
            async with self._opening:
                if not self._greeting:
                    for _ in range(_CONNECTIONS):
                        await self._open(startup)
            writer.write(self._greeting)
            await self._transactions(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            await _close(writer)

    async def aclose(self) -> None:
        """Let the server's connections go."""
        for writer in self._writers:
            await _close(writer)

    async def _open(self, startup: bytes) -> None:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        writer.write(startup)
        self._writers.append(writer)
        messages = [await _message(reader)]
        while messages[-1][:1] != b"Z":
            messages.append(await _message(reader))
        self._greeting = b"".join(messages)
        self._idle.put_nowait((reader, writer))

    async def _transactions(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        asked: asyncio.Queue[bytes] = asyncio.Queue()
        listening = asyncio.create_task(_listen(reader, asked))
        try:
            while (message := await asked.get())[:1] != _TERMINATE:
                server = await self._idle.get()
                try:
                    await _transaction(message, asked, writer, server)
                finally:
                    self._idle.put_nowait(server)
        finally:
            listening.cancel()


async def _listen(reader: asyncio.StreamReader, asked: "asyncio.Queue[bytes]") -> None:
    try:
        while True:
            asked.put_nowait(await _message(reader))
    except (asyncio.IncompleteReadError, ConnectionError):
        asked.put_nowait(_TERMINATE)


async def _transaction(
    message: bytes, asked: "asyncio.Queue[bytes]", client: asyncio.StreamWriter, server: _Pair
) -> None:
    """Carry messages both ways until the server says that no transaction is open."""
    owed = 0
    asking = asyncio.ensure_future(asked.get())
    answering = asyncio.ensure_future(_message(server[0]))
    while True:
        if message:
            server[1].write(message)
            owed += message[:1] in _ANSWERED_BY_READY
        await asyncio.wait({asking, answering}, return_when=asyncio.FIRST_COMPLETED)
        message = b""
        if answering.done():
            answer = answering.result()
            client.write(answer)
            owed -= answer[:1] == b"Z"
            if answer[:1] == b"Z" and answer[5:6] == b"I" and not owed and not asking.done():
                break
            answering = asyncio.ensure_future(_message(server[0]))
        if asking.done():
            message = asking.result()
            asking = asyncio.ensure_future(asked.get())
    asking.cancel()
    await asyncio.wait({asking})


async def _first(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack("!i", head)[0] - 4)


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


@contextmanager
def pooling(socket: str) -> Iterator[int]:
    """A pooler in front of the server behind this socket, on a thread of its own; gives its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    pooler = _Pooler(socket)
    made = asyncio.run_coroutine_threadsafe(
        asyncio.start_server(pooler.serve, "127.0.0.1", 0), loop
    )
    server = made.result()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_end(server, pooler), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def _end(server: asyncio.Server, pooler: _Pooler) -> None:
    server.close()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await pooler.aclose()
