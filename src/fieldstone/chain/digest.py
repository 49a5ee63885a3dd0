"""EIP-712 digests that verifiers and customers sign, bit for bit as the contracts compute them.

Pure: hashing only. The type strings stand beside their contract's; a digest binds the chain id and the contract
through the domain, so a signature is worth nothing anywhere else. Sources: EIP-712, EIP-2612, `contracts/*.vy`.
Amounts are integers in base units, times in seconds of chain time, hashes 32 bytes, addresses hex texts of 20 bytes.
Every function raises ValueError for a value of the wrong size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import sha3

REWARDS_DOMAIN = "Fieldstone Rewards"
CREDITS_DOMAIN = "Fieldstone Credits"
STAKE_DOMAIN = "Fieldstone Stake"

_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_ROOT_TYPE = (
    "Root(uint256 epoch,uint256 attempt,bytes32 previousRoot,bytes32 root,bytes32 dataHash,"
    "uint256 total,uint256 signerSetVersion)"
)
_RESOLUTION_TYPE = (
    "Resolution(uint256 dispute,uint256 epoch,bytes32 root,bytes32 dataHash,bool upheld,uint256 signerSetVersion)"
)
_ROTATION_TYPE = "RotateSigners(address[] signers,uint256 threshold,uint256 signerSetVersion)"
_SLASH_TYPE = (
    "Slash(uint256 case,address owner,bytes32 key,bytes32 evidenceHash,uint256 fractionPpm,bool upheld,"
    "uint256 signerSetVersion)"
)
_PRICE_TYPE = "Price(uint256 average,uint256 confidence,uint256 timeS,uint256 signerSetVersion)"
_PERMIT_TYPE = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"


def keccak256(data: bytes) -> bytes:
    """Return the 32-byte Keccak-256 that the EVM uses (not SHA3-256, whose padding differs)."""
    digest: bytes = sha3.keccak_256(data).digest()
    return digest


def _uint(value: int) -> bytes:
    if not 0 <= value < 1 << 256:
        raise ValueError(f"{value} is not an unsigned 256-bit integer")
    return int(value).to_bytes(32, "big")


def _bytes32(value: bytes) -> bytes:
    if len(value) != 32:
        raise ValueError(f"expected 32 bytes, got {len(value)}")
    return bytes(value)


def _address20(address: str) -> bytes:
    raw = bytes.fromhex(address[2:] if address[:2] in ("0x", "0X") else address)
    if len(raw) != 20:
        raise ValueError(f"{address!r} is not a 20-byte address")
    return raw


def _address(address: str) -> bytes:
    return bytes(12) + _address20(address)


@lru_cache(maxsize=64)
def domain_separator(name: str, chain_id: int, contract: str) -> bytes:
    """Return the EIP-712 separator of domain (name, version "1", chain id, contract); equals `DOMAIN_SEPARATOR()`."""
    return keccak256(
        keccak256(_DOMAIN_TYPE.encode())
        + keccak256(name.encode())
        + keccak256(b"1")
        + _uint(chain_id)
        + _address(contract)
    )


def _typed(domain: str, chain_id: int, contract: str, type_text: str, *words: bytes) -> bytes:
    struct = keccak256(keccak256(type_text.encode()) + b"".join(words))
    return keccak256(b"\x19\x01" + domain_separator(domain, chain_id, contract.lower()) + struct)


def root_digest(
    chain_id: int,
    contract: str,
    epoch: int,
    attempt: int,
    previous_root: bytes,
    root: bytes,
    data_hash: bytes,
    total: int,
    signer_set_version: int,
) -> bytes:
    """Return what verifiers sign to post an epoch (`Rewards.post`).

    `attempt` is `Rewards.attempt()`, `previous_root` is `Rewards.live_root()` (32 zero bytes before epoch 1),
    `total` the sum of all cumulative leaves.
    """
    return _typed(
        REWARDS_DOMAIN,
        chain_id,
        contract,
        _ROOT_TYPE,
        _uint(epoch),
        _uint(attempt),
        _bytes32(previous_root),
        _bytes32(root),
        _bytes32(data_hash),
        _uint(total),
        _uint(signer_set_version),
    )


def resolution_digest(
    chain_id: int,
    contract: str,
    dispute: int,
    epoch: int,
    root: bytes,
    data_hash: bytes,
    upheld: bool,
    signer_set_version: int,
) -> bytes:
    """Return what verifiers sign to decide a dispute (`Rewards.resolve_dispute`); `upheld` cancels the record."""
    return _typed(
        REWARDS_DOMAIN,
        chain_id,
        contract,
        _RESOLUTION_TYPE,
        _uint(dispute),
        _uint(epoch),
        _bytes32(root),
        _bytes32(data_hash),
        _uint(int(upheld)),
        _uint(signer_set_version),
    )


def rotation_digest(
    chain_id: int, contract: str, signers: Sequence[str], threshold: int, signer_set_version: int
) -> bytes:
    """Return what the current quorum signs to install `signers` (ascending) (`Rewards.rotate_signers`)."""
    members = keccak256(b"".join(_address(signer) for signer in signers))
    return _typed(
        REWARDS_DOMAIN, chain_id, contract, _ROTATION_TYPE, members, _uint(threshold), _uint(signer_set_version)
    )


def slash_digest(
    chain_id: int,
    contract: str,
    case: int,
    owner: str,
    key: bytes,
    evidence_hash: bytes,
    fraction_ppm: int,
    upheld: bool,
    signer_set_version: int,
) -> bytes:
    """Return what verifiers sign to decide a case (`Stake.resolve_case`); `key` is the device hash or 32 zero bytes."""
    return _typed(
        STAKE_DOMAIN,
        chain_id,
        contract,
        _SLASH_TYPE,
        _uint(case),
        _address(owner),
        _bytes32(key),
        _bytes32(evidence_hash),
        _uint(fraction_ppm),
        _uint(int(upheld)),
        _uint(signer_set_version),
    )


def price_digest(
    chain_id: int, contract: str, average: int, confidence: int, time_s: int, signer_set_version: int
) -> bytes:
    """Return what verifiers sign to post a price (`Credits.post_price`); micro-USD per whole token."""
    return _typed(
        CREDITS_DOMAIN,
        chain_id,
        contract,
        _PRICE_TYPE,
        _uint(average),
        _uint(confidence),
        _uint(time_s),
        _uint(signer_set_version),
    )


def permit_digest(
    chain_id: int, contract: str, token_name: str, owner: str, spender: str, amount: int, nonce: int, deadline: int
) -> bytes:
    """Return what a token owner signs for EIP-2612 `Token.permit`; the domain's name is the token's name."""
    return _typed(
        token_name,
        chain_id,
        contract,
        _PERMIT_TYPE,
        _address(owner),
        _address(spender),
        _uint(amount),
        _uint(nonce),
        _uint(deadline),
    )


def leaves_data_hash(balances: Mapping[str, int]) -> bytes:
    """Return SHA-256 over rows sorted by address: 20-byte address ‖ 32-byte big-endian cumulative amount.

    The `data_hash` of a record: a canonical form, so it does not depend on who wrote the leaf file. Raises
    ValueError when two spellings of one address occur.
    """
    rows = sorted((_address20(address), _uint(amount)) for address, amount in balances.items())
    if any(left[0] == right[0] for left, right in pairwise(rows)):
        raise ValueError("an address occurs twice in the balances")
    hasher = hashlib.sha256()
    for address, amount in rows:
        hasher.update(address + amount)
    return hasher.digest()


def join_signatures(signed: Mapping[str, bytes]) -> bytes:
    """Return the form the contracts take: 65-byte signatures (r ‖ s ‖ v) in ascending order of the signer's address."""
    if any(len(signature) != 65 for signature in signed.values()):
        raise ValueError("a signature is 65 bytes: r, s, v")
    return b"".join(signed[signer] for signer in sorted(signed, key=_address20))


def create_address(sender: str, nonce: int) -> str:
    """Return the address (lower-case hex) a contract gets when `sender` deploys it with `nonce`.

    Token names Rewards as its only minter before Rewards exists, so the deployer computes it ahead: keccak(rlp([sender,
    nonce]))[12:].
    """
    size = (nonce.bit_length() + 7) // 8
    number = nonce.to_bytes(size, "big")
    encoded = number if 0 < nonce < 0x80 else bytes([0x80 + size]) + number
    body = b"\x94" + _address20(sender) + encoded
    return "0x" + keccak256(bytes([0xC0 + len(body)]) + body)[12:].hex()
