"""`fieldstone policy`: the monetary rules of real networks by name, and a check of one's own reward rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fieldstone.economy.policies import MonetaryPolicy
    from fieldstone.rewards.lint import Finding

app = typer.Typer(
    help="Monetary policies of real networks, exact where the network is exact, and a linter for your own rewards.",
    no_args_is_help=True,
    add_completion=False,
)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_policies(as_json: _Json = False) -> None:
    """List all policies with their keys and sources."""
    import json

    from fieldstone.economy.policies import POLICIES

    if as_json:
        typer.echo(json.dumps([_describe(policy) for policy in POLICIES.values()], ensure_ascii=False, indent=2))
        return
    for policy in POLICIES.values():
        words = [f"{key.name}=" if key.is_required else f"[{key.name}=]" for key in policy.keys]
        typer.echo(f"{policy.name} {' '.join(words)}\n    → {', '.join(output.name for output in policy.outputs)}")
        typer.echo(f"    {policy.summary}\n    {policy.source.title}")


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of the policy.")], as_json: _Json = False) -> None:
    """Show one policy: keys with units, outputs, rounding, source, example."""
    import json

    from fieldstone.economy.policies import find

    policy = find(name)
    typer.echo(json.dumps(_describe(policy), ensure_ascii=False, indent=2) if as_json else policy.usage())


@app.command("eval")
def evaluate(
    name: Annotated[str, typer.Argument(help="Name of the policy.")],
    keys: Annotated[list[str] | None, typer.Argument(help="Its keys, as key=value.", show_default=False)] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Accepted for uniformity: the output is always JSON.")
    ] = False,
) -> None:
    """Evaluate a policy and print its outputs as JSON. Exact integers are JSON integers of any size."""
    import json

    from fieldstone.economy.policies import find
    from fieldstone.errors import UsageError

    policy = find(name)
    given: dict[str, object] = {}
    for word in keys or []:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{policy.name}: {word[:60]!r} is not key=value\n\n{policy.usage()}")
        if key in given:
            raise UsageError(f"{policy.name}: {key} is given twice\n\n{policy.usage()}")
        given[key] = value
    typer.echo(json.dumps(policy(**given)))


@app.command()
def lint(
    file: Annotated[Path | None, typer.Argument(help="A network.toml.", show_default=False)] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            help="Check another rule instead: a known one by name, or your own as file.py, file.py:function or module:function."
        ),
    ] = None,
    list_rules: Annotated[bool, typer.Option("--list-rules", help="List the known rules and end.")] = False,
    populations: Annotated[
        int | None,
        typer.Option(help="Random populations to try; 40 for a network, 1,000 for a rule.", min=1, max=100_000),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed; the same seed gives the same findings.")] = 0,
    as_json: _Json = False,
) -> None:
    """Check rules for gain by splitting, merging, colluding, self-dealing, and for money that cannot hold.

    Finds insolvent credits, unbounded mints, rewards above demand and late prices too. Exit 1 when there is an error.
    """
    import dataclasses
    import json

    from fieldstone.errors import UsageError

    if list_rules:
        from fieldstone.economy.reward_rules import CREDITS, MINTS, RULES

        names = {one.name: {"summary": one.summary, "source": one.source.title} for one in RULES.values()}
        names |= {one.name: {"summary": one.summary, "source": one.source.title} for one in MINTS.values()}
        names |= {one.name: {"summary": one.summary, "source": one.source.title} for one in CREDITS.values()}
        lines = [f"{name}: {about['summary']} ({about['source']})" for name, about in names.items()]
        typer.echo(json.dumps(names, ensure_ascii=False) if as_json else "\n".join(lines))
        return
    if (file is None) == (rule is None):
        raise UsageError("give either a network.toml or --rule NAME")
    findings = (
        _lint_rule(rule, populations or 1_000, seed) if rule is not None else _lint_file(file, populations or 40, seed)
    )
    errors = sum(finding.severity == "error" for finding in findings)
    if as_json:
        body = {"ok": not errors, "findings": [dataclasses.asdict(finding) for finding in findings]}
        typer.echo(json.dumps(body, ensure_ascii=False))
    else:
        for finding in findings:
            typer.echo(f"{finding.severity}: {finding.check}: {finding.message}")
            if finding.example:
                typer.echo(f"    shown by {json.dumps(finding.example)}")
        typer.echo(f"{errors} errors, {len(findings) - errors} warnings in {rule or file}")
    if errors:
        raise typer.Exit(1)


def _lint_file(file: Path | None, populations: int, seed: int) -> list[Finding]:
    from fieldstone.config import load
    from fieldstone.rewards.lint import lint_policy

    policy = load(file or Path("network.toml"), environ={}).policy
    return lint_policy(policy, populations=populations, seed=seed)


def _lint_rule(name: str, populations: int, seed: int) -> list[Finding]:
    from fieldstone.economy.reward_rules import CREDITS, MINTS, RULES
    from fieldstone.errors import UsageError
    from fieldstone.rewards.lint import lint, lint_credits, lint_mint

    if name in RULES:
        known = RULES[name]
        return lint(known.rule, take_ppm=known.take_ppm, populations=populations, seed=seed, cliffs=True)
    if name in MINTS:
        return lint_mint(MINTS[name].rule)
    if name in CREDITS:
        return lint_credits(CREDITS[name].system)
    if ":" in name or name.endswith(".py"):
        from fieldstone.economy.own_rules import lint_own

        return lint_own(name, populations=populations, seed=seed)
    raise UsageError(
        f"there is no known rule {name[:60]!r}; they are {', '.join([*RULES, *MINTS, *CREDITS])}. "
        "Your own is named file.py:function or module:function"
    )


def _describe(policy: MonetaryPolicy) -> dict[str, object]:
    import dataclasses

    keys = [
        {
            "name": key.name,
            "kind": key.kind.value,
            "unit": key.unit,
            "doc": key.doc,
            "required": key.is_required,
            "default": key.default or None,
            "choices": list(key.choices),
        }
        for key in policy.keys
    ]
    return {
        "name": policy.name,
        "summary": policy.summary,
        "keys": keys,
        "outputs": [dataclasses.asdict(output) for output in policy.outputs],
        "rounding": policy.rounding,
        "exact": policy.exact,
        "example": dict(policy.example),
        "source": dataclasses.asdict(policy.source),
        "notes": policy.notes,
    }
