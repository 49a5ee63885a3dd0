# pragma version 0.4.3
# SPDX-License-Identifier: Apache-2.0
"""
@title Merkle proofs in the layout of OpenZeppelin's StandardMerkleTree
@notice leaf = keccak(keccak(abi.encode(address, uint256))), parents hash their children in ascending order. A leaf is
        hashed twice, so no inner node (64 bytes, hashed once) can pass for a leaf.
"""

MAX_DEPTH: constant(uint256) = 32


@internal
@pure
def _leaf(account: address, cumulative: uint256) -> bytes32:
    return keccak256(keccak256(abi_encode(account, cumulative)))


@internal
@pure
def _root(leaf: bytes32, proof: DynArray[bytes32, MAX_DEPTH]) -> bytes32:
    node: bytes32 = leaf
    for sibling: bytes32 in proof:
        if convert(node, uint256) < convert(sibling, uint256):
            node = keccak256(abi_encode(node, sibling))
        else:
            node = keccak256(abi_encode(sibling, node))
    return node
