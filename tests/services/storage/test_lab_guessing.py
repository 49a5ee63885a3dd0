from __future__ import annotations

from fieldstone.services.storage.lab_guessing import play
from fieldstone.services.storage.rules.v1 import default_params


def test_refusing_at_random_fails_as_many_tests_as_reads_and_is_found() -> None:
    found = play("coin", default_params(), days=4)
    assert abs(found.refused - found.failed) < 0.15
    assert found.days is not None


def test_tests_hide_in_bursts() -> None:
    alone = play("bursts", default_params(), days=4, beside=False)
    hidden = play("bursts", default_params(), days=4)
    assert alone.refused > 0.9 and alone.failed < 0.1 and alone.days is None
    assert hidden.failed > 0.9 and hidden.days == 1


def test_hot_shares_can_be_refused_for_a_while() -> None:
    """The limit that the documentation states: popularity tells customers' reads from tests."""
    found = play("hot", default_params(), days=4, memory=500)
    assert found.refused > 4 * found.failed
