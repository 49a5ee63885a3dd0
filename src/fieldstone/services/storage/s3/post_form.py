"""Browser uploads by POST form: the parser of the form, the policy document and its conditions, signatures of version 4 and 2.

Source: Amazon S3 API reference, "Browser-based uploads using POST (AWS signature version 4)". Fields stand before the
file; what follows the file is ignored. Every field must be covered by a condition, except the signature's own, the file,
and names that begin with `x-ignore-`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any, Literal

from fieldstone.services.storage.s3.dates import parse_basic_date, parse_iso_date
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.sigv4 import ALGORITHM, REGION, UNSIGNED, Identity, Lookup, signing_key

MAX_FIELDS_BYTES = 20 * 1024
MAX_FIELDS = 100
_UNCONDITIONED = frozenset(
    {
        "x-amz-signature",
        "file",
        "policy",
        "signature",
        "awsaccesskeyid",
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
    }
)
_EXPIRATION = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z", re.ASCII)
# `\\$` is documented for policies, though JSON has no such escape
_ESCAPED_DOLLAR = re.compile(r"(?<!\\)((?:\\\\)*)\\\$")


@dataclass(frozen=True, slots=True)
class Form:
    """The fields before the file (names in lower case) and the file's own name and type."""

    fields: Mapping[str, str]
    file_name: str = ""
    file_type: str | None = None

    @property
    def key(self) -> str:
        """The object's key, `${filename}` filled in. Errors: InvalidArgument where the form has none."""
        self.check_key()
        return self.fields["key"].replace("${filename}", self.file_name)

    def check_key(self) -> None:
        """Refuse a form without a key. Errors: InvalidArgument."""
        if not self.fields.get("key"):
            raise S3Error("InvalidArgument", "Bucket POST must contain a field named 'key'. If it is specified, please check the order of the fields.", detail={"ArgumentName": "key"})  # fmt: skip


def boundary_of(content_type: str | None) -> bytes:
    """Return the boundary of a `multipart/form-data` type. Errors: MalformedPOSTRequest, InvalidRequest (other types)."""
    message = Message()
    message["content-type"] = content_type or ""
    if message.get_content_type() != "multipart/form-data":
        raise S3Error("InvalidRequest", "Bucket POST must be of the enclosure-type multipart/form-data")
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70:
        raise S3Error("MalformedPOSTRequest")
    return boundary.encode("latin-1", "replace")


class FormReader:
    """Read a form as it arrives: fields are kept (20 KiB at most), the file's bytes are handed on.

    `feed` returns the file's bytes in what it was given; `form` is set once the file has begun; `finish` ends it.
    Errors: MalformedPOSTRequest, MaxPostPreDataLengthExceededError, IncorrectNumberOfFilesInPostRequest.
    """

    def __init__(self, boundary: bytes) -> None:
        self.form: Form | None = None
        self._delimiter = b"\r\n--" + boundary
        self._held = b"\r\n"  # so that the first delimiter looks like every other
        self._state: Literal["preamble", "after", "head", "field", "file", "end"] = "preamble"
        self._fields: dict[str, str] = {}
        self._name = ""
        self._fields_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes off the socket, return those that belong to the file."""
        self._held += data
        out: list[bytes] = []
        while self._step(out):
            pass
        if self._state not in ("file", "end") and len(self._held) > MAX_FIELDS_BYTES:
            raise S3Error("MaxPostPreDataLengthExceededError")
        return out

    def _step(self, out: list[bytes]) -> bool:
        """Advance by one piece; False when more bytes are needed."""
        if self._state == "end":
            self._held = b""
            return False
        if self._state == "after":
            if len(self._held) < 2:
                return False
            self._state = "end" if self._held[:2] == b"--" else "head"
            if self._state == "head" and self._held[:2] != b"\r\n":
                raise S3Error("MalformedPOSTRequest")
            self._held = self._held[2:]
            return True
        if self._state == "head":
            end = self._held.find(b"\r\n\r\n")
            if end < 0:
                return False
            self._open(self._held[:end])
            self._held = self._held[end + 4 :]
            return True
        return self._content(out)

    def _content(self, out: list[bytes]) -> bool:
        end = self._held.find(self._delimiter)
        if self._state == "file":
            keep = len(self._delimiter) - 1
            cut = end if end >= 0 else max(0, len(self._held) - keep)
            if cut:
                out.append(self._held[:cut])
                self._held = self._held[cut:]
            if end < 0:
                return False
            self._state = "end"
            return True
        if end < 0:
            return False
        if self._state == "field":
            try:
                self._fields[self._name] = self._held[:end].decode()
            except UnicodeDecodeError:
                raise S3Error("MalformedPOSTRequest") from None
        elif end:
            raise S3Error("MalformedPOSTRequest")
        self._fields_bytes += end
        if self._fields_bytes > MAX_FIELDS_BYTES:
            raise S3Error("MaxPostPreDataLengthExceededError")
        self._held = self._held[end + len(self._delimiter) :]
        self._state = "after"
        return True

    def _open(self, head: bytes) -> None:
        message = Message()
        for line in head.split(b"\r\n"):
            name, colon, value = line.decode("utf-8", "replace").partition(":")
            if not colon:
                raise S3Error("MalformedPOSTRequest")
            message[name.strip()] = value.strip()
        name_ = message.get_param("name", header="content-disposition")
        if not isinstance(name_, str) or message.get_content_disposition() != "form-data":
            raise S3Error("MalformedPOSTRequest")
        name = name_.lower()
        if name in self._fields or len(self._fields) >= MAX_FIELDS:
            raise S3Error("MalformedPOSTRequest", f"The field {name} was sent more than once, or there are too many.")
        if name == "file":
            # RFC 2231 lets a name come in any character set, also as halves of surrogate pairs, which no key can hold
            file_name = (message.get_filename() or "").encode(errors="replace").decode()
            file_type = message["content-type"]
            self.form = Form(self._fields, file_name.replace("\\", "/").rpartition("/")[2], file_type)
            self._state = "file"
        else:
            self._name, self._state = name, "field"

    def finish(self) -> Form:
        """End the form. Errors: IncorrectNumberOfFilesInPostRequest, MalformedPOSTRequest (cut off)."""
        if self.form is None:
            if self._state == "end":
                raise S3Error("IncorrectNumberOfFilesInPostRequest")
            raise S3Error("MalformedPOSTRequest")
        if self._state != "end":
            raise S3Error("MalformedPOSTRequest")
        return self.form


def verify(form: Form, bucket: str, lookup: Lookup, now_s: float) -> tuple[Identity, tuple[int, int] | None]:
    """Return who signed the form's policy, and the bounds in bytes that it sets for the file (None: none).

    A form without a policy is anonymous. Errors: AccessDenied (expired, condition not met, field not covered),
    InvalidAccessKeyId, InvalidPolicyDocument, InvalidArgument (fields missing), SignatureDoesNotMatch.
    """
    fields = form.fields
    form.check_key()  # first: a form without a key is refused for that, whatever its policy says
    if "policy" not in fields:
        if "x-amz-signature" in fields or "signature" in fields:
            raise S3Error("InvalidArgument", "Bucket POST must contain a field named 'policy'.")
        return Identity(None, "anonymous", UNSIGNED), None
    text = fields["policy"]
    if "x-amz-signature" in fields:
        access_key = _check_v4(fields, text, lookup, now_s)
    else:
        access_key = _check_v2(fields, text, lookup)
    meant = {**fields, "key": form.key, "bucket": bucket}  # the policy speaks of the key as it will be
    return Identity(access_key, "post", UNSIGNED), check_policy(text, meant, now_s)


def _field(fields: Mapping[str, str], name: str) -> str:
    if name not in fields:
        raise S3Error(
            "InvalidArgument",
            f"Bucket POST must contain a field named '{name}'. If it is specified, please check the order of the fields.",
            detail={"ArgumentName": name},
        )
    return fields[name]


def _credential(lookup: Lookup, access_key: str, fields: Mapping[str, str]) -> str:
    credential = lookup(access_key)
    if credential is None:
        raise S3Error("InvalidAccessKeyId", detail={"AWSAccessKeyId": access_key})
    token = fields.get("x-amz-security-token", "")
    if not hmac.compare_digest((credential.session_token or "").encode(), token.encode()):
        raise S3Error("InvalidToken")
    return credential.secret_key


def _check_v4(fields: Mapping[str, str], text: str, lookup: Lookup, now_s: float) -> str:
    if _field(fields, "x-amz-algorithm") != ALGORITHM:
        raise S3Error("InvalidArgument", f"x-amz-algorithm only supports {ALGORITHM}")
    parts = _field(fields, "x-amz-credential").rsplit("/", 4)
    sent_s = parse_basic_date(_field(fields, "x-amz-date"))
    if len(parts) != 5 or parts[3:] != ["s3", "aws4_request"] or not REGION.fullmatch(parts[2]):
        raise S3Error("InvalidArgument", "x-amz-credential is malformed.")
    if sent_s is None or not fields["x-amz-date"].startswith(parts[1]):
        raise S3Error("InvalidArgument", "x-amz-date is malformed or differs from the credential's date.")
    if sent_s > now_s + 900:
        raise S3Error("AccessDenied", "Request is not valid yet")
    access_key, date, region = parts[:3]
    key = signing_key(_credential(lookup, access_key, fields), date, region)
    wanted = hmac.digest(key, text.encode(), "sha256").hex()
    if not hmac.compare_digest(wanted.encode(), fields["x-amz-signature"].encode()):
        raise S3Error("SignatureDoesNotMatch", detail={"AWSAccessKeyId": access_key, "StringToSign": text})
    return access_key


def _check_v2(fields: Mapping[str, str], text: str, lookup: Lookup) -> str:
    access_key, signature = _field(fields, "awsaccesskeyid"), _field(fields, "signature")
    secret = _credential(lookup, access_key, fields)
    wanted = base64.b64encode(hmac.digest(secret.encode(), text.encode(), "sha1"))
    if not hmac.compare_digest(wanted, signature.encode()):
        raise S3Error("SignatureDoesNotMatch", detail={"AWSAccessKeyId": access_key, "StringToSign": text})
    return access_key


def _invalid(message: str) -> S3Error:
    return S3Error("InvalidPolicyDocument", f"Invalid Policy: {message}")


def check_policy(text: str, fields: Mapping[str, str], now_s: float) -> tuple[int, int] | None:
    """Check a base64 policy against the fields; return the bounds of `content-length-range`, both inclusive."""
    try:
        decoded = base64.b64decode(text, validate=True).decode()
        policy = json.loads(_ESCAPED_DOLLAR.sub(r"\1$", decoded))
    except (binascii.Error, ValueError, RecursionError):
        raise _invalid("Invalid JSON.") from None
    if not isinstance(policy, dict):
        raise _invalid("Invalid JSON.")
    if not isinstance(policy.get("expiration"), str) or not isinstance(policy.get("conditions"), list):
        raise _invalid("Policy must contain expiration and conditions.")
    expires_ms = parse_iso_date(policy["expiration"]) if _EXPIRATION.fullmatch(policy["expiration"]) else None
    if expires_ms is None:
        raise _invalid(f"Invalid 'expiration' value: '{policy['expiration']}'")
    if now_s * 1000 >= expires_ms:
        raise S3Error("AccessDenied", "Invalid according to Policy: Policy expired.")
    bounds: tuple[int, int] | None = None
    covered: set[str] = set()
    for condition in policy["conditions"]:
        for operator, name, value in _conditions(condition):
            if operator == "content-length-range":
                low, high = (max(bounds[0], name), min(bounds[1], value)) if bounds else (name, value)
                bounds = (low, high)
                continue
            covered.add(name)
            _hold(operator, name, value, fields.get(name, ""))
    extra = [name for name in fields if name not in covered | _UNCONDITIONED and not name.startswith("x-ignore-")]
    if extra:
        raise S3Error("AccessDenied", f"Invalid according to Policy: Extra input fields: {', '.join(sorted(extra))}")
    return bounds


def _conditions(condition: object) -> list[tuple[str, Any, Any]]:
    if isinstance(condition, dict):
        if not condition or not all(isinstance(v, str) for v in condition.values()):
            raise _invalid("Invalid Simple-Condition: value must be a string.")
        return [("eq", name.lower(), value) for name, value in condition.items()]
    if not isinstance(condition, list) or len(condition) != 3 or not isinstance(condition[0], str):
        raise _invalid("Invalid condition.")
    operator, name, value = condition[0].lower(), condition[1], condition[2]
    if operator == "content-length-range":
        try:
            low, high = int(name), int(value)
        except (TypeError, ValueError, OverflowError):
            raise _invalid("Invalid content-length-range.") from None
        if low < 0 or high < low:
            raise _invalid("Invalid content-length-range.")
        return [(operator, low, high)]
    if operator not in ("eq", "starts-with") or not (isinstance(name, str) and isinstance(value, str)):
        raise _invalid("Invalid condition.")
    if not name.startswith("$"):
        raise _invalid("the condition's field must begin with $.")
    return [(operator, name[1:].lower(), value)]


def _hold(operator: str, name: str, wanted: str, value: str) -> None:
    if operator == "eq":
        good = value == wanted
    elif name == "content-type":  # a list of types must hold for each of them
        good = all(item.strip().startswith(wanted) for item in value.split(","))
    else:
        good = value.startswith(wanted)
    if not good:
        shown = json.dumps([operator, f"${name}", wanted])
        raise S3Error("AccessDenied", f"Invalid according to Policy: Policy Condition failed: {shown}")


def check_size(bounds: tuple[int, int] | None, size_bytes: int) -> None:
    """Errors: EntityTooSmall, EntityTooLarge outside the policy's `content-length-range`."""
    if bounds is not None and size_bytes < bounds[0]:
        raise S3Error("EntityTooSmall", detail={"ProposedSize": str(size_bytes), "MinSizeAllowed": str(bounds[0])})
    if bounds is not None and size_bytes > bounds[1]:
        raise S3Error("EntityTooLarge", detail={"ProposedSize": str(size_bytes), "MaxSizeAllowed": str(bounds[1])})
