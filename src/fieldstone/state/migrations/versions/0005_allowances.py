"""What a fund may pay besides what it was bought for, and how much of that it has paid."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("market_fund", sa.Column("also", sa.LargeBinary))
