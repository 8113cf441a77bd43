//! What an adapter says: ten bytes, that tell a few who is there and nothing to anybody else.
//!
//! ```text
//!  0  4  nonce
//!  4  5  tag:     mask[..5]
//!  9  1  channel: what takes links, 0x80 to 0xff, or 0 for nothing; xor mask[5]
//!
//! mask = BLAKE3 keyed(key, nonce)
//! key  = dk("postrider 2026 near contact v1", the sender's first public seal key)
//!        dk("postrider 2026 near member v1", the group's secret (32) ‖ the sender's NodeId)
//! ```
//!
//! There is no room for a place that it is bound to, and nobody knows the address under which its
//! controller will show it. So whoever hears these bytes can say them again elsewhere, for as long as
//! anybody believes them. That costs dials in vain, which the machine bounds.

use std::fmt;

use postrider_base::{NodeId, SealPublic, domain};
use zeroize::ZeroizeOnDrop;

/// What is said, always as long: a legacy advertisement holds no more beside a 128-bit service UUID.
pub const SAID_BYTES: usize = NONCE + TAG + 1;
/// The bytes of a nonce.
pub const NONCE: usize = 4;
const TAG: usize = 5;

/// What an adapter says.
pub type Said = [u8; SAID_BYTES];

/// What holders of a node's card, or fellow members of a group, resolve its adverts with.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct NearKey([u8; 32]);

/// What an advert says to those who resolve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Where links are taken; `None`: nowhere, but it dials.
    pub channel: Option<u8>,
    /// What the channel is hidden with: it is said without proof, and may be another next time.
    pub(super) hidden_with: u8,
}

/// What says whose an advert is, without what can be changed in it.
pub(super) type Mark = [u8; NONCE + TAG];

impl NearKey {
    /// For those who have the node's card: from its first seal key, which its seed decides.
    pub fn of_contact(first_seal_key: &SealPublic) -> Self {
        Self(domain::derive(domain::NEAR_CONTACT, &[first_seal_key.as_bytes()]))
    }

    /// For those who are in a group with it: from the secret that all members have.
    pub fn of_member(secret: &[u8; 32], node: &NodeId) -> Self {
        Self(domain::derive(domain::NEAR_MEMBER, &[secret, node.as_bytes()]))
    }

    /// What its holder says under a nonce.
    pub fn say(&self, nonce: [u8; NONCE], channel: Option<u8>) -> Said {
        let mask = self.mask(nonce);
        let mut said = [0; SAID_BYTES];
        said[..NONCE].copy_from_slice(&nonce);
        said[NONCE..NONCE + TAG].copy_from_slice(&mask[..TAG]);
        said[NONCE + TAG] = channel.unwrap_or(0) ^ mask[TAG];
        said
    }

    /// What was said, if the holder of this key said it. One hash.
    pub fn read(&self, said: &Said) -> Option<Told> {
        let mask = self.mask(nonce(said));
        let tag = &said[NONCE..NONCE + TAG];
        // Whoever says guesses must not learn from the time it takes how good they are.
        let difference = tag.iter().zip(&mask).fold(0, |all, (a, b)| all | (a ^ b));
        (difference == 0)
            .then(|| Told { channel: channel(said, mask[TAG]), hidden_with: mask[TAG] })
    }

    fn mask(&self, nonce: [u8; NONCE]) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, &nonce).as_bytes()
    }
}

/// Channels that are free to take begin here (Core specification, volume 3, part A, 4.22).
const CHANNEL_MIN: u8 = 0x80;

/// The channel that was said.
pub(super) fn channel(said: &Said, hidden_with: u8) -> Option<u8> {
    let channel = said[NONCE + TAG] ^ hidden_with;
    (channel >= CHANNEL_MIN).then_some(channel)
}

/// Whose it is.
pub(super) fn mark(said: &Said) -> Mark {
    let mut mark = [0; NONCE + TAG];
    mark.copy_from_slice(&said[..NONCE + TAG]);
    mark
}

/// The nonce of what was said.
pub fn nonce(said: &Said) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    nonce.copy_from_slice(&said[..NONCE]);
    nonce
}

/// Of two that hear each other: whether the first one dials at once. The other one finds the opposite,
/// and another nonce may turn it round, so that it is not always the same one's battery.
pub(super) fn dials_first(me: (&NodeId, [u8; NONCE]), other: (&NodeId, [u8; NONCE])) -> bool {
    let lower = me.0 < other.0;
    let (a, b) = if lower { (me, other) } else { (other, me) };
    let order = domain::derive(domain::NEAR_TURN, &[a.0.as_bytes(), &a.1, b.0.as_bytes(), &b.1]);
    (order[0] & 1 == 0) == lower
}

impl fmt::Debug for NearKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NearKey")
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;
    use proptest::prelude::*;

    use super::*;

    fn node(seed: u8) -> NodeSecret {
        NodeSecret::from_seed([seed; 32])
    }

    fn key(seed: u8) -> NearKey {
        NearKey::of_contact(&node(seed).first_seal_key().public())
    }

    #[test]
    fn only_who_holds_the_card_reads_who_it_is_and_the_channel() {
        let said = key(1).say([7; NONCE], Some(0x81));
        assert_eq!(key(1).read(&said).unwrap().channel, Some(0x81));
        assert_eq!(key(2).read(&said), None);
    }

    #[test]
    fn who_takes_no_links_says_so_and_nothing_else_is_a_channel() {
        let key = key(1);
        assert_eq!(key.read(&key.say([7; NONCE], None)).unwrap().channel, None);
        for channel in 0..=u8::MAX {
            let told = key.read(&key.say([7; NONCE], Some(channel))).unwrap();
            assert_eq!(told.channel, (channel >= 0x80).then_some(channel));
        }
    }

    #[test]
    fn members_read_each_other_and_nobody_else_does() {
        let member = |secret, seed| NearKey::of_member(&[secret; 32], &node(seed).id());
        let said = member(1, 5).say([7; NONCE], Some(0x80));
        assert!(member(1, 5).read(&said).is_some());
        assert!(member(1, 6).read(&said).is_none());
        assert!(member(2, 5).read(&said).is_none());
        assert!(key(5).read(&said).is_none());
    }

    #[test]
    fn any_changed_bit_of_nonce_or_tag_hides_the_sender() {
        let said = key(1).say([7; NONCE], Some(0x81));
        for bit in 0..(NONCE + TAG) * 8 {
            let mut changed = said;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key(1).read(&changed), None, "bit {bit}");
        }
    }

    /// What a listener could follow somebody by.
    #[test]
    fn two_nonces_share_nothing_not_even_for_the_same_channel() {
        let key = key(1);
        let mut alike = 0;
        for n in 0..1000_u32 {
            let (a, b) = (n.to_be_bytes(), (n + 1000).to_be_bytes());
            let (a, b) = (key.say(a, Some(0x80)), key.say(b, Some(0x80)));
            alike += a[NONCE..].iter().zip(&b[NONCE..]).filter(|(a, b)| a == b).count();
        }
        // Random bytes agree once in 256: 23 of 6000.
        assert!(alike < 50, "{alike} bytes are the same");
    }

    #[test]
    fn of_two_just_one_dials_first_and_it_is_each_of_them_by_turns() {
        let (a, b) = (node(1).id(), node(2).id());
        let mut first = 0;
        for n in 0..1000_u32 {
            let (x, y) = (n.to_be_bytes(), (n * 7 + 1).to_be_bytes());
            let one = dials_first((&a, x), (&b, y));
            assert_ne!(one, dials_first((&b, y), (&a, x)));
            first += u32::from(one);
        }
        assert!((420..580).contains(&first), "{first} of 1000");
    }

    #[test]
    fn the_bytes_of_version_1_stay() {
        let said = key(5).say([7; NONCE], Some(0x80));
        let hex: String = said.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "07070707da8f405212ba";

    proptest! {
        #[test]
        fn reading_inverts_saying(nonce: [u8; NONCE], channel in 0x80..=u8::MAX, seed: u8) {
            let key = key(seed);
            let told = key.read(&key.say(nonce, Some(channel)));
            prop_assert_eq!(told.unwrap().channel, Some(channel));
        }

        #[test]
        fn noise_is_nobody(said: Said) {
            prop_assert!(key(1).read(&said).is_none());
        }
    }
}
