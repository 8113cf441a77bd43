"""The age v1 file format, receiving side, X25519 recipients only (https://age-encryption.org/v1)."""

import base64
import binascii
import hashlib
import hmac
import re

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

import hpke
from refused import Refused, require

INTRO = b"age-encryption.org/v1\n"
CHUNK = 64 * 1024
COLUMNS = 64
# A header is a few stanzas; without a bound a file could be one endless header.
HEADER_MAX = 16 * 1024
ARGUMENT = re.compile(rb"[\x21-\x7e]+")


def decrypt(data: bytes, secret: bytes) -> bytes:
    stanzas, mac, signed, rest = _header(data)
    file_key = _file_key(stanzas, secret)
    expected = hmac.digest(hpke.expand(hpke.extract(b"", file_key), b"header", 32), signed, hashlib.sha256)
    require(hmac.compare_digest(expected, mac), "seal", "age header MAC does not match")
    require(len(rest) >= 16, "seal", "age file without nonce")
    key = hpke.expand(hpke.extract(rest[:16], file_key), b"payload", 32)
    return _stream(key, rest[16:])


def _base64(text: bytes) -> bytes:
    """Unpadded, canonical."""
    try:
        raw = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Refused("seal", "age header: not base64") from None
    require(base64.b64encode(raw).rstrip(b"=") == text, "seal", "age header: base64 is not canonical")
    return raw


def _header(data):
    """([(arguments, body)], mac, the bytes under the MAC, what follows the header)."""
    require(data.startswith(INTRO), "seal", "not an age v1 file")
    at, stanzas = len(INTRO), []

    def line():
        nonlocal at
        end = data.find(b"\n", at, HEADER_MAX)
        require(end >= 0, "seal", "age header does not end")
        text, at = data[at:end], end + 1
        return text

    while True:
        start = at
        text = line()
        if text.startswith(b"---"):
            require(text[3:4] == b" " and stanzas, "seal", "age header: bad last line")
            mac = _base64(text[4:])
            require(len(mac) == 32, "seal", "age header: bad MAC length")
            return stanzas, mac, data[:start + 3], data[at:]
        require(text.startswith(b"-> "), "seal", "age header: not a stanza")
        arguments = text[3:].split(b" ")
        require(all(map(ARGUMENT.fullmatch, arguments)), "seal", "age header: bad stanza arguments")
        body = b""
        while True:
            text = line()
            require(len(text) <= COLUMNS, "seal", "age header: line too long")
            body += _base64(text)
            if len(text) < COLUMNS:
                break
        stanzas.append((arguments, body))


def _file_key(stanzas, secret):
    private = X25519PrivateKey.from_private_bytes(secret)
    mine = private.public_key().public_bytes_raw()
    for arguments, body in stanzas:
        if arguments[0] != b"X25519":
            continue  # other recipients, and the grease that some writers add
        require(len(arguments) == 2 and len(body) == 32, "seal", "age header: bad X25519 stanza")
        share = _base64(arguments[1])
        require(len(share) == 32, "seal", "age header: bad X25519 share")
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(share))
        except ValueError:
            raise Refused("seal", "age header: shared secret is zero") from None
        wrap = hpke.expand(hpke.extract(share + mine, shared), b"age-encryption.org/v1/X25519", 32)
        try:
            return ChaCha20Poly1305(wrap).decrypt(bytes(12), body, None)
        except InvalidTag:
            continue
    raise Refused("seal", "no age stanza is for this key")


def _stream(key, data):
    """Chunks of 64 KiB, numbered, the last one marked; an empty last chunk only in an empty file."""
    cipher, out, at = ChaCha20Poly1305(key), [], 0
    step = CHUNK + 16
    for number in range(len(data) // step + 2):
        chunk = data[at:at + step]
        at += len(chunk)
        last = at == len(data)
        try:
            plain = cipher.decrypt(number.to_bytes(11, "big") + bytes([last]), chunk, None)
        except (InvalidTag, ValueError):
            raise Refused("seal", f"age chunk {number} does not open") from None
        require(plain or number == 0, "seal", "age: empty last chunk")
        out.append(plain)
        if last:
            return b"".join(out)
    raise Refused("seal", "age: no last chunk")
