"""`fieldstone storage report`: who holds an object, what was proven and read when, how safe it is, what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fieldstone.identity.keys import DeviceKey
    from fieldstone.services.storage.object_rows import StoredObject

Name = Annotated[
    str | None, typer.Argument(metavar="[BUCKET/KEY]", help="The object to report on.", show_default=False)
]
Dir = Annotated[Path | None, typer.Option("--dir", metavar="DIR", help="The gateway's folder: its key and database.")]
Network = Annotated[
    str | None, typer.Option("--network", envvar="FIELDSTONE_NODE", metavar="URL", help="The network's node.")
]
Epochs = Annotated[
    Path | None, typer.Option("--epochs", metavar="DIR", help="A folder of sealed epochs instead of a node.")
]
EpochNumber = Annotated[
    int | None, typer.Option("--epoch", min=1, metavar="N", help="Which epoch; the newest if left out.")
]
Version = Annotated[str | None, typer.Option("--version-id", metavar="ID", help="An older version of the object.")]
Database = Annotated[
    str | None, typer.Option("--database", metavar="URL", help="The gateway's database when it is not in DIR.")
]
Out = Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Also write the signed report to FILE.")]
Verify = Annotated[
    Path | None, typer.Option("--verify", metavar="FILE", help="Recheck a signed report instead of making one.")
]
Gateway = Annotated[
    str | None, typer.Option("--gateway", metavar="DID", help="With --verify: the gateway that must have signed it.")
]
All = Annotated[bool, typer.Option("--all", help="Show the shares of every segment, not only of the weakest.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def command(
    name: Name = None,
    directory: Dir = None,
    network: Network = None,
    epochs: Epochs = None,
    epoch: EpochNumber = None,
    version_id: Version = None,
    database: Database = None,
    out: Out = None,
    verify: Verify = None,
    gateway: Gateway = None,
    show_all: All = False,
    as_json: Json = False,
) -> None:
    """Prove what is known of an object: holders, last proofs and reads, predicted durability, money.

    The figures come from a sealed epoch, which anybody can fetch and replay; the report is signed with the gateway's key.

        fieldstone storage report photos/1.jpg --dir gateway --network URL --out 1.report

        fieldstone storage report --verify 1.report --epochs DIR

    Ends with 1 when fewer shares are within reach than the object needs, and when a signed report does not hold.
    """
    from fieldstone.cli.sealed import to_json
    from fieldstone.cli.storage_report_text import show
    from fieldstone.errors import CheckFailed, UsageError

    if (name is None) == (verify is None):
        raise UsageError("name an object (BUCKET/KEY --dir GATEWAY_DIR), or a signed report (--verify FILE)")
    if verify is not None:
        if given := [word for word, value in (("--dir", directory), ("--out", out), ("--epoch", epoch)) if value]:
            raise UsageError(
                f"{given[0]} makes a report; --verify only needs the epochs: --epochs DIR or --network URL"
            )
        body = _verified(verify, network, epochs, gateway)
    elif directory is None or gateway is not None:
        raise UsageError("a report is made from the gateway's folder: add --dir GATEWAY_DIR, and leave --gateway out")
    else:
        assert name is not None
        key, stored = _from_gateway(name, directory, database, version_id)
        body = _made(key, stored, network, epochs, epoch, out)
    if as_json:
        typer.echo(to_json(body))
    else:
        show(body, show_all=show_all)
    if verify is not None:
        typer.echo(f"{verify}: every figure is that of sealed epoch {body['epoch']['number']}", err=True)
    elif out is not None:
        typer.echo(f"signed report in {out}: recheck it with `fieldstone storage report --verify {out}`", err=True)
    if body["state"] in ("short", "silent"):
        raise CheckFailed(
            f"{body['facts']['name']!r}: fewer shares than are needed to read it are known to be within reach"
        )


def _from_gateway(
    name: str, directory: Path, database: str | None, version_id: str | None
) -> tuple[DeviceKey, StoredObject]:
    from sqlalchemy.exc import DatabaseError

    from fieldstone.errors import UsageError
    from fieldstone.identity.keys import DeviceKey
    from fieldstone.services.storage.object_rows import read_object
    from fieldstone.state.engine import connect_state

    bucket, slash, key_name = name.partition("/")
    if not bucket or not slash or not key_name:
        raise UsageError(f"{name!r} names no object: write BUCKET/KEY")
    path = directory / "gateway.db"
    try:
        key_name.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{name!r} names no object: a key is UTF-8 text") from None
    # connecting would make an empty database
    if database is None and not path.is_file():
        raise UsageError(f"{directory} is no gateway's folder: it has no gateway.db (or name it with --database)")
    if database is not None and not _is_there(database):
        raise UsageError(f"--database {database} does not exist")
    if not (directory / "device.key").is_file():
        raise UsageError(f"{directory} has no device.key: a gateway that never ran in a network has nothing to report")
    key = DeviceKey.load(directory / "device.key")
    engine = connect_state(database or path)
    try:
        return key, read_object(engine, bucket, key_name, version_id)
    except DatabaseError as error:
        raise UsageError(f"{database or path} is no gateway's database: {error.orig}") from None
    finally:
        engine.dispose()


def _is_there(database: str) -> bool:
    """Tell whether a database that is a file exists; others say so themselves."""
    if "://" not in database:
        return Path(database).is_file()
    scheme, _, rest = database.partition("://")
    return not scheme.startswith("sqlite") or Path(rest.removeprefix("/").partition("?")[0]).is_file()


def _made(
    key: DeviceKey, stored: StoredObject, network: str | None, epochs: Path | None, number: int | None, out: Path | None
) -> Mapping[str, Any]:
    from fieldstone.cli.storage_epochs import registry, sealed_epoch, tables
    from fieldstone.errors import EnvironmentProblem, UsageError
    from fieldstone.services.storage.customer_report import compose, facts_of, gateway_of, peek, sign

    with sealed_epoch(network, epochs, number) as sealed:
        device = gateway_of(registry(sealed), key.public.device_id)
        if device is None:
            raise UsageError(
                f"the gateway {key.public.device_id} is not enrolled in {sealed.manifest.network_id!r} as of epoch "
                f"{sealed.manifest.epoch}; is this its network, and has an epoch closed since it joined?"
            )
        facts = facts_of(stored, device)
        message = sign(key, compose(facts, tables(sealed, device, facts.ids()), stored))
    if out is not None:
        try:
            out.write_bytes(message)
        except OSError as error:
            raise EnvironmentProblem(f"{out} cannot be written: {error.strerror or error}") from None
    return peek(message)[0]


def _verified(file: Path, network: str | None, epochs: Path | None, gateway: str | None) -> Mapping[str, Any]:
    from fieldstone.cli.storage_epochs import sealed_epoch, tables
    from fieldstone.errors import CheckFailed, UsageError
    from fieldstone.services.storage.customer_report import peek, recheck

    try:
        if file.exists() and not file.is_file():  # a pipe would be waited for, a device read without end
            raise UsageError(f"{file} cannot be read: it is no file")
        message = file.read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    said, facts = peek(message)
    if gateway is not None and facts.gateway != gateway:
        raise CheckFailed(f"{file} is of the gateway {facts.gateway}, not of {gateway}")
    with sealed_epoch(network, epochs, said["epoch"]["number"]) as sealed:
        return recheck(message, tables(sealed, facts.gateway, facts.ids()))
