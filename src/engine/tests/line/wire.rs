//! Two ends and a wire between them, in simulated time: it loses, damages, swallows and delays bytes.

use std::collections::VecDeque;

use postrider_engine::carriage::line::{Duplex, Line, Settings, State};

/// Chance that a seed decides.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn happens(&mut self, probability: f64) -> bool {
        (self.next() >> 11) as f64 / ((1u64 << 53) as f64) < probability
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    pub fn sixteen(&mut self) -> [u8; 16] {
        self.bytes(16).try_into().unwrap()
    }
}

/// What a wire does to bytes.
#[derive(Clone, Debug)]
pub struct Faults {
    pub bits_per_s: u64,
    pub latency_ms: u64,
    /// Probability that a bit is turned.
    pub bit_errors: f64,
    /// Probability that a byte is lost.
    pub losses: f64,
    /// Probability that noise begins with a byte, for the time of 2 to 200.
    pub bursts: f64,
    pub swallowed: Vec<u8>,
    pub seven_bits: bool,
    /// One is heard at a time, and needs so long to hear after it spoke.
    pub turn_ms: Option<u64>,
    /// From, to: nothing comes through, both ways.
    pub cuts: Vec<(u64, u64)>,
}

impl Faults {
    pub fn none() -> Self {
        Self {
            bits_per_s: 115_200,
            latency_ms: 5,
            bit_errors: 0.0,
            losses: 0.0,
            bursts: 0.0,
            swallowed: Vec::new(),
            seven_bits: false,
            turn_ms: None,
            cuts: Vec::new(),
        }
    }
}

/// One direction.
#[derive(Debug)]
struct Way {
    /// Nanoseconds at which the port has sent what it was given.
    free_ns: u64,
    bytes: VecDeque<(u64, u8)>,
    /// Until then there is noise.
    burst_ns: u64,
    /// When its last byte was out; nanoseconds.
    spoke_ns: u64,
    pub carried: u64,
}

/// Both ends, both directions.
pub struct Wire {
    pub now_ms: u64,
    pub lines: [Line; 2],
    pub faults: Faults,
    pub settings: Settings,
    pub chance: Chance,
    ways: [Way; 2],
    /// What each end read.
    pub came: [Vec<u8>; 2],
    /// When its first and last byte were read.
    pub first_last_ms: [Option<(u64, u64)>; 2],
    /// Bytes of the first read: they came at the first moment, not after it.
    pub first_bytes: [usize; 2],
    /// What each is still to write.
    pub to_write: [Vec<u8>; 2],
    pub closes: [bool; 2],
    pub reads: [bool; 2],
    /// It is asked for bytes only when something happened, its port became free, or its time came: as
    /// by a shell that sleeps.
    stirred: [bool; 2],
}

impl Wire {
    pub fn new(faults: Faults, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let duplex = faults.turn_ms.map_or(Duplex::Full, |turn_ms| Duplex::Half { turn_ms });
        let settings = Settings { duplex, ..Settings::new(faults.bits_per_s as u32) };
        let lines = [0, 1].map(|_| Line::new(settings, chance.sixteen(), 0));
        let way =
            || Way { free_ns: 0, bytes: VecDeque::new(), burst_ns: 0, spoke_ns: 0, carried: 0 };
        Self {
            now_ms: 0,
            lines,
            faults,
            settings,
            chance,
            ways: [way(), way()],
            came: [Vec::new(), Vec::new()],
            first_last_ms: [None; 2],
            first_bytes: [0; 2],
            to_write: [Vec::new(), Vec::new()],
            closes: [false; 2],
            reads: [true; 2],
            stirred: [true; 2],
        }
    }

    /// Bytes that an end gave its port.
    pub fn carried(&self, end: usize) -> u64 {
        self.ways[end].carried
    }

    /// An end begins anew, and its program with it.
    pub fn restart(&mut self, end: usize) {
        let random = self.chance.sixteen();
        self.lines[end] = Line::new(self.settings, random, self.now_ms);
        self.stirred[end] = true;
        self.came[end].clear();
    }

    /// Bytes that nobody sent arrive at an end.
    pub fn inject(&mut self, end: usize, bytes: &[u8]) {
        self.stirred[end] = true;
        self.lines[end].receive(self.now_ms, bytes);
    }

    /// One millisecond.
    pub fn step(&mut self) {
        for end in [0, 1] {
            let taken = self.lines[end].write(&self.to_write[end]);
            self.to_write[end].drain(..taken);
            self.stirred[end] |= taken > 0;
            if self.closes[end] && self.to_write[end].is_empty() {
                self.closes[end] = false;
                self.lines[end].close();
                self.stirred[end] = true;
            }
            self.send(end);
        }
        self.now_ms += 1;
        for end in [0, 1] {
            self.arrive(end);
            self.read(end);
        }
    }

    /// Steps until something holds; whether it did within so many milliseconds.
    pub fn run_until(&mut self, most_ms: u64, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let end_ms = self.now_ms + most_ms;
        while self.now_ms < end_ms {
            if holds(self) {
                return true;
            }
            self.step();
        }
        holds(self)
    }

    pub fn states(&self) -> [State; 2] {
        [self.lines[0].state(), self.lines[1].state()]
    }

    fn send(&mut self, end: usize) {
        let byte_ns = 10_000_000_000 / self.faults.bits_per_s;
        let now_ns = self.now_ms * 1_000_000;
        let way = &mut self.ways[end];
        way.free_ns = way.free_ns.max(now_ns);
        // The port holds what it can send in the next two milliseconds, and a byte.
        let room = (now_ns + 2_000_000 + byte_ns).saturating_sub(way.free_ns) / byte_ns;
        let is_time = self.lines[end].next_timeout().is_some_and(|at| at <= self.now_ms);
        if room == 0 || !self.stirred[end] && !is_time {
            return;
        }
        let mut out = Vec::new();
        self.lines[end].transmit(self.now_ms, room as usize, &mut out);
        assert!(out.len() as u64 <= room);
        self.stirred[end] = out.len() as u64 == room;
        for byte in out {
            way.free_ns += byte_ns;
            way.carried += 1;
            way.spoke_ns = way.free_ns;
            let at_ns = way.free_ns + self.faults.latency_ms * 1_000_000;
            let is_cut =
                self.faults.cuts.iter().any(|(from, to)| (*from..*to).contains(&self.now_ms));
            if is_cut || self.chance.happens(self.faults.losses) {
                continue;
            }
            if self.chance.happens(self.faults.bursts) {
                way.burst_ns = way.free_ns + (1 + self.chance.below(199)) * byte_ns;
            }
            let mut byte = byte;
            if way.free_ns <= way.burst_ns {
                byte = self.chance.next() as u8;
            }
            if self.faults.bit_errors > 0.0 {
                for bit in 0..8 {
                    byte ^= u8::from(self.chance.happens(self.faults.bit_errors)) << bit;
                }
            }
            if self.faults.seven_bits {
                byte &= 0x7f;
            }
            if !self.faults.swallowed.contains(&byte) {
                way.bytes.push_back((at_ns, byte));
            }
        }
    }

    fn arrive(&mut self, end: usize) {
        let way = &mut self.ways[1 - end];
        let due = way.bytes.iter().take_while(|(at, _)| *at <= self.now_ms * 1_000_000).count();
        let bytes: Vec<(u64, u8)> = way.bytes.drain(..due).collect();
        // What comes while an end speaks, or shortly after, is not heard.
        let spoke_ns = self.ways[end].spoke_ns;
        let is_heard = |at_ns: u64| match self.faults.turn_ms {
            Some(turn_ms) => spoke_ns == 0 || at_ns >= spoke_ns + turn_ms * 1_000_000,
            None => true,
        };
        let heard = bytes.into_iter().filter(|(at_ns, _)| is_heard(*at_ns));
        let bytes: Vec<u8> = heard.map(|(_, byte)| byte).collect();
        self.stirred[end] |= !bytes.is_empty();
        self.lines[end].receive(self.now_ms, &bytes);
    }

    fn read(&mut self, end: usize) {
        let mut out = [0; 4096];
        while self.reads[end] {
            let bytes = self.lines[end].read(&mut out);
            if bytes == 0 {
                break;
            }
            self.stirred[end] = true;
            if self.first_bytes[end] == 0 {
                self.first_bytes[end] = bytes;
            }
            let first = self.first_last_ms[end].map_or(self.now_ms, |(first, _)| first);
            self.first_last_ms[end] = Some((first, self.now_ms));
            self.came[end].extend_from_slice(&out[..bytes]);
        }
    }

    /// What an end read between the first and the last byte, in percent of what the line carries.
    pub fn percent(&self, end: usize) -> f64 {
        let (first, last) = self.first_last_ms[end].unwrap();
        let bits = (self.came[end].len() - self.first_bytes[end]) as f64 * 10.0;
        bits / (last - first) as f64 * 1000.0 / self.faults.bits_per_s as f64 * 100.0
    }
}
