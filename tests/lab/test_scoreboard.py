"""Rates and their intervals."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.lab import rate, render, score


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"), [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)]
)
def test_wilson_against_published_values(hits: int, count: int, low: float, high: float) -> None:
    # 81 of 263: Newcombe (1998), Statistics in Medicine 17, table I
    found = rate(hits, count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_rate(case: tuple[int, int]) -> None:
    found = rate(*case)
    assert 0 <= found.low <= found.rate <= found.high <= 1


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(UsageError):
        rate(3, 2)


def outcome(*rows: tuple[str, bool, bool, list[str]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"device": f"d{k}", "label": label, "penalised": lost, "accused": blamed, "reasons": why}
            for k, (label, lost, blamed, why) in enumerate(rows)
        ],
        schema_overrides={"reasons": pl.List(pl.String())},
    )


def test_healthy_troubled_and_attackers_are_counted_apart() -> None:
    board = score(
        [
            outcome(("honest", False, False, []), ("honest:bias", True, False, ["NEIGHBOURS_DISAGREE"])),
            outcome(("honest", True, True, ["COPY_OF"]), ("indoors", True, True, ["INDOORS", "STUCK"])),
            outcome(("original", True, True, ["COPY_OF"]), ("indoors", False, False, [])),
        ]
    )
    assert (board.false_alarms.hits, board.false_alarms.count, board.seeds) == (1, 2, 3)
    assert (board.troubled_accused.hits, board.troubled_accused.count) == (0, 1)
    assert [row.label for row in board.attacks] == ["indoors"]
    assert board.attacks[0].penalised.rate == 0.5 and board.attacks[0].reasons == (("INDOORS", 1), ("STUCK", 1))
    text = render(board, {"indoors": "a room"})
    assert "indoors: a room" in text and "50.0 %" in text


def test_an_empty_scoreboard_prints() -> None:
    assert "–" in render(score([]))
