"""Claim documents, and `fieldstone claim` against a served proof and a real endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fieldstone.chain.claims import ClaimBook, claim_document, fetch_documents, parse_document, pay
from fieldstone.chain.leaf_files import write_csv
from fieldstone.errors import CheckFailed, Retryable, UsageError
from fieldstone.units import TOKEN_BASE
from tests.chain.world import Network, account, serve

A, B, C = account(1), account(2), account(3)
BALANCES = {A: 5 * TOKEN_BASE, B: 7 * TOKEN_BASE, C: 2**60}


def test_a_document_is_plain_json_that_checks_itself() -> None:
    body = json.loads(json.dumps(claim_document(4, BALANCES, A.lower(), claimed_base=TOKEN_BASE)))
    assert set(body) == {"epoch", "root", "account", "cumulative", "proof", "claimable_base"}
    assert (body["account"], body["cumulative"], body["claimable_base"]) == (
        A,
        str(5 * TOKEN_BASE),
        str(4 * TOKEN_BASE),
    )
    document = parse_document(body)
    assert document.claim.cumulative_base == 5 * TOKEN_BASE and document.epoch == 4
    assert claim_document(4, BALANCES, A, claimed_base=10**30)["claimable_base"] == "0"


@pytest.mark.parametrize("field", ["cumulative", "account", "root", "proof"])
def test_a_changed_document_fails_its_own_check(field: str) -> None:
    body = claim_document(4, BALANCES, A)
    body[field] = {"cumulative": "1", "account": B, "root": "0x" + "11" * 32, "proof": []}[field]
    with pytest.raises(CheckFailed, match="does not lead to root"):
        parse_document(body)


@pytest.mark.parametrize("body", [None, 5, [], {}, {"account": A}, {"epoch": 1, "root": "0x12", "account": A, "cumulative": "1", "proof": [], "claimable_base": "1"}])  # fmt: skip
def test_what_is_no_document_is_a_usage_error(body: Any) -> None:
    with pytest.raises(UsageError, match="no claim document"):
        parse_document(body)


def test_an_account_without_a_leaf_is_named() -> None:
    with pytest.raises(UsageError, match="has no leaf"):
        claim_document(4, BALANCES, account(9))
    with pytest.raises(UsageError, match="not an address"):
        claim_document(4, BALANCES, "0x12")


def node(answers: dict[str, tuple[int, bytes]]) -> Any:
    """A node that gives these bodies by path."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        status, body = answers.get(scope["path"], (404, b'{"detail": "no leaf"}'))
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return app


def test_a_node_that_lies_or_fails_is_caught() -> None:
    body = json.dumps(claim_document(4, BALANCES, A)).encode()
    answers = {
        f"/v1/claims/{A}": (200, body),
        f"/v1/claims/{B}": (200, body),  # another account's document
        f"/v1/claims/{C}": (503, b"{}"),
        f"/v1/claims/{account(5)}": (200, b"not JSON"),
    }
    with serve(node(answers)) as url:
        assert fetch_documents(url, [A])[0].claim.account == A
        with pytest.raises(CheckFailed, match="answered for"):
            fetch_documents(url, [B])
        with pytest.raises(Retryable):
            fetch_documents(url, [C])
        with pytest.raises(Retryable):
            fetch_documents(url, [account(5)])
        with pytest.raises(UsageError, match="no leaf"):
            fetch_documents(url, [account(6)])


def test_more_than_one_transaction_for_more_than_64_accounts(network: Network) -> None:
    balances = {account(n): n for n in range(1, 70)}
    tree = network.post(1, balances)
    network.pass_time(3_601)
    book = ClaimBook(1, balances)
    results = pay(network.settlement, [parse_document(book.document(name)) for name in balances])
    assert len(results) == 2 and sum(result.paid_base for result in results) == tree.total
    other = parse_document(claim_document(2, BALANCES, A))
    with pytest.raises(UsageError, match="different roots"):
        pay(network.settlement, [parse_document(book.document(account(1))), other])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    from fieldstone.cli import main

    def call(*arguments: object) -> tuple[int, str, str]:
        code: Any = 0
        try:
            main(["claim", *map(str, arguments)])
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return int(code or 0), printed.out, printed.err

    return call


def test_claiming_from_the_command_line(run: Any, network: Network, rpc_url: str, tmp_path: Path) -> None:
    tree = network.post(1, BALANCES)
    book = ClaimBook(1, BALANCES, network.settlement.addresses)
    answers = {f"/v1/claims/{name}": (200, json.dumps(book.document(name)).encode()) for name in BALANCES}
    with serve(node(answers)) as url:
        base = ["--node", url, "--rpc", rpc_url]
        code, _, errors = run(A, B, *base)
        assert code == 1 and "pays now" in errors  # not active yet
        network.pass_time(3_601)
        code, out, _ = run(A, B, *base, "--dry-run", "--json")
        plan = json.loads(out)
        assert code == 0 and [claim["due_base"] for claim in plan["claims"]] == [
            str(5 * TOKEN_BASE),
            str(7 * TOKEN_BASE),
        ]
        assert network.settlement.claimed(A) == 0
        code, out, _ = run(A, B, *base, "--json")
        paid = json.loads(out)
        assert code == 0 and paid["paid_base"] == str(12 * TOKEN_BASE) and len(paid["transactions"]) == 1
        assert network.settlement.token_balance(B) == 7 * TOKEN_BASE
        code, out, errors = run(A, B, *base)
        assert code == 0 and out == "" and "nothing left to claim" in errors

    # and from the leaf file alone, trusting no node, with a wallet that keeps its own outbox
    write_csv(tmp_path / "leaves.csv", BALANCES)
    network.settlement.addresses.save(tmp_path / "contracts.json")
    from fieldstone.identity.wallet import Wallet

    Wallet.generate().save(tmp_path / "payer.json")
    offline = ["--leaves", tmp_path / "leaves.csv", "--contracts", tmp_path / "contracts.json", "--rpc", rpc_url]
    code, out, _ = run(C, *offline, "--wallet", tmp_path / "payer.json")
    assert code == 0 and C in out and network.settlement.claimed(C) == 2**60
    assert (tmp_path / "payer.outbox.sqlite3").exists()
    assert network.settlement.claimed_total() == tree.total


def test_mistakes_of_the_command_line_are_explained(run: Any, rpc_url: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "leaves.csv", BALANCES)
    code, _, errors = run(A, "--leaves", tmp_path / "leaves.csv", "--rpc", rpc_url)
    assert code == 2 and "--contracts" in errors
    code, _, errors = run("0x12", "--leaves", tmp_path / "leaves.csv", "--rpc", rpc_url)
    assert code == 2 and "not an address" in errors
    code, _, errors = run(A, "--node", "http://127.0.0.1:9", "--rpc", rpc_url)
    assert code == 3 and "gave no claim" in errors
