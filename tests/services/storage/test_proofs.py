"""Reading proof reports: the same as the record says, without copies; the number from the head alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import Rejected
from fieldstone.services.storage import records
from fieldstone.services.storage.proofs import HEAD_BYTES, peek_number, read

chunks = st.builds(
    lambda share, start, chunk, siblings: records.ChunkProof(share=share, start=start, chunk=chunk, siblings=siblings),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**62),
    st.binary(max_size=64),
    st.binary(max_size=96),
)


@given(st.integers(0, 2**62), st.lists(chunks, max_size=4))
def test_a_view_holds_what_the_record_holds(number: int, proofs: list[records.ChunkProof]) -> None:
    body = records.encode(records.ProofSet(number=number, proofs=tuple(proofs)))
    view = read(body)
    assert view.number == number == peek_number(body) == peek_number(body[:HEAD_BYTES])
    assert [(p.share, p.start, bytes(p.chunk), bytes(p.siblings)) for p in view.proofs] == [
        (p.share, p.start, p.chunk, p.siblings) for p in proofs
    ]


@given(st.binary(max_size=40))
def test_anything_else_is_refused_by_name(body: bytes) -> None:
    peek_number(body)
    try:
        records.decode(body, records.ProofSet)
    except Rejected:
        with pytest.raises(Rejected, match="BAD_PAYLOAD"):
            read(body)


ONE = b"\xc4\x10" + bytes(16) + b"\x00\xc4\x00\xc4\x00"


@pytest.mark.parametrize("body", [b"\x93\x01\x90" + b"\x91" * 200_000, b"\x92\x01\x91\x95" + ONE + b"\x91" * 200_000])
def test_what_nests_too_deep_is_refused_and_stops_no_epoch(body: bytes) -> None:
    with pytest.raises(Rejected, match="BAD_PAYLOAD"):
        read(body)


@pytest.mark.parametrize("body", [b"\xdc\x00\x02\x01\x90", b"\x92\xd1\x00\x01\x90"])
def test_an_answer_is_heard_by_everyone_or_by_nobody(body: bytes) -> None:
    """`take_proofs` decodes, `Asking` peeks: what only one of them could read would be verified, asked again and not carried."""
    assert peek_number(body) is None
    with pytest.raises(Rejected, match="BAD_PAYLOAD"):
        read(body)


@pytest.mark.parametrize("head", [b"", b"\x92", b"\x93\x01", b"\x92\xcd\x01", b"\x92\xff", b"\x92\xcb" + bytes(8)])
def test_heads_of_something_else_have_no_number(head: bytes) -> None:
    assert peek_number(head) is None
