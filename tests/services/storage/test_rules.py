"""The rule file is data: every parameter documented and used, overrides checked, examples true, page complete."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import fieldstone.services.storage as package
from fieldstone.errors import UsageError
from fieldstone.services.contract import Round
from fieldstone.services.storage.answers import Answers
from fieldstone.services.storage.challenge import Posed
from fieldstone.services.storage.devices import _judge, _units
from fieldstone.services.storage.holdings import FOREVER
from fieldstone.services.storage.rules.examples import PAY, ROUNDS, PayExample, RoundExample
from fieldstone.services.storage.rules.reasons import REASONS
from fieldstone.services.storage.rules.render import render_markdown
from fieldstone.services.storage.rules.v1 import PARAMETERS, default_params, with_overrides

SOURCE = Path(package.__file__).parent


def posed(issued_ms: int) -> Posed:
    return Posed(Round(1, 1, issued_ms, bytes(32)), 10, 10, 4, frozenset(), frozenset())


@pytest.mark.parametrize("example", ROUNDS, ids=lambda one: one.title)
def test_round_examples(example: RoundExample) -> None:
    asked = [(place, 0) for place in range(example.asked)]
    right = set(range(example.right))
    wrong = set(range(example.right, example.right + example.wrong))
    until_ms = np.full(example.asked, FOREVER)
    until_ms[example.asked - example.released :] = 1_000
    answer = Answers(right, wrong, example.answered, example.late_ms)
    row, failures = _judge(posed(0), asked, answer, until_ms, 900_000)
    assert (row["state"], row["weight_ppm"]) == (example.state, example.weight_ppm)
    assert len([what for _, what in failures if what == "wrong"]) == example.wrong


@pytest.mark.parametrize("example", PAY, ids=lambda one: one.title)
def test_pay_examples(example: PayExample) -> None:
    start_ms = 1_700_000_000_000
    until_ms = FOREVER if example.released_s is None else start_ms + example.released_s * 1_000
    table = pl.DataFrame(
        {"from_ms": [start_ms + example.leased_s * 1_000], "until_ms": [until_ms], "size_bytes": [example.size_bytes]}
    )
    count = len(example.weights_ppm)
    judged = [posed(start_ms + example.round_s * 1_000 * (place + 1)) for place in range(count)]
    proven, due = _units(table, judged, list(example.weights_ppm), start_ms)
    assert proven.tolist() == [example.units]
    assert due[0] >= proven[0]


def test_every_parameter_is_documented_and_used() -> None:
    text = "\n".join(path.read_text() for path in SOURCE.glob("*.py")) + (SOURCE / "rules/v1.py").read_text()
    for name, one in PARAMETERS.items():
        assert one.unit and one.meaning and one.source, name
        assert f'"{name}"' in text.replace(f'    "{name}": Parameter(', "") or "_questions_per_day" in name, name


def test_every_reason_can_be_given() -> None:
    text = "\n".join(path.read_text() for path in SOURCE.glob("*.py"))
    advice = {"SHARED_DISK", "OUTSOURCED"}  # from live challenges, which checkers and founders run outside epochs
    assert [code for code in REASONS if f'"{code}"' not in text and code not in advice] == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("no_such_key", 1),
        ("round_s", 0),
        ("round_s", 1.5),
        ("round_s", "900"),
        ("round_s", True),
        ("committee", -1),
        ("leaf_bytes_allowed", 1_024),
        ("leaf_bytes_allowed", []),
        ("leaf_bytes_allowed", [0]),
        ("proof_chunk_bytes", 2_048),
        ("read_income_ppm", 1_000_001),
    ],
)
def test_bad_overrides_are_named(key: str, value: object) -> None:
    with pytest.raises(UsageError, match=key):
        with_overrides(default_params(), {key: value})


def test_good_overrides_replace_one_key() -> None:
    before = default_params()
    after = with_overrides(before, {"round_s": 60, "leaf_bytes_allowed": [1_024]})
    assert (after["round_s"], after["leaf_bytes_allowed"]) == (60, [1_024])
    assert before == default_params()
    with pytest.raises(UsageError, match="version 2"):
        default_params(2)


def test_the_page_names_everything() -> None:
    page = render_markdown()
    assert all(f"`{name}`" in page for name in (*PARAMETERS, *REASONS))
    assert all(one.title in page for one in (*ROUNDS, *PAY))
