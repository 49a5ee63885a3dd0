from __future__ import annotations

import pytest

from fieldstone.epoch.replay import replay
from fieldstone.epoch.store import EpochStore, SealedEpoch
from fieldstone.errors import CheckFailed, UsageError


def test_sealed_epoch_replays_from_its_folder_alone(network) -> None:
    network.run_hours(6)
    network.close()
    network.run_hours(6)
    network.close()
    fresh = EpochStore(network.store.folder)  # nothing in memory
    for number in (1, 2):
        outcome = replay(fresh, number)
        assert outcome.agrees, [name for name, same in outcome.tables.items() if not same]
    assert fresh.sealed(2).manifest.previous_sha256 != ""


def test_a_changed_file_is_named(network) -> None:
    network.run_hours(6)
    sealed = network.close()
    path = sealed.folder / "journal-report.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CheckFailed, match=r"journal-report\.parquet"):
        replay(EpochStore(network.store.folder), 1)


def test_a_folder_without_manifest_does_not_exist(network) -> None:
    network.run_hours(6)
    sealed = network.close()
    (sealed.folder / "manifest.json").unlink()
    assert EpochStore(network.store.folder).epochs() == []
    with pytest.raises(UsageError):
        EpochStore(network.store.folder).sealed(1)


def test_state_survives_the_folder(network) -> None:
    network.run_hours(5)
    network.pay(0, 5_000_000)
    network.run_hours(1)
    sealed = network.close()
    kept, read = network.state, SealedEpoch(sealed.folder).state_after()
    assert read.balances == {a: b for a, b in kept.balances.items()}
    assert read.pools == dict(kept.pools)
    assert read.last_seq == dict(kept.last_seq)
    assert read.policy == kept.policy
    assert read.registry.to_table().equals(kept.registry.to_table())
