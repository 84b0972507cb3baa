"""An app's own machine, named at the command line as `MODULE:NAME`.

Must not know: what is done with it.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .failures import Failure

if TYPE_CHECKING:
    from ..core.states import MachineSpec
    from ..errors import JournalRefused

__all__ = ["machine", "machine_of", "refused"]

_F = TypeVar("_F", bound=Callable[..., Any])


def machine(function: _F) -> _F:
    """`--machine`."""
    return click.option(
        "--machine",
        metavar="MODULE:NAME",
        help="An app's own MachineSpec, imported from here.  [default: ours]",
    )(function)


def refused(name: str, error: "JournalRefused", machine: str | None) -> Failure:
    """A journal that its machine does not allow; if that may be another machine, how to name it.

    Args:
        name: What it is the journal of.
        error: What is wrong.
        machine: The name that was given, or None.
    """
    is_other = machine is None and "another table" in error.why
    hint = ". An app's own machine is named with --machine MODULE:NAME" if is_other else ""
    return Failure(f"{name}: {error}{hint}", 1)


def machine_of(name: str | None) -> "MachineSpec":
    """The machine of this name; ours for None. Raises `Failure`."""
    from ..core.states import DEFAULT_SPEC, MachineSpec

    if name is None:
        return DEFAULT_SPEC
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as exc:
        raise Failure(
            f"{name} is no machine ({exc}); nothing was done. Name one as MODULE:NAME, "
            "where MODULE can be imported from here",
            2,
        ) from exc
    if not isinstance(found, MachineSpec):
        raise Failure(f"{name} is a {type(found).__name__}, not a MachineSpec; nothing was done", 2)
    return found
