//! The channel: who hears whom, what collides where, and shells around stations that keep, relay and
//! receipt as a node would.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use postrider_base::{NodeId, NodeSecret, air::Strength, bundle::Receipt};
use postrider_engine::{
    air::{
        Span,
        ledger::{Ledger, Limit},
        lora::{Lora, Modulation},
    },
    station::{
        Asks, Beacons, FormNumber, Input, Item, ItemId, Listening, Now, Output, Refusal, Repeats,
        Settings, Source, Station, To, Verdict, beacon::ContactKey,
    },
};

use super::{
    mail::{ALL, Mail, receipt},
    radio::{Chance, HOUR_US, worst_us},
};

const KEY: u16 = 5;
const DAY_MS: u64 = 86_400_000;

/// What all radios of a world are like.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    pub spreading: u8,
    pub bandwidth_hz: u32,
    pub mtu_bytes: usize,
    /// None: no law.
    pub duty_permille: Option<u64>,
    /// Of every frame at every receiver.
    pub loss_permille: u64,
}

impl Channel {
    pub fn modulation(&self) -> Modulation {
        Modulation::Lora(Lora::new(self.spreading, self.bandwidth_hz, 5, 8).unwrap())
    }

    pub fn most_us(&self) -> Option<u64> {
        self.duty_permille.map(|permille| HOUR_US / 1_000 * permille)
    }

    fn limit(&self) -> Limit {
        Limit::new(KEY, self.most_us())
    }
}

/// What a node does with mail for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Sends it on, here.
    Relay,
    /// Keeps it.
    Nothing,
}

pub struct Node {
    pub id: NodeId,
    pub station: Option<Station>,
    ledger: Ledger,
    pub carries: Carries,
    /// What survives a crash.
    disk: Disk,
    /// Frames of others that are in the air here, and sensed.
    sensed: usize,
    speaks_until_us: u64,
    custody_back_ms: u64,
    timeout_us: u64,
    /// Changes when it crashes: what was under way then is nobody's.
    life: u32,
    /// From when to when, as the judge heard it.
    pub aired: Vec<(u64, u64)>,
    pub delivered: BTreeMap<ItemId, u64>,
    pub ticked: BTreeMap<ItemId, u64>,
    pub outputs: Vec<(u64, Output)>,
    /// It knows nobody.
    pub stranger: bool,
    /// Contacts that it is told are there.
    near: BTreeSet<NodeId>,
    /// One in so many frames is refused by the modem.
    pub refuses: u64,
}

#[derive(Clone, Default)]
struct Disk {
    ledger: Vec<u8>,
    mail: BTreeMap<ItemId, Mail>,
    /// Own and carried, not receipted.
    queue: BTreeSet<ItemId>,
    receipted: BTreeSet<ItemId>,
}

struct Flight {
    from: usize,
    bytes: Vec<u8>,
    number: u32,
    life: u32,
    begun_us: u64,
    spoiled: Vec<bool>,
    sensed: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Timeout(usize, u32),
    /// The first slot of a flight is over.
    Sensed(u64),
    Landed(u64),
    Durable(usize, u32, u32),
    Judged(usize, u32, u64, Vec<u8>),
    Refused(usize, u32, u32),
    /// Somebody writes, by its place in a list.
    Write(usize),
}

pub struct World {
    pub now_us: u64,
    pub channel: Channel,
    pub chance: Chance,
    pub nodes: Vec<Node>,
    pub hears: Vec<Vec<bool>>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    flights: BTreeMap<u64, Flight>,
    plans: Vec<Mail>,
    pub written: BTreeMap<ItemId, u64>,
    /// First byte, bytes, airtime of every frame.
    pub frames: Vec<(usize, u64, Vec<u8>)>,
    modulation: Modulation,
}

impl World {
    pub fn new(channel: Channel, nodes: usize, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut made = Vec::new();
        for n in 0..nodes {
            let secret = NodeSecret::from_seed([u8::try_from(n).unwrap() + 1; 32]);
            let ledger = Ledger::new(Span::Hour, 0);
            let disk = Disk { ledger: ledger.encode(), ..Disk::default() };
            made.push(Node {
                id: secret.id(),
                station: None,
                ledger,
                carries: Carries::Relay,
                disk,
                sensed: 0,
                speaks_until_us: 0,
                custody_back_ms: chance.below(500),
                timeout_us: 0,
                life: 0,
                aired: Vec::new(),
                delivered: BTreeMap::new(),
                ticked: BTreeMap::new(),
                outputs: Vec::new(),
                stranger: false,
                near: BTreeSet::new(),
                refuses: 0,
            });
        }
        let mut world = Self {
            now_us: 1_000_000,
            channel,
            chance,
            nodes: made,
            hears: vec![vec![true; nodes]; nodes],
            events: BinaryHeap::new(),
            order: 0,
            flights: BTreeMap::new(),
            plans: Vec::new(),
            written: BTreeMap::new(),
            frames: Vec::new(),
            modulation: channel.modulation(),
        };
        (0..nodes).for_each(|n| world.start(n));
        world
    }

    /// These two do not hear each other.
    pub fn hide(&mut self, a: usize, b: usize) {
        (self.hears[a][b], self.hears[b][a]) = (false, false);
    }

    fn key_of(n: usize) -> ContactKey {
        let secret = NodeSecret::from_seed([u8::try_from(n).unwrap() + 1; 32]);
        ContactKey::of(&secret.first_seal_key().public())
    }

    /// It begins, with what is on its disk.
    pub fn start(&mut self, n: usize) {
        let settings = Settings {
            key: Self::key_of(n),
            mtu_bytes: self.channel.mtu_bytes,
            modulation: self.modulation,
            limit: self.channel.limit(),
            silence: None,
            listening: Listening::Here,
            beacons: Beacons::Sent,
            call: None,
        };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.chance.below(u64::MAX).to_be_bytes());
        let now = self.clocks(n);
        self.nodes[n].station = Some(Station::new(settings, seed, now).unwrap());
        self.nodes[n].timeout_us = u64::MAX;
        self.nodes[n].near.clear();
        let all = 0..if self.nodes[n].stranger { 0 } else { self.nodes.len() };
        let contacts = all.filter(|m| *m != n).map(|m| (self.nodes[m].id, Self::key_of(m)));
        let contacts = contacts.collect();
        self.give(n, Input::Contacts(contacts));
        let held = self.nodes[n].disk.mail.keys().copied().collect();
        self.give(n, Input::Held(held));
        let queue: Vec<ItemId> = self.nodes[n].disk.queue.iter().copied().collect();
        for id in queue {
            let mail = self.nodes[n].disk.mail[&id].clone();
            self.send(n, &mail);
        }
    }

    /// The node dies, and is there again at once with what was durable; its custody clock may go back.
    pub fn crash(&mut self, n: usize) {
        self.nodes[n].life += 1;
        self.nodes[n].custody_back_ms += self.chance.below(3_000);
        let now_ms = self.clocks(n).custody_ms;
        let ledger = Ledger::decode(&self.nodes[n].disk.ledger, Span::Hour, now_ms).unwrap();
        self.nodes[n].ledger = ledger;
        self.nodes[n].disk.ledger = self.nodes[n].ledger.encode();
        self.start(n);
        if self.nodes[n].sensed > 0 {
            self.give(n, Input::Carrier { busy: true });
        }
    }

    /// Takes a node off the air.
    pub fn silence(&mut self, n: usize) {
        self.nodes[n].station = None;
        self.nodes[n].life += 1;
    }

    fn clocks(&self, n: usize) -> Now {
        let custody_ms = (self.now_us / 1_000).saturating_sub(self.nodes[n].custody_back_ms);
        Now { us: self.now_us, custody_ms }
    }

    fn at(&mut self, us: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((us, self.order, event)));
    }

    /// Somebody writes at that time.
    pub fn write_at(&mut self, us: u64, mail: Mail) {
        self.plans.push(mail);
        self.at(us, Event::Write(self.plans.len() - 1));
    }

    pub fn write(&mut self, mail: &Mail) {
        let n = usize::from(mail.from);
        self.written.insert(mail.id(), self.now_us);
        let disk = &mut self.nodes[n].disk;
        disk.mail.insert(mail.id(), mail.clone());
        disk.queue.insert(mail.id());
        self.send(n, mail);
    }

    fn send(&mut self, n: usize, mail: &Mail) {
        let own = usize::from(mail.from) == n;
        let whom = self.nodes.get(usize::from(mail.to)).map(|node| node.id);
        let near = whom.filter(|node| self.nodes[n].near.contains(node));
        let item = Item {
            id: mail.id(),
            form: mail.form(),
            lane: mail.lane,
            to: near.map_or(To::Anybody, To::Neighbour),
            source: Source(u64::from(mail.from)),
            lives_ms: DAY_MS,
            asks: if own && mail.to != ALL { Asks::Receipt } else { Asks::Nothing },
            repeats: Repeats::Ever,
        };
        self.give(n, Input::Send(item));
    }

    /// Something is put on the air by whatever stands at that place.
    pub fn transmit(&mut self, from: usize, number: u32, bytes: Vec<u8>) {
        let us = self.modulation.air_us(bytes.len() as u64);
        let (begun_us, ended_us) = (self.now_us, self.now_us + us);
        self.order += 1;
        let flight_number = self.order;
        let mut spoiled = vec![false; self.nodes.len()];
        for (n, spoiled) in spoiled.iter_mut().enumerate() {
            *spoiled = self.nodes[n].speaks_until_us > begun_us;
        }
        for other in self.flights.values_mut() {
            // Who speaks hears nothing.
            other.spoiled[from] = true;
            let both = self.hears[from].iter().zip(&self.hears[other.from]);
            let hit = other.spoiled.iter_mut().zip(&mut spoiled);
            for ((a, b), _) in hit.zip(both).filter(|(_, (a, b))| **a && **b) {
                (*a, *b) = (true, true);
            }
        }
        self.nodes[from].speaks_until_us = ended_us;
        self.nodes[from].aired.push((begun_us, ended_us));
        self.frames.push((from, begun_us, bytes.clone()));
        let life = self.nodes[from].life;
        let flight = Flight { from, bytes, number, life, begun_us, spoiled, sensed: Vec::new() };
        self.flights.insert(flight_number, flight);
        self.at(begun_us + self.modulation.start_us(), Event::Sensed(flight_number));
        self.at(ended_us, Event::Landed(flight_number));
    }

    fn give(&mut self, n: usize, input: Input<'_>) {
        let now = self.clocks(n);
        let Some(mut station) = self.nodes[n].station.take() else { return };
        let life = self.nodes[n].life;
        station.handle(now, &mut self.nodes[n].ledger, input);
        let mut answers = Vec::new();
        while let Some(output) = station.poll() {
            self.nodes[n].outputs.push((self.now_us, output.clone()));
            match output {
                Output::WriteLedger { write } => {
                    let wait_us = 2_000 + self.chance.below(20_000);
                    self.at(self.now_us + wait_us, Event::Durable(n, life, write));
                }
                Output::Transmit { number, frame } => {
                    assert!(frame.len() <= self.channel.mtu_bytes);
                    if self.nodes[n].refuses > 0 && self.chance.one_in(self.nodes[n].refuses) {
                        self.at(self.now_us + 10_000, Event::Refused(n, life, number));
                    } else {
                        self.transmit(n, number, frame);
                    }
                }
                Output::Form { form, bytes, .. } => {
                    let wait_us = 2_000 + self.chance.below(30_000);
                    self.at(self.now_us + wait_us, Event::Judged(n, life, form.0, bytes));
                }
                other => answers.push(other),
            }
        }
        let timeout_us = station.poll_timeout();
        assert!(timeout_us > self.now_us);
        self.nodes[n].station = Some(station);
        if timeout_us != self.nodes[n].timeout_us {
            self.nodes[n].timeout_us = timeout_us;
            self.at(timeout_us, Event::Timeout(n, life));
        }
        for output in answers {
            self.answer(n, output);
        }
    }

    fn answer(&mut self, n: usize, output: Output) {
        match output {
            Output::Neighbour { node, .. } => {
                self.nodes[n].near.insert(node);
            }
            Output::NeighbourGone { node } => {
                self.nodes[n].near.remove(&node);
            }
            Output::Receipts(receipts) => receipts.iter().for_each(|r| self.receipted(n, r)),
            Output::Again { id } if self.nodes[n].disk.receipted.contains(&id) => {
                self.pass_on(n, receipt(id));
            }
            Output::ReceiptWanted { prefix } => {
                let known = self.nodes[n].disk.receipted.iter();
                let known: Vec<ItemId> =
                    known.filter(|id| id.0.starts_with(&prefix)).copied().collect();
                known.into_iter().for_each(|id| self.pass_on(n, receipt(id)));
            }
            _ => {}
        }
    }

    fn receipted(&mut self, n: usize, heard: &Receipt) {
        let id = ItemId(heard.id_prefix);
        if *heard != receipt(id) || !self.nodes[n].disk.mail.contains_key(&id) {
            return;
        }
        if !self.nodes[n].disk.receipted.insert(id) {
            return;
        }
        self.nodes[n].disk.queue.remove(&id);
        self.give(n, Input::TakeBack { id });
        let mail = self.nodes[n].disk.mail[&id].clone();
        if usize::from(mail.from) == n {
            let now_us = self.now_us;
            self.nodes[n].ticked.insert(id, now_us);
        } else if self.nodes[n].carries == Carries::Relay && usize::from(mail.to) != n {
            self.pass_on(n, receipt(id));
        }
    }

    fn pass_on(&mut self, n: usize, receipt: Receipt) {
        let lane = self.nodes[n].disk.mail[&ItemId(receipt.id_prefix)].lane;
        self.give(n, Input::Receipts { receipts: vec![receipt], lane });
    }

    fn judge(&mut self, n: usize, form: FormNumber, bytes: &[u8]) {
        let Some(mail) = Mail::of(bytes) else {
            return self.give(n, Input::Judged { form, verdict: Verdict::Unwanted });
        };
        let id = mail.id();
        if self.nodes[n].disk.mail.contains_key(&id) {
            return self.give(n, Input::Judged { form, verdict: Verdict::Known(id) });
        }
        let farther = mail.farther();
        self.nodes[n].disk.mail.insert(id, farther.clone());
        let mine = usize::from(mail.to) == n || mail.to == ALL;
        if mine {
            let now_us = self.now_us;
            self.nodes[n].delivered.insert(id, now_us);
        }
        let relays = self.nodes[n].carries == Carries::Relay && usize::from(mail.to) != n;
        if relays {
            self.nodes[n].disk.queue.insert(id);
        }
        if usize::from(mail.to) == n {
            self.nodes[n].disk.receipted.insert(id);
        }
        self.give(n, Input::Judged { form, verdict: Verdict::Kept(id) });
        if relays {
            self.send(n, &farther);
        }
        if usize::from(mail.to) == n {
            self.pass_on(n, receipt(id));
        }
    }

    fn landed(&mut self, number: u64) {
        let Some(flight) = self.flights.remove(&number) else { return };
        for n in flight.sensed {
            self.nodes[n].sensed -= 1;
        }
        for n in 0..self.nodes.len() {
            if n == flight.from || !self.hears[flight.from][n] {
                continue;
            }
            // Who spoke at any time of it has heard nothing of it.
            let spoke = self.nodes[n].speaks_until_us > flight.begun_us;
            let lost = self.chance.below(1_000) < self.channel.loss_permille;
            if !flight.spoiled[n] && !spoke && !lost {
                let strength = Strength { rssi_dbm: Some(-90), snr_quarter_db: Some(20) };
                self.give(n, Input::Heard { frame: &flight.bytes, strength });
            }
            if self.nodes[n].sensed == 0 {
                self.give(n, Input::Carrier { busy: false });
            }
        }
        if self.nodes[flight.from].life == flight.life {
            self.give(flight.from, Input::Sent { number: flight.number });
        }
    }

    /// One event; false if there is none before that time.
    pub fn step(&mut self, until_us: u64) -> bool {
        match self.events.peek() {
            Some(Reverse((us, ..))) if *us <= until_us => {}
            _ => {
                self.now_us = self.now_us.max(until_us);
                return false;
            }
        }
        let Some(Reverse((us, _, event))) = self.events.pop() else { return false };
        self.now_us = self.now_us.max(us);
        let alive = |world: &Self, n: usize, life: u32| world.nodes[n].life == life;
        match event {
            Event::Timeout(n, life) if alive(self, n, life) && self.nodes[n].timeout_us == us => {
                self.nodes[n].timeout_us = u64::MAX;
                self.give(n, Input::Timeout);
            }
            Event::Sensed(number) => {
                let Some(flight) = self.flights.get(&number) else { return true };
                let from = flight.from;
                let hears: Vec<usize> =
                    (0..self.nodes.len()).filter(|n| *n != from && self.hears[from][*n]).collect();
                for n in &hears {
                    self.nodes[*n].sensed += 1;
                    if self.nodes[*n].sensed == 1 {
                        self.give(*n, Input::Carrier { busy: true });
                    }
                }
                if let Some(flight) = self.flights.get_mut(&number) {
                    flight.sensed = hears;
                }
            }
            Event::Landed(number) => self.landed(number),
            Event::Durable(n, life, write) if alive(self, n, life) => {
                self.nodes[n].disk.ledger = self.nodes[n].ledger.encode();
                self.give(n, Input::LedgerDurable { write });
            }
            Event::Judged(n, life, form, bytes) if alive(self, n, life) => {
                self.judge(n, FormNumber(form), &bytes);
            }
            Event::Refused(n, life, number) if alive(self, n, life) => {
                self.give(n, Input::Refused { number, why: Refusal::Later });
            }
            Event::Write(at) => {
                let mail = self.plans[at].clone();
                self.write(&mail);
            }
            _ => {}
        }
        true
    }

    pub fn run(&mut self, until_us: u64) {
        while self.step(until_us) {}
    }

    /// Goes on until it is so, or until then; whether it was.
    pub fn run_until(&mut self, until_us: u64, done: impl Fn(&Self) -> bool) -> bool {
        while !done(self) {
            if !self.step(until_us) {
                return done(self);
            }
        }
        true
    }

    /// The fullest hour of a radio, which the judge compares with the law.
    pub fn assert_duty(&self, seed: u64) -> u64 {
        let Some(most_us) = self.channel.most_us() else { return 0 };
        let worst = self.nodes.iter().map(|node| worst_us(&node.aired, HOUR_US)).max().unwrap_or(0);
        assert!(worst <= most_us, "seed {seed}: {worst} of {most_us} microseconds within an hour");
        worst * 1_000 / most_us
    }

    /// A frame is heard by one alone, out of nowhere.
    pub fn give_frame(&mut self, n: usize, frame: &[u8]) {
        let strength = Strength::default();
        self.give(n, Input::Heard { frame, strength });
    }
}
