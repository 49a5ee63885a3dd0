"""A real door for the agent's tests: intake and journal behind uvicorn on a free port of the loopback."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fieldstone.clock import SystemClock
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.intake.http import routes
from fieldstone.intake.pipeline import Intake
from fieldstone.journal import Journal
from fieldstone.journal.group_commit import GroupCommit
from fieldstone.policy import Policy

NETWORK_KEY = DeviceKey.from_secret(Algorithm.ED25519, b"\x07" * 32)
COLUMNS = ("temperature_c", "humidity_pct", "pressure_hpa", "wind_speed_ms", "rain_mm")
KINDS = {("sensing", "readings"): COLUMNS}


class Door:
    """One running network. `stop` and `start` again keep the journal and the port."""

    def __init__(self, folder: Path, policy: Policy | None = None) -> None:
        self.folder = folder
        self.policy = policy or Policy(network_id="agent-net")
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self.journal = Journal.open(self.folder / "journal.sqlite", clock=SystemClock())
        self.group = GroupCommit(self.journal, NETWORK_KEY, network_id=self.policy.network_id)
        self.intake = Intake(self.group, policy=self.policy, kinds=KINDS, clock=SystemClock())
        app = Starlette(routes=[*routes(self.intake), *self._routes()])
        config = uvicorn.Config(app, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve(sockets=[listener])), daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.group.close()
        self.intake.close()
        self.journal.close()

    def _routes(self) -> list[Route]:
        async def network(request: Request) -> JSONResponse:
            return JSONResponse(
                {
                    "name": "a network says more than the agent needs",
                    "network_id": self.policy.network_id,
                    "chain_id": self.policy.chain_id,
                    "schema_version": self.policy.schema_version,
                    "public_key": NETWORK_KEY.public.device_id,
                    "kinds": {"sensing": {"readings": list(COLUMNS)}},
                }
            )

        async def devices(request: Request) -> JSONResponse:
            return JSONResponse({"devices": [self._device(d) for d in self.intake.registry.devices()]})

        async def device(request: Request) -> JSONResponse:
            found = self.intake.registry.get(request.path_params["device"])
            if found is None:
                return JSONResponse({"detail": "no such device"}, 404)
            return JSONResponse(self._device(found))

        return [
            Route("/v1/network", network),
            Route("/v1/devices", devices),
            Route("/v1/devices/{device}", device),
        ]

    @staticmethod
    def _device(device: Any) -> dict[str, Any]:
        names = ("device", "operator", "model", "lat", "lon", "revoked_ms", "nonce")
        return {name: getattr(device, name) for name in names}
