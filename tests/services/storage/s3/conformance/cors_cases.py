"""Cross-origin rules: which origins fit, what a preflight is answered, what an ordinary answer carries."""

from __future__ import annotations

from typing import Any

from tests.services.storage.s3.conformance.raw import send
from tests.services.storage.s3.conformance.table import case, enter, refused
from tests.services.storage.s3.conftest import Door

Rule = dict[str, Any]
RULES: list[Rule] = [
    {"AllowedMethods": ["GET"], "AllowedOrigins": ["*.shop"]},
    {"AllowedMethods": ["GET"], "AllowedOrigins": ["http://a*z"]},
    {"AllowedMethods": ["GET"], "AllowedOrigins": ["https://m*"]},
    {"AllowedMethods": ["PUT"], "AllowedOrigins": ["*.editor"]},
]
# origin → whether a rule for GET fits
ORIGINS = {
    "flower.shop": True,
    "flower.shop.fake": False,
    "shop": False,
    "http://az": True,
    "http://abcz": True,
    "xhttp://abcz": False,
    "https://m": True,
    "https://m.shop": True,
    "x.https://m": False,
    "some.editor": False,
}


def _set(door: Door, bucket: str, *rules: Rule) -> None:
    door.client().put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": list(rules)})


def _asked(door: Door, method: str, path: str, **headers: str) -> tuple[int, str | None, str | None]:
    """Return (status, allowed origin, allowed methods) of an anonymous request."""
    reply = send(door, method, path, {n.replace("_", "-"): v for n, v in headers.items()}, account=None)
    found = reply.headers
    return reply.status, found.get("access-control-allow-origin"), found.get("access-control-allow-methods")


@case("cross-origin", "test_set_cors")
def rules_come_and_go(door: Door, bucket: str) -> None:
    client = door.client()
    refused("NoSuchCORSConfiguration", client.get_bucket_cors, Bucket=bucket, status=404)
    rule = {"AllowedMethods": ["PUT", "GET"], "AllowedOrigins": ["http://one", "*.two"]}
    _set(door, bucket, rule)
    assert client.get_bucket_cors(Bucket=bucket)["CORSRules"] == [rule]
    client.delete_bucket_cors(Bucket=bucket)
    refused("NoSuchCORSConfiguration", client.get_bucket_cors, Bucket=bucket, status=404)


@case("cross-origin", "test_cors_origin_response")
def the_first_rule_that_fits_answers(door: Door, bucket: str) -> None:
    door.client().put_bucket_acl(Bucket=bucket, ACL="public-read")
    _set(door, bucket, *RULES)
    here, there = f"/{bucket}", f"/{bucket}/gone"
    assert _asked(door, "GET", here) == (200, None, None)
    for origin, fits in ORIGINS.items():
        expected = (origin, "GET") if fits else (None, None)
        assert _asked(door, "GET", here, origin=origin) == (200, *expected)
        wanted = _asked(door, "OPTIONS", here, origin=origin, access_control_request_method="GET")
        assert wanted == ((200 if fits else 403), *expected)
    # refused requests too tell scripts why
    assert _asked(door, "GET", there, origin="a.shop") == (404, "a.shop", "GET")
    assert _asked(door, "PUT", there, origin="a.editor") == (403, "a.editor", "PUT")
    assert _asked(door, "PUT", there, origin="a.shop") == (403, None, None)
    for method, expected in (("GET", ("a.shop", "GET")), ("PUT", (None, None)), ("DELETE", (None, None))):
        assert _asked(door, "PUT", there, origin="a.shop", access_control_request_method=method) == (403, *expected)
    # preflights
    assert _asked(door, "OPTIONS", here)[0] == 400
    assert _asked(door, "OPTIONS", here, origin="a.shop")[0] == 400
    assert _asked(door, "OPTIONS", here, origin="nobody")[0] == 400
    assert _asked(door, "OPTIONS", there, origin="a.shop", access_control_request_method="GET") == (
        200,
        "a.shop",
        "GET",
    )
    answer = _asked(door, "OPTIONS", here, origin="a.editor", access_control_request_method="PUT")
    assert answer == (200, "a.editor", "PUT")


@case("cross-origin", "test_cors_origin_wildcard")
def every_origin_is_named_by_a_star(door: Door, bucket: str) -> None:
    door.client().put_bucket_acl(Bucket=bucket, ACL="public-read")
    _set(door, bucket, {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]})
    assert _asked(door, "GET", f"/{bucket}") == (200, None, None)
    assert _asked(door, "GET", f"/{bucket}", origin="whoever") == (200, "*", "GET")


@case("cross-origin", "test_cors_header_option")
def headers_must_be_allowed(door: Door, bucket: str) -> None:
    _set(door, bucket, {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"], "ExposeHeaders": ["x-amz-meta-a"]})
    ask = {"origin": "whoever", "access_control_request_method": "GET"}
    assert _asked(door, "OPTIONS", f"/{bucket}/k", **ask, access_control_request_headers="x-amz-meta-b")[0] == 403
    assert _asked(door, "OPTIONS", f"/{bucket}/k", **ask)[0] == 200


def _presigned(method: str, operation: str, version: str = "s3v4", **words: str) -> Any:
    def run(door: Door, bucket: str) -> None:
        """A preflight of a presigned URL asks the rules alone."""
        client = door.client(signature_version=version)
        url = client.generate_presigned_url(operation, Params={"Bucket": bucket, "Key": "k", **words})
        path = url.split(str(door.port), 1)[1]
        assert _asked(door, "OPTIONS", path)[0] == 400
        _set(door, bucket, {"AllowedMethods": [method], "AllowedOrigins": ["here"]})
        asked = {"origin": "here", "access_control_request_method": method}
        assert _asked(door, "OPTIONS", path, **asked) == (200, "here", method)

    return run


enter("cross-origin", "test_cors_presigned_get_object", _presigned("GET", "get_object"))
enter("cross-origin", "test_cors_presigned_put_object", _presigned("PUT", "put_object"))
enter("cross-origin", "test_cors_presigned_put_object_with_acl", _presigned("PUT", "put_object", ACL="private"))
enter("cross-origin", "test_cors_presigned_get_object_v2", _presigned("GET", "get_object", "s3"))
enter("cross-origin", "test_cors_presigned_put_object_v2", _presigned("PUT", "put_object", "s3"))
