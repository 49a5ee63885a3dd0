"""`docs/reference/sealed-epochs.md`: what lies in `epoch=N/`, taken from a small epoch that is computed for the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, get_args, get_origin

from fieldstone.reference.markdown import code, docstring, head, table

if TYPE_CHECKING:
    import polars as pl

# table, or its beginning → what it is; a test sees to it that each table and column of an epoch is told here
TABLES = {
    "evidence-": "The readings of all reports of one kind, decoded: the input of verification.",
    "verdicts": "What verification decided about each device.",
    "statements": "What each device earned and why; one row per device and service, also for those that earned nothing.",
    "leaves": "The leaves of the Merkle tree whose root goes on chain: cumulative amounts of all epochs.",
    "sellable-": "The rows of evidence that are good enough to be sold, with their quality.",
    "carry-": "What verification remembers for the next epoch.",
    "state-balances": "Cumulative amounts at the end of the epoch.",
    "state-bonds": "The bonds on chain that the epoch counted; only where a service asks for a bond.",
    "state-funds": "What customers paid once and what of it was spent; only where something was paid once.",
    "state-owed": "Refunds that came after the payout and wait for later revenue.",
    "state-registry": "All devices ever enrolled, as they stand at the end of the epoch.",
    "state-seq": "The last sequence number counted for each device.",
}
COLUMNS = {
    "accuracy_m": "how well the place is known, metres",
    "address": "operator or treasury, EIP-55",
    "amount_base": "token base units (10⁻¹⁸), decimal text",
    "bootstrap_base": "tokens for verified work nobody bought yet, base units, decimal text",
    "correction_base": "make-good and carried-over amounts less debts, base units, decimal text; may be negative",
    "day": "Unix day",
    "detail": "canonical JSON: per check the measured value, the threshold and the share lost",
    "device": "`did:key` of the device's first key; it never changes",
    "elevation_m": "metres above sea level",
    "enrolled_ms": "when it was enrolled, Unix ms",
    "epoch": "number of the epoch",
    "factors": "canonical JSON: every number between verdict and amount",
    "issuer": "issuer of the manufacturer certificate, if any",
    "last_ms": "last reading of the run, Unix ms",
    "lat": "degrees WGS 84",
    "lon": "degrees WGS 84",
    "model": "hardware model",
    "moved_ms": "when it was last moved, Unix ms",
    "name": "a name to show; chosen by the operator",
    "nonce": "number of the last signed entry about the device",
    "operator": "address that is paid, EIP-55; empty for what concerns nobody",
    "owed_micro_usd": "micro-dollars",
    "paid_base": "the operators' part of what customers paid, base units, decimal text",
    "public": "`did:key` of the key that signs now",
    "quality_ppm": "quality, 0 to 1,000,000",
    "quantity": "verified work in the service's unit (sensing: station-seconds)",
    "reasons": "codes of the rule version, most costly first",
    "received_ms": "when the report became durable, Unix ms",
    "recovery_key": "announced replacement of a lost key",
    "recovery_ms": "when it was announced, Unix ms",
    "residual": "difference to the neighbours' median",
    "retired": "earlier keys, oldest first",
    "revenue_micro_usd": "what customers paid for this device's delivered work, micro-dollars",
    "revoked_ms": "when its key was revoked, Unix ms",
    "seq": "sequence number",
    "service": "service",
    "since_ms": "first reading of the run, Unix ms",
    "sketch": "fingerprint of the device's day, against replays",
    "slot_ms": "length of a slot, ms",
    "slots": "number of slots with a value",
    "t_ms": "when it was measured, Unix ms",
    "total_base": "paid + bootstrap + correction, base units, decimal text",
    "value": "the value that did not change",
    "variable": "variable",
    "verdict": "`accepted`, `partial`, `rejected`; in statements also `none`",
}
DOCUMENTS = (
    ("manifest.json", "Written last: without it there is no epoch. Names every other file with its SHA-256."),
    ("state.json", "What the next epoch starts from and no table holds: policy, price, smoothed revenue, pools."),
)
BODIES = {
    "report": "a COSE message as the device sent it ([report](report.md))",
    "registry": "a signed registry entry ([report](report.md#registry-entries))",
    "metering": "a delivery or a refund ([market](market.md#journal-entries))",
    "policy": "the policy in force from the next epoch on, canonical JSON; the first entry of every journal",
    "price": 'the token\'s price from now on: `{"token_price_micro_usd": n}`',
    "credit": "a customer's top-up ([market](market.md#journal-entries))",
    "challenge": "what an active service asked of a device; none in `sensing`",
    "equivocation": "two different messages of one device with one sequence number, MessagePack",
    "correction": "a make-good: epoch, cause, corrected rules, rows ([how to](../how-to/repay-an-epoch.md))",
    "epoch": "the end of an epoch and the chain block that gives it its randomness",
    "bond": "all bonds on chain at the end of one block: owner, key, staked and unbonding base units, by owner and key, JSON",
}


def page() -> str:
    """Return the page."""
    import msgspec

    from fieldstone.journal import manifest
    from fieldstone.journal.seal import SEALED_SCHEMA
    from fieldstone.services import load_service, service_names

    fields = ((code(f.encode_name), code(_name(f.type))) for f in msgspec.structs.fields(manifest.Manifest))
    parts = [
        head(
            "Sealed epochs",
            "a small epoch and the docstrings of fieldstone.journal",
            "A sealed epoch is the folder `data/sealed/epoch=N/`, served at `GET /v1/epochs/N/files/NAME`. Together with the "
            "epoch before, it is all that a [replay](../explanation/replay.md) needs. All tables are Parquet (zstd): any tool can read "
            "them, for instance `duckdb -c \"from 'data/sealed/epoch=3/statements.parquet'\"`.",
        ),
        "## Documents\n\n" + table(("file", "what"), ((code(name), text) for name, text in DOCUMENTS)),
        "## manifest.json\n\n" + docstring(manifest.Manifest) + "\n" + table(("field", "type"), fields),
        "## journal-KIND.parquet\n\nThe journal's entries of the epoch, one file per kind: columns "
        + ", ".join(code(name) for name in SEALED_SCHEMA)
        + ". Reports are sorted by subject and position, all others by position.\n\n"
        + table(("kind", "what `body` holds"), ((code(kind), text) for kind, text in BODIES.items())),
    ]
    variables = {
        column.name: f"{column.description}, {column.unit}"
        for name in service_names()
        for columns in load_service(name).kinds.values()
        for column in columns
    }
    meanings = COLUMNS | variables
    for name, frame in sorted(tables().items()):
        rows = ((code(column), code(frame.schema[column]), meanings[column]) for column in frame.columns)
        parts.append(f"## {name}.parquet\n\n{meaning(name)}\n\n" + table(("column", "type", "meaning"), rows))
    return "\n".join(parts)


def meaning(name: str) -> str:
    """Return what a table is. Raises KeyError for one that is not described."""
    for known, text in TABLES.items():
        if name == known or (known.endswith("-") and name.startswith(known)):
            return text
    raise KeyError(name)


def tables() -> Mapping[str, pl.DataFrame]:
    """Return the tables of an epoch with one device that sent one reading of every variable."""
    from fieldstone.epoch.compute import compute
    from fieldstone.epoch.freeze import freeze
    from fieldstone.epoch.state import genesis
    from fieldstone.epoch.store import result_tables
    from fieldstone.identity import cose, entries, report
    from fieldstone.identity.keys import Algorithm, DeviceKey
    from fieldstone.identity.wallet import Wallet
    from fieldstone.journal import Entry, EntryKind
    from fieldstone.policy import Policy
    from fieldstone.services.sensing.schema import VARIABLE_NAMES

    start_ms, t_ms = 1_800_000_000_000, 1_800_000_002_000
    policy = Policy(network_id="reference")
    key = DeviceKey.from_secret(Algorithm.ED25519, b"\1" * 32)
    place = entries.Place(48.0, 16.0, 170.0, 10.0)
    body = entries.enrol(key, Wallet.from_secret(b"\2" * 32), policy, model="generic", place=place)
    one = report.Report(
        1, "sensing", "readings", 1, t_ms, t_ms, [t_ms], {name: [20.0] for name in sorted(VARIABLE_NAMES)}
    )
    aad = cose.network_aad(policy.network_id, policy.chain_id, policy.schema_version)
    journal = (
        Entry(1, start_ms, EntryKind.POLICY, "", policy.to_json()),
        Entry(2, start_ms, EntryKind.REGISTRY, key.public.device_id, body),
        Entry(3, t_ms, EntryKind.REPORT, key.public.device_id, cose.sign(key, report.encode(one), aad)),
    )
    state = genesis(policy, start_ms)
    return result_tables(compute(freeze(journal, state), state, b"\0" * 32))


def _name(kind: object) -> str:
    """Return the JSON type of a manifest field; integers that may be huge are texts there."""
    inner = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    origin = get_origin(inner) or inner
    return {int: "integer", str: "text", dict: "object"}[origin]  # type: ignore[index]
