"""`fieldstone device`: make a device's key, enrol it, change its key or place, look at what the network knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fieldstone.agent.transport import HttpTransport

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Keys, enrolment, rotation and place of a device.")

Node = Annotated[str, typer.Option("--node", envvar="FIELDSTONE_NODE", metavar="URL", help="Address of the node.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
KeyFile = Annotated[Path, typer.Option("--key", metavar="FILE", help="The device's key file.")]
WalletFile = Annotated[Path, typer.Option("--wallet", metavar="FILE", help="The operator's wallet file.")]
Nonce = Annotated[int | None, typer.Option("--nonce", min=1, help="Entry number; asked of the node if left out.")]
Certificates = Annotated[
    list[Path] | None,
    typer.Option("--certificate", metavar="PEM", help="Manufacturer certificates, the device's own first."),
]
DEFAULT_NODE = "http://127.0.0.1:8080"


@app.command()
def new(
    path: Path,
    algorithm: Annotated[
        str, typer.Option("--algorithm", "-a", help="Ed25519, ES256 (P-256) or ES256K (secp256k1).")
    ] = "Ed25519",
    as_json: Json = False,
) -> None:
    """Make a device key in a new file that only you can read."""
    from fieldstone.errors import UsageError
    from fieldstone.identity.keys import Algorithm, DeviceKey

    names = {str(name).lower(): name for name in Algorithm} | {
        "p-256": Algorithm.P256,
        "secp256k1": Algorithm.SECP256K1,
    }
    if algorithm.lower() not in names:
        raise UsageError(f"algorithm {algorithm!r} is none of {', '.join(Algorithm)}")
    key = DeviceKey.generate(names[algorithm.lower()])
    key.save(path)
    _show({"device": key.public.device_id, "algorithm": str(key.public.algorithm), "file": str(path)}, as_json)


@app.command()
def wallet(path: Path, as_json: Json = False) -> None:
    """Make an operator's wallet in a new file: it owns devices and receives their rewards."""
    from fieldstone.identity.wallet import Wallet

    made = Wallet.generate()
    made.save(path)
    _show({"operator": made.address, "file": str(path)}, as_json)


@app.command("id")
def show_id(path: Path, as_json: Json = False) -> None:
    """Print the device id of a key file."""
    from fieldstone.identity.keys import DeviceKey

    public = DeviceKey.load(path).public
    if as_json:
        _show(
            {"device": public.device_id, "algorithm": str(public.algorithm), "kid": public.kid.hex()},
            True,
        )
    else:
        typer.echo(public.device_id)


@app.command()
def enrol(
    key: KeyFile,
    wallet: WalletFile,
    model: Annotated[str, typer.Option(help="Hardware model.")],
    lat: Annotated[float, typer.Option(help="Latitude, degrees WGS 84.")],
    lon: Annotated[float, typer.Option(help="Longitude, degrees WGS 84.")],
    elevation: Annotated[float, typer.Option(help="Metres above sea level.")],
    accuracy: Annotated[float, typer.Option(help="How well the place is known, metres.")] = 50.0,
    name: Annotated[str, typer.Option(help="A name to show; optional.")] = "",
    certificate: Certificates = None,
    nonce: Annotated[int, typer.Option(min=1, help="Entry number.")] = 1,
    node: Node = DEFAULT_NODE,
    as_json: Json = False,
) -> None:
    """Enrol a device: signed by the device and by the operator who will be paid for it."""
    from fieldstone.identity import entries

    device_key, operator = _load_key(key), _load_wallet(wallet)
    with _node(node) as door:
        body = entries.enrol(
            device_key,
            operator,
            door.network(),
            model=model,
            place=entries.Place(lat, lon, elevation, accuracy),
            name=name,
            certificates=_read_certificates(certificate),
            nonce=nonce,
        )
        _send(door, body, {"device": device_key.public.device_id, "operator": operator.address}, as_json)


@app.command()
def rotate(
    wallet: WalletFile,
    new_key: Annotated[Path, typer.Option("--new-key", metavar="FILE", help="Key file that takes over.")],
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Key file in use now.")] = None,
    device: Annotated[str, typer.Option(help="The device's name (its first id), if it was rotated before.")] = "",
    lost: Annotated[bool, typer.Option("--lost", help="The key in use is lost: announce, wait, send again.")] = False,
    certificate: Certificates = None,
    nonce: Nonce = None,
    node: Node = DEFAULT_NODE,
    as_json: Json = False,
) -> None:
    """Give a device a new key; its name, owner and history stay."""
    from fieldstone.errors import UsageError
    from fieldstone.identity import entries

    if lost == (key is not None) or (lost and not device):
        raise UsageError("give either --key FILE (the key in use) or --lost with --device ID")
    operator, replacement = _load_wallet(wallet), _load_key(new_key)
    chain = _read_certificates(certificate)
    with _node(node) as door:
        network = door.network()
        if key is None:
            number = nonce or _next_nonce(door, device)
            body = entries.recover(device, replacement, operator, network, nonce=number, certificates=chain)
        else:
            old = _load_key(key)
            device = device or old.public.device_id
            number = nonce or _next_nonce(door, device)
            body = entries.rotate(device, old, replacement, operator, network, nonce=number, certificates=chain)
        _send(door, body, {"device": device, "new_key": replacement.public.device_id}, as_json)


@app.command()
def revoke(
    device: str, wallet: WalletFile, nonce: Nonce = None, node: Node = DEFAULT_NODE, as_json: Json = False
) -> None:
    """Revoke a device's key: nothing it signs is accepted any more. The operator alone decides."""
    from fieldstone.identity import entries

    operator = _load_wallet(wallet)
    with _node(node) as door:
        body = entries.revoke(device, operator, door.network(), nonce=nonce or _next_nonce(door, device))
        _send(door, body, {"device": device, "revoked": True}, as_json)


@app.command()
def move(
    key: KeyFile,
    wallet: WalletFile,
    lat: Annotated[float, typer.Option(help="Latitude, degrees WGS 84.")],
    lon: Annotated[float, typer.Option(help="Longitude, degrees WGS 84.")],
    elevation: Annotated[float, typer.Option(help="Metres above sea level.")],
    accuracy: Annotated[float, typer.Option(help="How well the place is known, metres.")] = 50.0,
    device: Annotated[str, typer.Option(help="The device's name (its first id), if it was rotated before.")] = "",
    nonce: Nonce = None,
    node: Node = DEFAULT_NODE,
    as_json: Json = False,
) -> None:
    """Tell the network that a device stands somewhere else now."""
    from fieldstone.identity import entries

    device_key, operator = _load_key(key), _load_wallet(wallet)
    device = device or device_key.public.device_id
    with _node(node) as door:
        body = entries.move(
            device,
            device_key,
            operator,
            door.network(),
            place=entries.Place(lat, lon, elevation, accuracy),
            nonce=nonce or _next_nonce(door, device),
        )
        _send(door, body, {"device": device, "lat": lat, "lon": lon}, as_json)


@app.command()
def show(device: str, node: Node = DEFAULT_NODE, as_json: Json = False) -> None:
    """Show what the network knows about a device."""
    with _node(node) as door:
        _show(_device(door, device), as_json)


@app.command("list")
def list_devices(node: Node = DEFAULT_NODE, as_json: Json = False) -> None:
    """List the enrolled devices."""
    devices: list[dict[str, Any]] = []
    after: str | None = ""
    with _node(node) as door:
        while after is not None:
            page = door.get(f"/v1/devices?after={after}")
            devices += page["devices"]
            after = page.get("next_after")
    if as_json:
        typer.echo(json.dumps(devices, indent=1, ensure_ascii=False))
        return
    if not devices:
        typer.echo("No device is enrolled yet.", err=True)
    from fieldstone.cli.show import table

    columns = ["device", "operator", "model", "lat", "lon", "revoked_ms"]
    table(columns, [[device.get(name) for name in columns] for device in devices])


def _node(url: str) -> HttpTransport:
    from fieldstone.agent.transport import HttpTransport

    return HttpTransport(url)


def _load_key(path: Path) -> Any:
    from fieldstone.identity.keys import DeviceKey

    return DeviceKey.load(path)


def _load_wallet(path: Path) -> Any:
    from fieldstone.identity.wallet import Wallet

    return Wallet.load(path)


def _read_certificates(paths: list[Path] | None) -> list[bytes]:
    """Read PEM files, each with one certificate or more, into DER."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from fieldstone.errors import UsageError

    chain: list[bytes] = []
    for path in paths or []:
        try:
            chain.extend(c.public_bytes(Encoding.DER) for c in x509.load_pem_x509_certificates(path.read_bytes()))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: no PEM certificate: {error}") from None
    return chain


def _device(door: HttpTransport, device: str) -> dict[str, Any]:
    from urllib.parse import quote

    from fieldstone.errors import CheckFailed

    found = door.get(f"/v1/devices/{quote(device, safe=':')}")
    if not isinstance(found, dict):
        raise CheckFailed(f"{door.url} answered something else than a device")
    return found


def _next_nonce(door: HttpTransport, device: str) -> int:
    from fieldstone.errors import CheckFailed

    nonce = _device(door, device).get("nonce")
    if not isinstance(nonce, int):
        raise CheckFailed(f"{door.url} did not tell the nonce of {device}: give --nonce")
    return nonce + 1


def _send(door: HttpTransport, body: bytes, facts: dict[str, Any], as_json: bool) -> None:
    from fieldstone.errors import Rejected
    from fieldstone.reasons import REASONS, Reason

    result = door.send_entry(body)
    if not result.ok:
        code = result.code or "UNLISTED"
        unlisted = Reason(code, 400, "", result.remedy or "Ask the network's founder.")
        raise Rejected(REASONS.get(code, unlisted), str(facts["device"]), result.detail or "")
    _show({**facts, "position": result.position}, as_json)


def _show(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        if value is not None:
            typer.echo(f"{name:<{width}}  {value}")
