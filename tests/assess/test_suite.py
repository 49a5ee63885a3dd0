"""Question 3 from an attack suite's scoreboard."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from fieldstone.assess.evaluate import assess
from fieldstone.assess.suite import read_board, with_suite
from fieldstone.errors import UsageError
from fieldstone.lab.scoreboard import score
from fieldstone.metrics import wilson
from tests.assess.conftest import ON, case, claim


def board(tmp_path: Path) -> Path:
    rows = [("honest", n == 0) for n in range(50)] + [("easy", True)] * 8 + [("hard", n < 1) for n in range(2)]
    table = pl.DataFrame(
        {
            "device": [str(n) for n in range(len(rows))],
            "label": [label for label, _ in rows],
            "penalised": [hit for _, hit in rows],
            "accused": [hit for _, hit in rows],
            "reasons": [["X"] if hit else [] for _, hit in rows],
        },
        schema_overrides={"reasons": pl.List(pl.String)},
    )
    path = tmp_path / "board.json"
    path.write_text(json.dumps(score([table]).as_dict()))
    return path


def test_detection_and_false_alarms_become_claims(tmp_path: Path) -> None:
    found = read_board(board(tmp_path))
    assert found.detection == wilson(9, 10) and found.false_alarms == wilson(1, 50)
    one = with_suite(case(claim("verification.statistical", 100, "%")), found, ON)
    assert "Caught least: hard, 50%." in one.claims[1].note
    card = assess(one, on=ON)
    share = card.known("verified_share")
    assert share is not None and share.value == 0.9 and share.grade == "A"
    assert card.answer("3").band == "amber", "the attack's profit is not known"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"attacks": [], "false_alarms": {"hits": 0, "count": 0}, "seeds": 1}']
)
def test_what_is_no_scoreboard_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "board.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"board\.json"):
        read_board(path)
