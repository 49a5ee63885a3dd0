"""The `space` document: nothing counts twice, for two devices, in two rounds, or without being asked."""

from __future__ import annotations

import pytest

from fieldstone.services.storage.provider.space import proof as proof_
from fieldstone.services.storage.provider.space.proof import SpaceProof, plot_bytes, plot_id, question, verify_space

DEVICE, SEED = "did:key:zDevice", b"s" * 32


@pytest.fixture
def honest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a proof as valid when it names plot id and challenge."""
    monkeypatch.setattr(proof_, "is_valid", lambda name, k, challenge, body: body == name + challenge)


def answer(device: str, index: int, seed: bytes = SEED, every: int = 1) -> tuple[int, bytes]:
    return index, plot_id(device, 22, index) + (question(device, seed, index, every) or b"")


def test_valid_answers_add_up_to_the_expected_bytes(honest: None) -> None:
    document = SpaceProof(number=3, k=22, proofs=tuple(answer(DEVICE, index) for index in (0, 2, 5)))
    verdict = verify_space(DEVICE, document, 3, SEED)
    assert (verdict.valid, verdict.wrong) == (3, 0)
    assert verdict.proven_bytes == 3 * plot_bytes(22) * 1_000_000 // 632_121


@pytest.mark.parametrize(
    ("document", "number"),
    [
        (SpaceProof(number=3, k=22, proofs=(answer(DEVICE, 0), answer(DEVICE, 0))), 3),  # one plot twice
        (SpaceProof(number=3, k=22, proofs=(answer(DEVICE, 1), answer(DEVICE, 0))), 3),  # out of order
    ],
)
def test_no_plot_counts_twice(honest: None, document: SpaceProof, number: int) -> None:
    assert verify_space(DEVICE, document, number, SEED) == proof_.SpaceVerdict(
        1, 1, plot_bytes(22) * 1_000_000 // 632_121
    )


def test_answers_of_others_and_of_other_rounds_are_wrong(honest: None) -> None:
    mine = SpaceProof(number=3, k=22, proofs=(answer(DEVICE, 0),))
    assert verify_space("did:key:zOther", mine, 3, SEED).valid == 0
    assert verify_space(DEVICE, mine, 4, SEED).valid == 0
    assert verify_space(DEVICE, mine, 3, b"t" * 32).valid == 0
    assert verify_space(DEVICE, mine, 3, SEED, least_k=23).valid == 0


def test_only_asked_plots_count(honest: None) -> None:
    asked = [index for index in range(400) if question(DEVICE, SEED, index, 8) is not None]
    assert 20 < len(asked) < 90
    everything = SpaceProof(number=3, k=22, proofs=tuple(answer(DEVICE, index, every=8) for index in range(400)))
    verdict = verify_space(DEVICE, everything, 3, SEED, every=8)
    assert (verdict.valid, verdict.wrong) == (len(asked), 400 - len(asked))


def test_too_many_proofs_do_not_count(honest: None) -> None:
    many = SpaceProof(number=3, k=22, proofs=tuple(answer(DEVICE, index) for index in range(5)))
    assert verify_space(DEVICE, many, 3, SEED, most_proofs=2).valid == 2


def test_sizes_are_those_of_real_plots() -> None:
    assert abs(plot_bytes(18) / 3_682_211 - 1) < 0.05  # measured with chiapos 2.0.12
    assert abs(plot_bytes(20) / 16_309_503 - 1) < 0.05
