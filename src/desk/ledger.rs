//! What the desk remembers in the spool's notes: one namespace per kind of fact.
//!
//! Every value starts with a version number, so that a later program can tell what it reads.

use postrider_base::{BundleId, bundle::ReceiptSecret, id::SetId, wire};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use postrider_engine::{
    node::{Instance, Seen},
    parcel::{FileNumber, VolumeId},
    router::Meeting,
};
use postrider_spool::Change;

use super::held::{Given, Held};

/// The namespaces. Numbers are never reused.
pub(super) mod space {
    /// Received messages, by id: [`super::MessageNote`].
    pub const MESSAGE: u8 = 1;
    /// Received messages that were read, by id.
    pub const READ: u8 = 2;
    /// Received parts, by set key and index: the hash of their bytes.
    pub const PART: u8 = 3;
    /// The message of a received set, by set key: its id, and the receipt that waits for the last
    /// part.
    pub const SET: u8 = 4;
    /// Receipts to hand on, by number and the bytes of the receipt: [`super::ReceiptNote`].
    pub const RECEIPT: u8 = 5;
    /// Sent messages, by id: [`super::SentNote`].
    pub const SENT: u8 = 6;
    /// The message of a sent set, by set id.
    pub const SENT_SET: u8 = 7;
    /// What happened to a message, by its id and a running number: [`super::EventNote`].
    pub const EVENT: u8 = 8;
    /// Sets whose sending has begun; removed with the manifest.
    pub const SENDING: u8 = 9;
    /// Received messages all of whose parts are here, by id.
    pub const COMPLETE: u8 = 10;
    /// Where a received message was saved, by id: the path.
    pub const SAVED: u8 = 11;
    /// Bundles that are over here, by id: such for us that were opened, and such whose receipts came
    /// before them. The custody clock at which their lifetime ends.
    pub const DONE: u8 = 13;
    /// Files of the outbox that were sent and perhaps not put aside yet, by what makes a file the
    /// same one.
    pub const OUTBOX: u8 = 16;
    /// How a sent message ended, by id: [`super::End`].
    pub const ENDED: u8 = 12;
    /// How far a neighbour and this node have dealt with each other's bundles, by its key:
    /// [`super::CursorNote`].
    pub const CURSOR: u8 = 14;
    /// Neighbours, by their key: [`super::NeighbourNote`].
    pub const NEIGHBOUR: u8 = 15;
    /// Meetings with nodes, by their key: [`super::MeetingNote`].
    pub const MEETING: u8 = 17;
    /// What a person must look at, by its kind.
    pub const ALARM: u8 = 20;
    /// Bundles with this node's signature that it did not make and that raised an alarm, by id.
    pub const ALARMED: u8 = 22;
    /// Epochs that this node has numbered its bundles with.
    pub const EPOCH: u8 = 21;
    /// Own bundles that were sprayed again, by id: after which eighth of their lifetime, last.
    pub const RENEWED: u8 = 23;
    /// Bundles in whose opening this program died, by id: [`super::OpeningNote`].
    pub const OPENING: u8 = 30;
    /// Receipts whose bundles have not come yet, by prefix and secret: [`super::EarlyNote`].
    pub const EARLY: u8 = 31;
    /// Jobs for this node, as they came, by id: `jobs::CameNote`.
    pub const JOB_CAME: u8 = 40;
    /// How far each of them is, by id: the scheduler's record.
    pub const JOB: u8 = 41;
    /// Words about jobs that nothing followed from yet, by the job's id and the word's:
    /// `jobs::WordNote`.
    pub const JOB_WORD: u8 = 42;
    /// Jobs that this node asked others to run, by id: `jobs::IssuedNote`.
    pub const ISSUED: u8 = 43;
    /// How those stand, as their target said last, by id: `jobs::FactNote`.
    pub const JOB_FACT: u8 = 44;
    /// What became of them, by id: the message with the result.
    pub const JOB_RESULT: u8 = 45;
    /// Jobs of others that somebody here may agree to, by id: `jobs::WordNote`.
    pub const PROPOSAL: u8 = 46;
    /// What others were answered about their jobs, by id: the result, without files.
    pub const JOB_ANSWER: u8 = 47;
    /// What was asked for by the jobs of [`ISSUED`], by id: `jobs::AskedNote`.
    pub const ASKED: u8 = 50;
    /// The jobs of a queue that may not have ended, oldest first, by its target and its name: their ids.
    pub const JOB_QUEUE: u8 = 51;
    /// What this node agreed to, by the job's id.
    pub const APPROVED: u8 = 52;
    /// Others' requests for files that wait for an answer, by who asks and id:
    /// `requests::CameNote`.
    pub const REQUEST: u8 = 60;
    /// What others got lately of what they asked for, by their key: `requests::SpentNote`.
    pub const SPENT: u8 = 61;
    /// Files on their way to whoever asked for them, by whom and the message's id.
    pub const GIVEN: u8 = 62;
    /// Requests of mine, by id: `requests::AskedNote`.
    pub const REQUESTED: u8 = 63;
    /// What came of them, by id: `requests::AnswerNote`.
    pub const ANSWERED: u8 = 64;
    /// Messages that answer a request of mine, by id: the request's.
    pub const ANSWERS: u8 = 65;
    /// Received messages that brought once more what another one had brought, by id.
    pub const DOUBLE: u8 = 66;
    /// Sources that were not asked yet for what was asked of several, by the first request's id:
    /// `requests::SourcesNote`.
    pub const SOURCES: u8 = 67;
    /// What became of messages that bring what another one lacks, by id: 1 it is in its place, 2 it is
    /// of another file.
    pub const REST: u8 = 68;
    /// Parts of a set that answers a request and is not sealed whole yet, by set and index: BLAKE3 of what is in each.
    pub const SEALED: u8 = 69;
    /// (request of mine, message): one of several answers to it, while none of them is whole.
    pub const RIVAL: u8 = 74;
    /// How much neighbours have of bundles for them whose link was cut, by id: [`super::HeldNote`].
    pub const HELD: u8 = 75;
    /// What this node wrote, by the message's id: `talk::WrittenNote`.
    pub const WRITTEN: u8 = 70;
    /// Numbers of received messages, by id: epoch and counter.
    pub const NUMBER: u8 = 71;
    /// Messages that are kept and not sent, by id: `talk::DraftNote`.
    pub const DRAFT: u8 = 72;
    /// What became of drafts that were sent, by id: the message's id.
    pub const DRAFT_SENT: u8 = 73;
    /// Runs over fleets, by name: `jobs::fleet::FleetNote`.
    pub const FLEET: u8 = 80;
    /// Their targets, by a hash of the name and the place: `jobs::fleet::TargetNote`.
    pub const FLEET_TARGET: u8 = 81;
    /// What is asked of them, by name: the job's body.
    pub const FLEET_JOB: u8 = 82;
    /// The audit chain, by number: `audit::chain::Record`.
    pub const AUDIT: u8 = 90;
    /// Where it begins and ends: `audit::chain::Head`.
    pub const AUDIT_HEAD: u8 = 91;
    /// Messages that are to be laid in inbox folders, by arrival and id: their author's key.
    pub const TO_LAY: u8 = 100;
    /// What a hook is to run for, in the order of its turn: how urgent it is. See `hooks`.
    pub const TO_HOOK: u8 = 101;
    /// What this node's radios have sent within an hour, or a day: `air::ledger::Ledger`, by span.
    pub const AIR: u8 = 110;
}

const VERSION: u8 = 1;

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MessageNote(
    pub u8,
    /// The author's key.
    pub ByteBuf,
    /// Unix seconds by the author's clock.
    pub u64,
    /// The custody clock when it arrived.
    pub u64,
    /// The packet, or null when it is too large for a note and lies in a file.
    pub Option<ByteBuf>,
    /// The set of its parts.
    pub Option<ByteBuf>,
    /// Whether its sequence was used before for another message.
    pub bool,
);

/// A sent message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SentNote(
    pub u8,
    /// The recipient's key.
    pub ByteBuf,
    /// The custody clock when it was saved.
    pub u64,
    /// Bytes of text and files.
    pub u64,
    /// How it begins, or its first file's name.
    pub String,
    /// The set of its parts.
    pub Option<ByteBuf>,
    /// How many bundles it is.
    pub u64,
);

/// Something that happened to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventNote(
    pub u8,
    /// What.
    pub String,
    /// Who was involved.
    pub String,
    /// By what.
    pub String,
    /// The custody clock then.
    pub u64,
);

/// A receipt to hand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReceiptNote(
    pub u8,
    /// The custody clock at which the bundle's lifetime ends, and with it the receipt's use.
    pub u64,
);

/// Where two nodes stand with each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CursorNote(
    pub u8,
    /// My cursor into what the neighbour has.
    pub Option<CursorFields>,
    /// Its cursor into what I have.
    pub Option<CursorFields>,
);

/// A node that a link went to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NeighbourNote(
    pub u8,
    /// Where it was last.
    pub String,
    /// The custody clock when something was last heard of it.
    pub u64,
);

/// Meetings with a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MeetingNote(
    pub u8,
    /// What they are worth, in parts of 1024.
    pub u32,
    /// The custody clock when the last one counted.
    pub u64,
);

/// A bundle in whose opening this program died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpeningNote(
    pub u8,
    /// How often in a row.
    pub u64,
    /// The custody clock when that was found the last time.
    pub u64,
    /// How far its body was read then, in steps.
    pub u64,
);

/// How much a neighbour has of a bundle for it, and where the rest was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldNote(
    pub u8,
    /// The neighbour's key.
    pub ByteBuf,
    /// Bytes from the beginning of the body.
    pub u64,
    /// The custody clock when it said so.
    pub u64,
    pub Option<GivenFields>,
);

/// Volume, number of the file, the custody clock then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GivenFields(pub ByteBuf, pub u32, pub u64);

/// A receipt whose bundle has not come yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EarlyNote(
    pub u8,
    /// Who brought it: 8 bytes.
    pub ByteBuf,
    /// The custody clock then.
    pub u64,
);

/// Numbering, arrival, receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CursorFields(pub ByteBuf, pub u64, pub u64);

/// How a sent message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Delivered,
    Cancelled,
    Expired,
}

impl End {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    pub(super) fn from_note(value: &[u8]) -> Option<Self> {
        [Self::Delivered, Self::Cancelled, Self::Expired]
            .into_iter()
            .find(|end| end.word().as_bytes() == value)
    }
}

/// The sender's private note on a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OwnNote(
    pub u8,
    /// The receipt secret.
    pub Option<ByteBuf>,
    /// The set that the bundle is a part or the manifest of.
    pub Option<ByteBuf>,
    /// Whether it is a part.
    pub bool,
);

impl OwnNote {
    pub(super) fn new(secret: Option<&ReceiptSecret>, set: Option<SetId>, part: bool) -> Self {
        let secret = secret.map(|secret| ByteBuf::from(secret.0));
        Self(VERSION, secret, set.map(|set| ByteBuf::from(set.0)), part)
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        read(bytes)
    }

    pub(super) fn secret(&self) -> Option<[u8; 16]> {
        self.1.as_ref()?.as_slice().try_into().ok()
    }

    pub(super) fn set(&self) -> Option<SetId> {
        Some(SetId(self.2.as_ref()?.as_slice().try_into().ok()?))
    }
}

impl MessageNote {
    pub(super) fn new(
        from: &[u8; 32],
        created: u64,
        held_ms: u64,
        packet: Option<Vec<u8>>,
        set: Option<SetId>,
        reused: bool,
    ) -> Self {
        let set = set.map(|set| ByteBuf::from(set.0));
        Self(
            VERSION,
            ByteBuf::from(*from),
            created,
            held_ms,
            packet.map(ByteBuf::from),
            set,
            reused,
        )
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        read(bytes)
    }

    pub(super) fn set(&self) -> Option<SetId> {
        Some(SetId(self.5.as_ref()?.as_slice().try_into().ok()?))
    }
}

impl SentNote {
    pub(super) fn new(
        to: &[u8; 32],
        held_ms: u64,
        bytes: u64,
        preview: String,
        set: Option<SetId>,
        bundles: u64,
    ) -> Self {
        let set = set.map(|set| ByteBuf::from(set.0));
        Self(VERSION, ByteBuf::from(*to), held_ms, bytes, preview, set, bundles)
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        read(bytes)
    }
}

impl EventNote {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        read(bytes)
    }
}

impl ReceiptNote {
    pub(super) fn new(until_held_ms: u64) -> Self {
        Self(VERSION, until_held_ms)
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        read(bytes)
    }
}

impl EarlyNote {
    pub(super) fn new(by: [u8; 8], held_ms: u64) -> Self {
        Self(VERSION, ByteBuf::from(by), held_ms)
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        read(bytes)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Who brought it, and when.
    pub(super) fn parts(self) -> ([u8; 8], u64) {
        (self.1.as_slice().try_into().unwrap_or_default(), self.2)
    }
}

impl HeldNote {
    pub(super) fn new(held: Held) -> Self {
        let Held { node, at, held_ms, given } = held;
        let fields = |given: Given| {
            GivenFields(ByteBuf::from(*given.volume.as_bytes()), given.number.0, given.held_ms)
        };
        Self(VERSION, ByteBuf::from(node), at, held_ms, given.map(fields))
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        read(bytes)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    pub(super) fn held(self) -> Option<Held> {
        let given = match self.4 {
            Some(GivenFields(volume, number, held_ms)) => Some(Given {
                volume: VolumeId(volume.as_slice().try_into().ok()?),
                number: FileNumber(number),
                held_ms,
            }),
            None => None,
        };
        let node = self.1.as_slice().try_into().ok()?;
        Some(Held { node, at: self.2, held_ms: self.3, given })
    }
}

impl NeighbourNote {
    pub(super) fn new(address: &str, held_ms: u64) -> Self {
        Self(VERSION, address.into(), held_ms)
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        read(bytes)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }
}

impl OpeningNote {
    pub(super) fn new(deaths: u64, held_ms: u64, step: u64) -> Self {
        Self(VERSION, deaths, held_ms, step)
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        read(bytes)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }
}

impl CursorNote {
    pub(super) fn new(mine: Option<Seen>, theirs: Option<Seen>) -> Self {
        let fields =
            |seen: Seen| CursorFields(ByteBuf::from(seen.instance.0), seen.bundles, seen.receipts);
        Self(VERSION, mine.map(fields), theirs.map(fields))
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        read(bytes)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Mine and theirs.
    pub(super) fn seen(self) -> (Option<Seen>, Option<Seen>) {
        let seen = |fields: CursorFields| {
            let instance = Instance(fields.0.as_slice().try_into().ok()?);
            Some(Seen { instance, bundles: fields.1, receipts: fields.2 })
        };
        (self.1.and_then(seen), self.2.and_then(seen))
    }
}

impl MeetingNote {
    pub(super) fn new(meeting: Meeting) -> Self {
        Self(VERSION, meeting.worth, meeting.counted_ms)
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        read(bytes)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    pub(super) fn meeting(self) -> Meeting {
        Meeting { worth: self.1, counted_ms: self.2 }
    }
}

/// A change that sets a note.
pub(super) fn set_note(space: u8, key: &[u8], value: Vec<u8>) -> Change {
    Change::Note { space, key: key.to_vec(), value: Some(value) }
}

/// Changes that make a sequence durable, and remember its epoch for as long as this node is itself.
pub(super) fn used(sequence: postrider_spool::Sequence) -> [Change; 2] {
    let epoch = sequence.epoch.to_be_bytes();
    [set_note(space::EPOCH, &epoch, Vec::new()), Change::Sequence(sequence)]
}

/// A change that removes a note.
pub(super) fn remove_note(space: u8, key: &[u8]) -> Change {
    Change::Note { space, key: key.to_vec(), value: None }
}

/// A change that remembers what happened to a message. `tag` keeps events of one moment apart.
pub(super) fn event(
    message: &BundleId,
    held_ms: u64,
    tag: u8,
    (what, who, via): (&str, &str, &str),
) -> Change {
    let key = [&message.0[..], &held_ms.to_be_bytes(), &[tag]].concat();
    let note = EventNote(VERSION, what.into(), who.into(), via.into(), held_ms);
    set_note(space::EVENT, &key, wire::encode(&note))
}

/// What a received set is called here: parts count only beside a manifest of the same author.
///
/// The set id comes first, so that a part whose author is not known yet finds its set.
pub(super) fn set_key(author: &[u8; 32], set: &SetId) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&set.0);
    key[16..].copy_from_slice(&blake3::hash(author).as_bytes()[..8]);
    key
}

fn read<T>(bytes: &[u8]) -> Option<T>
where
    T: Serialize + serde::de::DeserializeOwned,
{
    // A field added later makes a new version; an older program then leaves the note alone.
    wire::decode(bytes).ok()
}
