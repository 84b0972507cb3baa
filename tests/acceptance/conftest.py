"""The fixtures of a real Valkey, for acceptance tests too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from valkey_server import names, own_server, valkey_server

__all__ = ["names", "own_server", "valkey_server"]
