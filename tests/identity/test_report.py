import contextlib
import math
from typing import Any, ClassVar

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import Rejected, UsageError
from fieldstone.identity import cose
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.identity.report import Limits, Report, decode, encode, kind_table
from fieldstone.policy import IntakePolicy

_NAMES = ("temperature_c", "humidity_pct", "pressure_hpa", "wind_speed_ms", "rain_mm")
_KINDS = {("sensing", "readings"): _NAMES}
_START = 1_790_000_000_000

_NUMBERS = st.one_of(
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-9_999, 9_999).map(lambda number: number / 10),
    st.integers(-(2**31), 2**31).map(float),
)


@st.composite
def _reports(draw: st.DrawFn) -> Report:
    offsets = draw(st.lists(st.integers(0, 3_600_000), min_size=1, max_size=12))
    names = draw(st.lists(st.sampled_from(_NAMES), min_size=1, unique=True))
    columns = {name: draw(st.lists(_NUMBERS, min_size=len(offsets), max_size=len(offsets))) for name in names}
    times = [_START + offset for offset in offsets]
    end = draw(st.integers(max(times), _START + 3_600_000))
    return Report(1, "sensing", "readings", draw(st.integers(1, 2**63 - 1)), _START, end, times, columns)


@given(_reports())
def test_what_is_encoded_comes_back_exactly(report: Report) -> None:
    for kinds in (_KINDS, None):
        assert decode(encode(report, kinds), kinds) == report
    assert decode(encode(report), _KINDS) == report  # names work where numbers do


def _body(**changes: Any) -> dict[int, Any]:
    body: dict[int, Any] = {
        1: 1,
        2: "sensing",
        3: "readings",
        4: 7,
        5: _START,
        6: 120_000,
        7: [60_000, 0, 1, 2],
        8: {0: [1, 215, None, 213], "humidity_pct": [0, 50, 50.5, None]},
    }
    for name, value in changes.items():
        number = int(name.removeprefix("f"))
        if value is _GONE:
            del body[number]
        else:
            body[number] = value
    return body


_GONE = object()


def test_the_wire_table() -> None:
    report = decode(cbor2.dumps(_body()), _KINDS)
    assert report.times_ms == [_START, _START + 60_000, _START + 120_000]
    assert report.end_ms == _START + 120_000
    assert report.columns == {"temperature_c": [21.5, None, 21.3], "humidity_pct": [50.0, 50.5, None]}
    assert all(type(value) is float for value in report.columns["humidity_pct"] if value is not None)


def test_packed_columns_and_even_times() -> None:
    int16 = b"".join(number.to_bytes(2, "little", signed=True) for number in (215, -(2**15), -213))
    int32 = b"".join(number.to_bytes(4, "little", signed=True) for number in (101_325, 0x800000, -(2**31)))
    body = _body(f7=[60_000, [0, 3]], f8={0: [1, int16], 2: [2, int32]})
    report = decode(cbor2.dumps(body), _KINDS)
    assert report.times_ms == [_START, _START + 60_000, _START + 120_000]
    # 0x800000 holds the bytes 00 80 in the middle of a number: only a whole number is a null
    assert report.columns == {"temperature_c": [21.5, None, -21.3], "pressure_hpa": [1013.25, 83886.08, None]}


def test_one_reading_at_the_start_needs_neither_span_nor_times() -> None:
    body = _body(f6=_GONE, f7=_GONE, f8={0: [1, 215]})
    report = decode(cbor2.dumps(body), _KINDS)
    assert (report.start_ms, report.end_ms, report.times_ms) == (_START, _START, [_START])
    assert encode(report, _KINDS) == cbor2.dumps(body, canonical=True)


def test_times_in_any_order_and_repeated_pass_on() -> None:
    assert decode(cbor2.dumps(_body(f7=[60_000, 2, 0, 2])), _KINDS).times_ms[0] == _START + 120_000


def test_huge_but_finite_numbers_pass_on() -> None:
    report = decode(cbor2.dumps(_body(f8={0: [0, 1e308, 1e308, -1e308], 1: [0, 0.0, -0.0, 5e-324]})), _KINDS)
    assert report.columns["temperature_c"] == [1e308, 1e308, -1e308]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rest", [[1.0, 2.0], [1, None], [None, None], [1e308, 1e308]])
def test_nan_and_infinities_are_named(bad: float, rest: list[Any]) -> None:
    for values in ([bad, *rest], [*rest, bad]):
        with pytest.raises(Rejected, match="BAD_NUMBER"):
            decode(cbor2.dumps(_body(f8={0: [0, *values]})), _KINDS)
    with pytest.raises(Rejected, match="BAD_NUMBER"):  # two infinities of opposite sign do not cancel out
        decode(cbor2.dumps(_body(f8={0: [0, math.inf, -math.inf, 1.0]})), _KINDS)


@pytest.mark.parametrize("width", ["f97e00", "fa7fc00000", "fb7ff8000000000001", "f97c00", "f9fc00"])
def test_every_width_of_nan_and_infinity(width: str) -> None:
    with pytest.raises(Rejected, match="BAD_NUMBER"):
        decode(
            cbor2.dumps(_body(f7=[1, 0], f8={0: [0, 77.25]})).replace(cbor2.dumps(77.25), bytes.fromhex(width)), _KINDS
        )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        *[({f"f{number}": _GONE}, "BAD_PAYLOAD") for number in (1, 2, 3, 4, 5, 6, 7, 8)],
        ({"f9": 1}, "BAD_PAYLOAD"),
        ({"f1": 2}, "UNKNOWN_KIND"),
        ({"f1": True}, "UNKNOWN_KIND"),
        ({"f2": "storage"}, "UNKNOWN_KIND"),
        ({"f3": "x" * 10_000}, "UNKNOWN_KIND"),
        ({"f3": "rea\x00dings"}, "UNKNOWN_KIND"),
        ({"f2": b"sensing"}, "BAD_PAYLOAD"),
        *[({"f4": seq}, "BAD_PAYLOAD") for seq in (0, -1, 2**63, 7.0, "7", None, True)],
        *[({"f5": start}, "BAD_TIME_SPAN") for start in (-1, 2**53, 1.5, None, "now")],
        *[({"f6": span}, "BAD_TIME_SPAN") for span in (-1, 86_400_001, 1.5, 119_999)],
        *[({"f7": times}, "BAD_PAYLOAD") for times in ([], [1], 5, "x", {}, [1, 0.5], [1, None], [1, True], [1, [0]])],
        *[({"f7": times}, "BAD_TIME_SPAN") for times in ([0, 0], [-1, 0], [1, -1], [1, 120_001], [1, 2**63])],
        *[({"f7": [1, run]}, "BAD_TIME_SPAN") for run in ([-1, 3], [119_999, 3], [2**63, 3])],
        *[({"f7": [1, run]}, "TOO_MANY_READINGS") for run in ([0, 0], [0, -1], [0, 2**62], [0, 2_001])],
        *[({"f7": [1, run]}, "BAD_PAYLOAD") for run in ([0, 3.0], [0, 3, 1], [None, 3])],
        ({"f7": [1, [0, 3], 5]}, "BAD_PAYLOAD"),
        ({"f7": [1, *range(2_001)]}, "TOO_MANY_READINGS"),
        *[({"f8": columns}, "BAD_PAYLOAD") for columns in ({}, [], 5, {5: [0, 1, 2, 3]}, {-1: [0, 1, 2, 3]})],
        ({"f8": {"wind": [0, 1, 2, 3]}}, "BAD_PAYLOAD"),
        ({"f8": {"x" * 100_000: [0, 1, 2, 3]}}, "BAD_PAYLOAD"),
        ({"f8": {0: [0, 1, 2, 3], "temperature_c": [0, 1, 2, 3]}}, "BAD_PAYLOAD"),
        *[({"f8": {0: [0, *values]}}, "BAD_PAYLOAD") for values in ([1, 2], [1, 2, 3, 4], [1, 2, "3"], [1, 2, b"3"])],
        *[({"f8": {0: [0, *values]}}, "BAD_PAYLOAD") for values in ([1, 2, True], [1, 2, cbor2.undefined])],
        *[({"f8": {0: [d, 1, 2, 3]}}, "BAD_PAYLOAD") for d in (-1, 10, 1.0, None, True, 2**40, b"")],
        ({"f8": {0: [1, 1, 2, 3.5]}}, "BAD_PAYLOAD"),
        *[({"f8": {0: [1, b"x" * size]}}, "BAD_PAYLOAD") for size in (0, 1, 3, 5, 7, 11, 13, 24)],
        ({"f8": {0: [1, b"x" * 6, 1]}}, "BAD_PAYLOAD"),
        ({"f8": {0: [0, 1, 2, [3]]}}, "BAD_CBOR"),  # deeper than a report is
        ({"f8": {0: 5}}, "BAD_PAYLOAD"),
        ({"f8": {0: []}}, "BAD_PAYLOAD"),
        ({"f8": {0: [0]}}, "BAD_PAYLOAD"),
    ],
)
def test_each_fault_has_its_reason(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Rejected) as caught:
        decode(cbor2.dumps(_body(**changes)), _KINDS)
    assert caught.value.reason.code == code
    assert len(str(caught.value)) < 500  # hostile text does not flood the answer


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xa8",
        b"\xbf\xff",
        b"\x80",
        b"\x01",
        b"\xf6",
        b"\x81" * 100_000,
        b"\xa1\x01" * 50_000,
        cbor2.dumps(_body()) + b"\0",
        b"\xc0" + cbor2.dumps(_body()),
        b"\xd8\x1c" + cbor2.dumps(_body()),  # tag 28: shared value
        b"\xd8\x23\x67(a+)+$b",  # tag 35: regular expression
        b"\xa1\x01\xd8\x23\x67(a+)+$b",
        b"\xa1\x01\xc2\x58\x40" + b"\xff" * 64,  # bignum
        b"\xa1\x01\xc5\x82\x1b" + b"\x7f" * 8 + b"\x01",  # bigfloat with a huge exponent
        b"\xa1\x01\xd9\xd9\xf7\x01",
        b"\xa1\x01\xd9\x12\x34\x01",  # unknown tag
        b"\xa2\x01\x01\x01\x02",  # a key twice
        b"\xa1\x01\x62\xc3\x28",  # not UTF-8
        b"\xa1\x81\x81\x01\x02",  # an array as key
        b"\x9b" + b"\xff" * 8,
    ],
)
def test_hostile_structures(body: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        decode(body, _KINDS)
    assert caught.value.reason.code in ("BAD_CBOR", "BAD_PAYLOAD")


@given(st.binary(max_size=120))
def test_only_rejected_comes_out_of_hostile_bytes(body: bytes) -> None:
    for payload in (body, b"\xa8\x01\x01\x02\x67sensing" + body):
        with contextlib.suppress(Rejected):
            decode(payload, _KINDS)


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 9) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.integers(1, 8), _JUNK, max_size=4))
def test_only_rejected_comes_out_of_wrong_types(changes: dict[int, Any]) -> None:
    with contextlib.suppress(Rejected):
        decode(cbor2.dumps({**_body(), **changes}), _KINDS)


def test_columns_by_number_need_the_table_and_names_are_checked_without_it() -> None:
    with pytest.raises(Rejected, match="BAD_PAYLOAD"):
        decode(cbor2.dumps(_body()))
    with pytest.raises(Rejected, match="BAD_PAYLOAD"):
        decode(cbor2.dumps(_body(f8={"Bad name\n": [0, 1, 2, 3]})))
    with pytest.raises(Rejected, match="UNKNOWN_KIND"):
        decode(cbor2.dumps(_body(f2="Se nsing", f8={"a": [0, 1, 2, 3]})))


def test_limits_come_from_the_policy() -> None:
    limits = Limits.of(IntakePolicy(max_readings=2, max_span_s=60))
    with pytest.raises(Rejected, match="BAD_TIME_SPAN"):
        decode(cbor2.dumps(_body()), _KINDS, limits)
    with pytest.raises(Rejected, match="TOO_MANY_READINGS"):
        decode(cbor2.dumps(_body(f6=60_000, f7=[1, 0, 1, 2])), _KINDS, limits)


def test_encode_refuses_what_decode_would() -> None:
    good = Report(1, "sensing", "readings", 1, _START, _START, [_START], {"rain_mm": [0.2]})
    for change in (
        {"columns": {"rain_mm": [math.nan]}},
        {"columns": {"rain_mm": [0.1, 0.2]}},
        {"columns": {"snow": [0.1]}},
        {"times_ms": [_START - 1]},
        {"end_ms": _START - 1},
    ):
        fields = {name: getattr(good, name) for name in Report.__dataclass_fields__}
        with pytest.raises(UsageError):
            encode(Report(**{**fields, **change}), _KINDS)


def test_a_report_of_twelve_fields_fits_in_189_bytes() -> None:
    """Time and eleven variables with the resolution of a real station, signed."""
    names = tuple(f"variable_{number}" for number in range(11))
    values = [21.3, 55.0, 1013.2, 3.4, 270.0, 0.2, 512.5, 12.4, 18.9, 48.3, 17.0]
    report = Report(
        1,
        "sensing",
        "readings",
        1_790_000_000_123,
        _START,
        _START,
        [_START],
        dict(zip(names, [[v] for v in values], strict=True)),
    )
    payload = encode(report, {("sensing", "readings"): names})
    key = DeviceKey.from_secret(Algorithm.ED25519, b"\1" * 32)
    assert len(cose.sign(key, payload, cose.network_aad("demo", 31_337, 1))) <= 189


def test_an_hour_of_seven_variables_takes_about_a_kilobyte() -> None:
    names = tuple(f"variable_{number}" for number in range(7))
    times = [_START + 60_000 * minute for minute in range(60)]
    columns: dict[str, list[float | None]] = {name: [(minute * 7 % 400) / 10 for minute in range(60)] for name in names}
    report = Report(1, "sensing", "readings", 5, _START, times[-1], times, columns)
    assert len(encode(report, {("sensing", "readings"): names})) < 1_000


def test_kind_table_of_the_sensing_schema() -> None:
    from fieldstone.services.sensing import schema

    class _Service:
        name = "sensing"
        kinds: ClassVar = {schema.KIND: schema.VARIABLES}
        documents: ClassVar = {"proof": None}

    assert kind_table([_Service()]) == {("sensing", "readings"): schema.VARIABLE_NAMES, ("sensing", "proof"): ()}


DOCUMENTS = {("storage", "proof"): (), ("sensing", "readings"): ("temperature_c",)}


def _document(**changes: Any) -> bytes:
    body = {1: 1, 2: "storage", 3: "proof", 4: 7, 5: 1_700_000_000_000, 9: b"\x01\x02"}
    return cbor2.dumps({key: value for key, value in {**body, **changes.pop("set", {})}.items() if value is not None})


def test_a_document_comes_back_exactly() -> None:
    report = Report(1, "storage", "proof", 7, 1_700_000_000_000, 1_700_000_000_000, [], {}, b"\x01\x02")
    assert encode(report) == _document()
    assert decode(_document(), DOCUMENTS) == report


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({9: b""}, "BAD_PAYLOAD"),
        ({9: "text"}, "BAD_PAYLOAD"),
        ({8: {0: [1, 2]}}, "BAD_PAYLOAD"),
        ({6: 10}, "BAD_PAYLOAD"),
        ({2: "sensing", 3: "readings"}, "BAD_PAYLOAD"),
        ({3: "lease"}, "UNKNOWN_KIND"),
        ({4: 0}, "BAD_PAYLOAD"),
        ({4: None}, "BAD_PAYLOAD"),
        ({5: -1}, "BAD_TIME_SPAN"),
        ({1: 2}, "UNKNOWN_KIND"),
    ],
)
def test_a_document_with_a_fault_is_refused(changes: dict[int, Any], code: str) -> None:
    with pytest.raises(Rejected) as refusal:
        decode(_document(set=changes), DOCUMENTS)
    assert refusal.value.reason.code == code


def test_columns_for_a_kind_of_document_are_refused() -> None:
    with pytest.raises(Rejected, match="document"):
        decode(cbor2.dumps({1: 1, 2: "storage", 3: "proof", 4: 7, 5: 1, 8: {"size": [0, 1]}}), DOCUMENTS)
