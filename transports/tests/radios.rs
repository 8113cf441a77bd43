//! Modems with a dialect of their own, at ports as they are: frames both ways, and what goes wrong.
#![cfg(all(feature = "serial", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod modems;

use std::time::Duration;

use modems::{Air, Kind, Station};
use postrider_transports::{
    Link, Pipe, Transport as _, TransportError,
    contract::{Address, FramePort, Heard, OutFrame, PortTrouble, Refusal},
    serial::SerialTransport,
};

const RAW: &str = "driver=kiss&raw=yes&air=sf5,bw500,cr5";
const ACKED: &str = "driver=kiss&raw=yes&air=sf5,bw500,cr5&ack=yes";
const SIGNED: &str = "driver=kiss&call=DL1ABC-7&air=9600&txdelay=10";
const RNODE: &str = "driver=rnode&freq=868.1MHz&sf=5&bw=500";
const MESH: &str = "driver=meshtastic";
const ALL: [(Kind, &str); 5] = [
    (Kind::Kiss, RAW),
    (Kind::Kiss, ACKED),
    (Kind::Kiss, SIGNED),
    (Kind::Rnode, RNODE),
    (Kind::Meshtastic, MESH),
];

/// A test that takes longer hangs. It never decides what is right.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(600), work).await.expect("the test hangs")
}

async fn dial(text: &str) -> Result<Link, TransportError> {
    let to: Address = text.parse().unwrap();
    let transports = SerialTransport::all();
    let transport = transports.iter().find(|it| it.scheme() == to.scheme()).unwrap();
    soon(transport.dial(&to, None)).await
}

fn frames(link: Link) -> FramePort {
    match link.pipe {
        Pipe::Frames(port) => port,
        pipe => panic!("{pipe:?}"),
    }
}

async fn open(station: &Station, options: &str) -> FramePort {
    frames(dial(&format!("serial://{}?{options}", station.place)).await.unwrap())
}

async fn refused(station: &Station, options: &str) -> String {
    match dial(&format!("serial://{}?{options}", station.place)).await {
        Err(TransportError::Port { trouble: PortTrouble::Other, detail }) => detail,
        other => panic!("{other:?}"),
    }
}

async fn send(port: &FramePort, number: u32, bytes: &[u8]) {
    soon(port.to_air.send(OutFrame { number, bytes: bytes.to_vec() })).await.unwrap();
}

async fn told(port: &mut FramePort) -> Heard {
    soon(port.heard.recv()).await.unwrap()
}

async fn heard(port: &mut FramePort) -> Vec<u8> {
    match told(port).await {
        Heard::Frame { bytes, .. } => bytes,
        told => panic!("{told:?}"),
    }
}

async fn is_sent(port: &mut FramePort, expected: u32) {
    let told = told(port).await;
    assert!(matches!(told, Heard::Sent { number } if number == expected), "{told:?}");
}

async fn ended(port: &mut FramePort) -> String {
    loop {
        if let Heard::Ended(why) = told(port).await {
            assert!(soon(port.heard.recv()).await.is_none(), "that was not the last");
            return why.to_string();
        }
    }
}

/// Every byte that means something to one of them, and the rest.
fn every_byte() -> Vec<u8> {
    (0..=127).chain([0xc0, 0xdb, 0xdc, 0xdd, 0x94, 0xc3, 0xff, 0xc0]).chain(180..=255).collect()
}

#[tokio::test]
async fn frames_go_both_ways_whatever_is_in_them() {
    for (kind, options) in ALL {
        let air = Air::default();
        let (one, other) = (air.station(kind), air.station(kind));
        let (mut near, mut far) = (open(&one, options).await, open(&other, options).await);
        for number in 0..3 {
            let frame = [every_byte(), vec![u8::try_from(number).unwrap()]].concat();
            send(&near, number, &frame).await;
            is_sent(&mut near, number).await;
            assert_eq!(heard(&mut far).await, frame, "{options}");
            send(&far, number, &frame).await;
            is_sent(&mut far, number).await;
            assert_eq!(heard(&mut near).await, frame, "{options}");
        }
    }
}

#[tokio::test]
async fn frames_are_found_in_garbage_and_byte_by_byte() {
    for (kind, options) in ALL {
        let air = Air::default();
        let (one, other) = (air.station(kind), air.station(kind));
        other.is_noisy(true);
        let (mut near, mut far) = (open(&one, options).await, open(&other, options).await);
        for number in 0..4 {
            send(&near, number, b"hello").await;
            is_sent(&mut near, number).await;
            assert_eq!(heard(&mut far).await, b"hello", "{options}");
        }
        send(&far, 9, b"again").await;
        is_sent(&mut far, 9).await;
        assert_eq!(heard(&mut near).await, b"again", "{options}");
    }
}

#[tokio::test]
async fn what_a_radio_is_like_is_known_when_it_is_open() {
    for (kind, options, mtu, signs) in [
        (Kind::Kiss, RAW, 255, false),
        (Kind::Kiss, SIGNED, 256, true),
        (Kind::Rnode, RNODE, 254, false),
        (Kind::Meshtastic, MESH, 233, false),
    ] {
        let station = Air::default().station(kind);
        let link = dial(&format!("serial://{}?{options}", station.place)).await.unwrap();
        assert_eq!((link.facts.mtu_bytes, link.facts.half_duplex), (Some(mtu), true));
        assert_eq!((link.facts.peer, link.facts.clear_only), (None, signs));
        let facts = frames(link).facts;
        assert_eq!(
            (u32::from(facts.mtu_bytes), facts.signs, facts.clear_only),
            (mtu, signs, signs)
        );
        assert!(facts.broadcasts && facts.air_us(100) > 5_000, "{facts:?}");
    }
}

#[tokio::test]
async fn how_well_it_was_heard_is_told_where_the_radio_says_so() {
    for (kind, options, quarters) in [(Kind::Rnode, RNODE, -20), (Kind::Meshtastic, MESH, -29)] {
        let air = Air::default();
        let (one, other) = (air.station(kind), air.station(kind));
        let (near, mut far) = (open(&one, options).await, open(&other, options).await);
        send(&near, 0, b"hello").await;
        let Heard::Frame { strength, .. } = told(&mut far).await else { panic!("not heard") };
        assert_eq!((strength.rssi_dbm, strength.snr_quarter_db), (Some(-97), Some(quarters)));
    }
}

#[tokio::test]
async fn what_is_too_long_is_refused_and_the_longest_goes() {
    for (kind, options) in ALL {
        let air = Air::default();
        let (one, other) = (air.station(kind), air.station(kind));
        let (mut near, mut far) = (open(&one, options).await, open(&other, options).await);
        let most = usize::from(near.facts.mtu_bytes);
        send(&near, 0, &vec![7; most + 1]).await;
        let told = told(&mut near).await;
        assert!(matches!(told, Heard::Refused { number: 0, why: Refusal::TooLong }), "{told:?}");
        send(&near, 1, &vec![7; most]).await;
        is_sent(&mut near, 1).await;
        assert_eq!(heard(&mut far).await, vec![7; most]);
    }
}

#[tokio::test]
async fn a_frame_takes_its_time_on_the_air_before_the_next_goes() {
    let station = Air::default().station(Kind::Kiss);
    let mut port = open(&station, RAW).await;
    let air = Duration::from_micros(port.facts.air_us(200));
    let begun = std::time::Instant::now();
    for number in 0..3 {
        send(&port, number, &[7; 200]).await;
        is_sent(&mut port, number).await;
    }
    assert!(begun.elapsed() >= 3 * air, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_modem_that_stops_answering_is_given_up() {
    for (kind, options) in [(Kind::Kiss, ACKED), (Kind::Rnode, RNODE), (Kind::Meshtastic, MESH)] {
        let station = Air::default().station(kind);
        let mut port = open(&station, options).await;
        send(&port, 0, b"hello").await;
        is_sent(&mut port, 0).await;
        station.is_mute(true);
        // From here nobody says anything, so time may pass as it likes.
        tokio::time::pause();
        let to_air = port.to_air.clone();
        let sends = tokio::spawn(async move {
            for number in 1..10 {
                let frame = OutFrame { number, bytes: b"hello".to_vec() };
                if to_air.send(frame).await.is_err() {
                    break;
                }
            }
        });
        let refused = told(&mut port).await;
        assert!(
            matches!(refused, Heard::Refused { number: 1, why: Refusal::Silent }),
            "{refused:?}"
        );
        let why = ended(&mut port).await;
        assert!(why.contains("does not"), "{why}");
        sends.await.unwrap();
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_modem_that_is_pulled_out_ends_its_port_and_what_it_had() {
    for (kind, options) in ALL {
        let station = Air::default().station(kind);
        let mut port = open(&station, options).await;
        // Nobody waits for it: the modem is gone before its time on the air is over.
        send(&port, 5, &[7; 200]).await;
        drop(station);
        let mut fates = 0;
        loop {
            match told(&mut port).await {
                Heard::Sent { number: 5 } | Heard::Refused { number: 5, .. } => fates += 1,
                Heard::Ended(_) => break,
                told => panic!("{told:?}"),
            }
        }
        assert!(fates <= 1 && soon(port.heard.recv()).await.is_none(), "{options}");
    }
}

#[tokio::test]
async fn a_port_is_let_go_when_nobody_wants_it_and_then_another_may_have_it() {
    for (kind, options) in ALL {
        let station = Air::default().station(kind);
        let first = open(&station, options).await;
        let uri = format!("serial://{}?{options}", station.place);
        let Err(TransportError::Port { trouble, detail }) = dial(&uri).await else { panic!("two") };
        assert_eq!(trouble, PortTrouble::Busy);
        assert!(detail.contains(&format!("process {}", std::process::id())), "{detail}");
        let FramePort { to_air, mut heard, .. } = first;
        drop(to_air);
        // The last thing that it does is to let go.
        assert!(soon(heard.recv()).await.is_none());
        frames(dial(&uri).await.unwrap());
    }
}

#[tokio::test]
async fn where_nothing_answers_that_is_said_with_the_port() {
    // Nobody says anything, so time may pass as it likes.
    tokio::time::pause();
    let air = Air::default();
    let silent = air.station(Kind::Kiss);
    let why = refused(&silent, RNODE).await;
    assert!(why.contains(&silent.place) && why.contains("nothing answers"), "{why}");
    let why = refused(&silent, MESH).await;
    assert!(why.contains("nothing answers"), "{why}");
}

#[tokio::test]
async fn a_radio_that_may_not_send_so_is_not_opened() {
    let air = Air::default();
    let why = refused(&air.station(Kind::MeshtasticWithoutRegion), MESH).await;
    assert!(why.contains("lora.region"), "{why}");
    let why = refused(&air.station(Kind::Rnode), &format!("{RNODE}&power=30")).await;
    assert!(why.contains("30 for power") && why.contains("22"), "{why}");
}

#[tokio::test]
async fn a_board_whose_duty_is_used_up_refuses_with_that_word() {
    let station = Air::default().station(Kind::Rnode);
    let mut port = open(&station, &format!("{RNODE}&lock1h=0.01")).await;
    send(&port, 0, b"the first shuts the lock").await;
    is_sent(&mut port, 0).await;
    send(&port, 1, b"the second waits").await;
    let told = told(&mut port).await;
    assert!(matches!(told, Heard::Refused { number: 1, why: Refusal::Duty }), "{told:?}");
}

#[tokio::test]
async fn modems_behind_tcp_are_the_same() {
    for (kind, scheme, options) in [
        (Kind::Kiss, "kiss+tcp", "raw=yes&air=sf5,bw500,cr5"),
        (Kind::Kiss, "serial+tcp", SIGNED),
        (Kind::Rnode, "serial+tcp", RNODE),
        (Kind::Meshtastic, "serial+tcp", MESH),
    ] {
        let air = Air::default();
        let (one, other) = (air.station_at_tcp(kind), air.station_at_tcp(kind));
        let uri = |station: &Station| format!("{scheme}://{}?{options}", station.place);
        let mut near = frames(dial(&uri(&one)).await.unwrap());
        let mut far = frames(dial(&uri(&other)).await.unwrap());
        send(&near, 1, &every_byte()).await;
        is_sent(&mut near, 1).await;
        assert_eq!(heard(&mut far).await, every_byte());
        drop(other);
        assert!(ended(&mut far).await.contains("gone"));
    }
}

#[tokio::test]
async fn a_driver_that_is_told_nonsense_opens_nothing() {
    for options in ["driver=rnode", "driver=kiss&raw=yes", "driver=meshtastic&region=EU"] {
        let failed = dial(&format!("serial:///nowhere/at/all?{options}")).await;
        assert!(matches!(failed, Err(TransportError::Address { .. })), "{failed:?}");
    }
}
