"""Strict canonical CBOR: unsigned integers, byte strings, texts, arrays and null (RFC 8949, 4.2.1).

Everything else is refused: negative integers, maps, tags, floats, booleans, indefinite lengths, heads
longer than needed, texts that are not UTF-8, arrays nested deeper than 8.
"""

from refused import Refused

DEPTH_MAX = 8
ARGUMENT_BYTES = {24: 1, 25: 2, 26: 4, 27: 8}


def decode(data: bytes, stage: str):
    """The one item that `data` is."""
    item, end = decode_first(data, stage)
    if end != len(data):
        raise Refused(stage, f"{len(data) - end} bytes after the item")
    return item


def decode_first(data: bytes, stage: str):
    """The first item of `data` and where it ends."""
    return _item(data, 0, 0, stage)


def _item(data, at, depth, stage):
    major, info = _byte(data, at, stage) >> 5, data[at] & 31
    if (major, info) == (7, 22):
        return None, at + 1
    if major not in (0, 2, 3, 4):
        raise Refused(stage, f"item of major type {major}, additional information {info}")
    value, at = _argument(data, at + 1, info, stage)
    if major == 0:
        return value, at
    if major == 4:
        if depth == DEPTH_MAX:
            raise Refused(stage, f"nested deeper than {DEPTH_MAX}")
        # No list of the announced size is made: every element has to be there first.
        items = []
        for _ in range(value):
            item, at = _item(data, at, depth + 1, stage)
            items.append(item)
        return items, at
    if value > len(data) - at:
        raise Refused(stage, f"string of {value} bytes, {len(data) - at} left")
    raw = bytes(data[at:at + value])
    if major == 2:
        return raw, at + value
    try:
        return raw.decode("utf-8"), at + value
    except UnicodeDecodeError:
        raise Refused(stage, "text is not UTF-8") from None


def _argument(data, at, info, stage):
    if info < 24:
        return info, at
    size = ARGUMENT_BYTES.get(info)
    if size is None:
        raise Refused(stage, "indefinite or reserved length")
    if size > len(data) - at:
        raise Refused(stage, "cut in the middle of a head")
    value = int.from_bytes(data[at:at + size], "big")
    if value < (24 if size == 1 else 1 << 4 * size):
        raise Refused(stage, f"{value} written in {size} bytes")
    return value, at + size


def _byte(data, at, stage):
    if at >= len(data):
        raise Refused(stage, "cut before an item")
    return data[at]


def encode(item) -> bytes:
    """The only encoding of `item`."""
    if item is None:
        return b"\xf6"
    if isinstance(item, int):
        return _head(0, item)
    if isinstance(item, bytes):
        return _head(2, len(item)) + item
    if isinstance(item, str):
        raw = item.encode()
        return _head(3, len(raw)) + raw
    return _head(4, len(item)) + b"".join(map(encode, item))


def _head(major, value):
    if value < 24:
        return bytes([major << 5 | value])
    for info, size in ARGUMENT_BYTES.items():
        if value < 1 << 8 * size:
            return bytes([major << 5 | info]) + value.to_bytes(size, "big")
    raise ValueError("larger than 64 bits")


def is_uint(item, low=0, high=2**64 - 1) -> bool:
    return type(item) is int and low <= item <= high


def is_bytes(item, *sizes) -> bool:
    return type(item) is bytes and (not sizes or len(item) in sizes)
