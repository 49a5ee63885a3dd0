"""The outbox under every kind of trouble: silent nodes, forgetful nodes, strangers with our key, dying disks."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from fieldstone.chain.embedded import EmbeddedChain
from fieldstone.chain.outbox import Outbox
from fieldstone.chain.outbox_rows import State
from fieldstone.chain.port import Call, Fees, Reverted, SendRefused
from fieldstone.chain.transactions import sign_transaction, transaction_hash
from fieldstone.clock import SetClock
from fieldstone.errors import EnvironmentProblem, Retryable, Terminal
from fieldstone.identity.wallet import Wallet
from tests.chain.world import Network, account

PAY = Call(account(9), b"")
RICH = 10**18


@pytest.fixture
def slow_chain(tmp_path: Path, wallet: Wallet) -> Any:
    """A chain that mines only when told, with a sender that can pay fees."""
    chain = EmbeddedChain(tmp_path / "slow.sqlite3", automine=False, balances_wei={wallet.address: RICH})
    yield chain
    chain.close()


class Troubled:
    """A port in front of another one that misbehaves on demand."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.swallow = 0  # sends that arrive, but whose answer is lost
        self.unplugged = False
        self.sent: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        if self.unplugged:
            raise Retryable("the node does not answer")
        return getattr(self.inner, name)

    def send_raw(self, raw: bytes) -> bytes:
        if self.unplugged:
            raise Retryable("the node does not answer")
        self.sent.append(raw)
        tx_hash = self.inner.send_raw(raw)
        if self.swallow:
            self.swallow -= 1
            raise Retryable("the connection broke after sending")
        return tx_hash


def test_a_purpose_is_sent_once_however_often_it_is_asked(port: Any, outbox: Outbox, wallet: Wallet) -> None:
    first = outbox.submit(port, wallet, "pay:1", PAY)
    assert first.state is State.FINAL and first.succeeded
    assert [outbox.submit(port, wallet, "pay:1", PAY) for _ in range(3)] == [first] * 3
    assert port.nonce(wallet.address) == 1
    row, receipt = outbox.wait(port, "pay:1", timeout_s=1)
    assert row == first and receipt.tx_hash == first.tx_hash


def test_the_row_is_durable_before_the_node_sees_it(
    chain: EmbeddedChain, outbox: Outbox, wallet: Wallet, tmp_path: Path
) -> None:
    seen: list[tuple[bytes, str]] = []

    class Watching(Troubled):
        def send_raw(self, raw: bytes) -> bytes:
            with sqlite3.connect(f"file:{tmp_path / 'outbox.sqlite3'}?mode=ro", uri=True) as other:
                seen.extend(other.execute("SELECT raw_tx, state FROM outbox").fetchall())
            assert seen[-1] == (raw, "queued")
            return super().send_raw(raw)

    outbox.submit(Watching(chain), wallet, "pay:1", PAY)
    assert len(seen) == 1
    assert outbox._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_nonces_count_on_over_rows_that_are_not_mined(
    slow_chain: EmbeddedChain, outbox: Outbox, wallet: Wallet
) -> None:
    rows = [outbox.submit(slow_chain, wallet, f"pay:{n}", PAY) for n in range(4)]
    assert [row.nonce for row in rows] == [0, 1, 2, 3]
    assert {row.state for row in rows} == {State.SENT}
    slow_chain.mine(10)
    assert [outbox.refresh(slow_chain, f"pay:{n}").state for n in range(4)] == [State.FINAL] * 4


def test_a_lost_answer_does_not_send_twice(chain: EmbeddedChain, outbox: Outbox, wallet: Wallet) -> None:
    port = Troubled(chain)
    port.swallow = 1
    with pytest.raises(Retryable):
        outbox.submit(port, wallet, "pay:1", PAY)
    assert outbox.submit(port, wallet, "pay:1", PAY).state is State.FINAL
    assert chain.nonce(wallet.address) == 1 and len(port.sent) == 1


def test_a_node_that_is_away_keeps_the_row_for_recover(chain: EmbeddedChain, outbox: Outbox, wallet: Wallet) -> None:
    port = Troubled(chain)

    class Deaf(Troubled):
        def send_raw(self, raw: bytes) -> bytes:
            raise Retryable("the node does not answer")

    with pytest.raises(Retryable):
        outbox.submit(Deaf(chain), wallet, "pay:1", PAY)
    queued = outbox.find("pay:1")
    assert queued is not None and queued.state is State.QUEUED and chain.nonce(wallet.address) == 0
    assert [row.state for row in outbox.recover(port, wallet.address)] == [State.FINAL]
    assert port.sent == [queued.raw_tx]
    assert outbox.recover(port, wallet.address) == []


def test_nothing_is_written_when_the_contract_would_refuse(network: Network, outbox: Outbox, wallet: Wallet) -> None:
    before = len(outbox.rows())
    call = network.settlement.token.call("mint", wallet.address, 1)
    with pytest.raises(Reverted, match="only the minter"):
        outbox.submit(network.settlement.port, wallet, "mint", call)
    assert len(outbox.rows()) == before


def test_a_chain_that_lost_its_tail_gets_the_same_bytes_again(tmp_path: Path, clock: SetClock, wallet: Wallet) -> None:
    """What a killed development node does: acknowledged blocks are gone after its restart."""
    path = tmp_path / "c.sqlite3"
    chain = EmbeddedChain(path, clock=clock)
    outbox = Outbox(tmp_path / "o.sqlite3", clock=clock)
    outbox.submit(chain, wallet, "pay:0", PAY)
    chain.close()
    shutil.copy(path, tmp_path / "older.sqlite3")
    chain = EmbeddedChain(path, clock=clock)
    rows = [outbox.submit(chain, wallet, f"pay:{n}", PAY) for n in (1, 2)]
    assert {row.state for row in rows} == {State.FINAL}
    chain.close()

    shutil.move(tmp_path / "older.sqlite3", path)
    for leftover in tmp_path.glob("c.sqlite3-*"):
        leftover.unlink()
    chain = EmbeddedChain(path, clock=clock)
    assert chain.nonce(wallet.address) == 1
    again = outbox.recover(chain, wallet.address)
    assert [(row.purpose_key, row.state, row.tx_hash) for row in again] == [
        (row.purpose_key, State.FINAL, row.tx_hash) for row in rows
    ]
    assert chain.nonce(wallet.address) == 3
    outbox.close()
    chain.close()


def test_a_foreign_transaction_in_our_nonce_is_named(slow_chain: EmbeddedChain, outbox: Outbox, wallet: Wallet) -> None:
    port = Troubled(slow_chain)
    outbox.submit(port, wallet, "pay:1", PAY)
    later = outbox.submit(port, wallet, "pay:2", PAY)
    foreign = slow_chain.send_raw(sign_transaction(wallet, 31_337, 0, 30_000, Fees(100, 100), Call(account(66), b"")))
    slow_chain.mine(10)
    for ask in (lambda: outbox.recover(port, wallet.address), lambda: outbox.submit(port, wallet, "pay:1", PAY)):
        with pytest.raises(Terminal, match=f"pay:1: nonce 0 .* was used by 0x{foreign.hex()}"):
            ask()
    dead = outbox.find("pay:1")
    assert dead is not None and dead.state is State.DEAD
    assert outbox.refresh(port, "pay:2").state is State.FINAL  # the others are not held up
    assert outbox.find("pay:2").tx_hash == later.tx_hash  # type: ignore[union-attr]


def test_the_next_nonce_skips_one_that_was_used_elsewhere(chain: EmbeddedChain, outbox: Outbox, wallet: Wallet) -> None:
    chain.send_raw(sign_transaction(wallet, 31_337, 0, 21_000, Fees(0, 0), PAY))
    assert outbox.submit(chain, wallet, "pay:1", PAY).nonce == 1


@pytest.mark.parametrize("winner", [0, 1, 2])
def test_of_several_fees_one_is_mined_and_the_others_are_replaced(
    slow_chain: EmbeddedChain, outbox: Outbox, wallet: Wallet, winner: int
) -> None:
    rows = [outbox.submit(slow_chain, wallet, "pay:1", PAY)]
    rows += [outbox.bump(slow_chain, wallet, "pay:1") for _ in range(2)]
    assert [row.bump for row in rows] == [0, 1, 2] and len({row.nonce for row in rows}) == 1
    assert rows[0].fees.max_fee_wei < rows[1].fees.max_fee_wei < rows[2].fees.max_fee_wei
    slow_chain._waiting.clear()
    slow_chain.send_raw(rows[winner].raw_tx)
    slow_chain.mine(10)
    assert outbox.refresh(slow_chain, "pay:1").tx_hash == rows[winner].tx_hash
    states = [row.state for row in outbox.rows("pay:1")]
    assert [state is State.FINAL for state in states] == [n == winner for n in range(3)]
    assert states.count(State.REPLACED) == 2
    assert outbox.bump(slow_chain, wallet, "pay:1").tx_hash == rows[winner].tx_hash  # nothing left to bump
    assert slow_chain.nonce(wallet.address) == 1


def test_final_only_after_the_confirmations(
    slow_chain: EmbeddedChain, tmp_path: Path, wallet: Wallet, clock: SetClock
) -> None:
    outbox = Outbox(tmp_path / "o.sqlite3", clock=clock, confirmations=2)
    outbox.submit(slow_chain, wallet, "pay:1", PAY)
    states = []
    for second in (10, 20, 30):
        slow_chain.mine(second)
        states.append(outbox.refresh(slow_chain, "pay:1").state)
    assert states == [State.MINED, State.MINED, State.FINAL]
    outbox.close()


def test_a_block_whose_hash_changed_sends_the_row_back(
    slow_chain: EmbeddedChain, tmp_path: Path, wallet: Wallet, clock: SetClock
) -> None:
    outbox = Outbox(tmp_path / "o.sqlite3", clock=clock, confirmations=5)
    outbox.submit(slow_chain, wallet, "pay:1", PAY)
    slow_chain.mine(10)
    mined = outbox.refresh(slow_chain, "pay:1")
    assert mined.state is State.MINED

    class Reorganised(Troubled):
        """The block was replaced by another one without our transaction."""

        def receipt(self, tx_hash: bytes) -> None:
            return None

        def nonce(self, address: str) -> int:
            return 0

        def send_raw(self, raw: bytes) -> bytes:
            self.sent.append(raw)
            return transaction_hash(raw)

    port = Reorganised(slow_chain)
    back = outbox.refresh(port, "pay:1")
    assert back.state is State.SENT and back.block_hash is None and back.succeeded is None
    assert port.sent == [mined.raw_tx]
    assert outbox.refresh(slow_chain, "pay:1").state is State.MINED
    outbox.close()


def test_a_node_that_lags_behind_itself_is_not_taken_for_a_stranger(
    slow_chain: EmbeddedChain, outbox: Outbox, wallet: Wallet
) -> None:
    """Behind one address several nodes may answer: the nonce is used already, the receipt is not there yet."""
    row = outbox.submit(slow_chain, wallet, "pay:1", PAY)
    slow_chain.mine(10)

    class Lagging(Troubled):
        def receipt(self, tx_hash: bytes) -> None:
            return None

    assert outbox.refresh(Lagging(slow_chain), "pay:1").state is State.SENT
    assert outbox.refresh(slow_chain, "pay:1").tx_hash == row.tx_hash


def test_two_intents_under_one_key_are_refused(chain: EmbeddedChain, outbox: Outbox, wallet: Wallet) -> None:
    outbox.submit(chain, wallet, "pay:1", PAY)
    with pytest.raises(Terminal, match="two different intents"):
        outbox.submit(chain, wallet, "pay:1", Call(account(10), b""))
    # … but a stated intent may be carried by different bytes, such as other signatures
    outbox.submit(chain, wallet, "post:1", Call(account(9), b"\1"), intent=b"root")
    assert outbox.submit(chain, wallet, "post:1", Call(account(9), b"\2"), intent=b"root").call.data == b"\1"


def test_a_mined_refusal_can_be_tried_again_with_the_next_nonce(
    chain: EmbeddedChain, outbox: Outbox, wallet: Wallet
) -> None:
    reverting = Call(None, bytes.fromhex("63600080fd6000526004601cf3"))  # a contract that refuses everything
    assert outbox.submit(chain, wallet, "deploy", reverting).succeeded
    contract = chain.receipt(outbox.find("deploy").tx_hash).contract_address  # type: ignore[union-attr]
    call = Call(contract, b"")
    refused = outbox.submit(chain, wallet, "try", call, gas=50_000)
    assert refused.state is State.FINAL and refused.succeeded is False
    with pytest.raises(Reverted, match="was mined in block"):
        outbox.wait(chain, "try", timeout_s=1)
    again = outbox.submit(chain, wallet, "try", call, gas=50_000)
    assert (again.nonce, again.purpose_key) == (refused.nonce + 1, "try~1")
    assert outbox.find("try").tx_hash == again.tx_hash  # type: ignore[union-attr]


def test_another_chain_of_the_same_id_is_refused(
    chain: EmbeddedChain, outbox: Outbox, wallet: Wallet, tmp_path: Path, clock: SetClock
) -> None:
    outbox.submit(chain, wallet, "pay:1", PAY)
    other = EmbeddedChain(tmp_path / "other.sqlite3", clock=clock, genesis_timestamp_s=1)
    with pytest.raises(Terminal, match="belongs to another chain"):
        outbox.submit(other, wallet, "pay:1", PAY)
    with pytest.raises(Terminal, match="belongs to another chain"):
        outbox.recover(other, wallet.address)
    other.close()


def test_a_second_process_is_refused(outbox: Outbox, tmp_path: Path, clock: SetClock) -> None:
    with pytest.raises(EnvironmentProblem, match="in use"):
        Outbox(tmp_path / "outbox.sqlite3", clock=clock)


def test_a_full_disk_sends_nothing(chain: EmbeddedChain, outbox: Outbox, wallet: Wallet) -> None:
    outbox._db.execute("PRAGMA max_page_count = 1")  # SQLite answers "database or disk is full"
    filler = Call(account(9), b"\1" * 60_000)
    with pytest.raises(Retryable, match="nothing was sent"):
        outbox.submit(chain, wallet, "pay:1", filler, gas=5_000_000)
    assert chain.nonce(wallet.address) == 0
    outbox._db.execute("PRAGMA max_page_count = 1000000")
    assert outbox.submit(chain, wallet, "pay:1", filler, gas=5_000_000).succeeded


def test_waiting_gives_up_with_advice(slow_chain: EmbeddedChain, outbox: Outbox, wallet: Wallet) -> None:
    outbox.submit(slow_chain, wallet, "pay:1", PAY)
    with pytest.raises(Retryable, match="not mined after 0 s"):
        outbox.wait(slow_chain, "pay:1", timeout_s=0)
    with pytest.raises(Terminal, match="holds no transaction"):
        outbox.refresh(slow_chain, "pay:2")


def test_an_unfunded_sender_keeps_the_row_and_pays_later(tmp_path: Path, outbox: Outbox) -> None:
    rich, poor = Wallet.from_secret(b"\x31" * 32), Wallet.from_secret(b"\x32" * 32)
    chain = EmbeddedChain(tmp_path / "c.sqlite3", automine=False, balances_wei={rich.address: RICH})

    class Costly(Troubled):
        def fees(self) -> Fees:
            return Fees(10, 1)

    port = Costly(chain)
    with pytest.raises(SendRefused, match="insufficient funds") as caught:
        outbox.submit(port, poor, "pay:1", PAY)
    assert isinstance(caught.value, Retryable)
    chain.send_raw(sign_transaction(rich, 31_337, 0, 21_000, Fees(10, 1), Call(poor.address, b"", 10**9)))
    chain.mine(10)
    assert outbox.submit(port, poor, "pay:1", PAY).state is State.SENT
    chain.mine(20)
    assert outbox.refresh(port, "pay:1").succeeded
    assert len(outbox.rows()) == 1
    chain.close()
