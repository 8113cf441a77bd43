//! A node: an engine, a spool, and what its machine remembers over a crash.

use std::{collections::BTreeMap, sync::Arc};

use postrider_base::NodeId;
use postrider_engine::{
    node::{Engine, Instance, Local, Now, People, Policy, Seen, Ticket, TransferId, is_pressed},
    router::{Delegation, Flood, Meeting, Prophet, Router, Spray, Tells},
};
use postrider_spool::{Class, MemorySpool, Now as SpoolNow, Spool, Staging};

use crate::{
    history::History,
    letters::{node_id, seal_key},
    shell::Order,
};

/// A machine's clocks. None of them is right, and the wall clock is not even asked.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When the machine was switched on, in the world's time.
    booted_ms: u64,
    boots: u64,
    /// How many seconds too many it counts in a million; less than a million either way.
    drift_ppm: i64,
    /// What its monotonic clock shows at boot.
    base_ms: u64,
}

impl Clock {
    pub(crate) fn new(now_ms: u64, drift_ppm: i64, base_ms: u64) -> Self {
        Self { booted_ms: now_ms, boots: 1, drift_ppm, base_ms }
    }

    /// The machine starts again.
    pub(crate) fn reboot(&mut self, now_ms: u64) {
        (self.booted_ms, self.boots) = (now_ms, self.boots + 1);
    }

    /// Milliseconds since the machine started, as it counts them.
    fn boottime_ms(&self, now_ms: u64) -> u64 {
        let rate = 1_000_000_i64.saturating_add(self.drift_ppm).unsigned_abs();
        let up = u128::from(now_ms.saturating_sub(self.booted_ms)) * u128::from(rate);
        u64::try_from(up / 1_000_000).unwrap_or(u64::MAX)
    }

    /// What the monotonic clock shows.
    pub fn mono_ms(&self, now_ms: u64) -> u64 {
        self.base_ms.saturating_add(self.boottime_ms(now_ms))
    }

    /// The world's time when the monotonic clock shows at least this.
    pub fn when(&self, mono_ms: u64) -> u64 {
        let rate = 1_000_000_i64.saturating_add(self.drift_ppm).unsigned_abs().max(1);
        let up = u128::from(mono_ms.saturating_sub(self.base_ms)) * 1_000_000;
        let up = u64::try_from(up.div_ceil(u128::from(rate))).unwrap_or(u64::MAX);
        self.booted_ms.saturating_add(up)
    }

    pub(crate) fn spool_now(&self, now_ms: u64) -> SpoolNow {
        let mut boot = [0; 16];
        boot[..8].copy_from_slice(&self.boots.to_be_bytes());
        SpoolNow { boot, boottime_ms: self.boottime_ms(now_ms) }
    }
}

/// How the nodes of a world route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// To everybody who lacks it: the most that can arrive, at the highest price.
    #[default]
    Epidemic,
    /// From its author to whom it is for: the least.
    Direct,
    /// So many copies, each of which waits for whom it is for.
    Spray {
        /// Tokens of a new bundle, at least 1.
        copies: u8,
    },
    /// So many copies, each of which goes on to nodes that meet its recipient more often: what a
    /// node does.
    Ours {
        /// Tokens of a new bundle, at least 1.
        copies: u8,
    },
    /// Copies to whoever is likelier to meet the recipient, by PRoPHET version 2.
    Prophet,
}

impl Scheme {
    /// Tokens of a new bundle.
    pub(crate) fn tokens(self) -> Option<u8> {
        match self {
            Self::Spray { copies } | Self::Ours { copies } => Some(copies.max(1)),
            Self::Epidemic | Self::Direct | Self::Prophet => None,
        }
    }
}

/// What is remembered of a neighbour: my cursor into what it has, its cursor into what I have.
pub(crate) type Cursors = (Option<Seen>, Option<Seen>);

/// One node of a world.
pub struct Node {
    pub(crate) at: usize,
    scheme: Scheme,
    pub(crate) engine: Engine,
    pub(crate) spool: MemorySpool,
    pub(crate) clock: Clock,
    pub(crate) people: People,
    /// Whether the machine runs.
    pub(crate) up: bool,
    /// Events for a life that is over mean nothing.
    pub(crate) life: u32,
    /// Bodies on their way in; a crash forgets them.
    pub(crate) bodies: BTreeMap<TransferId, Staging>,
    /// What the engine wants written, in order.
    pub(crate) orders: std::collections::VecDeque<Order>,
    pub(crate) keeper_due: bool,
    /// Cursors on disk, and those that are to go there.
    pub(crate) remembered: BTreeMap<NodeId, Cursors>,
    pub(crate) cursors: BTreeMap<NodeId, Cursors>,
    /// Meetings, as on disk.
    pub(crate) meetings: BTreeMap<NodeId, Meeting>,
    /// Questions without an answer.
    pub(crate) asked: std::collections::BTreeSet<Ticket>,
    /// How many bundles of each class it carries for others, where that is bounded.
    pub(crate) carried_max: Option<u64>,
    /// Whether its engine knows that there is little room left for them.
    pub(crate) pressed: bool,
    /// Whether it hands receipts on.
    pub(crate) receipts: bool,
    /// The last number given to a receipt; durable, as the receipts are.
    pub(crate) receipts_last: u64,
    pub(crate) timer_ms: Option<u64>,
    /// Timeouts since anything else happened.
    pub(crate) spins: u32,
    pub(crate) history: History,
}

impl Node {
    pub(crate) fn new(at: usize, clock: Clock, salt: u64, scheme: Scheme) -> Self {
        let seed = blake3::hash(&[at.to_be_bytes(), salt.to_be_bytes()].concat());
        let spool = MemorySpool::new(Arc::new(move |out: &mut [u8]| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(seed.as_bytes());
            hasher.finalize_xof().fill(out);
        }));
        let engine = engine(at, scheme, &spool, &BTreeMap::new());
        Self {
            at,
            scheme,
            engine,
            spool,
            clock,
            people: People::default(),
            up: true,
            life: 0,
            bodies: BTreeMap::new(),
            orders: std::collections::VecDeque::new(),
            keeper_due: false,
            remembered: BTreeMap::new(),
            cursors: BTreeMap::new(),
            meetings: BTreeMap::new(),
            asked: std::collections::BTreeSet::new(),
            carried_max: None,
            pressed: false,
            receipts: true,
            receipts_last: 0,
            timer_ms: None,
            spins: 0,
            history: History::default(),
        }
    }

    /// Both of the engine's clocks.
    pub(crate) fn now(&self, now_ms: u64) -> Now {
        let held_ms = self.spool.held_ms(self.clock.spool_now(now_ms));
        Now { mono_ms: self.clock.mono_ms(now_ms), held_ms }
    }

    /// Everything that is not on disk is gone.
    pub(crate) fn crash(&mut self) {
        self.up = false;
        self.life += 1;
        self.spool = self.spool.crash_image();
        self.bodies.clear();
        self.orders.clear();
        self.keeper_due = false;
        self.cursors.clear();
        self.asked.clear();
        self.timer_ms = None;
        self.pressed = false;
        self.engine = engine(self.at, self.scheme, &self.spool, &self.meetings);
    }

    /// Whether there is little room left for what it carries.
    pub(crate) fn weighs_too_much(&self) -> bool {
        let Some(most) = self.carried_max else { return false };
        let Ok(stats) = self.spool.stats() else { return self.pressed };
        let carried = Class::ALL.into_iter().filter(|class| *class != Class::Own);
        let parts = carried.map(|class| (stats.classes[class as usize].bundles, most));
        is_pressed(parts, self.pressed)
    }

    /// What was remembered of a neighbour when it was last written down.
    pub(crate) fn recall(&self, peer: &NodeId) -> Cursors {
        self.remembered.get(peer).copied().unwrap_or_default()
    }
}

fn engine(
    at: usize,
    scheme: Scheme,
    spool: &MemorySpool,
    meetings: &BTreeMap<NodeId, Meeting>,
) -> Engine {
    let tag_keys = vec![seal_key(at)];
    let local = Local {
        node: node_id(at),
        tag_keys: tag_keys.clone(),
        instance: Instance(spool.numbering().epoch.to_be_bytes()),
        policy: Policy::default(),
    };
    let flood = Flood::new(node_id(at), tag_keys);
    let router: Box<dyn Router> = match scheme {
        Scheme::Epidemic => Box::new(flood),
        Scheme::Direct => Box::new(Spray::direct(flood)),
        Scheme::Spray { copies } => Box::new(Spray::new(flood, copies)),
        Scheme::Ours { copies } => {
            let remembered = meetings.iter().map(|(node, meeting)| (*node, *meeting)).collect();
            let spray = Spray::new(flood, copies);
            Box::new(Delegation::new(spray, Tells::Everybody, remembered))
        }
        Scheme::Prophet => Box::new(Prophet::new(flood)),
    };
    Engine::new(local, router)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_drifts_is_met_neither_early_nor_late() {
        for drift_ppm in [-200_000, -1, 0, 3, 150_000] {
            let mut clock = Clock::new(12_345, drift_ppm, 777);
            clock.reboot(20_000);
            for mono_ms in [777, 778, 1000, 99_999, 10_000_019] {
                let when = clock.when(mono_ms);
                assert!(clock.mono_ms(when) >= mono_ms, "{drift_ppm} {mono_ms}");
                assert!(
                    when == 20_000 || clock.mono_ms(when - 1) < mono_ms,
                    "{drift_ppm} {mono_ms}"
                );
            }
        }
    }
}
