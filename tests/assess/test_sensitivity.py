"""How firm a verdict is: seeded, and worse for the project is found, not assumed."""

from __future__ import annotations

from fieldstone.assess.evaluate import assess
from fieldstone.assess.library import shipped_case
from fieldstone.assess.sensitivity import error_of, moved, sensitivity
from tests.assess.conftest import ON, card, case, claim
from tests.assess.test_evaluate import FULL, without


def test_the_same_seed_gives_the_same_firmness() -> None:
    one = assess(shipped_case("helium"), on=ON)
    assert sensitivity(one) == sensitivity(one)
    firm = sensitivity(one)
    assert firm.flips and 0 < firm.flips.low < firm.flips.value < firm.flips.high < 1


def test_a_card_far_from_every_threshold_does_not_flip() -> None:
    firm = sensitivity(card(*FULL))
    assert firm.flips and firm.flips.value == 0
    assert firm.swings == () and firm.together == "green"


def test_weak_claims_near_a_threshold_are_named_first() -> None:
    near = claim("payers.external_share", 82, "%", grade="C")
    far = claim("providers.top1_share", 5, "%", grade="C")
    firm = sensitivity(card(*without("payers.external_share", "providers.top1_share"), near, far))
    assert [s.claim.id for s in firm.swings] == ["payers-external-share", "providers-top1-share"]
    first, second = firm.swings
    assert first.against == 93.0 and first.towards == 100.0
    assert second.against == second.towards == 100.0


def test_the_way_that_hurts_is_found_even_for_a_denominator() -> None:
    """Total revenue is good news by itself, but more of it makes the arm's-length part smaller."""
    texts = claim("revenue.external", 82, "USD/day"), claim("revenue.total", 100, "USD/day", grade="C")
    firm = sensitivity(card(*texts, claim("payers.hhi", 1000, "points")))
    (swing,) = [s for s in firm.swings if s.claim.metric == "revenue.total"]
    assert (swing.against or 0) < (swing.towards or 0)
    assert firm.together_raw == swing.against


def test_errors_come_from_the_claim_or_its_grade() -> None:
    def error(**more: object) -> float:
        one = card(claim("users", 100, "people", **more))  # type: ignore[arg-type]
        return error_of(one.case.claims[0], one)

    assert error(grade="A") == 0.0
    assert error(grade="C") == 0.15
    assert error(grade="D") == 0.4
    assert error(grade="D", error=0.02) == 0.02
    assert error(grade="D", low=90, high=130) == 0.3


def test_a_moved_share_stays_a_share() -> None:
    (share,) = case(claim("payers.external_share", 90, "%")).claims
    assert moved(share, 0.4, 1).value == 1.0
    assert moved(share, 0.5, -1).value == 0.45
