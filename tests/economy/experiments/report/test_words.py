from __future__ import annotations

import math

from fieldstone.economy.experiments import Study
from fieldstone.economy.experiments.report import words
from fieldstone.metrics import wilson


def test_every_condition_has_its_words(small: Study) -> None:
    assert set(small.conditions) <= set(words.CONDITIONS)


def test_numbers_read_well() -> None:
    assert words.percent(wilson(0, 100)) == "0 %"
    assert words.percent(wilson(4, 100)) == "4.0 %"
    assert words.percent(wilson(50, 100)) == "50 %"
    assert words.months(math.inf) == "never"
    assert words.months(1.0) == "1 month"
    assert words.months(None) == "unknown"
    rare, sure = wilson(0, 1000), wilson(400, 1000)
    assert rare and sure
    assert (words.tone_of(rare), words.tone_of(sure)) == ("good", "bad")


def test_sentences_say_the_figures(small: Study) -> None:
    said = " ".join(words.sentences(small))
    assert words.percent(small.main.collapse) in said
    assert words.percent(small.utility.collapse) in said
    assert small.tipping is not None
    assert f"tipping point of {small.tipping:,.0f}" in said
