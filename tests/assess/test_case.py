"""Case files: what is read, and that every mistake is named with its key and line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.assess.case import load_case, parse_case
from fieldstone.errors import ConfigError
from tests.assess.conftest import HEAD, case, claim

GOOD = HEAD + claim("revenue.total", 5, "USD/day")


def test_values_are_kept_in_base_units_and_as_stated() -> None:
    (one,) = case(claim("supply.served", 1110, "PiB", "2025-Q3")).claims
    assert one.value == 1110 * 1024**5
    assert one.shown == "1,110 PiB"
    assert one.as_of == one.period.end
    (many,) = case(claim("payers.revenue", [3, 2], "USD/day")).claims
    assert many.values == (3.0, 2.0) and many.value == 5.0


@pytest.mark.parametrize(
    ("change", "key", "line"),
    [
        (("schema = 1", "schema = 2"), "schema", 1),
        (('service = "sensing"', 'service = "dreams"'), "network.service", 4),
        (('name = "N"', 'nme = "N"'), "network", 3),
        (('title = "S"', 'titel = "S"'), "source[0]", 8),
        (('metric = "revenue.total"', 'metric = "revenue.totl"'), "claim[0].metric", 12),
        (("value = 5", 'value = "5"'), "claim[0].value", 13),
        (("value = 5", "value = nan"), "claim[0].value", 13),
        (("value = 5", "value = true"), "claim[0].value", 13),
        (("value = 5", "value = [5]"), "claim[0].value", 13),
        (('period = "2026-10"', 'period = "October"'), "claim[0].period", 14),
        (('unit = "USD/day"', 'unit = "USD"'), "claim[0].unit", 15),
        (('source = "s"', 'source = "t"'), "claim[0].source", 16),
        (('grade = "A"', 'grade = "E"'), "claim[0].grade", 17),
        (('grade = "A"', 'grade = "A"\nlow = 6'), "claim[0].low", 18),
        (('grade = "A"', 'grade = "A"\ncontradicts = ["x"]'), "claim[0].contradicts", 18),
        (('grade = "A"', 'grade = "A"\nscop = "x"'), "claim[0].scop", 18),
        (('grade = "A"', "grade ="), "", 17),
    ],
)
def test_mistakes_are_named_with_key_and_line(change: tuple[str, str], key: str, line: int) -> None:
    assert change[0] in GOOD
    with pytest.raises(ConfigError) as caught:
        parse_case(GOOD.replace(*change), path="x.toml")
    assert caught.value.key.startswith(key), caught.value.key
    assert caught.value.line == line, str(caught.value)
    assert str(caught.value).startswith("x.toml")


def test_a_wrong_metric_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean revenue\.total"):
        parse_case(GOOD.replace("revenue.total", "revenue.totl"))


def test_the_line_is_that_of_the_right_claim() -> None:
    text = GOOD + claim("users", 3, "people") + claim("token.price", 3, "EUR/x")
    with pytest.raises(ConfigError) as caught:
        parse_case(text)
    assert text.splitlines()[(caught.value.line or 0) - 1] == 'unit = "EUR/x"'


def test_two_claims_of_one_id() -> None:
    with pytest.raises(ConfigError, match="names two claims"):
        case(claim("users", 3, "people"), claim("users", 4, "people"))


@pytest.mark.parametrize("value", [-1, 101])
def test_a_share_lies_between_0_and_100_per_cent(value: int) -> None:
    with pytest.raises(ConfigError, match="share"):
        case(claim("payers.external_share", value, "%"))
    assert case(claim("token.net_inflation", 160, "%")).claims[0].value == 1.6


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_case(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_case(tmp_path / "latin.toml")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5000 + "]" * 5000)
    with pytest.raises(ConfigError):
        load_case(tmp_path / "deep.toml")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.text(max_size=6))
def test_a_damaged_case_is_refused_by_name_or_read(position: int, text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_case(GOOD[:position] + text + GOOD[position + len(text) :])
