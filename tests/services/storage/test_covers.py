"""Covered segments are charged as permanent, all the same in amount, and only at their own gateway's word."""

from __future__ import annotations

import dataclasses

import polars as pl

from fieldstone.services.contract import DOCUMENT_SCHEMA, EpochInput, FleetVerdicts
from fieldstone.services.storage import records, service
from fieldstone.services.storage.covers import COVERS
from fieldstone.services.storage.schema import COVER, PERMANENT_STORAGE, STORAGE
from tests.services.storage.worlds import fleet, played


def judged(inp: EpochInput, *reports: tuple[str, bytes]) -> FleetVerdicts:
    rows = [(device, inp.start_ms, inp.start_ms, 10**9 + n, body) for n, (device, body) in enumerate(reports)]
    table = pl.DataFrame(rows, schema=DOCUMENT_SCHEMA, orient="row")
    told = dataclasses.replace(inp, evidence={**inp.evidence, COVER: table})
    return service.check_fleet(told, service.check_devices(told))


def units(result: FleetVerdicts, product: str) -> dict[str, int]:
    mine = result.usage.filter(pl.col("product") == product)
    return dict(mine.group_by("device").agg(pl.col("units").sum()).sort("device").iter_rows())


def test_covered_segments_are_charged_as_permanent_and_nobody_elses() -> None:
    inp, plain, _ = played(fleet(3, honest=3), 6.0)
    holdings = plain.carry["holdings"]
    gateway = holdings["gateway"][0]
    segments = tuple(sorted(set(holdings.filter(pl.col("gateway") == gateway)["segment"].to_list()))[:7])
    cover = records.encode(records.Cover(segments=segments, needed=(20,) * len(segments)))
    stranger = holdings["device"][0]  # a provider has no say in what its customer pays from

    told = judged(inp, (gateway, cover), (gateway, cover), (stranger, cover))
    before, after = units(plain, STORAGE), units(told, STORAGE)
    permanent = units(told, PERMANENT_STORAGE)
    assert permanent and {device: after.get(device, 0) + permanent.get(device, 0) for device in before} == before
    covered = holdings.filter((pl.col("gateway") == gateway) & pl.col("segment").is_in(list(segments)))
    assert sum(permanent.values()) == covered["paid_units"].sum()
    assert told.verdicts.equals(plain.verdicts)  # it pays, however it is paid
    assert told.carry[COVERS].rows() == [(gateway, segment, 20) for segment in segments]
    assert judged(inp, (stranger, cover)).carry[COVERS].is_empty()

    # known from then on, without saying it again
    again = judged(dataclasses.replace(inp, carry={**inp.carry, COVERS: told.carry[COVERS]}))
    assert units(again, PERMANENT_STORAGE) == permanent


def test_a_cover_that_nobody_can_read_is_told_to_its_gateway() -> None:
    inp, plain, _ = played(fleet(3, honest=3), 6.0)
    gateway = plain.carry["holdings"]["gateway"][0]
    told = judged(inp, (gateway, b"junk"))
    reasons = dict(told.verdicts.select("device", "reasons").iter_rows())[gateway]
    assert "BAD_LEASE" in reasons and told.usage.equals(plain.usage)


def test_what_customers_made_of_a_quantity_is_told_apart_from_proven_space() -> None:
    _, result, rows = played(fleet(3, honest=3), 6.0)
    sold = dict(result.sold.iter_rows())
    assert sold == {device: row["quantity"] for device, row in
                    ((one["device"], one) for one in result.verdicts.iter_rows(named=True)) if row["quantity"]}  # fmt: skip
    assert rows["honest0"]["quantity"] in sold.values()
