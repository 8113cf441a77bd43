//! Two ends find each other, or notice that the other began anew.
//!
//! An end says hello until it knows that it was heard: until a hello names its session, or any frame
//! of the session of both arrives. Such a frame answers a hello that needs no hello in return.

use std::cmp::Ordering;

use super::{
    coding::Coding,
    framing::{Frame, Hello, Key, Session, judge_ramp},
};

/// Until a hello is said again; then half as long again each time. More than a round trip by
/// satellite.
const AGAIN_FIRST_MS: u64 = 700;
/// One who plugs in the cable waits no longer.
const AGAIN_MAX_MS: u64 = 5_000;
/// A ramp that is damaged by chance would cost a coding for good: so it is tried again, until the
/// other end said so often that it does not come through.
const REFUSALS: u8 = 3;

/// A session number with this bit set is that of an end that can call: it knows whom it expects.
const CALLS: Session = 1;

/// Which end begins what runs on the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// This one.
    Ours,
    /// The other.
    Theirs,
    /// Neither can: both only answer.
    Nobody,
}

/// What a hello from the other end means.
#[derive(Debug, PartialEq, Eq)]
pub enum Met {
    /// It is the one that we know.
    Known,
    /// It is new to an end that is not open yet: what was sent to another is not on its way any more.
    New,
    /// The other end began anew, and what we had with it is over.
    Restarted,
    /// It is our own: the line gives back what it is given, and nobody is there.
    Echo,
}

/// What is known of both ends.
#[derive(Debug)]
pub struct Opening {
    ours: Session,
    theirs: Option<Session>,
    is_open: bool,
    /// When to say hello; `None` while there is no need.
    hello_at: Option<u64>,
    /// The other end waits for that hello, whether it is open or not.
    owed: bool,
    again_ms: u64,
    /// What we said of theirs.
    told: Option<Coding>,
    was_doubting: bool,
    refusals: u8,
    said_at: Option<u64>,
    /// What came through of theirs, at best.
    heard: Option<Coding>,
    /// What they say of ours.
    ours_heard: Coding,
    jitter: u64,
}

impl Opening {
    /// Says hello as soon as it may. `calls`: this end can begin what runs on the pipe.
    pub fn new(random: [u8; 16], calls: bool, now_ms: u64) -> Self {
        let [a, b, c, d, e, ..] = random;
        let number = u32::from_be_bytes([a, b, c, d]) & !CALLS;
        Self {
            ours: if calls { number | CALLS } else { number.max(CALLS << 1) },
            theirs: None,
            is_open: false,
            hello_at: Some(now_ms),
            owed: false,
            again_ms: AGAIN_FIRST_MS,
            told: None,
            was_doubting: false,
            refusals: 0,
            said_at: None,
            heard: None,
            ours_heard: Coding::Plain,
            jitter: u64::from(e),
        }
    }

    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Who begins, once the other end is known: whoever can; if both can, the higher number.
    pub fn caller(&self) -> Option<Caller> {
        let theirs = self.theirs?;
        let calls = |session: Session| (session & CALLS, session);
        Some(match calls(self.ours).cmp(&calls(theirs)) {
            _ if (self.ours | theirs) & CALLS == 0 => Caller::Nobody,
            Ordering::Greater => Caller::Ours,
            // Equal ones never meet: that would be an echo.
            Ordering::Less | Ordering::Equal => Caller::Theirs,
        })
    }

    /// What we write begins with this; `None` while nobody is there to read it.
    pub fn outgoing(&self) -> Option<Key> {
        self.theirs.map(|theirs| Key::of(self.ours, theirs))
    }

    pub fn incoming(&self) -> Option<Key> {
        self.theirs.map(|theirs| Key::of(theirs, self.ours))
    }

    /// The coding that comes through at the other end.
    pub fn coding(&self) -> Coding {
        self.ours_heard
    }

    pub fn next_timeout(&self) -> Option<u64> {
        self.hello_at
    }

    /// It heard us.
    pub fn knows_us(&self, hello: Hello) -> bool {
        hello.echo == Some(self.ours)
    }

    /// The other end is there, and knows us. The time since our last hello, if that is news.
    pub fn open(&mut self, now_ms: u64) -> Option<u64> {
        if self.is_open {
            return None;
        }
        self.is_open = true;
        self.hello_at = self.hello_at.filter(|_| self.owed || self.doubts());
        self.said_at.map(|said| now_ms.saturating_sub(said))
    }

    /// The hello that is due.
    pub fn poll_hello(&mut self, now_ms: u64) -> Option<Frame> {
        if self.hello_at.is_none_or(|at| now_ms < at) {
            return None;
        }
        self.owed = false;
        self.told = self.heard;
        self.said_at = Some(now_ms);
        // Two who always speak at the same time would not hear each other on some lines.
        let jitter_ms = self.again_ms * self.jitter / 1024;
        self.jitter = (self.jitter * 5 + 3) % 256;
        let doubts = self.doubts();
        let again = !self.is_open || doubts;
        self.hello_at = again.then_some(now_ms + self.again_ms + jitter_ms);
        self.again_ms = (self.again_ms * 3 / 2).min(AGAIN_MAX_MS);
        let (session, echo, heard) = (self.ours, self.theirs, self.heard);
        Some(Frame::Hello(Hello { session, echo, heard, doubts }))
    }

    fn doubts(&self) -> bool {
        self.ours_heard != Coding::Plain && self.refusals < REFUSALS
    }

    /// A hello came, and before it a piece that may be what is left of a ramp.
    pub fn handle_hello(&mut self, now_ms: u64, hello: Hello, ramp: &[u8]) -> Met {
        if hello.session == self.ours {
            return Met::Echo;
        }
        let met = match self.theirs {
            Some(theirs) if theirs == hello.session => Met::Known,
            Some(_) if self.is_open => return Met::Restarted,
            _ => Met::New,
        };
        if met == Met::New {
            (self.heard, self.told) = (None, None);
        }
        self.theirs = Some(hello.session);
        let judged = judge_ramp(ramp);
        self.heard = Some(self.heard.map_or(judged, |before| before.min(judged)));
        if let Some(heard) = hello.heard {
            self.ours_heard = heard;
            self.refusals += u8::from(self.doubts());
        }
        // One that opens with the first ramp that comes through needs no answer to its hello.
        let is_bad_news = self.heard != Some(Coding::Plain) && self.told != self.heard;
        let unheard = hello.echo != Some(self.ours);
        if unheard || is_bad_news || hello.doubts || self.doubts() && !self.was_doubting {
            (self.hello_at, self.owed) = (Some(now_ms), true);
        }
        self.was_doubting = self.doubts();
        if self.is_open && !self.owed && !self.doubts() {
            self.hello_at = None;
        }
        met
    }
}

#[cfg(test)]
mod tests {
    use super::{super::framing::RAMP, *};

    fn ends() -> [Opening; 2] {
        [1, 2].map(|n| Opening::new([n; 16], n == 2, 0))
    }

    fn said(end: &mut Opening, now_ms: u64) -> Option<Hello> {
        match end.poll_hello(now_ms) {
            Some(Frame::Hello(hello)) => Some(hello),
            _ => None,
        }
    }

    #[test]
    fn two_hellos_open_both_ends_where_one_listens() {
        let [mut a, mut b] = ends();
        let hello = said(&mut a, 0).unwrap();
        assert_eq!((hello.echo, b.handle_hello(5, hello, &RAMP)), (None, Met::New));
        let answer = said(&mut b, 5).unwrap();
        assert_eq!(answer.echo, Some(hello.session));
        assert_eq!(answer.heard, Some(Coding::Plain));
        assert_eq!(a.handle_hello(10, answer, &RAMP), Met::New);
        assert_eq!(a.open(10), Some(10));
        assert_eq!(said(&mut a, 10_000), None);
        assert!(a.outgoing() == b.incoming() && a.incoming() == b.outgoing());
        assert_ne!(a.outgoing(), a.incoming());
    }

    #[test]
    fn whoever_can_calls_and_of_two_the_higher() {
        for (calls, callers) in [
            ([true, false], [Caller::Ours, Caller::Theirs]),
            ([false, true], [Caller::Theirs, Caller::Ours]),
            ([true, true], [Caller::Theirs, Caller::Ours]),
            ([false, false], [Caller::Nobody; 2]),
        ] {
            let mut ends = [0, 1].map(|n| Opening::new([n * 6; 16], calls[usize::from(n)], 0));
            assert_eq!(ends[0].caller(), None);
            let hellos = [0, 1].map(|n| said(&mut ends[n], 0).unwrap());
            for n in [0, 1] {
                ends[n].handle_hello(0, hellos[1 - n], &RAMP);
            }
            assert_eq!([0, 1].map(|n| ends[n].caller().unwrap()), callers, "{calls:?}");
        }
    }

    #[test]
    fn a_line_that_gives_back_what_it_is_given_is_nobody() {
        let [mut a, _] = ends();
        let hello = said(&mut a, 0).unwrap();
        assert_eq!(a.handle_hello(5, hello, &RAMP), Met::Echo);
        assert!(a.caller().is_none() && a.outgoing().is_none() && said(&mut a, 5).is_none());
    }

    #[test]
    fn hellos_end_although_ramps_never_come_through() {
        let [mut a, mut b] = ends();
        let mut spoken = 0;
        for now_ms in 0..100_000 {
            if let Some(hello) = said(&mut a, now_ms) {
                spoken += 1;
                b.handle_hello(now_ms, hello, b"");
            }
            if let Some(hello) = said(&mut b, now_ms) {
                spoken += 1;
                a.handle_hello(now_ms, hello, b"");
                if hello.echo.is_some() {
                    a.open(now_ms);
                    b.open(now_ms);
                }
            }
        }
        assert!(spoken <= 10, "{spoken}");
        assert_eq!([a.coding(), b.coding()], [Coding::SevenBit; 2]);
    }

    #[test]
    fn one_ramp_that_comes_through_outvotes_those_that_were_damaged() {
        let [mut a, mut b] = ends();
        let hello = said(&mut a, 0).unwrap();
        b.handle_hello(0, hello, b"damaged");
        let answer = said(&mut b, 0).unwrap();
        assert_eq!(answer.heard, Some(Coding::SevenBit));
        a.handle_hello(0, answer, &RAMP);
        a.open(0);
        let again = said(&mut a, 0).unwrap();
        b.handle_hello(0, again, &RAMP);
        let answer = said(&mut b, 0).unwrap();
        a.handle_hello(0, answer, &RAMP);
        assert_eq!(a.coding(), Coding::Plain);
        assert_eq!(said(&mut a, 99_999), None);
    }

    #[test]
    fn one_that_began_anew_is_noticed_once_open_and_taken_before() {
        let [mut a, mut b] = ends();
        let [_, mut anew] = [3, 4].map(|n| Opening::new([n; 16], true, 0));
        a.handle_hello(0, said(&mut b, 0).unwrap(), &RAMP);
        assert_eq!(a.handle_hello(0, said(&mut anew, 0).unwrap(), &RAMP), Met::New);
        a.open(0);
        let mut third = Opening::new([5; 16], true, 0);
        assert_eq!(a.handle_hello(0, said(&mut third, 0).unwrap(), &RAMP), Met::Restarted);
    }
}
