"""Make-good: repay what a mis-scored epoch paid too little, as a normal line of the next epoch.

Amounts on chain are cumulative, so a correction needs no special transaction: the epoch is computed again under the
corrected rules, the positive differences become one `correction` journal entry, and the next epoch pays them.
What was paid too much is listed; it is claimed back only on demand, as a debt that future earnings repay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from fieldstone.epoch.compute import EpochResult, compute
from fieldstone.epoch.freeze import Frozen
from fieldstone.epoch.runner import Runner
from fieldstone.epoch.state import EpochState
from fieldstone.errors import CheckFailed, UsageError
from fieldstone.journal import EntryKind, NewEntry


@dataclass(frozen=True, slots=True)
class Owed:
    """One device's difference between the corrected and the paid amount, in token base units."""

    device: str
    operator: str
    paid_base: int
    due_base: int

    @property
    def amount_base(self) -> int:
        """Positive: the network owes the operator."""
        return self.due_base - self.paid_base


def recompute(
    frozen: Frozen,
    state: EpochState,
    randomness: bytes,
    corrected: Mapping[str, Mapping[str, Any]],
    runner: Runner | None,
) -> EpochResult:
    """Compute a frozen epoch again with corrected parameters: service → {"rule_version": n, parameter: value}."""
    services = dict(frozen.policy.services)
    for name, changes in corrected.items():
        if name not in services:
            raise UsageError(f"service {name!r} is not in the network's policy; it has {', '.join(sorted(services))}")
        changes = dict(changes)
        version = int(changes.pop("rule_version", services[name].rule_version))
        services[name] = msgspec.structs.replace(
            services[name], rule_version=version, params={**services[name].params, **changes}
        )
    policy = msgspec.structs.replace(frozen.policy, services=services)
    return compute(replace(frozen, policy=policy), state, randomness, runner)


def owed(original: EpochResult, corrected: EpochResult) -> list[Owed]:
    """Return every device whose reward differs, most owed first; corrections paid in the epoch itself do not count."""
    before, after = _totals(original), _totals(corrected)
    rows = []
    for key in before.keys() | after.keys():
        paid, due = before.get(key, 0), after.get(key, 0)
        if paid != due:
            rows.append(Owed(key[0], key[1], paid, due))
    return sorted(rows, key=lambda row: (-row.amount_base, row.device))


def newly_rejected(original: EpochResult, corrected: EpochResult) -> dict[str, list[str]]:
    """Return service → devices whose work the corrected rules reject: what customers bought of them was not worth it."""
    before = {(r["service"], r["device"]): r["verdict"] for r in original.verdicts.iter_rows(named=True)}
    found: dict[str, list[str]] = {}
    for row in corrected.verdicts.iter_rows(named=True):
        if row["verdict"] == "rejected" and before.get((row["service"], row["device"])) != "rejected":
            found.setdefault(row["service"], []).append(row["device"])
    return found


def correction_entry(
    epoch: int,
    cause: str,
    corrected: Mapping[str, Mapping[str, Any]],
    rows: Iterable[Owed],
    *,
    reclaim: bool = False,
) -> NewEntry:
    """Return the journal entry that pays `rows`, with the corrected rules, so that anyone can check it.

    Overpayments are left alone unless `reclaim`.
    """
    body = {"epoch": epoch, "cause": cause, "corrected": corrected, "reclaim": reclaim, "rows": _lines(rows, reclaim)}
    return NewEntry(EntryKind.CORRECTION, "", msgspec.json.encode(body, order="sorted"))


def check_correction(body: bytes, recomputed: Callable[[int, Mapping[str, Mapping[str, Any]]], list[Owed]]) -> None:
    """Recompute a correction entry. Raises CheckFailed when it pays anything else than the stated rules owe.

    `recomputed(epoch, corrected)` returns what that epoch owes under corrected rules.
    """
    try:
        stated = msgspec.json.decode(body)
        epoch, rows, corrected, reclaim = int(stated["epoch"]), stated["rows"], stated["corrected"], stated["reclaim"]
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise CheckFailed(f"a correction entry cannot be read: {error}") from error
    if rows != _lines(recomputed(epoch, corrected), bool(reclaim)):
        raise CheckFailed(f"the correction of epoch {epoch} pays other amounts than its corrected rules owe")


def _lines(rows: Iterable[Owed], reclaim: bool) -> list[dict[str, str]]:
    return [
        {"device": row.device, "operator": row.operator, "amount_base": str(row.amount_base)}
        for row in rows
        if row.amount_base > 0 or reclaim
    ]


def _totals(result: EpochResult) -> dict[tuple[str, str], int]:
    totals: dict[tuple[str, str], int] = {}
    for row in result.allocation.statements.iter_rows(named=True):
        key = (row["device"], row["operator"])
        totals[key] = totals.get(key, 0) + int(row["total_base"]) - int(row["correction_base"])
    return totals
