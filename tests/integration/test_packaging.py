"""What is installed: the wheel holds every file of the package, and the pinned versions name no place."""

import email
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "twitor_fsm"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PINNED = (ROOT / "constraints.txt").read_text("utf-8").splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as opened:
        yield opened


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    sources = {
        f"twitor_fsm/{file.relative_to(PACKAGE).as_posix()}"
        for file in PACKAGE.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    packed = {name for name in wheel.namelist() if name.startswith("twitor_fsm/")}
    assert packed == sources
    assert "twitor_fsm/py.typed" in packed
    assert "twitor_fsm/storage/migrations/script.py.mako" in packed


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    def read(name: str) -> str:
        return wheel.read(f"twitor_fsm-{PROJECT['version']}.dist-info/{name}").decode()

    assert "twitor = twitor_fsm.cli:main" in read("entry_points.txt")
    assert read("licenses/LICENSE").startswith("MIT License")
    said = email.message_from_string(read("METADATA"))
    assert said["Requires-Python"] == ">=3.11"
    assert set(said.get_all("Provides-Extra", [])) == {
        "cli",
        "dev",
        "diagram",
        "embedded",
        "metrics",
        "postgres",
        "testing",
    }


def test_every_pinned_line_is_a_name_and_a_version_only() -> None:
    for line in PINNED:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line), line
    assert sorted(PINNED, key=str.lower) == sorted(set(PINNED), key=str.lower)


def name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    return [Requirement(line) for line in lines if not line.startswith("twitor-fsm")]


def test_every_requirement_is_pinned_to_a_version_within_its_range() -> None:
    pinned = {name(line.split("==")[0]): line.split("==")[1] for line in PINNED}
    for requirement in requirements():
        assert requirement.specifier.contains(pinned[name(requirement.name)]), requirement
        assert requirement.specifier, f"{requirement.name} has no range"


def test_what_is_installed_for_the_suite_is_pinned() -> None:
    pinned = {name(line.split("==")[0]) for line in PINNED}
    seen: set[str] = set()
    to_do = [name(requirement.name) for requirement in requirements()]
    while to_do:
        one = to_do.pop()
        if one in seen:
            continue
        seen.add(one)
        for line in metadata.requires(one) or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                to_do.append(name(needed.name))
    assert seen <= pinned
