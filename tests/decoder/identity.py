"""Who somebody is: node keys and their text, seal keys, address, comparison words, receipts."""

import ipaddress

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import bech32
import ed25519
from blake3 import derive_key
from refused import require

VERSION = 0
RECEIPT_TYPE = 1
LOCK_CONTEXT = "postrider 2026 receipt lock v1"


def domain(name: str) -> bytes:
    """What every signed input starts with: the name, zero-padded to 32 bytes."""
    raw = name.encode("ascii")
    assert len(raw) < 32
    return raw.ljust(32, b"\0")


def node_of(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def first_seal_secret(seed: bytes) -> bytes:
    return derive_key("postrider 2026 seal key v1", seed)


def seal_public(secret: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def node_text(node: bytes) -> str:
    return bech32.encode("pr", bytes([VERSION]) + node, bech32.BECH32M)


def read_node_text(text: str) -> bytes:
    data = bech32.decode("pr", text.strip(), bech32.BECH32M, "node-id")
    require(len(data) == 33, "node-id", f"{len(data)} bytes, not 33")
    require(data[0] == VERSION, "node-id", f"version {data[0]}")
    require(ed25519.is_key(data[1:]), "node-id", "not a usable key")
    return data[1:]


def seal_text(public: bytes) -> str:
    return bech32.encode("age", public, bech32.BECH32)


def address(node: bytes) -> str:
    """Yggdrasil's: the number of leading ones of the inverted key, then what follows the first zero."""
    bits = "".join(f"{byte ^ 0xFF:08b}" for byte in node)
    ones = len(bits) - len(bits.lstrip("1"))
    rest = bits[ones + 1:][:14 * 8].ljust(14 * 8, "0")
    return str(ipaddress.IPv6Address(bytes([2, ones]) + int(rest, 2).to_bytes(14, "big")))


def word_numbers(node: bytes):
    """The six numbers (0 to 2047) of the comparison words in the BIP-39 English list."""
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
    kdf = Argon2id(salt=b"postrider words v1", length=16, iterations=3, lanes=1, memory_cost=65536)
    bits = int.from_bytes(kdf.derive(node), "big") >> 128 - 66
    return [bits >> 11 * (5 - i) & 2047 for i in range(6)]


def read_receipt(data: bytes):
    """(first eight bytes of the bundle id, r)"""
    require(len(data) == 25, "receipt", f"{len(data)} bytes, not 25")
    require(data[0] == RECEIPT_TYPE, "receipt", f"type {data[0]}")
    return data[1:9], data[9:]
