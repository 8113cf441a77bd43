//! Air without radios: modems that speak KISS over TCP on this machine, and one channel between them on
//! which a frame takes its time, collides with others, and gets lost.
//!
//! A modem listens before it sends. Who cannot hear whom is said beforehand: two that do not hear each
//! other speak at the same time, and neither is understood by whoever hears both.

use std::{
    collections::{BTreeSet, VecDeque},
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use postrider_base::lora::Lora;

const END: u8 = 0xc0;
const ESCAPE: u8 = 0xdb;
const ESCAPED_END: u8 = 0xdc;
const ESCAPED_ESCAPE: u8 = 0xdd;
/// What a modem holds of a frame that does not end.
const FRAME_MAX: usize = 4_096;
/// What one stores while the channel is busy.
const STORED_MAX: usize = 16;
/// Among so many slots a modem draws when it has found the channel busy.
const SLOTS: u64 = 8;

/// A channel.
pub struct Air {
    modems: Vec<SocketAddr>,
    tally: Arc<Mutex<Tally>>,
}

/// What the channel is like.
#[derive(Clone, Debug)]
pub struct AirSettings {
    /// How many modems there are.
    pub stations: usize,
    /// Pairs that do not hear each other.
    pub deaf: Vec<(usize, usize)>,
    /// Of a hundred frames so many are lost, at each who could hear them.
    pub lost_percent: u64,
    /// Where chance begins.
    pub seed: u64,
}

/// What was on the air.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Frames: by whom, and what they said.
    pub frames: Vec<(usize, Vec<u8>)>,
    /// How long all of them took.
    pub airtime: Duration,
    /// Times that somebody did not understand a frame, as others spoke at the same time.
    pub collided: u64,
    /// Times that somebody did not, by bad luck.
    pub lost: u64,
}

/// How the modems are set: the fastest that LoRa boards have, so that nobody waits long for a story.
const SPREADING: u8 = 7;
const BANDWIDTH_KHZ: u32 = 500;

enum Told {
    Modem(usize, TcpStream),
    Frame(usize, Vec<u8>),
}

/// A frame that is on the air.
struct Sending {
    from: usize,
    bytes: Vec<u8>,
    end: Instant,
    /// Who does not understand it.
    spoiled: BTreeSet<usize>,
}

struct Channel {
    settings: AirSettings,
    lora: Lora,
    modems: Vec<Option<TcpStream>>,
    stored: Vec<VecDeque<Vec<u8>>>,
    /// When each tries again, having found the channel busy.
    waits: Vec<Option<Instant>>,
    sending: Vec<Sending>,
    chance: u64,
    tally: Arc<Mutex<Tally>>,
}

impl Air {
    /// Begins. It ends with the program, or when all modems are closed and nobody dials them.
    pub fn start(settings: AirSettings) -> io::Result<Self> {
        let lora = Lora::new(SPREADING, BANDWIDTH_KHZ * 1_000, 5, 8).map_err(io::Error::other)?;
        let (tell, told) = channel();
        let mut modems = Vec::new();
        for n in 0..settings.stations {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            modems.push(listener.local_addr()?);
            let tell = tell.clone();
            thread::spawn(move || serve(n, &listener, &tell));
        }
        let tally = Arc::new(Mutex::new(Tally::default()));
        let none = || (0..settings.stations).map(|_| None);
        let channel = Channel {
            lora,
            modems: none().collect(),
            stored: vec![VecDeque::new(); settings.stations],
            waits: none().map(|_: Option<TcpStream>| None).collect(),
            sending: Vec::new(),
            chance: settings.seed,
            tally: Arc::clone(&tally),
            settings,
        };
        thread::spawn(move || channel.run(&told));
        Ok(Self { modems, tally })
    }

    /// The address of a modem, as `link add` takes it.
    pub fn address(&self, n: usize) -> String {
        let at = self.modems[n];
        format!(
            "serial+tcp://{at}?driver=kiss&raw=yes&listens=yes&\
             air=sf{SPREADING},bw{BANDWIDTH_KHZ},cr5"
        )
    }

    /// What was on the air so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One modem's plug: whoever connects to it has it.
fn serve(n: usize, listener: &TcpListener, tell: &Sender<Told>) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let Ok(copy) = stream.try_clone() else { continue };
        if tell.send(Told::Modem(n, copy)).is_err() {
            return;
        }
        let (mut bytes, mut frame, mut escaped) = ([0; 1024], Vec::new(), false);
        while let Ok(got @ 1..) = stream.read(&mut bytes) {
            for byte in &bytes[..got] {
                match (*byte, std::mem::take(&mut escaped)) {
                    (END, _) => {
                        // Of its commands only "send this" concerns the channel.
                        if frame.first() == Some(&0) && frame.len() > 1 {
                            let told = Told::Frame(n, frame.split_off(1));
                            if tell.send(told).is_err() {
                                return;
                            }
                        }
                        frame.clear();
                    }
                    (ESCAPE, _) => escaped = true,
                    (ESCAPED_END, true) => frame.push(END),
                    (ESCAPED_ESCAPE, true) => frame.push(ESCAPE),
                    (byte, _) if frame.len() < FRAME_MAX => frame.push(byte),
                    _ => {}
                }
            }
        }
    }
}

impl Channel {
    fn run(mut self, told: &Receiver<Told>) {
        loop {
            let now = Instant::now();
            self.end(now);
            self.begin(now);
            let ends = self.sending.iter().map(|it| it.end);
            let due = ends.chain(self.waits.iter().flatten().copied()).min();
            let next = match due {
                None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => told.recv_timeout(due.saturating_duration_since(now)),
            };
            match next {
                Ok(Told::Modem(n, stream)) => self.modems[n] = Some(stream),
                Ok(Told::Frame(n, frame)) => {
                    if self.stored[n].len() < STORED_MAX {
                        self.stored[n].push_back(frame);
                        self.waits[n].get_or_insert(now);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn hears(&self, n: usize, other: usize) -> bool {
        let deaf = &self.settings.deaf;
        n != other && !deaf.contains(&(n, other)) && !deaf.contains(&(other, n))
    }

    /// Frames whose time is over come to whoever understood them.
    fn end(&mut self, now: Instant) {
        let (over, still): (Vec<_>, Vec<_>) =
            self.sending.drain(..).partition(|sending| sending.end <= now);
        self.sending = still;
        for Sending { from, bytes, spoiled, .. } in over {
            for n in 0..self.modems.len() {
                if !self.hears(n, from) {
                    continue;
                }
                let is_lost = self.below(100) < self.settings.lost_percent;
                let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
                if spoiled.contains(&n) {
                    tally.collided += 1;
                } else if is_lost {
                    tally.lost += 1;
                } else {
                    drop(tally);
                    self.deliver(n, &bytes);
                }
            }
        }
    }

    fn deliver(&mut self, n: usize, bytes: &[u8]) {
        let mut out = vec![END, 0];
        for byte in bytes {
            match *byte {
                END => out.extend([ESCAPE, ESCAPED_END]),
                ESCAPE => out.extend([ESCAPE, ESCAPED_ESCAPE]),
                byte => out.push(byte),
            }
        }
        out.push(END);
        let gone = self.modems[n].as_mut().is_some_and(|modem| modem.write_all(&out).is_err());
        if gone {
            self.modems[n] = None;
        }
    }

    /// Modems that have something to send do, if they hear nobody.
    fn begin(&mut self, now: Instant) {
        for n in 0..self.modems.len() {
            if self.waits[n].is_none_or(|at| at > now) {
                continue;
            }
            let heard = self.sending.iter().filter(|it| it.from == n || self.hears(n, it.from));
            if let Some(end) = heard.map(|it| it.end).max() {
                let slot = Duration::from_micros(self.lora.start_us());
                let slots = u32::try_from(self.below(SLOTS)).unwrap_or(0);
                self.waits[n] = Some(end + slot * (slots + 1));
                continue;
            }
            let Some(bytes) = self.stored[n].pop_front() else {
                self.waits[n] = None;
                continue;
            };
            let airtime = Duration::from_micros(self.lora.air_us(bytes.len() as u64));
            // Who speaks hears nobody, and of two that overlap nothing is understood.
            let mut spoiled = BTreeSet::new();
            let hearers: Vec<usize> =
                (0..self.modems.len()).filter(|other| self.hears(*other, n)).collect();
            for sending in &mut self.sending {
                sending.spoiled.insert(n);
                sending.spoiled.extend(&hearers);
                spoiled.insert(sending.from);
            }
            for sending in &self.sending {
                spoiled.extend((0..self.modems.len()).filter(|it| self.hears(*it, sending.from)));
            }
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.frames.push((n, bytes.clone()));
            tally.airtime += airtime;
            drop(tally);
            self.sending.push(Sending { from: n, bytes, end: now + airtime, spoiled });
            self.waits[n] = Some(now + airtime);
        }
    }

    /// SplitMix64.
    fn below(&mut self, end: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}
