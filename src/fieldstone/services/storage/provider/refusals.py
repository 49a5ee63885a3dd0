"""Why a provider refuses a request: the closed list, with the HTTP status and what to do about each."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator

from fieldstone.errors import Rejected
from fieldstone.reasons import Reason

_ALL = (
    # the order
    Reason(
        "ORDER_MISSING", 401, "No order came with the request.", "Send `authorization: Fieldstone <base64url order>`."
    ),
    Reason("ORDER_MALFORMED", 400, "The order cannot be read.", "Send base64url of COSE_Sign1 over an AccessOrder."),
    Reason("UNKNOWN_GATEWAY", 403, "The order's gateway is not one that this provider serves.", "Enrol the gateway."),
    Reason("BAD_SIGNATURE", 403, "The gateway's key did not sign this order.", "Sign with the gateway's current key."),
    Reason(
        "ORDER_ELSEWHERE", 403, "The order is for another provider, share or operation.", "Sign one order a request."
    ),
    Reason("ORDER_EXPIRED", 403, "The order has expired.", "Sign a new order, and set the gateway's clock (NTP)."),
    Reason("ORDER_TOO_LONG", 403, "The order is valid for longer than an hour.", "Sign orders shortly before use."),
    Reason("ORDER_USED", 409, "This order was used, and the share was deleted after it.", "Sign a new order."),
    Reason(
        "VOUCHER_TOO_LOW", 409, "`egress_bytes` does not rise by the bytes asked for.", "Count on from `egress_bytes`."
    ),
    # the request
    Reason("NO_SUCH_ADDRESS", 404, "There is nothing at this address.", "See docs/how-to/provide-storage.md."),
    Reason("BAD_METHOD", 405, "The address does not take this method.", "See docs/how-to/provide-storage.md."),
    Reason("BAD_SHARE_ID", 400, "A share id is 32 lower-case hex digits.", "Name the share by its 16 bytes in hex."),
    Reason("LENGTH_NEEDED", 411, "A share needs a Content-Length.", "Send Content-Length, not a chunked body."),
    Reason(
        "WRONG_LENGTH", 400, "The body has another length than announced or ordered.", "Send the whole share again."
    ),
    Reason("SHARE_TOO_LARGE", 413, "The share is larger than the provider takes.", "Cut the segment into more shares."),
    Reason("TOO_SLOW", 408, "The body came too slowly.", "Send again over a faster line."),
    Reason("BAD_RANGE", 416, "The bytes asked for are none, or lie outside the share.", "Ask for bytes of the share."),
    Reason(
        "BAD_CHALLENGE",
        400,
        "The challenge cannot be read.",
        "Send msgpack [seed, [[share, first byte of a chunk], …]].",
    ),
    Reason("TOO_MANY", 429, "More than the provider answers at a time.", "Ask again after `retry-after` seconds."),
    # the share
    Reason("SHARE_UNKNOWN", 404, "The provider does not hold this share.", "Read it from another provider."),
    Reason(
        "SHARE_DELETED",
        410,
        "The share was deleted by its gateway's order, which is in `order` (base64url).",
        "Release it, or read it from another provider.",
    ),
    Reason("SHARE_CONFLICT", 409, "Other bytes are held under this id.", "Give the share a new id."),
    Reason("SHARE_BUSY", 503, "The share is being stored or deleted right now.", "Send it again in a moment."),
    Reason(
        "SHARE_DAMAGED", 410, "The share's bytes on disk are not the ones received.", "Repair it from other shares."
    ),
    # the disk
    Reason("DISK_FULL", 507, "The provider has no room for the share.", "Place the share elsewhere."),
    Reason("STORE_UNAVAILABLE", 503, "The provider cannot make anything durable now.", "Send it again later."),
)

REFUSALS: dict[str, Reason] = {entry.code: entry for entry in _ALL}
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def refuse(code: str, subject: str = "", detail: str = "") -> Rejected:
    """Return the refusal to raise."""
    return Rejected(REFUSALS[code], subject, detail)


def disk_refusal(error: OSError, subject: str = "") -> Rejected:
    """Turn the operating system's error into DISK_FULL or STORE_UNAVAILABLE."""
    return refuse("DISK_FULL" if error.errno in _FULL else "STORE_UNAVAILABLE", subject, error.strerror or repr(error))


@contextlib.contextmanager
def refusing(subject: str) -> Iterator[None]:
    """Turn a disk that cannot be read into a refusal: whoever asks is told, and asks elsewhere."""
    try:
        yield
    except sqlite3.Error as error:
        raise refuse("STORE_UNAVAILABLE", subject, f"the index cannot be read: {error}") from None
    except OSError as error:
        raise disk_refusal(error, subject) from None
