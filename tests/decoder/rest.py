"""The rest of a bundle on a medium: docs/parcel.md, section 4."""

import bundle
import cbor
import ed25519
from blake3 import derive_key, keyed
from identity import domain
from refused import require
from xxh3 import xxh3

STAGE = "rest"
FIXED, CHECKED, CHECK, HEAD_MAX = 44, 36, 8, 512


def check(condition, why):
    require(condition, STAGE, why)


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def read(data: bytes) -> dict:
    check(len(data) >= FIXED and data[:4] == b"PRT1", "not a rest")
    salt, head_len = data[4:12], number(data[18:20])
    length, offset = number(data[20:28]), number(data[28:36])
    check(1 <= head_len <= HEAD_MAX and length <= bundle.PAYLOAD_MAX, "lengths")
    check(1 <= offset < length, "offset")
    check(len(data) == FIXED + head_len + length - offset + CHECK, "longer or shorter than it says")
    head = data[FIXED:FIXED + head_len]
    key = derive_key("postrider 2026 rest check v1", salt)
    check(keyed(key, data[:CHECKED] + head)[:8] == data[CHECKED:FIXED], "head check")
    bundle_id = read_head(head, length)
    check(xxh3(data[:-CHECK], number(salt)) == number(data[-CHECK:]), "check")
    return {"id": bundle_id, "tokens": data[12], "hops": data[13], "age": number(data[14:18]),
            "length": length, "offset": offset, "bytes": data[FIXED + head_len:-CHECK]}


def read_head(head: bytes, length: int) -> bytes:
    array = cbor.decode(head, STAGE)
    check(type(array) is list and array and all(cbor.is_bytes(x) for x in array), "no head")
    header = bundle.read_header(array[0])
    check(len(array) == (1 if header.hidden else 2), "no head of a large bundle")
    check(header.length == length > bundle.WHOLE_MAX, "not the length that the header says")
    bundle_id = derive_key("postrider 2026 bundle id v1", header.raw)
    if not header.hidden:
        message = domain("postrider bundle open v1") + bundle_id
        require(len(array[1]) == 64 and ed25519.verify(header.source, array[1], message), "signature",
                "not signed by the source")
    return bundle_id
