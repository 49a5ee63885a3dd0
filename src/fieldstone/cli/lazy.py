"""Command groups that import a verb's module when the verb is asked for, so that `--help` stays fast."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup


class LazyVerbs(TyperGroup):
    """A group whose `verbs` maps a verb to a module of this package that has `app` (a group) or `command`."""

    verbs: ClassVar[dict[str, str]] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the verbs in the order of the table."""
        return list(self.verbs)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the verb's module and return its command; None for an unknown verb."""
        if cmd_name not in self.verbs:
            return None
        module = importlib.import_module(f"fieldstone.cli.{self.verbs[cmd_name]}")
        verbs = getattr(module, "app", None)
        if verbs is None:
            verbs = typer.Typer(add_completion=False)
            verbs.command(cmd_name)(module.command)
        command = typer.main.get_command(verbs)
        command.name = cmd_name
        return command


def group(cls: type[LazyVerbs], help_text: str) -> typer.Typer:
    """Return a group of lazily imported verbs."""
    verbs = typer.Typer(
        cls=cls,
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        help=help_text,
    )
    verbs.callback()(_nothing)  # Typer wants to know that this is a group although no command is registered yet
    return verbs


def _nothing() -> None:
    pass
