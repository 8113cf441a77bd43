"""XXH3, 64 bits, with a seed, in pure Python: written from the specification of xxHash.

No input shorter than 17 bytes is hashed anywhere, so those are left out.
"""

import struct

MASK32, MASK = 2**32 - 1, 2**64 - 1
P32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
P64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
STRIPE, BLOCK, LAST = 64, 1024, len(SECRET) - 64


def _at(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def _fold(a, b):
    product = (a & MASK) * (b & MASK)
    return product & MASK ^ product >> 64


def _avalanche(h):
    h &= MASK
    h ^= h >> 37
    h = h * 0x165667919E3779F9 & MASK
    return h ^ h >> 32


def _mix(data, at, secret_at, seed):
    return _fold(_at(data, at) ^ _at(SECRET, secret_at) + seed & MASK,
                 _at(data, at + 8) ^ _at(SECRET, secret_at + 8) - seed & MASK)


def _short(data, seed):
    """17 to 128 bytes: from both ends inward."""
    n = len(data)
    acc = n * P64[0]
    for i in reversed(range((n - 1) // 32 + 1)):
        acc += _mix(data, 16 * i, 32 * i, seed) + _mix(data, n - 16 * (i + 1), 32 * i + 16, seed)
    return _avalanche(acc)


def _middle(data, seed):
    """129 to 240 bytes."""
    n = len(data)
    acc = n * P64[0] + sum(_mix(data, 16 * i, 16 * i, seed) for i in range(8))
    acc = _avalanche(acc) + sum(_mix(data, 16 * i, 16 * (i - 8) + 3, seed) for i in range(8, n // 16))
    return _avalanche(acc + _mix(data, n - 16, 136 - 17, seed))


def _stripe(acc, data, at, secret, secret_at):
    for i in range(8):
        value = _at(data, at + 8 * i)
        key = value ^ _at(secret, secret_at + 8 * i)
        acc[i ^ 1] = acc[i ^ 1] + value & MASK
        acc[i] = acc[i] + (key & MASK32) * (key >> 32) & MASK


def _scramble(acc, secret):
    for i in range(8):
        a = acc[i]
        acc[i] = (a ^ a >> 47 ^ _at(secret, LAST + 8 * i)) * P32[0] & MASK


def _long(data, seed):
    n = len(data)
    secret = b"".join(struct.pack("<QQ", _at(SECRET, i) + seed & MASK, _at(SECRET, i + 8) - seed & MASK)
                      for i in range(0, len(SECRET), 16))
    acc = [P32[2], P64[0], P64[1], P64[2], P64[3], P32[1], P64[4], P32[0]]
    for stripe in range((n - 1) // STRIPE):
        in_block = stripe % (BLOCK // STRIPE)
        _stripe(acc, data, stripe * STRIPE, secret, in_block * 8)
        if in_block == BLOCK // STRIPE - 1:
            _scramble(acc, secret)
    _stripe(acc, data, n - STRIPE, secret, LAST - 7)
    merged = n * P64[0] + sum(_fold(acc[2 * i] ^ _at(secret, 11 + 16 * i),
                                    acc[2 * i + 1] ^ _at(secret, 19 + 16 * i)) for i in range(4))
    return _avalanche(merged)


def xxh3(data: bytes, seed: int) -> int:
    assert len(data) >= 17
    if len(data) <= 128:
        return _short(data, seed)
    return _middle(data, seed) if len(data) <= 240 else _long(data, seed)
