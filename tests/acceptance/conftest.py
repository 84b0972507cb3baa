"""The fixtures of a real Valkey, for acceptance tests too; recipes of `benchmarks/` that run here in small."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from valkey_server import names, own_server, valkey_server

__all__ = ["names", "own_server", "valkey_server"]
