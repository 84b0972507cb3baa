"""The public test kit: try any sequence of errors on a source, handler or store of your own (docs/testing.md).

Needs `pip install "twitor-fsm[testing]"`. Nothing of the engine imports it. Names load lazily, so that a part can be
used without what another needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .clock import VirtualClock
    from .conformance import assert_conforms
    from .contracts.handler import HandlerContract
    from .contracts.source import SourceContract
    from .contracts.store import StoreContract
    from .crashes import crash_points
    from .crawl_machine import CrawlMachine
    from .faults import Faults, faulty_handler
    from .mishaps import Mishap, Plan
    from .sources import FaultySource, ListSource
    from .stores import FaultyStore, MemoryStore
    from .strategies import error_sequences, fault_plans
    from .surviving import assert_survives
    from .trial import Trial

_HOMES: Final[dict[str, tuple[str, ...]]] = {
    "clock": ("VirtualClock",),
    "conformance": ("assert_conforms",),
    "contracts.handler": ("HandlerContract",),
    "contracts.source": ("SourceContract",),
    "contracts.store": ("StoreContract",),
    "crashes": ("crash_points",),
    "crawl_machine": ("CrawlMachine",),
    "faults": ("Faults", "faulty_handler"),
    "mishaps": ("Mishap", "Plan"),
    "sources": ("FaultySource", "ListSource"),
    "stores": ("FaultyStore", "MemoryStore"),
    "strategies": ("error_sequences", "fault_plans"),
    "surviving": ("assert_survives",),
    "trial": ("Trial",),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CrawlMachine",
    "Faults",
    "FaultySource",
    "FaultyStore",
    "HandlerContract",
    "ListSource",
    "MemoryStore",
    "Mishap",
    "Plan",
    "SourceContract",
    "StoreContract",
    "Trial",
    "VirtualClock",
    "assert_conforms",
    "assert_survives",
    "crash_points",
    "error_sequences",
    "fault_plans",
    "faulty_handler",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
