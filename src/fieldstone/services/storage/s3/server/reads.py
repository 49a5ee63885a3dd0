"""GetObject, HeadObject, GetObjectAttributes: find a version, weigh conditions and ranges, stream its bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing

from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.catalog.rows import Version
from fieldstone.services.storage.catalog.versions import look_up
from fieldstone.services.storage.s3 import conditions, encryption, lifecycle, ranges, xml
from fieldstone.services.storage.s3.checksums import HEADER_PREFIX
from fieldstone.services.storage.s3.customer_keys import (
    STORED_NAME,
    CustomerKey,
    key_for_reading,
    stated_key,
    stored_proof,
)
from fieldstone.services.storage.s3.dates import http_date, iso_date
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.metadata import overrides
from fieldstone.services.storage.s3.server.access import allowed, authorise_object, may_list
from fieldstone.services.storage.s3.server.exchange import Answer, Call, Headers

# below this the bytes are gathered and sent with the head in one write
GATHER_BYTES = 256 << 10
FIRST_ORDER_BYTES = 4 << 20  # of what a stranger asks for
_STRANGERS = ("anonymous", "v4-presigned", "v2-presigned")
_STORED_NAME = STORED_NAME.encode()


async def find_for(call: Call, operation: str = "", *, content: bool = False) -> Version:
    """Return the version a request names, if the requester may `operation` it; never a delete marker.

    Errors: NoSuchKey, NoSuchVersion, AccessDenied (also for what is not there, to who may not list), MethodNotAllowed.
    """
    version_id = call.version_parameter()
    bucket_id, key = call.bucket_id, call.key
    found = await look_up(call.gateway.store, bucket_id, key, version_id, content=content)
    authorise_object(call, operation or call.target.operation, found)
    if found is None or found.marker:
        check_absence_known(call, operation or call.target.operation)
    if found is None:
        if version_id is not None:
            raise S3Error("NoSuchVersion", detail={"Key": call.target.key or "", "VersionId": version_id})
        raise S3Error("NoSuchKey", detail={"Key": call.target.key or ""})
    if found.marker:
        headers = {"x-amz-delete-marker": "true", "x-amz-version-id": found.version_id}
        if version_id is None:
            raise S3Error("NoSuchKey", detail={"Key": call.target.key or ""}, headers=headers)
        raise S3Error(
            "MethodNotAllowed",
            detail={"Method": call.request.method, "ResourceType": "DeleteMarker"},
            headers={**headers, "Allow": "DELETE", "Last-Modified": http_date(found.modified_ms // 1000)},
        )
    return found


def check_absence_known(call: Call, operation: str) -> None:
    """Refuse to say that there is nothing, or a delete marker, to who may not list; a version's marker may be known to who
    may read versions. Errors: AccessDenied."""
    by_version = call.names_version and allowed(call, operation, call.target.key, versioned=True)
    if not by_version and not may_list(call):
        raise S3Error("AccessDenied")


def key_of(call: Call, version: Version) -> CustomerKey | None:
    """Return the customer's key that a version is read with. Errors: those of `stated_key` and `key_for_reading`."""
    key = stated_key(call.request)
    key_for_reading(proof_of(version), key)
    return key


def proof_of(version: Version) -> str | None:
    """Return what tells a version's customer key from others, None where it has none."""
    if _STORED_NAME not in version.headers:  # nearly always: spares unpacking them
        return None
    return stored_proof(version.header_list())


def version_headers(call: Call, version: Version, key: CustomerKey | None = None) -> Headers:
    """Return the headers that every answer about a version has. `key`: of the customer, where it has one."""
    headers: Headers = [
        (b"etag", b'"' + version.etag.encode() + b'"'),
        (b"last-modified", http_date(version.modified_ms // 1000).encode()),
        (b"accept-ranges", b"bytes"),
        *(key.answer_headers() if key is not None else [encryption.ANSWER]),
    ]
    headers += [
        (name.encode(), value.encode("latin-1", "replace"))
        for name, value in version.header_list()
        if name != STORED_NAME
    ]
    if call.bucket.row.versioning:
        headers.append((b"x-amz-version-id", version.version_id.encode()))
    if version.tags:
        headers.append((b"x-amz-tagging-count", b"%d" % len(version.tag_map())))
    if version.retain_mode is not None and version.retain_until_ms is not None:
        headers.append((b"x-amz-object-lock-mode", version.retain_mode.encode()))
        headers.append((b"x-amz-object-lock-retain-until-date", iso_date(version.retain_until_ms).encode()))
    if version.legal_hold:
        headers.append((b"x-amz-object-lock-legal-hold", b"ON"))
    return headers


def checksum_headers(checksum: str) -> Headers:
    """Return the headers of a stored checksum."""
    if not checksum:
        return []
    algorithm, kind, value = checksum.split(":")
    return [
        ((HEADER_PREFIX + algorithm.lower()).encode(), value.encode()),
        (b"x-amz-checksum-type", kind.encode()),
    ]


async def get_object(call: Call) -> Answer:
    """GetObject."""
    version = await find_for(call, content=True)
    key = key_of(call, version)
    answer, start, end = _described(call, version, key)
    if start < end:
        content = version.content()
        if end - start <= GATHER_BYTES:
            answer.body = await gather(call, content, start, end, key)
        else:
            answer.stream, answer.length = await _begun(stream(call, content, start, end, key)), end - start
    return answer


async def head_object(call: Call) -> Answer:
    """HeadObject."""
    version = await find_for(call, content=call.request.parameter("partNumber") is not None)
    answer, start, end = _described(call, version, key_of(call, version))
    answer.length = end - start
    return answer


def expiration_headers(call: Call, modified_ms: int, size_bytes: int, tags: Mapping[str, str]) -> Headers:
    """Return `x-amz-expiration` where a lifecycle rule will end the current object of the request's key."""
    rules = call.bucket.setting("lifecycle", lifecycle.parse)
    if not rules:
        return []
    found = lifecycle.expiration_header(rules, lifecycle.Facts(call.target.key or "", modified_ms, size_bytes, tags))
    return [(b"x-amz-expiration", found.encode())] if found else []


def _expiration(call: Call, version: Version) -> Headers:
    if not version.is_current or "lifecycle" not in call.bucket.row.settings:
        return []
    return expiration_headers(call, version.modified_ms, version.size_bytes, version.tag_map())


def _described(call: Call, version: Version, key: CustomerKey | None) -> tuple[Answer, int, int]:
    """Return the answer without its bytes, and which bytes it has."""
    request = call.request
    conditions.check_read(request, version.etag, version.modified_ms)
    size = version.size_bytes
    headers = version_headers(call, version, key) + _expiration(call, version)
    status, start, end = 200, 0, size
    part_number = request.parameter("partNumber")
    if part_number is not None:
        start, end, checksum = _part(request.header("range"), part_number, version)
        status = 206
        if version.parts_packed:
            headers.append((b"x-amz-mp-parts-count", b"%d" % len(version.parts())))
    else:
        wanted = ranges.range_of(request, size, version.etag, version.modified_ms)
        if wanted is not None:
            status, (start, end) = 206, wanted
        # a checksum of the whole is no use to who reads a range of it
        checksum = version.checksum if end - start == size else ""
    if status == 206 and size:
        headers.append((b"content-range", ranges.content_range(start, end, size).encode()))
    if checksum and (request.header("x-amz-checksum-mode") or "").upper() == "ENABLED":
        headers += checksum_headers(checksum)
    if request.raw_query and b"response-" in request.raw_query:
        chosen = overrides(request, anonymous=call.account is None)
        names = {name.encode() for name in chosen}
        headers = [h for h in headers if h[0] not in names]
        headers += [(name.encode(), value.encode("latin-1", "replace")) for name, value in chosen.items()]
    return Answer(status, headers), start, end


def _part(range_header: str | None, value: str, version: Version) -> tuple[int, int, str]:
    """Return which bytes a part has, and its checksum as the whole's is stored."""
    if range_header is not None:
        raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
    if not (value.isascii() and value.isdigit() and len(value) < 10) or not 1 <= int(value) <= 10_000:
        raise S3Error(
            "InvalidArgument",
            "Part number must be an integer between 1 and 10000, inclusive",
            detail={"ArgumentName": "partNumber", "ArgumentValue": value},
        )
    number = int(value)
    parts = version.parts()
    if not parts:
        if number != 1:
            raise S3Error("InvalidPartNumber", detail={"ActualPartCount": "1", "PartNumberRequested": value})
        return 0, version.size_bytes, version.checksum
    if number > len(parts):
        raise S3Error("InvalidPartNumber", detail={"ActualPartCount": str(len(parts)), "PartNumberRequested": value})
    # the n-th part of the object, whatever number it was uploaded under
    start = sum(size for _, size, _ in parts[: number - 1])
    _, size, own = parts[number - 1]
    algorithm, kind = version.checksum.split(":")[:2] if version.checksum else ("", "")
    return start, start + size, f"{algorithm}:{kind}:{own}" if own and algorithm else ""


async def gather(call: Call, content: Content, start: int, end: int, key: CustomerKey | None = None) -> bytes:
    """Return bytes `start` … `end` of a content."""
    if key is None and len(content.extents) == 1:
        extent = content.extents[0]
        if extent.inline is not None and extent.seal is None:  # a small object: nothing to wait for
            opened = call.gateway.pool.open_inline(extent.inline)
            return opened[extent.start + start : extent.start + end]
    return b"".join([bytes(chunk) async for chunk in stream(call, content, start, end, key)])


async def stream(
    call: Call, content: Content, start: int, end: int, key: CustomerKey | None = None
) -> AsyncIterator[bytes | memoryview]:
    """Yield bytes `start` … `end` of a content. `key`: of the customer, checked before.

    Errors: Retryable when too few providers answer.
    """
    pool = call.gateway.pool
    is_stranger = call.identity.kind in _STRANGERS
    with pool.holding(content.segments(start, end)):
        for piece in content.pieces(start, end):
            opened = key.keystream(piece.seal.salt, piece.seal.position) if key and piece.seal else None
            if opened is None and piece.seal is not None:
                raise S3Error("InternalError", "bytes under a customer's key were to be read without it")
            for low, high in _orders(piece.start, piece.end, is_stranger):
                async with aclosing(pool.read(piece.stored, low, high)) as chunks:  # type: ignore[type-var]
                    async for chunk in chunks:
                        yield chunk if opened is None else opened.update(chunk)


def _orders(start: int, end: int, is_stranger: bool) -> Iterator[tuple[int, int]]:
    """Cut a range into what is ordered from providers at a time, who are paid for all of an order.

    A stranger may hang up again and again at the owner's cost: so that it stays near what he takes, the first order is
    short and each further one as long as all before it.
    """
    at = start
    while at < end:
        until = min(end, at + max(FIRST_ORDER_BYTES, at - start)) if is_stranger else end
        yield at, until
        at = until


async def _begun(source: AsyncIterator[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
    """Fetch the first chunk before the status is sent: when the bytes cannot be had, the client reads why."""
    try:
        first = await anext(source)
    except asyncio.CancelledError:
        await source.aclose()  # type: ignore[attr-defined]
        raise
    return _rest(first, source)


async def _rest(
    first: bytes | memoryview, source: AsyncIterator[bytes | memoryview]
) -> AsyncIterator[bytes | memoryview]:
    async with aclosing(source) as chunks:  # type: ignore[type-var]
        yield first
        async for chunk in chunks:
            yield chunk


_ATTRIBUTES = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")


async def get_object_attributes(call: Call) -> Answer:
    """GetObjectAttributes."""
    wanted = {name.strip() for name in (call.header("x-amz-object-attributes") or "").split(",") if name.strip()}
    if not wanted or not wanted <= set(_ATTRIBUTES):
        raise S3Error(
            "InvalidArgument",
            "Invalid attribute name specified.",
            detail={"ArgumentName": "x-amz-object-attributes", "ArgumentValue": ",".join(sorted(wanted))},
        )
    version = await find_for(call, content=True)
    authorise_object(call, "GetObject", version)  # S3 asks for both permissions
    key_of(call, version)
    conditions.check_read(call.request, version.etag, version.modified_ms)
    checksum: xml.Content = None
    if version.checksum:
        algorithm, kind, value = version.checksum.split(":")
        checksum = [(f"Checksum{algorithm}", value.split("-")[0]), ("ChecksumType", kind)]
    document: list[xml.Pair] = [
        ("ETag", version.etag if "ETag" in wanted else None),
        ("Checksum", checksum if "Checksum" in wanted else None),
        ("ObjectParts", _parts_page(call, version) if "ObjectParts" in wanted and version.parts_packed else None),
        ("StorageClass", version.storage_class if "StorageClass" in wanted else None),
        ("ObjectSize", version.size_bytes if "ObjectSize" in wanted else None),
    ]
    answer = Answer.document("GetObjectAttributesResponse", document)
    answer.headers.append((b"last-modified", http_date(version.modified_ms // 1000).encode()))
    if call.bucket.row.versioning:
        answer.headers.append((b"x-amz-version-id", version.version_id.encode()))
    return answer


def _parts_page(call: Call, version: Version) -> xml.Content:
    limit = min(xml.integer(call.header("x-amz-max-parts") or "1000", code="InvalidArgument"), 1000)
    after = xml.integer(call.header("x-amz-part-number-marker") or "0", code="InvalidArgument")
    parts = version.parts()
    algorithm = version.checksum.split(":")[0] if version.checksum else ""
    page = [p for p in parts if p[0] > after][:limit]
    truncated = bool(page) and page[-1][0] < parts[-1][0]
    entries: list[xml.Pair] = []
    for number, size, checksum in page:
        value: xml.Pair = (f"Checksum{algorithm}", checksum if checksum and algorithm else None)
        entries.append(("Part", [("PartNumber", number), ("Size", size), value]))
    return [
        ("PartsCount", len(parts)),
        ("PartNumberMarker", after),
        ("NextPartNumberMarker", page[-1][0] if page else 0),
        ("MaxParts", limit),
        ("IsTruncated", truncated),
        *entries,
    ]
