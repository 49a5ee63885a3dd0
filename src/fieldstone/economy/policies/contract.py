"""What a monetary policy is: a named pure function with its keys, outputs, rounding rule, example and source.

A policy's function takes its keys as keyword arguments and returns its outputs by name. Exact policies take and
return integers of any size; numbers with a fraction arrive as `Fraction`, so that "1.14" is 1.14 and not its nearest
float. Floats leave a policy only where the network's own rule, or its published table, is not an integer rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any

from fieldstone.errors import UsageError

_INTEGER = re.compile(r"[+-]?[0-9]{1,200}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,60}(\.[0-9]{0,60})?|\.[0-9]{1,60})([eE][+-]?[0-9]{1,2})?")
_RANGE = 10**30  # beyond it a product of a few numbers would not fit a float


class Kind(StrEnum):
    """How a key's text is read. Lists are separated by commas."""

    INTEGER = "integer"
    NUMBER = "number"
    CHOICE = "choice"
    INTEGERS = "integers"
    FRACTIONS = "fractions"
    CELLS = "cells"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One input. `default` None means that it must be given. `minimum` and `maximum` bound every number in it."""

    name: str
    kind: Kind
    unit: str
    doc: str
    default: str | None = None
    minimum: int | Fraction | None = 0
    above: int | None = None
    maximum: int | Fraction | None = None
    choices: tuple[str, ...] = ()

    def read(self, given: object) -> Any:
        """Turn a text (or a Python number) into the value the function gets. Raises UsageError naming the key."""
        text = str(given).strip()
        if self.kind is Kind.CHOICE:
            if text not in self.choices:
                raise UsageError(f"{self.name} must be one of {', '.join(self.choices)}, not {_short(text)}")
            return text
        if self.kind in (Kind.INTEGER, Kind.NUMBER):
            return self._number(text)
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if not parts:
            raise UsageError(f"{self.name} is empty: give one or more, separated by commas")
        if self.kind is Kind.CELLS:
            return tuple(self._cell(part) for part in parts)
        return tuple(self._number(part) for part in parts)

    def _number(self, text: str) -> int | Fraction:
        value: int | Fraction
        if self.kind in (Kind.INTEGER, Kind.INTEGERS, Kind.CELLS):
            if not _INTEGER.fullmatch(text):
                raise UsageError(f"{self.name} {_short(text)} is not a whole number")
            value = int(text)
        else:
            top, slash, bottom = text.partition("/")
            if not _NUMBER.fullmatch(top) or (slash and (self.kind is not Kind.FRACTIONS or not bottom.isdigit())):
                raise UsageError(f"{self.name} {_short(text)} is not a number")
            if slash and (len(bottom) > 60 or int(bottom) == 0):
                raise UsageError(f"{self.name} {_short(text)} divides by zero or is too long")
            value = Fraction(Decimal(top)) / (int(bottom) if slash else 1)
            if value and not 1 <= abs(value) * _RANGE <= _RANGE**2:
                raise UsageError(f"{self.name} {_short(text)} is out of range: 0 or from 10⁻³⁰ to 10³⁰")
        if self.minimum is not None and value < self.minimum:
            raise UsageError(f"{self.name} must be at least {self.minimum}, not {_short(text)}")
        if self.above is not None and value <= self.above:
            raise UsageError(f"{self.name} must be above {self.above}, not {_short(text)}")
        if self.maximum is not None and value > self.maximum:
            raise UsageError(f"{self.name} must be at most {self.maximum}, not {_short(text)}")
        return value

    def _cell(self, text: str) -> tuple[str, int]:
        cell, _, count = text.partition(":")
        number = self._number(count) if count else 1
        return cell.lower(), int(number)

    @property
    def is_required(self) -> bool:
        """Whether there is no default."""
        return self.default is None


@dataclass(frozen=True, slots=True)
class Output:
    """One output: its name, unit and meaning."""

    name: str
    unit: str
    doc: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where the rule is written: a document and the place in it."""

    title: str
    locator: str


@dataclass(frozen=True, kw_only=True)
class MonetaryPolicy:
    """A rule of a network's money. `exact`: all outputs are integers by the network's own integer rule."""

    name: str
    summary: str
    function: Callable[..., Mapping[str, Any]]
    keys: tuple[Key, ...]
    outputs: tuple[Output, ...]
    rounding: str
    exact: bool
    example: Mapping[str, str]
    source: Source
    notes: str = field(default="")

    def __call__(self, /, **given: object) -> dict[str, Any]:
        """Evaluate with keys as texts or numbers. Raises UsageError (with the usage) on a bad, missing or unknown key."""
        by_name = {key.name: key for key in self.keys}
        try:
            for name in given:
                if name not in by_name:
                    raise UsageError(f"unknown key {_short(name)}")
            missing = [key.name for key in self.keys if key.is_required and key.name not in given]
            if missing:
                raise UsageError(f"missing {', '.join(missing)}")
            values = {}
            for key in self.keys:
                if key.name in given or key.default:
                    values[key.name] = key.read(given.get(key.name, key.default))
                else:
                    values[key.name] = None  # the empty default: worked out by the function
            return dict(self.function(**values))
        except UsageError as error:
            raise UsageError(f"{self.name}: {error}\n\n{self.usage()}") from None

    def usage(self) -> str:
        """Return the lines that say how to call this policy."""
        words = [f"{key.name}=…" if key.is_required else f"[{key.name}=…]" for key in self.keys]
        lines = [f"usage: fieldstone policy eval {self.name} {' '.join(words)}", f"  {self.summary}"]
        width = max(len(name) for name in [*(k.name for k in self.keys), *(o.name for o in self.outputs)])
        for key in self.keys:
            rest = "" if key.is_required else f" (default {key.default})" if key.default else " (optional)"
            unit = f"{key.kind.value}, {key.unit}" if key.unit else key.kind.value
            if key.choices:
                unit = "|".join(key.choices)
            lines.append(f"  {key.name:<{width}}  {key.doc} [{unit}]{rest}")
        lines.append("output:")
        lines += [f"  {output.name:<{width}}  {output.doc} [{output.unit}]" for output in self.outputs]
        lines.append(f"rounding: {self.rounding}")
        lines.append(f"source: {self.source.title}, {self.source.locator}")
        if self.notes:
            lines.append(f"note: {self.notes}")
        lines.append(
            f"example: fieldstone policy eval {self.name} " + " ".join(f"{k}={v}" for k, v in self.example.items())
        )
        return "\n".join(lines)


def integer(name: str, unit: str, doc: str, default: int | str | None = None, **bounds: Any) -> Key:
    """Return a whole-number key, not negative unless `minimum` says otherwise."""
    return Key(name=name, kind=Kind.INTEGER, unit=unit, doc=doc, default=_text(default), **bounds)


def number(name: str, unit: str, doc: str, default: int | str | None = None, **bounds: Any) -> Key:
    """Return a key for a number with a fraction, not negative unless `minimum` says otherwise."""
    return Key(name=name, kind=Kind.NUMBER, unit=unit, doc=doc, default=_text(default), **bounds)


def choice(name: str, doc: str, choices: tuple[str, ...]) -> Key:
    """Return a key with a closed list of values; the first is the default."""
    return Key(name=name, kind=Kind.CHOICE, unit="", doc=doc, default=choices[0], choices=choices)


def _text(default: int | str | None) -> str | None:
    return None if default is None else str(default)


def _short(text: str) -> str:
    """Quote a caller's text, cut so that an error line stays a line."""
    return repr(text if len(text) <= 60 else text[:57] + "…")
