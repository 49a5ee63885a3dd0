from __future__ import annotations

import re
from pathlib import Path

import pytest

from fieldstone.economy.experiments import load, packaged, read
from fieldstone.economy.experiments.scenario_file import packaged_text
from fieldstone.economy.flywheel import Scenario
from fieldstone.errors import ConfigError

TEXT = (Path(__file__).parent / "small.toml").read_text(encoding="utf-8")


def test_what_is_written_is_what_is_simulated() -> None:
    file = read(TEXT)
    box = file.scenario.cohorts[0]
    assert (file.runs, file.seed, file.scenario.months) == (40, 7, 24)
    assert (box.name, box.capex_usd, box.vendor) == ("box", 200.0, "acme")
    assert file.scenario.emission.policy == "halving"
    assert set(file.uncertain) == {"cohorts.box.capex_usd", "segments.all.units_month"}
    capex = file.inputs["cohorts.box.capex_usd"]
    assert (capex.quantity.source, capex.quantity.date, capex.quantity.grade, capex.origin) == (
        "price list", "2026-05-01", "C", "file",
    )  # fmt: skip
    # what nobody gave is the model's default, and says so
    assert file.inputs["service.uptime"].origin == "default"
    assert file.inputs["service.uptime"].quantity.value == Scenario().service.uptime


@pytest.mark.parametrize("name", sorted(packaged()))
def test_packaged_scenarios_are_valid(name: str) -> None:
    file = load(name)
    assert file.scenario.name == name
    assert file.summary
    assert read(packaged_text(name)).config_hash == file.config_hash


def line_of(words: str, text: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), start=1) if words in line)


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ("capex_usd = 120", "capex_us = 120", "cohorts[1].capex_us", "unknown key; did you mean capex_usd?"),
        ("months = 24", "monhts = 24", "monhts", "unknown key; did you mean months?"),
        ("price_usd = 0.3\ncov", "price_usd = -0.3\ncov", "service.price_usd", "must not be negative"),
        ("opex_usd_month = 1\n", "opex_usd_month = -1\n", "cohorts[1].opex_usd_month", "must not be negative"),
        ('unit = "USD", low', 'unit = "EUR", low', "cohorts[0].capex_usd.unit", "contradicts"),
        ('grade = "C"', 'grade = "Z"', "cohorts[0].capex_usd.grade", "one of A, B, C, D"),
        ('source = "price list", ', "", "cohorts[0].capex_usd", "has no source"),
        ("take = 0.1", "take = 0.6", "", "exceed 1 together"),
        ("take = 0.1", "take = 1.5", "burn.take", "between 0 and 1"),
        ('policy = "halving"', 'policy = "magic"', "emission.policy", "is not one of"),
        ('mode = "burn"', 'mode = "bern"', "burn.mode", "must be one of"),
        ('region = "abroad"', 'region = "moon"', "cohorts.kit.region", "is not one of"),
        ("demand_share = 0.4", "demand_share = 0.5", "regions", "add up to 1"),
        ("locked_tokens = 400_000", "locked_tokens = 1_000_000", "supply.locked_tokens", "nothing would circulate"),
        ('name = "kit"', 'name = "box"', "cohorts[1].name", "used twice"),
        ('name = "kit"\n', "", "cohorts[1]", "needs a name"),
        ('name = "kit"', 'name = "<b>"', "cohorts[1].name", "is no name"),
        ("runs = 40", "runs = 0", "runs", "between 1"),
        ("runs = 40", "runs = true", "runs", "must be a whole number"),
        ("seed = 7", "seed = -1", "seed", "between 0"),
        ("months = 24", "months = 24.5", "months", "must be a whole number"),
        ("months = 24", "months = 24\nsteps_per_year = 13", "", "steps_per_year"),
        ("tokens_month = 40_000", 'tokens_month = { value = 4e4, unit = "tokens/month", low = 1, high = 9e4 }',
         "emission.tokens_month", "cannot have low and high"),
        ("[treasury]", "[tresury]", "tresury", "did you mean treasury?"),
        ("[treasury]", "schema_version = 2\n[treasury]", "price.schema_version", "unknown key"),
        ("months = 24", "months = 24\nschema_version = 2", "schema_version", "reads version 1"),
        ("initial_usd = 0.2", 'initial_usd = "0.2"', "price.initial_usd", "must be a number"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_key_and_line(old: str, new: str, key: str, message: str) -> None:
    assert old in TEXT
    text = TEXT.replace(old, new, 1)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        read(text, "mine.toml")
    if key:
        assert caught.value.key == key
        assert caught.value.line is not None
        assert caught.value.line <= len(text.splitlines())
        assert str(caught.value).startswith(f"mine.toml:{caught.value.line}: {key}")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("capex_usd = 120", "capex_usd = -120", "capex_usd = -120"),
        ("capex_usd = 120", "capxe_usd = 120", "capxe_usd = 120"),
        ('region = "abroad"', 'region = "moon"', 'region = "moon"'),
    ],
)
def test_the_line_is_that_of_the_mistake_also_in_the_second_cohort(old: str, new: str, words: str) -> None:
    text = TEXT.replace(old, new, 1)
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.line == line_of(words, text)


def test_shocks_are_checked() -> None:
    def with_shock(body: str) -> str:
        return f"{TEXT}\n[[shocks]]\n{body}\n"

    assert len(read(with_shock('target = "demand.all"\nvalue = 0.5')).scenario.shocks) == 1
    for body, words in (
        ('target = "weather"\nvalue = 1', "there is no input"),
        ('target = "demand"', "has no value"),
        ("value = 1", "has no target"),
        ('target = "demand.nobody"\nvalue = 0.5', "changes nothing"),
        ('target = "demand"\nvalue = 0.5\nkind = "div"', "must be one of"),
        ('target = "demand"\nvalue = { value = 0.5, unit = "factor", low = 0.1, high = 0.9 }', "unit"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            read(with_shock(body))
        assert caught.value.line is not None


def test_a_strict_file_needs_sources_everywhere() -> None:
    with pytest.raises(ConfigError, match="neither unit nor source") as caught:
        read(TEXT.replace('name = "small"', 'name = "small"\nsources = "required"', 1))
    assert caught.value.key == "regions[0].demand_share"


def test_broken_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x.toml:2: not TOML"):
        read("a = 1\nb = ]\n", "x.toml")
    with pytest.raises(ConfigError, match="is missing: a scenario needs it"):
        read('name = "x"')
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="there are fixed-emission, starter"):
        load("unheard-of")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "bytes.toml")
    with pytest.raises(ConfigError, match=r"write \[\[cohorts\]\]"):
        read("cohorts = 3\nsegments = 1\nemission = 1\nprice = 1")


def test_the_hash_is_of_what_decides() -> None:
    """Comments and order do not change it; a number, a range and a grade do."""
    base = read(TEXT).config_hash
    assert read("# a comment\n" + TEXT).config_hash == base
    assert read(TEXT.replace("runs = 40", "runs = 41")).config_hash == base
    for old, new in (
        ("capex_usd = 120", "capex_usd = 121"),
        ("low = 150", "low = 151"),
        ('grade = "C"', 'grade = "B"'),
    ):
        assert read(TEXT.replace(old, new)).config_hash != base
