//! The task that owns an open radio: its station decides, this obeys.
//!
//! ```text
//! spool ── what may go ──> station ── frames ──> modem
//! modem ── frames ──> station ── forms, receipts ──> spool ── verdict ──> station
//! ```
//!
//! Nothing is decided here about what is sent when: that is the station's. What may go at all, and to
//! whom, is the desk's ([`Desk::for_air`]).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    sync::Arc,
};

use postrider_base::{
    BundleId, NodeId,
    bundle::Receipt,
    lora::{Modulation, Plain},
};
use postrider_engine::{
    air::{
        Lane, Span,
        cost::{Price, Way},
        regions::{self, Secrecy},
    },
    node::Answer,
    station::{
        Beacons, FormNumber, HELD_MAX, Input, ItemId, Listening, MTU_LEAST, Now, Output, Settings,
        Station, To, Verdict, beacon::ContactKey,
    },
};
use postrider_transports::contract::{FramePort, Heard, Link, OutFrame, Pipe, Refusal};
use tokio::{
    task::JoinSet,
    time::{Duration, Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    air_ledger::AirLedger, node::Node, ports::Port, purse::Purse, radio_state::RadioState,
};
use crate::desk::{
    Desk, Failure, FailureKind, Silent,
    air::{ForAir, OnAir},
    live::News,
};

/// After a commit it is looked at once what may go on the air, but no more often than this.
const LOOKS_APART: Duration = Duration::from_millis(200);
/// And this often where nobody commits: what has outlived its time goes no more.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A disk that takes no ledger is tried again after this; nothing is sent before.
const LEDGER_AGAIN: Duration = Duration::from_secs(5);
/// Said of a radio whose day is over.
const SPENT: &str = "as much money was spent within a day as the address allows (day=)";
/// How long a person who asks waits.
const LISTENS: Duration = Duration::from_secs(7);
/// So many ids are known to have been on the air; the oldest are forgotten.
const ON_AIR_MAX: usize = 8_192;
/// Questions to the disk that are open at a time.
const ASKED_MAX: usize = 64;
/// Receipts that are looked at in one go.
const RECEIPTS_MAX: usize = 256;

/// A question to the disk, answered.
enum Done {
    Ledger(u32, Result<(), Failure>),
    Paid(u32, Vec<u8>, Result<(), Failure>),
    Judged(FormNumber, Result<(Verdict, News), Failure>),
    Taken(Result<News, Failure>),
    Looked(Result<Looked, Failure>),
}

/// What is new for the air.
struct Looked {
    found: ForAir,
    receipts: Vec<Receipt>,
    receipts_upto: u64,
    contacts: Vec<(NodeId, ContactKey)>,
}

struct RadioTask<'a> {
    node: &'a Arc<Node>,
    port: &'a Port,
    air: Arc<AirLedger>,
    purse: Option<Purse>,
    frames: FramePort,
    station: Station,
    begun: Instant,
    on: OnAir,
    ids: BTreeMap<ItemId, BundleId>,
    /// What the station let go of by itself: it is not given again.
    refused: BTreeSet<ItemId>,
    /// What was on the air here, and the same in that order.
    aired: BTreeSet<ItemId>,
    aired_order: VecDeque<ItemId>,
    /// Receipts of that.
    receipts: BTreeMap<[u8; 8], Receipt>,
    receipts_after: u64,
    asked: JoinSet<Done>,
    looking: bool,
    look_at: Instant,
}

/// Runs a radio until it is gone, or until `stop`.
pub(super) async fn run(
    node: &Arc<Node>,
    link: Link,
    port: &Port,
    stop: &CancellationToken,
) -> io::Result<()> {
    let Link { mut facts, pipe } = link;
    let Pipe::Frames(frames) = pipe else { return Err(io::Error::other("a link of another kind")) };
    let failed = |failure: Failure| io::Error::other(failure.to_string());
    let settings = match settings(node, &frames) {
        Ok(settings) => settings,
        Err(why) => {
            port.radio(|radio| radio.refuses = Some(why));
            return listen(frames, port, stop).await;
        }
    };
    let clear_only = settings.1;
    facts.clear_only = clear_only;
    let settings = settings.0;
    let channel = (way_of(&settings), settings.limit);
    let air = node.air(Span::Hour).await.map_err(failed)?;
    let purse = match frames.facts.tariff {
        Some(tariff) => Some(Purse::open(node, &port.address, tariff).await.map_err(failed)?),
        None => None,
    };
    air.begin(node.desk.held_ms(), settings.limit);
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let begun = Instant::now();
    let now = Now { us: 0, custody_ms: node.desk.held_ms() };
    let station = Station::new(settings, seed, now).map_err(io::Error::other)?;
    let (held, after) = node
        .ask(|desk| {
            let after = desk.open_live(&Silent)?.receipts_upto()?;
            Ok((desk.held_for_air(HELD_MAX)?, after))
        })
        .await
        .map_err(failed)?;
    let on = OnAir {
        facts,
        neighbours: BTreeSet::new(),
        heard: BTreeSet::new(),
        given: BTreeMap::new(),
        unread: BTreeSet::new(),
    };
    let mut task = RadioTask {
        node,
        port,
        air,
        purse,
        frames,
        station,
        begun,
        on,
        ids: BTreeMap::new(),
        refused: BTreeSet::new(),
        aired: BTreeSet::new(),
        aired_order: VecDeque::new(),
        receipts: BTreeMap::new(),
        receipts_after: after,
        asked: JoinSet::new(),
        looking: false,
        look_at: begun,
    };
    port.radio(|radio| *radio = RadioState::of(channel, clear_only));
    task.handle(Input::Held(held));
    let ended = task.run(stop).await;
    // What was booked and is not sent any more is not spent.
    let now = task.now();
    let RadioTask { station, air, .. } = task;
    station.end(now, &mut air.lock());
    ended
}

/// What a radio is like, and what the law says; also whether nothing may be enciphered. Or why nothing is
/// sent.
fn settings(node: &Node, frames: &FramePort) -> Result<(Settings, bool), String> {
    let facts = &frames.facts;
    let by_rate =
        Plain { bits_per_s: facts.bits_per_s, bits_per_byte: 8, lead_us: 0, around_bytes: 0 };
    let modulation = facts.airtime().unwrap_or(Modulation::Plain(by_rate));
    let mut mtu_bytes = usize::from(facts.mtu_bytes);
    let mut clear_only = facts.clear_only;
    let (mut limit, mut silence) = (regions::unruled(), None);
    if let Some(hz) = facts.frequency_hz {
        let region = node.desk.air_region().ok_or(
            "nothing is sent: whose rules hold at its frequency is not said; \
             region in [air] of config.toml says it",
        )?;
        let hz = u32::try_from(hz).map_err(|_| "its frequency is beyond any that is known")?;
        let width_hz = facts.bandwidth_hz.unwrap_or(1);
        let band = regions::find(region, hz, width_hz)
            .map_err(|refused| format!("nothing is sent: {refused}"))?;
        limit = band.limit();
        silence = band.listen;
        clear_only |= band.secrecy == Secrecy::Forbidden;
        if let Some(most_us) = band.frame_max_us {
            let most = modulation.bytes_within(most_us).unwrap_or(0);
            mtu_bytes = mtu_bytes.min(usize::try_from(most).unwrap_or(mtu_bytes));
        }
    }
    if clear_only && !facts.signs {
        return Err("nothing is sent: this band wants a call sign in every frame, and this radio \
                    has none; call=CALL behind the address says it"
            .into());
    }
    if mtu_bytes < MTU_LEAST {
        return Err(format!(
            "nothing is sent: frames of {mtu_bytes} bytes, by the radio or by the law, are too short; \
             {MTU_LEAST} are needed"
        ));
    }
    let key = ContactKey::of(node.desk.home().card.seal_key());
    let listening = if facts.listens { Listening::Modem } else { Listening::Here };
    // A tag that only contacts resolve is no clear text.
    let beacons = if clear_only { Beacons::Silent } else { Beacons::Sent };
    let settings =
        Settings { key, mtu_bytes, modulation, limit, silence, listening, beacons, call: None };
    Ok((settings, clear_only))
}

/// The way of its frames, for people who ask what something would take.
fn way_of(settings: &Settings) -> Way {
    Way {
        mtu_bytes: settings.mtu_bytes as u64,
        overhead_bytes: 0,
        frame_max_us: None,
        modulation: settings.modulation,
        price: Price { frame: 0, unit_bytes: 0, unit: 0 },
    }
}

/// Listens for a while, for a person who asks what is there. Nothing is sent.
pub(super) async fn probe(frames: FramePort, port: &Port) -> io::Result<()> {
    port.radio(|radio| *radio = RadioState::default());
    let never = CancellationToken::new();
    tokio::time::timeout(LISTENS, listen(frames, port, &never)).await.unwrap_or(Ok(()))
}

/// Hears what there is, and sends nothing.
async fn listen(mut frames: FramePort, port: &Port, stop: &CancellationToken) -> io::Result<()> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            heard = frames.heard.recv() => match heard {
                Some(Heard::Frame { bytes, .. }) => port.radio(|radio| radio.note_heard(bytes.len())),
                Some(Heard::Ended(error)) => return Err(error),
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            },
        }
    }
}

impl RadioTask<'_> {
    async fn run(&mut self, stop: &CancellationToken) -> io::Result<()> {
        let mut commits = self.node.board.commits();
        loop {
            self.obey();
            let timeout = Duration::from_micros(self.station.poll_timeout());
            let due = self.begun.checked_add(timeout);
            // While one look is under way the next has no time.
            let look = (!self.looking).then_some(self.look_at);
            let due = due.into_iter().chain(look).min();
            let due = due.unwrap_or_else(|| Instant::now() + LOOK_EVERY);
            // Receiving, joining and sleeping lose nothing when another comes first.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // What comes faster than the disk takes it is lost, as on the air.
                heard = self.frames.heard.recv(), if self.asked.len() < ASKED_MAX => match heard {
                    Some(heard) => self.heard(heard)?,
                    None => return Err(io::ErrorKind::UnexpectedEof.into()),
                },
                Some(done) = self.asked.join_next() => {
                    if let Ok(done) = done {
                        self.done(done);
                    }
                }
                Ok(()) = commits.changed() => {
                    self.look_at = self.look_at.min(Instant::now() + LOOKS_APART);
                }
                () = sleep_until(due) => self.handle(Input::Timeout),
            }
            if !self.looking && Instant::now() >= self.look_at {
                self.look();
            }
        }
    }

    fn now(&self) -> Now {
        let us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { us, custody_ms: self.node.desk.held_ms() }
    }

    fn handle(&mut self, input: Input<'_>) {
        let now = self.now();
        let mut ledger = self.air.lock();
        self.station.handle(now, &mut ledger, input);
    }

    fn heard(&mut self, heard: Heard) -> io::Result<()> {
        match heard {
            Heard::Frame { bytes, strength } => {
                self.port.radio(|radio| radio.note_heard(bytes.len()));
                self.handle(Input::Heard { frame: &bytes, strength });
            }
            Heard::Sent { number } => {
                self.settle(true);
                self.port.went_well();
                self.handle(Input::Sent { number });
            }
            Heard::Refused { number, why } => {
                // One that did not answer may have sent it.
                self.settle(why == Refusal::Silent);
                let why = self.refusal(why);
                self.handle(Input::Refused { number, why });
            }
            Heard::Carrier { busy } => self.handle(Input::Carrier { busy }),
            Heard::Ended(error) => return Err(error),
            _ => {}
        }
        Ok(())
    }

    fn refusal(&self, why: Refusal) -> postrider_engine::station::Refusal {
        use postrider_engine::station::Refusal as Told;
        match why {
            Refusal::TooLong => Told::Never,
            Refusal::Busy | Refusal::NoNetwork => Told::Later,
            Refusal::Duty => Told::Duty,
            Refusal::Silent => Told::Unknown,
            Refusal::Other(what) => {
                self.port.failed(&what);
                Told::Later
            }
            _ => Told::Unknown,
        }
    }

    fn obey(&mut self) {
        while let Some(output) = self.station.poll() {
            match output {
                Output::WriteLedger { write } => self.write_ledger(write, Duration::ZERO),
                Output::Transmit { number, frame } => self.pay(number, frame),
                Output::Form { form, bytes, .. } => {
                    self.ask(move |desk| Done::Judged(form, desk.take_form(&bytes)));
                }
                Output::Again { id } => self.receipt_again(&id.0),
                Output::ReceiptWanted { prefix } => self.receipt_again(&prefix),
                Output::Receipts(list) => self.ask(move |desk| {
                    let live = desk.open_live(&Silent);
                    Done::Taken(live.and_then(|live| Ok(live.take_receipts(None, &list)?.1)))
                }),
                Output::Unread { id } => {
                    // Said again, or by whoever likes, it changes nothing.
                    let is_short = matches!(self.on.given.get(&id), Some(To::Neighbour(_)));
                    if is_short && self.on.unread.insert(id) {
                        self.look_at = Instant::now();
                    }
                }
                Output::Neighbour { node, strength } => {
                    let name = self.node.desk.name_of(&node);
                    self.port.radio(|radio| radio.note_neighbour(name, strength));
                    if self.on.neighbours.insert(node) {
                        self.look_at = Instant::now();
                    }
                }
                Output::NeighbourGone { node } => {
                    let name = self.node.desk.name_of(&node);
                    self.port.radio(|radio| radio.forget(&name));
                    self.on.neighbours.remove(&node);
                    self.look_at = Instant::now();
                }
                Output::Waits { waiting, .. } => {
                    let held_ms = self.node.desk.held_ms();
                    self.port.radio(|radio| radio.note_wait(waiting, held_ms));
                }
                Output::Aired { id, times } => self.note_aired(id, times),
                Output::Ended { id, .. } => {
                    self.on.given.remove(&id);
                    self.refused.insert(id);
                }
                _ => {}
            }
        }
    }

    /// Sends a frame, where it costs money once that is in the book.
    fn pay(&mut self, number: u32, frame: Vec<u8>) {
        let now_ms = self.node.desk.held_ms();
        let Some(purse) = &mut self.purse else { return self.send(number, frame) };
        if purse.book(now_ms, frame.len()).is_err() {
            self.port.failed(SPENT);
            let why = postrider_engine::station::Refusal::Duty;
            return self.handle(Input::Refused { number, why });
        }
        let (node, ledger) = (Arc::clone(self.node), purse.ledger());
        self.asked.spawn(async move { Done::Paid(number, frame, ledger.save(&node).await) });
    }

    fn send(&mut self, number: u32, bytes: Vec<u8>) {
        self.port.radio(|radio| radio.sent += 1);
        // One at a time: there is room, or the port is gone and says so.
        let _ = self.frames.to_air.try_send(OutFrame { number, bytes });
    }

    fn settle(&mut self, sent: bool) {
        let now_ms = self.node.desk.held_ms();
        if let Some(purse) = &mut self.purse {
            purse.settle(now_ms, sent);
        }
    }

    fn ask(&mut self, ask: impl FnOnce(&Desk) -> Done + Send + 'static) {
        let desk = Arc::clone(&self.node.desk);
        self.asked.spawn_blocking(move || ask(&desk));
    }

    fn write_ledger(&mut self, write: u32, wait: Duration) {
        let (node, air) = (Arc::clone(self.node), Arc::clone(&self.air));
        self.asked.spawn(async move {
            tokio::time::sleep(wait).await;
            Done::Ledger(write, air.save(&node).await)
        });
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Ledger(write, Ok(())) => self.handle(Input::LedgerDurable { write }),
            Done::Ledger(write, Err(failure)) => {
                // Nothing goes on the air that is not in the book.
                self.node.board.trouble(&failure);
                self.write_ledger(write, LEDGER_AGAIN);
            }
            Done::Paid(number, frame, Ok(())) => self.send(number, frame),
            Done::Paid(number, _, Err(failure)) => {
                self.node.board.trouble(&failure);
                self.settle(false);
                let why = postrider_engine::station::Refusal::Later;
                self.handle(Input::Refused { number, why });
            }
            Done::Judged(form, Ok((verdict, news))) => {
                if let Verdict::Kept(id) | Verdict::Known(id) = verdict {
                    self.on_air(id);
                    self.on.heard.insert(id);
                    self.look_at = Instant::now();
                }
                self.node.board.news(news);
                self.handle(Input::Judged { form, verdict });
            }
            Done::Judged(form, Err(failure)) => {
                self.node.board.trouble(&failure);
                self.handle(Input::Judged { form, verdict: Verdict::Unwanted });
            }
            Done::Taken(Ok(news)) => self.node.board.news(news),
            Done::Looked(Ok(looked)) => self.looked(looked),
            Done::Looked(Err(failure)) => {
                self.looking = false;
                self.node.board.trouble(&failure);
            }
            Done::Taken(Err(failure)) => self.node.board.trouble(&failure),
        }
    }

    /// Looks what may go on the air.
    fn look(&mut self) {
        (self.looking, self.look_at) = (true, Instant::now() + LOOK_EVERY);
        let (on, after) = (self.on.clone(), self.receipts_after);
        self.ask(move |desk| {
            let looked = || {
                let live = desk.open_live(&Silent)?;
                let Answer::Receipts { list, upto, more } =
                    live.receipts_since(after, RECEIPTS_MAX)?
                else {
                    return Err(Failure::new(FailureKind::Fault, "no receipts"));
                };
                let last = list.last().map_or(after, |(number, _)| *number);
                Ok(Looked {
                    found: desk.for_air(&on)?,
                    receipts_upto: if more { last } else { upto },
                    receipts: list.into_iter().map(|(_, receipt)| receipt).collect(),
                    contacts: desk.station_contacts()?,
                })
            };
            Done::Looked(looked())
        });
    }

    fn looked(&mut self, looked: Looked) {
        self.looking = false;
        self.handle(Input::Contacts(looked.contacts));
        let ForAir { wanted, items } = looked.found;
        let gone: Vec<ItemId> =
            self.on.given.keys().filter(|id| !wanted.contains_key(*id)).copied().collect();
        for id in gone {
            self.on.given.remove(&id);
            self.handle(Input::TakeBack { id });
        }
        self.refused.retain(|id| wanted.contains_key(id));
        self.on.unread.retain(|id| wanted.contains_key(id));
        for item in items {
            if self.refused.contains(&item.id) {
                continue;
            }
            self.on_air(item.id);
            self.on.given.insert(item.id, item.to);
            self.handle(Input::Send(item));
        }
        self.ids = wanted;
        self.receipts_after = looked.receipts_upto;
        // What was never here is nothing to those who are.
        let receipts: Vec<Receipt> = looked
            .receipts
            .into_iter()
            .filter(|receipt| self.aired.contains(&ItemId(receipt.id_prefix)))
            .collect();
        for receipt in &receipts {
            self.receipts.insert(receipt.id_prefix, *receipt);
        }
        if !receipts.is_empty() {
            self.handle(Input::Receipts { receipts, lane: Lane::Normal });
        }
    }

    /// Notes that something was on the air here, or will be.
    fn on_air(&mut self, id: ItemId) {
        if !self.aired.insert(id) {
            return;
        }
        if self.aired_order.len() == ON_AIR_MAX
            && let Some(oldest) = self.aired_order.pop_front()
        {
            self.aired.remove(&oldest);
            self.on.heard.remove(&oldest);
            self.receipts.remove(&oldest.0);
        }
        self.aired_order.push_back(id);
    }

    /// Somebody lacks the receipt for what begins so.
    fn receipt_again(&mut self, prefix: &[u8]) {
        let found = self.receipts.iter().find(|(id, _)| id.starts_with(prefix));
        if let Some((_, receipt)) = found {
            let receipts = vec![*receipt];
            self.handle(Input::Receipts { receipts, lane: Lane::Normal });
        }
    }

    fn note_aired(&mut self, id: ItemId, times: u32) {
        if times != 1 {
            return;
        }
        let Some(bundle) = self.ids.get(&id).copied() else { return };
        self.ask(move |desk| Done::Taken(desk.note_aired(&bundle).map(|()| News::default())));
    }
}
