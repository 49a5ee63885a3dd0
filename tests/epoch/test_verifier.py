"""A verifier against a real served node: it agrees with honest epochs, and refuses and names the device otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from fieldstone.epoch import compute as compute_module
from fieldstone.epoch.verifier import Verifier
from fieldstone.errors import CheckFailed, Retryable
from fieldstone.identity.wallet import Wallet
from fieldstone.node import node as node_module
from tests.node.conftest import Network

WALLETS = [Wallet.from_secret(bytes([i]) * 32) for i in (11, 12, 13)]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    listed = ", ".join(f'"{wallet.address}"' for wallet in WALLETS)
    served = Network(tmp_path, settlement=f"verifiers = [{listed}]\nthreshold = 2\n")
    yield served
    served.close()


def verifiers(network: Network, tmp_path: Path) -> list[Verifier]:
    return [Verifier(network.url, w, tmp_path / f"verifier-{i}") for i, w in enumerate(WALLETS)]


def test_two_of_three_bring_the_root_on_chain(network: Network, tmp_path: Path) -> None:
    chain = network.live.node.chain
    first, second, third = verifiers(network, tmp_path)
    network.hours()
    network.live.close_epoch()
    assert [opinion.agrees for opinion in first.step()] == [True]
    network.live.node.settle()
    assert chain.live_epoch() == 0  # one signature is not enough
    second.step()
    network.live.node.settle()
    assert chain.live_epoch() == 1
    network.hours()
    network.live.close_epoch()
    third.step()  # starts late: it replays both
    first.step()
    network.live.node.settle()
    assert chain.live_epoch() == 2
    assert first.step() == []


def test_a_verifier_survives_a_restart(network: Network, tmp_path: Path) -> None:
    network.hours()
    network.live.close_epoch()
    verifiers(network, tmp_path)[0].step()
    network.hours()
    network.live.close_epoch()
    again = verifiers(network, tmp_path)[0].step()
    assert [(opinion.epoch, opinion.agrees) for opinion in again] == [(2, True)]


def test_a_node_that_pays_a_friend_is_refused_and_the_device_named(
    network: Network, tmp_path: Path, monkeypatch
) -> None:
    favoured = network.keys[2].public.device_id

    def dishonest(frozen, state, randomness, runner=None):
        verdicts = compute_module.verify_service

        def inflate(*arguments):
            result = verdicts(*arguments)
            doubled = pl.when(pl.col("device") == favoured).then(pl.col("quantity") * 2).otherwise("quantity")
            return replace(result, verdicts=result.verdicts.with_columns(doubled.alias("quantity")))

        monkeypatch.setattr(compute_module, "verify_service", inflate)
        try:
            return compute_module.compute(frozen, state, randomness, runner)
        finally:
            monkeypatch.setattr(compute_module, "verify_service", verdicts)

    monkeypatch.setattr(node_module, "compute", dishonest)
    network.hours()
    network.live.close_epoch()
    opinion = verifiers(network, tmp_path)[0].step()[0]
    assert not opinion.agrees
    assert favoured in {difference.device for difference in opinion.differences}
    refusals = network.live.node.book.refusals(1)
    assert [r.verifier for r in refusals] == [WALLETS[0].address] and favoured in refusals[0].text
    network.live.node.settle()
    assert network.live.node.chain.live_epoch() == 0


def test_a_changed_sealed_file_is_refused(network: Network, tmp_path: Path) -> None:
    network.hours()
    network.live.close_epoch()
    path = network.live.node.store.path(1) / "journal-report.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    opinion = verifiers(network, tmp_path)[0].step()[0]
    assert not opinion.agrees and "journal-report.parquet" in opinion.reason


def test_a_node_cannot_move_a_verifier_to_another_contract(network: Network, tmp_path: Path) -> None:
    verifier = verifiers(network, tmp_path)[0]
    network.hours()
    network.live.close_epoch()
    verifier.step()
    (tmp_path / "verifier-0" / "pinned.json").write_text('{"chain_id": 31337, "contract": "0x' + "12" * 20 + '"}')
    network.hours()
    network.live.close_epoch()
    with pytest.raises(CheckFailed, match="signs for"):
        verifier.step()


def test_a_node_that_is_away_is_retryable(tmp_path: Path) -> None:
    verifier = Verifier("http://127.0.0.1:9", WALLETS[0], tmp_path / "v")
    with pytest.raises(Retryable):
        verifier.step()
