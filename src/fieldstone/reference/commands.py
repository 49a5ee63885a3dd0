"""`docs/reference/command-line.md`: every verb with its arguments and options, from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from fieldstone.cli import VERBS, app
from fieldstone.cli.lazy import LazyVerbs
from fieldstone.reference.markdown import code, head, table


def page() -> str:
    """Return the page."""
    root: Any = typer.main.get_command(app)
    context = root.make_context("fieldstone", [], resilient_parsing=True)
    parts = [
        head(
            "Command line",
            "fieldstone.cli",
            "Data goes to stdout, progress to stderr; `--json` prints data for programs. Exit codes: 0 ok, 1 a check failed, "
            "2 wrong usage, 3 something on this machine or the network is missing (the same command may work later).",
        )
    ]
    for verb in VERBS:
        parts += _describe(root.get_command(context, verb), f"fieldstone {verb}", depth=2)
    return "\n".join(parts)


def _describe(command: Any, words: str, depth: int) -> Iterator[str]:
    children = dict(getattr(command, "commands", {}))
    if isinstance(command, LazyVerbs):
        children |= {verb: command.get_command(None, verb) for verb in command.verbs}
    text = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    if children:
        yield f"{'#' * depth} {words}\n\n{text}\n"
        for name, child in children.items():
            yield from _describe(child, f"{words} {name}", depth + 1)
        return
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join([words, *(_usage(a) for a in arguments), *(["[OPTIONS]"] if options else [])])
    rows = [(code(_usage(a)), _help(a), _default(a)) for a in arguments]
    rows += [(_names(o), _help(o), _default(o)) for o in options]
    listing = "\n" + table(("", "", "default"), rows) if rows else ""
    yield f"{'#' * depth} {words}\n\n```\n{usage}\n```\n\n{text}\n{listing}"


def _usage(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()).strip("[]")
    name += "…" if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"


def _names(option: Any) -> str:
    value = "" if option.is_flag else f" {option.metavar or option.name.upper()}"
    names = [*option.opts, *option.secondary_opts]
    return ", ".join(code(name + value) for name in names)


def _help(parameter: Any) -> str:
    text = getattr(parameter, "help", "") or ""
    variable = getattr(parameter, "envvar", None)
    return f"{text} Environment: `{variable}`." if variable else text


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if value is None or value is False or value == "" or callable(value):
        return ""
    return code(value)
