"""Rosters: who belongs to an organisation; believed only if its key signed them."""

import re

import card
import cbor
import ed25519
from blake3 import derive_key
from identity import domain
from refused import Refused, require

ROSTER_MAX, ENTRIES_MAX, NAME_MAX, GROUPS_MAX = 256 * 1024, 4096, 64, 8
WORD = re.compile(r"[a-z0-9_-]{1,32}\Z")
REVOKED = 1
STAGE = "roster"


def read(data: bytes) -> dict:
    """The signature before anything in the entries: checking cards takes longest."""
    require(len(data) <= ROSTER_MAX, STAGE, f"{len(data)} bytes, {ROSTER_MAX} allowed")
    roster = cbor.decode(data, STAGE)
    require(type(roster) is list and len(roster) == 2, STAGE, "not [body, signature]")
    raw, signature = roster
    require(cbor.is_bytes(raw) and cbor.is_bytes(signature, 64), STAGE, "not [body, 64 bytes]")
    body = cbor.decode(raw, STAGE)
    require(type(body) is list and len(body) == 6, STAGE, "body has not six elements")
    version, key, number, issued, name, entries = body
    require(version == 1 and type(version) is int, STAGE, "unknown version")
    require(cbor.is_bytes(key, 32) and ed25519.is_key(key), STAGE, "not a usable key")
    require(ed25519.is_torsion_free(key), STAGE, "key outside the prime-order group")
    require(cbor.is_uint(number, 1) and cbor.is_uint(issued, 0, 2**32 - 1), STAGE, "number or day")
    require(is_name(name), STAGE, "name")
    require(type(entries) is list and len(entries) <= ENTRIES_MAX, STAGE, "entries")
    shapes = [_shape(entry) for entry in entries]
    message = domain("postrider roster v1") + derive_key("postrider 2026 roster v1", raw)
    require(ed25519.verify(key, signature, message), "signature", "not signed by its key")
    read_entries = [_entry(*shape) for shape in shapes]
    nodes = [entry["node"] for entry in read_entries]
    require(all(a < b for a, b in zip(nodes, nodes[1:])), STAGE, "entries do not rise")
    return {"key": key, "number": number, "issued": issued, "name": name, "entries": read_entries,
            "group": derive_key("postrider 2026 roster group v1", key)[:16]}


def _shape(entry):
    """What the types of CBOR say; the rest waits for the signature."""
    require(type(entry) is list and len(entry) == 6, STAGE, "entry has not six elements")
    who, name, role, groups, until, flags = entry
    require(cbor.is_bytes(who) and type(name) is str and type(role) is str, STAGE, "entry")
    require(type(groups) is list and all(type(group) is str for group in groups), STAGE, "groups")
    require(until is None or cbor.is_uint(until, 0, 2**32 - 1), STAGE, "last day")
    require(cbor.is_uint(flags, 0, 255), STAGE, "flags")
    return entry


def _entry(who, name, role, groups, until, flags):
    require(flags <= REVOKED, STAGE, "unknown flags")
    if len(who) == 32:
        require(ed25519.is_key(who), STAGE, "not a usable key")
        node, its_card = who, None
    else:
        try:
            node, its_card = card.read(who)["node"], who
        except Refused as refusal:
            raise Refused(STAGE, f"card: {refusal}") from None
    require(is_name(name), STAGE, "member's name")
    require(role == "" or WORD.match(role), STAGE, "role")
    require(len(groups) <= GROUPS_MAX and all(WORD.match(group) for group in groups), STAGE, "groups")
    return {"node": node, "card": its_card, "name": name, "role": role, "groups": groups, "until": until,
            "revoked": bool(flags & REVOKED)}


def is_name(name) -> bool:
    return (type(name) is str and 1 <= len(name.encode()) <= NAME_MAX and name.strip() == name
            and card.is_plain(name))
