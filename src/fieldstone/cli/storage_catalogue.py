"""A gateway's catalogue and master key, opened for a command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fieldstone.services.storage.catalog.accounts import Credentials, SecretBox
    from fieldstone.services.storage.catalog.store import Store


@dataclass(frozen=True)
class Catalogue:
    """The opened database, what decrypts its secrets, and the 32-byte master key."""

    engine: Engine
    store: Store
    box: SecretBox
    master_key: bytes


@contextlib.contextmanager
def opened(directory: Path, database: str | None, master_key_file: Path | None, *, make: bool) -> Iterator[Catalogue]:
    """Open what lies in DIR or where the options say; `make`: what is missing is made.

    Raises UsageError when there is no such gateway, EnvironmentProblem for a master key that is not the database's.
    """
    from fieldstone.errors import UsageError
    from fieldstone.services.storage.catalog.accounts import SecretBox, load_credentials
    from fieldstone.services.storage.catalog.schema import create_tables
    from fieldstone.services.storage.catalog.store import Store
    from fieldstone.state.engine import connect_state

    key_path, path = master_key_file or directory / "master.key", directory / "gateway.db"
    if make:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not key_path.exists() and database is None and path.exists():
            raise UsageError(
                f"{key_path} is gone, and {path} was written with it: bring your copy back. A new key could read nothing"
            )
    elif not key_path.exists() or (database is None and not path.exists()):
        raise UsageError(
            f"{directory} is no gateway's folder: it lacks {'gateway.db' if key_path.exists() else key_path}"
        )
    master_key = _master_key(key_path)
    engine = connect_state(database or path)
    create_tables(engine)
    store = Store(engine)
    box = SecretBox(master_key)
    try:
        # before anything is served: objects written under a wrong master key would be lost to the other gateways
        store.read_now(lambda c: load_credentials(c, box))
        yield Catalogue(engine, store, box, master_key)
    finally:
        store.close()
        engine.dispose()


def print_credentials(made: Credentials, as_json: bool) -> None:
    """Show an access key with its secret, which is shown this once."""
    import json

    if as_json:
        fields = {
            "account": made.account.name,
            "account_id": made.account.id,
            "access_key": made.access_key,
            "secret_key": made.secret,
        }
        typer.echo(json.dumps(fields))
        return
    typer.echo(f"account     {made.account.name}\naccount id  {made.account.id}")
    typer.echo(f"access key  {made.access_key}\nsecret key  {made.secret}")


def _master_key(path: Path) -> bytes:
    import secrets

    from fieldstone.errors import UsageError
    from fieldstone.identity.keys import write_secret_file

    if not path.exists():
        write_secret_file(path, secrets.token_bytes(32).hex().encode() + b"\n")
        typer.echo(f"new master key in {path}: keep a copy elsewhere; without it every object is lost", err=True)
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: no master key: {error}") from None
    if len(key) != 32:
        raise UsageError(f"{path}: a master key is 64 hex digits")
    return key
