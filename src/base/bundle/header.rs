//! The header: what a relay needs to know, and nothing else.

use serde_bytes::ByteBuf;

use super::{HEADER_MAX, PAYLOAD_MAX, SMALL_PAYLOAD_MAX};
use crate::{
    domain,
    id::{NodeId, NodeIdError},
    key::SealPublic,
    nice::Niceness,
    time::Lifetime,
    wire::{self, WireError},
};

const VERSION: u8 = 1;
const FLAG_HIDDEN: u8 = 1;
const FLAG_NONCE: u8 = 2;

/// What relays read of a bundle. Decoding accepts exactly one spelling of each value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// For whom.
    pub destination: Destination,
    /// How long it lives, by accumulated age.
    pub lifetime: Lifetime,
    /// How urgent; signed, so only the author decides it.
    pub nice: Niceness,
    /// How the payload is sealed.
    pub seal: SealKind,
    /// What a receipt must open.
    pub lock: LockField,
    /// Who made it, or that this is said only inside the seal.
    pub origin: Origin,
    /// Length of the payload in bytes, 1 to [`PAYLOAD_MAX`].
    pub length: u64,
    /// BLAKE3 of the payload, present exactly when that is longer than [`SMALL_PAYLOAD_MAX`].
    pub hash: Option<[u8; 32]>,
}

/// For whom a bundle is. On the wire told apart by its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A node, in clear (32 bytes).
    Node(NodeId),
    /// A group (16 bytes).
    Group([u8; 16]),
    /// A tag that only the recipient and holders of its card resolve (8 bytes); hidden bundles.
    Tag([u8; 8]),
}

/// Whether relays see the author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In clear, verified by every relay.
    Open {
        /// The author.
        source: NodeId,
        /// Its counter for this destination.
        sequence: Sequence,
        /// Unix seconds when it was written, by the author's clock; for display only, 0 = unknown.
        created: u64,
    },
    /// Inside the seal.
    Hidden,
}

/// Which of a source's bundles to one destination this is. Never used twice by an honest source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence {
    /// A random number, redrawn whenever the source suspects that its memory was set back.
    pub epoch: u32,
    /// Counts up by one from 1.
    pub counter: u64,
}

/// How a payload is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealKind {
    /// Not at all: boards, amateur radio.
    None,
    /// HPKE, for one recipient and at most 4 KiB.
    Compact,
    /// age, streaming, for any size and several recipients.
    Age,
}

/// The lock that a receipt opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockField {
    /// No receipts: groups, public and several-recipient bundles.
    None,
    /// The lock of a compact seal.
    Compact([u8; 8]),
    /// The lock of an age seal.
    Age([u8; 16]),
    /// No receipts, but 8 random bytes that keep a hidden bundle's tag from repeating.
    Nonce([u8; 8]),
}

/// Why bytes are not a header.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// Longer than [`HEADER_MAX`].
    #[error("a header of {0} bytes is too long")]
    TooLong(usize),
    /// Not canonical CBOR of the right shape.
    #[error("the header is malformed: {0}")]
    Wire(#[from] WireError),
    /// A version this program does not know.
    #[error("a bundle of version {0}; this program knows version 1")]
    Version(u8),
    /// Flags this program does not know, or that contradict the shape.
    #[error("unknown flags {0:#x}")]
    Flags(u8),
    /// A field has a value that it cannot have.
    #[error("the field {0} has an impossible value")]
    Field(&'static str),
    /// The source or destination is not a usable key.
    #[error("a bad node key: {0}")]
    Node(#[from] NodeIdError),
}

type OpenWire = (
    u8,
    u8,
    ByteBuf,
    u32,
    u8,
    u8,
    Option<ByteBuf>,
    ByteBuf,
    u32,
    u64,
    u64,
    Option<u64>,
    Option<ByteBuf>,
);
type HiddenWire = (u8, u8, ByteBuf, u32, u8, u8, Option<ByteBuf>, Option<u64>, Option<ByteBuf>);

impl Header {
    /// The bytes that are hashed, signed and sent.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_with(Some(self.length), self.hash)
    }

    /// The header with length and hash null: what a seal can bind before those two are known.
    pub fn core(&self) -> Vec<u8> {
        self.encode_with(None, None)
    }

    /// Reads a header and checks everything that can be checked without the payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() > HEADER_MAX {
            return Err(HeaderError::TooLong(bytes.len()));
        }
        // The element count decides the shape; the flag must agree with it.
        if bytes.first() == Some(&0x8d) {
            let w: OpenWire = wire::decode(bytes)?;
            let origin = Origin::Open {
                source: NodeId::from_bytes(&w.7)?,
                sequence: Sequence { epoch: w.8, counter: w.9 },
                created: w.10,
            };
            Self::checked((w.0, w.1), &w.2, (w.3, w.4, w.5), w.6, origin, (w.11, w.12))
        } else {
            let w: HiddenWire = wire::decode(bytes)?;
            Self::checked((w.0, w.1), &w.2, (w.3, w.4, w.5), w.6, Origin::Hidden, (w.7, w.8))
        }
    }

    /// Whether the payload is taken whole and hashed into the id.
    pub fn is_small(&self) -> bool {
        self.length <= SMALL_PAYLOAD_MAX
    }

    /// The author and its sequence, where relays see them.
    pub fn source(&self) -> Option<(NodeId, Sequence)> {
        match &self.origin {
            Origin::Open { source, sequence, .. } => Some((*source, *sequence)),
            Origin::Hidden => None,
        }
    }

    fn checked(
        (version, flags): (u8, u8),
        destination: &[u8],
        (lifetime, nice, seal): (u32, u8, u8),
        lock: Option<ByteBuf>,
        origin: Origin,
        (length, hash): (Option<u64>, Option<ByteBuf>),
    ) -> Result<Self, HeaderError> {
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let hidden = origin == Origin::Hidden;
        let nonce = flags & FLAG_NONCE != 0;
        if flags & !(FLAG_HIDDEN | FLAG_NONCE) != 0
            || (flags & FLAG_HIDDEN != 0) != hidden
            || nonce && !hidden
        {
            return Err(HeaderError::Flags(flags));
        }
        let destination = Destination::from_bytes(destination)?;
        let lifetime = Lifetime::new(lifetime).ok_or(HeaderError::Field("lifetime"))?;
        let nice = Niceness::new(nice).ok_or(HeaderError::Field("niceness"))?;
        let seal = SealKind::from_number(seal).ok_or(HeaderError::Field("seal"))?;
        let lock = LockField::from_wire(lock.as_ref().map(|b| b.as_slice()), seal, nonce)?;
        if let Origin::Open { sequence, .. } = &origin
            && sequence.counter == 0
        {
            return Err(HeaderError::Field("counter"));
        }
        let length = length.ok_or(HeaderError::Field("length"))?;
        let hash = match hash {
            Some(hash) => Some(hash.as_slice().try_into().map_err(|_| HeaderError::Field("hash"))?),
            None => None,
        };
        let header = Self { destination, lifetime, nice, seal, lock, origin, length, hash };
        header.check_combination()?;
        Ok(header)
    }

    /// The rules that tie fields together; `compose` builds only what passes them.
    fn check_combination(&self) -> Result<(), HeaderError> {
        let hidden = self.origin == Origin::Hidden;
        let tagged = matches!(self.destination, Destination::Tag(_));
        let grouped = matches!(self.destination, Destination::Group(_));
        let locked = matches!(self.lock, LockField::Compact(_) | LockField::Age(_));
        if tagged && (!hidden || self.lock == LockField::None) {
            return Err(HeaderError::Field("destination"));
        }
        if self.seal == SealKind::None && hidden {
            return Err(HeaderError::Field("seal"));
        }
        // A group's readers share a key: the first receipt would free everybody's copies.
        if grouped && locked {
            return Err(HeaderError::Field("lock"));
        }
        let least = match self.seal {
            SealKind::None => 1,
            // encapsulated key 32 + tag 16 + at least one byte
            SealKind::Compact => 49,
            // the shortest age file: its header 168, nonce 16, tag 16
            SealKind::Age => 200,
        };
        let most = if self.seal == SealKind::Compact { SMALL_PAYLOAD_MAX } else { PAYLOAD_MAX };
        if !(least..=most).contains(&self.length) {
            return Err(HeaderError::Field("length"));
        }
        if self.hash.is_some() == self.is_small() {
            return Err(HeaderError::Field("hash"));
        }
        Ok(())
    }

    fn encode_with(&self, length: Option<u64>, hash: Option<[u8; 32]>) -> Vec<u8> {
        let destination = ByteBuf::from(self.destination.as_bytes());
        let lock = self.lock.as_bytes().map(ByteBuf::from);
        let hash = hash.map(|h| ByteBuf::from(h.to_vec()));
        let (lifetime, nice) = (self.lifetime.seconds(), self.nice.value());
        let seal = self.seal.number();
        match &self.origin {
            Origin::Open { source, sequence, created } => wire::encode(&(
                VERSION,
                0_u8,
                destination,
                lifetime,
                nice,
                seal,
                lock,
                ByteBuf::from(source.as_bytes()),
                sequence.epoch,
                sequence.counter,
                created,
                length,
                hash,
            )),
            Origin::Hidden => {
                let nonce = matches!(self.lock, LockField::Nonce(_));
                let flags = FLAG_HIDDEN | if nonce { FLAG_NONCE } else { 0 };
                wire::encode(&(
                    VERSION,
                    flags,
                    destination,
                    lifetime,
                    nice,
                    seal,
                    lock,
                    length,
                    hash,
                ))
            }
        }
    }
}

impl Destination {
    /// Told apart by length: 32 a node, 16 a group, 8 a tag.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HeaderError> {
        if let Ok(group) = bytes.try_into() {
            Ok(Self::Group(group))
        } else if let Ok(tag) = bytes.try_into() {
            Ok(Self::Tag(tag))
        } else if bytes.len() == 32 {
            Ok(Self::Node(NodeId::from_bytes(bytes)?))
        } else {
            Err(HeaderError::Field("destination"))
        }
    }

    /// The bytes in the header: 32, 16 or 8 of them.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Node(node) => node.as_bytes(),
            Self::Group(group) => group,
            Self::Tag(tag) => tag,
        }
    }
}

impl SealKind {
    /// The number in the header.
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Compact => 1,
            Self::Age => 2,
        }
    }

    /// 3 to 23 are reserved (prekeys, post-quantum) and refused: nothing falls back.
    const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Compact),
            2 => Some(Self::Age),
            _ => None,
        }
    }
}

impl LockField {
    /// The bytes in the header.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::None => None,
            Self::Compact(lock) | Self::Nonce(lock) => Some(lock),
            Self::Age(lock) => Some(lock),
        }
    }

    fn from_wire(lock: Option<&[u8]>, seal: SealKind, nonce: bool) -> Result<Self, HeaderError> {
        let wrong = |_| HeaderError::Field("lock");
        Ok(match (lock, seal, nonce) {
            (Some(lock), _, true) => Self::Nonce(lock.try_into().map_err(wrong)?),
            (Some(lock), SealKind::Compact, false) => {
                Self::Compact(lock.try_into().map_err(wrong)?)
            }
            (Some(lock), SealKind::Age, false) => Self::Age(lock.try_into().map_err(wrong)?),
            (None, _, false) => Self::None,
            (None, _, true) | (Some(_), SealKind::None, false) => {
                return Err(HeaderError::Field("lock"));
            }
        })
    }
}

/// The tag under which a bundle with this lock travels to the holder of `recipient`.
///
/// Needs no clock and differs per bundle, since every lock differs.
pub fn tag_of(recipient: &SealPublic, lock: &LockField) -> Option<[u8; 8]> {
    let key = domain::derive(domain::TAG_KEY, &[recipient.as_bytes()]);
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(domain::TAG).update(lock.as_bytes()?);
    Some(domain::prefix(hasher.finalize().as_bytes()))
}

/// Which of the known seal keys a tagged header is for; at one hash a key.
pub fn resolve_tag<'a>(
    header: &Header,
    known: impl IntoIterator<Item = &'a SealPublic>,
) -> Option<&'a SealPublic> {
    let Destination::Tag(tag) = header.destination else { return None };
    known.into_iter().find(|key| tag_of(key, &header.lock) == Some(tag))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::NodeSecret;

    pub(super) fn open_header() -> Header {
        let (a, b) = (NodeSecret::from_seed([1; 32]).id(), NodeSecret::from_seed([2; 32]).id());
        Header {
            destination: Destination::Node(b),
            lifetime: Lifetime::DEFAULT,
            nice: Niceness::NORMAL,
            seal: SealKind::Compact,
            lock: LockField::Compact([9; 8]),
            origin: Origin::Open {
                source: a,
                sequence: Sequence { epoch: 7, counter: 70_000 },
                created: 1_800_000_000,
            },
            length: 150,
            hash: None,
        }
    }

    fn hidden_header() -> Header {
        let key = NodeSecret::from_seed([2; 32]).first_seal_key().public();
        let lock = LockField::Age([3; 16]);
        Header {
            destination: Destination::Tag(tag_of(&key, &lock).unwrap()),
            seal: SealKind::Age,
            lock,
            origin: Origin::Hidden,
            length: 5000,
            hash: Some([4; 32]),
            ..open_header()
        }
    }

    #[test]
    fn both_shapes_round_trip() {
        for header in [open_header(), hidden_header()] {
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn the_core_is_no_header() {
        let core = open_header().core();
        assert_eq!(Header::decode(&core), Err(HeaderError::Field("length")));
    }

    #[test]
    fn contradicting_fields_are_refused() {
        type Spoil = fn(&mut Header);
        let cases: &[(&str, Spoil)] = &[
            ("hash", |h| h.hash = Some([0; 32])),
            ("hash", |h| (h.seal, h.lock, h.length) = (SealKind::Age, LockField::None, 4097)),
            ("length", |h| h.length = 48),
            ("length", |h| h.length = 4097),
            ("lock", |h| h.destination = Destination::Group([1; 16])),
            ("destination", |h| h.destination = Destination::Tag([1; 8])),
            ("counter", |h| {
                if let Origin::Open { sequence, .. } = &mut h.origin {
                    sequence.counter = 0;
                }
            }),
        ];
        for (field, spoil) in cases {
            let mut header = open_header();
            spoil(&mut header);
            assert_eq!(Header::decode(&header.encode()), Err(HeaderError::Field(field)));
        }
    }

    #[test]
    fn tags_resolve_for_holders_of_the_card_only() {
        let [ours, theirs] =
            [2, 5].map(|n| NodeSecret::from_seed([n; 32]).first_seal_key().public());
        assert_eq!(resolve_tag(&hidden_header(), [&theirs, &ours]), Some(&ours));
        assert_eq!(resolve_tag(&hidden_header(), [&theirs]), None);
        let other_lock = LockField::Age([4; 16]);
        assert_ne!(tag_of(&ours, &other_lock), tag_of(&ours, &hidden_header().lock));
    }

    proptest! {
        #[test]
        fn what_decodes_has_one_spelling(at in 0_usize..110, bit in 0_u8..8, hidden: bool) {
            let mut bytes = if hidden { hidden_header() } else { open_header() }.encode();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }
    }
}
