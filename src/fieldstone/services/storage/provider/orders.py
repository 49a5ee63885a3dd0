"""Who may ask for what: every request carries an order that a gateway signed for this provider, share and operation.

An order is valid for an hour at most, give or take a minute of clock difference. Used again within that time it does no
harm: storing the same bytes gives the same receipt, deleting deletes nothing new, orders older than a deletion are
refused (`Store`), and a read whose voucher does not rise is refused (`vouchers`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from blake3 import blake3

from fieldstone.clock import Clock
from fieldstone.errors import Rejected
from fieldstone.identity import cose
from fieldstone.identity.keys import PublicKey, verify
from fieldstone.services.storage import records
from fieldstone.services.storage.provider.refusals import refuse
from fieldstone.services.storage.records import ACCESS, AccessOrder

LONGEST_LIFE_MS = 3_600_000
CLOCK_SKEW_MS = 60_000

_SCHEME = b"Fieldstone "
_LONGEST_HEADER = 4_096


class Gateways(Protocol):
    """Which devices may order."""

    def key_of(self, gateway: str) -> str | None:
        """Return the did:key of the key that device `gateway` signs with now; None: it is not served."""
        ...


@runtime_checkable
class LooksUp(Protocol):
    """Gateways that can be asked for while a request waits."""

    def look_up(self, gateway: str) -> bool:
        """Ask now whether a device may order; False also when too many asked lately. May block; never raises."""
        ...


class Listed:
    """Gateways given by name, for networks of one's own and tests."""

    def __init__(self, gateways: Iterable[str]) -> None:
        self._names = frozenset(gateways)

    def key_of(self, gateway: str) -> str | None:
        """Return the gateway's own name: its first key."""
        return gateway if gateway in self._names else None


@dataclass(frozen=True, slots=True)
class Order:
    """An order that was checked, with the message that was signed."""

    record: AccessOrder
    message: bytes

    @property
    def digest(self) -> bytes:
        """BLAKE3 of the signed message."""
        return blake3(self.message).digest()


def header(message: bytes) -> str:
    """Return the value of the `authorization` header for a signed order."""
    return "Fieldstone " + base64.urlsafe_b64encode(message).decode("ascii").rstrip("=")


def challenge_subject(body: bytes) -> bytes:
    """Return what stands for the share in the order of a live challenge: it binds the order to the body."""
    return blake3(body).digest()[:16]


class Gate:
    """Checks orders for one provider."""

    def __init__(self, provider: str, gateways: Gateways, clock: Clock) -> None:
        self._provider, self._gateways, self._clock = provider, gateways, clock

    def admit(self, authorization: bytes | None, operation: Literal["put", "get", "delete"], share: bytes) -> Order:
        """Check the order of a request. Raises Rejected (`refusals`, "the order")."""
        message = _message(authorization)
        try:
            envelope = cose.parse(message)
            order = records.decode(envelope.payload, AccessOrder)  # what it claims: nothing is believed yet
        except Rejected as error:
            raise refuse("ORDER_MALFORMED", "", f"{error.reason.code} {error.detail}") from None
        key = self._gateways.key_of(order.gateway)
        if key is None:
            raise refuse("UNKNOWN_GATEWAY", order.gateway[:128])
        public = PublicKey.from_device_id(key)
        if envelope.kid != public.kid or not verify(public, envelope.signed_bytes(ACCESS), envelope.signature):
            raise refuse("BAD_SIGNATURE", order.gateway)
        if (order.provider, order.share, order.operation) != (self._provider, share, operation):
            raise refuse("ORDER_ELSEWHERE", share.hex())
        left_ms = order.expires_ms - self._clock.now_ms()
        if left_ms < -CLOCK_SKEW_MS:
            raise refuse("ORDER_EXPIRED", share.hex(), f"{-left_ms} ms ago")
        if left_ms > LONGEST_LIFE_MS + CLOCK_SKEW_MS:
            raise refuse("ORDER_TOO_LONG", share.hex(), f"{left_ms} ms are left")
        return Order(order, message)


def _message(authorization: bytes | None) -> bytes:
    if authorization is None:
        raise refuse("ORDER_MISSING")
    if not authorization.startswith(_SCHEME) or len(authorization) > _LONGEST_HEADER:
        raise refuse("ORDER_MALFORMED", "", "the header is not `Fieldstone <base64url>`, or too long")
    text = authorization[len(_SCHEME) :].strip()
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise refuse("ORDER_MALFORMED", "", "not base64url") from None
