//! Links of an audit chain: each names the one before it, so that none can be changed, left out or
//! put elsewhere without the next one showing it.
//!
//! ```text
//! link   = BLAKE3("postrider 2026 audit link v1", record)
//! record = [1, link before, number, held ms, clock | null, what, job | null, who | null, handle | null,
//!           hash | null, why | null, signature | null]
//! head   = [1, number, link, base number, base link, signed number, signed held ms, hash of the list]
//! ```

use postrider_base::{BundleId, NodeId, domain, wire};
use serde_bytes::ByteBuf;

const VERSION: u8 = 1;

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::desk) struct Entry {
    pub what: String,
    pub job: Option<BundleId>,
    pub who: Option<NodeId>,
    pub handle: Option<String>,
    pub hash: Option<[u8; 32]>,
    pub why: Option<String>,
    pub signature: Option<[u8; 64]>,
}

/// It, in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub before: [u8; 32],
    pub number: u64,
    pub held_ms: u64,
    pub wall_s: Option<u64>,
    pub entry: Entry,
}

/// Where a chain ends, and where what is kept of it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Of the newest record; 0 for none.
    pub number: u64,
    pub link: [u8; 32],
    /// Of the newest record that was forgotten.
    pub base_number: u64,
    pub base_link: [u8; 32],
    /// Up to which record this node has signed, and when by the custody clock.
    pub signed_number: u64,
    pub signed_ms: u64,
    /// BLAKE3 of the allow-list as it was last seen.
    pub list: [u8; 32],
}

type RecordWire = (
    u8,
    ByteBuf,
    u64,
    u64,
    Option<u64>,
    String,
    Option<ByteBuf>,
    Option<ByteBuf>,
    Option<String>,
    Option<ByteBuf>,
    Option<String>,
    Option<ByteBuf>,
);
type HeadWire = (u8, u64, ByteBuf, u64, ByteBuf, u64, u64, ByteBuf);

/// Where a chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// At which record.
    pub number: u64,
    pub why: String,
}

/// A chain that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holds {
    /// Up to which record this node's own signature speaks for it.
    pub signed: u64,
    /// Behind which record stands the link that was looked for.
    pub has: Option<u64>,
}

/// The link of a record's bytes.
pub(super) fn link(record: &[u8]) -> [u8; 32] {
    domain::derive(domain::AUDIT_LINK, &[record])
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let Entry { what, job, who, handle, hash, why, signature } = self.entry.clone();
        wire::encode::<RecordWire>(&(
            VERSION,
            ByteBuf::from(self.before),
            self.number,
            self.held_ms,
            self.wall_s,
            what,
            job.map(|job| ByteBuf::from(job.0)),
            who.map(|who| ByteBuf::from(*who.as_bytes())),
            handle,
            hash.map(ByteBuf::from),
            why,
            signature.map(ByteBuf::from),
        ))
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let wire: RecordWire = wire::decode(bytes).ok()?;
        let (
            version,
            before,
            number,
            held_ms,
            wall_s,
            what,
            job,
            who,
            handle,
            hash,
            why,
            signature,
        ) = wire;
        let job = job.map(|job| job.as_slice().try_into().map(BundleId)).transpose().ok()?;
        let who = who.map(|who| NodeId::from_bytes(&who)).transpose().ok()?;
        let hash = hash.map(|hash| hash.as_slice().try_into()).transpose().ok()?;
        let signature = signature.map(|it| it.as_slice().try_into()).transpose().ok()?;
        let entry = Entry { what, job, who, handle, hash, why, signature };
        let before = before.as_slice().try_into().ok()?;
        (version == VERSION).then_some(Self { before, number, held_ms, wall_s, entry })
    }
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let bytes = |hash: &[u8; 32]| ByteBuf::from(*hash);
        wire::encode::<HeadWire>(&(
            VERSION,
            self.number,
            bytes(&self.link),
            self.base_number,
            bytes(&self.base_link),
            self.signed_number,
            self.signed_ms,
            bytes(&self.list),
        ))
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, number, link, base_number, base_link, signed_number, signed_ms, list): HeadWire =
            wire::decode(bytes).ok()?;
        let hash = |bytes: ByteBuf| bytes.as_slice().try_into().ok();
        let head = Self {
            number,
            link: hash(link)?,
            base_number,
            base_link: hash(base_link)?,
            signed_number,
            signed_ms,
            list: hash(list)?,
        };
        (version == VERSION).then_some(head)
    }

    /// The next record, which is the newest from now on.
    pub(super) fn next(
        &mut self,
        held_ms: u64,
        wall_s: Option<u64>,
        entry: Entry,
    ) -> (u64, Vec<u8>) {
        let number = self.number + 1;
        let bytes = Record { before: self.link, number, held_ms, wall_s, entry }.encode();
        (self.number, self.link) = (number, link(&bytes));
        (number, bytes)
    }

    /// Looks through all that is kept, in order, and for a link that somebody else has kept.
    pub(super) fn check(
        &self,
        node: &NodeId,
        records: &[(u64, Vec<u8>)],
        wanted: Option<&[u8; 32]>,
    ) -> Result<Holds, Broken> {
        let mut holds = Holds { signed: 0, has: None };
        let (mut last, mut before) = (self.base_number, self.base_link);
        if wanted == Some(&before) && last > 0 {
            holds.has = Some(last);
        }
        for (number, bytes) in records {
            let broken = |number: u64, why: String| Err(Broken { number, why });
            if *number != last + 1 {
                return broken(last + 1, "it is not there".into());
            }
            let Some(record) = Record::decode(bytes) else {
                return broken(*number, "it cannot be read".into());
            };
            if record.number != *number {
                let why = format!("in its place stands the one with number {}", record.number);
                return broken(*number, why);
            }
            if record.before != before {
                let why = match last {
                    last if last == self.base_number => {
                        "it does not follow from what was forgotten".into()
                    }
                    last => format!("it does not follow from {last}: one of the two was changed"),
                };
                return broken(*number, why);
            }
            if record.entry.what == SIGNED {
                let signature = record.entry.signature;
                if !signature.is_some_and(|it| node.verify(&domain::AUDIT, &before, &it)) {
                    return broken(*number, "the signature in it is not this node's".into());
                }
                holds.signed = last;
            }
            (last, before) = (*number, link(bytes));
            if wanted == Some(&before) {
                holds.has = Some(last);
            }
        }
        if last < self.number {
            return Err(Broken {
                number: last + 1,
                why: "it is not there, nor any behind it".into(),
            });
        }
        if (last, before) != (self.number, self.link) {
            return Err(Broken { number: last, why: "its head speaks of another one".into() });
        }
        Ok(holds)
    }
}

/// A record that signs for the ones before it.
pub(super) const SIGNED: &str = "signed";

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;

    use super::*;

    fn secret() -> NodeSecret {
        NodeSecret::from_seed([1; 32])
    }

    /// A dozen records, the seventh a signature.
    fn chain() -> (Head, Vec<(u64, Vec<u8>)>) {
        let mut head = Head::default();
        let records = (1..=12).map(|n: u64| {
            let signature = (n == 7).then(|| secret().sign(&domain::AUDIT, &head.link));
            let what = if n == 7 { SIGNED } else { "ended" };
            let entry = Entry {
                what: what.into(),
                job: Some(BundleId([9; 32])),
                who: Some(secret().id()),
                handle: Some("pump".into()),
                hash: n.is_multiple_of(2).then_some([7; 32]),
                why: Some(format!("exited with {n}")),
                signature,
            };
            head.next(n * 1000, (n > 3).then_some(1_800_000_000), entry)
        });
        let records = records.collect();
        (head, records)
    }

    fn check(head: &Head, records: &[(u64, Vec<u8>)]) -> Result<Holds, Broken> {
        head.check(&secret().id(), records, None)
    }

    #[test]
    fn a_chain_holds_and_reads_back() {
        let (head, records) = chain();
        assert_eq!(check(&head, &records), Ok(Holds { signed: 6, has: None }));
        assert_eq!(Head::decode(&head.encode()), Some(head.clone()));
        for (number, bytes) in &records {
            let record = Record::decode(bytes).unwrap();
            assert_eq!((record.number, record.encode()), (*number, bytes.clone()));
        }
        assert!(check(&Head::default(), &[]).is_ok());
    }

    #[test]
    fn any_flipped_bit_is_found_where_it_is() {
        let (head, records) = chain();
        for at in 0..records.len() {
            for byte in 0..records[at].1.len() {
                let mut spoiled = records.clone();
                spoiled[at].1[byte] ^= 1 << (byte % 8);
                let broken = check(&head, &spoiled).unwrap_err();
                let number = records[at].0;
                assert!((number..=number + 1).contains(&broken.number), "{at} {byte}: {broken:?}");
            }
        }
        let bytes = head.encode();
        for byte in 0..bytes.len() {
            let mut spoiled = bytes.clone();
            spoiled[byte] ^= 0x40;
            let Some(spoiled) = Head::decode(&spoiled) else { continue };
            // What it says of the list and of when it was signed is no part of the chain.
            let same = (spoiled.number, spoiled.link, spoiled.base_number, spoiled.base_link)
                == (head.number, head.link, head.base_number, head.base_link);
            assert_eq!(check(&spoiled, &records).is_ok(), same, "{byte}");
        }
    }

    #[test]
    fn one_left_out_two_exchanged_and_a_cut_tail_are_found() {
        let (head, records) = chain();
        for at in 0..records.len() {
            let mut gone = records.clone();
            gone.remove(at);
            assert_eq!(check(&head, &gone).unwrap_err().number, records[at].0);
            // Renumbered, so that no gap shows.
            let mut closed: Vec<(u64, Vec<u8>)> = gone.clone();
            closed.iter_mut().enumerate().for_each(|(n, record)| record.0 = n as u64 + 1);
            assert_eq!(check(&head, &closed).unwrap_err().number, records[at].0);
            for other in 0..at {
                let mut swapped = records.clone();
                let (a, b) = (swapped[at].1.clone(), swapped[other].1.clone());
                (swapped[at].1, swapped[other].1) = (b, a);
                assert_eq!(check(&head, &swapped).unwrap_err().number, records[other].0);
            }
            assert_eq!(check(&head, &records[..at]).unwrap_err().number, records[at].0);
        }
    }

    /// Who can write everything here makes a chain that holds; what others have kept shows it.
    #[test]
    fn a_tail_that_was_cut_with_its_head_is_found_by_a_link_that_others_have() {
        let (head, records) = chain();
        let look = |head: &Head, records: &[(u64, Vec<u8>)], wanted: &[u8; 32]| {
            head.check(&secret().id(), records, Some(wanted)).unwrap().has
        };
        for (number, bytes) in &records {
            assert_eq!(look(&head, &records, &link(bytes)), Some(*number));
        }
        let cut = Head { number: 8, link: link(&records[7].1), ..head.clone() };
        assert_eq!(look(&cut, &records[..8], &head.link), None);
        assert_eq!(look(&cut, &records[..8], &link(&records[7].1)), Some(8));
    }

    #[test]
    fn whoever_makes_it_anew_without_the_key_cannot_sign_for_it() {
        let (_, records) = chain();
        let mut head = Head::default();
        let other = NodeSecret::from_seed([2; 32]);
        let forged: Vec<(u64, Vec<u8>)> = records
            .iter()
            .map(|(_, bytes)| {
                let mut entry = Record::decode(bytes).unwrap().entry;
                entry.why = Some("exited with 0".into());
                entry.signature = entry.signature.map(|_| other.sign(&domain::AUDIT, &head.link));
                head.next(1, None, entry)
            })
            .collect();
        assert_eq!(check(&head, &forged).unwrap_err().number, 7);
    }

    #[test]
    fn what_was_forgotten_is_still_what_the_oldest_follows_from() {
        let (head, records) = chain();
        let kept = Head { base_number: 5, base_link: link(&records[4].1), ..head.clone() };
        assert_eq!(check(&kept, &records[5..]), Ok(Holds { signed: 6, has: None }));
        let wrong = Head { base_number: 5, base_link: link(&records[3].1), ..head };
        assert_eq!(check(&wrong, &records[5..]).unwrap_err().number, 6);
    }
}
