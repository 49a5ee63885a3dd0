"""`fieldstone init`: write a commented `network.toml`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fieldstone.policy import Policy


def command(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where the network lives; made if missing.")] = Path(),
    network_id: Annotated[str, typer.Option("--id", help="Network id; the folder's name by default.")] = "",
    name: Annotated[str, typer.Option(help="Title of the network.")] = "",
    service: Annotated[
        list[str] | None, typer.Option(help="A kind of infrastructure it offers; repeat for more. Default: sensing.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing network.toml.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a commented network.toml: every setting with its unit and the reason to change it."""
    import json

    path = write_network(folder, network_id=network_id, name=name, services=service or ["sensing"], force=force)
    if as_json:
        typer.echo(json.dumps({"path": str(path)}))
        return
    typer.echo(path)
    where = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    typer.echo(
        f"\nNext: read it, then\n  {where}fieldstone doctor   (is this machine fit?)\n"
        f"  {where}fieldstone up       (makes the keys and starts the network)",
        err=True,
    )


def write_network(
    folder: Path,
    *,
    network_id: str = "",
    name: str = "",
    services: Sequence[str] = ("sensing",),
    force: bool = False,
) -> Path:
    """Write `folder`/network.toml with every default and return its path. The bootstrap is shared equally by `services`.

    Raises UsageError when a file is there already (unless `force`), the id is not valid or a service is not installed,
    EnvironmentProblem when the folder cannot be written.
    """
    import os
    import re

    from fieldstone.cli.settings import to_toml
    from fieldstone.config import ChainConfig, Config, MqttConfig, NodeConfig
    from fieldstone.errors import EnvironmentProblem, UsageError
    from fieldstone.policy import Policy, ServicePolicy
    from fieldstone.rewards.lint_listed import fitting_target_rate
    from fieldstone.services import load_service
    from fieldstone.units import PPM, split

    names = sorted({load_service(service).name for service in services})
    shares, _ = split(PPM, [1] * len(names))
    network_id = network_id or re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")[:63] or "network"
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", network_id):
        raise UsageError(
            f"network id {network_id!r} is not 1 to 63 small letters, digits and hyphens; give another --id"
        )
    path = folder / "network.toml"
    if path.exists() and not force:
        raise UsageError(f"{path} exists already; --force replaces it")
    node = NodeConfig(name=name) if name else NodeConfig()
    offered = {service: ServicePolicy(share_ppm=share) for service, share in zip(names, shares, strict=True)}
    policy = Policy(network_id=network_id, services=offered)
    notes: dict[str, list[str]] = {}
    for service in names:
        rate = fitting_target_rate(policy, service)
        if rate is not None:
            offered[service] = ServicePolicy(share_ppm=offered[service].share_ppm, cell_target_rate=rate)
            notes[f"services.{service}.cell_target_rate"] = _explained(policy, service, rate)
    policy = Policy(network_id=network_id, services=offered)
    text = to_toml(Config(path=path, node=node, chain=ChainConfig(), mqtt=MqttConfig(), policy=policy), notes)
    half_written = folder / f".network.toml.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        half_written.write_text(text, encoding="utf-8")
        half_written.replace(path)
    except OSError as error:
        raise EnvironmentProblem(
            f"{path} cannot be written: {error.strerror or error}; choose another folder"
        ) from error
    return path


def _explained(policy: Policy, service: str, rate: int) -> list[str]:
    """Return the comment that says where a service's `cell_target_rate` comes from."""
    from fieldstone.services import load_service
    from fieldstone.services.prices import list_price
    from fieldstone.units import PPM, format_usd

    listed = list_price(load_service(service), policy)
    if listed is None:
        return []
    sold = rate * policy.epoch.length_s * listed.micro_usd // listed.units
    return [
        "Derived: full_coverage_cells whole cells share bootstrap_per_epoch * token_price_usd * share_ppm in an epoch. A cell is",
        f"whole with so much empty capacity (it weighs {listed.unsold_weight_ppm * 100 / PPM:g} %) as earns its part at the list price of "
        f"{format_usd(listed.micro_usd)} per {listed.per},",
        f"less the take; so an empty disk never earns more than a full one. Customers pay {format_usd(sold)} an epoch for as much data.",
    ]
