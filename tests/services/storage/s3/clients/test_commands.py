"""Command line clients against a real gateway: awscli, rclone, s3cmd, restic."""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.storage.s3.conftest import Door

BIN = Path(sys.executable).parent
ODD_NAMES = (
    "plain.txt",
    "with space",
    "plus+sign",
    "é and 日本.bin",
    "per%cent",
    "quote'(1)",
    "a;b&c=d",
    "#hash",
    "deep/er/file",
)


def program(name: str) -> str:
    """Return a client's path, skipping where it is not installed."""
    beside = BIN / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed on this machine")
    return found


def run(words: list[str], env: dict[str, str], *, ok: bool = True, timeout_s: int = 120) -> str:
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=timeout_s)
    assert (done.returncode == 0) == ok, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with odd names, an empty file, a large one (multipart for every client)."""
    top = tmp_path / "tree"
    for i, name in enumerate(ODD_NAMES):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hashlib.sha256(str(i).encode()).digest() * (i * 40))
    (top / "large.bin").write_bytes(os.urandom(17 * 2**20 + 3))
    return top


def same(left: Path, right: Path) -> bool:
    names = sorted(str(p.relative_to(left)) for p in left.rglob("*") if p.is_file())
    if names != sorted(str(p.relative_to(right)) for p in right.rglob("*") if p.is_file()):
        return False
    return filecmp.cmpfiles(left, right, names, shallow=False)[0] == names


def test_awscli(door: Door, bucket: str, tree: Path, tmp_path: Path) -> None:
    env = door.environment()

    def aws(*words: str, ok: bool = True) -> str:
        return run([program("aws"), "--endpoint-url", door.endpoint, *words], env, ok=ok)

    aws("s3", "sync", str(tree), f"s3://{bucket}/t")
    listing = aws("s3", "ls", "--recursive", f"s3://{bucket}/")
    assert sum("t/" in line for line in listing.splitlines()) == len(ODD_NAMES) + 1
    assert aws("s3", "sync", str(tree), f"s3://{bucket}/t").strip() == ""  # nothing left to do
    aws("s3", "cp", "--recursive", f"s3://{bucket}/t", str(tmp_path / "back"))
    assert same(tree, tmp_path / "back")
    aws(
        "s3api",
        "get-object",
        "--bucket",
        bucket,
        "--key",
        "t/large.bin",
        "--range",
        "bytes=5-104",
        str(tmp_path / "part"),
    )
    assert (tmp_path / "part").read_bytes() == (tree / "large.bin").read_bytes()[5:105]
    aws("s3", "cp", f"s3://{bucket}/t/large.bin", f"s3://{bucket}/copy.bin")
    aws("s3", "mv", f"s3://{bucket}/copy.bin", f"s3://{bucket}/moved.bin")
    aws("s3", "rm", "--recursive", f"s3://{bucket}/t")
    assert [line.split()[-1] for line in aws("s3", "ls", f"s3://{bucket}/").splitlines()] == ["moved.bin"]
    aws("s3api", "head-object", "--bucket", bucket, "--key", "gone", ok=False)
    aws("s3", "mb", f"s3://{bucket}-cli")
    aws("s3", "rb", f"s3://{bucket}-cli")


def test_rclone(door: Door, bucket: str, tree: Path, tmp_path: Path) -> None:
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
    }

    def rclone(*words: str, ok: bool = True) -> str:
        return run([program("rclone"), *words], env, ok=ok)

    where = f"gw:{bucket}/t"
    rclone("sync", str(tree), where)
    rclone("check", str(tree), where)
    rclone("check", "--download", str(tree), where)
    assert len(rclone("lsf", "-R", "--files-only", where).splitlines()) == len(ODD_NAMES) + 1
    rclone("copy", where, str(tmp_path / "back"))
    assert same(tree, tmp_path / "back")
    hashes = rclone("hashsum", "md5", f"{where}/plain.txt")
    assert hashes.split()[0] == hashlib.md5((tree / "plain.txt").read_bytes()).hexdigest()
    rclone("copyto", f"{where}/large.bin", f"gw:{bucket}/copy.bin")  # on the server's side
    (tree / "plain.txt").write_bytes(b"changed")
    (tree / "with space").unlink()
    rclone("sync", str(tree), where)
    rclone("check", str(tree), where)
    rclone("moveto", f"gw:{bucket}/copy.bin", f"gw:{bucket}/moved.bin")
    rclone("purge", where)
    assert rclone("lsf", f"gw:{bucket}").splitlines() == ["moved.bin"]
    rclone("mkdir", f"gw:{bucket}-rclone")
    rclone("rmdir", f"gw:{bucket}-rclone")


def test_s3cmd(door: Door, bucket: str, tree: Path, tmp_path: Path) -> None:
    account = door.accounts["main"]
    config = tmp_path / "s3cfg"
    host = door.endpoint.removeprefix("http://")
    config.write_text(
        f"[default]\naccess_key = {account.key}\nsecret_key = {account.secret}\nhost_base = {host}\n"
        f"host_bucket = {host}\nuse_https = False\nsignature_v2 = False\nmultipart_chunk_size_mb = 5\n"
    )

    def s3cmd(*words: str, ok: bool = True) -> str:
        return run(
            [sys.executable, program("s3cmd"), "-c", str(config), "--no-progress", *words], door.environment(), ok=ok
        )

    s3cmd("sync", f"{tree}/", f"s3://{bucket}/t/")
    assert len(s3cmd("ls", "-r", f"s3://{bucket}/t/").splitlines()) == len(ODD_NAMES) + 1
    (tmp_path / "back").mkdir()
    s3cmd("sync", f"s3://{bucket}/t/", f"{tmp_path}/back/")
    assert same(tree, tmp_path / "back")
    s3cmd("put", str(tree / "large.bin"), f"s3://{bucket}/large.bin")  # multipart, ETag checked
    s3cmd("cp", f"s3://{bucket}/large.bin", f"s3://{bucket}/copy.bin")
    s3cmd("mv", f"s3://{bucket}/copy.bin", f"s3://{bucket}/moved.bin")
    info = s3cmd("info", f"s3://{bucket}/moved.bin")
    assert str((tree / "large.bin").stat().st_size) in info
    s3cmd("setacl", "--acl-public", f"s3://{bucket}/moved.bin")
    assert "anon" in s3cmd("info", f"s3://{bucket}/moved.bin")
    s3cmd("get", f"s3://{bucket}/moved.bin", str(tmp_path / "moved"))
    assert filecmp.cmp(tree / "large.bin", tmp_path / "moved", shallow=False)
    s3cmd("del", "-r", "-f", f"s3://{bucket}/")
    assert s3cmd("ls", f"s3://{bucket}/").strip() == ""
    s3cmd("mb", f"s3://{bucket}-s3cmd")
    s3cmd("rb", f"s3://{bucket}-s3cmd")


def test_restic(door: Door, bucket: str, tree: Path, tmp_path: Path) -> None:
    """Back up, check every byte, restore, back up again, forget the first."""
    env = door.environment() | {"RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": str(tmp_path / "cache")}

    def restic(*words: str) -> str:
        return run([program("restic"), "-r", f"s3:{door.endpoint}/{bucket}/repo", *words], env)

    restic("init")
    restic("backup", str(tree))
    restic("check", "--read-data")
    restic("restore", "latest", "--target", str(tmp_path / "back"))
    assert same(tree, tmp_path / "back" / tree.relative_to("/"))
    (tree / "plain.txt").write_bytes(b"changed")
    restic("backup", str(tree))
    assert (
        len([line for line in restic("snapshots", "--compact").splitlines() if line[:8].isalnum() and line[:2] != "ID"])
        >= 2
    )
    restic("forget", "--keep-last", "1", "--prune")
    restic("check", "--read-data")
