"""`twitor worker` as it is, but in a hurry: it sweeps, and looks whether the schema is its own, several times a second.

Usage: quick_worker.py ARGS...
"""

import sys
from typing import Any

from twitor_fsm import readiness
from twitor_fsm.cli.app import twitor
from twitor_fsm.worker import Worker


def hurry(function: Any, **defaults: float) -> None:
    """Other defaults than those that it was written with."""
    assert set(defaults) <= set(function.__kwdefaults__)
    function.__kwdefaults__.update(defaults)


if __name__ == "__main__":
    hurry(Worker.__init__, sweep_s=0.1)
    hurry(readiness.open_when_ready, look_s=0.1)
    twitor.main(sys.argv[1:], prog_name="twitor")
