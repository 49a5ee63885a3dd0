"""A gateway's folder with one object in it, and the sealed epoch that knows its shares: what an object report is made of.

The epoch's tables are the lab's, verified by the real rules; folder, manifest and database are written as the real ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import msgspec
import polars as pl
from sqlalchemy import Connection, Engine

from fieldstone.epoch.store import StateScalars
from fieldstone.identity.registry_table import SCHEMA
from fieldstone.journal.manifest import Manifest, file_info, write_manifest
from fieldstone.market.fund_fold import FUND_SCHEMA
from fieldstone.policy import MarketPolicy, Policy, ServicePolicy
from fieldstone.services.contract import USAGE_SCHEMA
from fieldstone.services.storage.catalog.accounts import SecretBox, create_account
from fieldstone.services.storage.catalog.buckets import create_bucket
from fieldstone.services.storage.catalog.content import Content, Extent
from fieldstone.services.storage.catalog.rows import Attributes, NewVersion
from fieldstone.services.storage.catalog.schema import create_tables as create_catalogue
from fieldstone.services.storage.catalog.versions import delete_current, put_version
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.covers import COVER_SCHEMA
from fieldstone.services.storage.lab_providers import Drops, Honest
from fieldstone.services.storage.lab_shares import Share
from fieldstone.services.storage.lab_world import World
from fieldstone.services.storage.paid_once import endow
from fieldstone.services.storage.pool import Stored, segments
from fieldstone.services.storage.pool.tables import create_tables as create_pool
from fieldstone.services.storage.pool.tables import share
from fieldstone.state.engine import connect_state, writing
from fieldstone.units import HOUR_MS

SEGMENT, FRESH = b"S" * 16, b"F" * 16
SIZE = 4 * 16_384 - 16  # one chunk with its tag fills four shares of the lab
OWNER = "a" * 64
API_KEY, CREDITS = "fsk_test", 2_920_000
PRICE_USD = "1000"  # dollars per GiB-month, so that six hours of 16 KiB shares cost something


def world() -> tuple[World, list[Share]]:
    """Return six operators after six hours, one of which dropped its share of a 4-of-6 segment."""
    played = World(31)
    for number in range(5):
        played.add(f"honest{number}", Honest())
    played.add("drops", Drops(share_dropped=1.0))
    made = [played.share(SEGMENT, index) for index in range(6)]
    for one, kept in zip(played.providers, made, strict=True):
        played.lease(one, [kept])
    played.run(6.0)
    return played, made


def paid_once(played: World, *, paid_in: int, drawn: int, stored_bytes: int) -> dict[str, pl.DataFrame]:
    """Return the tables of an epoch in which the object of `world` is permanent and a fund pays for it."""
    gateway = played.gateway.public.device_id
    sold = endow("permanent", {"size_bytes": 10**6, "k": 4, "n": 6}, {"storage": 1_000_000_000, "egress": 6_000})
    assumed = {**sold.terms["assumptions"], "stored_bytes": stored_bytes, "read_bytes": stored_bytes * 4 // 6}
    fund = {
        "fund": "fnd_1", "customer": "cus_1", "payer": gateway, "service": "storage", "covers": sold.covers,
        "also": sorted(sold.also), "paid_in_micro_usd": paid_in, "drawn_micro_usd": drawn,
        "drawn_now_micro_usd": drawn // 2, "endowed_ms": played.now_ms - 6 * HOUR_MS,
        "assumptions": msgspec.json.encode(assumed, order="sorted").decode(), "rooms": [],
    }  # fmt: skip
    used = [(gateway, one.device, sold.covers, 16 * 6 * 3_600) for one in played.providers[:5]]
    return {
        "carry-storage-covers": pl.DataFrame([(gateway, SEGMENT, 4)], schema=COVER_SCHEMA, orient="row"),
        "state-funds": pl.DataFrame([fund], schema=FUND_SCHEMA, orient="row"),
        "usage-storage": pl.DataFrame(used, schema=USAGE_SCHEMA, orient="row"),
    }


def seal(
    played: World, under: Path, *, number: int = 1, more: Mapping[str, pl.DataFrame] = MappingProxyType({})
) -> Path:
    """Write the epoch's folder with the files that a report needs, and `more`; return `under`."""
    folder = under / f"epoch={number}"
    folder.mkdir(parents=True)
    registry = pl.DataFrame(
        [
            {**dict.fromkeys(SCHEMA), **row, "name": f"disk {place}", "public": row["device"], "retired": []}
            for place, row in enumerate(played.registry.iter_rows(named=True))
        ],
        schema=SCHEMA,
    )
    policy = Policy(
        network_id="lab",
        services={"storage": ServicePolicy()},
        market=MarketPolicy(prices_usd={"storage.storage": PRICE_USD}),
    )
    scalars = StateScalars(number, played.now_ms, 1, msgspec.to_builtins(policy), 1, 0, {})
    (folder / "state.json").write_bytes(msgspec.json.encode(scalars, order="sorted"))
    tables = {
        "state-registry": registry,
        "carry-storage-holdings": played.carry["holdings"],
        "carry-storage-reputation": played.carry["reputation"],
        **more,
    }
    files = {"state.json": file_info(folder / "state.json", 1)}
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
        files[f"{name}.parquet"] = file_info(folder / f"{name}.parquet", table.height)
    manifest = Manifest(
        network_id="lab",
        epoch=number,
        start_ms=played.now_ms - 6 * HOUR_MS,
        end_ms=played.now_ms,
        first_position=1,
        last_position=1,
        files=files,
    )
    write_manifest(folder, manifest)
    return under


class _Uses:
    def adopt(self, connection: Connection, stored: Stored) -> None:
        segments.adopt(connection, stored.segments)

    def drop(self, connection: Connection, stored: Stored) -> None:
        segments.drop(connection, stored.segments, 1)


def gateway_folder(played: World, made: list[Share], folder: Path) -> Path:
    """Write a gateway's folder: photos/1.jpg (in the epoch), fresh.jpg (not yet), note (inline), empty, gone (deleted),
    twice.jpg (parts of 1.jpg's segment, repeated)."""
    folder.mkdir()
    played.gateway.save(folder / "device.key")
    engine = connect_state(folder / "gateway.db")
    fill(engine, played, made)
    engine.dispose()
    return folder


def fill(engine: Engine, played: World, made: list[Share]) -> None:
    """Write the objects that `gateway_folder` names into an empty database."""
    create_catalogue(engine)
    create_pool(engine)
    with writing(engine) as connection:
        create_account(connection, SecretBox(bytes(32)), "main", account_id=OWNER, access_key="KEY", secret="x" * 20)
        bucket = create_bucket(connection, "photos", OWNER, 1, object_lock=False, documents={})
        holders = [one.device for one in played.providers]
        _segment(connection, SEGMENT, [one.id for one in made], holders, made)
        _segment(connection, FRESH, [hashlib.sha256(bytes([i])).digest()[:16] for i in range(6)], holders, made)
        connection.execute(share.update().where(share.c.segment_id == SEGMENT).values(leased_ms=1))
        whole = Extent(SEGMENT, SIZE, 0, SIZE)
        contents = {
            "holiday/1.jpg": (whole,),
            "fresh.jpg": (Extent(FRESH, SIZE, 0, SIZE),),
            "note": (Extent(b"", 5, 0, 5, b"12345"),),
            "empty": (),
            "gone": (whole,),
            "twice.jpg": (whole, Extent(SEGMENT, SIZE, 0, 100), Extent(b"", 5, 0, 5, b"12345")),
        }
        for key, extents in contents.items():
            new = NewVersion(Attributes(OWNER), Content(extents), "etag", 1_767_225_600_000)
            put_version(connection, _Uses(), bucket, key.encode(), new)
        delete_current(connection, _Uses(), bucket, b"gone", OWNER, 2)


def _segment(connection: Connection, name: bytes, ids: list[bytes], holders: list[str], made: list[Share]) -> None:
    layout = Layout(SIZE + 16, 4, 6, 16_384)
    found = segments.Segment(name, SIZE, layout, b"wrapped", {})
    planned = [segments.Share(i, number, holders[number], 16_384) for number, i in enumerate(ids)]
    segments.plan(connection, found, planned, writer="test", relaxed="", now_ms=1)
    receipts = [(i, 1_024, one.tree.commitment, b"receipt") for i, one in zip(ids, made, strict=True)]
    segments.hold(connection, receipts, 2)
    segments.complete(connection, name)


@contextmanager
def node(epochs: Path, unpaid: int = 0) -> Iterator[str]:
    """Serve a folder of epochs by the node's own routes, a price list and an account; yield the address."""
    import socket
    import threading
    import types

    import uvicorn
    from fastapi import FastAPI, Header

    from fieldstone.epoch.store import EpochStore
    from fieldstone.node.epochs_api import router

    app = FastAPI()
    app.include_router(router(types.SimpleNamespace(store=EpochStore(epochs), book=None)))  # type: ignore[arg-type]

    @app.get("/v1/market/products")
    def products() -> dict[str, object]:
        prices = {"storage": 3_000, "egress": 7_000}
        return {
            "products": [
                {"service": "storage", "product": name, "unit_price_micro_usd": price} for name, price in prices.items()
            ]
        }

    @app.get("/v1/market/account")
    def account(authorization: str = Header()) -> dict[str, object]:
        assert authorization == f"Bearer {API_KEY}"
        return {"credits_micro_usd": CREDITS}

    @app.get("/v1/market/usage")
    def usage() -> dict[str, object]:
        one = {"epoch": 1, "due_micro_usd": 1_000, "paid_micro_usd": 1_000}
        return {
            "payers": [],
            "charges": [
                {**one, "service": "storage", "product": "storage"},
                {**one, "service": "storage", "product": "egress", "paid_micro_usd": 1_000 - unpaid},
                {**one, "service": "sensing", "product": "observations"},
            ],
        }

    @app.get("/v1/storage/directory")
    def directory() -> dict[str, object]:
        return {"devices": [{}] * 12}

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
