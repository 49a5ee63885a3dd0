"""Multipart uploads: create, upload parts, list them, complete, abort."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection

from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.catalog.rows import Part, Upload, Written
from fieldstone.services.storage.catalog.uploads import (
    NamedPart,
    Whole,
    abort_upload,
    check_parts,
    complete_upload,
    create_upload,
    find_to_complete,
    find_upload,
    list_parts,
    put_part,
)
from fieldstone.services.storage.s3 import checksums, documents, xml
from fieldstone.services.storage.s3.customer_keys import CustomerKey, key_for_part, stated_key, stored_proof
from fieldstone.services.storage.s3.dates import iso_date
from fieldstone.services.storage.s3.documents import CompletedPart
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.server.access import allowed, refuse_denied
from fieldstone.services.storage.s3.server.document import parsed, read_document
from fieldstone.services.storage.s3.server.exchange import DOCUMENT_BYTES, Answer, Call
from fieldstone.services.storage.s3.server.reads import checksum_headers, expiration_headers
from fieldstone.services.storage.s3.server.reception import take_in
from fieldstone.services.storage.s3.server.writes import (
    check_early,
    encryption_headers,
    etag_of,
    stated_attributes,
    write_check,
)


def part_number(call: Call) -> int:
    """Return the request's part number. Errors: InvalidArgument outside 1 … 10,000."""
    return documents.part_number(call.request.parameter("partNumber") or "")


async def find_upload_for(call: Call) -> Upload:
    """Return the upload a request names. Errors: NoSuchUpload."""
    upload_id = call.request.parameter("uploadId") or ""
    bucket_id, key = call.bucket_id, call.key
    return await call.gateway.store.read(lambda c: find_upload(c, bucket_id, key, upload_id))


def _check_initiator(call: Call, upload: Upload) -> None:
    mine = call.account is not None and call.account.id == upload.initiator
    if mine:
        refuse_denied(call, call.target.operation)
    elif not allowed(call, call.target.operation, call.target.key):
        raise S3Error("AccessDenied")


async def create_multipart_upload(call: Call) -> Answer:
    """CreateMultipartUpload."""
    attributes = await stated_attributes(call)
    named = call.header("x-amz-checksum-algorithm")
    algorithm, kind = "", ""
    if named is not None:
        chosen = checksums.algorithm_named(named)
        algorithm, kind = chosen, checksums.multipart_type(chosen, call.header("x-amz-checksum-type"))
    elif call.header("x-amz-checksum-type") is not None:
        raise S3Error(
            "InvalidRequest",
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
        )
    bucket_id, key, now_ms = call.bucket_id, call.key, call.gateway.now_ms()
    initiator = call.account_id
    upload_id = await call.gateway.store.write(
        lambda c: create_upload(
            c, bucket_id, key, initiator, attributes, now_ms, checksum_algorithm=algorithm, checksum_type=kind
        )
    )
    assert call.target.key is not None
    answer = Answer.document(
        "InitiateMultipartUploadResult",
        [("Bucket", call.bucket.row.name), ("Key", call.target.key), ("UploadId", upload_id)],
    )
    answer.headers += encryption_headers(stated_key(call.request))
    if algorithm:
        answer.headers.append((b"x-amz-checksum-algorithm", algorithm.encode()))
        answer.headers.append((b"x-amz-checksum-type", kind.encode()))
    return answer


def part_key(call: Call, upload: Upload) -> CustomerKey | None:
    """Return the customer's key of a part. Errors: InvalidRequest unless it is the upload's."""
    key = stated_key(call.request)
    key_for_part(stored_proof(upload.attributes.headers), key)
    return key


async def upload_part(call: Call) -> Answer:
    """UploadPart."""
    gateway = call.gateway
    number = part_number(call)
    upload = await find_upload_for(call)
    promised = checksums.promised(call.request)
    if promised is not None and upload.checksum_algorithm and promised[0] != upload.checksum_algorithm:
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {upload.checksum_algorithm.lower()}, "
            f"actual checksum Type: {promised[0].lower()}",
        )
    wanted = checksums.algorithm_named(upload.checksum_algorithm) if upload.checksum_algorithm else None
    key = part_key(call, upload)
    content, facts = await take_in(call, algorithm=wanted, key=key)
    etag = etag_of(call, facts, key)
    checksum = facts.checksum if upload.checksum_algorithm else ""
    now_ms = gateway.now_ms()
    await gateway.store.write(lambda c: put_part(c, gateway.pool, upload, number, etag, checksum, content, now_ms))
    answer = Answer(200, [(b"etag", b'"' + etag.encode() + b'"'), *encryption_headers(key)])
    if facts.checksum_stated or upload.checksum_algorithm:
        answer.headers += checksum_headers(f"{facts.algorithm}:FULL_OBJECT:{facts.checksum}")[:1]
    return answer


async def list_parts_of(call: Call) -> Answer:
    """ListParts."""
    upload = await find_upload_for(call)
    _check_initiator(call, upload)
    limit = min(xml.integer(call.request.parameter("max-parts") or "1000", code="InvalidArgument"), 1000)
    after = xml.integer(call.request.parameter("part-number-marker") or "0", code="InvalidArgument")
    found = await call.gateway.store.read(lambda c: list_parts(c, upload, after=after, limit=limit + 1))
    page, truncated = found[:limit], len(found) > limit
    names, _ = await call.gateway.account_names()
    initiator, owner = (
        [("ID", account), ("DisplayName", names.get(account, ""))]
        for account in (upload.initiator, upload.attributes.owner)
    )
    parts: list[xml.Pair] = []
    for part in page:
        checksum: xml.Pair = (f"Checksum{upload.checksum_algorithm}", part.checksum)
        entry: list[xml.Pair] = [
            ("PartNumber", part.number),
            ("LastModified", iso_date(part.modified_ms)),
            ("ETag", f'"{part.etag}"'),
            ("Size", part.size_bytes),
            *([checksum] if upload.checksum_algorithm and part.checksum else []),
        ]
        parts.append(("Part", entry))
    document: list[xml.Pair] = [
        ("Bucket", call.bucket.row.name),
        ("Key", call.target.key),
        ("UploadId", upload.upload_id),
        ("Initiator", initiator),
        ("Owner", owner),
        ("StorageClass", upload.attributes.storage_class),
        ("PartNumberMarker", after),
        ("NextPartNumberMarker", page[-1].number if page else 0),
        ("MaxParts", limit),
        ("IsTruncated", truncated),
        ("ChecksumAlgorithm", upload.checksum_algorithm or None),
        ("ChecksumType", upload.checksum_type or None),
        *parts,
    ]
    return Answer.document("ListPartsResult", document)


async def complete_multipart_upload(call: Call) -> Answer:
    """CompleteMultipartUpload. Asked again after it was done, it answers as before."""
    gateway = call.gateway
    document = await read_document(call, limit_bytes=DOCUMENT_BYTES, with_checksum=False)
    named = await parsed(document, documents.parse_complete)
    bucket_id, key, upload_id = call.bucket_id, call.key, call.request.parameter("uploadId") or ""
    etag = _etag([part.etag for part in named])
    upload = await gateway.store.read(lambda c: find_to_complete(c, bucket_id, key, upload_id, etag))
    if isinstance(upload, Written):
        return _completed(call, upload)
    check = write_check(call.request)
    await check_early(call, check)
    have = await gateway.store.read(lambda c: list_parts(c, upload))
    try:
        chosen = check_parts([_named_part(part, upload) for part in named], have)
    except CatalogFault as fault:
        # another request may have completed or aborted it just now, and its parts are gone with that
        now = await gateway.store.read(lambda c: find_to_complete(c, bucket_id, key, upload_id, etag))
        if isinstance(now, Written):
            return _completed(call, now)
        if fault.code == "InvalidPart":
            fault.fields["UploadId"] = upload_id
        raise
    _check_size(call, chosen)
    checksum = _checksum(call, upload, chosen)
    now_ms = gateway.now_ms()

    def write(connection: Connection) -> Written:
        return complete_upload(connection, gateway.pool, upload, chosen, Whole(etag, checksum), now_ms, check)

    answer = _completed(call, written := await gateway.store.write(write))
    answer.headers += expiration_headers(call, written.modified_ms, written.size_bytes, upload.attributes.tags or {})
    return answer


def _named_part(part: CompletedPart, upload: Upload) -> NamedPart:
    wanted = upload.checksum_algorithm
    for algorithm in part.checksums:
        if algorithm != wanted:
            raise S3Error("InvalidPart" if wanted else "InvalidRequest", detail={"PartNumber": str(part.number)})
    checksum = next(iter(part.checksums.values()), "")
    if upload.checksum_type == "COMPOSITE" and not checksum:
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using a {wanted.lower()} checksum. The complete request must include the checksum"
            f" for each part. It was missing for part {part.number} in the request.",
        )
    return NamedPart(part.number, part.etag, checksum)


def _check_size(call: Call, chosen: Sequence[Part]) -> None:
    stated = call.header("x-amz-mp-object-size")
    if stated is None:
        return
    if xml.integer(stated, code="InvalidArgument") != sum(part.size_bytes for part in chosen):
        raise S3Error(
            "InvalidRequest", "The provided x-amz-mp-object-size header value does not match what was computed."
        )


def _etag(etags: Sequence[str]) -> str:
    """Return the ETag of a whole of parts, as S3 does: '' where one of theirs is none of ours."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        for etag in etags:
            digest.update(bytes.fromhex(etag.partition("-")[0]))
    except ValueError:
        return ""
    return f"{digest.hexdigest()}-{len(etags)}"


def _checksum(call: Call, upload: Upload, chosen: Sequence[Part]) -> str:
    """Return the whole's checksum. Errors: BadDigest where the request states another one."""
    if not upload.checksum_algorithm:
        return ""
    algorithm = checksums.algorithm_named(upload.checksum_algorithm)
    digests = [checksums.decode(algorithm, part.checksum) for part in chosen]
    if upload.checksum_type == "COMPOSITE":
        value = checksums.composite(algorithm, digests)
    else:
        value = checksums.full_object(
            algorithm, [(digest, part.size_bytes) for digest, part in zip(digests, chosen, strict=True)]
        )
    stated = call.header(checksums.HEADER_PREFIX + algorithm.lower())
    if stated is not None and stated not in (value, value.partition("-")[0]):
        raise S3Error("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")
    kind = call.header("x-amz-checksum-type")
    if kind is not None and kind != upload.checksum_type:
        raise S3Error("InvalidRequest", f"The upload was created with the {upload.checksum_type} checksum type.")
    return f"{algorithm}:{upload.checksum_type}:{value}"


def _completed(call: Call, written: Written) -> Answer:
    checksum: list[xml.Pair] = []
    if written.checksum:
        algorithm, kind, value = written.checksum.split(":")
        checksum = [(f"Checksum{algorithm}", value), ("ChecksumType", kind)]
    host = call.header("host") or ""
    document: list[xml.Pair] = [
        ("Location", f"{'https' if call.secure else 'http'}://{host}{call.target.resource}"),
        ("Bucket", call.bucket.row.name),
        ("Key", call.target.key),
        ("ETag", f'"{written.etag}"'),
        *checksum,
    ]
    answer = Answer.document("CompleteMultipartUploadResult", document)
    answer.headers += encryption_headers(stated_key(call.request))
    if written.show_version:
        answer.headers.append((b"x-amz-version-id", written.version_id.encode()))
    return answer


async def abort_multipart_upload(call: Call) -> Answer:
    """AbortMultipartUpload."""
    gateway = call.gateway
    upload = await find_upload_for(call)
    _check_initiator(call, upload)
    await gateway.store.write(lambda c: abort_upload(c, gateway.pool, upload))
    return Answer(204)
