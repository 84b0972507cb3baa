"""Any text survives the database, and most is kept as it is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twitor_fsm.storage.text import decode, encode

ANY = st.text(st.characters(exclude_categories=())) | st.text("\x00\ud800\udfff\ufdd0d0a")


@given(ANY)
@example("\ufdd0fdd0")
@example("\ufdd0\x00")
def test_decoding_gives_the_text_back(text: str) -> None:
    assert decode(encode(text)) == text


@given(ANY, ANY)
def test_different_texts_are_spelled_differently(one: str, other: str) -> None:
    assert (encode(one) == encode(other)) == (one == other)


@given(ANY)
def test_what_is_spelled_can_be_kept(text: str) -> None:
    assert b"\x00" not in encode(text).encode("utf-8")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\ufdd0")))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert encode(text) == text


@pytest.mark.parametrize("value", [None, 7, b"bytes", ["list"]])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)  # type: ignore[arg-type]
