"""For all tests: the option that switches a planted fault on."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from planted import PLANTED


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--planted",
        choices=sorted(PLANTED),
        help="run with this known-bad variant of the engine: the suite must go red",
    )


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--planted")
    if name is not None:
        PLANTED[name].apply(pytest.MonkeyPatch())


def pytest_report_header(config: pytest.Config) -> str | None:
    name = config.getoption("--planted")
    return None if name is None else f"planted fault: {PLANTED[name].sentence}"
