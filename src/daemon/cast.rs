//! What goes to all on a local network at once, and what comes from there: small bundles for groups.
//!
//! ```text
//! engine ── Cast ──> form ── station ── frames ──> all on the network
//! all ── frames ── station ──> form ── kept ──> engine: CastHeard, and the row like any other
//! ```
//!
//! Pieces and their repair are a [`Station`]'s, as on a radio that costs nothing; whether something is
//! cast, and who gets it by link after all, the engine decides. `docs/lan.md` has the datagrams.

use std::{collections::BTreeMap, sync::Arc};

use postrider_base::{
    BundleId,
    air::Strength,
    lora::{Modulation, Plain},
};
use postrider_engine::{
    air::{Span, ledger::Ledger, regions},
    meeting::Rate,
    node::{CAST_WAIT_MS, Input as ToNode, NetworkId},
    station::{
        Beacons, FormNumber, Input, Item, ItemId, Listening, Now, Output, Refusal, Settings,
        Station, Verdict, beacon::ContactKey,
    },
};
use postrider_transports::lan::{DATAGRAM_MAX, Lan};
use tokio::{
    task::JoinSet,
    time::{Duration, Instant, sleep_until},
};

use super::{engine_task::ToEngine, node::Node};
use crate::desk::{Failure, live::News};

/// The first byte of a datagram with a frame, and of one that says what its sender has. A beacon begins
/// with 1.
const FRAME: u8 = 2;
const HAVES: u8 = 3;
/// Forms that are being judged or made at a time, over all networks: what comes faster than the disk takes
/// it is lost, and comes by link.
const ASKED_MAX: usize = 16;
/// Of one network at once, and each second: forms, of which each is a signature and a commit; and statements, of
/// which each is a hash for every link, and stands before what links bring to the engine. Anybody there can
/// send either, at the network's rate. A thousand neighbours speak once each of what was cast within a second.
const FORMS: (u64, u64) = (128, 20);
const STATEMENTS: (u64, u64) = (1_024, 256);
/// Multicast on Wi-Fi goes at the lowest rate, mostly 1 Mbit/s; around a frame are Ethernet, IPv6 and UDP.
/// Before it are the milliseconds that a busy machine takes to look. How long others are waited for follows
/// from that.
const PACE: Plain =
    Plain { bits_per_s: 1_000_000, bits_per_byte: 8, lead_us: 5_000, around_bytes: 62 };
/// What was cast is there to be repaired for as long as links leave it to that.
const STAYS: Duration = Duration::from_millis(CAST_WAIT_MS);

/// Whether a datagram is for here.
pub(super) fn is_one(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(&(FRAME | HAVES)))
}

/// The stations of all networks.
pub(super) struct Casting {
    node: Arc<Node>,
    lan: Arc<Lan>,
    stations: BTreeMap<u32, Channel>,
    /// Nothing limits what is sent here; the station keeps its account all the same.
    ledger: Ledger,
    asked: JoinSet<Done>,
    begun: Instant,
}

struct Channel {
    station: Station,
    /// What was cast, and until when it stays.
    items: BTreeMap<ItemId, Instant>,
    forms: Rate,
    statements: Rate,
}

/// The disk has answered.
enum Done {
    Made(u32, Result<Option<Item>, Failure>),
    Judged(u32, FormNumber, Result<(Verdict, News), Failure>),
}

impl Casting {
    pub(super) fn new(node: Arc<Node>, lan: Arc<Lan>) -> Self {
        Self {
            node,
            lan,
            stations: BTreeMap::new(),
            ledger: Ledger::new(Span::Hour, 0),
            asked: JoinSet::new(),
            begun: Instant::now(),
        }
    }

    /// A network is there, on which something may be said.
    pub(super) fn up(&mut self, interface: u32, speaks: bool) {
        self.stations.remove(&interface);
        let mut seed = [0; 32];
        if !speaks || getrandom::fill(&mut seed).is_err() {
            return;
        }
        let settings = Settings {
            key: ContactKey::of(self.node.desk.home().card.seal_key()),
            mtu_bytes: DATAGRAM_MAX - 1,
            modulation: Modulation::Plain(PACE),
            limit: regions::unruled(),
            silence: None,
            listening: Listening::Modem,
            beacons: Beacons::Silent,
            call: None,
        };
        if let Ok(station) = Station::new(settings, seed, self.now()) {
            let [forms, statements] =
                [FORMS, STATEMENTS].map(|(most, per_s)| Rate::new(most, per_s));
            let channel = Channel { station, items: BTreeMap::new(), forms, statements };
            self.stations.insert(interface, channel);
        }
    }

    /// It is gone.
    pub(super) fn down(&mut self, interface: u32) {
        self.stations.remove(&interface);
    }

    /// A datagram came.
    pub(super) fn heard(&mut self, interface: u32, datagram: Vec<u8>) {
        match datagram.split_first() {
            Some((&FRAME, frame)) => {
                self.handle(interface, Input::Heard { frame, strength: Strength::default() });
            }
            Some((&HAVES, said)) => {
                let (network, now_ms) = (NetworkId(interface), self.now().custody_ms);
                let channel = self.stations.get_mut(&interface);
                if channel.is_some_and(|channel| channel.statements.take(now_ms, 0)) {
                    self.tell(ToNode::Haves { network, said: said.to_vec().into() });
                }
            }
            _ => {}
        }
    }

    /// Sends a bundle to all.
    pub(super) fn cast(&mut self, network: NetworkId, id: BundleId) {
        if self.asked.len() < ASKED_MAX && self.stations.contains_key(&network.0) {
            let desk = Arc::clone(&self.node.desk);
            self.asked.spawn_blocking(move || Done::Made(network.0, desk.item_to_cast(&id)));
        }
    }

    /// Says what this node has.
    pub(super) fn say(&mut self, network: NetworkId, said: &[u8]) {
        let datagram = [&[HAVES], said].concat();
        // Lost like any datagram: then it is offered by link.
        let _ = self.lan.say(network.0, &datagram);
    }

    /// Waits for the disk, and goes on, or for the clock: then [`Self::tick`] is due, behind all that came
    /// until then. Cancel-safe.
    pub(super) async fn next(&mut self) {
        let timeout = self.stations.values().map(|channel| channel.station.poll_timeout()).min();
        let due = timeout.and_then(|us| self.begun.checked_add(Duration::from_micros(us)));
        let kept = self.stations.values().flat_map(|channel| channel.items.values().min()).min();
        let due = due.into_iter().chain(kept.copied()).min();
        let clock = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(Ok(done)) = self.asked.join_next() => self.done(done),
            () = clock => {}
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self) {
        let interfaces: Vec<u32> = self.stations.keys().copied().collect();
        interfaces.into_iter().for_each(|interface| self.tick_one(interface));
    }

    fn tick_one(&mut self, interface: u32) {
        let now = Instant::now();
        let Some(channel) = self.stations.get_mut(&interface) else { return };
        let over = channel.items.iter().filter(|(_, until)| **until <= now);
        let over: Vec<ItemId> = over.map(|(id, _)| *id).collect();
        channel.items.retain(|_, until| *until > now);
        for id in over {
            self.handle(interface, Input::TakeBack { id });
        }
        self.handle(interface, Input::Timeout);
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Made(interface, Ok(Some(item))) => {
                if let Some(channel) = self.stations.get_mut(&interface) {
                    channel.items.insert(item.id, Instant::now() + STAYS);
                    self.handle(interface, Input::Send(item));
                }
            }
            Done::Made(_, Ok(None)) => {}
            Done::Judged(interface, form, Ok((verdict, news))) => {
                self.node.board.news(news);
                self.handle(interface, Input::Judged { form, verdict });
            }
            Done::Judged(interface, form, Err(failure)) => {
                self.node.board.trouble(&failure);
                self.handle(interface, Input::Judged { form, verdict: Verdict::Unwanted });
            }
            Done::Made(_, Err(failure)) => self.node.board.trouble(&failure),
        }
    }

    fn now(&self) -> Now {
        let us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { us, custody_ms: us / 1_000 }
    }

    /// Gives a station what happened, and obeys it until it has nothing more to say.
    fn handle(&mut self, interface: u32, input: Input<'_>) {
        let now = self.now();
        let Some(channel) = self.stations.get_mut(&interface) else { return };
        channel.station.handle(now, &mut self.ledger, input);
        while let Some(output) =
            self.stations.get_mut(&interface).and_then(|channel| channel.station.poll())
        {
            let answer = match output {
                // Of what costs nothing nothing need be durable.
                Output::WriteLedger { write } => Input::LedgerDurable { write },
                Output::Transmit { number, frame } => {
                    let datagram = [&[FRAME], &frame[..]].concat();
                    match self.lan.say(interface, &datagram) {
                        Ok(()) => Input::Sent { number },
                        Err(_) => Input::Refused { number, why: Refusal::Later },
                    }
                }
                Output::Form { form, bytes, .. } => {
                    if self.judge(interface, form, bytes) {
                        continue;
                    }
                    Input::Judged { form, verdict: Verdict::Unwanted }
                }
                _ => continue,
            };
            if let Some(channel) = self.stations.get_mut(&interface) {
                channel.station.handle(now, &mut self.ledger, answer);
            }
        }
    }

    /// Has a form kept, if there is room for the question, and there were not too many.
    fn judge(&mut self, interface: u32, form: FormNumber, bytes: Vec<u8>) -> bool {
        let now_ms = self.now().custody_ms;
        let channel = self.stations.get_mut(&interface);
        let is_time = channel.is_some_and(|channel| channel.forms.take(now_ms, 0));
        if !is_time || self.asked.len() >= ASKED_MAX {
            return false;
        }
        let node = Arc::clone(&self.node);
        let network = NetworkId(interface);
        self.asked.spawn_blocking(move || {
            let mut which = None;
            let judged = node.desk.take_form_telling(&bytes, |id| {
                // Before it is durable, or the engine would take it for one to be cast.
                which = Some(id);
                let heard = ToNode::CastHeard { network, id, here: false };
                let _ = node.engine.blocking_send(ToEngine::input(heard));
            });
            if let (Ok((Verdict::Known(_), _)), Some(id)) = (&judged, which) {
                let heard = ToNode::CastHeard { network, id, here: true };
                let _ = node.engine.blocking_send(ToEngine::input(heard));
            }
            Done::Judged(interface, form, judged)
        });
        true
    }

    /// Full, it is lost like a datagram.
    fn tell(&self, input: ToNode) {
        let _ = self.node.engine.try_send(ToEngine::input(input));
    }
}
