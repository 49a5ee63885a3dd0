"""What every service must pass. A service's whole first test file is one call: `check(service, inputs)`.

Each function checks one promise of `contract.py` and raises `ConformanceError` that says which promise was broken, on which
device. `inputs` are epochs that the service can be shown: ordinary ones and odd ones (gaps, one device, bad numbers).

An active service is asked more (`check_active`): a round asks the same of everybody who works it out, whatever came after
it; garbage in a document is a reason, never an exception; usage has a price, a payer and a device that earned it.
"""

from __future__ import annotations

import dataclasses
import io
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from fieldstone.errors import CheckFailed
from fieldstone.services.contract import (
    CHALLENGE_SCHEMA,
    REGISTRY_SCHEMA,
    USAGE_SCHEMA,
    VERDICT_SCHEMA,
    EpochInput,
    FleetVerdicts,
    Listed,
    Service,
)
from fieldstone.units import PPM

__all__ = ["ConformanceError", "check", "run", "table_bytes"]

VERDICTS = ("accepted", "partial", "rejected")
HEAD = ("device", "t_ms", "received_ms")


class ConformanceError(CheckFailed):
    """A service broke a promise of the contract."""


def check(
    service: Service, inputs: Iterable[EpochInput], *, part_counts: Sequence[int] = (1, 2, 7), seed: int = 0
) -> None:
    """Run the whole suite. Raises ConformanceError on the first broken promise."""
    check_description(service)
    examples = list(inputs)
    _promise(bool(examples), "the suite needs at least one example epoch")
    for whole in examples:
        verdicts = run(service, whole)
        check_verdicts(service, whole, verdicts)
        check_sellable(service, whole, verdicts)
        check_usage(service, whole, verdicts)
        check_active(service, whole)
        check_determinism(service, whole)
        check_partitions(service, whole, part_counts, seed)
    check_empty(service, examples[0])
    check_replay(service, examples)


def run(service: Service, whole: EpochInput, parts: Iterable[EpochInput] | None = None) -> FleetVerdicts:
    """Run both stages. Without `parts`, stage 1 sees everything at once."""
    tables = [service.check_devices(part) for part in (service.partitions(whole, 1) if parts is None else parts)]
    return service.check_fleet(whole, pl.concat(tables).sort("device"))


def check_description(service: Service) -> None:
    """Names, units, reasons and products are complete; parameters are plain data of a known version."""
    _promise(service.name.isidentifier() and service.name.islower(), "the name is lower-case letters")
    _promise(bool(service.quantity_unit), "the quantity has a unit")
    _promise(bool(service.kinds or service.documents), "there is a report kind")
    both = sorted(set(service.kinds) & set(service.documents))
    _promise(not both, f"kinds {both} are readings or documents, not both")
    for kind, document in service.documents.items():
        _promise(document.max_bytes > 0 and bool(document.description), f"document {kind} has a size and a description")
    for kind, columns in service.kinds.items():
        names = [column.name for column in columns]
        _promise(len(set(names)) == len(names), f"kind {kind}: column names are unique")
        for column in columns:
            _promise(bool(column.unit and column.description), f"column {column.name} has a unit and a description")
            _promise(column.possible[0] < column.possible[1], f"column {column.name} has a possible range")
    for code, reason in service.reasons.items():
        _promise(code == reason.code and code == code.upper(), f"reason {code} is listed under its code")
        _promise(bool(reason.meaning and reason.remedy), f"reason {code} has a meaning and a remedy")
    for product in service.products:
        _promise(product.price_micro_usd >= 0 and bool(product.unit), f"product {product.name} has a unit and a price")
        _promise(product.usage_per_unit >= 0, f"product {product.name} has a number of smallest units, or 0")
    names = [product.name for product in service.products]
    _promise(len(set(names)) == len(names), "product names are unique")
    _promise(bool(service.rule_versions), "there is a rule version")
    for version in service.rule_versions:
        params = service.default_params(version)
        _promise(json.loads(json.dumps(params)) == params, f"parameters of rule version {version} are plain data")
        _promise(params == service.default_params(version), "default parameters are the same at every call")
        _promise(service.round_s(params) >= 0, "the time between rounds is not negative")
        if isinstance(service, Listed):
            listed = service.list_price(params, {product.name: product.price_micro_usd for product in service.products})
            if listed is not None:
                _promise(listed.units > 0 and listed.micro_usd >= 0, "the list price is for a number of units")
                _promise(bool(listed.per), "the list price says what it is for")
                _promise(0 <= listed.unsold_weight_ppm <= PPM, "unsold work counts at most as much as sold work")


def check_verdicts(service: Service, whole: EpochInput, result: FleetVerdicts) -> None:
    """Verdicts have the contract's columns, one row per device, closed reasons and canonical evidence."""
    table = result.verdicts
    _promise(dict(table.schema) == dict(VERDICT_SCHEMA), f"verdict columns are {list(VERDICT_SCHEMA)}")
    expected = set(whole.registry["device"].to_list())
    for evidence in whole.evidence.values():
        expected |= set(evidence["device"].to_list())
    devices = table["device"].to_list()
    _promise(devices == sorted(expected), "there is one verdict per device, sorted by device")
    for row in table.iter_rows(named=True):
        device = row["device"]
        _promise(
            row["service"] == service.name and row["epoch"] == whole.epoch, f"{device}: service and epoch are named"
        )
        _promise(0 <= row["quality_ppm"] <= PPM, f"{device}: quality lies in 0 … {PPM}")
        _promise(row["quantity"] >= 0, f"{device}: quantity is not negative")
        _promise(row["verdict"] in VERDICTS, f"{device}: the verdict is one of {VERDICTS}")
        _promise(row["verdict"] != "rejected" or row["quantity"] == 0, f"{device}: rejected work has quantity 0")
        unknown = [code for code in row["reasons"] if code not in service.reasons]
        _promise(not unknown, f"{device}: reasons {unknown} are on the closed list")
        _promise(len(set(row["reasons"])) == len(row["reasons"]), f"{device}: each reason is named once")
        _promise(row["verdict"] == "accepted" or bool(row["reasons"]), f"{device}: less than accepted has a reason")
        text = row["detail"]
        _promise(_keys_sorted(json.loads(text, parse_constant=_not_json)), f"{device}: detail has its keys sorted")


def check_sellable(service: Service, whole: EpochInput, result: FleetVerdicts) -> None:
    """Only evidence is sold, with its quality, and nothing of a rejected device."""
    rejected = result.verdicts.filter(pl.col("verdict") == "rejected")["device"]
    for kind, table in result.sellable.items():
        _promise(kind in service.kinds, f"sellable kind {kind} is one of the service's")
        columns = [*HEAD, *(column.name for column in service.kinds[kind]), "quality_ppm"]
        _promise(table.columns == columns, f"sellable {kind} has the columns {columns}")
        _promise(table["quality_ppm"].is_between(0, PPM).all(), "every sold row names its quality")
        _promise(not table["device"].is_in(rejected.implode()).any(), "nothing of a rejected device is sold")
        keys = whole.evidence[kind].select("device", "t_ms")
        _promise(table.join(keys, on=["device", "t_ms"], how="anti").is_empty(), "only evidence is sold")


def check_usage(service: Service, whole: EpochInput, result: FleetVerdicts) -> None:
    """Usage is of metered products, by known devices that were not rejected for it, positive, once per line, sorted."""
    table = result.usage
    _promise(dict(table.schema) == dict(USAGE_SCHEMA), f"usage columns are {list(USAGE_SCHEMA)}")
    keys = table.select("payer", "device", "product").rows()
    _promise(keys == sorted(set(keys)), "usage has one line per payer, device and product, sorted")
    _promise(bool((table["units"] > 0).all()), "usage is positive")
    metered = {product.name for product in service.products if product.usage_per_unit}
    _promise(set(table["product"].to_list()) <= metered, f"usage is of the metered products {sorted(metered)}")
    known = set(whole.registry["device"].to_list())
    _promise(set(table["payer"].to_list()) <= known, "who pays for usage is enrolled")
    _promise(set(table["device"].to_list()) <= known, "who is paid for usage is enrolled")


def check_active(service: Service, whole: EpochInput) -> None:
    """Challenges are pure and blind to what came after them; documents may hold anything."""
    for asked in whole.rounds:
        table = service.challenges(whole, asked)
        _promise(dict(table.schema) == dict(CHALLENGE_SCHEMA), f"challenge columns are {list(CHALLENGE_SCHEMA)}")
        devices = table["device"].to_list()
        _promise(devices == sorted(set(devices)), f"round {asked.number}: one row per device, sorted")
        _promise(
            set(devices) <= set(whole.registry["device"]), f"round {asked.number}: only enrolled devices are asked"
        )
        _promise(bool((table["body"].bin.size() > 0).all()), f"round {asked.number}: who is asked nothing has no row")
        then = _as_of(whole, asked.position)
        for seen in (whole, then):
            again = service.challenges(seen, asked)
            promise = f"round {asked.number} asks the same whenever it is worked out"
            _promise(table_bytes(again) == table_bytes(table), promise)
    if not whole.rounds:
        return
    other = dataclasses.replace(whole.rounds[-1], seed=bytes(byte ^ 0xFF for byte in whole.rounds[-1].seed))
    table = service.challenges(whole, whole.rounds[-1])
    same = table.height and table_bytes(service.challenges(whole, other)) == table_bytes(table)
    _promise(not same, "another seed asks something else")
    check_garbage(service, whole)


def check_garbage(service: Service, whole: EpochInput) -> None:
    """A document that holds anything at all is judged, not raised; whoever sent it keeps its verdict."""
    for kind in service.documents:
        table = whole.evidence[kind]
        if not table.height:
            continue
        for body in (b"", b"\xc1", b"\x93\x00", b"\xff" * 64):
            row = table[:1].with_columns(body=pl.lit(body), position=pl.col("position") * 0 + 2**40)
            spoiled = dataclasses.replace(whole, evidence={**whole.evidence, kind: pl.concat([table, row])})
            check_verdicts(service, spoiled, run(service, spoiled))


def _as_of(whole: EpochInput, position: int) -> EpochInput:
    """Return what was known when the journal was at `position`."""
    evidence = {
        kind: table.filter(pl.col("position") < position) if "position" in table.columns else table
        for kind, table in whole.evidence.items()
    }
    rounds = tuple(one for one in whole.rounds if one.position < position)
    return dataclasses.replace(whole, evidence=evidence, rounds=rounds)


def check_determinism(service: Service, whole: EpochInput) -> None:
    """The same input gives the same bytes."""
    _same(run(service, whole), run(service, whole), "the same input gives the same bytes")


def check_partitions(service: Service, whole: EpochInput, counts: Sequence[int] = (1, 2, 7), seed: int = 0) -> None:
    """Any number of partitions in any order gives the same bytes, and every device is in exactly one."""
    one = run(service, whole)
    dice = random.Random(seed)
    for count in counts:
        parts = list(service.partitions(whole, count))
        _promise(len(parts) <= max(1, count), f"at most {count} parts")
        devices = [device for part in parts for device in part.registry["device"].to_list()]
        _promise(sorted(devices) == sorted(whole.registry["device"].to_list()), "every device is in exactly one part")
        dice.shuffle(parts)
        _same(one, run(service, whole, parts), f"{len(parts)} shuffled parts give the same bytes as one")


def check_empty(service: Service, example: EpochInput) -> None:
    """No evidence, and no device at all, are ordinary epochs."""
    silent = dataclasses.replace(example, evidence={k: table.clear() for k, table in example.evidence.items()})
    check_verdicts(service, silent, run(service, silent))
    nobody = dataclasses.replace(silent, registry=pl.DataFrame(schema=REGISTRY_SCHEMA))
    check_verdicts(service, nobody, run(service, nobody))


def check_replay(service: Service, epochs: Sequence[EpochInput]) -> None:
    """A chain of epochs replayed from stored tables (Parquet there and back) gives the same bytes, carry included."""
    first = _chain(service, epochs)
    stored = [
        dataclasses.replace(whole, registry=_stored(whole.registry), evidence=_each_stored(whole.evidence))
        for whole in epochs
    ]
    for one, other in zip(first, _chain(service, stored, through_files=True), strict=True):
        _same(one, other, "a replay from stored files gives the same bytes")


def _chain(service: Service, epochs: Sequence[EpochInput], through_files: bool = False) -> list[FleetVerdicts]:
    results: list[FleetVerdicts] = []
    carry: Mapping[str, pl.DataFrame] = {}
    for whole in epochs:
        results.append(run(service, dataclasses.replace(whole, carry=carry)))
        carry = _each_stored(results[-1].carry) if through_files else results[-1].carry
    return results


def table_bytes(table: pl.DataFrame) -> bytes:
    """Return the table as bytes that depend on its values only: Arrow IPC without string views, in one chunk.

    (String views point into shared buffers, whose layout tells how the table was put together.)
    """
    buffer = io.BytesIO()
    table.rechunk().write_ipc(buffer, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return buffer.getvalue()


def _stored(table: pl.DataFrame) -> pl.DataFrame:
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    buffer.seek(0)
    return pl.read_parquet(buffer)


def _each_stored(tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    return {name: _stored(table) for name, table in tables.items()}


def _same(one: FleetVerdicts, other: FleetVerdicts, promise: str) -> None:
    if table_bytes(one.verdicts) != table_bytes(other.verdicts):
        left, right = (result.verdicts.rows() for result in (one, other))
        differing = [a[0] for a, b in zip(left, right, strict=False) if a != b]
        raise ConformanceError(f"{promise}: verdicts differ for {differing[:5]}")
    _promise(one.usage.equals(other.usage), f"{promise}: usage")
    for name, left_tables, right_tables in (
        ("sellable", one.sellable, other.sellable),
        ("carry", one.carry, other.carry),
    ):
        _promise(sorted(left_tables) == sorted(right_tables), f"{promise}: {name} tables")
        for key in left_tables:
            _promise(left_tables[key].equals(right_tables[key]), f"{promise}: {name} table {key!r}")


def _keys_sorted(tree: Any) -> bool:
    """Tell whether every object of a JSON tree has its keys in order."""
    if isinstance(tree, dict):
        return list(tree) == sorted(tree) and all(_keys_sorted(value) for value in tree.values())
    return all(_keys_sorted(value) for value in tree) if isinstance(tree, list) else True


def _not_json(word: str) -> Any:
    raise ConformanceError(f"broken promise: detail is JSON, which has no {word}")


def _promise(kept: bool, promise: str) -> None:
    if not kept:
        raise ConformanceError(f"broken promise: {promise}")
