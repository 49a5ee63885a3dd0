from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from fieldstone.cli import app, checks
from fieldstone.cli.checks import BROKEN, OK, SKIPPED, WARNING, Finding
from fieldstone.cli.checks_chain import check_bond_depth, check_chain
from fieldstone.cli.init import write_network
from fieldstone.config import Config, load
from fieldstone.identity.ed25519 import backend
from fieldstone.policy import RewardPolicy, ServicePolicy, SettlementPolicy


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = write_network(tmp_path)
    path.write_text(path.read_text().replace("port = 8080", "port = 0"))
    return load(path, {})


def only(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    return finding


@contextmanager
def answering(body: bytes, status: int = 200) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_a_fit_machine_ends_with_0(config: Config) -> None:
    result = CliRunner().invoke(app, ["doctor", "--config", str(config.path), "--json"])
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert shown["fit"] is True
    names = {check["check"] for check in shown["checks"]}
    assert {"settings", "python", "packages", "keccak", "disk", "space", "clock", "port", "chain", "rewards"} <= names
    signatures = next(check for check in shown["checks"] if check["check"] == "signatures")
    assert backend().name in signatures["found"] and signatures["measured"]["per_s"] > 0
    disk = next(check for check in shown["checks"] if check["check"] == "disk")
    assert disk["measured"]["single_commits_per_s"] > 0
    assert not config.data_dir.exists(), "doctor leaves nothing behind"


def test_a_broken_setting_ends_with_3_and_names_the_line(config: Config) -> None:
    config.path.write_text(config.path.read_text() + "\ncolour = 1\n")
    result = CliRunner().invoke(app, ["doctor", "--config", str(config.path)])
    assert result.exit_code == 3
    assert "settlement.colour" in result.stdout
    assert "1 broken" in result.stderr


def test_without_a_network_only_the_machine_is_checked(tmp_path: Path) -> None:
    findings = checks.examine(tmp_path / "network.toml")
    assert findings[0].status == SKIPPED
    assert "fieldstone init" in findings[0].remedy
    assert "chain" not in {finding.check for finding in findings}


@pytest.mark.parametrize(("version", "status"), [((3, 10, 9), BROKEN), ((3, 12, 1), OK), ((3, 14, 0), WARNING)])
def test_python_versions(version: tuple[int, int, int], status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "sys_version", lambda: version)
    assert only(checks.check_python()).status == status


def test_missing_and_old_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["no-such-package>=1", "polars>=999.1", "numpy>=1", 'pytest>=1; extra == "dev"']
    monkeypatch.setattr("importlib.metadata.requires", lambda _: wanted)
    finding = only(checks.check_dependencies())
    assert finding.status == BROKEN
    assert "no-such-package is missing" in finding.found
    assert "is older than 999.1" in finding.found
    assert "numpy" not in finding.found


def test_a_slow_disk_is_a_warning_with_the_ceiling_it_implies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_fsync_times_ms", lambda _: [50.0] * 40)
    finding = only(checks.check_disk(tmp_path, 5))
    assert finding.status == WARNING
    assert finding.measured["single_commits_per_s"] == 20


def test_a_disk_that_refuses_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> list[float]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checks, "_fsync_times_ms", refuse)
    assert only(checks.check_disk(tmp_path, 5)).status == BROKEN


@pytest.mark.parametrize(("free", "status"), [(10**6, BROKEN), (10**9, WARNING), (10**12, OK)])
def test_free_space(free: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    assert only(checks.check_space(tmp_path / "not" / "yet")).status == status


def test_a_clock_of_1970_is_broken_and_a_jumping_one_a_warning() -> None:
    assert only(checks.check_clock(lambda: 0.0)).status == BROKEN
    times = iter([2e9, 2e9 + 60])
    assert only(checks.check_clock(lambda: next(times))).status == WARNING


def at_port(config: Config, port: int) -> Config:
    return replace(config, node=msgspec.structs.replace(config.node, port=port))


def test_a_taken_port_is_broken_unless_our_node_answers_there(config: Config) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        free_port = other.getsockname()[1]
    with answering(b"{}", status=404) as port:
        finding = only(checks.check_ports(at_port(config, port)))
        assert (finding.status, str(port) in finding.found) == (BROKEN, True)
    with answering(b"{}") as port:
        assert only(checks.check_ports(at_port(config, port))).status == OK
    assert only(checks.check_ports(at_port(config, free_port))).status == OK


def test_an_address_that_is_not_ours_is_broken(config: Config) -> None:
    elsewhere = replace(config, node=msgspec.structs.replace(config.node, host="192.0.2.1", port=0))
    assert only(checks.check_ports(elsewhere)).status == BROKEN


@pytest.mark.parametrize(
    ("body", "status"),
    [(b'{"result": "0x7a69"}', OK), (b'{"result": "0x1"}', BROKEN), (b"no json", BROKEN), (b'{"error": 1}', BROKEN)],
)
def test_the_chain_must_answer_with_our_id(config: Config, body: bytes, status: str) -> None:
    with answering(body) as port:
        chain = msgspec.structs.replace(config.chain, url=f"http://127.0.0.1:{port}")
        assert only(check_chain(replace(config, chain=chain))).status == status


def test_nobody_behind_the_chain_url_is_broken(config: Config) -> None:
    for url in ("http://127.0.0.1:1", "no url", "ftp://x"):
        chain = msgspec.structs.replace(config.chain, url=url)
        assert only(check_chain(replace(config, chain=chain))).status == BROKEN


def asking_for_bonds(config: Config, url: str, depth: int, per_unit: str = "10") -> Config:
    services = {"storage": ServicePolicy(bond_per_unit=per_unit)}
    settlement = msgspec.structs.replace(config.policy.settlement, bond_depth_blocks=depth)
    policy = msgspec.structs.replace(config.policy, services=services, settlement=settlement)
    return replace(config, policy=policy, chain=msgspec.structs.replace(config.chain, url=url))


@contextmanager
def chain(heights: dict[str, Any]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            height = heights.get(asked["params"][0])
            body = json.dumps({"result": None if height is None else {"number": height}}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("depth", "status"), [(0, WARNING), (63, WARNING), (64, OK), (200, OK)])
def test_bonds_have_to_be_read_where_the_chain_is_final(config: Config, depth: int, status: str) -> None:
    with chain({"latest": hex(1_000), "finalized": hex(936)}) as url:
        finding = only(check_bond_depth(asking_for_bonds(config, url, depth)))
        assert (finding.status, finding.measured["not_final_blocks"]) == (status, 64)
        assert ("64 or more" in finding.remedy) == (status == WARNING)


@pytest.mark.parametrize("final", [None, "?"])
def test_a_chain_that_calls_nothing_final_is_said(config: Config, final: str | None) -> None:
    with chain({"latest": hex(1_000), "finalized": final}) as url:
        assert only(check_bond_depth(asking_for_bonds(config, url, 0))).status == WARNING
        assert only(check_bond_depth(asking_for_bonds(config, url, 30))).status == SKIPPED


def test_the_depth_of_bonds_matters_only_where_there_are_bonds_and_reorganisations(config: Config) -> None:
    assert not [*check_bond_depth(asking_for_bonds(config, "embedded", 0))]
    assert not [*check_bond_depth(asking_for_bonds(config, "http://127.0.0.1:1", 0, per_unit="0"))]


def test_an_exploitable_policy_is_broken(config: Config) -> None:
    policy = msgspec.structs.replace(
        config.policy,
        rewards=RewardPolicy(take_ppm=0),
        services={"sensing": ServicePolicy(), "teleport": ServicePolicy()},
        settlement=SettlementPolicy(verifiers=("0x" + "1" * 40,), threshold=2),
    )
    broken = {f.check for f in checks.check_policy(replace(config, policy=policy)) if f.status == BROKEN}
    assert broken == {"service", "rewards", "verifiers"}
