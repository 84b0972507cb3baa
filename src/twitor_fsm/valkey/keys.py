"""The names of a queue's keys: the one place where they are spelled.

All of them carry one hash tag, so that a cluster keeps them in one slot and one script may touch them together.
A queue without tasks and dead letters has no keys at all.
"""

import re
from typing import Final

from ..errors import ConfigurationError

__all__ = ["KEYS", "QueueKeys"]

KEYS: Final = {
    "tasks": "hash: id -> record, of every task that is not done and not dead",
    "claims": "hash: id -> tries, token and errors, from a task's first claim on",
    "leased": "sorted set: ids that a consumer has, by the end of the lease (ms)",
    "delayed": "sorted set: priority and id, by due time (ms)",
    "ready": "prefix of one list for each priority: ids that wait, in their order",
    "levels": "sorted set: priorities with waiting ids",
    "turns": "sorted set: priorities, by the number of claims at which they get a turn",
    "served": "number of claims since the queue was empty; there while tasks wait",
    "alone": "list: ids that are tried one at a time, since they may have killed their worker",
    "bell": "list with one element, while there is something to take: wakes one waiting consumer",
    "paused": "there while the queue is paused",
    "dead": "sorted set: ids of dead letters, by the time of their death (ms)",
    "dead_records": "hash: id -> record, byte by byte as it was",
    "dead_notes": "hash: id -> reason, tries, token, first and last error",
}
"""Every key, and what it holds. `ready` is a prefix: the priority follows it."""

_NAME: Final = re.compile(r"[^\s{}\ud800-\udfff]{1,200}")  # half a character cannot be sent


class QueueKeys:
    """Key names of one queue: `{twitor:tasks}:leased` and the like."""

    def __init__(self, queue_name: str) -> None:
        """Check the name.

        Raises:
            ConfigurationError: It is no text, empty, too long, or holds a space or a brace.
        """
        given: object = queue_name
        if not isinstance(given, str) or not _NAME.fullmatch(given):
            raise ConfigurationError(
                f"queue_name is {given!r:.102}, allowed are 1 to 200 characters without spaces and braces. "
                "Nothing was started"
            )
        self.prefix: Final = f"{{{queue_name}}}:"

    def named(self, *names: str) -> list[str]:
        """Full names, in this order."""
        return [self._full(name) for name in names]

    def _full(self, name: str) -> str:
        if name not in KEYS:
            raise KeyError(name)
        return f"{self.prefix}{name}{':' if name == 'ready' else ''}"
