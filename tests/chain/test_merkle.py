"""The tree against OpenZeppelin's own output, against a plain re-implementation, and against forgers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sha3 import keccak_256

from fieldstone.chain.merkle import Tree, leaf_hash, verify
from fieldstone.errors import CheckFailed, UsageError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "merkle" / "openzeppelin.json").read_text())
GOLDEN_ROOT = "0x7fd2dddedb1d33da2990a5e4dee9cd93cda75bd2d759756239521e598c9e2574"

leaves_of = st.lists(
    st.tuples(st.binary(min_size=20, max_size=20), st.integers(0, 2**256 - 1)), min_size=1, max_size=40
).map(lambda rows: [("0x" + raw.hex(), amount) for raw, amount in rows])


def numbered(count: int) -> list[tuple[str, int]]:
    return [(f"0x{i + 1:040x}", (i + 1) * 10**15) for i in range(count)]


@pytest.fixture(scope="module")
def golden() -> Tree:
    return Tree(numbered(10_000))


def test_the_published_root_of_ten_thousand_leaves(golden: Tree) -> None:
    assert golden.root_hex == GOLDEN_ROOT
    assert golden.total == 10**15 * 10_000 * 10_001 // 2


def test_proof_lengths_of_ten_thousand_leaves(golden: Tree) -> None:
    assert set(golden.proofs().lengths.tolist()) == {13, 14}
    assert {len(golden.proof(index)) for index in range(0, 10_000, 7)} == {13, 14}
    assert golden.depth == 14


@pytest.mark.parametrize("vector", VECTORS["trees"], ids=lambda vector: f"{len(vector['proofs'])} leaves")
def test_every_node_and_proof_is_openzeppelins(vector: dict) -> None:
    leaves = [(entry["value"][0], int(entry["value"][1])) for entry in vector["dump"]["values"]]
    tree = Tree(leaves)
    assert tree.root_hex == vector["root"]
    assert tree.dump() == vector["dump"]
    for index, proof in enumerate(vector["proofs"]):
        assert ["0x" + sibling.hex() for sibling in tree.proof(index)] == proof


@pytest.mark.parametrize("vector", VECTORS["roots"], ids=lambda vector: f"{vector['leaves']} leaves")
def test_larger_roots_are_openzeppelins(vector: dict) -> None:
    assert Tree(numbered(vector["leaves"])).root_hex == vector["root"]


def plain_nodes(leaves: list[tuple[str, int]]) -> list[bytes]:
    """The rules of the module docstring, one hash at a time."""
    hashes = []
    for address, amount in leaves:
        encoded = bytes(12) + bytes.fromhex(address[2:]) + amount.to_bytes(32, "big")
        hashes.append(keccak_256(keccak_256(encoded).digest()).digest())
    nodes = [b""] * (2 * len(hashes) - 1)
    for position, leaf in enumerate(sorted(hashes)):
        nodes[len(nodes) - 1 - position] = leaf
    for i in range(len(hashes) - 2, -1, -1):
        nodes[i] = keccak_256(b"".join(sorted(nodes[2 * i + 1 : 2 * i + 3]))).digest()
    return nodes


@settings(max_examples=60, deadline=None)
@given(leaves_of)
def test_vectorised_tree_equals_the_plain_one(leaves: list[tuple[str, int]]) -> None:
    tree = Tree(leaves)
    assert tree.nodes.tobytes() == b"".join(plain_nodes(leaves))


@settings(max_examples=40, deadline=None)
@given(leaves_of, st.data())
def test_every_proof_verifies_and_no_other_leaf_does(leaves: list[tuple[str, int]], data: st.DataObject) -> None:
    tree = Tree(leaves)
    proofs = tree.proofs()
    for index, (address, amount) in enumerate(leaves):
        assert proofs.row(index) == tree.proof(index)
        assert verify(tree.root, address, amount, tree.proof(index))
    index = data.draw(st.integers(0, len(leaves) - 1))
    address, amount = leaves[index]
    proof = tree.proof(index)
    assert not verify(tree.root, address, amount ^ 1, proof)
    assert not verify(tree.root, "0x" + "5a" * 20, amount, proof)
    if proof:
        assert not verify(tree.root, address, amount, proof[:-1])
        assert not verify(tree.root, address, amount, [b"\0" * 32, *proof[1:]])


def test_proof_chunks_cover_every_leaf_once(golden: Tree) -> None:
    chunks = list(golden.proof_chunks(3_000))
    assert [len(chunk.lengths) for chunk in chunks] == [3_000, 3_000, 3_000, 1_000]
    assert chunks[3].row(999) == golden.proof(9_999)


def test_an_inner_node_cannot_pass_as_a_leaf() -> None:
    """Second preimage: the two children of a node are 64 bytes, as an encoded leaf is; the double hash parts them."""
    tree = Tree(numbered(4))
    children = sorted([tree.nodes[3].tobytes(), tree.nodes[4].tobytes()])
    assert keccak_256(b"".join(children)).digest() == tree.nodes[1].tobytes()
    # an attacker would claim `amount` = the second child for the "account" in the first one
    forged_account, forged_amount = "0x" + children[0][12:].hex(), int.from_bytes(children[1], "big")
    assert leaf_hash(forged_account, forged_amount) != tree.nodes[1].tobytes()
    assert not verify(tree.root, forged_account, forged_amount, [tree.nodes[2].tobytes()])


def test_leaf_order_and_letter_case_do_not_change_the_root() -> None:
    leaves = numbered(37)
    assert Tree(leaves[::-1]).root == Tree(leaves).root
    assert Tree([(address.replace("a", "A"), amount) for address, amount in leaves]).root == Tree(leaves).root


def test_equal_hashes_keep_their_order_as_openzeppelin_sorts_them() -> None:
    twice = [("0x" + "11" * 20, 5), ("0x" + "22" * 20, 6), ("0x" + "11" * 20, 5)]
    tree = Tree(twice)
    assert tree.nodes.tobytes() == b"".join(plain_nodes(twice))
    first, last = int(tree.tree_index[0]), int(tree.tree_index[2])
    assert first == last + 1  # stable ascending sort, filled from the back


def test_dump_and_load_round_trip_and_a_forged_dump_fails() -> None:
    dump = json.loads(json.dumps(Tree(numbered(9)).dump()))
    assert Tree.load(dump).root == Tree(numbered(9)).root
    dump["values"][0]["value"][1] = "7"
    with pytest.raises(CheckFailed, match="do not follow"):
        Tree.load(dump)
    with pytest.raises(UsageError, match="standard-v1"):
        Tree.load({**dump, "leafEncoding": ["address", "uint128"]})
    with pytest.raises(UsageError, match="damaged"):
        Tree.load({**dump, "values": [{"value": ["0x" + "11" * 20]}]})


@pytest.mark.parametrize(
    ("leaves", "words"),
    [
        ([], "at least one leaf"),
        ([("0x12", 1)], "leaf 0: '0x12' is not an address"),
        ([("0x" + "11" * 20, 1), ("0x" + "1g" * 20, 1)], "leaf 1"),
        ([("0x" + "1 " * 20, 1)], "leaf 0"),
        ([("0x" + "١" * 40, 1)], "leaf 0"),
        ([("0x" + "11" * 20 + "0", 1), ("x" + "11" * 20, 1)], "leaf 0"),
        ([("0x" + "11" * 20, -1)], "outside 0"),
        ([("0x" + "11" * 20, 2**256)], "outside 0"),
        ([("0x" + "11" * 20, 1.5)], "not an integer"),
        ([("0x" + "11" * 20, "1")], "not an integer"),
    ],
)
def test_a_bad_leaf_is_named(leaves: list, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Tree(leaves)


def test_balances_refuse_one_account_in_two_spellings() -> None:
    with pytest.raises(UsageError, match="appears twice"):
        Tree.from_balances({"0x" + "ab" * 20: 1, "0x" + "AB" * 20: 2})


def test_verify_refuses_siblings_of_another_size(golden: Tree) -> None:
    proof = golden.proof(0)
    joined = [proof[0] + proof[1], *proof[2:]]
    assert not verify(golden.root, *numbered(1)[0], joined)
