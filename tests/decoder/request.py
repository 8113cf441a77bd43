"""Requests for files that somebody shares, and what is said to them."""

import cbor
from refused import require

STAGE = "packet"
REQUEST_MAX, PATH_BYTES_MAX, DEPTH_MAX, KNOWN_MAX, LISTED_MAX, RANGES_MAX = 64 * 1024, 4096, 64, 16, 1024, 64
WHYS = ("not-found", "not-allowed", "directory", "special", "too-large", "spent", "waiting", "changing", "unreadable",
        "beyond")
U64 = 2**64 - 1


def check(condition, why):
    require(condition, STAGE, why)


def request(raw, is_component) -> dict:
    check(len(raw) <= REQUEST_MAX, "request too long")
    items = cbor.decode(raw, STAGE)
    check(type(items) is list and items, "request")
    check(cbor.is_uint(items[0], 0, 5), "unknown number")
    return (_list, _get, _no, _listing, _same, _rest)[items[0]](items, is_component)


def _list(items, is_component):
    path, glob, after = _array(items, 4)[1:]
    _path(path, 0, is_component)
    for name in (glob, after):
        check(name is None or is_component(name), "pattern or name")
    return {"said": "list", "path": path, "glob": glob, "after": after}


def _get(items, is_component):
    path, glob, wanted, known = _array(items, 5)[1:]
    _path(path, 1, is_component)
    check(glob is None or is_component(glob), "pattern")
    if wanted is not None:
        start, length = _array(wanted, 2)
        check(glob is None, "a range of many files")
        check(cbor.is_uint(start), "start")
        check(length is None or cbor.is_uint(length, 1) and start + length <= U64, "length")
    check(type(known) is list and len(known) <= KNOWN_MAX, "known")
    for size, digest in (_array(it, 2) for it in known):
        check(cbor.is_uint(size) and cbor.is_bytes(digest, 32), "a known content")
    return {"said": "get", "path": path, "glob": glob, "range": wanted, "known": known}


def _no(items, _is_component):
    of, why, most = _answer(items)
    check(cbor.is_uint(why, 0, len(WHYS) - 1), "unknown reason")
    why = WHYS[why]
    check(cbor.is_uint(most) if why == "too-large" else most is None, "most")
    return {"said": "no", "request": of, "why": why, "most": most}


def _listing(items, is_component):
    of, entries, more = _answer(items)
    check(type(entries) is list and len(entries) <= LISTED_MAX, "entries")
    listed = []
    for name, kind, size, mtime in (_array(entry, 4) for entry in entries):
        check(is_component(name) and cbor.is_uint(kind, 0, 1) and cbor.is_uint(size), "an entry")
        check(not kind or not size, "a directory with bytes")
        check(mtime is None or cbor.is_uint(mtime), "mtime")
        listed.append({"name": name, "directory": bool(kind), "bytes": size, "mtime": mtime})
    names = [entry["name"].encode() for entry in listed]
    check(all(a < b for a, b in zip(names, names[1:])), "names do not rise")
    check(cbor.is_uint(more, 0, 1) and (not more or listed), "more")
    return {"said": "listing", "request": of, "entries": listed, "more": bool(more)}


def _same(items, _is_component):
    of, size, digest = _answer(items)
    check(cbor.is_uint(size) and cbor.is_bytes(digest, 32), "what it is")
    return {"said": "same", "request": of, "bytes": size, "blake3": digest}


def _rest(items, is_component):
    path, content, ranges = _array(items, 4)[1:]
    _path(path, 1, is_component)
    size, digest = _array(content, 2)
    check(cbor.is_uint(size) and cbor.is_bytes(digest, 32), "which content")
    check(type(ranges) is list and 1 <= len(ranges) <= RANGES_MAX, "ranges")
    end = None
    for start, length in (_array(it, 2) for it in ranges):
        check(cbor.is_uint(start) and cbor.is_uint(length, 1) and start + length <= size, "a range")
        check(end is None or start > end, "ranges do not rise")
        end = start + length
    return {"said": "rest", "path": path, "bytes": size, "blake3": digest, "ranges": ranges}


def _answer(items):
    of = _array(items, 4)[1]
    check(cbor.is_bytes(of, 32), "request")
    return items[1:]


def _path(path, least, is_component):
    check(type(path) is list and least <= len(path) <= DEPTH_MAX and all(map(is_component, path)), "path")
    check(sum(len(name.encode()) + 1 for name in path) <= PATH_BYTES_MAX, "path too long")


def _array(item, size):
    check(type(item) is list and len(item) == size, f"not {size} elements")
    return item
