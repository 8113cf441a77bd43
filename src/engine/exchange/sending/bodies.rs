//! Wanted bundles on their way out: loaded, read ahead and sent chunk by chunk.
//!
//! At every boundary of a chunk the most urgent one goes next, whatever was begun before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use postrider_base::{BundleId, bundle::SMALL_PAYLOAD_MAX};

use super::passing::NO_ARRIVAL;
use crate::{
    exchange::{
        aged, brief,
        limits::WANTS_OPEN,
        peer::Peer,
        unit::{Begin, Unit},
    },
    node::{
        Ending, Loaded, Output, Row, ShortId, TransferId, Violation,
        core::{Core, What},
        handover::{Granted, Outcome},
    },
    router::{NoRoad, Road},
};

/// Chunks of one bundle that lie ready or are being read, so that the disk and the link overlap.
const AHEAD_CHUNKS: usize = 3;
/// Bytes that are asked of the disk ahead of a fast link, over all wanted bundles.
const AHEAD_BYTES: usize = 1 << 20;
/// Bytes that lie ready at most; beyond, what is least urgent is read again later.
const READY_MAX: usize = 4 << 20;
/// Bundles on their way at once that nobody asked for: somebody who types, not a crowd, for which
/// asking costs one unit for many and spares what is known already.
const GIVEN_MAX: usize = 8;
/// What a load counts for, when nothing of the bundle is known but that it is small.
#[expect(clippy::cast_possible_truncation, reason = "4096")]
const LOAD_BYTES: usize = SMALL_PAYLOAD_MAX as usize;

/// All wanted bundles of one link.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    wanted: BTreeMap<u32, Outgoing>,
    /// Those of which something is still to be sent, most urgent first.
    turns: BTreeSet<Turn>,
    ready_bytes: usize,
}

/// Niceness, arrival, handle.
type Turn = (u8, u64, u32);

/// What becomes of a bundle that was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It goes, or will.
    Goes,
    /// It is not there as it was offered, the link may not carry it, or another one does.
    NotHere,
    /// Its tokens went elsewhere meanwhile.
    Spent,
}

/// What goes along with a copy, beside its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Along {
    /// Its hop data as it is.
    All,
    /// Some tokens, by this road; without any to spare it does not go, or over a via with none.
    Tokens(Road),
    /// No tokens.
    Bare,
    /// No tokens, and how near the neighbour is.
    Level(u8),
}

impl Along {
    pub fn over(road: Result<Road, NoRoad>) -> Self {
        match road {
            Ok(road @ (Road::Spray | Road::Via)) => Self::Tokens(road),
            // What was offered and has no road any more is on its way already; its tokens stay.
            Ok(Road::Free) | Err(_) => Self::Bare,
            Ok(Road::Delegate(level)) => Self::Level(level),
            Ok(Road::Direct | Road::Flood) => Self::All,
        }
    }
}

/// A wanted bundle, until it is settled or no longer wanted.
#[derive(Debug)]
struct Outgoing {
    id: BundleId,
    length: u64,
    turn: Turn,
    /// Next byte to be read.
    at: u64,
    /// It goes without being asked for.
    given: bool,
    along: Along,
    /// They have not been taken off here yet.
    waits: bool,
    loading: bool,
    loaded: Option<Loaded>,
    begun: bool,
    reading: usize,
    ready: VecDeque<Bytes>,
}

/// Where a body is, as far as it can be read.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// In the spool.
    Spool,
    /// On its way in: so much is staged.
    Staged(TransferId, u64),
    /// On its way to the disk, or about to come.
    Nowhere,
}

impl Bodies {
    /// Gives the neighbour a small bundle right behind its offer; not if many are under way, or if
    /// another link does.
    pub fn give(&mut self, core: &mut Core, handle: u32, row: &Row) {
        let given = self.wanted.values().filter(|out| out.given).count();
        let is_free = given < GIVEN_MAX && !core.given.contains(&row.short());
        if is_free && self.want(handle, row, 0, Along::All).is_ok() {
            core.given.insert(row.short());
            self.wanted.entry(handle).and_modify(|out| out.given = true);
        }
    }

    /// The link is over: others may give what it gave, and have the tokens that did not leave.
    pub fn end(&self, core: &mut Core, peer: &Peer) {
        self.wanted.values().for_each(|out| out.hand_back(core, peer, Outcome::Unsaid));
        for out in self.wanted.values().filter(|out| out.given) {
            core.given.remove(&ShortId::of(&out.id));
        }
    }

    /// The neighbour wants a bundle that was offered, from this byte on.
    pub fn want(&mut self, handle: u32, row: &Row, from: u64, along: Along) -> Result<(), Ending> {
        let small = row.length <= SMALL_PAYLOAD_MAX;
        if self.wanted.get(&handle).is_some_and(|out| out.given) {
            // It was asked for while it was on its way.
            return Ok(());
        }
        if self.wanted.contains_key(&handle) || from >= row.length || small && from > 0 {
            return Err(Ending::Protocol(Violation::Handle));
        }
        // What is given was not asked for, and takes no place.
        if self.turns.len() >= WANTS_OPEN && self.asked() >= WANTS_OPEN {
            return Err(Ending::Protocol(Violation::Limit));
        }
        let turn = (row.nice, row.arrival, handle);
        self.turns.insert(turn);
        let outgoing = Outgoing {
            id: row.id,
            length: row.length,
            turn,
            at: from,
            given: false,
            along,
            waits: false,
            loading: false,
            loaded: None,
            begun: false,
            reading: 0,
            ready: VecDeque::new(),
        };
        self.wanted.insert(handle, outgoing);
        Ok(())
    }

    /// Whether a wanted bundle has not begun, and begins now.
    pub fn begin_loading(&mut self, handle: u32) -> bool {
        let Some(out) = self.wanted.get_mut(&handle) else { return false };
        let begins = !out.begun && out.loaded.is_none() && !out.loading;
        out.loading |= begins;
        begins
    }

    /// How many that were asked for are still to be sent.
    fn asked(&self) -> usize {
        let given = |turn: &&Turn| self.wanted.get(&turn.2).is_some_and(|out| out.given);
        self.turns.len() - self.turns.iter().filter(given).count()
    }

    /// It is settled, so; or, unsaid, not wanted any more.
    pub fn forget(&mut self, core: &mut Core, peer: &Peer, handle: u32, how: Outcome) {
        let Some(out) = self.wanted.remove(&handle) else { return };
        out.hand_back(core, peer, how);
        if out.given {
            core.given.remove(&ShortId::of(&out.id));
        }
        self.turns.remove(&out.turn);
        self.ready_bytes -= out.ready_bytes();
        self.ready_bytes -= out.loaded.map_or(0, |loaded| loaded.payload.len());
    }

    /// A head came from the disk.
    pub fn take_loaded(
        &mut self,
        core: &mut Core,
        peer: &Peer,
        handle: u32,
        loaded: Option<Loaded>,
    ) -> Taken {
        let Some(out) = self.wanted.get_mut(&handle).filter(|out| out.loading) else {
            return Taken::Goes;
        };
        out.loading = false;
        let whole = |loaded: &Loaded| !out.is_small() || loaded.payload.len() as u64 == out.length;
        let Some(mut loaded) = loaded.filter(|l| peer.may_carry(&l.head) && whole(l)) else {
            return Taken::NotHere;
        };
        match out.along {
            Along::Bare => loaded.hop.tokens = 0,
            Along::Level(level) => (loaded.hop.tokens, loaded.hop.level) = (0, level),
            Along::All | Along::Tokens(_) => {}
        }
        if let (Some(to), Along::Tokens(road)) = (peer.node, out.along) {
            let (router, nice) = (&core.router, out.turn.0);
            let share = |tokens| router.share(&peer.neighbour(), road, nice, tokens);
            match core.handovers.grant(out.id, (to, peer.link), loaded.hop, share) {
                Granted::Spent if road == Road::Via => loaded.hop.tokens = 0,
                // Not for all links, perhaps.
                Granted::Spent if peer.policy.radio => return Taken::NotHere,
                Granted::Spent => return Taken::Spent,
                Granted::Elsewhere => return Taken::NotHere,
                Granted::Again(tokens) => loaded.hop.tokens = tokens,
                Granted::After(tokens, left) => {
                    loaded.hop.tokens = tokens;
                    out.waits = true;
                    core.change(peer.link, Some(handle), out.id, left);
                }
            }
        }
        self.ready_bytes += loaded.payload.len();
        out.loaded = Some(loaded);
        Taken::Goes
    }

    /// Its tokens were taken off here. `false`: it is not there any more.
    pub fn take_changed(&mut self, handle: u32, live: bool) -> bool {
        let Some(out) = self.wanted.get_mut(&handle) else { return true };
        out.waits = false;
        live
    }

    /// A piece of a body came from the disk. `false`: it is not there any more.
    pub fn take_read(
        &mut self,
        (handle, at, asked): (u32, u64, usize),
        bytes: Option<Bytes>,
    ) -> bool {
        let Some(out) = self.wanted.get_mut(&handle) else { return true };
        // An answer to a question from before a stop.
        if (out.at, out.reading) != (at, asked) {
            return true;
        }
        out.reading = 0;
        let Some(bytes) = bytes.filter(|bytes| bytes.len() == asked) else { return false };
        out.at += bytes.len() as u64;
        self.ready_bytes += bytes.len();
        out.ready.push_back(bytes);
        true
    }

    /// Sends what lies ready, as far as there is room.
    pub fn send(&mut self, core: &mut Core, peer: &mut Peer) {
        loop {
            let ready = |turn: &&Turn| self.wanted.get(&turn.2).is_some_and(Outgoing::is_ready);
            let Some(turn) = self.turns.iter().find(ready).copied() else { return };
            let handle = turn.2;
            let Some(out) = self.wanted.get_mut(&handle) else { return };
            let bytes = match (&out.loaded, out.ready.front()) {
                (Some(loaded), _) => loaded.head.len() + loaded.payload.len() + 32,
                (None, Some(chunk)) => chunk.len() + 5,
                (None, None) => return,
            };
            if !peer.pace.may_send(bytes) {
                return;
            }
            if let Some(loaded) = out.loaded.take() {
                let Loaded { head, hop, arrived_held_ms, payload } = loaded;
                self.ready_bytes -= payload.len();
                out.begun = true;
                if let Some(to) = peer.node.filter(|_| out.spends()) {
                    core.handovers.begun(&out.id, (to, peer.link));
                }
                let hop = aged(hop, core.now.held_ms.saturating_sub(arrived_held_ms));
                let form = match peer.is_brief() && out.is_small() {
                    true => brief::form(&peer.keys(core), &head, &payload, hop),
                    false => None,
                };
                peer.send(
                    core,
                    &match form {
                        Some(form) => Unit::Brief { handle, form },
                        None => Unit::Begin(Begin { handle, hop, head, payload }),
                    },
                );
            } else if let Some(bytes) = out.ready.pop_front() {
                self.ready_bytes -= bytes.len();
                peer.send(core, &Unit::Data { handle, bytes });
            }
            if out.is_small() || out.at == out.length && out.ready.is_empty() {
                // All is sent; the answer is a settle.
                self.turns.remove(&turn);
            }
        }
    }

    /// Asks the disk for what is sent next.
    pub fn read_ahead(&mut self, core: &mut Core, peer: &Peer) {
        let chunk = peer.chunk_bytes();
        let mut budget = AHEAD_BYTES.min(AHEAD_CHUNKS * chunk);
        for turn in &self.turns {
            let handle = turn.2;
            let Some(out) = self.wanted.get_mut(&handle) else { continue };
            let (id, length) = (out.id, out.length);
            let source = out.source(core);
            if matches!(source, Source::Spool) && !out.begun && out.loaded.is_none() && !out.loading
            {
                out.loading = true;
                let spends = out.spends().then_some(id);
                spends.iter().for_each(|id| core.handovers.asked(*id));
                let ticket = core.ask(peer.link, What::Load { handle, spends });
                core.outputs.push_back(Output::Load { ticket, id });
            }
            let mut held = LOAD_BYTES.min(usize::try_from(length).unwrap_or(LOAD_BYTES));
            if !out.is_small() {
                let here = source.bytes(length).saturating_sub(out.at);
                if out.reading == 0 && here > 0 && out.ready.len() < AHEAD_CHUNKS - 1 {
                    out.reading = usize::try_from(here).unwrap_or(chunk).min(chunk);
                    let (at, bytes) = (out.at, out.reading);
                    let ticket = core.ask(peer.link, What::Read { handle, at, bytes });
                    core.outputs.push_back(match source {
                        Source::Staged(transfer, _) => {
                            Output::ReadStaged { ticket, transfer, at, bytes }
                        }
                        _ => Output::Read { ticket, id, at, bytes },
                    });
                }
                held += out.reading + out.ready_bytes();
            }
            budget = budget.saturating_sub(held);
            if budget == 0 {
                break;
            }
        }
        self.let_go();
    }

    /// Chunks that more urgent ones overtook do not pile up: they are read again.
    fn let_go(&mut self) {
        for turn in self.turns.iter().rev() {
            if self.ready_bytes <= READY_MAX {
                return;
            }
            let Some(out) = self.wanted.get_mut(&turn.2) else { continue };
            let ready = out.ready_bytes();
            // A read under way will follow what is ready.
            if out.reading == 0 && ready > 0 {
                out.ready.clear();
                out.at -= ready as u64;
                self.ready_bytes -= ready;
            }
        }
    }
}

impl Source {
    /// Bytes that can be read of a body of this length.
    fn bytes(self, length: u64) -> u64 {
        match self {
            Self::Spool => length,
            Self::Staged(_, at) => at.min(length.saturating_sub(1)),
            Self::Nowhere => 0,
        }
    }
}

impl Outgoing {
    /// Where its body is.
    fn source(&self, core: &Core) -> Source {
        let id = ShortId::of(&self.id);
        if self.turn.1 != NO_ARRIVAL || !core.arrivals.is_coming(&id) {
            return Source::Spool;
        }
        let passing = core.arrivals.passing(&id, core.now.mono_ms);
        passing.map_or(Source::Nowhere, |passing| Source::Staged(passing.transfer, passing.at))
    }

    /// Whether it is whole in its beginning.
    fn is_small(&self) -> bool {
        self.length <= SMALL_PAYLOAD_MAX
    }

    /// Tokens that were taken off for it and did not get there are put back.
    fn hand_back(&self, core: &mut Core, peer: &Peer, how: Outcome) {
        if let Some(to) = peer.node.filter(|_| self.spends())
            && let Some(hop) = core.handovers.end(&self.id, (to, peer.link), how)
        {
            core.change(peer.link, None, self.id, hop);
        }
    }

    /// Whether tokens go along with it.
    fn spends(&self) -> bool {
        matches!(self.along, Along::Tokens(_))
    }

    /// Whether something of it can be sent now.
    fn is_ready(&self) -> bool {
        !self.waits && (self.loaded.is_some() || self.begun && !self.ready.is_empty())
    }

    /// Bytes of chunks that can be sent.
    fn ready_bytes(&self) -> usize {
        self.ready.iter().map(Bytes::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::{NodeSecret, bundle::Hop};

    use super::*;
    use crate::{
        exchange::pace::Pace,
        node::{Class, Destination, Instance, LinkId, LinkPolicy, Local, Policy},
        router::Flood,
    };

    fn row(arrival: u64) -> Row {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&arrival.to_be_bytes());
        Row {
            id: BundleId(id),
            destination: Destination::Group([0; 16]),
            tagged_for: None,
            source: None,
            nice: 160,
            lifetime_s: 100,
            length: 100,
            hop: Hop::fresh(),
            class: Class::Own,
            from: None,
            arrived_held_ms: 0,
            arrival,
        }
    }

    #[test]
    fn what_is_given_takes_no_place_of_what_is_asked_for() {
        let node = NodeSecret::from_seed([1; 32]).id();
        let (instance, policy) = (Instance([0; 4]), Policy::default());
        let local = Local { node, tag_keys: vec![], instance, policy };
        let mut core = Core::new(local, Box::new(Flood::new(node, vec![])));
        let (mut bodies, most) = (Bodies::default(), u32::try_from(WANTS_OPEN).unwrap());
        for handle in 0..20 {
            bodies.give(&mut core, handle, &row(handle.into()));
        }
        assert_eq!(bodies.turns.len(), GIVEN_MAX);
        for handle in 20..20 + most {
            assert_eq!(bodies.want(handle, &row(handle.into()), 0, Along::All), Ok(()), "{handle}");
        }
        let beyond = bodies.want(1000, &row(1000), 0, Along::All);
        assert_eq!(beyond, Err(Ending::Protocol(Violation::Limit)));
        // One that was asked for while it was on its way is no other.
        assert_eq!(bodies.want(0, &row(0), 0, Along::All), Ok(()));
        let peer = Peer {
            link: LinkId(1),
            node: None,
            proven: true,
            policy: LinkPolicy::default(),
            clear_only: false,
            pace: Pace::new(1 << 20, None),
            hello: None,
        };
        bodies.end(&mut core, &peer);
        assert!(core.given.is_empty());
    }
}
