//! What a station hears on a radio channel, frame by frame, while it has things to say itself.

use postrider_base::{air::Strength, bundle::Receipt};
use postrider_engine::{
    air::{
        Lane, Span,
        ledger::{Ledger, Limit},
        lora::{Lora, Modulation},
    },
    station::{
        Asks, Beacons, Input, Item, ItemId, Listening, Now, Output, Refusal, Repeats, Settings,
        Source, Station, To, Verdict, beacon::ContactKey,
    },
};

use super::seeds::{alice, bob};

const SECOND_US: u64 = 1_000_000;
/// More than any input makes: what goes on for longer never ends.
const OUTPUTS_MAX: usize = 100_000;

/// What Bob hears, who knows Alice, has three things to send and one already. For each frame two bytes:
/// how much time passes before it and what he thinks of the forms in it; how long it is. Whether a form
/// came whole, receipts did, or somebody was recognised.
pub fn station(data: &[u8]) -> bool {
    let mut bob = Played::new(&bob(), Some(&alice()));
    for (number, bytes) in [(1, 100), (2, 700), (3, 4_000)] {
        bob.give(Input::Send(item(number, bytes)));
    }
    bob.give(Input::Held(vec![ItemId([4; 8])]));
    let mut script = data;
    while let Some(([what, length], rest)) = script.split_first_chunk::<2>() {
        let (frame, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        script = rest;
        bob.run(u64::from(what >> 2) * SECOND_US / 4);
        bob.verdict = match what & 3 {
            0 => |form| Verdict::Kept(ItemId([form; 8])),
            1 => |form| Verdict::Known(ItemId([form; 8])),
            2 => |_| Verdict::Unwanted,
            _ => |_| Verdict::Unread,
        };
        bob.give(Input::Heard { frame, strength: Strength::default() });
    }
    bob.run(60 * SECOND_US);
    bob.heard
}

/// A station with all that runs it: the ledger, the modem, the clock.
struct Played {
    now: Now,
    ledger: Ledger,
    station: Station,
    verdict: fn(u8) -> Verdict,
    under_way: Option<u32>,
    aired: Vec<Vec<u8>>,
    outputs: usize,
    heard: bool,
}

impl Played {
    fn new(me: &postrider_base::NodeSecret, knows: Option<&postrider_base::NodeSecret>) -> Self {
        let key =
            |node: &postrider_base::NodeSecret| ContactKey::of(&node.first_seal_key().public());
        let settings = Settings {
            key: key(me),
            mtu_bytes: 230,
            modulation: Modulation::Lora(Lora::new(7, 125_000, 5, 8).unwrap()),
            limit: Limit::new(7, Some(360 * SECOND_US)),
            silence: None,
            listening: Listening::Here,
            beacons: Beacons::Sent,
            call: None,
        };
        let now = Now { us: SECOND_US, custody_ms: 5_000 };
        let mut played = Self {
            now,
            ledger: Ledger::new(Span::Hour, now.custody_ms),
            station: Station::new(settings, [9; 32], now).unwrap(),
            verdict: |_| Verdict::Unwanted,
            under_way: None,
            aired: Vec::new(),
            outputs: 0,
            heard: false,
        };
        let known = knows.map(|node| (node.id(), key(node)));
        played.give(Input::Contacts(known.into_iter().collect()));
        played
    }

    fn give(&mut self, input: Input<'_>) {
        self.station.handle(self.now, &mut self.ledger, input);
        while let Some(output) = self.station.poll() {
            self.outputs += 1;
            assert!(self.outputs < OUTPUTS_MAX, "it never stops");
            let answer = match output {
                Output::WriteLedger { write } => Input::LedgerDurable { write },
                Output::Transmit { number, frame } => {
                    assert!(self.under_way.is_none(), "two frames at a time");
                    assert!(frame.len() <= 230, "a frame is too long");
                    self.under_way = Some(number);
                    self.aired.push(frame);
                    continue;
                }
                Output::Form { form, bytes, .. } => {
                    self.heard = true;
                    let verdict = (self.verdict)(bytes.last().copied().unwrap_or_default());
                    Input::Judged { form, verdict }
                }
                Output::Receipts(_) | Output::Neighbour { .. } => {
                    self.heard = true;
                    continue;
                }
                _ => continue,
            };
            self.station.handle(self.now, &mut self.ledger, answer);
        }
    }

    /// Lets time pass; every other frame is sent, and the rest are refused.
    fn run(&mut self, us: u64) {
        let until_us = self.now.us + us;
        loop {
            if let Some(number) = self.under_way.take() {
                self.pass_to(self.now.us + SECOND_US / 4);
                self.give(match number % 8 {
                    7 => Input::Refused { number, why: Refusal::Later },
                    _ => Input::Sent { number },
                });
                continue;
            }
            let due_us = self.station.poll_timeout();
            if due_us > until_us {
                break;
            }
            assert!(due_us > self.now.us, "a time that is over");
            self.pass_to(due_us);
            self.give(Input::Timeout);
        }
        self.pass_to(until_us.max(self.now.us));
    }

    fn pass_to(&mut self, us: u64) {
        self.now.us = us;
        self.now.custody_ms = 5_000 + (us - SECOND_US) / 1_000;
    }
}

fn item(number: u8, bytes: usize) -> Item {
    let mut form = vec![number; bytes];
    (form[0], form[1]) = (0x80, 0);
    Item {
        id: ItemId([number; 8]),
        form,
        lane: Lane::Normal,
        to: To::Anybody,
        source: Source(0),
        lives_ms: 86_400_000,
        asks: Asks::Receipt,
        repeats: Repeats::Ever,
    }
}

/// What Alice says in a few minutes, of whom Bob hears all, or each second frame and what he said himself.
pub(super) fn station_seeds() -> Vec<Vec<u8>> {
    let said = |what: &dyn Fn(&mut Played)| {
        let mut alice = Played::new(&alice(), Some(&bob()));
        what(&mut alice);
        alice.run(300 * SECOND_US);
        alice.aired
    };
    let few = said(&|alice| {
        alice.give(Input::Send(item(5, 90)));
        let receipts = vec![Receipt { id_prefix: [1; 8], r: [1; 16] }];
        alice.give(Input::Receipts { receipts, lane: Lane::Normal });
    });
    let long = said(&|alice| alice.give(Input::Send(item(6, 1_500))));
    let own = said(&|alice| alice.give(Input::Send(item(2, 700))));
    let script = |frames: Vec<Vec<u8>>, what: u8| {
        let parts = frames.into_iter().take(24).map(|frame| {
            let length = u8::try_from(frame.len()).unwrap();
            [&[what, length], &frame[..]].concat()
        });
        parts.collect::<Vec<_>>().concat()
    };
    let half = long.iter().step_by(2).cloned().collect();
    vec![script(few, 16), script(long, 20), script(half, 64), script(own, 41)]
}
