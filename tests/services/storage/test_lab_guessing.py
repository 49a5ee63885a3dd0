from __future__ import annotations

from fieldstone.services.storage.lab_guessing import RULES, play
from fieldstone.services.storage.rules.v1 import default_params


def test_refusing_at_random_fails_as_many_tests_as_reads_and_is_found() -> None:
    found = play("coin", default_params(), days=4)
    assert abs(found.refused - found.failed) < 0.15
    assert found.days is not None


def test_what_looks_like_a_customer_can_be_refused_for_a_while() -> None:
    """The limit that the documentation states: popularity and bursts tell tests from customers' reads."""
    for rule in RULES[:2]:
        found = play(rule, default_params(), days=4)
        assert found.refused > 2 * found.failed
