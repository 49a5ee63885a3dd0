"""The storage demo says in words why its disks earn so little, whatever the numbers are."""

from __future__ import annotations

import json
from typing import Any

from fieldstone.cli.storage_demo import why_so_little
from fieldstone.units import TOKEN_BASE


def row(epoch: int, revenue_micro_usd: int, bootstrap_base: int, service: str = "storage") -> dict[str, Any]:
    pool = {"offered_base": str(100 * TOKEN_BASE)} if service else None
    factors = json.dumps({"bootstrap": pool})
    return {"epoch": epoch, "service": service, "revenue_micro_usd": revenue_micro_usd, "factors": factors,
            "bootstrap_base": str(bootstrap_base)}  # fmt: skip


def test_each_epochs_offer_counts_once_and_small_amounts_are_shown() -> None:
    paid = [row(1, 0, 0, ""), row(2, 300, 2 * 10**14), row(2, 27, 10**14), row(3, 0, 0)]
    text = why_so_little(paid)
    assert "$0.000327" in text and "$1,000 per GiB-month" in text
    assert "offered 200 tokens, of which the disks got 0.000300" in text
    assert "capped at" in text and "not minted" in text


def test_a_demo_without_any_row_still_ends_in_words() -> None:
    assert "offered 0 tokens" in why_so_little([])
