"""`fieldstone config`: which settings hold here, and where each comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The network's settings.")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting in force. `origin`: `default`, `network.toml:LINE`, or the environment variable's name."""

    key: str
    value: Any
    unit: str
    origin: str


@app.callback()
def _group() -> None:
    pass


@app.command()
def show(
    path: Annotated[Path, typer.Option("--config", help="The network's file.")] = Path("network.toml"),
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every setting in force, and with --origin where it comes from."""
    import json

    from fieldstone.cli.settings import literal
    from fieldstone.config import load

    settings = settings_in_force(path)
    policy_hash = load(path).policy.hash
    if as_json:
        rows = [{"key": s.key, "value": s.value, "unit": s.unit, "origin": s.origin} for s in settings]
        typer.echo(json.dumps({"policy_hash": policy_hash, "settings": rows}, indent=2, ensure_ascii=False))
        return
    shown = [(s.key, "not set" if s.value is None else _one_line(literal(s.value)), s.origin) for s in settings]
    key_width = max(len(key) for key, _, _ in shown)
    value_width = max(len(value) for _, value, _ in shown)
    for key, value, where in shown:
        line = f"{key.ljust(key_width)}  {value.ljust(value_width)}  {where}" if origin else f"{key} = {value}"
        typer.echo(line.rstrip())
    typer.echo(f"\npolicy hash {policy_hash}", err=True)


def _one_line(text: str, width: int = 60) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def settings_in_force(path: Path, environ: Mapping[str, str] | None = None) -> list[Setting]:
    """Return every setting of a `network.toml` with its origin. Raises ConfigError."""
    import tomllib

    from fieldstone.cli.settings import MACHINE, described, sections
    from fieldstone.config import load

    environ = os.environ if environ is None else environ
    config = load(path, environ)
    text = path.read_text(encoding="utf-8")
    tree = tomllib.loads(text)
    found = []
    for table, values in sections(config):
        written: Any = tree
        for part in table.split("."):
            written = written.get(part, {}) if isinstance(written, dict) else {}
        for key, value in values.items():
            variable = f"FIELDSTONE_{table}_{key}".upper()
            if table in MACHINE and variable in environ:
                origin = f"environment {variable}"
            elif key in written or (table == "network" and key in tree):
                origin = _origin_in_file(text, table, key, path)
            else:
                origin = "default"
            found.append(Setting(f"{table}.{key}", value, described(table, key)[0], origin))
    return found


def _origin_in_file(text: str, table: str, key: str, path: Path) -> str:
    from fieldstone.config import line_of

    line = line_of(text, f"{table}.{key}")
    return f"{path.name}:{line}" if line else path.name
