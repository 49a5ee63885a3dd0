import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.identity import base58

_VECTORS = json.loads((Path(__file__).parents[1] / "vectors/identity/did_key.json").read_text())


@pytest.mark.parametrize("case", _VECTORS["base58"], ids=lambda case: case["text"])
def test_published_vectors(case: dict[str, str]) -> None:
    assert base58.encode(bytes.fromhex(case["hex"])) == case["text"]
    assert base58.decode(case["text"]) == bytes.fromhex(case["hex"])


@given(st.binary(max_size=40))
def test_round_trip(raw: bytes) -> None:
    assert base58.decode(base58.encode(raw)) == raw


@pytest.mark.parametrize("text", ["0", "O", "I", "l", "a b", "ä"])
def test_letters_that_look_alike_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a base58btc letter"):
        base58.decode(text)
