import contextlib
import math
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import Rejected
from fieldstone.identity import entries
from fieldstone.identity.entries import Action, Place
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.identity.wallet import Wallet, recover_text
from fieldstone.policy import Policy

_NET = Policy(network_id="demo")
_KEY = DeviceKey.from_secret(Algorithm.ED25519, b"\1" * 32)
_NEW = DeviceKey.from_secret(Algorithm.P256, b"\2" * 32)
_WALLET = Wallet.from_secret(b"\3" * 32)
_PLACE = Place(52.52, 13.405, 34.0, 25.0)
_DEVICE = _KEY.public.device_id


def _bodies() -> dict[Action, bytes]:
    return {
        Action.ENROL: entries.enrol(_KEY, _WALLET, _NET, model="WS-1", place=_PLACE, name="Dach Süd"),
        Action.ROTATE: entries.rotate(_DEVICE, _KEY, _NEW, _WALLET, _NET, nonce=2),
        Action.RECOVER: entries.recover(_DEVICE, _NEW, _WALLET, _NET, nonce=2),
        Action.REVOKE: entries.revoke(_DEVICE, _WALLET, _NET, nonce=2),
        Action.MOVE: entries.move(_DEVICE, _KEY, _WALLET, _NET, place=_PLACE, nonce=2),
    }


def test_the_text_that_an_operator_signs() -> None:
    entry = entries.parse(_bodies()[Action.ENROL])
    assert entry.text(_NET) == (
        "Fieldstone: enrol a device\n"
        "Network: demo (chain 31337, schema 1)\n"
        f"Device: {_DEVICE}\n"
        f"Operator: {_WALLET.address}\n"
        "Model: WS-1\n"
        "Name: Dach Süd\n"
        "Place: 52.52, 13.405, 34.0 m up, known to 25.0 m\n"
        "Nonce: 1"
    )


@pytest.mark.parametrize("action", list(Action))
def test_every_action_is_signed_by_all_it_needs(action: Action) -> None:
    entry = entries.parse(_bodies()[action])
    assert entry.action is action
    assert recover_text(entry.text(_NET), entry.operator_signature) == _WALLET.address
    signers = {
        Action.ENROL: [_KEY],
        Action.ROTATE: [_KEY, _NEW],
        Action.RECOVER: [_NEW],
        Action.REVOKE: [],
        Action.MOVE: [_KEY],
    }[action]
    assert len(entry.signatures) == len(signers)
    for place, key in enumerate(signers):
        assert entry.is_signed_by(place, key.public, _NET)
        other = _NEW if key is _KEY else _KEY
        assert not entry.is_signed_by(place, other.public, _NET)
        for elsewhere in (
            Policy(network_id="demo2"),
            Policy(network_id="demo", chain_id=1),
            Policy(network_id="demo", schema_version=2),
        ):
            assert not entry.is_signed_by(place, key.public, elsewhere)
            assert recover_text(entry.text(elsewhere), entry.operator_signature) != _WALLET.address


def _changed(action: Action = Action.ENROL, **changes: Any) -> bytes:
    payload, signatures, operator_signature = cbor2.loads(_bodies()[action])
    fields = cbor2.loads(payload)
    for name, value in changes.items():
        number = int(name.removeprefix("f"))
        if value is ...:
            fields.pop(number, None)
        else:
            fields[number] = value
    return cbor2.dumps([cbor2.dumps(fields), signatures, operator_signature])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        *[({f"f{number}": ...}, "BAD_PAYLOAD") for number in range(1, 11)],
        ({"f99": 1}, "BAD_PAYLOAD"),
        ({"f13": _DEVICE}, "BAD_PAYLOAD"),
        ({"f1": 2}, "BAD_PAYLOAD"),
        ({"f2": "destroy"}, "BAD_PAYLOAD"),
        ({"f2": ["enrol"]}, "BAD_PAYLOAD"),
        ({"f2": "rotate"}, "BAD_PAYLOAD"),
        ({"f3": "did:key:zz"}, "BAD_KEY"),
        ({"f3": 5}, "BAD_KEY"),
        *[({"f4": nonce}, "BAD_PAYLOAD") for nonce in (0, -1, 2**53, 1.0, "1", True, None)],
        ({"f5": _WALLET.address.lower()}, "BAD_PAYLOAD"),
        ({"f5": "0x" + "0" * 40}, "BAD_PAYLOAD"),
        ({"f5": 5}, "BAD_PAYLOAD"),
        *[({"f6": model}, "BAD_TEXT") for model in ("", " WS", "WS ", "W\nS", "W" * 65, "Wétter", 5, "a\x00b", "<b>")],
        *[({"f7": lat}, "BAD_LOCATION") for lat in (90.1, -90.1, math.nan, math.inf, "52", None, True)],
        *[({"f8": lon}, "BAD_LOCATION") for lon in (180.1, -180.1, math.nan, 1e308)],
        *[({"f9": up}, "BAD_LOCATION") for up in (-501.0, 9_001.0, math.nan)],
        *[({"f10": accuracy}, "BAD_LOCATION") for accuracy in (0, -1.0, 100_001.0, math.inf)],
        *[({"f12": chain}, "BAD_PAYLOAD") for chain in ([], [b"x"] * 5, ["x"], b"x")],
    ],
)
def test_each_fault_has_its_reason(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Rejected) as caught:
        entries.parse(_changed(**changes))
    assert caught.value.reason.code == code


@pytest.mark.parametrize(
    "name",
    [
        "",
        " roof",
        "roof ",
        "x" * 65,
        "two\nlines",
        "tab\there",
        "nul\0",
        "bell\a",
        "\x1b[31mred",
        "right\u202eleft",  # bidirectional override
        "zero\u200bwidth",
        "line\u2028separator",
        "e\u0301",  # not NFC
        "Z" + "\u0334\u0335\u0336\u0337",  # stacked marks
        "\ud7ff\ue000",  # private use
        7,
        None,
        b"roof",
    ],
)
def test_hostile_names_are_refused(name: object) -> None:
    with pytest.raises(Rejected, match="BAD_TEXT"):
        entries.parse(_changed(f11=name))


@pytest.mark.parametrize("name", ["Dach Süd", "屋上", "Крыша 2", "O'Brien & <sons>", "x" * 64, "🌧 rain"])
def test_names_of_all_languages_are_taken(name: str) -> None:
    assert entries.parse(_changed(f11=name)).name == name


def test_a_name_cannot_fake_a_line_of_the_signed_text() -> None:
    with pytest.raises(Rejected, match="BAD_TEXT"):
        entries.enrol(_KEY, _WALLET, _NET, model="WS-1", place=_PLACE, name="x\nOperator: 0x0")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "BAD_CBOR"),
        (b"\x01", "BAD_PAYLOAD"),
        (b"\x80", "BAD_PAYLOAD"),
        (b"\x9f\xff", "BAD_CBOR"),
        (cbor2.dumps([b"", [], b"x" * 65]), "BAD_CBOR"),
        (cbor2.dumps([b"\xa0", [], b"x" * 65]), "BAD_PAYLOAD"),
        (cbor2.dumps([b"\xa0", [], b"x" * 64]), "BAD_PAYLOAD"),
        (cbor2.dumps([b"\xa0", [[b"", ""]], b"x" * 65]), "BAD_PAYLOAD"),
        (cbor2.dumps([b"\xc0\xa0", [], b"x" * 65]), "BAD_CBOR"),
        (cbor2.dumps([b"\xa1\x01\xd8\x23\x61a", [], b"x" * 65]), "BAD_CBOR"),
        (cbor2.dumps([b"\xa2\x01\x01\x01\x02", [], b"x" * 65]), "BAD_CBOR"),
        (_bodies()[Action.MOVE] + b"\0", "BAD_CBOR"),
        (b"\x81" * 10_000, "BAD_CBOR"),
        (b"x" * 20_000, "TOO_LARGE"),
    ],
)
def test_hostile_bodies(body: bytes, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        entries.parse(body)
    assert caught.value.reason.code == code


@given(st.binary(max_size=150))
def test_only_rejected_comes_out_of_hostile_bytes(body: bytes) -> None:
    for candidate in (body, cbor2.dumps([body, [], b"x" * 65]), b"\x83" + body):
        with contextlib.suppress(Rejected):
            entries.parse(candidate)


_JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.integers(), st.text(max_size=3), max_size=2),
)


@given(st.sampled_from(list(Action)), st.dictionaries(st.integers(1, 14).map("f{}".format), _JUNK, max_size=3))
def test_only_rejected_comes_out_of_wrong_types(action: Action, changes: dict[str, Any]) -> None:
    with contextlib.suppress(Rejected):
        entries.parse(_changed(action, **changes))
