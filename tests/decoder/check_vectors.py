#!/usr/bin/env python3
"""Reads every vector: good ones must decode to what they say, bad ones must be refused where they say.

usage: check_vectors.py DIRECTORY

Prints one line for each and `N passed, N failed`; exits 1 if any failed or there was nothing to read.
A compressed body is left opaque, and that is said, where the zstd tool is missing.
"""

import json
import sys
from pathlib import Path

import bundle
import card
import identity
import opening
import radio
import rest
import roster
from postrider_decode import decode, plain
from refused import STAGES, Opaque, Refused


def read_bundle(vector):
    seed = vector.get("recipient_seed")
    senders = [bytes.fromhex(s) for s in vector.get("senders", [])]
    recipient = opening.Recipient.from_seed(bytes.fromhex(seed), senders) if seed else None
    return decode(bytes.fromhex(vector["hex"]), recipient)


def read_card(vector):
    raw = bytes.fromhex(vector["hex"])
    return {**card.read(raw), "text": card.text(raw)}


def read_node(vector):
    node = bytes.fromhex(vector["hex"])
    text = identity.node_text(node)
    out = {"text": text, "node": identity.read_node_text(text), "address": identity.address(node)}
    if "word_numbers" in vector.get("expect", {}):
        out["word_numbers"] = identity.word_numbers(node)
    return out


def read_seed(vector):
    seed = bytes.fromhex(vector["hex"])
    secret = identity.first_seal_secret(seed)
    public = identity.seal_public(secret)
    return {"node": identity.node_of(seed), "seal_secret": secret, "seal_public": public,
            "recipient": identity.seal_text(public)}


def read_receipt(vector):
    """What a relay does: find the bundle, recompute its lock."""
    prefix, r = identity.read_receipt(bytes.fromhex(vector["hex"]))
    held = bundle.read(bytes.fromhex(vector["bundle"]))
    header = held.header
    if held.id[:8] != prefix:
        raise Refused("receipt", "for another bundle")
    if header.lock is None or header.flags & bundle.NONCE_LOCK:
        raise Refused("receipt", "for a bundle without a lock")
    material = held.payload[:32] + r if header.seal == bundle.COMPACT else r
    if identity.derive_key(identity.LOCK_CONTEXT, material)[:len(header.lock)] != header.lock:
        raise Refused("receipt", "does not fit the lock")
    return {"prefix": prefix, "r": r}


def read_radio(vector):
    seed = vector.get("recipient_seed")
    me = opening.Recipient.from_seed(bytes.fromhex(seed)) if seed else None
    known = [[bytes.fromhex(one) for one in vector.get(which, [])] for which in ("nodes", "groups")]
    return radio.expand(bytes.fromhex(vector["hex"]), *known, me)


READERS = {
    "bundle": read_bundle,
    "card": read_card,
    "card-text": lambda v: card.read_text(bytes.fromhex(v["hex"]).decode()),
    "node-id": read_node,
    "node-id-text": lambda v: {"node": identity.read_node_text(bytes.fromhex(v["hex"]).decode())},
    "radio": read_radio,
    "radio-pieces": lambda v: radio.pieces([bytes.fromhex(one) for one in [*v["before"], v["hex"]]]),
    "radio-receipts": lambda v: radio.receipts(bytes.fromhex(v["hex"])),
    "radio-station": lambda v: radio.station(bytes.fromhex(v["hex"])),
    "receipt": read_receipt,
    "rest": lambda v: rest.read(bytes.fromhex(v["hex"])),
    "roster": lambda v: roster.read(bytes.fromhex(v["hex"])),
    "seed": read_seed,
}


def run_good(vector):
    got = plain(READERS[vector["kind"]](vector))
    wrong = [f"{k}: {got.get(k, 'missing')!r}, not {v!r}" for k, v in vector["expect"].items()
             if k not in got or got[k] != v]
    if not vector["expect"]:
        wrong.append("expects nothing")
    return "; ".join(wrong)


def run_bad(vector):
    """The named stage refuses: an earlier refusal would mean the vector has a second fault, a later one a gap."""
    wanted = vector["refused_by"]
    try:
        READERS[vector["kind"]](vector)
    except Refused as refusal:
        return "" if refusal.stage == wanted else f"refused by {refusal}, not by {wanted}"
    return f"accepted, should be refused by {wanted}"


def main() -> int:
    root = Path(sys.argv[1])
    passed = failed = opaque = 0
    for path in sorted(root.glob("good/*.json")) + sorted(root.glob("bad/*.json")):
        vector = json.loads(path.read_text())
        good = path.parent.name == "good"
        assert good or vector["kind"] != "bundle" or vector["refused_by"] in STAGES, path
        try:
            fault = run_good(vector) if good else run_bad(vector)
        except Opaque as said:
            opaque += 1
            print(f"OPAQUE {path.parent.name}/{path.stem}: {said}")
            continue
        except Refused as refusal:
            fault = f"refused by {refusal}"
        passed, failed = passed + (not fault), failed + bool(fault)
        print(f"{'FAIL' if fault else 'ok  '} {path.parent.name}/{path.stem}: {fault or vector['what']}")
    if opaque:
        print(f"{opaque} left opaque: install zstd to look inside")
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
