"""Which library checks the Ed25519 equation: libsodium through PyNaCl, or the faster one where it is installed.

libsodium's portable code takes 80–95 µs a signature here. `aries-askar` (Apache-2.0, extra `intake`) carries
ed25519-dalek 2 and curve25519-dalek 4, which use AVX2 where the processor has it: about 30 % less. Its own Python layer
would eat that up, so its C interface is called directly through cffi, which PyNaCl needs anyway.

Both compute rule 4 of strict-v1 without cofactor; askar calls `VerifyingKey::verify_strict` (askar-crypto,
src/alg/ed25519.rs), which refuses S ≥ L and R or A of small order and compares the encoding of R. Unlike libsodium it
would take keys that are not canonically encoded; `strict_v1.ed25519_key_problem` refuses those before any library is
asked. Whatever the library, `strict_v1` checks rules 1–3 itself.

Two verifiers must never disagree, so the faster library is only believed after it answered `disagreement`'s questions as
libsodium does, in this very process; otherwise PyNaCl does the work. `fieldstone doctor` shows which one does.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

Verify = Callable[[bytes, bytes, bytes], bool]
"""(32 bytes of the key, message, 64 bytes of signature) → whether the library accepts. Thread-safe; releases the GIL."""

VerifyMany = Callable[[bytes, Sequence[bytes], Sequence[bytes]], list[bool]]
"""(32 bytes of the key, messages, their signatures) → what `Verify` says of each."""

_ASKAR_SERIES = "0.5."  # the C interface below is that of these releases; another one may differ, and then crash
_LIBRARY_NAME = {"linux": "libaries_askar.so", "darwin": "libaries_askar.dylib"}
_MACHINES = frozenset({"x86_64", "amd64", "aarch64", "arm64"})
_KEYS_KEPT = 65_536
# In the library's own words, a length and the pointer behind it are one struct, passed by value. The calling conventions
# of x86-64 (System V) and of 64-bit ARM put its two words where two arguments would be, so here they are two: cffi
# then passes on the bytes as they are and has nothing to convert, 2 µs a signature. Only there is the library used.
_INTERFACE = """
int64_t askar_key_from_public_bytes(const char *algorithm, int64_t length, const uint8_t *public_key, void **key);
int64_t askar_key_verify_signature(
    void *key, int64_t length, const uint8_t *message, int64_t signature_length, const uint8_t *signature,
    const char *kind, int8_t *verdict);
void askar_key_free(void *key);
"""


class Backend(NamedTuple):
    """The library in use. `why_not` says why the faster one is not; "" when it is."""

    name: str
    version: str
    verify: Verify
    why_not: str
    many: VerifyMany | None = None

    def verify_many(self, raw: bytes, messages: Sequence[bytes], signatures: Sequence[bytes]) -> list[bool]:
        """Ask `verify` about signatures of one key, each by itself; cheaper than one by one where the library can."""
        if self.many is not None:
            return self.many(raw, messages, signatures)
        verify = self.verify
        return [verify(raw, message, signature) for message, signature in zip(messages, signatures, strict=True)]


@lru_cache(maxsize=1)
def backend() -> Backend:
    """Return the library that checks Ed25519 signatures in this process; chosen at the first call."""
    why_not = "aries-askar is not installed"
    try:
        installed = version("aries-askar")
        found, why_not = _askar(installed)
    except PackageNotFoundError:
        pass
    except Exception as error:  # another platform's file, a missing symbol, no cffi: all the same here
        why_not = f"aries-askar cannot be loaded: {error!s:.200}"
    else:
        if found is not None:
            verify, many = found
            why_not = disagreement(verify) or disagreement(lambda raw, message, proof: many(raw, [message], [proof])[0])
            if not why_not:
                return Backend("aries-askar", installed, verify, "", many)
    return Backend("PyNaCl", version("PyNaCl"), verify_with_libsodium, why_not)


def verify_with_libsodium(raw: bytes, message: bytes, signature: bytes) -> bool:
    """Ask libsodium."""
    try:
        crypto_sign_open(signature + message, raw)
    except BadSignatureError:
        return False
    return True


def _askar(installed: str) -> tuple[tuple[Verify, VerifyMany] | None, str]:
    """Load the library and return its verification, or why it is not used."""
    if not installed.startswith(_ASKAR_SERIES):
        return None, f"aries-askar {installed} is another series than {_ASKAR_SERIES}x"
    spec = find_spec("aries_askar")
    machine = platform.machine().lower()
    if spec is None or spec.origin is None or sys.platform not in _LIBRARY_NAME or machine not in _MACHINES:
        return None, f"aries-askar {installed} is not called on {sys.platform} {machine}"
    import cffi

    ffi: Any = cffi.FFI()  # type: ignore[no-untyped-call]
    ffi.cdef(_INTERFACE)
    library = ffi.dlopen(str(Path(spec.origin).with_name(_LIBRARY_NAME[sys.platform])))
    return _verify_with(ffi, library), ""


def _verify_with(ffi: Any, library: Any) -> tuple[Verify, VerifyMany]:
    """Make the verification out of askar's C interface."""
    new, null, verdict_type = ffi.new, ffi.NULL, ffi.typeof("int8_t *")
    from_public_bytes, verify_signature = library.askar_key_from_public_bytes, library.askar_key_verify_signature

    @lru_cache(maxsize=_KEYS_KEPT)
    def key_of(raw: bytes) -> Any:
        key = new("void **")
        if from_public_bytes(b"ed25519", len(raw), raw, key) != 0:
            return None
        return ffi.gc(key[0], library.askar_key_free)

    # Each call has a verdict of its own: other threads and, in a signal handler, even this one may be in another.
    def verify(raw: bytes, message: bytes, signature: bytes) -> bool:
        key = key_of(raw)
        if key is None:
            return False
        verdict = new(verdict_type)
        failed = verify_signature(key, len(message), message, len(signature), signature, null, verdict)
        return not failed and verdict[0] == 1

    def verify_many(raw: bytes, messages: Sequence[bytes], signatures: Sequence[bytes]) -> list[bool]:
        key = key_of(raw)
        if key is None:
            return [False] * len(messages)
        verdict = new(verdict_type)
        verdicts = []
        for message, signature in zip(messages, signatures, strict=True):
            verdict[0] = 0
            failed = verify_signature(key, len(message), message, len(signature), signature, null, verdict)
            verdicts.append(not failed and verdict[0] == 1)
        return verdicts

    return verify, verify_many


# Published edge cases (Chalkias, Garillot, Nikolaenko 2020, "Taming the many EdDSAs"): key, message, R‖S, acceptable.
_EDGES = (
    (  # case 0: S = 0, A and R of small order
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
        "0000000000000000000000000000000000000000000000000000000000000000",
        False,
    ),
    (  # case 3: A and R of mixed order, the equation holds with and without cofactor
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f"
        "87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
        True,
    ),
    (  # case 4: the equation holds with cofactor only
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512"
        "5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
        False,
    ),
    (  # case 6: S above L
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e"
        "547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
        False,
    ),
)
_LENGTHS = (0, 1, 63, 64, 111, 112, 200, 4_096)  # around the blocks of SHA-512, and a usual report


def disagreement(verify: Verify) -> str:
    """Put edge cases and honest signatures to a library; say what it answered wrongly, "" when nothing. About 3 ms."""
    for number, (key, text, proof, acceptable) in enumerate(_EDGES):
        if verify(bytes.fromhex(key), bytes.fromhex(text), bytes.fromhex(proof)) is not acceptable:
            return f"it answers edge case {number} otherwise than libsodium"
    raw, secret = crypto_sign_seed_keypair(bytes(range(32)))
    for length in _LENGTHS:
        message = bytes(number & 0xFF for number in range(length))
        signature = crypto_sign(message, secret)[:64]
        if not verify(raw, message, signature):
            return f"it refuses a right signature over {length} bytes"
        for place in (0, 31, 32, 62):
            wrong = bytearray(signature)
            wrong[place] ^= 1
            if verify(raw, message, bytes(wrong)):
                return f"it accepts a wrong signature over {length} bytes"
        if verify(raw, message + b"\0", signature):
            return f"it accepts a signature over {length} bytes for other bytes"
    return ""
