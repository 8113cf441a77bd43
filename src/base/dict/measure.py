#!/usr/bin/env python3
"""Measures what a dictionary gains on lines it was not trained on, with the zstd command line tool.

The tool writes a frame magic and a dictionary id; our frames carry none of them
(docs/format.md, "Compression"), so the fixed part of the frame header is counted as ours: the descriptor and
one byte of content size (three bytes above 255).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
LEVEL = "-" + (sys.argv[2] if len(sys.argv) > 2 else "19")
OURS = 2  # frame header without magic and dictionary id, for texts up to 255 bytes


def packed(line: bytes, *options: str) -> int:
    """Size of the blocks of one frame: everything after the frame header."""
    frame = subprocess.run(
        ["zstd", "-q", LEVEL, "--no-check", "--no-dictID", "-c", *options],
        input=line, capture_output=True, check=True).stdout
    descriptor = frame[4]
    single = descriptor >> 5 & 1
    header = 5 + (0 if single else 1) + [0, 1, 2, 4][descriptor & 3] + [single, 2, 4, 8][descriptor >> 6]
    return len(frame) - header


def main() -> int:
    dictionary = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "postrider-1.dict"
    print(f"{'':12} lines   raw  plain   dict   gain")
    groups = {"latin": [], "other": []}
    for line in (HERE / "heldout" / "messages.txt").read_bytes().splitlines():
        latin = sum(b < 0x80 for b in line) * 10 >= len(line) * 7
        groups["latin" if latin else "other"].append(line)
    groups["all"] = groups["latin"] + groups["other"]
    fits = 0
    for name, lines in groups.items():
        raw = sum(map(len, lines))
        plain = sum(min(len(l), packed(l) + OURS) for l in lines)
        sizes = [packed(l, "-D", str(dictionary)) + OURS for l in lines]
        with_dict = sum(min(len(l), s) for l, s in zip(lines, sizes))
        print(f"{name:12} {len(lines):5} {raw:5} {plain:6} {with_dict:6}  {raw / with_dict:5.2f}x")
        if name == "latin":
            fits = sum(s * 100 <= 72 * len(l) for l, s in zip(lines, sizes))
            print(f"{'':12} at most 72 of 100 bytes: {fits} of {len(lines)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
