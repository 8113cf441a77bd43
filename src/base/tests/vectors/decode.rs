//! The crate's own decoder, run on a vector: what it says, or which stage refused.
//!
//! Stages are those of docs/format.md, "Order of checks", shared with the Python decoder.

use postrider_base::{
    Card, NodeId, NodeSecret,
    address::address,
    bundle::{Destination, Head, HeadError, LockField, Origin, Receipt, SealKind, SmallBundle},
    id::BundleId,
    packet::{Body, Content, Manifest, Packet, PacketError},
    roster::{Roster, RosterError},
    unseal::{Keyring, OpenError, Opened, open_small, open_stream},
    wire, words,
};
use serde_json::{Value, json};

use crate::{
    jobs, radio, requests,
    vector::{hex, merged, unhex},
};

type Refused = &'static str;

pub(crate) fn run(vector: &Value) -> Result<Value, Refused> {
    let bytes = unhex(vector["hex"].as_str().unwrap());
    match vector["kind"].as_str().unwrap() {
        kind @ ("radio" | "radio-pieces" | "radio-receipts" | "radio-station") => {
            radio::run(kind, &bytes, vector)
        }
        "bundle" => bundle(&bytes, vector),
        "card" => card(&Card::decode(&bytes)),
        "card-text" => card(&text(&bytes).parse()),
        "node-id" => node(&bytes, vector),
        "node-id-text" => text(&bytes)
            .parse::<NodeId>()
            .map(|node| json!({ "node": hex(node.as_bytes()) }))
            .map_err(|_| "node-id"),
        "receipt" => receipt(&bytes, vector),
        "roster" => roster(&bytes),
        "seed" => Ok(seed(&bytes)),
        other => panic!("no reader for {other}"),
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn card(read: &Result<Card, postrider_base::card::CardError>) -> Result<Value, Refused> {
    use postrider_base::card::CardError;
    match read {
        Ok(card) => {
            let keys: Vec<Value> =
                card.seal_keys.iter().map(|(n, key)| json!([n, hex(key.as_bytes())])).collect();
            Ok(json!({
                "node": hex(card.node.as_bytes()), "number": card.number, "keys": keys,
                "name": card.name, "hints": card.hints, "features": card.features,
                "text": card.to_string(),
            }))
        }
        Err(CardError::Signature) => Err("signature"),
        Err(_) => Err("card"),
    }
}

fn roster(bytes: &[u8]) -> Result<Value, Refused> {
    let roster = Roster::decode(bytes).map_err(|error| match error {
        RosterError::Signature => "signature",
        _ => "roster",
    })?;
    let entries: Vec<Value> = roster
        .entries
        .iter()
        .map(|entry| {
            json!({
                "node": hex(entry.node().as_bytes()),
                "card": entry.card().map(|card| hex(card.as_bytes())),
                "name": entry.name, "role": entry.role, "groups": entry.groups,
                "until": entry.until.map(|day| day.0), "revoked": entry.revoked,
            })
        })
        .collect();
    Ok(json!({
        "key": hex(roster.key.as_bytes()), "number": roster.number, "issued": roster.issued.0,
        "name": roster.name, "entries": entries, "group": hex(roster.group()),
    }))
}

fn node(bytes: &[u8], vector: &Value) -> Result<Value, Refused> {
    let node = NodeId::from_bytes(bytes).map_err(|_| "node-id")?;
    let mut out = json!({
        "node": hex(node.as_bytes()), "text": node.to_string(),
        "address": address(&node).to_string(),
    });
    if vector["expect"]["word_numbers"].is_array() {
        let list = bip39_list();
        let words = words::words(&node);
        let numbers = words.map(|word| list.iter().position(|w| *w == word));
        out["word_numbers"] = json!(numbers);
        out["words"] = json!(words);
    }
    Ok(out)
}

fn bip39_list() -> &'static [&'static str] {
    bip39::Language::English.word_list()
}

fn seed(bytes: &[u8]) -> Value {
    let node = NodeSecret::from_seed(bytes.try_into().unwrap());
    let secret = node.first_seal_key();
    json!({
        "node": hex(node.id().as_bytes()), "seal_secret": hex(secret.as_bytes()),
        "seal_public": hex(secret.public().as_bytes()), "recipient": secret.public().to_string(),
    })
}

fn receipt(bytes: &[u8], vector: &Value) -> Result<Value, Refused> {
    let receipt = Receipt::decode(bytes).map_err(|_| "receipt")?;
    let held = unhex(vector["bundle"].as_str().unwrap());
    let (head, id, payload) = verified(&held)?;
    if !receipt.opens(&id, head.header(), &payload[..payload.len().min(32)]) {
        return Err("receipt");
    }
    Ok(json!({ "prefix": hex(receipt.id_prefix), "r": hex(receipt.r) }))
}

/// A relay's checks.
fn verified(bytes: &[u8]) -> Result<(Head, BundleId, Vec<u8>), Refused> {
    let end = wire::item_len(bytes).map_err(|_| "envelope")?;
    let stage = |error: HeadError| match error {
        HeadError::Header(_) => "header",
        HeadError::Length { .. } | HeadError::Hash => "payload",
        HeadError::Signature => "signature",
        _ => "envelope",
    };
    if end == bytes.len() {
        let small = SmallBundle::decode(bytes).map_err(stage)?;
        if !small.head.header().is_small() {
            return Err("envelope");
        }
        let id = small.head.verify_small(&small.payload).map_err(stage)?;
        return Ok((small.head, id, small.payload));
    }
    let head = Head::decode(&bytes[..end]).map_err(stage)?;
    if head.header().is_small() {
        return Err("envelope");
    }
    let id = head.verify_large().map_err(stage)?;
    let payload = bytes[end..].to_vec();
    let fits = payload.len() as u64 == head.header().length
        && head.header().hash.as_ref() == Some(blake3::hash(&payload).as_bytes());
    if !fits {
        return Err("payload");
    }
    Ok((head, id, payload))
}

fn bundle(bytes: &[u8], vector: &Value) -> Result<Value, Refused> {
    let (head, id, payload) = verified(bytes)?;
    let seen = relay_view(&head, id);
    let seed = vector["recipient_seed"].as_str();
    if seed.is_none() && head.header().seal != SealKind::None {
        return Ok(seen);
    }
    // An unsealed payload opens for everybody.
    let me = NodeSecret::from_seed(seed.map_or([0; 32], |s| unhex(s).try_into().unwrap()));
    let senders: Vec<NodeId> = vector["senders"].as_array().map_or(vec![], |list| {
        list.iter().map(|s| NodeId::from_bytes(&unhex(s.as_str().unwrap())).unwrap()).collect()
    });
    let (node, keys) = (me.id(), [me.first_seal_key()]);
    let ring = Keyring { node: &node, keys: &keys, senders: &senders };
    if seed.is_some() && !ring.is_for_us(&head) {
        return Err("tag");
    }
    let opened = match head.header().seal {
        SealKind::Age => open_stream(&head, &payload[..], &ring, |_| Ok(Vec::new())),
        _ => open_small_or_public(&head, &payload, &ring),
    };
    let opened = opened.map_err(|error| match error {
        OpenError::Damaged => "payload",
        OpenError::NotOurs => "tag",
        OpenError::Seal | OpenError::Binding => "seal",
        OpenError::Author | OpenError::Packet(PacketError::Field("inner head")) => "inner",
        _ => "packet",
    })?;
    Ok(merged([seen, inside(&opened)]))
}

fn open_small_or_public(
    head: &Head,
    payload: &[u8],
    ring: &Keyring<'_>,
) -> Result<Opened<Vec<u8>>, OpenError> {
    let Opened { source, sequence, created, secret, packet, packet_bytes, part: _ } =
        open_small(head, payload, ring)?;
    assert_eq!(Packet::decode(&packet_bytes).as_ref(), Ok(&packet));
    Ok(Opened { source, sequence, created, secret, packet, packet_bytes, part: None })
}

fn relay_view(head: &Head, id: BundleId) -> Value {
    let header = head.header();
    let seal = match header.seal {
        SealKind::None => "none",
        SealKind::Compact => "compact",
        SealKind::Age => "age",
    };
    let (envelope, origin) = match &header.origin {
        Origin::Open { source, sequence, created } => (
            "open",
            json!({
                "source": hex(source.as_bytes()), "epoch": sequence.epoch,
                "counter": sequence.counter, "created": created,
            }),
        ),
        Origin::Hidden => ("hidden", json!({})),
    };
    let destination = match header.destination {
        Destination::Node(node) => hex(node.as_bytes()),
        Destination::Group(group) => hex(group),
        Destination::Tag(tag) => hex(tag),
    };
    let nonce = matches!(header.lock, LockField::Nonce(_));
    let flags = u8::from(header.origin == Origin::Hidden) | if nonce { 2 } else { 0 };
    let seen = json!({
        "envelope": envelope, "id": hex(id.0), "flags": flags, "destination": destination,
        "lifetime": header.lifetime.seconds(), "niceness": header.nice.value(), "seal": seal,
        "lock": header.lock.as_bytes().map(hex), "length": header.length,
        "hash": header.hash.map(hex),
    });
    merged([seen, origin])
}

fn inside(opened: &Opened<Vec<u8>>) -> Value {
    let from = json!({
        "source": hex(opened.source.as_bytes()), "epoch": opened.sequence.epoch,
        "counter": opened.sequence.counter, "created": opened.created,
        "r": opened.secret.as_ref().map(|secret| hex(secret.0)),
    });
    let part = match &opened.part {
        Some((raw, hash)) => {
            assert_eq!(blake3::hash(raw).as_bytes(), hash);
            json!({ "data": hex(hash) })
        }
        None => json!({}),
    };
    merged([from, describe(&opened.packet), part])
}

/// A packet in a vector's words.
pub(crate) fn describe(packet: &Packet) -> Value {
    let tail = json!({
        "reply_to": packet.tail.reply_to.map(|id| hex(id.0)),
        "card": packet.tail.card.as_ref().map(hex),
    });
    let body = match &packet.body {
        Body::Mail(text) => json!({ "kind": "mail", "text": text }),
        Body::Card(card) => json!({ "kind": "card", "contact": hex(card) }),
        Body::Introduction(said) => {
            json!({ "kind": "introduction", "contact": hex(&said.card), "note": said.note })
        }
        Body::Roster(roster) => json!({ "kind": "roster", "roster": hex(roster) }),
        Body::Part(part) => json!({
            "kind": "part", "set": hex(part.set.0), "index": part.index,
            "stored": part.stored_bytes, "plain": part.plain_bytes,
            "compressed": part.compressed,
        }),
        Body::Files(files) => merged([json!({ "kind": "manifest" }), manifest(files)]),
        Body::Request(request) => requests::request(request),
        Body::Job(job) => jobs::job(job),
        Body::Result(result) => jobs::result(result),
        Body::Word(word) => jobs::word(word),
    };
    merged([tail, body])
}

/// A manifest in a vector's words.
pub(crate) fn manifest(manifest: &Manifest) -> Value {
    let files: Vec<Value> = manifest
        .files
        .iter()
        .map(|file| {
            let flags = u8::from(file.executable) | if file.directory { 2 } else { 0 };
            json!({
                "path": file.path, "bytes": file.bytes, "blake3": hex(file.blake3),
                "mtime": file.mtime, "flags": flags,
            })
        })
        .collect();
    let (set, content) = match &manifest.content {
        Content::Inline(_) => (Value::Null, json!("inline")),
        Content::Parts(parts) => (
            json!(hex(parts.set.0)),
            json!({
                "part_bytes": parts.part_bytes, "total": parts.total_bytes,
                "hashes": parts.hashes.iter().map(hex).collect::<Vec<_>>(),
            }),
        ),
    };
    json!({ "set": set, "text": manifest.text, "files": files, "content": content })
}
