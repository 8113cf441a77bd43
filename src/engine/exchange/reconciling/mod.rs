//! Two nodes find out what either lacks, when no cursor tells.
//!
//! ```text
//! opener                                   the other
//! reads its rows, Open [share, items] ---> reads its rows
//! begins to peel  <--- Answer [share, items], Symbols
//! peels           ---> More …              makes symbols
//! peels           <--- Symbols …
//! knows           ---> Ask [hash…], Done
//! offers what only it has                  offers what was asked for
//! ```
//!
//! Here is the course of a session, in the steps of `sketch`. Of what the sets consist is in `survey`,
//! what a session may cost in `terms`; the mathematics is in [`crate::reconcile`].
//!
//! Whoever finds that it does not pay, or has no place for it, says Plain: then whoever was waiting
//! offers everything. What comes outside of a session belongs to one that is over, and is ignored.

mod sketch;
mod survey;
mod terms;

use std::collections::BTreeSet;

use bytes::Bytes;

use self::{
    sketch::{ASKED_MAX, Side, Step},
    terms::{batch, session_key, symbols_max},
};
use super::{
    limits::{PLAIN_MAX, RECONCILE_GAP_MS, RECONCILE_PATIENCE_MS, RECONCILED_AT_ONCE},
    peer::Peer,
    sending::Sending,
    unit::Unit,
};
use crate::{
    node::{
        Ending, Output, ShortId, Violation,
        core::{Core, What},
    },
    reconcile::{
        Difference, ItemHash, ItemId, Peeler, Progress, SessionKey, Sketcher, Symbol, Work, Worked,
    },
};

/// One end of the reconciliations over one link.
#[derive(Debug)]
pub(crate) struct Reconciling {
    random: [u8; 16],
    /// Numbers the sessions: answers to the questions of another one are void.
    session: u32,
    state: State,
    items: Vec<ItemId>,
    /// Everything up to here is in `items`, if it belongs there.
    covered: u64,
    patience_until_ms: u64,
    /// When the other end last made this one read its rows.
    asked_ms: Option<u64>,
    agreed: bool,
}

#[derive(Debug)]
enum State {
    Idle,
    /// The rows are read; so many of them could be offered.
    Surveying {
        role: Role,
        offerable: usize,
    },
    /// Open was said.
    Opened,
    /// The other end makes symbols: we wait for some (`awaited`), or for our thread.
    Peeling {
        key: SessionKey,
        going: Peeling,
        symbols: usize,
        symbols_max: usize,
    },
    /// We make symbols: our thread does, or we wait for the other end.
    Sketching {
        sketcher: Option<Box<Sketcher>>,
        sent: usize,
        symbols_max: usize,
        asked: BTreeSet<ShortId>,
    },
}

#[derive(Debug)]
enum Peeling {
    /// The first symbols are to come.
    New,
    /// More symbols are to come.
    Waiting(Box<Peeler>),
    /// They are being looked at.
    Working,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Opener { forced: bool },
    Other(Side),
}

impl Reconciling {
    /// With 16 random bytes of this link.
    pub fn new(random: [u8; 16]) -> Self {
        Self {
            random,
            session: 0,
            state: State::Idle,
            items: Vec::new(),
            covered: 0,
            patience_until_ms: 0,
            asked_ms: None,
            agreed: false,
        }
    }

    /// Whether none is going on.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Finds out what the neighbour lacks, one way or the other; with little to offer by the plain
    /// list, unless `forced`.
    pub fn open(&mut self, core: &mut Core, peer: &Peer, sending: &mut Sending, forced: bool) {
        if !self.is_idle() {
            return;
        }
        if peer.can_sketch() && core.sketching < RECONCILED_AT_ONCE {
            self.survey(core, peer, Role::Opener { forced });
        } else {
            sending.offer_all();
        }
    }

    /// When the other end has taken too long.
    pub fn deadline(&self) -> Option<u64> {
        (!self.is_idle()).then_some(self.patience_until_ms)
    }

    /// Whether both ends know the difference; told once.
    pub fn take_agreed(&mut self) -> bool {
        std::mem::take(&mut self.agreed)
    }

    /// The clock may have passed the deadline.
    pub fn tick(&mut self, core: &mut Core, peer: &mut Peer, sending: &mut Sending) {
        if self.deadline().is_some_and(|at| core.now.mono_ms >= at) {
            self.give_up(core, peer, sending);
        }
    }

    /// The link is over.
    pub fn end(&mut self, core: &mut Core) {
        self.finish(core);
    }

    /// The set is known.
    fn surveyed(
        &mut self,
        core: &mut Core,
        peer: &mut Peer,
        sending: &mut Sending,
        role: Role,
        offerable: usize,
    ) {
        let ours = self.side();
        match role {
            Role::Opener { forced: false } if offerable <= PLAIN_MAX => {
                self.finish(core);
                sending.offer_all();
            }
            Role::Opener { .. } => {
                self.say(core, peer, &Step::Open(ours));
                self.state = State::Opened;
                self.be_patient(core);
            }
            Role::Other(theirs) => {
                if symbols_max(ours, theirs).is_none() {
                    return self.give_up(core, peer, sending);
                }
                self.say(core, peer, &Step::Answer(ours));
                self.begin_sketch(core, peer, sending, theirs);
            }
        }
    }

    /// A step came.
    pub fn take(
        &mut self,
        core: &mut Core,
        peer: &mut Peer,
        sending: &mut Sending,
        unit: &Bytes,
    ) -> Result<(), Ending> {
        let step = Step::decode(unit).ok_or(Ending::Protocol(Violation::Malformed))?;
        match step {
            Step::Open(side) => self.take_open(core, peer, sending, side),
            Step::Answer(side) if matches!(self.state, State::Opened) => {
                self.begin_peeling(core, peer, sending, side);
            }
            Step::Symbols(symbols) => return self.take_symbols(core, peer, symbols),
            Step::More => return self.take_more(core, peer, sending),
            Step::Ask(hashes) => return self.take_asked(core, &hashes),
            Step::Done => self.take_done(core, sending),
            Step::Plain if !self.is_idle() => {
                self.finish(core);
                sending.offer_all();
            }
            Step::Answer(_) | Step::Plain => {}
        }
        Ok(())
    }

    fn take_open(&mut self, core: &mut Core, peer: &mut Peer, sending: &mut Sending, theirs: Side) {
        match &mut self.state {
            State::Idle => {
                let now_ms = core.now.mono_ms;
                let soon = |at: u64| now_ms.saturating_sub(at) < RECONCILE_GAP_MS;
                if core.sketching >= RECONCILED_AT_ONCE || self.asked_ms.is_some_and(soon) {
                    self.say(core, peer, &Step::Plain);
                } else {
                    self.asked_ms = Some(now_ms);
                    self.survey(core, peer, Role::Other(theirs));
                }
            }
            State::Surveying { role, .. } => *role = Role::Other(theirs),
            State::Opened => {
                // Both have opened: the lower share peels.
                let ours = self.side();
                if ours.share < theirs.share {
                    self.begin_peeling(core, peer, sending, theirs);
                } else if ours.share > theirs.share && symbols_max(ours, theirs).is_some() {
                    self.begin_sketch(core, peer, sending, theirs);
                } else {
                    self.give_up(core, peer, sending);
                }
            }
            State::Peeling { .. } | State::Sketching { .. } => self.give_up(core, peer, sending),
        }
    }

    fn begin_sketch(
        &mut self,
        core: &mut Core,
        peer: &mut Peer,
        sending: &mut Sending,
        theirs: Side,
    ) {
        let ours = self.side();
        let Some(symbols_max) = symbols_max(ours, theirs) else {
            return self.give_up(core, peer, sending);
        };
        let key = session_key(theirs.share, ours.share);
        let items = std::mem::take(&mut self.items);
        let count = batch(peer, 0);
        let asked = BTreeSet::new();
        self.state = State::Sketching { sketcher: None, sent: 0, symbols_max, asked };
        self.be_patient(core);
        self.compute(core, peer, Work::Sketch { key, items, count });
    }

    fn begin_peeling(
        &mut self,
        core: &mut Core,
        peer: &mut Peer,
        sending: &mut Sending,
        theirs: Side,
    ) {
        let ours = self.side();
        let Some(symbols_max) = symbols_max(ours, theirs) else {
            return self.give_up(core, peer, sending);
        };
        let key = session_key(ours.share, theirs.share);
        self.state = State::Peeling { key, going: Peeling::New, symbols: 0, symbols_max };
        self.be_patient(core);
    }

    fn take_symbols(
        &mut self,
        core: &mut Core,
        peer: &Peer,
        batch: Vec<Symbol>,
    ) -> Result<(), Ending> {
        let State::Peeling { key, going, symbols, .. } = &mut self.state else { return Ok(()) };
        *symbols += batch.len();
        let work = match std::mem::replace(going, Peeling::Working) {
            Peeling::New => {
                let items = std::mem::take(&mut self.items);
                Work::Begin { key: *key, items, symbols: batch }
            }
            Peeling::Waiting(peeler) => Work::Peel { peeler, symbols: batch },
            // Nobody asked for these.
            Peeling::Working => return Err(Ending::Protocol(Violation::Order)),
        };
        self.be_patient(core);
        self.compute(core, peer, work);
        Ok(())
    }

    fn take_more(
        &mut self,
        core: &mut Core,
        peer: &mut Peer,
        sending: &mut Sending,
    ) -> Result<(), Ending> {
        let State::Sketching { sketcher, sent, symbols_max, .. } = &mut self.state else {
            return Ok(());
        };
        let Some(made) = sketcher.take() else {
            return Err(Ending::Protocol(Violation::Order));
        };
        if *sent >= *symbols_max {
            self.give_up(core, peer, sending);
        } else {
            let count = batch(peer, *sent);
            self.be_patient(core);
            self.compute(core, peer, Work::More { sketcher: made, count });
        }
        Ok(())
    }

    fn take_asked(&mut self, core: &Core, hashes: &[ItemHash]) -> Result<(), Ending> {
        let State::Sketching { sketcher, asked, .. } = &mut self.state else { return Ok(()) };
        let Some(sketcher) = sketcher else {
            return Err(Ending::Protocol(Violation::Order));
        };
        // A hash that is none of ours is a lie or bad luck; either way there is nothing to offer.
        asked.extend(hashes.iter().filter_map(|hash| sketcher.id_of(*hash)).map(ShortId));
        self.be_patient(core);
        Ok(())
    }

    fn take_done(&mut self, core: &mut Core, sending: &mut Sending) {
        if let State::Sketching { asked, .. } = &mut self.state {
            let asked = std::mem::take(asked);
            sending.offer_only(asked, self.covered);
            self.agreed = true;
            self.finish(core);
        }
    }

    /// Our thread is done.
    pub fn take_worked(
        &mut self,
        core: &mut Core,
        peer: &mut Peer,
        sending: &mut Sending,
        session: u32,
        worked: Option<Worked>,
    ) {
        if session != self.session {
            return;
        }
        match (&mut self.state, worked) {
            (
                State::Sketching { sketcher, sent, .. },
                Some(Worked::Sketched { sketcher: made, symbols }),
            ) if !symbols.is_empty() => {
                *sketcher = Some(made);
                *sent += symbols.len();
                self.be_patient(core);
                self.say(core, peer, &Step::Symbols(symbols));
            }
            (
                State::Peeling { going, symbols, symbols_max, .. },
                Some(Worked::Peeled { peeler, progress }),
            ) => match progress {
                Progress::More if *symbols < *symbols_max => {
                    *going = Peeling::Waiting(peeler);
                    self.be_patient(core);
                    self.say(core, peer, &Step::More);
                }
                Progress::Done(difference) => self.known(core, peer, sending, &difference),
                Progress::More | Progress::Failed(_) => self.give_up(core, peer, sending),
            },
            _ => self.give_up(core, peer, sending),
        }
    }

    fn known(
        &mut self,
        core: &mut Core,
        peer: &mut Peer,
        sending: &mut Sending,
        difference: &Difference,
    ) {
        for hashes in difference.only_theirs.chunks(ASKED_MAX) {
            self.say(core, peer, &Step::Ask(hashes.to_vec()));
        }
        self.say(core, peer, &Step::Done);
        let ours = difference.only_ours.iter().map(|id| ShortId(*id)).collect();
        sending.offer_only(ours, self.covered);
        self.agreed = true;
        self.finish(core);
    }

    /// The plain list, at both ends.
    fn give_up(&mut self, core: &mut Core, peer: &mut Peer, sending: &mut Sending) {
        self.say(core, peer, &Step::Plain);
        self.finish(core);
        sending.offer_all();
    }

    fn finish(&mut self, core: &mut Core) {
        if !self.is_idle() {
            core.sketching -= 1;
        }
        self.session = self.session.wrapping_add(1);
        self.state = State::Idle;
        self.items = Vec::new();
    }

    fn compute(&self, core: &mut Core, peer: &Peer, work: Work) {
        let ticket = core.ask(peer.link, What::Sketch { session: self.session });
        core.outputs.push_back(Output::Sketch { ticket, work: Box::new(work) });
    }

    fn say(&self, core: &mut Core, peer: &mut Peer, step: &Step) {
        peer.send(core, &Unit::Sketch(step.encode()));
    }

    fn be_patient(&mut self, core: &Core) {
        self.patience_until_ms = core.now.mono_ms.saturating_add(RECONCILE_PATIENCE_MS);
    }

    /// Our side of this session. The share is new for each, and nobody guesses it.
    fn side(&self) -> Side {
        let seed = [&self.random[..], &self.session.to_be_bytes()].concat();
        let whole = blake3::derive_key("postrider 2026 reconcile share v1", &seed);
        let mut share = [0; 16];
        share.copy_from_slice(&whole[..16]);
        Side { share, items: u32::try_from(self.items.len()).unwrap_or(u32::MAX) }
    }
}
