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


def test_second_reads_find_who_refuses_what_was_read_lately() -> None:
    found = play("hot", default_params(), days=4, memory=500)
    assert found.failed > 0.4 and found.days is not None
    evenly = play("hot", default_params(), days=4, memory=500, evenly=True)
    assert evenly.refused > 4 * evenly.failed and evenly.days is None


def test_each_age_is_tested_so_the_newest_shares_cannot_be_refused() -> None:
    found = play("newest", default_params(), days=6, newest=25)
    assert found.refused > 0.3 and found.failed > 0.12 and found.days is not None
    evenly = play("newest", default_params(), days=6, newest=25, evenly=True)
    assert evenly.failed < 0.03 and evenly.days is None


def test_who_knows_of_second_reads_can_refuse_what_was_read_a_while_ago() -> None:
    """The limit that the documentation states."""
    found = play("lagged", default_params(), days=4, memory=500)
    assert found.refused > 4 * found.failed and found.days is None
