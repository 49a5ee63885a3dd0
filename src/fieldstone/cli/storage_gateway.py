"""`fieldstone storage gateway`: an S3 endpoint whose bytes lie, encrypted and coded, with many operators."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fieldstone.identity.keys import Signer
    from fieldstone.identity.wallet import Wallet
    from fieldstone.services.storage.catalog.accounts import SecretBox
    from fieldstone.services.storage.catalog.store import Store
    from fieldstone.services.storage.pool import Directory, Pool

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
BehindTls = Annotated[
    bool, typer.Option("--behind-tls", help="Only something that ends TLS in front of the gateway can reach it.")
]
Proxies = Annotated[
    list[str] | None,
    typer.Option(
        "--trusted-proxy",
        metavar="ADDRESS",
        help="Believe X-Forwarded-For and -Proto from this address or network; repeatable.",
    ),
]
KeysOverHttp = Annotated[
    bool, typer.Option("--allow-sse-c-over-http", help="Take customers' keys (SSE-C) unencrypted, too: for trials.")
]
Name = Annotated[
    str | None, typer.Option("--create-account", metavar="NAME", help="Make an account, print its key, end.")
]
AccountId = Annotated[str | None, typer.Option("--account-id", help="Canonical id of the new account; else drawn.")]
Email = Annotated[str, typer.Option("--email", help="Email address of the new account.")]
AccessKey = Annotated[str | None, typer.Option("--access-key", help="Access key of the new account; else drawn.")]
SecretFile = Annotated[
    Path | None, typer.Option("--secret-file", metavar="FILE", help="File with the new account's secret; else drawn.")
]
WalletFile = Annotated[
    Path | None, typer.Option("--wallet", metavar="FILE", help="Who owns the gateway in the network; else made in DIR.")
]
Lat = Annotated[float | None, typer.Option(help="Latitude of the gateway, if it has a place; degrees WGS 84.")]
Lon = Annotated[float | None, typer.Option(help="Longitude.")]
Asns = Annotated[
    Path | None,
    typer.Option("--asns", metavar="FILE", help="Which network is whose (IPtoASN's TSV): caps shares per system, too."),
]
RepairAfter = Annotated[
    float, typer.Option(metavar="SECONDS", help="A node away for so long is regenerated elsewhere.")
]
RepairEvery = Annotated[float, typer.Option(metavar="SECONDS", help="How often shares are counted.")]
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
    behind_tls: BehindTls = False,
    trusted_proxy: Proxies = None,
    allow_sse_c_over_http: KeysOverHttp = False,
    wallet: WalletFile = None,
    lat: Lat = None,
    lon: Lon = None,
    asns: Asns = None,
    repair_after: RepairAfter = 14_400.0,
    repair_every: RepairEvery = 3_600.0,
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
    from fieldstone.cli.storage_catalogue import opened, print_credentials
    from fieldstone.cli.storage_gateway_start import alone, check
    from fieldstone.errors import UsageError
    from fieldstone.node.logs import configure
    from fieldstone.services.storage.catalog.accounts import create_account as make_account
    from fieldstone.services.storage.catalog.accounts import create_first_account

    # all that was mistyped is found before keys are made and shown
    if etag not in ("md5", "opaque"):
        raise UsageError(f"--etag {etag!r}: choose md5 or opaque")
    if create_account is None:
        check(listen, admin, network, nodes, profile, wallet)
    configure()
    with opened(directory, database, master_key_file, make=True) as found:
        store, box = found.store, found.box
        if create_account is not None:
            secret = secret_file.read_text().strip() if secret_file else None
            made = store.write_now(
                lambda c: make_account(
                    c, box, create_account, account_id=account_id, email=email, access_key=access_key, secret=secret
                )
            )
            print_credentials(made, as_json)
            return
        first = store.write_now(lambda c: create_first_account(c, box, "admin"))
        if first is not None:
            print_credentials(first, as_json)
            if not as_json:
                typer.echo(
                    "(the secret is not shown again: `fieldstone storage keys --add admin` makes another key)", err=True
                )
        place = (lat, lon) if lat is not None and lon is not None else None
        settings = _Settings(
            directory, listen, network, nodes, profile, tuple(domain or ()), region, etag, admin, access_log, tls,
            wallet, place, asns, repair_after, repair_every, as_json,
            behind_tls, tuple(trusted_proxy or ()), allow_sse_c_over_http,
        )  # fmt: skip
        with alone(directory):
            _serve(found.engine, store, box, found.master_key, settings)


@dataclass(frozen=True)
class _Settings:
    """What the command was told, for `_serve`."""

    directory: Path
    listen: str
    network: str | None
    nodes: Path | None
    profile: str
    domains: tuple[str, ...]
    region: str
    etag: str
    admin: str | None
    access_log: str | None
    tls: str | None
    wallet: Path | None
    place: tuple[float, float] | None
    asns: Path | None
    repair_after_s: float
    repair_every_s: float
    as_json: bool
    behind_tls: bool
    trusted_proxies: tuple[str, ...]
    keys_over_http: bool


def _serve(engine: Engine, store: Store, box: SecretBox, master_key: bytes, settings: _Settings) -> None:
    import asyncio

    import uvloop

    from fieldstone.cli.storage_gateway_start import address_of
    from fieldstone.services.storage.pool.descriptors import allow_many_files
    from fieldstone.services.storage.pool.memory import keep_freed_memory
    from fieldstone.services.storage.s3.server.run import listen as open_socket

    keep_freed_memory()
    allow_many_files()
    listener = open_socket(*address_of(settings.listen))
    listener_admin = open_socket(*address_of(settings.admin)) if settings.admin else None
    url = f"{'https' if settings.tls else 'http'}://{_name(listener)}"

    def ready() -> None:
        admin_url = f"http://{_name(listener_admin)}" if listener_admin else None
        if settings.as_json:
            typer.echo(json.dumps({"endpoint": url, "admin": admin_url, "region": settings.region}))
        else:
            typer.echo(f"endpoint    {url}  (stop with Ctrl-C)")
            if admin_url:
                typer.echo(f"admin       {admin_url}/healthz, /metrics")
        sys.stdout.flush()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(engine, store, box, master_key, listener, listener_admin, ready, settings))


async def _run(
    engine: Engine,
    store: Store,
    box: SecretBox,
    master_key: bytes,
    listener: Any,
    listener_admin: Any,
    ready: Any,
    settings: _Settings,
) -> None:
    from fieldstone.cli.storage_gateway_start import profile_words
    from fieldstone.services.storage.pool import Pool, profile_named
    from fieldstone.services.storage.s3.server.gateway import Gateway, GatewayOptions
    from fieldstone.services.storage.s3.server.run import serve

    key = _device_key(settings.directory)
    directory = _directory(settings, key)
    if settings.asns is not None:
        from fieldstone.services.storage.pool.asn import AsnTable

        directory.know_networks(AsnTable.read(settings.asns))
    pool = Pool(engine, directory, key, master_key, database=store)
    chosen = None if settings.profile == "auto" else profile_named(settings.profile)
    if not settings.as_json:
        typer.echo(profile_words(chosen, len(directory)), err=True)
    options = GatewayOptions(
        profile=chosen,
        region=settings.region,
        base_domains=settings.domains,
        etag="opaque" if settings.etag == "opaque" else "md5",
        trusted_proxies=settings.trusted_proxies,
        behind_tls=settings.behind_tls,
        keys_over_http=settings.keys_over_http,
    )
    chain, _, tls_key = (settings.tls or "").partition(",")
    try:
        await serve(
            Gateway(store, pool, box, options),
            listener,
            admin=listener_admin,
            access_log=_access_log(settings.access_log),
            ready=ready,
            background=(_upkeep(pool, key, settings),),
            tls=(chain, tls_key) if settings.tls else None,
        )
    finally:
        await pool.close()


async def _upkeep(pool: Pool, key: Signer, settings: _Settings) -> None:
    """Keep shares whole and clean, and as a member of a network: paid for."""
    from fieldstone.services.storage.membership import Pace, Upkeep
    from fieldstone.services.storage.pool import RepairRules

    rules = RepairRules(interval_s=settings.repair_every_s, grace_ms=int(settings.repair_after_s * 1_000))
    pace = Pace(watch_s=min(60.0, settings.repair_every_s), repair=rules)
    await Upkeep(pool, settings.network, key, settings.directory, pace).keep()


def _directory(settings: _Settings, key: Signer) -> Directory:
    from fieldstone.services.storage.pool import Directory

    if settings.nodes is not None:
        return Directory.read(settings.nodes)
    assert settings.network is not None  # `_check`
    from fieldstone.agent import HttpTransport
    from fieldstone.identity.entries import Place
    from fieldstone.services.storage.membership import join, listing

    wallet = _wallet(settings.wallet or settings.directory / "operator.wallet")
    # a gateway is software: without a place of its own it says so by the coarsest accuracy there is
    lat, lon = settings.place or (0.0, 0.0)
    place = Place(lat, lon, 0.0, 1_000.0 if settings.place else 100_000.0)
    with HttpTransport(settings.network) as door:
        join(door, key, wallet, place)
        return listing(door)


def _wallet(path: Path) -> Wallet:
    from fieldstone.identity.wallet import Wallet

    if not path.exists():
        Wallet.generate().save(path)
        typer.echo(f"new operator's wallet in {path}", err=True)
    return Wallet.load(path)


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


def _name(listener: Any) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
