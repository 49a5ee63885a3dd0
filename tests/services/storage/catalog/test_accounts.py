"""Accounts, keys and buckets."""

from __future__ import annotations

import pytest

from fieldstone.errors import EnvironmentProblem, UsageError
from fieldstone.services.storage.catalog.accounts import (
    GENERATIONS,
    SecretBox,
    add_access_key,
    create_account,
    list_accounts,
    load_credentials,
    revoke_access_key,
)
from fieldstone.services.storage.catalog.buckets import create_bucket, find_bucket, list_buckets, put_setting
from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.catalog.removal import delete_bucket
from fieldstone.services.storage.catalog.schema import access_key as keys
from tests.services.storage.catalog.conftest import OWNER, Catalogue


def test_secrets_are_not_in_the_database_and_open_only_under_the_right_master_key(catalogue: Catalogue) -> None:
    stored = catalogue.store.read_now(lambda c: c.execute(keys.select()).one())
    assert b"secret-secret" not in stored.secret
    found = catalogue.store.read_now(lambda c: load_credentials(c, catalogue.box))
    assert found["KEY"].secret == "secret-secret"
    with pytest.raises(EnvironmentProblem, match="another master key"):
        catalogue.store.read_now(lambda c: load_credentials(c, SecretBox(b"x" * 32)))
    # a secret moved to another key's row does not open
    with pytest.raises(EnvironmentProblem):
        catalogue.box.open("OTHER", stored.secret)


def test_revoked_keys_and_second_keys(catalogue: Catalogue) -> None:
    account = catalogue.store.read_now(lambda c: load_credentials(c, catalogue.box))["KEY"].account
    second = catalogue.do(add_access_key, catalogue.box, account)
    catalogue.do(revoke_access_key, "KEY")
    assert set(catalogue.store.read_now(lambda c: load_credentials(c, catalogue.box))) == {second.access_key}
    with pytest.raises(UsageError):
        catalogue.do(revoke_access_key, "NONE")


@pytest.mark.parametrize(
    "wrong",
    [{"name": "main"}, {"name": ""}, {"name": "n", "account_id": OWNER}, {"name": "n", "access_key": "KEY"},
     {"name": "n", "access_key": "a b"}, {"name": "n", "secret": "short"}],
)  # fmt: skip
def test_accounts_that_cannot_be(catalogue: Catalogue, wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        catalogue.do(lambda c: create_account(c, catalogue.box, **wrong))  # type: ignore[arg-type]


async def test_every_change_raises_a_generation(catalogue: Catalogue) -> None:
    async def now() -> tuple[int, int]:
        row = await catalogue.store.first(GENERATIONS)
        assert row is not None
        return row[0], row[1]

    before = await now()
    catalogue.do(put_setting, catalogue.bucket, "policy", b"x")
    after = await now()
    assert after[0] == before[0] and after[1] > before[1]
    catalogue.do(lambda c: create_account(c, catalogue.box, "n"))
    assert (await now())[0] > after[0]


def test_bucket_names_are_shared_by_all(catalogue: Catalogue) -> None:
    other = catalogue.do(lambda c: create_account(c, catalogue.box, "other")).account.id
    for owner, code in ((OWNER, "BucketAlreadyOwnedByYou"), (other, "BucketAlreadyExists")):
        with pytest.raises(CatalogFault) as caught:
            catalogue.do(create_bucket, "bucket", owner, 1, object_lock=False, documents={})
        assert caught.value.code == code
    assert catalogue.store.read_now(lambda c: list_buckets(c, other)) == []


def test_a_bucket_goes_when_it_is_empty_and_its_name_comes_back_with_another_id(catalogue: Catalogue) -> None:
    catalogue.put("k")
    with pytest.raises(CatalogFault, match="BucketNotEmpty"):
        catalogue.do(delete_bucket, catalogue.pool, catalogue.bucket)
    from fieldstone.services.storage.catalog.versions import delete_current

    catalogue.do(delete_current, catalogue.pool, catalogue.bucket, b"k", OWNER, 1)
    catalogue.do(put_setting, catalogue.bucket, "cors", b"x")
    catalogue.do(delete_bucket, catalogue.pool, catalogue.bucket)
    assert catalogue.store.read_now(lambda c: find_bucket(c, "bucket")) is None
    again = catalogue.do(create_bucket, "bucket", OWNER, 1, object_lock=False, documents={})
    assert again != catalogue.bucket
    # a write that was under way for the old bucket finds it gone
    with pytest.raises(CatalogFault, match="NoSuchBucket"):
        catalogue.put("late")


def test_prefixes_of_bucket_names_are_no_patterns(catalogue: Catalogue) -> None:
    catalogue.do(create_bucket, "b-1", OWNER, 1, object_lock=False, documents={})
    found = catalogue.store.read_now(lambda c: list_buckets(c, OWNER, prefix="b_"))
    assert found == []
    assert [n for n, _ in catalogue.store.read_now(lambda c: list_buckets(c, OWNER, prefix="b"))] == ["b-1", "bucket"]


def test_a_wrong_master_key_adds_no_key(catalogue: Catalogue) -> None:
    """It would make every other gateway refuse everybody."""
    with pytest.raises(EnvironmentProblem, match="another master key"):
        catalogue.do(lambda c: create_account(c, SecretBox(b"w" * 32), "second"))
    assert [a.name for a in catalogue.store.read_now(list_accounts)] == ["main"]
    assert set(catalogue.store.read_now(lambda c: load_credentials(c, catalogue.box))) == {"KEY"}
