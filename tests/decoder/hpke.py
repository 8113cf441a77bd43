"""HPKE (RFC 9180) base mode, receiving side: X25519, HKDF-SHA256, ChaCha20-Poly1305, one message.

The library's own HPKE lacks Export, on which the receipt lock rests.
"""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

KEM = b"KEM\x00\x20"
SUITE = b"HPKE\x00\x20\x00\x01\x00\x03"


def extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), ikm, hashlib.sha256)


def expand(prk: bytes, info: bytes, size: int) -> bytes:
    out = block = b""
    i = 1
    while len(out) < size:
        block = hmac.digest(prk, block + info + bytes([i]), hashlib.sha256)
        out, i = out + block, i + 1
    return out[:size]


def _labeled_extract(suite, salt, label, ikm):
    return extract(salt, b"HPKE-v1" + suite + label + ikm)


def _labeled_expand(suite, prk, label, info, size):
    return expand(prk, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, size)


class Opener:
    """The key schedule for one encapsulated key. Raises ValueError when the shared secret is all zero."""

    def __init__(self, secret: bytes, encapsulated: bytes, info: bytes):
        private = X25519PrivateKey.from_private_bytes(secret)
        shared = private.exchange(X25519PublicKey.from_public_bytes(encapsulated))
        if not any(shared):
            raise ValueError("shared secret is zero")
        context = encapsulated + private.public_key().public_bytes_raw()
        prk = _labeled_extract(KEM, b"", b"eae_prk", shared)
        kem_secret = _labeled_expand(KEM, prk, b"shared_secret", context, 32)
        schedule = (b"\0" + _labeled_extract(SUITE, b"", b"psk_id_hash", b"")
                    + _labeled_extract(SUITE, b"", b"info_hash", info))
        secret_prk = _labeled_extract(SUITE, kem_secret, b"secret", b"")
        self.key = _labeled_expand(SUITE, secret_prk, b"key", schedule, 32)
        self.nonce = _labeled_expand(SUITE, secret_prk, b"base_nonce", schedule, 12)
        self.exporter = _labeled_expand(SUITE, secret_prk, b"exp", schedule, 32)

    def export(self, context: bytes, size: int) -> bytes:
        return _labeled_expand(SUITE, self.exporter, b"sec", context, size)

    def open(self, aad: bytes, sealed: bytes):
        """The plaintext, or None."""
        try:
            return ChaCha20Poly1305(self.key).decrypt(self.nonce, sealed, aad)
        except InvalidTag:
            return None
