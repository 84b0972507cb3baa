"""The exceptions that are known, by name: "httpx.ReadError" is the class `ReadError` of the package httpx.

By name, so that none of these libraries is imported here and `import twitor_fsm` stays light.
Must not know: which of several classes applies, what is done about an error.
"""

from collections.abc import Mapping
from typing import Final

from .case import Rule
from .databases import DATABASES
from .http import HTTPX, OTHER_CLIENTS
from .own import OWN
from .system import SYSTEM
from .valkey import REDIS

__all__ = ["RULES"]

RULES: Final[Mapping[str, Rule]] = {
    **{f"twitor_fsm.{name}": rule for name, rule in OWN.items()},
    **SYSTEM,
    **{
        f"{package}.{name}": rule for package in ("httpx", "httpx2") for name, rule in HTTPX.items()
    },
    **OTHER_CLIENTS,
    **{
        f"{package}.{name}": rule for package in ("redis", "valkey") for name, rule in REDIS.items()
    },
    **DATABASES,
}
"""Class, as package and qualified name, to what it means."""
