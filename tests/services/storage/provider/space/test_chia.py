"""Proofs of space: what the reference implementation made is taken, anything changed is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fieldstone.services.storage.provider.space.chia import is_valid

VECTORS = json.loads((Path(__file__).parents[4] / "vectors" / "chia_proofs_of_space.json").read_text())
CASES = [(plot, proof) for plot in VECTORS["plots"] for proof in plot["proofs"]]


@pytest.mark.parametrize(("plot", "proof"), CASES)
def test_the_reference_implementations_proofs_hold(plot: dict[str, Any], proof: dict[str, str]) -> None:
    name, challenge, body = (bytes.fromhex(text) for text in (plot["plot_id"], proof["challenge"], proof["proof"]))
    assert is_valid(name, plot["k"], challenge, body)
    assert not is_valid(b"\x01" + name[1:], plot["k"], challenge, body)
    assert not is_valid(name, plot["k"], b"\xff" + challenge[1:] if challenge[0] != 255 else bytes(32), body)
    assert not is_valid(name, plot["k"] + 2, challenge, body)
    assert not is_valid(name, plot["k"], challenge, body[:-1])
    for at in (0, len(body) // 2, len(body) - 1):
        assert not is_valid(name, plot["k"], challenge, body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])


def test_swapped_halves_do_not_hold() -> None:
    plot, proof = CASES[0]
    body = bytes.fromhex(proof["proof"])
    swapped = body[len(body) // 2 :] + body[: len(body) // 2]
    name, challenge = bytes.fromhex(plot["plot_id"]), bytes.fromhex(proof["challenge"])
    assert not is_valid(name, plot["k"], challenge, swapped)
