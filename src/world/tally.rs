//! What a world has cost so far: how often bundles went from node to node, and how many copies lie
//! about.

use std::collections::BTreeSet;

use postrider_base::BundleId;

use crate::{laws::Told, shell::Deed, world::World};

/// Counted while things happen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Noise.
    ignored: BTreeSet<BundleId>,
    transmissions: u64,
    renewals: u64,
    copies: u64,
    /// Copies times milliseconds.
    held: u128,
    since_ms: u64,
}

impl Tally {
    /// Its author keeps the first copy.
    pub fn sent(&mut self, now_ms: u64) {
        self.pass(now_ms);
        self.copies += 1;
    }

    /// What becomes of this does not count.
    pub fn ignore(&mut self, id: BundleId) {
        self.ignored.insert(id);
    }

    pub fn deed(&mut self, deed: &Deed, now_ms: u64) {
        self.pass(now_ms);
        let (Deed::Admitted(id, _)
        | Deed::Delivered(id)
        | Deed::Retired(id, _)
        | Deed::Proved(id)
        | Deed::Renewed(id)) = deed;
        if self.ignored.contains(id) {
            return;
        }
        match deed {
            Deed::Admitted(..) => {
                self.transmissions += 1;
                self.copies += 1;
            }
            Deed::Delivered(_) => self.transmissions += 1,
            Deed::Retired(..) => self.copies = self.copies.saturating_sub(1),
            Deed::Renewed(_) => self.renewals += 1,
            Deed::Proved(_) => {}
        }
    }

    fn pass(&mut self, now_ms: u64) {
        self.held += u128::from(self.copies) * u128::from(now_ms.saturating_sub(self.since_ms));
        self.since_ms = now_ms;
    }
}

impl World {
    /// How often a bundle became durable at a node that had not written it.
    pub fn transmissions(&self) -> u64 {
        self.tally.transmissions
    }

    /// How often an author gave a bundle its tokens anew.
    pub fn renewals(&self) -> u64 {
        self.tally.renewals
    }

    /// Copies that lay in all spools together, on average from the start until now.
    pub fn copies_mean(&self) -> f64 {
        let mut tally = self.tally.clone();
        tally.pass(self.now_ms());
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        let (held, time) = (tally.held as f64, self.now_ms().max(1) as f64);
        held / time
    }

    /// What became of every letter so far.
    pub fn fates(&self) -> impl Iterator<Item = Told> {
        self.laws.told()
    }
}
