"""A database that is full, cut off or set to forget: nobody is told that something is stored which is not."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import make_url

from fieldstone.errors import Retryable
from fieldstone.services.storage.catalog.buckets import create_bucket
from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.catalog.rows import Version
from fieldstone.services.storage.catalog.schema import create_tables
from fieldstone.services.storage.catalog.store import Store
from fieldstone.services.storage.catalog.versions import current_of, put_version
from fieldstone.state.engine import connect_state
from tests.services.storage.catalog.conftest import Catalogue


async def test_a_full_disk_refuses_the_writes_that_need_room_and_passes(tmp_path: Path) -> None:
    engine = connect_state(tmp_path / "x.db")
    create_tables(engine)
    store = Store(engine)
    most = 1 << 30
    # SQLite's own failure of a full disk, met in the middle of a group
    event.listen(engine, "begin", lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {most}"))
    most = store.write_now(lambda c: int(c.exec_driver_sql("PRAGMA page_count").scalar_one()))

    def put(name: str) -> Callable[[Connection], Any]:
        return lambda c: c.execute(text("INSERT INTO s3_state VALUES (:n, 1)"), {"n": name})

    names = [f"{number}{'x' * 3_000}" for number in range(5)]
    done = await asyncio.gather(*(store.write(put(name)) for name in names), return_exceptions=True)
    acknowledged = {name for name, answer in zip(names, done, strict=True) if not isinstance(answer, Exception)}
    assert all(isinstance(answer, Retryable) for answer in done if isinstance(answer, Exception))
    assert len(acknowledged) < len(names)
    there = store.read_now(lambda c: set(c.execute(text("SELECT name FROM s3_state")).scalars()))
    assert there & set(names) == acknowledged
    most = 1 << 30
    await store.write(put(names[-1]))
    store.close()
    engine.dispose()


class Wire:
    """Stands between a gateway and PostgreSQL, and cuts the connection at a commit: `before` or `after` the server has it."""

    def __init__(self, url: str) -> None:
        self._server = make_url(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = self._server.set(port=self._listener.getsockname()[1]).render_as_string(hide_password=False)
        self.cut = ""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((self._server.host, self._server.port))
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._down, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                if self.cut and b"COMMIT\0" in data:
                    if self.cut == "before":
                        break
                    self.cut = "answer"
                server.sendall(data)
        self._end(client, server)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                if self.cut == "answer":
                    break
                client.sendall(data)
        self._end(client, server)

    @staticmethod
    def _end(*both: socket.socket) -> None:
        for one in both:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_commit_cut_off_is_not_acknowledged_and_may_be_repeated(catalogue: Catalogue, cut: str) -> None:
    """Whether it was done is unknown then: the client hears 503, and doing it again leaves one object and no stray use."""
    if catalogue.store.is_sqlite:
        pytest.skip("its database is no other process")
    wire = Wire(catalogue.engine.url.render_as_string(hide_password=False))
    engine = connect_state(wire.url)
    store = Store(engine)
    new = catalogue.new("mine")

    def put(connection: Connection) -> object:
        return put_version(connection, catalogue.pool, catalogue.bucket, b"k", new)

    def current() -> Version | None:
        return catalogue.store.read_now(lambda c: current_of(c, catalogue.bucket, b"k"))

    store.read_now(lambda c: None)
    wire.cut = cut
    with pytest.raises(Retryable):
        store.write_now(put)
    wire.cut = ""
    assert (current() is None) == (cut == "before")

    def only_new(found: Version | None) -> None:
        if found is not None:
            raise CatalogFault("PreconditionFailed")

    if cut == "after":  # with If-None-Match the client learns that something is there
        with pytest.raises(CatalogFault):
            store.write_now(lambda c: put_version(c, catalogue.pool, catalogue.bucket, b"k", new, only_new))
    again = catalogue.new("mine")
    store.write_now(lambda c: put_version(c, catalogue.pool, catalogue.bucket, b"k", again))
    found = current()
    assert found is not None and found.etag == "mine"
    assert sorted(catalogue.pool.uses().values()) == ([1] if cut == "before" else [0, 1])
    store.close()
    engine.dispose()
    wire.close()


@pytest.mark.parametrize(("set_to", "found"), [("off", "on"), ("remote_write", "remote_write")])
def test_a_server_that_would_answer_before_a_commit_is_on_disk_is_told_otherwise(
    postgres_url: str, set_to: str, found: str
) -> None:
    engine = connect_state(f"{postgres_url}%20-csynchronous_commit%3D{set_to}")
    with engine.begin() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == found
    engine.dispose()


def test_of_two_gateways_that_create_one_bucket_at_once_one_does(catalogue: Catalogue) -> None:
    other = connect_state(catalogue.engine.url.render_as_string(hide_password=False))
    stores = [catalogue.store, Store(other)]
    begun = threading.Barrier(2)
    answers: list[object] = []

    def create(store: Store, owner: str) -> None:
        begun.wait()
        try:
            answers.append(
                store.write_now(lambda c: create_bucket(c, "same", owner, 1, object_lock=False, documents={}))
            )
        except CatalogFault as fault:
            answers.append(fault.code)

    threads = [threading.Thread(target=create, args=(store, "a" * 64)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(isinstance(answer, int) for answer in answers) == [False, True]
    assert "BucketAlreadyOwnedByYou" in answers
    stores[1].close()
    other.dispose()
