"""A real gateway process for clients to try: catalogue on SQLite, the real pool, providers on loopback sockets.

    python -m tests.services.storage.s3.gateway_process DIR

It makes the accounts main, alt and third, prints one line of JSON (endpoint, keys) and serves until it is told to stop.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage.catalog.accounts import Credentials, SecretBox, create_account
from fieldstone.services.storage.catalog.schema import create_tables
from fieldstone.services.storage.catalog.store import Store
from fieldstone.services.storage.pool import Pool, Profile
from fieldstone.services.storage.s3.server.gateway import Gateway, GatewayOptions
from fieldstone.services.storage.s3.server.run import listen, serve
from fieldstone.state.engine import connect_state
from tests.services.storage.pool.provider import Provider, directory_of

PROFILE = Profile("4/6", 4, 6, segment_bytes=8 * 2**20)
ACCOUNTS = ("main", "alt", "third")
DOMAIN = "s3.localhost"


def _account(store: Store, box: SecretBox, name: str) -> Credentials:
    key, secret = f"KEY{name.upper()}", f"secret/of+{name}"
    return store.write_now(
        lambda c: create_account(c, box, name, email=f"{name}@example.org", access_key=key, secret=secret)
    )


async def main(folder: Path) -> None:
    """Serve until a signal."""
    engine = connect_state(folder / "gateway.db")
    create_tables(engine)
    store, box = Store(engine), SecretBox(bytes(32))
    made = [_account(store, box, name) for name in ACCOUNTS]
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]

    def ready() -> None:
        accounts = [{"name": m.account.name, "id": m.account.id, "key": m.access_key, "secret": m.secret} for m in made]
        print(json.dumps({"endpoint": f"http://127.0.0.1:{port}", "port": port, "accounts": accounts}), flush=True)

    async with AsyncExitStack() as stack:
        providers = [await stack.enter_async_context(Provider()) for _ in range(8)]
        pool = Pool(engine, directory_of(providers), DeviceKey.generate(), bytes(32), database=store)
        stack.push_async_callback(pool.close)
        options = GatewayOptions(profile=PROFILE, base_domains=(DOMAIN,), allow_v2_header=True, keys_over_http=True)
        await serve(Gateway(store, pool, box, options), listener, ready=ready)
    store.close()
    engine.dispose()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1])))
