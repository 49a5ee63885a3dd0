"""Customers, keys, top-ups, quotes, orders, refunds and invoices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _references(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=f"fk_{table}_{column}")


def upgrade() -> None:
    op.create_table(
        "market_customer",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "market_api_key",
        sa.Column("prefix", sa.Text, primary_key=True),
        sa.Column("customer_id", sa.Text, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("limit_micro_usd", sa.BigInteger),
        sa.Column("limit_period_s", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("revoked_ms", sa.BigInteger),
        _references("market_api_key", "customer_id", "market_customer.id"),
    )
    op.create_index("ix_market_api_key_customer_id", "market_api_key", ["customer_id"])
    op.create_table(
        "market_topup",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("reference", sa.Text, primary_key=True),
        sa.Column("customer_id", sa.Text, nullable=False),
        sa.Column("amount_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("journal_after", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        _references("market_topup", "customer_id", "market_customer.id"),
        sa.CheckConstraint("amount_micro_usd > 0", name="ck_market_topup_positive"),
    )
    op.create_index("ix_market_topup_status", "market_topup", ["status"])
    op.create_table(
        "market_quote",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("customer_id", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("price_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("valid_until_ms", sa.BigInteger, nullable=False),
        _references("market_quote", "customer_id", "market_customer.id"),
    )
    op.create_index("ix_market_quote_valid_until_ms", "market_quote", ["valid_until_ms"])
    _orders()
    op.create_table(
        "market_counter",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )


def _orders() -> None:
    op.create_table(
        "market_order",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("customer_id", sa.Text, nullable=False),
        sa.Column("key_prefix", sa.Text, nullable=False),
        sa.Column("quote_id", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("price_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("refund_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("quoted_readings", sa.BigInteger, nullable=False),
        sa.Column("delivered_readings", sa.BigInteger),
        sa.Column("data_sha256", sa.Text),
        sa.Column("provenance", sa.LargeBinary),
        sa.Column("invoice_id", sa.Text),
        sa.Column("journal_after", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("delivered_ms", sa.BigInteger),
        _references("market_order", "customer_id", "market_customer.id"),
        _references("market_order", "key_prefix", "market_api_key.prefix"),
        _references("market_order", "quote_id", "market_quote.id"),
        sa.UniqueConstraint("quote_id", name="uq_market_order_quote_id"),
        sa.UniqueConstraint("customer_id", "idempotency_key", name="uq_market_order_customer_id_idempotency_key"),
        sa.CheckConstraint(
            "refund_micro_usd >= 0 AND refund_micro_usd <= price_micro_usd", name="ck_market_order_refund_within_price"
        ),
    )
    op.create_index("ix_market_order_customer_id_created_ms", "market_order", ["customer_id", "created_ms"])
    op.create_index("ix_market_order_key_prefix_created_ms", "market_order", ["key_prefix", "created_ms"])
    op.create_index("ix_market_order_status", "market_order", ["status"])
    op.create_table(
        "market_order_epoch",
        sa.Column("order_id", sa.Text, primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True),
        sa.Column("readings_by_device", sa.LargeBinary, nullable=False),
        _references("market_order_epoch", "order_id", "market_order.id"),
    )
    op.create_index("ix_market_order_epoch_epoch", "market_order_epoch", ["epoch"])
    op.create_table(
        "market_refund",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("order_id", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("amount_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("readings_by_device", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("journal_after", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("invoice_id", sa.Text),
        _references("market_refund", "order_id", "market_order.id"),
        sa.CheckConstraint("amount_micro_usd > 0", name="ck_market_refund_positive"),
    )
    op.create_index("ix_market_refund_order_id", "market_refund", ["order_id"])
    op.create_index("ix_market_refund_status", "market_refund", ["status"])
    op.create_table(
        "market_invoice",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("customer_id", sa.Text, nullable=False),
        sa.Column("order_id", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        _references("market_invoice", "customer_id", "market_customer.id"),
        _references("market_invoice", "order_id", "market_order.id"),
        sa.UniqueConstraint("number", name="uq_market_invoice_number"),
    )
