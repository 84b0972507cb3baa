"""Settings: any text is read or refused, and no password is shown."""

from typing import Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twitor_fsm.config import (
    Settings,
    get_settings,
)
from twitor_fsm.errors import ConfigurationError

FIELDS: Final = {field.name: field for field in attrs.fields(Settings)}
VARIABLES: Final = {field.metadata["env"]: field for field in FIELDS.values()}


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*VARIABLES, "X_BEARER_TOKEN"):
        monkeypatch.delenv(variable, raising=False)


@given(
    st.sampled_from(sorted(VARIABLES)),
    st.text(st.characters(codec="utf-8", exclude_characters="\0")),
)
def test_any_text_is_either_read_or_refused_by_name(variable: str, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable, text)
        try:
            name, message = VARIABLES[variable].name, ""
            assert Settings(**{name: getattr(get_settings(), name)}) == get_settings()
        except ConfigurationError as error:
            message = str(error)
    assert not message or message.startswith(f"{variable} is ")


@given(
    st.sampled_from(
        ["redis://", "redis://user", "http://u", "redis:/", "", "mysql://", "redis://["]
    ),
    st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=12),
)
def test_no_password_is_in_a_message_or_in_repr(front: str, password: str) -> None:
    secret = f"#{password}#"  # not by chance a part of the message
    for variable in ("VALKEY_URL", "DATABASE_URL"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(variable, f"{front}:{secret}@host/0")
            try:
                shown = repr(get_settings())
            except ConfigurationError as error:
                shown = str(error)
        assert secret not in shown
        assert password not in shown
