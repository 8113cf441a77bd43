"""Ed25519 as the format wants it: strict keys, strict signatures.

OpenSSL, which does the arithmetic of `verify`, accepts points of small order and unreduced coordinates:
with such a key one signature fits any message. So both are looked at here first.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_MINUS_ONE = pow(2, (P - 1) // 4, P)

# The y coordinates of the eight points whose order divides 8, with either sign of x.
SMALL_ORDER_Y = {
    1,  # order 1, the neutral element
    P - 1,  # order 2
    0,  # order 4
    int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
    int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
}


def _decompress(raw: bytes):
    """(x, y) of a canonically encoded point, or None."""
    number = int.from_bytes(raw, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if y >= P:
        return None
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if (v * x * x - u) % P:
        x = x * SQRT_MINUS_ONE % P
        if (v * x * x - u) % P:
            return None
    if x == 0 and sign:
        return None
    return (P - x if x & 1 != sign else x), y


def _add(a, b):
    """Addition in extended coordinates; complete, so it doubles too."""
    m, n = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    t, z = 2 * D * a[3] * b[3] % P, 2 * a[2] * b[2] % P
    e, f, g, h = n - m, z - t, z + t, n + m
    return e * f % P, g * h % P, f * g % P, e * h % P


def is_key(raw: bytes) -> bool:
    """A canonically encoded point of the curve that is not of small order."""
    point = _decompress(raw) if len(raw) == 32 else None
    return point is not None and point[1] not in SMALL_ORDER_Y


def is_torsion_free(raw: bytes) -> bool:
    """Whether the point lies in the prime-order subgroup: asked of contacts, once, when a card is read."""
    x, y = _decompress(raw)
    point, total, scalar = (x, y, 1, x * y % P), (0, 1, 1, 0), L
    while scalar:
        if scalar & 1:
            total = _add(total, point)
        point, scalar = _add(point, point), scalar >> 1
    return total[0] % P == 0 and (total[1] - total[2]) % P == 0


def verify(key: bytes, signature: bytes, message: bytes) -> bool:
    """Strict: reduced S, R and key canonical and not of small order, no cofactor."""
    if len(signature) != 64 or int.from_bytes(signature[32:], "little") >= L:
        return False
    if not is_key(key) or not is_key(signature[:32]):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True
