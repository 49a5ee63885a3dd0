"""Everything the OpenAPI document offers, with whatever schemathesis can think of: never a 5xx, always what it says."""

from __future__ import annotations

import os

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error

from .conftest import Network


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    network = Network(tmp_path_factory.mktemp("fuzz"), stations=2)
    network.hours()
    network.live.close_epoch()
    network.live.node.settle()
    yield network
    network.close()


def test_no_request_breaks_the_node(served: Network) -> None:
    schema = schemathesis.openapi.from_dict(httpx.get(f"{served.url}/openapi.json").json())
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 15
    for operation in operations:

        @settings(
            max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
        )
        @given(case=operation.as_strategy())
        def check(case) -> None:
            response = case.call(base_url=served.url, timeout=20)
            case.validate_response(response, checks=[not_a_server_error])
            assert "Traceback" not in response.text

        check()


@pytest.mark.parametrize("path", ["/v1/reports", "/v1/registry"])
def test_random_bytes_at_the_hot_doors(served: Network, path: str) -> None:
    with httpx.Client(base_url=served.url, timeout=20) as client:
        for size in (0, 1, 7, 100, 5_000):
            for media in ("application/cose", "application/cbor-seq", "application/cbor", "text/plain", ""):
                answer = client.post(path, content=os.urandom(size), headers={"content-type": media})
                assert 400 <= answer.status_code < 500 or answer.status_code == 207, (size, media, answer.status_code)
                assert "Traceback" not in answer.text
