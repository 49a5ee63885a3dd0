"""Every table of the state database, in one place. A change here needs a new file in `migrations/versions`.

Amounts are integers in micro-dollars, times Unix milliseconds. A test compares these tables with what the migrations
build, so the two cannot drift apart.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

# Known revisions, oldest first; the last one is what this version of the program writes.
REVISIONS = ("0001", "0002", "0003", "0004", "0005")
HEAD = REVISIONS[-1]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts up by itself only for a column typed exactly INTEGER.
_Serial = BigInteger().with_variant(Integer(), "sqlite")

# ---- the ledger ----------------------------------------------------------------------------------------------------

ledger_account = Table(
    "ledger_account",
    metadata,
    Column("id", Text, primary_key=True),  # customer:cus_…, escrow:ord_…, revenue:sensing, treasury, external:burn
    Column("kind", Text, nullable=False),
    Column("balance_micro_usd", BigInteger, nullable=False),  # cached; trial_balance compares it with the postings
    CheckConstraint("balance_micro_usd >= 0 OR kind IN ('external', 'refunds')", name="not_overdrawn"),
)

ledger_transaction = Table(
    "ledger_transaction",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("key", Text, nullable=False, unique=True),  # idempotency key
    Column("kind", Text, nullable=False),
    Column("reference", Text, nullable=False),  # order id, top-up reference …
    Column("at_ms", BigInteger, nullable=False),
    Index("ix_ledger_transaction_reference", "reference"),
)

ledger_posting = Table(
    "ledger_posting",
    metadata,
    Column("transaction_id", BigInteger, ForeignKey("ledger_transaction.id"), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("account_id", Text, ForeignKey("ledger_account.id"), nullable=False),
    Column("amount_micro_usd", BigInteger, nullable=False),
    CheckConstraint("amount_micro_usd <> 0", name="not_zero"),
    Index("ix_ledger_posting_account_id", "account_id"),
)

# ---- the market ----------------------------------------------------------------------------------------------------

customer = Table(
    "market_customer",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

api_key = Table(
    "market_api_key",
    metadata,
    Column("prefix", Text, primary_key=True),  # public half of the key, by which it is found
    Column("customer_id", Text, ForeignKey("market_customer.id"), nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("label", Text, nullable=False),
    Column("limit_micro_usd", BigInteger),  # None: only the credits limit spending
    Column("limit_period_s", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
    Index("ix_market_api_key_customer_id", "customer_id"),
)

topup = Table(
    "market_topup",
    metadata,
    Column("source", Text, primary_key=True),  # fiat | burn
    Column("reference", Text, primary_key=True),  # bank reference, or chain:contract:transaction:log index
    Column("customer_id", Text, ForeignKey("market_customer.id"), nullable=False),
    Column("amount_micro_usd", BigInteger, nullable=False),
    Column("signature", Text, nullable=False),
    Column("status", Text, nullable=False),  # pending | credited
    Column("journal_after", BigInteger, nullable=False),  # the entry, if any, stands behind this position
    Column("created_ms", BigInteger, nullable=False),
    CheckConstraint("amount_micro_usd > 0", name="positive"),
    Index("ix_market_topup_status", "status"),
)

quote = Table(
    "market_quote",
    metadata,
    Column("id", Text, primary_key=True),
    Column("customer_id", Text, ForeignKey("market_customer.id"), nullable=False),
    Column("body", LargeBinary, nullable=False),  # JSON of quotes.QuoteBody
    Column("price_micro_usd", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("valid_until_ms", BigInteger, nullable=False),
    Index("ix_market_quote_valid_until_ms", "valid_until_ms"),
)

order = Table(
    "market_order",
    metadata,
    Column("id", Text, primary_key=True),
    Column("customer_id", Text, ForeignKey("market_customer.id"), nullable=False),
    Column("key_prefix", Text, ForeignKey("market_api_key.prefix"), nullable=False),
    # A quote buys once: asking again returns the same order.
    Column("quote_id", Text, ForeignKey("market_quote.id"), nullable=False, unique=True),
    Column("idempotency_key", Text),
    Column("status", Text, nullable=False),  # held | delivered
    Column("price_micro_usd", BigInteger, nullable=False),
    Column("refund_micro_usd", BigInteger, nullable=False),  # everything given back so far
    Column("quoted_readings", BigInteger, nullable=False),
    Column("delivered_readings", BigInteger),
    Column("data_sha256", Text),
    Column("provenance", LargeBinary),  # canonical JSON
    Column("invoice_id", Text),
    Column("journal_after", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("delivered_ms", BigInteger),
    UniqueConstraint("customer_id", "idempotency_key"),
    CheckConstraint("refund_micro_usd >= 0 AND refund_micro_usd <= price_micro_usd", name="refund_within_price"),
    Index("ix_market_order_customer_id_created_ms", "customer_id", "created_ms"),
    Index("ix_market_order_key_prefix_created_ms", "key_prefix", "created_ms"),
    Index("ix_market_order_status", "status"),
)

order_epoch = Table(
    "market_order_epoch",
    metadata,
    Column("order_id", Text, ForeignKey("market_order.id"), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    # zlib of JSON {device: readings}: what was delivered and not yet refunded, for refunds after a correction
    Column("readings_by_device", LargeBinary, nullable=False),
    Index("ix_market_order_epoch_epoch", "epoch"),
)

refund = Table(
    "market_refund",
    metadata,
    Column("id", Text, primary_key=True),
    Column("order_id", Text, ForeignKey("market_order.id"), nullable=False),
    Column("cause", Text, nullable=False),
    Column("amount_micro_usd", BigInteger, nullable=False),
    Column("readings_by_device", LargeBinary, nullable=False),  # zlib of JSON
    Column("status", Text, nullable=False),  # pending | refunded
    Column("journal_after", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("invoice_id", Text),  # the credit note
    CheckConstraint("amount_micro_usd > 0", name="positive"),
    Index("ix_market_refund_order_id", "order_id"),
    Index("ix_market_refund_status", "status"),
)

invoice = Table(
    "market_invoice",
    metadata,
    Column("id", Text, primary_key=True),  # INV-000001, CN-000002: one gapless series
    Column("number", BigInteger, nullable=False, unique=True),
    Column("customer_id", Text, ForeignKey("market_customer.id"), nullable=False),
    Column("order_id", Text, ForeignKey("market_order.id"), nullable=False),
    Column("body", LargeBinary, nullable=False),  # canonical JSON, never changed
    Column("created_ms", BigInteger, nullable=False),
)

# Which customer pays for what a device of his (a storage gateway) uses.
payer = Table(
    "market_payer",
    metadata,
    Column("device", Text, primary_key=True),  # did:key
    Column("customer_id", Text, ForeignKey("market_customer.id"), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Index("ix_market_payer_customer_id", "customer_id"),
)

usage = Table(
    "market_usage",
    metadata,
    Column("id", Text, primary_key=True),  # also the order id in journal and ledger
    Column("customer_id", Text, ForeignKey("market_customer.id"), nullable=False),
    Column("payer", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("product", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("due_micro_usd", BigInteger, nullable=False),
    Column("paid_micro_usd", BigInteger, nullable=False),  # less than due when the credits did not reach
    Column("units_by_device", LargeBinary, nullable=False),  # zlib of JSON {device: units}
    Column("status", Text, nullable=False),  # held | booked
    Column("journal_after", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("funds", LargeBinary),  # JSON {fund: micro-dollars}: what of the paid came out of funds; None: nothing
    CheckConstraint("paid_micro_usd >= 0 AND paid_micro_usd <= due_micro_usd", name="paid_within_due"),
    Index("ix_market_usage_customer_id_epoch", "customer_id", "epoch"),
    Index("ix_market_usage_status", "status"),
)

# What is paid once: quoted, then bought into a locked fund that pays the charges of one device.
fund = Table(
    "market_fund",
    metadata,
    Column("id", Text, primary_key=True),  # fnd_…: of the quote, the order and the ledger's account
    Column("customer_id", Text, ForeignKey("market_customer.id"), nullable=False),
    Column("payer", Text, nullable=False),  # did:key of the device whose charges it pays
    Column("service", Text, nullable=False),
    Column("product", Text, nullable=False),  # what was bought
    Column("covers", Text, nullable=False),  # the metered product that it pays
    Column("status", Text, nullable=False),  # quoted | held (paid, not in the journal yet) | endowed
    Column("price_micro_usd", BigInteger, nullable=False),
    Column(
        "units_per_s", BigInteger, nullable=False
    ),  # what was bought: it never pays for more units than this a second
    Column("drawn_micro_usd", BigInteger, nullable=False),
    Column("drawn_units", BigInteger, nullable=False),
    Column("terms", LargeBinary, nullable=False),  # JSON: the assumptions it was sold under
    Column("key_prefix", Text),
    Column("idempotency_key", Text),
    Column("journal_after", BigInteger),
    Column("created_ms", BigInteger, nullable=False),
    Column("valid_until_ms", BigInteger, nullable=False),
    Column("bought_ms", BigInteger),
    Column("also", LargeBinary),  # JSON {product: {at_once, per_year, drawn_units}}: what it may pay besides
    UniqueConstraint("customer_id", "idempotency_key"),
    CheckConstraint("drawn_micro_usd >= 0 AND drawn_micro_usd <= price_micro_usd", name="drawn_within_price"),
    Index("ix_market_fund_customer_id_created_ms", "customer_id", "created_ms"),
    Index("ix_market_fund_payer", "payer"),
    Index("ix_market_fund_status", "status"),
)

# One row per series; counting by UPDATE keeps numbers gapless, because it rolls back with its transaction.
counter = Table(
    "market_counter",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
