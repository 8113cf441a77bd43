"""bech32 (BIP-173) and bech32m (BIP-350), without their limit of 90 characters."""

from refused import Refused

ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
BECH32, BECH32M = 1, 0x2BC830A3


def _polymod(values):
    c = 1
    for value in values:
        top, c = c >> 25, (c & 0x1FFFFFF) << 5 ^ value
        for i, g in enumerate(GENERATOR):
            if top >> i & 1:
                c ^= g
    return c


def _expand(hrp):
    return [ord(x) >> 5 for x in hrp] + [0] + [ord(x) & 31 for x in hrp]


def _regroup(values, source, target):
    """Bits in groups of `source` to groups of `target`; the leftover bits and their value come along."""
    acc = bits = 0
    out = []
    for value in values:
        acc, bits = acc << source | value, bits + source
        while bits >= target:
            bits -= target
            out.append(acc >> bits & (1 << target) - 1)
        acc &= (1 << bits) - 1
    return out, bits, acc


def encode(hrp: str, data: bytes, const: int) -> str:
    values, bits, acc = _regroup(data, 8, 5)
    if bits:
        values.append(acc << 5 - bits)
    check = _polymod(_expand(hrp) + values + [0] * 6) ^ const
    values += [check >> 5 * (5 - i) & 31 for i in range(6)]
    return hrp + "1" + "".join(ALPHABET[v] for v in values)


def decode(hrp: str, text: str, const: int, stage: str) -> bytes:
    """All lower or all upper case, the checksum of `const`, padding bits zero and fewer than five."""
    if text != text.lower() and text != text.upper():
        raise Refused(stage, "mixed case")
    text = text.lower()
    at = text.rfind("1")
    if at < 1 or text[:at] != hrp:
        raise Refused(stage, f"does not start with {hrp}1")
    values = [ALPHABET.find(c) for c in text[at + 1:]]
    if len(values) < 6 or -1 in values:
        raise Refused(stage, "not a bech32 text")
    if _polymod(_expand(hrp) + values) != const:
        raise Refused(stage, "checksum does not match")
    data, bits, acc = _regroup(values[:-6], 5, 8)
    if bits > 4 or acc:
        raise Refused(stage, "padding bits are set or too many")
    return bytes(data)
