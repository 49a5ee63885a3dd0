"""What is decided, for any mixture of policy, ACLs, ownership and public access block."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.storage.s3 import policy as policies
from fieldstone.services.storage.s3.acl import ALL_USERS, AUTHENTICATED_USERS, PERMISSIONS, Acl, Grant
from fieldstone.services.storage.s3.public_access import PublicAccessBlock
from fieldstone.services.storage.s3.server.decision import ACTIONS, Bucket, Caller, allowed

OWNER, OTHER = "owner", "other"
LISTED = ("ListObjectsV2", "PutObject", "DeleteObject", "ListMultipartUploads")


def policy(effect: str, action: str) -> policies.Policy:
    statement = {
        "Effect": effect,
        "Principal": "*",
        "Action": action,
        "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"],
    }
    return policies.parse(json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode(), "b")


ACLS = st.builds(
    Acl,
    st.just(OWNER),
    st.lists(
        st.builds(Grant, st.sampled_from([OWNER, OTHER, ALL_USERS, AUTHENTICATED_USERS]), st.sampled_from(PERMISSIONS)),
        max_size=4,
    ).map(tuple),
)
BUCKETS = st.builds(
    Bucket,
    st.just("b"),
    st.just(OWNER),
    ACLS,
    st.sampled_from([None, policy("Allow", "s3:*"), policy("Deny", "s3:*"), policy("Allow", "s3:GetObject")]),
    st.builds(PublicAccessBlock, st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    st.sampled_from(["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"]),
)
OPERATIONS = st.sampled_from(sorted(ACTIONS))


@given(BUCKETS, OPERATIONS, st.none() | ACLS)
def test_nobody_is_let_in_without_a_word_for_all(bucket: Bucket, operation: str, found: Acl | None) -> None:
    open_lists = [a for a in (bucket.acl, found) if a is not None and any(g.grantee == ALL_USERS for g in a.grants)]
    if allowed(Caller(None), operation, bucket, "k", object_acl=found):
        by_policy = (
            bucket.policy is not None and policies.is_public(bucket.policy) and not bucket.block.restrict_buckets
        )
        by_list = open_lists and not bucket.block.ignore_acls and bucket.ownership != "BucketOwnerEnforced"
        assert by_policy or by_list


@given(BUCKETS, OPERATIONS, st.none() | ACLS, st.sampled_from([None, OWNER, OTHER]))
def test_a_deny_ends_it_but_for_the_policy_itself(
    bucket: Bucket, operation: str, found: Acl | None, account: str | None
) -> None:
    denied = Bucket("b", OWNER, bucket.acl, policy("Deny", "s3:*"), bucket.block, bucket.ownership)
    passed = allowed(Caller(account), operation, denied, "k", object_acl=found)
    assert not passed or (
        account == OWNER and operation in ("GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy")
    )


@given(BUCKETS)
def test_the_owner_can_always_set_the_acl_anew(bucket: Bucket) -> None:
    if bucket.policy is None:
        assert all(allowed(Caller(OWNER), name, bucket) for name in ("GetBucketAcl", "PutBucketAcl", "DeleteBucket"))


@given(BUCKETS, st.sampled_from(LISTED))
def test_the_owner_needs_no_grant(bucket: Bucket, operation: str) -> None:
    if bucket.policy is None:
        assert allowed(Caller(OWNER), operation, bucket, "k")
