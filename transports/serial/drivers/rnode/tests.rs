//! A board made of a table: what it says to each command, and what becomes of frames then.

use super::*;

fn address(options: &str) -> PortAddress {
    let text = format!("serial:///dev/ttyACM0?driver=rnode&{options}");
    PortAddress::parse(&text.parse().unwrap()).unwrap()
}

/// A driver and its board, in a time of their own.
struct Bench {
    rnode: Rnode,
    now: Duration,
    deframer: Deframer,
    /// What went to the board.
    said: Vec<Vec<u8>>,
    told: Vec<Act>,
}

impl Bench {
    fn new(options: &str) -> Self {
        let rnode = Rnode::new(&address(options)).unwrap();
        let (said, told) = (Vec::new(), Vec::new());
        Self { rnode, now: Duration::ZERO, deframer: Deframer::new(600), said, told }
    }

    /// Lets time pass until something was told, with a board that answers so.
    fn run(&mut self, mut board: impl FnMut(&[u8]) -> Vec<Vec<u8>>) -> Act {
        for _ in 0..10_000 {
            if !self.told.is_empty() {
                return self.told.remove(0);
            }
            match self.rnode.poll() {
                Some(Act::Write(line)) => {
                    let frames: Vec<_> =
                        line.iter().filter_map(|byte| self.deframer.push(*byte)).collect();
                    for frame in frames {
                        let answers = board(&frame);
                        self.said.push(frame);
                        for answer in answers {
                            self.rnode.handle_bytes(self.now, &enframe(&[&answer]));
                        }
                    }
                }
                Some(act) => self.told.push(act),
                None => {
                    self.now = self.now.max(self.rnode.poll_timeout().unwrap());
                    self.rnode.handle_timeout(self.now);
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
        assert!(self.rnode.takes_frame());
        self.rnode.handle_frame(self.now, OutFrame { number, bytes: bytes.to_vec() });
    }

    fn hear(&mut self, frame: &[u8]) {
        self.rnode.handle_bytes(self.now, &enframe(&[frame]));
    }
}

/// A board with everything in order.
fn well(said: &[u8]) -> Vec<Vec<u8>> {
    match said[0] {
        DETECT => vec![vec![DETECT, DETECT_ANSWER]],
        VERSION => vec![vec![VERSION, 1, 80]],
        READY => vec![vec![READY, 1]],
        DATA => vec![],
        _ => vec![said.to_vec()],
    }
}

/// The same, which says of one command something else.
fn but(command: u8, answer: &'static [u8]) -> impl FnMut(&[u8]) -> Vec<Vec<u8>> {
    move |said| if said[0] == command { vec![answer.to_vec()] } else { well(said) }
}

fn ended(act: Act) -> String {
    match act {
        Act::End(why) => why,
        act => panic!("{act:?}"),
    }
}

const SAID: &str = "freq=868.1MHz&lock1h=1";

#[test]
fn a_board_is_known_then_set_then_switched_on() {
    let (bench, facts) = Bench::ready(SAID);
    let commands: Vec<u8> = bench.said.iter().map(|frame| frame[0]).collect();
    assert_eq!(commands, [0x08, 0x50, 0x01, 0x02, 0x03, 0x04, 0x05, 0x0c, 0x06, 0x0f]);
    assert_eq!((facts.mtu_bytes, facts.frequency_hz), (254, Some(868_100_000)));
    assert!(facts.listens && facts.broadcasts && !facts.clear_only);
}

#[test]
fn a_board_that_starts_anew_when_it_is_opened_is_waited_for() {
    let mut bench = Bench::new(SAID);
    let mut silent = 6;
    let act = bench.run(|said| {
        silent -= i32::from(said[0] == DETECT);
        if silent > 0 {
            b"\r\nets Jul 29 2019 12:21:46\r\n".chunks(9).map(Vec::from).collect()
        } else {
            well(said)
        }
    });
    assert!(matches!(act, Act::Ready(_)), "{act:?}");
    assert!(bench.now >= Duration::from_secs(5));
}

#[test]
fn what_is_no_rnode_is_said() {
    let why = ended(Bench::new(SAID).run(|_| vec![]));
    assert!(why.contains("nothing answers"), "{why}");
    let why = ended(Bench::new(SAID).run(|said| vec![said.to_vec()]));
    assert!(why.contains("no RNode") && why.contains("looks like"), "{why}");
    let mut bench = Bench::new(SAID);
    bench
        .rnode
        .handle_bytes(Duration::ZERO, b"\r\nDebian GNU/Linux 12 box ttyS0\r\n\r\nbox login: ");
    let why = ended(bench.run(|_| vec![]));
    assert!(why.contains("login"), "{why}");
}

#[test]
fn a_setting_that_was_not_taken_is_said_with_what_was() {
    let why = ended(Bench::new("freq=868.1MHz&power=22").run(but(POWER, &[POWER, 17])));
    assert!(why.contains("22 for power") && why.contains("took 17"), "{why}");
    assert!(why.contains("firmware 1.80"), "{why}");
    let why = ended(Bench::new(SAID).run(but(LONG_LOCK, &[0x26])));
    assert!(why.contains("lock1h") && why.contains("does not answer"), "{why}");
    let why = ended(Bench::new(SAID).run(but(STATE, &[ERROR, 0x01])));
    assert!(why.contains("does not start"), "{why}");
    let why = ended(Bench::new(SAID).run(but(STATE, &[STATE, 0])));
    assert!(why.contains("switched on"), "{why}");
}

#[test]
fn a_frame_is_sent_when_its_time_is_over_and_there_is_room_again() {
    let (mut bench, facts) = Bench::ready(SAID);
    bench.send(5, b"\xc0hello");
    assert!(!bench.rnode.takes_frame());
    let (begun, mut asked) = (bench.now, 0);
    let told = bench.run(|said| {
        asked += i32::from(said[0] == READY);
        if said[0] == READY && asked < 4 { vec![vec![READY, 0]] } else { well(said) }
    });
    assert!(matches!(told, Act::Tell(Heard::Sent { number: 5 })), "{told:?}");
    assert!(bench.said.contains(&b"\x00\xc0hello".to_vec()));
    assert!(bench.now >= begun + Duration::from_micros(facts.air_us(6)) + 3 * FULL_EVERY);
}

#[test]
fn a_board_that_stays_full_is_busy_and_one_that_is_silent_is_gone() {
    let (mut bench, _) = Bench::ready(SAID);
    bench.send(1, b"x");
    let told = bench.run(but(READY, &[READY, 0]));
    assert!(matches!(told, Act::Tell(Heard::Refused { number: 1, why: Refusal::Busy })));
    bench.send(2, b"x");
    let why = ended(bench.run(|_| vec![]));
    assert!(why.contains("does not answer any more"), "{why}");
    let (mut bench, _) = Bench::ready(SAID);
    let why = ended(bench.run(|_| vec![]));
    assert!(why.contains("does not answer any more") && bench.now >= LOOK_EVERY, "{why}");
}

#[test]
fn old_firmware_that_never_says_it_has_room_is_paced_by_the_clock() {
    let mut bench = Bench::new(SAID);
    let old = |said: &[u8]| if said[0] == READY { vec![] } else { well(said) };
    assert!(matches!(bench.run(old), Act::Ready(_)));
    bench.send(1, b"x");
    assert!(matches!(bench.run(old), Act::Tell(Heard::Sent { number: 1 })));
}

#[test]
fn while_its_lock_is_shut_a_frame_is_refused_at_once() {
    let (mut bench, _) = Bench::ready(SAID);
    bench.hear(&[CHANNEL, 0x20, 0, 0, 100, 0, 0, 0, 0]);
    bench.send(1, b"x");
    assert!(matches!(bench.run(well), Act::Tell(Heard::Refused { why: Refusal::Duty, .. })));
    assert!(!bench.said.iter().any(|said| said[0] == DATA));
    bench.hear(&[CHANNEL, 0, 0, 0, 99, 0, 0, 0, 0]);
    bench.send(2, b"x");
    assert!(matches!(bench.run(well), Act::Tell(Heard::Sent { number: 2 })));
}

#[test]
fn how_well_a_frame_was_heard_belongs_to_that_frame() {
    let (mut bench, _) = Bench::ready(SAID);
    for frame in [&[RSSI, 60][..], &[SNR, 0xec], b"\x00one", b"\x00two"] {
        bench.hear(frame);
    }
    let strong = Strength { rssi_dbm: Some(-97), snr_quarter_db: Some(-20) };
    for (expected, how) in [(b"one", strong), (b"two", Strength::default())] {
        let Act::Tell(Heard::Frame { bytes, strength }) = bench.run(well) else { panic!() };
        assert_eq!((&bytes[..], strength), (&expected[..], how));
    }
}

#[test]
fn what_goes_wrong_in_the_board_is_told() {
    for (code, is_frame, word) in [
        (2, true, "could not send"),
        (4, true, "Busy"),
        (5, true, "0x05"),
        (6, false, "does not answer"),
    ] {
        let (mut bench, _) = Bench::ready(SAID);
        bench.send(1, b"x");
        bench.hear(&[ERROR, code]);
        let act = bench.run(well);
        assert_eq!(matches!(act, Act::Tell(Heard::Refused { number: 1, .. })), is_frame, "{act:?}");
        assert!(format!("{act:?}").contains(word), "{act:?}");
    }
    let (mut bench, _) = Bench::ready(SAID);
    bench.hear(&[RESET, 0xf8]);
    assert!(ended(bench.run(well)).contains("anew"));
}
