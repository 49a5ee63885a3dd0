"""Serve the embedded chain as an Ethereum JSON-RPC endpoint: an ASGI application for uvicorn, wallets and `web3`.

It holds no keys and can neither mine nor change time: transactions arrive signed. Gas costs nothing on the embedded
chain, so whoever reaches the port can use its processor; keep it on the loopback address or behind a proxy with limits.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fieldstone.chain.embedded import EmbeddedChain
from fieldstone.chain.jsonrpc_methods import InvalidParams, Methods, TooMany
from fieldstone.chain.port import Reverted
from fieldstone.errors import FieldstoneError

MAX_BODY_BYTES = 1_048_576
MAX_BATCH = 100

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
SERVER_ERROR, LIMIT_EXCEEDED, REVERTED = -32000, -32005, 3

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class JsonRpcApp:
    """ASGI application: POST one request or a batch to any path."""

    def __init__(self, chain: EmbeddedChain) -> None:
        self._methods = Methods(chain)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            if scope["method"] != "POST":
                await _respond(send, 405, b"", allow=b"POST")
                return
            body = await _read(receive)
            if body is None:
                await _respond(send, 413, _encode(_error(None, INVALID_REQUEST, f"body above {MAX_BODY_BYTES} bytes")))
                return
            answer = await asyncio.to_thread(self.answer, body)
            await _respond(send, 200, answer)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})

    def answer(self, body: bytes) -> bytes:
        """Answer the bytes of one request or batch; empty for a batch of notifications only."""
        try:
            request = json.loads(body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return _encode(_error(None, PARSE_ERROR, "the body is not JSON"))
        if not isinstance(request, list):
            single = self._one(request)
            return b"" if single is None else _encode(single)
        if not 1 <= len(request) <= MAX_BATCH:
            return _encode(_error(None, INVALID_REQUEST, f"a batch holds 1 to {MAX_BATCH} requests"))
        answers = [answer for answer in map(self._one, request) if answer is not None]
        return _encode(answers) if answers else b""

    def _one(self, request: Any) -> dict[str, Any] | None:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _error(None, INVALID_REQUEST, "a request is an object with jsonrpc, id, method, params")
        request_id = request.get("id")
        if not isinstance(request_id, str | int | float | None):
            return _error(None, INVALID_REQUEST, "the id is a number or a text")
        answer = self._call(request_id, request["method"], request.get("params", []))
        return answer if "id" in request else None

    def _call(self, request_id: Any, name: str, params: Any) -> dict[str, Any]:
        method = self._methods.table.get(name)
        if method is None:
            return _error(request_id, METHOD_NOT_FOUND, f"the method {name[:80]} does not exist or is not available")
        if not isinstance(params, list):
            return _error(request_id, INVALID_PARAMS, "params are a list")
        try:
            return {"jsonrpc": "2.0", "id": request_id, "result": method(params)}
        except InvalidParams as error:
            return _error(request_id, INVALID_PARAMS, str(error))
        except TooMany as error:
            return _error(request_id, LIMIT_EXCEEDED, str(error))
        except Reverted as error:
            message = f"execution reverted: {error.reason}" if error.reason else "execution reverted"
            return _error(request_id, REVERTED, message, "0x" + error.data.hex())
        except FieldstoneError as error:
            return _error(request_id, SERVER_ERROR, str(error))
        except Exception:  # a bug of ours: the stranger gets a code, the log gets the trace
            _log.exception("JSON-RPC method %s failed", name)
            return _error(request_id, INTERNAL, "internal error")


def _error(request_id: Any, code: int, message: str, data: str | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": request_id, "error": error}


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _encode(answer: Any) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()


async def _read(receive: Receive) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def _respond(send: Send, status: int, body: bytes, allow: bytes | None = None) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if allow is not None:
        headers.append((b"allow", allow))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
