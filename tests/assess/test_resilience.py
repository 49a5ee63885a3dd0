"""Question 11 from a study's summary: pooled stresses, the grade of the worst input, files that are no summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fieldstone.assess.evaluate import assess
from fieldstone.assess.report.html import page
from fieldstone.assess.resilience import read_summary, with_stress
from fieldstone.assess.sensitivity import sensitivity
from fieldstone.errors import UsageError
from fieldstone.metrics import wilson
from tests.assess.conftest import ON, case


def summary(**changed: Any) -> dict[str, Any]:
    def row(key: str, collapsed: int | None) -> dict[str, Any]:
        found = wilson(collapsed, 200) if collapsed is not None else None
        alone = {"value": found.value, "low": found.low, "high": found.high} if found else None
        return {
            "key": key,
            "title": f"stress {key}",
            "not_run": None if found else "no pool",
            "utility_only_collapse": alone,
        }

    return {
        "schema_version": 1,
        "scenario": {"name": "starter", "months": 60, "config_sha256": "ab" * 32},
        "seed": 3,
        "stress_runs": 200,
        "stress": [row("a", 10), row("b", 150), row("c", None)],
        "inputs": [{"grade": "B"}, {"grade": "C"}],
        "heat_map": {"demand_factor": [1.0, 0.5], "price_factor": [1.0], "collapse": [[0.1, 0.4]]},
    } | changed


def write(tmp_path: Path, tree: object) -> Path:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(tree))
    return path


def test_stresses_are_pooled_with_wilsons_interval(tmp_path: Path) -> None:
    pack = read_summary(write(tmp_path, summary()))
    assert pack.pooled == wilson(160, 400)
    card = assess(with_stress(case(), pack, ON), on=ON)
    answer = card.answer("11")
    assert (answer.band, answer.grade) == ("amber", "C")
    (claim,) = card.case.claims
    assert claim.low is not None and claim.low < claim.value == 0.4
    assert "stress b, 75%" in claim.note and "1 stresses do not apply" in claim.note
    assert "within five years" in claim.scope
    text = page(card, sensitivity(card), pack)
    assert "Probability of collapse by stress" in text and "stress c (no pool)" in text


def test_another_horizon_is_said(tmp_path: Path) -> None:
    pack = read_summary(write(tmp_path, summary(scenario={"name": "s", "months": 36, "config_sha256": "ab"})))
    assert "36 months, not five years" in with_stress(case(), pack, ON).claims[0].scope


@pytest.mark.parametrize(
    "tree",
    [[], {}, summary(schema_version=2), summary(stress=[]), summary(stress_runs=0), summary(inputs=[{"grade": "E"}]),
     summary(stress=[{"title": "x", "not_run": None, "utility_only_collapse": {"value": 2, "low": 0, "high": 1}}])],
)  # fmt: skip
def test_what_is_no_summary_is_refused(tree: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no summary"):
        read_summary(write(tmp_path, tree))
    with pytest.raises(UsageError):
        read_summary(tmp_path / "missing.json")


def test_without_a_study_the_question_is_unknown() -> None:
    answer = assess(case(), on=ON).answer("11")
    assert answer.status == "unknown" and "simulate" in answer.question.change
