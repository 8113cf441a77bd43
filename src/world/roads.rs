//! Roads between nodes, and the links that come up on them: streams in virtual time.
//!
//! A link keeps the order of its bytes and loses none while it lives, as TCP does: loss of frames
//! shows as a stall, the end of a link as a cut at any byte. Frames that are lost, doubled or out of
//! order reach an engine only through a carriage for datagrams; when there is one, it will stand
//! between `Roads::transmit` and the queue of a way.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use postrider_engine::{
    carriage::{Deframer, length_prefix},
    exchange::{DEBT_MAX, UNIT_MAX},
    node::{LinkId, LinkPolicy},
};

use crate::{chance::Chance, timeline::Timeline, world::Happening};

/// A road: two nodes between which links may come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoadId(pub(crate) usize);

/// What a road is like.
#[derive(Clone, Debug)]
pub struct Wire {
    /// Bits per second, in each direction or, of a half duplex road, in both together.
    pub rate_bps: u64,
    /// How long a byte is under way.
    pub latency_ms: u64,
    /// How much longer it may be.
    pub jitter_ms: u64,
    /// Of a thousand units, how many lose a frame: all behind it wait for the repetition.
    pub loss_permille: u64,
    /// Only one end sends at a time.
    pub half_duplex: bool,
    /// Whether the transport tells the rate.
    pub told: bool,
    /// Whether the ends prove who they are.
    pub proven: bool,
    /// Nothing sealed may pass.
    pub clear_only: bool,
    /// What a carriage buffers.
    pub room_bytes: u64,
    /// What is allowed, at each end.
    pub policies: [LinkPolicy; 2],
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            rate_bps: 10_000_000,
            latency_ms: 20,
            jitter_ms: 0,
            loss_permille: 0,
            half_duplex: false,
            told: false,
            proven: true,
            clear_only: false,
            room_bytes: 1 << 20,
            policies: [LinkPolicy::default(), LinkPolicy::default()],
        }
    }
}

/// A repetition on a lossy road comes after so long: what TCP waits at least, and three times that.
const REPEATED_AFTER_MS: (u64, u64) = (200, 600);

pub(crate) struct Road {
    pub ends: [usize; 2],
    pub wire: Wire,
    /// Whether links are to come up on it.
    pub open: bool,
    /// Nothing passes; nobody is told.
    pub dark: bool,
    pub live: Option<[LinkId; 2]>,
    pub dialling: bool,
    busy_until_us: [u64; 2],
}

/// One end of a link, and what it has sent.
pub(crate) struct End {
    pub node: usize,
    pub other: LinkId,
    pub road: usize,
    side: usize,
    under_way: VecDeque<Flight>,
    /// Given to the carriage while the road is dark.
    held: VecDeque<Bytes>,
    last_there_ms: u64,
    in_carriage: u64,
    /// Nothing leaves or reaches it any more, though it may not know.
    pub cut: bool,
    /// Its engine has been told, or has ended it.
    pub down: bool,
    /// The beginning of a unit that came before the cut.
    last_words: Option<Bytes>,
}

struct Flight {
    start_us: u64,
    there_ms: u64,
    unit: Bytes,
}

/// All roads and links of a world.
#[derive(Default)]
pub(crate) struct Roads {
    pub roads: Vec<Road>,
    pub ends: BTreeMap<LinkId, End>,
    last_link: u64,
    /// Bytes of units that were sent, with their lengths.
    pub bytes: u64,
}

impl Roads {
    pub fn add(&mut self, ends: [usize; 2], wire: Wire) -> RoadId {
        self.roads.push(Road {
            ends,
            wire,
            open: true,
            dark: false,
            live: None,
            dialling: false,
            busy_until_us: [0; 2],
        });
        RoadId(self.roads.len() - 1)
    }

    /// One on which no link comes up before it is opened.
    pub fn add_closed(&mut self, ends: [usize; 2], wire: Wire) -> RoadId {
        let road = self.add(ends, wire);
        self.roads[road.0].open = false;
        road
    }

    /// A link comes up: the numbers of its ends.
    pub fn connect(&mut self, road: usize, now_ms: u64) -> [LinkId; 2] {
        let links = [LinkId(self.last_link + 1), LinkId(self.last_link + 2)];
        self.last_link += 2;
        for side in [0, 1] {
            let end = End {
                node: self.roads[road].ends[side],
                other: links[1 - side],
                road,
                side,
                under_way: VecDeque::new(),
                held: VecDeque::new(),
                last_there_ms: 0,
                in_carriage: 0,
                cut: false,
                down: false,
                last_words: None,
            };
            self.ends.insert(links[side], end);
        }
        let road = &mut self.roads[road];
        (road.live, road.busy_until_us) = (Some(links), [now_ms * 1000; 2]);
        links
    }

    /// A unit is given to the carriage at one end. Returns what is wrong with that.
    pub fn transmit(
        &mut self,
        link: LinkId,
        (head, body): (Bytes, Bytes),
        time: &mut Timeline<Happening>,
        chance: &mut Chance,
    ) -> Option<String> {
        let end = self.ends.get_mut(&link)?;
        if end.cut || end.down {
            return None;
        }
        let unit = if body.is_empty() {
            head
        } else {
            let mut unit = BytesMut::with_capacity(head.len() + body.len());
            unit.extend_from_slice(&head);
            unit.extend_from_slice(&body);
            unit.freeze()
        };
        end.in_carriage += unit.len() as u64;
        let road = &self.roads[end.road];
        let most = road.wire.room_bytes + DEBT_MAX + UNIT_MAX as u64;
        let fault = if unit.len() > UNIT_MAX {
            Some(format!("a unit of {} bytes", unit.len()))
        } else if end.in_carriage > most {
            Some(format!("{} bytes in a carriage for {most}", end.in_carriage))
        } else {
            None
        };
        if road.dark {
            end.held.push_back(unit);
        } else {
            self.launch(link, unit, time, chance);
        }
        fault
    }

    fn launch(
        &mut self,
        link: LinkId,
        unit: Bytes,
        time: &mut Timeline<Happening>,
        chance: &mut Chance,
    ) {
        let Some(end) = self.ends.get_mut(&link) else { return };
        let road = &mut self.roads[end.road];
        let wire = &road.wire;
        let bytes = (unit.len() + length_prefix(unit.len()).len()) as u64;
        self.bytes += bytes;
        let busy = &mut road.busy_until_us[if wire.half_duplex { 0 } else { end.side }];
        let start_us = (*busy).max(time.now_ms() * 1000);
        *busy = start_us + bytes * 8_000_000 / wire.rate_bps.max(1);
        let left_ms = busy.div_ceil(1000);
        let mut there_ms = left_ms + wire.latency_ms + chance.below(wire.jitter_ms + 1);
        if chance.permille(wire.loss_permille) {
            there_ms += chance.within(REPEATED_AFTER_MS.0, REPEATED_AFTER_MS.1);
        }
        end.last_there_ms = end.last_there_ms.max(there_ms);
        let there_ms = end.last_there_ms;
        time.at(left_ms, Happening::Left { link, bytes: unit.len() as u64 });
        time.at(there_ms, Happening::There { link });
        end.under_way.push_back(Flight { start_us, there_ms, unit });
    }

    /// Bytes have left the carriage, if there still is one.
    pub fn left(&mut self, link: LinkId, bytes: u64) -> Option<usize> {
        let end = self.ends.get_mut(&link).filter(|end| !end.cut && !end.down)?;
        end.in_carriage = end.in_carriage.saturating_sub(bytes);
        Some(end.node)
    }

    /// A unit that this end sent is there: for which node, over which of its links.
    pub fn arrived(&mut self, link: LinkId, now_ms: u64) -> Option<(usize, LinkId, Bytes)> {
        let end = self.ends.get_mut(&link)?;
        if end.under_way.front()?.there_ms > now_ms {
            return None;
        }
        let unit = end.under_way.pop_front()?.unit;
        let other = end.other;
        let there = self.ends.get(&other).filter(|there| !there.down)?;
        Some((there.node, other, unit))
    }

    /// An engine ends its link: what it sent before still arrives, then the other hears of it.
    pub fn close(&mut self, link: LinkId, notice_ms: u64, time: &mut Timeline<Happening>) {
        let Some(end) = self.ends.get_mut(&link) else { return };
        if end.down {
            return;
        }
        end.down = true;
        let (other, road, there_ms) = (end.other, end.road, end.last_there_ms);
        let was_cut = end.cut;
        time.after(notice_ms, Happening::Echo { link, node: end.node });
        if self.roads[road].live.is_some_and(|live| live.contains(&link)) {
            self.roads[road].live = None;
        }
        if !was_cut {
            let latency_ms = self.roads[road].wire.latency_ms;
            let heard_ms = there_ms.max(time.now_ms() + latency_ms);
            time.at(heard_ms + 1, Happening::Down { link: other });
        }
        self.tidy(link);
    }

    /// The link of a road is cut, wherever its bytes are. Each end notices in its own time.
    pub fn cut(&mut self, road: usize, notice_ms: [u64; 2], time: &mut Timeline<Happening>) {
        let Some(links) = self.roads[road].live.take() else { return };
        let (now_ms, wire) = (time.now_ms(), self.roads[road].wire.clone());
        for side in [0, 1] {
            let Some(end) = self.ends.get_mut(&links[side]) else { continue };
            end.cut = true;
            end.held.clear();
            let flights = std::mem::take(&mut end.under_way);
            let first = flights.front();
            let came = first.and_then(|flight| came_of(flight, &wire, now_ms));
            if let Some(other) = self.ends.get_mut(&links[1 - side]) {
                other.last_words = came;
            }
        }
        for (link, ms) in links.into_iter().zip(notice_ms) {
            time.after(ms, Happening::Down { link });
        }
    }

    /// An end notices that its link is gone: its node, and what came last, if it is news.
    pub fn down(&mut self, link: LinkId) -> Option<(usize, Option<Bytes>)> {
        let end = self.ends.get_mut(&link)?;
        let news = !end.down;
        (end.down, end.cut) = (true, true);
        let (node, words, road) = (end.node, end.last_words.take(), end.road);
        if self.roads[road].live.is_some_and(|live| live.contains(&link)) {
            self.roads[road].live = None;
        }
        self.tidy(link);
        news.then_some((node, words))
    }

    /// The road is lit again: what waited goes, in order.
    pub fn light(&mut self, road: usize, time: &mut Timeline<Happening>, chance: &mut Chance) {
        self.roads[road].dark = false;
        for link in self.roads[road].live.into_iter().flatten() {
            let held = self.ends.get_mut(&link).map(|end| std::mem::take(&mut end.held));
            for unit in held.into_iter().flatten() {
                self.launch(link, unit, time, chance);
            }
        }
    }

    /// Forgets a link of which both ends know that it is gone.
    fn tidy(&mut self, link: LinkId) {
        let Some(end) = self.ends.get(&link) else { return };
        let other = end.other;
        if end.down && self.ends.get(&other).is_none_or(|other| other.down) {
            self.ends.remove(&link);
            self.ends.remove(&other);
        }
    }
}

/// What has come of a unit by now, if that is worth anything.
fn came_of(flight: &Flight, wire: &Wire, now_ms: u64) -> Option<Bytes> {
    let seen_us = (now_ms * 1000).saturating_sub(wire.latency_ms * 1000);
    let bytes = seen_us.saturating_sub(flight.start_us).saturating_mul(wire.rate_bps) / 8_000_000;
    let prefix = length_prefix(flight.unit.len());
    let whole = prefix.len() + flight.unit.len();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(whole - 1);
    let stream = [&prefix[..], &flight.unit[..]].concat();
    let mut deframer = Deframer::default();
    deframer.push(&stream[..bytes]);
    deframer.cut_unit()
}
