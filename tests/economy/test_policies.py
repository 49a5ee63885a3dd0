"""The worked examples of every policy, and how the registry takes bad words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.economy.policies import POLICIES, MonetaryPolicy, evaluate, find
from fieldstone.errors import UsageError

VECTORS = Path(__file__).parent.parent / "vectors" / "economy"
CASES = [
    pytest.param(case, id=f"{path.stem}-{number}-{case['policy']}")
    for path in sorted(VECTORS.glob("*.json"))
    if path.stem != "filecoin_golden"
    for number, case in enumerate(json.loads(path.read_text()))
]


@pytest.mark.parametrize("case", CASES)
def test_worked_example(case: dict[str, Any]) -> None:
    result = evaluate(case["policy"], case["keys"])
    assert case["source"]
    for name, wanted in case["expect"].items():
        got = result[name]
        is_rounded = bool({"tolerance", "relative"} & set(case)) and type(wanted) in (int, float)
        if is_rounded:
            wanted = pytest.approx(wanted, abs=case.get("tolerance", 0), rel=case.get("relative", 0))
        assert got == wanted, name


def test_every_policy_has_a_worked_example() -> None:
    shown = {param.values[0]["policy"] for param in CASES}
    own_test = {"filecoin.baseline_reward", "filecoin.epoch_reward", "helium.density"}
    own_test |= {"helium.hip138", "helium.hip150_backstop", "helium.hip150_ramp", "helium.hip146", "helium.hip86"}
    own_test |= {"render.rnp020_target", "render.rnp020", "render.rnp020_ceiling", "arweave.price"}  # test_proposals.py
    assert set(POLICIES) - shown == own_test


@pytest.mark.parametrize("policy", POLICIES.values(), ids=list(POLICIES))
def test_describes_itself_fully(policy: MonetaryPolicy) -> None:
    result = policy(**policy.example)
    assert list(result) == [output.name for output in policy.outputs]
    assert policy.source.title and policy.source.locator and policy.rounding and policy.summary
    assert all(key.doc for key in policy.keys)
    json.dumps(result)
    words = policy.usage()
    assert all(key.name in words for key in policy.keys) and policy.rounding in words


@pytest.mark.parametrize("policy", [p for p in POLICIES.values() if p.exact], ids=lambda p: p.name)
def test_exact_policies_give_integers(policy: MonetaryPolicy) -> None:
    named_floats = {"theta", "usd", "hnt", "paid_usd"}  # the same amount again, for reading
    for name, value in policy(**policy.example).items():
        if name not in named_floats:
            assert isinstance(value, int | str | None) or all(isinstance(item, int) for item in value), name


@pytest.mark.parametrize(
    ("name", "keys", "words"),
    [
        ("filecoin.simple_reward", {}, "missing epoch"),
        ("filecoin.simple_reward", {"epoch": "1", "height": "2"}, "unknown key 'height'"),
        ("filecoin.simple_reward", {"epoch": "-1"}, "epoch must be at least 0"),
        ("filecoin.simple_reward", {"epoch": "1.5"}, "not a whole number"),
        ("filecoin.simple_reward", {"epoch": ""}, "not a whole number"),
        ("filecoin.simple_reward", {"epoch": "٣"}, "not a whole number"),
        ("filecoin.simple_reward", {"epoch": "1e3"}, "not a whole number"),
        ("filecoin.simple_reward", {"epoch": "9" * 5000}, "not a whole number"),
        ("filecoin.simple_reward", {"epoch": "1" + "0" * 30}, "at most"),
        ("filecoin.baseline_reward", {"theta0": "2", "theta1": "1"}, "never runs backwards"),
        (
            "filecoin.effective_time",
            {"cum_realized": "0", "cum_baseline": "0", "ent": "1", "b_ent": "0"},
            "above 0",
        ),
        (
            "filecoin.effective_time",
            {"cum_realized": "2", "cum_baseline": "1", "ent": "1", "b_ent": "1"},
            "above",
        ),
        (
            "filecoin.effective_time",
            {"cum_realized": "0", "cum_baseline": "9", "ent": "1", "b_ent": "1"},
            "negative",
        ),
        ("helium.hip20", {"year": "0"}, "at least 1"),
        ("helium.hip147", {"gb_per_day": "nan", "hnt_price": "1"}, "not a number"),
        ("helium.hip147", {"gb_per_day": "inf", "hnt_price": "1"}, "not a number"),
        ("helium.hip147", {"gb_per_day": "1", "hnt_price": "0"}, "above 0"),
        ("helium.hip147", {"gb_per_day": "1", "hnt_price": "1e999"}, "not a number"),
        ("helium.utility_score", {"dc_usd": "-1", "onboarding_usd": "1", "vehnt": "1"}, "at least 0"),
        ("helium.utility_score", {"dc_usd": "1", "onboarding_usd": "1", "vehnt": "1", "rule": "x"}, "must be one of"),
        ("helium.data_credits", {"dc": "1", "price": "10", "confidence": "5"}, "too unsure"),
        ("helium.backstop", {"schedule_bones": "1", "smoothed_bones": "1", "share": "1", "dc": "1"}, "missing price"),
        ("helium.density", {"devices": "nonsense"}, "not an H3 cell"),
        ("helium.density", {"devices": "-1"}, "not an H3 cell"),
        ("helium.density", {"devices": "f" * 40}, "not an H3 cell"),
        ("helium.density", {"devices": "8c2a1072b59a1ff:0"}, "at least 1"),
        ("helium.density", {"devices": "8c2a1072b59a1ff,8b2a1072b59afff"}, "one resolution"),
        ("helium.density_product", {"ratios": "1/0"}, "divides by zero"),
        ("helium.density_product", {"ratios": "2/1"}, "at most 1"),
        ("helium.density_product", {"ratios": ","}, "is empty"),
        ("livepeer.inflation", {"bonded": "2", "supply": "1"}, "above supply"),
        ("livepeer.reward", {"mintable": "10", "stake": "2", "total_stake": "1"}, "above total_stake"),
        ("livepeer.reward", {"mintable": "10", "stake": "1", "total_stake": "1", "minted": "1"}, "exceeded"),
        ("akash.bme", {"usd": "1", "price_mint": "0", "price_settle": "1"}, "above 0"),
        ("fieldstone.demand_first", {"epoch": "0", "revenue_micro_usd": "0"}, "at least 1"),
        ("fieldstone.demand_first", {"epoch": "1", "revenue_micro_usd": "0", "take_ppm": "1000001"}, "at most"),
    ],
)
def test_bad_words_are_refused_with_the_usage(name: str, keys: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        evaluate(name, keys)
    assert words in str(caught.value)
    assert f"usage: fieldstone policy eval {name}" in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"filecoin\.simple_reward"):
        find("filecoin.simple")


@given(st.sampled_from(sorted(POLICIES)), st.text(min_size=1, max_size=12))
@settings(max_examples=100, deadline=None)
def test_an_unknown_key_is_always_refused(name: str, key: str) -> None:
    policy = POLICIES[name]
    if key not in {known.name for known in policy.keys}:
        with pytest.raises(UsageError, match="unknown key"):
            evaluate(name, {**policy.example, key: "1"})


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_value_gives_a_result_or_a_usage_error(data: st.DataObject) -> None:
    policy = POLICIES[data.draw(st.sampled_from(sorted(POLICIES)))]
    key = data.draw(st.sampled_from(policy.keys))
    text = st.one_of(
        st.integers(-(10**40), 10**40).map(str),
        st.floats(allow_nan=True, allow_infinity=True).map(str),
        st.text(max_size=20),
        st.lists(st.integers(0, 10**6), max_size=4).map(lambda items: ",".join(map(str, items))),
    )
    try:
        json.dumps(policy(**{**policy.example, key.name: data.draw(text)}))
    except UsageError as error:
        assert policy.name in str(error)
