"""Access, versions, tags, CORS, lifecycle, locks, forms."""

from __future__ import annotations

import datetime
import json
import urllib.error
import urllib.request
import uuid
from typing import Any

from tests.services.storage.s3.conformance.table import case, fill, refused
from tests.services.storage.s3.conftest import Door


@case("access")
def others_may_nothing(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    for name in ("alt", None):
        client = door.client(name)
        refused("AccessDenied", client.get_object, Bucket=bucket, Key="k", status=403)
        refused("AccessDenied", client.get_object, Bucket=bucket, Key="gone", status=403)
        refused("AccessDenied", client.put_object, Bucket=bucket, Key="k", Body=b"", status=403)
        refused("AccessDenied", client.delete_object, Bucket=bucket, Key="k", status=403)
        refused("AccessDenied", client.list_objects_v2, Bucket=bucket, status=403)
        refused("AccessDenied", client.get_bucket_acl, Bucket=bucket, status=403)
        refused("AccessDenied", client.put_bucket_policy, Bucket=bucket, Policy="{}", status=403)
    assert door.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"k"


@case("access")
def canned_lists_open_what_they_say(door: Door, bucket: str) -> None:
    client, everyone = door.client(), door.client(None)
    fill(client, bucket, "k")
    client.put_object_acl(Bucket=bucket, Key="k", ACL="public-read")
    assert everyone.get_object(Bucket=bucket, Key="k")["Body"].read() == b"k"
    refused("AccessDenied", everyone.list_objects_v2, Bucket=bucket)
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    assert everyone.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    refused("AccessDenied", everyone.put_object, Bucket=bucket, Key="n", Body=b"")
    client.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    everyone.put_object(Bucket=bucket, Key="n", Body=b"")
    client.put_bucket_acl(Bucket=bucket, ACL="authenticated-read")
    refused("AccessDenied", everyone.list_objects_v2, Bucket=bucket)
    assert door.client("alt").list_objects_v2(Bucket=bucket)["KeyCount"] == 2


@case("access")
def grants_to_an_account(door: Door, bucket: str) -> None:
    client, other = door.client(), door.client("alt")
    fill(client, bucket, "k")
    client.put_object_acl(Bucket=bucket, Key="k", GrantRead=f"id={door.accounts['alt'].id}")
    assert other.get_object(Bucket=bucket, Key="k")["Body"].read() == b"k"
    refused("AccessDenied", door.client("third").get_object, Bucket=bucket, Key="k")
    grants = client.get_object_acl(Bucket=bucket, Key="k")["Grants"]
    assert [(g["Grantee"]["ID"], g["Permission"]) for g in grants] == [(door.accounts["alt"].id, "READ")]
    refused("InvalidArgument", client.put_object_acl, Bucket=bucket, Key="k", GrantRead="id=nobody")


def _policy(bucket: str, *actions: str, effect: str = "Allow", principal: Any = "*", **more: Any) -> str:
    arn = f"arn:aws:s3:::{bucket}"
    statement = {
        "Effect": effect,
        "Principal": principal,
        "Action": list(actions),
        "Resource": [arn, arn + "/*"],
        **more,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@case("policies")
def a_policy_allows_and_denies(door: Door, bucket: str) -> None:
    client, everyone = door.client(), door.client(None)
    refused("NoSuchBucketPolicy", client.get_bucket_policy, Bucket=bucket, status=404)
    fill(client, bucket, "k")
    client.put_bucket_policy(Bucket=bucket, Policy=_policy(bucket, "s3:GetObject", "s3:ListBucket"))
    assert everyone.get_object(Bucket=bucket, Key="k")["Body"].read() == b"k"
    assert everyone.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    refused("NoSuchKey", everyone.get_object, Bucket=bucket, Key="gone")
    assert client.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is True
    client.put_bucket_policy(Bucket=bucket, Policy=_policy(bucket, "s3:DeleteObject", effect="Deny"))
    refused("AccessDenied", client.delete_object, Bucket=bucket, Key="k")
    client.delete_bucket_policy(Bucket=bucket)
    refused("AccessDenied", everyone.get_object, Bucket=bucket, Key="k")


@case("policies")
def conditions_and_principals(door: Door, bucket: str) -> None:
    client, other = door.client(), door.client("alt")
    fill(client, bucket, "k")
    alt = {"AWS": door.accounts["alt"].id}
    client.put_bucket_policy(
        Bucket=bucket,
        Policy=_policy(
            bucket,
            "s3:PutObject",
            principal=alt,
            Condition={"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
        ),
    )
    refused("AccessDenied", other.put_object, Bucket=bucket, Key="n", Body=b"")
    other.put_object(Bucket=bucket, Key="n", Body=b"", ACL="bucket-owner-full-control")
    refused(
        "AccessDenied",
        door.client("third").put_object,
        Bucket=bucket,
        Key="n",
        Body=b"",
        ACL="bucket-owner-full-control",
    )


@case("policies")
def broken_policies(door: Door, bucket: str) -> None:
    client = door.client()
    for text in (
        "{",
        "[]",
        _policy(bucket + "x", "s3:GetObject"),
        _policy(bucket, "ec2:Run"),
        _policy(bucket, "s3:*", Condition={"Nonsense": {"a": "b"}}),
    ):
        refused("MalformedPolicy", client.put_bucket_policy, Bucket=bucket, Policy=text, status=400)


@case("policies")
def public_access_can_be_blocked(door: Door, bucket: str) -> None:
    client, everyone = door.client(), door.client(None)
    refused("NoSuchPublicAccessBlockConfiguration", client.get_public_access_block, Bucket=bucket, status=404)
    fill(client, bucket, "k")
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    flags = {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": True,
    }
    client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=flags)
    assert client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == flags
    refused("AccessDenied", everyone.list_objects_v2, Bucket=bucket)
    refused("AccessDenied", client.put_object, Bucket=bucket, Key="p", Body=b"", ACL="public-read")
    refused("AccessDenied", client.put_bucket_policy, Bucket=bucket, Policy=_policy(bucket, "s3:GetObject"))


@case("versions")
def every_write_is_kept(door: Door, bucket: str) -> None:
    client = door.client()
    assert "Status" not in client.get_bucket_versioning(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="k", Body=b"0")
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    ids = [client.put_object(Bucket=bucket, Key="k", Body=str(i).encode())["VersionId"] for i in (1, 2)]
    listed = client.list_object_versions(Bucket=bucket)["Versions"]
    assert [v["VersionId"] for v in listed] == [ids[1], ids[0], "null"]
    assert [v["IsLatest"] for v in listed] == [True, False, False]
    for version, body in (("null", b"0"), (ids[0], b"1"), (ids[1], b"2")):
        assert client.get_object(Bucket=bucket, Key="k", VersionId=version)["Body"].read() == body
    client.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k", "VersionId": ids[0]})
    assert client.get_object(Bucket=bucket, Key="copy")["Body"].read() == b"1"


@case("versions")
def deleting_leaves_a_marker(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = client.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    marker = client.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"] is True
    response = refused("NoSuchKey", client.get_object, Bucket=bucket, Key="k", status=404)
    assert response["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"] == "true"
    refused("MethodNotAllowed", client.get_object, Bucket=bucket, Key="k", VersionId=marker["VersionId"], status=405)
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)
    client.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert client.get_object(Bucket=bucket, Key="k")["VersionId"] == version
    client.delete_object(Bucket=bucket, Key="k", VersionId=version)
    refused("NoSuchKey", client.get_object, Bucket=bucket, Key="k")


@case("versions")
def suspended_writes_replace_null(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    kept = client.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    for body in (b"2", b"3"):
        client.put_object(Bucket=bucket, Key="k", Body=body)
    assert [v["VersionId"] for v in client.list_object_versions(Bucket=bucket)["Versions"]] == ["null", kept]
    assert client.get_object(Bucket=bucket, Key="k", VersionId=kept)["Body"].read() == b"1"


@case("versions")
def unknown_versions(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    refused("NoSuchVersion", door.client().get_object, Bucket=bucket, Key="k", VersionId="0" * 32, status=404)
    refused("InvalidArgument", door.client().get_object, Bucket=bucket, Key="k", VersionId="no version!", status=400)


@case("tags")
def tags_of_objects(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="k", Body=b"", Tagging="a=1&b%20c=%C3%A9")
    assert client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [
        {"Key": "a", "Value": "1"},
        {"Key": "b c", "Value": "é"},
    ]
    assert client.head_object(Bucket=bucket, Key="k")["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"] == "2"
    client.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k")
    assert len(client.get_object_tagging(Bucket=bucket, Key="copy")["TagSet"]) == 2
    client.delete_object_tagging(Bucket=bucket, Key="k")
    assert client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    for bad in (
        [{"Key": str(i), "Value": ""} for i in range(11)],
        [{"Key": "k" * 129, "Value": ""}],
        [{"Key": "a", "Value": "v" * 257}],
    ):
        refused("InvalidTag", client.put_object_tagging, Bucket=bucket, Key="k", Tagging={"TagSet": bad}, status=400)
    refused("NoSuchKey", client.get_object_tagging, Bucket=bucket, Key="gone", status=404)


@case("tags")
def tags_of_buckets(door: Door, bucket: str) -> None:
    client = door.client()
    refused("NoSuchTagSet", client.get_bucket_tagging, Bucket=bucket, status=404)
    client.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert client.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "a", "Value": "b"}]
    client.delete_bucket_tagging(Bucket=bucket)
    refused("NoSuchTagSet", client.get_bucket_tagging, Bucket=bucket)


def _http(method: str, url: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, dict[str, str]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method)) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}


@case("cross-origin")
def rules_answer_preflights_and_requests(door: Door, bucket: str) -> None:
    client, url = door.client(), f"{door.endpoint}/{bucket}/k"
    refused("NoSuchCORSConfiguration", client.get_bucket_cors, Bucket=bucket, status=404)
    rule = {
        "AllowedOrigins": ["http://*.example"],
        "AllowedMethods": ["GET", "PUT"],
        "AllowedHeaders": ["x-amz-*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 9,
    }
    client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    assert client.get_bucket_cors(Bucket=bucket)["CORSRules"] == [rule]
    client.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
    status, headers = _http(
        "OPTIONS",
        url,
        {
            "Origin": "http://a.example",
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "x-amz-acl",
        },
    )
    assert (status, headers["access-control-allow-origin"], headers["access-control-max-age"]) == (
        200,
        "http://a.example",
        "9",
    )
    assert _http("OPTIONS", url, {"Origin": "http://evil", "Access-Control-Request-Method": "PUT"})[0] == 403
    assert _http("OPTIONS", url, {"Origin": "http://a.example", "Access-Control-Request-Method": "DELETE"})[0] == 403
    assert _http("OPTIONS", url, {})[0] == 400
    assert _http("GET", url, {"Origin": "http://a.example"})[1]["access-control-expose-headers"] == "ETag"
    assert "access-control-allow-origin" not in _http("GET", url, {"Origin": "http://evil"})[1]
    client.delete_bucket_cors(Bucket=bucket)
    refused("NoSuchCORSConfiguration", client.get_bucket_cors, Bucket=bucket)


@case("lifecycle")
def rules_are_kept_checked_and_shown(door: Door, bucket: str) -> None:
    client = door.client()
    refused("NoSuchLifecycleConfiguration", client.get_bucket_lifecycle_configuration, Bucket=bucket, status=404)
    rules = [
        {"ID": "one", "Status": "Enabled", "Filter": {"Prefix": "t/"}, "Expiration": {"Days": 3}},
        {
            "ID": "two",
            "Status": "Disabled",
            "Filter": {"Prefix": ""},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 4},
        },
    ]
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    assert client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules
    fill(client, bucket, "t/k", "u")
    assert 'rule-id="one"' in client.head_object(Bucket=bucket, Key="t/k")["Expiration"]
    assert "Expiration" not in client.head_object(Bucket=bucket, Key="u")
    client.delete_bucket_lifecycle(Bucket=bucket)
    refused("NoSuchLifecycleConfiguration", client.get_bucket_lifecycle_configuration, Bucket=bucket)
    for bad, code in (
        ({"Days": 0}, "InvalidArgument"),
        ({"Date": datetime.datetime(2030, 1, 1, 5)}, "InvalidArgument"),
    ):
        rule = {"Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": bad}
        refused(
            code, client.put_bucket_lifecycle_configuration, Bucket=bucket, LifecycleConfiguration={"Rules": [rule]}
        )


def _locked(door: Door) -> str:
    name = f"locked-{uuid.uuid4().hex[:20]}"
    door.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


@case("locks")
def locks_hold_versions(door: Door, bucket: str) -> None:
    client, name = door.client(), _locked(door)
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    version = client.put_object(
        Bucket=name, Key="k", Body=b"x", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until
    )["VersionId"]
    refused("AccessDenied", client.delete_object, Bucket=name, Key="k", VersionId=version, status=403)
    client.delete_object(Bucket=name, Key="k")  # a marker is no removal
    shorter = {"Mode": "GOVERNANCE", "RetainUntilDate": until - datetime.timedelta(hours=5)}
    refused("AccessDenied", client.put_object_retention, Bucket=name, Key="k", VersionId=version, Retention=shorter)
    client.put_object_retention(
        Bucket=name, Key="k", VersionId=version, Retention=shorter, BypassGovernanceRetention=True
    )
    client.put_object_legal_hold(Bucket=name, Key="k", VersionId=version, LegalHold={"Status": "ON"})
    refused(
        "AccessDenied", client.delete_object, Bucket=name, Key="k", VersionId=version, BypassGovernanceRetention=True
    )
    client.put_object_legal_hold(Bucket=name, Key="k", VersionId=version, LegalHold={"Status": "OFF"})
    assert client.get_object_legal_hold(Bucket=name, Key="k", VersionId=version)["LegalHold"] == {"Status": "OFF"}
    client.delete_object(Bucket=name, Key="k", VersionId=version, BypassGovernanceRetention=True)


@case("locks")
def compliance_cannot_be_lifted(door: Door, bucket: str) -> None:
    client, name = door.client(), _locked(door)
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=2)
    version = client.put_object(
        Bucket=name, Key="k", Body=b"x", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until
    )["VersionId"]
    refused(
        "AccessDenied", client.delete_object, Bucket=name, Key="k", VersionId=version, BypassGovernanceRetention=True
    )
    weaker = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
    refused(
        "AccessDenied",
        client.put_object_retention,
        Bucket=name,
        Key="k",
        Retention=weaker,
        BypassGovernanceRetention=True,
    )
    refused(
        "InvalidBucketState",
        client.put_bucket_versioning,
        Bucket=name,
        VersioningConfiguration={"Status": "Suspended"},
        status=409,
    )


@case("locks")
def defaults_and_buckets_without_locks(door: Door, bucket: str) -> None:
    client, name = door.client(), _locked(door)
    wanted = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=wanted)
    assert client.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"] == wanted
    version = client.put_object(Bucket=name, Key="k", Body=b"x")["VersionId"]
    assert client.get_object_retention(Bucket=name, Key="k")["Retention"]["Mode"] == "GOVERNANCE"
    client.delete_object(Bucket=name, Key="k", VersionId=version, BypassGovernanceRetention=True)
    fill(client, bucket, "k")
    refused("ObjectLockConfigurationNotFoundError", client.get_object_lock_configuration, Bucket=bucket, status=404)
    refused("InvalidRequest", client.get_object_retention, Bucket=bucket, Key="k", status=400)
    refused(
        "InvalidRequest", client.put_object_legal_hold, Bucket=bucket, Key="k", LegalHold={"Status": "ON"}, status=400
    )


def _form(fields: dict[str, str], data: bytes) -> tuple[bytes, dict[str, str]]:
    body = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (n.encode(), v.encode())
        for n, v in fields.items()
    )
    body += b'--x\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\n' + data + b"\r\n--x--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=x"}


@case("forms")
def a_signed_form_uploads(door: Door, bucket: str) -> None:
    client = door.client()
    post = client.generate_presigned_post(
        bucket,
        "up/${filename}",
        Fields={"acl": "private"},
        Conditions=[{"acl": "private"}, ["content-length-range", 1, 100]],
    )
    body, headers = _form(post["fields"], b"from a form")
    assert _http("POST", post["url"], headers, body)[0] == 204
    assert client.get_object(Bucket=bucket, Key="up/f.txt")["Body"].read() == b"from a form"
    for changes, data, status in (
        ({}, b"x" * 101, 400),
        ({"acl": "public-read"}, b"x", 403),
        ({"signature": "AAAA"}, b"x", 403),
        ({"x-more": "1"}, b"x", 403),
    ):
        body, headers = _form({**post["fields"], **changes}, data)
        assert _http("POST", post["url"], headers, body)[0] == status, changes


@case("forms")
def a_form_may_ask_for_an_answer(door: Door, bucket: str) -> None:
    post = door.client().generate_presigned_post(
        bucket, "k", Fields={"success_action_status": "201"}, Conditions=[{"success_action_status": "201"}]
    )
    body, headers = _form(post["fields"], b"x")
    assert _http("POST", post["url"], headers, body)[0] == 201


@case("forms")
def forms_without_a_policy_need_a_public_bucket(door: Door, bucket: str) -> None:
    body, headers = _form({"key": "k"}, b"x")
    assert _http("POST", f"{door.endpoint}/{bucket}", headers, body)[0] == 403
    door.client().put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    assert _http("POST", f"{door.endpoint}/{bucket}", headers, body)[0] == 204
