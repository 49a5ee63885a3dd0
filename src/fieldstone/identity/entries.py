"""Signed registry entries: enrol, rotate, recover, revoke, move. What is in the journal is exactly these bytes.

    body    = [payload: bstr, [[protected: bstr, signature: bstr], …], operator signature: bstr .size 65]
    payload = {1: version, 2: action, 3: device id, 4: nonce, 5: operator address, … fields of the action}

Each device signature is a COSE_Sign1 signature over the payload (kept once, "detached") with external_aad =
CBOR ["registry", network id, chain id, schema version], so no report can pass for an entry or the other way round.
The operator signs a text (EIP-191) that any wallet shows in full and that is rebuilt here from the payload's fields.

| action  | signed by                  | effect                                                                     |
|---------|----------------------------|----------------------------------------------------------------------------|
| enrol   | device, operator           | binds key, operator, model, place and, where required, a certificate        |
| rotate  | old key, new key, operator | the new key takes over at once                                              |
| recover | new key, operator          | old key lost: noted first, takes over when sent again after the waiting time |
| revoke  | operator                   | the key signs nothing any more; `recover` can bring the device back         |
| move    | device, operator           | a new place, at most once per interval of the policy                        |
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn, Protocol

import cbor2

from fieldstone.errors import Rejected
from fieldstone.identity import cose, wellformed
from fieldstone.identity.keys import PublicKey, Signer, verify
from fieldstone.identity.wallet import Wallet, checksum_address
from fieldstone.reasons import reason

VERSION = 1
MAX_BODY_BYTES = 16_384
MAX_NONCE = 2**53 - 1
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+/-]{0,63}\Z")
_LONGEST_TEXT = 64
_MOST_CERTIFICATES = 4


class NetworkName(Protocol):
    """What names a network; a `Policy` does."""

    @property
    def network_id(self) -> str: ...
    @property
    def chain_id(self) -> int: ...
    @property
    def schema_version(self) -> int: ...


class Action(StrEnum):
    """What an entry does."""

    ENROL = "enrol"
    ROTATE = "rotate"
    RECOVER = "recover"
    REVOKE = "revoke"
    MOVE = "move"


_SIGNATURES = {Action.ENROL: 1, Action.ROTATE: 2, Action.RECOVER: 1, Action.REVOKE: 0, Action.MOVE: 1}
_VERB = {
    Action.ENROL: "enrol a device",
    Action.ROTATE: "replace a device's key",
    Action.RECOVER: "recover a device whose key is lost",
    Action.REVOKE: "revoke a device's key",
    Action.MOVE: "move a device",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device stands: degrees WGS 84, metres above sea level, stated accuracy in metres."""

    lat: float
    lon: float
    elevation_m: float
    accuracy_m: float


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """A parsed entry, its fields checked one by one and its signatures not yet judged."""

    action: Action
    device: str
    nonce: int
    operator: str
    model: str
    name: str
    place: Place | None
    new_device: str
    certificates: tuple[bytes, ...]
    payload: bytes
    signatures: tuple[tuple[bytes, bytes], ...]
    operator_signature: bytes

    def text(self, network: NetworkName) -> str:
        """Return the text that the operator's wallet shows and signs."""
        return operator_text(self, network)

    def is_signed_by(self, place: int, public: PublicKey, network: NetworkName) -> bool:
        """Say whether device signature number `place` is `public`'s and binds this payload to this network."""
        protected, signature = self.signatures[place]
        header = cose.read_protected(protected)
        if header is None or header[1] != public.kid or cose.algorithm_of(header[0]) is not public.algorithm:
            return False
        return verify(public, cose.signed_bytes(protected, entry_aad(network), self.payload), signature)


def entry_aad(network: NetworkName) -> bytes:
    """Return the external_aad of device signatures on registry entries."""
    return cbor2.dumps(["registry", network.network_id, network.chain_id, network.schema_version])


def operator_text(entry: RegistryEntry, network: NetworkName) -> str:
    """Write an entry as the text that the operator signs. Each field stands on its own line and holds no line break."""
    lines = [
        f"Fieldstone: {_VERB[entry.action]}",
        f"Network: {network.network_id} (chain {network.chain_id}, schema {network.schema_version})",
        f"Device: {entry.device}",
        f"Operator: {entry.operator}",
    ]
    if entry.new_device:
        lines.append(f"New key: {entry.new_device}")
    if entry.model:
        lines.append(f"Model: {entry.model}")
    if entry.name:
        lines.append(f"Name: {entry.name}")
    if entry.place:
        at = entry.place
        lines.append(f"Place: {at.lat!r}, {at.lon!r}, {at.elevation_m!r} m up, known to {at.accuracy_m!r} m")
    if entry.certificates:
        lines.append(f"Certificates: {len(entry.certificates)}")
    lines.append(f"Nonce: {entry.nonce}")
    return "\n".join(lines)


def enrol(
    key: Signer,
    wallet: Wallet,
    network: NetworkName,
    *,
    model: str,
    place: Place,
    name: str = "",
    certificates: Sequence[bytes] = (),
    nonce: int = 1,
) -> bytes:
    """Make an enrolment. `certificates`: DER, the device's own first. Raises Rejected as `parse` would."""
    fields: dict[int, Any] = {6: model, **_place_fields(place)}
    if name:
        fields[11] = name
    if certificates:
        fields[12] = list(certificates)
    return _signed(Action.ENROL, key.public.device_id, nonce, fields, [key], wallet, network)


def rotate(
    device: str,
    old_key: Signer,
    new_key: Signer,
    wallet: Wallet,
    network: NetworkName,
    *,
    nonce: int,
    certificates: Sequence[bytes] = (),
) -> bytes:
    """Make a rotation of `device` (its first key's id, which stays its name) from one key to another."""
    fields: dict[int, Any] = {13: new_key.public.device_id}
    if certificates:
        fields[12] = list(certificates)
    return _signed(Action.ROTATE, device, nonce, fields, [old_key, new_key], wallet, network)


def recover(
    device: str,
    new_key: Signer,
    wallet: Wallet,
    network: NetworkName,
    *,
    nonce: int,
    certificates: Sequence[bytes] = (),
) -> bytes:
    """Make a recovery: sent once to announce the new key, and with the next nonce again after the waiting time."""
    fields: dict[int, Any] = {13: new_key.public.device_id}
    if certificates:
        fields[12] = list(certificates)
    return _signed(Action.RECOVER, device, nonce, fields, [new_key], wallet, network)


def revoke(device: str, wallet: Wallet, network: NetworkName, *, nonce: int) -> bytes:
    """Make a revocation; the operator alone can, since the device may be in a thief's hands."""
    return _signed(Action.REVOKE, device, nonce, {}, [], wallet, network)


def move(device: str, key: Signer, wallet: Wallet, network: NetworkName, *, place: Place, nonce: int) -> bytes:
    """Make a move of `device` to a new place."""
    return _signed(Action.MOVE, device, nonce, _place_fields(place), [key], wallet, network)


def assemble(payload: bytes, signatures: Sequence[tuple[bytes, bytes]], operator_signature: bytes) -> bytes:
    """Put a body together from parts signed in different places (a device, a browser wallet)."""
    return cbor2.dumps([payload, [list(pair) for pair in signatures], operator_signature])


def device_signature(key: Signer, payload: bytes, network: NetworkName) -> tuple[bytes, bytes]:
    """Return (protected header, signature) of `key` for `assemble`."""
    protected = cose.protected_header(key.public)
    return protected, key.sign(cose.signed_bytes(protected, entry_aad(network), payload))


def _place_fields(place: Place) -> dict[int, Any]:
    return {7: float(place.lat), 8: float(place.lon), 9: float(place.elevation_m), 10: float(place.accuracy_m)}


def _signed(
    action: Action,
    device: str,
    nonce: int,
    fields: dict[int, Any],
    keys: Sequence[Signer],
    wallet: Wallet,
    network: NetworkName,
) -> bytes:
    payload = cbor2.dumps({1: VERSION, 2: str(action), 3: device, 4: nonce, 5: wallet.address, **fields})
    signatures = [device_signature(key, payload, network) for key in keys]
    draft = parse(assemble(payload, signatures, b"\0" * 65))
    return assemble(payload, signatures, wallet.sign_text(draft.text(network)))


def parse(body: bytes) -> RegistryEntry:
    """Read an entry and check every field. Raises Rejected: TOO_LARGE, BAD_CBOR, BAD_PAYLOAD, BAD_KEY, BAD_LOCATION, BAD_TEXT."""
    if len(body) > MAX_BODY_BYTES:
        raise Rejected(reason("TOO_LARGE"), "registry entry", f"{len(body)} bytes, allowed are {MAX_BODY_BYTES}")
    outer = _load(body)
    if type(outer) is not list or len(outer) != 3:
        _refuse("BAD_PAYLOAD", "an entry is [payload, device signatures, operator signature]")
    payload, raw_signatures, operator_signature = outer
    if type(payload) is not bytes or type(operator_signature) is not bytes or len(operator_signature) != 65:
        _refuse("BAD_PAYLOAD", "payload and operator signature (65 bytes) are byte strings")
    signatures = _read_signatures(raw_signatures)
    fields = _load(payload)
    if type(fields) is not dict or type(fields.get(1)) is not int or fields[1] != VERSION:
        _refuse("BAD_PAYLOAD", f"the payload is a map whose field 1 is {VERSION}")
    try:
        action = Action(str(fields.get(2)))
    except ValueError:
        _refuse("BAD_PAYLOAD", f"action {fields.get(2)!r:.40} is none of {', '.join(Action)}")
    if len(signatures) != _SIGNATURES[action]:
        _refuse("BAD_PAYLOAD", f"{action} has {len(signatures)} device signatures, needed are {_SIGNATURES[action]}")
    allowed = _FIELDS[action]
    if not set(fields) <= allowed[0] | allowed[1] or not allowed[0] <= set(fields):
        _refuse("BAD_PAYLOAD", f"{action} has fields {sorted(allowed[0])} and may have {sorted(allowed[1])}")
    nonce = fields[4]
    if type(nonce) is not int or not 1 <= nonce <= MAX_NONCE:
        _refuse("BAD_PAYLOAD", "nonce is an integer from 1 to 2^53 - 1")
    return RegistryEntry(
        action=action,
        device=_read_device(fields[3]),
        nonce=nonce,
        operator=_read_address(fields[5]),
        model=_read_model(fields[6]) if 6 in fields else "",
        name=safe_text(fields[11], "name") if 11 in fields else "",
        place=_read_place(fields) if 7 in fields else None,
        new_device=_read_device(fields[13]) if 13 in fields else "",
        certificates=_read_certificates(fields[12]) if 12 in fields else (),
        payload=payload,
        signatures=signatures,
        operator_signature=operator_signature,
    )


_COMMON = {1, 2, 3, 4, 5}
_PLACE = {7, 8, 9, 10}
_FIELDS: dict[Action, tuple[set[int], set[int]]] = {
    Action.ENROL: (_COMMON | _PLACE | {6}, {11, 12}),
    Action.ROTATE: (_COMMON | {13}, {12}),
    Action.RECOVER: (_COMMON | {13}, {12}),
    Action.REVOKE: (_COMMON, set()),
    Action.MOVE: (_COMMON | _PLACE, set()),
}


def safe_text(value: object, what: str) -> str:
    """Return a text that is safe to show anywhere: 1 … 64 printable characters in NFC, no outer blanks, no controls,
    line breaks, bidirectional overrides or stacks of combining marks. Raises Rejected BAD_TEXT."""
    if type(value) is not str or not 1 <= len(value) <= _LONGEST_TEXT:
        _refuse("BAD_TEXT", f"{what} is a text of 1 to {_LONGEST_TEXT} characters")
    if not value.isprintable() or value != value.strip() or not unicodedata.is_normalized("NFC", value):
        _refuse("BAD_TEXT", f"{what} holds control characters, outer blanks or is not in Unicode form NFC")
    if "^^^" in "".join("^" if unicodedata.combining(letter) else "." for letter in value):
        _refuse("BAD_TEXT", f"{what} stacks combining marks")
    return value


def _refuse(code: str, detail: str) -> NoReturn:
    raise Rejected(reason(code), "registry entry", detail)


def _load(data: bytes) -> Any:
    """Decode one CBOR item that uses no tags. The scan first: entries are rare, and it bounds depth and size."""
    try:
        if wellformed.item_end(data, 0, max_depth=4, allow_tags=False) != len(data):
            _refuse("BAD_CBOR", "bytes follow the item")
        return cbor2.loads(data, allow_indefinite=False, allow_duplicate_keys=False)
    except (wellformed.NotWellFormed, cbor2.CBORDecodeError) as error:
        raise Rejected(reason("BAD_CBOR"), "registry entry", f"{error!s:.200}") from None


def _read_signatures(raw: object) -> tuple[tuple[bytes, bytes], ...]:
    if type(raw) is not list or not all(
        type(pair) is list and len(pair) == 2 and type(pair[0]) is bytes and type(pair[1]) is bytes for pair in raw
    ):
        _refuse("BAD_PAYLOAD", "device signatures are pairs of byte strings")
    return tuple((pair[0], pair[1]) for pair in raw)


def _read_device(value: object) -> str:
    if type(value) is not str:
        _refuse("BAD_KEY", "a device id is a text")
    return PublicKey.from_device_id(value).device_id


def _read_address(value: object) -> str:
    if type(value) is not str or not re.match(r"0x[0-9a-fA-F]{40}\Z", value) or value != _checksummed(value):
        _refuse("BAD_PAYLOAD", "operator is an address with its EIP-55 checksum")
    if int(value, 16) == 0:
        _refuse("BAD_PAYLOAD", "operator is not the zero address")
    return value


def _checksummed(value: str) -> str:
    return checksum_address(value.lower())


def _read_model(value: object) -> str:
    if type(value) is not str or not _MODEL.match(value) or value != value.strip():
        _refuse("BAD_TEXT", "model is 1 to 64 ASCII letters, digits, blanks and . _ + / -")
    return value


def _read_place(fields: dict[int, Any]) -> Place:
    values = [fields[number] for number in (7, 8, 9, 10)]
    if not all(type(value) in (float, int) for value in values):
        _refuse("BAD_LOCATION", "latitude, longitude, elevation and accuracy are numbers")
    lat, lon, elevation_m, accuracy_m = (float(value) for value in values)
    if not all(map(math.isfinite, (lat, lon, elevation_m, accuracy_m))):
        _refuse("BAD_LOCATION", "latitude, longitude, elevation and accuracy are finite")
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        _refuse("BAD_LOCATION", f"{lat}, {lon}: latitude is -90 … 90, longitude -180 … 180 degrees")
    if not -500 <= elevation_m <= 9_000 or not 0 < accuracy_m <= 100_000:
        _refuse(
            "BAD_LOCATION", f"{elevation_m} m, ± {accuracy_m} m: elevation is -500 … 9000, accuracy above 0 … 100000"
        )
    return Place(lat, lon, elevation_m, accuracy_m)


def _read_certificates(value: object) -> tuple[bytes, ...]:
    if type(value) is not list or not 1 <= len(value) <= _MOST_CERTIFICATES or not all(type(c) is bytes for c in value):
        _refuse("BAD_PAYLOAD", f"certificates are 1 to {_MOST_CERTIFICATES} byte strings (DER)")
    return tuple(value)
