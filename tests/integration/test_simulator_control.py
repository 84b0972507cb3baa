"""Bookmarks change while the simulator runs, by hand of the test or of another process."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from twitor_fsm.errors import ConfigurationError
from twitor_fsm.simulator import Simulator

SRC = Path(__file__).parents[2] / "src"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(bookmarks=30, users=2) as sim:
        yield sim


@pytest.fixture
async def http(sim: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {sim.token}"}
    async with httpx.AsyncClient(base_url=sim.base_url, headers=headers) as http:
        yield http


async def walk(sim: Simulator, http: httpx.AsyncClient) -> list[str]:
    seen: list[str] = []
    params: dict[str, Any] = {"max_results": 7}
    while True:
        body = (await http.get(f"/2/users/{sim.user_id}/bookmarks", params=params)).json()
        seen += [post["id"] for post in body.get("data", [])]
        if "next_token" not in body["meta"]:
            return seen
        params["pagination_token"] = body["meta"]["next_token"]


async def test_the_listing_served_is_the_truth_after_every_change(
    sim: Simulator, http: httpx.AsyncClient
) -> None:
    start = sim.truth()
    added = sim.add(3)
    sim.remove(start[0], start[10], added[1])
    sim.rebookmark(start[5], start[10])  # the second one was removed: it comes back
    expected = [start[10], start[5], added[0], added[2], *start[1:5], *start[6:10], *start[11:]]

    assert sim.truth() == expected
    assert await walk(sim, http) == expected


async def test_changes_touch_one_user_only(sim: Simulator) -> None:
    other = sim.user_ids[1]
    before = sim.truth(other)
    sim.remove(before[0], user_id=other)
    sim.add()

    assert sim.truth(other) == before[1:]
    assert len(sim.truth()) == 31
    with pytest.raises(ConfigurationError, match="not among the bookmarks"):
        sim.remove(before[1])


async def test_everything_can_be_removed(sim: Simulator, http: httpx.AsyncClient) -> None:
    sim.remove(*sim.truth())

    assert sim.truth() == []
    assert await walk(sim, http) == []
    assert await walk(sim, http) == sim.truth()


async def test_a_walk_goes_on_from_a_bookmark_that_was_removed(
    sim: Simulator, http: httpx.AsyncClient
) -> None:
    path = f"/2/users/{sim.user_id}/bookmarks"
    truth = sim.truth()
    first = (await http.get(path, params={"max_results": 10})).json()
    sim.remove(*truth[5:15])
    params = {"max_results": 10, "pagination_token": first["meta"]["next_token"]}
    second = (await http.get(path, params=params)).json()

    assert [post["id"] for post in second["data"]] == truth[15:25]


async def test_the_same_over_http(sim: Simulator, http: httpx.AsyncClient) -> None:
    other = sim.user_ids[1]
    added = (await http.post("/_sim/bookmarks", json={"action": "add", "count": 2})).json()["ids"]
    await http.post("/_sim/bookmarks", json={"action": "remove", "ids": [sim.truth()[-1]]})
    wish = {"action": "rebookmark", "ids": [sim.truth(other)[9]], "user_id": other}
    await http.post("/_sim/bookmarks", json=wish)
    mine = (await http.get("/_sim/bookmarks")).json()
    others = (await http.get("/_sim/bookmarks", params={"user_id": other})).json()
    users = (await http.get("/_sim/users")).json()["users"]

    assert mine["ids"] == sim.truth()
    assert mine["ids"][:2] == added
    assert mine["result_count"] == 31
    assert mine["user_id"] == sim.user_id
    assert others["ids"] == sim.truth(other)
    assert others["ids"][0] == wish["ids"][0]
    assert users == [{"id": user, "token": token} for user, token in sim.tokens.items()]
    assert sim.ledger == []


@pytest.mark.parametrize(
    "wish",
    [
        [],
        {},
        {"action": "steal"},
        {"action": "add", "count": 0},
        {"action": "add", "ids": ["20"]},
        {"action": "remove"},
        {"action": "remove", "ids": "20"},
        {"action": "remove", "ids": ["99"]},
        {"action": "add", "user_id": "99"},
        {"action": "add", "colour": "red"},
    ],
)
async def test_a_wish_that_is_not_understood_changes_nothing(
    sim: Simulator, http: httpx.AsyncClient, wish: object
) -> None:
    before = sim.truth()
    answer = await http.post("/_sim/bookmarks", json=wish)

    assert answer.status_code == 400
    assert answer.json()["error"]
    assert sim.truth() == before


async def test_refused_cursors_send_a_client_to_the_top(
    sim: Simulator, http: httpx.AsyncClient
) -> None:
    path = f"/2/users/{sim.user_id}/bookmarks"
    token = (await http.get(path, params={"max_results": 10})).json()["meta"]["next_token"]
    sim.refuse_cursors()

    assert (await http.get(path, params={"pagination_token": token})).status_code == 400
    assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_run_serves_until_a_signal_and_prints_nothing_itself(number: int) -> None:
    program = textwrap.dedent(
        """
        from twitor_fsm.simulator import Simulator, run
        run(Simulator(bookmarks=3), 0, lambda url: print(url, flush=True))
        """
    )
    process = subprocess.Popen(  # noqa: ASYNC220 - a child whose signals are the test
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        base_url = (await asyncio.to_thread(process.stdout.readline)).strip()
        async with httpx.AsyncClient(base_url=base_url) as http:
            assert (await http.get("/_sim/bookmarks")).json()["result_count"] == 3
            process.send_signal(number)
            rest, errors = await asyncio.to_thread(process.communicate, timeout=10)
    finally:
        process.kill()

    assert (process.returncode, rest, errors) == (0, "", "")


def test_a_missing_extra_names_the_line_to_run() -> None:
    program = textwrap.dedent(
        """
        import sys
        sys.modules["starlette"] = None
        from twitor_fsm.errors import ConfigurationError
        from twitor_fsm.simulator import FaultPlan, Simulator
        FaultPlan.load("hostile")
        try:
            Simulator().app
        except ConfigurationError as error:
            print(error)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert 'pip install "twitor-fsm[cli]"' in done.stdout


def test_importing_the_simulator_loads_no_server() -> None:
    program = "import sys, twitor_fsm.simulator; print({'starlette', 'uvicorn'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "set()"
