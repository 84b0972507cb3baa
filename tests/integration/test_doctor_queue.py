"""`twitor doctor` and the queue: a real Valkey in good and in bad order, dead letters, and the rate of retries."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from store_factories import postgres_place, postgres_server
from valkey_server import Server

from twitor_fsm.cli.app import twitor
from twitor_fsm.cli.check_database import check_database
from twitor_fsm.cli.check_queue import check_queue
from twitor_fsm.cli.check_sessions import check_sessions
from twitor_fsm.cli.checkup import Check, Verdict
from twitor_fsm.config import Settings
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import SourceUnavailable
from twitor_fsm.queue_manager import QueueManager, QueueTask
from twitor_fsm.testing import ListSource, VirtualClock

PASSWORD = "hunter2-secret"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "VALKEY_URL", "NO_COLOR", "TWITOR_TOKEN_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("X_BEARER_TOKEN", "a-token")


@pytest.fixture
def chosen(own_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("VALKEY_URL", own_server.url)
    return own_server


def doctor() -> tuple[int, dict[str, dict[str, str]]]:
    """Exit code, and the checks by name."""
    result = CliRunner().invoke(twitor, ["doctor", "--offline", "--json"], prog_name="twitor")
    told = json.loads(result.stdout)
    assert result.exit_code == told["exit_code"]
    assert all(check["remedy"] for check in told["checks"] if check["verdict"] != "ok")
    return result.exit_code, {check["name"]: check for check in told["checks"]}


def with_queue(url: str, use: Callable[[QueueManager], Awaitable[object]]) -> None:
    async def run() -> None:
        async with QueueManager(url, settings=Settings()) as queue:
            await use(queue)

    asyncio.run(run())


def test_without_valkey_it_says_that_none_is_used(tmp_path: Path) -> None:
    code, told = doctor()
    assert (code, told["valkey"]["verdict"]) == (0, "ok")
    assert told["valkey"]["detail"].startswith("not used: ")
    assert "dead_letters" not in told
    assert not list(tmp_path.iterdir()), "it makes nothing"


def test_a_server_in_good_order_is_ok(chosen: Server) -> None:
    code, told = doctor()
    names = ("valkey", "valkey_persistence", "valkey_memory", "queue", "dead_letters")
    assert (code, {told[name]["verdict"] for name in names}) == (0, {"ok"})
    assert told["valkey"]["detail"].startswith(f"{chosen.url} answers: Valkey 9")
    assert told["dead_letters"]["detail"] == "none"


def test_the_embedded_server_is_looked_at_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALKEY_URL", "embedded")
    _, told = doctor()
    assert told["valkey"]["detail"] == "embedded, and not used yet: the first task makes it"
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv("VALKEY_URL")
    result = CliRunner().invoke(twitor, ["enqueue", "crawl", "--user", "42"], prog_name="twitor")
    assert result.exit_code == 0, result.output
    code, told = doctor()
    assert (code, told["queue"]["detail"]) == (0, "1 waiting, 0 in flight, 0 delayed")
    assert told["valkey"]["detail"].startswith("the embedded server answers: Valkey ")


def test_a_server_out_of_reach_fails_with_the_documents_remedies(chosen: Server) -> None:
    chosen.stop()
    code, told = doctor()
    assert (code, told["valkey"]["verdict"]) == (1, "fail")
    for remedy in ("docker-compose.valkey.yml ps", "logs valkey", "redis-cli", "ping", "PONG"):
        assert remedy in told["valkey"]["remedy"]


def test_a_refused_password_fails_and_is_not_shown(
    chosen: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALKEY_URL", f"unix://nobody:{PASSWORD}@{chosen.socket}")
    code, told = doctor()
    assert (code, told["valkey"]["verdict"]) == (1, "fail")
    assert "user and password" in told["valkey"]["remedy"]
    assert PASSWORD not in json.dumps(told)


def test_embedded_beside_postgresql_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALKEY_URL", "embedded")
    settings = Settings(valkey_url="embedded", database_url="postgresql+asyncpg://me@host/name")
    (check,) = check_queue(None, settings)
    assert (check.verdict, "serves one machine" in check.detail) == (Verdict.FAIL, True)


def test_a_user_who_may_not_ask_for_the_settings_is_told_so(
    chosen: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = "on >word ~{twitor:tasks}:* +@all -@dangerous -@admin"  # as docs/queue.md advises
    with chosen.client() as client:
        client.execute_command("ACL", "SETUSER", "crawler", *rules.split())
    monkeypatch.setenv("VALKEY_URL", f"unix://crawler:word@{chosen.socket}")
    code, told = doctor()
    assert (code, told["valkey"]["verdict"], told["dead_letters"]["verdict"]) == (0, "ok", "ok")
    assert "not shown to this user" in told["valkey"]["detail"]


@pytest.mark.parametrize(
    ("settings", "name", "verdict", "remedy"),
    [
        ({"appendonly": "no"}, "valkey_persistence", "warn", "--appendonly yes"),
        ({"maxmemory-policy": "allkeys-lru"}, "valkey_memory", "warn", "noeviction"),
        (
            {"maxmemory-policy": "allkeys-lru", "maxmemory": "100mb"},
            "valkey_memory",
            "fail",
            "noeviction",
        ),
        ({"maxmemory": "100mb"}, "valkey_memory", "ok", ""),
    ],
)
def test_a_server_that_may_lose_tasks_is_told(
    chosen: Server, settings: dict[str, str], name: str, verdict: str, remedy: str
) -> None:
    with chosen.client() as client:
        for setting, value in settings.items():
            client.config_set(setting, value)
    code, told = doctor()
    assert (told[name]["verdict"], code) == (verdict, int(verdict == "fail"))
    assert remedy in told[name]["remedy"]


def test_dead_letters_are_counted_by_reason_with_what_to_do(chosen: Server) -> None:
    async def bury(queue: QueueManager) -> None:
        await queue.enqueue_many([("x", {})] * 3, max_retries=0)
        for n in range(3):
            task = await queue.dequeue(timeout=0)
            assert isinstance(task, QueueTask)
            await (queue.reject(task) if n else queue.retry_task(task))

    with_queue(chosen.url, bury)
    code, told = doctor()
    letters = told["dead_letters"]
    assert (code, letters["verdict"]) == (0, "warn")
    assert letters["detail"] == "3 tasks failed for good: 2 rejected, 1 failed"
    for advice in ("queue dead list", "check the data", "larger MAX_RETRIES", "dead retry"):
        assert advice in letters["remedy"]
    assert "memory" not in letters["remedy"], "no worker died of them"


def test_a_paused_queue_and_one_that_nobody_works_on_are_told(
    chosen: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_queue(chosen.url, lambda queue: queue.enqueue("x", {}))
    assert doctor()[1]["queue"]["verdict"] == "ok"
    monkeypatch.setattr("twitor_fsm.cli.check_queue._LONG_S", -1.0)
    queue = doctor()[1]["queue"]
    assert (queue["verdict"], queue["remedy"]) == ("warn", "start a worker: twitor worker")
    with_queue(chosen.url, lambda queue: queue.pause())
    queue = doctor()[1]["queue"]
    assert (queue["verdict"], "twitor queue resume" in queue["remedy"]) == ("warn", True)


# -- retries --------------------------------------------------------------------------------------


def session(retries: int = 0, requests: int = 10, **errors: int) -> dict[str, Any]:
    return {"retries": retries, "requests": requests, "errors": errors}


def found(*sessions: dict[str, Any]) -> Iterator[Check]:
    return check_sessions(sessions)


def test_the_rate_of_retries_is_that_of_the_last_sessions() -> None:
    assert list(found()) == []
    (fine,) = found(session(3, 10))
    assert fine.verdict == "ok", "three say nothing about a rate"
    assert fine.detail == "the last session repeated 3 of 10 requests (30%)"
    (fine,) = found(session(4, 10), session(0, 10))
    assert (fine.verdict, fine.detail) == (
        "ok",
        "the last 2 sessions repeated 4 of 20 requests (20%)",
    )
    (high,) = found(session(5, 10), session(0, 10))
    assert high.verdict == "warn"
    for remedy in ("network's stability", "status of the X API", "rate limits", "INITIAL_BACKOFF"):
        assert remedy in high.remedy
    (never_reached,) = found(session(5, 0))
    assert never_reached.verdict == "warn"


def test_database_errors_are_those_of_the_newest_session() -> None:
    assert [check.name for check in found(session(), session(DATABASE=2))] == ["retries"]
    _, errors = found(session(DATABASE=2), session())
    assert (errors.name, errors.detail) == (
        "database_errors",
        "the last session met 2 database errors",
    )


async def test_a_server_database_tells_of_its_last_sessions_too() -> None:
    async with AsyncExitStack() as closing:
        store = await postgres_place(postgres_server(), closing).store()
        source = ListSource(
            [str(n) for n in range(30)],
            script={n: SourceUnavailable("no route") for n in range(1, 6)},
        )
        engine = CrawlEngine(store, settings=Settings(), clock=VirtualClock())
        await engine.open()
        report = await engine.crawl(source, user_id="42")
        url = store.engine.url.render_as_string(hide_password=False)
        checks = {
            check.name: check for check in await asyncio.to_thread(check_database, url, Settings())
        }
    requests = report.counters.requests
    assert checks["retries"].detail == (
        f"the last session repeated 5 of {requests} requests ({5 / requests:.0%})"
    )
    assert checks["retries"].verdict == "warn"


def test_a_replica_fails_since_it_cannot_be_written_to(chosen: Server) -> None:
    with chosen.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
    code, checks = doctor()
    assert code != 0
    assert checks["queue"]["verdict"] == "fail"
    assert "can be read but not written to" in checks["queue"]["detail"]
    assert "primary" in checks["queue"]["remedy"]
