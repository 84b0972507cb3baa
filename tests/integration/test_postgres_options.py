"""Options of a PostgreSQL URL: a wrong one is named before anything connects, and no value is quoted."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from store_factories import new_postgres_database, postgres_server

from twitor_fsm.errors import ConfigurationError, StoreUnavailable
from twitor_fsm.storage.store import SqlStore

SECRET = "hunter2-secret"

REFUSED = {
    "ssl": "nonsense",
    "sslmode": SECRET,
    "target_session_attrs": SECRET,
    "gsslib": SECRET,
    "direct_tls": "1",
    "statement_cache_size": SECRET,
    "max_cached_statement_lifetime": "1.5",
    "max_cacheable_statement_size": "-1",
    "prepared_statement_cache_size": "many",
    "connect_timeout": "nan",
    "timeout": "0",
    "command_timeout": "-1",
    "loop": "1",
    "record_class": SECRET,
    "connection_class": SECRET,
    "server_settings": SECRET,
    "dsn": SECRET,
    "passwd": SECRET,
}


@pytest.mark.parametrize("name", REFUSED)
async def test_an_option_that_cannot_be_so_is_named_before_anything_connects(name: str) -> None:
    url = sa.URL.create("postgresql", "me", None, "127.0.0.1", 1, "x", {name: REFUSED[name]})
    with pytest.raises(ConfigurationError, match=rf"\b{name}\b.*nothing was opened") as refused:
        await SqlStore(url.render_as_string(hide_password=False)).open()
    assert SECRET not in str(refused.value)


async def test_an_option_that_stands_twice_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"the option ssl .* is there more than once"):
        await SqlStore("postgresql://me@127.0.0.1:1/x?ssl=allow&ssl=require").open()


@pytest.mark.parametrize("password", [f"p@ss?{SECRET}=x", f"p@ss?a=b&{SECRET}=", f"p@?{SECRET}=x"])
async def test_what_may_be_a_password_that_was_not_escaped_is_not_named(password: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write %3F for a \?") as refused:
        await SqlStore(f"postgresql://me:{password}@127.0.0.1:1/x").open()
    assert SECRET not in str(refused.value)


async def test_options_of_all_kinds_reach_the_driver() -> None:
    url = new_postgres_database(postgres_server())
    said = {
        "sslmode": "prefer",
        "target_session_attrs": "primary",
        "statement_cache_size": "7",
        "max_cached_statement_lifetime": "1",
        "max_cacheable_statement_size": "100",
        "prepared_statement_cache_size": "5",
        "connect_timeout": "5.5",
        "command_timeout": "9",
    }
    store = SqlStore(
        url.update_query_dict(said).render_as_string(hide_password=False), migrate=True
    )
    await store.open()
    try:
        await store.check()
    finally:
        await store.close()


async def test_a_certificate_that_is_missing_is_told_and_no_server_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StoreUnavailable, match="names files that are not there") as refused:
        await SqlStore("postgresql://me@127.0.0.1:1/x?sslmode=verify-full").open()
    assert "cannot be reached" not in str(refused.value)
