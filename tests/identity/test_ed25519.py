"""Both libraries must give one answer to everything, and a library that does not is never used."""

import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from fieldstone.identity import ed25519, strict_v1
from fieldstone.identity.ed25519 import Verify, VerifyMany, disagreement, verify_with_libsodium

_CASES = json.loads((Path(__file__).parents[1] / "vectors/identity/ed25519_speccheck.json").read_text())["cases"]
_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
Point = tuple[int, int]

needs_askar = pytest.mark.skipif(find_spec("aries_askar") is None, reason="the faster library is not installed")


@pytest.fixture(scope="module")
def fast() -> Verify:
    chosen = ed25519.backend()
    assert (chosen.name, chosen.why_not) == ("aries-askar", "")
    return chosen.verify


def _add(p: Point, q: Point) -> Point:
    (x1, y1), (x2, y2) = p, q
    k = _D * x1 * x2 * y1 * y2
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, _P) % _P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, _P) % _P


def _times(n: int, p: Point) -> Point:
    result = (0, 1)
    while n:
        if n & 1:
            result = _add(result, p)
        p = _add(p, p)
        n >>= 1
    return result


def _recover(y: int, odd: int) -> Point:
    x2 = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(x2, (_P + 3) // 8, _P)
    if x * x % _P != x2:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    assert x * x % _P == x2
    return (x if x & 1 == odd else -x % _P), y


def _encode(p: Point) -> bytes:
    return (p[1] | (p[0] & 1) << 255).to_bytes(32, "little")


_B = _recover(4 * pow(5, -1, _P) % _P, 0)
_TORSION = [_times(n, _recover(strict_v1._ORDER_EIGHT_Y, 0)) for n in range(8)]
_SECRET, _NONCE = 0x1234567890ABCDEF << 190, 0xFEDCBA0987654321 << 180
_KEYS = [_add(_times(_SECRET, _B), torsion) for torsion in _TORSION]
_NONCES = [_add(_times(_NONCE, _B), torsion) for torsion in _TORSION]


def _with_torsion(key_part: int, nonce_part: int, message: bytes) -> tuple[bytes, bytes, int]:
    """Sign with torsion added to A and R; return key, signature and the hash scalar."""
    key, nonce = _encode(_KEYS[key_part]), _encode(_NONCES[nonce_part])
    scalar = int.from_bytes(hashlib.sha512(nonce + key + message).digest(), "little") % _L
    return key, nonce + ((_NONCE + scalar * _SECRET) % _L).to_bytes(32, "little"), scalar


@needs_askar
@pytest.mark.parametrize("key_part", range(8))
def test_no_cofactor_anywhere(fast: Verify, key_part: int) -> None:
    """S·B − k·A = R only where the torsion parts cancel: −k·a ≡ r (mod 8). With cofactor all of these would pass."""
    accepted = 0
    for nonce_part in range(8):
        for number in range(4):
            message = b"%d" % number
            key, signature, scalar = _with_torsion(key_part, nonce_part, message)
            expected = (scalar * key_part + nonce_part) % 8 == 0
            assert verify_with_libsodium(key, message, signature) is expected
            assert fast(key, message, signature) is expected
            assert strict_v1.verify_ed25519(key, message, signature) is expected
            assert strict_v1.verify_ed25519_many(key, [message], [signature]) == [expected]
            accepted += expected
    assert 0 < accepted < 32


@needs_askar
@pytest.mark.parametrize("case", _CASES, ids=lambda case: case["name"])
def test_published_edge_cases(fast: Verify, case: dict[str, str | bool]) -> None:
    key, message, signature = (bytes.fromhex(str(case[name])) for name in ("public_key", "message", "signature"))
    assert fast(key, message, signature) is verify_with_libsodium(key, message, signature) is case["accepted"]


_small_order = st.sampled_from(sorted(strict_v1._SMALL_ORDER))
_not_canonical = st.builds(
    lambda y, sign: (y + _P | sign << 255).to_bytes(32, "little"), st.integers(0, 18), st.integers(0, 1)
)
_odd_point = st.one_of(_small_order, _not_canonical, st.binary(min_size=32, max_size=32))


@needs_askar
@given(
    seed=st.binary(min_size=32, max_size=32),
    message=st.binary(max_size=300),
    flips=st.lists(st.integers(0, 96 * 8 - 1), max_size=2),
    s_plus=st.sampled_from([0, 0, 0, _L, 2**255, 2**252]),
    nonce=st.one_of(st.none(), st.none(), _odd_point),
    key=st.one_of(st.none(), st.none(), _odd_point),
)
def test_both_libraries_agree_on_bent_signatures(
    fast: Verify, seed: bytes, message: bytes, flips: list[int], s_plus: int, nonce: bytes | None, key: bytes | None
) -> None:
    signer = SigningKey(seed)
    signature = signer.sign(message).signature
    s = (int.from_bytes(signature[32:], "little") + s_plus) % 2**256
    bent = bytearray((key or bytes(signer.verify_key)) + (nonce or signature[:32]) + s.to_bytes(32, "little"))
    for flip in flips:
        bent[flip // 8] ^= 1 << flip % 8
    raw, signature = bytes(bent[:32]), bytes(bent[32:])
    if strict_v1.ed25519_key_problem(raw):
        return  # no verifier is ever asked: `PublicKey` refuses such a key
    expected = verify_with_libsodium(raw, message, signature)
    assert fast(raw, message, signature) is expected
    assert strict_v1.verify_ed25519(raw, message, signature) is expected
    several = strict_v1.verify_ed25519_many(raw, [message] * 3, [signature, signer.sign(message).signature, signature])
    assert several == [expected, raw == bytes(signer.verify_key), expected]


@needs_askar
@given(st.binary(min_size=32, max_size=32), st.integers(0, 7), st.integers(0, 7))
def test_both_libraries_agree_on_any_torsion(fast: Verify, message: bytes, key_part: int, nonce_part: int) -> None:
    key, signature, _ = _with_torsion(key_part, nonce_part, message)
    assert fast(key, message, signature) is verify_with_libsodium(key, message, signature)


@needs_askar
@given(st.binary(max_size=40), st.binary(max_size=10), st.binary(max_size=70))
def test_bytes_of_any_length_are_refused_quietly(fast: Verify, raw: bytes, message: bytes, signature: bytes) -> None:
    assert fast(raw, message, signature) is False


@needs_askar
def test_threads_do_not_mix_their_arguments_up(fast: Verify) -> None:
    signer = SigningKey(b"\5" * 32)
    raw = bytes(signer.verify_key)
    work = [(b"%d" % number * 50, number % 3 == 0) for number in range(600)]

    def ask(item: tuple[bytes, bool]) -> bool:
        message, right = item
        return fast(raw, message, signer.sign(message if right else message + b"x").signature) is right

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, work))


@needs_askar
def test_threads_do_not_mix_their_verdicts_up() -> None:
    signer = SigningKey(b"\6" * 32)
    raw = bytes(signer.verify_key)
    messages = [b"%d" % number * 50 for number in range(120)]
    right = [signer.sign(message).signature for message in messages]

    def ask(gap: int) -> bool:
        expected = [number % gap != 0 for number in range(len(messages))]
        proofs = [proof if fine else proof[::-1] for proof, fine in zip(right, expected, strict=True)]
        return ed25519.backend().verify_many(raw, messages, proofs) == expected

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(1, 13)))


@pytest.mark.parametrize("library", ["the fast one", "libsodium"])
def test_several_signatures_are_judged_one_by_one(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures that would cancel each other out in one equation are refused, each of them."""
    if library == "libsodium":
        chosen = ed25519.Backend("PyNaCl", "", verify_with_libsodium, "absent")
        monkeypatch.setattr(strict_v1, "backend", lambda: chosen)
    signer = SigningKey(b"\7" * 32)
    raw, messages = bytes(signer.verify_key), [b"one", b"two", b"three", b""]
    proofs = [bytes(signer.sign(message).signature) for message in messages]

    def moved(proof: bytes, by: int) -> bytes:
        return proof[:32] + ((int.from_bytes(proof[32:], "little") + by) % _L).to_bytes(32, "little")

    assert strict_v1.verify_ed25519_many(raw, messages, proofs) == [True] * 4
    opposite = [moved(proofs[0], 5), moved(proofs[1], -5), *proofs[2:]]
    assert strict_v1.verify_ed25519_many(raw, messages, opposite) == [False, False, True, True]
    swapped = [proofs[1], proofs[0], *proofs[2:]]
    assert strict_v1.verify_ed25519_many(raw, messages, swapped) == [False, False, True, True]
    assert strict_v1.verify_ed25519_many(raw, messages, [b"", proofs[1][:63], proofs[2] + b"\0", proofs[3]]) == [
        False,
        False,
        False,
        True,
    ]
    assert strict_v1.verify_ed25519_many(bytes(32), messages, proofs) == [False] * 4
    assert strict_v1.verify_ed25519_many(raw, [], []) == []


def test_keys_that_only_one_library_would_take_are_no_keys() -> None:
    """curve25519-dalek reads y ≥ p modulo p, libsodium refuses; nobody gets so far as to ask either."""
    for y in range(19):
        for sign in (0, 1):
            assert strict_v1.ed25519_key_problem((y + _P | sign << 255).to_bytes(32, "little"))


def test_libsodium_itself_answers_the_questions() -> None:
    assert disagreement(verify_with_libsodium) == ""


def _one_by_one(verify: Verify) -> VerifyMany:
    return lambda raw, messages, proofs: [verify(raw, *pair) for pair in zip(messages, proofs, strict=True)]


def _with_cofactor(raw: bytes, message: bytes, signature: bytes) -> bool:
    """What ZIP-215 and some libraries do: accept where the difference is of small order."""
    if verify_with_libsodium(raw, message, signature):
        return True
    return raw.hex().startswith("cdb267ce") and signature.hex().startswith("160a1cb0")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda raw, message, signature: True,
        lambda raw, message, signature: False,
        _with_cofactor,
        lambda raw, message, signature: len(message) < 4_096 and verify_with_libsodium(raw, message, signature),
        lambda raw, message, signature: verify_with_libsodium(raw, message.rstrip(b"\0"), signature),
        lambda raw, message, signature: verify_with_libsodium(
            raw,
            message,
            signature[:32] + (int.from_bytes(signature[32:], "little") % _L).to_bytes(32, "little"),  # S above L
        ),
    ],
)
def test_a_library_that_answers_otherwise_is_not_used(wrong: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disagreement(wrong)
    monkeypatch.setattr(ed25519, "version", lambda name: "0.5.0")
    monkeypatch.setattr(ed25519, "_askar", lambda installed: ((wrong, _one_by_one(wrong)), ""))
    chosen = ed25519.backend.__wrapped__()
    assert chosen.name == "PyNaCl" and chosen.verify is verify_with_libsodium
    assert "libsodium" in chosen.why_not or "signature" in chosen.why_not


def test_a_library_that_answers_otherwise_about_several_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: VerifyMany = lambda raw, messages, proofs: [True] * len(messages)  # noqa: E731
    monkeypatch.setattr(ed25519, "version", lambda name: "0.5.0")
    monkeypatch.setattr(ed25519, "_askar", lambda installed: ((verify_with_libsodium, wrong), ""))
    chosen = ed25519.backend.__wrapped__()
    assert chosen.name == "PyNaCl" and chosen.many is None and "libsodium" in chosen.why_not


@pytest.mark.parametrize("machine", ["s390x", "i686", "ppc64le", ""])
def test_where_the_calling_convention_is_another_it_is_not_called(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ed25519, "version", lambda name: "0.5.0")
    monkeypatch.setattr(ed25519.platform, "machine", lambda: machine)
    chosen = ed25519.backend.__wrapped__()
    assert chosen.name == "PyNaCl" and "is not called on" in chosen.why_not


@pytest.mark.parametrize("installed", ["0.4.9", "0.6.0", "1.0"])
def test_another_series_is_not_even_loaded(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ed25519, "version", lambda name: installed)
    chosen = ed25519.backend.__wrapped__()
    assert chosen.name == "PyNaCl" and "another series" in chosen.why_not


def test_a_library_that_cannot_be_loaded_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "aries_askar"
    broken.mkdir()
    (broken / "__init__.py").touch()
    for name in ed25519._LIBRARY_NAME.values():
        (broken / name).write_bytes(b"no library")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(ed25519, "version", lambda name: "0.5.0")
    monkeypatch.delitem(sys.modules, "aries_askar", raising=False)
    chosen = ed25519.backend.__wrapped__()
    assert chosen.name == "PyNaCl" and "cannot be loaded" in chosen.why_not


def test_without_it_the_rule_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_v1, "backend", lambda: ed25519.Backend("PyNaCl", "", verify_with_libsodium, "absent"))
    for case in _CASES:
        key, message, signature = (bytes.fromhex(str(case[name])) for name in ("public_key", "message", "signature"))
        accepted = not strict_v1.ed25519_key_problem(key) and strict_v1.verify_ed25519(key, message, signature)
        assert accepted is case["accepted"]
