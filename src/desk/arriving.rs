//! A body on its way in over a link: staged, or, if it is a part for us, opened while it comes.
//!
//! ```text
//! for others           -> staging file -> spool
//! for us               -> first 128 KiB -> a part with a place -> opened into its place
//!                                       -> anything else -> staging file -> opened when whole
//! ```
//!
//! What was opened so is believed no sooner than anything else: its bytes count through a note that
//! is committed after the engine has compared the hash and the file was synced. Until then nobody
//! reads the place, and whoever needs it writes it again.

use std::fmt;

use bytes::Bytes;
use postrider_base::{
    BundleId, Head, SealSecret,
    bundle::{Hop, Origin},
    id::SetId,
    unseal::{Keyring, PartOpening},
};
use postrider_engine::node::Custody;
use postrider_spool::{DurableSpool, Spool, Staging, contract::BLOB_FROM};

use super::{
    Desk, Failure, FailureKind,
    incoming::{Intake, Ready, Refusal},
    places::LeasedWriter,
    sets::SetBook,
};

/// So much of a body shows what it is: the longest header of an age file and its first chunk.
const START_BYTES: usize = 128 << 10;

/// A body of which perhaps not all is here.
pub struct Arriving(Way);

enum Way {
    /// For us, and too little of it is here to say more.
    Begun {
        head: Box<Head>,
        start: Vec<u8>,
    },
    /// A part for us, in its place as far as it is here.
    Opening(Box<PartOpening<LeasedWriter>>),
    Staged(Box<Staging>),
}

/// Takes bodies as they come.
pub struct Arrivals<'a> {
    desk: &'a Desk,
    spool: &'a DurableSpool,
    keys: Vec<SealSecret>,
    /// The set whose parts came last: that of the next part, mostly.
    book: Option<(SetId, SetBook<'a>)>,
}

impl<'a> Arrivals<'a> {
    pub(super) fn new(desk: &'a Desk, spool: &'a DurableSpool) -> Self {
        Self { desk, spool, keys: desk.home.key.seal_secrets(), book: None }
    }

    /// Begins a body whose head was verified.
    pub fn begin(&self, head: &[u8], length: u64, custody: Custody) -> Result<Arriving, Failure> {
        let way = match Head::decode(head) {
            Ok(head) if custody == Custody::Deliver && length >= BLOB_FROM as u64 => {
                Way::Begun { head: Box::new(head), start: Vec::new() }
            }
            _ => Way::Staged(Box::new(self.spool.stage()?)),
        };
        Ok(Arriving(way))
    }

    /// Takes the next bytes.
    pub fn append(&mut self, arriving: &mut Arriving, bytes: &[u8]) -> Result<(), Failure> {
        match &mut arriving.0 {
            Way::Staged(staging) => staging.append(bytes)?,
            Way::Opening(part) => {
                part.push(bytes);
                if part.is_full() {
                    return Err(Failure::new(FailureKind::Full, "there is no room for a part"));
                }
            }
            Way::Begun { head, start } => {
                start.extend_from_slice(bytes);
                if start.len() >= START_BYTES {
                    arriving.0 = match self.open(head, start) {
                        Some(part) => Way::Opening(Box::new(part)),
                        None => Way::Staged(Box::new(staged(self.spool, start)?)),
                    };
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, head: &Head, start: &[u8]) -> Option<PartOpening<LeasedWriter>> {
        let Origin::Open { source, .. } = head.header().origin else { return None };
        let (desk, spool, book) = (self.desk, self.spool, &mut self.book);
        let ring = Keyring { node: &desk.home.card.node, keys: &self.keys, senders: &[] };
        if !ring.is_for_us(head) {
            return None;
        }
        PartOpening::begin(head, start, &ring, |part| {
            if book.as_ref().is_none_or(|(set, _)| *set != part.set) {
                *book = Some((part.set, desk.set_book(spool)));
            }
            book.as_ref().and_then(|(_, book)| book.lease(part, &source))
        })
    }
}

impl Arriving {
    /// A piece of what is here, if all of that piece is: only what is for others is read before it is
    /// whole.
    pub fn read(&self, at: u64, bytes: usize) -> Result<Option<Bytes>, Failure> {
        let Way::Staged(staging) = &self.0 else { return Ok(None) };
        let mut piece = vec![0; bytes];
        let n = staging.read_at(at, &mut piece)?;
        Ok((n == bytes).then(|| piece.into()))
    }

    /// All of it is here and has the hash that its head names: it is for us.
    pub(super) fn deliver(
        self,
        intake: &Intake<'_>,
        id: BundleId,
        head: &Head,
        hop: Hop,
        spool: &DurableSpool,
    ) -> Result<Ready, Refusal> {
        match self.0 {
            Way::Opening(part) => intake.opened(id, head, hop, *part),
            Way::Begun { start, .. } => {
                let staging = staged(spool, &start)?;
                intake.open_staged(id, head, hop, staging.into_reader()?)
            }
            Way::Staged(staging) => intake.open_staged(id, head, hop, staging.into_reader()?),
        }
    }

    /// All of it is here and has the hash that its head names: it is for somebody else.
    pub(super) fn carry(self, spool: &DurableSpool) -> Result<Staging, Refusal> {
        match self.0 {
            Way::Staged(staging) => Ok(*staging),
            Way::Begun { start, .. } => Ok(staged(spool, &start)?),
            Way::Opening(_) => {
                let what = "a bundle is for us no more";
                Err(Refusal::Failed(Failure::new(FailureKind::Failed, what)))
            }
        }
    }
}

fn staged(spool: &DurableSpool, start: &[u8]) -> Result<Staging, Failure> {
    let mut staging = spool.stage()?;
    staging.append(start)?;
    Ok(staging)
}

impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Way::Begun { .. } => "Arriving(begun)",
            Way::Opening(_) => "Arriving(opening)",
            Way::Staged(_) => "Arriving(staged)",
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
