//! The beacon: one datagram that says "somebody is here" to everybody, and who to a few.
//!
//! Layout and limits stand in `docs/lan.md`. Whoever holds the sender's card resolves the contact
//! tag with one hash; members of a group resolve a place and read the NodeId in it; to everybody
//! else the beacon shows a *guest* key that says nothing of who it is and does not last. Both are
//! bound to the address the beacon comes from: repeated from elsewhere it resolves to nobody.
//!
//! All of it is hearsay. Only a link to the port it names proves anything.

use std::{fmt, net::Ipv6Addr};

use postrider_base::{NodeId, SealPublic, domain};
use zeroize::ZeroizeOnDrop;

/// Every beacon has this length, so that it does not tell the number of groups.
pub const BEACON_BYTES: usize = HEAD + TAG + GROUPS_MAX * PLACE;
/// Groups in which a node shows itself. Three fit a beacon of 172 bytes; more would make every
/// beacon longer for everybody.
pub const GROUPS_MAX: usize = 3;

/// Multicast on Wi-Fi goes at the lowest rate: at 1 Mbit/s so much is 2 ms for everybody.
const _: () = assert!(BEACON_BYTES <= 200);

const VERSION: u8 = 1;
const CARRIER: u8 = 1;
const FRESH: u8 = 2;
const NONCE: usize = 8;
/// Version, flags, nonce, port, guest key.
const HEAD: usize = 1 + 1 + NONCE + 2 + 32;
const TAG: usize = 8;
/// What one group gets: a tag and the hidden NodeId.
const PLACE: usize = TAG + 32;
const FILLER: usize = TAG + GROUPS_MAX * PLACE;

/// What a beacon shows to everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The sender takes links from strangers, under its guest key.
    pub carrier: bool,
    /// The sender has just come up and forgot what links it had.
    pub fresh: bool,
    /// Random; the same as long as the guest key is.
    pub nonce: [u8; NONCE],
    /// The TCP port where links are taken; never 0.
    pub port: u16,
    /// A key that says nothing of who this is.
    pub guest: NodeId,
}

/// A beacon as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// What everybody can read.
    pub head: Head,
    bytes: [u8; BEACON_BYTES],
}

/// What is random where nobody is meant: as long as every secret part together.
pub type Filler = [u8; FILLER];

/// What holders of a node's card resolve its beacons with.
#[derive(Clone, PartialEq, Eq)]
pub struct ContactKey([u8; 32]);

/// What members of a group resolve each other's beacons with.
#[derive(Clone, ZeroizeOnDrop)]
pub struct GroupKey([u8; 32]);

/// Why a datagram is not a beacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeaconError {
    /// Not [`BEACON_BYTES`] long.
    #[error("a beacon has {BEACON_BYTES} bytes, this has {0}")]
    Length(usize),
    /// Another version.
    #[error("a beacon of version {0}")]
    Version(u8),
    /// A flag that means nothing.
    #[error("a beacon with unknown flags {0:#x}")]
    Flags(u8),
    /// Port 0, where nobody listens.
    #[error("a beacon without a port")]
    Port,
    /// The guest key is none.
    #[error("a beacon whose guest key is none")]
    Guest,
}

impl ContactKey {
    /// From the node's first seal key, which its seed decides and its card lists.
    pub fn of(first_seal_key: &SealPublic) -> Self {
        Self(domain::derive(domain::BEACON_CONTACT, &[first_seal_key.as_bytes()]))
    }
}

impl GroupKey {
    /// From the secret that all members have.
    pub fn of(secret: &[u8; 32]) -> Self {
        Self(domain::derive(domain::BEACON_GROUP, &[secret]))
    }

    /// Hides `node` for those who have the key: a tag over everything, and a key stream that the
    /// tag starts, so that no two beacons share one.
    fn hide(&self, node: &NodeId, bound: &[u8]) -> [u8; PLACE] {
        let tag = self.tag(node.as_bytes(), bound);
        let mut place = [0; PLACE];
        place[..TAG].copy_from_slice(&tag);
        place[TAG..].copy_from_slice(node.as_bytes());
        self.stream(&tag, bound, &mut place[TAG..]);
        place
    }

    fn find(&self, place: &[u8], bound: &[u8]) -> Option<NodeId> {
        let (tag, hidden) = place.split_first_chunk::<TAG>()?;
        let mut node: [u8; 32] = hidden.try_into().ok()?;
        self.stream(tag, bound, &mut node);
        same(tag, &self.tag(&node, bound)).then(|| NodeId::from_bytes(&node).ok())?
    }

    fn tag(&self, node: &[u8; 32], bound: &[u8]) -> [u8; TAG] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"tag").update(bound).update(node);
        short(hasher.finalize().as_bytes())
    }

    fn stream(&self, tag: &[u8; TAG], bound: &[u8], onto: &mut [u8]) {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"hide").update(bound).update(tag);
        let key = hasher.finalize();
        onto.iter_mut().zip(key.as_bytes()).for_each(|(byte, key)| *byte ^= key);
    }
}

impl Head {
    fn encode(&self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[0] = VERSION;
        bytes[1] = if self.carrier { CARRIER } else { 0 } | if self.fresh { FRESH } else { 0 };
        bytes[2..10].copy_from_slice(&self.nonce);
        bytes[10..12].copy_from_slice(&self.port.to_be_bytes());
        bytes[12..].copy_from_slice(self.guest.as_bytes());
        bytes
    }
}

impl Beacon {
    /// The beacon of `node`, sent from the link-local address `from`. Places beyond the groups, of
    /// which only the first [`GROUPS_MAX`] count, hold `filler`.
    pub fn new(
        head: Head,
        from: Ipv6Addr,
        node: &NodeId,
        key: &ContactKey,
        groups: &[GroupKey],
        filler: &Filler,
    ) -> Self {
        let mut bytes = [0; BEACON_BYTES];
        bytes[..HEAD].copy_from_slice(&head.encode());
        bytes[HEAD..].copy_from_slice(filler);
        let bound = bound(&bytes, from);
        bytes[HEAD..HEAD + TAG].copy_from_slice(&contact_tag(key, &bound));
        for (place, group) in bytes[HEAD + TAG..].chunks_exact_mut(PLACE).zip(groups) {
            place.copy_from_slice(&group.hide(node, &bound));
        }
        Self { head, bytes }
    }

    /// Reads a datagram.
    pub fn decode(datagram: &[u8]) -> Result<Self, BeaconError> {
        let bytes: [u8; BEACON_BYTES] =
            datagram.try_into().map_err(|_| BeaconError::Length(datagram.len()))?;
        if bytes[0] != VERSION {
            return Err(BeaconError::Version(bytes[0]));
        }
        let flags = bytes[1];
        if flags & !(CARRIER | FRESH) != 0 {
            return Err(BeaconError::Flags(flags));
        }
        let port = u16::from_be_bytes([bytes[10], bytes[11]]);
        if port == 0 {
            return Err(BeaconError::Port);
        }
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&bytes[2..10]);
        let guest = NodeId::from_bytes(&bytes[12..HEAD]).map_err(|_| BeaconError::Guest)?;
        let (carrier, fresh) = (flags & CARRIER != 0, flags & FRESH != 0);
        Ok(Self { head: Head { carrier, fresh, nonce, port, guest }, bytes })
    }

    /// The datagram.
    pub fn as_bytes(&self) -> &[u8; BEACON_BYTES] {
        &self.bytes
    }

    /// The contact tag: to most eight random bytes, the same ones to everybody who hears it.
    pub fn tag(&self) -> [u8; TAG] {
        short(&self.bytes[HEAD..])
    }

    /// Finds the sender among contacts, for one hash each.
    pub fn contact<'a>(
        &self,
        from: Ipv6Addr,
        contacts: impl IntoIterator<Item = &'a (NodeId, ContactKey)>,
    ) -> Option<NodeId> {
        let bound = bound(&self.bytes, from);
        let tag = self.tag();
        let mut contacts = contacts.into_iter();
        contacts.find(|(_, key)| same(&tag, &contact_tag(key, &bound))).map(|(node, _)| *node)
    }

    /// Reads the sender's name as a member of groups.
    pub fn member(&self, from: Ipv6Addr, groups: &[GroupKey]) -> Option<NodeId> {
        let bound = bound(&self.bytes, from);
        let places = self.bytes[HEAD + TAG..].chunks_exact(PLACE);
        places.flat_map(|place| groups.iter().find_map(|group| group.find(place, &bound))).next()
    }
}

/// What tags are bound to: the head, and the address the beacon comes from.
fn bound(bytes: &[u8; BEACON_BYTES], from: Ipv6Addr) -> [u8; HEAD + 16] {
    let mut bound = [0; HEAD + 16];
    bound[..HEAD].copy_from_slice(&bytes[..HEAD]);
    bound[HEAD..].copy_from_slice(&from.octets());
    bound
}

fn contact_tag(key: &ContactKey, bound: &[u8]) -> [u8; TAG] {
    short(blake3::keyed_hash(&key.0, bound).as_bytes())
}

fn short(bytes: &[u8]) -> [u8; TAG] {
    let mut tag = [0; TAG];
    tag.copy_from_slice(&bytes[..TAG]);
    tag
}

/// Whoever sends guesses must not learn from the time it takes how good they are.
fn same(a: &[u8; TAG], b: &[u8; TAG]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

impl fmt::Debug for ContactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContactKey")
    }
}

impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupKey")
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;
    use proptest::prelude::*;

    use super::*;

    const HERE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const ELSEWHERE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

    fn node(seed: u8) -> NodeSecret {
        NodeSecret::from_seed([seed; 32])
    }

    fn card(seed: u8) -> (NodeId, ContactKey) {
        (node(seed).id(), ContactKey::of(&node(seed).first_seal_key().public()))
    }

    fn head(nonce: u8) -> Head {
        let guest = node(nonce ^ 0x80).id();
        Head { carrier: true, fresh: false, nonce: [nonce; 8], port: 7531, guest }
    }

    fn beacon(seed: u8, nonce: u8, groups: &[GroupKey]) -> Beacon {
        let (id, key) = card(seed);
        Beacon::new(head(nonce), HERE, &id, &key, groups, &[nonce ^ 0x55; FILLER])
    }

    #[test]
    fn holders_of_the_card_resolve_it_and_nobody_else() {
        let contacts = [card(1), card(2), card(3)];
        assert_eq!(beacon(2, 7, &[]).contact(HERE, &contacts), Some(contacts[1].0));
        assert_eq!(beacon(9, 7, &[]).contact(HERE, &contacts), None);
    }

    #[test]
    fn members_read_the_name_and_nobody_else() {
        let groups = [1, 2, 3].map(|secret| GroupKey::of(&[secret; 32]));
        let beacon = beacon(5, 7, &groups);
        for group in &groups {
            let mine = [GroupKey::of(&[8; 32]), group.clone()];
            assert_eq!(beacon.member(HERE, &mine), Some(node(5).id()));
        }
        assert_eq!(beacon.member(HERE, &[GroupKey::of(&[9; 32])]), None);
    }

    #[test]
    fn repeated_from_another_address_it_resolves_to_nobody() {
        let groups = [GroupKey::of(&[1; 32])];
        let beacon = beacon(5, 7, &groups);
        assert_eq!(beacon.contact(ELSEWHERE, &[card(5)]), None);
        assert_eq!(beacon.member(ELSEWHERE, &groups), None);
    }

    #[test]
    fn any_changed_bit_of_the_head_hides_the_sender() {
        let groups = [GroupKey::of(&[1; 32])];
        let original = beacon(5, 7, &groups);
        let mut read = 0;
        for bit in 0..HEAD * 8 {
            let mut bytes = *original.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(changed) = Beacon::decode(&bytes) else { continue };
            read += 1;
            assert_eq!(changed.contact(HERE, &[card(5)]), None, "bit {bit}");
            assert_eq!(changed.member(HERE, &groups), None, "bit {bit}");
        }
        assert!(read > 150, "only {read} changed beacons are beacons");
    }

    #[test]
    fn a_changed_hidden_name_is_not_read() {
        let groups = [GroupKey::of(&[1; 32])];
        let original = beacon(5, 7, &groups);
        for bit in (HEAD + TAG) * 8..(HEAD + TAG + PLACE) * 8 {
            let mut bytes = *original.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let changed = Beacon::decode(&bytes).unwrap();
            assert_eq!(changed.member(HERE, &groups), None, "bit {bit}");
        }
    }

    /// What a listener could follow somebody by: bytes that stay although the nonce has changed.
    #[test]
    fn beacons_of_two_nonces_share_no_bytes_but_what_all_beacons_share() {
        let groups = [GroupKey::of(&[1; 32])];
        let (a, b) = (beacon(5, 1, &groups), beacon(5, 2, &groups));
        let of_all = [0, 1, 10, 11];
        let same = |i: &usize| a.bytes[*i] == b.bytes[*i] && !of_all.contains(i);
        let alike: Vec<usize> = (0..BEACON_BYTES).filter(same).collect();
        // Random bytes agree once in 256.
        assert!(alike.len() <= 6, "{alike:?}");
        assert!(!alike.windows(3).any(|w| w[2] == w[0] + 2), "a run of them: {alike:?}");
    }

    #[test]
    fn a_node_in_no_group_looks_like_one_in_three() {
        let groups = [1, 2, 3].map(|secret| GroupKey::of(&[secret; 32]));
        assert_eq!(beacon(5, 1, &[]).bytes.len(), beacon(5, 1, &groups).bytes.len());
        let strange = [GroupKey::of(&[4; 32])];
        assert_eq!(beacon(5, 1, &[]).member(HERE, &strange), None);
    }

    #[test]
    fn what_is_not_a_beacon_is_refused() {
        let good = *beacon(5, 7, &[]).as_bytes();
        assert!(Beacon::decode(&good).is_ok());
        let spoilt = |at: usize, value: u8| {
            let mut bytes = good;
            bytes[at] = value;
            Beacon::decode(&bytes)
        };
        assert_eq!(spoilt(0, 2), Err(BeaconError::Version(2)));
        assert_eq!(spoilt(1, 4), Err(BeaconError::Flags(4)));
        let mut no_port = good;
        no_port[10..12].fill(0);
        assert_eq!(Beacon::decode(&no_port), Err(BeaconError::Port));
        let mut weak = good;
        weak[12..HEAD].fill(0);
        assert_eq!(Beacon::decode(&weak), Err(BeaconError::Guest));
        for length in [0, 1, BEACON_BYTES - 1] {
            assert_eq!(Beacon::decode(&good[..length]), Err(BeaconError::Length(length)));
        }
        let long = [&good[..], &[0]].concat();
        assert_eq!(Beacon::decode(&long), Err(BeaconError::Length(BEACON_BYTES + 1)));
    }

    #[test]
    fn the_bytes_of_version_1_stay() {
        let groups = [GroupKey::of(&[1; 32])];
        let bytes = *beacon(5, 7, &groups).as_bytes();
        let hex: String = bytes[..HEAD + TAG + PLACE].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        assert_eq!(bytes[HEAD + TAG + PLACE..], [7 ^ 0x55; 2 * PLACE]);
        let read = Beacon::decode(&bytes).unwrap();
        assert_eq!(read.contact(HERE, &[card(5)]), Some(node(5).id()));
        assert_eq!(read.member(HERE, &groups), Some(node(5).id()));
    }

    const GOLDEN: &str = concat!(
        "010107070707070707071d6bf5eacab77517c5b4b3b4373811c6f874fffb3dd4657da908b42fa2c7fe0ac0d8",
        "12dfa86300db7e939e739313a8e3ea6228ae885b73c64a95149d0dcdcaf865347b64c418cf32ec68a19d30ad",
        "a6bba30b"
    );

    proptest! {
        #[test]
        fn decoding_inverts_encoding(
            seed: u8, nonce: [u8; 8], port in 1_u16.., carrier: bool, fresh: bool,
            groups in proptest::collection::vec(any::<[u8; 32]>(), 0..5),
        ) {
            let (id, key) = card(seed);
            let guest = node(seed ^ 1).id();
            let head = Head { carrier, fresh, nonce, port, guest };
            let groups: Vec<_> = groups.iter().map(GroupKey::of).collect();
            let beacon = Beacon::new(head, HERE, &id, &key, &groups, &[1; FILLER]);
            let read = Beacon::decode(beacon.as_bytes()).unwrap();
            prop_assert_eq!(&read, &beacon);
            for group in groups.iter().take(GROUPS_MAX) {
                prop_assert_eq!(read.member(HERE, std::slice::from_ref(group)), Some(id));
            }
        }

        #[test]
        fn whatever_is_read_is_written_alike(mut bytes in proptest::collection::vec(any::<u8>(), BEACON_BYTES)) {
            bytes[..2].copy_from_slice(&[VERSION, 3]);
            if let Ok(beacon) = Beacon::decode(&bytes) {
                prop_assert_eq!(&beacon.head.encode()[..], &bytes[..HEAD]);
            }
        }
    }
}
