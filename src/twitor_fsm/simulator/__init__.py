"""The X API v2, simulated: a real HTTP server on loopback whose faults are planned and repeatable.

Light to import; the server itself needs `pip install "twitor-fsm[cli]"`.
"""

from .answers import LedgerEntry
from .faults import EarlyEnd, Fault, FaultKind, FaultPlan, ItemFault, ItemKind
from .serving import run
from .simulator import Simulator

__all__ = [
    "EarlyEnd",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "ItemFault",
    "ItemKind",
    "LedgerEntry",
    "Simulator",
    "run",
]
