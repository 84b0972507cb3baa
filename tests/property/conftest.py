"""Thousands of sessions that go wrong: what they log is of no interest here."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    own = logging.getLogger("twitor_fsm")
    level = own.level
    own.setLevel(logging.CRITICAL + 1)
    yield
    own.setLevel(level)
