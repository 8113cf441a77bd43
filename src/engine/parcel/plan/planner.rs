//! The planner: a state machine from inventory and offers to steps.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet, VecDeque},
};

use postrider_base::{BundleId, Niceness};

use super::{Access, Budgets, Class, Rank, Room, rank::Group, room::cost_bytes};
use crate::parcel::{
    FileNumber, Notes,
    container::{CONTAINER_RECORDS_MAX, CONTAINER_TARGET_BYTES},
};

/// Containers on one medium. A FAT directory is searched from its start for every name, so the
/// cost of a visit grows with the square; this many, each of 32 MiB, fill 256 GiB.
pub const CONTAINERS_MAX: usize = 8_192;

/// Bundles on one medium that a visit remembers, at some 100 bytes each. A medium with more is
/// read, but not written to.
pub const BUNDLES_ON_MEDIUM_MAX: usize = 262_144;

/// One container on the medium.
#[derive(Clone, Debug)]
pub struct MediumContainer {
    /// Its number.
    pub number: FileNumber,
    /// The length of its file.
    pub file_bytes: u64,
    /// The bundles in it.
    pub bundles: Vec<MediumCopy>,
    /// Whether these are all.
    pub listing: Listing,
}

/// Whether all bundles of a container are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// All of them are listed.
    Whole,
    /// Its trailer is damaged, or it could not be read to the end: it is never removed.
    Partial,
}

/// A copy of a bundle on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediumCopy {
    /// The bundle.
    pub id: BundleId,
    /// The length of its record.
    pub record_bytes: u64,
    /// Its niceness.
    pub nice: Niceness,
    /// What we know of it.
    pub standing: Standing,
    /// What we saw of it.
    pub condition: Condition,
}

/// A rest on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediumRest {
    /// The number of its file.
    pub number: FileNumber,
    /// The length of its file.
    pub file_bytes: u64,
    /// The bundle.
    pub id: BundleId,
    /// What we know of it.
    pub standing: Standing,
    /// Whether we left it there.
    pub whose: Whose,
    /// What we saw of it. One of ours that is damaged goes, as does one that a note says is of no use.
    pub condition: Condition,
}

/// What is known, for a fact, of a bundle that lies on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A receipt opens its lock: tried on the verified bundle, here or in our spool.
    Receipted,
    /// It was for us alone, and is delivered.
    Delivered,
    /// Our own count of its age says that its lifetime is over.
    Expired,
    /// It is in our spool, whole, as one of that class.
    Held(Class),
    /// Anything else.
    Unknown,
}

/// Whether a copy is good, as far as this visit saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Listed, and nothing speaks against it.
    Good,
    /// Read and found damaged.
    Damaged,
}

/// An unfinished file of a visit that was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its number.
    pub number: FileNumber,
    /// Its length.
    pub file_bytes: u64,
    /// Whether its number is the one that we use on this volume.
    pub whose: Whose,
}

/// Who left a file behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// We did: an unfinished one goes at once.
    Ours,
    /// Somebody did, and may be writing it at this moment: it goes only for want of room, a rest not then.
    Others,
}

/// A bundle that could be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The bundle.
    pub id: BundleId,
    /// Whose it is.
    pub class: Class,
    /// Its niceness.
    pub nice: Niceness,
    /// The length of its record, by [`record_bytes`](crate::parcel::record_bytes).
    pub record_bytes: u64,
    /// Whether we are its recipient, and the only one.
    pub for_me: bool,
}

/// The answer to an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It will be in one of the next [`Step::Write`]s.
    Write,
    /// It will not be written in this visit.
    LeftOut(LeftOut),
}

/// Why a bundle is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeftOut {
    /// It is for us.
    ForMe,
    /// The medium has it, or will after this visit.
    OnMedium,
    /// A note says that nobody needs it there any more, or this visit found so.
    Taken,
    /// The medium cannot be written to.
    ReadOnly,
    /// The file system cannot hold a file of that length.
    TooLarge,
    /// Its class has used up its budget on this medium.
    ClassBudget,
    /// The limit that was named for this visit is used up.
    VisitBudget,
    /// The medium holds as many containers or bundles as a visit can deal with.
    Crowded,
    /// No room, and nothing that may make room.
    NoRoom {
        /// Bytes that are missing.
        short_bytes: u64,
    },
}

/// Something to do on the medium, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Remove an unfinished file.
    RemoveLeftover(FileNumber),
    /// Remove a container.
    Remove {
        /// Which.
        number: FileNumber,
        /// Why.
        why: Removal,
        /// The bundles to mark in the notes as taken, so that nobody writes them here again.
        taken: Vec<BundleId>,
    },
    /// Write these bundles, in this order, as one container.
    Write(Vec<BundleId>),
    /// Write the rest of this bundle.
    WriteRest(BundleId),
    /// Remove a rest.
    RemoveRest {
        /// Which.
        number: FileNumber,
        /// The bundle, if it is to be marked in the notes as taken.
        taken: Option<BundleId>,
    },
}

/// Why a container is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Nobody needs any of its bundles any more.
    Settled,
    /// For more urgent mail. All its bundles that are not settled are in our spool.
    MakesRoom,
}

/// Plans one visit.
///
/// Calls in this order: [`container`](Self::container) for each container on the medium,
/// [`rest`](Self::rest) for each rest and [`leftover`](Self::leftover) for each unfinished file;
/// [`offer`](Self::offer) or [`offer_rest`](Self::offer_rest) for each bundle that could be written; [`finish`](Self::finish). Drain [`poll`](Self::poll) after each.
pub struct Planner {
    room: Room,
    budgets: Budgets,
    notes: Notes,
    free_bytes: u64,
    visit_bytes: u64,
    class_bytes: [u64; Class::COUNT],
    /// Whole copies on the medium, now and planned.
    copies: HashMap<BundleId, u32>,
    /// What was in containers that go because they are settled.
    settled: HashSet<BundleId>,
    containers: Vec<Known>,
    containers_count: usize,
    leftovers: Vec<Leftover>,
    open: Option<Open>,
    steps: VecDeque<Step>,
    crowded: bool,
}

/// A container on the medium that may have to make room.
struct Known {
    number: FileNumber,
    on_disk_bytes: u64,
    whole: Vec<BundleId>,
    held_bytes: [u64; Class::COUNT],
    /// The first, by rank and by niceness, of the bundles that must not be displaced lightly;
    /// `None` when the container may not be touched.
    yields_to: Option<(Rank, Niceness)>,
}

/// In what a bundle would be written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As a record in a container.
    Record,
    /// As the rest of it, in a file of its own.
    Rest,
}

/// The container that is being filled.
struct Open {
    group: (Class, Group),
    ids: Vec<BundleId>,
    bytes: u64,
}

impl Planner {
    /// Plans for a medium with that room, within those budgets, and with what its notes said when
    /// the visit began.
    pub fn new(room: Room, budgets: Budgets, notes: Notes) -> Self {
        Self {
            room,
            budgets,
            notes,
            free_bytes: room.free_bytes,
            visit_bytes: 0,
            class_bytes: [0; Class::COUNT],
            copies: HashMap::new(),
            settled: HashSet::new(),
            containers: Vec::new(),
            containers_count: 0,
            leftovers: Vec::new(),
            open: None,
            steps: VecDeque::new(),
            crowded: false,
        }
    }

    /// Takes note of a container on the medium; it is removed when all in it is settled.
    pub fn container(&mut self, container: MediumContainer) {
        if self.remembered() + container.bundles.len() > BUNDLES_ON_MEDIUM_MAX {
            self.containers_count += 1;
            self.crowded = true;
            return;
        }
        let settled = |copy: &MediumCopy| {
            matches!(copy.standing, Standing::Receipted | Standing::Delivered | Standing::Expired)
        };
        let on_disk_bytes = self.room.on_disk_bytes(container.file_bytes);
        let is_whole = container.listing == Listing::Whole && !container.bundles.is_empty();
        if is_whole
            && self.room.access == Access::ReadWrite
            && container.bundles.iter().all(settled)
        {
            self.free_bytes = self.free_bytes.saturating_add(on_disk_bytes);
            let taken: Vec<_> = container.bundles.iter().map(|copy| copy.id).collect();
            self.settled.extend(&taken);
            let why = Removal::Settled;
            self.steps.push_back(Step::Remove { number: container.number, why, taken });
            return;
        }
        self.containers_count += 1;
        let mut held_bytes = [0; Class::COUNT];
        let mut yields_to = is_whole.then_some(None);
        let mut whole = Vec::new();
        for copy in &container.bundles {
            match copy.standing {
                Standing::Held(class) => {
                    held_bytes[class.index()] += copy.record_bytes;
                    let rank = Rank::of(class, copy.nice);
                    if let Some(first) = &mut yields_to {
                        let (best, nice) = first.unwrap_or((rank, copy.nice));
                        *first = Some((best.min(rank), nice.min(copy.nice)));
                    }
                }
                Standing::Unknown => yields_to = None,
                Standing::Receipted | Standing::Delivered | Standing::Expired => {}
            }
            if copy.condition == Condition::Good
                && !self.notes.says_damaged(&copy.id, container.number)
            {
                *self.copies.entry(copy.id).or_default() += 1;
                whole.push(copy.id);
            }
        }
        for (sum, bytes) in self.class_bytes.iter_mut().zip(held_bytes) {
            *sum = sum.saturating_add(bytes);
        }
        let number = container.number;
        let yields_to = yields_to.flatten();
        self.containers.push(Known { number, on_disk_bytes, whole, held_bytes, yields_to });
    }

    /// Takes note of a rest on the medium; it is removed when its bundle is settled, and if it is ours
    /// and of no use any more.
    pub fn rest(&mut self, rest: MediumRest) {
        if self.remembered() >= BUNDLES_ON_MEDIUM_MAX {
            self.crowded = true;
            return;
        }
        let (settled, held) = match rest.standing {
            Standing::Receipted | Standing::Delivered | Standing::Expired => (true, None),
            Standing::Held(class) => (false, Some(class)),
            Standing::Unknown => (false, None),
        };
        let ours = rest.whose == Whose::Ours;
        let damaged =
            rest.condition == Condition::Damaged || self.notes.says_damaged(&rest.id, rest.number);
        let useless = ours && damaged;
        if self.room.access == Access::ReadWrite && (settled || useless) {
            let bytes = self.room.on_disk_bytes(rest.file_bytes);
            self.free_bytes = self.free_bytes.saturating_add(bytes);
            self.settled.extend(settled.then_some(rest.id));
            let taken = settled.then_some(rest.id);
            self.steps.push_back(Step::RemoveRest { number: rest.number, taken });
            return;
        }
        if let Some(class) = held.filter(|_| ours) {
            let sum = &mut self.class_bytes[class.index()];
            *sum = sum.saturating_add(rest.file_bytes);
            if !damaged {
                *self.copies.entry(rest.id).or_default() += 1;
            }
        }
    }

    /// Takes note of an unfinished file; our own is removed at once.
    pub fn leftover(&mut self, leftover: Leftover) {
        match leftover.whose {
            Whose::Ours if self.room.access == Access::ReadWrite => self.remove_leftover(leftover),
            Whose::Ours => {}
            Whose::Others => self.leftovers.push(leftover),
        }
    }

    /// Decides about one bundle. Offer them in the order of [`Rank`]: any other is as safe, but
    /// room goes to whoever comes first.
    pub fn offer(&mut self, candidate: Candidate) -> Verdict {
        match self.decide(&candidate, Form::Record) {
            Ok(()) => {
                self.write(&candidate);
                Verdict::Write
            }
            Err(why) => Verdict::LeftOut(why),
        }
    }

    /// As [`Self::offer`], of a bundle whose recipient has its beginning: its `record_bytes` are the
    /// length of the rest's file, by [`rest_bytes`](crate::parcel::rest_bytes).
    pub fn offer_rest(&mut self, candidate: Candidate) -> Verdict {
        match self.decide(&candidate, Form::Rest) {
            Ok(()) => {
                let bytes = self.rest_cost_bytes(&candidate);
                self.spend(&candidate, bytes);
                self.steps.push_back(Step::WriteRest(candidate.id));
                Verdict::Write
            }
            Err(why) => Verdict::LeftOut(why),
        }
    }

    /// Says that nothing more will be offered.
    pub fn finish(&mut self) {
        self.close();
    }

    /// The next thing to do, if it is certain already.
    pub fn poll(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// The reasons not to write a bundle, cheap and certain ones first. Making room is the last
    /// thing that is tried, and only when it leads to writing.
    fn decide(&mut self, candidate: &Candidate, form: Form) -> Result<(), LeftOut> {
        if candidate.for_me {
            return Err(LeftOut::ForMe);
        }
        if self.room.access == Access::ReadOnly {
            return Err(LeftOut::ReadOnly);
        }
        if self.copies.get(&candidate.id).is_some_and(|copies| *copies > 0) {
            return Err(LeftOut::OnMedium);
        }
        if self.settled.contains(&candidate.id) || self.notes.says_taken(&candidate.id) {
            return Err(LeftOut::Taken);
        }
        let bytes = cost_bytes(candidate.record_bytes);
        let alone = match form {
            Form::Record => bytes.saturating_add(self.room.container_overhead_bytes()),
            Form::Rest => self.rest_cost_bytes(candidate),
        };
        if alone > self.room.file_max_bytes {
            return Err(LeftOut::TooLarge);
        }
        let of_class = self.class_bytes[candidate.class.index()];
        if of_class.saturating_add(candidate.record_bytes) > self.budgets.of_class(candidate.class)
        {
            return Err(LeftOut::ClassBudget);
        }
        let joins_open = form == Form::Record && self.joins_open(candidate);
        let needs_bytes = if joins_open { bytes } else { alone };
        let of_visit = self.visit_bytes.saturating_add(needs_bytes);
        if self.budgets.visit_bytes.is_some_and(|most| of_visit > most) {
            return Err(LeftOut::VisitBudget);
        }
        let files_full = !joins_open && self.containers_count >= CONTAINERS_MAX;
        if self.crowded || files_full || self.remembered() >= BUNDLES_ON_MEDIUM_MAX {
            return Err(LeftOut::Crowded);
        }
        self.make_room(Rank::of(candidate.class, candidate.nice), candidate.nice, needs_bytes)
    }

    fn remembered(&self) -> usize {
        self.copies.len() + self.settled.len()
    }

    /// Whether the bundle goes into the container that is being filled.
    fn joins_open(&self, candidate: &Candidate) -> bool {
        let group = Rank::of(candidate.class, candidate.nice).group();
        self.open.as_ref().is_some_and(|open| {
            open.group == group
                && open.ids.len() < CONTAINER_RECORDS_MAX
                && open.bytes.saturating_add(cost_bytes(candidate.record_bytes))
                    <= CONTAINER_TARGET_BYTES
        })
    }

    fn write(&mut self, candidate: &Candidate) {
        let bytes = cost_bytes(candidate.record_bytes);
        let mut spent = bytes;
        if !self.joins_open(candidate) {
            self.close();
            let overhead = self.room.container_overhead_bytes();
            let group = Rank::of(candidate.class, candidate.nice).group();
            self.open = Some(Open { group, ids: Vec::new(), bytes: overhead });
            self.containers_count += 1;
            spent += overhead;
        }
        if let Some(open) = &mut self.open {
            open.ids.push(candidate.id);
            open.bytes += bytes;
        }
        self.spend(candidate, spent);
    }

    fn spend(&mut self, candidate: &Candidate, bytes: u64) {
        self.free_bytes = self.free_bytes.saturating_sub(bytes);
        self.visit_bytes += bytes;
        self.class_bytes[candidate.class.index()] += candidate.record_bytes;
        *self.copies.entry(candidate.id).or_default() += 1;
    }

    /// What a rest takes: a file of its own, whose last cluster may be nearly empty.
    fn rest_cost_bytes(&self, candidate: &Candidate) -> u64 {
        candidate.record_bytes.saturating_add(self.room.cluster_bytes)
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.steps.push_back(Step::Write(open.ids));
        }
    }

    /// Sees to it that `needs_bytes` are free: first by what others left unfinished, then by
    /// containers that may be displaced. Removes nothing unless it is enough.
    fn make_room(&mut self, rank: Rank, nice: Niceness, needs_bytes: u64) -> Result<(), LeftOut> {
        // A medium may already be filled into the margin: what is removed fills that up first.
        let short_bytes =
            needs_bytes.saturating_add(self.room.margin_bytes()).saturating_sub(self.free_bytes);
        if short_bytes == 0 {
            return Ok(());
        }
        let from_leftovers = self
            .leftovers
            .iter()
            .map(|leftover| self.room.on_disk_bytes(leftover.file_bytes))
            .fold(0, u64::saturating_add);
        let displaced = match short_bytes.checked_sub(from_leftovers) {
            None | Some(0) => Vec::new(),
            Some(short) => self
                .displaced_by(rank, nice, short)
                .map_err(|short_bytes| LeftOut::NoRoom { short_bytes })?,
        };
        for leftover in std::mem::take(&mut self.leftovers) {
            self.remove_leftover(leftover);
        }
        for place in displaced {
            self.displace(place);
        }
        Ok(())
    }

    /// The containers, by place and from the last to the first, that give up `short_bytes`: least
    /// urgent first, and none that is not needed. `Err` is what would still be missing.
    fn displaced_by(
        &self,
        rank: Rank,
        nice: Niceness,
        short_bytes: u64,
    ) -> Result<Vec<usize>, u64> {
        let mut yielding: Vec<_> = self
            .containers
            .iter()
            .enumerate()
            .filter_map(|(place, known)| {
                let (best, best_nice) = known.yields_to?;
                (rank.may_displace(best) && nice < best_nice).then_some((
                    best_nice,
                    known.on_disk_bytes,
                    place,
                ))
            })
            .collect();
        yielding.sort_by_key(|(nice, bytes, place)| (Reverse(*nice), Reverse(*bytes), *place));
        let mut got = 0_u64;
        let mut chosen = Vec::new();
        for (_, bytes, place) in yielding {
            if got >= short_bytes {
                break;
            }
            got = got.saturating_add(bytes);
            chosen.push((bytes, place));
        }
        if got < short_bytes {
            return Err(short_bytes - got);
        }
        // The last one chosen may be so large that some before it were not needed; the most
        // urgent of those is spared first.
        let mut places = Vec::new();
        for (bytes, place) in chosen.into_iter().rev() {
            if got - bytes >= short_bytes {
                got -= bytes;
            } else {
                places.push(place);
            }
        }
        places.sort_by_key(|place| Reverse(*place));
        Ok(places)
    }

    fn displace(&mut self, place: usize) {
        let known = self.containers.swap_remove(place);
        for id in &known.whole {
            if let Some(copies) = self.copies.get_mut(id) {
                *copies = copies.saturating_sub(1);
            }
        }
        for (sum, bytes) in self.class_bytes.iter_mut().zip(known.held_bytes) {
            *sum = sum.saturating_sub(bytes);
        }
        self.containers_count -= 1;
        self.free_bytes = self.free_bytes.saturating_add(known.on_disk_bytes);
        let why = Removal::MakesRoom;
        self.steps.push_back(Step::Remove { number: known.number, why, taken: Vec::new() });
    }

    fn remove_leftover(&mut self, leftover: Leftover) {
        let bytes = self.room.on_disk_bytes(leftover.file_bytes);
        self.free_bytes = self.free_bytes.saturating_add(bytes);
        self.steps.push_back(Step::RemoveLeftover(leftover.number));
    }
}
