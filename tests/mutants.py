"""Changes the core one operator or number at a time, and tells which changes no pure test notices.

`make mutants` runs it over the deciding modules (`MODULES=` takes some of them, by name); a whole run takes a while.
Each change is tried in a process of its own, forked before the core is imported, with the tests in the order in which
they are likely to notice.
"""

import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs

ROOT: Final = Path(__file__).parents[1]
CORE: Final = ROOT / "src" / "twitor_fsm" / "core"
MODULES: Final = (
    "listing",
    "page",
    "plan",
    "progress",
    "recovery",
    "spec",
    "spec_checks",
    "states",
)
TESTS: Final = (
    *(
        f"tests/unit/test_{name}.py"
        for name in ("plan", "progress", "recovery", "machine", "walks")
    ),
    *(f"tests/unit/test_{name}.py" for name in ("check", "error_handler", "diagrams", "replay")),
    "tests/property/test_proof.py",
)
SECONDS: Final = 180
"""A change that runs longer counts as noticed: something never ends."""

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
    """What stands in annotations and docstrings changes nothing."""
    annotations = [getattr(node, "annotation", None), getattr(node, "returns", None)]
    for annotation in annotations:
        if annotation is not None:
            yield from ast.walk(annotation)


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


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the changed source in place of the module's own."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = f"twitor_fsm.core.{mutant.module}"
        self._path = str(CORE / f"{mutant.module}.py")
        self._source = mutant.source

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, self._path, "exec"), module.__dict__)


def begin(mutant: Mutant) -> int:
    """Try a change in a process of its own; its exit code is not 0 if a test notices."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(SECONDS)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    sys.meta_path.insert(0, _Changed(mutant))
    code: int = 1
    try:
        import pytest

        code = int(pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *TESTS]))
    finally:
        os._exit(code)


def main(wanted: Sequence[str], workers: int, at_most: int, budget_s: float) -> int:
    """Try changes until all, or `budget_s`, are through; print those that nobody noticed."""
    os.chdir(ROOT)
    unchanged = Mutant("plan", 0, "nothing", (CORE / "plan.py").read_text("utf-8"))
    if os.waitpid(begin(unchanged), 0)[1] != 0:
        print("the tests fail without any change: nothing was tried")
        return 1
    todo = [mutant for module in wanted for mutant in mutants(module)]
    total = len(todo)
    random.Random(1).shuffle(todo)
    todo = todo[:at_most]
    running: dict[int, Mutant] = {}
    survivors: list[Mutant] = []
    done, began = 0, time.monotonic()
    while todo or running:
        if time.monotonic() - began > budget_s:
            todo = []
        while todo and len(running) < workers:
            mutant = todo.pop()
            running[begin(mutant)] = mutant
        if not running:
            break
        pid, status = os.wait()
        mutant = running.pop(pid)
        done += 1
        if status == 0:
            survivors.append(mutant)
            print(f"not noticed: {mutant.module}.py:{mutant.line}  {mutant.what}", flush=True)
    print(f"{done} of {total} changes tried, {done - len(survivors)} noticed, {len(survivors)} not")
    return 0


if __name__ == "__main__":
    named = [name for name in sys.argv[1:] if name in MODULES]
    limits = [float(word) for word in sys.argv[1:] if word not in MODULES]
    minutes = limits[0] if limits else 600.0
    sys.exit(main(named or MODULES, workers=2, at_most=100_000, budget_s=60 * minutes))
