#!/usr/bin/env python3
"""Decodes one bundle and prints what is in it, as JSON. An independent reading of docs/format.md.

usage: postrider_decode.py FILE [--seed HEX] [--sender HEX ...]

FILE holds the raw bytes of one bundle. Without --seed (the recipient's node seed) only what a relay sees is
printed, or an unsealed packet. --sender names node keys whose hints the recipient would resolve.
"""

import argparse
import json
import sys
from pathlib import Path

import bundle
import opening
from refused import Opaque, Refused

SEALS = {bundle.NONE: "none", bundle.COMPACT: "compact", bundle.AGE: "age"}


def decode(data: bytes, recipient=None) -> dict:
    """Relay's view, and the recipient's on top where it can be had. Raises Refused."""
    read = bundle.read(data)
    header = read.header
    out = {"envelope": "hidden" if header.hidden else "open", "id": read.id, "flags": header.flags,
           "destination": header.destination, "lifetime": header.lifetime, "niceness": header.niceness,
           "seal": SEALS[header.seal], "lock": header.lock, "length": header.length, "hash": header.hash}
    if not header.hidden:
        out.update(source=header.source, epoch=header.epoch, counter=header.counter, created=header.created)
    if recipient is not None or header.seal == bundle.NONE:
        out.update(opening.open_bundle(read, recipient))
    return out


def plain(value):
    """Byte strings as hex, all the way down."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=bytes.fromhex)
    parser.add_argument("--sender", type=bytes.fromhex, action="append", default=[])
    args = parser.parse_args()
    recipient = opening.Recipient.from_seed(args.seed, args.sender) if args.seed else None
    try:
        print(json.dumps(plain(decode(args.file.read_bytes(), recipient)), indent=2, ensure_ascii=False))
    except (Refused, Opaque) as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
