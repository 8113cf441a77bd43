//! How a radio stands, for people.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use postrider_base::{
    air::Strength,
    radio::{FORM_MAX, PIECE_HEAD},
};
use postrider_engine::{
    air::{
        Lane, Why,
        cost::{Done, Purse, Purses, Way, preview},
        ledger::{Ledger, Limit},
    },
    station::Waiting,
};

/// Neighbours that are named; who has more on one channel sees how many more.
const NAMED_MAX: usize = 5;

/// How frames go out of a radio, and what of.
pub(super) type Channel = (Way, Limit);

/// What is known of a radio.
#[derive(Debug, Default)]
pub(super) struct RadioState {
    /// Once something may be sent.
    channel: Option<Channel>,
    /// Nothing that is sealed goes there.
    clear_only: bool,
    /// Why nothing is sent.
    pub refuses: Option<String>,
    /// Frames that went out.
    pub sent: u64,
    heard: (u64, u64),
    neighbours: BTreeMap<String, Strength>,
    waits: Option<(Instant, &'static str)>,
}

impl RadioState {
    /// One that may send.
    pub fn of(channel: Channel, clear_only: bool) -> Self {
        Self { channel: Some(channel), clear_only, ..Self::default() }
    }

    pub fn note_heard(&mut self, bytes: usize) {
        self.heard.0 += bytes as u64;
        self.heard.1 += 1;
    }

    /// Bytes and frames that were heard.
    pub fn heard(&self) -> (u64, u64) {
        self.heard
    }

    pub fn note_neighbour(&mut self, name: String, strength: Strength) {
        self.neighbours.insert(name, strength);
    }

    pub fn forget(&mut self, name: &str) {
        self.neighbours.remove(name);
    }

    /// Something waits, by the custody clock that shows `held_ms`.
    pub fn note_wait(&mut self, waiting: Waiting, held_ms: u64) {
        let (ms, why) = match waiting {
            Waiting::Airtime(until_ms, why) => (until_ms.saturating_sub(held_ms), word(why)),
            Waiting::Silence(_) => (60_000, "others are sending without a pause"),
            Waiting::Modem => (60_000, "the modem says that it has sent as much as it may"),
        };
        self.waits = Some((Instant::now() + Duration::from_millis(ms), why));
    }

    /// What a form of so many bytes would take on the air, at the least, in a sentence.
    pub fn preview(
        &self,
        form_bytes: u64,
        lane: Lane,
        ledger: &Ledger,
        now_ms: u64,
    ) -> Option<(String, Option<Duration>)> {
        let (way, limit) = self.channel?;
        if self.clear_only {
            let said = "nothing there unless it is clear and between stations, or to all: the band \
                        wants no ciphers";
            return Some((said.to_owned(), None));
        }
        if form_bytes > FORM_MAX as u64 {
            let said = format!(
                "too long for a radio: {form_bytes} bytes, of {FORM_MAX} at most; it waits for \
                 another way. What matters may go as a short text by itself"
            );
            return Some((said, None));
        }
        let air = Some(Purse { ledger, limit });
        // Of more than one frame each has a head of its own.
        let frames_bytes = match form_bytes <= way.frame_bytes() {
            true => form_bytes,
            false => form_bytes + form_bytes.div_ceil(way.frame_bytes().max(1)) * PIECE_HEAD as u64,
        };
        let preview = preview(now_ms, frames_bytes, lane, &way, Purses { air, money: None });
        let airtime = span(preview.airtime_us.div_ceil(1_000_000));
        let frames = match preview.frames {
            1 => "one frame".to_owned(),
            frames => format!("{frames} frames"),
        };
        Some(match preview.done {
            Done::Straight(ms) => {
                (format!("{frames}, {airtime} on the air"), Some(Duration::from_millis(ms)))
            }
            Done::Waiting(ms, why) => {
                let sent = span(ms / 1000);
                let said =
                    format!("{frames}, {airtime} on the air, all of it in {sent}: {}", word(why));
                (said, Some(Duration::from_millis(ms)))
            }
            Done::Never(why) => (format!("never: {}", word(why)), None),
        })
    }

    /// The state in a word, and in a sentence.
    pub fn words(&self, failure: Option<&str>) -> (&'static str, String) {
        if let Some(why) = &self.refuses {
            return ("mute", why.clone());
        }
        let mut named = self.neighbours.iter().map(|(name, strength)| match strength.rssi_dbm {
            Some(dbm) => format!("{name} ({dbm} dBm)"),
            None => name.clone(),
        });
        let first: Vec<String> = named.by_ref().take(NAMED_MAX).collect();
        let more = named.count();
        let what = if self.clear_only { "a radio for clear mail" } else { "a radio" };
        let mut why = match (first.is_empty(), self.heard.1) {
            (true, 0) => format!("{what}; nobody was heard yet"),
            (true, _) => format!("{what}; somebody is heard, and no contact of mine"),
            (false, _) => format!("{what}; hears {}", first.join(", ")),
        };
        if more > 0 {
            why.push_str(&format!(" and {more} more"));
        }
        if let Some((until, reason)) = self.waits {
            let left = until.saturating_duration_since(Instant::now()).as_secs();
            if left > 0 {
                why.push_str(&format!("; the next frame goes in {}: {reason}", span(left)));
            }
        }
        if let Some(failure) = failure {
            why.push_str(&format!("; the modem says: {failure}"));
        }
        ("radio", why)
    }
}

fn word(why: Why) -> &'static str {
    match why {
        Why::Spent => "as much was sent within an hour as may be",
        Why::Reserve => "what is left of this hour is kept for what is urgent",
        Why::Behind(_) => "something more urgent goes first",
        Why::TooMuch => "it is more than may ever be sent at once",
        Why::TooLong => "it is longer than a frame may be here",
        Why::NoRoom => "there is no room in a frame for it",
        Why::Accounts => "too many radios",
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_would_take_is_said_before_it_is_sent() {
        use postrider_engine::air::{
            Span,
            cost::Price,
            lora::{Lora, Modulation},
        };
        let lora = Lora::new(12, 125_000, 5, 8).unwrap();
        let way = Way {
            mtu_bytes: 222,
            overhead_bytes: 0,
            frame_max_us: None,
            modulation: Modulation::Lora(lora),
            price: Price { frame: 0, unit_bytes: 0, unit: 0 },
        };
        let limit = Limit::new(3, Some(36_000_000));
        let radio = RadioState::of((way, limit), false);
        let ledger = Ledger::new(Span::Hour, 0);
        let told = |bytes| radio.preview(bytes, Lane::Normal, &ledger, 0).unwrap();
        let (said, took) = told(206);
        assert!(said.starts_with("one frame, 8 s on the air") && took.is_some(), "{said}");
        let (said, took) = told(4_000);
        assert!(said.contains("19 frames") && said.contains(" h: what is left"), "{said}");
        assert!(took > Some(Duration::from_secs(3 * 3_600)), "{took:?}");
        let (said, took) = told(1 << 20);
        assert!(said.contains("too long for a radio") && took.is_none(), "{said}");
        assert!(RadioState::default().preview(9, Lane::Normal, &ledger, 0).is_none());
        let clear = RadioState::of((way, limit), true);
        assert!(clear.preview(9, Lane::Normal, &ledger, 0).unwrap().0.contains("no ciphers"));
    }

    #[test]
    fn a_person_reads_who_is_heard_and_why_it_waits() {
        let mut radio = RadioState::default();
        assert_eq!(radio.words(None).1, "a radio; nobody was heard yet");
        radio.note_heard(24);
        assert_eq!(radio.words(None).1, "a radio; somebody is heard, and no contact of mine");
        let strength = Strength { rssi_dbm: Some(-97), snr_quarter_db: None };
        radio.note_neighbour("Bob".into(), strength);
        radio.note_neighbour("Carol".into(), Strength::default());
        assert_eq!(radio.words(None).1, "a radio; hears Bob (-97 dBm), Carol");
        radio.note_wait(Waiting::Airtime(10_000_000, Why::Spent), 2_000_000);
        let why = radio.words(None).1;
        assert!(why.contains("in 2 h: as much was sent") && radio.heard() == (24, 1), "{why}");
        radio.refuses = Some("no region".into());
        assert_eq!(radio.words(None), ("mute", "no region".into()));
    }
}
