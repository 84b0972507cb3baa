"""Known-bad variants of the engine: each is a fault that somebody could have written, and that a suite must catch.

`pytest --planted NAME` switches one on for the whole run, so that it can be seen going red. Those of the core come from
`unit/planted_core.py`, where the explorer catches them; those of session, steps, ledger and store are here.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from twitor_fsm.core.states import Durability, State, Step, Trigger
from twitor_fsm.storage.base import Batch

sys.path.insert(0, str(Path(__file__).parent / "unit"))

import planted_core

__all__ = ["PLANTED", "Planted"]

Apply = Callable[[pytest.MonkeyPatch], None]


@attrs.frozen
class Planted:
    """One fault.

    Attributes:
        name: Its name on the command line.
        place: The part of the engine that it is in.
        sentence: What it does wrong.
        caught_by: The layers that must catch it, each by itself; see `property/test_planted.py`.
        apply: Puts it into the running code.
    """

    name: str
    place: str
    sentence: str
    caught_by: tuple[str, ...]
    apply: Apply


PLANTED: Final[dict[str, Planted]] = {}


def planted(place: str, sentence: str, *caught_by: str) -> Callable[[Apply], Apply]:
    """Register a fault under its function's name."""

    def register(apply: Apply) -> Apply:
        name = apply.__name__
        PLANTED[name] = Planted(name, place, sentence, caught_by, apply)
        return apply

    return register


# -- session, inbox -------------------------------------------------------------------------------


@planted("session", "a cancel is taken out of the inbox and forgotten", "sequences")
def cancel_forgotten(patch: pytest.MonkeyPatch) -> None:
    from twitor_fsm.inbox import Inbox

    put = Inbox.put

    def forgetful(self: Any, event: Any) -> None:
        if event.trigger != Trigger.CANCEL:
            put(self, event)

    patch.setattr(Inbox, "put", forgetful)


@planted("session", "cleanup tasks are not run when a session ends early", "sequences")
def cleanup_left_out(patch: pytest.MonkeyPatch) -> None:
    from twitor_fsm.session import CrawlSession

    async def nothing(self: Any) -> None:
        """Leave them alone."""

    patch.setattr(CrawlSession, "_run_cleanup", nothing)


@planted(
    "session", "a session that lost its lease goes on as if nothing had happened", "simulation"
)
def loss_not_believed(patch: pytest.MonkeyPatch) -> None:
    from twitor_fsm.errors import LeaseLost
    from twitor_fsm.ledger import Ledger

    write = Ledger.write

    async def unbelieving(self: Any, value: Any, *args: Any, **options: Any) -> Any:
        try:
            return await write(self, value, *args, **options)
        except LeaseLost:
            self.value = self.durable = value
            return None

    patch.setattr(Ledger, "write", unbelieving)


# -- steps ----------------------------------------------------------------------------------------


def _commits_only_the_state_of(patch: pytest.MonkeyPatch, state: State) -> None:
    from twitor_fsm.steps import Steps

    commit_step = Steps._commit_step

    async def without_items(self: Any, step: Step, facts: Any) -> None:
        if step.session.state == state:
            await self._commit_value(step, facts)
        else:
            await commit_step(self, step, facts)

    patch.setattr(Steps, "_commit_step", without_items)


@planted("steps", "a rate-limit pause leaves handled items behind", "sequences", "simulation")
def pause_leaves_items_behind(patch: pytest.MonkeyPatch) -> None:
    _commits_only_the_state_of(patch, State.PAUSED_RATE_LIMIT)


@planted("steps", "giving up after the last retry leaves handled items behind", "sequences")
def abort_leaves_items_behind(patch: pytest.MonkeyPatch) -> None:
    _commits_only_the_state_of(patch, State.ABORTING)


@planted("steps", "a failed authentication saves what was handled", "sequences", "simulation")
def auth_saves_its_buffer(patch: pytest.MonkeyPatch) -> None:
    from twitor_fsm.machine import Machine

    step = Machine.step

    def saving(self: Any, session: Any, trigger: str, facts: Any) -> Step:
        taken = step(self, session, trigger, facts)
        is_auth = trigger == Trigger.AUTH_FAILED and taken.durability is Durability.ALONE
        return attrs.evolve(taken, durability=Durability.AT_ONCE) if is_auth else taken

    patch.setattr(Machine, "step", saving)


@planted("steps", "a success leaves the tries of the failures before it", "sequences")
def tries_not_reset(patch: pytest.MonkeyPatch) -> None:
    from twitor_fsm.machine import Machine

    step = Machine.step

    def remembering(self: Any, session: Any, trigger: str, facts: Any) -> Step:
        taken = step(self, session, trigger, facts)
        if trigger != Trigger.RECOVERED or taken.journal is None:
            return taken
        value = attrs.evolve(taken.session, tries=session.tries)
        return attrs.evolve(
            taken, session=value, journal=attrs.evolve(taken.journal, tries=session.tries)
        )

    patch.setattr(Machine, "step", remembering)


# -- ledger ---------------------------------------------------------------------------------------


@planted("ledger", "the last new item of a batch is not written", "sequences", "simulation")
def last_item_forgotten(patch: pytest.MonkeyPatch) -> None:
    from twitor_fsm.ledger import Contents

    rows = Contents.rows

    def forgetful(self: Any, *args: Any) -> Any:
        found = rows(self, *args)
        return attrs.evolve(found, new=found.new[:-1])

    patch.setattr(Contents, "rows", forgetful)


@planted("ledger", "an item gets the handler's result of the one before it", "handler contract")
def results_shifted(patch: pytest.MonkeyPatch) -> None:
    from twitor_fsm.ledger import Contents

    rows = Contents.rows

    def shifted(self: Any, *args: Any) -> Any:
        found = rows(self, *args)
        results = [None, *(new.result for new in found.new)]
        pairs = zip(found.new, results, strict=False)
        return attrs.evolve(found, new=tuple(attrs.evolve(n, result=r) for n, r in pairs))

    patch.setattr(Contents, "rows", shifted)


@planted("ledger", "steps that ride are written although AUTH dropped their items", "sequences")
def riding_kept_after_auth(patch: pytest.MonkeyPatch) -> None:
    from twitor_fsm.ledger import Ledger

    write = Ledger.write

    async def keeping(self: Any, *args: Any, **options: Any) -> str | None:
        return await write(self, *args, **{**options, "alone": False})

    patch.setattr(Ledger, "write", keeping)


def _outcome(patch: pytest.MonkeyPatch, *, is_written: bool) -> None:
    from twitor_fsm.ledger import Ledger

    async def assume(self: Any) -> bool:
        return is_written

    patch.setattr(Ledger, "_is_written", assume)


@planted("ledger", "a commit whose answer is lost counts as written", "sequences", "simulation")
def lost_answer_is_success(patch: pytest.MonkeyPatch) -> None:
    _outcome(patch, is_written=True)


@planted("ledger", "a commit whose answer is lost counts as not written", "sequences")
def lost_answer_is_failure(patch: pytest.MonkeyPatch) -> None:
    _outcome(patch, is_written=False)


# -- store ----------------------------------------------------------------------------------------


def _writes(patch: pytest.MonkeyPatch, change: Callable[[Batch], Batch]) -> None:
    """The store writes a batch that was changed on its way."""
    from twitor_fsm.storage.store import SqlStore

    commit = SqlStore.commit

    async def changed(self: Any, batch: Batch) -> str | None:
        return await commit(self, change(batch))

    patch.setattr(SqlStore, "commit", changed)


@planted("store", "a skipped item is not kept", "sequences", "simulation", "store contract")
def skip_not_kept(patch: pytest.MonkeyPatch) -> None:
    _writes(patch, lambda batch: attrs.evolve(batch, skips=()))


@planted("store", "a used-up rate limit is forgotten", "store contract")
def closed_limit_forgotten(patch: pytest.MonkeyPatch) -> None:
    _writes(patch, lambda batch: attrs.evolve(batch, closed=()))


@planted("store", "a commit does not look at the fence", "simulation", "store contract")
def fence_ignored(patch: pytest.MonkeyPatch) -> None:
    from twitor_fsm.storage.store import SqlStore

    commit = SqlStore.commit

    async def unfenced(self: Any, batch: Batch) -> str | None:
        fence = (await self.session(batch.session_id)).fence
        return await commit(self, attrs.evolve(batch, fence=fence, revision=None))

    patch.setattr(SqlStore, "commit", unfenced)


@planted("store", "a commit does not look at the revision", "store contract")
def revision_ignored(patch: pytest.MonkeyPatch) -> None:
    _writes(patch, lambda batch: attrs.evolve(batch, revision=None))


@planted("store", "a heartbeat renews a lease that another owner has", "store contract")
def heartbeat_after_loss(patch: pytest.MonkeyPatch) -> None:
    from twitor_fsm.storage.store import SqlStore

    heartbeat = SqlStore.heartbeat

    async def unfenced(self: Any, session_id: str, fence: int, **when: Any) -> str | None:
        fence = (await self.session(session_id)).fence
        return await heartbeat(self, session_id, fence, **when)

    patch.setattr(SqlStore, "heartbeat", unfenced)


@planted("store", "a session of a living owner is taken over", "store contract")
def living_owner_robbed(patch: pytest.MonkeyPatch) -> None:
    from twitor_fsm.storage.store import SqlStore

    claim = SqlStore.claim

    async def robbing(self: Any, *args: Any, **options: Any) -> Any:
        return await claim(self, *args, **{**options, "is_gone": lambda _: True})

    patch.setattr(SqlStore, "claim", robbing)


@planted("store", "nothing is known of any id", "sequences", "store contract")
def lookup_knows_nothing(patch: pytest.MonkeyPatch) -> None:
    from twitor_fsm.storage.store import SqlStore

    async def nothing(self: Any, crawl: Any, keys: Any) -> dict[str, Any]:
        return {}

    patch.setattr(SqlStore, "lookup", nothing)


# -- core: the explorer's own variants, put into the running engine ---------------------------------


def _apply_core(replacement: Callable[[], Mapping[str, Any]]) -> Apply:
    def apply(patch: pytest.MonkeyPatch) -> None:
        from twitor_fsm import engine, machine, session
        from twitor_fsm.core import plan as ops

        for name, value in replacement().items():
            match name:
                case "spec":
                    bad = machine.machine_for(value)
                    patch.setattr(engine, "machine_for", lambda _, bad=bad: bad)
                case "step":
                    patch.setattr(machine.Machine, "step", lambda _, *args, f=value: f(*args))
                case "plan":
                    patch.setattr(ops, "plan", value)
                case "decide":
                    defaults = engine.CrawlEngine.__init__.__kwdefaults__ or {}
                    patch.setitem(defaults, "policy", value)
                case "begin":
                    patch.setattr(session, "begin", value)
                case _:
                    raise ValueError(f"nobody knows where to put {name!r}")

    return apply


for _name, (_sentence, _replacement) in planted_core.PLANTED.items():
    _key = f"core:{_name}"
    PLANTED[_key] = Planted(_key, "core", _sentence, ("explorer",), _apply_core(_replacement))
