#!/usr/bin/env python3
"""Whether anything links what a node said and showed at one time with what it did at another.

    bluetooth_captures.py AIR.SNOOP HCI READS... -- READS...

AIR.SNOOP is what `btmon -w` recorded; HCI the number of the adapter that heard. READS are outputs of the example
program (`bluetooth read`) for one node and for another. A run of bytes that two times of a node have in common,
and that the other node never has, links them.
"""
import re
import struct
import sys

# Shorter ones are alike by chance: of ten times with fifty bytes each, a few of three bytes.
RUN_BYTES = 4
EVENT, LE_META, LEGACY, EXTENDED = 3, 0x3E, 0x02, 0x0D
SERVICE = bytes.fromhex("1a78a0c3cfd44b99a7e5817b1874be6c")[::-1]


def reports(path, adapter):
    """(address, data) of each advertisement that was heard."""
    data = open(path, "rb").read()
    assert data[:8] == b"btsnoop\0" and struct.unpack(">I", data[12:16])[0] == 2001, "no record of btmon"
    at = 16
    while at + 24 <= len(data):
        _, length, flags = struct.unpack(">III", data[at:at + 12])
        packet = data[at + 24:at + 24 + length]
        at += 24 + length
        if flags >> 16 != adapter or flags & 0xFFFF != EVENT or len(packet) < 4 or packet[0] != LE_META:
            continue
        kind, count, rest = packet[2], packet[3], packet[4:]
        for _ in range(count):
            head = {LEGACY: 9, EXTENDED: 24}.get(kind)
            if head is None or len(rest) < head:
                break
            address = rest[2:8] if kind == LEGACY else rest[3:9]
            size = rest[head - 1]
            yield bytes(address), bytes(rest[head:head + size])
            rest = rest[head + size + (kind == LEGACY):]


def reading(path):
    """(address, all that was read)."""
    text = open(path).read()
    place = re.search(r"^(\S+) said ([0-9a-f]+)", text, re.M)
    if not place:
        return None
    address = bytes.fromhex(place[1].replace(":", ""))[::-1]
    read = re.findall(r"^(?:name|value|descriptor \S+) ([0-9a-f]+)$", text, re.M)
    return address, [bytes.fromhex(value) for value in read], bytes.fromhex(place[2])


def runs(*pieces):
    return {piece[n:n + RUN_BYTES] for piece in pieces for n in range(len(piece) - RUN_BYTES + 1)}


def main():
    snoop, adapter, *paths = sys.argv[1:]
    cut = paths.index("--")
    heard = {}
    for address, data in reports(snoop, int(adapter)):
        if SERVICE in data:
            heard.setdefault(address, set()).add(data)
    nodes = []
    for group in (paths[:cut], paths[cut + 1:]):
        times = [found for found in map(reading, group) if found]
        seen = {}
        for address, read, said in times:
            # An address belongs to whoever was read under it; what was heard there and read there is one time.
            assert address in heard, "it was read and never heard"
            assert any(said in data for data in heard[address]), "it said something else"
            assert len(heard[address]) == 1, "two things were said under one address"
            seen[address] = runs(address, *read, *heard[address])
        print(f"{len(times)} reads under {len(seen)} addresses, {sum(map(len, [value for _, read, _ in times for value in read]))} bytes read")
        assert len(times) >= 3 and len(seen) == len(times), "too few, or an address stayed"
        nodes.append(list(seen.values()))
    addresses = len(heard)
    print(f"{addresses} addresses were heard")
    links = 0
    for times, others in ((nodes[0], nodes[1]), (nodes[1], nodes[0])):
        of_all = set().union(*others)
        for n, one in enumerate(times):
            for other in times[n + 1:]:
                for run in (one & other) - of_all:
                    print("links two times:", run.hex(), run)
                    links += 1
    sys.exit(1 if links else 0)


main()
