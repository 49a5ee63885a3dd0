import base64
import contextlib
import json
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import Rejected
from fieldstone.identity import cose, strict_v1
from fieldstone.identity.keys import Algorithm, DeviceKey, PublicKey, verify

_VECTORS = json.loads((Path(__file__).parents[1] / "vectors/identity/cose_sign1.json").read_text())
_AAD = cose.network_aad("demo", 31_337, 1)
_KEYS = {algorithm: DeviceKey.from_secret(algorithm, b"\x21" * 32) for algorithm in Algorithm}
_KEY = _KEYS[Algorithm.ED25519]


def _vector_key() -> PublicKey:
    x, y = (base64.urlsafe_b64decode(_VECTORS["public_key"][name] + "==") for name in "xy")
    return PublicKey(Algorithm.P256, bytes([2 + y[-1] % 2]) + x)


@pytest.mark.parametrize("case", _VECTORS["cases"], ids=lambda case: case["name"])
def test_rfc9052_vectors(case: dict[str, str | bool]) -> None:
    protected, external, payload, signature = (
        bytes.fromhex(str(case[name])) for name in ("protected", "external", "payload", "signature")
    )
    signed = cose.signed_bytes(protected, external, payload)
    assert signed == bytes.fromhex(str(case["to_be_signed"]))
    assert verify(_vector_key(), signed, signature) is (case["low_s"] and case["valid"])
    assert verify(_vector_key(), signed, strict_v1.low_s_p256(signature)) is case["valid"]
    with pytest.raises(Rejected, match="BAD_COSE"):
        cose.parse(bytes.fromhex(str(case["message"])))


@pytest.mark.parametrize("algorithm", list(Algorithm))
@given(payload=st.binary(max_size=700))
def test_sign_parse_verify(algorithm: Algorithm, payload: bytes) -> None:
    key = _KEYS[algorithm]
    message = cose.sign(key, payload, _AAD)
    envelope = cose.parse(message)
    assert (envelope.payload, envelope.kid, envelope.algorithm) == (payload, key.public.kid, algorithm)
    assert verify(key.public, envelope.signed_bytes(_AAD), envelope.signature)
    decoded = cbor2.loads(message)  # it is what any COSE library reads
    assert decoded.tag == 18
    protected, unprotected, *rest = decoded.value
    assert (protected, dict(unprotected), rest) == (envelope.protected, {}, [payload, envelope.signature])
    again = cbor2.dumps(["Signature1", envelope.protected, _AAD, payload])
    assert envelope.signed_bytes(_AAD) == again


@pytest.mark.parametrize("length", [0, 23, 24, 255, 256, 65_535, 65_536])
def test_every_length_of_length(length: int) -> None:
    message = cose.sign(_KEY, b"x" * length, _AAD)
    assert cose.parse(message).payload == b"x" * length
    assert message == cbor2.dumps(cbor2.loads(message))


def test_sizes_of_the_reference() -> None:
    """A 92-byte payload makes 177 bytes, a 104-byte one 189; a protected header with alg −8 alone is a10127."""
    assert len(cose.sign(_KEY, b"x" * 92, _AAD)) == 177
    assert len(cose.sign(_KEY, b"x" * 104, _AAD)) == 189
    assert cbor2.dumps({1: cose.EDDSA}).hex() == "a10127"


@given(st.integers(0, 10_000))
def test_any_flipped_bit_is_rejected_or_fails(where: int) -> None:
    """There is no bit whose change gives another message that still verifies: nobody can fake an equivocation."""
    message = bytearray(cose.sign(_KEY, b"payload", _AAD))
    message[where // 8 % len(message)] ^= 1 << where % 8
    try:
        envelope = cose.parse(bytes(message))
    except Rejected:
        return
    known = envelope.kid == _KEY.public.kid and envelope.algorithm is Algorithm.ED25519
    assert not (known and verify(_KEY.public, envelope.signed_bytes(_AAD), envelope.signature))


@pytest.mark.parametrize("other", [("demo2", 31_337, 1), ("demo", 1, 1), ("demo", 31_337, 2)])
def test_a_report_for_one_network_does_not_verify_on_another(other: tuple[str, int, int]) -> None:
    envelope = cose.parse(cose.sign(_KEY, b"payload", _AAD))
    assert not verify(_KEY.public, envelope.signed_bytes(cose.network_aad(*other)), envelope.signature)


def _message(protected: object = None, unprotected: object = None, payload: object = b"p", tag: int = 18) -> bytes:
    header = cbor2.dumps({1: -8, 4: b"12345678"}) if protected is None else protected
    return cbor2.dumps(cbor2.CBORTag(tag, [header, unprotected or {}, payload, b"s" * 64]))


@pytest.mark.parametrize("alias", [(-8, -19, Algorithm.ED25519), (-7, -9, Algorithm.P256)])
def test_both_names_of_an_algorithm_are_read(alias: tuple[int, int, Algorithm]) -> None:
    for number in alias[:2]:
        assert cose.parse(_message(cbor2.dumps({1: number, 4: b"12345678"}))).algorithm is alias[2]


_GOOD = _message()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", "BAD_CBOR"),
        (b"\xd2", "BAD_CBOR"),
        (_GOOD[:-1], "BAD_CBOR"),
        (b"hello", "BAD_CBOR"),
        (b"{}", "BAD_CBOR"),
        (_GOOD + b"\0", "BAD_COSE"),
        (_GOOD + _GOOD, "BAD_COSE"),
        (_GOOD[1:], "BAD_COSE"),
        (_message(tag=17), "BAD_COSE"),
        (_message(tag=98), "BAD_COSE"),
        (b"\xd8\x12" + _GOOD[1:], "BAD_COSE"),  # tag 18 in two bytes
        (_message(unprotected={4: b"12345678"}), "BAD_COSE"),
        (_message(payload=None), "BAD_COSE"),  # detached
        (_message(payload="text"), "BAD_COSE"),
        (_message({1: -8}), "BAD_COSE"),
        (_message(b""), "BAD_COSE"),
        (_message(cbor2.dumps({1: -8})), "BAD_COSE"),
        (_message(cbor2.dumps({4: b"12345678"})), "BAD_COSE"),
        (_message(cbor2.dumps({1: -8, 4: b"1234567"})), "BAD_COSE"),
        (_message(cbor2.dumps({1: -8, 4: "12345678"})), "BAD_COSE"),
        (_message(cbor2.dumps({1: -8, 4: b"12345678", 2: [1]})), "BAD_COSE"),  # crit
        (_message(cbor2.dumps({1: "EdDSA", 4: b"12345678"})), "BAD_COSE"),
        (_message(cbor2.dumps({True: -8, 4: b"12345678"})), "BAD_COSE"),
        (_message(cbor2.dumps({1: -8.0, 4: b"12345678"})), "BAD_COSE"),
        *[(_message(cbor2.dumps({1: a, 4: b"12345678"})), "BAD_COSE") for a in (-35, -257, 5, 0, 2**70)],
        (_message(bytes.fromhex("a301270127") + b"\x04\x48" + b"12345678"), "BAD_COSE"),  # a key twice
        (_message(b"\xbf\x01\x27\x04\x48" + b"12345678\xff"), "BAD_COSE"),  # indefinite map
        (_message(cbor2.dumps({1: -8, 4: b"12345678"}) + b"\0"), "BAD_COSE"),
        (_message(b"\x81" * 30), "BAD_COSE"),
        (_message(b"\xa1" * 200), "BAD_COSE"),
        (_GOOD.replace(b"\x41p", b"\x58\x01p"), "BAD_COSE"),  # a length in two bytes where one does
        (_GOOD.replace(b"\x41p", b"\x5b\0\0\0\0\0\0\0\x01p"), "BAD_COSE"),
        (_GOOD.replace(b"\x41p", b"\x5f\x41p\xff"), "BAD_CBOR"),  # indefinite: not accepted at all
        (_GOOD.replace(b"\x41p", b"\x5a\xff\xff\xff\xffp"), "BAD_CBOR"),
        (_GOOD.replace(b"\x58\x40", b"\x59\x00\x40"), "BAD_COSE"),
        (_GOOD.replace(b"\x58\x40" + b"s" * 64, b"\x58\x3f" + b"s" * 63), "BAD_COSE"),
        (b"\x81" * 100_000, "BAD_CBOR"),
    ],
)
def test_structure_is_strict(message: bytes, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        cose.parse(message)
    assert caught.value.reason.code == code
    assert len(str(caught.value)) < 500


@given(st.binary(max_size=200))
def test_only_rejected_comes_out_of_hostile_bytes(body: bytes) -> None:
    for message in (body, b"\xd2\x84" + body, b"\xd2\x84\x4c\xa2\x01\x27\x04\x48" + body):
        with contextlib.suppress(Rejected):
            cose.parse(message)


@given(st.lists(st.one_of(st.binary(max_size=30), st.just(_GOOD)), max_size=30))
def test_a_sequence_is_cut_without_losing_a_byte(parts: list[bytes]) -> None:
    body = b"".join(parts)
    assert b"".join(cose.split(body)) == body


def test_one_bad_item_does_not_spoil_its_neighbours() -> None:
    messages = [cose.sign(_KEY, bytes([number]) * 300, _AAD) for number in range(5)]
    foreign = cbor2.dumps({"not": "cose"})
    found = list(cose.split(messages[0] + foreign + b"".join(messages[1:]) + b"\xff\xff"))
    assert found == [messages[0], foreign, *messages[1:], b"\xff\xff"]


def test_a_body_of_tiny_items_gives_few_refusals() -> None:
    assert len(list(cose.split(b"\x01" * 1_000_000))) == 17
