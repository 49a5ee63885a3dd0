"""Find where a CBOR item ends without building it (RFC 8949 appendix C), for bytes that nobody has vouched for.

Used off the hot path: to say *what* is wrong with a refused message and to find the next one in a sequence.
It recurses never, allocates almost nothing and is linear, so nesting or huge announced lengths cost the sender only.
"""

from __future__ import annotations

MAX_DEPTH = 16
MAX_ITEMS = 4_096


class NotWellFormed(Exception):
    """The bytes are not well-formed CBOR; the text says where."""


def item_end(
    data: bytes,
    offset: int = 0,
    max_depth: int = MAX_DEPTH,
    max_items: int = MAX_ITEMS,
    allow_tags: bool = True,
) -> int:
    """Return the offset just behind the item that starts at `offset`. Raises NotWellFormed.

    Items of indefinite length are counted as not well-formed, and so are more than `max_items` inside one: the
    network accepts neither, and a body of megabytes must not cost seconds to refuse.
    """
    size = len(data)
    pending = [1]  # items still to come at each open level
    steps = 0
    while pending:
        if pending[-1] == 0:
            pending.pop()
            continue
        pending[-1] -= 1
        steps += 1
        if steps > max_items:
            raise NotWellFormed(f"an item holds more than {max_items} others")
        if offset >= size:
            raise NotWellFormed(f"the bytes end at {size} in the middle of an item")
        head = data[offset]
        major, info = head >> 5, head & 31
        offset += 1
        if info < 24:
            argument = info
        elif info < 28:
            width = 1 << (info - 24)
            if offset + width > size:
                raise NotWellFormed(f"the bytes end at {size} in the middle of an item")
            argument = int.from_bytes(data[offset : offset + width], "big")
            offset += width
        elif info == 31:
            raise NotWellFormed(f"an item of indefinite length at {offset - 1}")
        else:
            raise NotWellFormed(f"reserved byte {head:02x} at {offset - 1}")
        if major in (2, 3):
            if argument > size - offset:
                raise NotWellFormed(f"a string at {offset} announces {argument} bytes, {size - offset} remain")
            offset += argument
        elif major in (4, 5, 6):
            if major == 6 and not allow_tags:
                raise NotWellFormed(f"a tag at {offset - 1}, where none is used")
            items = 1 if major == 6 else argument * (major - 3)
            if items > size - offset:
                raise NotWellFormed(f"a container at {offset} announces {items} items, {size - offset} bytes remain")
            if len(pending) > max_depth:
                raise NotWellFormed(f"items nest deeper than {max_depth}")
            pending.append(items)
        elif major == 7 and info == 24 and argument < 32:
            raise NotWellFormed(f"a simple value in the wrong form at {offset - 2}")
    return offset
