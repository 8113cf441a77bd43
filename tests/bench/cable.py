#!/usr/bin/env python3
"""A serial cable made of two pseudo terminals, that is slow and damages.

  cable.py DIR [--baud N] [--latency MS] [--ber P] [--half MS] [--xonxoff] [--sevenbit] [--seed N]

Its ends are DIR/a and DIR/b. It obeys lines on standard input: `mark` forgets what passed, `stats`
prints it as JSON: bytes that each end sent, and when its first and last one was on the line. A byte
takes ten bits, an end can give about a tick ahead, and is held up like by RTS/CTS. With --half only
one end is on the line at a time; the other waits until that was silent for so long. The same seed
puts the errors at the same bits. Python's standard library only.
"""

import argparse
import collections
import fcntl
import json
import math
import os
import random
import select
import struct
import sys
import termios
import time
import tty

TICK_S = 0.004
HELD_MAX = 8192  # what a reader may be behind before the line waits for it


def waiting(fd):
    return struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))[0]


class Errors:
    """Draws the gaps between damaged bits, so that a good line costs nothing."""

    def __init__(self, seed, rate):
        self.chance, self.rate = random.Random(seed), rate
        self.gap = self.draw()

    def draw(self):
        return int(math.log(1 - self.chance.random()) / math.log(1 - self.rate)) if self.rate else 0

    def damage(self, data):
        if not self.rate:
            return data
        data, bits = bytearray(data), len(data) * 8
        while self.gap < bits:
            data[self.gap >> 3] ^= 1 << (self.gap & 7)
            self.gap += 1 + self.draw()
        self.gap -= bits
        return bytes(data)


class End:
    def __init__(self, path, errors):
        self.ours, self.theirs = os.openpty()
        tty.setraw(self.theirs)
        os.set_blocking(self.ours, False)
        os.symlink(os.ttyname(self.theirs), path)
        self.errors, self.out, self.held = errors, collections.deque(), 0
        self.free, self.behind = 0.0, False
        self.forget()

    def forget(self):
        self.sent, self.first, self.last = 0, None, None

    def deliver(self):
        while self.out:
            try:
                wrote = os.write(self.ours, self.out[0])
            except OSError:
                return
            self.held -= wrote
            if wrote < len(self.out[0]):
                self.out[0] = self.out[0][wrote:]
                return
            self.out.popleft()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dir")
    parser.add_argument("--baud", type=float, default=115200)
    parser.add_argument("--latency", type=float, default=5)
    parser.add_argument("--ber", type=float, default=0)
    parser.add_argument("--half", type=float)
    parser.add_argument("--xonxoff", action="store_true")
    parser.add_argument("--sevenbit", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    said = parser.parse_args()
    ends = [End(f"{said.dir}/{name}", Errors(2 * said.seed + n, said.ber)) for n, name in enumerate("ab")]
    byte_s, latency_s = 10 / said.baud, said.latency / 1000
    chunk = max(1, int(TICK_S / byte_s))
    flying = collections.deque()  # (time, end, bytes); each way has the same latency
    owner = None
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        while flying and flying[0][0] <= now:
            _, end, data = flying.popleft()
            end.out.append(data)
            end.held += len(data)
        wanted, wake = [0], now + 0.05
        for end, other in (ends, ends[::-1]):
            end.deliver()
            if end.out:
                wake = min(wake, now + TICK_S)
            if other.held > HELD_MAX:
                continue
            at = end.free - TICK_S
            if said.half is not None and owner is other:
                at = max(at, other.free + said.half / 1000)
            if at <= now:
                wanted.append(end.ours)
            else:
                wake = min(wake, at)
        if flying:
            wake = min(wake, flying[0][0])
        ready = select.select(wanted, [], [], max(0, wake - now))[0]
        if 0 in ready and not obey(sys.stdin.readline().strip(), ends):
            return
        now = time.monotonic()
        for end, other in (ends, ends[::-1]):
            if end.ours not in ready or said.half is not None and owner is other and other.free + said.half / 1000 > now:
                continue
            try:
                data = os.read(end.ours, chunk)
            except OSError:
                continue
            took, owner = owner is not end, end
            # What was waiting already left without a gap, however late this process woke up.
            gapless = end.behind and now - end.free < 0.5 and not (took and said.half is not None)
            start = end.free if gapless else max(now, end.free)
            end.behind = waiting(end.ours) > 0
            end.free = start + len(data) * byte_s
            end.sent += len(data)
            end.first = start if end.first is None else end.first
            end.last = end.free
            data = end.errors.damage(data)
            if said.xonxoff:
                data = data.replace(b"\x11", b"").replace(b"\x13", b"")
            if said.sevenbit:
                data = bytes(byte & 127 for byte in data)
            flying.append((end.free + latency_s, other, data))


def obey(order, ends):
    if order == "mark":
        for end in ends:
            end.forget()
    elif order == "stats":
        print(json.dumps([{"sent": end.sent, "first": end.first, "last": end.last} for end in ends]), flush=True)
    return bool(order)


if __name__ == "__main__":
    main()
