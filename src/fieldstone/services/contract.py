"""What a kind of infrastructure must offer to be a Fieldstone service.

A service is one folder found by the entry point group `fieldstone.services`; nothing outside the folder changes when
one is added. Everything here is pure: tables and frozen parameters in, tables out. No clock, network, file or logging.

The verification of an epoch has two stages, because some checks need one device and some need the fleet:

1. `check_devices` looks at a *partition* of the devices, alone. The engine may run partitions in any order, in any
   number, in other processes. It returns one table; the engine concatenates the tables and sorts by device.
2. `check_fleet` sees the whole fleet's stage-1 table and decides the verdicts.

So the result cannot depend on the partitioning (conformance tests shuffle it).

An *active* service also asks something of its devices while the epoch runs. At intervals of `round_s` the network
publishes a round: a journal entry whose seed comes from public randomness that nobody knew before. What a round asks
of whom is `challenges`, a pure function of the evidence received until then, so everybody can work it out again:
the device that answers, and the verifier who checks months later that the right question was answered in time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import polars as pl

from fieldstone.services.bonding import Bonds

# Registry columns every service can rely on; one row per device that was enrolled at any time in the epoch, sorted.
REGISTRY_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),  # did:key
    "operator": pl.String(),  # 0x… EIP-55 address
    "model": pl.String(),
    "lat": pl.Float64(),  # degrees, WGS 84
    "lon": pl.Float64(),
    "elevation_m": pl.Float64(),
    "enrolled_ms": pl.Int64(),
}

# One row per device with evidence or an enrolment in the epoch; sorted by device.
VERDICT_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "service": pl.String(),
    "epoch": pl.Int64(),
    "quantity": pl.Int64(),  # service units of verified work, ≥ 0; the unit is `Service.quantity_unit`
    "quality_ppm": pl.Int64(),  # 0 … 1,000,000
    "verdict": pl.String(),  # accepted | partial | rejected
    "reasons": pl.List(pl.String()),  # codes of the rule version, most costly first
    "detail": pl.String(),  # canonical JSON: per check measured value, threshold, share lost, counterfactual
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a report kind: name with unit, what it is, the unit's text, and the physically possible range."""

    name: str
    unit: str
    description: str
    possible: tuple[float, float]


@dataclass(frozen=True, slots=True)
class VerdictReason:
    """Why accepted work earned less: stable code, what it means, what the operator can do."""

    code: str
    meaning: str
    remedy: str


# What verified work customers used: the network charges `payer` for it after the epoch. Sorted by its first three columns.
USAGE_SCHEMA: dict[str, pl.DataType] = {
    "payer": pl.String(),  # did:key of the customer's device (a gateway)
    "device": pl.String(),  # who did the work and is paid for it
    "product": pl.String(),
    "units": pl.Int64(),  # in the product's smallest unit, > 0: `Product.usage_per_unit` of them cost its price
}

# How much of a device's quantity customers' own data made: whoever stores junk with himself makes as much as he likes, so
# its bootstrap never exceeds the take on what was paid for it (`rewards.caps`). Sorted by device.
SOLD_SCHEMA: dict[str, pl.DataType] = {"device": pl.String(), "quantity": pl.Int64()}

# Columns of the evidence table of a document kind; one row per report, sorted by position.
DOCUMENT_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "t_ms": pl.Int64(),  # the report's own time
    "received_ms": pl.Int64(),
    "position": pl.Int64(),  # in the journal
    "body": pl.Binary(),
}

# What a round asks: one row per device that is asked anything; sorted by device.
CHALLENGE_SCHEMA: dict[str, pl.DataType] = {"device": pl.String(), "body": pl.Binary()}


@dataclass(frozen=True, slots=True)
class Product:
    """Something a customer can buy. `price_micro_usd` is for one `unit`.

    Metered products are charged by `FleetVerdicts.usage`: `usage_per_unit` smallest units make one `unit`
    (0: not metered, sold by order). `priced_as`: another product of the service at whose price this one is charged; it is
    paid by the payer's funds first (`Endowment.covers`), then by credits.
    """

    name: str
    title: str
    unit: str
    price_micro_usd: int
    description: str
    usage_per_unit: int = 0
    priced_as: str = ""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a fund may pay of a product that is not used all the time: smallest units at once, and more with every year."""

    at_once: int
    per_year: int


@dataclass(frozen=True, slots=True)
class Endowment:
    """An offer to pay once: `price_micro_usd` goes into a locked fund that pays what the payer is charged for product
    `covers`, up to `units_per_s` of its smallest units a second, and for the products in `also` up to their allowances.
    `terms`: what is kept with the fund and shown; `terms["assumptions"]`, what its price rests on, is in every sealed
    epoch, too."""

    price_micro_usd: int
    covers: str
    units_per_s: int
    terms: Mapping[str, Any]
    also: Mapping[str, Allowance] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FundFacts:
    """What became of a fund by `now_ms`. `price_micro_usd`: of one unit of what it covers, today; `also_micro_usd`: of what
    it may pay besides; `charged`: (epoch, micro-dollars due, of them drawn from this fund), oldest first, of the time from
    `since_ms` to `until_ms`. `used_per_s`: smallest units of it that its payer uses (None: not known), against the
    `assumed_beside` of all funds of that payer that hold something, this one among them."""

    paid_in_micro_usd: int
    drawn_micro_usd: int
    bought_ms: int
    now_ms: int
    price_micro_usd: int
    charged: Sequence[tuple[int, int, int]] = ()
    since_ms: int = 0
    until_ms: int = 0
    also_micro_usd: Mapping[str, int] = field(default_factory=dict)
    used_per_s: int | None = None
    assumed_beside: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class HoldBack:
    """How pay of new devices is held back (`rewards.held`). `by_month_ppm`: share by month since enrolment; of what was held
    `release_ppm` is paid in month `release_month`. Verdict reasons: `forfeits` cost it, `departures` end it cleanly, `exits`
    make a revocation clean."""

    by_month_ppm: tuple[int, ...]
    release_month: int
    release_ppm: int
    forfeits: frozenset[str]
    exits: frozenset[str]
    departures: frozenset[str] = frozenset()


@runtime_checkable
class HoldsBack(Protocol):
    """A service whose devices can do lasting damage by leaving."""

    def hold_back(self, params: Mapping[str, Any]) -> HoldBack | None:
        """Return the rule by the parameters of a policy; None: pay is not held back."""
        ...


@dataclass(frozen=True, slots=True)
class ListPrice:
    """What customers are asked for a service's work: `micro_usd` for so many `units` of sold quantity, `per` in words.

    `unsold_weight_ppm`: quantity that a unit of the same work counts while nobody has bought it. By this price the
    rewards know what was paid for, and what unsold work may earn at most (`rewards.caps`).
    """

    micro_usd: int
    units: int
    per: str
    unsold_weight_ppm: int = 1_000_000


@runtime_checkable
class Listed(Protocol):
    """A service whose work is all alike, so that a unit of it has a price before anybody buys it."""

    def list_price(self, params: Mapping[str, Any], prices_micro_usd: Mapping[str, int]) -> ListPrice | None:
        """Return the price of its work by frozen parameters and prices (product → micro-dollars); None: it has none."""
        ...


@runtime_checkable
class Endowing(Protocol):
    """A service that sells something for one payment (`Product` that no order of data and no meter can sell)."""

    def endow(self, product: str, wish: Mapping[str, Any], prices_micro_usd: Mapping[str, int]) -> Endowment:
        """Return what `wish` costs once. Raises UsageError for a wish that cannot be."""
        ...

    def review_fund(self, terms: Mapping[str, Any], facts: FundFacts) -> Mapping[str, Any]:
        """Hold a fund against what it has really spent: does it still cover, until when, what happens then."""
        ...


@dataclass(frozen=True, slots=True)
class Document:
    """A report kind whose payload is one byte string with a format of the service's own (proofs, leases)."""

    max_bytes: int
    description: str


@dataclass(frozen=True, slots=True)
class Round:
    """What the network asked of an active service. `seed`: 32 bytes that nobody knew before; `position`: of its journal
    entry, so evidence before it was there when it was asked; `issued_ms`: when that entry was received."""

    number: int
    position: int
    issued_ms: int
    seed: bytes


@dataclass(frozen=True)
class EpochInput:
    """All that the verification of one epoch may look at.

    `registry`: REGISTRY_SCHEMA. `evidence`: report kind → table sorted by (device, t_ms), columns of `Service.kinds`
    plus `device, t_ms, received_ms`; for kinds of `Service.documents` DOCUMENT_SCHEMA. `rounds`: what was asked in the
    epoch, in order. `params`: the frozen parameters of the rule version. `carry`: what
    `check_fleet` of the previous epoch left (empty table when none). `randomness`: 32 public bytes. `bonds`: where the
    policy asks for them.
    """

    epoch: int
    start_ms: int
    end_ms: int
    registry: pl.DataFrame
    evidence: Mapping[str, pl.DataFrame]
    params: Mapping[str, Any]
    randomness: bytes = b"\0" * 32
    carry: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    rounds: tuple[Round, ...] = ()
    bonds: Bonds | None = None


@dataclass(frozen=True)
class FleetVerdicts:
    """`verdicts`: VERDICT_SCHEMA, sorted by device. `sellable`: report kind → evidence rows good enough to be sold,
    with `quality_ppm`. `carry`: small tables handed to the next epoch (fingerprints, running medians). `usage`:
    USAGE_SCHEMA, verified work that customers used; the network charges for it. `sold`: SOLD_SCHEMA."""

    verdicts: pl.DataFrame
    sellable: Mapping[str, pl.DataFrame]
    carry: Mapping[str, pl.DataFrame]
    usage: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=USAGE_SCHEMA))
    sold: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SOLD_SCHEMA))


class Service(Protocol):
    """One kind of infrastructure. Implementations are stateless module-level objects.

    `kinds`: reports of numbers by column; `documents`: reports of bytes. A passive service has no documents, no rounds
    and no challenges (`PassiveService` says so).
    """

    name: str
    quantity_unit: str
    kinds: Mapping[str, tuple[Column, ...]]
    documents: Mapping[str, Document]
    products: tuple[Product, ...]
    reasons: Mapping[str, VerdictReason]
    rule_versions: tuple[int, ...]

    def default_params(self, rule_version: int) -> Mapping[str, Any]:
        """Return the parameters of a rule version; a network's policy may override single keys."""
        ...

    def with_overrides(self, params: Mapping[str, Any], overrides: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return `params` with a policy's overrides (dotted or nested keys). Raises UsageError naming an unknown key."""
        ...

    def check_devices(self, part: EpochInput) -> pl.DataFrame:
        """Stage 1: look at each device alone. One row per device of `part.registry`, sorted by device."""
        ...

    def check_fleet(self, whole: EpochInput, device_checks: pl.DataFrame) -> FleetVerdicts:
        """Stage 2: compare devices with each other and decide. `device_checks` is stage 1's, all devices, sorted."""
        ...

    def partitions(self, whole: EpochInput, count: int) -> Iterator[EpochInput]:
        """Cut the input into at most `count` parts by device."""
        ...

    def round_s(self, params: Mapping[str, Any]) -> int:
        """Return the seconds between rounds; 0: this service asks nothing."""
        ...

    def challenges(self, so_far: EpochInput, asked: Round) -> pl.DataFrame:
        """Return what `asked` wants from whom: CHALLENGE_SCHEMA, sorted by device. `so_far.evidence` may hold more than
        was there at `asked.position`: the service looks only at rows before it."""
        ...

    def directory(self, so_far: EpochInput) -> Mapping[str, Mapping[str, Any]]:
        """Return what customers' software has to know to reach a device, by device: its address, free space …"""
        ...


class PassiveService:
    """What a service that asks nothing has in common with every other such service."""

    documents: Mapping[str, Document] = {}

    def round_s(self, params: Mapping[str, Any]) -> int:
        """Ask nothing."""
        return 0

    def challenges(self, so_far: EpochInput, asked: Round) -> pl.DataFrame:
        """Ask nothing."""
        return pl.DataFrame(schema=CHALLENGE_SCHEMA)

    def directory(self, so_far: EpochInput) -> Mapping[str, Mapping[str, Any]]:
        """Devices that customers never talk to need no address."""
        return {}
