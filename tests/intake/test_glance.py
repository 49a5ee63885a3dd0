"""The first glance must never let pass what the full decoders refuse, nor read it differently."""

from __future__ import annotations

import math

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.errors import Rejected
from fieldstone.identity import cose
from fieldstone.identity.keys import Algorithm
from fieldstone.identity.report import DEFAULT_LIMITS, Limits, decode
from fieldstone.intake import glance, shape

from .worlds import AAD, KINDS, key, message, payload

NAMES = glance.names_of(KINDS)
LIMITS = Limits(max_readings=50, max_span_ms=100_000)

numbers = st.integers(-5, 70_000) | st.sampled_from([2**31, 2**53, 2**63, 2**64, -(2**70)])
scalars = numbers | st.floats() | st.none() | st.booleans() | st.text(max_size=3) | st.binary(max_size=8)
columns_keys = st.sampled_from([0, 1, 2, 3, -1, 1.0, True, "temperature_c", "humidity_pct", "other", b"x"])
columns = st.dictionaries(
    columns_keys,
    st.lists(scalars, max_size=5) | st.tuples(st.integers(0, 10), st.binary(max_size=12)).map(list) | scalars,
    max_size=4,
)
times = st.lists(numbers, max_size=5) | st.tuples(numbers, st.lists(numbers, max_size=3)).map(list) | scalars
maps = st.fixed_dictionaries(
    {1: st.just(1) | scalars, 2: st.just("sensing") | scalars, 3: st.just("readings") | scalars, 4: numbers | scalars},
    optional={5: numbers, 6: numbers, 7: times, 8: columns | scalars, 9: scalars},
)
mutations = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3)


def agree(body: bytes) -> bool:
    """Compare the two readings of a payload; return whether the glance let it pass."""
    head = glance.report_head(body, NAMES, LIMITS)
    if head is None:
        return False
    report = decode(body, KINDS, LIMITS)  # raises Rejected if the glance was too kind
    assert head == (report.seq, report.start_ms, report.end_ms, len(report.times_ms))
    assert all(value is None or math.isfinite(value) for values in report.columns.values() for value in values)
    assert glance.seq_of(body) == report.seq
    return True


@settings(max_examples=400, deadline=None)
@given(maps)
def test_any_map_is_read_alike(body: dict[object, object]) -> None:
    agree(cbor2.dumps(body))


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 40), mutations, st.binary(max_size=3))
def test_damaged_payloads_are_read_alike(readings: int, flips: list[tuple[int, int]], tail: bytes) -> None:
    body = bytearray(payload(7, readings=readings))
    for place, value in flips:
        body[place % len(body)] = value
    agree(bytes(body) + tail)


kinds_of_payload = st.builds(
    lambda readings, value, step, both: payload(
        7,
        readings=readings,
        value=value,
        columns={"temperature_c": [value] * readings, **({"pressure_hpa": [None] * readings} if both else {})},
        start_ms=10**12 + step,
    ),
    st.sampled_from([1, 2, 4, 5, 40]),
    st.sampled_from([20.5, 1.25e-9, -7.0, 30_000.1, 0.1]),
    st.integers(0, 10**9),
    st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(kinds_of_payload, kinds_of_payload, mutations, st.binary(max_size=2))
def test_what_fits_a_shape_is_read_alike(taught: bytes, body: bytes, flips: list[tuple[int, int]], tail: bytes) -> None:
    learnt = shape.learn(taught, LIMITS)
    if learnt is None:
        return
    raw = bytearray(body)
    for place, value in flips:
        raw[place % len(raw)] = value
    for candidate in (taught, body, bytes(raw), bytes(raw) + tail):
        head = learnt.head(candidate)
        if head is not None:
            report = decode(candidate, KINDS, LIMITS)
            assert head == (report.seq, report.start_ms, report.end_ms, len(report.times_ms))


@pytest.mark.parametrize("readings", [1, 4, 40])
def test_common_reports_have_a_shape_that_fits_the_next(readings: int) -> None:
    learnt = shape.learn(payload(1, readings=readings), LIMITS)
    assert learnt is not None
    later = payload(70_000, readings=readings, value=-3.5, start_ms=10**12 + 7)
    assert learnt.head(later) == glance.report_head(later, NAMES, LIMITS) is not None


@pytest.mark.parametrize(
    "bits", [b"\x7f\xf0" + bytes(6), b"\xff\xf0" + bytes(6), b"\x7f\xf8" + bytes(6), b"\xff\xff" * 4]
)
def test_no_shape_lets_nan_or_infinity_in(bits: bytes) -> None:
    taught = payload(1, value=1.2345678912345)
    learnt = shape.learn(taught, LIMITS)
    assert learnt is not None
    place = taught.index(b"\xfb") + 1
    assert learnt.head(taught[:place] + bits + taught[place + 8 :]) is None


@pytest.mark.parametrize("readings", [1, 2, 3, 4, 12, 50])
@pytest.mark.parametrize("value", [20.5, 20.123456789, -7.0, 1e300])
def test_ordinary_reports_pass_at_a_glance(readings: int, value: float) -> None:
    assert agree(payload(3, readings=readings, value=value))


def test_a_tail_behind_the_payload_does_not_pass() -> None:
    assert glance.report_head(payload(1), NAMES, DEFAULT_LIMITS) is not None
    assert glance.report_head(payload(1) + b"\0", NAMES, DEFAULT_LIMITS) is None
    assert glance.report_head(payload(1) + b"\x50" + bytes(16), NAMES, DEFAULT_LIMITS) is None


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(Algorithm)), st.sampled_from([1, 5, 40]), mutations, st.binary(max_size=80))
def test_envelopes_are_cut_alike(
    algorithm: Algorithm, readings: int, flips: list[tuple[int, int]], tail: bytes
) -> None:
    whole = bytearray(message(key(1, algorithm), 1, readings=readings))
    for place, value in flips:
        whole[place % len(whole)] = value
    body = bytes(whole) + tail
    parts = glance.envelope(body, 0)
    if parts is None:
        return
    assert next(cose.split(body)) == body[: parts.end]
    try:
        envelope = cose.parse(body[: parts.end])
    except Rejected:
        assert cose.read_protected(parts.protected) is None, "only the header's content may still be wrong"
        return
    assert (envelope.protected, envelope.payload, envelope.signature) == (
        parts.protected,
        parts.payload,
        parts.signature,
    )
    assert envelope.signed_bytes(AAD).endswith(parts.payload_item)


@given(st.binary(max_size=100))
def test_any_bytes(body: bytes) -> None:
    agree(body)
    glance.envelope(body, 0)
