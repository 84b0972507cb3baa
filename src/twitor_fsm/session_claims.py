"""How a process gets a session of a crawl: a new one, or one that nobody runs any more; and how it lets go of one.

Must not know: how a session runs.
"""

import asyncio
import itertools
from typing import Any, Final

import attrs
from uuid_utils import uuid7

from .clock import Clock
from .config import Settings
from .core.records import Claim, CrawlKey
from .core.states import Facts, Kind, SessionValue, Trigger
from .core.taxonomy import Reason
from .errors import ConfigurationError, CrawlOwned, TwitorError
from .inbox import end_task
from .log_facts import logger_of
from .machine import Machine
from .ownership import is_gone, this_process
from .sources.base import InvalidRaw, Item, Page, Source
from .storage.base import Batch, Store

__all__ = ["NoSource", "SessionClaims"]

_LOG: Final = logger_of("twitor_fsm.engine")

_RESERVE_TRIES: Final = 50
_RESERVE_PAUSE_S: Final = 0.2
"""How often, and how many seconds apart, a reservation looks again at a crawl whose row somebody holds: 10 s in all."""


@attrs.frozen
class SessionClaims:
    """Claims of one engine."""

    store: Store
    clock: Clock
    machine: Machine
    settings: Settings

    async def claim(self, crawl: CrawlKey, run_id: str, source: Source) -> Claim:
        """Our session: a new one, or one found without a living owner.

        A caller who is cancelled meanwhile leaves no lease that others would have to wait for.

        Raises:
            CrawlOwned: The crawl runs in another process.
            ConfigurationError: It is in a state that this machine does not have.
        """
        claiming = asyncio.create_task(self._claim(crawl, run_id, source))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            try:
                await asyncio.wait({claiming}, timeout=self.settings.shutdown_timeout_s)
            finally:
                await end_task(claiming)
            if claiming.done() and not claiming.cancelled() and claiming.exception() is None:
                await self._give_back(claiming.result())
            raise

    async def reserve(self, crawl: CrawlKey, source: Source) -> str | None:
        """Make a crawl's session for whoever comes first; see `CrawlEngine.reserve`."""
        tries = itertools.count(1)
        while True:
            for record in await self.store.sessions(crawl=crawl):
                if record.ended_at is None:
                    return None
            try:
                claim = await self._ask(crawl, str(uuid7()), source, lease_s=0.0)
            except CrawlOwned as owned:
                if owned.session_id is not None:
                    return None  # another process was faster
                if next(tries) >= _RESERVE_TRIES:
                    raise
                # Its row is held, perhaps for something that leaves no session.
                await self.clock.sleep(_RESERVE_PAUSE_S)
            else:
                return claim.session.session_id

    async def _ask(self, crawl: CrawlKey, run_id: str, source: Source, *, lease_s: float) -> Claim:
        return await self.store.claim(
            crawl,
            this_process(run_id),
            session_id=str(uuid7()),
            initial=SessionValue(self.machine.spec.initial),
            now=self.clock.now(),
            lease_s=lease_s,
            limit=(source.service, crawl.user_id, source.endpoint),
            is_gone=is_gone,
        )

    async def _claim(self, crawl: CrawlKey, run_id: str, source: Source) -> Claim:
        while True:
            claim = await self._ask(crawl, run_id, source, lease_s=self.settings.lease_s)
            kind = self.machine.spec.kinds.get(str(claim.session.value.state))
            if kind is None:
                raise ConfigurationError(
                    f"session {claim.session.session_id} is in state {claim.session.value.state!r}, which this "
                    "machine does not have; it was left as it was. Use the machine that began it"
                )
            if kind is not Kind.ENDING:
                return claim
            await self._bury(claim)

    async def _give_back(self, claim: Claim) -> None:
        """A session that nobody runs: its lease ends now, whoever comes next goes on with it."""
        try:
            await self._let_go(claim, claim.session.value, final=False)
        except TwitorError as exc:
            _LOG.warning("a session that was not begun keeps its lease: %s", exc)

    async def _bury(self, claim: Claim) -> None:
        """A session whose process died in its cleanup: its cleanup tasks are gone, it ends here."""
        facts = Facts(now=self.clock.now(), reason=Reason.DIED_IN_CLEANUP)
        step = self.machine.step(claim.session.value, Trigger.CLEANED_UP, facts)
        journal = (step.journal,) if step.journal is not None else ()
        await self._let_go(claim, step.session, final=True, journal=journal)

    async def _let_go(
        self, claim: Claim, value: SessionValue, *, final: bool, **written: Any
    ) -> None:
        session, now = claim.session, self.clock.now()
        await self.store.commit(
            Batch(
                session_id=session.session_id,
                fence=session.fence,
                crawl=session.crawl,
                ordinal=session.ordinal,
                now=now,
                lease_until=now,
                value=value,
                final=final,
                counters=session.counters,
                **written,
            )
        )


@attrs.frozen
class NoSource:
    """Stands in for the source of a session that is only taken over to be ended, or made for another process."""

    name: str
    service: str = "none"
    endpoint: str = "none"
    page_sizes: tuple[int, ...] = ()
    price_usd: float | None = None

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        """Never asked. Raises `ConfigurationError`."""
        raise ConfigurationError(
            f"source {self.name} is not there: the session was to be ended only"
        )

    def decode(self, raw: str) -> Item | InvalidRaw:
        """Nothing is decoded."""
        return InvalidRaw(key="", raw=raw, message="no source")

    async def aclose(self) -> None:
        """Nothing is held."""
