"""Who may import and call what: read from the source, so that it holds for lines that no test runs too."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Final

import attrs
import pytest

PACKAGE: Final = "twitor_fsm"
SRC: Final = Path(__file__).parents[2] / "src" / PACKAGE

PURE: Final = frozenset(
    {
        "abc",
        "array",
        "bisect",
        "collections",
        "dataclasses",
        "datetime",
        "decimal",
        "enum",
        "fractions",
    }
    | {"functools", "hashlib", "itertools", "math", "operator", "re", "string", "types", "typing"}
)
"""What the core may use of the standard library: modules without clock, randomness, environment and I/O.
(`datetime` is here for its values; asking it for the time is refused below.)"""

CLOCKS: Final = frozenset(
    {
        "time.time",
        "time.time_ns",
        "time.monotonic",
        "time.monotonic_ns",
        "time.perf_counter",
        "time.perf_counter_ns",
        "time.sleep",
        "asyncio.sleep",
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "datetime.datetime.today",
        "datetime.date.today",
    }
)
ENVIRONMENT: Final = frozenset({"os.environ", "os.environb", "os.getenv", "os.getenvb"})
PICKLES: Final = frozenset({"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"})
HEAVY: Final = frozenset(
    {"sqlalchemy", "click", "rich", "starlette", "alembic", "redis", "prometheus_client"}
)

QUEUE_PARTS: Final[dict[str, frozenset[str]]] = {
    "queue_manager.py": frozenset({"server", "server_facts"}),
    "queueing/channel.py": frozenset({"connection", "task_queue"}),
    "queueing/options.py": frozenset({"keys"}),
    **dict.fromkeys(
        (f"queueing/{name}.py" for name in ("arguments", "bell", "patience", "records", "takers")),
        frozenset(),
    ),
}
"""What of `valkey/` these may import; the other parts of `queueing/` know its `task_queue` alone: what can be done to a
queue, never how a server is reached."""

MAY_KNOW: Final[dict[str, frozenset[str]]] = {
    "ending.py": frozenset({"core", "errors", "ledger", "report", "steps"}),
    "handling.py": frozenset({"classify", "errors", "plugins", "sources"}),
    "heartbeat.py": frozenset({"clock", "core", "errors", "log_facts", "storage"}),
    "http_dates.py": frozenset(),
    "storage/row_readers.py": frozenset({"errors", "storage"}),
}
"""What of the package these may import: each does one thing for a session, or for many, and knows none of them."""


@attrs.frozen
class Import:
    """One imported name, absolute: `from ..errors import X` in core/states.py is `twitor_fsm.errors.X`."""

    name: str
    line: int
    for_types_only: bool

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


@attrs.frozen
class Module:
    path: str
    """Below src/twitor_fsm, as `core/states.py`."""
    tree: ast.Module

    @property
    def dotted(self) -> str:
        parts = (PACKAGE, *self.path.removesuffix(".py").split("/"))
        return ".".join(part for part in parts if part != "__init__")

    @property
    def package(self) -> str:
        return self.dotted if self.path.endswith("__init__.py") else self.dotted.rpartition(".")[0]

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the tree; walked once for all rules."""
        return tuple(ast.walk(self.tree))

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        return tuple(self._imports())

    def _imports(self) -> Iterator[Import]:
        typing_only = {
            id(inner)
            for node in self.nodes
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
            for statement in node.body
            for inner in ast.walk(statement)
        }
        for node in self.nodes:
            match node:
                case ast.Import(names=names):
                    found = [alias.name for alias in names]
                case ast.ImportFrom(module=module, names=names, level=level):
                    found = [f"{self._base(module, level)}.{alias.name}" for alias in names]
                case ast.Call(args=[ast.Constant(value=str(name)), *_]) if ast.unparse(
                    node.func
                ).endswith(("import_module", "__import__")):
                    found = [name]
                case _:
                    continue
            for name in found:
                yield Import(name, node.lineno, id(node) in typing_only)

    def _base(self, module: str | None, level: int) -> str:
        if not level:
            return module or ""
        parts = self.package.split(".")
        above = parts[: len(parts) - level + 1]
        return ".".join([*above, module] if module else above)

    @cached_property
    def mentions(self) -> tuple[tuple[str, int, bool], ...]:
        return tuple(self._mentions())

    def _mentions(self) -> Iterator[tuple[str, int, bool]]:
        """Every dotted name that is read, written in full (aliases resolved), its line, and whether it is called."""
        aliases: dict[str, str] = {}
        for node in self.nodes:
            match node:
                case ast.Import(names=names):
                    for alias in names:  # `import a.b` binds `a`, `import a.b as c` binds `a.b`
                        top = alias.name.partition(".")[0]
                        aliases[alias.asname or top] = alias.name if alias.asname else top
                case ast.ImportFrom(module=module, names=names, level=level):
                    base = self._base(module, level)
                    aliases |= {a.asname or a.name: f"{base}.{a.name}" for a in names}
        called = {id(node.func) for node in self.nodes if isinstance(node, ast.Call)}
        for node in self.nodes:
            if isinstance(node, ast.Name | ast.Attribute):
                first, dot, rest = _dotted(node).partition(".")
                if first in aliases:
                    yield f"{aliases[first]}{dot}{rest}", node.lineno, id(node) in called


def _dotted(node: ast.expr) -> str:
    """`a.b.c` as text; empty if it does not begin with a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _constant(node: ast.expr) -> object:
    return node.value if isinstance(node, ast.Constant) else None


@cache
def modules() -> list[Module]:
    return [
        Module(file.relative_to(SRC).as_posix(), ast.parse(file.read_text("utf-8")))
        for file in sorted(SRC.rglob("*.py"))
    ]


def made_up(path: str, source: str) -> Module:
    return Module(path, ast.parse(source))


# -- the rules: each takes all modules and says what breaks it ------------------------------------


def imports_of(
    found: list[Module], top: str, *, allowed: Callable[[Module, Import], bool]
) -> list[str]:
    return [
        f"{module.path}:{one.line} imports {one.name}"
        for module in found
        for one in module.imports
        if one.top == top and not allowed(module, one)
    ]


def impure_core(found: list[Module]) -> list[str]:
    """What the core imports, itself or through a module of ours, beyond itself, errors.py, attrs and PURE."""
    by_name = {module.dotted: module for module in found}
    to_do = [module for module in found if module.path.startswith("core/")]
    seen = {module.dotted for module in to_do}
    broken = []
    while to_do:
        module = to_do.pop()
        for one in module.imports:
            where = f"{module.path}:{one.line} imports {one.name}"
            if one.top != PACKAGE:
                if one.top not in PURE | {"attrs"}:
                    broken.append(where)
                continue
            home = one.name if one.name in by_name else one.name.rpartition(".")[0]
            inside = home.startswith(f"{PACKAGE}.core") or home == f"{PACKAGE}.errors"
            if not inside:
                broken.append(where)
            elif home not in seen and home in by_name:
                seen.add(home)
                to_do.append(by_name[home])
        broken += [
            f"{module.path}:{line} asks {name}"
            for name, line, _ in module.mentions
            if name in CLOCKS or name in {"builtins.open", "builtins.input"}
        ]
        broken += [
            f"{module.path}:{node.lineno} awaits"
            for node in module.nodes
            if isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith)
        ]
    return broken


def clock_readers(found: list[Module]) -> list[str]:
    """Only clock.py reads a clock or sleeps. The simulator may name a clock as a default argument.

    The embedded server's keeper reads one too: it is a process of its own that imports nothing of the package.

    `asyncio.sleep(0)` gives way without waiting, so it is allowed everywhere.
    """
    broken = []
    for module in found:
        if module.path in {"clock.py", "valkey/keeper.py"}:
            continue
        nodes = module.nodes
        gives_way = {
            call.func.lineno
            for call in nodes
            if isinstance(call, ast.Call) and [_constant(each) for each in call.args] == [0]
        }
        is_default = {
            default.lineno
            for arguments in nodes
            if isinstance(arguments, ast.arguments) and module.path.startswith("simulator/")
            for default in (*arguments.defaults, *arguments.kw_defaults)
            if default is not None
        }
        for name, line, is_called in module.mentions:
            harmless = (is_called and name == "asyncio.sleep" and line in gives_way) or (
                not is_called and line in is_default
            )
            if name in CLOCKS and not harmless:
                broken.append(f"{module.path}:{line} uses {name}")
    return broken


def environment_readers(found: list[Module]) -> list[str]:
    return [
        f"{module.path}:{line} reads {name}"
        for module in found
        if module.path != "config.py"
        for name, line, _ in module.mentions
        if name in ENVIRONMENT
    ]


def transitions_importers(found: list[Module]) -> list[str]:
    return imports_of(found, "transitions", allowed=lambda m, _: m.path == "machine.py")


def http_importers(found: list[Module]) -> list[str]:
    def is_x(module: Module, _: Import) -> bool:  # the test kit only listens at its transports
        return module.path.startswith("sources/x_") or module.path == "testing/tapping.py"

    return imports_of(found, "httpx", allowed=is_x)


def sql_importers(found: list[Module]) -> list[str]:
    def is_storage(module: Module, one: Import) -> bool:
        return module.path.startswith("storage/") or (
            module.path == "engine.py" and one.for_types_only
        )

    return imports_of(found, "sqlalchemy", allowed=is_storage)


def redis_importers(found: list[Module]) -> list[str]:
    return imports_of(found, "redis", allowed=lambda m, _: m.path.startswith("valkey/"))


def valkey_importers(found: list[Module]) -> list[str]:
    """The queue's parts know what they are for, and none of them the manager that they make up."""

    def is_allowed(module: Module, one: Import) -> bool:
        below = one.name.removeprefix(f"{PACKAGE}.")
        if below.startswith("queue_manager"):
            return not module.path.startswith("queueing/")
        may_know = QUEUE_PARTS.get(module.path, frozenset({"task_queue"}))
        return not below.startswith("valkey") or below.split(".")[1] in may_know

    parts = [m for m in found if m.path.startswith("queueing/") or m.path in QUEUE_PARTS]
    return imports_of(parts, PACKAGE, allowed=is_allowed)


def knowing_importers(found: list[Module]) -> list[str]:
    return imports_of(
        [module for module in found if module.path in MAY_KNOW],
        PACKAGE,
        allowed=lambda module, one: one.name.split(".")[1] in MAY_KNOW[module.path],
    )


def metrics_importers(found: list[Module]) -> list[str]:
    """The core counts nothing for anybody: observers do, and one of them knows Prometheus."""
    return [
        *imports_of(found, "prometheus_client", allowed=lambda m, _: m.path == "metrics.py"),
        *imports_of(found, "h11", allowed=lambda m, _: m.path == "small_http.py"),
    ]


def pickle_importers(found: list[Module]) -> list[str]:
    return [
        line
        for name in sorted(PICKLES)
        for line in imports_of(found, name, allowed=lambda *_: False)
    ]


def kit_importers(found: list[Module]) -> list[str]:
    """The test kit is built on the engine, and nothing of the engine on the kit. The command that shows a simulation
    loads it when it is asked to."""
    return [
        f"{module.path}:{one.line} imports {one.name}"
        for module in found
        for one in module.imports
        if one.name.startswith(f"{PACKAGE}.testing")
        and not module.path.startswith("testing/")
        and module.path != "cli/verbs/verify.py"
    ]


RULES: Final = [
    impure_core,
    clock_readers,
    environment_readers,
    transitions_importers,
    http_importers,
    sql_importers,
    redis_importers,
    valkey_importers,
    knowing_importers,
    metrics_importers,
    pickle_importers,
    kit_importers,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule: Callable[[list[Module]], list[str]]) -> None:
    assert rule(modules()) == []


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (impure_core, "core/plan.py", "import asyncio"),
        (impure_core, "core/plan.py", "import os.path"),
        (impure_core, "core/plan.py", "from pathlib import Path"),
        (impure_core, "core/plan.py", "from ..config import Settings"),
        (impure_core, "core/plan.py", "from .. import clock"),
        (impure_core, "core/plan.py", "def f():\n    import random"),
        (impure_core, "core/plan.py", "from importlib import import_module"),
        (impure_core, "core/plan.py", "from datetime import datetime\nx = datetime.now()"),
        (impure_core, "core/plan.py", "async def f(): ..."),
        (impure_core, "core/plan.py", "import msgspec"),
        (clock_readers, "session.py", "import time\ntime.time()"),
        (clock_readers, "session.py", "import time as t\nt.monotonic()"),
        (clock_readers, "session.py", "from time import time\ntime()"),
        (clock_readers, "session.py", "from asyncio import sleep as nap\nnap(1)"),
        (clock_readers, "session.py", "import asyncio\ndef f(s=asyncio.sleep): ..."),
        (clock_readers, "session.py", "import datetime as dt\ndt.datetime.now(dt.UTC)"),
        (clock_readers, "session.py", "from datetime import UTC, datetime\ndatetime.now(UTC)"),
        (clock_readers, "simulator/app.py", "import time\nx = time.time()"),
        (environment_readers, "cli/app.py", "import os\nos.environ['HOME']"),
        (environment_readers, "engine.py", "from os import environ\nenviron.get('HOME')"),
        (environment_readers, "engine.py", "import os\nos.getenv('HOME')"),
        (transitions_importers, "engine.py", "from transitions.extensions import GraphMachine"),
        (http_importers, "engine.py", "import httpx"),
        (http_importers, "sources/files.py", "from httpx import AsyncClient"),
        (sql_importers, "session.py", "from sqlalchemy.ext.asyncio import AsyncEngine"),
        (sql_importers, "engine.py", "import sqlalchemy"),
        (kit_importers, "engine.py", "from .testing import VirtualClock"),
        (kit_importers, "engine.py", "from twitor_fsm.testing.clock import VirtualClock"),
        (kit_importers, "cli/app.py", "from ..testing.simulation import trace"),
        (redis_importers, "queue_manager.py", "from redis.asyncio import Redis"),
        (valkey_importers, "queue_manager.py", "from .valkey.keys import QueueKeys"),
        (valkey_importers, "queue_manager.py", "from .valkey import connection"),
        (valkey_importers, "queueing/desk.py", "from ..valkey.connection import Connection"),
        (valkey_importers, "queueing/desk.py", "from ..queue_manager import QueueManager"),
        (valkey_importers, "queueing/channel.py", "from ..valkey.server import Server"),
        (valkey_importers, "queueing/takers.py", "from ..valkey.task_queue import Lease"),
        (knowing_importers, "handling.py", "from .steps import Steps"),
        (knowing_importers, "heartbeat.py", "from .ledger import Ledger"),
        (knowing_importers, "heartbeat.py", "from . import session"),
        (knowing_importers, "ending.py", "from .session import CrawlSession"),
        (knowing_importers, "http_dates.py", "from .clock import SystemClock"),
        (metrics_importers, "engine.py", "from prometheus_client import Counter"),
        (metrics_importers, "probes.py", "import h11"),
        (pickle_importers, "queue_manager.py", "import pickle"),
        (pickle_importers, "queue_manager.py", "from pickle import loads"),
        (
            pickle_importers,
            "queue_manager.py",
            "import importlib\nimportlib.import_module('pickle')",
        ),
    ],
)
def test_a_breach_is_seen(
    rule: Callable[[list[Module]], list[str]], path: str, source: str
) -> None:
    assert len(rule([made_up(path, source)])) == 1


def test_a_breach_behind_errors_is_seen() -> None:
    found = [
        made_up("core/states.py", "from ..errors import SpecError"),
        made_up("errors.py", "import logging\nfrom .core.taxonomy import Reason"),
        made_up("core/taxonomy.py", "from enum import StrEnum"),
    ]
    assert impure_core(found) == ["errors.py:1 imports logging"]


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (
            impure_core,
            "core/plan.py",
            "from .states import State\nfrom collections.abc import Mapping",
        ),
        (clock_readers, "clock.py", "import time\ntime.time()"),
        (clock_readers, "valkey/keeper.py", "import time\ntime.monotonic()"),
        (clock_readers, "simulator/simulator.py", "import time\ndef f(*, now=time.time): ..."),
        (clock_readers, "session.py", "import asyncio\nasyncio.sleep(0)"),
        (
            clock_readers,
            "session.py",
            "def f(self):\n    self.clock.sleep(1)\n    self.time.time()",
        ),
        (environment_readers, "config.py", "import os\nos.environ"),
        (valkey_importers, "queueing/desk.py", "from ..valkey.task_queue import Lease"),
        (valkey_importers, "queueing/options.py", "from ..valkey.keys import QueueKeys"),
        (valkey_importers, "worker.py", "from .queue_manager import QueueManager"),
        (
            sql_importers,
            "engine.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sqlalchemy",
        ),
    ],
)
def test_what_is_allowed_is_let_through(
    rule: Callable[[list[Module]], list[str]], path: str, source: str
) -> None:
    assert rule([made_up(path, source)]) == []


# -- what really gets loaded ----------------------------------------------------------------------


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import twitor_fsm",
        "from twitor_fsm import CrawlEngine",
        "import twitor_fsm.config",
        "from twitor_fsm import QueueManager; QueueManager()",
    ],
)
def test_the_import_stays_light(code: str) -> None:
    assert loaded_by(code) & HEAVY == set()


def test_a_heavy_import_is_seen() -> None:
    assert loaded_by("import sqlalchemy") & HEAVY == {"sqlalchemy"}


UNIT: Final = Path(__file__).parents[1] / "unit"
SMALL: Final = frozenset({"attrs", "msgspec", "pytest", "tenacity", PACKAGE})
"""What the pure tests may import besides the standard library and each other: the others cost more than the tests."""


def imported_by(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]


def test_the_pure_tests_import_nothing_that_takes_long() -> None:
    files = sorted(UNIT.glob("*.py"))
    known = SMALL | set(sys.stdlib_module_names) | {file.stem for file in files}

    assert len(files) > 10
    assert {file.name: set(imported_by(file)) - known for file in files} == {
        file.name: set() for file in files
    }
