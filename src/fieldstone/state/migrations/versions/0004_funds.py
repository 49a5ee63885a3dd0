"""What is paid once: funds that customers bought, and which of them paid a charge."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("market_usage", sa.Column("funds", sa.LargeBinary))
    op.create_table(
        "market_fund",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("customer_id", sa.Text, nullable=False),
        sa.Column("payer", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("product", sa.Text, nullable=False),
        sa.Column("covers", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("price_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("units_per_s", sa.BigInteger, nullable=False),
        sa.Column("drawn_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("drawn_units", sa.BigInteger, nullable=False),
        sa.Column("terms", sa.LargeBinary, nullable=False),
        sa.Column("key_prefix", sa.Text),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("journal_after", sa.BigInteger),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("valid_until_ms", sa.BigInteger, nullable=False),
        sa.Column("bought_ms", sa.BigInteger),
        sa.ForeignKeyConstraint(["customer_id"], ["market_customer.id"], name="fk_market_fund_customer_id"),
        sa.UniqueConstraint("customer_id", "idempotency_key", name="uq_market_fund_customer_id_idempotency_key"),
        sa.CheckConstraint(
            "drawn_micro_usd >= 0 AND drawn_micro_usd <= price_micro_usd", name="ck_market_fund_drawn_within_price"
        ),
    )
    op.create_index("ix_market_fund_customer_id_created_ms", "market_fund", ["customer_id", "created_ms"])
    op.create_index("ix_market_fund_payer", "market_fund", ["payer"])
    op.create_index("ix_market_fund_status", "market_fund", ["status"])
