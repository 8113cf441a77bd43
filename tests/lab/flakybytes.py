#!/usr/bin/env python3
"""Where the bytes of a flaky line went, from what flakyline.py wrote with TRACE=file.

    flakybytes.py FILE

For every TCP connection and direction, by sequence numbers; all of it is bytes on the wire:
  came      payload that the other end's program could have: in order, counted once
  lost      payload that a frame lost by chance carried; it had to go again
  twice     payload that had come already
  in vain   payload at the end of a connection: behind a hole, cut off on its way, or never sent again
  headers   of frames with payload, and "acks" frames without
  opening   SYN and RST
"in order" is as the kernels saw it: what a program had of it says the program's log."""
import collections, struct, sys

TCP = 6
WHAT = ("came", "lost", "twice", "in vain", "headers", "acks", "opening")


class Ranges:
    """Which bytes of a stream."""

    def __init__(self):
        self.all = []

    def has(self, begin, end):
        return sum(max(0, min(end, y) - max(begin, x)) for x, y in self.all)

    def add(self, begin, end):
        apart = [(x, y) for x, y in self.all if y < begin or x > end]
        joined = [r for r in self.all if r not in apart] + [(begin, end)]
        self.all = sorted(apart + [(min(x for x, _ in joined), max(y for _, y in joined))])

    def in_order(self):
        return self.all[0][1] if self.all and self.all[0][0] == 0 else 0

    def sum(self):
        return sum(y - x for x, y in self.all)


class Direction:
    def __init__(self):
        self.first, self.sent, self.came = None, Ranges(), Ranges()
        self.count = collections.Counter()

    def frame(self, fate, length, flags, sequence, payload):
        if flags & 2:
            self.first = sequence + 1
        if payload == 0:
            self.count["opening" if flags & 6 else "acks"] += length
            return
        if self.first is None:
            self.first = sequence
        begin = (sequence - self.first) & 0xFFFFFFFF
        end = begin + payload
        self.count["headers"] += length - payload
        self.count["twice"] += self.came.has(begin, end)
        if fate == "lost":
            self.count["lost"] += payload - self.came.has(begin, end)
        elif fate == "came":
            self.came.add(begin, end)
        self.count["payload"] += payload

    def end(self):
        # What was lost and never went again has been counted as lost.
        count = self.count
        count["came"] = self.came.in_order()
        count["in vain"] = count["payload"] - count["came"] - count["lost"] - count["twice"]
        return [count[what] for what in WHAT]


def main(path):
    rows = (line.split() for line in open(path))
    frames = sorted((float(at), to, fate, int(length), bytes.fromhex(head)) for at, to, fate, length, head in rows)
    connections, other, begin = {}, 0, frames[0][0] if frames else 0
    for at, to, fate, length, head in frames:
        if fate in ("full", "waited"):
            continue
        ip = head[14:]
        if head[12:14] != b"\x08\x00" or ip[9] != TCP:
            other += length
            continue
        tcp = ip[(ip[0] & 15) * 4 :]
        source, target, sequence = struct.unpack(">HHI", tcp[:8])
        payload = struct.unpack(">H", ip[2:4])[0] - (ip[0] & 15) * 4 - (tcp[12] >> 4) * 4
        key = tuple(sorted([(ip[12:16], source), (ip[16:20], target)]))
        ways = connections.setdefault(key, (at - begin, collections.defaultdict(Direction)))[1]
        ways[to].frame(fate, length, tcp[13], sequence, payload)
    print("%8s %-12s" % ("second", "to"), *("%8s" % what for what in WHAT))
    total = [0] * len(WHAT)
    for at, ways in connections.values():
        for to, direction in sorted(ways.items()):
            row = direction.end()
            total = [a + b for a, b in zip(total, row)]
            print("%8.1f %-12s" % (at, to), *("%8d" % n for n in row))
    print("%8s %-12s" % ("all", ""), *("%8d" % n for n in total), " and what is not TCP:", other)



if len(sys.argv) != 2:
    sys.exit(__doc__)
main(sys.argv[1])
