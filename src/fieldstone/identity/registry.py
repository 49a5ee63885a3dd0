"""The registry: which key speaks for which device, who owns it, where it stands. A pure fold over journal entries.

`apply` takes an entry's bytes and the time at which the journal received it; it either changes one device or raises
Rejected and changes nothing. The same entries in the same order give the same registry on every machine, and
`to_table`/`from_table` carry it from one sealed epoch to the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fieldstone.errors import CheckFailed, Rejected
from fieldstone.identity import entries
from fieldstone.identity.certificates import Vouched, check_chain
from fieldstone.identity.entries import Action, Place, RegistryEntry
from fieldstone.identity.keys import PublicKey
from fieldstone.identity.wallet import recover_text
from fieldstone.policy import Policy
from fieldstone.reasons import reason

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Device:
    """One enrolled device. `device` is its first key's id and never changes; `public` is the key that signs now."""

    device: str
    public: PublicKey
    operator: str
    model: str
    name: str
    lat: float
    lon: float
    elevation_m: float
    accuracy_m: float
    enrolled_ms: int
    moved_ms: int | None
    revoked_ms: int | None
    issuer: str | None
    nonce: int
    retired: tuple[str, ...] = ()  # ids of earlier keys, oldest first
    recovery_key: str | None = None  # announced by `recover`, not yet in force
    recovery_ms: int | None = None


class Registry:
    """The fold. Not thread-safe: one writer applies entries, readers use the same thread or a `copy`."""

    def __init__(self, devices: Iterable[Device] = ()) -> None:
        self._devices: dict[str, Device] = {}
        self._by_kid: dict[bytes, Device] = {}
        self._retired: dict[bytes, str] = {}  # kid of an earlier key → device
        self._issuers: Counter[str] = Counter()
        for device in devices:
            if device.device in self._devices:
                raise CheckFailed(f"{device.device} is in the registry twice")
            self._put(device)

    def __len__(self) -> int:
        return len(self._devices)

    def copy(self) -> Registry:
        """Return an independent registry with the same devices."""
        return Registry(self._devices.values())

    def by_kid(self, kid: bytes) -> Device | None:
        """Return the device whose current key has this 8-byte id, revoked or not."""
        return self._by_kid.get(kid)

    def by_retired_kid(self, kid: bytes) -> Device | None:
        """Return the device that once had a key with this id: its messages deserve DEVICE_REVOKED, not UNKNOWN."""
        device = self._retired.get(kid)
        return self._devices[device] if device is not None else None

    def get(self, device: str) -> Device | None:
        """Return a device by its name (the id of its first key)."""
        return self._devices.get(device)

    def devices(self) -> list[Device]:
        """Return all devices, revoked ones too, sorted by name."""
        return [self._devices[name] for name in sorted(self._devices)]

    def apply(self, body: bytes, received_ms: int, policy: Policy) -> Device:
        """Apply one entry received at `received_ms` under `policy`; return the device as it is now.

        Raises Rejected (see `entries.parse`, and UNKNOWN_DEVICE, ALREADY_ENROLLED, KEY_ID_COLLISION, ENTRY_REPLAYED,
        DEVICE_REVOKED, BAD_SIGNATURE, BAD_OPERATOR_SIGNATURE, UNKNOWN_MODEL, CERTIFICATE_REQUIRED, BAD_CERTIFICATE,
        ISSUER_CAP, MOVE_TOO_SOON, RECOVERY_WAITING), and then the registry is as before.
        """
        entry = entries.parse(body)
        if entry.action is Action.ENROL:
            device = self._enrol(entry, received_ms, policy)
        else:
            device = self._change(entry, received_ms, policy)
        self._put(device)
        return device

    def table(self) -> pl.DataFrame:
        """Return one row per device, sorted: the columns that services and auditors read, and all that replay needs."""
        return self.to_table()

    def to_table(self) -> pl.DataFrame:
        """Return the complete state as a table (`fieldstone.identity.registry_table.SCHEMA`)."""
        from fieldstone.identity.registry_table import to_table

        return to_table(self.devices())

    @classmethod
    def from_table(cls, table: pl.DataFrame) -> Registry:
        """Return the registry that `to_table` wrote. Raises CheckFailed when the table is not such a state."""
        from fieldstone.identity.registry_table import from_table

        return cls(from_table(table))

    def _put(self, device: Device) -> None:
        before = self._devices.get(device.device)
        if before is not None:
            del self._by_kid[before.public.kid]
            self._issuers.subtract([before.issuer] if before.issuer else [])
        elif device.public.kid in self._by_kid:
            raise CheckFailed(f"two devices share the key id {device.public.kid.hex()}")
        self._devices[device.device] = device
        self._by_kid[device.public.kid] = device
        self._issuers.update([device.issuer] if device.issuer else [])
        for old in device.retired:
            self._retired[PublicKey.from_device_id(old).kid] = device.device

    def _enrol(self, entry: RegistryEntry, received_ms: int, policy: Policy) -> Device:
        public = PublicKey.from_device_id(entry.device)
        self._check_key_is_new(public)
        _check_operator(entry, entry.operator, policy)
        _check_device(entry, 0, public, policy)
        if policy.identity.models and entry.model not in policy.identity.models:
            raise Rejected(reason("UNKNOWN_MODEL"), entry.device, f"{entry.model!r}")
        vouched = self._vouch(entry, public, entry.model, None, received_ms, policy)
        place = _place(entry)
        return Device(
            device=entry.device,
            public=public,
            operator=entry.operator,
            model=entry.model,
            name=entry.name,
            lat=place.lat,
            lon=place.lon,
            elevation_m=place.elevation_m,
            accuracy_m=place.accuracy_m,
            enrolled_ms=received_ms,
            moved_ms=None,
            revoked_ms=None,
            issuer=vouched.issuer if vouched else None,
            nonce=entry.nonce,
        )

    def _change(self, entry: RegistryEntry, received_ms: int, policy: Policy) -> Device:
        device = self._devices.get(entry.device)
        if device is None:
            raise Rejected(reason("UNKNOWN_DEVICE"), entry.device)
        if entry.nonce <= device.nonce:
            raise Rejected(
                reason("ENTRY_REPLAYED"), entry.device, f"nonce {entry.nonce}, the next is {device.nonce + 1}"
            )
        _check_operator(entry, device.operator, policy)
        device = replace(device, nonce=entry.nonce)
        if entry.action is Action.RECOVER:
            return self._recover(device, entry, received_ms, policy)
        if device.revoked_ms is not None:
            raise Rejected(reason("DEVICE_REVOKED"), entry.device, "only `recover` can bring it back")
        if entry.action is Action.REVOKE:
            return replace(device, revoked_ms=received_ms)
        _check_device(entry, 0, device.public, policy)
        device = replace(device, recovery_key=None, recovery_ms=None)  # the old key speaks, so it is not lost
        if entry.action is Action.MOVE:
            return _move(device, entry, received_ms, policy)
        return self._rotate(device, entry, 1, received_ms, policy)

    def _rotate(self, device: Device, entry: RegistryEntry, signature: int, received_ms: int, policy: Policy) -> Device:
        public = PublicKey.from_device_id(entry.new_device)
        self._check_key_is_new(public)
        _check_device(entry, signature, public, policy)
        vouched = self._vouch(entry, public, device.model, device.issuer, received_ms, policy)
        return replace(
            device,
            public=public,
            retired=(*device.retired, device.public.device_id),
            issuer=vouched.issuer if vouched else None,
            revoked_ms=None,
            recovery_key=None,
            recovery_ms=None,
        )

    def _recover(self, device: Device, entry: RegistryEntry, received_ms: int, policy: Policy) -> Device:
        if device.recovery_key != entry.new_device or device.recovery_ms is None:
            public = PublicKey.from_device_id(entry.new_device)
            self._check_key_is_new(public)
            _check_device(entry, 0, public, policy)
            return replace(device, recovery_key=entry.new_device, recovery_ms=received_ms)
        due_ms = device.recovery_ms + policy.identity.recovery_wait_s * 1_000
        if received_ms < due_ms:
            raise Rejected(reason("RECOVERY_WAITING"), entry.device, f"{due_ms - received_ms} ms remain")
        return self._rotate(device, entry, 0, received_ms, policy)

    def _check_key_is_new(self, public: PublicKey) -> None:
        holder = self._by_kid.get(public.kid)
        if holder is not None:
            code = "ALREADY_ENROLLED" if holder.public == public else "KEY_ID_COLLISION"
            raise Rejected(reason(code), public.device_id)
        retired = self.by_retired_kid(public.kid)
        if retired is not None:
            code = "ALREADY_ENROLLED" if public.device_id in retired.retired else "KEY_ID_COLLISION"
            raise Rejected(reason(code), public.device_id, "the key was in use before and was replaced")

    def _vouch(
        self,
        entry: RegistryEntry,
        public: PublicKey,
        model: str,
        replaced: str | None,
        received_ms: int,
        policy: Policy,
    ) -> Vouched | None:
        """Check the entry's certificates. A device that once proved its hardware has to prove its new key's too."""
        if not entry.certificates:
            if replaced is not None or model in policy.identity.certificate_models:
                raise Rejected(reason("CERTIFICATE_REQUIRED"), public.device_id, f"model {model!r}")
            return None
        vouched = check_chain(entry.certificates, public, model, policy.identity, received_ms)
        maker = vouched.manufacturer
        per_root = sum(count for issuer, count in self._issuers.items() if issuer.rpartition("/")[0] == maker.name)
        for count, cap, whose in (
            (self._issuers[vouched.issuer], maker.max_devices_per_issuer, vouched.issuer),
            (per_root, maker.max_devices, maker.name),
        ):
            if count >= cap and replaced != vouched.issuer:
                raise Rejected(reason("ISSUER_CAP"), public.device_id, f"{whose} has {count} devices, its cap is {cap}")
        return vouched


def _check_operator(entry: RegistryEntry, operator: str, policy: Policy) -> None:
    if entry.operator != operator:
        raise Rejected(reason("BAD_OPERATOR_SIGNATURE"), entry.device, f"the device belongs to {operator}")
    try:
        signer = recover_text(entry.text(policy), entry.operator_signature)
    except CheckFailed as error:
        raise Rejected(reason("BAD_OPERATOR_SIGNATURE"), entry.device, str(error)) from None
    if signer != operator:
        raise Rejected(reason("BAD_OPERATOR_SIGNATURE"), entry.device, f"signed by {signer}, not by {operator}")


def _check_device(entry: RegistryEntry, place: int, public: PublicKey, policy: Policy) -> None:
    if not entry.is_signed_by(place, public, policy):
        detail = f"signature {place + 1} is not {public.device_id}'s over this entry for network {policy.network_id}"
        raise Rejected(reason("BAD_SIGNATURE"), entry.device, detail)


def _place(entry: RegistryEntry) -> Place:
    assert entry.place is not None  # entries.parse requires the fields for enrol and move
    return entry.place


def _move(device: Device, entry: RegistryEntry, received_ms: int, policy: Policy) -> Device:
    free_ms = max(device.enrolled_ms, device.moved_ms or 0) + policy.identity.min_move_interval_s * 1_000
    if received_ms < free_ms:
        raise Rejected(reason("MOVE_TOO_SOON"), entry.device, f"{free_ms - received_ms} ms remain")
    place = _place(entry)
    return replace(
        device,
        lat=place.lat,
        lon=place.lon,
        elevation_m=place.elevation_m,
        accuracy_m=place.accuracy_m,
        moved_ms=received_ms,
    )
