"""A deployed set of the shipped artifacts on titanoboa's EVM, with signers, trees and exact revert reasons."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boa
import pytest
from eth_abi import decode, encode
from eth_hash.auto import keccak
from eth_keys.datatypes import PrivateKey

CHAIN_FOLDER = Path(__file__).resolve().parents[3] / "src" / "fieldstone" / "chain"
TOKEN = 10**18
ZERO = "0x" + "00" * 20
EMPTY = bytes(32)
DATA_HASH = b"\xda" * 32
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

PENDING, ACTIVE, SUPERSEDED, CANCELLED, DISPUTED = 1, 2, 3, 4, 5
OPEN, UPHELD, REJECTED, EXPIRED, VOID = 1, 2, 3, 4, 5


def load_digest() -> Any:
    """Load fieldstone.chain.digest alone: this environment has neither the package nor safe-pysha3."""
    if importlib.util.find_spec("sha3") is None:
        shim = types.ModuleType("sha3")
        shim.keccak_256 = lambda data: SimpleNamespace(digest=lambda: keccak(data))  # type: ignore[attr-defined]
        sys.modules["sha3"] = shim
    spec = importlib.util.spec_from_file_location("fieldstone_digest", CHAIN_FOLDER / "digest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


digest = load_digest()


class Reverted(Exception):
    """A call reverted; `args[0]` is the reason string."""


@contextmanager
def reverts(reason: str) -> Iterator[None]:
    """Expect exactly this revert reason."""
    with pytest.raises(Reverted) as caught:
        yield
    assert caught.value.args[0] == reason


@contextmanager
def refused_signatures() -> Iterator[None]:
    """Expect the quorum to be refused: a digest that nobody signed recovers to strangers, in any order."""
    with pytest.raises(Reverted) as caught:
        yield
    assert caught.value.args[0] in ("not a signer", "signers not ascending")


def _types(items: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"({','.join(_types(item['components']))})" if item["type"].startswith("tuple") else item["type"]
        for item in items
    ]


def artifact(name: str) -> dict[str, Any]:
    """Read a shipped artifact."""
    loaded: dict[str, Any] = json.loads((CHAIN_FOLDER / "contracts" / "artifacts" / f"{name}.json").read_text())
    return loaded


class Contract:
    """A deployed artifact; `contract.name(*args, sender=…)` returns the decoded result or raises Reverted."""

    def __init__(self, name: str, *args: Any, address: str | None = None) -> None:
        shipped = artifact(name)
        self._functions = {item["name"]: item for item in shipped["abi"] if item["type"] == "function"}
        self._events = {
            keccak(f"{item['name']}({','.join(_types(item['inputs']))})".encode()): item
            for item in shipped["abi"]
            if item["type"] == "event"
        }
        constructor = next(item for item in shipped["abi"] if item["type"] == "constructor")
        code = bytes.fromhex(shipped["bytecode"][2:]) + encode(_types(constructor["inputs"]), args)
        target, computation = boa.env.deploy(bytecode=code, override_address=address)
        if computation.is_error:
            raise Reverted(_reason(computation.output))
        self.address = str(target)
        self.logs: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        item = self.__dict__["_functions"].get(name)
        if item is None:
            raise AttributeError(name)
        types_in, types_out = _types(item["inputs"]), _types(item["outputs"])
        selector = keccak(f"{name}({','.join(types_in)})".encode())[:4]

        def call(*args: Any, sender: str | None = None) -> Any:
            computation = boa.env.execute_code(
                to_address=self.address,
                sender=sender,
                data=selector + encode(types_in, args),
                is_modifying=item["stateMutability"] != "view",
            )
            if computation.is_error:
                raise Reverted(_reason(computation.output))
            self.logs = [
                self._decode_log(topics, data)
                for address, topics, data in computation.get_log_entries()
                if address == bytes.fromhex(self.address[2:])
            ]
            values = decode(types_out, computation.output)
            return values[0] if len(values) == 1 else values or None

        return call

    def _decode_log(self, topics: Sequence[int], data: bytes) -> tuple[str, dict[str, Any]]:
        item = self._events[topics[0].to_bytes(32, "big")]
        indexed = [entry for entry in item["inputs"] if entry["indexed"]]
        plain = [entry for entry in item["inputs"] if not entry["indexed"]]
        found = dict(zip([entry["name"] for entry in plain], decode(_types(plain), data), strict=True))
        for entry, topic in zip(indexed, topics[1:], strict=True):
            found[entry["name"]] = decode(_types([entry]), topic.to_bytes(32, "big"))[0]
        return item["name"], found


def _reason(output: bytes) -> str:
    if output[:4] != bytes.fromhex("08c379a0"):
        return ""
    return str(decode(["string"], output[4:])[0])


class Signer:
    """A secp256k1 key."""

    def __init__(self, secret: int) -> None:
        self._key = PrivateKey(secret.to_bytes(32, "big"))
        self.address: str = self._key.public_key.to_checksum_address().lower()

    def sign(self, message: bytes) -> bytes:
        """Return r ‖ s ‖ v over a 32-byte digest."""
        raw = self._key.sign_msg_hash(message).to_bytes()
        return bytes(raw[:64]) + bytes([27 + raw[64]])


def make_signers(count: int, first_secret: int) -> list[Signer]:
    """Return signers in ascending order of address."""
    return sorted((Signer(first_secret + i) for i in range(count)), key=lambda signer: signer.address)


def quorum(signers: Sequence[Signer], message: bytes) -> bytes:
    """Return the joined signatures of `signers`."""
    joined: bytes = digest.join_signatures({signer.address: signer.sign(message) for signer in signers})
    return joined


class Tree:
    """A StandardMerkleTree of (address, amount), written from the rules for these tests only."""

    def __init__(self, leaves: Sequence[tuple[str, int]]) -> None:
        hashes = sorted(
            (keccak(keccak(encode(["address", "uint256"], leaf))), index) for index, leaf in enumerate(leaves)
        )
        size = len(leaves)
        nodes = [b""] * (2 * size - 1)
        self._place = {}
        for i, (node, index) in enumerate(hashes):
            nodes[2 * size - 2 - i] = node
            self._place[index] = 2 * size - 2 - i
        for i in range(size - 2, -1, -1):
            nodes[i] = keccak(b"".join(sorted(nodes[2 * i + 1 : 2 * i + 3])))
        self._nodes = nodes
        self.leaves = list(leaves)
        self.root: bytes = nodes[0]

    def proof(self, index: int) -> list[bytes]:
        """Return the siblings from leaf `index` up."""
        place, path = self._place[index], []
        while place > 0:
            path.append(self._nodes[place + 1 if place % 2 else place - 1])
            place = (place - 1) // 2
        return path


class World:
    """Token, Rewards, Credits and Stake with a 2-of-3 quorum (or as given) and one funded holder."""

    start_s = 1_800_000_000
    delay_s, dispute_s, window_s, redirect_s = 3_600, 7_200, 86_400, 5_000
    unbonding_s, case_s = 20_000, 9_000
    epoch_cap, emission_cap, window_cap = 1_000 * TOKEN, 50_000 * TOKEN, 1_500 * TOKEN
    bond, case_bond, genesis, max_supply = 10 * TOKEN, 5 * TOKEN, 100_000 * TOKEN, 200_000 * TOKEN
    rate_cap = 10**9

    def __init__(self, signer_count: int = 3, threshold: int = 2, **settings: int) -> None:
        for key, value in settings.items():
            setattr(self, key, value)
        boa.env.timestamp = self.start_s
        self.chain_id: int = boa.env.evm.chain.chain_id
        self.signers = make_signers(signer_count, 0xA11CE)
        self.threshold = threshold
        self.founder, self.guardian, self.treasury, self.network, self.poster = (
            str(boa.env.generate_address()) for _ in range(5)
        )
        rewards_address = str(boa.env.generate_address())
        self.token = Contract("Token", "Field", "FLD", rewards_address, self.founder, self.genesis, self.max_supply)
        self.rewards = Contract("Rewards", *self.rewards_arguments(), address=rewards_address)
        self.credits = Contract(
            "Credits", self.token.address, self.rewards.address, self.poster, self.network, 3_600, 86_400, self.rate_cap
        )
        self.stake = Contract("Stake", *self.stake_arguments())
        for spender in (self.rewards, self.credits, self.stake):
            self.token.approve(spender.address, 2**256 - 1, sender=self.founder)

    def rewards_arguments(self, **changes: Any) -> tuple[Any, ...]:
        """Return Rewards' constructor arguments; epoch e may be posted from the start on for e ≤ 100."""
        arguments = {
            "token": self.token.address,
            "treasury": self.treasury,
            "guardian": self.guardian,
            "signers": [signer.address for signer in self.signers],
            "threshold": self.threshold,
            "first_start": self.start_s - 100 * 1_000,
            "epoch_length": 1_000,
            "epoch_cap": self.epoch_cap,
            "emission_cap": self.emission_cap,
            "activation_delay": self.delay_s,
            "dispute_period": self.dispute_s,
            "dispute_bond": self.bond,
            "window_length": self.window_s,
            "window_cap": self.window_cap,
            "recipient_delay": self.redirect_s,
        }
        assert set(changes) <= set(arguments)
        return tuple((arguments | changes).values())

    def stake_arguments(self, **changes: Any) -> tuple[Any, ...]:
        """Return Stake's constructor arguments."""
        arguments = {
            "token": self.token.address,
            "rewards": self.rewards.address,
            "treasury": self.treasury,
            "unbonding_delay": self.unbonding_s,
            "case_period": self.case_s,
            "case_bond": self.case_bond,
        }
        assert set(changes) <= set(arguments)
        return tuple((arguments | changes).values())

    def pass_time(self, seconds: int) -> None:
        """Move block time forward."""
        boa.env.timestamp += seconds

    def root_fields(self, epoch: int, root: bytes, total: int) -> dict[str, Any]:
        """Return the fields of the digest for the next post, as a verifier reads them from the chain."""
        return {
            "chain_id": self.chain_id,
            "contract": self.rewards.address,
            "epoch": epoch,
            "attempt": self.rewards.attempt(),
            "previous_root": self.rewards.live_root(),
            "root": root,
            "data_hash": DATA_HASH,
            "total": total,
            "signer_set_version": self.rewards.signer_set_version(),
        }

    def sign_root(self, epoch: int, root: bytes, total: int) -> bytes:
        """Return the signatures of just enough verifiers."""
        return quorum(self.signers[: self.threshold], digest.root_digest(**self.root_fields(epoch, root, total)))

    def post(self, root: bytes, total: int) -> int:
        """Post the next epoch; return its number."""
        epoch: int = self.rewards.live_epoch() + 1
        self.rewards.post(epoch, root, DATA_HASH, total, self.sign_root(epoch, root, total))
        return epoch

    def post_tree(self, leaves: Sequence[tuple[str, int]], *, total: int | None = None, active: bool = False) -> Tree:
        """Post a tree over `leaves`; with `active`, wait until it pays."""
        tree = Tree(leaves)
        self.post(tree.root, sum(amount for _, amount in leaves) if total is None else total)
        if active:
            self.pass_time(self.delay_s)
        return tree

    def claim(self, tree: Tree, index: int) -> int:
        """Claim leaf `index` of `tree` as a stranger; return base units paid."""
        account, amount = tree.leaves[index]
        paid: int = self.rewards.claim(account, amount, tree.proof(index), tree.root)
        return paid

    def open_dispute(self, epoch: int) -> int:
        """Dispute `epoch` from the founder's tokens; return the dispute's number."""
        number: int = self.rewards.open_dispute(
            epoch, self.rewards.record(epoch)[1], 1, b"\xe1" * 32, sender=self.founder
        )
        return number

    def resolve(self, dispute: int, upheld: bool) -> None:
        """Resolve a dispute by the quorum."""
        epoch = self.rewards.disputes(dispute)[2]
        record = self.rewards.record(epoch)
        message = digest.resolution_digest(
            self.chain_id, self.rewards.address, dispute, epoch, record[1], record[2], upheld,
            self.rewards.signer_set_version(),
        )  # fmt: skip
        self.rewards.resolve_dispute(dispute, upheld, quorum(self.signers[: self.threshold], message))

    def status(self, epoch: int) -> int:
        """Return the status of a record."""
        status: int = self.rewards.record(epoch)[0]
        return status


def account(number: int) -> str:
    """Return a plain address."""
    return "0x" + (0xACC0000 + number).to_bytes(20, "big").hex()
