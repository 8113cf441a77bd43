//! One visit of a courier to a node: an exchange with its medium, both ways.
//!
//! The engine's planner decides; this obeys, as the desk's `toss` does with a real medium. It goes
//! in steps, with time between them, so that links, crashes and letters come in between:
//!
//! 1. learn: what the trailers of containers list, and which receipts on the medium open what lies
//!    on it;
//! 2. take what is new, those copies last that somebody found damaged, then the receipts;
//! 3. tell the planner of every container and leftover;
//! 4. offer what the spool has, urgent mail first, and write what the planner wants written;
//! 5. write the notes anew.

mod give;
mod take;

use std::{collections::BTreeSet, io, path::PathBuf};

use postrider_base::{BundleId, Niceness, bundle::Receipt, disk::Disk};
use postrider_engine::parcel::{
    Condition, FileKind, FileNumber, Listing, Notes, Planner, WriterError,
};
use postrider_spool::{Class, Cursor, SpoolError};

use crate::{
    chance::Chance,
    laws::Laws,
    letters::Letters,
    medium::{container_path, look_through},
    node::Node,
    shell::Turn,
};

/// Why a visit ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the medium: {0}")]
    Medium(#[from] io::Error),
    #[error("the spool: {0}")]
    Spool(#[from] SpoolError),
    #[error("the container: {0}")]
    Writer(#[from] WriterError),
}

/// Where a visit takes place.
pub(crate) struct Place<'a> {
    pub node: &'a mut Node,
    pub disk: &'a dyn Disk,
    /// Bytes that the medium has in all.
    pub total_bytes: u64,
    /// Containers that were published and that nobody has removed.
    pub published: &'a mut BTreeSet<FileNumber>,
    pub letters: &'a Letters,
    pub laws: &'a Laws,
    pub chance: &'a mut Chance,
    pub now_ms: u64,
    /// What becomes durable in this step, and what is to be told.
    pub turn: Turn,
}

/// A visit that goes on.
pub(crate) struct Visit {
    /// Under which number this node writes here until a file is whole.
    leftover: FileNumber,
    containers: Vec<OnMedium>,
    leftovers: Vec<(FileNumber, u64)>,
    notes: Notes,
    notes_files: Vec<PathBuf>,
    complete: bool,
    planner: Option<Planner>,
    /// Copies that are on the medium now, for the notes on damage.
    copies: Vec<(BundleId, FileNumber)>,
    cursors: [Option<Cursor>; Class::ALL.len()],
    stage: Stage,
}

/// What comes next.
#[derive(Clone, Copy)]
enum Stage {
    Learn(usize),
    Take(Pass, usize),
    Receipts,
    Tell(usize),
    Leftovers,
    Offer(usize),
    Notes,
}

/// Which copies are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Those that nothing speaks against.
    Good,
    /// Those that a note calls damaged and that did not come otherwise.
    NotedDamaged,
}

/// One container, and what a visit learns of it.
struct OnMedium {
    number: FileNumber,
    path: PathBuf,
    file_bytes: u64,
    listing: Listing,
    copies: Vec<Copy>,
}

/// One copy of a bundle.
struct Copy {
    id: BundleId,
    record_bytes: u64,
    nice: Niceness,
    condition: Condition,
    /// Somebody noted before this visit that it is damaged.
    noted_damaged: bool,
    /// A receipt on the medium opens the lock of the bundle on the medium.
    receipted: bool,
}

impl Visit {
    /// Begins one.
    pub(crate) fn begin(place: &mut Place<'_>) -> Result<Self, Trouble> {
        let found = look_through(place.disk, place.chance)?;
        let listed: BTreeSet<_> = found.containers.iter().map(|(number, _)| *number).collect();
        if let Some(number) = place.published.difference(&listed).next() {
            // What was published is durable, and only a visit removes anything.
            place.turn.faults.push(format!("the medium has lost container {number}"));
        }
        let secret = blake3::hash(&[&b"leftover"[..], &place.node.at.to_be_bytes()].concat());
        let containers = found.containers.into_iter().map(|(number, file_bytes)| OnMedium {
            number,
            path: container_path(number, FileKind::Container),
            file_bytes,
            listing: Listing::Partial,
            copies: Vec::new(),
        });
        Ok(Self {
            leftover: FileNumber::leftover_of(secret.as_bytes(), &found.volume),
            containers: containers.collect(),
            leftovers: found.leftovers,
            notes: found.notes,
            notes_files: found.notes_files,
            complete: found.complete,
            planner: None,
            copies: Vec::new(),
            cursors: [None; Class::ALL.len()],
            stage: Stage::Learn(0),
        })
    }

    /// Goes one step further; whether there is more to do.
    pub(crate) fn step(&mut self, place: &mut Place<'_>) -> Result<bool, Trouble> {
        let containers = self.containers.len();
        self.stage = match self.stage {
            Stage::Learn(at) if at < containers => {
                self.learn(at, place)?;
                Stage::Learn(at + 1)
            }
            Stage::Learn(_) => Stage::Take(Pass::Good, 0),
            Stage::Take(pass, at) if at < containers => {
                self.take(at, pass, place)?;
                Stage::Take(pass, at + 1)
            }
            Stage::Take(Pass::Good, _) => Stage::Take(Pass::NotedDamaged, 0),
            Stage::Take(Pass::NotedDamaged, _) => Stage::Receipts,
            Stage::Receipts => {
                let receipts: Vec<Receipt> = self.notes.receipts().copied().collect();
                for receipt in receipts {
                    place.node.take_receipt(place.now_ms, &receipt, &mut place.turn)?;
                }
                self.begin_to_give(place)?;
                Stage::Tell(0)
            }
            Stage::Tell(at) if at < containers => {
                self.tell(at, place)?;
                Stage::Tell(at + 1)
            }
            Stage::Tell(_) => Stage::Leftovers,
            Stage::Leftovers => {
                self.tell_leftovers(place)?;
                Stage::Offer(0)
            }
            Stage::Offer(lane) => match self.offer(lane, place)? {
                Some(lane) => Stage::Offer(lane),
                None => Stage::Notes,
            },
            Stage::Notes => {
                self.write_notes(place)?;
                return Ok(false);
            }
        };
        Ok(true)
    }
}
