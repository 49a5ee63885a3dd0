"""`docs/reference/report.md`: the bytes that devices and operators sign."""

from __future__ import annotations

from fieldstone.identity import certificates, cose, entries, keys, strict_v1
from fieldstone.identity import report as payload
from fieldstone.reference.markdown import code, docstring, head, table


def page() -> str:
    """Return the page."""
    rows = ((code(algorithm.value), len_of(algorithm)) for algorithm in keys.Algorithm)
    parts = [
        head("Reports, registry entries and signatures", "the docstrings of fieldstone.identity"),
        "## Keys\n\nA device is named by its public key: `did:key:z` + base58btc(multicodec ‖ key bytes). A rotated device keeps "
        "the name of its first key. The 8-byte key id in a message is the beginning of SHA-256(device id).\n\n"
        + table(("algorithm", "public key"), rows),
        "## Envelope\n\n"
        + docstring(cose)
        + "\n`external_aad` is the CBOR array of `network_id`, `chain_id` and `schema_version`: "
        + f"for the network `demo` the bytes `{cose.network_aad('demo', 31_337, 1).hex()}`.\n",
        "## Payload\n\n" + docstring(payload),
        "## Registry entries\n\n" + docstring(entries),
        "## Manufacturer certificates\n\n" + docstring(certificates),
        "## What counts as a signature\n\n" + docstring(strict_v1),
    ]
    return "\n".join(parts)


def len_of(algorithm: keys.Algorithm) -> str:
    """Describe the raw public key of an algorithm."""
    return {
        keys.Algorithm.ED25519: "32 bytes",
        keys.Algorithm.P256: "33 bytes, compressed point on P-256 (secure elements)",
        keys.Algorithm.SECP256K1: "33 bytes, compressed point on secp256k1",
    }[algorithm]
