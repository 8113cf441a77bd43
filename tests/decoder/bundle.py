"""A bundle as a relay sees it: envelope, header, id, signature, payload."""

from dataclasses import dataclass

import cbor
import ed25519
from blake3 import blake3, derive_key
from identity import domain
from refused import require

WHOLE_MAX = 4096  # up to here a bundle is taken whole, its payload inside the array and inside the id
HEADER_MAX = 256
HIDDEN, NONCE_LOCK = 1, 2
NONE, COMPACT, AGE = 0, 1, 2
LOCK_BYTES = {COMPACT: 8, AGE: 16}
NONCE_BYTES = 8
COMPACT_OVERHEAD = 48
# One byte inside each seal at least; the shortest age file has a header of 168 bytes, nonce and tag.
LEAST = {NONE: 1, COMPACT: COMPACT_OVERHEAD + 1, AGE: 200}
PAYLOAD_MAX = 64 * 1024 * 1024
MOST = {NONE: PAYLOAD_MAX, COMPACT: WHOLE_MAX, AGE: PAYLOAD_MAX}


@dataclass
class Header:
    raw: bytes
    core: bytes
    flags: int
    destination: bytes
    lifetime: int
    niceness: int
    seal: int
    lock: bytes | None
    length: int
    hash: bytes | None
    source: bytes | None = None
    epoch: int | None = None
    counter: int | None = None
    created: int | None = None

    @property
    def hidden(self) -> bool:
        return bool(self.flags & HIDDEN)


@dataclass
class Bundle:
    header: Header
    payload: bytes
    id: bytes


def read(data: bytes) -> Bundle:
    """Everything a relay checks. A payload above 4096 bytes follows the array."""
    array, end = cbor.decode_first(data, "envelope")
    require(type(array) is list and array and all(cbor.is_bytes(x) for x in array), "envelope",
            "not an array of byte strings")
    require(len(array[0]) <= HEADER_MAX, "envelope", "header too long")
    header = read_header(array[0])
    small = header.length <= WHOLE_MAX
    head = 1 if header.hidden else 2
    require(len(array) == head + small, "envelope", f"{len(array)} elements")
    if not header.hidden:
        require(len(array[1]) == 64, "envelope", "signature is not 64 bytes")
    payload = array[-1] if small else data[end:]
    require(not small or end == len(data), "envelope", "bytes after the bundle")

    bundle_id = derive_key("postrider 2026 bundle id v1", header.raw + (payload if small else b""))
    if not header.hidden:
        message = domain("postrider bundle open v1") + bundle_id
        require(ed25519.verify(header.source, array[1], message), "signature", "not signed by the source")
    require(len(payload) == header.length, "payload", f"{len(payload)} bytes, header says {header.length}")
    if not small:
        require(blake3(payload) == header.hash, "payload", "payload does not match its hash")
    return Bundle(header, payload, bundle_id)


def read_header(raw: bytes) -> Header:
    array = cbor.decode(raw, "header")
    check = lambda condition, why: require(condition, "header", why)
    check(type(array) is list and len(array) in (9, 13), "not an array of 9 or 13 elements")
    version, flags, destination, lifetime, niceness, seal, lock = array[:7]
    length, digest = array[-2:]
    check(version == 1 and type(version) is int, "unknown version")
    check(cbor.is_uint(flags, 0, 3), "unknown flags")
    hidden = bool(flags & HIDDEN)
    check(len(array) == (9 if hidden else 13), "number of elements does not fit the flags")
    check(hidden or not flags & NONCE_LOCK, "nonce in place of a lock in an open header")
    check(cbor.is_bytes(destination, 8, 16, 32), "destination")
    check(len(destination) != 32 or ed25519.is_key(destination), "destination is not a usable key")
    check(cbor.is_uint(lifetime, 1, 2**32 - 1), "lifetime")
    check(cbor.is_uint(niceness, 1, 255), "niceness")
    check(type(seal) is int and seal in (NONE, COMPACT, AGE), "unknown seal")
    check(cbor.is_uint(length, LEAST[seal], MOST[seal]), "length")
    check(len(destination) != 8 or hidden, "tag in an open header")
    _check_lock(check, flags, destination, seal, lock)
    if length > WHOLE_MAX:
        check(cbor.is_bytes(digest, 32), "no hash although the payload is large")
    else:
        check(digest is None, "hash although the payload is small")
    header = Header(raw, cbor.encode(array[:-2] + [None, None]), flags, destination, lifetime, niceness,
                    seal, lock, length, digest)
    if not hidden:
        header.source, header.epoch, header.counter, header.created = array[7:11]
        check(cbor.is_bytes(header.source, 32) and ed25519.is_key(header.source), "source is not a usable key")
        check_sequence(header.epoch, header.counter, header.created, "header")
    return header


def _check_lock(check, flags, destination, seal, lock):
    if flags & NONCE_LOCK:
        check(cbor.is_bytes(lock, NONCE_BYTES), "nonce is not 8 bytes")
    elif lock is not None:
        check(seal != NONE, "lock on an unsealed payload")
        check(cbor.is_bytes(lock, LOCK_BYTES[seal]), "lock length does not fit the seal")
        check(len(destination) != 16, "lock on a bundle for a group")
    else:
        check(len(destination) != 8, "tag without a lock")
    check(seal != NONE or not flags & HIDDEN, "hidden without a seal")


def check_sequence(epoch, counter, created, stage):
    require(cbor.is_uint(epoch, 0, 2**32 - 1), stage, "epoch")
    require(cbor.is_uint(counter, 1), stage, "counter")
    require(cbor.is_uint(created), stage, "created")
