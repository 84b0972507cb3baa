"""Each record of the package carries session_id, user_id and operation, whoever wrote it."""

import asyncio
import logging
from pathlib import Path

import pytest

import twitor_fsm
from twitor_fsm.log_facts import FACTS, doing, logger_of, speak_for

PACKAGE = Path(twitor_fsm.__file__).parent


def facts_of(record: logging.LogRecord) -> list[object]:
    return [getattr(record, name) for name in FACTS]


async def test_a_record_names_the_session_of_the_task_that_wrote_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = logger_of("twitor_fsm.tried")

    async def fetch() -> None:
        doing("fetch")
        log.warning("in a task that the session began")

    async def session(name: str) -> None:
        speak_for(name, "42")
        log.warning("by itself")
        await asyncio.create_task(fetch())
        log.warning("its own words", extra={"operation": "commit"})

    await asyncio.create_task(session("s1"))
    log.warning("outside of a session")

    assert [facts_of(record) for record in caplog.records] == [
        ["s1", "42", None],
        ["s1", "42", "fetch"],
        ["s1", "42", "commit"],
        [None, None, None],
    ]


def test_every_module_has_its_logger_from_there() -> None:
    may_ask_logging = {"log_facts.py", "machine.py", "cli/logging_setup.py"}
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if "logging.getLogger(" in file.read_text("utf-8")
    }

    assert found == may_ask_logging
