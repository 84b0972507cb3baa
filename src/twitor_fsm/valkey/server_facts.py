"""What a server says of itself that matters to a queue: version, persistence, what it does when it is full.

Must not know: queues, what is right or wrong.
"""

from typing import Final

import attrs

__all__ = ["ServerFacts", "facts_of"]

NAMES: Final = {"valkey": "Valkey", "redis": "Redis"}


@attrs.frozen
class ServerFacts:
    """As of one INFO.

    Attributes:
        name: "Valkey", "Redis" or what it calls itself.
        version: Its version; empty when it does not say.
        appends: Whether it keeps an append-only file.
        is_write_failing: Whether its last write to that file failed.
        policy: What it does at its memory's limit: `noeviction`, or which keys it throws away.
        limit_bytes: That limit; 0 for none.
    """

    name: str
    version: str
    appends: bool
    is_write_failing: bool
    policy: str
    limit_bytes: int


def facts_of(info: bytes) -> ServerFacts:
    """The facts in the answer to INFO; what is missing there is empty, False or 0."""
    said = dict(
        line.split(":", 1) for line in info.decode("utf-8", "replace").splitlines() if ":" in line
    )
    word = said.get("server_name", "redis")
    limit = said.get("maxmemory", "0")
    return ServerFacts(
        name=NAMES.get(word, word),
        version=said.get("valkey_version", said.get("redis_version", "")),
        appends=said.get("aof_enabled") == "1",
        is_write_failing=said.get("aof_last_write_status", "ok") != "ok",
        policy=said.get("maxmemory_policy", ""),
        limit_bytes=int(limit) if limit.isdecimal() else 0,
    )
