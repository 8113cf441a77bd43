//! One station by hand: what it does with each input, and when.

use postrider_base::{NodeSecret, air::Strength, bundle::Receipt, radio::Station as Called};
use postrider_engine::{
    air::{
        Lane, Span, Why,
        ledger::{Ledger, Limit},
        lora::{Lora, Modulation},
    },
    station::{
        Asks, Beacons, Ending, FormNumber, Input, Item, ItemId, Listening, Now, Output, Refusal,
        Repeats, Settings, Source, Station, To, Verdict, Waiting,
        beacon::{Beacon, ContactKey, Slice},
    },
};

use super::radio::Chance;

const SECOND_US: u64 = 1_000_000;
const KEY: u16 = 7;

struct Alone {
    now: Now,
    ledger: Ledger,
    station: Station,
    /// All that came out but writes, and what was put on the air.
    told: Vec<Output>,
    aired: Vec<Vec<u8>>,
    number: u32,
}

fn settings() -> Settings {
    let node = NodeSecret::from_seed([1; 32]);
    Settings {
        key: ContactKey::of(&node.first_seal_key().public()),
        mtu_bytes: 230,
        modulation: Modulation::Lora(Lora::new(7, 125_000, 5, 8).unwrap()),
        limit: Limit::new(KEY, Some(36 * SECOND_US)),
        silence: None,
        listening: Listening::Here,
        beacons: Beacons::Silent,
        call: None,
    }
}

fn item(number: u8, bytes: usize, lane: Lane) -> Item {
    let mut form = vec![number; bytes];
    (form[0], form[1]) = (0x80, 0);
    Item {
        id: ItemId([number; 8]),
        form,
        lane,
        to: To::Anybody,
        source: Source(0),
        lives_ms: 86_400_000,
        asks: Asks::Nothing,
        repeats: Repeats::Ever,
    }
}

impl Alone {
    fn new(settings: Settings) -> Self {
        let now = Now { us: SECOND_US, custody_ms: 5_000 };
        Self {
            now,
            ledger: Ledger::new(Span::Hour, now.custody_ms),
            station: Station::new(settings, [9; 32], now).unwrap(),
            told: Vec::new(),
            aired: Vec::new(),
            number: 0,
        }
    }

    /// Gives an input; the ledger is durable at once.
    fn give(&mut self, input: Input<'_>) {
        self.station.handle(self.now, &mut self.ledger, input);
        while let Some(output) = self.station.poll() {
            match output {
                Output::WriteLedger { write } => {
                    let written = Input::LedgerDurable { write };
                    self.station.handle(self.now, &mut self.ledger, written);
                }
                Output::Transmit { number, frame } => {
                    self.number = number;
                    self.aired.push(frame.clone());
                    self.told.push(Output::Transmit { number, frame });
                }
                other => self.told.push(other),
            }
        }
    }

    fn pass(&mut self, us: u64) {
        self.now.us += us;
        self.now.custody_ms = 5_000 + (self.now.us - SECOND_US) / 1_000;
    }

    /// Lets time pass and every frame be sent; what was on the air meanwhile.
    fn run(&mut self, us: u64) -> Vec<Vec<u8>> {
        let (until_us, before) = (self.now.us + us, self.aired.len());
        let mut settled = self.aired.len();
        loop {
            if self.aired.len() > settled {
                settled += 1;
                self.pass(300_000);
                self.give(Input::Sent { number: self.number });
                continue;
            }
            let due_us = self.station.poll_timeout();
            if due_us > until_us {
                break;
            }
            self.pass(due_us.saturating_sub(self.now.us));
            self.give(Input::Timeout);
        }
        self.pass(until_us.saturating_sub(self.now.us));
        self.aired[before..].to_vec()
    }

    fn told(&mut self, what: impl Fn(&Output) -> bool) -> usize {
        self.told.iter().filter(|output| what(output)).count()
    }
}

#[test]
fn nothing_goes_before_the_ledger_is_durable() {
    let mut alone = Alone::new(settings());
    alone.station.handle(alone.now, &mut alone.ledger, Input::Send(item(1, 100, Lane::Sos)));
    assert_eq!(alone.station.poll(), Some(Output::WriteLedger { write: 1 }));
    assert_eq!(alone.station.poll(), None);
    let booked_us = alone.ledger.spent(alone.now.custody_ms, KEY);
    assert!(booked_us > 100_000);
    // However long that takes, and whatever else comes.
    for _ in 0..100 {
        alone.pass(SECOND_US);
        alone.give(Input::Timeout);
        alone.give(Input::LedgerDurable { write: 7 });
        alone.give(Input::Carrier { busy: false });
    }
    assert!(alone.aired.is_empty());
    alone.give(Input::LedgerDurable { write: 1 });
    assert_eq!(alone.run(SECOND_US), [item(1, 100, Lane::Sos).form]);
    assert_eq!(
        alone.ledger.spent(alone.now.custody_ms, KEY),
        booked_us,
        "settled as it was booked"
    );
}

#[test]
fn repetitions_become_rarer_until_it_is_taken_back() {
    let mut alone = Alone::new(settings());
    alone.give(Input::Send(item(1, 100, Lane::Normal)));
    let first: Vec<usize> = (0..6).map(|_| alone.run(3_600 * SECOND_US).len()).collect();
    assert!(first[0] >= 4 && first[0] <= 8, "{first:?}");
    assert!(first[1..].iter().sum::<usize>() <= 3, "{first:?}");
    assert!(alone.run(86_400 * SECOND_US / 2).len() <= 2);
    let times = alone.told(|output| matches!(output, Output::Aired { .. }));
    assert_eq!(times, alone.aired.len());
    alone.give(Input::TakeBack { id: ItemId([1; 8]) });
    assert!(alone.run(86_400 * SECOND_US).is_empty());
    assert_eq!(alone.told(|output| matches!(output, Output::Ended { .. })), 0);
}

#[test]
fn what_does_not_repeat_goes_once_and_what_others_lack_of_it_is_repaired() {
    let mut alone = Alone::new(Settings { limit: Limit::new(KEY, None), ..settings() });
    alone.give(Input::Send(Item { repeats: Repeats::Never, ..item(3, 500, Lane::Normal) }));
    let pieces = alone.run(3_600 * SECOND_US);
    assert_eq!(pieces.len(), 3, "an hour, and not a frame more");
    let key = &pieces[0][1..5];
    let mut wants = vec![0x07, 1, 0, 0, 0];
    wants.extend(key);
    wants.push(2);
    alone.give(Input::Heard { frame: &wants, strength: Strength::default() });
    let sums = alone.run(60 * SECOND_US);
    assert_eq!(sums.len(), 2);
    assert!(sums.iter().all(|sum| matches!(sum[0], 5 | 6) && &sum[1..5] == key));
}

#[test]
fn a_life_ends_by_the_custody_clock() {
    let mut alone = Alone::new(settings());
    alone.give(Input::Send(Item { lives_ms: 60_000, ..item(1, 100, Lane::Normal) }));
    alone.run(59 * SECOND_US);
    assert_eq!(alone.told(|output| matches!(output, Output::Ended { .. })), 0);
    // A machine that was off for long has not held it meanwhile.
    alone.now.us += 3_600 * SECOND_US;
    alone.give(Input::Timeout);
    assert_eq!(alone.told(|output| matches!(output, Output::Ended { .. })), 0);
    alone.now.custody_ms += 2_000;
    alone.give(Input::Timeout);
    let over = Output::Ended { id: ItemId([1; 8]), ending: Ending::Expired };
    assert_eq!(alone.told(|output| *output == over), 1);
}

#[test]
fn what_waits_for_airtime_is_told_why_and_a_call_for_help_is_not_kept() {
    let mut alone = Alone::new(settings());
    for number in 1..=200 {
        let source = Source(u64::from(number));
        alone.give(Input::Send(Item { source, ..item(number, 220, Lane::Normal) }));
    }
    alone.run(600 * SECOND_US);
    let reserve = |output: &Output| {
        matches!(output, Output::Waits { waiting: Waiting::Airtime(_, Why::Reserve), .. })
    };
    assert_eq!(alone.told(reserve), 1, "the first of its lane, once");
    let spent_us = alone.ledger.spent(alone.now.custody_ms, KEY);
    assert!(spent_us <= 36 * SECOND_US * 4 / 5 && spent_us > 28 * SECOND_US, "{spent_us}");
    assert!(alone.run(60 * SECOND_US).is_empty());
    alone.give(Input::Send(item(250, 220, Lane::Sos)));
    assert_eq!(alone.run(SECOND_US / 2), [item(250, 220, Lane::Sos).form]);
    // What is more than it may ever have does not wait.
    let mut alone = Alone::new(Settings { limit: Limit::new(KEY, Some(100_000)), ..settings() });
    alone.give(Input::Send(item(1, 220, Lane::Sos)));
    let never = Output::Ended { id: ItemId([1; 8]), ending: Ending::Never(Why::TooMuch) };
    assert_eq!(alone.told(|output| *output == never), 1);
}

#[test]
fn what_is_more_urgent_comes_between_two_frames_of_a_burst() {
    let mut alone = Alone::new(settings());
    alone.give(Input::Send(item(1, 4_000, Lane::Bulk)));
    alone.run(SECOND_US);
    let begun = alone.aired.len();
    assert!((1..10).contains(&begun));
    alone.give(Input::Send(item(2, 100, Lane::Urgent)));
    let next = alone.run(2 * SECOND_US);
    let at = next.iter().position(|frame| frame[0] == 0x80).unwrap();
    assert!(at <= 1, "after {at} more");
    // And the rest follows where it was left; what was booked for it in vain was given back.
    alone.run(60 * SECOND_US);
    let pieces: Vec<u8> =
        alone.aired.iter().filter(|frame| frame[0] == 2).map(|frame| frame[5]).collect();
    assert!(pieces.iter().copied().eq(0..=pieces[pieces.len() - 1]), "{pieces:?}");
    let air_us = |frame: &Vec<u8>| settings().modulation.air_us(frame.len() as u64);
    let aired_us: u64 = alone.aired.iter().map(air_us).sum();
    assert_eq!(alone.ledger.spent(alone.now.custody_ms, KEY), aired_us);
}

#[test]
fn what_is_more_urgent_goes_before_what_waits_for_silence() {
    let mut alone = Alone::new(settings());
    alone.give(Input::Carrier { busy: true });
    let receipt = Receipt { id_prefix: [3; 8], r: [3; 16] };
    alone.give(Input::Receipts { receipts: vec![receipt], lane: Lane::Normal });
    alone.run(5 * SECOND_US);
    alone.give(Input::Send(item(2, 100, Lane::Sos)));
    alone.run(5 * SECOND_US);
    alone.give(Input::Carrier { busy: false });
    // After so much noise it draws from many slots.
    let frames = alone.run(10 * SECOND_US);
    assert_eq!(frames[0], item(2, 100, Lane::Sos).form);
    assert!(frames.contains(&receipt.encode().to_vec()));
}

#[test]
fn a_flood_from_one_source_keeps_nobody_else_waiting() {
    let mut alone = Alone::new(settings());
    for number in 1..=200 {
        let source = Source(1);
        alone.give(Input::Send(Item { source, ..item(number, 220, Lane::Normal) }));
    }
    alone.run(5 * SECOND_US);
    let before = alone.aired.len();
    for number in 201..=205 {
        let source = Source(2);
        alone.give(Input::Send(Item { source, ..item(number, 220, Lane::Normal) }));
    }
    alone.run(20 * SECOND_US);
    let theirs = |frame: &&Vec<u8>| (201..=205).contains(&frame[9]);
    let first: Vec<&Vec<u8>> = alone.aired[before..].iter().take(12).collect();
    assert!(first.iter().copied().filter(theirs).count() >= 5, "of twelve frames");
}

#[test]
fn a_form_that_is_replaced_in_the_middle_of_a_burst_begins_anew() {
    let mut alone = Alone::new(settings());
    alone.give(Input::Send(item(1, 2_000, Lane::Normal)));
    alone.run(SECOND_US);
    let begun = alone.aired.len();
    let mut other = item(1, 2_000, Lane::Normal);
    other.form[0] = 0x81;
    alone.give(Input::Send(other.clone()));
    alone.run(20 * SECOND_US);
    let key = blake3::hash(&other.form).as_bytes()[..4].to_vec();
    let pieces = alone.aired[begun..].iter().filter(|frame| frame[0] == 2 && frame[1..5] == key);
    let numbers: Vec<u8> = pieces.map(|frame| frame[5]).collect();
    assert!(numbers.iter().copied().eq(0..10), "{numbers:?}");
    assert!(alone.aired.len() - begun <= 10 + 1 + 2, "at most one more of the old one");
}

#[test]
fn what_was_booked_is_given_back_when_the_radio_is_gone() {
    let mut alone = Alone::new(settings());
    alone.give(Input::Send(item(1, 4_000, Lane::Normal)));
    let booked_us = alone.ledger.spent(alone.now.custody_ms, KEY);
    alone.pass(SECOND_US);
    alone.give(Input::Timeout);
    assert_eq!(alone.aired.len(), 1);
    let Alone { station, mut ledger, now, aired, .. } = alone;
    station.end(now, &mut ledger);
    let us = settings().modulation.air_us(aired[0].len() as u64);
    assert_eq!(ledger.spent(now.custody_ms, KEY), us);
    assert!(booked_us > 7 * us);
}

#[test]
fn a_call_sign_comes_first_and_every_ten_minutes_while_it_sends() {
    let call = Called { call: "DL1ABC-7".parse().unwrap() };
    let mut alone = Alone::new(Settings { call: Some(call), ..settings() });
    let said = |frames: &[Vec<u8>]| frames.iter().filter(|frame| **frame == call.frame()).count();
    assert_eq!(alone.run(1_200 * SECOND_US).len(), 0, "who sends nothing says nothing");
    alone.give(Input::Send(item(1, 100, Lane::Normal)));
    let frames = alone.run(60 * SECOND_US);
    assert!(frames[0] == call.frame() && said(&frames) == 1 && frames.len() > 2);
    alone.run(600 * SECOND_US);
    alone.give(Input::Send(item(2, 100, Lane::Normal)));
    assert_eq!(alone.run(SECOND_US)[0], call.frame());
}

#[test]
fn what_a_modem_refuses_goes_later_and_was_not_spent() {
    let mut alone = Alone::new(settings());
    alone.give(Input::Send(item(1, 100, Lane::Normal)));
    let mut tries = 0;
    for _ in 0..1_000 {
        if alone.aired.len() > tries {
            tries += 1;
            alone.give(Input::Refused { number: alone.number, why: Refusal::Later });
            assert_eq!(alone.ledger.spent(alone.now.custody_ms, KEY), 0);
        }
        alone.pass(SECOND_US);
        alone.give(Input::Timeout);
    }
    assert!((8..30).contains(&tries), "{tries} tries");
    assert_eq!(alone.told(|output| matches!(output, Output::Aired { .. })), 0);
    // What may have been on the air counts; what never goes ends.
    alone.give(Input::Send(item(2, 100, Lane::Sos)));
    while alone.aired.len() == tries {
        alone.pass(SECOND_US);
        alone.give(Input::Timeout);
    }
    alone.give(Input::Refused { number: alone.number, why: Refusal::Unknown });
    assert!(alone.ledger.spent(alone.now.custody_ms, KEY) > 0);
    while alone.aired.len() == tries + 1 {
        alone.pass(SECOND_US);
        alone.give(Input::Timeout);
    }
    alone.give(Input::Refused { number: alone.number, why: Refusal::Never });
    let form = |output: &Output| matches!(output, Output::Ended { ending: Ending::Form, .. });
    assert_eq!(alone.told(form), 1);
}

#[test]
fn who_speaks_without_end_is_told_of_and_nothing_is_sent() {
    let mut alone = Alone::new(settings());
    alone.give(Input::Carrier { busy: true });
    alone.give(Input::Send(item(1, 100, Lane::Sos)));
    alone.run(3_600 * SECOND_US);
    assert!(alone.aired.is_empty());
    let silence =
        |output: &Output| matches!(output, Output::Waits { waiting: Waiting::Silence(_), .. });
    assert_eq!(alone.told(silence), 1);
    alone.give(Input::Carrier { busy: false });
    assert_eq!(alone.run(SECOND_US / 2).len(), 1);
    // A modem that listens by itself gets it at once.
    let mut modem = Alone::new(Settings { listening: Listening::Modem, ..settings() });
    modem.give(Input::Carrier { busy: true });
    modem.give(Input::Send(item(1, 100, Lane::Sos)));
    modem.give(Input::Timeout);
    assert_eq!(modem.aired.len(), 1);
}

#[test]
fn a_form_that_cannot_be_read_is_asked_for_otherwise() {
    let mut reader = Alone::new(settings());
    let mut writer = Alone::new(settings());
    writer.give(Input::Send(item(1, 100, Lane::Normal)));
    let frames = writer.run(SECOND_US);
    let heard = |frame| Input::Heard { frame, strength: Strength::default() };
    reader.give(heard(&frames[0]));
    let given = |output: &Output| matches!(output, Output::Form { .. });
    assert_eq!(reader.told(given), 1);
    reader.give(Input::Judged { form: FormNumber(0), verdict: Verdict::Unread });
    let wants = reader.run(SECOND_US);
    assert_eq!((wants.len(), wants[0][0], wants[0].len()), (1, 7, 10));
    writer.give(heard(&wants[0]));
    let unread = Output::Unread { id: ItemId([1; 8]) };
    assert_eq!(writer.told(|output| *output == unread), 1);
    // The other form begins anew, at once.
    let mut other = item(1, 120, Lane::Normal);
    other.form[0] = 0x81;
    writer.give(Input::Send(other.clone()));
    assert_eq!(writer.run(SECOND_US)[0], other.form);
    // One that is only older does not.
    other.form[2] = 9;
    let before = writer.aired.len();
    writer.give(Input::Send(other.clone()));
    assert_eq!(writer.run(SECOND_US / 10).len(), 0);
    writer.run(60 * SECOND_US);
    assert!(writer.aired[before..].iter().all(|frame| *frame == other.form));
}

#[test]
fn the_least_urgent_of_who_has_most_goes_when_there_are_too_many() {
    let mut alone = Alone::new(settings());
    alone.give(Input::Carrier { busy: true });
    let many = |n: u16, lane, source| {
        let mut item = item(1, 100, lane);
        item.id.0[..2].copy_from_slice(&n.to_be_bytes());
        item.form[10..12].copy_from_slice(&n.to_be_bytes());
        Item { source: Source(source), ..item }
    };
    (0..12).for_each(|n| alone.give(Input::Send(many(n, Lane::Normal, 2))));
    (100..600).for_each(|n| alone.give(Input::Send(many(n, Lane::Normal, 1))));
    let full = |output: &Output| matches!(output, Output::Ended { ending: Ending::Full, .. });
    assert_eq!(alone.told(full), 0);
    alone.give(Input::Send(many(700, Lane::Bulk, 3)));
    let id = many(700, Lane::Bulk, 3).id;
    let it = Output::Ended { id, ending: Ending::Full };
    assert_eq!(alone.told(|output| *output == it), 1, "nothing urgent goes for it");
    alone.give(Input::Send(many(701, Lane::Urgent, 3)));
    let it = Output::Ended { id: many(599, Lane::Normal, 1).id, ending: Ending::Full };
    assert_eq!(alone.told(|output| *output == it), 1);
}

#[test]
fn receipts_go_together_and_once() {
    let mut alone = Alone::new(settings());
    let receipts: Vec<Receipt> =
        (0..12).map(|n| Receipt { id_prefix: [n; 8], r: [n; 16] }).collect();
    for _ in 0..3 {
        alone.give(Input::Receipts { receipts: receipts.clone(), lane: Lane::Normal });
    }
    let frames = alone.run(3_600 * SECOND_US);
    let bytes: Vec<usize> = frames.iter().map(Vec::len).collect();
    assert_eq!(bytes, [1 + 9 * 24, 1 + 3 * 24]);
}

#[test]
fn a_beacon_names_what_is_here_and_what_was() {
    let mut alone = Alone::new(Settings { beacons: Beacons::Sent, ..settings() });
    let kept = ItemId([9; 8]);
    alone.give(Input::Held(vec![ItemId([7; 8]), ItemId([8; 8])]));
    alone.give(Input::Send(item(1, 100, Lane::Normal)));
    alone.give(Input::Send(item(2, 100, Lane::Normal)));
    alone.give(Input::TakeBack { id: ItemId([2; 8]) });
    let mut form = item(5, 100, Lane::Normal).form;
    form[1] = 3;
    alone.give(Input::Heard { frame: &form, strength: Strength::default() });
    alone.give(Input::Judged { form: FormNumber(0), verdict: Verdict::Kept(kept) });
    let frames = alone.run(20 * SECOND_US);
    let beacon = frames.iter().find_map(|frame| Beacon::decode(frame)).unwrap();
    for number in [1, 2, 7, 8, 9] {
        assert_eq!(beacon.has(&ItemId([number; 8])), Some(true), "{number}");
    }
    assert_eq!(beacon.newest, [9; 3]);
    assert!((20..200).any(|number| beacon.has(&ItemId([number; 8])) == Some(false)));
    // Nothing else is new: for half an hour or nearly there is no other one.
    let more = alone.run(1_200 * SECOND_US);
    assert!(more.iter().filter(|frame| frame[0] == 4).count() <= 1);
}

#[test]
fn what_is_passed_on_is_asked_for_if_somebody_asks() {
    let mut alone = Alone::new(Settings { beacons: Beacons::Sent, ..settings() });
    let one = item(1, 100, Lane::Normal);
    alone.give(Input::Send(one.clone()));
    alone.run(SECOND_US);
    let mut farther = one.form.clone();
    farther[1] += 1;
    alone.give(Input::Heard { frame: &farther, strength: Strength::default() });
    let taken = Output::Taken { id: one.id, by: None };
    assert_eq!(alone.told(|output| *output == taken), 1);
    let asked = |frames: &[Vec<u8>]| {
        let beacons = frames.iter().filter_map(|frame| Beacon::decode(frame));
        beacons.filter(|beacon| beacon.asked == [1; 3]).count()
    };
    assert_eq!(asked(&alone.run(1_200 * SECOND_US)), 0, "it is no message of this node");
    let other = ContactKey::of(&NodeSecret::from_seed([2; 32]).first_seal_key().public());
    let beacon = Beacon::new(&other, [0; 2], 0, Slice::new(0, 0), [0; 3], [1; 3], [one.id]);
    alone.give(Input::Heard { frame: &beacon.encode(), strength: Strength::default() });
    assert_eq!(alone.told(|o| *o == Output::ReceiptWanted { prefix: [1; 3] }), 1);
    let times = asked(&alone.run(1_200 * SECOND_US));
    assert!((1..=9).contains(&times), "{times}");
    // The same beacon again, from wherever, says nothing.
    alone.give(Input::Heard { frame: &beacon.encode(), strength: Strength::default() });
    assert_eq!(alone.told(|o| *o == Output::ReceiptWanted { prefix: [1; 3] }), 1);
}

/// A relay heard the author's beacon, which of course names the message, and sent it no more.
#[test]
fn what_passes_through_does_not_rest_for_a_beacon_of_whom_it_came_from() {
    for (hops, rests) in [(0, 1), (1, 0)] {
        let mut alone = Alone::new(settings());
        let mut one = item(1, 100, Lane::Normal);
        one.form[1] = hops;
        alone.give(Input::Send(one.clone()));
        alone.run(SECOND_US);
        let other = ContactKey::of(&NodeSecret::from_seed([2; 32]).first_seal_key().public());
        let beacon = Beacon::new(&other, [0; 2], 0, Slice::new(0, 0), [0; 3], [0; 3], [one.id]);
        alone.give(Input::Heard { frame: &beacon.encode(), strength: Strength::default() });
        let again = alone.run(120 * SECOND_US).len();
        assert_eq!(alone.told(|output| matches!(output, Output::Taken { .. })), rests);
        assert_eq!(again == 0, rests == 1, "{again} times");
    }
}

/// Whatever is told in whatever order: no panic, one frame at a time, and what was booked is settled.
#[test]
fn no_input_hurts() {
    for seed in super::seeds(40) {
        let mut chance = Chance::new(seed);
        let mut alone = Alone::new(Settings { beacons: Beacons::Sent, ..settings() });
        let mut under_way: Option<u32> = None;
        for _ in 0..400 {
            alone.pass(chance.below(20 * SECOND_US));
            let number = u32::try_from(chance.below(6)).unwrap();
            let id = ItemId([u8::try_from(number).unwrap(); 8]);
            let before = alone.aired.len();
            match chance.below(12) {
                0 | 1 => {
                    let bytes = 11 + usize::try_from(chance.below(4_259)).unwrap();
                    let to = if chance.one_in(3) {
                        To::Neighbour(NodeSecret::from_seed([3; 32]).id())
                    } else {
                        To::Anybody
                    };
                    let item = item(u8::try_from(number).unwrap(), bytes, chance.lane());
                    alone.give(Input::Send(Item { to, lives_ms: chance.below(4_000_000), ..item }));
                }
                2 => alone.give(Input::TakeBack { id }),
                3 => {
                    let receipts = vec![Receipt { id_prefix: id.0, r: [1; 16] }];
                    alone.give(Input::Receipts { receipts, lane: chance.lane() });
                }
                4 => {
                    let at = usize::try_from(chance.below(alone.aired.len() as u64 + 1)).unwrap();
                    let mut frame = alone.aired.get(at).cloned().unwrap_or_default();
                    if let Some(byte) = frame.get_mut(1) {
                        *byte = byte.wrapping_add(u8::try_from(chance.below(3)).unwrap());
                    }
                    alone.give(Input::Heard { frame: &frame, strength: Strength::default() });
                }
                5 => alone.give(Input::Sent { number }),
                6 => alone.give(Input::Refused { number: number + 90, why: Refusal::Later }),
                7 => alone.give(Input::Carrier { busy: chance.one_in(2) }),
                8 => alone.give(Input::LedgerDurable { write: number }),
                9 => {
                    let verdicts =
                        [Verdict::Kept(id), Verdict::Known(id), Verdict::Unwanted, Verdict::Unread];
                    let verdict = verdicts[usize::try_from(chance.below(4)).unwrap()];
                    let form = FormNumber(chance.below(8));
                    alone.give(Input::Judged { form, verdict });
                }
                10 => alone.give(Input::Held(vec![id; 3])),
                _ => alone.give(Input::Timeout),
            }
            if let Some(number) = under_way.filter(|_| chance.one_in(2)) {
                alone.give(Input::Sent { number });
                under_way = None;
            }
            if alone.aired.len() > before {
                under_way = Some(alone.number);
            }
            assert!(alone.station.poll_timeout() > alone.now.us, "seed {seed}");
        }
    }
}
