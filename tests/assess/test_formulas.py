"""Every formula with a worked example; those of public networks from the assessment reference, section 8."""

from __future__ import annotations

import math

import pytest

import fieldstone.metrics as shared
from fieldstone.assess import formulas_money, formulas_supply, ways
from fieldstone.assess.formulas import BY_NAME, MEASURES, known_names
from fieldstone.assess.library import shipped_case
from fieldstone.assess.questions import load_framework
from tests.assess.conftest import card, case, claim

DAY = 365.25
THIRTY = [float(n) for n in range(30)]

# measure, claims, value
EXAMPLES: list[tuple[str, list[str], float]] = [
    ("emission.all", [claim("emission.schedule", 20_548, "TOK/day"), claim("emission.supplement", 196_000, "TOK/day")], 216_548),
    ("emission.all", [claim("token.net_inflation", 10, "%"), claim("token.supply", 36_525, "TOK")], 10),
    ("emission.value", [claim("emission.schedule", 20_548, "TOK/day"), claim("token.price", 0.27, "USD")], 5_547.96),
    ("emission.value", [claim("emission.usd", 10, "USD/day")], 10),
    ("emission.value", [claim("token.net_inflation", 10, "%"), claim("token.market_cap", 3652.5, "USD")], 1),
    ("revenue.arms_length", [claim("units.served", 97_000, "GB/day"), claim("price.network", 0.10, "USD/GB")], 9_700),
    ("revenue.arms_length", [claim("revenue.total", 100, "USD/day"), claim("revenue.service", 40, "USD/day")], 40),
    ("revenue.arms_length", [claim("revenue.run_rate", DAY, "USD/year")], 1),
    ("revenue.arms_length", [claim("revenue.fees", 793_000, "USD/quarter"), claim("revenue.penalty_share", 99.5, "%")], 3_965 * 4 / DAY),
    ("external_share", [claim("revenue.external", 880, "USD/month"), claim("revenue.total", 1_860, "USD/month")], 0.4731182796),
    ("payers_hhi", [claim("payers.revenue", [1, 1, 1, 1], "USD/day")], 2_500),
    ("payers_top1", [claim("payers.revenue", [3, 1], "USD/day")], 0.75),
    ("service_share", [claim("revenue.service", 24_883, "USD/day"), claim("revenue.fees", 56_760, "USD/day")], 0.4383897),
    ("service_share", [claim("revenue.penalty_share", 99.5, "%")], 0.005),
    ("service_share", [claim("revenue.discretionary", 31_765, "USD/day"), claim("revenue.fees", 56_760, "USD/day")], 0.4403629),
    ("discretionary_share", [claim("revenue.discretionary", 31_765, "USD/day"), claim("revenue.fees", 56_760, "USD/day")], 0.5596371),
    ("subsidy_per_unit", [claim("emission.usd", 50, "USD/day"), claim("units.served", 100, "scans/day")], 0.5),
    ("advantage", [claim("price.network", 1, "USD/scan"), claim("price.alternative", 2, "USD/scan")], 0.5),
    ("advantage", [claim("price.network", 1, "USD/scans"), claim("price.alternative", 2, "USD/scans"), claim("emission.usd", 50, "USD/day"), claim("units.served", 100, "scans/day")], 0.25),
    ("advantage_subsidised", [claim("price.network", 1, "USD/scan"), claim("price.alternative", 2, "USD/scan")], 0.5),
    ("verified_share", [claim("verification.cryptographic", 40, "%"), claim("verification.tee", 10, "%"), claim("verification.statistical", 50, "%"), claim("verification.detection_rate", 80, "%")], 0.9),
    ("verified_share", [claim("verification.self_report", 30, "%")], 0.7),
    # detected with 8.1 % at a slash of 10 job prices: gain 0.8 − 0.081 · 11 − 0 < 0 (deterrence, reference 3.3)
    ("attack_profit", [claim("attack.gain", 0.8, "USD"), claim("attack.detection", 8.1, "%"), claim("attack.slash", 10, "USD"), claim("attack.cost", 0, "USD")], -0.01),
    ("self_dealing_gain", [claim("attack.reward_per_dollar", 144.8275862, "x")], 143.8275862),
    ("self_dealing_gain", [claim("attack.reward_per_dollar", 0.9, "x"), claim("policy.take", 10, "%")], 0),
    ("subsidy_ratio", [claim("emission.usd", 60, "USD/day"), claim("revenue.external", 40, "USD/day")], 0.6),
    ("subsidy_ratio", [claim("burn.issuance_coverage", 75, "%")], 1 / 1.75),
    ("issuance_coverage", [claim("emission.usd", 60, "USD/day"), claim("revenue.external", 40, "USD/day")], 2 / 3),
    ("demand_backed_share", [claim("emission.usd", 60, "USD/day"), claim("revenue.external", 90, "USD/day")], 1),
    ("rank_correlation", [claim("link.device_rewards", THIRTY, "USD/day"), claim("link.device_revenue", THIRTY[::-1], "USD/day")], -1),
    ("capex_per_device", [claim("hardware.fleet_capex", 15e6, "USD"), claim("devices.active", 21_000, "stations")], 714.2857143),
    ("reward_per_device", [claim("emission.usd", 100, "USD/day"), claim("devices.active", 50, "devices")], 2),
    ("revenue_per_device", [claim("revenue.external", 100, "USD/day"), claim("devices.active", 50, "devices")], 2),
    ("payback_p50", [claim("hardware.capex", 300, "USD"), claim("reward.per_device", 30, "USD/month"), claim("hardware.opex", 5, "USD/month"), claim("hardware.lead_time", 2, "months")], 14),
    ("payback_utility", [claim("hardware.capex", 300, "USD"), claim("revenue.per_device", 20, "USD/month")], 15),
    ("opex_over_reward", [claim("hardware.opex", 3, "USD/day"), claim("reward.per_device", 2, "USD/day")], 1.5),
    ("utilisation", [claim("supply.served", 367, "GPUs"), claim("supply.capacity", 702, "GPUs")], 0.5227920),
    ("utilisation", [claim("supply.served", 1110, "PiB"), claim("supply.capacity", 3, "EiB")], 0.361328125),
    ("makers_hhi", [claim("makers.devices", [50, 50], "devices")], 5_000),
    ("control_nakamoto", [claim("control.weights", [1, 1, 1], "keys")], 2),
    ("net_inflation", [claim("emission.schedule", 1200, "TOK/year"), claim("token.supply", 10_000, "TOK")], 1.01**12 - 1),
    ("unlock_days", [claim("token.unlock_90d", 100, "USD"), claim("token.daily_volume", 20, "USD/day")], 5),
    ("runway_over_lead", [claim("token.runway", 6, "months"), claim("hardware.lead_time", 12, "months")], 0.5),
    ("collateral_at_half_price", [claim("token.collateral_ratio", 1.5, "x")], 0.75),
    ("gmv_over_net", [claim("revenue.gmv", 8, "USD/day"), claim("revenue.net", 0.1, "USD/day")], 80),
    ("registered_over_active", [claim("devices.registered", 59_000, "accounts"), claim("devices.active", 5_500, "accounts")], 10.7272727),
    ("payers_over_owners", [claim("payers.count", 30, "customers"), claim("payers.clustered", 3, "customers")], 10),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "claims", "value"), EXAMPLES, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(EXAMPLES)]
)
def test_worked_examples(name: str, claims: list[str], value: float) -> None:
    known = card(*claims).known(name)
    assert known is not None
    assert known.value == pytest.approx(value, rel=1e-6, abs=1e-9)
    assert known.grade == "A" and known.formula


def test_every_formula_has_a_worked_example() -> None:
    assert {name for name, _, _ in EXAMPLES} == set(BY_NAME)


def test_every_way_can_be_worked_out_or_is_a_bare_claim() -> None:
    for measure in MEASURES:
        for way in measure.ways:
            assert all(name.rstrip("?") in known_names() for name in way.inputs), (measure.name, way.text)


def test_the_functions_are_those_that_everyone_calls() -> None:
    for name in ("subsidy_ratio", "hhi", "top_share", "service_share", "demand_backed_share"):
        assert getattr(formulas_money, name) is getattr(shared, name)
    for name in ("nakamoto", "utilisation"):
        assert getattr(formulas_supply, name) is getattr(shared, name)
    for name in ("payback_months", "spearman", "net_inflation_year"):
        assert getattr(ways, name) is getattr(shared, name)


# -- the assessment reference's section 8 ----------------------------------------------------------------------------


def test_helium_by_its_schedule_alone_looks_deflationary() -> None:
    claims = [
        claim("emission.schedule", 20_548, "TOK/day"),
        claim("token.price", 0.27, "USD"),
        claim("units.served", 97_000, "GB/day"),
        claim("price.network", 0.10, "USD/GB"),
    ]
    alone = card(*claims)
    assert alone.known("subsidy_ratio").value == pytest.approx(0.364, abs=5e-4)  # type: ignore[union-attr]
    assert alone.known("issuance_coverage").value == pytest.approx(1.748, abs=5e-4)  # type: ignore[union-attr]
    every = card(*claims, claim("emission.supplement", 196_000, "TOK/day"))
    assert every.known("subsidy_ratio").value == pytest.approx(0.858, abs=5e-4)  # type: ignore[union-attr]
    assert every.known("issuance_coverage").value == pytest.approx(0.166, abs=5e-4)  # type: ignore[union-attr]
    assert (every.answer("4").band, alone.known("emission.value").value) == ("amber", pytest.approx(5_548, abs=1))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "measure", "value", "places"),
    [
        ("helium", "service_share", 0.438, 3),
        ("helium", "discretionary_share", 0.560, 3),
        ("helium", "subsidy_ratio", 0.858, 3),
        ("filecoin", "service_share", 0.005, 6),
        ("render", "issuance_coverage", 0.17, 2),
        ("render", "subsidy_ratio", 0.85, 2),
        ("akash", "utilisation", 0.523, 3),
        ("geodnet", "payback_p50", 19.3, 1),
        ("geodnet", "capex_per_device", 714, 0),
    ],
)
def test_shipped_cases_give_the_references_numbers(name: str, measure: str, value: float, places: int) -> None:
    from datetime import date

    from fieldstone.assess.evaluate import assess

    known = assess(shipped_case(name), on=date(2026, 11, 22)).known(measure)
    assert known is not None and round(known.value, places) == value


def test_hivemapper_pays_a_mapper_18_to_21_dollars_a_month() -> None:
    per_month = [107_000 / n for n in (6_000, 5_000)]
    assert [round(v) for v in per_month] == [18, 21]
    best = card(
        claim("hardware.capex", 300, "USD"),
        claim("revenue.service", 107_000, "USD/month"),
        claim("devices.active", 5_000, "mappers"),
    )
    worst = card(
        claim("hardware.capex", 649, "USD"),
        claim("revenue.service", 107_000, "USD/month"),
        claim("devices.active", 6_000, "mappers"),
    )
    assert [round(c.known("payback_utility").value) for c in (best, worst)] == [14, 36]  # type: ignore[union-attr]


def test_selling_oneself_data_in_2020_is_a_hard_flag() -> None:
    one = card(claim("attack.reward_per_dollar", 21_000 / 145, "x"))
    assert one.verdict == "red" and one.flags[0].raised


def test_cn470_is_red() -> None:
    assert card(claim("link.demand_share", 0, "%")).answer("4").band == "red"


@pytest.mark.parametrize(
    ("cap", "revenue", "multiple", "stated"),
    [(290, 11, 26, 25), (69, 7, 9.9, 11), (52, 1, 52, 50), (1100, 1.4, 786, 785), (1200, 1.7, 706, 700), (120, 1.6, 75, 75), (150, 0.7, 214, 215), (42, 8, 5.3, 5)],
)  # fmt: skip
def test_multiples_recomputed(cap: float, revenue: float, multiple: float, stated: float) -> None:
    found = shared.multiple(cap, revenue, periods_per_year=1)
    assert found is not None
    assert found == pytest.approx(multiple, rel=0.02)
    texts = claim("token.multiple", found, "x"), claim("token.multiple", stated, "x", id="stated")
    assert bool(card(*texts).contradictions) == (abs(found - stated) / max(found, stated) > 0.05)


def test_inflation_has_the_right_sign() -> None:
    found = shared.net_inflation_year(1.0, 0.0, 100.0)
    assert found == pytest.approx(0.126825, abs=1e-6)


# -- evidence rules --------------------------------------------------------------------------------------------------


def test_a_derived_value_takes_the_worst_grade_and_loses_one_for_mixed_periods() -> None:
    emission = claim("emission.usd", 60, "USD/day", "2026-10")
    near = card(emission, claim("revenue.external", 40, "USD/day", "2026-09", grade="B")).known("subsidy_ratio")
    far = card(emission, claim("revenue.external", 40, "USD/day", "2026-07", grade="B")).known("subsidy_ratio")
    assert near and far
    assert (near.grade, far.grade) == ("B", "C")
    assert any("mixes periods" in note for note in far.notes)


def test_numbers_of_one_period_are_preferred_to_a_mix() -> None:
    known = card(
        claim("emission.usd", 60, "USD/day", "2026-06"),
        claim("revenue.external", 40, "USD/day", "2026-06"),
        claim("revenue.external", 400, "USD/day", "2026-10", id="later"),
    ).known("subsidy_ratio")
    assert known and known.value == 0.6 and "later" not in known.claims


def test_a_mint_is_never_left_out_to_make_periods_fit() -> None:
    known = card(
        claim("emission.schedule", 10, "TOK/day", "2026-06"),
        claim("emission.supplement", 90, "TOK/day", "2026-10"),
        claim("token.price", 1, "USD", "2026-06"),
        claim("revenue.external", 10, "USD/day", "2026-06"),
    ).known("subsidy_ratio")
    assert known and known.value == pytest.approx(100 / 110)


def test_of_contradicting_claims_the_one_worse_for_the_project_counts() -> None:
    texts = claim("supply.utilisation", 60, "%"), claim("supply.utilisation", 20, "%", id="low", grade="D")
    known = card(*texts).known("utilisation")
    assert known and known.value == 0.2 and "contradicts" in known.notes[0]


def test_units_that_cannot_meet_are_not_combined() -> None:
    assert card(claim("supply.served", 3, "GPUs"), claim("supply.capacity", 9, "racks")).known("utilisation") is None
    assert (
        card(claim("units.served", 3, "scans/day"), claim("price.network", 9, "USD/GB")).known("revenue.arms_length")
        is None
    )
    assert card(claim("price.network", 1, "USD/GB"), claim("price.alternative", 2, "EUR/GB")).known("advantage") is None


def test_a_correlation_of_few_devices_is_unknown() -> None:
    few = [1.0, 2.0, 3.0]
    assert (
        card(claim("link.device_rewards", few, "USD/day"), claim("link.device_revenue", few, "USD/day")).known(
            "rank_correlation"
        )
        is None
    )


def test_zero_income_never_pays_back() -> None:
    known = card(claim("hardware.capex", 300, "USD"), claim("revenue.per_device", 0, "USD/day")).known(
        "payback_utility"
    )
    assert known and math.isinf(known.value)


def test_all_measures_and_flags_of_the_framework_exist() -> None:
    names = {m.name for q in load_framework().question for m in q.measures} | {f.measure for f in load_framework().flag}
    assert names <= known_names()
    assert case().claims == ()
