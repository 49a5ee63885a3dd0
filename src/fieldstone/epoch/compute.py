"""Verify → reward → root: the pure heart of an epoch. Same frozen input, same bytes, on any machine (DESIGN §4.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import polars as pl

from fieldstone.chain.digest import leaves_data_hash
from fieldstone.chain.merkle import Tree
from fieldstone.epoch.freeze import Frozen
from fieldstone.epoch.runner import Runner, SerialRunner
from fieldstone.epoch.state import EpochState
from fieldstone.market.fund_fold import Prices, settle_funds
from fieldstone.market.metering import settle_revenue
from fieldstone.policy import Policy
from fieldstone.rewards import Allocation, AllocationInput, allocate
from fieldstone.rewards.bonded import Bonded, needed_base
from fieldstone.rewards.caps import SOLD_INPUT_SCHEMA
from fieldstone.services import load_service
from fieldstone.services.bonding import Bonding, Bonds
from fieldstone.services.contract import (
    DOCUMENT_SCHEMA,
    VERDICT_SCHEMA,
    EpochInput,
    FleetVerdicts,
    HoldBack,
    HoldsBack,
    ListPrice,
    Service,
)
from fieldstone.services.prices import list_price, unit_price

EQUIVOCATION = "EQUIVOCATION"

# A network that owes nobody anything yet still posts a root (epochs are consecutive on chain): one worthless leaf.
NOBODY = "0x0000000000000000000000000000000000000001"


@dataclass(frozen=True)
class EpochResult:
    """What an epoch decided. `root` and `data_hash`: 32 bytes. `leaves`: address → cumulative base units.

    `sellable`: service → report kind → rows a customer can buy. `usage`: service → USAGE_SCHEMA. `state`: where the next epoch starts.
    """

    frozen: Frozen
    verdicts: pl.DataFrame
    sellable: Mapping[str, Mapping[str, pl.DataFrame]]
    usage: Mapping[str, pl.DataFrame]
    allocation: Allocation
    leaves: Mapping[str, int]
    root: bytes
    data_hash: bytes
    total_base: int
    state: EpochState


def epoch_randomness(network_id: str, epoch: int, block_hash: bytes) -> bytes:
    """Return the 32 public random bytes of an epoch, from the hash of a chain block mined after the epoch's end."""
    return hashlib.sha256(
        b"fieldstone/randomness/v1\0" + network_id.encode() + epoch.to_bytes(8, "big") + block_hash
    ).digest()


def compute(frozen: Frozen, state: EpochState, randomness: bytes, runner: Runner | None = None) -> EpochResult:
    """Compute the epoch after `state` from its frozen input.

    Raises CheckFailed when the journal draws from a fund what it does not hold or was not bought for.
    """
    runner = runner or SerialRunner()
    verdicts = [pl.DataFrame(schema=VERDICT_SCHEMA)]
    sellable: dict[str, Mapping[str, pl.DataFrame]] = {}
    usage: dict[str, pl.DataFrame] = {}
    carry: dict[str, Mapping[str, pl.DataFrame]] = {}
    sold = [pl.DataFrame(schema=SOLD_INPUT_SCHEMA)]
    for name in sorted(frozen.policy.services):
        result = verify_service(name, frozen, state, randomness, runner)
        verdicts.append(_refuse_equivocators(result.verdicts, frozen.equivocating))
        sellable[name] = {kind: _without(table, frozen.equivocating) for kind, table in result.sellable.items()}
        carry[name] = result.carry
        sold.append(result.sold.select("device", service=pl.lit(name), quantity="quantity"))
        if load_service(name).documents:
            usage[name] = _without(result.usage, frozen.equivocating)
    all_verdicts = pl.concat(verdicts)
    settled = settle_revenue(frozen.metering, state.owed_revenue)
    allocation = allocate(
        AllocationInput(
            epoch=frozen.epoch,
            epoch_length_s=frozen.policy.epoch.length_s,
            policy=frozen.policy.rewards,
            services=frozen.policy.services,
            verdicts=all_verdicts,
            registry=frozen.registry,
            revenue=settled.revenue,
            price_micro_usd=frozen.price_micro_usd,
            smoothed_revenue_micro_usd=state.smoothed_revenue_micro_usd,
            corrections=frozen.corrections,
            pools=dict(state.pools),
            previous=dict(state.balances),
            treasury=frozen.policy.settlement.treasury,
            sold=pl.concat(sold),
            now_ms=frozen.end_ms,
            hold_backs=_hold_backs(frozen),
            bonded=bonded_services(frozen.policy),
            staked=frozen.bonds.staked() if frozen.bonds is not None else {},
            list_prices=_list_prices(frozen),
        )
    )
    leaves = {address: amount for address, amount in sorted(allocation.balances.items()) if amount > 0} or {NOBODY: 0}
    return EpochResult(
        frozen=frozen,
        verdicts=all_verdicts,
        sellable=sellable,
        usage=usage,
        allocation=allocation,
        leaves=leaves,
        root=Tree(list(leaves.items())).root,
        data_hash=leaves_data_hash(leaves),
        total_base=sum(leaves.values()),
        state=EpochState(
            epoch=frozen.epoch,
            next_start_ms=frozen.end_ms,
            last_position=frozen.last_position,
            policy=frozen.policy_after,
            registry=frozen.registry_after,
            price_micro_usd=frozen.price_micro_usd,
            smoothed_revenue_micro_usd=allocation.smoothed_revenue_micro_usd,
            pools=allocation.pools,
            balances=allocation.balances,
            last_seq=frozen.last_seq_after,
            owed_revenue=settled.owed,
            funds=settle_funds(
                frozen.metering,
                state.funds,
                epoch=frozen.epoch,
                start_ms=frozen.start_ms,
                prices=_unit_prices(frozen.policy),
            ),
            carry=carry,
            bonds=frozen.bonds,
        ),
    )


def verify_service(name: str, frozen: Frozen, state: EpochState, randomness: bytes, runner: Runner) -> FleetVerdicts:
    """Run both verification stages of one service, the first on the runner's partitions."""
    service = load_service(name)
    whole = service_input(service, frozen, state, randomness)
    parts = list(service.partitions(whole, runner.partitions))
    checks = pl.concat(runner.map(service.check_devices, parts)).sort("device")
    return service.check_fleet(whole, checks)


def service_input(service: Service, frozen: Frozen, state: EpochState, randomness: bytes = b"\0" * 32) -> EpochInput:
    """Return what a service may look at: its part of the frozen input, of the carry and of the policy."""
    setting = frozen.policy.services[service.name]
    return EpochInput(
        epoch=frozen.epoch,
        start_ms=frozen.start_ms,
        end_ms=frozen.end_ms,
        registry=frozen.registry,
        evidence=_complete(service, frozen.evidence.get(service.name, {})),
        params=service.with_overrides(service.default_params(setting.rule_version), setting.params),
        randomness=randomness,
        carry=state.carry.get(service.name, {}),
        rounds=frozen.rounds.get(service.name, ()),
        bonds=_bonds(frozen, state, service.name),
    )


def _bonds(frozen: Frozen, state: EpochState, service: str) -> Bonds | None:
    per_unit_base = frozen.policy.services[service].bond_per_unit_base
    if not per_unit_base:
        return None
    elsewhere: dict[str, int] = {}
    for name, rule in bonded_services(frozen.policy).items():
        other = load_service(name)
        if name != service and isinstance(other, Bonding):
            for device, capacity in other.carried_capacity(state.carry.get(name, {})).items():
                elsewhere[device] = elsewhere.get(device, 0) + needed_base(rule, capacity, 1)
    return Bonds(frozen.bonds.staked() if frozen.bonds is not None else {}, per_unit_base, elsewhere)


def _list_prices(frozen: Frozen) -> dict[str, ListPrice]:
    """Return what customers are asked for each service's work, by the epoch's own policy: so it replays."""
    prices = {name: list_price(load_service(name), frozen.policy) for name in frozen.policy.services}
    return {name: price for name, price in prices.items() if price is not None}


def _unit_prices(policy: Policy) -> Prices:
    """Return what use costs under a policy, of everything that is charged by use."""
    return {
        (name, one.name): (unit_price(service, one, policy), one.usage_per_unit)
        for name in policy.services
        for service in [load_service(name)]
        for one in service.products
        if one.usage_per_unit > 0
    }


def bonded_services(policy: Policy) -> dict[str, Bonded]:
    """Return the rule of every service that asks for a bond under a policy."""
    found = {}
    for name, setting in policy.services.items():
        service = load_service(name)
        if setting.bond_per_unit_base and isinstance(service, Bonding):
            params = service.with_overrides(service.default_params(setting.rule_version), setting.params)
            found[name] = Bonded(service.bond_terms(params), setting.bond_per_unit_base)
    return found


def _hold_backs(frozen: Frozen) -> dict[str, HoldBack]:
    found = {}
    for name, setting in frozen.policy.services.items():
        service = load_service(name)
        if isinstance(service, HoldsBack):
            params = service.with_overrides(service.default_params(setting.rule_version), setting.params)
            rule = service.hold_back(params)
            if rule is not None:
                found[name] = rule
    return found


def _complete(service: Service, evidence: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Return a table for every kind of the service with all its columns, so that rules never ask what is there."""
    complete = {kind: evidence.get(kind, pl.DataFrame(schema=DOCUMENT_SCHEMA)) for kind in service.documents}
    for kind, columns in service.kinds.items():
        schema: dict[str, pl.DataType] = {"device": pl.String(), "t_ms": pl.Int64(), "received_ms": pl.Int64()}
        schema.update({column.name: pl.Float64() for column in columns})
        complete[kind] = pl.concat([pl.DataFrame(schema=schema), evidence.get(kind, pl.DataFrame())], how="diagonal")
    return complete


def _refuse_equivocators(verdicts: pl.DataFrame, devices: frozenset[str]) -> pl.DataFrame:
    """Reject whoever signed two different messages under one sequence number: at least one of them is a lie."""
    guilty = pl.col("device").is_in(sorted(devices))
    detail = msgspec.json.encode({"check": "equivocation", "evidence": "journal entry of kind equivocation"}).decode()
    return verdicts.with_columns(
        quantity=pl.when(guilty).then(0).otherwise("quantity").cast(pl.Int64),
        quality_ppm=pl.when(guilty).then(0).otherwise("quality_ppm").cast(pl.Int64),
        verdict=pl.when(guilty).then(pl.lit("rejected")).otherwise("verdict"),
        reasons=pl.when(guilty).then(pl.concat_list(pl.lit(EQUIVOCATION), "reasons")).otherwise("reasons"),
        detail=pl.when(guilty).then(pl.lit(detail)).otherwise("detail"),
    )


def _without(table: pl.DataFrame, devices: frozenset[str]) -> pl.DataFrame:
    return table.filter(~pl.col("device").is_in(sorted(devices)))
