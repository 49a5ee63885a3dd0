"""`fieldstone storage keys`: who may use a gateway by S3: list, add and revoke access keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Dir = Annotated[Path, typer.Option("--dir", metavar="DIR", help="The gateway's folder.")]
Add = Annotated[str | None, typer.Option("--add", metavar="ACCOUNT", help="Give the account one more key; print it.")]
Revoke = Annotated[str | None, typer.Option("--revoke", metavar="ACCESS_KEY", help="Refuse this key from now on.")]
Database = Annotated[
    str | None, typer.Option("--database", metavar="URL", help="The gateway's database when it is not in DIR.")
]
MasterKey = Annotated[
    Path | None, typer.Option("--master-key-file", metavar="FILE", help="The master key when it is not in DIR.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def command(
    directory: Dir,
    add: Add = None,
    revoke: Revoke = None,
    database: Database = None,
    master_key_file: MasterKey = None,
    as_json: Json = False,
) -> None:
    """List a gateway's accounts and access keys; make a new one, or revoke one that leaked.

    The gateway may run meanwhile: it takes a change up within a second. Secrets are shown when they are made, never again.
    """
    import json

    from fieldstone.cli.show import table
    from fieldstone.cli.storage_catalogue import opened, print_credentials
    from fieldstone.errors import UsageError
    from fieldstone.services.storage.catalog.accounts import (
        add_access_key,
        find_account_by_name,
        list_access_keys,
        revoke_access_key,
    )

    if add is not None and revoke is not None:
        raise UsageError("--add and --revoke are two commands: make the new key, let clients have it, then revoke")
    with opened(directory, database, master_key_file, make=False) as found:
        store = found.store
        if add is not None:
            account = store.read_now(lambda c: find_account_by_name(c, add))
            if account is None:
                raise UsageError(
                    f"there is no account {add!r}: `fieldstone storage gateway --create-account` makes one"
                )
            print_credentials(store.write_now(lambda c: add_access_key(c, found.box, account)), as_json)
            return
        if revoke is not None:
            store.write_now(lambda c: revoke_access_key(c, revoke))
            typer.echo(f"{revoke} is refused from now on; what it wrote stays", err=True)
            return
        keys = store.read_now(list_access_keys)
    if as_json:
        typer.echo(json.dumps([dict(zip(("account", "access_key", "created_ms"), key, strict=True)) for key in keys]))
        return
    table(("account", "access key", "made"), [[name, key, _day(made_ms)] for name, key, made_ms in keys])


def _day(ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
