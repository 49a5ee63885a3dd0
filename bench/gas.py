"""Gas of every contract operation, read from receipts of the shipped artifacts on py-evm (Prague).

Run: .venv/bin/python bench/gas.py [--json]. Bounded: a few seconds of CPU. Bars: root post (3-of-5 signatures, later
posts) ≤ 150,000; repeat claim at depth 20 ≤ 75,000; a failing bar makes the exit code 1.
"""

from __future__ import annotations

import os

os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")

import json
import sys
import time
from pathlib import Path
from typing import Any

from coincurve import PrivateKey as Secp256k1
from eth import constants
from eth.chains.base import MiningChain
from eth.consensus.noproof import NoProofConsensus
from eth.db.atomic import AtomicDB
from eth.vm.forks.prague import PragueVM
from eth_abi import decode, encode
from eth_keys.datatypes import PrivateKey

from fieldstone.chain import digest as d

ARTIFACTS = Path(d.__file__).parent / "contracts" / "artifacts"
TOKEN = 10**18
DEPTH = 20
START_S = 1_760_000_000
DELAY_S = 3_600
POST_BAR, CLAIM_BAR = 150_000, 75_000
ZERO = "0x" + "00" * 20


def signature_type(item: dict[str, Any]) -> list[str]:
    """Return the ABI types of a function's inputs, tuples spelled out."""
    return [
        f"({','.join(part['type'] for part in entry['components'])})" if entry["type"] == "tuple" else entry["type"]
        for entry in item
    ]


class Node:
    """An in-memory chain that mines one transaction per block and keeps the receipt's gas."""

    def __init__(self, keys: list[PrivateKey]) -> None:
        chain_class = MiningChain.configure(
            __name__="GasChain",
            vm_configuration=((constants.GENESIS_BLOCK_NUMBER, PragueVM.configure(consensus_class=NoProofConsensus)),),
            chain_id=31_337,
        )
        accounts = {
            key.public_key.to_canonical_address(): {"balance": 10**24, "nonce": 0, "code": b"", "storage": {}}
            for key in keys
        }
        self.now = START_S
        self.chain = chain_class.from_genesis(
            AtomicDB(), {"timestamp": START_S - 1, "gas_limit": 30_000_000, "difficulty": 0}, accounts
        )

    def send(self, key: PrivateKey, to: bytes, data: bytes, gas: int = 12_000_000) -> int:
        """Mine one legacy transaction; return the gas its receipt shows. Raises RuntimeError when it reverts."""
        self.now += 1
        # mine_all(timestamp=…) would only stamp the mined block; contracts read the header the block starts from
        self.chain.header = self.chain.header.copy(timestamp=self.now)
        vm = self.chain.get_vm()
        sender = key.public_key.to_canonical_address()
        unsigned = vm.create_unsigned_transaction(
            nonce=vm.state.get_nonce(sender), gas_price=2 * 10**9, gas=gas, to=to, value=0, data=data
        )
        _, receipts, computations = self.chain.mine_all([unsigned.as_signed_transaction(key, chain_id=31_337)])
        receipt, computation = receipts[0], computations[0]
        if computation.is_error:
            raise RuntimeError(f"reverted: {computation.output!r} {computation.error!r}"[:300])
        self.output = computation.output
        return int(receipt.gas_used)


class Contract:
    """A deployed artifact: `call(key, name, *args)` sends a transaction and returns its gas."""

    def __init__(self, node: Node, key: PrivateKey, name: str, *args: Any) -> None:
        artifact = json.loads((ARTIFACTS / f"{name}.json").read_text("utf-8"))
        self.node = node
        self.functions = {item["name"]: item for item in artifact["abi"] if item["type"] == "function"}
        constructor = next(item for item in artifact["abi"] if item["type"] == "constructor")
        sender = key.public_key.to_canonical_address()
        nonce = node.chain.get_vm().state.get_nonce(sender)
        self.address = d.create_address(sender.hex(), nonce)
        data = bytes.fromhex(artifact["bytecode"][2:]) + encode(signature_type(constructor["inputs"]), args)
        self.deploy_gas = node.send(key, b"", data)

    def call(self, key: PrivateKey, name: str, *args: Any) -> int:
        """Send a transaction; return gas used. The decoded result is in `self.result`."""
        item = self.functions[name]
        types = signature_type(item["inputs"])
        selector = d.keccak256(f"{name}({','.join(types)})".encode())[:4]
        gas = self.node.send(key, bytes.fromhex(self.address[2:]), selector + encode(types, args))
        outputs = signature_type(item["outputs"])
        self.result = decode(outputs, self.node.output) if outputs else ()
        return gas


def signed(keys: list[Secp256k1], digest: bytes) -> bytes:
    """Return the joined quorum signatures over `digest`."""
    found = {}
    for key in keys:
        raw = key.sign_recoverable(digest, hasher=None)
        address = "0x" + d.keccak256(key.public_key.format(compressed=False)[1:])[12:].hex()
        found[address] = raw[:64] + bytes([27 + raw[64]])
    return d.join_signatures(found)


def leaf(address: str, amount: int) -> bytes:
    """Return an OpenZeppelin StandardMerkleTree leaf."""
    return d.keccak256(d.keccak256(bytes(12) + bytes.fromhex(address[2:]) + amount.to_bytes(32, "big")))


def path(node: bytes, seed: bytes, depth: int = DEPTH) -> tuple[bytes, list[bytes]]:
    """Return the root and proof of a leaf beside `depth` pseudo-random siblings: a tree of 2**depth leaves."""
    proof = []
    for level in range(depth):
        sibling = d.keccak256(seed + bytes([level]))
        proof.append(sibling)
        node = d.keccak256(min(node, sibling) + max(node, sibling))
    return node, proof


def main() -> int:
    """Deploy, measure, print; return 1 when a bar is missed."""
    started = time.process_time()
    keys = [PrivateKey(bytes(31) + bytes([i])) for i in range(1, 20)]
    founder, payer, operator, treasury = keys[:4]
    name_of = {key: "0x" + key.public_key.to_canonical_address().hex() for key in keys}
    verifiers = sorted(
        (Secp256k1(bytes(30) + bytes([1, i])) for i in range(5)),
        key=lambda key: d.keccak256(key.public_key.format(compressed=False)[1:])[12:],
    )
    signers = ["0x" + d.keccak256(key.public_key.format(compressed=False)[1:])[12:].hex() for key in verifiers]
    node = Node(keys)
    table: dict[str, int] = {}

    token = Contract(
        node, founder, "Token", "Field", "FLD", d.create_address(name_of[founder], 1), name_of[founder],
        10**6 * TOKEN, 10**9 * TOKEN,
    )  # fmt: skip
    rewards = Contract(
        node, founder, "Rewards", token.address, name_of[treasury], name_of[founder], signers, 3, START_S - 86_400 * 400,
        86_400, 10_000 * TOKEN, 9 * 10**8 * TOKEN, DELAY_S, 259_200, 100 * TOKEN, 86_400, 20_000 * TOKEN, 86_400,
    )  # fmt: skip
    stake_arguments = (token.address, rewards.address, name_of[treasury], 604_800, 259_200, 50 * TOKEN)
    credits = Contract(
        node, founder, "Credits", token.address, rewards.address, ZERO, name_of[founder], 3_600, 86_400, 10**12
    )
    stake = Contract(node, founder, "Stake", *stake_arguments)
    for contract, label in ((token, "Token"), (rewards, "Rewards"), (credits, "Credits"), (stake, "Stake")):
        table[f"deploy {label}"] = contract.deploy_gas

    table["transfer, new holder"] = token.call(founder, "transfer", name_of[payer], 5_000 * TOKEN)
    table["transfer, existing holder"] = token.call(founder, "transfer", name_of[payer], 5_000 * TOKEN)
    table["approve"] = token.call(payer, "approve", rewards.address, 2**256 - 1)
    raw = Secp256k1(payer.to_bytes()).sign_recoverable(
        d.permit_digest(31_337, token.address, "Field", name_of[payer], stake.address, 2**255, 0, 2**40), hasher=None
    )
    table["permit"] = token.call(
        founder, "permit", name_of[payer], stake.address, 2**255, 2**40, 27 + raw[64], raw[:32], raw[32:64]
    )

    state = {"root": bytes(32), "epoch": 0, "attempt": 0, "total": 0}

    def post(root: bytes, signer_count: int = 3, data_hash: bytes = b"\x77" * 32) -> int:
        epoch, total = state["epoch"] + 1, state["total"] + 9_000 * TOKEN + 123_456_789
        digest = d.root_digest(
            31_337, rewards.address, epoch, state["attempt"], state["root"], root, data_hash, total, 1
        )
        gas = rewards.call(payer, "post", epoch, root, data_hash, total, signed(verifiers[:signer_count], digest))
        state.update(root=root, epoch=epoch, total=total)
        return gas

    def activate() -> None:
        node.now += DELAY_S

    account = name_of[operator]
    amounts = [111_111_222_223_333_444 * 10**3, 333_111_222_223_333_444 * 10**3, 555_111_222_223_333_444 * 10**3]
    root, proof = path(leaf(account, amounts[0]), b"a")
    table["root post 3-of-5, first"] = post(root)
    activate()
    table["claim depth 20, first (new holder, first after activation)"] = rewards.call(
        payer, "claim", account, amounts[0], proof, root
    )
    root, proof = path(leaf(account, amounts[1]), b"b")
    table["root post 3-of-5, later, new slot"] = post(root)
    activate()
    table["claim depth 20, repeat, first after activation"] = rewards.call(
        payer, "claim", account, amounts[1], proof, root
    )
    for index in range(31):
        node.now += 86_400
        gas = post(d.keccak256(bytes([index])))
        if index == 0:
            table["root post 3-of-5, later, previous epoch activated just now"] = gas
    root, proof = path(leaf(account, amounts[2]), b"c")
    node.now += 86_400
    table["root post 3-of-5, later, ring reused"] = post(root)
    node.now += 86_400
    next_root = d.keccak256(b"five")
    table["root post 5-of-5, later, ring reused"] = post(next_root, 5)
    activate()
    # another account has activated the record before, as on most claims
    other = [name_of[keys[6 + i]] for i in range(8)]
    pair = [leaf(account, amounts[2]), *(leaf(address, amounts[0]) for address in other)]
    roots = []
    for index in range(16):
        sibling = pair[index] if index < len(pair) else d.keccak256(bytes([99, index]))
        roots.append(sibling)
    # a small real tree at the bottom (16 leaves), pseudo-random siblings above
    proofs: list[list[bytes]] = [[] for _ in range(16)]
    layer, groups = roots, [[i] for i in range(16)]
    while len(layer) > 1:
        for j in range(0, len(layer), 2):
            for member in groups[j]:
                proofs[member].append(layer[j + 1])
            for member in groups[j + 1]:
                proofs[member].append(layer[j])
        groups = [groups[j] + groups[j + 1] for j in range(0, len(groups), 2)]
        layer = [
            d.keccak256(min(layer[j], layer[j + 1]) + max(layer[j], layer[j + 1])) for j in range(0, len(layer), 2)
        ]
    root, upper = path(layer[0], b"d", DEPTH - 4)
    proofs = [below + upper for below in proofs]
    node.now += 86_400
    post(root)
    activate()
    table["claim_many 1 new account (activates)"] = rewards.call(
        payer, "claim_many", other[:1], amounts[:1], proofs[1:2], root
    )
    table["claim depth 20, repeat"] = rewards.call(payer, "claim", account, amounts[2], proofs[0], root)
    table["claim depth 20, first (new holder)"] = rewards.call(payer, "claim", other[1], amounts[0], proofs[2], root)
    batch = rewards.call(payer, "claim_many", other[2:8], [amounts[0]] * 6, proofs[3:9], root)
    table["claim_many 6 new accounts, per account"] = batch // 6

    node.now += 86_400
    post(d.keccak256(b"bad"))
    table["open dispute"] = rewards.call(
        payer, "open_dispute", state["epoch"], state["root"], 1, d.keccak256(b"evidence")
    )

    def resolution(number: int, upheld: bool) -> int:
        digest = d.resolution_digest(
            31_337, rewards.address, number, state["epoch"], state["root"], b"\x77" * 32, upheld, 1
        )
        return rewards.call(payer, "resolve_dispute", number, upheld, signed(verifiers[:3], digest))

    table["resolve dispute, rejected"] = resolution(1, False)
    rewards.call(payer, "open_dispute", state["epoch"], state["root"], 1, d.keccak256(b"evidence"))
    table["resolve dispute, upheld"] = resolution(2, True)
    state.update(epoch=state["epoch"] - 1, root=root, attempt=1, total=state["total"] - 9_000 * TOKEN - 123_456_789)
    lower, lower_proof = path(leaf(account, 1), b"e")
    post(lower)
    table["prove decrease, depth 20"] = rewards.call(
        payer, "prove_decrease", state["epoch"], lower, state["epoch"] - 1, account, amounts[2], proofs[0], 1, lower_proof
    )  # fmt: skip
    state.update(epoch=state["epoch"] - 1, root=root, attempt=2, total=state["total"] - 9_000 * TOKEN - 123_456_789)
    post(lower)
    table["veto"] = rewards.call(founder, "veto", state["epoch"], lower)
    table["request recipient"] = rewards.call(operator, "request_recipient", name_of[treasury])
    node.now += 86_400
    table["confirm recipient"] = rewards.call(payer, "confirm_recipient", account)
    digest = d.rotation_digest(31_337, rewards.address, signers, 3, 1)
    table["rotate 5 signers"] = rewards.call(payer, "rotate_signers", signers, 3, signed(verifiers[:3], digest))

    def price(average: int) -> int:
        when = node.now
        digest = d.price_digest(31_337, credits.address, average, 100, when, 2)
        return credits.call(payer, "post_price", average, 100, when, signed(verifiers[:3], digest))

    table["post price 3-of-5, first"] = price(50_000)
    table["post price 3-of-5, later"] = price(51_000)
    token.call(payer, "approve", credits.address, 2**256 - 1)
    customer = name_of[keys[5]]
    table["burn for credits, first"] = credits.call(payer, "burn_exact_in", 10 * TOKEN, 1, customer, bytes(32))
    table["burn for credits, repeat"] = credits.call(payer, "burn_exact_in", 10 * TOKEN, 1, customer, bytes(32))
    table["burn exact out"] = credits.call(payer, "burn_exact_out", 1_000, TOKEN, customer, bytes(32))
    credits.call(founder, "debit", customer, 10, bytes(32))
    table["debit credits"] = credits.call(founder, "debit", customer, 10, bytes(32))

    device = d.keccak256(b"did:key:device")
    table["stake, first"] = stake.call(payer, "stake", name_of[payer], device, 10 * TOKEN)
    table["stake, more"] = stake.call(payer, "stake", name_of[payer], device, 10 * TOKEN)
    table["request unbond"] = stake.call(payer, "request_unbond", device, 5 * TOKEN)
    table["open case"] = stake.call(payer, "open_case", name_of[payer], device, b"\x09" * 32)
    digest = d.slash_digest(31_337, stake.address, 1, name_of[payer], device, b"\x09" * 32, 500_000, True, 2)
    table["resolve case, slash"] = stake.call(payer, "resolve_case", 1, 500_000, True, signed(verifiers[:3], digest))
    node.now += 604_801
    table["withdraw"] = stake.call(payer, "withdraw", device)

    posts = [gas for label, gas in table.items() if label.startswith("root post 3-of-5, later")]
    claims = [gas for label, gas in table.items() if label.startswith("claim depth 20, repeat")]
    passed = max(posts) <= POST_BAR and max(claims) <= CLAIM_BAR
    if "--json" in sys.argv:
        print(json.dumps(table, indent=1))
    else:
        for label, gas in table.items():
            print(f"{gas:>12,}  {label}")
        print(f"root post later: {max(posts) / POST_BAR:.3f} of the bar {POST_BAR:,} at worst")
        print(f"repeat claim: {max(claims) / CLAIM_BAR:.3f} of the bar {CLAIM_BAR:,} at worst")
        print(f"bars {'met' if passed else 'MISSED'}; {time.process_time() - started:.1f} s CPU")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
