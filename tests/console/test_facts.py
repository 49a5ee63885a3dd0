"""What the pages say of a verdict."""

from __future__ import annotations

import pytest

from fieldstone.console.facts import verdict_word


@pytest.mark.parametrize(
    ("verdict", "quality_ppm", "word"),
    [
        ("rejected", 1_000_000, "no work"),  # a disk without shares, a customer's gateway: nobody did anything wrong
        ("rejected", 999_999, "rejected"),
        ("rejected", 0, "rejected"),
        ("accepted", 1_000_000, "accepted"),
        ("partial", 500_000, "partial"),
        ("none", None, "none"),
    ],
)
def test_rejected_without_a_fault_is_no_work(verdict: str, quality_ppm: int | None, word: str) -> None:
    assert verdict_word(verdict, quality_ppm) == word
