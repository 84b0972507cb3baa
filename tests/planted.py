"""Known-bad variants of the engine: each is a fault that somebody could have written, and that a suite must catch.

`pytest --planted NAME` switches one on for the whole run, so that it can be seen going red.
"""

from collections.abc import Callable
from typing import Any, Final

import attrs
import pytest

from twitor_fsm.core.states import State, Step, Trigger

__all__ = ["PLANTED", "Planted"]


@attrs.frozen
class Planted:
    """One fault.

    Attributes:
        name: Its name on the command line.
        sentence: What it does wrong.
        caught_by: The layer that must catch it; see `test_planted.py`.
        apply: Puts it into the running code.
    """

    name: str
    sentence: str
    caught_by: str
    apply: Callable[[pytest.MonkeyPatch], None]


PLANTED: Final[dict[str, Planted]] = {}


def planted(
    sentence: str, *, caught_by: str
) -> Callable[[Callable[[pytest.MonkeyPatch], None]], Callable[[pytest.MonkeyPatch], None]]:
    """Register a fault under its function's name."""

    def register(apply: Callable[[pytest.MonkeyPatch], None]) -> Any:
        name = apply.__name__
        PLANTED[name] = Planted(name, sentence, caught_by, apply)
        return apply

    return register


# -- session and steps ----------------------------------------------------------------------------


@planted(
    "a rate-limit pause writes the state and leaves the handled items behind", caught_by="sequences"
)
def pause_without_save(patch: pytest.MonkeyPatch) -> None:
    from twitor_fsm.steps import Steps

    commit_step = Steps._commit_step

    async def without_save(self: Any, step: Step, facts: Any) -> None:
        if step.session.state == State.PAUSED_RATE_LIMIT:
            await self._commit_value(step, facts)
        else:
            await commit_step(self, step, facts)

    patch.setattr(Steps, "_commit_step", without_save)


@planted("a cancel is taken out of the inbox and forgotten", caught_by="sequences")
def cancel_swallowed(patch: pytest.MonkeyPatch) -> None:
    from twitor_fsm.inbox import Inbox

    put = Inbox.put

    def forgetful(self: Any, event: Any) -> None:
        if event.trigger != Trigger.CANCEL:
            put(self, event)

    patch.setattr(Inbox, "put", forgetful)
