//! The beacon of a radio: in 24 bytes who is there, for contacts alone, and what it has, for all.
//!
//! ```text
//! 04 | nonce 2 | load 1 | slice 1 | newest 3 | asked 3 | digest 8 | tag 5
//! ```
//!
//! Whoever holds the sender's card resolves the tag with one hash; to everybody else no two beacons
//! look alike. The digest is a Bloom filter of what the sender has within one slice of all ids, salted
//! with the nonce: what it errs about it does not err about the next time. All of it is hearsay: a
//! beacon makes others offer or repeat less, and never lets go of anything.

use std::fmt;

use postrider_base::{SealPublic, domain};

use super::contract::ItemId;

/// The first byte.
pub(super) const BEACON: u8 = 4;
/// All beacons are as long.
pub const BEACON_BYTES: usize = 24;
const TAG: usize = 5;
const BOUND: usize = BEACON_BYTES - TAG;

/// Ids in one digest: 64 bits, four for each, err about one in forty with so many.
pub const DIGEST_MOST: usize = 8;
const PROBES: usize = 4;

/// What holders of a node's card resolve its beacons with.
#[derive(Clone, PartialEq, Eq)]
pub struct ContactKey([u8; 32]);

/// What a beacon says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// Random.
    pub nonce: [u8; 2],
    /// How busy the channel is around it, in two hundred and fiftieths.
    pub load: u8,
    /// Which ids the digest speaks of.
    pub slice: Slice,
    /// What it got last; zeros for nothing.
    pub newest: [u8; 3],
    /// For which of its items it asks for a receipt; zeros for none.
    pub asked: [u8; 3],
    /// What it has of that slice.
    pub digest: [u8; 8],
    tag: [u8; TAG],
}

/// A part of all ids: those that begin with some bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice(u8);

impl ContactKey {
    /// From the node's first seal key, which its card lists.
    pub fn of(first_seal_key: &SealPublic) -> Self {
        Self(domain::derive(domain::STATION_CONTACT, &[first_seal_key.as_bytes()]))
    }

    /// Stands under what the holder says.
    pub(super) fn tag(&self, bound: &[u8]) -> [u8; TAG] {
        let mut tag = [0; TAG];
        tag.copy_from_slice(&blake3::keyed_hash(&self.0, bound).as_bytes()[..TAG]);
        tag
    }
}

impl Slice {
    /// The slice of so many bits, seven at most, in which these first bits stand.
    pub fn new(bits: u32, first: u8) -> Self {
        let bits = bits.min(7);
        // A one before the bits says how many there are.
        Self(u8::try_from((1_u32 << bits) | (u32::from(first) >> (8 - bits))).unwrap_or(1))
    }

    /// How many bits an id has in common with all others of the slice.
    pub fn bits(self) -> u32 {
        7_u32.saturating_sub(self.0.leading_zeros())
    }

    /// Whether an id is in it.
    pub fn has(self, id: &ItemId) -> bool {
        Self::new(self.bits(), id.0[0]) == self
    }
}

impl Beacon {
    /// One that says this, of what the sender has within the slice.
    pub fn new(
        key: &ContactKey,
        nonce: [u8; 2],
        load: u8,
        slice: Slice,
        newest: [u8; 3],
        asked: [u8; 3],
        held: impl IntoIterator<Item = ItemId>,
    ) -> Self {
        let mut digest = 0_u64;
        for id in held {
            digest |= probes(nonce, &id);
        }
        let digest = digest.to_be_bytes();
        let mut beacon = Self { nonce, load, slice, newest, asked, digest, tag: [0; TAG] };
        beacon.tag = key.tag(&beacon.encode()[..BOUND]);
        beacon
    }

    /// The frame.
    pub fn encode(&self) -> [u8; BEACON_BYTES] {
        let mut out = [BEACON; BEACON_BYTES];
        out[1..3].copy_from_slice(&self.nonce);
        (out[3], out[4]) = (self.load, self.slice.0);
        out[5..8].copy_from_slice(&self.newest);
        out[8..11].copy_from_slice(&self.asked);
        out[11..BOUND].copy_from_slice(&self.digest);
        out[BOUND..].copy_from_slice(&self.tag);
        out
    }

    /// Reads a frame; none if it is no beacon.
    pub fn decode(frame: &[u8]) -> Option<Self> {
        let frame: &[u8; BEACON_BYTES] = frame.try_into().ok()?;
        let [BEACON, n0, n1, load, slice, w0, w1, w2, a0, a1, a2, rest @ ..] = frame else {
            return None;
        };
        if *slice == 0 {
            return None;
        }
        let (digest, tag) = rest.split_first_chunk::<8>()?;
        Some(Self {
            nonce: [*n0, *n1],
            load: *load,
            slice: Slice(*slice),
            newest: [*w0, *w1, *w2],
            asked: [*a0, *a1, *a2],
            digest: *digest,
            tag: tag.try_into().ok()?,
        })
    }

    /// Whether the sender has an item; none if this beacon does not speak of it.
    pub fn has(&self, id: &ItemId) -> Option<bool> {
        if self.newest != [0; 3] && id.0.starts_with(&self.newest) {
            return Some(true);
        }
        let probes = probes(self.nonce, id);
        self.slice.has(id).then(|| u64::from_be_bytes(self.digest) & probes == probes)
    }

    /// Whether it is from the holder of this key.
    pub fn is_from(&self, key: &ContactKey) -> bool {
        let tag = key.tag(&self.encode()[..BOUND]);
        // Whoever guesses must not learn from the time it takes how good a guess is.
        self.tag.iter().zip(tag).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

/// The bits that stand for an id in a digest.
fn probes(nonce: [u8; 2], id: &ItemId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&nonce).update(&id.0);
    let hash = hasher.finalize();
    hash.as_bytes()[..PROBES].iter().fold(0, |bits, byte| bits | 1 << (byte % 64))
}

impl fmt::Debug for ContactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContactKey")
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;

    use super::*;

    fn key(seed: u8) -> ContactKey {
        ContactKey::of(&NodeSecret::from_seed([seed; 32]).first_seal_key().public())
    }

    fn id(n: u32) -> ItemId {
        let hash = blake3::hash(&n.to_be_bytes());
        ItemId(*hash.as_bytes().first_chunk().unwrap())
    }

    fn beacon(nonce: u16, held: std::ops::Range<u32>) -> Beacon {
        let all = Slice::new(0, 0);
        Beacon::new(&key(1), nonce.to_be_bytes(), 7, all, [1, 2, 3], [0; 3], held.map(id))
    }

    #[test]
    fn only_who_holds_the_card_resolves_it_and_no_two_look_alike() {
        let (one, other) = (beacon(1, 0..3), beacon(2, 0..3));
        assert_eq!(Beacon::decode(&one.encode()), Some(one));
        assert!(one.is_from(&key(1)) && !one.is_from(&key(2)));
        assert_ne!(one.tag, other.tag);
        let same = one.encode().iter().zip(other.encode()).filter(|(a, b)| *a == b).count();
        assert!(same < 14, "{same} bytes are the same");
        // Whatever is changed, it is from nobody.
        for at in 1..BEACON_BYTES {
            let mut frame = one.encode();
            frame[at] ^= 1;
            assert!(!Beacon::decode(&frame).is_some_and(|beacon| beacon.is_from(&key(1))), "{at}");
        }
    }

    #[test]
    fn a_digest_names_what_is_there_and_rarely_errs() {
        let most = u32::try_from(DIGEST_MOST).unwrap();
        let mut wrong = 0;
        for nonce in 0..500 {
            let beacon = beacon(nonce, 0..most);
            assert!((0..most).all(|n| beacon.has(&id(n)) == Some(true)));
            wrong += (most..most + 100).filter(|n| beacon.has(&id(*n)) == Some(true)).count();
        }
        println!("{wrong} of 50000 named though they are not there");
        assert!((500..2500).contains(&wrong), "{wrong}");
        // What one beacon errs about the next does not.
        let twice = (most..2000)
            .filter(|n| (0..2).all(|nonce| beacon(nonce, 0..most).has(&id(*n)) == Some(true)));
        assert!(twice.count() < 10);
    }

    #[test]
    fn a_digest_is_silent_about_other_slices_but_the_newest_is_named() {
        for bits in 0..=7 {
            let slice = Slice::new(bits, 0b1010_1010);
            assert_eq!(slice.bits(), bits);
            let inside =
                (0..=255).filter(|first| slice.has(&ItemId([*first, 0, 0, 0, 0, 0, 0, 0])));
            assert_eq!(inside.count(), 256 >> bits);
            assert!(slice.has(&ItemId([0b1010_1010; 8])));
        }
        assert_eq!(Slice::new(9, 0), Slice::new(7, 0));
        let slice = Slice::new(4, 0xf0);
        let beacon = Beacon::new(&key(1), [0; 2], 0, slice, [1, 2, 3], [0; 3], []);
        assert_eq!(beacon.has(&ItemId([0xf1; 8])), Some(false));
        assert_eq!(beacon.has(&ItemId([0xe1; 8])), None);
        assert_eq!(beacon.has(&ItemId([1, 2, 3, 4, 5, 6, 7, 8])), Some(true));
    }

    #[test]
    fn what_is_no_beacon_is_none() {
        let frame = beacon(1, 0..1).encode();
        assert_eq!(Beacon::decode(&frame[..23]), None);
        assert_eq!(Beacon::decode(&[&frame[..], &[0]].concat()), None);
        for (at, byte) in [(0, 5), (4, 0)] {
            let mut other = frame;
            other[at] = byte;
            assert_eq!(Beacon::decode(&other), None);
        }
    }
}
