//! Meetings: who is near whom, and when, as a contact trace lists them.
//!
//! ```text
//! start end a b              seconds, two nodes: one meeting a line
//! time CONN a b up|down      the same as events, as the ONE simulator writes them
//! ```
//!
//! Nodes have whatever names and are numbered as they appear. Empty lines and those that begin with
//! `#` say nothing. A pair that meets while it meets does so once, for as long as either lasts.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read},
};

use crate::{
    letters::NODES_MAX,
    roads::{RoadId, Wire},
    world::{Happening, World},
};

/// Meetings of one trace: a crowd of ten thousand for some days.
pub const MEETINGS_MAX: usize = 20_000_000;
/// Bytes of one line.
const LINE_MAX: u64 = 512;
/// The end of time, in seconds: a century.
const TIME_MAX_S: f64 = 3_155_760_000.0;

/// Two nodes are near each other for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Meeting {
    /// When it begins, in milliseconds from the start of the trace.
    pub begin_ms: u64,
    /// When it ends; later than that.
    pub end_ms: u64,
    /// Who meets, the lower number first.
    pub ends: [usize; 2],
}

/// All meetings of a crowd, in the order in which they begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meetings {
    list: Vec<Meeting>,
    nodes: usize,
}

/// What is wrong with a trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// It cannot be read.
    #[error("the trace cannot be read")]
    Read(#[source] io::Error),
    /// A line is neither form.
    #[error("line {line}: {what}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There are more of these than a world has room for.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Nodes or meetings.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// Nobody meets anybody.
    #[error("the trace has no meetings")]
    Empty,
}

impl Meetings {
    /// Reads a trace to its end.
    pub fn read(mut from: impl BufRead) -> Result<Self, TraceError> {
        let mut reading = Reading::default();
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let got = from.by_ref().take(LINE_MAX).read_until(b'\n', &mut text);
            if got.map_err(TraceError::Read)? == 0 {
                break;
            }
            let bad = |what| TraceError::Line { line, what };
            if text.len() as u64 == LINE_MAX && text.last() != Some(&b'\n') {
                return Err(bad("is too long"));
            }
            let text = std::str::from_utf8(&text).map_err(|_| bad("is no text"))?;
            let words: Vec<&str> = text.split_whitespace().collect();
            match words[..] {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                [time, "CONN", a, b, change] => {
                    let (at, pair) = (ms(time).map_err(bad)?, reading.pair(a, b)?);
                    let pair = pair.ok_or_else(|| bad("a node meets itself"))?;
                    match change {
                        "up" => reading.up(pair, at)?,
                        "down" => reading.down(pair, at)?,
                        _ => return Err(bad("neither up nor down")),
                    }
                }
                [start, end, a, b] => {
                    let (start, end) = (ms(start).map_err(bad)?, ms(end).map_err(bad)?);
                    let pair = reading.pair(a, b)?.ok_or_else(|| bad("a node meets itself"))?;
                    if end < start {
                        return Err(bad("ends before it starts"));
                    }
                    reading.meet(pair, start, end)?;
                }
                _ => return Err(bad("is neither `start end a b` nor `time CONN a b up`")),
            }
        }
        reading.finish()
    }

    /// Of so many nodes, numbered.
    pub fn of(nodes: usize, meetings: Vec<Meeting>) -> Result<Self, TraceError> {
        if meetings.len() > MEETINGS_MAX {
            return Err(TraceError::TooMany { what: "meetings", limit: MEETINGS_MAX });
        }
        let mut pairs: BTreeMap<[usize; 2], Vec<(u64, u64)>> = BTreeMap::new();
        for Meeting { begin_ms, end_ms, ends } in meetings {
            if begin_ms < end_ms && ends[0] < ends[1] && ends[1] < nodes {
                pairs.entry(ends).or_default().push((begin_ms, end_ms));
            }
        }
        let list = merged(pairs);
        if list.is_empty() { Err(TraceError::Empty) } else { Ok(Self { list, nodes }) }
    }

    /// Meetings in the order in which they begin.
    pub fn list(&self) -> &[Meeting] {
        &self.list
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// When the first begins and the last ends.
    pub fn span_ms(&self) -> (u64, u64) {
        let begin = self.list.first().map_or(0, |meeting| meeting.begin_ms);
        (begin, self.list.iter().map(|meeting| meeting.end_ms).max().unwrap_or(begin))
    }
}

/// A trace that is being read.
#[derive(Default)]
struct Reading {
    numbers: BTreeMap<String, usize>,
    pairs: BTreeMap<[usize; 2], Vec<(u64, u64)>>,
    /// Meetings that have begun.
    open: BTreeMap<[usize; 2], u64>,
    count: usize,
    last_ms: u64,
}

impl Reading {
    /// `None`: the two are one.
    fn pair(&mut self, a: &str, b: &str) -> Result<Option<[usize; 2]>, TraceError> {
        let mut number = |name: &str| {
            if let Some(number) = self.numbers.get(name) {
                return Ok(*number);
            }
            let number = self.numbers.len();
            if number == NODES_MAX {
                return Err(TraceError::TooMany { what: "nodes", limit: NODES_MAX });
            }
            self.numbers.insert(name.to_owned(), number);
            Ok(number)
        };
        let (a, b) = (number(a)?, number(b)?);
        Ok((a != b).then_some([a.min(b), a.max(b)]))
    }

    fn meet(&mut self, pair: [usize; 2], start: u64, end: u64) -> Result<(), TraceError> {
        self.count += 1;
        self.bounded()?;
        self.last_ms = self.last_ms.max(end);
        if end > start {
            self.pairs.entry(pair).or_default().push((start, end));
        }
        Ok(())
    }

    fn up(&mut self, pair: [usize; 2], at: u64) -> Result<(), TraceError> {
        self.last_ms = self.last_ms.max(at);
        self.open.entry(pair).or_insert(at);
        self.bounded()
    }

    fn bounded(&self) -> Result<(), TraceError> {
        if self.count + self.open.len() > MEETINGS_MAX {
            return Err(TraceError::TooMany { what: "meetings", limit: MEETINGS_MAX });
        }
        Ok(())
    }

    fn down(&mut self, pair: [usize; 2], at: u64) -> Result<(), TraceError> {
        match self.open.remove(&pair) {
            Some(start) => self.meet(pair, start, at.max(start)),
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<Meetings, TraceError> {
        let last_ms = self.last_ms;
        for (pair, start) in std::mem::take(&mut self.open) {
            self.meet(pair, start, last_ms)?;
        }
        let (list, nodes) = (merged(self.pairs), self.numbers.len());
        if list.is_empty() { Err(TraceError::Empty) } else { Ok(Meetings { list, nodes }) }
    }
}

/// What overlaps is one meeting.
fn merged(pairs: BTreeMap<[usize; 2], Vec<(u64, u64)>>) -> Vec<Meeting> {
    let mut list = Vec::new();
    for (ends, mut spans) in pairs {
        spans.sort_unstable();
        let mut spans = spans.into_iter();
        let Some(mut now) = spans.next() else { continue };
        for next in spans {
            if next.0 <= now.1 {
                now.1 = now.1.max(next.1);
            } else {
                list.push(Meeting { begin_ms: now.0, end_ms: now.1, ends });
                now = next;
            }
        }
        list.push(Meeting { begin_ms: now.0, end_ms: now.1, ends });
    }
    list.sort_unstable();
    list
}

/// Seconds, whole or with a fraction, as milliseconds.
fn ms(text: &str) -> Result<u64, &'static str> {
    let seconds: f64 = text.parse().map_err(|_| "a time is no number")?;
    if !(0.0..=TIME_MAX_S).contains(&seconds) {
        return Err("a time is negative or beyond a century");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in this range")]
    Ok((seconds * 1000.0).round() as u64)
}

impl World {
    /// Settles a crowd that meets as listed, from now on, over roads like this.
    pub fn play(&mut self, meetings: &Meetings, wire: &Wire) {
        let first = self.nodes.len();
        self.settle_many(meetings.nodes());
        let mut roads: BTreeMap<[usize; 2], RoadId> = BTreeMap::new();
        let now_ms = self.now_ms();
        for meeting in &meetings.list {
            let road = *roads.entry(meeting.ends).or_insert_with(|| {
                let ends = meeting.ends.map(|at| first + at);
                self.roads.add_closed(ends, wire.clone())
            });
            self.time.at(now_ms + meeting.begin_ms, Happening::Meet { road: road.0 });
            self.time.at(now_ms + meeting.end_ms, Happening::Part { road: road.0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Nature, Wish};

    fn read(text: &str) -> Result<Meetings, TraceError> {
        Meetings::read(text.as_bytes())
    }

    #[test]
    fn both_forms_say_the_same() {
        let plain = read("# who met\n0 20 ann bob\n\n10 30.5 carl ann\n40 60 bob ann").unwrap();
        let events = "0 CONN ann bob up\n10 CONN carl ann up\n20 CONN ann bob down\n\
                      30.5 CONN ann carl down\n40 CONN ann bob up\n60 CONN bob ann down\n";
        assert_eq!(plain, read(events).unwrap());
        assert_eq!((plain.nodes(), plain.span_ms()), (3, (0, 60_000)));
        assert_eq!(plain.list()[1], Meeting { begin_ms: 10_000, end_ms: 30_500, ends: [0, 2] });
    }

    #[test]
    fn meetings_of_a_pair_that_overlap_are_one_and_what_never_ends_ends_with_the_last() {
        let trace = read("5 10 a b\n8 20 b a\n20 25 a b\n30 40 a b").unwrap();
        let spans: Vec<_> = trace.list().iter().map(|m| (m.begin_ms, m.end_ms)).collect();
        assert_eq!(spans, [(5000, 25_000), (30_000, 40_000)]);
        let trace = read("0 CONN a b up\n0 CONN c d up\n9 CONN c d down").unwrap();
        assert_eq!(trace.list().iter().map(|m| m.end_ms).collect::<Vec<_>>(), [9000, 9000]);
    }

    #[test]
    fn what_is_no_trace_is_refused_with_its_line() {
        let long = format!("{}\n", "7 ".repeat(400));
        for (text, expected) in [
            ("0 1 a a", "line 1: a node meets itself"),
            ("0 1 a b\n5 1 a b", "line 2: ends before it starts"),
            ("0 1 a", "line 1: is neither `start end a b` nor `time CONN a b up`"),
            ("x 1 a b", "line 1: a time is no number"),
            ("NaN 1 a b", "line 1: a time is negative or beyond a century"),
            ("-1 1 a b", "line 1: a time is negative or beyond a century"),
            ("0 CONN a b sideways", "line 1: neither up nor down"),
            ("# nobody", "the trace has no meetings"),
            (&long, "line 1: is too long"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), expected, "{text:.40}");
        }
        let many: String = (0..=NODES_MAX).map(|n| format!("0 1 a{n} b{n}\n")).collect();
        assert!(matches!(read(&many), Err(TraceError::TooMany { what: "nodes", .. })));
    }

    #[test]
    fn mail_goes_with_those_who_meet() {
        let mut world = World::new(3, Nature::default());
        // Bob meets Ann first and Carl later; Dora meets Carl too early.
        world.play(
            &read("10 20 carl dora\n100 120 ann bob\n300 320 bob carl").unwrap(),
            &Wire::default(),
        );
        let sent: Vec<_> = [0, 1].map(|to| world.send(2, to, Wish::default()).unwrap()).into();
        world.pass(99_000).unwrap();
        assert_eq!(world.transmissions(), 0);
        world.pass(100_000).unwrap();
        assert_eq!(world.transmissions(), 2);
        world.pass(200_000).unwrap();
        assert_eq!(sent.iter().map(|id| world.has_arrived(id)).collect::<Vec<_>>(), [true, false]);
        let told: Vec<_> = world.fates().map(|fate| (fate.to, fate.took_ms())).collect();
        let arrived = told.iter().find(|(to, _)| *to == 0).unwrap().1.unwrap();
        assert!((300_000..302_000).contains(&arrived), "{arrived}");
        assert!(told.contains(&(1, None)));
    }
}
