"""`twitor_fsm` itself: what it exports, read from the source and from the running package."""

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

import twitor_fsm

INIT: Final = Path(twitor_fsm.__file__)


def names_for_type_checkers() -> dict[str, str]:
    """Exported name -> module it is imported from, under TYPE_CHECKING."""
    tree = ast.parse(INIT.read_text("utf-8"))
    (block,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    found: dict[str, str] = {}
    for statement in block.body:
        assert isinstance(statement, ast.ImportFrom), ast.unparse(statement)
        assert statement.level == 1, ast.unparse(statement)
        for alias in statement.names:
            assert alias.asname in (None, alias.name), ast.unparse(statement)
            assert alias.name not in found, f"{alias.name} is imported twice"
            found[alias.name] = statement.module or ""
    return found


def sorting_key(name: str) -> tuple[int, str]:
    """The order that ruff keeps (RUF022): constants, classes, functions, each by name."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


def test_all_is_sorted_and_names_nothing_twice() -> None:
    assert twitor_fsm.__all__ == sorted(set(twitor_fsm.__all__), key=sorting_key)


def test_every_exported_name_has_one_home() -> None:
    homes = [name for names in twitor_fsm._HOMES.values() for name in names]
    assert sorted(homes) == sorted(twitor_fsm.__all__)


def test_type_checkers_see_what_runs() -> None:
    assert names_for_type_checkers() == twitor_fsm._HOME_OF


@pytest.mark.parametrize("name", twitor_fsm.__all__)
def test_a_public_name_is_there_and_has_a_docstring(name: str) -> None:
    value = getattr(twitor_fsm, name)
    assert value is getattr(import_module(f"twitor_fsm.{twitor_fsm._HOME_OF[name]}"), name)

    if inspect.isclass(value) or inspect.isroutine(value):
        assert value.__doc__
        assert not value.__doc__.startswith(f"{name}("), "made by a decorator"
    else:
        assert has_docstring_below(name), f"no text under the assignment of {name}"


def has_docstring_below(constant: str) -> bool:
    """Whether a string stands under the constant's assignment, or a comment above it."""
    module = import_module(f"twitor_fsm.{twitor_fsm._HOME_OF[constant]}")
    body = ast.parse(inspect.getsource(module)).body
    for statement, after in pairwise(body):
        target = statement.target if isinstance(statement, ast.AnnAssign) else None
        if isinstance(target, ast.Name) and target.id == constant:
            return (
                isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            )
    return False


@pytest.mark.parametrize("name", twitor_fsm.__all__)
def test_a_public_name_is_public_at_home_too(name: str) -> None:
    home = import_module(f"twitor_fsm.{twitor_fsm._HOME_OF[name]}")
    assert name in home.__all__


def test_dir_lists_the_public_names() -> None:
    assert dir(twitor_fsm) == sorted(twitor_fsm.__all__)


def test_a_wrong_name_is_refused_as_by_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'twitor_fsm' has no attribute 'CrawlMachine'"):
        getattr(twitor_fsm, "CrawlMachine")  # noqa: B009 - mypy refuses the plain form


def test_a_star_import_brings_all() -> None:
    code = (
        "from twitor_fsm import *; import twitor_fsm; assert set(twitor_fsm.__all__) <= set(dir())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_says_that_it_is_typed() -> None:
    assert files("twitor_fsm").joinpath("py.typed").is_file()
