import contextlib

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.identity.wellformed import NotWellFormed, item_end

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 9), inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES, st.binary(max_size=5))
def test_the_end_of_any_item_is_found(value: object, tail: bytes) -> None:
    body = cbor2.dumps(value)
    assert item_end(body + tail) == len(body)
    assert item_end(tail + body, len(tail)) == len(tail) + len(body)


@given(_VALUES, st.data())
def test_a_cut_item_is_never_well_formed(value: object, data: st.DataObject) -> None:
    body = cbor2.dumps(value)
    with pytest.raises(NotWellFormed):
        item_end(body[: data.draw(st.integers(0, len(body) - 1))])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "in the middle"),
        ("9fff", "indefinite"),
        ("5f4101ff", "indefinite"),
        ("ff", "indefinite"),
        ("1c", "reserved"),
        ("f818", "wrong form"),
        ("5bffffffffffffffff00", "announces"),
        ("9bffffffffffffffff00", "announces"),
        ("bbffffffffffffffff00", "announces"),
        ("81" * 60, "deeper"),
        ("c1" * 60 + "00", "deeper"),
    ],
)
def test_what_is_not_well_formed(body: str, says: str) -> None:
    with pytest.raises(NotWellFormed, match=says):
        item_end(bytes.fromhex(body))


def test_a_million_items_are_refused_after_a_few_thousand() -> None:
    with pytest.raises(NotWellFormed, match="more than"):
        item_end(b"\x9a\x00\x10\x00\x00" + b"\x00" * 2**20)


@given(st.binary(max_size=60))
def test_hostile_bytes(body: bytes) -> None:
    with contextlib.suppress(NotWellFormed):
        assert 0 < item_end(body) <= len(body)
