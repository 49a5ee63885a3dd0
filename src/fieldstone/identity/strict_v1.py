"""The signature acceptance rule `strict-v1`: which bytes count as a signature. Two verifiers must never disagree.

Ed25519 (RFC 8032, cofactorless, what libsodium accepts). A signature R‖S under key A over M is acceptable iff
  1. it has 64 bytes and S < L;
  2. A is a canonical encoding (y < p) of a curve point and not of small order;
  3. R is a canonical encoding and not of small order;
  4. encode(S·B − SHA-512(R‖A‖M)·A) equals R byte for byte.
  Points of mixed order pass 2 and 3: rule 4 without cofactor has one answer for them, so verifiers still agree.
ECDSA on P-256 and secp256k1 over SHA-256 (FIPS 186-5, low-s as BIP-62). Acceptable iff
  1. it has 64 bytes r‖s, big-endian, 0 < r < n and 0 < s ≤ n/2: each message has one encoding per nonce;
  2. the key is a compressed point on the curve and the ECDSA equation holds.

Rules 1–3 are checked here, before the library is asked, so that a library's change cannot change the network's rule;
the vectors in tests/vectors/identity/ pin both. A change of anything here is a new rule with a new name.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import coincurve
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from nacl.bindings import crypto_core_ed25519_add
from nacl.exceptions import RuntimeError as NaClRuntimeError

from fieldstone.identity.ed25519 import backend

NAME = "strict-v1"

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_P256_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SECP256K1_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


# y of the eight points with 8·P = 0 (Chalkias, Garillot, Nikolaenko 2020, table 1): identity 1, order two −1, order
# four 0, order eight the two roots of d·y⁴ + 2·y² − 1 that are on the curve. A test solves and multiplies them anew.
_ORDER_EIGHT_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y = frozenset({1, _P - 1, 0, _ORDER_EIGHT_Y, _P - _ORDER_EIGHT_Y})
_Y_MASK = 2**255 - 1
_SMALL_ORDER = frozenset({(y | sign << 255).to_bytes(32, "little") for y in _SMALL_ORDER_Y for sign in (0, 1)})


def _bad_point(encoded: bytes) -> str:
    """Name what is wrong with an Ed25519 point encoding, or return ""; does not test that it is on the curve."""
    # Almost every y is below p by its highest byte: that spares the conversion.
    if encoded[31] & 0x7F == 0x7F and int.from_bytes(encoded, "little") & _Y_MASK >= _P:
        return "the point is not canonically encoded"
    if encoded in _SMALL_ORDER:
        return "the point is of small order"
    return ""


def ed25519_key_problem(raw: bytes) -> str:
    """Say why 32 bytes can be no Ed25519 public key under strict-v1; "" when they can."""
    problem = _bad_point(raw)
    if problem:
        return problem
    try:
        crypto_core_ed25519_add(raw, raw)  # decompresses its arguments, which is what is asked; a test solves for x
    except NaClRuntimeError:
        return "the bytes are no point of the curve"
    return ""


def ecdsa_key_problem(raw: bytes, is_p256: bool) -> str:
    """Say why 33 bytes can be no compressed point of P-256 or secp256k1; "" when they can."""
    if raw[0] not in (2, 3):
        return "the point is not compressed (first byte 02 or 03)"
    try:
        if is_p256:
            _p256_key(raw)
        else:
            _secp256k1_key(raw)
    except ValueError:
        return "the bytes are no point of the curve"
    return ""


def verify_ed25519(raw: bytes, message: bytes, signature: bytes) -> bool:
    """Apply the Ed25519 rule; `raw` has passed `ed25519_key_problem`."""
    if len(signature) != 64 or _bad_point(signature[:32]):
        return False
    if signature[63] >= 0x10 and int.from_bytes(signature[32:], "little") >= _L:  # L is 2²⁵² and a little
        return False
    return backend().verify(raw, message, signature)


def verify_ed25519_many(raw: bytes, messages: Sequence[bytes], signatures: Sequence[bytes]) -> list[bool]:
    """Return what `verify_ed25519` says of each: every signature is judged by itself, never several in one equation."""
    odd = [
        proof
        for proof in signatures
        if len(proof) != 64
        or proof[63] >= 0x10
        or proof[:32] in _SMALL_ORDER
        or (proof[31] & 0x7F == 0x7F and _bad_point(proof[:32]))
    ]
    if not odd:  # rules 1 to 3 hold for all
        return backend().verify_many(raw, messages, signatures)
    return [verify_ed25519(raw, message, proof) for message, proof in zip(messages, signatures, strict=True)]


_ECDSA_SHA256 = ec.ECDSA(hashes.SHA256())


@lru_cache(maxsize=16_384)
def _p256_key(raw: bytes) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)


@lru_cache(maxsize=16_384)
def _secp256k1_key(raw: bytes) -> coincurve.PublicKey:
    return coincurve.PublicKey(raw)


def verify_p256(raw: bytes, message: bytes, signature: bytes) -> bool:
    """Apply the ECDSA rule on P-256 (OpenSSL through `cryptography`, key objects cached)."""
    der = _strict_der(signature, _P256_N)
    if der is None:
        return False
    try:
        _p256_key(raw).verify(der, message, _ECDSA_SHA256)
    except InvalidSignature:
        return False
    return True


def verify_secp256k1(raw: bytes, message: bytes, signature: bytes) -> bool:
    """Apply the ECDSA rule on secp256k1 (libsecp256k1 through `coincurve`)."""
    der = _strict_der(signature, _SECP256K1_N)
    return der is not None and bool(_secp256k1_key(raw).verify(der, message))


def _strict_der(signature: bytes, n: int) -> bytes | None:
    """Turn r‖s into DER for the libraries, or None when rule 1 refuses it."""
    if len(signature) != 64:
        return None
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (0 < r < n and 0 < s <= n // 2):
        return None
    first = r.to_bytes(r.bit_length() // 8 + 1, "big")
    second = s.to_bytes(s.bit_length() // 8 + 1, "big")
    body = b"\x02%c%b\x02%c%b" % (len(first), first, len(second), second)
    return b"\x30%c%b" % (len(body), body)


def sign_p256(private_key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Sign with a P-256 key: RFC 6979 nonce, r‖s with low s."""
    der = private_key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    r, s = utils.decode_dss_signature(der)
    return low_s_p256(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def low_s_p256(signature: bytes) -> bytes:
    """Turn r‖s of a secure element, which knows no low-s rule, into the accepted form (s or n − s). Needs no key."""
    s = int.from_bytes(signature[32:], "big")
    return signature if s <= _P256_N // 2 else signature[:32] + (_P256_N - s).to_bytes(32, "big")
