"""What is counted is exactly what verified stations measured: no gap, no NaN, no repeat, nothing below the asked quality."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.market import Box, Query, SealedEpochs
from fieldstone.market.catalogue import Offer
from fieldstone.market.observations import Selection, Tally, select, selection_hash, tally
from fieldstone.market.query import checked
from fieldstone.services.sensing.schema import PRODUCTS, VARIABLES
from tests.market.world import ALL_READINGS, HOUR_MS, START_MS, STATIONS, World, row, seal_epoch, two_epochs

OFFER = Offer("sensing", PRODUCTS[0], "readings", VARIABLES, 20, 500_000)


def ask(folder: Path, **changes: object) -> tuple[Selection, Tally, Query]:
    base: dict[str, object] = {"service": "sensing", "product": "observations", "start_ms": 0, "end_ms": 2 * START_MS}
    query = checked(Query(**{**base, **changes}), OFFER)  # type: ignore[arg-type]
    selection = select(SealedEpochs(folder), OFFER, query)
    return selection, tally(selection.rows, query), query


def test_a_reading_is_one_value_of_one_variable_of_one_device_at_one_time(tmp_path: Path) -> None:
    two_epochs(tmp_path)
    _, counted, _ = ask(tmp_path)
    assert (counted.readings, counted.rows) == (ALL_READINGS, 10)
    assert {name: n for name, n in counted.by_variable.items() if n} == {"temperature_c": 10, "humidity_pct": 9}
    assert counted.by_epoch_device == {
        1: {"did:key:a": 5, "did:key:b": 6, "did:key:c": 6},
        2: {"did:key:a": 2},
    }
    assert counted.by_device["did:key:a"] == 7
    assert {q: n for q, n in counted.by_quality.items() if n} == {990_000: 7, 900_000: 6, 500_000: 6}
    assert counted.readings == sum(counted.by_variable.values()) == sum(counted.by_quality.values())


def test_filters_cut_what_they_say(tmp_path: Path) -> None:
    two_epochs(tmp_path)
    assert ask(tmp_path, variables=("humidity_pct",))[1].readings == 9
    assert ask(tmp_path, variables=("noise_dba",))[1].readings == 0
    assert ask(tmp_path, min_quality_ppm=900_000)[1].by_device.keys() == {"did:key:a", "did:key:b"}
    assert ask(tmp_path, min_quality_ppm=900_001)[1].by_device.keys() == {"did:key:a"}
    assert ask(tmp_path, box=Box(-18, 179, -17, -179))[1].by_device == {"did:key:c": 6}
    # the end is excluded, the start is not
    assert ask(tmp_path, start_ms=START_MS + 60_000, end_ms=START_MS + 120_000)[1].rows == 3
    assert [part.epoch for part in ask(tmp_path, start_ms=START_MS + HOUR_MS)[0].parts] == [2]


def test_values_that_are_no_numbers_are_not_sold(tmp_path: Path) -> None:
    bad = [float("nan"), float("inf"), float("-inf"), None]
    rows = [row("did:key:a", START_MS + n, temperature_c=value) for n, value in enumerate(bad)]
    seal_epoch(tmp_path, 1, [*rows, row("did:key:a", START_MS + 9, temperature_c=0.0)], STATIONS)
    selection, counted, _ = ask(tmp_path)
    assert (counted.readings, counted.rows) == (1, 1)
    assert selection.rows.collect()["temperature_c"].to_list() == [0.0]


def test_the_same_reading_reported_in_two_epochs_is_sold_once(tmp_path: Path) -> None:
    seal_epoch(tmp_path, 1, [row("did:key:a", START_MS, temperature_c=1.0)], STATIONS)
    seal_epoch(tmp_path, 2, [row("did:key:a", START_MS, temperature_c=2.0)] * 2, STATIONS)
    selection, counted, _ = ask(tmp_path)
    assert counted.by_epoch_device == {1: {"did:key:a": 1}}
    assert selection.rows.collect()["temperature_c"].to_list() == [1.0]


def test_a_null_does_not_hide_a_repeated_row(tmp_path: Path) -> None:
    rows = [row("did:key:a", START_MS, temperature_c=1.0) for _ in range(3)]
    rows[1]["t_ms"] = None
    seal_epoch(tmp_path, 1, rows, STATIONS)
    assert ask(tmp_path)[1].readings == 1


def test_a_station_without_a_place_is_not_in_any_area(tmp_path: Path) -> None:
    seal_epoch(tmp_path, 1, [row("did:key:x", START_MS, temperature_c=1.0)], STATIONS)
    assert ask(tmp_path)[1].readings == 0


def test_an_empty_folder_and_an_empty_epoch_sell_nothing(tmp_path: Path) -> None:
    assert ask(tmp_path / "none")[1].readings == 0
    seal_epoch(tmp_path, 1, [], [])
    assert ask(tmp_path)[1] == Tally(
        readings=0, rows=0, by_variable=dict.fromkeys([v.name for v in VARIABLES], 0),
        by_quality=dict.fromkeys((990_000, 950_000, 900_000, 800_000, 500_000, 0), 0), by_epoch_device={},
    )  # fmt: skip


def test_damaged_missing_and_foreign_epochs_are_named_and_not_sold(tmp_path: Path) -> None:
    for number in range(1, 6):
        seal_epoch(tmp_path, number, [row("did:key:a", START_MS + number, temperature_c=1.0)], STATIONS)
    table = "sellable-sensing-readings.parquet"
    (tmp_path / "epoch=1" / table).write_bytes((tmp_path / "epoch=5" / table).read_bytes())  # a real table, another's
    (tmp_path / "epoch=2" / table).unlink()
    (tmp_path / "epoch=3" / "manifest.json").write_text("{}")
    (tmp_path / "epoch=4" / "manifest.json").unlink()  # not sealed yet: no epoch, nothing to say
    (tmp_path / "epoch=x").mkdir()
    selection, counted, _ = ask(tmp_path)
    assert [part.epoch for part in selection.parts] == [5]
    assert counted.readings == 1
    assert {number: why.split(": ", 1)[1][:30] for number, why in selection.excluded.items()} == {
        1: "sellable-sensing-readings.parq",
        2: "sellable-sensing-readings.parq",
        3: "not a manifest: Object missing",
    }
    assert "differs" in selection.excluded[1]
    assert "missing" in selection.excluded[2]


def test_a_copied_manifest_does_not_make_an_epoch(tmp_path: Path) -> None:
    seal_epoch(tmp_path, 1, [row("did:key:a", START_MS, temperature_c=1.0)], STATIONS).rename(tmp_path / "epoch=7")
    selection, counted, _ = ask(tmp_path)
    assert counted.readings == 0
    assert "that of epoch 1" in selection.excluded[7]


def test_the_selection_hash_changes_with_anything_that_is_sold(world: World) -> None:
    hashes = set()
    for changes in ({}, {"variables": ("temperature_c",)}, {"end_ms": START_MS + 1}, {"min_quality_ppm": 700_000}):
        hashes.add(world.market.quote(world.holder, world.query(**changes)).body.selection_sha256)
    assert len(hashes) == 4
    again = world.market.quote(world.holder, world.query()).body.selection_sha256
    assert again in hashes
    selection, counted, query = ask(world.epochs)
    other = Tally(
        readings=counted.readings,
        rows=counted.rows,
        by_variable=counted.by_variable,
        by_quality=counted.by_quality,
        by_epoch_device={**counted.by_epoch_device, 2: {"did:key:b": 2}},
    )
    assert selection_hash(query, selection.parts, counted) != selection_hash(query, selection.parts, other)


_VALUES = st.one_of(st.none(), st.just(float("nan")), st.floats(-50, 50))
_ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 1_000_000), _VALUES, _VALUES), max_size=25
)


@settings(max_examples=25, deadline=None)
@given(epochs=st.lists(_ROWS, min_size=1, max_size=3), quality=st.integers(0, 1_000_000))
def test_the_count_agrees_with_a_plain_loop(
    tmp_path_factory: object, epochs: list[list[tuple[str, int, int, float | None, float | None]]], quality: int
) -> None:
    folder = tmp_path_factory.mktemp("epochs")  # type: ignore[attr-defined]
    sold: dict[tuple[str, int], tuple[int, int]] = {}
    for number, rows in enumerate(epochs, start=1):
        table = [
            row(f"did:key:{device}", START_MS + t, q, temperature_c=temperature, humidity_pct=humidity)
            for device, t, q, temperature, humidity in dict(((r[0], r[1]), r) for r in rows).values()
        ]
        seal_epoch(folder, number, table, STATIONS)
        for r in table:
            values = sum(1 for name in ("temperature_c", "humidity_pct") if r[name] is not None and r[name] == r[name])
            if values and r["quality_ppm"] >= max(quality, 500_000):
                sold.setdefault((r["device"], r["t_ms"]), (number, values))
    selection, counted, query = ask(folder, min_quality_ppm=quality)
    expected: dict[int, dict[str, int]] = {}
    for (device, _), (number, values) in sold.items():
        devices = expected.setdefault(number, {})
        devices[device] = devices.get(device, 0) + values
    assert counted.by_epoch_device == expected
    delivered = selection.rows.collect()
    assert delivered.height == counted.rows == len(sold)
    assert delivered.select(pl.sum_horizontal(pl.col(query.variables).count())).item() == counted.readings
