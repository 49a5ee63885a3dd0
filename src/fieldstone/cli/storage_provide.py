"""`fieldstone storage provide`: rent out a disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fieldstone.cli.storage_size import size_of, size_words

if TYPE_CHECKING:
    from fieldstone.agent.agent import Agent
    from fieldstone.identity.keys import DeviceKey

MODEL = "storage-provider"
LEAST_CAPACITY_BYTES = 64 * 2**20  # one whole segment's share fits, whatever the profile; less is a forgotten unit


def command(
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Folder for shares, index and keys.")],
    capacity: Annotated[str, typer.Option(help="The most to take on disk: 500GB, 2TiB …")],
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where gateways connect.")] = "127.0.0.1:9100",
    network: Annotated[
        str, typer.Option(envvar="FIELDSTONE_NODE", metavar="URL", help="The network's node; empty: none.")
    ] = "",
    gateway: Annotated[
        list[str] | None,
        typer.Option(metavar="DID", help="Serve this gateway only; repeat for more. No network needed."),
    ] = None,
    url: Annotated[str, typer.Option(metavar="URL", help="Address told to gateways; from --listen if left out.")] = "",
    wallet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Operator's wallet; made in DIR if left out.")
    ] = None,
    lat: Annotated[float | None, typer.Option(help="Latitude of the disk, degrees WGS 84; to enrol.")] = None,
    lon: Annotated[float | None, typer.Option(help="Longitude of the disk, degrees WGS 84; to enrol.")] = None,
    elevation: Annotated[float, typer.Option(help="Metres above sea level.")] = 0.0,
    accuracy: Annotated[float, typer.Option(help="How well the place is known, metres.")] = 100.0,
    name: Annotated[str, typer.Option(help="A name to show; optional.")] = "",
    space: Annotated[str, typer.Option(help="Prove so much of the empty space (needs chiapos): 50GiB …")] = "",
    scrub: Annotated[str, typer.Option(help="Read shares again in the background at so much a second.")] = "8MiB",
    claim_minutes: Annotated[
        int, typer.Option(min=1, max=1_440, help="Claim what gateways read every so many minutes.")
    ] = 10,
) -> None:
    """Store shares for gateways, prove them, and be paid for what is proven.

    Makes keys and enrols the device at the first start. SIGINT or SIGTERM stops it: open requests are answered first.
    """
    import logging
    import threading

    from fieldstone.errors import UsageError
    from fieldstone.services.storage.pool.memory import keep_freed_memory
    from fieldstone.services.storage.provider.beside import keep_running
    from fieldstone.services.storage.provider.checking import Checker
    from fieldstone.services.storage.provider.door import Door
    from fieldstone.services.storage.provider.duties import Duties, RegistryGateways
    from fieldstone.services.storage.provider.metrics import Metrics
    from fieldstone.services.storage.provider.orders import Gateways, Listed
    from fieldstone.services.storage.provider.scrub import Scrub
    from fieldstone.services.storage.provider.server import Server, address
    from fieldstone.services.storage.provider.store import Store

    keep_freed_memory()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("fieldstone.storage").setLevel(logging.INFO)
    if not network and not gateway:
        raise UsageError("whom to serve? give --network URL, or --gateway DID for a network of your own")
    host, port = address(listen)
    if network and not url:
        _check_told(host, network)
    if wallet is not None and not wallet.exists():
        raise UsageError(
            f"--wallet {wallet} does not exist: make it with `fieldstone device wallet {wallet}`, or leave --wallet out "
            f"and one is made in {folder}"
        )
    capacity_bytes = size_of(capacity, "--capacity")
    if capacity_bytes < LEAST_CAPACITY_BYTES:
        raise UsageError(
            f"--capacity {capacity!r} is {size_words(capacity_bytes)}: is the unit missing? 64MiB is the least"
        )
    scrub_bytes_s, space_bytes = size_of(scrub, "--scrub"), size_of(space, "--space") if space else 0
    key = _key(folder)
    store = Store(folder, capacity_bytes)
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(work: Any, title: str) -> None:
        threads.append(threading.Thread(target=keep_running, args=(work, stop, title), name=title, daemon=True))
        threads[-1].start()

    try:
        server = Server(lambda: Door(store, key, known, metrics=metrics), host, port)
        here = url or f"http://{f'[{server.host}]' if ':' in server.host else server.host}:{server.port}"
        metrics = Metrics(store)
        _say(f"device   {key.public.device_id}")
        _say(
            f"holds    {store.totals().shares:,} shares, {size_words(store.used_bytes)} of {size_words(capacity_bytes)}"
        )
        if store.free_bytes() < capacity_bytes - store.used_bytes:
            _say(
                f"room     the disk has only {size_words(store.free_bytes())} left of the {size_words(capacity_bytes)} that "
                "--capacity says: what comes then is refused. Free some, or start with less"
            )
        _say_recovered(store.recovered)
        known: Gateways = Listed(gateway or [])
        if network:
            from fieldstone.agent.transport import HttpTransport

            _check_service(network)
            agent = _agent(folder, key, network)
            place = (lat, lon, elevation, accuracy)
            _enrol(folder, key, network, wallet, place, name)
            _say_bond(network, key.public.device_id, store.capacity_bytes)
            listed = None
            if not gateway:
                listed = known = RegistryGateways(HttpTransport(network).get, folder / "gateways.json")
            duties = Duties(
                store,
                key.public.device_id,
                HttpTransport(network).get,
                agent,
                gateways=listed,
                url=here,
                leaving=folder / "leaving",
                claim_every_s=60.0 * claim_minutes,
                say=_say,
            )
            duties.check_reads = Checker(key, HttpTransport(network).get, store.index, duties.note).report
            start(duties.run_checks, "checks")
            start(duties.run, "duties")
            start(agent.run, "agent")
            if space_bytes:
                from fieldstone.services.storage.provider.space.filling import Filling

                filling = Filling(
                    store, key.public.device_id, space_bytes, every_rounds=_space_rounds(network), say=_say
                )
                start(filling.run, "filling")
                duties.prove_space = filling.answer
        start(Scrub(store, bytes_per_s=scrub_bytes_s, count=metrics.scrubbed.inc).run, "scrub")
        _say(f"serving  {here}  (stop with Ctrl-C)")
        server.serve()
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
        if network and threads:
            agent.buffer.close()
        store.close()
    _say("stopped; everything acknowledged is on disk")


def _check_told(host: str, network: str) -> None:
    """See that gateways are told an address at which they can reach this machine. Raises UsageError."""
    import ipaddress
    from urllib.parse import urlsplit

    from fieldstone.errors import UsageError

    try:
        here = ipaddress.ip_address(host)
    except ValueError:
        return
    if here.is_unspecified:
        raise UsageError(
            f"--listen {host} is every address of this machine: say which one gateways use, --url http://HOST:PORT"
        )
    node = urlsplit(network).hostname or ""
    if here.is_loopback and node not in ("localhost", "::1", "") and not node.startswith("127."):
        _say(
            f"warning  --listen {host} is reached from this machine alone, but the network is at {node}: listen on 0.0.0.0 "
            "and say with --url where gateways reach it"
        )


def _check_service(network: str) -> None:
    """See that the network offers storage, as far as it can be asked. Raises UsageError: there is nothing to earn."""
    from fieldstone.agent.transport import HttpTransport
    from fieldstone.errors import FieldstoneError, UsageError

    try:
        with HttpTransport(network) as door:
            offered = list(door.get("/v1/network/policy")["services"])
    except (FieldstoneError, KeyError, TypeError):
        return  # away: an enrolled provider goes on
    if "storage" not in offered:
        raise UsageError(
            f"the network at {network} offers no storage, but {', '.join(offered)}: is it the right one? A founder who "
            "wants storage begins with `fieldstone init DIR --service storage`"
        )


def _say(words: str) -> None:
    typer.echo(words, err=True)


def _say_recovered(recovered: Any) -> None:
    done = {
        "unfinished uploads removed": recovered.swept,
        "complete shares entered": recovered.entered,
        "deleted shares removed": recovered.removed,
        "files set aside": recovered.set_aside,
        "SHARES LOST": recovered.lost,
    }
    words = ", ".join(f"{count} {what}" for what, count in done.items() if count)
    if words:
        _say(f"recovered {words}")


def _say_bond(network: str, device: str, capacity_bytes: int) -> None:
    """Say how much of the capacity the operator's bond covers, where the network asks for one and can be asked."""
    from urllib.parse import quote

    from fieldstone.agent.transport import HttpTransport
    from fieldstone.errors import FieldstoneError
    from fieldstone.services.storage.provider.bond_words import bond_words

    try:
        with HttpTransport(network) as door:
            operator = door.get(f"/v1/devices/{quote(device, safe=':')}")["operator"]
            told = door.get(f"/v1/bonds/{quote(operator)}")
            listed = door.get("/v1/storage/directory")["devices"] if told["services"] else []
        for words in bond_words(told, listed, device, capacity_bytes):
            _say(f"bond     {words}")
    except (FieldstoneError, KeyError, TypeError, ValueError) as error:
        _say(f"bond     what it covers could not be found out: {error}")


def _space_rounds(network: str) -> int:
    """Return every how many rounds the network counts empty space: its policy's figure, or the rules' own."""
    from fieldstone.agent.transport import HttpTransport
    from fieldstone.errors import FieldstoneError
    from fieldstone.services.storage.rules.v1 import default_params

    found: Any = {}
    try:
        with HttpTransport(network) as door:
            found = door.get("/v1/network/policy")["services"]["storage"]["params"]
    except (FieldstoneError, KeyError, TypeError):
        pass  # away, or no storage yet: the rules' own
    return int({**default_params(), **found}["space_every_rounds"])


def _key(folder: Path) -> DeviceKey:
    from fieldstone.identity.keys import DeviceKey

    path = folder / "device.key"
    if not path.exists():
        DeviceKey.generate().save(path)
        _say(f"made     {path}: whoever has it is this provider; keep a copy")
    return DeviceKey.load(path)


def _agent(folder: Path, key: DeviceKey, network: str) -> Agent:
    import time

    from fieldstone.agent.agent import Agent
    from fieldstone.agent.buffer import Buffer
    from fieldstone.agent.transport import HttpTransport

    buffer = Buffer(folder / "reports.db", time.time_ns() // 1_000_000)
    return Agent(key, buffer, HttpTransport(network))


def _enrol(
    folder: Path,
    key: DeviceKey,
    network: str,
    wallet: Path | None,
    place: tuple[float | None, float | None, float, float],
    name: str,
) -> None:
    """Enrol the device if the network does not know it; without a line, an enrolled device just goes on."""
    from urllib.parse import quote

    from fieldstone.agent.transport import HttpTransport
    from fieldstone.errors import CheckFailed, Retryable, UsageError
    from fieldstone.identity.entries import Place, enrol
    from fieldstone.identity.wallet import Wallet

    marker, device = folder / "enrolled", key.public.device_id
    with HttpTransport(network) as door:
        try:
            try:
                found = door.get(f"/v1/devices/{quote(device, safe=':')}")
                _say(f"enrolled in the network for operator {found.get('operator')}")
                if wallet is not None and (mine := Wallet.load(wallet).address) != found.get("operator"):
                    _say(
                        f"warning  {wallet} is {mine}: it does not get what this disk earns. The operator of an enrolled device "
                        "stays; a new --dir enrols a new one"
                    )
                marker.touch()
                return
            except UsageError:  # 404
                pass
        except Retryable as error:
            if marker.exists():
                _say(f"the network is away ({error}); serving meanwhile")
                return
            raise
        lat, lon, elevation, accuracy = place
        if lat is None or lon is None:
            raise UsageError("the first start enrols the device: say where the disk is with --lat and --lon")
        path = wallet or folder / "operator.wallet"
        if not path.exists():
            Wallet.generate().save(path)
            _say(f"made     {path}: it receives what the disk earns; keep a copy")
        operator = Wallet.load(path)
        body = enrol(
            key, operator, door.network(), model=MODEL, place=Place(lat, lon, elevation, accuracy), name=name,
            certificates=[], nonce=1,
        )  # fmt: skip
        result = door.send_entry(body)
        if not result.ok:
            raise CheckFailed(f"the network refused to enrol {device}: {result.code} {result.detail or result.remedy}")
        marker.touch()
        _say(f"enrolled {device} for operator {operator.address}")
