"""Customers, their API keys and what a key may spend.

A key is `fsk_<prefix>_<secret>`: the prefix finds the row, the secret is 256 random bits, and only
SHA-256("fieldstone api key v1" ‖ prefix ‖ secret) is stored. A slow password hash (Argon2, scrypt) exists to make guessing
human passwords costly; nobody can guess 256 random bits, so it would protect nothing here and let anyone burn the
server's CPU with wrong keys. The prefix in the hash is the salt; the whole key is shown once, when it is made.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, func, select, update

from fieldstone.clock import Clock
from fieldstone.errors import Rejected, UsageError
from fieldstone.reasons import reason
from fieldstone.state.engine import reading, writing
from fieldstone.state.schema import api_key, customer, fund, order

DEFAULT_PERIOD_S = 30 * 86_400
MAX_LIMIT_MICRO_USD = 10**15
_KEY = re.compile(r"fsk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NO_HASH = bytes(32)


@dataclass(frozen=True, slots=True)
class Customer:
    """Who pays."""

    id: str
    name: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A caller whose key was checked. `limit_micro_usd` (None: no limit) holds for any `limit_period_s` seconds."""

    customer_id: str
    key_prefix: str
    label: str = ""
    limit_micro_usd: int | None = None
    limit_period_s: int = DEFAULT_PERIOD_S


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. `secret` is the whole key; it cannot be shown again."""

    prefix: str
    secret: str
    customer_id: str

    def __repr__(self) -> str:
        return f"NewKey(prefix={self.prefix!r}, customer_id={self.customer_id!r})"


class Customers:
    """The register of customers and keys."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def add(self, name: str) -> Customer:
        """Register a customer. Raises Rejected BAD_TEXT."""
        new = Customer("cus_" + secrets.token_hex(8), checked_text(name, "customer name"), self._clock.now_ms())
        with writing(self._engine) as connection:
            connection.execute(customer.insert().values(id=new.id, name=new.name, created_ms=new.created_ms))
        return new

    def get(self, customer_id: str) -> Customer:
        """Return a customer. Raises UsageError."""
        with reading(self._engine) as connection:
            row = connection.execute(select(customer).where(customer.c.id == customer_id)).one_or_none()
        if row is None:
            raise UsageError(f"no customer {customer_id!r}; add one with `fieldstone market customer add`")
        return Customer(row.id, row.name, row.created_ms)

    def all(self) -> list[Customer]:
        """Return every customer, oldest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(customer).order_by(customer.c.created_ms, customer.c.id)).all()
        return [Customer(row.id, row.name, row.created_ms) for row in rows]

    def add_key(
        self,
        customer_id: str,
        *,
        label: str = "",
        limit_micro_usd: int | None = None,
        limit_period_s: int = DEFAULT_PERIOD_S,
    ) -> NewKey:
        """Make a key. Raises UsageError for an unknown customer or an impossible limit, Rejected BAD_TEXT."""
        self.get(customer_id)
        if limit_micro_usd is not None and not 0 <= limit_micro_usd <= MAX_LIMIT_MICRO_USD:
            raise UsageError("the spending limit must not be negative nor above a billion dollars")
        if not 0 < limit_period_s <= 10 * 365 * 86_400:
            raise UsageError("the period of a spending limit must lie between a second and ten years")
        prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        with writing(self._engine) as connection:
            connection.execute(
                api_key.insert().values(
                    prefix=prefix,
                    customer_id=customer_id,
                    secret_hash=_hash(prefix, secret),
                    label=checked_text(label, "key label", empty=True),
                    limit_micro_usd=limit_micro_usd,
                    limit_period_s=limit_period_s,
                    created_ms=self._clock.now_ms(),
                )
            )
        return NewKey(prefix, f"fsk_{prefix}_{secret}", customer_id)

    def revoke_key(self, prefix: str) -> None:
        """Revoke a key for good, by its prefix or the whole key; revoking twice is fine. Raises UsageError."""
        match = _KEY.fullmatch(prefix)
        prefix = match[1] if match else prefix.removeprefix("fsk_")
        with writing(self._engine) as connection:
            known = connection.execute(select(api_key.c.prefix).where(api_key.c.prefix == prefix)).one_or_none()
            if known is None:
                raise UsageError(f"no key with the prefix {prefix[:12]!r}")
            connection.execute(
                update(api_key)
                .where(api_key.c.prefix == prefix, api_key.c.revoked_ms.is_(None))
                .values(revoked_ms=self._clock.now_ms())
            )

    def authenticate(self, key: str) -> KeyHolder:
        """Return whose key it is. Raises Rejected BAD_API_KEY, which does not tell an unknown from a revoked key."""
        match = _KEY.fullmatch(key)
        row = None
        if match:
            with reading(self._engine) as connection:
                row = connection.execute(select(api_key).where(api_key.c.prefix == match[1])).one_or_none()
        # Compare even without a row, so that the time taken does not tell which prefixes exist.
        offered = _hash(*match.groups()) if match else _NO_HASH
        same = hmac.compare_digest(offered, row.secret_hash if row is not None else _NO_HASH)
        if row is None or not same or row.revoked_ms is not None:
            raise Rejected(reason("BAD_API_KEY"))
        return KeyHolder(row.customer_id, row.prefix, row.label, row.limit_micro_usd, row.limit_period_s)

    def check_key(self, connection: Connection, holder: KeyHolder, price_micro_usd: int) -> None:
        """Check inside an order's transaction that the key still lives and may spend the price.

        Spent is what orders of the last `limit_period_s` cost, less refunds. Raises Rejected BAD_API_KEY, SPENDING_LIMIT.
        """
        # The row lock makes orders of one key wait for each other, so that two cannot share what is left of a limit.
        row = connection.execute(
            select(api_key).where(api_key.c.prefix == holder.key_prefix).with_for_update()
        ).one_or_none()
        if row is None or row.revoked_ms is not None:
            raise Rejected(reason("BAD_API_KEY"))
        if row.limit_micro_usd is None:
            return
        spent = self.spent(connection, holder.key_prefix, row.limit_period_s)
        if spent + price_micro_usd > row.limit_micro_usd:
            detail = f"{spent} of {row.limit_micro_usd} micro-dollars spent, {price_micro_usd} more wanted"
            raise Rejected(reason("SPENDING_LIMIT"), holder.key_prefix, detail)

    def spent(self, connection: Connection, prefix: str, period_s: int) -> int:
        """Return what a key's orders and funds of the last `period_s` seconds cost, less refunds, in micro-dollars."""
        since_ms = self._clock.now_ms() - period_s * 1000
        orders = select(func.coalesce(func.sum(order.c.price_micro_usd - order.c.refund_micro_usd), 0)).where(
            order.c.key_prefix == prefix, order.c.created_ms > since_ms
        )
        funds = select(func.coalesce(func.sum(fund.c.price_micro_usd), 0)).where(
            fund.c.key_prefix == prefix, fund.c.bought_ms > since_ms
        )
        return int(connection.execute(orders).scalar_one()) + int(connection.execute(funds).scalar_one())


def checked_text(text: str, what: str, *, empty: bool = False, longest: int = 64) -> str:
    """Return a text fit to be shown and stored: printable, not too long. Raises Rejected BAD_TEXT."""
    text = text.strip()
    if (not text and not empty) or len(text) > longest or not text.isprintable():
        raise Rejected(reason("BAD_TEXT"), what, f"{len(text)} characters")
    return text


def _hash(prefix: str, secret: str) -> bytes:
    return hashlib.sha256(f"fieldstone api key v1{prefix}{secret}".encode()).digest()
