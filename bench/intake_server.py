"""The server process of the intake benchmarks: a real journal, N enrolled devices, real HTTP. Prints its port.

python bench/intake_server.py FOLDER DEVICES [lane|h11]
    LIBSODIUM=1  check signatures with PyNaCl even where the faster library is installed
    ASYNCIO=1    asyncio's own event loop even where uvloop is installed
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fieldstone.clock import SystemClock
from fieldstone.config import NodeConfig
from fieldstone.identity import entries, strict_v1
from fieldstone.identity.ed25519 import Backend, verify_with_libsodium
from fieldstone.identity.entries import Place
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.identity.wallet import Wallet
from fieldstone.intake.http import routes
from fieldstone.intake.lane import lane
from fieldstone.intake.loop import loop_factory
from fieldstone.intake.pipeline import Intake
from fieldstone.journal import Journal
from fieldstone.journal.group_commit import GroupCommit
from fieldstone.policy import Policy

POLICY = Policy(network_id="bench-net")
COLUMNS = (
    "temperature_c", "humidity_pct", "pressure_hpa", "wind_speed_ms", "wind_direction_deg", "rain_mm", "solar_wm2",
)  # fmt: skip
KINDS = {("sensing", "readings"): COLUMNS}
NETWORK_KEY = DeviceKey.from_secret(Algorithm.ED25519, b"\x07" * 32)
WALLET = Wallet.from_secret(b"\x08" * 32)


def device_key(number: int) -> DeviceKey:
    return DeviceKey.from_secret(Algorithm.ED25519, (number + 1).to_bytes(32, "big"))


async def serve(folder: Path, devices: int, http: str) -> None:
    clock = SystemClock()
    journal = Journal.open(folder / "journal.sqlite", clock=clock)
    interval_ms = NodeConfig().commit_interval_ms  # as `fieldstone up` has it
    group = GroupCommit(journal, NETWORK_KEY, network_id=POLICY.network_id, interval_ms=interval_ms)
    intake = Intake(
        group,
        policy=POLICY,
        kinds=KINDS,
        clock=clock,
        device_reports_per_minute=10_000_000,
        workers=int(os.environ.get("WORKERS", "1")),
    )
    missing = [key for key in map(device_key, range(devices)) if intake.registry.get(key.public.device_id) is None]
    place = Place(47.0, 8.0, 400.0, 5.0)
    await asyncio.gather(
        *[
            intake.submit_registry(entries.enrol(key, WALLET, POLICY, model="sim", place=place), address="bench")
            for key in missing
        ]
    )

    async def cpu(request: Request) -> JSONResponse:
        times = os.times()
        return JSONResponse(
            {
                "cpu_s": times.user + times.system,
                "head": journal.head,
                "commits": group.stats.commits,
                "entries": group.stats.entries,
            }
        )

    app = Starlette(routes=[*routes(intake), Route("/cpu", cpu)])
    config = uvicorn.Config(
        app, port=0, log_level="warning", access_log=False, http=lane(intake) if http == "lane" else "h11"
    )
    server = uvicorn.Server(config)
    profile = os.environ.get("PROFILE")
    if profile:
        import cProfile
        import threading

        profiler = cProfile.Profile()
        if profile == "threads":
            threading.setprofile(lambda *a: None)
        profiler.enable()
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await task
    if profile:
        profiler.disable()
        profiler.dump_stats(profile)
    group.close()
    intake.close()
    journal.close()


if __name__ == "__main__":
    if os.environ.get("LIBSODIUM"):
        strict_v1.backend = lambda: Backend("PyNaCl", "", verify_with_libsodium, "asked for")
    with asyncio.Runner(loop_factory=None if os.environ.get("ASYNCIO") else loop_factory()) as runner:
        runner.run(serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "lane"))
