"""zstd frames, opened by the `zstd` command line tool under a hard cap.

The frame header and the chain of blocks are read here, so that exactly one frame and nothing behind it is
accepted; the tool would take any number of frames and skip unknown ones.
"""

import shutil
import subprocess
import threading
from pathlib import Path

from refused import Opaque, require

MAGIC = bytes.fromhex("28b52ffd")
BLOCK_MAX = 1024  # what a block without its frame yields at most
DICTIONARY = Path(__file__).resolve().parents[2] / "src" / "base" / "dict" / "postrider-1.dict"


def packet_body(frame: bytes, cap: int) -> bytes:
    """A compressed packet body: a frame without magic, dictionary 1 implied, content size stated, no checksum;
    or, where its first byte cannot begin one, a block without even that."""
    if frame and frame[0] & 0x1F:
        return _block(frame, min(cap, BLOCK_MAX))
    size, end, checksum = _walk(frame, 0)
    # RFC 8878 lets decoders ignore this bit; one body has one spelling here.
    require(not frame[0] & 0x10, "packet", "unused bit of the frame header is set")
    require(not checksum, "packet", "compressed body has a checksum")
    require(size is not None, "packet", "compressed body does not state its size")
    require(size <= cap, "packet", f"{size} bytes announced, {cap} allowed")
    require(end == len(frame), "packet", "bytes after the compressed body")
    return _run(MAGIC + frame, size, "-D", str(DICTIONARY))


def _block(block: bytes, cap: int) -> bytes:
    require(len(block) < BLOCK_MAX, "packet", f"a block of {len(block)} bytes")
    # A window of 1 KiB, no content size; then the block, which is the last, and compressed.
    frame = MAGIC + bytes(2) + (len(block) << 3 | 2 << 1 | 1).to_bytes(3, "little") + block
    return _run(frame, None, "-D", str(DICTIONARY), cap=cap)


def part(frame: bytes, size: int) -> bytes:
    """A compressed part: one ordinary frame without a dictionary, of exactly `size` plain bytes."""
    require(frame[:4] == MAGIC, "packet", "part is not a zstd frame")
    stated, end, _ = _walk(frame, 4)
    require(stated is None or stated == size, "packet", "part states another size")
    require(end == len(frame), "packet", "bytes after the part's frame")
    return _run(frame, size)


def _walk(data, at):
    """(content size or None, end of the frame, whether it has a checksum)."""
    def take(count):
        nonlocal at
        require(count <= len(data) - at, "packet", "frame is cut")
        raw = data[at:at + count]
        at += count
        return raw

    descriptor = take(1)[0]
    single, checksum = descriptor >> 5 & 1, descriptor >> 2 & 1
    require(descriptor & 0b00001011 == 0, "packet", "frame names a dictionary or has a reserved bit")
    if not single:
        take(1)
    field = (single, 2, 4, 8)[descriptor >> 6]
    size = int.from_bytes(take(field), "little") + (256 if field == 2 else 0) if field else None
    while True:
        head = int.from_bytes(take(3), "little")
        kind, length = head >> 1 & 3, head >> 3
        require(kind != 3, "packet", "reserved block type")
        take(1 if kind == 1 else length)
        if head & 1:
            take(4 if checksum else 0)
            return size, at, bool(checksum)


def _run(frame, size, *options, cap=None):
    """What a frame yields: exactly `size` bytes, or where that is None at most `cap`."""
    if shutil.which("zstd") is None:
        raise Opaque("the zstd tool is missing, compressed body not looked at")
    # Fed by a thread: a child that stops reading early must not block us, and we never read past size + 1.
    child = subprocess.Popen(["zstd", "-dcq", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
    feeder = threading.Thread(target=_feed, args=(child.stdin, frame))
    feeder.start()
    most = cap if size is None else size
    plain = child.stdout.read(most + 1)
    if len(plain) > most:
        child.kill()
    child.stdout.close()
    status = child.wait()
    feeder.join()
    require(len(plain) <= most, "packet", f"more than {most} bytes")
    require(status == 0, "packet", "damaged frame")
    require(size in (None, len(plain)), "packet", f"{len(plain)} of the announced {size} bytes")
    return plain


def _feed(pipe, data):
    try:
        pipe.write(data)
        pipe.close()
    except BrokenPipeError:
        pass
