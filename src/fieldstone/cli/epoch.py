"""`fieldstone epoch`: look at sealed epochs, replay them, explain a reward, compare, repay.

Epochs are read from a network on this machine (`--at FOLDER`, default the current folder) or from any node (`--at URL`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fieldstone.epoch.store import EpochStore

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Sealed epochs: show, replay, explain, compare, repay."
)

At = Annotated[str, typer.Option("--at", metavar="FOLDER|URL", help="A network's folder, or a node's address.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Number = Annotated[str, typer.Argument(metavar="N", help="The epoch's number, or `latest`.")]


@app.command("list")
def list_epochs(
    at: At = ".",
    device: Annotated[str, typer.Option("--device", help="What this device (id or its end) earned in each.")] = "",
    as_json: Json = False,
) -> None:
    """List the sealed epochs: how many entries they hold, what they minted, their root; or one device's rewards."""
    from fieldstone.cli.sealed import open_store, to_json
    from fieldstone.cli.show import table
    from fieldstone.units import format_token

    store = open_store(at, None)
    if device:
        _list_rewards(store, device, as_json)
        return
    rows = [store.summary(number) for number in store.epochs()]
    if as_json:
        typer.echo(to_json(rows))
        return
    if not rows:
        typer.echo("No epoch is sealed yet.", err=True)
    columns = ["epoch", "reports", "minted", "total", "root"]
    table(
        columns,
        [
            [
                r["epoch"],
                r["counts"].get("report", 0),
                format_token(int(r["minted_base"])),
                format_token(int(r["total_base"])),
                r["root"],
            ]
            for r in rows
        ],
    )


@app.command()
def show(epoch: Number, at: At = ".", as_json: Json = False) -> None:
    """Show an epoch: input, rules, hashes, and what every device earned."""
    from fieldstone.cli.sealed import open_store, to_json
    from fieldstone.cli.show import facts, table
    from fieldstone.units import format_token, format_usd

    number = numbered(at, epoch)
    store = open_store(at, [number])
    manifest = store.sealed(number).manifest
    statements = store.statements(number)
    if as_json:
        import msgspec

        typer.echo(to_json({"manifest": msgspec.to_builtins(manifest), "statements": statements}))
        return
    facts(
        {
            "network": manifest.network_id,
            "epoch": manifest.epoch,
            "journal": f"positions {manifest.first_position} … {manifest.last_position}",
            "policy": manifest.policy_hash,
            "rules": ", ".join(f"{name} v{version}" for name, version in manifest.rule_versions.items()),
            "minted": format_token(int(manifest.minted_base)),
            "root": manifest.root,
            "data hash": manifest.data_hash,
        }
    )
    table(
        ["device", "verdict", "quality", "from customers", "bootstrap", "total", "reasons"],
        [
            [
                short(row["device"]),
                row["verdict"],
                f"{row['quality_ppm'] / 10_000:.1f} %",
                format_usd(row["revenue_micro_usd"]),
                format_token(int(row["bootstrap_base"])),
                format_token(int(row["total_base"])),
                " ".join(row["reasons"][:3]),
            ]
            for row in statements
            if row["device"]
        ],
    )
    typer.echo(f"\nNext: fieldstone epoch explain {number} --device ID, or fieldstone epoch replay {number}", err=True)


@app.command()
def replay(
    epoch: Number,
    at: At = ".",
    trust_signatures: Annotated[bool, typer.Option(help="Skip the signature of each report (faster).")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes for the device checks.")] = 1,
    as_json: Json = False,
) -> None:
    """Recompute an epoch from its journal and compare every table and the root. Exit code 1 when they differ."""
    from fieldstone.cli.sealed import open_store, runner_for, to_json
    from fieldstone.epoch.replay import replay as run

    number = numbered(at, epoch)
    store = open_store(at, [number - 1, number])
    typer.echo(f"replaying epoch {number} …", err=True)
    with runner_for(workers) as runner:
        outcome = run(store, number, runner=runner, check_signatures=not trust_signatures)
    if as_json:
        typer.echo(
            to_json(
                {
                    "epoch": number,
                    "agrees": outcome.agrees,
                    "sealed_root": outcome.sealed_root,
                    "replayed_root": outcome.replayed_root,
                    "tables": outcome.tables,
                    "differences": [_fields(difference) for difference in outcome.differences],
                }
            )
        )
    else:
        typer.echo(f"sealed    {outcome.sealed_root}\nreplayed  {outcome.replayed_root}")
        for name, same in outcome.tables.items():
            typer.echo(f"  {'same' if same else 'DIFFERS'}  {name}")
        _print_differences(outcome.differences)
        typer.echo("The replay agrees." if outcome.agrees else "The replay does NOT agree.")
    if not outcome.agrees:
        sys.exit(1)


@app.command()
def explain(
    epoch: Number,
    device: Annotated[str, typer.Option("--device", help="Device id (did:key:…) or its end.")],
    at: At = ".",
    as_json: Json = False,
) -> None:
    """Explain a device's reward: every factor from evidence to amount, and what would raise it."""
    from fieldstone.cli.sealed import open_store, to_json
    from fieldstone.rewards.explain import explain as lines_of
    from fieldstone.rewards.explain import to_dicts, to_text

    number = numbered(at, epoch)
    store = open_store(at, [number])
    statement, verdict = find_statement(store, number, device)
    lines = lines_of(statement, verdict, **service_words(statement["service"]))
    typer.echo(to_json(to_dicts(lines)) if as_json else to_text(lines))


@app.command()
def diff(
    left: int,
    right: int,
    at: At = ".",
    other: Annotated[str, typer.Option(help="Where RIGHT is, if elsewhere.")] = "",
    as_json: Json = False,
) -> None:
    """Compare the statements of two epochs (or of one epoch at two places) device by device. Exit code 1 if they differ."""
    from fieldstone.cli.sealed import open_store, to_json
    from fieldstone.epoch.diff import diff_statements

    a = open_store(at, [left]).sealed(left).table("statements")
    b = open_store(other or at, [right]).sealed(right).table("statements")
    found = diff_statements(a, b)
    if as_json:
        typer.echo(to_json([_fields(difference) for difference in found]))
    else:
        _print_differences(found)
        typer.echo(f"{len(found)} differences" if found else "No difference.")
    if found:
        sys.exit(1)


@app.command("make-good")
def make_good(
    epoch: Number,
    cause: Annotated[str, typer.Option(help="Why: every operator reads this in the statement.")],
    corrected: Annotated[Path, typer.Option(help="TOML: [sensing] parameter = value, or rule_version = n.")],
    at: At = ".",
    reclaim: Annotated[bool, typer.Option(help="Also hold overpayments as debts against future earnings.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Write it; without, only show what would be paid.")] = False,
    as_json: Json = False,
) -> None:
    """Recompute a mis-scored epoch under corrected rules and pay the difference in the next epoch."""
    import hashlib
    import tomllib

    from fieldstone.cli.sealed import open_store, to_json
    from fieldstone.cli.show import table
    from fieldstone.epoch.makegood import correction_entry, newly_rejected, owed, recompute
    from fieldstone.epoch.replay import freeze_sealed, replay
    from fieldstone.errors import UsageError
    from fieldstone.node.admin import append_entries, refund_customers
    from fieldstone.units import format_token, format_usd

    try:
        changes = tomllib.loads(corrected.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{corrected} cannot be read: {error}") from error
    number = numbered(at, epoch)
    store = open_store(at, [number - 1, number])
    original = replay(store, number, check_signatures=False).result
    frozen, state, randomness = freeze_sealed(store, number, check_signatures=False)
    result = recompute(frozen, state, randomness, changes, None)
    rows, worthless = owed(original, result), newly_rejected(original, result)
    if as_json:
        typer.echo(to_json([{**_fields(row), "amount_base": str(row.amount_base)} for row in rows]))
    else:
        table(
            ["device", "operator", "was paid", "is due", "difference"],
            [
                [
                    short(r.device),
                    r.operator,
                    format_token(r.paid_base),
                    format_token(r.due_base),
                    format_token(r.amount_base),
                ]
                for r in rows
            ],
        )
    payable = [row for row in rows if row.amount_base > 0 or reclaim]
    refundable = sum(map(len, worthless.values()))
    if refundable:
        typer.echo(
            f"{refundable} devices are rejected now; customers who bought their readings get them refunded.", err=True
        )
    if not payable and not refundable:
        typer.echo("Nothing is owed.", err=True)
    elif not yes:
        typer.echo("Nothing was written. Run again with --yes to pay this in the next epoch.", err=True)
    else:
        entry = correction_entry(number, cause, changes, rows, reclaim=reclaim)
        if payable:
            positions = append_entries(at, [entry])
            typer.echo(f"written at journal position {positions[0]}; the next epoch pays it", err=True)
        for service, devices in worthless.items():
            name = hashlib.sha256(entry.body).hexdigest()[:32]
            refunded = refund_customers(at, name, service, number, devices, cause)
            typer.echo(f"{format_usd(refunded)} refunded to customers of {service}", err=True)


@app.command()
def close(at: At = ".") -> None:
    """Ask a running node to close the epoch that is due now (it does so by itself, too)."""
    from fieldstone.node.admin import request_close

    closed = request_close(at)
    typer.echo(f"closed epoch {closed}" if closed else "no epoch is due yet")


def service_words(name: str) -> dict[str, Any]:
    """Return what a service says about its reasons and its unit; nothing for a row that no service judged."""
    from fieldstone.services import load_service

    if not name:
        return {}
    service = load_service(name)
    return {"reasons": service.reasons, "quantity_unit": service.quantity_unit}


def numbered(at: str, text: str) -> int:
    """Return the epoch that a command names by number or by `latest`. Raises UsageError."""
    from fieldstone.cli.node_client import node_client
    from fieldstone.cli.sealed import is_url, open_store
    from fieldstone.epoch.fetch import get
    from fieldstone.errors import UsageError

    if text.isascii() and text.isdigit():
        return int(text)
    if text != "latest":
        raise UsageError(f"epoch {text!r} is neither a number nor `latest`")
    if is_url(at):
        with node_client(at) as client:
            latest = int(get(client, "/v1/epochs").json()["latest"])
    else:
        latest = open_store(at, None).latest
    if latest == 0:
        raise UsageError("no epoch is sealed yet")
    return latest


def _list_rewards(store: EpochStore, device: str, as_json: bool) -> None:
    """Print one line an epoch: verdict and amounts of the device whose id is or ends with `device`."""
    from fieldstone.cli.sealed import to_json
    from fieldstone.cli.show import table
    from fieldstone.units import format_token

    wanted = device.removeprefix("…")
    rows = [row for number in store.epochs() for row in store.statements(number) if row["device"].endswith(wanted)]
    if as_json:
        typer.echo(to_json(rows))
        return
    table(
        ["epoch", "device", "verdict", "quality", "paid by customers", "bootstrap", "total", "reasons"],
        [
            [
                row["epoch"],
                short(row["device"]),
                row["verdict"],
                f"{row['quality_ppm'] / 10_000:.1f} %",
                format_token(int(row["paid_base"])),
                format_token(int(row["bootstrap_base"])),
                format_token(int(row["total_base"])),
                " ".join(row["reasons"][:3]),
            ]
            for row in rows
        ],
    )


def short(device: str) -> str:
    """Return the end of a device id: what tells ids of one curve apart."""
    return "…" + device[-12:] if len(device) > 24 else device


def find_statement(store: EpochStore, number: int, device: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the statement and verdict row of the one device whose id is or ends with `device`."""
    import polars as pl

    from fieldstone.errors import UsageError

    sealed = store.sealed(number)
    wanted = device.removeprefix("…")
    statements = sealed.table("statements").filter(pl.col("device").str.ends_with(wanted))
    ids = statements["device"].unique().to_list()
    if len(ids) != 1 or not wanted:
        known = f"{len(ids)} devices end with it" if ids else "no device of this epoch ends with it"
        raise UsageError(f"device {device!r} in epoch {number}: {known}; `fieldstone epoch show {number}` lists them")
    verdicts = sealed.table("verdicts").filter(pl.col("device") == ids[0]).to_dicts()
    return statements.row(0, named=True), verdicts[0] if verdicts else None


def _fields(item: Any) -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(item)


def _print_differences(differences: list[Any]) -> None:
    for difference in differences[:200]:
        typer.echo(f"  {short(difference.device)} {difference.field}: {difference.left} → {difference.right}")
    if len(differences) > 200:
        typer.echo(f"  … and {len(differences) - 200} more (use --json for all)")
