"""Pages of the X API: any JSON is a page or is none."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from twitor_fsm.core.taxonomy import Reason
from twitor_fsm.errors import SourceUnavailable
from twitor_fsm.sources.x_decode import PageBody, decode_element, decode_page


def page(*data: Any, **more: Any) -> PageBody:
    body = {"data": list(data), "meta": {"result_count": len(data)}, **more}
    return decode_page(json.dumps(body).encode())


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["id", "text", "data", "meta", "errors", "includes", "users", "entities"]
            )
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=8,
)


@given(value=json_values)
def test_any_json_is_a_page_or_a_bad_page(value: Any) -> None:
    try:
        found = decode_page(json.dumps(value).encode())
    except SourceUnavailable as error:
        assert error.reason is Reason.BAD_PAGE  # noqa: PT017 - either outcome is fine
    else:
        assert "meta" in value or (found.errors and not found.items)
        assert len(found.items) >= found.counted or not found.has_data


@given(
    elements=st.lists(
        json_values | st.builds(dict, id=st.text(max_size=4), text=st.text(max_size=8)), max_size=4
    )
)
def test_every_element_is_found_again_by_its_raw(elements: list[Any]) -> None:
    elements = [e for e in elements if not (isinstance(e, dict) and e.keys() & {"data", "errors"})]
    items = page(*elements).items
    assert len(items) == len(elements)
    assert [decode_element(item.raw) for item in items] == list(items)
