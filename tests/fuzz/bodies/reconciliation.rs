//! The steps of a reconciliation as a peer says them that keeps to no rule.
//!
//! The input is a script: what the peer says next, and when our own spool and thread answer. The peer
//! knows the session's key, as every peer does, so it can make symbols and hashes that fit: of its
//! own set, or of any items added up at will.

use std::collections::VecDeque;

use postrider_base::{BundleId, bundle::Hop, link::LinkFacts};
use postrider_engine::{
    exchange::{FEATURE_SKETCH, Hello, Unit},
    node::{
        Answer, Class, Destination, Engine, Input, Instance, LinkId, LinkPolicy, Local, Now,
        Output, Policy, Row, Seen, ShortId, Ticket,
    },
    reconcile::{ItemId, SessionKey, Sketcher, Symbol, Work, encode_batch},
    router::Flood,
};

use super::seeds::{alice, bob};

const LINK: LinkId = LinkId(1);
/// More than are offered without a reconciliation.
const ROWS: u8 = 100;
/// Longer than any step may take.
const PATIENCE_MS: u64 = 600_000;
/// What one script may do: every batch of symbols is work.
const ACTS_MAX: usize = 64;

/// What the next bytes of a script mean.
#[derive(Clone, Copy)]
enum Act {
    /// A step as it stands: length, bytes.
    Raw = 0,
    /// Our set, and how large it is said to be.
    Open = 1,
    Answer = 2,
    /// So many symbols of our set.
    Symbols = 3,
    /// One symbol for each two bytes, of which these items are left at the engine.
    Forged = 4,
    More = 5,
    /// These of the engine's rows.
    Ask = 6,
    Done = 7,
    Plain = 8,
    /// The engine's oldest question is answered, or fails.
    Reply = 9,
    /// Seconds pass.
    Wait = 10,
    /// A bundle arrives in the spool meanwhile.
    Arrive = 11,
}

/// A script against an engine: whether the link is still up at the end. However the peer behaves,
/// the engine asks its thread for one thing at a time, and unless both have agreed on the difference
/// everything is offered in the end.
pub fn reconciliation(data: &[u8]) -> bool {
    played(data).is_some_and(|(_, closed)| !closed)
}

/// How many bundles the engine has offered at the end, and whether it has closed the link.
pub fn played(data: &[u8]) -> Option<(usize, bool)> {
    let (&how, mut rest) = data.split_first()?;
    let mut play = Play::new(how % 2 == 1);
    for _ in 0..ACTS_MAX {
        if rest.is_empty() || play.closed {
            break;
        }
        rest = play.act(rest);
    }
    play.end();
    Some((play.offered, play.closed))
}

struct Play {
    engine: Engine,
    now_ms: u64,
    rows: Vec<Row>,
    pending: VecDeque<(Ticket, Asked)>,
    closed: bool,
    offered: usize,
    agreed: bool,
    /// The halves of the key; the engine's as it said last.
    share: [u8; 16],
    engine_share: [u8; 16],
    /// Whether the engine opened, so that it peels.
    engine_opened: bool,
    /// Of our set and of the engine's.
    sketchers: Option<[Sketcher; 2]>,
}

enum Asked {
    Rows { after: u64, limit: usize },
    Queue,
    Receipts,
    Work(Box<Work>),
}

impl Play {
    /// The link is up and both have said Hello; `known` with a cursor, so that the engine opens no
    /// session by itself.
    fn new(known: bool) -> Self {
        let instance = Instance([1; 4]);
        let node = alice().id();
        let local = Local { node, tag_keys: vec![], instance, policy: Policy::default() };
        let mut play = Self {
            engine: Engine::new(local, Box::new(Flood::new(node, vec![]))),
            now_ms: 1000,
            rows: (1..=ROWS).map(row).collect(),
            pending: VecDeque::new(),
            closed: false,
            offered: 0,
            agreed: false,
            share: [0x55; 16],
            engine_share: [0; 16],
            engine_opened: false,
            sketchers: None,
        };
        let mut facts = LinkFacts::stream("pipe:".parse().unwrap());
        facts.peer = Some(bob().id());
        let policy = LinkPolicy { keepalive: false, ..LinkPolicy::default() };
        play.feed(Input::LinkUp {
            link: LINK,
            facts,
            policy,
            room_bytes: 1 << 20,
            mine: None,
            theirs: None,
            random: [9; 16],
        });
        let seen = known.then_some(Seen { instance, ..Seen::default() });
        let instance = Instance([2; 4]);
        let hello = Hello { features: FEATURE_SKETCH, instance, seen, chunk_log2: 18, nice_max: 0 };
        play.say(&Unit::Hello(hello));
        play
    }

    /// Does one thing; what is left of the script.
    fn act<'a>(&mut self, script: &'a [u8]) -> &'a [u8] {
        let (act, rest) = script.split_at(1);
        let (byte, after) = rest.split_first().map_or((0, rest), |(byte, after)| (*byte, after));
        let (some, beyond) = after.split_at(usize::from(byte).min(after.len()));
        match act[0] % 12 {
            n if n == Act::Raw as u8 => {
                self.step(some);
                return beyond;
            }
            n if n == Act::Open as u8 || n == Act::Answer as u8 => {
                self.share = [byte; 16];
                (self.sketchers, self.engine_opened) = (None, n == Act::Answer as u8);
                self.step(&[&[n - 1][..], &self.share, &u32::from(ROWS).to_be_bytes()].concat());
                return after;
            }
            n if n == Act::Symbols as u8 => {
                let symbols: Vec<Symbol> = (0..=byte).map(|_| self.next().0).collect();
                self.step(&[&[2][..], &encode_batch(&symbols)].concat());
                return after;
            }
            n if n == Act::Forged as u8 => {
                let symbols: Vec<Symbol> = some.chunks(2).map(|mask| self.forged(mask)).collect();
                self.step(&[&[2][..], &encode_batch(&symbols)].concat());
                return beyond;
            }
            n if n == Act::More as u8 => self.step(&[3]),
            n if n == Act::Ask as u8 => {
                let hashes: Vec<u8> = some.iter().flat_map(|n| self.hash(item(*n))).collect();
                self.step(&[&[4][..], &hashes].concat());
                return beyond;
            }
            n if n == Act::Done as u8 => {
                self.agreed = true;
                self.step(&[5]);
            }
            n if n == Act::Plain as u8 => self.step(&[6]),
            n if n == Act::Reply as u8 => {
                self.reply(byte == 0xff);
                return after;
            }
            n if n == Act::Wait as u8 => {
                self.now_ms += u64::from(byte) * 1000;
                self.feed(Input::Timeout);
                return after;
            }
            _ => {
                let next = u8::try_from(self.rows.len() + 1).unwrap_or(u8::MAX);
                if next < u8::MAX {
                    self.rows.push(row(next));
                    self.feed(Input::Arrived { id: row(next).id });
                }
            }
        }
        rest
    }

    /// All is answered, and patience ends.
    fn end(&mut self) {
        for _ in 0..4 {
            while !self.pending.is_empty() {
                self.reply(false);
            }
            self.now_ms += PATIENCE_MS;
            self.feed(Input::Timeout);
        }
        assert!(self.pending.is_empty(), "a question without end");
        if !self.closed && !self.agreed {
            assert!(self.offered >= self.rows.len(), "{} offered", self.offered);
        }
    }

    fn step(&mut self, step: &[u8]) {
        self.say(&Unit::Sketch(step.to_vec().into()));
    }

    fn say(&mut self, unit: &Unit) {
        let (head, body) = unit.encode();
        self.feed(Input::Unit { link: LINK, unit: [head, body].concat().into() });
    }

    fn reply(&mut self, fails: bool) {
        let Some((ticket, asked)) = self.pending.pop_front() else { return };
        let upto = self.rows.len() as u64;
        let answer = match asked {
            _ if fails => Answer::Failed,
            Asked::Rows { after, limit } => {
                let behind = self.rows.iter().filter(|row| row.arrival > after);
                let rows: Vec<Row> = behind.clone().take(limit).cloned().collect();
                Answer::Rows { more: behind.count() > rows.len(), rows, upto }
            }
            Asked::Queue => Answer::Rows { rows: vec![], more: false, upto },
            Asked::Receipts => Answer::Receipts { list: vec![], more: false, upto: 0 },
            Asked::Work(work) => Answer::Sketched(Box::new(work.run())),
        };
        self.feed(Input::Done { ticket, answer });
    }

    fn feed(&mut self, input: Input) {
        if self.closed {
            return;
        }
        self.engine.handle(Now { mono_ms: self.now_ms, held_ms: self.now_ms }, input);
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send { head, body, .. } => {
                    let unit = Unit::decode(&[head, body].concat().into());
                    self.hear(unit.expect("what an engine says is a unit"));
                }
                Output::Since { ticket, after, limit } => {
                    self.pending.push_back((ticket, Asked::Rows { after, limit }));
                }
                Output::Page { ticket, .. } => self.pending.push_back((ticket, Asked::Queue)),
                Output::ReceiptsSince { ticket, .. } => {
                    self.pending.push_back((ticket, Asked::Receipts));
                }
                Output::Sketch { ticket, work } => {
                    self.pending.push_back((ticket, Asked::Work(work)));
                }
                Output::Close { .. } => {
                    self.closed = true;
                    self.pending.clear();
                }
                _ => {}
            }
        }
    }

    fn hear(&mut self, unit: Unit) {
        match unit {
            Unit::Offer(list) => self.offered += list.len(),
            Unit::Sketch(step) => match step.first() {
                Some(0 | 1) => {
                    self.engine_share.copy_from_slice(&step[1..17]);
                    (self.sketchers, self.engine_opened) = (None, step[0] == 0);
                }
                Some(5) => self.agreed = true,
                _ => {}
            },
            _ => {}
        }
    }

    /// Whoever peels comes first in it.
    fn key(&self) -> SessionKey {
        let (ours, theirs) = (self.share, self.engine_share);
        let both = if self.engine_opened { [theirs, ours] } else { [ours, theirs] }.concat();
        let whole = blake3::derive_key("postrider 2026 reconcile session v1", &both);
        SessionKey(whole[..16].try_into().unwrap())
    }

    /// The next symbol of our set, which lacks eight of the engine's and has eight more; and of the
    /// engine's own, of which nothing is left there.
    fn next(&mut self) -> (Symbol, Symbol) {
        let key = self.key();
        let sets = || [9..=ROWS + 8, 1..=ROWS].map(|set| Sketcher::new(key, set.map(item)));
        let sketchers = self.sketchers.get_or_insert_with(|| sets().map(Result::unwrap));
        let [ours, same] =
            sketchers.each_mut().map(|s| s.next_symbol().expect("far from the last"));
        (ours, same)
    }

    /// A symbol of which these items are left at the engine: one for each bit.
    fn forged(&mut self, mask: &[u8]) -> Symbol {
        let (_, mut symbol) = self.next();
        for bit in (0..mask.len() * 8).filter(|bit| mask[bit / 8] >> (bit % 8) & 1 == 1) {
            symbol ^= self.alone(item(u8::try_from(bit).unwrap()));
        }
        symbol
    }

    fn alone(&self, item: ItemId) -> Symbol {
        // Every item is in the first symbol.
        Sketcher::new(self.key(), [item]).unwrap().next_symbol().unwrap()
    }

    fn hash(&self, item: ItemId) -> [u8; 8] {
        encode_batch(&[self.alone(item)])[..8].try_into().unwrap()
    }
}

fn row(n: u8) -> Row {
    let mut id = [n; 32];
    id[31] = 0;
    Row {
        id: BundleId(id),
        destination: Destination::Group([0; 16]),
        tagged_for: None,
        source: None,
        nice: 160,
        lifetime_s: u32::MAX,
        length: 100,
        hop: Hop::fresh(),
        class: Class::Own,
        from: None,
        arrived_held_ms: 0,
        arrival: u64::from(n),
    }
}

fn item(n: u8) -> ItemId {
    ShortId::of(&row(n).id).0
}

/// The peer opens and peels; the engine peels, honest symbols and made-up ones; the plain list.
pub fn reconciliation_seeds() -> Vec<Vec<u8>> {
    let reply = [Act::Reply as u8, 0];
    let replies = reply.repeat(4);
    let ask = [Act::Ask as u8, 3, 1, 2, 3];
    let peels = [
        &[1][..],
        &replies,
        &[Act::Open as u8, 7],
        &replies,
        &[Act::More as u8],
        &reply,
        &[Act::More as u8],
        &reply,
        &ask,
        &[Act::Done as u8],
    ]
    .concat();
    let peeled = [
        &[0][..],
        &replies,
        &[Act::Answer as u8, 7, Act::Symbols as u8, 0],
        &reply,
        &[Act::Symbols as u8, 7],
        &reply,
        &[Act::Symbols as u8, 60],
        &reply,
        &[Act::Arrive as u8],
        &reply,
    ]
    .concat();
    // One item is left, which is the difference; two, of which one is left where it cannot be.
    let begun = [&[0][..], &replies, &[Act::Answer as u8, 9]].concat();
    let forged = [&begun[..], &[Act::Forged as u8, 2, 0b10, 0], &reply].concat();
    let contradicting = [
        &begun[..],
        &[Act::Forged as u8, 2, 0b110, 0],
        &reply,
        &[Act::Forged as u8, 2, 0b10, 0],
        &reply,
    ]
    .concat();
    let plain = [&[0][..], &replies, &[Act::Plain as u8]].concat();
    vec![peels, peeled, forged, contradicting, plain]
}
