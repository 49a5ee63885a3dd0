"""The policy of a network: every setting that can change a verdict, a reward or a price.

It is read from `network.toml`, written to the journal as a `policy` entry, frozen into each sealed epoch and named
there by `policy_hash`. What only concerns one machine (ports, paths) is in `fieldstone.config`, never here.
Amounts in TOML are decimal texts ("1000.5" tokens, "0.02" dollars); they become integers by the properties below.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import msgspec

from fieldstone.units import TOKEN_DECIMALS, parse_amount

Ppm = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Positive = Annotated[int, msgspec.Meta(gt=0)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Amount = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+)?$")]
Address = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}$")]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class EpochPolicy(_Section, frozen=True):
    """`length_s`: seconds an epoch lasts. `first_start_ms`: Unix ms at which epoch 1 starts (0: at the first policy)."""

    length_s: Positive = 86_400
    first_start_ms: NotNegative = 0


class ManufacturerPolicy(_Section, frozen=True):
    """A trusted manufacturer root: PEM text, the hardware models it vouches for (none: any), cap of devices per issuing
    CA and, since a CA can make more CAs, for all that the root stands behind."""

    name: str
    root_pem: str
    models: tuple[str, ...] = ()
    max_devices_per_issuer: Positive = 100_000
    max_devices: Positive = 1_000_000


class IdentityPolicy(_Section, frozen=True):
    """`signature_rule`: the one acceptance rule (identity.strict_v1). `models`: hardware models that may enrol (none:
    any). `certificate_models`: models that need a certificate. `recovery_wait_s`: from the announcement of a lost
    key's replacement until it can take over."""

    signature_rule: str = "strict-v1"
    manufacturers: tuple[ManufacturerPolicy, ...] = ()
    models: tuple[str, ...] = ()
    certificate_models: tuple[str, ...] = ()
    recovery_wait_s: NotNegative = 604_800
    min_move_interval_s: NotNegative = 86_400


class IntakePolicy(_Section, frozen=True):
    """Acceptance window and sizes. They decide what enters an epoch, so they are policy."""

    future_tolerance_s: NotNegative = 120
    stale_after_s: Positive = 7 * 86_400
    max_span_s: Positive = 86_400
    max_readings: Positive = 2_000
    max_report_bytes: Positive = 4_259_840  # 4 MiB of proofs and their frame; readings are bounded by `max_readings`
    max_body_bytes: Positive = 8_388_608


class RewardPolicy(_Section, frozen=True):
    """DESIGN §4.8. `bootstrap_per_epoch` decays by `bootstrap_decay_ppm` each epoch (schedule); `r_half` in dollars.

    `full_coverage_cells`: cells that must be served before the whole bootstrap is paid. `need_demand_ppm`: share of
    the take that may steer the bootstrap towards cells where customers bought (rewards.need).
    """

    take_ppm: Ppm = 100_000
    token_price_usd: Amount = "0.05"  # until a `price` entry of the journal says otherwise
    bootstrap_per_epoch: Amount = "1000"
    bootstrap_decay_ppm: Ppm = 0
    r_half_usd: Amount = "100"
    revenue_smoothing_ppm: Ppm = 200_000  # weight of the newest epoch in the moving average
    cell_resolution: Annotated[int, msgspec.Meta(ge=0, le=15)] = 7
    full_coverage_cells: Positive = 10
    need_demand_ppm: Ppm = 500_000
    max_epoch_mint: Amount = "10000"

    @property
    def bootstrap_base(self) -> int:
        """Bootstrap of the first epoch in token base units."""
        return parse_amount(self.bootstrap_per_epoch, TOKEN_DECIMALS)

    @property
    def token_price_micro_usd(self) -> int:
        """Dollar price of one token in micro-dollars."""
        return parse_amount(self.token_price_usd, 6)

    @property
    def r_half_micro_usd(self) -> int:
        """Smoothed revenue per epoch at which the bootstrap has halved, in micro-dollars."""
        return parse_amount(self.r_half_usd, 6)

    @property
    def max_epoch_mint_base(self) -> int:
        """Most that one epoch may add to the cumulative total, in token base units; also the contract's epoch cap."""
        return parse_amount(self.max_epoch_mint, TOKEN_DECIMALS)


class ServicePolicy(_Section, frozen=True):
    """`share_ppm`: part of the bootstrap. `params`: overrides of the rule version's parameters by dotted key.

    `cell_target_rate`: verified units per second at which a cell's pool is whole (sensing: perfect stations).
    `unsold_pay_ppm`: most that unsold work earns, as a part of what it would earn if it were sold at list price
    (`rewards.caps`); without meaning for a service whose work has no price per unit.
    `bond_per_unit`: tokens at risk for each unit of capacity that earns bootstrap (storage: TiB; 0: none is asked for);
    `slash_ppm`: what of that bond a resolved case takes from a device that lost customers' data (`rewards.bonded`).
    """

    rule_version: Positive = 1
    share_ppm: Ppm = 1_000_000
    cell_target_rate: Positive = 1
    unsold_pay_ppm: NotNegative = 1_000_000
    bond_per_unit: Amount = "0"
    slash_ppm: Ppm = 500_000
    params: dict[str, Any] = {}

    @property
    def bond_per_unit_base(self) -> int:
        """Bond asked for one unit of capacity, in token base units."""
        return parse_amount(self.bond_per_unit, TOKEN_DECIMALS)


class MarketPolicy(_Section, frozen=True):
    """`prices_usd`: product → dollars per unit, overriding the service's default. `quote_valid_s`: life of a quote."""

    prices_usd: dict[str, Amount] = {}
    quote_valid_s: Positive = 900
    min_quality_ppm: Ppm = 500_000
    refund_below_delivery_ppm: Ppm = 950_000  # an order that delivers less of what was quoted is refunded in proportion


class SettlementPolicy(_Section, frozen=True):
    """Who co-signs and how long the public may object. `bond_depth_blocks`: bonds are read so many blocks below the block
    that ended an epoch, where the chain is not reorganised any more (the embedded chain never is)."""

    verifiers: tuple[Address, ...] = ()
    threshold: Positive = 1
    activation_delay_s: NotNegative = 3_600
    claim_window_s: Positive = 86_400
    claim_window_cap: Amount = "20000"
    dispute_bond: Amount = "100"
    dispute_deadline_s: Positive = 259_200
    bond_depth_blocks: NotNegative = 0
    treasury: Address | None = None


class Policy(_Section, frozen=True):
    """Everything that an epoch's result depends on besides its evidence."""

    network_id: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    chain_id: Positive = 31_337
    schema_version: Positive = 1
    epoch: EpochPolicy = EpochPolicy()
    identity: IdentityPolicy = IdentityPolicy()
    intake: IntakePolicy = IntakePolicy()
    rewards: RewardPolicy = RewardPolicy()
    services: dict[str, ServicePolicy] = msgspec.field(default_factory=lambda: {"sensing": ServicePolicy()})
    market: MarketPolicy = MarketPolicy()
    settlement: SettlementPolicy = SettlementPolicy()

    def to_json(self) -> bytes:
        """Return the canonical form: JSON, keys sorted, no white space. This is what the journal holds."""
        return msgspec.json.encode(msgspec.to_builtins(self), order="sorted")

    @property
    def hash(self) -> str:
        """SHA-256 of `to_json`, in hex."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @classmethod
    def from_json(cls, body: bytes) -> Policy:
        """Read the canonical form. Raises msgspec.ValidationError."""
        return msgspec.json.decode(body, type=cls)
