"""For all tests: Hypothesis' profiles, the option that switches a planted fault on, asyncio's own complaints, and a canary.

The canary is the simulator's token: whatever a test prints, logs or leaves in its folder must not hold it.
"""

import logging
import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from planted import Planted

sys.path.insert(0, str(Path(__file__).parent))

SEEDS_A_TEST = 25

MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 << 30
"""More than all files of a run, of the three runs that pytest keeps."""


def _keep_files_in_memory() -> None:
    """A disk's `fsync` outlasts everything else here, and protects from power cuts alone: those are simulated.

    Commands and servers that tests start follow; a `TMPDIR` that somebody set stands.
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK | os.X_OK):
        return
    if shutil.disk_usage(MEMORY).free >= ROOM_BYTES:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # it may have been asked for already


_keep_files_in_memory()

# How long an example takes says something about the machine alone. CI tries the same examples each time
# (`--hypothesis-profile=ci`), everybody else new ones.
_UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", _UNTIMED)
settings.register_profile("ci", _UNTIMED, derandomize=True)
settings.load_profile("default")


class _Complaints(logging.Handler):
    """What asyncio reports when it is too late to raise: errors that nobody read, tasks that were left."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        told = record.getMessage()
        if "never retrieved" in told or "was destroyed" in told:
            self.heard.append(told)


_COMPLAINTS = _Complaints()
logging.getLogger("asyncio").addHandler(_COMPLAINTS)


def _asyncio_has_no_complaint() -> None:
    """A complaint comes when the garbage is collected: it may be an earlier test's."""
    heard, _COMPLAINTS.heard = _COMPLAINTS.heard, []
    assert not heard, f"asyncio complains, of this test or of one before it: {heard}"


CANARY = "simulated-user-token"


def _no_file_holds_the_token(folder: Path) -> None:
    """Databases, journals, exports, pictures; but for a file that is there to hold the token."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and _holds_canary(path):
            pytest.fail(f"the token is in {path}")


def _holds_canary(path: Path) -> bool:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return text.find(CANARY.encode()) >= 0 and text[:].strip() != CANARY.encode()
    except (OSError, ValueError):  # unreadable on purpose, or empty
        return False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """What holds after every test. A hook: two fixtures for each of thousands of tests cost more than what they check."""
    folder = item.funcargs.get("tmp_path") if isinstance(item, pytest.Function) else None
    yield
    _asyncio_has_no_complaint()
    if isinstance(folder, Path):
        _no_file_holds_the_token(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test prints and logs is part of its report."""
    report = yield
    if report.passed and any(CANARY in text for _, text in report.sections):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: the token is in what was printed or logged"
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--planted", help="run with this known-bad variant of the engine: the suite must go red"
    )
    parser.addoption("--seeds", type=int, default=500, help="how many seeds to simulate")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" in metafunc.fixturenames:
        count = metafunc.config.getoption("--seeds")
        parts = [range(n, min(n + SEEDS_A_TEST, count)) for n in range(0, count, SEEDS_A_TEST)]
        metafunc.parametrize("seeds", parts, ids=lambda part: f"{part.start}-{part.stop - 1}")


def pytest_configure(config: pytest.Config) -> None:
    if (fault := _planted(config)) is not None:
        fault.apply(pytest.MonkeyPatch())


def pytest_report_header(config: pytest.Config) -> str | None:
    fault = _planted(config)
    return None if fault is None else f"planted fault: {fault.sentence}"


def _planted(config: pytest.Config) -> "Planted | None":
    """Imported when it is wanted: it takes the whole engine, which pure tests do without."""
    if (name := config.getoption("--planted")) is None:
        return None
    from planted import PLANTED

    if name not in PLANTED:
        raise pytest.UsageError(f"--planted: no fault is called {name!r}: {', '.join(PLANTED)}")
    return PLANTED[name]


def pytest_sessionstart() -> None:
    """Under `make coverage`: commands that tests start are not measured, which takes long.

    What has a bar is driven in the tests' own processes.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:  # which was measured because of it
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


def pytest_sessionfinish() -> None:
    """Under `make coverage`: a worker of xdist is killed if servers of its tests take long to stop, so save before."""
    coverage = sys.modules.get("coverage")
    measured = coverage.Coverage.current() if coverage is not None else None
    if measured is not None:
        measured.save()
