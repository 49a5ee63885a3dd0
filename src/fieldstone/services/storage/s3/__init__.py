"""The S3 protocol as pure functions: bytes of a request in, decisions and documents out. No socket, no database.

Every refusal is an `errors.S3Error`. A gateway handles one request in this order:

    request  = wire.Request.of_scope(scope)                    # raw bytes of an ASGI scope
    target   = addressing.target(request, base_domains)        # bucket, key, operation
    identity = verifier.verify(request, now_s)                 # who sent it; now_s: Unix seconds
    …authorise (policy.decide, acl.allows), then read the body…
    plan     = bodies.plan_body(request, identity, max_bytes=…)
    decoder  = bodies.BodyDecoder(plan, want_md5=True)
    for data in socket: for piece in decoder.feed(data): …     # feed may run in a thread
    facts    = decoder.finish()                                # commit nothing before this returned

| module | public names |
|---|---|
| errors | `ERRORS: dict[code, (status, message)]`, `S3Error(code, message=None, *, detail={}, headers={})` with `.status`, `error_xml(error, *, resource, request_id, host_id) -> bytes`, `text(value) -> str` |
| wire | `Request(method, raw_path, raw_query, headers)`, `Request.of_scope(scope)`, `.headers: dict[bytes, bytes]`, `.header(name) -> str or None`, `.query: list[(str, str)]`, `.parameter(name) -> str or None`, `percent_decode`, `percent_encode` |
| addressing | `target(request, base_domains) -> Target(level, operation, bucket, key, subresource, style)`, `Target.resource`, `OPERATIONS`, `check_bucket_name(name)`, `check_key(key)`, `copy_source(value) -> (bucket, key, version or None)` |
| sigv4 | `Credential(access_key, secret_key, session_token=None)`, `Verifier(lookup: Callable[[str], Credential or None], *, regions, base_domains, allow_v2_query, allow_v2_header)`, `.verify(request, now_s) -> Identity(access_key or None, kind, payload, chunk_key)` |
| bodies | `plan_body(request, identity, *, max_bytes) -> BodyPlan`, `BodyDecoder(plan, *, want_md5)`: `.feed(data) -> list[Buffer]`, `.finish() -> BodyFacts(size_bytes, md5, algorithm, checksum, checksum_stated)`, `.etag`; `decoded(source, decoder)` |
| checksums | `promised(request)`, `encode`, `decode`, `algorithm_named`, `multipart_type(algorithm, wanted)`, `composite(algorithm, digests) -> str`, `full_object(algorithm, [(digest, size)]) -> str` |
| xml | `parse(document, root) -> Node` (`.child .all .value .required .only`), `write(root, pairs) -> bytes`, `boolean`, `integer`, `url_encoded` |
| dates | `http_date(unix_s)`, `parse_http_date(text) -> unix_s or None`, `iso_date(unix_ms)`, `parse_iso_date(text) -> unix_ms or None` |
| conditions | `check_read(request, etag, modified_ms)`, `check_write(request, current_etag or None)`, `check_copy_source(request, etag, modified_ms)`, `delete_conditions(request)`, `check_delete(etag, modified_ms, size, current)` |
| ranges | `range_of(request, size, etag, modified_ms) -> (start, end) or None`, `read_range(value, size)`, `copy_range(value, size)`, `content_range(start, end, size)` |
| metadata | `object_headers(request) -> ObjectHeaders(content, user, storage_class, website_redirect)`, `response_headers(stored)`, `overrides(request, anonymous=…)`, `directive(request, header)`, `user_metadata(request)` |
| documents | `parse_delete(document) -> (deletions, quiet)`, `parse_complete(document) -> parts`, `part_number(text)`, `parse_create_bucket(document)` |
| tagging | `parse(document, most=…)`, `parse_header(value)`, `write(tags)`, `check(pairs)` |
| versioning | `version_id(unix_ns, random12)`, `check_id`, `parse(document) -> Status`, `write(status)`, `NULL` |
| object_lock | `Retention(mode, until_ms)`, `DefaultRetention`, `parse_configuration`, `parse_retention`, `parse_legal_hold`, `of_headers(request, now_ms)`, `may_remove`, `may_change`, `bypasses`, `write_*` |
| acl | `Acl(owner, grants)`, `Grant`, `canned`, `of_headers(request, owner, bucket_owner, names=…)`, `parse`, `write`, `allows(acl, account, permission)` |
| public_access | `PublicAccessBlock`, `parse`, `write`, `Ownership`, `parse_ownership`, `write_ownership` |
| policy | `parse(document, bucket) -> Policy`, `decide(policy, Question) -> allow, deny or none`, `is_public(policy)`, `resource_arn` |
| cors | `parse`, `write`, `find(rules, origin, method, headers)`, `response_headers`, `preflight(rules, origin, method, requested)` |
| lifecycle | `parse`, `write`, `Facts`, `expired(rule, facts, now_ms)`, `upload_expired`, `expiry(rules, facts)`, `expiration_header` |
| post_form | `boundary_of(content_type)`, `FormReader(boundary)`: `.feed`, `.form`, `.finish`; `verify(form, bucket, lookup, now_s) -> (Identity, bounds)`, `check_size(bounds, size)` |
"""
