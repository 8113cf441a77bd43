//! What neighbours have of bundles for them, as far as links brought it before they were cut: so that
//! a stick need take only the rest.
//!
//! Their word alone stands behind it, and they may have lost it since. So of each bundle one rest is
//! given, once; after that the whole goes.

use std::collections::BTreeMap;

use postrider_base::{BundleId, NodeId};
use postrider_engine::{
    exchange::HELD_FROM_BYTES,
    parcel::{FileNumber, VolumeId},
};
use postrider_spool::{Change, Destination, DurableSpool, Entry, Spool};

use super::{
    Failure, clock,
    inbox::note_keys,
    ledger::{HeldNote, remove_note, set_note, space},
    live::Live,
};

/// Bundles of which it is remembered, of all neighbours: a neighbour keeps 64 bodies that were cut.
const HELD_MAX: usize = 256;
/// It counts for so long, by the custody clock: what a neighbour keeps lasts no longer than its program
/// runs, and a stick that took longer is better off with the whole.
pub(super) const COUNTS_MS: u64 = 7 * 24 * 3_600_000;

/// So many bytes from the beginning of a bundle's body are with its recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Who has them.
    pub node: [u8; 32],
    /// How many.
    pub at: u64,
    /// The custody clock when it said so.
    pub held_ms: u64,
    /// Where the rest was given.
    pub given: Option<Given>,
}

/// A rest that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// On which medium.
    pub volume: VolumeId,
    /// In which file there.
    pub number: FileNumber,
    /// The custody clock then.
    pub held_ms: u64,
}

impl Held {
    /// Where the rest of a bundle begins that may be given instead of the whole.
    pub(super) fn rest_from(&self, entry: &Entry, held_ms: u64) -> Option<u64> {
        let is_for_it = match entry.summary.destination {
            Destination::Node(node) => node == self.node,
            // Resolved when it was said.
            Destination::Tag(_) => true,
            Destination::Group(_) => false,
        };
        let counts = held_ms.saturating_sub(self.held_ms) <= COUNTS_MS;
        let is_part = (HELD_FROM_BYTES..entry.summary.length).contains(&self.at);
        (is_for_it && counts && is_part && self.given.is_none()).then_some(self.at)
    }

    /// Whether this is the rest that was given, and still stands for the whole there.
    pub(super) fn is_given_as(&self, volume: VolumeId, number: FileNumber) -> bool {
        self.given.is_some_and(|given| (given.volume, given.number) == (volume, number))
    }
}

/// What is remembered of a bundle.
pub(super) fn held(spool: &DurableSpool, id: &BundleId) -> Result<Option<Held>, Failure> {
    let note = spool.note(space::HELD, &id.0)?;
    Ok(note.as_deref().and_then(HeldNote::read).and_then(HeldNote::held))
}

/// The change that forgets it, if there is anything to forget: its recipient has all of it. That a rest
/// was given stays known, which lies there for the whole.
pub(super) fn forget_held(spool: &DurableSpool, id: &BundleId) -> Result<Option<Change>, Failure> {
    let is_over = held(spool, id)?.is_some_and(|held| held.given.is_none());
    Ok(is_over.then(|| remove_note(space::HELD, &id.0)))
}

/// Remembers it, durably.
pub(super) fn set_held(spool: &DurableSpool, id: &BundleId, held: Held) -> Result<(), Failure> {
    let note = set_note(space::HELD, &id.0, HeldNote::new(held).encode());
    spool.commit(clock::now(), vec![note])?;
    Ok(())
}

/// Forgets what is over: bundles that are gone, and words that are too old to count.
pub(super) fn tidy_held(spool: &DurableSpool) -> Result<(), Failure> {
    let held_ms = spool.held_ms(clock::now());
    let mut changes = Vec::new();
    for (id, held) in all_held(spool)? {
        let old = held_ms.saturating_sub(held.held_ms) > COUNTS_MS && held.given.is_none();
        if old || spool.entry(&id)?.is_none() {
            changes.push(remove_note(space::HELD, &id.0));
        }
    }
    if !changes.is_empty() {
        spool.commit(clock::now(), changes)?;
    }
    Ok(())
}

/// All that is remembered.
pub(super) fn all_held(spool: &DurableSpool) -> Result<BTreeMap<BundleId, Held>, Failure> {
    let mut all = BTreeMap::new();
    for key in note_keys(spool, space::HELD)? {
        let Ok(id) = key.try_into().map(BundleId) else { continue };
        all.extend(held(spool, &id)?.map(|held| (id, held)));
    }
    Ok(all)
}

impl Live<'_> {
    /// Remembers how much neighbours have of bundles for them; 0 forgets. In one group.
    pub fn remember_held(&self, said: &BTreeMap<BundleId, (NodeId, u64)>) -> Result<(), Failure> {
        let held_ms = self.held_ms();
        let mut changes: Vec<Change> = Vec::new();
        let mut new = 0;
        for (id, (node, at)) in said {
            let before = held(self.spool, id)?;
            // That a rest was given is remembered as long as the bundle.
            if before.is_some_and(|held| held.given.is_some()) {
                continue;
            }
            let is_live = *at >= HELD_FROM_BYTES && self.spool.entry(id)?.is_some();
            if is_live && (before.is_some() || new < HELD_MAX) {
                new += usize::from(before.is_none());
                let now = Held { node: *node.as_bytes(), at: *at, held_ms, given: None };
                changes.push(set_note(space::HELD, &id.0, HeldNote::new(now).encode()));
            } else if before.is_some() {
                changes.push(remove_note(space::HELD, &id.0));
            }
        }
        changes.extend(self.make_room(new, said)?);
        if !changes.is_empty() {
            self.spool.commit(clock::now(), changes)?;
        }
        Ok(())
    }

    /// Forgets the oldest, so that so many more fit.
    fn make_room(
        &self,
        new: usize,
        but: &BTreeMap<BundleId, (NodeId, u64)>,
    ) -> Result<Vec<Change>, Failure> {
        if new == 0 {
            return Ok(Vec::new());
        }
        let mut all: Vec<_> = all_held(self.spool)?.into_iter().collect();
        let excess = (all.len() + new).saturating_sub(HELD_MAX);
        all.retain(|(id, _)| !but.contains_key(id));
        all.sort_by_key(|(_, held)| held.held_ms);
        Ok(all.iter().take(excess).map(|(id, _)| remove_note(space::HELD, &id.0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::{AddRequest, Desk, InitRequest, SendRequest, Silent};

    const KEPT: u64 = 100_000;

    /// A home that has sent a file, its spool's longest bundle, and whom that is for.
    fn sent(dir: &std::path::Path) -> (Desk, Entry, NodeId) {
        let [alice, bob] = ["Alice", "Bob"].map(|name| {
            let home = dir.join(name);
            let request = InitRequest { home, name: Some(name.into()), even_if_public: false };
            Desk::init(&request).unwrap().0
        });
        alice.add(&AddRequest { card: bob.home().card.clone(), name: None }).unwrap();
        let file = dir.join("file");
        std::fs::write(&file, crate::desk::arriving::tests::noise(500_000, 1)).unwrap();
        let request = SendRequest {
            to: "Bob".into(),
            text: None,
            files: vec![file],
            nice: None,
            lifetime: None,
            hidden: None,
            reply_to: None,
            supersede: None,
        };
        alice.send(&request, &Silent).unwrap();
        let spool = alice.spool(&Silent).unwrap();
        let all = spool.since(0, 10).unwrap();
        let longest = all.into_iter().max_by_key(|entry| entry.summary.length).unwrap();
        (alice, longest, bob.home().card.node)
    }

    fn say(desk: &Desk, id: BundleId, node: NodeId, at: u64) {
        let live = desk.open_live(&Silent).unwrap();
        live.remember_held(&BTreeMap::from([(id, (node, at))])).unwrap();
    }

    #[test]
    fn what_a_neighbour_has_is_remembered_and_forgotten_again() {
        let dir = tempfile::tempdir().unwrap();
        let (alice, entry, bob) = sent(dir.path());
        let spool = alice.spool(&Silent).unwrap();
        let from = |held_ms| held(spool, &entry.id).unwrap()?.rest_from(&entry, held_ms);
        let now = spool.held_ms(clock::now());
        assert_eq!(from(now), None);
        say(&alice, entry.id, bob, KEPT);
        assert_eq!(from(now), Some(KEPT));
        say(&alice, entry.id, bob, 2 * KEPT);
        assert_eq!(from(now), Some(2 * KEPT));
        assert_eq!(from(now + COUNTS_MS + 60_000), None, "that was long ago");
        say(&alice, entry.id, bob, HELD_FROM_BYTES - 1);
        assert_eq!(held(spool, &entry.id).unwrap(), None);
        say(&alice, BundleId([9; 32]), bob, KEPT);
        assert_eq!(held(spool, &BundleId([9; 32])).unwrap(), None, "nobody's");
    }

    #[test]
    fn somebody_else_s_word_is_no_reason_to_leave_anything_out() {
        let dir = tempfile::tempdir().unwrap();
        let (alice, entry, bob) = sent(dir.path());
        let held = |node: NodeId, at| Held { node: *node.as_bytes(), at, held_ms: 0, given: None };
        assert_eq!(held(bob, KEPT).rest_from(&entry, 0), Some(KEPT));
        assert_eq!(held(alice.home().card.node, KEPT).rest_from(&entry, 0), None);
        assert_eq!(held(bob, entry.summary.length).rest_from(&entry, 0), None, "nothing is left");
        let group =
            postrider_spool::Summary { destination: Destination::Group([1; 16]), ..entry.summary };
        let for_many = Entry { summary: group, ..entry.clone() };
        assert_eq!(held(bob, KEPT).rest_from(&for_many, 0), None);
    }

    #[test]
    fn that_a_rest_was_given_is_remembered_for_as_long_as_the_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let (alice, entry, bob) = sent(dir.path());
        let spool = alice.spool(&Silent).unwrap();
        let (volume, number) = (VolumeId([1; 16]), FileNumber(7));
        let given = Some(Given { volume, number, held_ms: 5 });
        let note = Held { node: *bob.as_bytes(), at: KEPT, held_ms: 3, given };
        set_held(spool, &entry.id, note).unwrap();
        say(&alice, entry.id, bob, 2 * KEPT);
        say(&alice, entry.id, bob, 0);
        tidy_held(spool).unwrap();
        let now = held(spool, &entry.id).unwrap().unwrap();
        assert_eq!(now, note);
        assert_eq!(now.rest_from(&entry, 5), None);
        assert!(now.is_given_as(volume, number) && !now.is_given_as(volume, FileNumber(8)));
        let why = postrider_spool::Why::Receipt;
        spool.commit(clock::now(), vec![Change::Retire { id: entry.id, why }]).unwrap();
        tidy_held(spool).unwrap();
        assert_eq!(held(spool, &entry.id).unwrap(), None);
    }
}
