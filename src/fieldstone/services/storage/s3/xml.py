"""XML of S3: documents in, within limits and without entities; documents out, escaped as S3 does.

Reading uses expat alone and refuses every document type declaration, so nothing can be expanded, fetched or defined.
Writing takes (name, content) pairs, where content is text, a number, a truth value or again pairs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import quote
from xml.parsers import expat

from fieldstone.services.storage.s3.errors import S3Error, text

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 16
MAX_NODES = 100_000

_STAND_IN = 0x10FF00  # in a private plane: nobody's characters
_STANDING_IN = re.compile(f"[{chr(_STAND_IN)}-{chr(_STAND_IN + 0x1F)}]")
_RAW_CONTROL = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f]")
_REFERENCE = re.compile(rb"&#(?:[xX]0*1?[0-9a-fA-F]|0*[12]?[0-9]|0*3[01]);")
_REFERENCE_TEXT = re.compile(r"&#([xX][0-9a-fA-F]{1,8}|[0-9]{1,8});", re.ASCII)

Content = str | int | bool | None | Sequence["Pair"]
Pair = tuple[str, Content]


@dataclass(slots=True)
class Node:
    """One element without its namespace. `text` is what stood directly in it."""

    name: str
    text: str = ""
    children: list[Node] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)

    def all(self, name: str) -> list[Node]:
        """Return the children of a name, in order."""
        return [child for child in self.children if child.name == name]

    def child(self, name: str) -> Node | None:
        """Return the only child of a name, None where absent. Errors: MalformedXML where there are several."""
        found = self.all(name)
        if len(found) > 1:
            raise S3Error("MalformedXML")
        return found[0] if found else None

    def value(self, name: str) -> str | None:
        """Return a child's stripped text, None where absent."""
        found = self.child(name)
        return None if found is None else found.text.strip()

    def required(self, name: str) -> str:
        """Return a child's stripped text. Errors: MalformedXML where absent."""
        found = self.value(name)
        if found is None:
            raise S3Error("MalformedXML")
        return found

    def only(self, *names: str) -> None:
        """Errors: MalformedXML for a child of any other name."""
        if any(child.name not in names for child in self.children):
            raise S3Error("MalformedXML")


class _Builder:
    def __init__(self) -> None:
        self.root: Node | None = None
        self.stand_ins: dict[int, int] = {}
        self._open: list[Node] = []
        self._text: list[list[str]] = []
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_NODES or len(self._open) >= MAX_DEPTH or len(attributes) > 16:
            raise S3Error("MalformedXML")
        node = Node(_local(name), attributes={_local(n): v for n, v in attributes.items()})
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)
        self._text.append([])

    def end(self, _name: str) -> None:
        self._open.pop().text = "".join(self._text.pop())

    def data(self, value: str) -> None:
        self._text[-1].append(value.translate(self.stand_ins) if self.stand_ins else value)

    def refuse(self, *_: object) -> NoReturn:
        raise S3Error("MalformedXML")


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def parse(document: bytes, root: str | Iterable[str], *, max_bytes: int = MAX_DOCUMENT_BYTES) -> Node:
    """Read a document whose root element has (one of) the given name(s).

    Errors: MalformedXML (not well formed, a document type, too deep or too many elements, another root, another
    encoding than UTF-8/16, ASCII or Latin-1), MissingRequestBodyError (empty), MaxMessageLengthExceeded.
    """
    if not document.strip():
        raise S3Error("MissingRequestBodyError")
    if len(document) > max_bytes:
        raise S3Error("MaxMessageLengthExceeded", detail={"MaxMessageLengthBytes": str(max_bytes)})
    builder = _Builder()
    document, builder.stand_ins = _stand_in(document)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True  # else every `&amp;` is two calls
    parser.buffer_size = 1 << 16
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.EntityDeclHandler = builder.refuse
    parser.ExternalEntityRefHandler = builder.refuse
    parser.ProcessingInstructionHandler = builder.refuse
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, ValueError, LookupError):
        raise S3Error("MalformedXML") from None
    names = (root,) if isinstance(root, str) else tuple(root)
    if builder.root is None or builder.root.name not in names:
        raise S3Error("MalformedXML")
    return builder.root


def _stand_in(document: bytes) -> tuple[bytes, dict[int, int]]:
    """Replace control characters, which keys may hold but XML 1.0 does not, by private ones for the parser's eyes.

    Clients send them raw or as references. Returns the map back; empty where nothing was replaced.
    """
    if b"\0" in document or not (_RAW_CONTROL.search(document) or _REFERENCE.search(document)):
        return document, {}
    try:
        text = document.decode()
    except UnicodeDecodeError:
        return document, {}
    if _STANDING_IN.search(text):
        return document, {}

    def refer(match: re.Match[str]) -> str:
        digits = match[1]
        code = int(digits[1:], 16) if digits[0] in "xX" else int(digits)
        return chr(_STAND_IN + code) if 0 < code < 0x20 and code not in (9, 10, 13) else match[0]

    text = _REFERENCE_TEXT.sub(refer, text)
    text = text.translate({c: _STAND_IN + c for c in range(1, 0x20) if c not in (9, 10, 13)})
    return text.encode(), {_STAND_IN + c: c for c in range(0x20)}


def boolean(value: str) -> bool:
    """Return a truth value of a document. Errors: MalformedXML."""
    lowered = value.strip().lower()
    if lowered not in ("true", "false", "1", "0"):
        raise S3Error("MalformedXML")
    return lowered in ("true", "1")


def integer(value: str, *, least: int = 0, most: int = 2**63 - 1, code: str = "MalformedXML") -> int:
    """Return a whole number of a document or query within bounds. Errors: `code`."""
    stripped = value.strip()
    if not stripped.isascii() or not stripped.isdigit() or len(stripped) > 19 or not least <= int(stripped) <= most:
        raise S3Error(code)
    return int(stripped)


def write(root: str, content: Content, *, namespace: str = NAMESPACE) -> bytes:
    """Render a document. None leaves an element out; a name may carry attributes (`Grantee xsi:type="…"`)."""
    attribute = f' xmlns="{namespace}"' if namespace else ""
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}{attribute}>'
    return (head + _inside(content) + f"</{root.split(' ', 1)[0]}>").encode("utf-8", "surrogatepass")


def _inside(content: Content) -> str:
    if content is None:
        return ""
    if isinstance(content, bool):
        return "true" if content else "false"
    if isinstance(content, str | int):
        return text(content)
    parts = []
    for name, inner in content:
        if inner is not None:
            parts.append(f"<{name}>{_inside(inner)}</{name.split(' ', 1)[0]}>")
    return "".join(parts)


def url_encoded(value: str) -> str:
    """Encode a key for `encoding-type=url`: `/` stays, a space is `%20`, which every client decodes."""
    return quote(value, safe="/*-._")
