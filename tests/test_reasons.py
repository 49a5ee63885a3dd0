from __future__ import annotations

import re

import pytest

from fieldstone import reasons
from fieldstone.reasons import REASONS, Reason, reason


def test_codes_are_unique() -> None:
    assert len(reasons._ALL) == len(REASONS)


@pytest.mark.parametrize("entry", REASONS.values(), ids=str)
def test_every_reason_has_a_meaning_and_a_one_line_remedy(entry: Reason) -> None:
    assert re.fullmatch(r"[A-Z][A-Z0-9_]+", entry.code)
    assert 400 <= entry.http_status < 600
    for sentence in (entry.meaning, entry.remedy):
        assert sentence.endswith(".")
        assert "\n" not in sentence
        assert sentence[0].isupper()


def test_a_code_off_the_list_is_a_bug() -> None:
    with pytest.raises(KeyError):
        reason("NO_SUCH_REASON")
