"""Answers that take long: white space keeps the connection alive, as S3 does for copies and completions.

A client gives up on a silent connection after a minute and asks again, so what takes longer would never be done. After
`PATIENCE_S` the status 200 and the beginning of the document go out, then a blank every few seconds. What goes wrong
later is an error document under that status: S3's clients look for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from fieldstone.services.storage.s3.errors import error_xml
from fieldstone.services.storage.s3.server.exchange import XML_TYPE, Answer, Call
from fieldstone.services.storage.s3.server.refusals import refusal_of

PATIENCE_S = 10.0
_PROLOG = b'<?xml version="1.0" encoding="UTF-8"?>\n'


async def patiently(call: Call, work: Coroutine[Any, Any, Answer], *, patience_s: float = PATIENCE_S) -> Answer:
    """Return what `work` answers with a document, or after a while an answer that waits for it.

    The latter lacks the headers of the former. Errors: those of `work`, where it fails early.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=patience_s)
    except BaseException:
        task.cancel()
        raise
    if done:
        return task.result()
    return Answer(200, [XML_TYPE], stream=_kept_alive(call, task, patience_s))


async def _kept_alive(call: Call, task: asyncio.Task[Answer], patience_s: float) -> AsyncIterator[bytes]:
    try:
        yield _PROLOG
        while not (await asyncio.wait({task}, timeout=patience_s))[0]:
            yield b" "
        try:
            document = task.result().body
        except Exception as error:
            refusal = refusal_of(error, call.request_id, call.target.operation)
            call.gateway.metrics.errors[refusal.code] += 1
            document = error_xml(refusal, resource=call.target.resource, request_id=call.request_id)
        yield document.removeprefix(_PROLOG)
    finally:
        task.cancel()
