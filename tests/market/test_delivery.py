"""One file, three forms, the same numbers; nothing in it runs in a spreadsheet."""

from __future__ import annotations

import hashlib
import io
import json
import stat

import polars as pl
import pytest

from fieldstone.market import DataFormat
from fieldstone.market import delivery as delivery_module
from fieldstone.market.delivery import stream
from tests.market.world import START_MS, World

COLUMNS = ["epoch", "device", "cell", "t_ms", "received_ms", "temperature_c", "humidity_pct", "quality_ppm"]


def download(world: World, order_id: str, form: DataFormat) -> bytes:
    return b"".join(world.market.data(world.holder, order_id, form))


@pytest.mark.parametrize("chunk", [3, 50_000])
def test_all_forms_hold_the_same_rows(world: World, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "CHUNK_ROWS", chunk)
    order = world.buy(variables=("temperature_c", "humidity_pct"))
    parquet = pl.read_parquet(io.BytesIO(download(world, order.id, DataFormat.PARQUET)))
    assert parquet.columns == COLUMNS
    assert parquet.height == 10
    schema = dict(parquet.schema)
    csv = pl.read_csv(io.BytesIO(download(world, order.id, DataFormat.CSV)), schema=schema)
    body = json.loads(download(world, order.id, DataFormat.JSON))
    assert csv.equals(parquet)
    assert pl.DataFrame(body["rows"], schema=schema).equals(parquet)
    assert body["rows"][0]["humidity_pct"] is None
    assert parquet["device"].to_list()[:3] == ["did:key:a"] * 3
    assert parquet["cell"].n_unique() == 3


def test_every_form_names_where_the_data_comes_from(world: World) -> None:
    order = world.buy()
    parquet = download(world, order.id, DataFormat.PARQUET)
    assert hashlib.sha256(parquet).hexdigest() == order.data_sha256
    provenance = json.loads(pl.read_parquet_metadata(io.BytesIO(parquet))["fieldstone"])
    assert provenance == json.loads(download(world, order.id, DataFormat.JSON))["header"] == order.provenance
    assert provenance["network_id"] == "testnet"
    assert provenance["order"] == order.id
    for part in provenance["epochs"]:
        folder = world.epochs / f"epoch={part['epoch']}"
        assert part["manifest_sha256"] == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
        table = folder / "sellable-sensing-readings.parquet"
        assert part["table_sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()
        assert part["root"] == f"{part['epoch']:064x}"


def test_a_buyer_can_repeat_the_selection_on_the_sealed_files(world: World) -> None:
    order = world.buy(start_ms=START_MS + 60_000, min_quality_ppm=700_000, variables=("temperature_c",))
    assert order.provenance is not None
    query = order.provenance["query"]
    sealed = pl.concat(
        pl.read_parquet(world.epochs / f"epoch={part['epoch']}" / "sellable-sensing-readings.parquet")
        for part in order.provenance["epochs"]
    )
    expected = sealed.filter(
        pl.col("t_ms").is_between(query["start_ms"], query["end_ms"], closed="left"),
        pl.col("quality_ppm") >= query["min_quality_ppm"],
        pl.col("temperature_c").is_not_null(),
    ).select("device", "t_ms", "temperature_c")
    sold = pl.read_parquet(world.market.data_path(world.holder, order.id)).select(expected.columns)
    assert sold.sort("device", "t_ms").equals(expected.sort("device", "t_ms"))


def test_only_the_owner_of_the_node_can_read_sold_data(world: World) -> None:
    path = world.market.data_path(world.holder, world.buy().id)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("x")'])
def test_no_text_is_a_formula_in_a_spreadsheet(world: World, text: str) -> None:
    path = world.folder / "evil.parquet"
    pl.DataFrame({"device": [text, "did:key:a", "a=b"], "temperature_c": [-4.5, 1.0, None]}).write_parquet(path)
    table = pl.read_csv(io.BytesIO(b"".join(stream(path, DataFormat.CSV))))
    assert table["device"].to_list() == ["'" + text, "did:key:a", "a=b"]
    assert table["temperature_c"].to_list() == [-4.5, 1.0, None]
