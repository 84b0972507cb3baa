"""A local HTTP server that misbehaves as it is told: raw bytes over sockets, no library in between.

An answer is bytes, or a coroutine function that writes what it likes. Each connection gets one answer.
"""

import asyncio
import contextlib
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs

__all__ = ["Answer", "RawServer", "answer", "page", "post", "self_signed", "serving"]

Writing = Callable[[asyncio.StreamWriter], Awaitable[None]]
Answer = bytes | Writing


def answer(status: int, body: bytes | dict[str, Any] = b"", **headers: str) -> bytes:
    """An answer with its length; a header may be given another value."""
    text = json.dumps(body).encode() if isinstance(body, dict) else body
    sent = {"content_length": str(len(text)), "connection": "close", **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in sent.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + text


def post(number: int, text: str = "words", **more: Any) -> dict[str, Any]:
    """A post with the id `1000 + number`."""
    return {"id": str(1000 + number), "text": text, **more}


def page(posts: list[Any], next_token: str | None = None, **more: Any) -> dict[str, Any]:
    """A page of the listing."""
    meta: dict[str, Any] = {"result_count": len(posts)}
    if next_token is not None:
        meta["next_token"] = next_token
    return {"data": posts, "meta": meta, **more} if posts else {"meta": meta, **more}


@attrs.define
class RawServer:
    """What was asked, and what is answered: the next of the answers, the last one again and again.

    With a `route`, what it says of the request's target.
    """

    answers: list[Answer]
    url: str = ""
    route: Callable[[str], bytes] | None = None
    asked: list[str] = attrs.field(factory=list)
    connections: int = 0
    tasks: set["asyncio.Task[Any]"] = attrs.field(factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            given = self._next()
            if isinstance(given, bytes):
                writer.write(given)
                await writer.drain()
            else:
                await given(writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            self.tasks.discard(task)
            writer.close()

    def _next(self) -> Answer:
        if self.route is not None:
            return self.route(self.paths[-1])
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @property
    def paths(self) -> list[str]:
        """The targets asked for, with their queries."""
        return [head.split(" ", 2)[1] for head in self.asked]


@contextlib.asynccontextmanager
async def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """A server on a free port of this machine."""
    server = RawServer(list(answers))
    sockets = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=1 << 20, ssl=tls)
    host = "localhost" if tls else "127.0.0.1"
    server.url = f"http{'s' if tls else ''}://{host}:{sockets.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        sockets.close()
        left = list(server.tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def self_signed(folder: Path, name: str = "localhost") -> ssl.SSLContext:
    """TLS with a certificate that nobody has signed but its own key."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", f"/CN={name}", "-addext"),
            *(f"subjectAltName=DNS:{name}", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
