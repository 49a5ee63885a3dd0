"""Signed registry entries on their way into the journal: checked against the very time that the entry will carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldstone.errors import Retryable
from fieldstone.identity import entries
from fieldstone.identity.registry import Device, Registry
from fieldstone.journal.entries import EntryKind, NewEntry
from fieldstone.journal.receipts import Receipt, SignedCommit

if TYPE_CHECKING:
    from fieldstone.intake.pipeline import Intake


class RegistryWork:
    """The `Work` of one entry. The registry changes in `prepare` and is put back if the commit fails.

    So later reports and entries of the same commit already meet the new state, in the order of their positions, which
    is how a replay meets them too.
    """

    def __init__(self, intake: Intake, body: bytes) -> None:
        self._intake = intake
        self._body = body
        self._before: Device | None = None
        self._after: Device | None = None

    def prepare(self, received_ms: int) -> list[NewEntry]:
        """Apply the entry. Raises Rejected for the entry's reason, and then nothing is written."""
        self._intake.catch_up()
        registry = self._intake.registry
        self._before = registry.get(entries.parse(self._body).device)
        self._after = registry.apply(self._body, received_ms, self._intake.policy)
        return [NewEntry(EntryKind.REGISTRY, self._after.device, self._body)]

    def finish(self, signed: SignedCommit | None, offset: int) -> tuple[Device, Receipt]:
        """Return the device and the receipt."""
        if signed is None or self._after is None:
            raise Retryable("the registry entry was not written")
        receipt = signed.receipt(offset)
        self._intake.registry_position = receipt.position
        return self._after, receipt

    def abandon(self) -> None:
        """Take the change back: rebuild the registry with the device as it was."""
        if self._after is None:
            return
        devices = {device.device: device for device in self._intake.registry.devices()}
        if self._before is None:
            devices.pop(self._after.device, None)
        else:
            devices[self._after.device] = self._before
        self._intake.replace_registry(Registry(devices.values()))
