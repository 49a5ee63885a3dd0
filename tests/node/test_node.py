from __future__ import annotations

import msgspec
import pytest

from fieldstone.clock import SetClock
from fieldstone.config import load
from fieldstone.epoch.signatures import CoSignature
from fieldstone.errors import ConfigError, UsageError
from fieldstone.identity.wallet import Wallet
from fieldstone.journal import EntryKind, NewEntry
from fieldstone.node.node import Node

from .conftest import START_MS, TOML, Network


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "network.toml").write_text(TOML.format(settlement=""))
    return tmp_path


def open_node(folder, clock: SetClock) -> Node:
    return Node(load(folder / "network.toml", {}), clock)


def test_nothing_is_closed_before_its_time(folder) -> None:
    clock = SetClock(START_MS)
    node = open_node(folder, clock)
    assert node.close_due() is None
    clock.set(node.state.next_end_ms - 1)
    assert node.close_due() is None
    node.close()


def test_a_stop_between_boundary_and_seal_changes_nothing(folder) -> None:
    """The epoch's randomness is journalled before it is used, so a second attempt draws the same."""
    clock = SetClock(START_MS)
    node = open_node(folder, clock)
    clock.set(node.state.next_end_ms)
    before = node._boundary(node.state)
    node.close()  # the process dies here, before anything is sealed
    clock.set(clock.now_ms() + 60_000)
    node = open_node(folder, clock)
    sealed = node.close_due()
    assert sealed is not None
    assert (sealed.manifest.block_number, bytes.fromhex(sealed.manifest.block_hash)) == before
    node.close()


def test_epochs_go_on_after_a_restart_and_each_root_is_posted_once(folder) -> None:
    clock = SetClock(START_MS)
    for epoch in (1, 2, 3):
        node = open_node(folder, clock)
        clock.set(node.state.next_end_ms)
        sealed = node.close_due()
        assert sealed is not None and sealed.manifest.epoch == epoch
        assert node.settle() == [epoch]
        assert node.settle() == []
        assert node.chain.live_epoch() == epoch
        node.close()


def test_a_changed_policy_takes_effect_with_the_next_epoch(folder) -> None:
    clock = SetClock(START_MS)
    node = open_node(folder, clock)
    old = node.policy.hash
    node.close()
    text = (folder / "network.toml").read_text()
    (folder / "network.toml").write_text(text.replace("[rewards]\n", "[rewards]\ntake_ppm = 50000\n"))
    node = open_node(folder, clock)
    assert node.policy.hash == old
    clock.set(node.state.next_end_ms)
    node.close_due()
    assert node.policy.rewards.take_ppm == 50_000
    assert node.store.sealed(1).manifest.policy_hash == old
    node.close()


@pytest.mark.parametrize(("line", "key"), [("params.no_such = 1", "params"), ("rule_version = 99", "rule_version")])
def test_rules_that_no_epoch_could_use_stop_the_start(folder, line: str, key: str) -> None:
    with (folder / "network.toml").open("a") as file:
        file.write(f"[services.sensing]\n{line}\n")
    with pytest.raises(ConfigError, match=f"services.sensing.{key}"):
        open_node(folder, SetClock(START_MS))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (EntryKind.PRICE, b"{}"),
        (EntryKind.PRICE, b'{"token_price_micro_usd": 0}'),
        (EntryKind.PRICE, b"not json"),
        (EntryKind.CORRECTION, b'{"epoch": 1, "cause": "x", "rows": [{"device": "d"}]}'),
        (EntryKind.REPORT, b"x"),
    ],
)
def test_an_entry_that_would_stop_every_epoch_is_refused(folder, kind, body) -> None:
    node = open_node(folder, SetClock(START_MS))
    head = node.journal.head
    with pytest.raises(UsageError):
        node.append([NewEntry(kind, "", body)])
    assert node.journal.head == head
    node.close()


def test_a_founders_price_reaches_the_next_manifest(network: Network) -> None:
    node = network.live.node
    node.append([NewEntry(EntryKind.PRICE, "", msgspec.json.encode({"token_price_micro_usd": 80_000}))])
    network.hours()
    network.live.close_epoch()
    assert node.state.price_micro_usd == 80_000


def test_a_network_that_began_alone_is_handed_over_to_verifiers(folder) -> None:
    """The policy's verifiers become the contract's signers with the epoch in which they take effect, and only then."""
    clock = SetClock(START_MS)
    node = open_node(folder, clock)
    alone = node.chain.signers()
    clock.set(node.state.next_end_ms)
    node.close_due()
    assert node.settle() == [1]
    node.close()
    wallets = [Wallet.from_secret(bytes([i]) * 32) for i in (21, 22)]
    listed = ", ".join(f'"{wallet.address}"' for wallet in wallets)
    (folder / "network.toml").write_text(TOML.format(settlement=f"verifiers = [{listed}]\nthreshold = 2\n"))
    node = open_node(folder, clock)
    assert node.chain.signers() == alone
    clock.set(node.state.next_end_ms)
    node.close_due()
    signers, threshold = node.chain.signers()
    assert set(signers) == {wallet.address for wallet in wallets} and threshold == 2
    assert node.settle() == []  # the node alone can post nothing any more
    attempt = node.desk.attempt(2)
    for wallet in wallets:
        digest = node.desk.digest(2, attempt)
        node.book.sign(
            CoSignature(2, attempt, wallet.address, wallet.sign_digest(digest)), digest, node.desk.quorum()[0]
        )
    assert node.settle() == [2]
    node.close()
