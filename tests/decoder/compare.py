#!/usr/bin/env python3
"""Judges what the Rust side has judged: the same bytes must be accepted or refused by both, with the same content.

usage: compare.py DIRECTORY        (written by src/base/tests/vectors/differential.rs, which says how)

Which of two faults is found first may differ between decoders that stream and those that do not; that is
counted, not complained about. Exits 1 on any other difference.
"""

import collections
import json
import sys
from pathlib import Path

from check_vectors import READERS
from postrider_decode import plain
from refused import Opaque, Refused


def judge(vector):
    """(what was decoded or None, the stage that refused or None)"""
    try:
        return plain(READERS[vector["kind"]](vector)), None
    except Refused as refusal:
        return None, refusal.stage


def differences(vector):
    said, stage = judge(vector)
    other = vector["judged"]
    if said is None and "accepted" in other:
        return f"refused by {stage}, accepted by the other"
    if said is not None and "refused_by" in other:
        return f"accepted, refused by {other['refused_by']} on the other side"
    if said is None:
        return ""
    wrong = [f"{k}: {said.get(k)!r}, the other says {v!r}" for k, v in other["accepted"].items()
             if said.get(k) != v and k != "words"]
    return "; ".join(wrong)


def main() -> int:
    count = collections.Counter()
    for path in sorted(Path(sys.argv[1]).glob("*.json")):
        vector = json.loads(path.read_text())
        try:
            fault = differences(vector)
        except Opaque:
            count["opaque"] += 1
            continue
        count["different" if fault else "accepted" if "accepted" in vector["judged"] else "refused"] += 1
        if fault:
            print(f"DIFF {path.name}: {fault}")
    print(", ".join(f"{n} {what}" for what, n in sorted(count.items())))
    return 0 if count and not count["different"] else 1


if __name__ == "__main__":
    sys.exit(main())
