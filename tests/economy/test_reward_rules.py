"""The linter still catches every known bad rule, and no sound one."""

from __future__ import annotations

import pytest

from fieldstone.economy.reward_rules import CREDITS, MINTS, POOL_NANO, RULES, KnownCredits, KnownMint, KnownRule
from fieldstone.rewards.lint import Claim, lint, lint_credits, lint_mint


@pytest.mark.parametrize("known", RULES.values(), ids=list(RULES))
@pytest.mark.parametrize("seed", [0, 1])
def test_the_linter_finds_what_is_known(known: KnownRule, seed: int) -> None:
    findings = lint(known.rule, take_ppm=known.take_ppm, populations=120, seed=seed)
    errors = {finding.check for finding in findings if finding.severity == "error"}
    assert known.findings <= errors
    if not known.findings:
        assert errors == set()


@pytest.mark.parametrize("known", RULES.values(), ids=list(RULES))
def test_no_rule_pays_more_than_its_pool(known: KnownRule) -> None:
    claims = [Claim(10**6, 10**12, 0), Claim(5, 3 * 10**12, 1), Claim(0, 0, 2)]
    assert 0 <= sum(known.rule(claims)) <= POOL_NANO
    assert list(known.rule([Claim(0)])) == [0]


def test_the_floor_pays_a_hundred_identities_almost_tenfold() -> None:
    """One of 100 equal units splits into 100 identities."""
    rule = RULES["render.score_floor"].rule
    before = rule([Claim(1_000_000)] * 100)[0]
    after = sum(rule([Claim(1_000_000)] * 99 + [Claim(10_000)] * 100)[99:])
    assert after / before == pytest.approx(9.92, abs=0.1)


def errors(findings: object) -> set[str]:
    return {finding.check for finding in findings if finding.severity == "error"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("known", MINTS.values(), ids=list(MINTS))
def test_known_mints(known: KnownMint) -> None:
    assert errors(lint_mint(known.rule)) == known.findings


@pytest.mark.parametrize("known", CREDITS.values(), ids=list(CREDITS))
def test_known_credit_systems(known: KnownCredits) -> None:
    assert errors(lint_credits(known.system)) == known.findings
