//! The whole contract of a spool: what it keeps, what a commit means, what can be asked.
//!
//! Two implementations stand behind it: `DurableSpool` (log, blobs, index) and `MemorySpool` (a
//! plain twin for simulation and for comparing). One conformance suite runs on both.
//!
//! What holds for every implementation:
//! - A commit is one group: all of it happens or nothing, and when [`Spool::commit`] returns `Ok`
//!   it is durable. An `Err` means that the group may or may not be there, except for
//!   [`SpoolError::Full`], [`SpoolError::TooLarge`] and [`SpoolError::LengthMismatch`], after which
//!   it is not.
//! - Nothing is visible to a query before it is durable.
//! - An id is known from its admission until its tombstone ends; while it is known it is never
//!   admitted again. What was delivered is remembered for ever.
//! - A sequence is never handed out twice, whatever crashes in between; numbers may be skipped.
//! - Time is the custody clock: milliseconds for which this spool's machines were switched on,
//!   never more than the truth. A bundle's age is its age at arrival plus the time held here, so
//!   expiry may be late and is never early.

use postrider_base::bundle;

use crate::{error::SpoolError, staging::Staging};

pub use crate::bounds::{COUNTED_MIN, Quota, Quotas, counted_bytes};
pub use crate::staging::Staged;
pub use postrider_base::{BundleId, bundle::Hop};

/// Longest envelope head: an open header with signature is under 300 bytes (format, section L).
pub const HEAD_MAX: usize = 512;
/// Longest private note on an own bundle: a receipt secret and what the sender wants to recall.
pub const OWN_MAX: usize = 256;
/// Longest note key: a 32-byte id in hexadecimal, or two ids.
pub const NOTE_KEY_MAX: usize = 64;
/// Longest note value: a mail text is ≤ 64 KiB, a job's kept output ≤ 1 MiB.
pub const NOTE_MAX: usize = 1 << 20;
/// Bodies from this length on are files of their own instead of log records: copying them at
/// compaction would cost more than a file does.
pub const BLOB_FROM: usize = 256 << 10;
/// What one group may carry in the log, so that a group never needs more than one segment.
pub const GROUP_MAX: usize = 3 << 20;
/// Changes in one group; with [`GROUP_MAX`] this bounds the work done under the commit lock.
pub const CHANGES_MAX: usize = 4096;
/// Rows one page or listing returns at most; a caller asks again with the last cursor.
pub const PAGE_MAX: usize = 1024;

/// Where a bundle goes, told by its length: a tag, a group or a node. The spool compares these
/// bytes and nothing more, so it does not ask whether a key is a good one, as the type of the same
/// name on floor 0 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// 8 bytes that only the recipient and holders of its card can resolve.
    Tag([u8; 8]),
    /// A group's 16 bytes.
    Group([u8; 16]),
    /// A node's public key.
    Node([u8; 32]),
}

impl Destination {
    /// The bytes as they stand in a header.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Tag(b) => b,
            Self::Group(b) => b,
            Self::Node(b) => b,
        }
    }

    /// The destination with these bytes; `None` for any length but 8, 16 and 32.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(match bytes.len() {
            8 => Self::Tag(bytes.try_into().ok()?),
            16 => Self::Group(bytes.try_into().ok()?),
            32 => Self::Node(bytes.try_into().ok()?),
            _ => return None,
        })
    }
}

impl From<bundle::Destination> for Destination {
    fn from(destination: bundle::Destination) -> Self {
        match destination {
            bundle::Destination::Node(id) => Self::Node(*id.as_bytes()),
            bundle::Destination::Group(group) => Self::Group(group),
            bundle::Destination::Tag(tag) => Self::Tag(tag),
        }
    }
}

/// The monotonic clock of this boot, as the caller read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The kernel's boot id.
    pub boot: [u8; 16],
    /// CLOCK_BOOTTIME in milliseconds: counts suspension, does not know the date.
    pub boottime_ms: u64,
}

/// What a spool knows of a bundle's header; the header itself is opaque to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Where it goes.
    pub destination: Destination,
    /// Who sent it, when the envelope says.
    pub source: Option<[u8; 32]>,
    /// 1-255, lower goes first.
    pub nice: u8,
    /// Seconds it may live from its creation.
    pub lifetime_s: u32,
    /// Bytes of the body.
    pub length: u64,
}

/// The quota a bundle counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// To or from this node.
    Own,
    /// To or from a contact.
    Contact,
    /// To or from a friend of a contact.
    Friend,
    /// Carried blind.
    Stranger,
}

impl Class {
    /// Every class, in the order of [`Stats::classes`].
    pub const ALL: [Self; 4] = [Self::Own, Self::Contact, Self::Friend, Self::Stranger];

    /// Its word, in one piece of text.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Contact => "contact",
            Self::Friend => "friend",
            Self::Stranger => "stranger",
        }
    }
}

/// A bundle to admit.
#[derive(Debug)]
pub struct NewBundle {
    /// Its id, which the caller has verified.
    pub id: BundleId,
    /// The envelope without its body, at most [`HEAD_MAX`] bytes.
    pub head: Vec<u8>,
    /// What the spool sorts by.
    pub summary: Summary,
    /// Hop data at arrival; its age is the one it arrived with.
    pub hop: Hop,
    /// Whose quota it counts against.
    pub class: Class,
    /// How near this node is to whom it is for, in eighths of doublings; 0 is nothing. Of bundles that
    /// are equally nice those worth least for their bytes go first when there is no room.
    pub worth: u8,
    /// The neighbour who brought it.
    pub from: Option<[u8; 32]>,
    /// The sender's private note, at most [`OWN_MAX`] bytes: never leaves this node.
    pub own: Option<Vec<u8>>,
    /// The body, exactly `summary.length` bytes. The id stands for them: a bundle that comes again
    /// with the same id brings the same body.
    pub body: Body,
}

/// A body on its way into the spool.
#[derive(Debug)]
pub enum Body {
    /// In memory.
    Inline(Vec<u8>),
    /// Written piece by piece before.
    Staged(Staged),
}

impl Body {
    /// Its length in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Staged(staged) => staged.len_bytes(),
        }
    }
}

/// Why a bundle was retired; kept in its tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was for this node and has been read.
    Read,
    /// A receipt proved its delivery.
    Receipt,
    /// Its lifetime ended.
    Expired,
    /// Its sender took it back.
    Cancelled,
    /// It made room for others: its class was over its quota, and its turn had come.
    Dropped,
    /// This node will not carry it.
    Refused,
    /// The disk lost its bytes. Leaves no tombstone: a good copy is welcome again.
    Damaged,
}

/// One delivered packet, by its sequence at its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The proven source.
    pub source: [u8; 32],
    /// The source's epoch.
    pub epoch: u32,
    /// The counter within source, epoch and destination.
    pub counter: u64,
    /// The first bytes of the bundle's id.
    pub id8: [u8; 8],
}

/// A sequence taken for one bundle to one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Whom the counter belongs to: the recipient, also where the envelope hides it.
    pub destination: Destination,
    /// Random, and redrawn whenever numbers may have been forgotten.
    pub epoch: u32,
    /// From 1 up.
    pub counter: u64,
}

impl From<Sequence> for bundle::Sequence {
    fn from(taken: Sequence) -> Self {
        Self { epoch: taken.epoch, counter: taken.counter }
    }
}

/// One thing a group does.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "mostly bundles; a box each would cost more")]
pub enum Change {
    /// Admits a bundle.
    Bundle(NewBundle),
    /// Drops a bundle's body and leaves a tombstone for one lifetime from our first sight.
    Retire {
        /// Which.
        id: BundleId,
        /// Why.
        why: Why,
    },
    /// Replaces a live bundle's hop data and class. `age_s` stays the age at arrival and only
    /// grows; a smaller one leaves the old.
    Hop {
        /// Which.
        id: BundleId,
        /// The new hop data.
        hop: Hop,
        /// The new class.
        class: Class,
    },
    /// As [`Change::Hop`] of the same class, and as if it had just been admitted: it gets the next
    /// arrival number, so that those who have seen all up to an earlier one see it again. Its age and
    /// the time of its arrival stay.
    Renew {
        /// Which.
        id: BundleId,
        /// The new hop data.
        hop: Hop,
    },
    /// Remembers a delivery for ever. When it turns out to be known ([`Outcome::Duplicate`]), the
    /// whole group is a no-op and every other outcome is [`Outcome::Void`].
    Delivered(Delivered),
    /// Sets or removes a note: a value that belongs to another module.
    Note {
        /// Whose: a namespace the program assigns.
        space: u8,
        /// At most [`NOTE_KEY_MAX`] bytes.
        key: Vec<u8>,
        /// At most [`NOTE_MAX`] bytes; `None` removes.
        value: Option<Vec<u8>>,
    },
    /// Makes a sequence from [`Spool::take_sequence`] durable: goes into the group that admits
    /// the bundle that carries it. Of several for one destination the highest is enough.
    Sequence(Sequence),
}

/// What became of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The bundle is in custody.
    Admitted,
    /// Known already; nothing was written for it.
    Duplicate,
    /// Done.
    Done,
    /// No live bundle has this id.
    Unknown,
    /// The delivery is the first with its sequence.
    New,
    /// Its sequence is known with another id: the source was cloned or rolled back, or cheats.
    Equivocation,
    /// There is no room for the bundle in its class; nothing was written for it.
    Full,
    /// Not done, because another change of the group was a known delivery.
    Void,
}

/// A live bundle, without the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: BundleId,
    /// From its header.
    pub summary: Summary,
    /// Hop data; the age is the one at arrival.
    pub hop: Hop,
    /// Whose quota.
    pub class: Class,
    /// What it was worth when it came: [`NewBundle::worth`].
    pub worth: u8,
    /// Who brought it.
    pub from: Option<[u8; 32]>,
    /// The custody clock when it was admitted.
    pub arrived_held_ms: u64,
    /// From 1 up, rising with every admission and renewal; orders bundles of one niceness.
    pub arrival: u64,
}

impl Entry {
    /// Age in seconds when the custody clock shows `held_ms`.
    #[must_use]
    pub fn age_s(&self, held_ms: u64) -> u64 {
        u64::from(self.hop.age_s) + held_ms.saturating_sub(self.arrived_held_ms) / 1000
    }

    /// The custody clock at which its lifetime ends.
    #[must_use]
    pub fn expires_held_ms(&self) -> u64 {
        let left_s = self.summary.lifetime_s.saturating_sub(self.hop.age_s);
        self.arrived_held_ms.saturating_add(u64::from(left_s) * 1000)
    }

    /// Its place in a queue.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { nice: self.summary.nice, arrival: self.arrival }
    }
}

/// A place in a queue: rows after it are those not yet seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Niceness.
    pub nice: u8,
    /// Order of admission.
    pub arrival: u64,
}

/// The numbering of arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbering {
    /// The spool's epoch: while it is the same, a number stands for the same bundle.
    pub epoch: u32,
    /// The highest number that a query can have seen; 0 before the first.
    pub latest: u64,
}

/// An ordered set of live bundles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// All of one quota class.
    Class(Class),
    /// All for one destination.
    Destination(Destination),
    /// All for nodes whose keys begin so.
    Toward([u8; 8]),
}

impl Queue {
    /// Whether an entry stands in this queue.
    #[must_use]
    pub fn holds(&self, entry: &Entry) -> bool {
        match self {
            Self::Class(class) => entry.class == *class,
            Self::Destination(destination) => entry.summary.destination == *destination,
            Self::Toward(first) => {
                let destination = &entry.summary.destination;
                matches!(destination, Destination::Node(_)) && first_bytes(destination) == *first
            }
        }
    }
}

/// The first bytes of a destination, by which bundles are found.
#[must_use]
pub fn first_bytes(destination: &Destination) -> [u8; 8] {
    // No destination is shorter.
    destination.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// What is known about an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// In custody.
    Live,
    /// Retired, and remembered.
    Retired(Why),
}

/// The parts of a live bundle that stand in its record beside the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The envelope head.
    pub head: Vec<u8>,
    /// The sender's private note.
    pub own: Option<Vec<u8>>,
}

/// Bundles and bytes of one quota class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Live bundles.
    pub bundles: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// What they count against the quota: no bundle less than [`COUNTED_MIN`].
    pub counted_bytes: u64,
}

/// Totals, kept while changes happen: asking costs the same for any number of bundles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// By class, in the order of [`Class::ALL`].
    pub classes: [Share; 4],
    /// The custody clock when the oldest live bundle arrived, of those that were not renewed since
    /// another came.
    pub oldest_held_ms: Option<u64>,
}

impl Stats {
    /// All live bundles.
    #[must_use]
    pub fn bundles(&self) -> u64 {
        self.classes.iter().map(|share| share.bundles).sum()
    }

    /// Bytes of all live bodies.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.classes.iter().map(|share| share.bytes).sum()
    }
}

/// The durable home of bundles. All calls block; any thread may call any of them at any time.
pub trait Spool: Send + Sync {
    /// Applies a group, atomically and durably; one outcome per change, in order.
    ///
    /// Groups of several threads share one sync.
    fn commit(&self, now: Now, changes: Vec<Change>) -> Result<Vec<Outcome>, SpoolError>;

    /// From now on a bundle of one of these classes is only admitted when it fits, and others of its
    /// class are dropped for it as [`bounds`](crate::bounds) says, in the same group. A spool begins
    /// without limits; they are not kept.
    fn set_quotas(&self, quotas: Quotas);

    /// The quotas in force.
    fn quotas(&self) -> Quotas;

    /// Starts a body that arrives in pieces. Dropping it unfinished leaves nothing behind.
    fn stage(&self) -> Result<Staging, SpoolError>;

    /// The next sequence for a destination; durable with the group that holds it as
    /// [`Change::Sequence`]. Nothing that carries it may leave this node before that.
    fn take_sequence(&self, destination: &Destination) -> Result<Sequence, SpoolError>;

    /// Starts all counters afresh under a new random epoch: for when a rollback or a clone of
    /// this home is suspected. Durable on return.
    fn redraw_epoch(&self, now: Now) -> Result<(), SpoolError>;

    /// Stores a point of the custody clock when the last one is an hour old or of another boot;
    /// to be called at least hourly by a program that runs on.
    fn tick(&self, now: Now) -> Result<(), SpoolError>;

    /// What the custody clock shows.
    fn held_ms(&self, now: Now) -> u64;

    /// A live bundle.
    fn entry(&self, id: &BundleId) -> Result<Option<Entry>, SpoolError>;

    /// A live bundle's head and private note.
    fn envelope(&self, id: &BundleId) -> Result<Option<Envelope>, SpoolError>;

    /// Whether an id is live or has a tombstone that the custody clock has not passed yet.
    fn seen(&self, id: &BundleId) -> Result<Option<Seen>, SpoolError>;

    /// Reads from a live bundle's body; `Some(0)` at its end, `None` when it is not live.
    fn read(&self, id: &BundleId, offset: u64, out: &mut [u8])
    -> Result<Option<usize>, SpoolError>;

    /// Up to `limit` (at most [`PAGE_MAX`]) bundles of a queue after a cursor, ordered by
    /// niceness, then admission. Costs the same wherever in the queue it starts.
    fn page(
        &self,
        queue: Queue,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Entry>, SpoolError>;

    /// Up to `limit` (at most [`PAGE_MAX`]) live bundles with an arrival number above `after`, in
    /// the order of those numbers.
    fn since(&self, after: u64, limit: usize) -> Result<Vec<Entry>, SpoolError>;

    /// How far arrivals have been numbered. Whoever asks this first and [`Spool::since`] after it
    /// has seen every live bundle up to that number.
    fn numbering(&self) -> Numbering;

    /// A note's value.
    fn note(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError>;

    /// Up to `limit` (at most [`PAGE_MAX`]) note keys with a prefix, in order, after a key.
    fn notes(
        &self,
        space: u8,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, SpoolError>;

    /// The first bytes of the ids delivered with this sequence, sorted; more than one is
    /// equivocation.
    fn delivered(
        &self,
        source: &[u8; 32],
        epoch: u32,
        counter: u64,
    ) -> Result<Vec<[u8; 8]>, SpoolError>;

    /// Ids, live or with a tombstone, that begin with at least four hexadecimal digits; at most
    /// 16 of them, in order.
    fn resolve(&self, prefix: &str) -> Result<Vec<BundleId>, SpoolError>;

    /// Totals.
    fn stats(&self) -> Result<Stats, SpoolError>;

    /// Up to `limit` (at most [`PAGE_MAX`]) live bundles whose lifetime has ended, first ended
    /// first, then first admitted first.
    fn expired(&self, now: Now, limit: usize) -> Result<Vec<BundleId>, SpoolError>;
}

/// Most ids that [`Spool::resolve`] names: enough to show that a prefix is too short.
pub const RESOLVE_MAX: usize = 16;

/// Parses the prefix of an id for [`Spool::resolve`]: the lowest and highest id that begin so.
pub(crate) fn prefix_bounds(prefix: &str) -> Result<(BundleId, BundleId), SpoolError> {
    let digits = prefix.as_bytes();
    if !(4..=64).contains(&digits.len()) {
        return Err(SpoolError::BadPrefix);
    }
    let (mut low, mut high) = ([0; 32], [0xff; 32]);
    for (i, digit) in digits.iter().enumerate() {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return Err(SpoolError::BadPrefix),
        };
        let (shift, keep) = if i % 2 == 0 { (4, 0x0f) } else { (0, 0xf0) };
        low[i / 2] |= value << shift;
        high[i / 2] = high[i / 2] & keep | value << shift;
    }
    Ok((BundleId(low), BundleId(high)))
}

/// Refuses a group that breaks a limit, before anything is done for it; otherwise an upper bound
/// of the bytes it takes in the log.
pub(crate) fn check_group(changes: &[Change]) -> Result<usize, SpoolError> {
    let limit = |what, limit: usize, got: usize| {
        if got > limit { Err(SpoolError::TooLarge { what, limit, got }) } else { Ok(()) }
    };
    limit("group, in changes", CHANGES_MAX, changes.len())?;
    let mut total = 128usize;
    for change in changes {
        total += RECORD_MAX;
        match change {
            Change::Bundle(b) => {
                limit("envelope head", HEAD_MAX, b.head.len())?;
                let own = b.own.as_ref().map_or(0, Vec::len);
                limit("private note", OWN_MAX, own)?;
                if b.body.len_bytes() != b.summary.length {
                    return Err(SpoolError::LengthMismatch {
                        declared: b.summary.length,
                        got: b.body.len_bytes(),
                    });
                }
                let body = match &b.body {
                    Body::Inline(bytes) if bytes.len() < BLOB_FROM => bytes.len(),
                    Body::Staged(staged) => staged.inline_len(),
                    Body::Inline(_) => 0,
                };
                total += b.head.len() + own + body;
            }
            Change::Note { key, value, .. } => {
                limit("note key", NOTE_KEY_MAX, key.len())?;
                let len = value.as_ref().map_or(0, Vec::len);
                limit("note", NOTE_MAX, len)?;
                total += len;
            }
            Change::Retire { .. }
            | Change::Hop { .. }
            | Change::Renew { .. }
            | Change::Delivered(_)
            | Change::Sequence(_) => {}
        }
    }
    limit("group, in bytes", GROUP_MAX, total)?;
    Ok(total)
}

/// Upper bound of a record's fields and framing, without what has a length of its own.
const RECORD_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_bounds_exactly_the_ids_that_begin_with_it() {
        let (low, high) = prefix_bounds("aB10f").unwrap();
        assert_eq!(&low.0[..4], &[0xab, 0x10, 0xf0, 0]);
        assert_eq!(&high.0[..4], &[0xab, 0x10, 0xff, 0xff]);
        for bad in ["", "abc", "abcg", "ab c1", &"a".repeat(65)] {
            assert!(matches!(prefix_bounds(bad), Err(SpoolError::BadPrefix)), "{bad:?}");
        }
    }
}
