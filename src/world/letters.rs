//! Bundles as their authors make them, cheaply: real headers, ids, locks and signatures around
//! bytes that nobody opens.
//!
//! The seal draws chance of its own, so its bytes would differ from run to run. Here they are
//! those of a hash; everything that a relay checks is as in earnest.

use std::{
    collections::BTreeMap,
    sync::{LazyLock, OnceLock},
};

use bytes::Bytes;
use postrider_base::{
    BundleId, Head, Header, Lifetime, Niceness, NodeId, NodeSecret, SealPublic,
    bundle::{
        Destination, Hop, LockField, Origin, Receipt, ReceiptSecret, SMALL_PAYLOAD_MAX, SealKind,
        Sequence, tag_of,
    },
    domain,
};
use postrider_engine::node::{Class, Destination as There, Row};

use crate::chance::Chance;

/// Nodes of a world. The key of each is made when it is first asked for, once for all worlds of a
/// process.
pub const NODES_MAX: usize = 1 << 14;
/// Bytes of the shortest sealed payload here; no seal is shorter.
const SEALED_MIN: usize = 64;
/// What a compact seal takes.
const COMPACT_MAX: usize = 4096;

struct Keys {
    secret: NodeSecret,
    node: NodeId,
    seal: SealPublic,
}

static KEYS: LazyLock<Vec<OnceLock<Keys>>> =
    LazyLock::new(|| (0..NODES_MAX).map(|_| OnceLock::new()).collect());

fn keys(at: usize) -> &'static Keys {
    let at = at % NODES_MAX;
    KEYS[at].get_or_init(|| {
        let seed = domain::derive("postrider world node", &[&at.to_be_bytes()]);
        let secret = NodeSecret::from_seed(seed);
        Keys { node: secret.id(), seal: secret.first_seal_key().public(), secret }
    })
}

/// The key of a node.
pub fn node_id(at: usize) -> NodeId {
    keys(at).node
}

/// The seal key of a node.
pub fn seal_key(at: usize) -> SealPublic {
    keys(at).seal
}

/// What is asked of a letter.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Lower goes first.
    pub nice: u8,
    /// Bytes of its body.
    pub length: usize,
    /// Seconds it lives.
    pub lifetime_s: u32,
    /// What relays see of it.
    pub cover: Cover,
}

/// What relays see of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// All of it; nobody proves that it arrived.
    Clear,
    /// From whom to whom.
    Sealed,
    /// Neither.
    Hidden,
}

impl Default for Wish {
    fn default() -> Self {
        Self { nice: 160, length: 600, lifetime_s: 30 * 86_400, cover: Cover::Sealed }
    }
}

/// A letter and what its author knows of it.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its id.
    pub id: BundleId,
    /// The envelope head.
    pub head: Bytes,
    /// The payload.
    pub body: Bytes,
    /// What the head says.
    pub header: Header,
    /// Who wrote it.
    pub from: usize,
    /// For whom.
    pub to: usize,
    /// Its place among those of its author to its recipient; sealed where relays do not see it.
    pub sequence: Sequence,
    /// What proves that it was opened, where it has a lock.
    pub secret: Option<[u8; 16]>,
}

impl Letter {
    /// Writes one; `number` is new in its world.
    pub fn write(from: usize, to: usize, number: u64, wish: Wish) -> Self {
        let sealed = wish.cover != Cover::Clear;
        let length = if sealed { wish.length.max(SEALED_MIN) } else { wish.length.max(1) };
        let seed = [&from.to_be_bytes()[..], &to.to_be_bytes(), &number.to_be_bytes()].concat();
        let mut body = vec![0; length];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed);
        hasher.finalize_xof().fill(&mut body);
        let mut secret = [0; 16];
        hasher.update(b"secret");
        hasher.finalize_xof().fill(&mut secret);
        let secret = sealed.then_some(secret);
        let (seal, lock) = match secret {
            None => (SealKind::None, LockField::None),
            Some(r) if length <= COMPACT_MAX => {
                let lock = domain::derive(domain::LOCK, &[&body[..32], &r]);
                (SealKind::Compact, LockField::Compact(start(&lock)))
            }
            Some(r) => (SealKind::Age, LockField::Age(start(&domain::derive(domain::LOCK, &[&r])))),
        };
        let sequence = Sequence { epoch: 7, counter: number + 1 };
        let tag = if wish.cover == Cover::Hidden { tag_of(&seal_key(to), &lock) } else { None };
        let (destination, origin) = match tag {
            Some(tag) => (Destination::Tag(tag), Origin::Hidden),
            None => {
                // By the author's clock, which may stand at 1970: nothing may depend on it.
                let created = if from.is_multiple_of(2) { 0 } else { 1_900_000_000 };
                let origin = Origin::Open { source: node_id(from), sequence, created };
                (Destination::Node(node_id(to)), origin)
            }
        };
        let header = Header {
            destination,
            lifetime: Lifetime::new(wish.lifetime_s.max(1)).unwrap_or(Lifetime::DEFAULT),
            nice: Niceness::new(wish.nice.max(1)).unwrap_or(Niceness::NORMAL),
            seal,
            lock,
            origin,
            length: length as u64,
            hash: (length as u64 > SMALL_PAYLOAD_MAX).then(|| *blake3::hash(&body).as_bytes()),
        };
        let head = Head::sign(header.clone(), &body, &keys(from).secret);
        let (id, head) = (head.id(&body), head.encode().into());
        Self { id, head, body: body.into(), header, from, to, sequence, secret }
    }

    /// As its author's spool has it.
    pub(crate) fn row(&self) -> Row {
        row_of(self.id, &self.header, Hop::fresh(), Class::Own)
    }

    /// What whoever opens it can show.
    pub fn receipt(&self) -> Option<Receipt> {
        self.secret.map(|r| Receipt::new(&self.id, &ReceiptSecret(r)))
    }
}

/// A bundle with this header, as a spool has it.
pub(crate) fn row_of(id: BundleId, header: &Header, hop: Hop, class: Class) -> Row {
    Row {
        id,
        destination: match header.destination {
            Destination::Node(node) => There::Node(*node.as_bytes()),
            Destination::Group(group) => There::Group(group),
            Destination::Tag(tag) => There::Tag(tag),
        },
        tagged_for: None,
        source: header.source().map(|(source, _)| *source.as_bytes()),
        nice: header.nice.value(),
        lifetime_s: header.lifetime.seconds(),
        length: header.length,
        hop,
        class,
        from: None,
        arrived_held_ms: 0,
        arrival: 0,
    }
}

fn start<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    std::array::from_fn(|at| digest[at])
}

/// What a seal would show to whoever may open it: all letters of a world.
#[derive(Debug, Default)]
pub struct Letters {
    by_id: BTreeMap<BundleId, Letter>,
}

impl Letters {
    /// A letter was written.
    pub fn add(&mut self, letter: Letter) {
        self.by_id.insert(letter.id, letter);
    }

    /// The letter of a bundle.
    pub fn of(&self, id: &BundleId) -> Option<&Letter> {
        self.by_id.get(id)
    }

    /// One of them.
    pub(crate) fn any(&self, chance: &mut Chance) -> Option<&Letter> {
        self.by_id.values().nth(chance.index(self.by_id.len()))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Letter> {
        self.by_id.values()
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::bundle::resolve_tag;

    use super::*;

    #[test]
    fn letters_are_bundles_that_verify_and_whose_receipts_open_their_locks() {
        for cover in [Cover::Clear, Cover::Sealed, Cover::Hidden] {
            for length in [1, 600, 4096, 4097, 100_000] {
                let letter = Letter::write(1, 2, 9, Wish { length, cover, ..Wish::default() });
                let head = Head::decode(&letter.head).unwrap();
                let id = if head.header().is_small() {
                    head.verify_small(&letter.body)
                } else {
                    head.verify_large()
                };
                assert_eq!(id, Ok(letter.id), "{cover:?} {length}");
                let opens =
                    letter.receipt().map(|r| r.opens(&letter.id, head.header(), &letter.body));
                assert_eq!(opens, (cover != Cover::Clear).then_some(true), "{cover:?} {length}");
                let known = [seal_key(3), seal_key(2)];
                let resolved = resolve_tag(head.header(), &known);
                let hidden = (cover == Cover::Hidden).then(|| seal_key(2));
                assert_eq!(resolved.copied(), hidden);
            }
        }
    }
}
