"""Policies of an app that decide on waits which nobody can keep."""

import math
from typing import Any

import attrs
import pytest
from scripted import ids, stored

from twitor_fsm import (
    CrawlEngine,
    ErrorFacts,
    Policy,
    RateLimited,
    RecoveryPolicy,
    RecoveryStrategy,
    Settings,
    SourceUnavailable,
    decide,
)
from twitor_fsm.core.recovery import MAX_BACKOFF_S
from twitor_fsm.testing import ListSource, VirtualClock


def waiting(delay: Any) -> RecoveryPolicy:
    """As `decide`, with another delay."""

    def policy(error: ErrorFacts, policy: Policy, *, now: float, jitter: float) -> RecoveryStrategy:
        return attrs.evolve(decide(error, policy, now=now, jitter=jitter), delay=delay)

    return policy


@pytest.mark.parametrize(
    "error", [RateLimited(None), SourceUnavailable("away")], ids=["pause", "retry"]
)
@pytest.mark.parametrize(
    ("delay", "waited"),
    [
        (3 * MAX_BACKOFF_S, MAX_BACKOFF_S),
        (1e308, MAX_BACKOFF_S),
        (math.inf, MAX_BACKOFF_S),
        (MAX_BACKOFF_S, MAX_BACKOFF_S),
        (7, 7.0),
        (-5.0, 0.0),
        (-math.inf, 0.0),
    ],
)
async def test_a_wait_is_from_none_to_a_day(
    db: str, clock: VirtualClock, error: Exception, delay: float, waited: float
) -> None:
    source, begun = ListSource(ids(3), script={1: error}), clock.now()
    async with CrawlEngine(db, settings=Settings(), clock=clock, policy=waiting(delay)) as engine:
        report = await engine.crawl(source, user_id="me")

        assert report.completed
        assert source.requests == 2
        assert clock.now() - begun == waited
        steps = await engine.journal(report.session_id)
        assert [step.delay_s for step in steps if step.category is not None] == [waited]


@pytest.mark.parametrize("delay", [math.nan, None, "5"])
@pytest.mark.parametrize(
    "error", [RateLimited(None), SourceUnavailable("away")], ids=["pause", "retry"]
)
async def test_a_wait_that_is_no_number_is_a_bug_of_the_policy(
    db: str, clock: VirtualClock, caplog: pytest.LogCaptureFixture, error: Exception, delay: Any
) -> None:
    source = ListSource(ids(40), script={2: error})
    async with CrawlEngine(db, settings=Settings(), clock=clock, policy=waiting(delay)) as engine:
        report = await engine.crawl(source, user_id="me", page_size=20)

        assert (report.state, report.reason, report.durable) == ("shut_down", "bug", True)
        assert "the policy decided on a delay of" in caplog.text
        assert len(await stored(engine)) == 20
