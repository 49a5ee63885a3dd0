"""The acceptance rule, pinned by public edge cases. Each case is also put to the library alone, so that an upgrade
that changes the library's own behaviour shows here and not as a network split."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from fieldstone.errors import Rejected
from fieldstone.identity import strict_v1
from fieldstone.identity.keys import Algorithm, DeviceKey, PublicKey, verify

_CASES = json.loads((Path(__file__).parents[1] / "vectors/identity/ed25519_speccheck.json").read_text())["cases"]
_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_N = {
    Algorithm.P256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    Algorithm.SECP256K1: 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
}
_ECDSA = [Algorithm.P256, Algorithm.SECP256K1]


def _accepted(public_key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        return verify(PublicKey(Algorithm.ED25519, public_key), message, signature)
    except Rejected:
        return False  # the key could never be enrolled


def _library_accepts(public_key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True


def _add(p: tuple[int, int], q: tuple[int, int]) -> tuple[int, int]:
    (x1, y1), (x2, y2) = p, q
    k = _D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + k, -1, _P) % _P
    return x, (y1 * y2 + x1 * x2) * pow(1 - k, -1, _P) % _P


def _recover_x(y: int) -> int | None:
    x2 = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(x2, (_P + 3) // 8, _P)
    if x * x % _P != x2:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    return x if x * x % _P == x2 else None


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case["name"])
def test_speccheck_vectors(case: dict[str, str | bool]) -> None:
    key, message, signature = (bytes.fromhex(str(case[name])) for name in ("public_key", "message", "signature"))
    assert _accepted(key, message, signature) is case["accepted"]
    assert _library_accepts(key, message, signature) is case["accepted"]


def test_only_the_mixed_order_case_without_cofactor_is_accepted() -> None:
    assert [case["name"][:12] for case in _CASES if case["accepted"]] == ["paper case 3"]


def test_the_small_order_list_is_exactly_the_eight_torsion() -> None:
    found = set()
    for y in strict_v1._SMALL_ORDER_Y:
        x = _recover_x(y)
        assert x is not None
        for point in ((x, y), (-x % _P, y)):
            found.add(point)
            multiple = point
            for _ in range(3):
                multiple = _add(multiple, multiple)
            assert multiple == (0, 1)
    assert len(found) == 8


@pytest.mark.parametrize("y", sorted(strict_v1._SMALL_ORDER_Y))
@pytest.mark.parametrize("sign", [0, 1])
def test_every_encoding_of_a_small_order_point_is_refused_as_key_and_as_r(y: int, sign: int) -> None:
    message, base = b"anything", DeviceKey.from_secret(Algorithm.ED25519, b"\7" * 32)
    for number in (y, y + _P):
        if number >= 2**255:
            continue
        raw = (number | sign << 255).to_bytes(32, "little")
        with pytest.raises(Rejected, match="BAD_KEY"):
            PublicKey(Algorithm.ED25519, raw)
        for s in (0, 1, _L - 1):
            signature = raw + s.to_bytes(32, "little")
            assert not verify(base.public, message, signature)
            assert not _library_accepts(raw, message, signature)


@pytest.mark.parametrize("y", range(2, 19))
def test_keys_that_are_not_canonical_are_refused_even_of_large_order(y: int) -> None:
    raw = (y + _P).to_bytes(32, "little")
    assert "not canonical" in strict_v1.ed25519_key_problem(raw)


@given(st.binary(min_size=32, max_size=32))
def test_a_key_is_on_the_curve_exactly_when_x_can_be_solved(raw: bytes) -> None:
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    on_curve = y < _P and y not in strict_v1._SMALL_ORDER_Y and _recover_x(y) is not None
    assert (strict_v1.ed25519_key_problem(raw) == "") is on_curve


@given(st.binary(max_size=64), st.binary(min_size=32, max_size=32).filter(any))
def test_s_plus_l_is_refused(message: bytes, seed: bytes) -> None:
    key = DeviceKey.from_secret(Algorithm.ED25519, seed)
    signature = key.sign(message)
    s = int.from_bytes(signature[32:], "little") + _L
    assert verify(key.public, message, signature)
    assert not verify(key.public, message, signature[:32] + s.to_bytes(32, "little"))


@pytest.mark.parametrize("algorithm", _ECDSA)
def test_ecdsa_edges(algorithm: Algorithm) -> None:
    """The classes of Wycheproof's ecdsa_*_p1363 files: r or s zero, n, above n, high s, wrong lengths, r and s + n."""
    key, message, n = DeviceKey.from_secret(algorithm, b"\5" * 32), b"edge", _N[algorithm]
    good = key.sign(message)
    r, s = int.from_bytes(good[:32], "big"), int.from_bytes(good[32:], "big")

    def join(r: int, s: int) -> bytes:
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    assert s <= n // 2
    assert verify(key.public, message, good)
    edges = [(0, 0), (0, s), (r, 0), (n, s), (r, n), (r, n - s), (1, 1), (0, 1), (n - 1, n - 1), (2**256 - 1, s)]
    for bad in [join(*edge) for edge in edges] + [good[:63], good + b"\0", b"\0" + good, b"", good[32:] + good[:32]]:
        assert not verify(key.public, message, bad), bad.hex()
    assert not verify(key.public, message + b"\0", good)


@pytest.mark.parametrize("algorithm", _ECDSA)
def test_the_libraries_disagree_on_high_s_so_the_rule_is_ours(algorithm: Algorithm) -> None:
    key, n = DeviceKey.from_secret(algorithm, b"\5" * 32), _N[algorithm]
    signature = key.sign(b"m")
    high = signature[:32] + (n - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    assert not verify(key.public, b"m", high)
    if algorithm is Algorithm.P256:  # OpenSSL accepts it, and a secure element may well make it
        assert verify(key.public, b"m", strict_v1.low_s_p256(high))


@pytest.mark.parametrize("algorithm", _ECDSA)
@pytest.mark.parametrize("head", [0, 1, 4, 5, 6, 7, 255])
def test_only_compressed_points_are_keys(algorithm: Algorithm, head: int) -> None:
    raw = DeviceKey.from_secret(algorithm, b"\5" * 32).public.raw
    with pytest.raises(Rejected, match="not compressed"):
        PublicKey(algorithm, bytes([head]) + raw[1:])


@pytest.mark.parametrize("algorithm", _ECDSA)
def test_points_off_the_curve_and_x_beyond_the_field_are_no_keys(algorithm: Algorithm) -> None:
    refused = 0
    for x in [*range(12), 2**256 - 1]:
        try:
            PublicKey(algorithm, b"\2" + x.to_bytes(32, "big"))
        except Rejected as error:
            assert error.reason.code == "BAD_KEY"
            refused += 1
    assert 2 <= refused <= 12


def test_rfc6979_p256_sample_with_the_low_s_rule() -> None:
    """RFC 6979 A.2.5, SHA-256, message "sample": r as printed, s reflected since the printed one is high."""
    secret = bytes.fromhex("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721")
    r = "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
    s = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8
    signature = DeviceKey.from_secret(Algorithm.P256, secret).sign(b"sample")
    assert signature.hex().upper() == r + f"{_N[Algorithm.P256] - s:064X}"


def test_rfc8032_test_2() -> None:
    secret = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    key = DeviceKey.from_secret(Algorithm.ED25519, secret)
    assert key.public.raw.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    expected = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert key.sign(b"\x72").hex() == expected
