"""What is inside a seal: the packet, its compressed body, the files of a manifest, the padding."""

import unicodedata

import card
import cbor
import job
import request
import roster
import zstd
from blake3 import blake3
from refused import require

STAGE = "packet"
MAIL, MANIFEST, PART, CARD = range(4)
REQUEST, JOB, RESULT, INTRODUCTION, ROSTER, WORD = 5, 6, 7, 9, 10, 11
KINDS = {MAIL: "mail", MANIFEST: "manifest", PART: "part", CARD: "card", REQUEST: "request", JOB: "job", RESULT: "result",
         INTRODUCTION: "introduction", ROSTER: "roster", WORD: "word"}
TEXT_MAX, MANIFEST_MAX, INLINE_MAX = 64 * 1024, 8 * 1024 * 1024, 256 * 1024
PART_BYTES_MIN, PART_BYTES_MAX = 1024 * 1024, 63 * 1024 * 1024
NOTE_MAX = 1024
CAPS = {MAIL: TEXT_MAX, MANIFEST: MANIFEST_MAX, CARD: card.CARD_MAX,
        REQUEST: request.REQUEST_MAX, INTRODUCTION: card.CARD_MAX + NOTE_MAX + 16, ROSTER: roster.ROSTER_MAX,
        JOB: job.JOB_MAX, RESULT: job.RESULT_MAX, WORD: job.WORD_MAX}
FILES_MAX, DEPTH_MAX, COMPONENT_MAX, NAMES_MAX = 65_536, 64, 255, 524_288
DIRECTORY = 2


def check(condition, why):
    require(condition, STAGE, why)


def read(items: list, rest: bytes, parts: bool) -> dict:
    """`items` is [kind, body] or [kind, body, tail]; `rest` is what follows: a part's bytes, then zeros.

    `parts` says whether the seal is one that parts travel in.
    """
    check(len(items) in (2, 3), f"{len(items)} elements")
    kind, body = items[:2]
    check(cbor.is_uint(kind) and kind >> 1 in KINDS, "unknown kind")
    kind, compressed = kind >> 1, bool(kind & 1)
    out = {"kind": KINDS[kind], "compressed": compressed, "reply_to": None, "card": None}
    if len(items) == 3:
        _tail(items[2], out)
    if kind == PART:
        check(parts, "a part outside an age seal")
        rest = _part(body, compressed, rest, out)
    else:
        check(cbor.is_bytes(body), "body is not a byte string")
        cap = CAPS[kind]
        check(compressed or len(body) <= cap, f"body of {len(body)} bytes, {cap} allowed")
        _body(kind, zstd.packet_body(body, cap) if compressed else body, out)
    check(not any(rest), "padding is not zero")
    out["padding"] = len(rest)
    return out


def _tail(tail, out):
    check(type(tail) is list and len(tail) == 2, "tail is not [reply-to, card]")
    reply_to, carried = tail
    check(reply_to is not None or carried is not None, "tail that says nothing")
    check(reply_to is None or cbor.is_bytes(reply_to, 32), "reply-to is not an id")
    # Only carried here: a card that does not hold is ignored, the message it came with is not.
    check(carried is None or cbor.is_bytes(carried) and len(carried) <= card.CARD_MAX, "card in tail")
    out["reply_to"], out["card"] = reply_to, carried


def _body(kind, plain, out):
    if kind == MAIL:
        try:
            out["text"] = plain.decode("utf-8")
        except UnicodeDecodeError:
            check(False, "text is not UTF-8")
    elif kind == MANIFEST:
        out.update(read_manifest(plain))
    elif kind == REQUEST:
        out.update(request.request(plain, is_component))
    elif kind in (JOB, RESULT, WORD):
        reader = {JOB: job.job, RESULT: job.result, WORD: job.word}[kind]
        out.update(reader(plain, read_manifest))
    elif kind == INTRODUCTION:
        _introduction(plain, out)
    else:
        # Only carried here, as a card is: whoever uses it checks it.
        out["roster" if kind == ROSTER else "contact"] = plain


def _introduction(raw, out):
    said = cbor.decode(raw, STAGE)
    check(type(said) is list and len(said) == 2, "not [card, note]")
    contact, note = said
    check(cbor.is_bytes(contact) and 1 <= len(contact) <= card.CARD_MAX, "card in an introduction")
    check(note is None or type(note) is str and 1 <= len(note.encode()) <= NOTE_MAX, "note")
    out.update(contact=contact, note=note)


def _part(body, compressed, rest, out):
    check(type(body) is list and len(body) == 4, "part is not [set, index, stored, plain]")
    set_id, index, stored, plain = body
    check(cbor.is_bytes(set_id, 16), "set id")
    check(cbor.is_uint(index, 0, 2**32 - 1), "part index")
    check(cbor.is_uint(stored, 1) and cbor.is_uint(plain, 1, PART_BYTES_MAX), "part lengths")
    check(stored <= len(rest), f"part of {stored} bytes, {len(rest)} there")
    check(compressed or stored == plain, "stored length is not the plain length")
    raw = rest[:stored]
    data = zstd.part(raw, plain) if compressed else raw
    out.update(set=set_id, index=index, stored=stored, plain=plain, data=blake3(data))
    return rest[stored:]


def read_manifest(raw) -> dict:
    check(len(raw) <= MANIFEST_MAX, "manifest too long")
    manifest = cbor.decode(raw, STAGE)
    check(type(manifest) is list and len(manifest) == 4, "manifest has not four elements")
    set_id, text, files, content = manifest
    check(text is None or type(text) is str and len(text.encode()) <= TEXT_MAX, "manifest text")
    check(type(files) is list and 1 <= len(files) <= FILES_MAX, "files")
    entries = [_file(entry) for entry in files]
    check(sum(len(entry["path"]) for entry in entries) <= NAMES_MAX, "components of all paths")
    total = sum(entry["bytes"] for entry in entries)
    if type(content) is bytes:
        _inline(set_id, entries, total, content)
        where = "inline"
    else:
        where = _parts(set_id, total, content)
    return {"set": set_id, "text": text, "files": entries, "content": where}


def _file(entry):
    check(type(entry) is list and len(entry) == 5, "file entry has not five elements")
    path, size, digest, mtime, flags = entry
    check(type(path) is list and 1 <= len(path) <= DEPTH_MAX, "path depth")
    for name in path:
        check(is_component(name), "path component")
    check(cbor.is_uint(size) and cbor.is_bytes(digest, 32), "file size or hash")
    check(mtime is None or cbor.is_uint(mtime), "mtime")
    check(cbor.is_uint(flags, 0, 3), "unknown file flags")
    check(not flags & DIRECTORY or size == 0, "directory with bytes")
    return {"path": path, "bytes": size, "blake3": digest, "mtime": mtime, "flags": flags}


def is_component(name) -> bool:
    return (type(name) is str and 1 <= len(name.encode()) <= COMPONENT_MAX and name not in (".", "..")
            and not any(c in "/\\" for c in name) and all(unicodedata.category(c) != "Cc" for c in name))


def _inline(set_id, entries, total, content):
    check(set_id is None, "set id although nothing is in parts")
    check(len(content) <= INLINE_MAX, "inline content too long")
    check(len(content) == total, f"{len(content)} bytes for files of {total}")
    at = 0
    for entry in entries:
        check(blake3(content[at:at + entry["bytes"]]) == entry["blake3"], "file does not match its hash")
        at += entry["bytes"]


def _parts(set_id, total, content):
    check(cbor.is_bytes(set_id, 16), "parts without a set id")
    check(type(content) is list and len(content) == 3, "parts are not [part bytes, total, hashes]")
    part_bytes, stated, hashes = content
    check(cbor.is_uint(part_bytes, PART_BYTES_MIN, PART_BYTES_MAX) and cbor.is_uint(stated, 1) and cbor.is_bytes(hashes), "parts")
    check(stated == total, f"{stated} bytes in parts for files of {total}")
    check(len(hashes) == 32 * -(-total // part_bytes), "number of part hashes")
    return {"part_bytes": part_bytes, "total": stated,
            "hashes": [hashes[i:i + 32] for i in range(0, len(hashes), 32)]}
