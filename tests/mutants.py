"""Changes the core one operator or number at a time, and tells which changes no pure test notices.

`make mutants` runs it over the deciding modules (`MODULES=` takes some of them, by name); a whole run takes a while.
Each change is tried in a copy of the package, by a process of its own, with the tests in the order in which they are likely
to notice.
"""

import ast
import copy
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any, Final

import attrs

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


def try_out(mutant: Mutant, copy_of_src: Path) -> bool:
    """Whether a test notices the change, made in this copy of the package."""
    file = copy_of_src / "twitor_fsm" / "core" / f"{mutant.module}.py"
    before = file.read_text("utf-8")
    file.write_text(mutant.source, "utf-8")
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-x",
                "-q",
                "-n",
                "0",
                "-p",
                "no:cacheprovider",
                *TESTS,
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(copy_of_src), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            check=False,
            preexec_fn=_bounded,
        )
    finally:
        file.write_text(before, "utf-8")
    return done.returncode != 0


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))


def works(copy_of_src: Path) -> bool:
    """Whether the tests pass without a change, and see one that nobody could miss."""
    unchanged = Mutant("plan", 0, "nothing", (CORE / "plan.py").read_text("utf-8"))
    return not try_out(unchanged, copy_of_src) and try_out(
        attrs.evolve(unchanged, source="raise SystemExit(3)"), copy_of_src
    )


def main(wanted: Sequence[str], workers: int, minutes: float) -> int:
    """Try changes in random order until all, or the minutes, are through; name those that nobody noticed."""
    todo = [mutant for module in wanted for mutant in mutants(module)]
    random.Random(1).shuffle(todo)
    ends_at = time.monotonic() + 60 * minutes
    copies: Queue[Path] = Queue()
    tried: list[bool] = []

    def one(mutant: Mutant) -> None:
        if time.monotonic() > ends_at:
            return
        place = copies.get()
        noticed = try_out(mutant, place)
        copies.put(place)
        tried.append(noticed)
        if len(tried) % 25 == 0:
            print(f"{len(tried)} of {len(todo)} changes tried", flush=True)
        if not noticed:
            print(f"not noticed: {mutant.module}.py:{mutant.line}  {mutant.what}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        for number in range(workers):
            place = Path(folder, str(number))
            shutil.copytree(ROOT / "src", place, ignore=shutil.ignore_patterns("__pycache__"))
            copies.put(place)
        if not works(Path(folder, "0")):
            print("the tests fail without any change, or see none: nothing was tried")
            return 1
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(one, todo))
    print(f"{len(tried)} of {len(todo)} changes tried, {tried.count(False)} of them not noticed")
    return 0


if __name__ == "__main__":
    named = [name for name in sys.argv[1:] if name in MODULES]
    limits = [float(word) for word in sys.argv[1:] if word not in MODULES]
    workers = int(os.environ.get("WORKERS", "2"))
    sys.exit(main(named or MODULES, workers, minutes=limits[0] if limits else 600.0))
