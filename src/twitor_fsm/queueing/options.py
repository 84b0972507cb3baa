"""What an app chose for its queue: each value is checked here once, and trusted from then on.

Must not know: the environment (`config.py`), what the values bring about.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

import attrs

from ..config import Settings
from ..valkey.keys import QueueKeys
from .arguments import check_number, check_whole, check_word

__all__ = ["QueueOptions"]

MIB: Final = 1024 * 1024

_Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _number(low: float, high: float) -> _Validator:
    return lambda _, field, value: check_number(field.name, value, low, high)


def _whole(low: int, high: int) -> _Validator:
    return lambda _, field, value: check_whole(field.name, value, low, high)


def _word(*allowed: str) -> _Validator:
    return lambda _, field, value: check_word(field.name, value, allowed)


def _queue_name(_: Any, __: "attrs.Attribute[Any]", value: str) -> None:
    QueueKeys(value)


@attrs.frozen(kw_only=True)
class QueueOptions:
    """The arguments of a `QueueManager`; what they mean is said there.

    Raises:
        ConfigurationError: One of them is out of its range.
    """

    settings: Settings
    queue_name: str = attrs.field(validator=_queue_name)
    lease_s: float = attrs.field(validator=_number(0.05, 86_400))
    max_size: int | None = attrs.field(validator=attrs.validators.optional(_whole(1, 10**12)))
    max_payload_bytes: int = attrs.field(validator=_whole(2, 64 * MIB))
    max_dead_letters: int = attrs.field(validator=_whole(0, 10**9))
    when_full: Literal["refuse", "block"] = attrs.field(validator=_word("refuse", "block"))
    ack: Literal["auto", "manual"] = attrs.field(validator=_word("auto", "manual"))

    @property
    def is_blocking(self) -> bool:
        """Whether an enqueue waits for room in a full queue."""
        return self.when_full == "block"

    @property
    def is_implicit(self) -> bool:
        """Whether taking the next task acknowledges the one before."""
        return self.ack == "auto"

    @property
    def has_bell(self) -> bool:
        """Whether a connection is left to wait for a ring."""
        return self.settings.valkey_max_connections > 1
