"""Changes the core one operator or number at a time, and tells which changes no pure test notices.

`make mutants` runs it over the deciding modules (`MODULES=` takes some of them, by name); a whole run takes a while.
Each change is tried by a process of its own, which imports the changed module in place of the one on disk. The tests run in
one order for all: those that noticed most changes so far come first.
"""

import ast
import copy
import multiprocessing
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs
import hypothesis.strategies
import pytest
import pytest_asyncio
import transitions.core

ROOT: Final = Path(__file__).parents[1]
CORE: Final = ROOT / "src" / "twitor_fsm" / "core"
MODULES: Final = (
    "checkpoint",
    "listing",
    "page",
    "plan",
    "progress",
    "records",
    "recovery",
    "rules",
    "spec",
    "spec_checks",
    "states",
    "taxonomy",
    "values",
)
TESTS: Final = (
    *(f"tests/unit/test_{name}.py" for name in ("plan", "progress", "recovery", "machine")),
    "tests/property/test_recovery_any.py",
    "tests/property/test_walks.py",
    *(f"tests/unit/test_{name}.py" for name in ("check", "error_handler", "diagrams", "replay")),
    "tests/property/test_proof.py",
)
CPU_S: Final = 60
"""Seconds of CPU; a change that takes more counts as noticed: something never ends."""

SWAPS: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
}


@attrs.frozen
class Mutant:
    """One changed module."""

    module: str
    line: int
    what: str
    source: str


def mutants(module: str) -> Iterator[Mutant]:
    """Every change of a module."""
    tree = ast.parse((CORE / f"{module}.py").read_text("utf-8"))
    nodes = list(ast.walk(tree))
    left_alone = {id(inner) for node in nodes for inner in _not_run(node)}
    for number, node in enumerate(nodes):
        if id(node) in left_alone or not _can_change(node):
            continue
        changed = copy.deepcopy(tree)
        target = list(ast.walk(changed))[number]
        _apply(target)
        what = f"{ast.unparse(node)} -> {ast.unparse(target)}"
        yield Mutant(module, getattr(node, "lineno", 0), what, ast.unparse(changed))


def _not_run(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in annotations, what only `repr` shows and how arguments are spelt changes no decision."""
    parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
    if isinstance(node, ast.keyword) and node.arg in {"repr", "kw_only"}:
        parts.append(node.value)
    for part in parts:
        if part is not None:
            yield from ast.walk(part)


def _can_change(node: ast.AST) -> bool:
    match node:
        case ast.Compare(ops=[op]) | ast.BoolOp(op=op) | ast.BinOp(op=op) | ast.AugAssign(op=op):
            return type(op) in SWAPS
        case ast.UnaryOp(op=ast.Not()) | ast.IfExp() | ast.Constant(value=bool() | int() | float()):
            return True
        case ast.Call(func=ast.Name(id="min" | "max")):
            return True
    return False


def _apply(node: ast.AST) -> None:
    changed: Any = node
    match node:
        case ast.Compare(ops=[op]):
            changed.ops = [SWAPS[type(op)]()]
        case ast.BoolOp(op=op) | ast.BinOp(op=op) | ast.AugAssign(op=op):
            changed.op = SWAPS[type(op)]()
        case ast.UnaryOp(operand=operand):
            changed.operand = ast.UnaryOp(ast.Not(), operand)
        case ast.IfExp(body=body, orelse=orelse):
            changed.body, changed.orelse = orelse, body
        case ast.Constant(value=bool(value)):
            changed.value = not value
        case ast.Constant(value=int(value) | float(value)):
            changed.value = value + 1
        case ast.Call(func=ast.Name(id=name)):
            changed.func.id = "max" if name == "min" else "min"


class Changed(MetaPathFinder, InspectLoader):
    """Imports the changed module in place of the one on disk."""

    def __init__(self, mutant: Mutant) -> None:
        """Nothing is imported yet."""
        self._name = f"twitor_fsm.core.{mutant.module}"
        self._source = mutant.source

    def put_in_place(self) -> None:
        """Import it now: pytest, whose own finder comes first, rewrites what it imports."""
        sys.meta_path.insert(0, self)
        import_module(self._name)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Of this module alone."""
        return spec_from_loader(fullname, self) if fullname == self._name else None

    def get_source(self, fullname: str) -> str:
        """Changed."""
        return self._source


class Noticing:
    """A plugin of pytest: who noticed, and who shall be asked first."""

    def __init__(self, noticed: Counter[str]) -> None:
        """Nobody did yet."""
        self._noticed = noticed
        self.by = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Stable: among equals, the order of `TESTS`."""
        items.sort(key=lambda item: -self._noticed[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One failure is enough."""
        if report.failed:
            self.by = self.by or report.nodeid


def _try(mutant: Mutant, noticed: Counter[str], told: Connection) -> None:
    """In a process of its own: tell who notices the change, or send an empty string."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    noticing = Noticing(noticed)
    try:
        Changed(mutant).put_in_place()
    except BaseException as error:
        told.send(f"import: {error!r}")
        raise
    options = ("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-profile=ci")
    already = ("-W", "ignore::pytest.PytestAssertRewriteWarning")  # `PRELOADED`
    status = pytest.main([*options, *already, *TESTS], plugins=[noticing])
    told.send(noticing.by or (f"pytest: {status!r}" if status else ""))
    told.close()
    os._exit(0)


PRELOADED: Final = (hypothesis.strategies, pytest, pytest_asyncio, transitions.core)
"""What every try needs is imported once; each try is a fork, in which the package is not imported yet."""


@attrs.frozen(eq=False)
class Try:
    """A change that is being tried."""

    mutant: Mutant
    process: multiprocessing.process.BaseProcess
    hears: Connection

    @classmethod
    def start(cls, mutant: Mutant, noticed: Counter[str]) -> "Try":
        """Fork."""
        fork = multiprocessing.get_context("fork")
        hears, told = fork.Pipe(duplex=False)
        process = fork.Process(target=_try, args=(mutant, noticed, told))
        process.start()
        told.close()
        return cls(mutant, process, hears)

    def noticed_by(self) -> str:
        """Waits for the end; a process that dies, or never ends, is noticed too."""
        try:
            by = str(self.hears.recv())
        except EOFError:
            by = "its end"
        self.process.join()
        self.hears.close()
        return by


def tries(todo: Sequence[Mutant], workers: int) -> Iterator[tuple[Mutant, str]]:
    """Every change and who noticed it, as they come."""
    noticed: Counter[str] = Counter()
    waiting = list(reversed(todo))
    running: list[Try] = []
    while waiting or running:
        while waiting and len(running) < workers:
            running.append(Try.start(waiting.pop(), noticed))
        ready = wait([one.hears for one in running])
        for one in [one for one in running if one.hears in ready]:
            running.remove(one)
            by = one.noticed_by()
            noticed[by] += 1
            yield one.mutant, by


def works() -> bool:
    """Whether the tests pass without a change, and see one that nobody could miss."""
    unchanged = Mutant("plan", 0, "nothing", (CORE / "plan.py").read_text("utf-8"))
    broken = attrs.evolve(unchanged, source="raise SystemExit(3)")
    return [bool(by) for _, by in tries([unchanged, broken], workers=1)] == [False, True]


def main(wanted: Sequence[str], workers: int, minutes: float) -> int:
    """Try changes in random order until all, or the minutes, are through; name those that nobody noticed."""
    os.chdir(ROOT)
    todo = [mutant for module in wanted for mutant in mutants(module)]
    random.Random(1).shuffle(todo)
    ends_at = time.monotonic() + 60 * minutes
    if not works():
        print("the tests fail without any change, or see none: nothing was tried")
        return 1
    tried = survived = 0
    for mutant, by in tries(todo, workers):
        tried += 1
        if not by:
            survived += 1
            print(f"not noticed: {mutant.module}.py:{mutant.line}  {mutant.what}", flush=True)
        if tried % 25 == 0:
            print(f"{tried} of {len(todo)} changes tried", flush=True)
        if time.monotonic() > ends_at:
            break
    print(f"{tried} of {len(todo)} changes tried, {survived} of them not noticed")
    return 0


if __name__ == "__main__":
    named = [name for name in sys.argv[1:] if name in MODULES]
    limits = [float(word) for word in sys.argv[1:] if word not in MODULES]
    workers = int(os.environ.get("WORKERS", "2"))
    sys.exit(main(named or MODULES, workers, minutes=limits[0] if limits else 600.0))
