"""Write and sign EIP-1559 transactions: RLP and one Keccak, so that neither `web3` nor `eth_account` is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from sha3 import keccak_256

from fieldstone.chain.port import Call, Fees, Signer

Rlp: TypeAlias = "int | bytes | Sequence[Rlp]"


def encode_rlp(item: Rlp) -> bytes:
    """Encode integers, bytes and lists (Ethereum yellow paper, appendix B)."""
    if isinstance(item, int):
        item = item.to_bytes((item.bit_length() + 7) // 8, "big")
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < 0x80:
            return item
        return _rlp_length(len(item), 0x80) + item
    body = b"".join(encode_rlp(part) for part in item)
    return _rlp_length(len(body), 0xC0) + body


def _rlp_length(length: int, offset: int) -> bytes:
    if length < 56:
        return bytes([offset + length])
    digits = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([offset + 55 + len(digits)]) + digits


def sign_transaction(signer: Signer, chain_id: int, nonce: int, gas: int, fees: Fees, call: Call) -> bytes:
    """Return the raw bytes of a signed type-2 transaction (EIP-1559); signing is deterministic (RFC 6979)."""
    fields: list[Rlp] = [
        chain_id,
        nonce,
        fees.max_priority_fee_wei,
        fees.max_fee_wei,
        gas,
        bytes.fromhex(call.to[2:]) if call.to else b"",
        call.value_wei,
        call.data,
        [],
    ]
    signature = signer.sign_digest(keccak_256(b"\x02" + encode_rlp(fields)).digest())
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    return b"\x02" + encode_rlp([*fields, signature[64] - 27, r, s])


def transaction_hash(raw: bytes) -> bytes:
    """Return the hash by which the chain knows a signed transaction."""
    return bytes(keccak_256(raw).digest())
