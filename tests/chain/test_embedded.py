"""The embedded chain: what survives, what is refused, how time passes."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from fieldstone.chain.embedded import EmbeddedChain
from fieldstone.chain.port import (
    AlreadyKnown,
    Call,
    Fees,
    InsufficientFunds,
    NonceTooLow,
    Reverted,
    SendRefused,
    Underpriced,
)
from fieldstone.chain.transactions import sign_transaction
from fieldstone.chain.waiting import BLOCK_GAS_TARGET, CALL_GAS_CAP
from fieldstone.clock import SetClock
from fieldstone.errors import EnvironmentProblem, Retryable, UsageError
from fieldstone.identity.wallet import Wallet
from tests.chain.world import START_MS, account

FREE = Fees(0, 0)
# returns 42 for any call
ANSWER = Call(None, bytes.fromhex("69602a60005260206000f3600052600a6016f3"))
# returns the block's timestamp
TELL_TIME = Call(None, bytes.fromhex("684260005260206000f360005260096017f3"))


def transfer(wallet: Wallet, nonce: int, to: str, wei: int = 0, fees: Fees = FREE, gas: int = 21_000) -> bytes:
    return sign_transaction(wallet, 31_337, nonce, gas, fees, Call(to, b"", wei))


def deploy(chain: EmbeddedChain, wallet: Wallet, nonce: int, call: Call) -> str:
    tx_hash = chain.send_raw(sign_transaction(wallet, 31_337, nonce, 100_000, FREE, call))
    receipt = chain.receipt(tx_hash)
    assert receipt is not None and receipt.succeeded and receipt.contract_address is not None
    return receipt.contract_address


def test_blocks_state_and_receipts_survive_a_restart(tmp_path: Path, clock: SetClock, wallet: Wallet) -> None:
    path = tmp_path / "c.sqlite3"
    chain = EmbeddedChain(path, clock=clock, balances_wei={account(7): 10**18})
    contract = deploy(chain, wallet, 0, ANSWER)
    tx_hash = chain.send_raw(transfer(wallet, 1, account(9)))
    head, receipt = chain.head(), chain.receipt(tx_hash)
    chain.close()

    again = EmbeddedChain(path, clock=clock, balances_wei={account(8): 5})
    assert again.head() == head
    assert again.receipt(tx_hash) == receipt
    assert again.nonce(wallet.address) == 2
    assert again.balance(account(7)) == 10**18
    assert again.balance(account(8)) == 0  # balances count at creation only
    assert int.from_bytes(again.call(Call(contract, b"")), "big") == 42
    again.close()


def test_a_second_process_and_another_chain_id_are_refused(tmp_path: Path, clock: SetClock) -> None:
    path = tmp_path / "c.sqlite3"
    chain = EmbeddedChain(path, clock=clock)
    with pytest.raises(EnvironmentProblem, match="in use"):
        EmbeddedChain(path, clock=clock)
    chain.close()
    with pytest.raises(EnvironmentProblem, match="holds chain 31337"):
        EmbeddedChain(path, clock=clock, chain_id=5)
    EmbeddedChain(path, clock=clock).close()  # the refused ones left no lock behind


def test_a_file_that_is_no_database_is_an_environment_problem(tmp_path: Path, clock: SetClock) -> None:
    (tmp_path / "c.sqlite3").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(EnvironmentProblem, match="cannot be opened"):
        EmbeddedChain(tmp_path / "c.sqlite3", clock=clock)


def test_every_block_is_one_synchronous_transaction(chain: EmbeddedChain, wallet: Wallet) -> None:
    assert chain.store.db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    statements: list[str] = []
    chain.store.db.set_trace_callback(statements.append)
    chain.send_raw(transfer(wallet, 0, account(9)))
    chain.store.db.set_trace_callback(None)
    writes = [text for text in statements if text.startswith(("BEGIN", "COMMIT", "INSERT", "DELETE", "ROLLBACK"))]
    assert writes[0].startswith("BEGIN") and writes[-1] == "COMMIT"
    assert sum(text.startswith(("BEGIN", "COMMIT")) for text in writes) == 2
    assert sum(text.startswith("INSERT INTO kv") for text in writes) > 3


def test_writing_outside_a_block_is_refused(chain: EmbeddedChain) -> None:
    with pytest.raises(RuntimeError, match="only inside"):
        chain.store[b"k"] = b"v"


def test_a_failing_disk_leaves_the_last_block_and_recovers(
    chain: EmbeddedChain, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.send_raw(transfer(wallet, 0, account(9)))
    head = chain.head()
    healthy = chain.index.add

    def full_disk(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(chain.index, "add", full_disk)
    raw = transfer(wallet, 1, account(9))
    with pytest.raises(Retryable, match="disk is full"):
        chain.send_raw(raw)
    assert chain.head() == head and chain.nonce(wallet.address) == 1
    monkeypatch.setattr(chain.index, "add", healthy)
    assert chain.receipt(chain.send_raw(raw)) is not None
    assert chain.nonce(wallet.address) == 2


def test_time_is_the_clocks_and_rises_strictly(chain: EmbeddedChain, clock: SetClock, wallet: Wallet) -> None:
    chain.send_raw(transfer(wallet, 0, account(9)))
    assert chain.head().timestamp_s == START_MS // 1000
    chain.send_raw(transfer(wallet, 1, account(9)))
    assert chain.head().timestamp_s == START_MS // 1000 + 1  # the clock stands still
    clock.set(START_MS + 100_000)
    assert chain.mine().timestamp_s == START_MS // 1000 + 100
    assert chain.mine(START_MS // 1000 + 500).timestamp_s == START_MS // 1000 + 500
    for earlier in (0, START_MS // 1000 + 500):
        with pytest.raises(UsageError, match="must rise"):
            chain.mine(earlier)


def test_a_call_runs_at_the_time_the_next_block_would_have(
    chain: EmbeddedChain, clock: SetClock, wallet: Wallet
) -> None:
    contract = deploy(chain, wallet, 0, TELL_TIME)
    clock.set(START_MS + 3_600_000)
    assert int.from_bytes(chain.call(Call(contract, b"")), "big") == START_MS // 1000 + 3_600
    assert int.from_bytes(chain.call(Call(contract, b""), block=1), "big") == START_MS // 1000


def test_without_automine_transactions_wait_for_mine(tmp_path: Path, wallet: Wallet) -> None:
    chain = EmbeddedChain(tmp_path / "c.sqlite3", automine=False)
    third, first, second = (transfer(wallet, nonce, account(9)) for nonce in (2, 0, 1))
    hashes = [chain.send_raw(raw) for raw in (third, first)]
    assert chain.mine(10).number == 1
    assert chain.receipt(hashes[0]) is None and chain.receipt(hashes[1]) is not None
    chain.send_raw(second)
    chain.mine(20)
    receipt = chain.receipt(hashes[0])
    assert receipt is not None and (receipt.block_number, receipt.tx_index) == (2, 1)
    assert chain.waiting() == []
    chain.close()


def test_a_drained_balance_does_not_spoil_the_block(tmp_path: Path, wallet: Wallet) -> None:
    chain = EmbeddedChain(tmp_path / "c.sqlite3", automine=False, balances_wei={wallet.address: 100})
    other = Wallet.from_secret(b"\x22" * 32)
    good = chain.send_raw(transfer(wallet, 0, account(9), 80))
    bad = chain.send_raw(transfer(wallet, 1, account(9), 80))
    unrelated = chain.send_raw(transfer(other, 0, account(9)))
    chain.mine(10)
    assert chain.receipt(good) and chain.receipt(unrelated)
    assert chain.receipt(bad) is None and chain.waiting() == []
    chain.close()


def test_blocks_are_filled_to_the_target_so_that_gas_stays_free(tmp_path: Path) -> None:
    chain = EmbeddedChain(tmp_path / "c.sqlite3", automine=False)
    for n in range(1, 8):
        chain.send_raw(transfer(Wallet.from_secret(bytes([n]) * 32), 0, account(9), gas=CALL_GAS_CAP))
    chain.mine(10)
    assert len(chain.transactions_of(1)) == BLOCK_GAS_TARGET // CALL_GAS_CAP
    chain.mine(11)
    chain.mine(12)
    assert len(chain.transactions_of(3)) == 1
    assert chain.head().base_fee_wei == 0
    chain.close()


def test_refusals_have_the_kind_the_outbox_needs(chain: EmbeddedChain, wallet: Wallet) -> None:
    raw = transfer(wallet, 0, account(9))
    chain.send_raw(raw)
    with pytest.raises(AlreadyKnown):
        chain.send_raw(raw)
    with pytest.raises(NonceTooLow):
        chain.send_raw(transfer(wallet, 0, account(10)))
    with pytest.raises(InsufficientFunds, match="needs"):
        chain.send_raw(transfer(wallet, 1, account(9), 1))
    with pytest.raises(SendRefused, match="chain 1"):
        chain.send_raw(sign_transaction(wallet, 1, 1, 21_000, FREE, Call(account(9), b"")))
    with pytest.raises(SendRefused, match="intrinsic gas too low"):
        chain.send_raw(transfer(wallet, 1, account(9), gas=20_999))
    with pytest.raises(SendRefused, match="intrinsic gas too low"):  # EIP-7623: the floor for data
        chain.send_raw(sign_transaction(wallet, 31_337, 1, 25_000, FREE, Call(account(9), b"\1" * 200)))
    with pytest.raises(SendRefused, match="exceeds block gas limit"):
        chain.send_raw(transfer(wallet, 1, account(9), gas=CALL_GAS_CAP + 1))
    with pytest.raises(SendRefused, match="priority fee"):
        chain.send_raw(transfer(wallet, 1, account(9), fees=Fees(1, 2)))
    assert chain.nonce(wallet.address) == 1


def test_a_transaction_without_a_chain_id_is_refused(chain: EmbeddedChain) -> None:
    legacy = {"nonce": 0, "gas": 21_000, "gasPrice": 0, "to": account(9), "value": 0, "data": b""}
    with pytest.raises(SendRefused, match="EIP-155"):
        chain.send_raw(bytes(Account.sign_transaction(legacy, b"\x11" * 32).raw_transaction))
    protected = Account.sign_transaction({**legacy, "chainId": 31_337}, b"\x11" * 32)
    assert chain.receipt(chain.send_raw(bytes(protected.raw_transaction))) is not None


@pytest.mark.parametrize(
    "raw", [b"", b"\x02", b"\x05\xc0", b"\xc0", b"\x02\xc0", b"\xff" * 40, b"\x7f", b"\x02" + b"\xf8" * 20]
)
def test_bytes_that_are_no_transaction_are_refused(chain: EmbeddedChain, raw: bytes) -> None:
    with pytest.raises(SendRefused, match="not a signed transaction"):
        chain.send_raw(raw)


def test_trailing_bytes_and_flipped_bits_are_refused(chain: EmbeddedChain, wallet: Wallet) -> None:
    raw = transfer(wallet, 0, account(9))
    with pytest.raises(SendRefused):
        chain.send_raw(raw + b"\0")
    flipped = raw[:20] + bytes([raw[20] ^ 1]) + raw[21:]
    with contextlib.suppress(SendRefused):  # it is refused, or belongs to another sender, never to this wallet
        chain.send_raw(flipped)
    assert chain.nonce(wallet.address) == 0


def test_a_replacement_must_offer_a_tenth_more(tmp_path: Path, wallet: Wallet) -> None:
    chain = EmbeddedChain(tmp_path / "c.sqlite3", automine=False, balances_wei={wallet.address: 10**18})
    first = chain.send_raw(transfer(wallet, 0, account(9), fees=Fees(100, 1)))
    with pytest.raises(Underpriced):
        chain.send_raw(transfer(wallet, 0, account(10), fees=Fees(109, 1)))
    second = chain.send_raw(transfer(wallet, 0, account(10), fees=Fees(110, 1)))
    chain.mine(10)
    assert chain.receipt(first) is None and chain.receipt(second) is not None
    chain.close()


def test_an_estimate_is_enough_and_close(chain: EmbeddedChain, wallet: Wallet) -> None:
    estimate = chain.estimate_gas(ANSWER, wallet.address)
    receipt = chain.receipt(chain.send_raw(sign_transaction(wallet, 31_337, 0, estimate, FREE, ANSWER)))
    assert receipt is not None and receipt.succeeded
    assert receipt.gas_used <= estimate <= receipt.gas_used * 1.05


def test_an_endless_loop_runs_out_of_gas(chain: EmbeddedChain, wallet: Wallet) -> None:
    with pytest.raises(Reverted, match="OutOfGas"):
        chain.call(Call(None, bytes.fromhex("5b600056")), wallet.address, gas=100_000)


def test_calls_as_deep_as_the_gas_allows_run_in_a_thread(chain: EmbeddedChain, wallet: Wallet) -> None:
    """A contract that calls itself with all its gas; each level is several Python frames."""
    contract = deploy(chain, wallet, 0, Call(None, bytes.fromhex("6d60006000600060006000305af100600052600e6012f3")))
    outcome: list[object] = []
    thread = threading.Thread(target=lambda: outcome.append(chain.call(Call(contract, b""), wallet.address)))
    thread.start()
    thread.join()
    assert outcome == [b""]


def test_deeply_nested_json_does_not_kill_the_process_after_py_evm_was_imported() -> None:
    """It did: py-evm raises the recursion limit to 100,000, at which the parser overruns a thread's stack."""
    program = (
        "import json, threading, fieldstone.chain.embedded\n"
        "def parse():\n"
        "    try: json.loads('[' * 200_000)\n"
        "    except RecursionError: print('refused')\n"
        "thread = threading.Thread(target=parse); thread.start(); thread.join()"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, "refused\n")


def test_automine_needs_a_clock(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="clock"):
        EmbeddedChain(tmp_path / "c.sqlite3")
