"""Metered usage: who pays for which device, and what each epoch cost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _customer(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["customer_id"], ["market_customer.id"], name=f"fk_{table}_customer_id")


def upgrade() -> None:
    op.create_table(
        "market_payer",
        sa.Column("device", sa.Text, primary_key=True),
        sa.Column("customer_id", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        _customer("market_payer"),
    )
    op.create_index("ix_market_payer_customer_id", "market_payer", ["customer_id"])
    op.create_table(
        "market_usage",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("customer_id", sa.Text, nullable=False),
        sa.Column("payer", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("product", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("due_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("paid_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("units_by_device", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("journal_after", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        _customer("market_usage"),
        sa.CheckConstraint(
            "paid_micro_usd >= 0 AND paid_micro_usd <= due_micro_usd", name="ck_market_usage_paid_within_due"
        ),
    )
    op.create_index("ix_market_usage_customer_id_epoch", "market_usage", ["customer_id", "epoch"])
    op.create_index("ix_market_usage_status", "market_usage", ["status"])
