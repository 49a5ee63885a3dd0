"""The market's verbs against a real server and a real network folder."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import uvicorn
from fastapi import FastAPI
from typer.testing import CliRunner

from fieldstone.cli.init import write_network
from fieldstone.cli.market import app
from fieldstone.clock import SystemClock
from fieldstone.errors import CheckFailed, Rejected, Retryable, UsageError
from fieldstone.journal.entries import EntryKind, NewEntry
from fieldstone.journal.log import Journal
from fieldstone.market import router
from fieldstone.state import open_state
from tests.market.conftest import world as world
from tests.market.world import World

SELECT = ["--from", "2023-11-14", "--to", "2023-11-16T00:00Z"]


@pytest.fixture
def shop(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    api = FastAPI()
    api.include_router(router(world.market))
    server = uvicorn.Server(uvicorn.Config(api, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    monkeypatch.setenv("FIELDSTONE_NODE", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("FIELDSTONE_API_KEY", world.key)
    yield world
    server.should_exit = True
    thread.join()


def run(*arguments: str, fails: type[Exception] | None = None) -> Any:
    result = CliRunner().invoke(app, list(arguments))
    if fails is not None:
        assert isinstance(result.exception, fails), result.exception
        return str(result.exception)
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout) if "--json" in arguments else result.stdout


def test_a_customer_buys_and_gets_data_provenance_and_invoice(shop: World, tmp_path: Path) -> None:
    assert "observations" in run("products")
    assert run("products", "--json")[0]["unit_price_micro_usd"] == 20
    assert "$0.0002 " in run("quote", *SELECT, "-v", "temperature_c")
    out = tmp_path / "data.parquet"
    bought = run("buy", *SELECT, "-v", "temperature_c", "--max-usd", "0.0002", "--yes", "-o", str(out), "--json")
    assert pl.read_parquet(out).height == bought["delivered_readings"] == 10
    assert json.loads(Path(bought["provenance_file"]).read_text()) == bought["provenance"]
    made = run("quote", *SELECT, "--box", "52,13,52.55,14", "--json")
    run("buy", "--quote", made["id"], "-o", str(tmp_path / "berlin.csv"))
    run("buy", "--quote", made["id"], "-o", str(tmp_path / "again.csv"))
    assert (tmp_path / "berlin.csv").read_text() == (tmp_path / "again.csv").read_text()
    run("download", bought["id"], "-o", str(tmp_path / "data.json"))
    assert len(json.loads((tmp_path / "data.json").read_text())["rows"]) == 10
    assert len(run("orders", "--json")) == 2
    assert "Invoice INV-000001" in run("invoice", "INV-000001")
    assert run("invoice", "INV-000001", "--json")["total_micro_usd"] == 200
    assert run("account", "--json")["credits_micro_usd"] == 1_000_000 - 200 - 7 * 20
    assert "Anna's weather shop" in run("account")


def test_nothing_is_bought_by_accident(shop: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = str(tmp_path / "x.csv")
    assert "above --max-usd" in run("buy", *SELECT, "--max-usd", "0.0001", "--yes", "-o", out, fails=CheckFailed)
    assert "add --yes" in run("buy", *SELECT, "-o", out, fails=UsageError)
    assert ".parquet" in run("buy", *SELECT, "--yes", "-o", str(tmp_path / "x.txt"), fails=UsageError)
    assert "no such folder" in run("buy", *SELECT, "--yes", "-o", str(tmp_path / "no" / "x.csv"), fails=UsageError)
    assert "--from or --last" in run("quote", fails=UsageError)
    assert "--last '1y'" in run("quote", "--last", "1y", fails=UsageError)
    assert "four numbers" in run("quote", *SELECT, "--box", "1,2,3", fails=UsageError)
    assert "no time" in run("quote", "--from", "yesterday", fails=UsageError)
    assert "BAD_QUERY" in run("quote", *SELECT, "-v", "gold", fails=Rejected)
    assert "UNKNOWN_PRODUCT" in run("invoice", "INV-9", fails=Rejected)
    monkeypatch.setenv("FIELDSTONE_API_KEY", "fsk_wrong")
    assert "BAD_API_KEY" in run("account", fails=Rejected)
    monkeypatch.setenv("FIELDSTONE_API_KEY", "")
    assert "no API key" in run("account", fails=UsageError)
    assert shop.metering() == []


def test_an_address_that_is_no_node_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIELDSTONE_API_KEY", "fsk_x")
    assert "is the node up" in run("account", "--node", "http://127.0.0.1:9", fails=Retryable)
    assert "starts with http" in run("account", "--node", "ftp://x", fails=UsageError)


def test_the_founder_keeps_customers_keys_and_credits(tmp_path: Path) -> None:
    write_network(tmp_path)
    at = ("--at", str(tmp_path))
    customer = run("customer", "add", "Anna", *at, "--json")["customer"]
    key = run("key", "add", customer, "--limit-usd", "12.5", "--period", "7d", *at, "--json")
    assert key["key"].startswith(f"fsk_{key['prefix']}_")
    # before the node's first start there is no journal, and a top-up must not begin one
    assert run("topup", customer, "10", "--reference", "bank-1", *at, "--json")["status"] == "pending"
    assert not (tmp_path / "data" / "journal.db").exists()
    with Journal.open(tmp_path / "data" / "journal.db", clock=SystemClock()) as journal:
        journal.append([NewEntry(EntryKind.POLICY, "", b"{}")])
        assert run("topup", customer, "10", "--reference", "bank-1", *at, "--json")["status"] == "pending"
    assert run("topup", customer, "10", "--reference", "bank-1", *at, "--json")["status"] == "credited"
    assert run("topup", customer, "10", "--reference", "bank-1", *at, "--json")["status"] == "credited"
    assert run("customer", "list", *at, "--json") == [
        {"customer": customer, "name": "Anna", "credits_micro_usd": 10_000_000}
    ]
    assert "$10.00" in run("customer", "list", *at)
    run("key", "revoke", key["prefix"], *at)
    assert "no key" in run("key", "revoke", "ffff", *at, fails=UsageError)
    assert "not a number" in run("topup", customer, "ten", "--reference", "r", *at, fails=UsageError)
    open_state(tmp_path / "data" / "state.db").dispose()
