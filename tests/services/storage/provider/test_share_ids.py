"""An id is used once: what a gateway deleted by a signed order it cannot store again under the same name."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldstone.errors import Rejected
from fieldstone.services.storage.provider.store import Store
from tests.services.storage.provider.test_store import GATEWAY, MIB, code, digest, put, share_id

DAY_MS = 86_400_000


@pytest.mark.parametrize("days", [0, 30])
def test_other_bytes_in_place_of_deleted_ones_are_refused(tmp_path: Path, days: int) -> None:
    """Else a gateway deletes what it leases, stores junk under the same id and keeps the lease: asked for the lease's bytes,
    an honest provider would prove the junk, which is fraud, and could not show the order, because the share is held."""
    now_ms = [1_700_000_000_000]

    class Clock:
        def now_ms(self) -> int:
            return now_ms[0]

    store = Store(tmp_path / "disk", 100 * MIB, clock=Clock())
    put(store, share_id(1), b"x" * 40_000, order=1)
    store.delete(share_id(1), GATEWAY, digest(2), b"signed by the gateway").result(10)
    store.close()
    now_ms[0] += days * DAY_MS
    store = Store(tmp_path / "disk", 100 * MIB, clock=Clock())
    for data in (b"y" * 40_000, b"x" * 40_000):
        with pytest.raises(Rejected) as error:
            put(store, share_id(1), data, order=9)
        assert code(error) == "SHARE_DELETED"
    assert store.used_bytes == 0
    assert store.index.delete_order(share_id(1)) == b"signed by the gateway"
    put(store, share_id(2), b"y" * 40_000, order=10)
    store.close()
