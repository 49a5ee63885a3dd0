"""Accounts and their access keys. Secrets are kept encrypted: checking a SigV4 signature needs the secret itself."""

from __future__ import annotations

import os
import re
import secrets
import string
import time
from dataclasses import dataclass
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import ColumnElement, Connection, ScalarSelect, func, select, update

from fieldstone.errors import EnvironmentProblem, UsageError
from fieldstone.services.storage.catalog.rows import Account
from fieldstone.services.storage.catalog.schema import access_key as keys
from fieldstone.services.storage.catalog.schema import account as accounts
from fieldstone.services.storage.catalog.schema import state
from fieldstone.services.storage.catalog.statements import Statement

_ACCESS_KEY = re.compile(r"[A-Za-z0-9_.~+/=-]{3,128}\Z")
_ALPHABET = string.ascii_uppercase + "234567"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key with its secret, and whose it is."""

    access_key: str
    secret: str
    account: Account


class SecretBox:
    """Encrypts secrets under a key derived from the gateway's 32-byte master key, bound to their access key."""

    def __init__(self, master_key: bytes) -> None:
        derived = HKDF(SHA256(), 32, None, b"fieldstone/s3/access-key-secrets/v1").derive(master_key)
        self._cipher = AESGCM(derived)

    def close(self, access_key: str, secret: str) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), access_key.encode())

    def open(self, access_key: str, closed: bytes) -> str:
        """Raises EnvironmentProblem when the master key is not the one the secret was closed with."""
        try:
            return self._cipher.decrypt(closed[:12], closed[12:], access_key.encode()).decode()
        except InvalidTag:
            raise EnvironmentProblem(
                f"the secret of access key {access_key} cannot be decrypted: the gateway runs with another master key "
                "than the one this database was written with; give the right --master-key-file"
            ) from None


def touch(connection: Connection, what: Literal["accounts", "buckets"]) -> None:
    """Let every gateway look again at accounts and keys, or at buckets and settings."""
    connection.execute(update(state).where(state.c.name == what).values(value=state.c.value + 1))


def _value(name: str) -> ScalarSelect[int]:
    return select(state.c.value).where(state.c.name == name).scalar_subquery()


# numbers that rise with every change of (accounts or keys, buckets or settings)
GENERATIONS = Statement(select(_value("accounts"), _value("buckets")))


def create_first_account(connection: Connection, box: SecretBox, name: str) -> Credentials | None:
    """Create an account where there is none; None where there is. Of gateways that start at once one does.

    Raises EnvironmentProblem for a wrong master key.
    """
    connection.execute(select(state.c.value).where(state.c.name == "accounts").with_for_update())
    return None if list_accounts(connection) else create_account(connection, box, name)


def create_account(
    connection: Connection,
    box: SecretBox,
    name: str,
    *,
    account_id: str | None = None,
    email: str = "",
    access_key: str | None = None,
    secret: str | None = None,
) -> Credentials:
    """Create an account with one access key; without the key's two halves they are drawn at random.

    Raises UsageError for a name, id or key that exists or cannot be one, EnvironmentProblem for a wrong master key.
    """
    if not name or len(name) > 128 or any(ord(c) < 32 for c in name):
        raise UsageError(f"account name {name!r}: give 1 to 128 printable characters")
    account = Account(account_id or secrets.token_hex(32), name, email)
    taken = select(accounts.c.id).where((accounts.c.name == name) | (accounts.c.id == account.id))
    if connection.execute(taken).first():
        raise UsageError(
            f"account {name!r} exists; choose another name, or add a key to it (`fieldstone storage keys --add`)"
        )
    connection.execute(accounts.insert().values(id=account.id, name=name, email=email, created_ms=_now_ms()))
    return add_access_key(connection, box, account, access_key=access_key, secret=secret)


def add_access_key(
    connection: Connection,
    box: SecretBox,
    account: Account,
    *,
    access_key: str | None = None,
    secret: str | None = None,
) -> Credentials:
    """Give an account one more access key.

    Raises UsageError for a key that exists or cannot be one, EnvironmentProblem for a wrong master key.
    """
    access_key = access_key or "FS" + "".join(secrets.choice(_ALPHABET) for _ in range(18))
    secret = secret or secrets.token_urlsafe(30)
    if not _ACCESS_KEY.match(access_key) or not 8 <= len(secret) <= 256:
        raise UsageError(
            f"access key {access_key!r}: use 3 to 128 letters, digits or -_.~+=/, and a secret of 8 to 256"
        )
    load_credentials(connection, box)  # a key under another master key would lock all out of every gateway
    if connection.execute(select(keys.c.id).where(keys.c.id == access_key)).first():
        raise UsageError(f"access key {access_key} exists; choose another one")
    connection.execute(
        keys.insert().values(
            id=access_key, account_id=account.id, secret=box.close(access_key, secret), created_ms=_now_ms()
        )
    )
    touch(connection, "accounts")
    return Credentials(access_key, secret, account)


def revoke_access_key(connection: Connection, access_key: str) -> None:
    """Refuse a key from now on. Raises UsageError when there is none of this id."""
    changed = connection.execute(update(keys).where(keys.c.id == access_key).values(revoked_ms=_now_ms()))
    if not changed.rowcount:
        raise UsageError(f"there is no access key {access_key}")
    touch(connection, "accounts")


def load_credentials(connection: Connection, box: SecretBox) -> dict[str, Credentials]:
    """Return all keys that are not revoked. Raises EnvironmentProblem for a wrong master key."""
    rows = connection.execute(
        select(keys.c.id, keys.c.secret, accounts.c.id, accounts.c.name, accounts.c.email)
        .join(accounts, accounts.c.id == keys.c.account_id)
        .where(keys.c.revoked_ms.is_(None))
    )
    return {row[0]: Credentials(row[0], box.open(row[0], row[1]), Account(*row[2:])) for row in rows}


def list_access_keys(connection: Connection) -> list[tuple[str, str, int]]:
    """Return account name, key id and when it was made (Unix ms) of every key that is not revoked, by account and age."""
    rows = connection.execute(
        select(accounts.c.name, keys.c.id, keys.c.created_ms)
        .join(accounts, accounts.c.id == keys.c.account_id)
        .where(keys.c.revoked_ms.is_(None))
        .order_by(accounts.c.name, keys.c.created_ms, keys.c.id)
    )
    return [(row[0], row[1], row[2]) for row in rows]


def find_account(connection: Connection, account_id: str) -> Account | None:
    """Return the account of a canonical id."""
    return _one(connection, accounts.c.id == account_id)


def find_account_by_email(connection: Connection, email: str) -> Account | None:
    """Return the account of an email address, None when there is none or several."""
    return _one(connection, func.lower(accounts.c.email) == email.lower()) if email else None


def find_account_by_name(connection: Connection, name: str) -> Account | None:
    """Return the account of a display name."""
    return _one(connection, accounts.c.name == name)


def list_accounts(connection: Connection) -> list[Account]:
    """Return every account by name."""
    rows = connection.execute(select(accounts.c.id, accounts.c.name, accounts.c.email).order_by(accounts.c.name))
    return [Account(*row) for row in rows]


def _one(connection: Connection, condition: ColumnElement[bool]) -> Account | None:
    query = select(accounts.c.id, accounts.c.name, accounts.c.email).where(condition)
    rows = connection.execute(query).fetchmany(2)
    return Account(*rows[0]) if len(rows) == 1 else None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
