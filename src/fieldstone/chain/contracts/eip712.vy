# pragma version 0.4.3
# SPDX-License-Identifier: Apache-2.0
"""
@title EIP-712 domain of one contract
@notice The separator is computed once and again only if the chain id changes (a fork), so a signature never crosses
        chains. Mirrored bit for bit by `fieldstone.chain.digest`.
"""

DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
VERSION_HASH: constant(bytes32) = keccak256("1")

NAME_HASH: immutable(bytes32)
CHAIN_ID: immutable(uint256)
SEPARATOR: immutable(bytes32)


@deploy
def __init__(name_hash: bytes32):
    NAME_HASH = name_hash
    CHAIN_ID = chain.id
    SEPARATOR = self._build(name_hash)


@internal
@view
def _build(name_hash: bytes32) -> bytes32:
    return keccak256(abi_encode(DOMAIN_TYPE, name_hash, VERSION_HASH, chain.id, self))


@internal
@view
def _separator() -> bytes32:
    if chain.id == CHAIN_ID:
        return SEPARATOR
    return self._build(NAME_HASH)


@internal
@view
def _digest(struct_hash: bytes32) -> bytes32:
    return keccak256(concat(x"1901", self._separator(), struct_hash))
