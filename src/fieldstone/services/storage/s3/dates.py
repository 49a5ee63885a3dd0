"""The date forms of S3: HTTP dates in headers, ISO 8601 in documents, the basic form in signatures."""

from __future__ import annotations

import calendar
import re
import time
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_tz
from functools import lru_cache

_BASIC = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)


LAST_MS = 253_402_300_799_000  # the end of the year 9999; later dates have no form


@lru_cache(maxsize=4096)
def http_date(unix_s: int) -> str:
    """Render for `Last-Modified` and its kin (RFC 9110 5.6.7)."""
    return formatdate(unix_s, usegmt=True)


def parse_http_date(value: str) -> int | None:
    """Return Unix seconds, None where the text is no date (RFC 9110: such a condition is ignored)."""
    try:
        fields = parsedate_tz(value)
        if fields is None:
            return None
        return calendar.timegm(datetime(*fields[:6], tzinfo=UTC).utctimetuple()) - (fields[9] or 0)
    except (ValueError, OverflowError, TypeError):
        return None


def iso_date(unix_ms: int) -> str:
    """Render milliseconds for a document: `2026-11-22T10:00:00.000Z`."""
    seconds, ms = divmod(unix_ms, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{ms:03d}Z"


def parse_iso_date(value: str) -> int | None:
    """Return Unix ms of an ISO 8601 date or date and time (UTC where no zone is given), None where it is none."""
    match = _ISO.fullmatch(value.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        when = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC)
    except ValueError:
        return None
    offset = 0
    if zone and zone != "Z":
        digits = zone[1:].replace(":", "")
        offset = (int(digits[:2]) * 60 + int(digits[2:])) * 60 * (-1 if zone[0] == "-" else 1)
    unix_ms = (calendar.timegm(when.utctimetuple()) - offset) * 1000 + int((fraction or "0").ljust(3, "0")[:3])
    return unix_ms if unix_ms <= LAST_MS + 999 else None


def parse_basic_date(value: str) -> int | None:
    """Return Unix seconds of `20130524T000000Z`, None where it is none."""
    return _parse_basic_date(value) if len(value) == 16 else None  # strangers' long texts are not to be remembered


@lru_cache(maxsize=1024)
def _parse_basic_date(value: str) -> int | None:
    match = _BASIC.fullmatch(value)
    if match is None:
        return None
    try:
        return calendar.timegm(datetime(*(int(g) for g in match.groups())).utctimetuple())  # type: ignore[arg-type]
    except ValueError:
        return None
