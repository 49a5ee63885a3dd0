from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from fieldstone.agent.adapters import Ecowitt, Parsed
from fieldstone.agent.listener import Listener
from fieldstone.errors import EnvironmentProblem, Retryable

_FORM = {"dateutc": "2026-02-28 13:45:00", "tempf": "50", "PASSKEY": "SECRET"}


class _Kept:
    def __init__(self) -> None:
        self.parsed: list[Parsed] = []
        self.fails = False

    def __call__(self, parsed: Parsed) -> None:
        if self.fails:
            raise Retryable("the disk is full")
        self.parsed.append(parsed)


@pytest.fixture
def kept() -> _Kept:
    return _Kept()


@pytest.fixture
def url(kept: _Kept) -> Iterator[str]:
    listener = Listener("127.0.0.1", 0, Ecowitt(), kept)
    listener.start()
    yield f"http://127.0.0.1:{listener.port}"
    listener.close()


def test_get_and_post_on_any_path(url: str, kept: _Kept) -> None:
    assert httpx.post(url + "/data/report/", data=_FORM).text == "OK"
    assert httpx.get(url + "/anything", params=_FORM).text == "OK"
    assert [parsed.reading.values["temperature_c"] for parsed in kept.parsed] == [10.0, 10.0]


def test_an_upload_is_only_confirmed_when_it_is_kept(url: str, kept: _Kept) -> None:
    kept.fails = True
    assert httpx.post(url, data=_FORM).status_code == 503


def test_bad_uploads_get_a_status_and_no_traceback(url: str, kept: _Kept, caplog: pytest.LogCaptureFixture) -> None:
    assert httpx.post(url, data={**_FORM, "dateutc": "yesterday"}).status_code == 400
    assert httpx.post(url, content=b"x" * 20_000).status_code == 413
    assert httpx.post(url, content=(b"a" for _ in range(3))).status_code == 413  # no length
    assert httpx.get(url, params={f"f{n}": "1" for n in range(400)}).status_code == 400
    assert httpx.post(url, content=b"\xff\xfe\x00=%ff&&&").status_code == 200
    assert kept.parsed[-1].reading.values == {}
    assert "SECRET" not in caplog.text


def test_a_taken_port_is_the_machines_problem(kept: _Kept) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EnvironmentProblem, match="cannot listen"):
            Listener("127.0.0.1", taken.getsockname()[1], Ecowitt(), kept)
