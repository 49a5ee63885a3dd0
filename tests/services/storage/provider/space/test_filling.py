"""Real plots, small ones: made, answered, given back when shares need the room (where chiapos is installed)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fieldstone.errors import EnvironmentProblem
from fieldstone.services.storage.provider.space.filling import Filling
from fieldstone.services.storage.provider.space.proof import question, read, verify_space
from fieldstone.services.storage.provider.store import Store

MIB = 1_048_576
DEVICE = "did:key:zDevice"


def test_plots_are_made_answered_and_given_back(tmp_path: Path) -> None:
    pytest.importorskip("chiapos")
    store = Store(tmp_path / "disk", 100 * MIB)
    filling = Filling(store, DEVICE, 9 * MIB, k=18)
    assert filling.answer(0, b"s" * 32) is None
    assert filling.make(threading.Event()) and filling.make(threading.Event())
    assert 6_000_000 < store.filler_bytes() < 9 * MIB
    right = 0
    for number in range(8):
        seed = bytes([number]) * 32
        body = filling.answer(number, seed)
        assert body is not None
        verdict = verify_space(DEVICE, read(body), number, seed, least_k=18)
        assert verdict.wrong == 0
        right += verdict.valid
    assert 3 < right < 16  # each answers with probability 0.63
    again = Filling(store, DEVICE, 9 * MIB, k=18)
    assert store.filler_bytes() == sum(path.stat().st_size for path in (tmp_path / "disk" / "space").iterdir())
    free = store.free_bytes()
    store.begin(b"x" * 16, "did:key:zG", free - MIB, b"o" * 32).abort()
    assert store.filler_bytes() == 0 and again.answer(9, b"s" * 32) is None
    store.close()


def test_plots_are_large_enough_to_be_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    store = Store(tmp_path / "disk", MIB)
    sizes = [Filling(store, DEVICE, wanted)._k for wanted in (10**9, 10**11, 10**13, 10**15)]
    assert sizes[0] == 22 and sizes == sorted(sizes) and sizes[-1] == 32
    (tmp_path / "disk" / "space" / "24-0.plot").write_bytes(b"")
    assert Filling(store, DEVICE, 10**12)._k == 24  # plots made earlier are not thrown away
    assert Filling(store, DEVICE, 10**9, every_rounds=4).answer(5, b"s" * 32) is None
    store.close()


def test_without_the_library_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    store = Store(tmp_path / "disk", MIB)
    with pytest.raises(EnvironmentProblem, match="chiapos"):
        Filling(store, DEVICE, MIB)
    store.close()


def test_half_plots_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    store = Store(tmp_path / "disk", MIB)
    making = tmp_path / "disk" / "space-making"
    making.mkdir()
    (making / "22-0.plot.tmp").write_bytes(b"x" * 1000)
    Filling(store, DEVICE, MIB)
    assert not making.exists()
    assert question(DEVICE, b"s" * 32, 0, 1) is not None
    store.close()
