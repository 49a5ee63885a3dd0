"""The linter must find every bad rule of the table (reference: proportional is the only safe one) and none in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import pytest

from fieldstone.policy import EpochPolicy, MarketPolicy, Policy, RewardPolicy, ServicePolicy
from fieldstone.rewards.lint import Claim, Finding, lint, lint_policy, rule_of
from fieldstone.rewards.lint_listed import safe_list_price
from fieldstone.services import load_service
from fieldstone.services.prices import list_price

POOL = 10**15


def share_by(weight: Callable[[int], float]) -> Callable[[Sequence[Claim]], list[int]]:
    def rule(claims: Sequence[Claim]) -> list[int]:
        weights = [weight(claim.work) for claim in claims]
        total = math.fsum(weights)
        return [int(POOL * w / total) if total else 0 for w in weights]

    return rule


def errors(findings: Sequence[Finding]) -> set[str]:
    return {finding.check for finding in findings if finding.severity == "error"}


def proportional(claims: Sequence[Claim]) -> list[int]:
    total = sum(claim.work for claim in claims)
    return [POOL * claim.work // total if total else 0 for claim in claims]


def paid_by_customers(claims: Sequence[Claim]) -> list[int]:
    return [claim.bought_nano * 9 // 10 for claim in claims]


def square_root(claims: Sequence[Claim]) -> list[int]:
    return share_by(math.sqrt)(claims)


def convex(claims: Sequence[Claim]) -> list[int]:
    return share_by(lambda work: work**1.5)(claims)


def capped(claims: Sequence[Claim]) -> list[int]:
    return [min(reward, POOL // 20) for reward in proportional(claims)]


def floored(claims: Sequence[Claim]) -> list[int]:
    """Render's compute-client score: 0.1 + 0.9 · r / max, shared (RNP-007)."""
    top = max((claim.work for claim in claims), default=0) or 1
    scores = [0.1 + 0.9 * claim.work / top for claim in claims]
    return [int(POOL * score / math.fsum(scores)) for score in scores]


def per_head(claims: Sequence[Claim]) -> list[int]:
    return [POOL // len(claims)] * len(claims)


def fixed_pool_by_sales(claims: Sequence[Claim]) -> list[int]:
    """The fixed data pool that HIP-10 had to repair: 145 $ of data earned about 21,000 $."""
    total = sum(claim.bought_nano for claim in claims)
    return [POOL * claim.bought_nano // total if total else 0 for claim in claims]


def winner_takes_dust(claims: Sequence[Claim]) -> list[int]:
    rewards = proportional(claims)
    rewards[0] += POOL - sum(rewards)
    return rewards


def fined(claims: Sequence[Claim]) -> list[int]:
    return [reward - POOL // 100 for reward in proportional(claims)]


@pytest.mark.parametrize("rule", [proportional, paid_by_customers])
def test_safe_rules_raise_no_alarm(rule: Callable[[Sequence[Claim]], list[int]]) -> None:
    for seed in range(5):
        assert lint(rule, take_ppm=100_000, seed=seed) == []


@pytest.mark.parametrize(
    ("rule", "check"),
    [
        (square_root, "split"),
        (capped, "split"),
        (floored, "split"),
        (per_head, "split"),
        (convex, "merge"),
        (fixed_pool_by_sales, "self-deal"),
        (winner_takes_dust, "order"),
        (fined, "budget"),
    ],
)
def test_bad_rules_are_found(rule: Callable[[Sequence[Claim]], list[int]], check: str) -> None:
    for seed in range(5):
        assert check in errors(lint(rule, take_ppm=100_000, seed=seed))


def test_a_finding_can_be_repeated_from_its_example() -> None:
    (finding,) = [found for found in lint(square_root) if found.check == "split"]
    claims = [Claim(*row) for row in finding.example["claims"]]
    who, parts = finding.example["who"], finding.example["parts"]
    work, rest = divmod(claims[who].work, parts)
    pieces = [Claim(work + (i < rest), 0, claims[who].place) for i in range(parts)]
    got = sum(square_root([*claims[:who], *pieces, *claims[who + 1 :]])[who : who + parts])
    assert abs(got / square_root(claims)[who] - finding.gain_ppm / 1e6) < 0.01
    assert lint(square_root) == lint(square_root)


def test_identities_that_cannot_be_split_may_have_floors() -> None:
    assert "split" not in errors(lint(floored, unsplittable=True))


def test_the_default_policy_is_not_refused() -> None:
    findings = lint_policy(Policy(network_id="n"))
    assert [(finding.check, finding.severity) for finding in findings] == [
        ("oracle-lag", "warning"),  # a day at 100 % volatility can fall by more than a take of 10 %
        ("unbounded-mint", "warning"),
    ]
    hourly = Policy(network_id="n", epoch=EpochPolicy(length_s=3_600))
    assert "oracle-lag" not in {finding.check for finding in lint_policy(hourly, populations=1)}


def test_what_demand_steering_gives_back_is_seen_when_it_is_not_declared() -> None:
    """Against the bare take, half of which may come back, self-dealing returns more than 1 − take, and less than 1."""
    found = {finding.check: finding for finding in lint(rule_of(Policy(network_id="n"), "sensing"), take_ppm=100_000)}
    assert 901_000 < found["self-deal"].gain_ppm <= 951_000
    assert found["self-deal"].severity == "warning"


def storage(
    unsold_pay_ppm: int = 1_000_000, rewards: RewardPolicy | None = None, market: MarketPolicy | None = None
) -> Policy:
    services = {"storage": ServicePolicy(cell_target_rate=10**6, unsold_pay_ppm=unsold_pay_ppm)}
    return Policy(network_id="n", services=services, rewards=rewards or RewardPolicy(), market=market or MarketPolicy())


@pytest.mark.parametrize(
    ("policy", "check", "severity"),
    [
        (Policy(network_id="n", rewards=RewardPolicy(take_ppm=0)), "take", "error"),
        (Policy(network_id="n", rewards=RewardPolicy(need_demand_ppm=1_000_000)), "need", "error"),
        (Policy(network_id="n", rewards=RewardPolicy(token_price_usd="0")), "price", "error"),
        (Policy(network_id="n", rewards=RewardPolicy(r_half_usd="0")), "fade", "warning"),
        (Policy(network_id="n", rewards=RewardPolicy(max_epoch_mint="999")), "cap", "warning"),
        (Policy(network_id="n", rewards=RewardPolicy(cell_resolution=11)), "cells", "warning"),
        (
            Policy(network_id="n", rewards=RewardPolicy(max_epoch_mint="1000", r_half_usd="26")),
            "insolvent-credit",
            "warning",
        ),
        (
            Policy(network_id="n", rewards=RewardPolicy(bootstrap_per_epoch="9000", r_half_usd="20")),
            "above-demand",
            "warning",
        ),
        (Policy(network_id="n", services={"sensing": ServicePolicy(share_ppm=1)}), "shares", "warning"),
        (storage(unsold_pay_ppm=3_000_000), "full-below-empty", "warning"),
        (storage(rewards=RewardPolicy(r_half_usd="50")), "full-below-empty", "warning"),
        (storage(market=MarketPolicy(prices_usd={"storage.storage": "0.02"})), "list-price", "warning"),
    ],
)
def test_bad_numbers_are_named(policy: Policy, check: str, severity: str) -> None:
    found = {finding.check: finding.severity for finding in lint_policy(policy, populations=1)}
    assert found[check] == severity


def test_a_storage_network_as_it_comes_is_not_refused_and_pays_nobody_for_an_empty_disk() -> None:
    found = {finding.check: finding.severity for finding in lint_policy(storage(), populations=20)}
    assert "error" not in found.values()
    assert not {"full-below-empty", "list-price"} & set(found)


def test_who_sends_customers_away_is_found_where_a_policy_pays_for_it_and_not_by_default() -> None:
    """The move itself, played on the real rule: the same disk full of customers' data, and empty."""
    for pay_ppm, pays in ((1_000_000, False), (3_000_000, True)):
        policy = storage(unsold_pay_ppm=pay_ppm)
        found = [one for one in lint_policy(policy, populations=40) if one.check == "refuse"]
        assert bool(found) == pays
        if pays:
            assert "sends his customers away" in found[0].message and found[0].gain_ppm > 1_000_000
    never_pays = lint(paid_by_customers, take_ppm=100_000, populations=40, unsold=lambda nano: nano)
    assert "refuse" not in {one.check for one in never_pays}


def test_from_which_price_on_supply_may_be_paid_ahead_of_demand() -> None:
    """Above it a sale is worth more than the bootstrap ever pays for empty work, so nothing is left to warn of."""
    policy = storage(unsold_pay_ppm=3_000_000)
    listed = list_price(load_service("storage"), policy)
    assert listed is not None
    safe = safe_list_price(policy, "storage", listed)
    # 50 $ an epoch for ten cells of a gigabyte-second a second, of which empty ones count a hundredth; 90 % after the take
    kib_s = 10 * 10**6 * 86_400 * 100
    assert safe == -(-50_000_000 * listed.units * 10 // (kib_s * 9)) == 1_747_627
    for usd, is_named in (("1.747626", True), ("1.747627", False)):
        priced = msgspec.structs.replace(policy, market=MarketPolicy(prices_usd={"storage.storage": usd}))
        named = [finding for finding in lint_policy(priced, populations=1) if finding.check == "full-below-empty"]
        assert bool(named) == is_named
        assert all("below $1.747627 per GiB-month" in finding.message for finding in named)


def test_free_self_dealing_is_found_by_the_real_rule_too() -> None:
    """Not only by looking at the number: the fuzz sees that the whole dollar comes back."""
    policy = Policy(network_id="n", rewards=RewardPolicy(take_ppm=0, bootstrap_per_epoch="0"))
    assert "self-deal" in errors(lint(rule_of(policy, "sensing"), populations=40))


def by_witnesses(claims: Sequence[Claim]) -> list[int]:
    weights = [claim.work * (1 + claim.witnesses) for claim in claims]
    total = sum(weights)
    return [POOL * weight // total if total else 0 for weight in weights]


def data_times_three(claims: Sequence[Claim]) -> list[int]:
    return [claim.bought_nano * 3 // 10 for claim in claims[:1]] + [
        claim.bought_nano * 3 // 10 + claims[0].bought_nano * 8 // 10 // max(1, len(claims) - 1) for claim in claims[1:]
    ]


def neighbours_share_the_take(claims: Sequence[Claim]) -> list[int]:
    """Each dollar pays 0.6 to whoever sold it and 0.3 to each other claim of the place."""
    return [
        claim.bought_nano * 6 // 10
        + sum(other.bought_nano * 3 // 10 for j, other in enumerate(claims) if j != i and other.place == claim.place)
        for i, claim in enumerate(claims)
    ]


def stepped(claims: Sequence[Claim]) -> list[int]:
    return [claim.work + (10**9 if claim.work >= 5_000_000 else 0) for claim in claims]


def test_witnesses_who_vouch_for_each_other_are_a_residual_risk() -> None:
    findings = lint(by_witnesses, populations=100)
    found = [finding for finding in findings if finding.check == "collude" and finding.severity == "warning"]
    assert found[0].gain_ppm > 1_200_000
    assert found[0].example["how"] == "vouches for each other"


def test_a_group_that_buys_inside_finds_what_one_alone_does_not() -> None:
    findings = lint(neighbours_share_the_take, take_ppm=100_000, populations=200)
    checks = errors(findings)
    assert "collude" in checks and "above-demand" in checks
    assert "self-deal" not in checks


def test_pooling_between_devices_that_cannot_be_split_is_a_warning() -> None:
    findings = {finding.check: finding.severity for finding in lint(convex, unsplittable=True)}
    assert findings["collude"] == "warning" and "merge" not in findings


def test_more_than_the_budget_is_found() -> None:
    assert errors(lint(proportional, budget_nano=POOL)) == set()
    assert errors(lint(proportional, budget_nano=POOL - 10**6)) == {"budget"}


def test_cliffs_are_listed_with_the_place_of_the_threshold() -> None:
    (found,) = [finding for finding in lint(stepped, cliffs=True, populations=100) if finding.check == "cliff"]
    assert found.severity == "warning"
    low, high = found.example["work"]
    assert low < 5_000_000 <= high
    assert "cliff" not in {finding.check for finding in lint(proportional, cliffs=True, populations=100)}


def test_a_rule_that_forgets_somebody_is_found_and_does_not_stop_the_linter() -> None:
    assert errors(lint(lambda claims: [1] * (len(claims) - 1), populations=20)) == {"budget"}


def test_sound_rules_have_no_finding_over_a_thousand_populations() -> None:
    """0 false alarms on proportional sharing, cliffs included."""
    assert lint(proportional, take_ppm=100_000, populations=1_000, cliffs=True, budget_nano=POOL) == []
    assert lint(paid_by_customers, take_ppm=100_000, populations=1_000, cliffs=True) == []


@pytest.mark.parametrize(
    ("rule", "expected"),
    [(math.sqrt, (1.41, 3.10, 9.17)), (lambda work: work**1.5, (0.71, 0.32, 0.10)), (lambda work: work, (1, 1, 1))],
)
def test_published_gains_of_one_in_a_hundred_who_splits(
    rule: Callable[[int], float], expected: tuple[float, ...]
) -> None:
    """One of 100 equal units splits into 2, 10 and 100 identities."""
    unit = 10**8
    before = share_by(rule)([Claim(unit)] * 100)[0]
    for parts, gain in zip((2, 10, 100), expected, strict=True):
        got = sum(share_by(rule)([Claim(unit)] * 99 + [Claim(unit // parts)] * parts)[99:])
        assert got / before == pytest.approx(gain, abs=0.01)
