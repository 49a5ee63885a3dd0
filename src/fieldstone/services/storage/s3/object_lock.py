"""Object lock: retention, legal hold and the bucket's default, as pure decisions.

Source: Amazon S3 user guide, "How S3 Object Lock works". COMPLIANCE cannot be shortened or lifted by anyone; GOVERNANCE by
who may bypass it and says so in the request; a legal hold stands until it is taken off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from fieldstone.services.storage.s3 import xml
from fieldstone.services.storage.s3.dates import iso_date, parse_iso_date
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import Request

Mode = Literal["GOVERNANCE", "COMPLIANCE"]
DAY_MS = 86_400_000
MAX_DAYS, MAX_YEARS = 36_500, 100


@dataclass(frozen=True, slots=True)
class Retention:
    """Until `until_ms` (Unix ms) the version cannot be removed."""

    mode: Mode
    until_ms: int


@dataclass(frozen=True, slots=True)
class DefaultRetention:
    """What new versions of a bucket get: exactly one of `days`, `years` is set."""

    mode: Mode
    days: int | None = None
    years: int | None = None

    def retention(self, created_ms: int) -> Retention:
        """Return the retention of a version made now. A year counts 365 days."""
        days = self.days if self.days is not None else 365 * (self.years or 0)
        return Retention(self.mode, created_ms + days * DAY_MS)


def _mode(value: str | None, code: str) -> Mode:
    if value == "GOVERNANCE":
        return "GOVERNANCE"
    if value == "COMPLIANCE":
        return "COMPLIANCE"
    raise S3Error(code, "Unknown wormMode directive." if code == "InvalidArgument" else None)


def parse_configuration(document: bytes) -> DefaultRetention | None:
    """Read an `ObjectLockConfiguration`; None: lock on, no default.

    Errors: MalformedXML, InvalidRetentionPeriod (not positive, or too long).
    """
    root = xml.parse(document, "ObjectLockConfiguration")
    root.only("ObjectLockEnabled", "Rule")
    if root.value("ObjectLockEnabled") not in (None, "Enabled"):
        raise S3Error("MalformedXML")
    rule = root.child("Rule")
    if rule is None:
        return None
    node = rule.child("DefaultRetention")
    if node is None:
        raise S3Error("MalformedXML")
    days, years = node.value("Days"), node.value("Years")
    mode = _mode(node.value("Mode"), "MalformedXML")
    if (days is None) == (years is None):
        raise S3Error("MalformedXML")
    if days is not None:
        return DefaultRetention(mode, days=_period(days, MAX_DAYS))
    return DefaultRetention(mode, years=_period(years or "", MAX_YEARS))


def _period(value: str, most: int) -> int:
    if not re.fullmatch(r"[+-]?\d{1,10}", value, re.ASCII):
        raise S3Error("MalformedXML")
    number = int(value)
    if number <= 0:
        raise S3Error("InvalidRetentionPeriod", "Default retention period must be a positive integer value.")
    if number > most:
        raise S3Error("InvalidRetentionPeriod", "Default retention period too large.")
    return number


def write_configuration(default: DefaultRetention | None) -> bytes:
    """Render an `ObjectLockConfiguration`."""
    rule: xml.Content = None
    if default is not None:
        inner: list[xml.Pair] = [("Mode", default.mode), ("Days", default.days), ("Years", default.years)]
        rule = [("DefaultRetention", inner)]
    return xml.write("ObjectLockConfiguration", [("ObjectLockEnabled", "Enabled"), ("Rule", rule)])


def parse_retention(document: bytes, now_ms: int) -> Retention | None:
    """Read a `Retention` document; None (an empty one) lifts the retention. Errors: MalformedXML, InvalidArgument."""
    root = xml.parse(document, "Retention")
    root.only("Mode", "RetainUntilDate")
    if not root.children:
        return None
    mode, until = root.value("Mode"), root.value("RetainUntilDate")
    if mode is None or until is None:
        raise S3Error("MalformedXML")
    until_ms = parse_iso_date(until)
    if until_ms is None:
        raise S3Error("MalformedXML")
    return _in_future(Retention(_mode(mode, "MalformedXML"), until_ms), now_ms)


def _in_future(retention: Retention, now_ms: int) -> Retention:
    if retention.until_ms <= now_ms:
        raise S3Error("InvalidArgument", "The retain until date must be in the future!")
    return retention


def write_retention(retention: Retention) -> bytes:
    """Render a `Retention` document."""
    return xml.write("Retention", [("Mode", retention.mode), ("RetainUntilDate", iso_date(retention.until_ms))])


def parse_legal_hold(document: bytes) -> bool:
    """Read a `LegalHold` document: True for ON. Errors: MalformedXML."""
    status = xml.parse(document, "LegalHold").value("Status")
    if status not in ("ON", "OFF"):
        raise S3Error("MalformedXML")
    return status == "ON"


def write_legal_hold(on: bool) -> bytes:
    """Render a `LegalHold` document."""
    return xml.write("LegalHold", [("Status", "ON" if on else "OFF")])


def of_headers(request: Request, now_ms: int) -> tuple[Retention | None, bool | None]:
    """Return what an upload's headers ask for: retention, legal hold (None: not said). Errors: InvalidArgument."""
    mode, until = request.header("x-amz-object-lock-mode"), request.header("x-amz-object-lock-retain-until-date")
    hold = request.header("x-amz-object-lock-legal-hold")
    if (mode is None) != (until is None):
        raise S3Error(
            "InvalidArgument",
            "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
        )
    retention = None
    if mode is not None and until is not None:
        until_ms = parse_iso_date(until)
        if until_ms is None:
            raise S3Error("InvalidArgument", "The retain until date must be provided in ISO 8601 format")
        retention = _in_future(Retention(_mode(mode, "InvalidArgument"), until_ms), now_ms)
    if hold not in (None, "ON", "OFF"):
        raise S3Error("InvalidArgument", "Legal Hold must be either of 'ON' or 'OFF'")
    return retention, None if hold is None else hold == "ON"


def bypasses(request: Request) -> bool:
    """Return whether a request asks to bypass governance; whether it may is `s3:BypassGovernanceRetention`."""
    return (request.header("x-amz-bypass-governance-retention") or "").lower() == "true"


def may_remove(retention: Retention | None, legal_hold: bool, now_ms: int, *, bypass: bool) -> bool:
    """Return whether a version may be removed for good now. `bypass`: asked for and permitted."""
    if legal_hold:
        return False
    if retention is None or retention.until_ms <= now_ms:
        return True
    return retention.mode == "GOVERNANCE" and bypass


def may_change(old: Retention | None, new: Retention | None, now_ms: int, *, bypass: bool) -> bool:
    """Return whether a retention may be replaced. Longer in the same mode always may."""
    if old is None or old.until_ms <= now_ms:
        return True
    if new is not None and new.mode == old.mode and new.until_ms >= old.until_ms:
        return True
    return old.mode == "GOVERNANCE" and bypass
