"""The evidence for a case against a bond: what a sealed epoch says of a device that lost customers' data, as one file.

It is written from the epoch alone, in one form, so everybody who has the epoch writes the same bytes; their SHA-256 is what the
accuser puts on chain. A verifier signs only after it replayed the epoch from its own copy and got the same bytes again, and
only once for the same bytes: a loss is paid for once, however often it is accused.

    penalty     slash_ppm · bond asked for what the device answers for, from its own bond first, then from the operator's
    fractions   penalty as parts of both bonds, as the epoch counted them; what was bonded later is cut alike
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import polars as pl

from fieldstone.chain.view import Case, Outcome
from fieldstone.epoch.compute import bonded_services
from fieldstone.epoch.replay import replay
from fieldstone.epoch.store import EpochStore
from fieldstone.errors import CheckFailed, UsageError
from fieldstone.rewards.bonded import OPERATOR_KEY, fractions, key_of, needed_base
from fieldstone.services import load_service
from fieldstone.services.bonding import Bonding
from fieldstone.units import PPM

FORM = "fieldstone/bond-case/v1"


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One accusation. Amounts in base units as decimal texts; `capacity`: quantity per second that was lost; `owner` and
    `key` name the bond; `root`: of the epoch, in hex; `verdict`: the device's reasons and detail."""

    form: str
    network_id: str
    epoch: int
    root: str
    device: str
    service: str
    reasons: list[str]
    detail: str
    capacity: int
    penalty_base: str
    owner: str
    key: str
    bond_base: str
    fraction_ppm: int

    def to_bytes(self) -> bytes:
        """Return the file: canonical JSON and a line end."""
        return msgspec.json.encode(self, order="sorted") + b"\n"

    @property
    def sha256(self) -> bytes:
        """Return what goes on chain."""
        return hashlib.sha256(self.to_bytes()).digest()


def evidence(store: EpochStore, epoch: int, device: str) -> list[Evidence]:
    """Return the accusations that an epoch's verdicts allow against a device's bond and its operator's; at most two.

    Raises UsageError, saying why there is none.
    """
    sealed = store.sealed(epoch)
    rows = sealed.table("verdicts").filter(pl.col("device") == device).to_dicts()
    return _evidence(store, epoch, device, rows)


def _evidence(store: EpochStore, epoch: int, device: str, rows: list[dict[str, Any]]) -> list[Evidence]:
    manifest, policy, after = store.sealed(epoch).manifest, store.state(epoch - 1).policy, store.state(epoch)
    found = after.registry.get(device)
    if found is None or after.bonds is None:
        raise UsageError(f"epoch {epoch} knows no device {device} and no bonds that it could answer with")
    rules, slashable = bonded_services(policy), after.bonds.slashable()
    accusations = []
    for row in rows:
        service = load_service(row["service"])
        rule = rules.get(row["service"])
        capacity = service.fault(row, manifest.end_ms) if rule is not None and isinstance(service, Bonding) else 0
        if rule is None or not capacity:
            continue
        penalty = policy.services[row["service"]].slash_ppm * needed_base(rule, capacity, 1) // PPM
        keys = (key_of(device), OPERATOR_KEY)
        bonds = [slashable.get((found.operator.lower(), key), 0) for key in keys]
        for key, bond, fraction_ppm in zip(keys, bonds, fractions(penalty, bonds[0], bonds[1]), strict=True):
            if fraction_ppm:
                accusations.append(
                    Evidence(
                        FORM, policy.network_id, epoch, manifest.root, device, row["service"], list(row["reasons"]),
                        row["detail"], capacity, str(penalty), found.operator, key, str(bond), fraction_ppm,
                    )
                )  # fmt: skip
    if not accusations:
        raise UsageError(
            f"epoch {epoch} has no verdict by which {device} answers with a bond; was it an earlier epoch?"
        )
    return accusations


def read_evidence(body: bytes) -> Evidence:
    """Read an evidence file. Raises UsageError."""
    try:
        return msgspec.json.decode(body, type=Evidence)
    except msgspec.DecodeError as error:
        raise UsageError(f"this is no evidence for a case against a bond: {error}") from None


def check_case(store: EpochStore, case: Case, given: Evidence, others: Mapping[int, Case]) -> None:
    """Raise CheckFailed unless a case is open, what one's own replay of its epoch says, and the only one for it.

    `store`: one's own sealed epochs, up to the one named. `others`: all cases on chain by number.
    """
    if case.outcome is not Outcome.OPEN:
        raise CheckFailed(f"case {case.number} is {case.outcome.name.lower()} already")
    if case.evidence_hash != given.sha256:
        raise CheckFailed(f"case {case.number} names other evidence: {case.evidence_hash.hex()}")
    if (case.owner.lower(), case.key.hex()) != (given.owner.lower(), given.key):
        raise CheckFailed(f"case {case.number} is against another bond than its evidence")
    for number, other in others.items():
        is_decided = other.outcome is Outcome.UPHELD or (other.outcome is Outcome.OPEN and number < case.number)
        if number != case.number and other.evidence_hash == case.evidence_hash and is_decided:
            raise CheckFailed(f"case {number} is for the same evidence: a loss is paid for once")
    again = replay(store, given.epoch)
    if not again.agrees:
        raise CheckFailed(f"my replay of epoch {given.epoch} has another result than its sealed copy")
    rows = again.result.verdicts.filter(pl.col("device") == given.device).to_dicts()
    mine = _evidence(store, given.epoch, given.device, rows)
    if given.to_bytes() not in [one.to_bytes() for one in mine]:
        raise CheckFailed(f"my replay of epoch {given.epoch} does not say what the evidence says of {given.device}")
