"""The condition block of a policy: operators on request facts.

Source: IAM user guide, "IAM JSON policy elements: Condition operators". Condition keys are compared in lower case, also the
names of tags in them. A key that the request lacks makes a condition false, except for the negated operators, `…IfExists` and `ForAllValues:`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Literal

from fieldstone.services.storage.s3.dates import parse_iso_date
from fieldstone.services.storage.s3.errors import S3Error

Context = Mapping[str, Sequence[str]]
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_LITERAL = {"*": "*", "?": "?", "$": "$"}


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one key; it holds when any of `values` fits (for negated operators: when none does)."""

    operator: str
    key: str
    values: tuple[str, ...]
    if_exists: bool = False
    quantifier: Literal["", "ForAnyValue", "ForAllValues"] = ""


def _like(pattern: str, value: str) -> bool:
    from fieldstone.services.storage.s3.policy import wildcard

    return wildcard(pattern, value)


def _equal_folded(wanted: str, value: str) -> bool:
    return wanted.casefold() == value.casefold()


def _compare(
    read: Callable[[str], Decimal | int | None],
    test: Callable[[Decimal | int, Decimal | int], bool],
    wanted: str,
    value: str,
) -> bool:
    left, right = read(value), read(wanted)
    return left is not None and right is not None and test(left, right)


def _number(value: str) -> Decimal | None:
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None  # what is no number cannot be compared


def _moment(value: str) -> int | None:
    if value.isascii() and value.isdigit() and len(value) < 19:
        return int(value) * 1000
    return parse_iso_date(value)


def _in_network(wanted: str, value: str) -> bool:
    try:
        address = ipaddress.ip_address(value)
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address) in ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        return False


_NUMBER, _DATE = partial(_compare, _number), partial(_compare, _moment)
_TESTS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, value: wanted == value,
    "StringEqualsIgnoreCase": _equal_folded,
    "StringLike": _like,
    "ArnEquals": _like,
    "ArnLike": _like,
    "Bool": _equal_folded,
    "BinaryEquals": lambda wanted, value: wanted == value,
    "IpAddress": _in_network,
    "NumericEquals": partial(_NUMBER, lambda a, b: a == b),
    "NumericLessThan": partial(_NUMBER, lambda a, b: a < b),
    "NumericLessThanEquals": partial(_NUMBER, lambda a, b: a <= b),
    "NumericGreaterThan": partial(_NUMBER, lambda a, b: a > b),
    "NumericGreaterThanEquals": partial(_NUMBER, lambda a, b: a >= b),
    "DateEquals": partial(_DATE, lambda a, b: a == b),
    "DateLessThan": partial(_DATE, lambda a, b: a < b),
    "DateLessThanEquals": partial(_DATE, lambda a, b: a <= b),
    "DateGreaterThan": partial(_DATE, lambda a, b: a > b),
    "DateGreaterThanEquals": partial(_DATE, lambda a, b: a >= b),
}
_NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NotIpAddress": "IpAddress",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
}
# What requests here can answer (`server.context`).
_EVALUATED = re.compile(
    r"aws:(sourceip|securetransport|currenttime|epochtime|requestedregion|resourceaccount|viaawsservice"
    r"|principalisawsservice|useragent|referer|username|userid|principalaccount|principalarn|principaltype)"
    r"|s3:(resourceaccount|authtype|signatureversion|signatureage|objectcreationoperation|if-match|if-none-match|prefix"
    r"|delimiter|max-keys|versionid|x-amz-.+|requestobjecttagkeys|(requestobjecttag|existingobjecttag)/.+)",
    re.DOTALL,
)
# What Amazon's callers may have and ours never do: no organisations, private networks, sessions, access points.
_NEVER_THERE = re.compile(
    r"aws:(principalorgid|principalorgpaths|principaltag/.+|principalservicename|principalservicenameslist|sourcearn"
    r"|sourceaccount|sourceowner|sourceorgid|sourceorgpaths|sourcevpc|sourcevpce|sourcevpcarn|vpcsourceip|calledvia"
    r"|calledviafirst|calledvialast|multifactorauthpresent|multifactorauthage|tokenissuetime|federatedprovider"
    r"|sourceidentity|rolesessionname|ec2instancesourcevpc|ec2instancesourceprivateipv4)"
    r"|s3:(dataaccesspointarn|dataaccesspointaccount|accesspointnetworkorigin)",
    re.DOTALL,
)
_KEYS = re.compile(r"(?i:aws|s3):[A-Za-z0-9/._-]+(/.+)?", re.DOTALL)


def parse(node: object) -> tuple[Condition, ...]:
    """Read a condition block. Errors: MalformedPolicy for operators, keys or values that are not understood."""
    if not isinstance(node, dict):
        raise S3Error("MalformedPolicy", "Invalid Condition")
    found = []
    for operator, keys in node.items():
        quantifier, colon, name = operator.partition(":")
        if not colon:
            quantifier, name = "", operator
        if_exists = name.endswith("IfExists")
        name = name.removesuffix("IfExists")
        if (name not in _TESTS and name not in _NEGATED and name != "Null") or quantifier not in (
            "",
            "ForAnyValue",
            "ForAllValues",
        ):
            raise S3Error("MalformedPolicy", f"Invalid Condition type : {operator}")
        if not isinstance(keys, dict) or not keys:
            raise S3Error("MalformedPolicy", "Invalid Condition")
        for key, stated in keys.items():
            values = stated if isinstance(stated, list) else [stated]
            if not _KEYS.fullmatch(key) or not values or not all(isinstance(v, str | bool | int) for v in values):
                raise S3Error("MalformedPolicy", "Policy has an invalid condition key", detail={"Detail": str(key)})
            texts = tuple(str(v).lower() if isinstance(v, bool) else str(v) for v in values)
            _check_values(name, texts)
            quantifier_ = next(q for q in ("", "ForAnyValue", "ForAllValues") if q == quantifier)
            found.append(Condition(name, key.lower(), texts, if_exists, quantifier_))  # type: ignore[arg-type]
    return tuple(found)


def check_keys(conditions: Sequence[Condition]) -> None:
    """Refuse to store a condition that nobody here can answer: a denial that hangs on it would never come. Errors:
    MalformedPolicy."""
    for condition in conditions:
        if not _EVALUATED.fullmatch(condition.key) and not _NEVER_THERE.fullmatch(condition.key):
            raise S3Error("MalformedPolicy", "Policy has an invalid condition key", detail={"Detail": condition.key})


def _check_values(operator: str, values: tuple[str, ...]) -> None:
    plain = _NEGATED.get(operator, operator)
    for value in values:
        if plain == "IpAddress":
            try:
                ipaddress.ip_network(value, strict=False)
            except ValueError:
                raise S3Error("MalformedPolicy", f"Invalid IP address or network: {value}") from None
        wrong = (
            (plain.startswith("Numeric") and _number(value) is None)
            or (plain.startswith("Date") and _moment(value) is None)
            or (plain in ("Bool", "Null") and value.lower() not in ("true", "false"))
        )
        if wrong:
            raise S3Error("MalformedPolicy", f"Invalid value for {operator}: {value}")


def substitute(value: str, context: Context) -> str | None:
    """Fill policy variables (`${aws:username}`); None where the request lacks one, so nothing fits."""
    if "${" not in value:
        return value
    missing = False

    def fill(match: re.Match[str]) -> str:
        nonlocal missing
        name, _, default = match[1].partition(",")
        if name in _LITERAL:
            return name
        found = context.get(name.strip().lower(), ())
        if len(found) == 1:
            # What a caller controls must not act as a wildcard.
            missing = missing or "*" in found[0] or "?" in found[0]
            return found[0]
        if not default:
            missing = True
        return default.strip().strip("'")

    filled = _VARIABLE.sub(fill, value)
    return None if missing else filled


def holds(condition: Condition, context: Context) -> bool:
    """Return whether a condition is met."""
    present = context.get(condition.key, ())
    if condition.operator == "Null":
        return all((value.lower() == "true") == (not present) for value in condition.values)
    negated = condition.operator in _NEGATED
    test = _TESTS[_NEGATED.get(condition.operator, condition.operator)]
    if not present:
        return condition.if_exists or negated or condition.quantifier == "ForAllValues"
    wanted = [w for w in (substitute(value, context) for value in condition.values) if w is not None]

    def one(value: str) -> bool:
        return any(test(w, value) for w in wanted) != negated

    if condition.quantifier == "ForAllValues" or (negated and condition.quantifier == ""):
        return all(one(value) for value in present)
    return any(one(value) for value in present)


_FIXING_KEYS = frozenset(
    {
        "aws:principalaccount", "aws:principalarn", "aws:principalorgid", "aws:sourcearn", "aws:sourceaccount",
        "aws:sourcevpc", "aws:sourcevpce", "aws:sourceowner", "aws:userid", "aws:username", "s3:dataaccesspointarn",
    }
)  # fmt: skip


def narrows(condition: Condition) -> bool:
    """Return whether a condition ties an allow to fixed callers, so that it is not public."""
    if condition.if_exists or condition.quantifier == "ForAllValues":
        return False
    if condition.key == "aws:sourceip" and condition.operator == "IpAddress":
        return all(_narrow_network(value) for value in condition.values)
    fixed = condition.operator in ("StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals", "ArnLike")
    return fixed and condition.key in _FIXING_KEYS and not any("*" in v or "${" in v for v in condition.values)


def _narrow_network(value: str) -> bool:
    network = ipaddress.ip_network(value, strict=False)
    return network.prefixlen >= (8 if network.version == 4 else 32)
