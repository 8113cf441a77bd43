//! A radio made of a function: what it says to each message, and what becomes of packets then.

use super::{
    wire::{Fields, Message},
    *,
};

/// A driver and its radio, in a time of their own.
struct Bench {
    driver: Meshtastic,
    now: Duration,
    deframer: Deframer,
    told: Vec<Act>,
}

impl Bench {
    fn new(options: &str) -> Self {
        let text = format!("serial:///dev/ttyACM0?driver=meshtastic&{options}");
        let address = PortAddress::parse(&text.parse().unwrap()).unwrap();
        let driver = Meshtastic::new(&address, u32::MAX - 1).unwrap();
        Self { driver, now: Duration::ZERO, deframer: Deframer::default(), told: Vec::new() }
    }

    /// Lets time pass until something was told, with a radio that answers so.
    fn run(&mut self, mut radio: impl FnMut(&[u8]) -> Vec<Vec<u8>>) -> Act {
        for _ in 0..10_000 {
            if !self.told.is_empty() {
                return self.told.remove(0);
            }
            match self.driver.poll() {
                Some(Act::Write(line)) => {
                    let messages: Vec<_> =
                        line.iter().filter_map(|byte| self.deframer.push(*byte)).collect();
                    for answer in messages.iter().flat_map(|message| radio(message)) {
                        self.hear(&answer);
                    }
                }
                Some(act) => self.told.push(act),
                None => {
                    self.now = self.now.max(self.driver.poll_timeout().unwrap());
                    self.driver.handle_timeout(self.now);
                }
            }
        }
        panic!("nothing happens");
    }

    fn ready(options: &str) -> (Self, RadioFacts) {
        let mut bench = Self::new(options);
        match bench.run(well) {
            Act::Ready(facts) => (bench, facts),
            act => panic!("{act:?}"),
        }
    }

    fn send(&mut self, number: u32, bytes: &[u8]) {
        assert!(self.driver.takes_frame());
        self.driver.handle_frame(self.now, OutFrame { number, bytes: bytes.to_vec() });
    }

    fn hear(&mut self, message: &[u8]) {
        self.driver.handle_bytes(self.now, &enframe(message));
    }
}

fn from_radio(number: u32, within: Message) -> Vec<u8> {
    Message::default().number(1, 1).bytes(number, &within.done()).done()
}

fn lora(region: u64, may_send: u64) -> Message {
    let lora = Message::default().number(1, 1).number(7, region).number(9, may_send).done();
    Message::default().bytes(6, &lora)
}

fn queue(error: u64, free: u64, id: u32) -> Vec<u8> {
    let queue = Message::default().number(1, error).number(2, free).number(3, 16);
    from_radio(11, queue.number(4, id.into()))
}

/// What is told to somebody who asks, by a radio that is set so.
fn all(number: u32, lora: Message) -> Vec<Vec<u8>> {
    vec![
        from_radio(3, Message::default().number(1, 0x1234)),
        from_radio(4, Message::default().number(1, 0x5678)),
        from_radio(5, lora),
        Message::default().number(7, number.into()).done(),
    ]
}

/// The number and payload of a packet of ours.
fn packet(message: &[u8]) -> Option<(u32, Vec<u8>)> {
    let packet = Fields::last(message, 1)?.bytes();
    let data = Fields::last(packet, 4)?.bytes();
    Some((Fields::last(packet, 6)?.number(), Fields::last(data, 2)?.bytes().to_vec()))
}

/// A radio with everything in order.
fn well(message: &[u8]) -> Vec<Vec<u8>> {
    if let Some(number) = Fields::last(message, 3) {
        return all(number.number(), lora(3, 1));
    }
    match packet(message) {
        Some((id, _)) => vec![queue(0, 15, id)],
        None => vec![queue(0, 16, 0)],
    }
}

fn ended(act: Act) -> String {
    match act {
        Act::End(why) => why,
        act => panic!("{act:?}"),
    }
}

#[test]
fn what_the_radio_is_set_to_is_what_it_is_like() {
    let (_, facts) = Bench::ready("hops=3");
    assert_eq!((facts.mtu_bytes, facts.bandwidth_hz), (233, Some(250_000)));
    assert_eq!(facts.frequency_hz, Some(869_525_000));
    assert!(facts.listens && facts.broadcasts && !facts.clear_only);
    // 228 bytes and some 25 around them, in LongFast.
    assert!((1_900_000..2_300_000).contains(&facts.air_us(228)), "{}", facts.air_us(228));
    let amateurs = |message: &[u8]| match Fields::last(message, 3) {
        Some(number) => all(number.number(), lora(27, 1)),
        None => well(message),
    };
    let Act::Ready(facts) = Bench::new("").run(amateurs) else { panic!() };
    assert!(facts.clear_only);
}

#[test]
fn a_radio_without_a_region_or_that_must_not_send_is_said_so() {
    for (region, may_send, word) in [(0, 1, "lora.region"), (3, 0, "lora.tx_enabled")] {
        let why = ended(Bench::new("").run(|message| {
            let number = Fields::last(message, 3).unwrap();
            all(number.number(), lora(region, may_send))
        }));
        assert!(why.contains(word), "{why}");
    }
    let why = ended(Bench::new("").run(|message| {
        let number = Fields::last(message, 3).unwrap();
        all(number.number(), Message::default())
    }));
    assert!(why.contains("does not say how it is set"), "{why}");
}

#[test]
fn what_is_no_radio_is_said() {
    let why = ended(Bench::new("").run(|_| vec![]));
    assert!(why.contains("nothing answers"), "{why}");
    let mut bench = Bench::new("");
    bench.driver.handle_bytes(Duration::ZERO, b"$GPGGA,123519,4807.038,N*47\r\n");
    let why = ended(bench.run(|_| vec![]));
    assert!(why.contains("satellite receiver"), "{why}");
    let why = ended(Bench::new("").run(|message| {
        Fields::last(message, 3).map_or(vec![], |_| all(0, lora(3, 1))[..2].to_vec())
    }));
    assert!(why.contains("in the middle"), "{why}");
}

#[test]
fn a_radio_that_starts_anew_is_asked_again() {
    let (mut bench, mut silent) = (Bench::new(""), 3);
    let act = bench.run(|message| {
        silent -= 1;
        match silent {
            1.. => vec![],
            0 => vec![Message::default().number(8, 1).done()],
            _ => well(message),
        }
    });
    assert!(matches!(act, Act::Ready(_)), "{act:?}");
    // What was asked for before is not what was asked for last.
    let mut bench = Bench::new("");
    let act = bench.run(|message| match Fields::last(message, 3) {
        Some(number) => all(number.number() - 1, lora(3, 1)),
        None => vec![],
    });
    assert!(matches!(act, Act::End(_)), "{act:?}");
    bench.hear(&Message::default().number(8, 1).done());
}

#[test]
fn a_packet_is_sent_when_the_queue_is_empty_again() {
    let (mut bench, facts) = Bench::ready("");
    let begun = bench.now;
    bench.send(4, b"hello");
    let (mut asked, mut given) = (0, Vec::new());
    let told = bench.run(|message| {
        given.extend(packet(message));
        asked += u64::from(packet(message).is_none());
        if asked == 0 { well(message) } else { vec![queue(0, 14 + asked.min(2), 0)] }
    });
    assert!(matches!(told, Act::Tell(Heard::Sent { number: 4 })), "{told:?}");
    assert_eq!(given, [(u32::MAX - 1, b"hello".to_vec())]);
    assert!(bench.now >= begun + Duration::from_micros(facts.air_us(5)) + FULL_EVERY);
    for id in [u32::MAX, 1, 2] {
        bench.send(5, b"x");
        let told = bench.run(|message| {
            if let Some((given, _)) = packet(message) {
                assert_eq!(given, id);
            }
            well(message)
        });
        assert!(matches!(told, Act::Tell(Heard::Sent { number: 5 })), "{told:?}");
    }
}

#[test]
fn what_a_radio_does_not_send_is_refused_in_its_words() {
    for (error, word) in [(9, "Duty"), (7, "TooLong"), (34, "set not to send"), (99, "error 99")] {
        let (mut bench, _) = Bench::ready("");
        bench.send(1, b"x");
        let told = bench.run(|message| vec![queue(error, 16, packet(message).unwrap().0)]);
        assert!(matches!(told, Act::Tell(Heard::Refused { number: 1, .. })), "{told:?}");
        assert!(format!("{told:?}").contains(word), "{told:?}");
    }
    // It took the packet, and found out later.
    let (mut bench, _) = Bench::ready("");
    bench.send(1, b"x");
    let told = bench.run(|message| {
        let (id, _) = packet(message).unwrap();
        let error = Message::default().number(3, 9).done();
        let data = Message::default().number(1, 5).bytes(2, &error).fixed32(6, id).done();
        vec![queue(0, 15, id), from_radio(2, Message::default().bytes(4, &data))]
    });
    assert!(
        matches!(told, Act::Tell(Heard::Refused { number: 1, why: Refusal::Duty })),
        "{told:?}"
    );
}

#[test]
fn a_radio_that_stops_answering_is_given_up() {
    let (mut bench, _) = Bench::ready("");
    bench.send(1, b"x");
    assert!(matches!(bench.run(well), Act::Tell(Heard::Sent { number: 1 })));
    bench.send(2, b"x");
    let told = bench.run(|_| vec![]);
    assert!(matches!(told, Act::Tell(Heard::Refused { number: 2, why: Refusal::Silent })));
    let why = ended(bench.run(|_| vec![]));
    assert!(why.contains("does not answer any more"), "{why}");
}

#[test]
fn old_firmware_that_tells_nothing_of_its_queue_is_paced_by_the_clock() {
    let old = |message: &[u8]| match Fields::last(message, 3) {
        Some(_) => well(message),
        None => vec![],
    };
    let mut bench = Bench::new("");
    assert!(matches!(bench.run(old), Act::Ready(_)));
    bench.send(1, b"x");
    assert!(matches!(bench.run(old), Act::Tell(Heard::Sent { number: 1 })));
}

#[test]
fn what_others_send_to_programs_is_heard_and_our_own_is_not() {
    let (mut bench, _) = Bench::ready("");
    for (from, port, payload) in
        [(0x9999, 1, "text"), (0x1234, 256, "ours"), (0x9999, 256, ""), (0x9999, 256, "theirs")]
    {
        let data = Message::default().number(1, port).bytes(2, payload.as_bytes()).done();
        bench.hear(&from_radio(2, Message::default().fixed32(1, from).bytes(4, &data)));
    }
    let Act::Tell(Heard::Frame { bytes, .. }) = bench.run(well) else { panic!() };
    assert_eq!(bytes, b"theirs");
    assert!(bench.driver.poll().is_none());
}
