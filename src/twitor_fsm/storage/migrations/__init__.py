"""The schema's history, run by alembic in-process: no ini file, from an installed wheel too.

Importing this package imports alembic. Must not know: when a database is to be upgraded.
"""

from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

__all__ = ["config", "downgrade", "head", "is_known", "upgrade"]

_LOCATION: Final = "twitor_fsm.storage:migrations"  # a package resource


def config(connection: sa.Connection | None = None) -> Config:
    """Alembic's settings; `env.py` works on the connection, in the transaction under way."""
    settings = Config()
    settings.set_main_option("script_location", _LOCATION)
    settings.attributes["connection"] = connection
    return settings


def head() -> str | None:
    """The newest revision."""
    return ScriptDirectory.from_config(config()).get_current_head()


def is_known(revision: str) -> bool:
    """Whether a script of this revision is here."""
    scripts = ScriptDirectory.from_config(config()).walk_revisions()
    return any(script.revision == revision for script in scripts)


def upgrade(connection: sa.Connection, revision: str) -> None:
    """Migrate upwards to the revision."""
    command.upgrade(config(connection), revision)


def downgrade(connection: sa.Connection, revision: str) -> None:
    """Migrate downwards to the revision."""
    command.downgrade(config(connection), revision)
