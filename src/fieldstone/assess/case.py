"""Case files: a network's claims in TOML. A mistake is reported with its key and its line.

schema = 1
[network]      name, service, token, summary, regions, sensitive facts about related parties
[gate]         three_sided_market, token_incentive, physical_placement: is it a DePIN at all?
[[source]]     id, title, locator, date, via
[[claim]]      id, metric, value, unit, period, as_of, source, grade, scope …
[[missing]]    question, what: what nobody publishes
[not_applicable]  question = reason
[[regulation]] region, rule, status, note
"""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from fieldstone.assess.amounts import unit_of
from fieldstone.assess.catalogue import metrics
from fieldstone.assess.claims import Claim, Grade, Source, parse_period
from fieldstone.errors import ConfigError

SERVICES = ("sensing", "storage", "compute", "wireless", "mapping", "energy", "other")
MOST_BYTES = 4_000_000

_Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,59}$")]
_Text = Annotated[str, msgspec.Meta(max_length=4000)]
_NonEmpty = Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]
_Error = Annotated[float, msgspec.Meta(ge=0, le=10)]
Service = Literal["sensing", "storage", "compute", "wireless", "mapping", "energy", "other"]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Network(_Strict, frozen=True, kw_only=True):
    """Who is assessed. `related`: parties whose payments are no demand (team, treasury, operators)."""

    name: _NonEmpty
    service: Service
    token: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9]{0,15}$")] | None = None
    summary: _Text = ""
    regions: tuple[_NonEmpty, ...] = ()
    related: tuple[_NonEmpty, ...] = ()


class Gate(_Strict, frozen=True, kw_only=True):
    """Is it a DePIN at all? (Andrew and Ballandies 2025)"""

    three_sided_market: bool
    token_incentive: bool
    physical_placement: bool
    note: _Text = ""

    @property
    def passed(self) -> bool:
        """Whether all three hold."""
        return self.three_sided_market and self.token_incentive and self.physical_placement


class Missing(_Strict, frozen=True, kw_only=True):
    """What nobody publishes, and where it would be found."""

    question: _NonEmpty
    what: _NonEmpty
    where: _Text = ""


class Regulation(_Strict, frozen=True, kw_only=True):
    """How the network stands to a rule: complies, open, conflicts or unknown. `rule` is an id of the rule table or a text."""

    region: _NonEmpty
    rule: _NonEmpty
    status: Literal["complies", "open", "conflicts", "unknown"] = "unknown"
    note: _Text = ""


class _SourceRow(_Strict, frozen=True, kw_only=True):
    id: _Id
    title: _NonEmpty
    locator: _Text = ""
    date: date | None = None
    via: _Text = ""
    related: bool = False


class _ClaimRow(_Strict, frozen=True, kw_only=True):
    id: _Id
    metric: _NonEmpty
    value: bool | float | list[float]
    unit: str = ""
    period: _NonEmpty
    as_of: date | None = None
    source: _NonEmpty
    retrieved: date | None = None
    grade: Grade
    method: Literal["measured", "metered", "stated", "estimated", "derived"] = "stated"
    scope: _Text = ""
    low: float | None = None
    high: float | None = None
    error: _Error | None = None
    derived_from: tuple[_Id, ...] = ()
    contradicts: tuple[_Id, ...] = ()
    counts: bool = True
    part_of: _Id | None = None
    note: _Text = ""


class _CaseFile(_Strict, frozen=True, kw_only=True):
    schema: Literal[1]
    network: Network
    gate: Gate | None = None
    source: tuple[_SourceRow, ...] = ()
    claim: tuple[_ClaimRow, ...] = ()
    missing: tuple[Missing, ...] = ()
    not_applicable: dict[str, _NonEmpty] = {}
    regulation: tuple[Regulation, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """A network and what is claimed about it. `sha256` identifies the file's bytes."""

    network: Network
    gate: Gate | None
    sources: Mapping[str, Source]
    claims: tuple[Claim, ...]
    missing: tuple[Missing, ...]
    not_applicable: Mapping[str, str]
    regulation: tuple[Regulation, ...]
    path: str
    sha256: str

    def claim(self, claim_id: str) -> Claim:
        """Return a claim by its id. Raises KeyError."""
        return next(claim for claim in self.claims if claim.id == claim_id)

    def with_claims(self, claims: tuple[Claim, ...]) -> Case:
        """Return the case with other claims."""
        return replace(self, claims=claims)


def load_case(path: Path) -> Case:
    """Read a case file. Raises ConfigError naming key and line."""
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError("no such file; `fieldstone assess new` writes one", path=str(path)) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error}", path=str(path)) from error
    if len(body) > MOST_BYTES:
        raise ConfigError(f"is larger than {MOST_BYTES} bytes; a case is a few hundred claims", path=str(path))
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8: {error}", path=str(path)) from error
    return parse_case(text, path=str(path))


def parse_case(text: str, *, path: str = "case.toml") -> Case:
    """Read the text of a case file. Raises ConfigError naming key and line."""
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        line = re.search(r"line (\d+)", str(error))
        raise ConfigError(f"not TOML: {error}", line=int(line[1]) if line else None, path=path) from error
    try:
        read = msgspec.convert(tree, _CaseFile)
    except msgspec.ValidationError as error:
        raise _located(error, text, path) from None
    sources = _sources(read, text, path)
    claims = tuple(_claim(row, n, sources, read.network.token or "", text, path) for n, row in enumerate(read.claim))
    _check_links(claims, text, path)
    return Case(
        network=read.network,
        gate=read.gate,
        sources=sources,
        claims=claims,
        missing=read.missing,
        not_applicable=read.not_applicable,
        regulation=read.regulation,
        path=path,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def line_of(text: str, table: str, index: int | None, key: str) -> int | None:
    """Return the 1-based line of a key, in the n-th `[[table]]` or in `[table]`; of the header when the key is not there."""
    header = re.compile(rf"\s*\[{{1,2}}\s*{re.escape(table)}\s*\]{{1,2}}") if table else None
    inside, seen, found = header is None, -1, None
    for number, line in enumerate(text.splitlines(), start=1):
        if header and line.lstrip().startswith("["):
            seen += bool(header.match(line))
            inside = bool(header.match(line)) and (index is None or seen == index)
            found = number if inside else found
            if found and not inside:
                break
        elif inside and key and re.match(rf'\s*"?{re.escape(key)}"?\s*=', line):
            return number
    return found


def _sources(read: _CaseFile, text: str, path: str) -> dict[str, Source]:
    sources: dict[str, Source] = {}
    for n, row in enumerate(read.source):
        if row.id in sources:
            line = line_of(text, "source", n, "id")
            raise ConfigError(f"{row.id!r} names two sources", key=f"source[{n}].id", line=line, path=path)
        sources[row.id] = Source(row.id, row.title, row.locator, row.date, row.via, row.related)
    return sources


def _claim(row: _ClaimRow, n: int, sources: Mapping[str, Source], token: str, text: str, path: str) -> Claim:
    def wrong(key: str, message: str) -> ConfigError:
        name = f"claim[{n}].{key} (id {row.id})"
        return ConfigError(message, key=name, line=line_of(text, "claim", n, key), path=path)

    metric = metrics().get(row.metric)
    if metric is None:
        raise wrong("metric", f"{row.metric!r} is no known metric{_closest(row.metric)}")
    if row.source not in sources:
        raise wrong("source", f"no [[source]] has the id {row.source!r}; every claim needs one")
    if isinstance(row.value, bool) != (metric.kind == "flag"):
        raise wrong("value", "must be true or false" if metric.kind == "flag" else "must be a number")
    try:
        unit = unit_of(metric.kind, row.unit, token)
    except ValueError as error:
        raise wrong("unit", str(error)) from None
    numbers = row.value if isinstance(row.value, list) else [float(row.value)]
    if isinstance(row.value, list) and (not metric.many or not row.value):
        raise wrong("value", "is an empty list" if metric.many else f"{row.metric} takes one number, not a list")
    given = [*numbers, *(bound for bound in (row.low, row.high) if bound is not None)]
    if not all(math.isfinite(number) for number in given):
        raise wrong("value", "must be finite; what is not known is left out")
    if metric.many and min(numbers) < 0:
        raise wrong("value", "holds a negative number")
    unbounded = row.metric == "token.net_inflation"  # growth can pass 100 % or be negative, a share of something cannot
    if metric.kind == "share" and not unbounded and not all(0 <= number * unit.factor <= 1 for number in given):
        raise wrong("value", f"a share lies between 0 and 1 (0 and 100 %), not {row.value} {row.unit}")
    if (
        not (row.low if row.low is not None else numbers[0])
        <= numbers[0]
        <= (row.high if row.high is not None else numbers[0])
    ):
        raise wrong("low" if row.low is not None else "high", "the value must lie between low and high")
    try:
        period = parse_period(row.period)
    except ValueError as error:
        raise wrong("period", str(error)) from None
    values = tuple(number * unit.factor for number in numbers) if isinstance(row.value, list) else None
    return Claim(
        id=row.id,
        metric=row.metric,
        value=math.fsum(values) if values else numbers[0] * unit.factor,
        values=values,
        low=None if row.low is None else row.low * unit.factor,
        high=None if row.high is None else row.high * unit.factor,
        unit=row.unit,
        base=unit.base,
        shown=_shown(row),
        period=period,
        as_of=row.as_of or period.end,
        source=sources[row.source],
        retrieved=row.retrieved,
        grade=row.grade,
        method=row.method,
        scope=row.scope,
        derived_from=row.derived_from,
        contradicts=row.contradicts,
        error=row.error,
        counts=row.counts,
        part_of=row.part_of,
        note=row.note,
    )


def _shown(row: _ClaimRow) -> str:
    if isinstance(row.value, bool):
        return "yes" if row.value else "no"
    if isinstance(row.value, list):
        return f"{len(row.value)} values, {row.unit}"
    bounds = f" ({_plain(row.low)} to {_plain(row.high)})" if row.low is not None and row.high is not None else ""
    return f"{_plain(row.value)}{bounds} {row.unit}".strip()


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:,.10g}"


def _check_links(claims: tuple[Claim, ...], text: str, path: str) -> None:
    known: set[str] = set()
    for n, claim in enumerate(claims):
        if claim.id in known:
            line = line_of(text, "claim", n, "id")
            raise ConfigError(f"{claim.id!r} names two claims", key=f"claim[{n}].id", line=line, path=path)
        known.add(claim.id)
    for n, claim in enumerate(claims):
        whole = (claim.part_of,) if claim.part_of else ()
        for key, ids in (("derived_from", claim.derived_from), ("contradicts", claim.contradicts), ("part_of", whole)):
            for other in ids:
                if other not in known or other == claim.id:
                    line = line_of(text, "claim", n, key)
                    raise ConfigError(
                        f"no other claim has the id {other!r}", key=f"claim[{n}].{key}", line=line, path=path
                    )


def _closest(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, metrics(), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else "; `fieldstone assess metrics` lists them"


def _located(error: msgspec.ValidationError, text: str, path: str) -> ConfigError:
    message, _, where = str(error).partition(" - at `$")
    where = where.rstrip("`").lstrip(".")
    for pattern, says in ((r"unknown field `(.+?)`", "unknown key"), (r"missing required field `(.+?)`", "is missing")):
        found = re.search(pattern, message)
        if found:
            where, message = f"{where}.{found[1]}".lstrip("."), says
    match = re.match(r"([a-z_]+)(?:\[(\d+|\.\.\.)\])?\.?([a-z_]*)", where)
    table, index, key = match.groups() if match else ("", None, where)
    if not key and table in ("schema",):
        table, key = "", table
    number = int(index) if index and index.isdigit() else None
    return ConfigError(message, key=where or table, line=line_of(text, table or "", number, key or ""), path=path)


def case_from(network: Network, gate: Gate | None, claims: Sequence[Claim]) -> Case:
    """Return a case made of claims that were worked out rather than read from a file."""
    text = "\n".join(repr((c.id, c.value, c.values, str(c.period), c.source.title)) for c in claims)
    sources = {claim.source.id: claim.source for claim in claims}
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Case(network, gate, sources, tuple(claims), (), {}, (), "sealed epochs", sha256)


def joined(case: Case, live: Case) -> Case:
    """Return a case file's claims together with those worked out from epochs; a claim worked out replaces none."""
    sha256 = hashlib.sha256((case.sha256 + live.sha256).encode()).hexdigest()
    return replace(
        case,
        sources={**case.sources, **live.sources},
        claims=(*case.claims, *live.claims),
        path=f"{case.path} and sealed epochs",
        sha256=sha256,
    )
