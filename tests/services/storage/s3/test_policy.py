"""Who may do what: ACLs, bucket policies and their conditions, public access, CORS."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from fieldstone.services.storage.s3 import acl, cors, policy, public_access
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.policy import Question
from fieldstone.services.storage.s3.wire import Request


def refused(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(S3Error) as caught:
        call(*arguments, **options)
    return caught.value.code


def statement(**changes: Any) -> dict[str, Any]:
    whole = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*", **changes}
    return {name: value for name, value in whole.items() if value is not None}


def document(*statements: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **changes}).encode()


def decide(*statements: dict[str, Any], action: str = "s3:GetObject", key: str | None = "k", account: str | None = None, **context: list[str]) -> str:  # fmt: skip
    question = Question(
        action,
        policy.resource_arn("b", key),
        account,
        None,
        {n.replace("__", ":").replace("_", "-"): v for n, v in context.items()},
    )
    return policy.decide(policy.parse(document(*statements), "b"), question)


def test_policies_decide() -> None:
    allow, deny = statement(), statement(Effect="Deny")
    assert decide(allow) == "allow"
    assert decide(allow, deny) == decide(deny, allow) == "deny"
    assert decide(allow, action="s3:PutObject") == "none"
    assert decide(allow, key=None) == "none"
    assert policy.decide(None, Question("s3:GetObject", "arn:aws:s3:::b/k")) == "none"


@pytest.mark.parametrize(
    ("principal", "account", "expected"),
    [
        ("*", None, "allow"),
        ({"AWS": "*"}, None, "allow"),
        ({"AWS": ["me", "you"]}, "me", "allow"),
        ({"AWS": "arn:aws:iam::me:root"}, "me", "allow"),
        ({"AWS": "arn:aws:iam:::user/me"}, "me", "allow"),
        ({"CanonicalUser": "me"}, "me", "allow"),
        ({"AWS": "me"}, "you", "none"),
        ({"AWS": "me"}, None, "none"),
        ({"AWS": "arn:aws:iam::me:root"}, "you", "none"),
        ({"AWS": "arn:aws:iam::me:role/x"}, "me", "none"),
    ],
)
def test_principals(principal: Any, account: str | None, expected: str) -> None:
    assert decide(statement(Principal=principal), account=account) == expected


def test_not_principal_denies_everyone_else() -> None:
    deny = statement(Effect="Deny", Principal=None, NotPrincipal={"AWS": "me"})
    assert decide(statement(), deny, account="me") == "allow"
    assert decide(statement(), deny, account="you") == decide(statement(), deny) == "deny"


@pytest.mark.parametrize(
    ("changes", "action", "key", "expected"),
    [
        ({"Action": "s3:*"}, "s3:PutObject", "k", "allow"),
        ({"Action": "*"}, "s3:PutObject", "k", "allow"),
        ({"Action": ["s3:Get*", "s3:List*"]}, "s3:GetObjectAcl", "k", "allow"),
        ({"Action": "S3:getobject"}, "s3:GetObject", "k", "allow"),
        ({"Action": None, "NotAction": "s3:Delete*"}, "s3:GetObject", "k", "allow"),
        ({"Action": None, "NotAction": "s3:Delete*"}, "s3:DeleteObject", "k", "none"),
        ({"Resource": "arn:aws:s3:::b/a/*"}, "s3:GetObject", "a/b/c", "allow"),
        ({"Resource": "arn:aws:s3:::b/a/*"}, "s3:GetObject", "A/b", "none"),
        ({"Resource": "arn:aws:s3:::b/a?c"}, "s3:GetObject", "abc", "allow"),
        ({"Resource": "arn:aws:s3:::b/[a]*"}, "s3:GetObject", "a", "none"),
        ({"Resource": "arn:aws:s3:::b/[a]*"}, "s3:GetObject", "[a]b", "allow"),
        ({"Resource": "arn:aws:s3:::*"}, "s3:GetObject", "line\nbreak", "allow"),
        ({"Resource": None, "NotResource": "arn:aws:s3:::b/secret/*"}, "s3:GetObject", "open", "allow"),
        ({"Resource": None, "NotResource": "arn:aws:s3:::b/secret/*"}, "s3:GetObject", "secret/x", "none"),
    ],
)
def test_actions_and_resources(changes: dict[str, Any], action: str, key: str, expected: str) -> None:
    assert decide(statement(**changes), action=action, key=key) == expected


@pytest.mark.parametrize(
    ("condition", "context", "expected"),
    [
        ({"StringEquals": {"s3:prefix": ["a", "b"]}}, {"s3__prefix": ["b"]}, "allow"),
        ({"StringEquals": {"s3:prefix": "a"}}, {"s3__prefix": ["A"]}, "none"),
        ({"StringEquals": {"s3:prefix": "a"}}, {}, "none"),
        ({"StringEqualsIfExists": {"s3:prefix": "a"}}, {}, "allow"),
        ({"StringEqualsIgnoreCase": {"S3:Prefix": "a"}}, {"s3__prefix": ["A"]}, "allow"),
        ({"StringNotEquals": {"s3:prefix": "a"}}, {"s3__prefix": ["b"]}, "allow"),
        ({"StringNotEquals": {"s3:prefix": ["a", "b"]}}, {"s3__prefix": ["b"]}, "none"),
        ({"StringNotEquals": {"s3:prefix": "a"}}, {}, "allow"),
        ({"StringLike": {"aws:Referer": "http://a/*"}}, {"aws__referer": ["http://a/b"]}, "allow"),
        ({"StringNotLike": {"aws:Referer": "http://a/*"}}, {"aws__referer": ["http://a/b"]}, "none"),
        ({"Bool": {"aws:SecureTransport": "true"}}, {"aws__securetransport": ["true"]}, "allow"),
        ({"Bool": {"aws:SecureTransport": True}}, {"aws__securetransport": ["false"]}, "none"),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws__sourceip": ["10.1.2.3"]}, "allow"),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws__sourceip": ["::ffff:10.1.2.3"]}, "allow"),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws__sourceip": ["11.1.2.3"]}, "none"),
        ({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws__sourceip": ["11.1.2.3"]}, "allow"),
        ({"IpAddress": {"aws:SourceIp": "2001:db8::/32"}}, {"aws__sourceip": ["2001:db8::1"]}, "allow"),
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, {"s3__max_keys": ["10"]}, "allow"),
        ({"NumericGreaterThan": {"s3:max-keys": "10"}}, {"s3__max_keys": ["9"]}, "none"),
        ({"NumericLessThan": {"s3:max-keys": 10}}, {"s3__max_keys": ["x"]}, "none"),
        ({"DateLessThan": {"aws:CurrentTime": "2030-01-01T00:00:00Z"}}, {"aws__currenttime": ["2029-01-01T00:00:00Z"]}, "allow"),
        ({"DateGreaterThan": {"aws:EpochTime": "100"}}, {"aws__epochtime": ["99"]}, "none"),
        ({"Null": {"s3:x-amz-acl": "true"}}, {}, "allow"),
        ({"Null": {"s3:x-amz-acl": "false"}}, {}, "none"),
        ({"StringEquals": {"s3:ExistingObjectTag/Team": "a"}}, {"s3__existingobjecttag/team": ["a"]}, "allow"),
        ({"StringEquals": {"s3:ExistingObjectTag/Team": "a"}}, {"s3__existingobjecttag/teams": ["a"]}, "none"),
        ({"ForAllValues:StringLike": {"s3:RequestObjectTagKeys": ["a*"]}}, {"s3__requestobjecttagkeys": ["ab", "ac"]}, "allow"),
        ({"ForAllValues:StringLike": {"s3:RequestObjectTagKeys": ["a*"]}}, {"s3__requestobjecttagkeys": ["ab", "b"]}, "none"),
        ({"ForAnyValue:StringLike": {"s3:RequestObjectTagKeys": ["a*"]}}, {"s3__requestobjecttagkeys": ["ab", "b"]}, "allow"),
        ({"StringEquals": {"s3:prefix": "a"}, "Bool": {"aws:SecureTransport": "true"}}, {"s3__prefix": ["a"]}, "none"),
        ({"StringEquals": {"s3:prefix": "${aws:username}/"}}, {"s3__prefix": ["me/"], "aws__username": ["me"]}, "allow"),
        ({"StringLike": {"s3:prefix": "${aws:username}/*"}}, {"s3__prefix": ["you/x"], "aws__username": ["*"]}, "none"),
        ({"StringEquals": {"s3:prefix": "${aws:username}"}}, {"s3__prefix": [""]}, "none"),
    ],
)  # fmt: skip
def test_conditions(condition: dict[str, Any], context: dict[str, list[str]], expected: str) -> None:
    assert decide(statement(Condition=condition), **context) == expected


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100000,
        document(),
        document(statement(), Version="2020-01-01"),
        document(statement(), Extra=1),
        document(statement(Extra=1)),
        document(statement(Effect="allow")),
        document(statement(Principal=None)),
        document(statement(Principal={})),
        document(statement(Principal={"AWS": "arn:aws:iam::*:root"})),
        document(statement(Principal={"Federated": "x"})),
        document(statement(Principal=None, NotPrincipal={"AWS": "me"})),
        document(statement(Action="GetObject")),
        document(statement(Action="ec2:*")),
        document(statement(Action=[])),
        document(statement(NotAction="s3:*")),
        document(statement(Resource="arn:aws:s3:::other/*")),
        document(statement(Resource=["arn:aws:s3:::b/*", "arn:aws:s3:::bb/*"])),
        document(statement(Resource="b/*")),
        document(statement(Condition={"StringEqual": {"s3:prefix": "a"}})),
        document(statement(Condition={"StringEquals": {"prefix": "a"}})),
        document(statement(Condition={"StringEquals": {"s3:prefix": []}})),
        document(statement(Condition={"StringEquals": {}})),
        document(statement(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}})),
        document(statement(Condition={"Bool": {"aws:SecureTransport": "yes"}})),
        document(statement(Condition={"NumericEquals": {"s3:max-keys": "many"}})),
        document(statement(Condition={"ForSome:StringEquals": {"s3:prefix": "a"}})),
        document(statement(Condition=[])),
        b'{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}',
        document(statement(Sid="x" * 21000)),
    ],
)
def test_what_is_not_understood_is_not_stored(bad: bytes) -> None:
    assert refused(policy.parse, bad, "b") == "MalformedPolicy"


def test_wildcards_do_not_blow_up() -> None:
    pattern = "arn:aws:s3:::b/" + "a*" * 200 + "b"
    started_s = time.process_time()
    assert not policy.wildcard(pattern, "arn:aws:s3:::b/" + "a" * 1000)
    assert time.process_time() - started_s < 5


@pytest.mark.parametrize(
    ("changes", "public"),
    [
        ({}, True),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Principal": {"AWS": "me"}}, False),
        ({"Effect": "Deny"}, False),
        ({"Condition": {"Bool": {"aws:SecureTransport": "true"}}}, True),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, False),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}}, True),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/1"}}}, True),
        ({"Condition": {"StringEquals": {"aws:PrincipalAccount": "me"}}}, False),
        ({"Condition": {"StringEqualsIfExists": {"aws:PrincipalAccount": "me"}}}, True),
        ({"Condition": {"StringLike": {"aws:PrincipalArn": "*"}}}, True),
        ({"Condition": {"StringLike": {"aws:Referer": "http://a/*"}}}, True),
    ],
)
def test_what_is_public(changes: dict[str, Any], public: bool) -> None:
    assert policy.is_public(policy.parse(document(statement(**changes)), "b")) == public


# ---- ACLs


def headers(**values: str) -> Request:
    return Request("PUT", b"/b/k", b"", [(n.replace("_", "-").encode(), v.encode()) for n, v in values.items()])


@pytest.mark.parametrize(
    ("name", "readers"),
    [
        ("private", ["me"]),
        ("public-read", ["me", "you", None]),
        ("authenticated-read", ["me", "you"]),
        ("bucket-owner-read", ["me", "boss"]),
        ("bucket-owner-full-control", ["me", "boss"]),
    ],
)
def test_canned_lists(name: str, readers: list[str | None]) -> None:
    found = acl.canned(name, "me", "boss")
    assert [who for who in ("me", "you", "boss", None) if acl.allows(found, who, "READ")] == [
        w for w in ("me", "you", "boss", None) if w in readers or (w == "boss" and "you" in readers)
    ]
    assert acl.allows(found, "me", "WRITE_ACP")
    assert not acl.allows(found, None, "WRITE")
    assert found.is_public == (name in ("public-read", "authenticated-read"))


def test_public_grants_can_be_ignored() -> None:
    found = acl.canned("public-read-write", "me", "me")
    assert acl.allows(found, None, "WRITE")
    assert not acl.allows(found, None, "WRITE", ignore_public=True)
    assert acl.allows(found, "me", "WRITE", ignore_public=True)


def test_the_owner_keeps_the_list_itself() -> None:
    empty = acl.Acl("me", ())
    assert acl.allows(empty, "me", "WRITE_ACP")
    assert not acl.allows(empty, "me", "READ")
    assert not acl.allows(empty, None, "READ_ACP")


def test_lists_in_headers_and_documents() -> None:
    names, emails = {"me": "Me", "you": "You"}, {"you@x.org": "you"}
    found = acl.of_headers(
        headers(x_amz_grant_read=f'id="you", uri={acl.ALL_USERS}', x_amz_grant_full_control="emailAddress=you@x.org"),
        "me",
        "me",
        names=names,
        emails=emails,
    )
    assert found is not None
    assert {(g.grantee, g.permission) for g in found.grants} == {
        ("you", "READ"),
        (acl.ALL_USERS, "READ"),
        ("you", "FULL_CONTROL"),
    }
    assert acl.parse(acl.write(found), "me", names=names).grants == found.grants
    assert acl.of_headers(headers(), "me", "me") is None
    assert (
        refused(acl.of_headers, headers(x_amz_acl="private", x_amz_grant_read="id=you"), "me", "me") == "InvalidRequest"
    )
    for bad in ("id=nobody", "uri=http://x", "emailAddress=no@x.org", "you", "id="):
        code = "UnresolvableGrantByEmailAddress" if bad.startswith("email") else "InvalidArgument"
        assert refused(acl.of_headers, headers(x_amz_grant_read=bad), "me", "me", names=names, emails=emails) == code
    assert refused(acl.of_headers, headers(x_amz_acl="public-raed"), "me", "me") == "InvalidArgument"


def test_a_list_cannot_change_its_owner() -> None:
    assert refused(acl.parse, acl.write(acl.canned("private", "you", "you")), "me") == "AccessDenied"


@pytest.mark.parametrize("body", [b"<AccessControlPolicy/>", b"<x/>", b"<AccessControlPolicy><Owner><ID>me</ID></Owner><AccessControlList><Grant><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>", b"<AccessControlPolicy><Owner><ID>me</ID></Owner><AccessControlList><Grant><Grantee><ID>me</ID></Grantee><Permission>EAT</Permission></Grant></AccessControlList></AccessControlPolicy>"])  # fmt: skip
def test_malformed_lists(body: bytes) -> None:
    assert refused(acl.parse, body, "me") == "MalformedACLError"


def test_public_access_block_and_ownership() -> None:
    block = public_access.PublicAccessBlock(block_acls=True, restrict_buckets=True)
    assert public_access.parse(public_access.write(block)) == block
    assert public_access.parse_ownership(public_access.write_ownership("BucketOwnerEnforced")) == "BucketOwnerEnforced"
    assert refused(public_access.ownership, "Mine") == "InvalidArgument"
    assert (
        refused(
            public_access.parse,
            b"<PublicAccessBlockConfiguration><BlockAll>true</BlockAll></PublicAccessBlockConfiguration>",
        )
        == "MalformedXML"
    )


# ---- CORS

RULES = (
    cors.Rule(("http://a.example", "*suffix", "start*end", "prefix*"), ("GET", "PUT"), ("x-amz-*", "Content-Type"), ("ETag",), 100, "one"),
    cors.Rule(("*",), ("HEAD",)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("origin", "method", "requested", "rule"),
    [
        ("http://a.example", "GET", None, 0),
        ("foosuffix", "PUT", None, 0),
        ("suffix", "PUT", None, 0),
        ("suffixx", "PUT", None, None),
        ("startend", "GET", None, 0),
        ("start1end", "GET", None, 0),
        ("star", "GET", None, None),
        ("prefixed", "GET", None, 0),
        ("http://b.example", "GET", None, None),
        ("http://a.example", "GET", "X-Amz-Meta-A, content-type", 0),
        ("http://a.example", "GET", "authorization", None),
        ("http://anyone", "HEAD", None, 1),
        ("http://anyone", "DELETE", None, None),
    ],
)
def test_preflights(origin: str, method: str, requested: str | None, rule: int | None) -> None:
    if rule is None:
        assert refused(cors.preflight, RULES, origin, method, requested) == "CrossOriginForbidden"
        return
    answer = cors.preflight(RULES, origin, method, requested)
    assert answer["Access-Control-Allow-Origin"] == ("*" if rule == 1 else origin)
    assert ("Access-Control-Allow-Credentials" in answer) == (rule == 0)


def test_preflights_that_cannot_be_answered() -> None:
    for origin, method, requested in (
        (None, "GET", None),
        ("http://a", None, None),
        ("http://a", "EAT", None),
        ("http://a", "GET", "a b"),
        ("a\r\nb", "GET", None),
    ):
        assert refused(cors.preflight, RULES, origin, method, requested) == "InvalidRequest"
    assert refused(cors.preflight, None, "http://a", "GET", None) == "CrossOriginForbidden"


def test_cors_documents() -> None:
    assert cors.parse(cors.write(RULES)) == RULES
    for body, code in (
        (b"<CORSConfiguration/>", "MalformedXML"),
        (
            b"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>",
            "MalformedXML",
        ),
        (cors.write((cors.Rule(("*",), ("EAT",)),)), "InvalidRequest"),
        (cors.write((cors.Rule(("*.*",), ("GET",)),)), "InvalidRequest"),
        (cors.write((cors.Rule(("*",), ("GET",), ("*-*",)),)), "InvalidRequest"),
        (cors.write((cors.Rule(("*",), ("GET",), (), ("*",)),)), "InvalidRequest"),
        (cors.write((cors.Rule(("a\nb: c",), ("GET",)),)), "InvalidRequest"),
        (cors.write((cors.Rule(("*",), ("GET",)),) * 101), "MalformedXML"),
    ):
        assert refused(cors.parse, body) == code
