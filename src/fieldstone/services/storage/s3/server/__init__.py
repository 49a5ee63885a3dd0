"""The S3 door: an ASGI app without a framework, one file per group of operations.

app         request in, answer out: authenticate, find the bucket, authorise, run, every failure as S3's XML
operations  the table operation → handler, with the permission it needs
exchange    one request on its way (`Call`) and its `Answer`
gateway     what all requests share: catalogue, pool, caches of keys and buckets
access      may they? owner, ACL, bucket policy, public access block; context: what conditions of policies may ask
reception   body → checked → pool; nothing is committed before the last promise about the bytes held
run, admin  the process: sockets, workers, health, metrics, stopping

service, buckets, settings, listings, reads, writes, copies, part_copies (copy_sources: what they copy), removals, multipart,
marks, forms: the operations
"""

from __future__ import annotations

__all__ = ["Gateway", "GatewayOptions", "S3App", "serve"]

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.services.storage.s3.server.app import S3App
    from fieldstone.services.storage.s3.server.gateway import Gateway, GatewayOptions
    from fieldstone.services.storage.s3.server.run import serve

_HOME = {"Gateway": "gateway", "GatewayOptions": "gateway", "S3App": "app", "serve": "run"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
