"""The simulated API as a Starlette app, and its control room under `/_sim/`.

The only module that knows Starlette. Must not know: what is answered, how connections break.
"""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from twitor_fsm.errors import ConfigurationError

from .answers import Asked
from .sending import PlannedResponse

if TYPE_CHECKING:
    from .simulator import Simulator

__all__ = ["build_app"]

_ACTIONS = ("add", "remove", "rebookmark")


def build_app(simulator: "Simulator") -> Starlette:
    """The ASGI app of a simulator."""

    async def api(request: Request) -> Response:
        answer = simulator.service.answer(_asked(request))
        return PlannedResponse(answer, date_s=simulator.service.now(), sleep=simulator.sleep)

    async def read_bookmarks(request: Request) -> Response:
        user_id = request.query_params.get("user_id")
        ids = simulator.truth(user_id)
        invalid = simulator.invalid(user_id)
        return JSONResponse(
            {
                "user_id": user_id or simulator.user_id,
                "result_count": len(ids),
                "ids": ids,
                "obtainable": [post_id for post_id in ids if post_id not in invalid],
                "invalid": invalid,
            }
        )

    async def change_bookmarks(request: Request) -> Response:
        wish = _wish(await request.body())
        user_id = wish.get("user_id")
        match wish["action"]:
            case "add":
                ids: Sequence[str] = simulator.add(wish.get("count", 1), user_id)
            case "remove":
                ids = wish["ids"]
                simulator.remove(*ids, user_id=user_id)
            case _:
                ids = wish["ids"]
                simulator.rebookmark(*ids, user_id=user_id)
        return JSONResponse({"user_id": user_id or simulator.user_id, "ids": list(ids)})

    async def read_requests(_: Request) -> Response:
        return JSONResponse({"requests": [attrs.asdict(entry) for entry in simulator.ledger]})

    async def read_users(_: Request) -> Response:
        return JSONResponse(
            {"users": [{"id": user, "token": token} for user, token in simulator.tokens.items()]}
        )

    return Starlette(
        routes=[
            Route("/_sim/bookmarks", read_bookmarks, methods=["GET"]),
            Route("/_sim/bookmarks", change_bookmarks, methods=["POST"]),
            Route("/_sim/requests", read_requests, methods=["GET"]),
            Route("/_sim/users", read_users, methods=["GET"]),
            Route("/{path:path}", api, methods=["GET", "POST", "PUT", "DELETE"]),
        ],
        exception_handlers={ConfigurationError: _refuse},
    )


async def _refuse(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=400)


def _asked(request: Request) -> Asked:
    return Asked(
        method=request.method,
        path=request.url.path,
        query=request.url.query,
        pairs=tuple(request.query_params.multi_items()),
        authorization=request.headers.get("authorization", ""),
        accepts_gzip="gzip" in request.headers.get("accept-encoding", ""),
    )


def _wish(body: bytes) -> dict[str, Any]:
    """Check a POST to `/_sim/bookmarks`; raises ConfigurationError, which is answered with 400."""
    try:
        wish = json.loads(body)
    except ValueError as exc:
        raise ConfigurationError("the body is not JSON") from exc
    checks: dict[str, Callable[[Any], bool]] = {
        "action": lambda value: value in _ACTIONS,
        "count": lambda value: type(value) is int and 1 <= value <= 100_000,
        "ids": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
        "user_id": lambda value: isinstance(value, str),
    }
    if not isinstance(wish, dict) or "action" not in wish or not all(key in checks for key in wish):
        raise ConfigurationError(
            f"a JSON object with action (one of {', '.join(_ACTIONS)}) and count or ids is needed"
        )
    for key, value in wish.items():
        if not checks[key](value):
            raise ConfigurationError(f"{key} = {value!r} is not understood")
    if (wish["action"] == "add") == ("ids" in wish):
        raise ConfigurationError("add takes a count; remove and rebookmark take ids")
    return wish
