"""The HTTP doors, as plain Starlette routes.

    POST /v1/reports            application/cose: one report; application/cbor-seq: a CBOR sequence (RFC 8742) of them
    POST /v1/registry           application/cbor: one signed registry entry
    GET  /v1/receipts/{n}       the receipt of position n, made again for a device whose answer was lost

Answers are JSON, or CBOR if `Accept` names application/cbor. One report is answered by its own result with status 200
or its reason's status. A sequence is answered by `{accepted, refused, results: […]}` in the order of its messages:
status 200 when all were accepted, 207 when any was refused (look at each), and a reason's own status when the body was
refused as a whole and nothing of it was taken. Compressed bodies are not taken at all, so none can be a bomb.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import cbor2
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from fieldstone.errors import FieldstoneError, Rejected
from fieldstone.identity.entries import MAX_BODY_BYTES as MAX_REGISTRY_BYTES
from fieldstone.intake.outcome import Accepted, AcceptedRun, Outcome, Refused, outcome_json
from fieldstone.intake.pipeline import Intake
from fieldstone.reasons import Reason, reason

JSON = "application/json"
CBOR = "application/cbor"
_SINGLE, _SEQUENCE = "application/cose", "application/cbor-seq"
_RETRY_AFTER_S = {503: "2", 429: "30"}
_log = logging.getLogger(__name__)
_encode_json = msgspec.json.Encoder().encode


class SequenceAnswer(msgspec.Struct, frozen=True):
    """The answer for a sequence of messages; `results` in their order."""

    accepted: int
    refused: int
    results: list[Accepted | Refused]


class RegistryAnswer(msgspec.Struct, frozen=True):
    """The answer for an accepted registry entry: the device's name, whether its key is in force, and the receipt."""

    ok: bool
    device: str
    key: str
    nonce: int
    position: int
    receipt: Any


class Answer(NamedTuple):
    """An HTTP answer, independent of the server that writes it."""

    status: int
    media_type: str
    body: bytes
    retry_after_s: str = ""


def routes(intake: Intake, *, body_timeout_s: float = 20.0) -> list[Route]:
    """Return the routes of the doors. `body_timeout_s`: how long a body may take to arrive."""

    async def reports(request: Request) -> Response:
        headers = request.headers

        async def work(body: bytes) -> Answer:
            media_type = headers.get("content-type", "")
            return await take_reports(intake, body, media_type, headers.get("accept", ""), _address(request))

        return await _with_body(intake, request, intake.policy.intake.max_body_bytes, body_timeout_s, work)

    async def registry(request: Request) -> Response:
        async def work(body: bytes) -> Answer:
            media_type = request.headers.get("content-type", "")
            return await take_registry(intake, body, media_type, _accept(request), _address(request))

        return await _with_body(intake, request, MAX_REGISTRY_BYTES, body_timeout_s, work)

    async def receipt(request: Request) -> Response:
        text = request.path_params["position"]
        position = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
        return _response(await again(intake, position, _accept(request)))

    return [
        Route("/v1/reports", reports, methods=["POST"]),
        Route("/v1/registry", registry, methods=["POST"]),
        Route("/v1/receipts/{position}", receipt, methods=["GET"]),
    ]


async def take_reports(intake: Intake, body: bytes, media_type: str, accept: str, address: str) -> Answer:
    """Answer a `POST /v1/reports` with a complete body. Raises nothing: every failure is an answer with a reason."""
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def reply(answer: Answer) -> None:
        if not future.done():
            future.set_result(answer)

    start_reports(intake, body, media_type, accept, address, reply)
    return await future


def start_reports(
    intake: Intake, body: bytes, media_type: str, accept: str, address: str, reply: Callable[[Answer], None]
) -> None:
    """Do what `take_reports` does without a coroutine; `reply` gets the answer, perhaps before this returns."""
    if media_type in (_SINGLE, _SEQUENCE):
        sequence = media_type == _SEQUENCE
    else:
        media_type = media_type.partition(";")[0].strip().lower()
        sequence = media_type == _SEQUENCE
        if not sequence and media_type != _SINGLE:
            refused = intake.refuse_body("BAD_MEDIA_TYPE", f"content type {media_type[:80]!r}", address)
            reply(refusal(refused.reason, refused.detail, accept))
            return

    def done(result: Sequence[Outcome] | Rejected) -> None:
        try:
            if isinstance(result, Rejected):
                answer = refusal(result.reason, result.detail, accept)
            elif sequence:
                answer = _sequence_answer(result, accept)
            else:
                answer = _single_answer(result[0], accept)
        except Exception:  # a bug; what was accepted stays durable, and the sender must hear something
            _log.exception("an answer could not be written")
            answer = Answer(500, "text/plain", b"internal error; send again")
        reply(answer)

    intake.start(body, address=address, sequence=sequence, done=done)


async def take_registry(intake: Intake, body: bytes, media_type: str, accept: str, address: str) -> Answer:
    """Answer a `POST /v1/registry` with a complete body. Raises nothing."""
    media_type = media_type.partition(";")[0].strip().lower()
    try:
        if media_type != CBOR:
            raise intake.refuse_body("BAD_MEDIA_TYPE", f"content type {media_type[:80]!r}, expected {CBOR}", address)
        device, receipt = await intake.submit_registry(body, address=address)
    except Rejected as rejection:
        return refusal(rejection.reason, rejection.detail, accept)
    except FieldstoneError as error:
        return refusal(reason("UNAVAILABLE"), str(error), accept)
    answer = RegistryAnswer(True, device.device, device.public.device_id, device.nonce, receipt.position, receipt)
    return _encode(200, answer, accept)


async def again(intake: Intake, position: int, accept: str) -> Answer:
    """Answer a `GET /v1/receipts/{position}`. Raises nothing."""
    try:
        receipt = await asyncio.to_thread(intake.group.receipt_at, position)
    except FieldstoneError as error:
        return refusal(reason("UNAVAILABLE"), str(error), accept)
    if receipt is None:
        return refusal(reason("UNKNOWN_POSITION"), f"the last position is {intake.group.journal.head}", accept)
    return _encode(200, receipt, accept)


def refusal(why: Reason, detail: str, accept: str) -> Answer:
    """Return the answer for a body that was refused as a whole."""
    return _encode(why.http_status, Refused(False, why.code, why.remedy, detail), accept)


def _single_answer(outcome: Outcome, accept: str) -> Answer:
    if outcome.signed is not None and CBOR not in accept:
        return Answer(200, JSON, outcome.signed.answer_json(outcome.index))
    status = 200 if outcome.reason is None else outcome.reason.http_status
    if CBOR in accept:
        return _encode(status, outcome.answer(), accept)
    return Answer(status, JSON, outcome_json(outcome), _RETRY_AFTER_S.get(status, ""))


def _sequence_answer(outcomes: Sequence[Outcome], accept: str) -> Answer:
    if type(outcomes) is AcceptedRun and CBOR not in accept:
        results = outcomes.signed.answers_json(outcomes.first, outcomes.size)
        return Answer(200, JSON, b'{"accepted":%d,"refused":0,"results":[%b]}' % (outcomes.size, results))
    accepted = sum([outcome.reason is None for outcome in outcomes])
    refused = len(outcomes) - accepted
    status = 207 if refused else 200
    if CBOR in accept:
        return _encode(status, SequenceAnswer(accepted, refused, [one.answer() for one in outcomes]), accept)
    results = b",".join([outcome_json(outcome) for outcome in outcomes])
    body = b'{"accepted":%d,"refused":%d,"results":[%s]}' % (accepted, refused, results)
    return Answer(status, JSON, body)


def _encode(status: int, answer: msgspec.Struct, accept: str) -> Answer:
    if CBOR in accept:
        body = cbor2.dumps(msgspec.to_builtins(answer, builtin_types=(bytes,)))
        return Answer(status, CBOR, body, _RETRY_AFTER_S.get(status, ""))
    return Answer(status, JSON, _encode_json(answer), _RETRY_AFTER_S.get(status, ""))


async def _with_body(
    intake: Intake,
    request: Request,
    max_bytes: int,
    timeout_s: float,
    work: Callable[[bytes], Awaitable[Answer]],
) -> Response:
    """Read a body within its limits of size and time, then answer; a refused body is not read to its end."""
    address, accept = _address(request), _accept(request)
    try:
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise intake.refuse_body("BAD_MEDIA_TYPE", f"content encoding {encoding[:40]!r}", address)
        announced = request.headers.get("content-length", "0")
        if not announced.isdigit() or int(announced) > max_bytes:
            raise intake.refuse_body("TOO_LARGE", f"{announced[:20]} bytes announced, allowed are {max_bytes}", address)
        chunks, size = [], 0
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    raise intake.refuse_body("TOO_LARGE", f"more than {max_bytes} bytes", address)
                chunks.append(chunk)
    except Rejected as rejection:
        response = _response(refusal(rejection.reason, rejection.detail, accept))
        response.headers["connection"] = "close"
        return response
    except TimeoutError:
        slow = intake.refuse_body("TOO_SLOW", f"not complete after {timeout_s:g} s", address)
        response = _response(refusal(slow.reason, slow.detail, accept))
        response.headers["connection"] = "close"
        return response
    except ClientDisconnect:
        return Response(status_code=400)  # nobody is there to read it, and nothing was taken
    return _response(await work(b"".join(chunks)))


def _response(answer: Answer) -> Response:
    headers = {"retry-after": answer.retry_after_s} if answer.retry_after_s else None
    return Response(answer.body, answer.status, headers=headers, media_type=answer.media_type)


def _address(request: Request) -> str:
    return request.client.host if request.client else "local"


def _accept(request: Request) -> str:
    return request.headers.get("accept", "")
