"""Fault plans as TOML: files of the user, and the presets that come with the package.

Must not know: what a fault does.
"""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from twitor_fsm.errors import ConfigurationError

from .faults import OPTIONS, EarlyEnd, Fault, FaultKind, FaultPlan, ItemFault

__all__ = ["PRESETS", "parse_plan", "read_plan", "read_preset"]

PRESETS: Final = ("none", "typical", "hostile")

_COMMON: Final = ("kind", "at", "probability", "times", "endpoint")
_TABLES: Final = ("early_end", "fault", "item")
_T = TypeVar("_T")


def read_preset(name: str) -> FaultPlan:
    """Read one of `PRESETS`; raises ConfigurationError for another name."""
    if name not in PRESETS:
        raise ConfigurationError(f"no fault preset {name!r}; the presets are {', '.join(PRESETS)}")
    return parse_plan((files(__package__) / "presets" / f"{name}.toml").read_text(), name)


def read_plan(path_or_preset: str | Path) -> FaultPlan:
    """Read a preset by its name or a TOML file by its path.

    Raises:
        ConfigurationError: It cannot be read, or says something that is not understood.
    """
    if str(path_or_preset) in PRESETS:
        return read_preset(str(path_or_preset))
    path = Path(path_or_preset)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(
            f"the fault plan {str(path)!r} cannot be read ({exc.__class__.__name__}); "
            f"give a TOML file or one of the presets {', '.join(PRESETS)}"
        ) from exc
    return parse_plan(text, path.name)


def parse_plan(text: str, name: str) -> FaultPlan:
    """Turn TOML into a plan.

    Args:
        text: The TOML.
        name: What error messages call it.

    Raises:
        ConfigurationError: Names the key, what was seen and what is understood.
    """
    try:
        told = tomllib.loads(text)
    except ValueError as exc:  # a number of thousands of digits is one, too
        raise ConfigurationError(f"{name} is not valid TOML: {exc}") from exc
    except RecursionError as exc:
        raise ConfigurationError(f"{name} is nested too deeply to be a fault plan") from exc
    plain = [
        field.name
        for field in attrs.fields(FaultPlan)
        if field.name not in ("faults", "items", "early_end")
    ]
    _refuse_unknown(told, [*plain, *_TABLES], name)
    early_end = told.pop("early_end", None)
    faults = _tables(told.pop("fault", []), f"{name}: fault")
    items = _tables(told.pop("item", []), f"{name}: item")
    return _build(
        FaultPlan,
        {
            **told,
            "early_end": None
            if early_end is None
            else _read_early_end(early_end, f"{name}: early_end"),
            "faults": tuple(_read_fault(fault, where) for where, fault in faults),
            "items": tuple(_read_item(item, where) for where, item in items),
        },
        name,
    )


def _read_fault(told: dict[str, Any], where: str) -> Fault:
    kind = told.get("kind")
    options = OPTIONS.get(FaultKind(kind), ()) if kind in list(FaultKind) else ()
    if kind in list(FaultKind):
        _refuse_unknown(told, [*_COMMON, *options], f"{where} ({kind})")
    return _build(Fault, told, where)


def _read_item(told: dict[str, Any], where: str) -> ItemFault:
    _refuse_unknown(told, [field.name for field in attrs.fields(ItemFault)], where)
    return _build(ItemFault, told, where)


def _read_early_end(told: object, where: str) -> EarlyEnd:
    if not isinstance(told, dict):
        raise ConfigurationError(
            f"{where} = {told!r} is not understood; it must be a table: [early_end]"
        )
    _refuse_unknown(told, [field.name for field in attrs.fields(EarlyEnd)], where)
    return _build(EarlyEnd, told, where)


def _tables(told: object, where: str) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(told, list) or not all(isinstance(table, dict) for table in told):
        word = where.rpartition(" ")[2]
        raise ConfigurationError(
            f"{where} = {told!r} is not understood; it must be an array of tables: [[{word}]]"
        )
    return [(f"{where} {place}", table) for place, table in enumerate(told, start=1)]


def _refuse_unknown(told: dict[str, Any], known: list[str], where: str) -> None:
    for key in told:
        if key not in known:
            raise ConfigurationError(
                f"{where}: unknown key {key!r}; understood are {', '.join(known)}"
            )


def _build(kind: type[_T], told: dict[str, Any], where: str) -> _T:
    try:
        return kind(**told)
    except ConfigurationError as exc:
        raise ConfigurationError(f"{where}: {exc}") from exc
    except TypeError as exc:  # a required key is absent
        raise ConfigurationError(f"{where}: the key 'kind' is missing") from exc
