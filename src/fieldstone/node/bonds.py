"""Write the bonds on chain into the journal as an epoch begins (`epoch.bonds` says which block and why).

The chain's node may not answer just then: it is asked again until the epoch ends, about the same block, whose bonds do
not change. Until there is an entry the last snapshot stays, and `fieldstone status` names the trouble.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from fieldstone.chain.bonds import bonds_at
from fieldstone.epoch.bonds import asks_for_bonds, block_for, entry_of
from fieldstone.epoch.compute import bonded_services
from fieldstone.errors import ConfigError, FieldstoneError
from fieldstone.journal import EntryKind
from fieldstone.policy import Policy
from fieldstone.rewards.bonded import key_of
from fieldstone.services import load_service
from fieldstone.services.bonding import Bonding

if TYPE_CHECKING:
    from fieldstone.identity.registry import Registry
    from fieldstone.node.node import Node

_log = structlog.get_logger("bonds")

AGAIN_MS = 10_000
MOST_READ = 200  # devices of one operator whose bond is read from the chain for one answer


class BondDesk:
    """Takes a node's snapshots. `problem`: why the open epoch has none, "" when it has one or needs none; `delay_problem`: what is
    wrong with the contract's unbonding delay."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()  # an epoch's end and the loop of the node both call
        self._done = 0  # newest epoch whose snapshot is in the journal
        self._asked_ms = 0
        self.problem = ""
        self.delay_problem = ""

    @property
    def warnings(self) -> dict[str, str]:
        """What `fieldstone status` has to say about bonds."""
        found = {"bonds": self.problem, "unbonding": self.delay_problem}
        return {name: text for name, text in found.items() if text}

    def write_due(self, *, at_once: bool = False) -> bool:
        """Append the open epoch's snapshot unless it is there; return whether one was written. Never raises a
        FieldstoneError: it is kept in `problem`, and the next call tries again (after a while, unless `at_once`)."""
        with self._lock:
            return self._write_due(at_once)

    def _write_due(self, at_once: bool) -> bool:
        node = self._node
        state, now_ms = node.state, node.clock.now_ms()
        epoch = state.epoch + 1
        if not asks_for_bonds(state.policy):
            self.problem = ""
            return False
        too_soon = not at_once and now_ms - self._asked_ms < AGAIN_MS
        if epoch == 1 or self._done >= epoch or too_soon or now_ms >= state.next_end_ms:
            return False  # before epoch 1 there were no contracts, so no bonds
        self._asked_ms = now_ms
        try:
            return self._write(epoch)
        except FieldstoneError as error:
            since = "none was ever taken" if state.bonds is None else f"those of epoch {state.bonds.epoch} stay"
            self.problem = f"the bonds of epoch {epoch} could not be read ({since}): {error}"
            _log.warning("bonds_not_read", epoch=epoch, why=str(error))
            return False

    def _write(self, epoch: int) -> bool:
        node = self._node
        boundary = None
        for entry in node.journal.read(node.state.last_position + 1, None, (EntryKind.EPOCH, EntryKind.BOND)):
            body = msgspec.json.decode(entry.body)
            if entry.kind is EntryKind.BOND and body["epoch"] == epoch:
                self._done, self.problem = epoch, ""
                return False
            if entry.kind is EntryKind.EPOCH and body["epoch"] == epoch - 1:
                boundary = (int(body["block"]), bytes.fromhex(body["block_hash"]))
        if boundary is None:
            return False  # the epoch before is not closed yet
        number = block_for(boundary[0], node.state.policy)
        block_hash = boundary[1] if number == boundary[0] else node.port.block_hash(number)
        if block_hash is None:
            raise ConfigError(f"block {number} is not on the chain", key="settlement.bond_depth_blocks")
        bonds = bonds_at(node.chain, number, block_hash)
        node.journal.append([entry_of(epoch, number, block_hash, bonds)])
        self._done, self.problem, self.delay_problem = epoch, "", self.short_delay()
        _log.info("bonds_read", epoch=epoch, block=number, bonds=len(bonds))
        return True

    def short_delay(self) -> str:
        """Say what is wrong with the contract's unbonding delay under the policy in force; "" when nothing is."""
        policy = self._node.policy
        wanted_s = exposure_s(policy) if asks_for_bonds(policy) else 0
        delay_s = self._node.chain.unbonding_delay_s() if wanted_s else 0
        if delay_s >= wanted_s:
            return ""
        return (
            f"a bond can be withdrawn {delay_s:,} s after it is released, but a fault may take {wanted_s:,} s to be named: "
            "who loses data can take his bond out in time. Deploy a network with this policy from the start"
        )


def bonds_of(node: Node, operator: str, registry: Registry) -> dict[str, Any]:
    """Return what stands behind `/v1/bonds/{operator}`; `services` is empty where no bond is asked for."""
    latest, state = node.store.latest, node.state
    mine = [device.device for device in registry.devices() if device.operator.lower() == operator.lower()]
    rules = bonded_services(state.policy)
    devices: list[dict[str, Any]] = []
    for row in node.store.statements(latest) if latest and rules else ():
        own = json.loads(row["factors"])["row"] if row["operator"].lower() == operator.lower() else {}
        if "bond_unit" in own:
            facts = {name: own[f"bond_{name}"] for name in ("needed_base", "covered_base", "per_unit_base", "unit")}
            devices.append({"device": row["device"], "service": row["service"], **facts})
    staked = {} if state.bonds is None else state.bonds.staked()
    counted = {key: staked.get((operator.lower(), key_of(key)), 0) for key in ("", *mine)}
    on_chain = {key: node.chain.bond_of(operator, bytes.fromhex(key_of(key))) for key in ("", *mine[:MOST_READ])}
    return {
        "operator": operator,
        "services": {
            name: {"unit": rule.terms.unit, "per_unit_base": str(rule.per_unit_base)} for name, rule in rules.items()
        },
        "epoch": latest,
        "snapshot": None if state.bonds is None else {"epoch": state.bonds.epoch, "block": state.bonds.block},
        "problem": node.bonds.problem,
        "devices": devices,
        "counted_base": {key: str(amount) for key, amount in counted.items() if amount or not key},
        "staked_base": {
            key: str(bond["staked_base"]) for key, bond in on_chain.items() if bond["staked_base"] or not key
        },
    }


def check_bonds(policy: Policy) -> None:
    """Raise ConfigError when a service asks for a bond that has no unit of capacity."""
    known = bonded_services(policy)
    for name, setting in policy.services.items():
        if setting.bond_per_unit_base and name not in known:
            raise ConfigError(
                f"service {name} has nothing that a bond answers for", key=f"services.{name}.bond_per_unit"
            )


def exposure_s(policy: Policy) -> int:
    """Return how long a bond has to stay after its release, so that a fault is named before it can be withdrawn.

    The longest exposure of the services, an epoch until the snapshot that counts, one until the verdict is sealed. 0 when
    no service knows bonds.
    """
    longest = 0
    for name, setting in policy.services.items():
        service = load_service(name)
        if isinstance(service, Bonding):
            params = service.with_overrides(service.default_params(setting.rule_version), setting.params)
            longest = max(longest, service.bond_terms(params).exposure_s + 2 * policy.epoch.length_s)
    return longest
