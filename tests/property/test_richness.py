"""The one scale on which records of different sources are compared."""

from hypothesis import given
from hypothesis import strategies as st

from twitor_fsm.sources.richness import LONG_CHARS, NOTHING, richness

NONE = (None, None, None, None)
ALL = ("7", "ada", "Ada L", "2024-05-01T12:34:56.000Z")


def test_the_scale_rises_with_what_is_known() -> None:
    steps = [
        NOTHING,
        richness("text", NONE),
        richness("text", NONE, others=3),
        richness("text", ("7", None, None, None)),
        richness("text", ALL),
        richness("text", ALL, others=3),
        richness("text", NONE, is_whole=True),
        richness("x" * (LONG_CHARS + 1), ALL),
    ]
    assert steps == sorted(set(steps))
    assert richness(None, NONE) == NOTHING == 0


@given(
    columns=st.tuples(*[st.none() | st.just("x")] * 4),
    others=st.integers(0, 10**9),
    is_whole=st.booleans(),
)
def test_a_lower_digit_never_outweighs_a_higher_one(
    columns: tuple[str | None, ...], others: int, *, is_whole: bool
) -> None:
    found = richness("text", columns, others=others, is_whole=is_whole)
    known = sum(column is not None for column in columns)
    assert found // 1000 == is_whole
    assert found // 100 % 10 == known
    assert NOTHING < found < 2000
