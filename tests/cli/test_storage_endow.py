"""`fieldstone storage endow` and `funds` as a customer runs them, against the real market of a storage network."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl
import pytest
import uvicorn
from fastapi import FastAPI

from fieldstone.cli import main
from fieldstone.clock import SetClock
from fieldstone.identity import DeviceKey
from fieldstone.market import Source, router
from fieldstone.market.usage import binding_text
from fieldstone.policy import ServicePolicy
from fieldstone.services import load_service
from fieldstone.services.contract import USAGE_SCHEMA
from fieldstone.units import DAY_MS
from tests.market.world import HOUR_MS, POLICY, START_MS, World, make_world

STORAGE_POLICY = msgspec.structs.replace(POLICY, services={"storage": ServicePolicy()})
GIB = 2**30


class Network:
    def __init__(self, world: World, url: str, gateway: DeviceKey, folder: Path) -> None:
        self.world, self.url, self.gateway = world, url, gateway.public.device_id
        self.key_file, self.gateway_file = folder / "api.key", folder / "device.key"
        self.key_file.write_text(world.key)
        gateway.save(self.gateway_file)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    (tmp_path / "epochs").mkdir()
    clock = SetClock(START_MS + 10 * HOUR_MS)
    world = make_world(tmp_path, clock, STORAGE_POLICY, service=load_service("storage"))
    world.customer = world.market.customers.add("Archive of Anna").id
    world.key = world.market.customers.add_key(world.customer).secret
    world.market.topup(world.customer, 100_000_000, Source.FIAT, "bank-1")
    key = DeviceKey.generate()
    device = key.public.device_id
    world.market.usage.bind(world.customer, device, key.sign(binding_text(POLICY.network_id, device, world.customer)))
    app = FastAPI()
    app.include_router(router(world.market))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield Network(world, f"http://127.0.0.1:{listener.getsockname()[1]}", key, tmp_path)
    server.should_exit = True
    thread.join(10)
    listener.close()
    world.journal.close()


def call(capsys: pytest.CaptureFixture[str], network: Network, *words: object) -> tuple[int, str, str]:
    try:
        main(["storage", *map(str, words), "--network", network.url, "--key-file", str(network.key_file)])
        code: object = 0
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    return int(code or 0), said.out, said.err  # type: ignore[call-overload]


def test_pay_once_then_see_the_fund_pay(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    market, world = network.world.market, network.world
    code, out, _ = call(capsys, network, "endow", "10GiB", "--gateway-key", network.gateway_file, "--yes")
    assert code == 0
    for words in ("Pay once, for ever: $26.866003", "costs fall", "At exhaustion", "locked"):
        assert words in out
    (fund,) = market.funds.of_customer(world.customer)
    assert market.ledger.balance(f"fund:{fund.id}") == fund.price_micro_usd
    assert fund.payer == network.gateway and fund.units_per_s == -(-fund.terms["stored_bytes"] // 1_024)
    # the objects are there for thirty days and proven
    world.clock.set(world.clock.now_ms() + 30 * DAY_MS)
    month = fund.units_per_s * 30 * 86_400
    used = pl.DataFrame([(network.gateway, "disk-a", "permanent-storage", month)], schema=USAGE_SCHEMA, orient="row")
    (charge,) = market.usage.charge("storage", 1, used)
    assert charge.from_funds_micro_usd == charge.due_micro_usd == fund.terms["stored_bytes"] * 2_000 // GIB
    code, out, _ = call(capsys, network, "funds", "--json")
    (shown,) = json.loads(out)
    assert (code, shown["review"]["state"], shown["review"]["years_wanted"]) == (0, "covers", None)
    assert shown["drawn_micro_usd"] == charge.due_micro_usd
    assert shown["review"]["if_prices_fall"][0]["years"] == pytest.approx(52.0, abs=0.2)  # even if no price ever falls
    code, out, _ = call(capsys, network, "funds")
    assert code == 0 and "2 % (assumed)" in out and "for ever" in out


def test_a_price_that_rises_is_said_and_ends_with_1(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("endow", "10GiB", "--gateway", network.gateway, "--years", 10, "--yes", "--json")
    code, out, _ = call(capsys, network, *words)
    assert (code, json.loads(out)["status"]) == (0, "endowed")
    dearer = msgspec.structs.replace(STORAGE_POLICY.market, prices_usd={"storage": "0.004"})
    network.world.market._policy = lambda: msgspec.structs.replace(STORAGE_POLICY, market=dearer)  # type: ignore[method-assign]
    code, out, err = call(capsys, network, "funds")
    assert code == 1 and "short: " in out and "will not last" in err


def test_the_same_reference_buys_once_and_a_dear_price_is_refused(
    network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("endow", "1GiB", "--gateway", network.gateway, "--yes")
    assert call(capsys, network, *words, "--max-usd", "1")[0] == 1
    assert call(capsys, network, *words, "--quote-only")[0] == 0
    assert network.world.market.funds.of_customer(network.world.customer) == []
    assert call(capsys, network, *words, "--reference", "photos")[0] == 0
    code, _, err = call(capsys, network, *words, "--reference", "photos")
    assert code == 1 and "it bought fund" in err
    assert len(network.world.market.funds.of_customer(network.world.customer)) == 1


def test_mistakes_are_named(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    stranger = DeviceKey.generate().public.device_id
    for words, why in (
        (("endow", "1GiB"), "either --gateway"),
        (("endow", "1GiB", "--gateway", stranger, "--yes"), "pay-for"),
        (("endow", "1GiB", "--gateway", network.gateway, "--decline", "0", "--yes"), "no finite price"),
        (("endow", "100", "--gateway", network.gateway, "--yes"), "costs nothing"),
        (("endow", "1GiB", "--gateway", network.gateway), "add --yes"),
    ):
        code, _, err = call(capsys, network, *words)
        assert code != 0 and why in err, (words, err)
