"""Speak to Fieldstone's own contracts: the shipped artifacts, calls as bytes, answers and events as Python values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

from sha3 import keccak_256

from fieldstone.chain.port import Call, ChainPort, Log, Reverted
from fieldstone.errors import EnvironmentProblem, Terminal
from fieldstone.identity.wallet import checksum_address

# What to do when a contract refuses; the texts on the left are the contracts' own (contracts/README.md).
_REMEDIES = {
    "root was updated": "A newer root pays now: fetch the new proof and claim again",
    "no active root": "No root has passed its activation delay yet: claim later",
    "nothing to claim": "Everything under the active root was claimed already",
    "cumulative below claimed": "The proof is older than the last claim: fetch the new proof",
    "window cap": "This window's payouts are used up: the rest stays claimable in the next window",
    "claims exceed the total": "The root's leaves sum to more than its declared total: dispute it",
    "bad proof": "The proof does not lead to the root: fetch it again from a node of this network",
    "not the next epoch": "Another epoch is due, or this one is posted already: compare with `live_epoch`",
    "too many pending epochs": "Wait until pending epochs are active",
    "epoch has not ended": "Post it after its end by chain time",
    "epoch cap": "The epoch adds more than `rewards.max_epoch_mint` allows",
    "emission cap": "The network's whole emission is used up",
    "total decreased": "Cumulative totals never fall: replay the epoch",
    "too few signatures": "Collect the signatures of more verifiers",
    "not a signer": "A signature is from outside the signer set, or over another digest (epoch, attempt, previous root)",
    "signers not ascending": "Sort signatures by signer address, one each (`digest.join_signatures`)",
    "record is not pending": "It is active, cancelled or not posted",
    "record has another root": "The record was posted again: look at it before acting",
    "already disputed": "A dispute is open; wait for its outcome",
    "dispute is not open": "It was decided, or never opened",
    "deadline has passed": "Too late to decide: anyone may let the dispute expire",
    "deadline has not passed": "Wait until the deadline of the dispute",
    "only the guardian": "Send it with the guardian's key",
    "balance too low": "The account holds fewer tokens than this needs",
    "allowance too low": "Approve the contract for the amount first",
    "still unbonding": "Wait until the unbonding delay is over",
    "price is stale": "Wait for a newer price",
}


@dataclass(frozen=True)
class Artifact:
    """A compiled contract: name, ABI and creation bytecode."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes

    @cached_property
    def functions(self) -> dict[str, dict[str, Any]]:
        return {entry["name"]: entry for entry in self.abi if entry["type"] == "function"}

    @cached_property
    def events(self) -> dict[bytes, dict[str, Any]]:
        """Events by their first topic."""
        return {
            keccak_256(f"{entry['name']}({','.join(_types(entry['inputs']))})".encode()).digest(): entry
            for entry in self.abi
            if entry["type"] == "event"
        }

    def deployment(self, *arguments: Any) -> bytes:
        """Return creation bytecode followed by the encoded constructor arguments."""
        inputs: list[dict[str, Any]] = next(
            (entry["inputs"] for entry in self.abi if entry["type"] == "constructor"), []
        )
        return self.bytecode + _encode(_types(inputs), arguments)

    def calldata(self, function: str, *arguments: Any) -> bytes:
        """Return the 4-byte selector followed by the encoded arguments."""
        types = _types(self.functions[function]["inputs"])
        selector: bytes = keccak_256(f"{function}({','.join(types)})".encode()).digest()[:4]
        return selector + _encode(types, arguments)


@dataclass(frozen=True)
class Event:
    """A decoded event: its name, its fields, and the log it was read from."""

    name: str
    fields: dict[str, Any]
    log: Log


@dataclass(frozen=True)
class Contract:
    """An artifact at an address."""

    artifact: Artifact
    address: str

    def call(self, function: str, *arguments: Any) -> Call:
        """Return the message that calls `function`."""
        return Call(self.address, self.artifact.calldata(function, *arguments))

    def read(self, port: ChainPort, function: str, *arguments: Any) -> Any:
        """Call a view and return its one value, or a tuple of several. Raises Reverted, or Terminal when no contract
        answers at the address."""
        from eth_abi.abi import decode

        try:
            output = port.call(self.call(function, *arguments))
        except Reverted as error:
            raise explain(error, f"{self.artifact.name}.{function}") from error
        types = _types(self.artifact.functions[function]["outputs"])
        if types and not output:
            raise Terminal(
                f"no {self.artifact.name} contract answers at {self.address}; is this the chain it was deployed on?"
            )
        values = [_tidy(value, kind) for value, kind in zip(decode(types, output), types, strict=True)]
        return values[0] if len(values) == 1 else tuple(values)

    def decode(self, logs: tuple[Log, ...] | list[Log]) -> list[Event]:
        """Return the events of this contract among `logs`; others are left out."""
        from eth_abi.abi import decode

        events = []
        for log in logs:
            entry = self.artifact.events.get(log.topics[0]) if log.topics and log.address == self.address else None
            if entry is None:
                continue
            indexed = [field for field in entry["inputs"] if field["indexed"]]
            plain = [field for field in entry["inputs"] if not field["indexed"]]
            values: dict[str, Any] = {}
            for field, topic in zip(indexed, log.topics[1:], strict=True):
                values[field["name"]] = _tidy(decode([field["type"]], topic)[0], field["type"])
            for field, value in zip(plain, decode(_types(plain), log.data), strict=True):
                values[field["name"]] = _tidy(value, field["type"])
            events.append(Event(entry["name"], values, log))
        return events


def explain(error: Reverted, what: str) -> Reverted:
    """Return the same refusal, naming what was tried and what to do next."""
    return Reverted(error.reason, error.data, what=what, remedy=_REMEDIES.get(error.reason, ""))


@lru_cache
def artifact(name: str) -> Artifact:
    """Read a shipped artifact (`Token`, `Rewards`, `Credits`, `Stake`). Raises EnvironmentProblem when it is missing."""
    try:
        body = json.loads((files("fieldstone.chain") / "contracts" / "artifacts" / f"{name}.json").read_bytes())
        return Artifact(name, body["abi"], bytes.fromhex(body["bytecode"].removeprefix("0x")))
    except (OSError, ValueError, KeyError) as error:
        raise EnvironmentProblem(
            f"the compiled contract {name} is missing or damaged ({error}); install again"
        ) from error


def _types(fields: list[dict[str, Any]]) -> list[str]:
    return [
        field["type"].replace("tuple", f"({','.join(_types(field['components']))})")
        if field["type"].startswith("tuple")
        else field["type"]
        for field in fields
    ]


def _encode(types: list[str], arguments: tuple[Any, ...]) -> bytes:
    from eth_abi.abi import encode

    return encode(types, arguments)


def _tidy(value: Any, kind: str) -> Any:
    """Give addresses their checksum; tuples are struct values whose members keep the library's form."""
    return checksum_address(value) if kind == "address" else value
