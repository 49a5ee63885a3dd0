"""An address that is none is the user's mistake, said at once and by name."""

from __future__ import annotations

import pytest

from fieldstone.cli.node_client import node_client
from fieldstone.errors import UsageError


@pytest.mark.parametrize(
    "node", ["", "foo", "http://", "http://[::", "ftp://127.0.0.1", "http://a:99999999", "http://\udcff"]
)
def test_what_is_no_address_is_refused(node: str) -> None:
    with pytest.raises(UsageError, match="is not the address of a node"):
        node_client(node)


@pytest.mark.parametrize("node", ["http://127.0.0.1:8080", "https://node.example/base/"])
def test_an_address_is_taken_as_it_is(node: str) -> None:
    with node_client(node, timeout_s=5.0) as client:
        assert str(client.base_url).rstrip("/") == node.rstrip("/")
