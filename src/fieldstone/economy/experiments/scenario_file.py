"""Read a scenario file: TOML, strict, every mistake named with its key and its line.

    name = "my network"        # and months, steps_per_year, runs, seed, summary, sources = "required"
    [[cohorts]]                # also [[regions]], [[segments]], [[shocks]]
    [emission]                 # also [service], [supply], [burn], [price], [treasury], [behaviour]

The keys are the fields of `flywheel.parameters`; what is left out has its default there and is listed as assumed.
Packaged scenarios are found by name: `load("starter")`.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path as File
from typing import Any

from fieldstone.economy.experiments.places import Path, Places, dotted
from fieldstone.economy.experiments.quantities import BadQuantity, Quantity, quantity
from fieldstone.economy.flywheel import parameters as p
from fieldstone.economy.flywheel.emission import plan_of
from fieldstone.economy.flywheel.engine import prepare
from fieldstone.economy.flywheel.inputs import TARGETS, tables
from fieldstone.errors import ConfigError, UsageError

PARTS: dict[str, type[Any]] = {
    "service": p.Service, "supply": p.Supply, "emission": p.Emission, "burn": p.Burn, "price": p.Price,
    "treasury": p.Treasury, "behaviour": p.Behaviour,
}  # fmt: skip
GROUPS: dict[str, type[Any]] = {"regions": p.Region, "cohorts": p.Cohort, "segments": p.Segment, "shocks": p.Shock}
NEEDED = ("cohorts", "segments", "emission", "price")
MOST_RUNS = 100_000
DEFAULT_RUNS = 1_000

_TOP_WORDS = {"name": str, "summary": str, "sources": str, "runs": int, "seed": int, "schema_version": int}
_TOP_NUMBERS = ("months", "steps_per_year")


@dataclass(frozen=True, slots=True)
class Input:
    """A number of a scenario and where it comes from. `origin`: file, default (nobody gave it) or measured."""

    key: str
    quantity: Quantity
    origin: str
    meaning: str


@dataclass(frozen=True, slots=True)
class ScenarioFile:
    """A read scenario. `inputs`: by key as `Prepared.vary` takes it (`cohorts.home.capex_usd`). `path` is for messages."""

    scenario: p.Scenario
    inputs: Mapping[str, Input]
    runs: int = DEFAULT_RUNS
    seed: int = 1
    summary: str = ""
    path: str = ""

    @property
    def config_hash(self) -> str:
        """SHA-256 of everything that decides a result besides runs and seed: the scenario and the ranges of its inputs."""
        ranges = {
            key: [one.quantity.low, one.quantity.high, one.quantity.grade] for key, one in sorted(self.inputs.items())
        }
        content = json.dumps([asdict(self.scenario), ranges], sort_keys=True, allow_nan=False)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def uncertain(self) -> dict[str, Quantity]:
        """The inputs with a range, which each run draws for itself."""
        return {key: one.quantity for key, one in self.inputs.items() if one.quantity.low is not None}


def packaged() -> dict[str, str]:
    """Return name → summary of the scenarios that come with Fieldstone."""
    return {name: load(name).summary for name in _names()}


def packaged_text(name: str) -> str:
    """Return the text of a packaged scenario. Raises ConfigError."""
    if name not in _names():
        raise ConfigError(f"no such file and no packaged scenario; there are {', '.join(_names())}", path=name)
    return (_folder() / f"{name}.toml").read_text(encoding="utf-8")


def load(where: str | File) -> ScenarioFile:
    """Read a scenario file, or a packaged scenario by its name. Raises ConfigError naming key and line."""
    if isinstance(where, str) and re.fullmatch(r"[a-z0-9][a-z0-9-]*", where) and not File(where).is_file():
        return read(packaged_text(where), where)
    try:
        return read(File(where).read_text(encoding="utf-8"), str(where))
    except FileNotFoundError:
        raise ConfigError("no such file", path=str(where)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", path=str(where)) from error


def _folder() -> Traversable:
    return resources.files("fieldstone.economy.experiments") / "scenarios"


def _names() -> list[str]:
    return sorted(item.name.removesuffix(".toml") for item in _folder().iterdir() if item.name.endswith(".toml"))


def read(text: str, path: str = "scenario.toml") -> ScenarioFile:
    """Read the text of a scenario. Raises ConfigError naming key and line."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise ConfigError(f"not TOML: {error}", line=int(line[1]) if line else None, path=path) from error
    return _Reader(tree, Places(text), path).file()


class _Reader:
    """One pass over the tree; `inputs` grows as numbers are read."""

    def __init__(self, tree: dict[str, Any], places: Places, path: str) -> None:
        self._tree, self._places, self._path = tree, places, path
        self._inputs: dict[str, Input] = {}
        self._strict = False
        self._where: dict[str, Path] = {}

    def file(self) -> ScenarioFile:
        known = [*_TOP_WORDS, *_TOP_NUMBERS, *PARTS, *GROUPS]
        for key in self._tree:
            if key not in known:
                raise self._error("unknown key", (key,), hint=known)
        words = {key: self._word(key, kind) for key, kind in _TOP_WORDS.items() if key in self._tree}
        if words.get("schema_version", 1) != 1:
            raise self._error(f"is {words['schema_version']}; this Fieldstone reads version 1", ("schema_version",))
        if words.get("sources", "optional") not in ("optional", "required"):
            raise self._error(f'must be "optional" or "required", not {words["sources"]!r}', ("sources",))
        self._strict = words.get("sources") == "required"
        runs, seed = words.get("runs", DEFAULT_RUNS), words.get("seed", 1)
        if not 1 <= runs <= MOST_RUNS:
            raise self._error(f"must lie between 1 and {MOST_RUNS:,}, not {runs}", ("runs",))
        if not 0 <= seed < 2**63:
            raise self._error(f"must lie between 0 and 2⁶³, not {seed}", ("seed",))
        for name in NEEDED:
            if name not in self._tree:
                raise ConfigError("is missing: a scenario needs it", key=name, path=self._path)
        values: dict[str, Any] = {"name": str(words.get("name", "network"))}
        rules = {item.name: item.metadata for item in fields(p.Scenario)}
        for key in _TOP_NUMBERS:
            if key in self._tree:
                values[key] = self._whole(key, rules[key])
        for name, kind in GROUPS.items():
            if name in self._tree:
                values[name] = self._group(name, kind)
            elif name != "shocks":
                self._defaults(f"{name}.world", kind)
        for name, kind in PARTS.items():
            values[name] = self._part(name, kind, self._tree.get(name, {}), (name,))
        scenario = self._checked(values)
        return ScenarioFile(scenario, dict(self._inputs), runs, seed, words.get("summary", ""), self._path)

    def _word(self, key: str, kind: type[Any]) -> Any:
        value = self._tree[key]
        if isinstance(value, bool) or not isinstance(value, kind):
            raise self._error(f"must be a {'text' if kind is str else 'whole number'}, not {value!r}", (key,))
        return value

    def _whole(self, key: str, rules: Mapping[str, Any]) -> int:
        value = self._tree[key]
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._error(f"must be a whole number, not {value!r}", (key,))
        if not rules["low"] <= value <= rules["high"]:
            raise self._error(f"must lie between {rules['low']} and {rules['high']}, not {value}", (key,))
        return value

    def _group(self, name: str, kind: type[Any]) -> tuple[Any, ...]:
        rows = self._tree[name]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self._error(f"must be tables: write [[{name}]]", (name,))
        made, seen = [], set()
        for number, row in enumerate(rows):
            path: Path = (name, number)
            if name == "shocks":
                made.append(self._shock(row, path))
                continue
            own = row.get("name")
            if not isinstance(own, str) or not re.fullmatch(r"[A-Za-z0-9_ -]{1,40}", own):
                raise self._error(
                    "needs a name of letters, digits, spaces, - and _" if own is None else f"is no name: {own!r}",
                    (*path, "name") if own is not None else path,
                )
            if own in seen:
                raise self._error(f"the name {own!r} is used twice", (*path, "name"))
            seen.add(own)
            made.append(self._part(f"{name}.{own}", kind, row, path))
        return tuple(made)

    def _shock(self, row: Mapping[str, Any], path: Path) -> p.Shock:
        for key in ("target", "value"):
            if key not in row:
                raise self._error(f"has no {key}", path)
        target = row["target"]
        if not isinstance(target, str) or target.partition(".")[0] not in TARGETS:
            raise self._error(f"there is no input {target!r}; they are {', '.join(TARGETS)}", (*path, "target"))
        return self._part(dotted(path), p.Shock, row, path)  # type: ignore[no-any-return]

    def _part(self, where: str, kind: type[Any], table: Any, path: Path) -> Any:
        """Return one part, its numbers kept as inputs under the dotted name `where`."""
        if not isinstance(table, dict):
            raise self._error("must be a table", path)
        self._where[where] = path
        items = {item.name: item for item in fields(kind)}
        for key in table:
            if key not in items:
                raise self._error("unknown key", (*path, key), hint=list(items))
        values: dict[str, Any] = {}
        for key, item in items.items():
            rules = item.metadata
            if key not in table:
                if item.default is MISSING:
                    raise self._error(f"has no {key}", path)
                self._keep_default(f"{where}.{key}", item)
            elif "low" in rules:
                try:
                    found = quantity(table[key], rules, sources_required=self._strict)
                except BadQuantity as error:
                    raise self._error(str(error), (*path, key, *([error.part] if error.part else []))) from None
                values[key] = found.value
                self._inputs[f"{where}.{key}"] = Input(f"{where}.{key}", found, "file", rules["doc"])
            else:
                value = table[key]
                if not isinstance(value, str):
                    raise self._error(f"must be a text, not {value!r}", (*path, key))
                if "choices" in rules and value not in rules["choices"]:
                    raise self._error(f"must be one of {', '.join(rules['choices'])}, not {value!r}", (*path, key))
                values[key] = value
        return kind(**values)

    def _defaults(self, where: str, kind: type[Any]) -> None:
        for item in fields(kind):
            self._keep_default(f"{where}.{item.name}", item)

    def _keep_default(self, key: str, item: Any) -> None:
        if "low" in item.metadata and item.default is not MISSING:
            found = Quantity(float(item.default), item.metadata["unit"])
            self._inputs[key] = Input(key, found, "default", item.metadata["doc"])

    def _checked(self, values: Mapping[str, Any]) -> p.Scenario:
        try:
            scenario = p.Scenario(**values)
            plan_of(scenario)
            tables(scenario)
        except UsageError as error:
            raise self._located(str(error)) from None
        ranged = {key: one.quantity.value for key, one in self._inputs.items() if one.quantity.low is not None}
        prepared = prepare(scenario) if ranged else None
        for key, value in ranged.items():
            try:
                assert prepared
                prepared.vary({key: [value]})
            except UsageError:
                raise self._error(
                    "cannot have low and high: it shapes what all runs share", self._path_of(key)
                ) from None
        return scenario

    def _located(self, message: str) -> ConfigError:
        """Return the model's own complaint with the line of the key that it begins with."""
        found = re.match(
            r"(the regions' demand_share|[a-z]+(?:\[\d+\])?(?:\.[A-Za-z0-9_ -]+?)*\.?[a-z_]*)(?=[ :])", message
        )
        key = found[0] if found else ""
        if key.startswith("the regions"):
            return ConfigError(message, key="regions", line=self._places.line(("regions",)), path=self._path)
        path = self._path_of(key)
        rest = message[len(key) :].lstrip(" :") or message
        return ConfigError(rest if path else message, key=key if path else "", line=self._line(path), path=self._path)

    def _path_of(self, key: str) -> Path:
        """Return the place of a dotted key (`cohorts.home.capex_usd`, `shocks[0].target`)."""
        for where in sorted(self._where, key=len, reverse=True):
            if key == where or key.startswith(f"{where}."):
                rest = key[len(where) + 1 :]
                return (*self._where[where], *rest.split(".")) if rest else self._where[where]
        return (key,) if key in self._tree else ()

    def _line(self, path: Path) -> int | None:
        return self._places.line(path) if path else None

    def _error(self, message: str, path: Path, hint: list[str] | None = None) -> ConfigError:
        if hint:
            import difflib

            near = difflib.get_close_matches(str(path[-1]), hint, n=1)
            message += f"; did you mean {near[0]}?" if near else f"; known are {', '.join(hint)}"
        return ConfigError(message, key=dotted(path), line=self._line(path), path=self._path)


def file_of(scenario: p.Scenario, *, runs: int = DEFAULT_RUNS, seed: int = 1) -> ScenarioFile:
    """Return a scenario made in Python as if it had been read: every number is a guess of grade D."""
    inputs: dict[str, Input] = {}
    parts = [(name, getattr(scenario, name)) for name in PARTS]
    parts += [
        (f"{group}.{one.name}", one) for group in ("regions", "cohorts", "segments") for one in getattr(scenario, group)
    ]
    for where, part in parts:
        for item in fields(part):
            if "low" in item.metadata:
                found = Quantity(float(getattr(part, item.name)), item.metadata["unit"])
                inputs[f"{where}.{item.name}"] = Input(f"{where}.{item.name}", found, "file", item.metadata["doc"])
    return ScenarioFile(scenario, inputs, runs, seed)
