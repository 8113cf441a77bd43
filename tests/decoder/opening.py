"""A bundle as its recipient sees it: tag, seal, receipt lock, binding, inner signature, packet."""

import hmac
from dataclasses import dataclass

import age
import cbor
import ed25519
import hpke
import packet
from blake3 import blake3, derive_key, keyed
from bundle import AGE, COMPACT, COMPACT_OVERHEAD, LOCK_BYTES, NONCE_LOCK, Bundle, check_sequence
from identity import LOCK_CONTEXT, domain, first_seal_secret, node_of, seal_public
from refused import require

R_BYTES = 16


@dataclass
class Recipient:
    """A node with its first seal key, and the senders whose hints it resolves."""

    node: bytes
    secret: bytes
    public: bytes
    senders: list

    @classmethod
    def from_seed(cls, seed: bytes, senders=()):
        secret = first_seal_secret(seed)
        return cls(node_of(seed), secret, seal_public(secret), list(senders))


def tag_of(seal_key: bytes, lock: bytes) -> bytes:
    return keyed(derive_key("postrider 2026 tag key v1", seal_key), b"postrider tag v1" + lock)[:8]


def hint_of(sender: bytes, seal_key: bytes) -> bytes:
    return derive_key("postrider 2026 sender hint v1", sender + seal_key)[:8]


def open_bundle(bundle: Bundle, recipient: Recipient | None) -> dict:
    """The packet and what came sealed beside it. Without a recipient only an unsealed payload opens."""
    header = bundle.header
    if recipient is not None:
        if len(header.destination) == 32:
            require(header.destination == recipient.node, "tag", "for another node")
        elif len(header.destination) == 8:
            require(header.destination == tag_of(recipient.public, header.lock), "tag", "tag is not ours")
    if header.seal == COMPACT:
        plain, r = open_compact(bundle, recipient)
    elif header.seal == AGE:
        plain, r = _open_age(bundle, recipient)
    else:
        plain, r = bundle.payload, None
    if header.lock is None or header.flags & NONCE_LOCK:
        r = None
    out = _open_hidden(header, plain, recipient) if header.hidden else _open_plain(header, plain)
    out["r"] = r
    return out


def _lock_fits(header, material: bytes) -> bool:
    """Whether `material` gives the header's lock; a header without lock fits all."""
    if header.lock is None or header.flags & NONCE_LOCK:
        return True
    return hmac.compare_digest(derive_key(LOCK_CONTEXT, material)[:LOCK_BYTES[header.seal]], header.lock)


def open_compact(bundle, recipient):
    header, payload = bundle.header, bundle.payload
    require(len(payload) > COMPACT_OVERHEAD, "seal", "shorter than the seal itself")
    encapsulated, sealed = payload[:32], payload[32:]
    try:
        opener = hpke.Opener(recipient.secret, encapsulated, b"postrider compact v1" + recipient.node)
    except ValueError:
        require(False, "seal", "shared secret is zero")
    r = opener.export(b"postrider receipt v1", R_BYTES)
    # Before opening: ChaCha20-Poly1305 alone opens under more than one key, the lock commits to one.
    require(_lock_fits(header, encapsulated + r), "seal", "receipt lock does not match")
    plain = opener.open(header.core, sealed)
    require(plain is not None, "seal", "does not open")
    return plain, r


def lock_of(payload: bytes, recipient: Recipient):
    """The lock that a compact payload has if it is for this recipient; None where there is no seal."""
    encapsulated = payload[:32]
    try:
        opener = hpke.Opener(recipient.secret, encapsulated, b"postrider compact v1" + recipient.node)
    except ValueError:
        return None
    return derive_key(LOCK_CONTEXT, encapsulated + opener.export(b"postrider receipt v1", R_BYTES))[:8]


def _open_age(bundle, recipient):
    header = bundle.header
    plain = age.decrypt(bundle.payload, recipient.secret)
    require(len(plain) > 32 + R_BYTES, "seal", "age plaintext shorter than its head")
    # age has no associated data: this is what ties the payload to its header and so to its author.
    require(hmac.compare_digest(plain[:32], blake3(header.core)), "seal", "payload of another header")
    r = plain[32:32 + R_BYTES]
    require(_lock_fits(header, r), "seal", "receipt lock does not match")
    return plain[32 + R_BYTES:], r


def _open_plain(header, plain):
    items, end = cbor.decode_first(plain, "packet")
    require(type(items) is list, "packet", "not an array")
    return packet.read(items, plain[end:], header.seal == AGE)


def _open_hidden(header, plain, recipient):
    require(len(plain) > 64, "inner", "no room for a signature")
    signed, signature = plain[:-64], plain[-64:]
    items, end = cbor.decode_first(signed, "inner")
    require(type(items) is list and len(items) in (6, 7), "inner", "not an array of 6 or 7 elements")
    sender, epoch, counter, created = items[:4]
    require(cbor.is_bytes(sender, 8, 32), "inner", "sender is neither a key nor a hint")
    check_sequence(epoch, counter, created, "inner")
    digest = derive_key("postrider 2026 hidden v1", recipient.node + header.core + signed)
    message = domain("postrider bundle hidden v1") + digest
    if len(sender) == 32:
        candidates = [sender]
    else:
        candidates = [s for s in recipient.senders if hint_of(s, recipient.public) == sender]
    author = next((s for s in candidates if ed25519.verify(s, signature, message)), None)
    require(author is not None, "inner", "not signed by the sender")
    out = packet.read(items[4:], signed[end:], header.seal == AGE)
    out.update(source=author, hint=len(sender) == 8, epoch=epoch, counter=counter, created=created)
    return out
