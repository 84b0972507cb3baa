"""Settings: what the environment may say, what is refused and how, and that the documentation tells it all."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from twitor_fsm.config import (
    Settings,
    bearer_token_from_environment,
    get_settings,
    without_password,
)
from twitor_fsm.errors import ConfigurationError

DOCS: Final = Path(__file__).parents[2] / "docs" / "configuration.md"
FIELDS: Final = {field.name: field for field in attrs.fields(Settings)}
VARIABLES: Final = {field.metadata["env"]: field for field in FIELDS.values()}

DEFAULTS: Final = {
    "VALKEY_URL": "redis://localhost:6379/0",
    "VALKEY_MAX_CONNECTIONS": 10,
    "MAX_RETRIES": 5,
    "INITIAL_BACKOFF": 1.0,
    "DATABASE_URL": "sqlite+aiosqlite:///bookmarks.db",
    "TWITOR_CHECKPOINT_EVERY": 10,
    "TWITOR_MAX_SKIPS_IN_A_ROW": 50,
    "TWITOR_LEASE_S": 30.0,
    "TWITOR_HANDLER_TIMEOUT_S": 60.0,
    "TWITOR_CANCEL_GRACE_S": 10.0,
    "TWITOR_CLEANUP_TIMEOUT_S": 10.0,
    "TWITOR_SHUTDOWN_TIMEOUT_S": 25.0,
    "TWITOR_STORE_RETRY_S": 5.0,
    "TWITOR_REQUEST_TIMEOUT_S": 30.0,
    "TWITOR_REQUEST_DEADLINE_S": 120.0,
    "TWITOR_MAX_PAGE_BYTES": 8_388_608,
    "TWITOR_MAX_ITEM_BYTES": 1_048_576,
    "TWITOR_PAGE_SIZE": 90,
    "TWITOR_PREFETCH": 1,
    "TWITOR_API_URL": "https://api.x.com",
    "TWITOR_TOKEN_DIR": None,
    "TWITOR_METRICS_HOST": "127.0.0.1",
    "TWITOR_METRICS_PORT": None,
    "TWITOR_DRAIN_TIMEOUT_S": 30.0,
}


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*VARIABLES, "X_BEARER_TOKEN"):
        monkeypatch.delenv(variable, raising=False)


def refusal(environment: dict[str, str]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        for variable, text in environment.items():
            patch.setenv(variable, text)
        with pytest.raises(ConfigurationError) as caught:
            get_settings()
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None  # nothing nested that a log would print
    return str(error)


# -- what is read ---------------------------------------------------------------------------------


def test_defaults_are_the_documented_ones() -> None:
    settings = get_settings()
    assert {name: getattr(settings, field.name) for name, field in VARIABLES.items()} == DEFAULTS
    assert settings == Settings()


def test_the_lines_of_the_design_document_give_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in (
        "VALKEY_URL=redis://localhost:6379/0",
        "VALKEY_MAX_CONNECTIONS=10",
        "MAX_RETRIES=5",
        "INITIAL_BACKOFF=1.0",
    ):
        monkeypatch.setenv(*line.split("=", 1))
    assert get_settings() == Settings()


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("VALKEY_URL", "rediss://user:word@queue.example:6380/2", None),
        ("VALKEY_URL", "unix:///run/valkey.sock", None),
        ("VALKEY_URL", "embedded", None),
        ("VALKEY_URL", "redis://[::1]:6379/0", None),
        ("VALKEY_MAX_CONNECTIONS", "2", 2),
        ("MAX_RETRIES", " 0 ", 0),
        ("MAX_RETRIES", "+3", 3),
        ("INITIAL_BACKOFF", "0", 0.0),
        ("INITIAL_BACKOFF", "2", 2.0),
        ("INITIAL_BACKOFF", ".5", 0.5),
        ("INITIAL_BACKOFF", "1e-1", 0.1),
        ("DATABASE_URL", "postgresql+asyncpg://user:w[o/r@d@host/name", None),
        ("DATABASE_URL", "/srv/my data/bookmarks.db", None),
        ("TWITOR_LEASE_S", "5", 5.0),
        ("TWITOR_PREFETCH", "0", 0),
        ("TWITOR_PAGE_SIZE", "100", 100),
        ("TWITOR_API_URL", "http://127.0.0.1:8080/x", None),
        ("TWITOR_TOKEN_DIR", "/run/tokens", Path("/run/tokens")),
        ("TWITOR_METRICS_HOST", "0.0.0.0", None),
        ("TWITOR_METRICS_HOST", "::1", None),
        ("TWITOR_METRICS_PORT", "0", 0),
    ],
)
def test_a_variable_is_read(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, value: Any
) -> None:
    monkeypatch.setenv(variable, text)
    field = VARIABLES[variable].name
    wanted: Any = text if value is None else value
    settings = get_settings()
    assert getattr(settings, field) == wanted
    assert type(getattr(settings, field)) is type(wanted) or isinstance(wanted, Path)
    assert settings == Settings(**{field: wanted})


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, " ")
    assert get_settings() == Settings()


def test_the_environment_is_read_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_settings().max_retries == 5
    monkeypatch.setenv("MAX_RETRIES", "2")
    assert get_settings().max_retries == 2


def test_the_home_folder_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("TWITOR_TOKEN_DIR", "~/tokens")
    assert get_settings().token_dir == Path("/home/somebody/tokens")


def test_settings_made_in_code_do_not_look_at_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAX_RETRIES", "nonsense")
    assert Settings(initial_backoff=2).initial_backoff == 2.0


@pytest.mark.parametrize(
    ("text", "token"), [("abc", "abc"), (" abc\n", "abc"), ("", None), (" ", None)]
)
def test_the_token_is_read_and_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, text: str, token: str | None
) -> None:
    assert bearer_token_from_environment() is None
    monkeypatch.setenv("X_BEARER_TOKEN", text)
    assert bearer_token_from_environment() == token
    assert "abc" not in repr(get_settings())


# -- what is refused ------------------------------------------------------------------------------

WRONG: Final = [
    ("MAX_RETRIES", "five"),
    ("MAX_RETRIES", "-1"),
    ("MAX_RETRIES", "5.0"),
    ("MAX_RETRIES", "1_0"),
    ("MAX_RETRIES", "٥"),  # a digit, and int() reads it
    ("MAX_RETRIES", "1001"),
    ("INITIAL_BACKOFF", "nan"),
    ("INITIAL_BACKOFF", "inf"),
    ("INITIAL_BACKOFF", "-0.5"),
    ("INITIAL_BACKOFF", "1e999"),
    ("INITIAL_BACKOFF", "1,5"),
    ("VALKEY_MAX_CONNECTIONS", "0"),
    ("VALKEY_URL", "localhost:6379"),
    ("VALKEY_URL", "http://localhost"),
    ("VALKEY_URL", "redis://"),
    ("VALKEY_URL", "redis://host:99999/0"),
    ("VALKEY_URL", "redis://ho st/0"),
    ("VALKEY_URL", "redis://[::1/0"),
    ("VALKEY_URL", "unix://"),
    ("DATABASE_URL", "mysql://host/name"),
    ("DATABASE_URL", "book\x1bmarks.db"),
    ("TWITOR_CHECKPOINT_EVERY", "0"),
    ("TWITOR_MAX_SKIPS_IN_A_ROW", "0"),
    ("TWITOR_LEASE_S", "0"),
    ("TWITOR_HANDLER_TIMEOUT_S", "0"),
    ("TWITOR_PAGE_SIZE", "101"),
    ("TWITOR_PAGE_SIZE", "0"),
    ("TWITOR_PREFETCH", "2"),
    ("TWITOR_MAX_PAGE_BYTES", "8 MB"),
    ("TWITOR_API_URL", "api.x.com"),
    ("TWITOR_API_URL", "ftp://api.x.com"),
    ("TWITOR_TOKEN_DIR", "~nobody-of-this-name/tokens"),
    ("TWITOR_METRICS_HOST", "http://0.0.0.0"),
    ("TWITOR_METRICS_HOST", "two words"),
    ("TWITOR_METRICS_PORT", "65536"),
    ("TWITOR_METRICS_PORT", "none"),
    ("TWITOR_DRAIN_TIMEOUT_S", "0.5"),
]


@pytest.mark.parametrize(("variable", "text"), WRONG)
def test_a_wrong_value_is_refused_by_variable_value_and_range(variable: str, text: str) -> None:
    message = refusal({variable: text})
    shown = text if text != "redis://[::1/0" else "redis://***"  # not understood: not shown
    assert message.startswith(f"{variable} is {shown!r}, allowed is ")
    assert VARIABLES[variable].metadata["range"].words in message
    assert message.endswith("Nothing was started")


def test_all_wrong_values_are_named_at_once() -> None:
    message = refusal({"MAX_RETRIES": "many", "TWITOR_PAGE_SIZE": "1000"})
    assert "MAX_RETRIES is 'many'" in message
    assert "TWITOR_PAGE_SIZE is '1000'" in message


def test_a_message_quotes_no_novel() -> None:
    assert len(refusal({"MAX_RETRIES": "9" * 100_000})) < 300


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_retries", -1),
        ("max_retries", 2.0),
        ("max_retries", True),
        ("max_retries", "5"),
        ("initial_backoff", math.nan),
        ("initial_backoff", math.inf),
        ("initial_backoff", -1.0),
        ("initial_backoff", 10**400),
        ("initial_backoff", "1.0"),
        ("lease_s", 0),
        ("prefetch", 2),
        ("page_size", 101),
        ("valkey_url", None),
        ("database_url", ""),
        ("token_dir", ""),
        ("token_dir", 7),
    ],
)
def test_settings_made_in_code_are_checked_too(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{FIELDS[field].metadata['env']} is "):
        Settings(**{field: value})


# -- what is not shown ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:secret@host:6379/0", "redis://:***@host:6379/0"),
        ("redis://user:secret@host", "redis://user:***@host"),
        ("redis://secret@host", "redis://***@host"),
        ("redis://:sec@ret?secret#secret/secret@host/0", "redis://:***@host/0"),
        ("redis://host/0?password=secret", "redis://host/0?***"),
        ("unix:///run/x.sock?password=secret", "unix:///run/x.sock?***"),
        ("redis:/:secret@host", "redis:***@host"),
        ("redis://:secret", "redis://***"),
        ("user:secret", "***"),
        ("redis://host:6379:secret", "redis://***"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("/srv/my data/a:b.db", "/srv/my data/a:b.db"),
        ("postgresql://u@h/db?password=sec:ret@secret", "postgresql://***@***"),
        ("postgresql://u@h:5432/db?password=sec@ret", "postgresql://***@***"),
        ("postgresql://h/db?host=/run&password=sec@ret", "postgresql://***@***"),
        ("postgresql://u:secret@h/db?password=sec@ret", "postgresql://u:***@***"),
        ("redis://sec@ret:secret@host", "redis://***@host"),
        ("secret@host:6379/0?x=a@b", "***@***"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


# -- what it costs --------------------------------------------------------------------------------


def test_importing_and_reading_settings_loads_no_library_but_attrs() -> None:
    code = "import twitor_fsm.config as c, sys; c.get_settings(); print(*sys.modules)"
    environment = {key: text for key, text in os.environ.items() if key not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    heavy = "sqlalchemy click rich starlette alembic redis typed_settings pydantic msgspec httpx"
    assert loaded & set(heavy.split()) == set()


# -- what is documented ---------------------------------------------------------------------------


def table_row(field: "attrs.Attribute[Any]") -> str:
    allowed = field.metadata["range"]
    what, _, unit = field.metadata["what"].rpartition(", ")
    if unit not in {"seconds", "bytes"}:
        what, unit = field.metadata["what"], ""
    default = "" if field.default is None else f"`{field.default}`"
    words = re.sub(r"^a (whole )?number from ", "", allowed.words)
    return f"| `{field.metadata['env']}` | `{field.name}` | {default} | {unit} | {words} | {what} |"


def test_the_documented_table_is_the_code() -> None:
    rows = [line for line in DOCS.read_text("utf-8").splitlines() if line.startswith("| `")]
    expected = [table_row(field) for field in FIELDS.values()]
    assert rows == expected, "docs/configuration.md is stale; its rows are:\n" + "\n".join(expected)


def test_every_setting_has_an_effect_of_its_own_in_words() -> None:
    effects = [field.metadata["what"] for field in FIELDS.values()]
    assert all(len(effect.split()) >= 4 for effect in effects)
    assert len(set(effects)) == len(effects)


def test_every_setting_is_read_somewhere_or_documented_as_not_yet() -> None:
    package = Path(__file__).parents[2] / "src" / "twitor_fsm"
    code = "\n".join(
        file.read_text("utf-8") for file in package.rglob("*.py") if file.name != "config.py"
    )
    waiting = {
        name
        for line in DOCS.read_text("utf-8").splitlines()
        if line.startswith("Not read yet: ")
        for name in re.findall(r"`(\w+)`", line)
    }
    unread = {
        name for name in FIELDS if not re.search(rf"settings(\(\))?\.{name}\b|\"{name}\"", code)
    }
    assert unread <= waiting, "nobody reads these settings, and the documentation does not say so"
