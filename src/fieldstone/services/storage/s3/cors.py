"""Cross-origin rules of a bucket: documents, preflight answers, headers of ordinary answers.

Source: Amazon S3 user guide, "Elements of a CORS configuration". The first rule that fits decides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fieldstone.services.storage.s3 import xml
from fieldstone.services.storage.s3.errors import S3Error

MAX_RULES = 100
MAX_DOCUMENT_BYTES = 64 * 1024
METHODS = ("GET", "PUT", "HEAD", "POST", "DELETE")


@dataclass(frozen=True, slots=True)
class Rule:
    """Origins and headers may hold one `*`. `max_age_s` None: not said."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    max_age_s: int | None = None
    name: str | None = None


def parse(document: bytes) -> tuple[Rule, ...]:
    """Read a `CORSConfiguration`. Errors: MalformedXML, InvalidRequest (method, several wildcards)."""
    root = xml.parse(document, "CORSConfiguration", max_bytes=MAX_DOCUMENT_BYTES)
    root.only("CORSRule")
    if not 1 <= len(root.children) <= MAX_RULES:
        raise S3Error("MalformedXML")
    return tuple(_rule(node) for node in root.children)


def _rule(node: xml.Node) -> Rule:
    node.only("ID", "AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader", "MaxAgeSeconds")

    def texts(name: str) -> tuple[str, ...]:
        return tuple(child.text.strip() for child in node.all(name))

    rule = Rule(
        texts("AllowedOrigin"),
        texts("AllowedMethod"),
        texts("AllowedHeader"),
        texts("ExposeHeader"),
        None if (age := node.value("MaxAgeSeconds")) is None else xml.integer(age, most=2**31 - 1),
        node.value("ID"),
    )
    if not rule.origins or not rule.methods:
        raise S3Error("MalformedXML")
    for method in rule.methods:
        if method not in METHODS:
            raise S3Error(
                "InvalidRequest", f"Found unsupported HTTP method in CORS config. Unsupported method is {method}"
            )
    for what, values in (("AllowedOrigin", rule.origins), ("AllowedHeader", rule.headers)):
        for value in values:
            if value.count("*") > 1:
                raise S3Error("InvalidRequest", f'{what} "{value}" can not have more than one wildcard.')
    if any("*" in value for value in rule.expose):
        raise S3Error("InvalidRequest", "ExposeHeader can not have a wildcard.")
    if any(not re.fullmatch(r"[!-~]+", value) for value in (*rule.origins, *rule.headers, *rule.expose)):
        raise S3Error("InvalidRequest", "A CORS rule holds a character that no header can carry.")
    return rule


def write(rules: Sequence[Rule]) -> bytes:
    """Render a `CORSConfiguration`."""

    def pairs(rule: Rule) -> list[xml.Pair]:
        return [
            ("ID", rule.name),
            *(("AllowedMethod", m) for m in rule.methods),
            *(("AllowedOrigin", o) for o in rule.origins),
            *(("AllowedHeader", h) for h in rule.headers),
            *(("ExposeHeader", h) for h in rule.expose),
            ("MaxAgeSeconds", rule.max_age_s),
        ]

    return xml.write("CORSConfiguration", [("CORSRule", pairs(rule)) for rule in rules])


def _fits(pattern: str, value: str) -> bool:
    head, star, tail = pattern.partition("*")
    if not star:
        return pattern == value
    return len(value) >= len(head) + len(tail) and value.startswith(head) and value.endswith(tail)


def find(rules: Sequence[Rule], origin: str, method: str, headers: Sequence[str] = ()) -> Rule | None:
    """Return the first rule that lets `origin` use `method` with `headers`, None where none does."""
    for rule in rules:
        if (
            method in rule.methods
            and any(_fits(o, origin) for o in rule.origins)
            and all(any(_fits(a.lower(), h.lower()) for a in rule.headers) for h in headers)
        ):
            return rule
    return None


def response_headers(rule: Rule, origin: str, method: str, requested: Sequence[str] = ()) -> dict[str, str]:
    """Return the headers of an answer under a rule. A rule for `*` names no origin and allows no credentials."""
    any_origin = "*" in rule.origins
    headers = {
        "Access-Control-Allow-Origin": "*" if any_origin else origin,
        "Access-Control-Allow-Methods": ", ".join(rule.methods),
        "Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
    }
    if not any_origin:
        headers["Access-Control-Allow-Credentials"] = "true"
    if requested:
        headers["Access-Control-Allow-Headers"] = ", ".join(h.lower() for h in requested)
    if rule.expose:
        headers["Access-Control-Expose-Headers"] = ", ".join(rule.expose)
    if rule.max_age_s is not None:
        headers["Access-Control-Max-Age"] = str(rule.max_age_s)
    return headers


def preflight(
    rules: Sequence[Rule] | None, origin: str | None, method: str | None, requested: str | None
) -> dict[str, str]:
    """Return the headers that answer an OPTIONS request.

    Errors: InvalidRequest (400: Origin or method missing), CrossOriginForbidden (403: no rule fits).
    """
    if not origin:
        raise S3Error("InvalidRequest", "Insufficient information. Origin request header needed.")
    if method not in METHODS:
        raise S3Error("InvalidRequest", f"Invalid Access-Control-Request-Method: {method or ''}")
    if rules is None:
        raise S3Error("CrossOriginForbidden", "CORSResponse: CORS is not enabled for this bucket.")
    headers = [h.strip() for h in (requested or "").split(",") if h.strip()]
    if any(not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", h) for h in headers) or not re.fullmatch(r"[!-~]+", origin):
        raise S3Error("InvalidRequest", "Origin or Access-Control-Request-Headers is malformed.")
    rule = find(rules, origin, method, headers)
    if rule is None:
        raise S3Error("CrossOriginForbidden")
    return response_headers(rule, origin, method, headers)
