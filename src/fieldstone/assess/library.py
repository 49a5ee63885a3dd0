"""The cases that ship with Fieldstone, by name."""

from __future__ import annotations

import difflib
from importlib import resources

from fieldstone.assess.case import Case, parse_case
from fieldstone.errors import UsageError


def case_names() -> list[str]:
    """Return the names of the shipped cases."""
    folder = resources.files("fieldstone.assess") / "cases"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def shipped_case(name: str) -> Case:
    """Return a shipped case. Raises UsageError naming the ones there are."""
    wanted = name.lower()
    if wanted not in case_names():
        near = difflib.get_close_matches(wanted, case_names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(case_names())}"
        raise UsageError(f"{name[:60]!r} is neither a file nor a shipped case; {hint}")
    text = (resources.files("fieldstone.assess") / "cases" / f"{wanted}.toml").read_text(encoding="utf-8")
    return parse_case(text, path=f"{wanted}.toml")
