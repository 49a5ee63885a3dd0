"""The one exception of the catalogue: a request that cannot be granted, under the name S3 gives to that."""

from __future__ import annotations

from fieldstone.errors import FieldstoneError


class CatalogFault(FieldstoneError):
    """`code` is S3's error code (`NoSuchKey`, `PreconditionFailed`, …); `detail` says what failed on which subject.

    `fields` are extra elements of the error document or response headers, by name.
    """

    def __init__(self, code: str, detail: str = "", **fields: str) -> None:
        self.code = code
        self.detail = detail
        self.fields = fields
        super().__init__(f"{code}: {detail}" if detail else code)


class Replaced(CatalogFault):
    """The row that a request had looked up is gone: overwritten or deleted. Looking again tells which."""
