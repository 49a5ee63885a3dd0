"""Manufacturer certificates: does an X.509 chain say that this very key was made in real hardware of this model?

A small, strict path check (RFC 5280 §6 without names, policies and revocation lists, which device certificates of
secure elements do not use): signatures and names link each certificate to the next up to a root of the policy, all are
valid at enrolment time, every issuer is a CA that may sign certificates and keeps its path length, nothing critical is
left unread, weak hashes are refused, and the first certificate holds exactly the device's key.

Two caps limit what one stolen or dishonest CA can mint: per issuing CA and, since a CA can make sub-CAs at will, per
trusted root.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from fieldstone.errors import FieldstoneError, Rejected, UsageError
from fieldstone.identity.keys import Algorithm, PublicKey
from fieldstone.policy import IdentityPolicy, ManufacturerPolicy
from fieldstone.reasons import reason

_CURVES = {"secp256r1": Algorithm.P256, "secp256k1": Algorithm.SECP256K1}
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_READ_EXTENSIONS = {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE}
_LONGEST_CERTIFICATE = 4_096


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a chain proved. `issuer` is `<manufacturer>/<16 hex digits of the issuing CA's key>`."""

    manufacturer: ManufacturerPolicy
    issuer: str


def check_chain(chain: tuple[bytes, ...], public: PublicKey, model: str, policy: IdentityPolicy, at_ms: int) -> Vouched:
    """Judge a chain (DER, device certificate first, the root may be left out) at Unix time `at_ms`.

    Raises Rejected BAD_CERTIFICATE with the first thing that is wrong; UsageError when a root in the policy is no PEM.
    """
    try:
        certificates = [_load(body) for body in chain]
        return _check(certificates, public, model, policy, datetime.fromtimestamp(at_ms / 1_000, tz=UTC))
    except FieldstoneError:
        raise
    except Exception as error:  # hostile DER: the library's ways to refuse it share no base class
        raise Rejected(reason("BAD_CERTIFICATE"), public.device_id, f"{error!s:.200}") from None


def root_of(manufacturer: ManufacturerPolicy) -> x509.Certificate:
    """Return a policy's trusted root. Raises UsageError naming the manufacturer when it is not one PEM certificate."""
    return _root(manufacturer.name, manufacturer.root_pem)


@lru_cache(maxsize=256)
def _root(name: str, pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode("ascii"))
    except ValueError as error:
        raise UsageError(f"identity.manufacturers: root_pem of {name!r} is not a PEM certificate: {error}") from None


def _refuse(detail: str) -> NoReturn:
    raise ValueError(detail)


def _load(body: bytes) -> x509.Certificate:
    if len(body) > _LONGEST_CERTIFICATE:
        _refuse(f"a certificate has {len(body)} bytes, allowed are {_LONGEST_CERTIFICATE}")
    return x509.load_der_x509_certificate(body)


def _check(
    path: list[x509.Certificate], public: PublicKey, model: str, policy: IdentityPolicy, at: datetime
) -> Vouched:
    if _key_of(path[0]) != (public.algorithm, public.raw):
        _refuse("the first certificate holds another key than the device's")
    manufacturer = _find_root(path, model, policy)
    root = root_of(manufacturer)
    if path[-1] != root:
        path = [*path, root]
    if len(path) < 2:
        _refuse("a root cannot stand for a device")
    for depth, certificate in enumerate(path):
        who = f"certificate {depth + 1}"
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            _refuse(f"{who} is valid {certificate.not_valid_before_utc} … {certificate.not_valid_after_utc} only")
        unread = [e.oid.dotted_string for e in certificate.extensions if e.critical and e.oid not in _READ_EXTENSIONS]
        if unread:
            _refuse(f"{who} has critical extensions that are not understood: {', '.join(unread)}")
        _check_role(certificate, who, depth)
    for depth, (child, parent) in enumerate(pairwise(path)):
        if not isinstance(child.signature_hash_algorithm, (*_HASHES, type(None))):
            _refuse(f"certificate {depth + 1} is signed over a weak hash")
        try:
            child.verify_directly_issued_by(parent)
        except InvalidSignature:
            _refuse(f"certificate {depth + 1} is not signed by certificate {depth + 2}")
    issuing_ca = path[1].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Vouched(manufacturer, f"{manufacturer.name}/{hashlib.sha256(issuing_ca).hexdigest()[:16]}")


def _find_root(path: list[x509.Certificate], model: str, policy: IdentityPolicy) -> ManufacturerPolicy:
    """Pick the policy's root that the chain ends in or was issued by; it must vouch for the model."""
    last = path[-1]
    candidates = [m for m in policy.manufacturers if root_of(m) == last or root_of(m).subject == last.issuer]
    for manufacturer in candidates:
        root = root_of(manufacturer)
        try:
            if root != last:
                last.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature):
            continue
        if manufacturer.models and model not in manufacturer.models:
            _refuse(f"{manufacturer.name} does not vouch for model {model!r}")
        return manufacturer
    _refuse("the chain leads to no root that this network trusts")


def _check_role(certificate: x509.Certificate, who: str, depth: int) -> None:
    """Check CA flag, path length and key usage. `depth` 0 is the device's; a CA at depth d has d − 1 CAs below it."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = None
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if depth == 0:
        if constraints is not None and constraints.ca:
            _refuse(f"{who} is a CA's, not a device's")
        if usage is not None and not usage.digital_signature:
            _refuse(f"{who} may not be used for signatures")
        return
    if constraints is None or not constraints.ca:
        _refuse(f"{who} is not a CA's")
    if constraints.path_length is not None and depth - 1 > constraints.path_length:
        _refuse(f"{who} allows {constraints.path_length} CAs below it, there are {depth - 1}")
    if usage is not None and not usage.key_cert_sign:
        _refuse(f"{who} may not sign certificates")


def _key_of(certificate: x509.Certificate) -> tuple[Algorithm, bytes]:
    key = certificate.public_key()
    if isinstance(key, ed25519.Ed25519PublicKey):
        return Algorithm.ED25519, key.public_bytes_raw()
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name], key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    _refuse("the first certificate's key is not of an accepted curve")
