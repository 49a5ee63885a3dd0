"""The command line: one file per verb, imported only when the verb is used, so that `--help` stays fast.

Data goes to stdout, progress to stderr; exit codes: 0 ok, 1 check failed, 2 usage, 3 environment (DESIGN §6).
"""

from __future__ import annotations

import os
import sys
import traceback

import typer

from fieldstone import __version__
from fieldstone.cli.lazy import LazyVerbs, group
from fieldstone.errors import FieldstoneError

# verb → module in this package; the order is the order of `--help`
VERBS: dict[str, str] = {
    "demo": "demo",
    "init": "init",
    "up": "up",
    "status": "status",
    "doctor": "doctor",
    "config": "config",
    "device": "device",
    "agent": "agent",
    "epoch": "epoch",
    "verifier": "verifier",
    "verify": "verify",
    "market": "market",
    "claim": "claim",
    "bond": "bond",
    "dispute": "dispute",
    "merkle": "merkle",
    "policy": "policy",
    "payback": "payback",
    "simulate": "simulate",
    "assess": "assess",
    "storage": "storage",
    "lab": "lab",
    "backup": "backup",
    "restore": "restore",
}


class _Fieldstone(LazyVerbs):
    verbs = VERBS


app = group(
    _Fieldstone,
    """Launch and run a network of hardware that many people own, and let anyone recompute every number.

Start with [bold]fieldstone demo[/bold] (a real small network on this machine, about a minute), then
[bold]fieldstone init[/bold] and [bold]fieldstone up[/bold].""",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fieldstone {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit the process with its code. Usage errors are printed by Typer, with code 2."""
    try:
        app(arguments)
    except FieldstoneError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # the reader of our output went away (`| head`): not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if os.environ.get("FIELDSTONE_DEBUG"):
            traceback.print_exc()
        typer.echo(
            f"internal error: {type(error).__name__}: {error}\n"
            "This is a bug in Fieldstone. Run again with FIELDSTONE_DEBUG=1 and report what it prints.",
            err=True,
        )
        sys.exit(1)
