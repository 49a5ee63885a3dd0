"""Bucket policies: the JSON of IAM's language as far as buckets use it, and its evaluation.

Source: IAM user guide, "IAM JSON policy elements reference" and "Policy evaluation logic". An explicit deny wins over
everything, an allow over nothing. What is not understood is refused when the policy is stored, never skipped when it is
evaluated: a condition ignored is a door left open.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from fieldstone.services.storage.s3 import policy_conditions
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.policy_conditions import Condition

MAX_POLICY_BYTES = 20 * 1024
MAX_STATEMENTS = 256
VERSIONS = ("2012-10-17", "2008-10-17")
ARN = "arn:aws:s3:::"
Decision = Literal["allow", "deny", "none"]
_ACCOUNT = re.compile(r"arn:aws:(?:iam|sts)::([^:]*):(root|user/.+|role/.+|assumed-role/.+)")


@dataclass(frozen=True, slots=True)
class Principals:
    """Who a statement speaks of: accounts (ids or ARNs; `*`: everyone), and whether everyone else is meant instead."""

    names: tuple[str, ...]
    negated: bool = False

    def fits(self, account: str | None, arn: str | None) -> bool:
        """Return whether a caller is meant: account id and ARN, both None for anonymous."""
        found = any(name == "*" or (account is not None and _names(name, account, arn)) for name in self.names)
        return found != self.negated


def _names(name: str, account: str, arn: str | None) -> bool:
    if name in (account, arn):
        return True
    match = _ACCOUNT.fullmatch(name)
    if match is None:
        return False
    owner, who = match.groups()
    return (who == "root" and owner == account) or (who.startswith("user/") and who == f"user/{account}")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. `actions` and `resources` hold wildcards; `not_*` mean all but these."""

    effect: Literal["Allow", "Deny"]
    principals: Principals
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()
    not_actions: bool = False
    not_resources: bool = False
    sid: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy; `document` is what was stored, byte for byte."""

    statements: tuple[Statement, ...]
    document: str


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a policy. `action`: `s3:GetObject`; `resource`: ARN; `context`: condition keys in lower case."""

    action: str
    resource: str
    account: str | None = None
    arn: str | None = None
    context: Mapping[str, Sequence[str]] | None = None


def resource_arn(bucket: str, key: str | None = None) -> str:
    """Return the ARN of a bucket or object."""
    return ARN + bucket if key is None else f"{ARN}{bucket}/{key}"


def parse(document: bytes, bucket: str) -> Policy:
    """Read and check a policy for a bucket. Errors: MalformedPolicy with the reason."""
    if len(document) > MAX_POLICY_BYTES:
        raise S3Error("MalformedPolicy", f"Policies must not exceed {MAX_POLICY_BYTES} bytes.")
    try:
        text = document.decode()
        tree = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise S3Error("MalformedPolicy", "Policies must be valid JSON and the first byte must be '{'") from None
    if not isinstance(tree, dict):
        raise S3Error("MalformedPolicy", "Policies must be valid JSON and the first byte must be '{'")
    _known(tree, {"Version", "Id", "Statement"})
    if tree.get("Version", VERSIONS[1]) not in VERSIONS:
        raise S3Error("MalformedPolicy", "The policy must contain a valid version string")
    listed = tree.get("Statement")
    statements = listed if isinstance(listed, list) else [listed]
    if not statements or len(statements) > MAX_STATEMENTS:
        raise S3Error("MalformedPolicy", "Could not parse the policy: Statement is empty!")
    return Policy(tuple(_statement(node, bucket) for node in statements), text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _known(node: Mapping[str, Any], names: set[str]) -> None:
    unknown = sorted(node.keys() - names)
    if unknown:
        raise S3Error("MalformedPolicy", f"Unknown field {unknown[0]}")


def _strings(value: object, what: str) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, str) and v for v in values):
        raise S3Error("MalformedPolicy", f"Policy has invalid {what}")
    return tuple(values)


def _either(node: Mapping[str, Any], name: str) -> tuple[Any, bool]:
    if (name in node) == (f"Not{name}" in node):
        raise S3Error("MalformedPolicy", f"Missing required field {name}")
    return (node[name], False) if name in node else (node[f"Not{name}"], True)


def _statement(node: object, bucket: str) -> Statement:
    if not isinstance(node, dict):
        raise S3Error("MalformedPolicy", "Statement is not an object")
    _known(
        node,
        {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"},
    )
    effect, sid = node.get("Effect"), node.get("Sid", "")
    if effect not in ("Allow", "Deny"):
        raise S3Error("MalformedPolicy", f"Invalid effect: {effect}")
    if not isinstance(sid, str):
        raise S3Error("MalformedPolicy", "Invalid Sid")
    who, not_who = _either(node, "Principal")
    what, not_what = _either(node, "Action")
    where, not_where = _either(node, "Resource")
    actions = _strings(what, "action")
    if not all(re.fullmatch(r"\*|[sS]3:[A-Za-z*?]+", action) for action in actions):
        raise S3Error("MalformedPolicy", "Policy has invalid action")
    resources = _strings(where, "resource")
    if not not_where and not all(_concerns(r, bucket) for r in resources):
        raise S3Error("MalformedPolicy", "Policy has invalid resource")
    if effect == "Allow" and not_who:
        raise S3Error("MalformedPolicy", "Allow with NotPrincipal is not supported.")
    return Statement(
        effect,
        Principals(_principals(who), not_who),
        actions,
        resources,
        policy_conditions.parse(node.get("Condition", {})),
        not_what,
        not_where,
        sid,
    )


def _concerns(resource: str, bucket: str) -> bool:
    """Return whether a resource pattern can mean this bucket or something in it."""
    if resource == "*":
        return True
    return resource.startswith(ARN) and wildcard(resource.removeprefix(ARN).partition("/")[0], bucket)


def _principals(value: object) -> tuple[str, ...]:
    if value == "*":
        return ("*",)
    if not isinstance(value, dict) or not value:
        raise S3Error("MalformedPolicy", "Invalid principal in policy")
    _known(value, {"AWS", "CanonicalUser"})
    found: list[str] = []
    for names in value.values():
        found += _strings(names, "principal")
    for name in found:
        if name != "*" and ("*" in name or (name.startswith("arn:") and not _ACCOUNT.fullmatch(name))):
            raise S3Error("MalformedPolicy", "Invalid principal in policy", detail={"Detail": name})
    return tuple(found)


@lru_cache(maxsize=4096)
def _pattern(pattern: str, fold: bool) -> re.Pattern[str]:
    """Compile `*` and `?` to an expression without backtracking blow-up (fnmatch makes the stars atomic)."""
    literal = pattern.replace("[", "[[]")
    return re.compile(fnmatch.translate(literal), re.IGNORECASE if fold else 0)


def wildcard(pattern: str, value: str, *, fold_case: bool = False) -> bool:
    """Return whether a pattern of `*` (any run) and `?` (one character) fits the whole value."""
    if "*" not in pattern and "?" not in pattern:
        return pattern.lower() == value.lower() if fold_case else pattern == value
    return _pattern(pattern, fold_case).match(value) is not None


def _fits(statement: Statement, question: Question) -> bool:
    if not statement.principals.fits(question.account, question.arn):
        return False
    if any(wildcard(a, question.action, fold_case=True) for a in statement.actions) == statement.not_actions:
        return False
    context = question.context or {}
    resources = (policy_conditions.substitute(r, context) for r in statement.resources)
    if any(r is not None and wildcard(r, question.resource) for r in resources) == statement.not_resources:
        return False
    return all(policy_conditions.holds(condition, context) for condition in statement.conditions)


def decide(policy: Policy | None, question: Question) -> Decision:
    """Return what a policy says: `deny` if any statement denies, else `allow` if any allows, else `none`."""
    decision: Decision = "none"
    for statement in policy.statements if policy is not None else ():
        if (statement.effect == "Deny" or decision == "none") and _fits(statement, question):
            if statement.effect == "Deny":
                return "deny"
            decision = "allow"
    return decision


def is_public(policy: Policy) -> bool:
    """Return whether a policy lets everyone in: an allow for `*` that no condition ties to fixed callers.

    Source: Amazon S3 user guide, "The meaning of 'public'".
    """
    return any(
        s.effect == "Allow"
        and ("*" in s.principals.names) != s.principals.negated
        and not any(policy_conditions.narrows(condition) for condition in s.conditions)
        for s in policy.statements
    )
