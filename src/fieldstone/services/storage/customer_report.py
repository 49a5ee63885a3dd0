"""The retention proof that a customer gets per object: the network's figures beside the gateway's word, signed.

    facts         the gateway's word: which segments are the object, under which code, of which size
    epoch         which sealed epoch the figures are of, by the SHA-256 of its manifest
    report        `object_report.report`: holders, last proof and read, margin, predicted loss, money
    holders       scores and standing of every device that holds a share
                  (a holder is silent when it answered none of the last QUIET_ROUNDS rounds; an outage is not a loss)
    reachable     per segment: live shares whose holders are not silent
    permanence    of an object that is paid once: the funds that pay for it, what they paid, how long they last (`fund_report`)
    state         retained | unproven | unlisted | silent | short | inline | empty
    gateway_says  what only the gateway's books know: shares not yet leased, repairs, shares found wrong

`recheck` works out everything but the facts and `gateway_says` again from the epoch's tables and names the first figure that
differs; `gateway_says` is signed but cannot be recomputed. That the named segments are the object's bytes is the gateway's
word too, since only the gateway can decrypt them (run it yourself where that matters); that they add up to the object's
size, and that k of their shares are large enough, is checked.

Pure: tables in, values out. `object_rows` and the command line are the edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import polars as pl

from fieldstone.errors import CheckFailed, Rejected
from fieldstone.identity import cose
from fieldstone.identity.keys import Signer
from fieldstone.reasons import reason
from fieldstone.services.storage import object_report
from fieldstone.services.storage.fund_report import permanence
from fieldstone.services.storage.object_report import ObjectFacts, Segment
from fieldstone.services.storage.reputation import from_table
from fieldstone.services.storage.schema import EGRESS, GIB, PRODUCTS

if TYPE_CHECKING:
    from fieldstone.services.storage.object_rows import StoredObject

__all__ = ["STATES", "Facts", "SealedTables", "compose", "facts_of", "gateway_of", "peek", "recheck", "sign"]

FORMAT = 1
QUIET_ROUNDS = 4
_PRICE = next(product.price_micro_usd for product in PRODUCTS if product.name == EGRESS)

STATES: Mapping[str, str] = {
    "retained": "every segment has at least as many shares proven in time, and within reach, as restore it",
    "unproven": "enough shares are leased, but too few were asked and proven yet: a later epoch will tell",
    "unlisted": "the epoch does not know enough of its shares yet: it was uploaded or repaired after the epoch ended",
    "silent": "enough shares are proven, but fewer holders than are needed answered lately: it may not be readable now",
    "short": "fewer shares are provably alive than are needed to read it; repair or a later epoch may still mend this",
    "inline": "small enough to lie, encrypted, in the gateway's own database: no provider holds it, nothing is proven",
    "empty": "the object has no bytes",
}


_Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
_Number = Annotated[int, msgspec.Meta(ge=1, le=255)]
_Bytes = Annotated[int, msgspec.Meta(ge=0, le=2**60)]
_Text = Annotated[str, msgspec.Meta(max_length=8_192)]  # bucket, key and version
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class SegmentFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One segment: id in hex, code k of n, its plain bytes, how many of the object's bytes lie in it."""

    id: _Id
    k: _Number
    n: _Number
    size_bytes: _Bytes
    object_bytes: _Bytes

    def __post_init__(self) -> None:
        if self.k > self.n:
            raise ValueError(f"a segment of {self.k} of {self.n} shares cannot be")


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the gateway states of an object."""

    name: _Text
    size_bytes: _Bytes
    inline_bytes: _Bytes
    etag: _Text
    modified_ms: int
    gateway: str
    segments: tuple[SegmentFacts, ...]

    def ids(self) -> list[bytes]:
        """Return the ids of the segments."""
        return [bytes.fromhex(segment.id) for segment in self.segments]


@dataclass(frozen=True, slots=True)
class SealedTables:
    """What a report needs of a sealed epoch. `holdings` and `reputation`: the carry after it (may be cut down to the
    object's rows); `answered`: device → when the newest round was issued that it answered rightly, for any of its shares;
    `registry`: REGISTRY_SCHEMA and more; prices and length of a round are those of the epoch's policy. `covers` (the carry
    after it), `funds` (after it) and `usage` (of it): None where the network keeps nothing for ever."""

    network_id: str
    epoch: int
    end_ms: int
    manifest_sha256: str
    holdings: pl.DataFrame
    answered: Mapping[str, int]
    round_ms: int
    registry: pl.DataFrame
    reputation: pl.DataFrame | None
    storage_micro_usd_per_gib_month: int
    start_ms: int = 0
    covers: pl.DataFrame | None = None
    funds: pl.DataFrame | None = None
    usage: pl.DataFrame | None = None
    prices_micro_usd: Mapping[str, int] = field(default_factory=dict)


def gateway_of(registry: pl.DataFrame, key_id: str) -> str | None:
    """Return the device that a key (did:key) signs for, also after the device changed keys; None: not enrolled."""
    same = pl.col("device") == key_id
    if "public" in registry.columns:
        same |= pl.col("public") == key_id
    found = registry.filter(same)["device"].to_list()
    return str(found[0]) if found else None


def facts_of(stored: StoredObject, gateway: str) -> Facts:
    """Return the facts about an object of the gateway with this device id."""
    return Facts(
        stored.name,
        stored.size_bytes,
        stored.inline_bytes,
        stored.etag,
        stored.modified_ms,
        gateway,
        tuple(
            SegmentFacts(one.code.id.hex(), one.code.k, one.code.n, one.size_bytes, one.object_bytes)
            for one in stored.segments
        ),
    )


def compose(facts: Facts, sealed: SealedTables, stored: StoredObject | None = None) -> dict[str, Any]:
    """Return the report as plain values; without `stored` only what the sealed epoch decides."""
    object_facts = ObjectFacts(
        facts.name,
        facts.size_bytes,
        facts.gateway,
        tuple(Segment(bytes.fromhex(one.id), one.k, one.n) for one in facts.segments),
        sealed.storage_micro_usd_per_gib_month,
    )
    report = object_report.report(
        object_facts,
        epoch=sealed.epoch,
        end_ms=sealed.end_ms,
        holdings=sealed.holdings,
        registry=sealed.registry,
    )
    holders = _holders(report, sealed)
    reachable = {one["segment"]: _reachable(one, holders) for one in report["segments"]}
    body = {
        "epoch": {
            "end_ms": sealed.end_ms,
            "manifest_sha256": sealed.manifest_sha256,
            "network_id": sealed.network_id,
            "number": sealed.epoch,
            "storage_micro_usd_per_gib_month": sealed.storage_micro_usd_per_gib_month,
        },
        "facts": msgspec.to_builtins(facts),
        "format": FORMAT,
        "holders": holders,
        "permanence": permanence(
            facts.gateway,
            facts.ids(),
            report["stored_bytes"],
            covers=sealed.covers,
            funds=sealed.funds,
            usage=sealed.usage,
            prices_micro_usd=sealed.prices_micro_usd,
            start_ms=sealed.start_ms,
            end_ms=sealed.end_ms,
        ),
        "reachable": reachable,
        "report": report,
        "state": _state(facts, report, reachable),
    }
    if stored is not None:
        price = sealed.prices_micro_usd.get(EGRESS)
        body["gateway_says"] = _gateway_says(stored, _PRICE if price is None else price)
    return body


def sign(key: Signer, body: Mapping[str, Any]) -> bytes:
    """Return the report as COSE_Sign1 over canonical JSON, naming its signer."""
    return object_report.sign(key, {**body, "signer": key.public.device_id})


def peek(message: bytes) -> tuple[dict[str, Any], Facts]:
    """Return a signed report and its facts; the signature holds for the key that it names.

    Whether that key is the gateway's is `recheck`'s question. Raises Rejected BAD_CBOR, BAD_COSE, BAD_SIGNATURE,
    BAD_PAYLOAD.
    """
    try:
        unproven = msgspec.json.decode(cose.parse(message).payload, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(reason("BAD_PAYLOAD"), "object report", str(error)) from None
    body = object_report.open_report(message, str(unproven.get("signer")))
    if body.get("format") != FORMAT:
        raise Rejected(reason("BAD_PAYLOAD"), "object report", f"format {body.get('format')!r:.40} is not {FORMAT}")
    try:
        msgspec.convert(body.get("epoch"), _Epoch)
        if "gateway_says" in body:  # nothing else is held against it, and readers rely on its form
            msgspec.convert(body["gateway_says"], _GatewayWord)
        return body, msgspec.convert(body.get("facts"), Facts)
    except msgspec.ValidationError as error:
        raise Rejected(reason("BAD_PAYLOAD"), "object report", str(error)) from None


def recheck(message: bytes, sealed: SealedTables) -> dict[str, Any]:
    """Work a signed report out again from the sealed epoch's tables and return it.

    Raises CheckFailed naming the first figure that differs, or when the signer is not the gateway that pays for the
    shares; Rejected as `peek`.
    """
    said, facts = peek(message)
    if said["signer"] not in _keys(sealed.registry, facts.gateway):
        raise CheckFailed(
            f"the report of {facts.name!r} is signed by {said['signer']}, which epoch {sealed.epoch} does not know as "
            f"the gateway {facts.gateway}"
        )
    _check_sizes(facts, sealed.holdings)
    true = msgspec.json.decode(msgspec.json.encode(compose(facts, sealed), order="sorted"))
    for name in ("epoch", "report", "holders", "permanence", "reachable", "state"):
        difference = _difference(said.get(name), true[name], name)
        if difference is not None:
            where, stated, found = difference
            raise CheckFailed(
                f"the report of {facts.name!r} says {where} = {stated!r:.120}; sealed epoch {sealed.epoch} gives "
                f"{found!r:.120}"
            )
    return said


class _SegmentWord(msgspec.Struct, frozen=True):
    """What only the gateway knows of a segment; see `object_rows.StoredSegment`."""

    incidents: _Count
    not_leased: _Count
    placement_relaxed: _Text
    repair_micro_usd: _Count
    repair_read_bytes: _Count
    repairs: _Count
    segment: _Id
    shares: dict[_Text, _Count]
    stored_ms: _Count
    uses: _Count


class _GatewayWord(msgspec.Struct, frozen=True):
    repair_micro_usd: _Count
    segments: list[_SegmentWord]


class _Epoch(msgspec.Struct):
    number: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    manifest_sha256: str


def _check_sizes(facts: Facts, holdings: pl.DataFrame) -> None:
    """Refuse facts that leave segments out, or state a smaller k than the shares' sizes allow."""
    covered = facts.inline_bytes + sum(segment.object_bytes for segment in facts.segments)
    if covered != facts.size_bytes:
        raise CheckFailed(f"the report of {facts.name!r} accounts for {covered} of its {facts.size_bytes} bytes")
    widest = dict(holdings.group_by("segment").agg(pl.col("size_bytes").max()).iter_rows())
    for segment in facts.segments:
        share_bytes = widest.get(bytes.fromhex(segment.id))
        if share_bytes is not None and segment.k * share_bytes < segment.size_bytes:
            raise CheckFailed(
                f"the report of {facts.name!r} says that {segment.k} shares restore segment {segment.id}; of "
                f"{share_bytes} bytes each they are too small for its {segment.size_bytes} bytes"
            )


def _state(facts: Facts, report: Mapping[str, Any], reachable: Mapping[str, int]) -> str:
    if not facts.segments:
        return "inline" if facts.size_bytes else "empty"
    found = {_segment_state(segment, reachable[segment["segment"]]) for segment in report["segments"]}
    return next(state for state in ("short", "silent", "unlisted", "unproven", "retained") if state in found)


def _reachable(segment: Mapping[str, Any], holders: Mapping[str, Any]) -> int:
    live = [share for share in segment["shares"] if share["alive"]]
    return len({share["index"] for share in live if not holders[share["device"]]["silent"]})


def _segment_state(segment: Mapping[str, Any], reachable: int) -> str:
    if segment["alive"] < segment["k"]:
        # a share that failed is a loss; one that the epoch has never heard of is not
        return "short" if any(not share["alive"] for share in segment["shares"]) else "unlisted"
    proven = {share["index"] for share in segment["shares"] if share["alive"] and share["last_proof_ms"]}
    if len(proven) < segment["k"]:
        return "unproven"
    return "retained" if reachable >= segment["k"] else "silent"


def _holders(report: Mapping[str, Any], sealed: SealedTables) -> dict[str, Any]:
    devices = sorted({share["device"] for segment in report["segments"] for share in segment["shares"]})
    if not devices:
        return {}
    standings = from_table(sealed.reputation)
    rows = sealed.registry.filter(pl.col("device").is_in(devices)).iter_rows(named=True)
    known = {row["device"]: row for row in rows}
    found: dict[str, Any] = {}
    for device in devices:
        row, standing = known.get(device, {}), standings.get(device)
        answered_ms = sealed.answered.get(device, 0)
        found[device] = {
            "last_answer_ms": answered_ms or None,
            "lat": row.get("lat"),
            "lon": row.get("lon"),
            "name": row.get("name") or "",
            "operator": row.get("operator"),
            "scores_ppm": None
            if standing is None
            else {
                "audit": standing.audit.ppm,
                "availability": standing.online.ppm,
                "retrieval": standing.read.ppm,
            },
            "silent": sealed.end_ms - answered_ms > QUIET_ROUNDS * sealed.round_ms,
            "standing": None if standing is None else standing.state,
            "standing_causes": [] if standing is None else list(standing.causes),
        }
    return found


def _gateway_says(stored: StoredObject, egress_micro_usd_per_gib: int) -> dict[str, Any]:
    """Return the gateway's own books; repairs at the epoch's price of egress, which is what their reads are charged at."""

    def cost(read_bytes: int) -> int:
        return -(-read_bytes * egress_micro_usd_per_gib // GIB)

    return {
        "repair_micro_usd": cost(sum(one.repair_read_bytes for one in stored.segments)),
        "segments": [
            {
                "incidents": one.incidents,
                "not_leased": one.not_leased,
                "placement_relaxed": one.relaxed,
                "repair_micro_usd": cost(one.repair_read_bytes),
                "repair_read_bytes": one.repair_read_bytes,
                "repairs": one.repairs,
                "segment": one.code.id.hex(),
                "shares": one.states,
                "stored_ms": one.created_ms,
                "uses": one.uses,
            }
            for one in stored.segments
        ],
    }


def _keys(registry: pl.DataFrame, gateway: str) -> set[str]:
    """Return the keys that a gateway signs or signed with; none when it is not enrolled."""
    found: set[str] = set()
    for row in registry.filter(pl.col("device") == gateway).iter_rows(named=True):
        found |= {row["device"], row.get("public") or row["device"], *(row.get("retired") or ())}
    return found


def _difference(said: Any, true: Any, where: str) -> tuple[str, Any, Any] | None:
    """Return the path of the first difference with what stands at both places."""
    if isinstance(said, dict) and isinstance(true, dict):
        pairs = [(f"{where}.{name}", said.get(name), true.get(name)) for name in sorted(said.keys() | true.keys())]
    elif isinstance(said, list) and isinstance(true, list) and len(said) == len(true):
        pairs = [(f"{where}[{place}]", one, other) for place, (one, other) in enumerate(zip(said, true, strict=True))]
    else:
        # 1 == True == 1.0 in Python, not in a document
        return None if said == true and type(said) is type(true) else (where, said, true)
    return next((found for path, one, other in pairs if (found := _difference(one, other, path))), None)
