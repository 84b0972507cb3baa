"""Carries out an app's own effects: when the commit that made their step true has taken place, each within its time.

Must not know: what an effect means, when a step is committed. An effect's failure is logged, never raised.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from .cleanup import run_within
from .core.states import MachineSpec, Step
from .errors import ConfigurationError
from .log_facts import logger_of

__all__ = ["Action", "Effects", "check_actions"]

_LOG: Final = logger_of("twitor_fsm.session")

Action = Callable[[Step], Awaitable[None]]
"""What an app does about a step."""


class Effects:
    """The effects of one session's steps."""

    def __init__(
        self,
        actions: Mapping[str, Action],
        *,
        timeout_s: float,
        extra: Mapping[str, str | None],
    ) -> None:
        """Prepare.

        Args:
            actions: By the effects' names; an effect without one is none of ours.
            timeout_s: Limit of each, seconds.
            extra: session_id, user_id and operation, for log records.
        """
        self._actions: Final = actions
        self._timeout_s: Final = timeout_s
        self._extra: Final = extra
        self._riding: Final[list[Step]] = []

    def ride(self, step: Step) -> None:
        """The step will be true with the next commit."""
        if step.effects:
            self._riding.append(step)

    def drop_riding(self) -> None:
        """What rides will never be true."""
        self._riding.clear()

    async def carry_out(self, step: Step | None = None) -> None:
        """The step (or none) is durable, and so are those that rode."""
        steps = [*self._riding, *([step] if step is not None else [])]
        self._riding.clear()
        for each in steps:
            for name in each.effects:
                if name in self._actions:
                    await self._act(name, each)

    async def _act(self, name: str, step: Step) -> None:
        action = partial(self._actions[name], step)
        problem = await run_within(action, f"effect {name}", self._timeout_s)
        if problem is not None:
            _LOG.error(
                "%s; the session goes on", problem, exc_info=problem.error, extra=self._extra
            )


def check_actions(actions: Mapping[str, Action], spec: MachineSpec) -> None:
    """Refuse actions that would never be called, or cannot be.

    Raises:
        ConfigurationError: One is named after no effect of the table, or is not callable.
    """
    for name, action in actions.items():
        if name not in spec.effects:
            raise ConfigurationError(
                f"the machine has no effect {name!r}; nothing was started. It has: {', '.join(sorted(spec.effects))}"
            )
        if not callable(action):
            raise ConfigurationError(
                f"the action of effect {name!r} is a {type(action).__name__}; nothing was started. "
                "It must be a coroutine function of one Step"
            )
