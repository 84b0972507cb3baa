"""A FastAPI app that hosts crawls: start one, watch its events, ask for its state, cancel it; a restart goes on with all.

Run it as it is: `python examples/fastapi_host.py` drives the app once against the simulated X API. As a server:
`uvicorn --app-dir examples fastapi_host:app`, with X_BEARER_TOKEN set (TWITOR_API_URL for a simulator).
"""

import asyncio
import json
import logging
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse

from twitor_fsm import (
    CrawlEngine,
    CrawlHandle,
    CrawlOwned,
    SessionNotFound,
    StoreError,
    TwitorError,
    XBookmarks,
)

LOG = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One engine and one source for the whole app; crawls that its end cuts short go on with its next start."""
    async with CrawlEngine(os.environ.get("DATABASE_URL", "bookmarks.db")) as engine:
        app.state.engine = engine
        app.state.source = XBookmarks(os.environ["X_BEARER_TOKEN"])
        app.state.handles = {}
        resuming = asyncio.create_task(resume_all(app))
        yield
        resuming.cancel()
        await asyncio.gather(resuming, return_exceptions=True)
        await engine.hand_over()


async def resume(app: FastAPI, user_id: str) -> None:
    """Go on with one crawl; one that cannot be started (its row is damaged, say) stops no other."""
    try:
        handle = await app.state.engine.start(app.state.source, user_id=user_id)
    except CrawlOwned:
        return  # it runs, here or elsewhere
    except TwitorError as error:
        LOG.warning("the crawl of user %s is left as it is: %s", user_id, error)
        return
    app.state.handles[handle.session_id] = handle


async def resume_all(app: FastAPI) -> None:
    """Go on with every crawl that nobody runs; again and again, since a lease may outlive its process for 30 s."""
    while True:
        try:
            async for session in app.state.engine.unfinished():
                if session.crawl.source == app.state.source.name:
                    await resume(app, session.crawl.user_id)
        except StoreError as error:
            LOG.warning("unfinished crawls are looked for again in 30 s: %s", error)
        await asyncio.sleep(30)


app = FastAPI(lifespan=lifespan)


@app.post("/crawls/{user_id}", status_code=202)
async def start(user_id: str) -> dict[str, str]:
    """Start or resume; a crawl that runs already is a conflict."""
    try:
        handle = await app.state.engine.start(app.state.source, user_id=user_id)
    except CrawlOwned as exc:
        raise HTTPException(409, str(exc)) from exc
    app.state.handles[handle.session_id] = handle
    return {"session_id": handle.session_id}


@app.get("/sessions/{session_id}")
async def status(session_id: str) -> dict[str, Any]:
    """A session's state, whichever process runs it."""
    try:
        record = await app.state.engine.status(session_id)
    except SessionNotFound as exc:
        raise HTTPException(404, str(exc)) from exc
    return {
        "state": record.value.state,
        "reason": record.value.reason,
        "stored": record.counters.stored,
        "resume_at": record.value.resume_at,
    }


@app.get("/sessions/{session_id}/events")
async def events(session_id: str) -> StreamingResponse:
    """A running session's events, one JSON object a line, until it ends."""
    handle: CrawlHandle | None = app.state.handles.get(session_id)
    if handle is None:
        raise HTTPException(404, f"session {session_id} does not run here")

    async def lines() -> AsyncIterator[str]:
        async for event in handle:
            yield json.dumps({"event": type(event).__name__, **attrs.asdict(event)}) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@app.delete("/sessions/{session_id}")
async def cancel(session_id: str) -> dict[str, str]:
    """End a session gracefully, wherever it runs."""
    try:
        record = await app.state.engine.cancel(session_id)
    except SessionNotFound as exc:
        raise HTTPException(404, str(exc)) from exc
    return {"state": record.value.state}


@app.get("/bookmarks/{user_id}")
async def bookmarks(user_id: str) -> StreamingResponse:
    """All stored bookmarks, streamed."""

    async def lines() -> AsyncIterator[str]:
        async for bookmark in app.state.engine.bookmarks(user_id):
            yield json.dumps({"id": bookmark.id, "text": bookmark.text}) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


async def main() -> None:
    """Drive the app as a client would."""
    from twitor_fsm.simulator import Simulator

    with tempfile.TemporaryDirectory() as folder:
        async with Simulator(300, faults="none") as x:
            os.environ["X_BEARER_TOKEN"] = x.token
            os.environ["TWITOR_API_URL"] = x.base_url
            os.environ["DATABASE_URL"] = str(Path(folder) / "app.db")
            transport = httpx.ASGITransport(app=app)
            async with (
                lifespan(app),
                httpx.AsyncClient(transport=transport, base_url="http://app") as client,
            ):
                started = (await client.post(f"/crawls/{x.user_id}")).json()
                session = f"/sessions/{started['session_id']}"
                names = [
                    json.loads(line)["event"]
                    for line in (await client.get(f"{session}/events")).text.splitlines()
                ]
                state = (await client.get(session)).json()
                stored = (await client.get(f"/bookmarks/{x.user_id}")).text.splitlines()
    print(f"{names.count('PageFetched')} pages, last event {names[-1]}")
    print(f"{state['state']}: {state['stored']} stored, {len(stored)} read back")


if __name__ == "__main__":
    asyncio.run(main())
