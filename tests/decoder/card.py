"""Contact cards: read, then believed only if the node key signed them."""

import unicodedata

import bech32
import cbor
import ed25519
from blake3 import derive_key
from identity import domain
from refused import require

CARD_MAX = 600
NAME_MAX, HINTS_MAX, HINT_MAX, KEYS_MAX = 64, 8, 128, 8
STAGE = "card"
P = ed25519.P

# The u coordinates of order 1, 2, 4 and 8 on Curve25519 and its twist (RFC 7748 names the attack).
SMALL_ORDER_U = {
    0,
    1,
    P - 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
}


def is_plain(text: str) -> bool:
    """Without control characters (Unicode category Cc)."""
    return all(unicodedata.category(c) != "Cc" for c in text)


def read(data: bytes) -> dict:
    require(len(data) <= CARD_MAX, STAGE, f"{len(data)} bytes, {CARD_MAX} allowed")
    card = cbor.decode(data, STAGE)
    require(type(card) is list and len(card) == 2, STAGE, "not [body, signature]")
    raw, signature = card
    require(cbor.is_bytes(raw) and cbor.is_bytes(signature, 64), STAGE, "not [body, 64 bytes]")
    body = cbor.decode(raw, STAGE)
    require(type(body) is list and len(body) == 7, STAGE, "body has not seven elements")
    version, node, number, keys, name, hints, features = body
    require(version == 1 and type(version) is int, STAGE, "unknown version")
    require(cbor.is_bytes(node, 32) and ed25519.is_key(node), STAGE, "not a usable node key")
    require(ed25519.is_torsion_free(node), STAGE, "node key outside the prime-order group")
    require(cbor.is_uint(number, 1), STAGE, "card number")
    _keys(keys)
    require(type(name) is str and len(name.encode()) <= NAME_MAX and is_plain(name), STAGE, "name")
    require(type(hints) is list and len(hints) <= HINTS_MAX, STAGE, "hints")
    for hint in hints:
        require(type(hint) is str and len(hint.encode()) <= HINT_MAX and is_plain(hint), STAGE, "hint")
    require(cbor.is_uint(features), STAGE, "features")
    message = domain("postrider card v1") + derive_key("postrider 2026 card v1", raw)
    require(ed25519.verify(node, signature, message), "signature", "card is not signed by its node")
    return {"node": node, "number": number, "keys": keys, "name": name, "hints": hints, "features": features}


def _keys(keys):
    """Newest first: the numbers fall, so that no two keys share one and the order is signed twice."""
    require(type(keys) is list and 1 <= len(keys) <= KEYS_MAX, STAGE, "seal keys")
    before = 2**64
    for entry in keys:
        require(type(entry) is list and len(entry) == 2, STAGE, "seal key entry")
        number, public = entry
        require(cbor.is_uint(number, 0, 2**32 - 1) and is_seal_key(public), STAGE, "seal key entry")
        require(number < before, STAGE, "seal key numbers do not fall")
        before = number


def is_seal_key(public) -> bool:
    """Reduced, top bit clear, not of small order: with such a key everybody could open the mail."""
    if not cbor.is_bytes(public, 32):
        return False
    u = int.from_bytes(public, "little")
    return u < P and u not in SMALL_ORDER_U


def text(data: bytes) -> str:
    return bech32.encode("prcard", data, bech32.BECH32M)


def read_text(line: str) -> dict:
    """Blanks and line breaks do not count: mail programs break long lines."""
    return read(bech32.decode("prcard", "".join(line.split()), bech32.BECH32M, STAGE))
