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

__all__ = ["machine", "machine_of"]

_F = TypeVar("_F", bound=Callable[..., Any])


def machine(function: _F) -> _F:
    """`--machine`."""
    return click.option(
        "--machine",
        metavar="MODULE:NAME",
        help="An app's own MachineSpec, imported from here.  [default: ours]",
    )(function)


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
