"""Who signs what: device keys, wallets, COSE messages, reports, registry entries and the registry they fold into.

Names are imported when they are first used, so that `fieldstone --help` does not load three crypto libraries.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.identity.cose import Envelope, network_aad
    from fieldstone.identity.entries import Place
    from fieldstone.identity.keys import Algorithm, DeviceKey, PublicKey, Signer, verify
    from fieldstone.identity.registry import Device, Registry
    from fieldstone.identity.report import Report, kind_table
    from fieldstone.identity.wallet import Wallet, checksum_address, recover_digest, recover_text

_HOME = {
    "Algorithm": "keys",
    "Device": "registry",
    "DeviceKey": "keys",
    "Envelope": "cose",
    "Place": "entries",
    "PublicKey": "keys",
    "Registry": "registry",
    "Report": "report",
    "Signer": "keys",
    "Wallet": "wallet",
    "checksum_address": "wallet",
    "kind_table": "report",
    "network_aad": "cose",
    "recover_digest": "wallet",
    "recover_text": "wallet",
    "verify": "keys",
}

__all__ = [
    "Algorithm",
    "Device",
    "DeviceKey",
    "Envelope",
    "Place",
    "PublicKey",
    "Registry",
    "Report",
    "Signer",
    "Wallet",
    "checksum_address",
    "kind_table",
    "network_aad",
    "recover_digest",
    "recover_text",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
