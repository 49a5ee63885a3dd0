"""Cut an epoch's evidence by device, so that stage 1 runs in as many processes as there are."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import polars as pl

from fieldstone.services.contract import EpochInput
from fieldstone.services.storage.challenge import posed_rounds
from fieldstone.services.storage.holdings import device_keys
from fieldstone.services.storage.presence import PRESENCE
from fieldstone.services.storage.schema import CHAIN, CHECK, LEASE, PROOF, RELEASE
from fieldstone.services.storage.secret_reads import SECRET_READ_SCHEMA, SECRET_READS, revealed


def partitions(whole: EpochInput, count: int) -> Iterator[EpochInput]:
    """Cut the input into at most `count` parts by device, of about equal numbers of proofs and carried shares.

    Leases and releases go to every part: each names many providers, and a part takes only its own providers' lines.
    """
    registry = whole.registry.sort("device")
    devices = registry["device"]
    work = np.ones(registry.height, dtype=np.int64)
    for table, weight in ((whole.evidence.get(PROOF), 20), (whole.carry.get("holdings"), 1)):
        if table is not None and table.height:
            counts = dict(table.group_by("device").len().iter_rows())
            work += weight * np.array([counts.get(device, 0) for device in devices], dtype=np.int64)
    parts = max(1, min(count, registry.height))
    total = np.cumsum(work)
    cuts = np.searchsorted(total, total[-1] * np.arange(1, parts) / parts) + 1 if registry.height else []
    edges = np.unique(np.concatenate(([0], cuts, [registry.height]))).astype(np.int64).tolist()
    edges = [0, 0] if registry.height == 0 else edges
    keys = _rotated_keys(whole)
    within_ms = int(whole.params["check_within_s"]) * 1_000
    rounds = {one.asked.number: (one.asked.position, one.asked.issued_ms + within_ms) for one in posed_rounds(whole)}
    secret_reads, _ = revealed(whole, rounds)
    read = secret_reads.filter(pl.col("provider") != "").rename({"provider": "device"})
    for begin, end in pairwise(edges):
        mine = registry[begin:end]
        evidence = {
            kind: table if kind in (LEASE, RELEASE) else table.join(mine.select("device"), on="device", how="semi")
            for kind, table in whole.evidence.items()
            if kind not in (CHECK, CHAIN)
        }
        carry = {
            name: table.join(mine.select("device"), on="device", how="semi")
            if name in ("holdings", "answers", "egress", PRESENCE)
            else table
            for name, table in whole.carry.items()
            if name in ("holdings", "answers", "egress", "rounds", "reputation", PRESENCE)
        }
        mine_read = read.join(mine.select("device"), on="device", how="semi", maintain_order="left")
        mine_read = mine_read.rename({"device": "provider"}).select(list(SECRET_READ_SCHEMA))
        yield EpochInput(
            whole.epoch,
            whole.start_ms,
            whole.end_ms,
            mine,
            evidence,
            whole.params,
            whole.randomness,
            {**carry, "keys": keys, SECRET_READS: mine_read},
            whole.rounds,
        )


def _rotated_keys(whole: EpochInput) -> pl.DataFrame:
    schema = {"device": pl.String(), "public": pl.String(), "retired": pl.List(pl.String())}
    rows = [(device, keys[1], list(keys[2:])) for device, keys in sorted(device_keys(whole).items())]
    return pl.DataFrame(rows, schema=schema, orient="row")
