//! What relays read: CBOR items, headers, heads, whole small bundles, receipts, cards, rosters, ids.

use postrider_base::{
    Card, Head, Header, NodeId, Roster, SealPublic,
    bundle::{Origin, Receipt, SmallBundle},
    domain,
    roster::{RosterFacts, is_word},
    wire as cbor,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_bytes::{ByteBuf, Bytes};

use super::seeds::{alice, sealed_mail};

pub fn wire(data: &[u8]) -> bool {
    let Ok(length) = cbor::item_len(data) else {
        assert!(cbor::decode::<Vec<ByteBuf>>(data).is_err(), "decoded what is no item");
        return false;
    };
    let item = &data[..length];
    let Some(shorter) = length.checked_sub(1) else { panic!("an item of no bytes") };
    assert!(cbor::item_len(&item[..shorter]).is_err(), "the start of an item is an item");
    one_spelling::<u64>(item);
    one_spelling::<Option<ByteBuf>>(item);
    one_spelling::<Vec<ByteBuf>>(item);
    one_spelling::<Vec<String>>(item);
    one_spelling::<Vec<Option<bool>>>(item);
    one_spelling::<(u8, ByteBuf, Option<(u32, String)>)>(item);
    one_spelling::<Vec<Vec<Vec<u64>>>>(item);
    true
}

fn one_spelling<T: Serialize + DeserializeOwned>(item: &[u8]) {
    if let Ok(value) = cbor::decode::<T>(item) {
        assert_eq!(cbor::encode(&value), item, "two spellings of one value");
    }
}

/// A header; where it can be one, in a bundle that Alice signs around it.
pub fn header(data: &[u8]) -> bool {
    let Ok(header) = Header::decode(data) else { return false };
    assert_eq!(header.encode(), data);
    assert!(Header::decode(&header.core()).is_err(), "the core passes for a header");
    let Ok(length) = usize::try_from(header.length) else { return true };
    if !header.is_small() {
        return true;
    }
    let payload = vec![0x55; length];
    let id = domain::derive(domain::ID, &[data, &payload]);
    let signature = alice().sign(&domain::BUNDLE_OPEN, &id);
    let (start, end) = (Bytes::new(data), Bytes::new(&payload));
    let (bytes, verifies) = match header.source() {
        Some((source, _)) => {
            (cbor::encode(&(start, Bytes::new(&signature), end)), source == alice().id())
        }
        None => (cbor::encode(&(start, end)), true),
    };
    let bundle = SmallBundle::decode(&bytes).expect("its header is one");
    let verdict = bundle.head.verify_small(&bundle.payload);
    assert_eq!(verdict.as_ref().ok().map(|id| id.0), verifies.then_some(id), "{verdict:?}");
    true
}

pub fn head(data: &[u8]) -> bool {
    let Ok(head) = Head::decode(data) else { return false };
    assert_eq!(head.encode(), data);
    assert_eq!(head.signature().is_none(), head.header().origin == Origin::Hidden);
    // Neither verdict may panic, and no head is both small and large.
    let small = head.verify_small(&[]).is_ok();
    assert!(!small, "a bundle without payload verifies");
    if head.verify_large().is_ok() {
        assert!(head.header().hash.is_some(), "verified large without a hash");
    }
    true
}

pub fn small_bundle(data: &[u8]) -> bool {
    let Ok(bundle) = SmallBundle::decode(data) else { return false };
    assert_eq!(bundle.encode(), data);
    let Ok(id) = bundle.head.verify_small(&bundle.payload) else { return false };
    assert_eq!(id, bundle.head.id(&bundle.payload));
    let mut payload = bundle.payload.clone();
    if let (Some(first), Some(_)) = (payload.first_mut(), bundle.head.signature()) {
        *first ^= 1;
        assert!(bundle.head.verify_small(&payload).is_err(), "any payload verifies");
    }
    true
}

pub fn receipt(data: &[u8]) -> bool {
    let Ok(receipt) = Receipt::decode(data) else { return false };
    assert_eq!(receipt.encode(), data);
    let mail = sealed_mail();
    let opens = receipt.opens(&mail.id, mail.head.header(), &mail.payload);
    let honest = Receipt::new(&mail.id, mail.secret.as_ref().unwrap());
    assert_eq!(opens, receipt == honest, "only the recipient's receipt opens the lock");
    true
}

pub fn card(data: &[u8]) -> bool {
    Card::read(data).is_ok_and(|card| says_itself(&card))
}

/// The signed part of a card; Alice signs whatever it is.
pub fn card_body(data: &[u8]) -> bool {
    let signature = alice().sign(&domain::CARD, &domain::derive(domain::CARD_DIGEST, &[data]));
    let bytes = cbor::encode(&(Bytes::new(data), Bytes::new(&signature)));
    let Ok(card) = Card::decode(&bytes) else { return false };
    assert_eq!(card.as_bytes(), bytes);
    assert_eq!(card.node, alice().id(), "signed for somebody else");
    says_itself(&card)
}

fn says_itself(card: &Card) -> bool {
    assert_eq!(card.to_string().parse().as_ref(), Ok(card));
    assert_eq!(Card::decode(card.as_bytes()).as_ref(), Ok(card));
    assert!(!card.seal_keys.is_empty() && !card.name.chars().any(char::is_control));
    true
}

pub fn roster(data: &[u8]) -> bool {
    Roster::decode(data).is_ok_and(|roster| lists_itself(&roster))
}

/// The signed part of a roster; Alice signs whatever it is.
pub fn roster_body(data: &[u8]) -> bool {
    let digest = domain::derive(domain::ROSTER_DIGEST, &[data]);
    let signature = alice().sign(&domain::ROSTER, &digest);
    let bytes = cbor::encode(&(Bytes::new(data), Bytes::new(&signature)));
    let Ok(roster) = Roster::decode(&bytes) else { return false };
    assert_eq!((roster.as_bytes(), roster.key), (&*bytes, alice().id()));
    assert_eq!(roster.encode(), data);
    lists_itself(&roster)
}

fn lists_itself(roster: &Roster) -> bool {
    assert_eq!(Roster::decode_kept(roster.as_bytes()).as_ref(), Ok(roster));
    assert_eq!(RosterFacts::decode(&roster.encode()).as_ref(), Ok(&**roster));
    for entry in &roster.entries {
        assert_eq!(roster.entry(&entry.node()), Some(entry));
        assert!(entry.role.is_empty() || is_word(&entry.role));
    }
    true
}

pub fn node_text(data: &[u8]) -> bool {
    let mut accepted = false;
    if let Ok(node) = NodeId::from_bytes(data) {
        assert_eq!(node.as_bytes()[..], *data);
        assert_eq!(node.to_string().parse(), Ok(node));
        accepted = true;
    }
    let Ok(text) = std::str::from_utf8(data) else { return accepted };
    let Ok(node) = text.parse::<NodeId>() else { return accepted };
    assert_eq!(node.to_string(), text.trim().to_ascii_lowercase(), "two texts of one key");
    true
}

pub fn seal_key_text(data: &[u8]) -> bool {
    let mut accepted = false;
    if let Ok(key) = SealPublic::from_bytes(data) {
        assert_eq!(key.as_bytes()[..], *data);
        assert_eq!(key.to_string().parse(), Ok(key));
        accepted = true;
    }
    let Ok(text) = std::str::from_utf8(data) else { return accepted };
    let Ok(key) = text.parse::<SealPublic>() else { return accepted };
    assert_eq!(key.to_string(), text.trim().to_ascii_lowercase(), "two texts of one key");
    true
}
