"""The ASGI app: every request is answered, every failure with S3's error document, none with a traceback."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any

import structlog

from fieldstone.services.storage.s3 import encryption
from fieldstone.services.storage.s3.addressing import Target, target
from fieldstone.services.storage.s3.errors import S3Error, error_xml
from fieldstone.services.storage.s3.server.access import authorise, check_keys
from fieldstone.services.storage.s3.server.access_log import AccessLog
from fieldstone.services.storage.s3.server.crossorigin import cross_origin_headers
from fieldstone.services.storage.s3.server.exchange import XML_TYPE, Answer, Body, Call
from fieldstone.services.storage.s3.server.gateway import Gateway
from fieldstone.services.storage.s3.server.lane import EXTENSION
from fieldstone.services.storage.s3.server.operations import OPERATIONS, Operation
from fieldstone.services.storage.s3.server.refusals import refusal_of
from fieldstone.services.storage.s3.sigv4 import Identity
from fieldstone.services.storage.s3.wire import Request

_log = structlog.get_logger("s3")
_SERVER = (b"server", b"fieldstone")
_WITHOUT_BODY = (204, 304)
_STRIDE, _MASK = 0x9E37_79B9_7F4A_7C15, (1 << 64) - 1  # odd: 2⁶⁴ ids before one comes again, next ones look unlike
_NONE: Mapping[str, Any] = {}


class S3App:
    """The S3 door as an ASGI app. It needs a server that keeps `raw_path` and answers `Expect` at the first read."""

    def __init__(self, gateway: Gateway, access_log: AccessLog | None = None) -> None:
        self._gateway = gateway
        self._access_log = access_log
        self._requests = int.from_bytes(os.urandom(8), "big")

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        gateway = self._gateway
        metrics = gateway.metrics
        started_s = time.perf_counter()
        # different for each request of each process, and no secret: no need to ask the system for each
        self._requests += _STRIDE
        request_id = f"{self._requests & _MASK:016X}"
        body = Body(receive, gateway.options.body_timeout_s, scope.get("extensions", _NONE).get(EXTENSION))
        state: dict[str, Any] = {}
        metrics.open_requests += 1
        sent_bytes = 0
        try:
            try:
                answer = await self._answer(scope, body, request_id, state)
            except Exception as error:
                answer = self._failure(error, scope, request_id, state)
            body.leave()
            target_: Target | None = state.get("target")
            call: Call | None = state.get("call")
            preflight = target_ is not None and target_.operation == "Preflight"  # its answer has them already
            if call is not None and call.view is not None and b"origin" in call.request.headers and not preflight:
                answer.headers += cross_origin_headers(call)
            sent_bytes = await self._send(scope, send, answer, body, request_id)
        finally:
            body.leave()
            metrics.open_requests -= 1
        seconds = time.perf_counter() - started_s
        operation = target_.operation if target_ else "Unknown"
        metrics.finished(operation, answer.status, seconds)
        metrics.received_bytes += body.received_bytes
        metrics.sent_bytes += sent_bytes
        if self._access_log is not None:
            self._access_log.add(
                scope, request_id, operation, call, answer.status, body.received_bytes, sent_bytes, seconds
            )

    async def _answer(self, scope: Mapping[str, Any], body: Body, request_id: str, state: dict[str, Any]) -> Answer:
        gateway = self._gateway
        request = Request.of_scope(scope)
        state["request"] = request
        await gateway.refresh()
        try:
            where = state["target"] = target(request, gateway.options.base_domains)
        except S3Error as error:
            if error.code == "MethodNotAllowed":
                await self._verify(request)  # as S3, which says first what is wrong with who asks
            raise
        operation = OPERATIONS.get(where.operation)
        if operation is None:
            raise S3Error("NotImplemented", f"{where.operation} is not implemented.")
        identity = await self._identify(request, operation)
        remote, secure = gateway.callers.of(scope, request)
        call = Call(
            gateway,
            request,
            where,
            identity,
            gateway.account_of_key(identity.access_key),
            body,
            request_id,
            remote,
            gateway.now_ms(),
            secure,
        )
        state["call"] = call
        check_keys(call)
        if where.bucket is not None and operation.needs_bucket:
            call.view = await gateway.bucket(where.bucket)
            if not operation.public:
                await authorise(call, operation.name)
                encryption.check(operation.name, request)
        elif call.account is None and not operation.public:
            raise S3Error("AccessDenied")
        return await operation.handler(call)

    async def _identify(self, request: Request, operation: Operation) -> Identity:
        if operation.public:  # a preflight has no credentials, a form carries its own
            return Identity(None, "anonymous", "UNSIGNED-PAYLOAD")
        return await self._verify(request)

    async def _verify(self, request: Request) -> Identity:
        gateway = self._gateway
        now_s = gateway.now_ms() / 1000
        try:
            return gateway.verifier.verify(request, now_s)
        except S3Error as error:
            if error.code != "InvalidAccessKeyId":
                raise
            await gateway.refresh_for_unknown_key()
            return gateway.verifier.verify(request, now_s)

    def _failure(self, error: Exception, scope: Mapping[str, Any], request_id: str, state: dict[str, Any]) -> Answer:
        path = scope.get("raw_path", b"").decode("latin-1")
        refusal = refusal_of(error, request_id, f"{scope['method']} {path}")
        self._gateway.metrics.errors[refusal.code] += 1
        where: Target | None = state.get("target")
        headers = [(name.lower().encode(), value.encode()) for name, value in refusal.headers.items()]
        body = error_xml(refusal, resource=where.resource if where else "", request_id=request_id)
        if refusal.status != 304:
            headers.append(XML_TYPE)
        return Answer(refusal.status, headers, body)

    async def _send(self, scope: Mapping[str, Any], send: Any, answer: Answer, body: Body, request_id: str) -> int:
        headers = answer.headers
        headers.append(_SERVER)
        headers.append((b"x-amz-request-id", request_id.encode()))
        status = answer.status
        if answer.length is not None:
            headers.append((b"content-length", b"%d" % answer.length))
        elif status not in _WITHOUT_BODY and answer.stream is None:
            headers.append((b"content-length", b"%d" % len(answer.body)))
        if not body.started and _expects_continue(scope):
            # the client may send the body or the next request now; nobody can tell which
            headers.append((b"connection", b"close"))
        bodiless = scope["method"] == "HEAD" or status in _WITHOUT_BODY
        stream = None if bodiless else answer.stream
        if stream is None:
            payload = b"" if bodiless else answer.body
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": payload, "more_body": False})
            return len(payload)
        return await self._send_stream(send, status, headers, stream, request_id)

    async def _send_stream(self, send: Any, status: int, headers: Any, stream: Any, request_id: str) -> int:
        sent_bytes = 0
        await send({"type": "http.response.start", "status": status, "headers": headers})
        try:
            async for chunk in stream:
                sent_bytes += len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # The status is out: all we can do is not to end the answer, so that the client sees it is incomplete.
            _log.error("answer_cut", request_id=request_id, error=f"{type(error).__name__}: {error}")
            return sent_bytes
        finally:
            await stream.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return sent_bytes


def _expects_continue(scope: Mapping[str, Any]) -> bool:
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in scope["headers"])
