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
| checksums | `promised(request)`, `running(algorithm) -> Digest`, `encode`, `decode`, `algorithm_named`, `multipart_type(algorithm, wanted)`, `composite(algorithm, digests) -> str`, `full_object(algorithm, [(digest, size)]) -> str` |
| xml | `parse(document, root) -> Node` (`.child .all .value .required .only`), `write(root, pairs) -> bytes`, `boolean`, `integer`, `url_encoded` |
| dates | `http_date(unix_s)`, `parse_http_date(text) -> unix_s or None`, `iso_date(unix_ms)`, `parse_iso_date(text) -> unix_ms or None` |
"""
