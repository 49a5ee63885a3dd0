"""The questions with weights, bands and flags: `data/questions.toml`, every threshold in one place and overridable."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from fieldstone.assess.claims import Grade
from fieldstone.errors import ConfigError

Band = Literal["green", "amber", "red"]
Role = Literal["decides", "worsens", "shows"]
_CONDITION = re.compile(r"(>=|<=|>|<)\s*(-?[0-9.]+(?:e[0-9]+)?)")

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Weight = Annotated[float, msgspec.Meta(ge=0, le=1e6)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


@dataclass(frozen=True, slots=True)
class Condition:
    """Comparisons that must all hold; none never holds."""

    parts: tuple[tuple[str, float], ...]
    text: str

    def holds(self, value: float) -> bool:
        """Return whether a value meets every comparison."""
        return bool(self.parts) and all(_compare(value, sign, bound) for sign, bound in self.parts)


def condition(text: str) -> Condition:
    """Read ">= 0.4, <= 0.85". Raises ValueError."""
    parts = []
    for piece in filter(None, (part.strip() for part in text.split(","))):
        match = _CONDITION.fullmatch(piece)
        if not match:
            raise ValueError(f"{piece!r} is not a comparison such as >= 0.8")
        parts.append((match[1], float(match[2])))
    return Condition(tuple(parts), text)


def _compare(value: float, sign: str, bound: float) -> bool:
    if sign == ">=":
        return value >= bound
    if sign == "<=":
        return value <= bound
    return value > bound if sign == ">" else value < bound


class MeasureRule(_Strict, frozen=True, kw_only=True):
    """How one number of a question is judged. What meets neither condition is red."""

    name: str
    role: Role
    green: str = ""
    amber: str = ""

    def band(self, value: float) -> Band | None:
        """Return the band of a value; None when it is only shown."""
        if self.role == "shows":
            return None
        if condition(self.green).holds(value):
            return "green"
        return "amber" if condition(self.amber).holds(value) else "red"


class Question(_Strict, frozen=True, kw_only=True):
    """One question. `or_flag`: a metric that answers it green by itself. `change`: what evidence would change the answer."""

    id: str
    weight: _Weight
    title: str
    asks: str
    change: str
    measures: tuple[MeasureRule, ...]
    or_flag: str = ""


class FlagRule(_Strict, frozen=True, kw_only=True):
    """A red flag: hard caps the verdict at red, soft at amber."""

    id: str
    severity: Literal["hard", "soft"]
    title: str
    measure: str
    when: str
    why: str


class _Verdict(_Strict, frozen=True, kw_only=True):
    green: str
    amber: str
    least_coverage: _Share


class _Grades(_Strict, frozen=True, kw_only=True):
    factor: dict[Grade, _Share]
    oldest_days: int
    furthest_days: int


class _Sensitivity(_Strict, frozen=True, kw_only=True):
    draws: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    seed: int
    weight_change: _Share
    error: dict[Grade, _Share]


class _Contradictions(_Strict, frozen=True, kw_only=True):
    least_difference: _Share
    scope_factor: float


class Framework(_Strict, frozen=True, kw_only=True):
    """Everything that turns claims into a verdict, as data."""

    version: int
    verdict: _Verdict
    grades: _Grades
    sensitivity: _Sensitivity
    contradictions: _Contradictions
    question: tuple[Question, ...]
    flag: tuple[FlagRule, ...]

    @property
    def sha256(self) -> str:
        """Identify the framework by its content."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def reweighted(self, weights: Mapping[str, float]) -> Framework:
        """Return the framework with other weights for some questions."""
        changed = tuple(msgspec.structs.replace(q, weight=weights.get(q.id, q.weight)) for q in self.question)
        return msgspec.structs.replace(self, question=changed)


@cache
def _shipped() -> Framework:
    text = (resources.files("fieldstone.assess") / "data" / "questions.toml").read_text(encoding="utf-8")
    return parse_framework(text, "questions.toml")


def load_framework(path: Path | None = None) -> Framework:
    """Return the shipped framework, or one from a file of the same form. Raises ConfigError."""
    if path is None:
        return _shipped()
    try:
        return parse_framework(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", path=str(path)) from error


def parse_framework(text: str, path: str) -> Framework:
    """Read a framework's text. Raises ConfigError."""
    try:
        found = msgspec.convert(tomllib.loads(text), Framework)
    except (tomllib.TOMLDecodeError, RecursionError, msgspec.ValidationError) as error:
        raise ConfigError(str(error), path=path) from None
    from fieldstone.assess.formulas import known_names

    names, known = [q.id for q in found.question], known_names()
    if len(set(names)) != len(names) or sum(q.weight for q in found.question) <= 0:
        raise ConfigError("question ids must differ and weights must not all be 0", key="question", path=path)
    for grade in Grade:
        if grade not in found.grades.factor or grade not in found.sensitivity.error:
            raise ConfigError(f"says nothing about grade {grade}", key="grades.factor", path=path)
    for where, name, texts in [
        *((f"question {q.id}", m.name, (m.green, m.amber)) for q in found.question for m in q.measures),
        *((f"flag {f.id}", f.measure, (f.when,)) for f in found.flag),
        ("verdict", "", (found.verdict.green, found.verdict.amber)),
    ]:
        if name and name not in known:
            raise ConfigError(f"there is no measure or metric {name!r}", key=where, path=path)
        for text_ in texts:
            try:
                condition(text_)
            except ValueError as error:
                raise ConfigError(str(error), key=where, path=path) from None
    return found
