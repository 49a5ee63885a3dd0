"""Lifecycle rules: documents, and the pure question when a rule ends an object's, a version's or an upload's life.

Source: Amazon S3 user guide, "Lifecycle configuration elements". Days count from creation and end at the next midnight
UTC. Transitions between storage classes are refused: every byte here is stored in one way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from fieldstone.services.storage.s3 import tagging, xml
from fieldstone.services.storage.s3.dates import LAST_MS, http_date, iso_date, parse_iso_date
from fieldstone.services.storage.s3.errors import S3Error

DAY_MS = 86_400_000
MAX_RULES = 1000
MAX_DAYS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Filter:
    """What a rule applies to: all of the stated must hold. Sizes in bytes, both exclusive."""

    prefix: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    larger_than: int | None = None
    smaller_than: int | None = None

    def fits(self, key: str, tags: Mapping[str, str], size_bytes: int) -> bool:
        """Return whether an object is under the rule."""
        return (
            key.startswith(self.prefix)
            and all(tags.get(name) == value for name, value in self.tags.items())
            and (self.larger_than is None or size_bytes > self.larger_than)
            and (self.smaller_than is None or size_bytes < self.smaller_than)
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `date_ms` is a midnight in Unix ms. `legacy` keeps the old form (Prefix outside Filter) when written."""

    name: str
    enabled: bool
    filter: Filter
    days: int | None = None
    date_ms: int | None = None
    delete_marker: bool = False
    noncurrent_days: int | None = None
    newer_noncurrent: int | None = None
    abort_days: int | None = None
    legacy: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one version. `noncurrent_since_ms` None: it is the current one; `newer_noncurrent`: how many
    noncurrent versions are newer; `alone`: no other version of the key exists."""

    key: str
    created_ms: int
    size_bytes: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    is_delete_marker: bool = False
    noncurrent_since_ms: int | None = None
    newer_noncurrent: int = 0
    alone: bool = False


def parse(document: bytes) -> tuple[Rule, ...]:
    """Read a `LifecycleConfiguration`. Errors: MalformedXML, InvalidArgument, InvalidRequest, NotImplemented (transitions)."""
    root = xml.parse(document, ("LifecycleConfiguration", "BucketLifecycleConfiguration"))
    root.only("Rule")
    if not 1 <= len(root.children) <= MAX_RULES:
        raise S3Error("MalformedXML")
    rules = tuple(_rule(node) for node in root.children)
    if len({rule.name for rule in rules}) != len(rules):
        raise S3Error("InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule")
    return rules


def _rule(node: xml.Node) -> Rule:
    status, name = node.required("Status"), node.value("ID")
    if status not in ("Enabled", "Disabled"):
        raise S3Error("MalformedXML")
    if name is not None and len(name) > 255:
        raise S3Error("InvalidArgument", "ID length should not exceed allowed limit of 255")
    transitions = (*node.all("Transition"), *node.all("NoncurrentVersionTransition"))
    for transition in transitions:
        _check_transition(transition)
    if transitions:
        raise S3Error("NotImplemented", "Transitions are not supported: there is one storage class.")
    node.only(
        "ID", "Status", "Filter", "Prefix", "Expiration", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"
    )  # fmt: skip
    where = node.child("Filter")
    legacy = None if node.child("Prefix") is None else _exact(node, "Prefix")
    if (where is None) == (legacy is None):
        raise S3Error("MalformedXML")
    days, date_ms, marker = _expiration(node.child("Expiration"))
    noncurrent_days, newer = _noncurrent(node.child("NoncurrentVersionExpiration"))
    abort = node.child("AbortIncompleteMultipartUpload")
    abort_days = None if abort is None else _days(abort.required("DaysAfterInitiation"), "DaysAfterInitiation")
    chosen = Filter(prefix=legacy or "") if where is None else _filter(where)
    if abort_days is not None and (chosen.tags or chosen.larger_than is not None or chosen.smaller_than is not None):
        raise S3Error("InvalidRequest", "AbortIncompleteMultipartUpload cannot be specified with Tags or object sizes.")
    if marker and chosen.tags:
        raise S3Error("InvalidRequest", "ExpiredObjectDeleteMarker cannot be specified with Tags.")
    if days is date_ms is noncurrent_days is abort_days is None and not marker:
        raise S3Error("InvalidRequest", "At least one action needs to be specified in a rule")
    unnamed = hashlib.sha256(repr((chosen, days, date_ms, marker, noncurrent_days, newer, abort_days)).encode())
    return Rule(
        name or unnamed.hexdigest()[:32],
        status == "Enabled",
        chosen,
        days,
        date_ms,
        marker,
        noncurrent_days,
        newer,
        abort_days,
        where is None,
    )


def _days(value: str, what: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 11) or not 1 <= int(value) <= MAX_DAYS:
        raise S3Error("InvalidArgument", f"'{what}' for action must be a positive integer")
    return int(value)


def _midnight(value: str) -> int:
    date_ms = parse_iso_date(value)
    if date_ms is None:
        raise S3Error("MalformedXML")
    if date_ms % DAY_MS:
        raise S3Error("InvalidArgument", "'Date' must be at midnight GMT")
    return date_ms


def _check_transition(node: xml.Node) -> None:
    """Find what is wrong with a transition, so that a mistake is not taken for what we do not offer."""
    node.only("Date", "Days", "NoncurrentDays", "NewerNoncurrentVersions", "StorageClass")
    node.required("StorageClass")
    date = node.value("Date")
    if date is not None:
        _midnight(date)


def _expiration(node: xml.Node | None) -> tuple[int | None, int | None, bool]:
    if node is None:
        return None, None, False
    node.only("Days", "Date", "ExpiredObjectDeleteMarker")
    if len(node.children) != 1:
        raise S3Error("MalformedXML")
    days, date, marker = node.value("Days"), node.value("Date"), node.value("ExpiredObjectDeleteMarker")
    if days is not None:
        return _days(days, "Days"), None, False
    if date is not None:
        return None, _midnight(date), False
    return None, None, xml.boolean(marker or "")


def _noncurrent(node: xml.Node | None) -> tuple[int | None, int | None]:
    if node is None:
        return None, None
    node.only("NoncurrentDays", "NewerNoncurrentVersions")
    newer = node.value("NewerNoncurrentVersions")
    if newer is not None and not (newer.isascii() and newer.isdigit() and len(newer) < 4 and 1 <= int(newer) <= 100):
        raise S3Error("InvalidArgument", "NewerNoncurrentVersions must be between 1 and 100")
    return _days(node.required("NoncurrentDays"), "NoncurrentDays"), None if newer is None else int(newer)


def _filter(node: xml.Node) -> Filter:
    if len(node.children) > 1:
        raise S3Error("MalformedXML")
    inner = node.child("And") or node
    inner.only("Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan")
    larger, smaller = inner.value("ObjectSizeGreaterThan"), inner.value("ObjectSizeLessThan")
    bounds = [None if v is None else xml.integer(v, code="InvalidArgument") for v in (larger, smaller)]
    tags = tagging.check([(_exact(tag, "Key"), _exact(tag, "Value")) for tag in inner.all("Tag")], most=1000)
    prefix = inner.child("Prefix")
    return Filter(prefix.text if prefix is not None else "", tags, bounds[0], bounds[1])


def _exact(node: xml.Node, name: str) -> str:
    """Return a text with the blanks around it: without them a rule would end what it was not written for."""
    found = node.child(name)
    if found is None:
        raise S3Error("MalformedXML")
    return found.text


def write(rules: Sequence[Rule]) -> bytes:
    """Render a `LifecycleConfiguration`."""
    return xml.write("LifecycleConfiguration", [("Rule", _rule_pairs(rule)) for rule in rules])


def _rule_pairs(rule: Rule) -> list[xml.Pair]:
    chosen = rule.filter
    parts: list[xml.Pair] = [("Prefix", chosen.prefix)] if chosen.prefix else []
    parts += [("Tag", [("Key", k), ("Value", v)]) for k, v in chosen.tags.items()]
    sizes = (("ObjectSizeGreaterThan", chosen.larger_than), ("ObjectSizeLessThan", chosen.smaller_than))
    parts += [(name, bound) for name, bound in sizes if bound is not None]
    where: xml.Content = [("And", parts)] if len(parts) > 1 else parts or [("Prefix", "")]
    expiration: xml.Content = None
    if rule.days is not None or rule.date_ms is not None or rule.delete_marker:
        date = None if rule.date_ms is None else iso_date(rule.date_ms)
        expiration = [("Days", rule.days), ("Date", date), ("ExpiredObjectDeleteMarker", rule.delete_marker or None)]
    noncurrent: xml.Content = None
    if rule.noncurrent_days is not None:
        noncurrent = [("NoncurrentDays", rule.noncurrent_days), ("NewerNoncurrentVersions", rule.newer_noncurrent)]
    return [
        ("ID", rule.name),
        ("Prefix", chosen.prefix) if rule.legacy else ("Filter", where),
        ("Status", "Enabled" if rule.enabled else "Disabled"),
        ("Expiration", expiration),
        ("NoncurrentVersionExpiration", noncurrent),
        (
            "AbortIncompleteMultipartUpload",
            None if rule.abort_days is None else [("DaysAfterInitiation", rule.abort_days)],
        ),
    ]


def _due(from_ms: int, days: int, day_ms: int) -> int:
    """Return when `days` days after a moment are over: at the following midnight, where a day is a real one."""
    due = from_ms + days * day_ms
    return -(-due // day_ms) * day_ms if day_ms == DAY_MS else due


def expiry(rules: Sequence[Rule], facts: Facts, *, day_ms: int = DAY_MS) -> tuple[int, Rule] | None:
    """Return when (Unix ms) and under which rule a current object ends, the earliest first; None: never.

    `day_ms` shortens days in trials; rounding to midnight falls away then.
    """
    found: list[tuple[int, str, Rule]] = []
    for rule in rules:
        if rule.enabled and rule.filter.fits(facts.key, facts.tags, facts.size_bytes):
            if rule.days is not None:
                found.append((_due(facts.created_ms, rule.days, day_ms), rule.name, rule))
            elif rule.date_ms is not None:
                found.append((rule.date_ms, rule.name, rule))
    if not found:
        return None
    due, _, rule = min(found, key=lambda item: item[:2])
    return due, rule


def expired(rule: Rule, facts: Facts, now_ms: int, *, day_ms: int = DAY_MS) -> bool:
    """Return whether a rule ends this version's life now.

    For a current object that means removal (a delete marker where versioning is on), for a noncurrent version or a lone
    delete marker removal for good.
    """
    if not rule.enabled or not rule.filter.fits(facts.key, facts.tags, facts.size_bytes):
        return False
    if facts.noncurrent_since_ms is not None:
        if rule.noncurrent_days is None or facts.newer_noncurrent < (rule.newer_noncurrent or 0):
            return False
        return now_ms >= _due(facts.noncurrent_since_ms, rule.noncurrent_days, day_ms)
    if facts.is_delete_marker:
        if not facts.alone:
            return False
        if rule.delete_marker:
            return True
    due = expiry((rule,), facts, day_ms=day_ms)
    return due is not None and now_ms >= due[0]


def upload_expired(rule: Rule, key: str, initiated_ms: int, now_ms: int, *, day_ms: int = DAY_MS) -> bool:
    """Return whether a rule aborts a multipart upload now."""
    if not rule.enabled or rule.abort_days is None or not key.startswith(rule.filter.prefix):
        return False
    return now_ms >= _due(initiated_ms, rule.abort_days, day_ms)


def expiration_header(rules: Sequence[Rule], facts: Facts) -> str | None:
    """Return `x-amz-expiration` of a current object, None where it never ends."""
    found = expiry(rules, facts)
    if found is None:
        return None
    due_ms, rule = found
    due_ms = min(due_ms, LAST_MS)
    return f'expiry-date="{http_date(due_ms // 1000)}", rule-id="{quote(rule.name)}"'
