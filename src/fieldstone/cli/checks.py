"""The checks of `fieldstone doctor`. Each returns findings: what was checked, what was found, what to do about it."""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldstone.errors import ConfigError

if TYPE_CHECKING:
    from fieldstone.config import Config

OK, WARNING, BROKEN, SKIPPED = "ok", "warning", "broken", "skipped"

PYTHONS = ((3, 11), (3, 12))  # what the test suite runs on
FSYNC_ROUNDS = 40
FSYNC_SLOW_MS = 20.0
SPACE_WARNING_BYTES, SPACE_BROKEN_BYTES = 5 * 10**9, 200 * 10**6
EARLIEST_NOW_S = 1_767_225_600  # 2026-01-01: no clock that is right shows an earlier time
CLOCK_DRIFT_MS = 50
ANSWER_TIMEOUT_S = 3.0
KECCAK_EMPTY = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"  # Yellow Paper, KEC(())


@dataclass(frozen=True, slots=True)
class Finding:
    """`status`: ok, warning, broken or skipped. `measured`: numbers behind `found`, with units in their names."""

    check: str
    status: str
    found: str
    remedy: str = ""
    measured: dict[str, Any] = field(default_factory=dict)


def examine(path: Path) -> list[Finding]:
    """Run every check. Without a `network.toml` at `path` only the machine is checked."""
    config, findings = _config(path)
    folder = config.data_dir if config else path.parent
    commit_interval_ms = config.node.commit_interval_ms if config else 5
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_python,
        check_dependencies,
        check_keccak,
        check_signatures,
        lambda: check_disk(folder, commit_interval_ms),
        lambda: check_space(folder),
        check_clock,
    ]
    for check in checks:
        findings += check()
    if config:
        from fieldstone.cli.checks_chain import check_bond_depth, check_chain

        findings += [*check_ports(config), *check_chain(config), *check_bond_depth(config), *check_policy(config)]
    return findings


def _config(path: Path) -> tuple[Config | None, list[Finding]]:
    from fieldstone.config import load

    if not path.exists():
        remedy = "`fieldstone init` writes one."
        return None, [Finding("settings", SKIPPED, f"no {path.name} in {path.resolve().parent}", remedy)]
    try:
        config = load(path)
    except ConfigError as error:
        return None, [Finding("settings", BROKEN, str(error), "Correct the named line.")]
    return config, [Finding("settings", OK, f"network {config.policy.network_id}, policy {config.policy.hash[:12]}")]


def check_python() -> Iterator[Finding]:
    """The interpreter is one that the test suite runs on."""
    version = sys_version()
    text = ".".join(map(str, version))
    if version[:2] in PYTHONS:
        yield Finding("python", OK, text)
    elif version[:2] < PYTHONS[0]:
        yield Finding("python", BROKEN, text, "Install Python 3.11 or 3.12.")
    else:
        yield Finding("python", WARNING, f"{text} is not tested", "Python 3.11 and 3.12 are.")


def sys_version() -> tuple[int, int, int]:
    """Return the interpreter's version."""
    import sys

    return sys.version_info[0], sys.version_info[1], sys.version_info[2]


def check_dependencies() -> Iterator[Finding]:
    """Every required package is installed, at least in the required version."""
    from importlib.metadata import PackageNotFoundError, requires, version

    wrong, count = [], 0
    try:
        wanted = requires("fieldstone") or []
    except PackageNotFoundError:
        yield Finding("packages", WARNING, "fieldstone is not installed as a package", "pip install fieldstone")
        return
    for requirement in wanted:
        if ";" in requirement:
            continue  # extras
        name, _, minimum = requirement.partition(">=")
        name, minimum = name.split("[")[0].split("=")[0].strip(), minimum.split(",")[0].strip()
        count += 1
        try:
            installed = version(name)
        except PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        if minimum and _numbers(installed) < _numbers(minimum):
            wrong.append(f"{name} {installed} is older than {minimum}")
    if wrong:
        yield Finding("packages", BROKEN, "; ".join(wrong), "pip install -r requirements.lock")
    else:
        yield Finding("packages", OK, f"{count} required, all there")


def _numbers(version: str) -> tuple[int, ...]:
    import re

    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def check_keccak() -> Iterator[Finding]:
    """The keccak backend is there and computes Ethereum's keccak-256, not SHA-3."""
    try:
        from sha3 import keccak_256
    except ImportError:
        yield Finding("keccak", BROKEN, "module sha3 is missing", "pip install safe-pysha3")
        return
    if keccak_256(b"").hexdigest() != KECCAK_EMPTY:
        yield Finding(
            "keccak", BROKEN, "sha3.keccak_256 is not Ethereum's", "pip uninstall pysha3; pip install safe-pysha3"
        )
        return
    rounds, leaf = 20_000, b"\0" * 64
    begin = time.process_time()
    for _ in range(rounds):
        keccak_256(leaf).digest()
    per_second = int(rounds / max(time.process_time() - begin, 1e-6))
    yield Finding("keccak", OK, f"safe-pysha3, {per_second:,} hashes of 64 bytes per second", "", {"per_s": per_second})


def check_signatures() -> Iterator[Finding]:
    """Which library checks Ed25519 signatures, and how many a second of one core. Both libraries accept the same."""
    from fieldstone.identity.ed25519 import backend
    from fieldstone.identity.keys import DeviceKey, verify

    chosen, device, rounds, message = backend(), DeviceKey.generate(), 200, bytes(200)
    signature = device.sign(message)
    begin = time.process_time()
    for _ in range(rounds):
        verify(device.public, message, signature)
    per_second = int(rounds / max(time.process_time() - begin, 1e-6))
    found = f"Ed25519 by {chosen.name} {chosen.version}, {per_second:,} checks per second of one core"
    remedy = f"{chosen.why_not[:1].upper()}{chosen.why_not[1:]}; faster: `pip install 'fieldstone[intake]'`."
    yield Finding("signatures", OK, found, remedy if chosen.why_not else "", {"per_s": per_second})


def check_disk(folder: Path, commit_interval_ms: int) -> Iterator[Finding]:
    """Measure what a durable commit costs where the journal will be, and the intake ceiling that this implies."""
    try:
        times_ms = _fsync_times_ms(_existing(folder))
    except OSError as error:
        yield Finding("disk", BROKEN, f"cannot write in {folder}: {error.strerror or error}", "Choose another folder.")
        return
    median, worst = statistics.median(times_ms), sorted(times_ms)[int(len(times_ms) * 0.95)]
    alone = int(1000 / max(median, 0.001))
    share = median / (median + commit_interval_ms)
    found = (
        f"fsync {median:.2f} ms (p95 {worst:.2f}): at most {alone:,} reports/s when each waits for its own; "
        f"with group commit every {commit_interval_ms} ms the disk is busy {share:.0%} of the time"
    )
    measured = {"fsync_median_ms": round(median, 3), "fsync_p95_ms": round(worst, 3), "single_commits_per_s": alone}
    slow = median > FSYNC_SLOW_MS
    remedy = "A slow disk delays receipts: raise node.commit_interval_ms, or use an SSD." if slow else ""
    yield Finding("disk", WARNING if slow else OK, found, remedy, measured)


def _existing(folder: Path) -> Path:
    """Return `folder` or its nearest parent that exists: doctor measures the disk and leaves nothing behind."""
    folder = folder.resolve()
    while not folder.exists():
        folder = folder.parent
    return folder


def _fsync_times_ms(folder: Path) -> list[float]:
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(FSYNC_ROUNDS):
            file.write(os.urandom(4096))  # a page that was not there before, as a journal appends
            file.flush()
            begin = time.perf_counter()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - begin) * 1000)
    return times


def check_space(folder: Path) -> Iterator[Finding]:
    """There is room for the journal to grow."""
    free = shutil.disk_usage(_existing(folder)).free
    status = BROKEN if free < SPACE_BROKEN_BYTES else WARNING if free < SPACE_WARNING_BYTES else OK
    remedy = "" if status == OK else "A full disk stops the intake (503): make room or move node.data."
    yield Finding("space", status, f"{free / 10**9:.1f} GB free", remedy, {"free_bytes": free})


def check_clock(now_s: Callable[[], float] = time.time) -> Iterator[Finding]:
    """The clock shows a possible time and runs at the pace of the monotonic one."""
    begin_wall, begin_steady = now_s(), time.monotonic()
    if begin_wall < EARLIEST_NOW_S:
        yield Finding("clock", BROKEN, time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(begin_wall)), "Set it (NTP).")
        return
    time.sleep(0.05)
    drift_ms = abs((now_s() - begin_wall) - (time.monotonic() - begin_steady)) * 1000
    status = WARNING if drift_ms > CLOCK_DRIFT_MS else OK
    remedy = "It jumped while being watched: let NTP slew it, do not step it." if status == WARNING else ""
    found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(begin_wall))
    yield Finding("clock", status, found, remedy, {"drift_ms": round(drift_ms, 3)})


def check_ports(config: Config) -> Iterator[Finding]:
    """Each port that `up` needs can be taken, or this network's own node is behind it."""
    wanted = [("node.port", config.node.host, config.node.port)]
    if config.mqtt.broker == "embedded":
        wanted.append(("mqtt.port", config.mqtt.host, config.mqtt.port))
    for key, host, port in wanted:
        problem = _cannot_listen(host, port)
        if problem is None:
            yield Finding("port", OK, f"{key}: {'any free one' if port == 0 else f'{host}:{port} is free'}")
        elif key == "node.port" and _is_our_node(host, port):
            yield Finding("port", OK, f"{key}: this network's node is running on {host}:{port}")
        else:
            yield Finding("port", BROKEN, f"{key}: {host}:{port} cannot be used: {problem}", f"Set another {key}.")


def _cannot_listen(host: str, port: int) -> str | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # as the servers do: a port in TIME_WAIT is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _is_our_node(host: str, port: int) -> bool:
    import httpx

    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    try:
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return httpx.get(f"{address}/healthz", timeout=ANSWER_TIMEOUT_S, trust_env=False).status_code == 200
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def check_policy(config: Config) -> Iterator[Finding]:
    """The reward rule does not pay for splitting, merging or self-dealing; every service is installed."""
    from fieldstone.rewards.lint import lint_policy
    from fieldstone.services import service_names

    installed = service_names()
    for name in config.policy.services:
        if name not in installed:
            remedy = f"Install it or remove [services.{name}]; installed: {', '.join(installed)}."
            yield Finding("service", BROKEN, f"{name} is not installed", remedy)
    weaknesses = lint_policy(config.policy)
    for weakness in weaknesses:
        yield Finding("rewards", BROKEN if weakness.severity == "error" else WARNING, weakness.message)
    if not weaknesses:
        yield Finding("rewards", OK, "no gain by splitting, merging or self-dealing found")
    settlement = config.policy.settlement
    if settlement.verifiers and settlement.threshold > len(settlement.verifiers):
        found = f"{settlement.threshold} signatures needed, {len(settlement.verifiers)} verifiers named"
        yield Finding("verifiers", BROKEN, found, "No root can ever be posted: lower settlement.threshold.")
