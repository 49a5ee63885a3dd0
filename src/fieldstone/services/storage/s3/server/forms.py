"""PostObject: an upload by an HTML form, whose signature stands in its fields and not in the headers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import msgspec

from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.catalog.rows import NewVersion
from fieldstone.services.storage.catalog.versions import put_version
from fieldstone.services.storage.s3 import encryption, post_form, tagging, xml
from fieldstone.services.storage.s3.addressing import check_key
from fieldstone.services.storage.s3.bodies import MAX_PUT_BYTES, BodyDecoder, BodyFacts, BodyPlan
from fieldstone.services.storage.s3.checksums import HEADER_PREFIX, Algorithm, algorithm_named, decode
from fieldstone.services.storage.s3.customer_keys import CustomerKey, stated_key
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.post_form import Form, FormReader
from fieldstone.services.storage.s3.server.access import allowed, check_keys, refuse_denied
from fieldstone.services.storage.s3.server.exchange import XML_TYPE, Answer, Call
from fieldstone.services.storage.s3.server.reception import store_source
from fieldstone.services.storage.s3.server.writes import etag_of, stated_attributes, written_headers
from fieldstone.services.storage.s3.wire import Request, check_header, percent_encode

_BLOCK_BYTES = 256 << 10
# fields that stand for headers of a PUT
_AS_HEADERS = ("x-amz-", "cache-control", "content-", "expires")


async def post_object(call: Call) -> Answer:
    """PostObject."""
    reader = FormReader(post_form.boundary_of(call.header("content-type")))
    blocks = call.body.blocks(_BLOCK_BYTES)
    first: list[bytes] = []
    async for block in blocks:
        first = reader.feed(block)
        if reader.form is not None:
            break
    form = reader.form or reader.finish()
    gateway = call.gateway
    identity, bounds = post_form.verify(
        form, call.target.bucket or "", gateway.signing_credential, gateway.now_ms() / 1000
    )
    key = form.key
    check_key(key)
    signed = replace(
        call,
        identity=identity,
        account=gateway.account_of_key(identity.access_key),
        request=_as_put(call.request, form),
        target=replace(call.target, level="object", key=key),
    )
    if "tagging" in form.fields:
        signed.stated_tags = tagging.parse(form.fields["tagging"].encode())
        refuse_denied(signed, "PutObjectTagging")
    if not allowed(signed, "PostObject", key):
        raise S3Error("AccessDenied")
    encryption.check("PutObject", signed.request)
    check_keys(signed)
    customer = stated_key(signed.request)
    attributes = await stated_attributes(signed)
    if signed.stated_tags is not None:
        attributes = msgspec.structs.replace(attributes, tags=dict(signed.stated_tags) or None)
    most = min(bounds[1], MAX_PUT_BYTES) if bounds is not None else MAX_PUT_BYTES
    plan = replace(_plan(form), max_bytes=most)
    decoder = BodyDecoder(plan, want_md5=gateway.options.etag == "md5")
    content, facts = await _store(signed, decoder, reader, first, blocks, customer)
    reader.finish()
    post_form.check_size(bounds, facts.size_bytes)
    new = NewVersion(
        attributes,
        content,
        etag_of(signed, facts, customer),
        gateway.now_ms(),
        f"{facts.algorithm}:FULL_OBJECT:{facts.checksum}",
    )
    bucket_id = call.bucket_id
    written = await gateway.store.write(lambda c: put_version(c, gateway.pool, bucket_id, key.encode(), new))
    return _answer(signed, form, key, written.etag, written_headers(signed, written, attributes.tags))


def _as_put(request: Request, form: Form) -> Request:
    """Return the request as the PUT that the form stands for: its fields as headers."""
    headers = [(b"host", request.headers.get(b"host", b""))]
    if b"user-agent" in request.headers:
        headers.append((b"user-agent", request.headers[b"user-agent"]))
    acl = form.fields.get("acl")
    if acl is not None:
        headers.append((b"x-amz-acl", acl.encode()))
    for name, value in form.fields.items():
        if name.startswith(_AS_HEADERS):
            check_header(name.encode(), value.encode())
            headers.append((name.encode(), value.encode()))
    return Request("PUT", request.raw_path, b"", headers)


def _plan(form: Form) -> BodyPlan:
    stated: list[tuple[Algorithm, bytes]] = []
    for name, value in form.fields.items():
        if name.startswith(HEADER_PREFIX) and name not in ("x-amz-checksum-algorithm", "x-amz-checksum-type"):
            algorithm = algorithm_named(name.removeprefix(HEADER_PREFIX))
            stated.append((algorithm, decode(algorithm, value)))
    plan = BodyPlan(None, "UNSIGNED-PAYLOAD")
    return replace(plan, algorithm=stated[0][0], checksum=stated[0][1], checksum_stated=True) if stated else plan


async def _store(
    call: Call,
    decoder: BodyDecoder,
    reader: FormReader,
    first: list[bytes],
    blocks: AsyncIterator[bytes],
    key: CustomerKey | None,
) -> tuple[Content, BodyFacts]:
    async def file() -> AsyncIterator[bytes]:
        for piece in first:
            yield piece
        async for block in blocks:
            for piece in reader.feed(block):
                yield piece

    async with aclosing(file()) as pieces:  # type: ignore[type-var]
        return await store_source(call, decoder, pieces, None, key)


def _answer(call: Call, form: Form, key: str, etag: str, headers: list[tuple[bytes, bytes]]) -> Answer:
    bucket = call.bucket.row.name
    path = percent_encode(key.encode()).decode()
    if call.target.style == "path":
        path = f"{bucket}/{path}"
    where = f"{'https' if call.secure else 'http'}://{call.header('host') or ''}/{path}"
    target = form.fields.get("success_action_redirect") or form.fields.get("redirect")
    if target and target.startswith(("http://", "https://")) and target.isprintable():
        joint = "&" if "?" in target else "?"
        query = b"bucket=%b&key=%b&etag=%b" % (
            percent_encode(bucket.encode()),
            percent_encode(key.encode()),
            percent_encode(f'"{etag}"'.encode()),
        )
        return Answer(303, [*headers, (b"location", target.encode("latin-1", "replace") + joint.encode() + query)])
    status = form.fields.get("success_action_status", "204")
    if status == "201":
        document: list[xml.Pair] = [("Location", where), ("Bucket", bucket), ("Key", key), ("ETag", f'"{etag}"')]
        # the one document of S3 without a namespace
        answer = xml.write("PostResponse", document, namespace="")
        return Answer(201, [XML_TYPE, *headers, (b"location", where.encode("latin-1", "replace"))], answer)
    return Answer(200 if status == "200" else 204, headers)
