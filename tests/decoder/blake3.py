"""BLAKE3 in pure Python: hash, keyed hash, derive_key. Written from the BLAKE3 paper.

Slow (about 1 MB in some seconds) and meant to be: it shares no line with the library the other side uses.
Only output up to 64 bytes is offered, because the format never asks for more than 32.
"""

import struct

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
BLOCK, CHUNK = 64, 1024
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
KEYED_HASH, DERIVE_KEY_CONTEXT, DERIVE_KEY_MATERIAL = 16, 32, 64
MASK = 0xFFFFFFFF


def _schedule():
    """The message word order of each of the seven rounds."""
    order, rounds = list(range(16)), []
    for _ in range(7):
        rounds.append(tuple(order))
        order = [order[i] for i in PERMUTATION]
    return tuple(rounds)


ROUNDS = _schedule()
# Columns first, then diagonals; each line is one quarter round's four state words.
QUARTERS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
            (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


def _compress(cv, words, counter, length, flags):
    v = list(cv) + list(IV[:4]) + [counter & MASK, counter >> 32 & MASK, length, flags]
    for order in ROUNDS:
        for i, (a, b, c, d) in enumerate(QUARTERS):
            va, vb, vc, vd = v[a], v[b], v[c], v[d]
            va = (va + vb + words[order[2 * i]]) & MASK
            vd ^= va
            vd = (vd >> 16 | vd << 16) & MASK
            vc = (vc + vd) & MASK
            vb ^= vc
            vb = (vb >> 12 | vb << 20) & MASK
            va = (va + vb + words[order[2 * i + 1]]) & MASK
            vd ^= va
            vd = (vd >> 8 | vd << 24) & MASK
            vc = (vc + vd) & MASK
            vb ^= vc
            vb = (vb >> 7 | vb << 25) & MASK
            v[a], v[b], v[c], v[d] = va, vb, vc, vd
    return [v[i] ^ v[i + 8] for i in range(8)] + [v[i + 8] ^ cv[i] for i in range(8)]


class _Node:
    """A compression not yet done: it becomes either a chaining value or the root output."""

    def __init__(self, cv, block, counter, length, flags):
        self.args = (cv, struct.unpack("<16I", block.ljust(BLOCK, b"\0")), counter, length, flags)

    def chaining_value(self):
        return _compress(*self.args)[:8]

    def root(self, size):
        cv, words, _, length, flags = self.args
        return struct.pack("<16I", *_compress(cv, words, 0, length, flags | ROOT))[:size]


def _chunk(data, key, counter, flags):
    blocks = [data[i:i + BLOCK] for i in range(0, len(data), BLOCK)] or [b""]
    cv = key
    for i, block in enumerate(blocks):
        mine = flags | (CHUNK_START if i == 0 else 0) | (CHUNK_END if i == len(blocks) - 1 else 0)
        node = _Node(cv, block, counter, len(block), mine)
        if i < len(blocks) - 1:
            cv = node.chaining_value()
    return node


def _tree(data, key, first, flags):
    """The left subtree is the largest power of two of chunks that leaves at least one byte to the right."""
    if len(data) <= CHUNK:
        return _chunk(data, key, first, flags)
    left = 1
    while left * 2 * CHUNK < len(data):
        left *= 2
    halves = (_tree(data[:left * CHUNK], key, first, flags), _tree(data[left * CHUNK:], key, first + left, flags))
    block = b"".join(struct.pack("<8I", *half.chaining_value()) for half in halves)
    return _Node(key, block, 0, BLOCK, flags | PARENT)


def blake3(data: bytes, size: int = 32) -> bytes:
    return _tree(bytes(data), list(IV), 0, 0).root(size)


def keyed(key: bytes, data: bytes, size: int = 32) -> bytes:
    assert len(key) == 32
    return _tree(bytes(data), list(struct.unpack("<8I", key)), 0, KEYED_HASH).root(size)


def derive_key(context: str, material: bytes, size: int = 32) -> bytes:
    key = _tree(context.encode("ascii"), list(IV), 0, DERIVE_KEY_CONTEXT).root(32)
    return _tree(bytes(material), list(struct.unpack("<8I", key)), 0, DERIVE_KEY_MATERIAL).root(size)
