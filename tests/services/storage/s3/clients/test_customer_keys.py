"""Keys that customers bring (SSE-C): what one real client writes under a key, another one reads with it, and not without."""

from __future__ import annotations

import os
from pathlib import Path

from tests.services.storage.s3.clients.test_commands import program, run
from tests.services.storage.s3.conftest import Door

KEY = "thirty-two letters of a real key"


def test_awscli_and_rclone_share_a_key(door: Door, bucket: str, tmp_path: Path) -> None:
    account = door.accounts["main"]
    env = door.environment() | {
        "RCLONE_CONFIG": str(tmp_path / "none"),
        "RCLONE_CONFIG_GW_TYPE": "s3",
        "RCLONE_CONFIG_GW_PROVIDER": "Other",
        "RCLONE_CONFIG_GW_ENDPOINT": door.endpoint,
        "RCLONE_CONFIG_GW_ACCESS_KEY_ID": account.key,
        "RCLONE_CONFIG_GW_SECRET_ACCESS_KEY": account.secret,
        "RCLONE_S3_CHUNK_SIZE": "5Mi",
        "RCLONE_S3_UPLOAD_CUTOFF": "6Mi",
        "RCLONE_RETRIES": "1",
        "RCLONE_LOW_LEVEL_RETRIES": "1",
    }
    with_key = env | {"RCLONE_S3_SSE_CUSTOMER_ALGORITHM": "AES256", "RCLONE_S3_SSE_CUSTOMER_KEY": KEY}
    (tmp_path / "key").write_text(KEY)
    data = os.urandom(12 * 2**20 + 5)
    (tmp_path / "large").write_bytes(data)
    key = ["--sse-c", "AES256", "--sse-c-key", f"fileb://{tmp_path / 'key'}"]
    aws = [program("aws"), "--endpoint-url", door.endpoint, "s3", "cp"]
    run([*aws, *key, str(tmp_path / "large"), f"s3://{bucket}/by-aws"], env)
    rclone = program("rclone")
    run([rclone, "copyto", str(tmp_path / "large"), f"gw:{bucket}/by-rclone"], with_key)
    run([rclone, "copyto", f"gw:{bucket}/by-aws", str(tmp_path / "back")], with_key)
    assert (tmp_path / "back").read_bytes() == data
    words = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY}
    assert door.client().get_object(Bucket=bucket, Key="by-rclone", **words)["Body"].read() == data
    run([rclone, "copyto", f"gw:{bucket}/by-aws", str(tmp_path / "none-at-all")], env, ok=False)
    assert not (tmp_path / "none-at-all").exists()
