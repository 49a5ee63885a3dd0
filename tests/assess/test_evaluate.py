"""Answers, scores, flags and verdicts; what is unknown stays unknown."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.assess.evaluate import Assessment, assess, conclude, score
from fieldstone.assess.library import case_names, shipped_case
from fieldstone.assess.questions import condition, load_framework, parse_framework
from fieldstone.errors import ConfigError
from tests.assess.conftest import HEAD, ON, card, case, claim

FULL = (
    claim("payers.external_share", 90, "%"),
    claim("payers.hhi", 1200, "points"),
    claim("revenue.service_share", 95, "%"),
    claim("coverage.unique", True),
    claim("verification.verified_share", 95, "%"),
    claim("attack.net_profit", -50, "USD"),
    claim("link.rank_correlation", 0.7, "x"),
    claim("emission.usd", 10, "USD/day"),
    claim("revenue.external", 90, "USD/day"),
    claim("payback.p50", 10, "months"),
    claim("payback.utility", 30, "months"),
    claim("supply.utilisation", 60, "%"),
    claim("makers.hhi", 1000, "points"),
    claim("control.nakamoto", 9, "parties"),
    claim("providers.top1_share", 20, "%"),
    claim("token.net_inflation", 2, "%"),
    claim("token.unlock_90d", 100, "USD"),
    claim("token.daily_volume", 100, "USD/day"),
    claim("resilience.collapse_probability", 5, "%"),
)


def without(*names: str) -> tuple[str, ...]:
    return tuple(text for text in FULL if not any(f'metric = "{name}"' in text for name in names))


def test_nothing_known_is_unknown_not_bad() -> None:
    empty = card()
    assert empty.verdict == "not rateable"
    assert (empty.raw, empty.adjusted, empty.coverage) == (None, None, 0.0)
    assert {answer.status for answer in empty.answers} == {"unknown"}
    assert all(answer.band is None and answer.missing for answer in empty.answers)
    assert not any(flag.raised for flag in empty.flags)
    assert all(s.outcome != "found" for s in empty.suspicions)


def test_everything_good_and_recomputed_is_green() -> None:
    full = card(*FULL)
    assert [a.band for a in full.answers] == ["green"] * 12
    assert (full.verdict, full.raw, full.adjusted, full.coverage) == ("green", 100.0, 100.0, 1.0)


def test_the_weights_sum_to_100() -> None:
    assert sum(q.weight for q in load_framework().question) == 100


def test_scores_by_hand() -> None:
    """Q1 (14) red A, Q1b (6) green C, Q8 (8) amber B: raw (6 + 4)/28, adjusted (6·0.5 + 4·0.8)/28, coverage 28 %."""
    one = card(
        claim("payers.external_share", 40, "%"),
        claim("payers.hhi", 1200, "points"),
        claim("revenue.service_share", 95, "%", grade="C"),
        claim("control.nakamoto", 4, "parties", grade="B"),
    )
    assert one.raw == pytest.approx(100 * 10 / 28)
    assert one.adjusted == pytest.approx(100 * 6.2 / 28)
    assert one.coverage == pytest.approx(0.28)
    assert one.verdict == "not rateable" and "28 %" in one.because


def test_what_is_not_applicable_leaves_the_weight() -> None:
    text = "".join(without("makers.hhi"))
    one = card(text + '\n[not_applicable]\n7 = "any server can join"\n')
    assert one.answer("7").status == "not applicable"
    assert one.coverage == 1.0


@pytest.mark.parametrize(
    ("missing", "question"),
    [("payers.hhi", "1"), ("attack.net_profit", "3"), ("link.rank_correlation", "4"), ("payback.utility", "5"), ("token.unlock_90d", "10")],
)  # fmt: skip
def test_green_needs_every_deciding_number(missing: str, question: str) -> None:
    answer = card(*without(missing)).answer(question)
    assert answer.band == "amber"
    assert any("amber at best" in limit for limit in answer.limits)


@pytest.mark.parametrize(
    ("metric", "value", "unit", "question", "band"),
    [
        ("payers.external_share", 80, "%", "1", "green"),
        ("payers.external_share", 79.9, "%", "1", "amber"),
        ("payers.external_share", 49.9, "%", "1", "red"),
        ("payers.hhi", 2500, "points", "1", "amber"),
        ("payers.top1_share", 61, "%", "1", "red"),
        ("revenue.service_share", 50, "%", "1b", "amber"),
        ("verification.verified_share", 49, "%", "3", "red"),
        ("attack.net_profit", 0, "USD", "3", "amber"),
        ("attack.net_profit", 1, "USD", "3", "red"),
        ("attack.fake_reward_ratio", 0.6, "x", "3", "red"),
        ("link.rank_correlation", 0.19, "x", "4", "red"),
        ("payback.p50", 13, "months", "5", "amber"),
        ("payback.p50", 25, "months", "5", "red"),
        ("payback.utility", 40, "months", "5", "amber"),
        ("supply.utilisation", 85, "%", "6", "green"),
        ("supply.utilisation", 86, "%", "6", "amber"),
        ("supply.utilisation", 14, "%", "6", "red"),
        ("supply.unmet_share", 21, "%", "6", "red"),
        ("makers.hhi", 1500, "points", "7", "amber"),
        ("makers.hhi", 2500, "points", "7", "amber"),
        ("makers.hhi", 2501, "points", "7", "red"),
        ("control.nakamoto", 3, "parties", "8", "amber"),
        ("control.nakamoto", 2, "parties", "8", "red"),
        ("providers.top1_share", 66, "%", "9", "amber"),
        ("providers.top1_share", 67, "%", "9", "red"),
        ("token.net_inflation", 15, "%", "10", "amber"),
        ("token.net_inflation", 16, "%", "10", "red"),
        ("token.runway", 11, "months", "10", "red"),
        ("resilience.collapse_probability", 41, "%", "11", "red"),
    ],
)
def test_bands_begin_where_the_table_says(metric: str, value: float, unit: str, question: str, band: str) -> None:
    assert card(*without(metric), claim(metric, value, unit)).answer(question).band == band


@pytest.mark.parametrize(
    ("flag", "claims", "verdict"),
    [
        ("self_dealing", [claim("attack.reward_per_dollar", 145, "x")], "red"),
        ("self_dealing", [claim("attack.reward_per_dollar", 0.95, "x"), claim("policy.take", 10, "%")], "red"),
        ("attack_pays", [claim("attack.net_profit", 5, "USD")], "red"),
        ("credits_insolvent", [claim("token.collateral_ratio", 1.9, "x")], "red"),
        ("unlimited_mint", [claim("control.unlimited_mint", True)], "red"),
        ("running_at_a_loss", [claim("hardware.opex", 3, "USD/day"), claim("reward.per_device", 2, "USD/day")], "red"),
        ("one_payer", [claim("payers.top1_share", 61, "%")], "amber"),
        ("one_key_issuer", [claim("makers.single_key_issuer", True)], "amber"),
        ("removal_stops_payout", [claim("providers.drill_stops_payout", True)], "amber"),
        ("short_runway", [claim("token.runway", 13, "months"), claim("hardware.lead_time", 14, "months")], "amber"),
        ("insiders", [claim("token.insider_share", 51, "%")], "amber"),
        ("mint_outside_schedule", [claim("emission.supplement", 1, "TOK/day")], "amber"),
        ("secret_method", [claim("verification.secret_method", True)], "amber"),
    ],
)
def test_red_flags_cap_the_verdict_whatever_the_score(flag: str, claims: list[str], verdict: str) -> None:
    replaced = [text.split('metric = "')[1].split('"')[0] for text in claims]
    one = card(*without(*replaced), *claims)
    assert [f.rule.id for f in one.flags if f.raised] == [flag]
    assert one.verdict == verdict
    assert (one.raw or 0) >= 70


def test_a_payback_that_never_comes_is_flagged() -> None:
    claims = claim("hardware.capex", 500, "USD"), claim("revenue.per_device", 0, "USD/day")
    one = card(*without("payback.utility"), *claims)
    assert "never_pays_back" in [f.rule.id for f in one.flags if f.raised]


def test_the_gate_comes_first() -> None:
    gate = "\n[gate]\nthree_sided_market = true\ntoken_incentive = false\nphysical_placement = true\n"
    assert card(*FULL, gate).verdict == "not a DePIN"


GRADES = "DCBA"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(GRADES), min_size=len(FULL), max_size=len(FULL)),
    st.integers(0, len(FULL) - 1),
    st.integers(0, 3),
)
def test_a_better_grade_never_lowers_the_adjusted_score(grades: list[str], which: int, to: int) -> None:
    def graded(letters: list[str]) -> Assessment:
        return card(*(text.replace('grade = "A"', f'grade = "{g}"') for text, g in zip(FULL, letters, strict=True)))

    better = list(grades)
    better[which] = max(grades[which], GRADES[to], key=GRADES.index)
    before, after = graded(grades), graded(better)
    assert (after.adjusted or 0) >= (before.adjusted or 0)
    assert after.raw == before.raw


@pytest.mark.parametrize("name", ["helium", "filecoin", "render"])
def test_changing_a_grade_moves_a_shipped_cases_score_in_the_right_direction(name: str) -> None:
    from dataclasses import replace

    from fieldstone.assess.claims import Grade

    base = shipped_case(name)
    before = assess(base, on=ON)

    def all_of(grade: Grade) -> Assessment:
        return assess(base.with_claims(tuple(replace(c, grade=grade) for c in base.claims)), on=ON)

    best, worst = all_of(Grade.A), all_of(Grade.D)
    assert (best.adjusted or 0) > (before.adjusted or 0) >= (worst.adjusted or 0)
    assert (best.scores.strength or 0) > (before.scores.strength or 0) > (worst.scores.strength or 0)
    assert all_of(Grade.A).raw == before.raw


def test_age_lowers_the_adjusted_score_only() -> None:
    young, old = card(*FULL, on=date(2026, 11, 22)), card(*FULL, on=date(2028, 11, 22))
    assert old.raw == young.raw and (old.adjusted or 0) < (young.adjusted or 0)
    assert young.expires == date(2027, 10, 31)
    assert old.expires is None


def test_weights_can_be_given() -> None:
    framework = load_framework().reweighted({"1": 0.0, "11": 50.0})
    one = assess(case(claim("resilience.collapse_probability", 5, "%")), on=ON, framework=framework)
    assert one.coverage == pytest.approx(50 / 132)
    assert score(one.answers, framework, [1.0] * 12).coverage == pytest.approx(1 / 12)


def test_conclusions_at_the_thresholds() -> None:
    framework, base = load_framework(), card(*FULL)
    from dataclasses import replace

    for raw, band in ((70.0, "green"), (69.9, "amber"), (40.0, "amber"), (39.9, "red")):
        assert conclude(replace(base.scores, raw=raw), base.flags, framework)[0] == band
    assert conclude(replace(base.scores, coverage=0.499), base.flags, framework)[0] == "not rateable"


def test_a_framework_with_a_mistake_is_refused() -> None:
    from importlib import resources

    text = (resources.files("fieldstone.assess") / "data" / "questions.toml").read_text()
    for old, new in (
        (">= 0.8", "about 0.8"),
        ("payers_hhi", "payers_hii"),
        ('role = "decides"', 'role = "rules"'),
        ('id = "1b"', 'id = "1"'),
    ):
        with pytest.raises(ConfigError):
            parse_framework(text.replace(old, new), "q.toml")
    with pytest.raises(ValueError):
        condition("=> 3")
    assert not condition("").holds(1.0)


@pytest.mark.parametrize("name", case_names())
def test_every_shipped_case_has_a_source_and_date_for_every_claim(name: str) -> None:
    one = shipped_case(name)
    assert one.claims and one.gate
    for item in one.claims:
        assert item.source.title and item.period and item.as_of, item.id
        assert item.as_of <= ON, item.id
    unknown = {a.question.id for a in assess(one, on=ON).answers if a.status == "unknown"}
    assert unknown <= {m.question for m in one.missing}, "what is unknown is listed as missing"


@pytest.mark.parametrize(
    ("name", "verdict", "bands"),
    [
        ("helium", "red", {"1": "red", "1b": "red", "4": "amber", "8": "red", "9": "red", "10": "red"}),
        ("filecoin", "red", {"1b": "red", "2": "red", "3": "amber", "4": "red", "6": "amber", "10": "amber"}),
        ("render", "red", {"1b": "green", "2": "amber", "3": "red", "4": "amber", "9": "red", "10": "red"}),
        ("akash", "not rateable", {"3": "red", "6": "green"}),
        ("hivemapper", "not rateable", {"4": "amber", "5": "red", "9": "red"}),
        ("geodnet", "not rateable", {"4": "amber", "5": "amber"}),
        ("weatherxm", "not rateable", {"3": "red"}),
        ("arweave", "not rateable", {"3": "amber"}),
        ("glow", "not rateable", {"3": "red", "10": "red"}),
    ],
)
def test_shipped_cards_say_what_their_claims_say(name: str, verdict: str, bands: dict[str, str]) -> None:
    one = assess(shipped_case(name), on=ON)
    assert one.verdict == verdict
    assert {a.question.id: a.band for a in one.answers if a.band} == bands


def test_a_claim_set_aside_still_counts_against_one_of_its_scope() -> None:
    """`counts = false` is no way to hide the lower of two numbers."""
    high = claim("supply.utilisation", 60, "%", scope="all")
    low = claim("supply.utilisation", 10, "%", id="low", scope="all", counts=False)
    assert card(high, low).answer("6").band == "red"
    assert card(high, low.replace('"all"', '"one region"')).answer("6").band == "green"
    assert HEAD.startswith("schema = 1")
