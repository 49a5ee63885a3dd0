"""Make certificate chains for tests: good ones, and each way to be bad."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fieldstone.identity.keys import Algorithm, PublicKey

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1_000)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, digital_signature: bool, key_cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass
class Authority:
    """A CA. `parent` None makes a root."""

    name: str
    parent: Authority | None = None
    is_ca: bool | None = True
    path_length: int | None = None
    may_sign: bool | None = True
    days: tuple[int, int] = (-100, 100)
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        builder = _builder(self.name, self.key.public_key(), self.parent or self, self.days)
        if self.is_ca is not None:
            length = self.path_length if self.is_ca else None
            builder = builder.add_extension(x509.BasicConstraints(self.is_ca, length), critical=True)
        if self.may_sign is not None:
            usage = _usage(digital_signature=True, key_cert_sign=self.may_sign)
            builder = builder.add_extension(usage, critical=True)
        self.certificate = builder.sign((self.parent or self).key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def issue(
        self,
        public: PublicKey,
        *,
        name: str = "device",
        days: tuple[int, int] = (-10, 10),
        is_ca: bool | None = None,
        may_sign: bool | None = True,
        critical: x509.ExtensionType | None = None,
        digest: hashes.HashAlgorithm | None = None,
    ) -> bytes:
        """Return the DER certificate of a device's key."""
        builder = _builder(name, _key(public), self, days)
        if is_ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        if may_sign is not None:
            usage = _usage(digital_signature=may_sign, key_cert_sign=not may_sign)
            builder = builder.add_extension(usage, critical=True)
        if critical is not None:
            builder = builder.add_extension(critical, critical=True)
        return builder.sign(self.key, digest or hashes.SHA256()).public_bytes(Encoding.DER)


def _builder(name: str, key: Any, issuer: Authority, days: tuple[int, int]) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer.name))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
    )


def _key(public: PublicKey) -> Any:
    if public.algorithm is Algorithm.ED25519:
        return ed25519.Ed25519PublicKey.from_public_bytes(public.raw)
    curve = ec.SECP256R1() if public.algorithm is Algorithm.P256 else ec.SECP256K1()
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, public.raw)
