"""`fieldstone storage provide` as a process: it says what it does, refuses nonsense, and a signal ends it with 0."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fieldstone.agent.transport import HttpTransport
from fieldstone.cli.storage_provide import _check_service, _check_told, _say_bond
from fieldstone.cli.storage_size import size_of, size_words
from fieldstone.errors import Retryable, UsageError
from fieldstone.identity.keys import DeviceKey
from tests.services.storage.provider.running import Gateway, wait_until_up

GATEWAY = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100GiB", 100 * 2**30),
        ("500GB", 500 * 10**9),
        ("1.5TiB", 3 * 2**39),
        ("4096", 4096),
        ("2 MB", 2_000_000),
        ("1K", 1000),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert size_of(text, "--capacity") == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "1XB", "1e9", "ten"])
def test_what_is_no_size_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--capacity"):
        size_of(text, "--capacity")


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1_023, "1023 bytes"), (1_024, "1.00 KiB"), (50_000_000, "47.7 MiB"), (2**40, "1.00 TiB"),
     (900 * 2**50, "900 PiB")],
)  # fmt: skip
def test_sizes_in_words(size: int, words: str) -> None:
    assert size_words(size) == words


def test_gateways_are_told_an_address_that_they_can_reach(capsys: pytest.CaptureFixture[str]) -> None:
    for host in ("0.0.0.0", "::"):
        with pytest.raises(UsageError, match="--url"):
            _check_told(host, "http://127.0.0.1:8080")
    _check_told("127.0.0.1", "http://127.0.0.1:8080")
    _check_told("127.0.0.1", "http://localhost:8080")
    _check_told("192.0.2.7", "https://network.example")
    _check_told("disk.example", "https://network.example")
    assert capsys.readouterr().err == ""
    _check_told("127.0.0.1", "https://network.example")
    assert "reached from this machine alone" in capsys.readouterr().err


def test_a_network_without_storage_is_named_before_anything_is_enrolled(monkeypatch: pytest.MonkeyPatch) -> None:
    services: dict[str, Any] = {"sensing": {}}

    def get(self: HttpTransport, path: str) -> Any:
        if not services:
            raise Retryable("away")
        return {"services": services}

    monkeypatch.setattr(HttpTransport, "get", get)
    with pytest.raises(UsageError, match="offers no storage, but sensing"):
        _check_service("http://127.0.0.1:9")
    services["storage"] = {}
    _check_service("http://127.0.0.1:9")
    services.clear()
    _check_service("http://127.0.0.1:9")


def provide(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fieldstone", "storage", "provide", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_a_signal_stops_it(tmp_path: Path, number: signal.Signals) -> None:
    folder, key = tmp_path / "disk", DeviceKey.generate()
    process = provide(
        "--dir", str(folder), "--capacity", "1GiB", "--listen", "127.0.0.1:0", "--gateway", key.public.device_id
    )
    try:
        assert process.stderr is not None
        said = ""
        while "serving" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        port = int(re.search(r"127.0.0.1:(\d+)", said)[1])  # type: ignore[index]
        wait_until_up(port)
        gateway = Gateway(port, DeviceKey.load(folder / "device.key").public.device_id, key)
        assert gateway.put(b"s" * 16, b"x" * 100_000).status == 201
        second = provide("--dir", str(folder), "--capacity", "1GiB", "--listen", "127.0.0.1:0", "--gateway", GATEWAY)
        _, complaint = second.communicate(timeout=30)
        assert second.returncode == 3 and "in use by another process" in complaint
        process.send_signal(number)
        _, rest = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, said + rest
    assert "everything acknowledged is on disk" in rest and "Traceback" not in rest
    assert (folder / "device.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--capacity", "1GiB"], 2, "whom to serve"),
        (["--capacity", "lots", "--gateway", GATEWAY], 2, "no size"),
        (["--capacity", "1GiB", "--gateway", GATEWAY, "--listen", "nowhere"], 2, "HOST:PORT"),
        (["--capacity", "2", "--gateway", GATEWAY], 2, "unit missing"),
        (["--capacity", "1GiB", "--gateway", GATEWAY, "--wallet", "no.wallet"], 2, "fieldstone device wallet"),
        (["--capacity", "1GiB", "--network", "http://127.0.0.1:9", "--lat", "1", "--lon", "1"], 3, "does not answer"),
    ],
)
def test_nonsense_is_refused_with_a_reason(tmp_path: Path, words: list[str], code: int, says: str) -> None:
    process = provide("--dir", str(tmp_path / "disk"), *words)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == code, complaint
    assert says in complaint.replace("\n", " ") and "Traceback" not in complaint


def test_the_bond_is_told_at_the_start_and_never_in_the_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: dict[str, Any] = {
        f"/v1/devices/{GATEWAY}": {"operator": "0xAbC"},
        "/v1/storage/directory": {"devices": []},
        "/v1/bonds/0xAbC": {
            "operator": "0xAbC",
            "services": {"storage": {"unit": "TiB", "per_unit_base": "50000000000000000000"}},
            "staked_base": {"": "0"},
            "problem": "",
        },
    }

    def get(self: HttpTransport, path: str) -> Any:
        if path not in answers:
            raise Retryable("away")
        return answers[path]

    monkeypatch.setattr(HttpTransport, "get", get)
    _say_bond("http://127.0.0.1:9", GATEWAY, 2**40)
    assert "fieldstone bond add 50 " in capsys.readouterr().err
    answers["/v1/bonds/0xAbC"]["services"] = {}
    _say_bond("http://127.0.0.1:9", GATEWAY, 2**40)
    assert capsys.readouterr().err == ""
    answers.clear()
    _say_bond("http://127.0.0.1:9", GATEWAY, 2**40)
    assert "could not be found out: away" in capsys.readouterr().err
