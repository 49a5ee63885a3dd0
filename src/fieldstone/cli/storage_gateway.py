"""`fieldstone storage gateway`: an S3 endpoint whose bytes lie, encrypted and coded, with many operators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fieldstone.services.storage.catalog.accounts import Credentials, SecretBox
    from fieldstone.services.storage.catalog.store import Store
    from fieldstone.services.storage.pool import Directory

Dir = Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where keys and the database are kept.")]
Listen = Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Address of the S3 endpoint; port 0: any.")]
Network = Annotated[
    str | None, typer.Option("--network", envvar="FIELDSTONE_NODE", metavar="URL", help="The network's node.")
]
Nodes = Annotated[Path | None, typer.Option("--nodes", metavar="FILE", help="A list of storage nodes, instead.")]
ProfileName = Annotated[
    str,
    typer.Option("--profile", metavar="K/N", help="Any K of N shares restore an object; auto: by the network's size."),
]
Database = Annotated[
    str | None, typer.Option("--database", metavar="URL", help="PostgreSQL, for several gateways; else a file in DIR.")
]
MasterKey = Annotated[
    Path | None, typer.Option("--master-key-file", metavar="FILE", help="The key over all keys; else a file in DIR.")
]
Domain = Annotated[
    list[str] | None,
    typer.Option("--domain", metavar="NAME", help="Name buckets by host below this domain; repeatable."),
]
Etag = Annotated[str, typer.Option("--etag", metavar="md5|opaque", help="opaque: faster uploads, ETags are no MD5.")]
Admin = Annotated[str | None, typer.Option("--admin", metavar="HOST:PORT", help="Serve /healthz and /metrics here.")]
Log = Annotated[
    str | None, typer.Option("--access-log", metavar="FILE", help="One line of JSON per request; - stdout.")
]
Tls = Annotated[str | None, typer.Option("--tls", metavar="CHAIN,KEY", help="Files of the certificate chain and key.")]
Name = Annotated[
    str | None, typer.Option("--create-account", metavar="NAME", help="Make an account, print its key, end.")
]
AccountId = Annotated[str | None, typer.Option("--account-id", help="Canonical id of the new account; else drawn.")]
Email = Annotated[str, typer.Option("--email", help="Email address of the new account.")]
AccessKey = Annotated[str | None, typer.Option("--access-key", help="Access key of the new account; else drawn.")]
SecretFile = Annotated[
    Path | None, typer.Option("--secret-file", metavar="FILE", help="File with the new account's secret; else drawn.")
]
Region = Annotated[str, typer.Option("--region", help="Name of the region that clients see.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def command(
    directory: Dir,
    listen: Listen = "127.0.0.1:9000",
    network: Network = None,
    nodes: Nodes = None,
    profile: ProfileName = "auto",
    database: Database = None,
    master_key_file: MasterKey = None,
    domain: Domain = None,
    region: Region = "us-east-1",
    etag: Etag = "md5",
    admin: Admin = None,
    access_log: Log = None,
    tls: Tls = None,
    create_account: Name = None,
    account_id: AccountId = None,
    email: Email = "",
    access_key: AccessKey = None,
    secret_file: SecretFile = None,
    as_json: Json = False,
) -> None:
    """Serve buckets by the S3 protocol, or make an account.

    The gateway sees plain text: run it on your own machine where that matters. Keys and database lie in DIR; who loses
    the master key loses every object.
    """
    from fieldstone.errors import UsageError
    from fieldstone.node.logs import configure
    from fieldstone.services.storage.catalog.accounts import SecretBox
    from fieldstone.services.storage.catalog.schema import create_tables
    from fieldstone.services.storage.catalog.store import Store
    from fieldstone.state.engine import connect_state

    if etag not in ("md5", "opaque"):
        raise UsageError(f"--etag {etag!r}: choose md5 or opaque")
    configure()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    master_key = _master_key(master_key_file or directory / "master.key")
    engine = connect_state(database or directory / "gateway.db")
    create_tables(engine)
    store = Store(engine)
    box = SecretBox(master_key)
    try:
        if create_account is not None:
            secret = secret_file.read_text().strip() if secret_file else None
            made = _create(store, box, create_account, account_id, email, access_key, secret)
            _print_credentials(made, as_json)
            return
        first = _first_account(store, box)
        _serve(
            engine,
            store,
            box,
            master_key,
            directory,
            first,
            as_json=as_json,
            listen=listen,
            network=network,
            nodes=nodes,
            profile=profile,
            domains=tuple(domain or ()),
            region=region,
            etag=etag,
            admin=admin,
            access_log=access_log,
            tls=tls,
        )
    finally:
        store.close()
        engine.dispose()


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


def _create(
    store: Store,
    box: SecretBox,
    name: str,
    account_id: str | None,
    email: str,
    access_key: str | None,
    secret: str | None,
) -> Credentials:
    from fieldstone.services.storage.catalog.accounts import create_account

    return store.write_now(
        lambda c: create_account(c, box, name, account_id=account_id, email=email, access_key=access_key, secret=secret)
    )


def _first_account(store: Store, box: SecretBox) -> Credentials | None:
    """Return the first account's key when it was just made, None when there are accounts."""
    from fieldstone.services.storage.catalog.accounts import create_account, list_accounts

    return store.write_now(lambda c: None if list_accounts(c) else create_account(c, box, "admin"))


def _print_credentials(made: Credentials, as_json: bool) -> None:
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


def _serve(
    engine: Engine,
    store: Store,
    box: SecretBox,
    master_key: bytes,
    directory: Path,
    first: Credentials | None,
    *,
    as_json: bool,
    listen: str,
    network: str | None,
    nodes: Path | None,
    profile: str,
    domains: tuple[str, ...],
    region: str,
    etag: str,
    admin: str | None,
    access_log: str | None,
    tls: str | None,
) -> None:
    import asyncio

    import uvloop

    from fieldstone.services.storage.s3.server.run import listen as open_socket

    listener = open_socket(*_address(listen))
    listener_admin = open_socket(*_address(admin)) if admin else None
    scheme = "https" if tls else "http"
    url = f"{scheme}://{_name(listener)}"

    def ready() -> None:
        if as_json:
            admin_url = f"http://{_name(listener_admin)}" if listener_admin else None
            typer.echo(json.dumps({"endpoint": url, "admin": admin_url, "region": region}))
        else:
            typer.echo(f"endpoint    {url}")
            if listener_admin:
                typer.echo(f"admin       http://{_name(listener_admin)}/healthz, /metrics")
        import sys

        sys.stdout.flush()

    if first is not None:
        _print_credentials(first, as_json)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            _run(
                engine, store, box, master_key, directory, listener, listener_admin, ready,
                network=network, nodes=nodes, profile=profile, domains=domains, region=region, etag=etag,
                access_log=access_log, tls=tls,
            )
        )  # fmt: skip


async def _run(
    engine: Engine,
    store: Store,
    box: SecretBox,
    master_key: bytes,
    directory: Path,
    listener: Any,
    listener_admin: Any,
    ready: Any,
    *,
    network: str | None,
    nodes: Path | None,
    profile: str,
    domains: tuple[str, ...],
    region: str,
    etag: str,
    access_log: str | None,
    tls: str | None,
) -> None:
    from fieldstone.services.storage.pool import Pool, profile_named
    from fieldstone.services.storage.s3.server.gateway import Gateway, GatewayOptions
    from fieldstone.services.storage.s3.server.run import serve

    pool = Pool(engine, _directory(network, nodes), _device_key(directory), master_key, database=store)
    chosen = pool.automatic_profile() if profile == "auto" else profile_named(profile)
    options = GatewayOptions(
        profile=chosen, region=region, base_domains=domains, etag="opaque" if etag == "opaque" else "md5"
    )
    chain, _, key = (tls or "").partition(",")
    try:
        await serve(
            Gateway(store, pool, box, options),
            listener,
            admin=listener_admin,
            access_log=_access_log(access_log),
            ready=ready,
            tls=(chain, key) if tls else None,
        )
    finally:
        await pool.close()


def _directory(network: str | None, nodes: Path | None) -> Directory:
    from fieldstone.errors import UsageError
    from fieldstone.services.storage.pool import Directory

    if nodes is not None:
        return Directory.read(nodes)
    if network is None:
        raise UsageError("give the network's node (--network URL) or a list of storage nodes (--nodes FILE)")
    return Directory.from_listing(_listing(network.rstrip("/")))


def _listing(network: str) -> dict[str, Any]:
    import httpx

    from fieldstone.errors import Retryable

    devices: list[Any] = []
    after = ""
    try:
        with httpx.Client(timeout=20) as client:
            while True:
                answer = client.get(f"{network}/v1/devices", params={"after": after})
                answer.raise_for_status()
                page = answer.json()
                devices += page["devices"]
                after = page.get("next_after") or ""
                if not after:
                    return {"devices": devices}
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise Retryable(f"{network} did not list its devices: {error}; is the node up?") from error


def _device_key(directory: Path) -> Any:
    from fieldstone.identity.keys import DeviceKey

    path = directory / "device.key"
    if not path.exists():
        key = DeviceKey.generate()
        key.save(path)
        typer.echo(f"new device key in {path}: {key.public.device_id}", err=True)
    return DeviceKey.load(path)


def _access_log(where: str | None) -> Any:
    import sys

    from fieldstone.services.storage.s3.server.access_log import AccessLog

    if where is None:
        return None
    return AccessLog(sys.stdout if where == "-" else open(where, "a", encoding="utf-8"))


def _address(text: str) -> tuple[str, int]:
    from fieldstone.errors import UsageError

    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        raise UsageError(f"{text!r} is no address; write HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def _name(listener: Any) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
