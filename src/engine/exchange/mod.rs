//! The exchange: one two-way protocol over every link that can talk back.
//!
//! ```text
//! A: Hello, Offer…                 B: Hello, Offer…            both at once, in the first flight
//! A: Want                          B: Want
//! A: Begin, Data…                  B: Begin, Data…             most urgent first at every chunk
//! A: Settle                        B: Settle                   after the commit
//! A: Mark                          B: Mark                     all has been offered: cursors move
//! ```
//!
//! An `Exchange` is one end of one link: its sending and its receiving half share nothing but the
//! link. `docs/exchange.md` is the specification.
//!
//! - `unit`: what can be said;
//! - `sending`, `receiving`: the two directions, each with its offers, bodies and cursor;
//! - `reconciling`: what either lacks, where no cursor tells;
//! - `peer`, `pace`: the other end, and how much may be given to the link now;
//! - `memory`: what outlives the link; `limits`: every bound, with its reason.

mod brief;
mod limits;
mod memory;
mod pace;
mod peer;
mod receiving;
mod reconciling;
mod sending;
mod unit;

use bytes::Bytes;
use postrider_base::{bundle::Hop, link::LinkFacts};

use crate::{
    introduce,
    node::{
        Answer, Ending, Event, LinkId, LinkPolicy, Output, Seen, Violation,
        core::{Core, Task, What},
    },
    router::{DISTINCT_MS, NodeHint},
};

use self::{
    limits::RECONCILE_EVERY_MS, pace::Pace, peer::Peer, receiving::Receiving,
    reconciling::Reconciling, sending::Sending,
};

pub use limits::{
    CHUNK_MAX, CHUNK_MIN, DEBT_MAX, FLOOD_HOPS_MAX, FORGED_MAX, LINKS_MAX, OFFERS_MAX, OFFERS_OPEN,
    PARTIALS_MAX, PINGS_LOST_MAX, PLAIN_MAX, RECEIPTS_MAX, RECONCILED_AT_ONCE, ROWS_MAX, SORT_MAX,
    UNIT_MAX, WANTS_OPEN, WINDOW_BYTES,
};
pub(crate) use memory::Memory;
pub use unit::{
    Begin, FEATURE_BRIEF, FEATURE_CAST, FEATURE_MEETS, FEATURE_SKETCH, Hello, Offered, Unit,
    UnitError, VERSION,
};

/// What this program knows beyond version 1.
const FEATURES: u64 =
    FEATURE_SKETCH | FEATURE_MEETS | FEATURE_BRIEF | FEATURE_CAST | introduce::FEATURE;

/// Bytes of one node that a neighbour is told of.
const MEET_BYTES: usize = 9;

/// The number of pings that nobody asked for and no silence: beyond those that are counted.
const SIGN_OF_LIFE: u64 = 1 << 16;

/// The reason of a Halt by which the other end says that it has the same key.
pub(crate) const DUPLICATE: u8 = 20;

/// One end of one link.
#[derive(Debug)]
pub(crate) struct Exchange {
    peer: Peer,
    sending: Sending,
    receiving: Receiving,
    reconciling: Reconciling,
    /// The neighbour's cursor says nothing, and it is not proven yet that it is the neighbour's.
    unreconciled: bool,
    /// The difference is to be found also if there is little to offer: the neighbour may have some
    /// of what is allowed now.
    forced: bool,
    /// When the cursors have been believed for long enough; `None` where nobody is proven.
    check_at: Option<u64>,
    /// Since when the link time counts.
    since_ms: u64,
    hinted: bool,
    /// When silence is to be filled; `None` where it is not.
    ping_at: Option<u64>,
    pings_lost: u32,
    /// What is asked of an end with this node's key; nobody guesses it.
    own_ping: u64,
    /// Who is at the other end has counted as met.
    met: bool,
    /// When the neighbour is told again whom this node meets, and what it was told.
    tell_at: Option<u64>,
    told: Vec<(NodeHint, u8)>,
}

/// What is known of a link when it comes up.
pub(crate) struct Opening {
    pub link: LinkId,
    pub facts: LinkFacts,
    pub policy: LinkPolicy,
    pub room_bytes: u64,
    pub mine: Option<Seen>,
    pub theirs: Option<Seen>,
    pub random: [u8; 16],
}

impl Exchange {
    /// Begins to speak.
    pub fn open(core: &mut Core, opening: Opening) -> Self {
        let Opening { link, facts, policy, room_bytes, mine, theirs, random } = opening;
        let hint = theirs.filter(|seen| seen.instance == core.local.instance);
        let keepalive = policy.keepalive && !facts.metered;
        let nice_max = policy.nice_max.value();
        let pace = Pace::new(room_bytes, facts.rate_bps);
        let policy = policy.over(&facts);
        let (node, clear_only) = (facts.peer, facts.clear_only);
        let mut peer = Peer { link, node, proven: true, policy, clear_only, pace, hello: None };
        let hello = Hello {
            features: FEATURES,
            instance: core.local.instance,
            seen: mine,
            chunk_log2: CHUNK_MAX.ilog2().try_into().unwrap_or(u8::MAX),
            nice_max: if nice_max == u8::MAX { 0 } else { nice_max },
        };
        peer.send(core, &Unit::Hello(hello));
        let ping_after_ms = core.local.policy.ping_after_ms;
        let sending = Sending::new(core, &peer, hint);
        Self {
            peer,
            sending,
            receiving: Receiving::new(mine),
            reconciling: Reconciling::new(random),
            unreconciled: false,
            forced: false,
            check_at: node.map(|node| {
                let passed_ms = core.memory.link_time_ms(&node);
                core.now.mono_ms.saturating_add(RECONCILE_EVERY_MS.saturating_sub(passed_ms))
            }),
            since_ms: core.now.mono_ms,
            hinted: hint.is_some(),
            ping_at: keepalive.then(|| core.now.mono_ms.saturating_add(ping_after_ms)),
            pings_lost: 0,
            own_ping: own_ping(&random),
            met: false,
            tell_at: None,
            told: Vec::new(),
        }
    }

    /// The other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// A unit came.
    pub fn handle(&mut self, core: &mut Core, unit: &Bytes) -> Result<(), Ending> {
        let proven_now = !std::mem::replace(&mut self.peer.proven, true);
        if let Some(hello) = self.peer.hello.filter(|_| proven_now) {
            core.introductions.greeted(self.peer.link, hello.features);
        }
        self.take(core, decode(unit)?)?;
        self.meet(core);
        Ok(())
    }

    /// A unit came that may be a recorded one.
    pub fn handle_early(&mut self, core: &mut Core, unit: &Bytes) -> Result<(), Ending> {
        let unit = decode(unit)?;
        self.peer.proven = false;
        match unit {
            Unit::Hello(_) | Unit::Offer(_) => self.take(core, unit),
            _ => Err(Ending::Protocol(Violation::Order)),
        }
    }

    fn take(&mut self, core: &mut Core, unit: Unit) -> Result<(), Ending> {
        self.pings_lost = 0;
        let ping_after_ms = core.local.policy.ping_after_ms;
        self.ping_at = self.ping_at.map(|_| core.now.mono_ms.saturating_add(ping_after_ms));
        let first = matches!(unit, Unit::Hello(_));
        if first == self.peer.hello.is_some() && !matches!(unit, Unit::Halt { .. }) {
            return Err(Ending::Protocol(Violation::Order));
        }
        let (peer, sending, receiving) = (&mut self.peer, &mut self.sending, &mut self.receiving);
        match unit {
            Unit::Hello(hello) => self.greet(core, hello),
            Unit::Offer(entries) => receiving.offer(core, peer, entries),
            Unit::Want(list) => sending.want(core, peer, &list),
            Unit::Begin(begin) => receiving.begin(core, peer, begin),
            Unit::Brief { handle, form } => {
                let begin = brief::begin(&peer.keys(core), handle, &form);
                receiving.begin(core, peer, begin)
            }
            Unit::Data { handle, bytes } => receiving.data(core, peer, handle, bytes),
            Unit::Settle(list) => sending.settle(core, peer, &list),
            Unit::Receipt(list) => {
                sending.proofs().note_told(&list);
                if let Some(batch) = receiving.new_batch() {
                    core.take_receipts(peer.link, peer.node, batch, list);
                }
                Ok(())
            }
            Unit::Mark { bundles, receipts } => {
                receiving.mark(core, peer, bundles, receipts);
                Ok(())
            }
            Unit::Ping(nonce) if core.own_pings.contains(&nonce) => Err(Ending::Myself),
            Unit::Pong(nonce) if core.own_pings.contains(&nonce) => Err(Ending::Duplicate),
            Unit::Ping(nonce) => {
                peer.send(core, &Unit::Pong(nonce));
                Ok(())
            }
            // That anything came is what counts; who asked may want to know when.
            Unit::Pong(nonce) => {
                core.event(Event::Answered { link: peer.link, nonce });
                Ok(())
            }
            Unit::Meets(list) => {
                if let Some(node) = peer.node.filter(|_| peer.proven) {
                    core.router.told(core.now, node, list);
                    sending.look_nearer(core, peer);
                }
                Ok(())
            }
            Unit::Ear(key) => {
                core.casts.take_key(peer.link, key);
                Ok(())
            }
            Unit::Sketch(step) => self.reconciling.take(core, peer, sending, &step),
            Unit::Halt { reason: DUPLICATE, .. } if peer.node == Some(core.local.node) => {
                Err(Ending::Duplicate)
            }
            Unit::Halt { reason, retry_after_s } => Err(Ending::Halted { reason, retry_after_s }),
            Unit::Stop(handles) => sending.stop(core, peer, &handles),
            Unit::Withdraw(handles) => receiving.withdraw(core, peer, &handles),
            Unit::Reach(node) => {
                let said = core.introductions.reach(core.now.mono_ms, peer.link, node);
                core.tasks.extend(said.into_iter().map(|(link, said)| Task::Say(link, said)));
                Ok(())
            }
            Unit::Introduce { node, at } => {
                let (now_ms, link) = (core.now.mono_ms, peer.link);
                if let Some(node) = core.introductions.introduce(now_ms, link, node, at) {
                    core.outputs.push_back(Output::Meet { link, node, at });
                }
                Ok(())
            }
        }
    }

    /// The other end is there: that counts, and it is told whom this node meets, and how to be heard.
    fn meet(&mut self, core: &mut Core) {
        let Some(hello) = self.peer.hello.filter(|_| !self.met) else { return };
        self.met = true;
        if let Some(key) =
            core.casts.key(self.peer.link).filter(|_| hello.features & FEATURE_CAST != 0)
        {
            self.peer.send(core, &Unit::Ear(key));
        }
        if let Some(node) = self.peer.node {
            core.meet(node);
            self.tell_at = (hello.features & FEATURE_MEETS != 0).then_some(core.now.mono_ms);
            self.tell(core);
        }
    }

    /// Tells whom this node meets, now and then, if that has changed.
    fn tell(&mut self, core: &mut Core) {
        if self.tell_at.is_none_or(|at| core.now.mono_ms < at) {
            return;
        }
        self.tell_at = Some(core.now.mono_ms.saturating_add(DISTINCT_MS));
        let mut list = core.router.tell(core.now, &self.peer.neighbour());
        // Those it is nearest to come first, and a narrow link takes so many.
        list.truncate(self.peer.chunk_bytes() / MEET_BYTES);
        core.remember_meetings();
        if !list.is_empty() && list != self.told {
            self.peer.send(core, &Unit::Meets(list.clone()));
            self.told = list;
        }
    }

    fn greet(&mut self, core: &mut Core, hello: Hello) -> Result<(), Ending> {
        if self.peer.node == Some(core.local.node) {
            self.doubt(core, hello)?;
        }
        self.peer.hello = Some(hello);
        // Somebody who may not be there is introduced to nobody.
        if self.peer.proven {
            core.introductions.greeted(self.peer.link, hello.features);
        }
        if hello.nice_max != 0 {
            core.near.leave_out(self.peer.link);
        }
        self.receiving.greeted(hello.instance);
        self.unreconciled = self.sending.greeted(core, &self.peer, self.hinted, hello.seen);
        if self.peer.node.is_some_and(|node| core.memory.must_compare(&node)) {
            self.compare();
        }
        core.event(Event::Greeted { link: self.peer.link, peer: self.peer.node });
        Ok(())
    }

    /// The other end has this node's key: it is this node itself, or somebody else has the key too.
    /// Another numbering tells at once; a copy of the whole home has the same, so it is asked for
    /// something that only this node hears.
    fn doubt(&mut self, core: &mut Core, hello: Hello) -> Result<(), Ending> {
        if self.peer.proven && hello.instance != core.local.instance {
            return Err(Ending::Duplicate);
        }
        core.own_pings.insert(self.own_ping);
        self.peer.send(core, &Unit::Ping(self.own_ping));
        Ok(())
    }

    /// More is allowed than when the cursors passed what there was.
    pub fn compare(&mut self) {
        if self.peer.hello.is_some() {
            self.sending.give_up_cursor();
            (self.unreconciled, self.forced) = (true, true);
        }
    }

    /// An answer for this link came.
    pub fn answer(&mut self, core: &mut Core, what: What, answer: Answer) -> Result<(), Ending> {
        let (peer, sending, receiving) = (&mut self.peer, &mut self.sending, &mut self.receiving);
        match (what, answer) {
            (What::Since { generation }, Answer::Rows { rows, more, upto }) => {
                self.unreconciled |= sending.take_since(core, peer, generation, (rows, more, upto));
            }
            (What::Page { generation, class }, Answer::Rows { rows, more, .. }) => {
                sending.take_page(core, peer, (generation, class), (rows, more));
            }
            (What::Toward { round }, Answer::Rows { rows, more, .. }) => {
                sending.take_nearer(core, peer, round, (rows, more));
            }
            (What::Look { handles }, Answer::Looked(known)) => {
                receiving.take_looked(core, peer, &handles, &known);
            }
            (What::Load { handle, .. }, Answer::Loaded(loaded)) => {
                sending.take_loaded(core, peer, handle, loaded);
            }
            (What::Change { handle: Some(handle), .. }, Answer::Changed(live)) => {
                sending.take_changed(core, peer, handle, live);
            }
            (What::Change { handle: None, .. }, _) => {}
            (What::Read { handle, at, bytes }, Answer::Read(read)) => {
                sending.take_read(core, peer, (handle, at, bytes), read);
            }
            (What::Keep { handle, .. }, Answer::Kept(kept)) => {
                receiving.take_kept(core, peer, handle, Some(kept));
            }
            (What::Keep { handle, .. }, _) => receiving.take_kept(core, peer, handle, None),
            (What::Survey { session }, Answer::Rows { rows, more, upto }) => {
                let rows = (rows, more, upto);
                self.reconciling.take_rows(core, peer, sending, session, rows);
            }
            (What::Sketch { session }, answer) => {
                let worked = match answer {
                    Answer::Sketched(worked) => Some(*worked),
                    _ => None,
                };
                self.reconciling.take_worked(core, peer, sending, session, worked);
            }
            (What::Take { batch }, Answer::Taken { .. }) => {
                receiving.batch_done(core, peer, batch);
            }
            (What::Receipts { generation }, Answer::Receipts { list, more, upto }) => {
                sending.proofs().take(generation, list, more, upto);
            }
            // Without its disk this end can neither offer nor take.
            _ => return Err(Ending::Disk),
        }
        Ok(())
    }

    /// What another link's input means for this one.
    pub fn perform(&mut self, core: &mut Core, task: &Task) {
        match task {
            Task::Settle((_, handle), id) => {
                self.receiving.came_elsewhere(core, &mut self.peer, *handle, *id);
            }
            Task::Overtaken((_, handle), id) => {
                self.receiving.overtaken(core, &mut self.peer, *handle, *id);
            }
            Task::Lost((_, handle)) => self.receiving.lost(core, &mut self.peer, *handle),
            Task::Retry((_, handle)) => self.receiving.retry(*handle),
            Task::Passing(id) => self.sending.pass_on(core, &mut self.peer, id),
            Task::Stopped(id) => self.sending.stop_passing(core, &mut self.peer, id),
            Task::NewBundle => self.sending.note_arrival(),
            Task::NewReceipts => self.sending.note_receipts(),
            Task::Gone(id) => self.sending.withdraw(core, &mut self.peer, id),
            Task::Near(node) => self.sending.leave_to(core, &mut self.peer, node),
            Task::Ask(node) => {
                let peer = self.peer.node.filter(|_| self.peer.proven);
                if peer.is_some_and(|peer| peer.as_bytes() == node) {
                    self.ping(core, SIGN_OF_LIFE);
                }
            }
            Task::Say(_, said) => self.peer.send(core, &said.unit()),
        }
    }

    /// Bytes have left the carriage.
    pub fn take_room(&mut self, core: &Core, bytes: u64) {
        self.peer.pace.left(bytes, core.now.mono_ms);
    }

    /// Asks for an answer, beside the pings that fill silence.
    pub fn ping(&mut self, core: &mut Core, nonce: u64) {
        self.peer.send(core, &Unit::Ping(nonce));
    }

    /// Sends what can be sent now.
    pub fn pump(&mut self, core: &mut Core) -> Result<(), Ending> {
        // To read all rows is too much for somebody who may not be there.
        let idle = self.reconciling.is_idle();
        if idle && self.peer.proven && std::mem::take(&mut self.unreconciled) {
            let forced = std::mem::take(&mut self.forced);
            if let Some(node) = self.peer.node.filter(|_| forced) {
                core.memory.note_compared(node);
            }
            self.reconciling.open(core, &self.peer, &mut self.sending, forced);
        }
        if self.reconciling.take_agreed() {
            self.note_compared(core);
        }
        self.receiving.pump(core, &mut self.peer);
        self.sending.pump(core, &mut self.peer);
        if self.peer.pace.is_stuck() { Err(Ending::Stuck) } else { Ok(()) }
    }

    /// When the clock matters next.
    pub fn deadline(&self) -> Option<u64> {
        let check_at = self.check_at.filter(|_| self.peer.hello.is_some());
        let reconciling = self.reconciling.deadline();
        let all = [self.ping_at, self.sending.deadline(), reconciling, check_at, self.tell_at];
        all.into_iter().flatten().min()
    }

    /// The clock may have passed the deadline.
    pub fn tick(&mut self, core: &mut Core) -> Result<(), Ending> {
        let now_ms = core.now.mono_ms;
        self.reconciling.tick(core, &mut self.peer, &mut self.sending);
        self.tell(core);
        if self.peer.hello.is_some() && self.check_at.is_some_and(|at| now_ms >= at) {
            self.note_compared(core);
            self.reconciling.open(core, &self.peer, &mut self.sending, false);
        }
        if self.ping_at.is_some_and(|at| now_ms >= at) {
            if self.pings_lost == PINGS_LOST_MAX {
                return Err(Ending::Silent);
            }
            self.peer.send(core, &Unit::Ping(u64::from(self.pings_lost)));
            self.pings_lost += 1;
            let ping_after_ms = core.local.policy.ping_after_ms;
            self.ping_at = Some(now_ms.saturating_add(ping_after_ms.max(1)));
        }
        Ok(())
    }

    /// The cursors are believed for another day of link time.
    fn note_compared(&mut self, core: &mut Core) {
        let Some(node) = self.peer.node else { return };
        core.memory.forget_link_time(&node);
        self.since_ms = core.now.mono_ms;
        self.check_at = Some(self.since_ms.saturating_add(RECONCILE_EVERY_MS));
    }

    /// The link is over.
    pub fn end(&mut self, core: &mut Core) {
        core.forget_questions(self.peer.link);
        core.own_pings.remove(&self.own_ping);
        self.reconciling.end(core);
        self.sending.end(core, &self.peer);
        if let Some(node) = self.peer.node {
            let passed_ms = core.now.mono_ms.saturating_sub(self.since_ms);
            core.memory.note_link_time(node, passed_ms);
        }
        self.receiving.end(core, &self.peer);
        if let Some(node) = self.peer.node.filter(|_| self.met) {
            core.part(node);
        }
    }
}

/// Hop data as it leaves: older by the time held here.
fn aged(hop: Hop, held_ms: u64) -> Hop {
    let held_s = u32::try_from(held_ms / 1000).unwrap_or(u32::MAX);
    Hop { age_s: hop.age_s.saturating_add(held_s), ..hop }
}

/// The number of a ping, from a link's random bytes: never one of those that are counted.
fn own_ping(random: &[u8; 16]) -> u64 {
    let (first, _) = random.split_first_chunk().unwrap_or((&[0; 8], &[]));
    u64::from_be_bytes(*first) | 1 << 63
}

fn decode(unit: &Bytes) -> Result<Unit, Ending> {
    Unit::decode(unit).map_err(|error| {
        Ending::Protocol(match error {
            UnitError::Version(_) => Violation::Version,
            _ => Violation::Malformed,
        })
    })
}
