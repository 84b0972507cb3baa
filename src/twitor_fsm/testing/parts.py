"""What is handed to the kit, checked before anything runs: sources, stores, handlers, other functions.

Each refusal names what is missing and what is asked for; without it, a class in place of an instance ends as an
AttributeError somewhere in the middle.
Must not know: what the parts do.
"""

import inspect
from typing import Final

from ..errors import ConfigurationError
from ..plugins import takes
from ..sources.base import Source
from ..storage.base import Store
from .faults import Faults

__all__ = ["HANDLER", "require_faults", "require_function", "require_source", "require_store"]

HANDLER: Final = "a handler: async def handler(item, fence)"
"""What a handler is, for messages."""

_NOTHING: Final = "Nothing was run"


def require_source(source: object, whose: str) -> None:
    """Refuse what is no source.

    Args:
        source: What was handed over.
        whose: To what, for the message.

    Raises:
        ConfigurationError: Names the members that are missing.
    """
    _require(source, Source, whose)


def require_store(store: object, whose: str) -> None:
    """Refuse what is no store, such as the name of a database. Raises `ConfigurationError`."""
    if isinstance(store, str):
        raise ConfigurationError(
            f"{whose} was given the text {store!r:.60}, not a store. Make one of it: SqlStore({store!r:.60}). {_NOTHING}"
        )
    _require(store, Store, whose)


def require_faults(faults: object, whose: str) -> None:
    """Refuse what is no plan as it happens. Raises `ConfigurationError`."""
    if not isinstance(faults, Faults):
        raise ConfigurationError(
            f"{whose} was given {_named(faults)} as its faults. Make them of a plan: Faults(Plan(...)). {_NOTHING}"
        )


def require_function(
    function: object, whose: str, asked: str, *, arguments: int, may_be_class: bool = False
) -> None:
    """Refuse what cannot be called so.

    Args:
        function: What was handed over.
        whose: To what, for the message.
        asked: What is asked for, as one would write it.
        arguments: How many it is called with.
        may_be_class: Whether what a class makes is what is asked for.

    Raises:
        ConfigurationError: Says what was given instead.
    """
    is_right = takes(function, arguments)
    if not is_right or (isinstance(function, type) and not may_be_class):
        if inspect.iscoroutine(function):
            function.close()  # nobody awaits it: that would be told as well
        raise ConfigurationError(f"{whose} was given {_named(function)}, not {asked}. {_NOTHING}")


def _require(part: object, protocol: type, whose: str) -> None:
    kind = protocol.__name__
    asked = {name: of for name, of in vars(protocol).items() if not name.startswith("_")}
    if inspect.isclass(part):
        raise ConfigurationError(
            f"{whose} was given the class {part.__name__}, not a {kind.lower()}. Make one of it: {part.__name__}(...). "
            f"{_NOTHING}"
        )
    missing = [name for name in asked if not hasattr(part, name)]
    if missing:
        raise ConfigurationError(
            f"{whose} was given {_named(part)}, which is no {kind.lower()}: it has no {', '.join(missing)}. "
            f"twitor_fsm.{kind} asks for {', '.join(asked)}. {_NOTHING}"
        )
    methods = [name for name, of in asked.items() if inspect.isfunction(of)]
    values = [name for name in methods if not callable(getattr(part, name))]
    if values:
        raise ConfigurationError(
            f"{whose} was given {_named(part)}, which is no {kind.lower()}: {', '.join(values)} cannot be called. "
            f"twitor_fsm.{kind} asks for methods of these names. {_NOTHING}"
        )


def _named(part: object) -> str:
    if part is None:
        return "None"
    if inspect.isclass(part):
        return f"the class {part.__name__}"
    if inspect.isroutine(part):
        return f"the function {part.__name__}"
    return f"an object of type {type(part).__name__}"
