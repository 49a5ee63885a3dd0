"""The double-entry ledger; its postings can only be added."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_APPEND_ONLY = ("ledger_transaction", "ledger_posting")


def upgrade() -> None:
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "ledger_account",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("balance_micro_usd", sa.BigInteger, nullable=False),
        sa.CheckConstraint(
            "balance_micro_usd >= 0 OR kind IN ('external', 'refunds')", name="ck_ledger_account_not_overdrawn"
        ),
    )
    op.create_table(
        "ledger_transaction",
        sa.Column("id", serial, primary_key=True, autoincrement=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("key", name="uq_ledger_transaction_key"),
    )
    op.create_index("ix_ledger_transaction_reference", "ledger_transaction", ["reference"])
    op.create_table(
        "ledger_posting",
        sa.Column("transaction_id", sa.BigInteger, primary_key=True),
        sa.Column("line", sa.Integer, primary_key=True),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("amount_micro_usd", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["transaction_id"], ["ledger_transaction.id"], name="fk_ledger_posting_transaction_id"),
        sa.ForeignKeyConstraint(["account_id"], ["ledger_account.id"], name="fk_ledger_posting_account_id"),
        sa.CheckConstraint("amount_micro_usd <> 0", name="ck_ledger_posting_not_zero"),
    )
    op.create_index("ix_ledger_posting_account_id", "ledger_posting", ["account_id"])
    _forbid_changes()


def _forbid_changes() -> None:
    """Let the database itself refuse to rewrite history, whatever program is connected."""
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$"
        )
        for table in _APPEND_ONLY:
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION ledger_append_only()"
            )
        return
    for table in _APPEND_ONLY:
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )
