"""The whole trial in one line: `assert_survives(plan, source)`.

Must not know: what is checked (`Trial` does).
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from ..sources.base import Source
from .mishaps import Plan
from .trial import Handler, Trial

__all__ = ["assert_survives", "run_alone"]


def assert_survives(
    plan: Plan, source: Source, *, handler: Handler | None = None, **options: Any
) -> None:
    """Crawl a source under a plan until the crawl is complete, and check everything on the way.

    Args:
        plan: What goes wrong.
        source: The source; not used by anybody else meanwhile.
        handler: The app's handler.
        **options: Further arguments of `Trial`.

    Raises:
        AssertionError: Something was lost, doubled, or did not end as it should; the message names the plan.
    """

    async def story() -> None:
        async with Trial(source, plan, handler=handler, **options) as trial:
            await trial.finish()

    run_alone(story())


def run_alone(story: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on a loop of its own; a task that it leaves behind is an error.

    Raises:
        AssertionError: Tasks are left; names them.
    """

    async def guarded() -> None:
        await story
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            raise AssertionError(f"tasks were left running: {sorted(t.get_name() for t in left)}")

    asyncio.run(guarded())
