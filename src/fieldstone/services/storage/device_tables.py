"""The tables of stage 1: what is found about each device, and what the next epoch still needs of it."""

from __future__ import annotations

import polars as pl

from fieldstone.services.storage.egress import EGRESS_STRUCT
from fieldstone.services.storage.holdings import HOLDING_SCHEMA, REFUSED_SCHEMA

# Outcomes of questions in rounds that the next epoch may still need, by their place in the round's list.
ANSWER_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "number": pl.Int64(),
    "position": pl.Int64(),  # of the first answer: a later round may have been asked before it came
    "right": pl.List(pl.Int64()),
    "wrong": pl.List(pl.Int64()),
    "truth": pl.Binary(),  # hash of the leaf that checkers read in the round before, as proven here; empty: none
    # …of leaves that gateways read in secret in the round before, by their place
    "read_places": pl.List(pl.Int64()),
    "read_truths": pl.List(pl.Binary()),
}
HELD_SCHEMA: dict[str, pl.DataType] = {
    **HOLDING_SCHEMA,
    "proven_units": pl.Int64(),  # KiB-seconds that judged rounds pay
    "due_units": pl.Int64(),  # …would have paid with every answer right
}
ROUND = {
    "number": pl.Int64(),
    "issued_ms": pl.Int64(),
    "asked": pl.Int64(),
    "right": pl.Int64(),
    "wrong": pl.Int64(),
    "missing": pl.Int64(),
    "late_ms": pl.Int64(),  # by how much the first late answer missed the deadline; 0: none was late
    "state": pl.String(),
    "weight_ppm": pl.Int64(),
}
TRUTH = {"number": pl.Int64(), "answer": pl.Binary()}
READ_TRUTH = {"number": pl.Int64(), "share": pl.Binary(), "leaf_index": pl.Int64(), "answer": pl.Binary()}
FAILURE = {
    "share": pl.Binary(),
    "start": pl.Int64(),  # first byte of the chunk that was asked for
    "number": pl.Int64(),
    "what": pl.String(),  # missing | wrong
}
REFUSED = {name: kind for name, kind in REFUSED_SCHEMA.items() if name != "provider"}

CHECK_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "operator": pl.String(),
    "bad_reports": pl.Int64(),
    "bad_vouchers": pl.Int64(),
    "space_units": pl.Int64(),
    "bad_space": pl.Int64(),
    "rounds": pl.List(pl.Struct(ROUND)),
    "failures": pl.List(pl.Struct(FAILURE)),
    "truths": pl.List(pl.Struct(TRUTH)),
    "read_truths": pl.List(pl.Struct(READ_TRUTH)),
    "answers": pl.List(pl.Struct({k: v for k, v in ANSWER_SCHEMA.items() if k != "device"})),
    "egress": pl.List(EGRESS_STRUCT),
    "refused": pl.List(pl.Struct(REFUSED)),
    "heard_ms": pl.Int64(),  # when the newest round that was answered was issued; 0: never asked
    "silent_ms": pl.Int64(),  # when the round was issued with which silence became failure; 0: it is heard
    "held": pl.List(pl.Struct({k: v for k, v in HELD_SCHEMA.items() if k != "device"})),
}


def unnest(table: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return `device` and the fields of a list-of-structs column, one row per element."""
    packed = table.select("device", column).filter(pl.col(column).list.len() > 0)
    return packed.explode(column).unnest(column)
