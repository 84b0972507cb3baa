"""Time on a picture, for any lengths."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from twitor_fsm.diagrams.timeline import Scale, Span

START = 1_800_000_000.0


def spans_of(lengths: list[float]) -> tuple[Span, ...]:
    spans, at = [], START
    for length in lengths:
        spans.append(Span("running", at, at + length))
        at += length
    return tuple(spans)


@given(
    lengths=st.lists(st.floats(0.0, 1e6), min_size=1, max_size=40),
    at=st.floats(-1e6, 1e8, allow_nan=False),
    later=st.floats(0.0, 1e6),
)
def test_time_never_runs_backwards(lengths: list[float], at: float, later: float) -> None:
    scale = Scale.of(spans_of(lengths))

    assert 0.0 <= scale.place(START + at) <= scale.place(START + at + later) <= 1.0 + 1e-9
    assert all(left < right for left, right in pairwise(scale.begins))
