"""Frames of links with small frames: the short form of a bundle, pieces of one, receipts, call signs."""

import re

import bundle
import cbor
import opening
from blake3 import blake3
from bundle import AGE, COMPACT, HIDDEN, NONCE_LOCK, NONE
from refused import Refused, require

STAGE = "radio"
FORM_MAX = 4270
TRIES_MAX = 16
IN_FULL = 0xFF
TOKENS = (0, 1, 2, 3, 4, 6, 8, 16)
MINUTE, HOUR, DAY = 60, 3600, 86_400
LIFETIMES = (10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY,
             *(n * DAY for n in (2, 3, 4, 5, 7, 10, 14, 21, 30, 45, 60, 90, 180, 365, 730, 3650)))
NICENESSES = (32, 96, 160, 224, 31, 95, 159, 223)
LOCK, NONCE, NOTHING = "lock", "nonce", None
HIDDEN_SEALS = ((COMPACT, LOCK), (COMPACT, NONCE), (COMPACT, NOTHING), (AGE, LOCK), (AGE, NONCE), (AGE, NOTHING))
OPEN_SEALS = ((NONE, NOTHING), (COMPACT, LOCK), (COMPACT, NOTHING), (AGE, LOCK), (AGE, NOTHING))
RECEIPTS, PIECE, STATION = 1, 2, 3
RECEIPTS_MAX, RECEIPT_BYTES = 42, 24
CALL_SIGN = re.compile(r"(?=[A-Z0-9]*[A-Z])(?=[A-Z0-9]*[0-9])([A-Z0-9]{1,6})(?:-([1-9]|1[0-5]))?")


def check(condition, why):
    require(condition, STAGE, why)


class Rest:
    """What is not read yet."""

    def __init__(self, data: bytes):
        self.data = data

    def take(self, count: int) -> bytes:
        check(count <= len(self.data), "cut before its payload")
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")


def expand(form: bytes, nodes=(), groups=(), me=None) -> dict:
    """The bundle that a form stands for. `me` is the recipient (opening.Recipient) where one reads."""
    check(len(form) <= FORM_MAX, f"{len(form)} bytes")
    rest = Rest(form)
    kind, hop, age, klass = rest.take(4)
    check(kind & 0xC0, "not the form of a bundle")
    hidden = kind < 0x80
    d, s = divmod(kind & 31, 6 if hidden else 5)
    check(d <= (3 if hidden else 4), "unknown number")
    seal, lock_kind = (HIDDEN_SEALS if hidden else OPEN_SEALS)[s]
    left_out = d == (3 if hidden else 4)
    check(not (hidden and left_out) or s in (0, 1), "left out where nothing could decide")
    level = rest.number(1) if kind & 0x20 else 0
    check(level or not kind & 0x20, "a level of 0")
    if klass == IN_FULL:
        lifetime, niceness = rest.number(4), rest.number(1)
        check(lifetime and niceness, "a lifetime or a niceness of 0")
    else:
        check(klass >> 3 < len(LIFETIMES), "unknown lifetime")
        lifetime, niceness = LIFETIMES[klass >> 3], NICENESSES[klass & 7]

    candidates = nodes if me is None else [*nodes, me.node]
    sources = [None] if hidden else _keys(rest, 32, bool(kind & 0x40), candidates)
    if hidden:
        destinations = [None] if left_out else [rest.take((8, 32, 16)[d])]
    elif left_out:
        destinations = [me.node] if me is not None else []
    else:
        size = 32 if d < 2 else 16
        destinations = _keys(rest, size, d % 2 == 1, candidates if size == 32 else groups)

    computed = left_out and (seal, lock_kind) == (COMPACT, LOCK)
    lock = None
    if lock_kind is not NOTHING and not computed:
        lock = rest.take(16 if (seal, lock_kind) == (AGE, LOCK) else 8)
    fields, signature = [], b""
    if not hidden:
        wide = klass == IN_FULL
        fields = [rest.number(4), rest.number(8 if wide else 3), rest.number(8 if wide else 4)]
        signature = rest.take(64)
    payload = rest.data
    if computed or (hidden and left_out):
        check(me is not None, "only its recipient can compute what is left out")
    if computed:
        lock = opening.lock_of(payload, me)
        check(lock is not None, "no seal to compute a lock of")
    flags = (HIDDEN if hidden else 0) | (NONCE_LOCK if lock_kind == NONCE else 0)
    if hidden and left_out:
        destinations = [opening.tag_of(me.public, lock)]

    def made(source, destination):
        middle = [] if hidden else [source, *fields]
        header = [1, flags, destination, lifetime, niceness, seal, lock, *middle, len(payload), None]
        head = [cbor.encode(header)] if hidden else [cbor.encode(header), signature]
        return cbor.encode([*head, payload])

    guesses = [made(s, t) for s in sources for t in destinations][:TRIES_MAX]
    guessed = left_out or (not hidden and (bool(kind & 0x40) or d in (1, 3)))
    raw, read = _decide(guesses, guessed)
    if hidden and left_out:
        try:
            opening.open_compact(read, me)
        except Refused as refusal:
            raise Refused(STAGE, f"does not open as what it would be: {refusal}") from None
    # Rounded up, as the text says; never more than it was.
    age_s = -(-age * lifetime // 256)
    return {"bundle": raw, "id": read.id, "tokens": TOKENS[hop >> 5], "hops": hop & 31, "age": age_s, "level": level}


def _keys(rest, size, hinted, known):
    """The keys that may be meant: the one that stands there, or those that a hint fits."""
    if not hinted:
        return [rest.take(size)]
    hint = rest.take(4)
    return [key for key in known if key[-4:] == hint]


def _decide(guesses, guessed):
    """The bundle that a relay would take. Several guesses differ in what the signature covers."""
    for raw in guesses:
        try:
            return raw, bundle.read(raw)
        except Refused as refusal:
            if refusal.stage != "signature" or not guessed:
                raise
    raise Refused(STAGE, "takes keys that are not known")


def pieces(frames) -> dict:
    """The form that the last of these frames completes."""
    sets, whole = {}, None
    for frame in frames:
        whole = None
        if not _is_piece(frame):
            continue
        key, number, last, content = frame[1:5], frame[5], frame[6], frame[7:]
        there = sets.setdefault(key, {})
        others = {n: c for n, (c, _) in there.items() if n != number}
        if any(said != last for _, said in there.values()) or not _fit({**others, number: content}, last):
            there.clear()
        there[number] = (content, last)
        if len(there) == last + 1:
            form = b"".join(there[n][0] for n in range(last + 1))
            del sets[key]
            whole = form if blake3(form)[:4] == key and len(form) <= FORM_MAX else None
    check(whole is not None, "not whole, or damaged")
    return {"form": whole}


def _is_piece(frame) -> bool:
    return (len(frame) > 7 and frame[0] == PIECE and 1 <= frame[6] and frame[5] <= frame[6]
            and frame[6] * (len(frame) - 7) < FORM_MAX)


def _fit(contents, last) -> bool:
    before = {len(c) for n, c in contents.items() if n != last}
    return len(before) <= 1 and (last not in contents or not before or len(contents[last]) <= min(before))


def receipts(frame: bytes) -> dict:
    check(frame[:1] == bytes([RECEIPTS]), "not receipts")
    count, over = divmod(len(frame) - 1, RECEIPT_BYTES)
    check(not over and 1 <= count <= RECEIPTS_MAX, f"{len(frame)} bytes")
    each = [frame[1 + RECEIPT_BYTES * n:][:RECEIPT_BYTES] for n in range(count)]
    return {"receipts": [[one[:8], one[8:]] for one in each]}


def station(frame: bytes) -> dict:
    check(frame[:1] == bytes([STATION]) and frame[1:].isascii(), "no call sign")
    call = frame[1:].decode("ascii")
    said = CALL_SIGN.fullmatch(call)
    check(said, "not a call sign")
    # AX.25: characters one bit to the left, padded with blanks; the number between reserved bits.
    shifted = bytes(ord(c) << 1 for c in said[1].ljust(6))
    return {"call": call, "ax25": shifted + bytes([0x60 | int(said[2] or 0) << 1])}
