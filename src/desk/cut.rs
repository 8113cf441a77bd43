//! Bodies for this node that links brought in part: what is here of them, for whoever finds the rest.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use postrider_base::BundleId;
use postrider_engine::node::{Beginning, CutBody};

use super::{Desk, incoming::lock, live::Arriving};

/// Whoever keeps bodies whose link was cut. Both calls may wait for it, and for the disk.
pub trait CutBodies: Send + Sync {
    /// What is here of a bundle.
    fn look(&self, id: &BundleId) -> Beginning;

    /// Takes it over, if it is as it was looked at. Whatever becomes of it, a link that offers the
    /// bundle later is asked for all of it.
    fn hand_out(&self, id: &BundleId, cut: &CutBody) -> Option<Arriving>;
}

/// The way to whoever keeps them: nobody, while no daemon runs.
#[derive(Default)]
pub(super) struct Lender(Mutex<Option<Arc<dyn CutBodies>>>);

impl Lender {
    pub(super) fn current(&self) -> Option<Arc<dyn CutBodies>> {
        lock(&self.0).clone()
    }
}

impl fmt::Debug for Lender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lender")
    }
}

impl Desk {
    /// Says who keeps what links brought in part; or that nobody does any more.
    pub fn lend_cut_bodies(&self, from: Option<Arc<dyn CutBodies>>) {
        *lock(&self.cut_bodies.0) = from;
    }
}
