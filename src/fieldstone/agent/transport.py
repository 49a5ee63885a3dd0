"""How messages travel: HTTP to `POST /v1/reports`. What comes back is one result per message, in order."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

import cbor2
import httpx
import msgspec

from fieldstone.errors import CheckFailed, FieldstoneError, Rejected, Retryable, UsageError
from fieldstone.reasons import REASONS, Reason, reason

_LONGEST_ANSWER = 64 * 1024 * 1024
_LATER = frozenset({408, 429, 500, 502, 503, 504})


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The door's answer to one message. `receipt` is kept as it came: `fieldstone.journal.receipts.Receipt`."""

    ok: bool
    position: int | None = None
    receipt: Any = None
    code: str | None = None
    remedy: str | None = None
    detail: str | None = None


class NetworkInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What `GET /v1/network` says. `public_key` is the network key's did:key; `kinds`: service → kind → columns."""

    network_id: str
    chain_id: int
    schema_version: int
    public_key: str
    kinds: dict[str, dict[str, list[str]]] = {}

    def kind_table(self) -> dict[tuple[str, str], tuple[str, ...]] | None:
        """Return the table that `report.encode` numbers columns by; None when the network did not say."""
        table = {(s, kind): tuple(names) for s, kinds in self.kinds.items() for kind, names in kinds.items()}
        return table or None


class RateLimited(Retryable):
    """The door asked for a pause of `retry_after_s` seconds (None: it did not say)."""

    def __init__(self, message: str, retry_after_s: float | None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class Transport(Protocol):
    """A way to the door."""

    def network(self) -> NetworkInfo:
        """Ask which network this is. Raises Retryable."""
        ...

    def send(self, messages: Sequence[bytes]) -> list[Result]:
        """Send messages in order. Raises Retryable when nothing is known to have arrived, Rejected for the whole body."""
        ...

    def receipt(self, position: int) -> Any:
        """Ask for the receipt of a position again. Raises Retryable, UsageError when this way cannot."""
        ...

    def close(self) -> None: ...


class HttpTransport:
    """HTTP(S). One connection is kept open; a proxy from the environment is used as httpx does."""

    def __init__(self, url: str, *, timeout_s: float = 30.0, client: httpx.Client | None = None) -> None:
        """`url` is the node's address without path. Raises UsageError when it is not http(s)."""
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"{url!r} is no address of a node: write http://host:port or https://host")
        self.url = url.rstrip("/")
        self._client = client or httpx.Client(timeout=timeout_s, follow_redirects=False)

    def __enter__(self) -> HttpTransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def network(self) -> NetworkInfo:
        """Ask `GET /v1/network`. Raises Retryable when the node does not answer, CheckFailed when it answers nonsense."""
        body = self._request("GET", "/v1/network")
        try:
            return msgspec.convert(body, NetworkInfo)
        except msgspec.ValidationError as error:
            raise CheckFailed(f"{self.url}/v1/network is no description of a network: {error}") from None

    def send(self, messages: Sequence[bytes]) -> list[Result]:
        """Post one COSE message or a CBOR sequence of them; return one result each."""
        content_type = "application/cose" if len(messages) == 1 else "application/cbor-seq"
        return self._results("/v1/reports", b"".join(messages), content_type, len(messages))

    def send_entry(self, body: bytes) -> Result:
        """Post one registry entry to `POST /v1/registry`."""
        return self._results("/v1/registry", body, "application/cbor", 1)[0]

    def get(self, path: str) -> Any:
        """Read a JSON document of the node. Raises Retryable or UsageError (no such thing)."""
        return self._request("GET", path)

    def receipt(self, position: int) -> Any:
        """Ask for the receipt of a position again. Raises Retryable, UsageError (the node has none)."""
        return self._request("GET", f"/v1/receipts/{position}")

    def _results(self, path: str, body: bytes, content_type: str, count: int) -> list[Result]:
        """Post a body and return its results, one per message. What the door says about the whole body is raised."""
        where = f"{self.url}{path}"
        response = self._exchange("POST", path, body, content_type)
        answer = _decode(response)
        if isinstance(answer, dict) and "results" not in answer:
            # one result; for many messages, or when only time can help, it speaks of the whole body
            if (count > 1 or response.status_code in _LATER) and not response.is_success:
                raise _refusal(response, answer, where)
            answer = {"results": [answer]}
        if not isinstance(answer, dict):
            raise _refusal(response, answer, where)
        try:
            results = msgspec.convert(answer["results"], list[Result])
        except msgspec.ValidationError as error:
            if not response.is_success:
                raise _refusal(response, answer["results"][0], where) from None
            raise Retryable(f"{where} answered something else than results: {error}") from None
        if len(results) != count:
            raise Retryable(f"{where} answered {len(results)} results for {count} messages")
        return results

    def _request(self, method: str, path: str) -> Any:
        response = self._exchange(method, path)
        answer = _decode(response)
        if response.is_success and answer is not None:
            return answer
        raise _refusal(response, answer, f"{self.url}{path}")

    def _exchange(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> httpx.Response:
        headers = {"Accept": "application/json"}
        if content_type:
            headers["Content-Type"] = content_type
        try:
            return self._client.request(method, self.url + path, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Retryable(f"{self.url} does not answer: {type(error).__name__} {error}") from None


def _decode(response: httpx.Response) -> Any:
    if len(response.content) > _LONGEST_ANSWER:
        raise Retryable(f"{response.url} answered {len(response.content)} bytes")
    try:
        if response.headers.get("content-type", "").startswith("application/cbor"):
            return cbor2.loads(response.content, max_depth=8)
        return msgspec.json.decode(response.content)
    except (msgspec.DecodeError, cbor2.CBORDecodeError, UnicodeDecodeError, ValueError):
        return None


def _refusal(response: httpx.Response, answer: Any, where: str) -> FieldstoneError:
    """Turn an answer about the whole request into the exception that says what to do with it."""
    status = response.status_code
    body = answer if isinstance(answer, dict) else {}
    code, detail = str(body.get("code") or ""), str(body.get("detail") or "")[:200]
    if status == 429 or code == "RATE_LIMITED":
        return RateLimited(f"{where} asks for a pause {detail}".rstrip(), _seconds(response.headers.get("retry-after")))
    if status >= 500 or status == 408 or response.is_success:
        return Retryable(f"{where} answered {status} {code} {detail}".rstrip())
    if code in REASONS:
        return Rejected(reason(code), where, detail)
    if status == 413:
        return Rejected(reason("TOO_LARGE"), where, detail)
    if status == 404:
        return UsageError(f"{where}: nothing there {detail}".rstrip())
    unlisted = Reason(code or f"HTTP_{status}", status, "The door refused the request.", "Check the node's address.")
    return Rejected(unlisted, where, detail)


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, min(float(header), 3_600.0)) if header else None
    except ValueError:
        return None
