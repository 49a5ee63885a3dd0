import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import Rejected, UsageError
from fieldstone.identity import base58
from fieldstone.identity.keys import Algorithm, DeviceKey, PublicKey, verify

_VECTORS = json.loads((Path(__file__).parents[1] / "vectors/identity/did_key.json").read_text())
_PREFIX = {Algorithm.ED25519: "z6Mk", Algorithm.P256: "zDn", Algorithm.SECP256K1: "zQ3s"}
_SECRETS = st.integers(1, 2**255).map(lambda number: number.to_bytes(32, "big"))


@pytest.mark.parametrize("case", _VECTORS["valid"], ids=lambda case: case["algorithm"])
def test_published_ids_are_read_and_written_back(case: dict[str, str]) -> None:
    public = PublicKey.from_device_id(case["id"])
    assert public.algorithm == case["algorithm"]
    assert public.device_id == case["id"]


@pytest.mark.parametrize("algorithm", list(Algorithm))
@given(secret=_SECRETS)
def test_ids_round_trip_and_start_as_the_method_says(algorithm: Algorithm, secret: bytes) -> None:
    public = DeviceKey.from_secret(algorithm, secret).public
    assert public.device_id.startswith("did:key:" + _PREFIX[algorithm])
    assert PublicKey.from_device_id(public.device_id) == public
    assert len(public.kid) == 8


@pytest.mark.parametrize("algorithm", list(Algorithm))
@given(secret=_SECRETS, message=st.binary(max_size=80), bit=st.integers(0, 511), where=st.integers(0, 10_000))
def test_a_signature_verifies_and_any_flipped_bit_fails(
    algorithm: Algorithm, secret: bytes, message: bytes, bit: int, where: int
) -> None:
    key = DeviceKey.from_secret(algorithm, secret)
    signature = key.sign(message)
    assert len(signature) == 64
    assert verify(key.public, message, signature)
    assert key.sign(message) == signature  # deterministic: a resend is the same message
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not verify(key.public, message, bytes(flipped))
    if message:
        changed = bytearray(message)
        changed[where % len(message)] ^= 1 << where % 8
        assert not verify(key.public, bytes(changed), signature)


def test_one_key_does_not_verify_another_curves_signature() -> None:
    keys = [DeviceKey.from_secret(algorithm, b"\1" * 32) for algorithm in Algorithm]
    for signer in keys:
        signature = signer.sign(b"m")
        assert [verify(other.public, b"m", signature) for other in keys] == [other is signer for other in keys]


def _id_of(body: bytes) -> str:
    return "did:key:z" + base58.encode(body)


_ED = DeviceKey.from_secret(Algorithm.ED25519, b"\1" * 32).public.raw
_P256 = DeviceKey.from_secret(Algorithm.P256, b"\1" * 32).public.raw


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (_id_of(b"\x12\x00" + _P256), "raw prefix 12 00"),
        (_id_of(b"\xec\x01" + _ED), "multicodec ec01"),
        (_id_of(b"\xed\x01" + _ED[:-1]), "31 bytes"),
        (_id_of(b"\xed\x01" + _ED + b"\0"), "33 bytes"),
        (_id_of(b"\x80\x24" + _P256[1:]), "32 bytes"),
        (_id_of(b"\xed\x01" + bytes(32)), "small order"),
        (_id_of(b""), "multicodec"),
        ("did:key:z1" + _id_of(b"\xed\x01" + _ED)[9:], "multicodec 00ed"),
        ("did:key:u7QGu", "starts with did:key:z"),
        ("did:web:example.org", "starts with did:key:z"),
        ("did:key:z6Mk0OIl", "not a base58btc letter"),
        ("did:key:z" + "6" * 10_000, "at most 64"),
        ("", "starts with"),
        ("did:key:z6Mk\n", "not a base58btc letter"),
    ],
)
def test_ids_that_are_not_canonical_are_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(Rejected, match="BAD_KEY") as caught:
        PublicKey.from_device_id(text)
    assert says in str(caught.value)


@given(st.text(max_size=80))
def test_any_text_is_an_id_or_rejected(text: str) -> None:
    try:
        public = PublicKey.from_device_id("did:key:z" + text)
    except Rejected:
        return
    assert public.device_id == "did:key:z" + text


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_key_file_is_private_and_never_overwritten(algorithm: Algorithm, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "device.json"
    key = DeviceKey.generate(algorithm)
    key.save(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert DeviceKey.load(path).public == key.public
    with pytest.raises(UsageError, match="never overwritten"):
        key.save(path)
    assert DeviceKey.load(path).sign(b"x") == key.sign(b"x")


def test_a_damaged_or_foreign_key_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    with pytest.raises(UsageError, match="no such key file"):
        DeviceKey.load(path)
    DeviceKey.generate().save(path)
    body = json.loads(path.read_text())
    for change, says in [
        ({"secret_hex": "00" * 31}, "has 32 bytes"),
        ({"secret_hex": "11" * 32}, "does not belong"),
        ({"algorithm": "RS256"}, "damaged"),
        ({"secret_hex": 7}, "damaged"),
        ({"kind": "something"}, "not a fieldstone-device-key"),
    ]:
        path.write_text(json.dumps({**body, **change}))
        with pytest.raises(UsageError, match=says):
            DeviceKey.load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not a key file"):
        DeviceKey.load(path)


@pytest.mark.parametrize("algorithm", [Algorithm.P256, Algorithm.SECP256K1])
def test_scalars_outside_the_group_are_no_secrets(algorithm: Algorithm) -> None:
    for secret in (bytes(32), b"\xff" * 32, b"\1" * 31):
        with pytest.raises(UsageError):
            DeviceKey.from_secret(algorithm, secret)


def test_a_key_never_prints_its_secret() -> None:
    key = DeviceKey.from_secret(Algorithm.ED25519, bytes(range(32)))
    assert bytes(range(32)).hex() not in repr(key) + str(vars(key).get("_public"))
