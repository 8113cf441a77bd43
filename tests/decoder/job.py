"""Jobs, what became of them, and words about them while they are under way."""

import re
import unicodedata

import cbor
import ed25519
from blake3 import blake3, derive_key
from refused import require

STAGE = "packet"
JOB_MAX = RESULT_MAX = 1024 * 1024
WORD_MAX = 320 * 1024
HANDLE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
ARGS_MAX, ARG_MAX, ARGS_BYTES_MAX, AFTER_MAX, FILES_MAX, FLEET_MAX = 256, 65_536, 131_072, 16, 256, 65_536
PARTS_MAX = 16_384
WHY_MAX, SHOWN_MAX, BOUNDS_MAX, BOUND_MAX = 512, 4096, 32, 64
ARGV_MAX, ARGV_BYTES_MAX = 512, 262_144
U32 = 2**32 - 1
DIRECTORY = 2
THEN = ("run", "skip", "hold")
ANSWERS = ("full", "brief")
STATES = ("exited", "signalled", "overran", "killed", "unknown", "refused", "unknown-handle", "not-begun", "expired",
          "cancelled", "superseded", "skipped", "undone")
MAY_HAVE_RUN = (*STATES[:5], "undone")
FACTS = ("held", "admitted", "started")
APPROVAL = "postrider 2026 job approval v1"


def check(condition, why):
    require(condition, STAGE, why)


def job(raw, read_manifest) -> dict:
    check(len(raw) <= JOB_MAX, "job too long")
    handle, args, turn, answer, files, stdin, fleet, rerun_of = _array(cbor.decode(raw, STAGE), 8)
    check(_is_handle(handle), "handle")
    _words(args, ARGS_MAX, ARGS_BYTES_MAX, "arguments")
    check(all(len(arg) <= ARG_MAX for arg in args), "an argument too long")
    turn = _turn(turn)
    answer = _choice(answer, ANSWERS)
    attached = None if files is None else _attachments(files, read_manifest)
    count = len(attached["files"]) if attached else 0
    check(stdin is None or cbor.is_uint(stdin) and stdin < count, "stdin is no attachment")
    check(rerun_of is None or cbor.is_bytes(rerun_of, 32), "rerun of")
    return {"handle": handle, "args": args, "turn": turn, "answer": answer, "files": attached, "stdin": stdin,
            "fleet": None if fleet is None else _fleet(fleet), "rerun_of": rerun_of}


def _turn(turn):
    queue, after, if_ok, patience, then, supersedes, age, not_before, not_after = _array(turn, 9)
    check(queue is None or _is_handle(queue), "queue")
    _ids(after, AFTER_MAX, "after")
    check(cbor.is_uint(if_ok, 0, 1) and (not if_ok or after), "if ok")
    check(cbor.is_uint(patience, 0, U32), "patience")
    then = _choice(then, THEN)
    check(supersedes is None or _is_handle(supersedes), "supersedes")
    check(cbor.is_uint(age, 1, U32), "age")
    for time in (not_before, not_after):
        check(time is None or cbor.is_uint(time), "time")
    check(None in (not_before, not_after) or not_before <= not_after, "ends before it begins")
    return {"queue": queue, "after": after, "if_ok": bool(if_ok), "patience_s": patience, "then": then,
            "supersedes": supersedes, "age_s": age, "not_before": not_before, "not_after": not_after}


def _attachments(raw, read_manifest):
    manifest = _manifest(raw, read_manifest)
    check(len(manifest["files"]) <= FILES_MAX, "number of attachments")
    for entry in manifest["files"]:
        check(len(entry["path"]) == 1 and not entry["flags"] & DIRECTORY, "an attachment is one plain file")
    return manifest


def _manifest(raw, read_manifest):
    check(cbor.is_bytes(raw), "files are not a byte string")
    manifest = read_manifest(raw)
    check(manifest["text"] is None, "files with a text")
    check(manifest["content"] == "inline" or len(manifest["content"]["hashes"]) <= PARTS_MAX, "number of parts")
    return manifest


def _fleet(fleet):
    name, place, of, canary, failures = _array(fleet, 5)
    check(_is_handle(name), "name of the fleet")
    check(cbor.is_uint(of, 1, FLEET_MAX) and cbor.is_uint(place, 0, of - 1), "place in the fleet")
    check(cbor.is_uint(canary, 0, of) and cbor.is_uint(failures, 0, U32), "canary, failures")
    return {"name": name, "place": place, "of": of, "canary": canary, "failures": failures}


def result(raw, read_manifest) -> dict:
    check(len(raw) <= RESULT_MAX, "result too long")
    (of, state, code, why, ran, waited, clock, stdout, stderr, bounds, audit,
     files) = _array(cbor.decode(raw, STAGE), 12)
    check(cbor.is_bytes(of, 32), "job")
    state = _choice(state, STATES)
    low, high = {"exited": (0, 255), "signalled": (1, 127)}.get(state, (1, 0))
    check(cbor.is_uint(code, low, high) if low <= high else code is None, "status or signal")
    check(why is None or _is_line(why, WHY_MAX), "why")
    check(cbor.is_uint(ran) and cbor.is_uint(waited), "times")
    check(clock is None or cbor.is_uint(clock), "clock")
    streams = {"stdout": _stream(stdout), "stderr": _stream(stderr)}
    silent = not ran and not any(stream["bytes"] for stream in streams.values())
    check(state in MAY_HAVE_RUN or silent, "it ran nothing, and yet it ran")
    check(type(bounds) is list and len(bounds) <= BOUNDS_MAX, "bounds")
    bounds = [_array(bound, 2) for bound in bounds]
    check(all(_is_line(text, BOUND_MAX) for bound in bounds for text in bound), "a bound")
    names = [bound[0].encode() for bound in bounds]
    check(all(a < b for a, b in zip(names, names[1:])), "bounds do not rise")
    check(audit is None or cbor.is_bytes(audit, 32), "audit head")
    manifest = None if files is None else _manifest(files, read_manifest)
    _kept(manifest["files"] if manifest else [], streams)
    return {"job": of, "state": state, "code": code, "why": why, "ran_ms": ran, "waited_ms": waited, "clock": clock,
            **streams, "enforced": dict(bounds), "audit": audit, "files": manifest}


def _stream(stream):
    size, digest, head, tail, gap = _array(stream, 5)
    check(cbor.is_uint(size) and cbor.is_bytes(head) and cbor.is_bytes(tail), "stream")
    check(digest is None or cbor.is_bytes(digest, 32), "hash of a stream")
    check(gap is None or cbor.is_uint(gap), "gap")
    shown = len(head) + len(tail)
    check(shown <= SHOWN_MAX, "too much of a stream")
    if size == len(head):
        check(digest is None and not tail and gap is None, "more than a stream that is there whole")
        digest = blake3(head)
    else:
        check(digest is not None and shown < size, "a stream in part")
    return {"bytes": size, "blake3": digest, "head": head, "tail": tail, "gap": gap}


def _kept(entries, streams):
    """The files are those of streams that are not shown whole; each once; with a gap when they are shorter."""
    paths = [entry["path"] for entry in entries]
    for name, stream in streams.items():
        mine = [entry for entry in entries if entry["path"] == [name]]
        if not mine:
            check(stream["gap"] is None, "a gap in no file")
            continue
        check(len(mine) == 1 and not mine[0]["flags"] & DIRECTORY, "a stream's file twice")
        size, gap = mine[0]["bytes"], stream["gap"]
        check(stream["bytes"] != len(stream["head"]), "a file of what is shown whole")
        if gap is None:
            check(size == stream["bytes"] and mine[0]["blake3"] == stream["blake3"], "a file of something else")
        else:
            check(gap <= size < stream["bytes"], "gap beyond the file")
    check(all(len(path) == 1 and path[0] in streams for path in paths), "a file that is no stream")


def word(raw, _read_manifest) -> dict:
    check(len(raw) <= WORD_MAX, "word too long")
    items = cbor.decode(raw, STAGE)
    check(type(items) is list and len(items) >= 3, "word")
    of, number = items[:2]
    check(cbor.is_bytes(of, 32), "job")
    check(cbor.is_uint(number, 0, 4), "unknown word")
    return {"job": of, **(_cancel, _approve, _ask, _notice, _propose)[number](of, items)}


def _cancel(_of, items):
    force = _array(items, 3)[2]
    check(cbor.is_uint(force, 0, 1), "force")
    return {"said": "cancel", "force": bool(force)}


def _approve(_of, items):
    approval = _array(items, 3)[2]
    check(cbor.is_bytes(approval, 32), "approval")
    return {"said": "approve", "approval": approval}


def _ask(_of, items):
    return {"said": "ask", "answer": _choice(_array(items, 3)[2], ANSWERS)}


def _notice(_of, items):
    fact, age, why = _array(items, 5)[2:]
    fact = _choice(fact, FACTS)
    check(cbor.is_uint(age), "age")
    check(why is None or _is_line(why, WHY_MAX), "why")
    return {"said": "notice", "fact": fact, "age_s": age, "why": why}


def _propose(of, items):
    issuer, handle, argv, given, needed = _array(items, 7)[2:]
    check(cbor.is_bytes(issuer, 32) and ed25519.is_key(issuer), "issuer")
    check(_is_handle(handle), "handle")
    _words(argv, ARGV_MAX, ARGV_BYTES_MAX, "command")
    check(argv, "command of no words")
    _ids(given, FILES_MAX, "hashes of attachments")
    check(cbor.is_uint(needed, 1, 255), "needed")
    return {"said": "propose", "issuer": issuer, "handle": handle, "argv": argv, "given": given, "needed": needed,
            "approval": derive_key(APPROVAL, of + cbor.encode(argv))}


def _array(item, size):
    check(type(item) is list and len(item) == size, f"not {size} elements")
    return item


def _choice(number, words):
    check(cbor.is_uint(number, 0, len(words) - 1), f"{number!r} is none of {', '.join(words)}")
    return words[number]


def _ids(items, most, what):
    check(type(items) is list and len(items) <= most and all(cbor.is_bytes(item, 32) for item in items), what)


def _words(items, most, most_bytes, what):
    check(type(items) is list and len(items) <= most and all(cbor.is_bytes(item) for item in items), what)
    check(sum(map(len, items)) <= most_bytes and not any(0 in item for item in items), what)


def _is_handle(text):
    return type(text) is str and HANDLE.match(text)


def _is_line(text, most):
    return (type(text) is str and 1 <= len(text.encode()) <= most
            and all(unicodedata.category(c) != "Cc" for c in text))
