"""COSE_Sign1 (RFC 9052 §4.2), in the one form that a device of this network may send.

    D2                                  tag 18
      84                                array of four
        bstr .cbor {1: alg, 4: kid}     protected header, nothing else in it; kid is 8 bytes
        A0                              unprotected header: empty
        bstr                            payload
        58 40 …                         64-byte signature

All lengths are definite and in their shortest form. Whatever the signature does not cover is thereby fixed, so
nobody between device and door can turn one message into two different ones and make the device look like an
equivocator. What *is* covered may still be signed twice (ECDSA picks a nonce): compare `Envelope.signed_bytes`,
never the message, to tell a resend from an equivocation.

Received bytes are kept and verified as they are, never re-encoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cbor2

from fieldstone.errors import Rejected
from fieldstone.identity import wellformed
from fieldstone.identity.keys import Algorithm, PublicKey, Signer
from fieldstone.reasons import reason

# COSE algorithm ids: the polymorphic ones of RFC 9053 and the fully specified ones of RFC 9864; ES256K is RFC 8812.
# Emitted is the first of each pair; both count as the same algorithm.
EDDSA, ES256, ES256K, ED25519, ESP256 = -8, -7, -47, -19, -9
_ACCEPTED = {EDDSA: Algorithm.ED25519, ED25519: Algorithm.ED25519, ES256: Algorithm.P256, ESP256: Algorithm.P256}
_ACCEPTED[ES256K] = Algorithm.SECP256K1
_EMITTED = {Algorithm.ED25519: EDDSA, Algorithm.P256: ES256, Algorithm.SECP256K1: ES256K}

KID_BYTES = 8
_HEAD = b"\xd2\x84"
_SIGNATURE_HEAD = b"\x58\x40"
_TO_BE_SIGNED = b"\x84\x6aSignature1"  # array of four, text "Signature1"
_LONGEST_PROTECTED = 32
_MOST_FOREIGN_ITEMS = 16


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed message. `protected` and `payload` are the received bytes; `algorithm_id` is the COSE number."""

    algorithm_id: int
    kid: bytes
    protected: bytes
    payload: bytes
    signature: bytes

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm that the header names. What counts is the registered key's: compare the two."""
        return _ACCEPTED[self.algorithm_id]

    def signed_bytes(self, aad: bytes) -> bytes:
        """Return what the signature covers: Sig_structure of RFC 9052 §4.4 with `aad` as external_aad."""
        return signed_bytes(self.protected, aad, self.payload)


def network_aad(network_id: str, chain_id: int, schema_version: int) -> bytes:
    """Return the external_aad of reports: CBOR of [network id, chain id, schema version].

    It is not transmitted; a report signed for one network does not verify on another.
    """
    return cbor2.dumps([network_id, chain_id, schema_version])


def signed_bytes(protected: bytes, aad: bytes, payload: bytes) -> bytes:
    """Return the Sig_structure of RFC 9052 §4.4: CBOR of ["Signature1", protected, external_aad, payload]."""
    return b"".join((_TO_BE_SIGNED, _bstr(protected), _bstr(aad), _bstr(payload)))


def protected_header(public: PublicKey) -> bytes:
    """Return the encoded protected header {1: alg, 4: kid} of a key."""
    return cbor2.dumps({1: _EMITTED[public.algorithm], 4: public.kid})


def algorithm_of(algorithm_id: int) -> Algorithm | None:
    """Return the algorithm that a COSE number stands for here; None for all others."""
    return _ACCEPTED.get(algorithm_id)


def read_protected(protected: bytes) -> tuple[int, bytes] | None:
    """Return (alg, kid) of a protected header, or None when it is not exactly that."""
    try:
        return _read_protected(protected)
    except _Malformed:
        return None


def sign(key: Signer, payload: bytes, aad: bytes) -> bytes:
    """Return the message: `payload` signed by `key` for the network that `aad` names."""
    protected = protected_header(key.public)
    signature = key.sign(signed_bytes(protected, aad, payload))
    return b"".join((_HEAD, _bstr(protected), b"\xa0", _bstr(payload), _SIGNATURE_HEAD, signature))


def parse(message: bytes) -> Envelope:
    """Take a message apart without judging the signature. Raises Rejected BAD_CBOR or BAD_COSE. About 4 µs."""
    try:
        if message[:2] != _HEAD:
            raise _Malformed("it does not start with tag 18 and an array of four")
        start, end = _bstr_bounds(message, 2)
        protected = message[start:end]
        if message[end] != 0xA0:
            raise _Malformed("the unprotected header is not the empty map")
        start, payload_end = _bstr_bounds(message, end + 1)
        if message[payload_end : payload_end + 2] != _SIGNATURE_HEAD or len(message) != payload_end + 66:
            raise _Malformed("the signature is not a byte string of 64, or bytes follow it")
        algorithm_id, kid = _read_protected(protected)
    except (_Malformed, IndexError) as problem:
        raise _refusal(message, str(problem)) from None
    return Envelope(algorithm_id, kid, protected, message[start:payload_end], message[payload_end + 2 :])


def split(body: bytes) -> Iterator[bytes]:
    """Cut a CBOR sequence (RFC 8742) into its items, in order, without decoding them.

    Bytes that are not well-formed CBOR come out as one last item, which `parse` refuses: nothing vanishes. The same
    happens to the rest of a body after 16 items that are no messages: eight million one-byte items cost one refusal.
    """
    offset = 0
    foreign = 0
    while offset < len(body):
        end = _message_end(body, offset)
        if end is None:
            foreign += 1
            try:
                end = wellformed.item_end(body, offset) if foreign <= _MOST_FOREIGN_ITEMS else len(body)
            except wellformed.NotWellFormed:
                end = len(body)
        yield body[offset:end]
        offset = end


class _Malformed(Exception):
    pass


def _message_end(body: bytes, offset: int) -> int | None:
    """Find the end of a message in the network's own form; None when it has another."""
    try:
        if body[offset : offset + 2] != _HEAD:
            return None
        _, end = _bstr_bounds(body, offset + 2)
        if body[end] != 0xA0:
            return None
        _, end = _bstr_bounds(body, end + 1)
    except (_Malformed, IndexError):
        return None
    return end + 66 if body[end : end + 2] == _SIGNATURE_HEAD and end + 66 <= len(body) else None


def _bstr_bounds(data: bytes, offset: int) -> tuple[int, int]:
    """Return (start, end) of a definite, shortest-form byte string at `offset`, inside `data`."""
    head = data[offset]
    if 0x40 <= head < 0x58:
        start, length = offset + 1, head - 0x40
    elif head == 0x58:
        start, length = offset + 2, data[offset + 1]
        if length < 24:
            raise _Malformed("a length is not in its shortest form")
    elif head == 0x59:
        start, length = offset + 3, int.from_bytes(data[offset + 1 : offset + 3], "big")
        if length < 0x100:
            raise _Malformed("a length is not in its shortest form")
    elif head == 0x5A:
        start, length = offset + 5, int.from_bytes(data[offset + 1 : offset + 5], "big")
        if length < 0x10000:
            raise _Malformed("a length is not in its shortest form")
    else:
        raise _Malformed(f"byte {head:02x} at {offset} does not start a byte string of definite length")
    if start + length > len(data):
        raise _Malformed("a byte string is longer than the message")
    return start, start + length


@lru_cache(maxsize=65_536)
def _read_protected(protected: bytes) -> tuple[int, bytes]:
    """Return (alg, kid) of a protected header. Cached: a device sends the same header with every report."""
    if len(protected) > _LONGEST_PROTECTED:
        raise _Malformed(f"the protected header has {len(protected)} bytes, at most {_LONGEST_PROTECTED} are needed")
    try:
        if wellformed.item_end(protected, 0, max_depth=2) != len(protected):
            raise _Malformed("bytes follow the protected header's map")
        header = cbor2.loads(protected, max_depth=2, allow_indefinite=False, allow_duplicate_keys=False)
    except (wellformed.NotWellFormed, cbor2.CBORDecodeError) as error:
        raise _Malformed(f"the protected header is not a CBOR map: {error}") from None
    if type(header) is not dict or len(header) != 2 or not all(type(label) is int for label in header):
        raise _Malformed("the protected header is not a map of exactly 1 (alg) and 4 (kid)")
    algorithm_id, kid = header.get(1), header.get(4)
    if type(algorithm_id) is not int or algorithm_id not in _ACCEPTED:
        raise _Malformed(f"algorithm {algorithm_id!r:.40} is none of {sorted(_ACCEPTED)}")
    if type(kid) is not bytes or len(kid) != KID_BYTES:
        raise _Malformed(f"kid is not a byte string of {KID_BYTES}")
    return algorithm_id, kid


def _refusal(message: bytes, problem: str) -> Rejected:
    try:
        end = wellformed.item_end(message, 0)
    except wellformed.NotWellFormed as error:
        return Rejected(reason("BAD_CBOR"), "", str(error))
    if end != len(message):
        problem = f"{len(message) - end} bytes follow the message"
    return Rejected(reason("BAD_COSE"), "", problem)


def _bstr(data: bytes) -> bytes:
    length = len(data)
    if length < 24:
        return bytes((0x40 + length,)) + data
    if length < 0x100:
        return bytes((0x58, length)) + data
    if length < 0x10000:
        return b"\x59" + length.to_bytes(2, "big") + data
    return b"\x5a" + length.to_bytes(4, "big") + data
