"""A crawl engine whose session is an explicit state machine: X bookmarks into a database, resumable after anything.

Names load when they are used, so that importing the package stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .checkpoint_manager import CheckpointManager
    from .clock import Clock, SystemClock
    from .config import Settings, get_settings
    from .core.checking.invariants import Invariant
    from .core.checking.proof import Proof
    from .core.checking.scope import Scope
    from .core.checking.world import World
    from .core.progress import Checkpoint
    from .core.recovery import ErrorFacts, Policy, RecoveryStrategy, decide
    from .core.states import (
        DEFAULT_SPEC,
        Absorb,
        Durability,
        Effect,
        Facts,
        Guard,
        JournalRow,
        Kind,
        MachineSpec,
        Row,
        SessionValue,
        State,
        StateDef,
        Step,
        Trigger,
        endings,
    )
    from .core.taxonomy import ErrorAction, ErrorCategory, Reason
    from .diagrams import render, render_session, render_timeline
    from .engine import CrawlEngine, CrawlHandle, CrawlOptions
    from .error_handler import ErrorContext, ErrorHandler
    from .errors import (
        AuthenticationFailed,
        BillingRefused,
        ConfigurationError,
        CrawlOwned,
        CredentialsMissing,
        CursorRefused,
        IllegalStep,
        InvalidItem,
        ItemsRefused,
        JournalRefused,
        LeaseLost,
        OtherSchemaVersion,
        QueueError,
        QueueFull,
        QueueMisconfigured,
        QueueOutOfMemory,
        QueueUnauthorized,
        QueueUnavailable,
        RateLimited,
        RequestRefused,
        RowUnreadable,
        SchemaMismatch,
        SessionNotFound,
        SessionUnreadable,
        SourceError,
        SourceLoops,
        SourceUnavailable,
        SpecError,
        StoreError,
        StoreUnavailable,
        TaskLeaseLost,
        TaskRefused,
        TwitorError,
        UnreadableFile,
    )
    from .interop import to_transitions
    from .journal import Journal, read_journal, write_journal
    from .machine import Machine, machine_for, step
    from .metrics import PrometheusMetrics
    from .proving import prove
    from .queue_manager import (
        DeadReason,
        DeadTask,
        Postpone,
        QueueHealth,
        QueueManager,
        QueueTask,
        Reject,
    )
    from .replaying import Replayed, replay
    from .report import CrawlReport, exit_code
    from .sources.base import End, InvalidRaw, Item, ItemKind, Page, Source, Usage
    from .sources.credentials import CredentialProvider, EnvironmentToken, Secret, TokenFiles
    from .sources.files import FileBookmarks
    from .sources.x_api import XBookmarks
    from .storage.base import Bookmark, Forgotten, Store

_HOMES: Final[dict[str, tuple[str, ...]]] = {
    "checkpoint_manager": ("CheckpointManager",),
    "clock": ("Clock", "SystemClock"),
    "config": ("Settings", "get_settings"),
    "core.checking.invariants": ("Invariant",),
    "core.checking.proof": ("Proof",),
    "core.checking.scope": ("Scope",),
    "core.checking.world": ("World",),
    "core.progress": ("Checkpoint",),
    "core.recovery": ("ErrorFacts", "Policy", "RecoveryStrategy", "decide"),
    "core.states": (
        "DEFAULT_SPEC",
        "Absorb",
        "Durability",
        "Effect",
        "Facts",
        "Guard",
        "JournalRow",
        "Kind",
        "MachineSpec",
        "Row",
        "SessionValue",
        "State",
        "StateDef",
        "Step",
        "Trigger",
        "endings",
    ),
    "core.taxonomy": ("ErrorAction", "ErrorCategory", "Reason"),
    "diagrams": ("render", "render_session", "render_timeline"),
    "engine": ("CrawlEngine", "CrawlHandle", "CrawlOptions"),
    "error_handler": ("ErrorContext", "ErrorHandler"),
    "errors": (
        "AuthenticationFailed",
        "BillingRefused",
        "ConfigurationError",
        "CrawlOwned",
        "CredentialsMissing",
        "CursorRefused",
        "IllegalStep",
        "InvalidItem",
        "ItemsRefused",
        "JournalRefused",
        "LeaseLost",
        "OtherSchemaVersion",
        "QueueError",
        "QueueFull",
        "QueueMisconfigured",
        "QueueOutOfMemory",
        "QueueUnauthorized",
        "QueueUnavailable",
        "RateLimited",
        "RequestRefused",
        "RowUnreadable",
        "SchemaMismatch",
        "SessionNotFound",
        "SessionUnreadable",
        "SourceError",
        "SourceLoops",
        "SourceUnavailable",
        "SpecError",
        "StoreError",
        "StoreUnavailable",
        "TaskLeaseLost",
        "TaskRefused",
        "TwitorError",
        "UnreadableFile",
    ),
    "interop": ("to_transitions",),
    "journal": ("Journal", "read_journal", "write_journal"),
    "machine": ("Machine", "machine_for", "step"),
    "metrics": ("PrometheusMetrics",),
    "proving": ("prove",),
    "replaying": ("Replayed", "replay"),
    "queue_manager": (
        "DeadReason",
        "DeadTask",
        "Postpone",
        "QueueHealth",
        "QueueManager",
        "QueueTask",
        "Reject",
    ),
    "report": ("CrawlReport", "exit_code"),
    "sources.base": ("End", "InvalidRaw", "Item", "ItemKind", "Page", "Source", "Usage"),
    "sources.credentials": ("CredentialProvider", "EnvironmentToken", "Secret", "TokenFiles"),
    "sources.files": ("FileBookmarks",),
    "sources.x_api": ("XBookmarks",),
    "storage.base": ("Bookmark", "Forgotten", "Store"),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DEFAULT_SPEC",
    "Absorb",
    "AuthenticationFailed",
    "BillingRefused",
    "Bookmark",
    "Checkpoint",
    "CheckpointManager",
    "Clock",
    "ConfigurationError",
    "CrawlEngine",
    "CrawlHandle",
    "CrawlOptions",
    "CrawlOwned",
    "CrawlReport",
    "CredentialProvider",
    "CredentialsMissing",
    "CursorRefused",
    "DeadReason",
    "DeadTask",
    "Durability",
    "Effect",
    "End",
    "EnvironmentToken",
    "ErrorAction",
    "ErrorCategory",
    "ErrorContext",
    "ErrorFacts",
    "ErrorHandler",
    "Facts",
    "FileBookmarks",
    "Forgotten",
    "Guard",
    "IllegalStep",
    "InvalidItem",
    "InvalidRaw",
    "Invariant",
    "Item",
    "ItemKind",
    "ItemsRefused",
    "Journal",
    "JournalRefused",
    "JournalRow",
    "Kind",
    "LeaseLost",
    "Machine",
    "MachineSpec",
    "OtherSchemaVersion",
    "Page",
    "Policy",
    "Postpone",
    "PrometheusMetrics",
    "Proof",
    "QueueError",
    "QueueFull",
    "QueueHealth",
    "QueueManager",
    "QueueMisconfigured",
    "QueueOutOfMemory",
    "QueueTask",
    "QueueUnauthorized",
    "QueueUnavailable",
    "RateLimited",
    "Reason",
    "RecoveryStrategy",
    "Reject",
    "Replayed",
    "RequestRefused",
    "Row",
    "RowUnreadable",
    "SchemaMismatch",
    "Scope",
    "Secret",
    "SessionNotFound",
    "SessionUnreadable",
    "SessionValue",
    "Settings",
    "Source",
    "SourceError",
    "SourceLoops",
    "SourceUnavailable",
    "SpecError",
    "State",
    "StateDef",
    "Step",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "SystemClock",
    "TaskLeaseLost",
    "TaskRefused",
    "TokenFiles",
    "Trigger",
    "TwitorError",
    "UnreadableFile",
    "Usage",
    "World",
    "XBookmarks",
    "decide",
    "endings",
    "exit_code",
    "get_settings",
    "machine_for",
    "prove",
    "read_journal",
    "render",
    "render_session",
    "render_timeline",
    "replay",
    "step",
    "to_transitions",
    "write_journal",
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
