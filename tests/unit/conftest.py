"""Pure tests: no I/O, seconds in all."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
