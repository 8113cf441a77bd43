//! Bundles on their way in: who brings each, who else could, and the bodies that were cut.
//!
//! One bundle comes over one link at a time. Other links that offer it wait for the outcome. When
//! the link that brings it goes, what came of a large body stays here, and the next link that has
//! the bundle is asked for the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
};

use blake3::Hasher;
use bytes::Bytes;
use postrider_base::BundleId;

use super::contract::{Custody, LinkId, Row, ShortId, TransferId};
use crate::exchange::{HAVE_EVERY_BYTES, HAVE_EVERY_MS, HAVE_LEAST_BYTES, PARTIALS_MAX};

/// A handle on a link.
pub(crate) type Spot = (LinkId, u32);

/// All bundles on their way in.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    all: BTreeMap<ShortId, Arriving>,
    /// Those for which somebody waits: only these can be overtaken.
    contested: BTreeSet<ShortId>,
    /// Bodies without a link, oldest first.
    idle: BTreeMap<u64, ShortId>,
    idle_bytes: u64,
    next_idle: u64,
}

#[derive(Debug)]
struct Arriving {
    owner: Option<Spot>,
    waiting: Vec<Spot>,
    /// When its last byte came.
    progress_ms: u64,
    body: Option<Partial>,
    keeping: bool,
    idle: Option<u64>,
}

/// A large body that has begun.
#[derive(Debug)]
pub(crate) struct Partial {
    /// Where it is staged.
    pub transfer: TransferId,
    /// Bytes that have come.
    pub at: u64,
    /// They came over more than one link, or in more than one try.
    pub mixed: bool,
    /// Over those.
    pub hasher: Box<Hasher>,
    /// What its bytes must hash to.
    pub hash: [u8; 32],
    /// The head as it came.
    pub head: Bytes,
    /// What it will be in the spool.
    pub row: Row,
    /// What is done with it then.
    pub custody: Custody,
    /// The custody clock when its hop data came.
    pub begun_held_ms: u64,
    /// The monotonic clock then, and how much of it was here: tells how fast it comes.
    pub begun_ms: u64,
    pub begun_at: u64,
    /// What who brings it was told last.
    pub said: Said,
}

/// How much of a body its sender knows to be here, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub at: u64,
    pub ms: u64,
}

impl Said {
    /// What is to be said now, if enough has come since.
    pub fn next(&mut self, at: u64, now_ms: u64) -> Option<u64> {
        let new = at.saturating_sub(self.at);
        let old = now_ms.saturating_sub(self.ms) >= HAVE_EVERY_MS;
        (new >= HAVE_EVERY_BYTES || old && new >= HAVE_LEAST_BYTES).then(|| {
            *self = Self { at, ms: now_ms };
            at
        })
    }
}

/// What is here of a bundle for this node, for whoever has the rest of it by another way.
#[derive(Clone, Debug)]
pub enum Beginning {
    /// Nothing that could be used.
    Nothing,
    /// A link brings it now.
    Coming,
    /// This, and no link brings more.
    Cut(CutBody),
}

/// A body that was cut.
#[derive(Clone, Debug)]
pub struct CutBody {
    /// Where it is staged.
    pub transfer: TransferId,
    /// Bytes that are here, from its beginning.
    pub at: u64,
    /// Over those.
    pub hasher: Box<Hasher>,
}

/// A body that is passed on while it comes.
#[derive(Clone, Debug)]
pub(crate) struct Passing {
    /// What it will be in the spool, but for its arrival number, which is 0.
    pub row: Row,
    /// The head as it came.
    pub head: Bytes,
    /// Where it is staged.
    pub transfer: TransferId,
    /// Bytes that have come.
    pub at: u64,
    /// Who brings it.
    pub link: LinkId,
    /// Milliseconds until the rest will have come, at the rate at which it comes.
    pub rest_ms: u64,
}

/// What a link that has a bundle to bring is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Bring it, from this byte on.
    From(u64),
    /// Another brings it.
    Wait,
}

impl Arrivals {
    /// A link wants to bring a bundle.
    pub fn claim(&mut self, id: ShortId, spot: Spot, now_ms: u64) -> Claim {
        let arriving = self.all.entry(id).or_insert_with(|| Arriving {
            owner: None,
            waiting: Vec::new(),
            progress_ms: now_ms,
            body: None,
            keeping: false,
            idle: None,
        });
        if arriving.owner.is_some() {
            arriving.waiting.push(spot);
            self.contested.insert(id);
            return Claim::Wait;
        }
        arriving.owner = Some(spot);
        arriving.progress_ms = now_ms;
        let at = arriving.body.as_ref().map_or(0, |body| body.at);
        if let Some(stamp) = arriving.idle.take() {
            self.idle.remove(&stamp);
            self.idle_bytes -= at;
        }
        Claim::From(at)
    }

    /// Whether somebody brings it.
    pub fn is_claimed(&self, id: &ShortId) -> bool {
        self.all.get(id).is_some_and(|arriving| arriving.owner.is_some())
    }

    /// Whether it is on its way in and not durable yet.
    pub fn is_coming(&self, id: &ShortId) -> bool {
        self.all.get(id).is_some_and(|arriving| arriving.body.is_some() || arriving.keeping)
    }

    /// Whether this link brings a body that has begun.
    pub fn is_brought(&self, id: &ShortId, spot: Spot) -> bool {
        let brings = |a: &Arriving| a.owner == Some(spot) && a.body.is_some() && !a.keeping;
        self.all.get(id).is_some_and(brings)
    }

    /// A body for others that comes now; `None` before it can be said how fast.
    pub fn passing(&self, id: &ShortId, now_ms: u64) -> Option<Passing> {
        let arriving = self.all.get(id)?;
        let (link, _) = arriving.owner?;
        let body = arriving.body.as_ref().filter(|body| body.custody == Custody::Carry)?;
        let came = body.at.saturating_sub(body.begun_at);
        let took_ms = now_ms.saturating_sub(body.begun_ms);
        let rest = body.row.length.saturating_sub(body.at);
        let rest_ms =
            u128::from(rest) * u128::from(took_ms) / u128::from(NonZeroU64::new(came)?.get());
        Some(Passing {
            row: Row { arrived_held_ms: body.begun_held_ms, ..body.row.clone() },
            head: body.head.clone(),
            transfer: body.transfer,
            at: body.at,
            link,
            rest_ms: u64::try_from(rest_ms).unwrap_or(u64::MAX),
        })
    }

    /// The body that has begun, for whoever brings it.
    pub fn body(&mut self, id: &ShortId, now_ms: u64) -> Option<&mut Partial> {
        let arriving = self.all.get_mut(id)?;
        arriving.progress_ms = now_ms;
        arriving.body.as_mut()
    }

    /// A body begins.
    pub fn begin(&mut self, id: &ShortId, partial: Partial) {
        if let Some(arriving) = self.all.get_mut(id) {
            arriving.body = Some(partial);
        }
    }

    /// The bundle is whole and about to be kept: nobody else is asked until that is answered.
    pub fn set_keeping(&mut self, id: &ShortId) -> Option<Partial> {
        let arriving = self.all.get_mut(id)?;
        arriving.keeping = true;
        arriving.body.take()
    }

    /// The bundle is here, or was found bad: it is forgotten. Returns who brought it, who waited,
    /// and the transfer of a body that had begun.
    pub fn finish(&mut self, id: &ShortId) -> (Option<Spot>, Vec<Spot>, Option<TransferId>) {
        let Some(arriving) = self.all.remove(id) else { return (None, Vec::new(), None) };
        self.contested.remove(id);
        if let Some(stamp) = arriving.idle {
            self.idle.remove(&stamp);
            self.idle_bytes -= arriving.body.as_ref().map_or(0, |body| body.at);
        }
        (arriving.owner, arriving.waiting, arriving.body.map(|body| body.transfer))
    }

    /// Whether it is on its way to the disk already.
    pub fn is_keeping(&self, id: &ShortId) -> bool {
        self.all.get(id).is_some_and(|a| a.keeping)
    }

    /// A link no longer brings a bundle. What came stays; those who waited are returned: the first
    /// of them that claims it has it.
    pub fn release(&mut self, id: &ShortId, spot: Spot) -> Vec<Spot> {
        let Some(arriving) = self.all.get_mut(id) else { return Vec::new() };
        arriving.waiting.retain(|other| *other != spot);
        if arriving.waiting.is_empty() {
            self.contested.remove(id);
        }
        if arriving.owner != Some(spot) || arriving.keeping {
            return Vec::new();
        }
        arriving.owner = None;
        let waiting = std::mem::take(&mut arriving.waiting);
        self.contested.remove(id);
        match &arriving.body {
            Some(body) => {
                arriving.idle = Some(self.next_idle);
                self.idle.insert(self.next_idle, *id);
                self.idle_bytes += body.at;
                self.next_idle += 1;
            }
            None => {
                self.all.remove(id);
            }
        }
        waiting
    }

    /// The staged file of a transfer is lost. Returns what it was for and who brings it.
    pub fn lose(&mut self, transfer: TransferId) -> Option<(ShortId, Option<Spot>)> {
        let of = |a: &Arriving| a.body.as_ref().is_some_and(|body| body.transfer == transfer);
        let (id, arriving) = self.all.iter().find(|(_, arriving)| of(arriving))?;
        Some((*id, arriving.owner))
    }

    /// Cut bodies beyond the bounds, oldest first; they are forgotten here.
    pub fn excess(&mut self, bytes_max: u64) -> Vec<TransferId> {
        let mut dropped = Vec::new();
        while self.idle.len() > PARTIALS_MAX || self.idle_bytes > bytes_max {
            let Some((_, id)) = self.idle.first_key_value() else { break };
            let id = *id;
            dropped.extend(self.finish(&id).2);
        }
        dropped
    }

    /// What is here of a bundle for this node.
    pub fn beginning(&self, id: &BundleId) -> Beginning {
        let Some(arriving) = self.all.get(&ShortId::of(id)) else { return Beginning::Nothing };
        if arriving.idle.is_none() {
            return Beginning::Coming;
        }
        let is_it = |body: &&Partial| body.row.id == *id && body.custody == Custody::Deliver;
        match arriving.body.as_ref().filter(is_it) {
            Some(Partial { transfer, at, hasher, .. }) => {
                let hasher = hasher.clone();
                Beginning::Cut(CutBody { transfer: *transfer, at: *at, hasher })
            }
            None => Beginning::Nothing,
        }
    }

    /// When the first bundle for which somebody waits counts as stalled.
    pub fn stall_at(&self, stall_ms: u64) -> Option<u64> {
        let ends = self.contested.iter().filter_map(|id| self.all.get(id));
        ends.filter(|a| !a.keeping).map(|a| a.progress_ms.saturating_add(stall_ms)).min()
    }

    /// Bundles that have stalled while somebody waits, with who brings them.
    pub fn stalled(&self, now_ms: u64, stall_ms: u64) -> Vec<(ShortId, Spot)> {
        let all = self.contested.iter().filter_map(|id| Some((*id, self.all.get(id)?)));
        all.filter(|(_, a)| !a.keeping && now_ms >= a.progress_ms.saturating_add(stall_ms))
            .filter_map(|(id, a)| Some((id, a.owner?)))
            .collect()
    }

    /// How many bodies wait without a link, and their bytes.
    pub fn idle(&self) -> (usize, u64) {
        (self.idle.len(), self.idle_bytes)
    }
}
