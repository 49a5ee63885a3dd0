"""The closed list of reasons for which the network refuses a message, each with its remedy.

Nothing is refused for a reason that is not listed here, and every refusal is counted under its code (DESIGN §4.4).
Reasons for which *accepted* work earns less belong to a service's rules (`services/<name>/rules`), not here.
The reference page `docs/reference/reasons.md` is generated from this table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason: stable `code`, HTTP status of the answer, what happened, what to do about it."""

    code: str
    http_status: int
    meaning: str
    remedy: str


_ALL = (
    # the bytes
    Reason("TOO_LARGE", 413, "The body is larger than the network accepts.", "Send fewer reports in one body."),
    Reason("TOO_SLOW", 408, "The body did not arrive in time.", "Send smaller bodies over a slow line."),
    Reason(
        "BAD_MEDIA_TYPE",
        415,
        "The content type or content encoding is not one that this address takes.",
        "Send application/cose (one report) or application/cbor-seq (many), not compressed.",
    ),
    Reason("BAD_CBOR", 400, "The bytes are not well-formed CBOR.", "Encode the report as RFC 8949 CBOR."),
    Reason(
        "BAD_COSE", 400, "The message is not a COSE_Sign1 structure.", "Send CBOR tag 18 with four fields (RFC 9052)."
    ),
    Reason(
        "BAD_PAYLOAD",
        422,
        "The payload lacks a field or holds a value of the wrong type.",
        "Follow the payload table in docs/reference/report.md.",
    ),
    Reason(
        "BAD_NUMBER",
        422,
        "A reading is NaN or infinite.",
        "Leave the reading out (null) when the sensor gave no value.",
    ),
    Reason(
        "BAD_TEXT", 422, "A text field holds control characters or is too long.", "Use up to 64 printable characters."
    ),
    Reason(
        "UNKNOWN_KIND",
        422,
        "The report kind or schema version is not offered by this network.",
        "See GET /v1/network for the kinds it accepts.",
    ),
    Reason(
        "TOO_MANY_READINGS", 422, "One report holds more readings than the network accepts.", "Split it into several."
    ),
    # who signed
    Reason("UNKNOWN_DEVICE", 403, "No device with this key id is enrolled.", "Enrol the device first."),
    Reason("DEVICE_REVOKED", 403, "The device's key was revoked.", "Rotate to a new key or ask the operator."),
    Reason(
        "ALGORITHM_MISMATCH",
        403,
        "The header names another algorithm than the registered key has.",
        "Sign with the registered key.",
    ),
    Reason(
        "BAD_SIGNATURE",
        403,
        "The signature does not verify for this device, payload and network.",
        "Check the key and that external_aad names this network and schema version.",
    ),
    # order and time
    Reason("REPLAYED", 409, "A report with this sequence number was already accepted.", "Raise seq with every report."),
    Reason(
        "SEQ_TOO_LOW",
        409,
        "The sequence number is lower than the last accepted one, and no accepted report has it.",
        "Send reports in the order of seq; sign these readings again under a new, higher seq.",
    ),
    Reason(
        "EQUIVOCATION",
        409,
        "Another message with the same sequence number was already accepted; both are kept as evidence.",
        "Make sure that one key lives in one device only.",
    ),
    Reason("TIME_FUTURE", 422, "The report's time span ends in the future.", "Set the device's clock (NTP)."),
    Reason("TIME_STALE", 422, "The report is older than the network accepts.", "Send buffered reports sooner."),
    Reason("BAD_TIME_SPAN", 422, "The span ends before it starts, or is too long.", "Check t_start_ms and t_end_ms."),
    # budgets
    Reason("RATE_LIMITED", 429, "More reports than the device's or address's budget.", "Send larger, fewer reports."),
    Reason("UNKNOWN_POSITION", 404, "The journal has no entry at this position.", "Check the position's number."),
    Reason("UNAVAILABLE", 503, "The network cannot make the report durable now.", "Keep the report and send it again."),
    # enrolment and other signed journal entries
    Reason(
        "BAD_OPERATOR_SIGNATURE",
        403,
        "The operator's wallet did not sign this entry.",
        "Sign the entry's text with the operator address.",
    ),
    Reason(
        "BAD_KEY",
        422,
        "The device id is not a canonical did:key of an Ed25519, P-256 or secp256k1 key.",
        "Create the key and its id with `fieldstone device new`.",
    ),
    Reason("ALREADY_ENROLLED", 409, "This device key is already enrolled.", "Rotate or move the device instead."),
    Reason("KEY_ID_COLLISION", 409, "Another device has the same 8-byte key id.", "Generate a new device key."),
    Reason("BAD_LOCATION", 422, "Latitude, longitude, elevation or accuracy is out of range.", "Correct the location."),
    Reason("UNKNOWN_MODEL", 422, "The hardware model is not in the network's list.", "Use a listed model."),
    Reason(
        "CERTIFICATE_REQUIRED",
        403,
        "This model needs a manufacturer certificate.",
        "Enrol with the device certificate.",
    ),
    Reason(
        "BAD_CERTIFICATE",
        403,
        "The manufacturer certificate does not lead to a trusted root, is expired, or names another key.",
        "Send the whole chain, device certificate first.",
    ),
    Reason(
        "ISSUER_CAP",
        403,
        "The certificate's issuer has reached its cap of devices.",
        "Ask the founder to raise the cap.",
    ),
    Reason(
        "MOVE_TOO_SOON",
        409,
        "The device was enrolled or moved too recently.",
        "Wait for the policy's min_move_interval_s and send the move again.",
    ),
    Reason(
        "RECOVERY_WAITING",
        409,
        "The replacement key is noted; the waiting time for a lost key has not passed.",
        "Send the same recovery with the next nonce when recovery_wait_s has passed.",
    ),
    Reason("ENTRY_REPLAYED", 409, "This signed entry was already accepted.", "Use the next nonce of the device."),
    # customers
    Reason("BAD_API_KEY", 401, "The API key is unknown or revoked.", "Create a key with `fieldstone market key`."),
    Reason("NO_CREDITS", 402, "The account holds fewer credits than the order costs.", "Top up the account."),
    Reason("SPENDING_LIMIT", 402, "The order would exceed the key's spending limit.", "Raise the limit."),
    Reason("QUOTE_EXPIRED", 409, "The quote is no longer valid.", "Ask for a new quote."),
    Reason("UNKNOWN_PRODUCT", 404, "No such product, order or quote.", "List products with GET /v1/market/products."),
    Reason(
        "IDEMPOTENCY_CONFLICT",
        409,
        "The Idempotency-Key was used for another quote.",
        "Use a new key for a new order.",
    ),
    Reason(
        "DOWNLOAD_EXPIRED",
        410,
        "The order's data is no longer kept for download.",
        "Buy it again; the sealed epochs stay public.",
    ),
    Reason("BAD_QUERY", 422, "The query's area, time or variable is invalid.", "See docs/reference/market.md."),
)

REASONS: dict[str, Reason] = {reason.code: reason for reason in _ALL}


def reason(code: str) -> Reason:
    """Return the reason `code`. Raises KeyError for a code that is not on the list: a bug, not an input error."""
    return REASONS[code]
