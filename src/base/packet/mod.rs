//! A packet: what only the recipient sees.
//!
//! ```text
//! packet = [kind, body] or [kind, body, tail]      kind = 2 k + z; z = 1: the body is compressed
//! tail   = [reply-to: id | null, card of the sender | null]
//! ```
//!
//! A part's raw bytes follow its packet; everything else is inside. Behind it come zeros, up to a
//! size class. The message id is the bundle's id: a packet has none of its own.

mod compress;
mod fields;
mod introduction;
mod job;
mod listing;
mod manifest;
mod padding;
mod request;
mod result;
mod word;

use serde_bytes::ByteBuf;

pub use compress::compress_part;
pub(crate) use compress::decompress_part;
pub use introduction::{Introduction, NOTE_MAX};
pub use job::{
    AFTER_MAX, ARG_MAX, ARGS_BYTES_MAX, ARGS_MAX, Answer, FLEET_MAX, Fleet, HANDLE_MAX, Handle,
    JOB_FILES_MAX, JOB_MAX, JOB_PARTS_MAX, Job, Then, Turn,
};
pub use manifest::{
    Content, FILES_MAX, FileEntry, INLINE_MAX, MANIFEST_MAX, Manifest, NAMES_MAX, PART_BYTES,
    PATH_DEPTH_MAX, PartList, is_component,
};
pub use padding::{padme, payload_class};
pub use request::{
    KNOWN_MAX, LISTED_MAX, Listed, No, PATH_BYTES_MAX, RANGES_MAX, REQUEST_MAX, Range, Request,
    Told,
};
pub use result::{BOUND_MAX, BOUNDS_MAX, JobResult, RESULT_MAX, SHOWN_MAX, State, Stream, WHY_MAX};
pub use word::{ARGV_BYTES_MAX, ARGV_MAX, Fact, Proposal, Said, WORD_MAX, Word, approval_of};

use self::introduction::INTRODUCTION_MAX;
use crate::{
    card::CARD_MAX,
    id::{BundleId, SetId},
    roster::ROSTER_MAX,
    wire::{self, WireError},
};

/// A text is at most this long; longer ones are files.
pub const TEXT_MAX: usize = 64 * 1024;

/// What is inside a seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub body: Body,
    /// What it refers to and brings along.
    pub tail: Tail,
}

/// The kinds of version 1. Numbers 4 and 8 are reserved for receipt batches and group posts, and
/// refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A text.
    Mail(String),
    /// Files, with or without a text: the whole of a small message, the head of a large one.
    Files(Manifest),
    /// One part of a large message; its bytes follow the packet.
    Part(PartHead),
    /// A contact card.
    Card(Vec<u8>),
    /// A request for files, or what is said to one.
    Request(Box<Request>),
    /// Somebody's card, vouched for by the author.
    Introduction(Introduction),
    /// A roster. It is only carried here: whoever uses it checks it.
    Roster(Vec<u8>),
    /// What somebody asks the recipient to run.
    Job(Box<Job>),
    /// What became of a job that the recipient asked for.
    Result(Box<JobResult>),
    /// A word about a job under way.
    Word(Box<Word>),
}

impl Body {
    /// The files that come along, with whatever it is.
    pub fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Files(manifest) => Some(manifest),
            Self::Job(job) => job.files.as_ref(),
            Self::Result(result) => result.files.as_ref(),
            _ => None,
        }
    }
}

/// What a packet refers to and brings along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The message this one answers.
    pub reply_to: Option<BundleId>,
    /// The sender's card, for a recipient that may not have it.
    pub card: Option<Vec<u8>>,
}

/// What a part says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartHead {
    /// Which message it belongs to.
    pub set: SetId,
    /// Which part, from 0.
    pub index: u32,
    /// How many raw bytes follow the packet.
    pub stored_bytes: u64,
    /// How many bytes of the message they stand for.
    pub plain_bytes: u64,
    /// Whether the raw bytes are a zstd frame.
    pub compressed: bool,
}

/// Why bytes are not a packet.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketError {
    /// Not canonical CBOR of the right shape.
    #[error("the packet is malformed: {0}")]
    Wire(#[from] WireError),
    /// A kind that this version does not have.
    #[error("a packet of kind {0}, which this program does not know")]
    Kind(u8),
    /// A length beyond its limit.
    #[error("{got} bytes where at most {limit} are allowed")]
    TooLong {
        /// The limit.
        limit: usize,
        /// What was announced or found.
        got: usize,
    },
    /// The compressed body is not one, or yields another length than announced.
    #[error("the compressed body is damaged")]
    Compression,
    /// Text that is not UTF-8.
    #[error("the text is not UTF-8")]
    Text,
    /// A field has a value that it cannot have.
    #[error("the field {0} has an impossible value")]
    Field(&'static str),
    /// Something other than zeros behind the packet.
    #[error("something is hidden in the padding")]
    Padding,
}

const MAIL: u8 = 0;
const FILES: u8 = 1;
const PART: u8 = 2;
const CARD: u8 = 3;
const REQUEST: u8 = 5;
const JOB: u8 = 6;
const RESULT: u8 = 7;
const INTRODUCTION: u8 = 9;
const ROSTER: u8 = 10;
const WORD: u8 = 11;

type TailWire = (Option<ByteBuf>, Option<ByteBuf>);
type PartWire = (ByteBuf, u32, u64, u64);

impl Packet {
    /// The packet's bytes, compressed where that helps. A part's raw bytes are the caller's to add.
    pub fn encode(&self) -> Vec<u8> {
        match &self.body {
            Body::Mail(text) => self.encode_bytes(MAIL, text.as_bytes()),
            Body::Files(manifest) => self.encode_bytes(FILES, &manifest.encode()),
            Body::Card(card) => self.encode_bytes(CARD, card),
            Body::Request(request) => self.encode_bytes(REQUEST, &request.encode()),
            Body::Introduction(said) => self.encode_bytes(INTRODUCTION, &said.encode()),
            Body::Roster(roster) => self.encode_bytes(ROSTER, roster),
            Body::Job(job) => self.encode_bytes(JOB, &job.encode()),
            Body::Result(result) => self.encode_bytes(RESULT, &result.encode()),
            Body::Word(word) => self.encode_bytes(WORD, &word.encode()),
            Body::Part(part) => {
                let body =
                    (ByteBuf::from(part.set.0), part.index, part.stored_bytes, part.plain_bytes);
                self.encode_item(2 * PART + u8::from(part.compressed), &body)
            }
        }
    }

    /// Reads the packet at the start of `bytes`; returns it and what follows.
    ///
    /// [`Packet::is_part`] tells beforehand whether a start of the bytes is enough.
    pub fn decode_first(bytes: &[u8]) -> Result<(Self, &[u8]), PacketError> {
        let (item, rest) = bytes.split_at(wire::item_len(bytes)?);
        let kind = Self::peek_kind(item)?;
        let compressed = kind % 2 == 1;
        let (body, tail) = if kind / 2 == PART {
            let (part, tail): (PartWire, _) = Self::fields(item)?;
            (Body::Part(PartHead::checked(&part, compressed)?), tail)
        } else {
            let (raw, tail): (ByteBuf, _) = Self::fields(item)?;
            (Self::decode_body(kind / 2, compressed, raw.into_vec())?, tail)
        };
        Ok((Self { body, tail: Tail::from_wire(tail)? }, rest))
    }

    /// Reads a packet behind which only padding may follow.
    pub fn decode(bytes: &[u8]) -> Result<Self, PacketError> {
        let (packet, rest) = Self::decode_first(bytes)?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err(PacketError::Padding);
        }
        Ok(packet)
    }

    /// As [`Self::decode`]; also the packet's own bytes, without the padding.
    pub(crate) fn decode_padded(mut bytes: Vec<u8>) -> Result<(Self, Vec<u8>), PacketError> {
        let packet = Self::decode(&bytes)?;
        bytes.truncate(wire::item_len(&bytes)?);
        Ok((packet, bytes))
    }

    /// Whether these bytes start a part, whose head is short and whose raw bytes should stream.
    pub fn is_part(start: &[u8]) -> bool {
        Self::peek_kind(start).is_ok_and(|kind| kind / 2 == PART)
    }

    fn peek_kind(bytes: &[u8]) -> Result<u8, PacketError> {
        match bytes {
            [0x82 | 0x83, kind @ 0..24, ..] if is_kind(*kind / 2) => Ok(*kind),
            [0x82 | 0x83, kind @ 0..24, ..] => Err(PacketError::Kind(*kind)),
            _ => Err(PacketError::Field("kind")),
        }
    }

    fn fields<T>(item: &[u8]) -> Result<(T, Option<TailWire>), PacketError>
    where
        T: serde::Serialize + serde::de::DeserializeOwned,
    {
        if item.first() == Some(&0x82) {
            let (_, body): (u8, T) = wire::decode(item)?;
            Ok((body, None))
        } else {
            let (_, body, tail): (u8, T, TailWire) = wire::decode(item)?;
            Ok((body, Some(tail)))
        }
    }

    fn decode_body(kind: u8, compressed: bool, raw: Vec<u8>) -> Result<Body, PacketError> {
        let cap = match kind {
            MAIL => TEXT_MAX,
            FILES => MANIFEST_MAX,
            REQUEST => REQUEST_MAX,
            INTRODUCTION => INTRODUCTION_MAX,
            ROSTER => ROSTER_MAX,
            JOB => JOB_MAX,
            RESULT => RESULT_MAX,
            WORD => WORD_MAX,
            _ => CARD_MAX,
        };
        let body = if compressed { compress::decompress(&raw, cap)? } else { raw };
        if body.len() > cap {
            return Err(PacketError::TooLong { limit: cap, got: body.len() });
        }
        Ok(match kind {
            MAIL => Body::Mail(String::from_utf8(body).map_err(|_| PacketError::Text)?),
            FILES => Body::Files(Manifest::decode(&body)?),
            REQUEST => Body::Request(Box::new(Request::decode(&body)?)),
            INTRODUCTION => Body::Introduction(Introduction::decode(&body)?),
            ROSTER => Body::Roster(body),
            JOB => Body::Job(Box::new(Job::decode(&body)?)),
            RESULT => Body::Result(Box::new(JobResult::decode(&body)?)),
            WORD => Body::Word(Box::new(Word::decode(&body)?)),
            _ => Body::Card(body),
        })
    }

    fn encode_bytes(&self, kind: u8, body: &[u8]) -> Vec<u8> {
        match compress::compress(body) {
            Some(packed) => self.encode_item(2 * kind + 1, &ByteBuf::from(packed)),
            None => self.encode_item(2 * kind, &ByteBuf::from(body)),
        }
    }

    fn encode_item<T: serde::Serialize>(&self, kind: u8, body: &T) -> Vec<u8> {
        match self.tail.to_wire() {
            Some(tail) => wire::encode(&(kind, body, tail)),
            None => wire::encode(&(kind, body)),
        }
    }
}

fn is_kind(kind: u8) -> bool {
    kind <= CARD || matches!(kind, REQUEST | JOB | RESULT | INTRODUCTION | ROSTER | WORD)
}

impl Tail {
    fn to_wire(&self) -> Option<TailWire> {
        if *self == Self::default() {
            return None;
        }
        let reply_to = self.reply_to.map(|id| ByteBuf::from(id.0));
        Some((reply_to, self.card.clone().map(ByteBuf::from)))
    }

    fn from_wire(tail: Option<TailWire>) -> Result<Self, PacketError> {
        let Some((reply_to, card)) = tail else { return Ok(Self::default()) };
        let reply_to = match reply_to {
            Some(id) => Some(BundleId(
                id.as_slice().try_into().map_err(|_| PacketError::Field("reply-to"))?,
            )),
            None => None,
        };
        let card = card.map(ByteBuf::into_vec);
        if card.as_ref().is_some_and(|card| card.len() > CARD_MAX) {
            return Err(PacketError::Field("card"));
        }
        let tail = Self { reply_to, card };
        // One spelling: an empty tail is left out.
        if tail == Self::default() {
            return Err(PacketError::Field("tail"));
        }
        Ok(tail)
    }
}

impl PartHead {
    fn checked(wire: &PartWire, compressed: bool) -> Result<Self, PacketError> {
        let (set, index, stored_bytes, plain_bytes) = wire;
        let set = set.as_slice().try_into().map_err(|_| PacketError::Field("set"))?;
        let plausible = if compressed {
            // zstd frames of no content still have some bytes; growth is bounded by the part size.
            *stored_bytes > 0 && *plain_bytes > 0
        } else {
            stored_bytes == plain_bytes && *plain_bytes > 0
        };
        if !plausible || *plain_bytes > manifest::PART_BYTES_MAX {
            return Err(PacketError::Field("length"));
        }
        Ok(Self {
            set: SetId(set),
            index: *index,
            stored_bytes: *stored_bytes,
            plain_bytes: *plain_bytes,
            compressed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(text: &str) -> Packet {
        Packet { body: Body::Mail(text.into()), tail: Tail::default() }
    }

    #[test]
    fn packets_round_trip_with_and_without_tail() {
        let tail = Tail { reply_to: Some(BundleId([1; 32])), card: Some(vec![2; 100]) };
        for packet in [
            mail(""),
            mail("we are at the school, we are safe, we are at the school"),
            Packet { tail, ..mail("hello") },
            Packet { body: Body::Card(vec![1; 50]), tail: Tail::default() },
            Packet { body: Body::Roster(vec![1; 9000]), tail: Tail::default() },
            Packet {
                body: Body::Introduction(Introduction {
                    card: vec![1; 200],
                    note: Some("she runs the clinic".into()),
                }),
                tail: Tail::default(),
            },
            Packet {
                body: Body::Job(Box::new(Job {
                    handle: "uptime".parse().unwrap(),
                    args: vec![b"-p".to_vec()],
                    turn: Turn::now(60),
                    answer: Answer::Full,
                    files: None,
                    stdin: None,
                    fleet: None,
                    rerun_of: None,
                })),
                tail: Tail::default(),
            },
            Packet {
                body: Body::Result(Box::new(JobResult::without_output(
                    BundleId([1; 32]),
                    State::Expired,
                ))),
                tail: Tail::default(),
            },
            Packet {
                body: Body::Word(Box::new(Word {
                    job: BundleId([1; 32]),
                    said: Said::Cancel { force: true },
                })),
                tail: Tail::default(),
            },
            Packet {
                body: Body::Request(Box::new(Request::Answer {
                    request: BundleId([1; 32]),
                    said: Told::No(No::NotFound),
                })),
                tail: Tail::default(),
            },
            Packet {
                body: Body::Part(PartHead {
                    set: SetId([1; 16]),
                    index: 3,
                    stored_bytes: 70,
                    plain_bytes: 100,
                    compressed: true,
                }),
                tail: Tail::default(),
            },
        ] {
            let mut bytes = packet.encode();
            assert_eq!(Packet::decode(&bytes).as_ref(), Ok(&packet));
            bytes.extend([0; 30]);
            assert_eq!(Packet::decode(&bytes), Ok(packet));
            bytes.push(1);
            assert_eq!(Packet::decode(&bytes), Err(PacketError::Padding));
        }
    }

    #[test]
    fn reserved_kinds_and_empty_tails_are_refused() {
        for kind in [8, 9, 16, 17] {
            assert_eq!(Packet::decode(&[0x82, kind, 0x40]), Err(PacketError::Kind(kind)));
        }
        assert_eq!(Packet::decode(b"\x83\x00\x40\x82\xf6\xf6"), Err(PacketError::Field("tail")));
    }
}
