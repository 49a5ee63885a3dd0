"""The JSON of the market's HTTP interface, as the OpenAPI document describes it. Amounts in micro-dollars, times Unix ms."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(max_length=64)]
TimeMs = Annotated[int, Field(ge=0, le=253_402_300_800_000)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ErrorOut(_Model):
    """Why a request was refused: a code of the closed list of reasons, what happened, what to do."""

    code: str
    detail: str
    remedy: str


class ColumnOut(_Model):
    name: str
    unit: str
    description: str


class ProductOut(_Model):
    service: str
    product: str
    title: str
    description: str
    unit: str
    unit_price_micro_usd: int
    usage_per_unit: int = Field(description="0: sold by order; otherwise charged by use, so many smallest units a unit")
    min_quality_ppm: int
    variables: list[ColumnOut]
    formats: list[str]


class ProductsOut(_Model):
    currency: str
    quote_valid_s: int
    products: list[ProductOut]


class BoxIn(_Model):
    """Degrees, edges included. west > east crosses the antimeridian."""

    south: Annotated[float, Field(ge=-90, le=90)]
    west: Annotated[float, Field(ge=-180, le=180)]
    north: Annotated[float, Field(ge=-90, le=90)]
    east: Annotated[float, Field(ge=-180, le=180)]


class QuoteIn(_Model):
    """What to price. No variables: all. Neither cells nor box: everywhere. start_ms ≤ t_ms < end_ms."""

    service: Text = "sensing"
    product: Text = "observations"
    variables: Annotated[list[Text], Field(max_length=100)] = []
    cells: Annotated[list[Text], Field(max_length=1000)] = []
    box: BoxIn | None = None
    start_ms: TimeMs
    end_ms: TimeMs
    min_quality_ppm: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class EpochOut(_Model):
    epoch: int
    table_sha256: str
    root: str
    manifest_sha256: str


class QualityOut(_Model):
    at_least_ppm: int
    readings: int


class QuoteOut(_Model):
    id: str
    service: str
    product: str
    variables: list[str]
    min_quality_ppm: int
    readings: int
    rows: int
    devices: int
    by_variable: dict[str, int]
    by_quality: list[QualityOut]
    unit_price_micro_usd: int
    price_micro_usd: int
    valid_until_ms: int
    selection_sha256: str
    epochs: list[EpochOut]
    excluded: dict[str, str]


class OrderIn(_Model):
    quote_id: Text


class OrderOut(_Model):
    """status: held (paid, data not yet released) or delivered."""

    id: str
    quote_id: str
    status: str
    price_micro_usd: int
    refund_micro_usd: int
    quoted_readings: int
    delivered_readings: int | None
    created_ms: int
    delivered_ms: int | None
    downloadable_until_ms: int | None
    data_sha256: str | None
    invoices: list[str]
    provenance: dict[str, Any] | None


class OrdersOut(_Model):
    orders: list[OrderOut]


class InvoiceLineOut(_Model):
    text: str
    quantity: int
    unit: str
    unit_price_micro_usd: int | None
    amount_micro_usd: int


class InvoiceOut(_Model):
    id: str
    number: int
    kind: str
    network_id: str
    network_name: str
    issued_ms: int
    issued: str
    customer_id: str
    customer_name: str
    order_id: str
    currency: str
    lines: list[InvoiceLineOut]
    total_micro_usd: int
    quality: list[QualityOut]
    selection_sha256: str
    data_sha256: str
    notes: list[str]


class AccountOut(_Model):
    customer_id: str
    customer_name: str
    credits_micro_usd: int
    held_micro_usd: int
    key_prefix: str
    limit_micro_usd: int | None
    limit_period_s: int
    spent_micro_usd: int
    funds_micro_usd: int = Field(description="paid once and not spent yet; it pays charges and cannot be withdrawn")


class FundIn(_Model):
    """What to pay once for. `payer`: the device (did:key) whose use it pays. `wish`: the service's own; for storage
    `size_bytes`, `k`, `n`, `cost_decline_ppm` (assumed yearly fall of prices), `repair_reads_ppm` (reads for
    repair a year, in millionths of all of it) and `years` (null: for ever)."""

    service: Text = "storage"
    product: Text = "permanent"
    payer: Annotated[str, StringConstraints(max_length=200)]
    wish: dict[Text, int | None]


class FundOut(_Model):
    """A quote for paying once (`status` quoted) or the fund that it bought (held, then endowed). `terms`: the assumptions
    behind the price; `review`: what really was spent, whether the fund still covers, until when, what happens then."""

    id: str
    status: str
    payer: str
    service: str
    product: str
    covers: str
    price_micro_usd: int
    drawn_micro_usd: int
    balance_micro_usd: int
    units_per_s: int
    drawn_units: int
    also: dict[str, dict[str, int]] = Field(
        description="products that it may pay besides: at once, more with every year, and drawn so far, in smallest units"
    )
    created_ms: int
    valid_until_ms: int
    bought_ms: int | None
    terms: dict[str, Any]
    review: dict[str, Any] | None


class FundsOut(_Model):
    funds: list[FundOut]


class PayerIn(_Model):
    """Which device (did:key) the caller pays for; the device's signature, in hex, over `market.usage.binding_text`."""

    device: Annotated[str, StringConstraints(max_length=200)]
    signature: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]


class ChargeOut(_Model):
    """What one device's use of one product in one epoch cost. Paid is less than due when the credits did not reach."""

    id: str
    payer: str
    service: str
    product: str
    epoch: int
    units: int
    due_micro_usd: int
    paid_micro_usd: int
    from_funds_micro_usd: int


class UsageOut(_Model):
    payers: list[str]
    charges: list[ChargeOut]
