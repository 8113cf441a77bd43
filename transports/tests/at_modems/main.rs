//! Modems that are spoken to in lines: frames through small ones on pseudo terminals, and what goes wrong.
#![cfg(all(feature = "serial", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod centre;
mod lora;
mod port;

use std::{sync::Arc, time::Duration};

use postrider_transports::{
    Pipe, Transport as _, TransportError,
    contract::{Address, FramePort, Heard, OutFrame, Refusal},
    serial::SerialTransport,
};

use self::{
    centre::{Centre, Gateway, iridium, phone},
    lora::{Air, Instead, rn2483, rylr998, wio_e5},
    port::Plug,
};

/// A test that takes longer hangs. It never decides what is right.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("the test hangs")
}

async fn dial(plug: &Plug, options: &str) -> Result<Pipe, TransportError> {
    let to: Address = format!("serial://{}?driver=at&{options}", plug.name()).parse().unwrap();
    let transports = SerialTransport::all();
    let transport = transports.iter().find(|it| it.scheme() == "serial").unwrap();
    soon(transport.dial(&to, None)).await.map(|link| link.pipe)
}

async fn open(plug: &Plug, options: &str) -> FramePort {
    match dial(plug, options).await.unwrap() {
        Pipe::Frames(port) => port,
        pipe => panic!("{pipe:?}"),
    }
}

async fn send(port: &FramePort, number: u32, bytes: &[u8]) {
    soon(port.to_air.send(OutFrame { number, bytes: bytes.to_vec() })).await.unwrap();
}

async fn fate(port: &mut FramePort) -> Result<u32, (u32, Refusal)> {
    loop {
        match soon(port.heard.recv()).await.unwrap() {
            Heard::Sent { number } => return Ok(number),
            Heard::Refused { number, why } => return Err((number, why)),
            Heard::Frame { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn frame(port: &mut FramePort) -> (Vec<u8>, Option<i16>, Option<i16>) {
    loop {
        match soon(port.heard.recv()).await.unwrap() {
            Heard::Frame { bytes, strength } => {
                return (bytes, strength.rssi_dbm, strength.snr_quarter_db);
            }
            Heard::Sent { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Frames that would break a line if they went as they are, and the longest.
fn awkward(mtu_bytes: u16) -> Vec<Vec<u8>> {
    let all: Vec<u8> = (0..=255).cycle().take(mtu_bytes.into()).collect();
    vec![
        b"\r\n+OK\r\n,,+ERR=17\0".to_vec(),
        vec![0],
        vec![0x41; mtu_bytes.into()],
        vec![0x0a; mtu_bytes.into()],
        all,
    ]
}

async fn both_ways(near: &mut FramePort, far: &mut FramePort, air: &Air) {
    for (number, bytes) in (0..).zip(awkward(near.facts.mtu_bytes)) {
        soon(air.all_listen()).await;
        send(near, number, &bytes).await;
        assert_eq!(frame(far).await.0, bytes);
        assert_eq!(fate(near).await, Ok(number));
        soon(air.all_listen()).await;
        send(far, number, &bytes).await;
        assert_eq!(frame(near).await.0, bytes);
        assert_eq!(fate(far).await, Ok(number));
    }
}

#[tokio::test]
async fn rylr998_carries_frames_both_ways() {
    let (air, none) = (Air::default(), Instead::default());
    let plugs = [(); 2].map(|()| rylr998(&air, &none, None));
    let options = "profile=rylr998&freq=869.525MHz&sf=8&network=5";
    let (mut near, mut far) = (open(&plugs[0], options).await, open(&plugs[1], options).await);
    both_ways(&mut near, &mut far, &air).await;
    soon(air.all_listen()).await;
    send(&near, 9, b"strong").await;
    assert_eq!(frame(&mut far).await, (b"strong".to_vec(), Some(-67), Some(44)));
    for said in ["AT+BAND=869525000\r\n", "AT+PARAMETER=8,7,1,12\r\n", "AT+NETWORKID=5\r\n"] {
        assert!(plugs[0].told().contains(said), "{}", plugs[0].told());
    }
}

#[tokio::test]
async fn rn2483_carries_frames_both_ways_and_listens_again_each_time() {
    let (air, none) = (Air::default(), Instead::default());
    let plugs = [(); 2].map(|()| rn2483(&air, &none));
    let options = "profile=rn2483";
    let (mut near, mut far) = (open(&plugs[0], options).await, open(&plugs[1], options).await);
    both_ways(&mut near, &mut far, &air).await;
}

#[tokio::test]
async fn wio_e5_carries_frames_both_ways() {
    let (air, none) = (Air::default(), Instead::default());
    let plugs = [(); 2].map(|()| wio_e5(&air, &none));
    let options = "profile=wio-e5";
    let (mut near, mut far) = (open(&plugs[0], options).await, open(&plugs[1], options).await);
    both_ways(&mut near, &mut far, &air).await;
    soon(air.all_listen()).await;
    send(&near, 9, b"strong").await;
    assert_eq!(frame(&mut far).await, (b"strong".to_vec(), Some(-41), Some(36)));
}

#[tokio::test]
async fn what_a_modem_does_not_send_is_told_with_its_reason() {
    let (air, instead) = (Air::default(), Instead::default());
    let mut port = open(&rylr998(&air, &instead, None), "profile=rylr998").await;
    for (answer, why) in [
        ("+ERR=17\r\n", Refusal::Busy),
        ("+ERR=13\r\n", Refusal::TooLong),
        ("+ERR=10\r\n", Refusal::Duty),
    ] {
        instead.lock().unwrap().push(answer);
        send(&port, 1, b"frame").await;
        assert_eq!(fate(&mut port).await, Err((1, why)));
    }
    instead.lock().unwrap().push("+ERR=15\r\n");
    send(&port, 1, b"frame").await;
    let Err((1, Refusal::Other(why))) = fate(&mut port).await else { panic!("sent") };
    assert!(why.contains("+ERR=15"), "{why}");
    send(&port, 2, &vec![7; usize::from(port.facts.mtu_bytes) + 1]).await;
    assert_eq!(fate(&mut port).await, Err((2, Refusal::TooLong)));
    send(&port, 3, b"frame").await;
    assert_eq!(fate(&mut port).await, Ok(3));

    let plug = rn2483(&air, &instead);
    let mut port = open(&plug, "profile=rn2483").await;
    instead.lock().unwrap().push("busy\r\n");
    send(&port, 1, b"frame").await;
    assert_eq!(fate(&mut port).await, Err((1, Refusal::Busy)));
}

#[tokio::test]
async fn a_modem_that_falls_silent_is_given_up() {
    let (air, instead) = (Air::default(), Instead::default());
    let plug = rn2483(&air, &instead);
    let mut port = open(&plug, "profile=rn2483").await;
    soon(air.all_listen()).await;
    plug.fall_silent();
    send(&port, 1, b"frame").await;
    assert_eq!(fate(&mut port).await, Err((1, Refusal::Silent)));
    let Some(Heard::Ended(why)) = soon(port.heard.recv()).await else { panic!("goes on") };
    let why = why.to_string();
    assert!(why.contains("\"radio rx 0\"") && why.contains("within 2 s"), "{why}");
}

#[tokio::test]
async fn a_setup_that_fails_names_the_command_and_the_answer() {
    let (air, none) = (Air::default(), Instead::default());
    for (quirk, words) in [
        (("AT+BAND", "+ERR=4\r\n"), &["AT+BAND=868500000", "+ERR=4"][..]),
        (("AT+VER", ""), &["AT+VER?", "nothing within 2 s"]),
        (("AT+MODE", "what?\r\n"), &["AT+MODE=0", "what?"]),
        (("AT", ""), &["\"AT\"", "nothing"]),
        (("AT", "\x1b[2J\x07\r\n"), &["\"AT\"", ".[2J."]),
    ] {
        let plug = rylr998(&air, &none, Some(quirk));
        let why = dial(&plug, "profile=rylr998").await.unwrap_err().to_string();
        assert!(why.starts_with(plug.name()), "{why}");
        for word in words {
            assert!(why.contains(word), "{quirk:?}: {why}");
        }
    }
}

#[tokio::test]
async fn what_is_not_said_to_be_an_at_modem_is_told_nothing() {
    let (air, none) = (Air::default(), Instead::default());
    let plug = rylr998(&air, &none, None);
    for options in ["profile=rylr998&speed=9", "profile=unknown", "profile=/nowhere/my.toml", ""] {
        let failed = dial(&plug, options).await;
        assert!(matches!(failed, Err(TransportError::Profile { .. })), "{options}: {failed:?}");
    }
    assert_eq!(plug.told(), "");
}

#[tokio::test]
async fn garbage_and_lies_are_heard_and_left_alone() {
    let (air, none) = (Air::default(), Instead::default());
    let plugs = [(); 2].map(|()| rylr998(&air, &none, None));
    let (near, mut far) =
        (open(&plugs[0], "profile=rylr998").await, open(&plugs[1], "profile=rylr998").await);
    air.shout(b"\x01 somebody else's \r\n frame");
    air.shout(b"");
    for lie in [
        &b"+RCV=0,99999999999999999999,x,-1,-1\r\n"[..],
        b"+RCV=0,240,x,-1,-1\r\n",
        b"+RCV=0,-1,x,-1,-1\r\n",
        b"+RCV=,,,,\r\n+RCV=\r\n",
        b"+RCV=7,17,\r\n+READY\r\n+OK\r\n\r\n,-5,5\r\n",
        b"+RCV=0,1,\x01,-99999999,99999999\r\n",
        &[0xff; 9_000],
        b"\r\n\r\n\x00\x00\r\n",
    ] {
        // As much may have to wait until it is read.
        let (plug, lie) = (plugs[1].clone(), lie.to_vec());
        tokio::task::spawn_blocking(move || plug.say(&lie)).await.unwrap();
    }
    send(&near, 1, b"true").await;
    let mut heard = Vec::new();
    while heard.last().is_none_or(|last: &Vec<u8>| last != b"true") {
        heard.push(frame(&mut far).await.0);
    }
    assert!(heard.len() <= 2, "{heard:?}");
}

#[tokio::test]
async fn a_modem_that_begins_anew_is_set_up_anew() {
    let (air, none) = (Air::default(), Instead::default());
    let plug = rylr998(&air, &none, None);
    let mut port = open(&plug, "profile=rylr998").await;
    plug.say(b"+READY\r\n");
    let Some(Heard::Ended(why)) = soon(port.heard.recv()).await else { panic!("goes on") };
    assert!(why.to_string().contains("+READY"), "{why}");
    assert!(soon(port.heard.recv()).await.is_none());
    open(&plug, "profile=rylr998").await;
}

#[tokio::test]
async fn a_profile_of_ones_own_needs_no_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("my.toml");
    let text = r#"
        name = "shouter"
        end = "\n"
        [option.voice]
        min = 1
        max = 9
        default = "5"
        [[setup]]
        say = "voice {voice}"
        expect = "fine"
        [air]
        bits-per-s = 1200
        broadcasts = true
        [send]
        data = "hex"
        payload = 40
        steps = [{ say = "shout {data}", expect = "shouted" }]
        [[heard]]
        line = "{who} shouts {data}"
    "#;
    std::fs::write(&path, text).unwrap();
    let plug = Plug::lines("\n", |line, plug| match line {
        b"voice 7" => b"fine\n".to_vec(),
        b"shout 68656C6C6F" => {
            plug.say(b"echo shouts 68656C6C6F\n");
            b"shouted\n".to_vec()
        }
        other => panic!("{other:?}"),
    });
    let mut port = open(&plug, &format!("profile={}&voice=7", path.display())).await;
    assert_eq!((port.facts.mtu_bytes, port.facts.bits_per_s), (40, 1200));
    send(&port, 1, b"hello").await;
    assert_eq!(frame(&mut port).await.0, b"hello");
    std::fs::write(&path, text.replace("shout {data}", "shout {dada}")).unwrap();
    let wrong = dial(&plug, &format!("profile={}", path.display())).await;
    let why = wrong.unwrap_err().to_string();
    assert!(why.contains("nothing gives {dada}"), "{why}");
}

#[tokio::test]
async fn sms_carry_frames_and_what_people_write_stays_on_the_card() {
    let (centre, errors) = (Centre::default(), Arc::default());
    let near = phone(&centre, "+49170111111", Arc::clone(&errors));
    let far = phone(&centre, "+49170222222", Arc::default());
    centre.write("+49170222222");
    let other = |number| format!("profile=sms&pin=1234&number={number}");
    let mut near_port = open(&near, &other("+49170222222")).await;
    // The other end is known as it is dialled at home.
    let mut far_port = open(&far, &other("+49170111111")).await;
    assert_eq!(near_port.facts.mtu_bytes, 133);
    both_ways(&mut near_port, &mut far_port, &Air::default()).await;
    // What was taken from the card is deleted behind it: the next frame goes after that.
    send(&far_port, 8, b"last").await;
    assert_eq!(fate(&mut far_port).await, Ok(8));
    soon(async {
        while centre.on_card("+49170222222") > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    errors.lock().unwrap().extend(["+CMS ERROR: 500", "+CMS ERROR: 331"]);
    send(&near_port, 9, b"frame").await;
    assert_eq!(fate(&mut near_port).await, Err((9, Refusal::NoNetwork)));
    assert!(near_port.facts.tariff.is_some());
}

#[tokio::test]
async fn a_pin_that_was_refused_is_not_said_again() {
    let centre = Centre::default();
    let plug = phone(&centre, "+49170333333", Arc::default());
    let options = "profile=sms&pin=4321&number=1";
    let why = dial(&plug, options).await.unwrap_err().to_string();
    assert!(why.contains("\"AT+CPIN=****\"") && why.contains("\"ERROR\""), "{why}");
    let why = dial(&plug, options).await.unwrap_err().to_string();
    assert!(why.contains("is not said again"), "{why}");
    assert_eq!(plug.told().matches("4321").count(), 1);
    open(&plug, "profile=sms&pin=1234&number=1").await;
}

#[tokio::test]
async fn satellites_carry_bursts_both_ways() {
    let (gateway, skies) = (Gateway::default(), Arc::default());
    let near = iridium(&gateway, 0, Arc::clone(&skies));
    let far = iridium(&gateway, 1, Arc::default());
    let mut near_port = open(&near, "profile=iridium").await;
    let mut far_port = open(&far, "profile=iridium").await;
    assert_eq!((near_port.facts.mtu_bytes, near_port.facts.broadcasts), (340, false));
    for (number, bytes) in (0..).zip(awkward(340)) {
        send(&near_port, number, &bytes).await;
        assert_eq!(fate(&mut near_port).await, Ok(number));
        far.say(b"\r\nSBDRING\r\n");
        assert_eq!(frame(&mut far_port).await.0, bytes);
    }
    // What waits comes along with what is sent, and what waits behind that too.
    for message in [&b"first"[..], b"second", b"third"] {
        gateway.keep(0, message);
    }
    send(&near_port, 9, b"up").await;
    assert_eq!(fate(&mut near_port).await, Ok(9));
    for message in [&b"first"[..], b"second", b"third"] {
        assert_eq!(frame(&mut near_port).await.0, message);
    }
    skies.lock().unwrap().push(32);
    send(&near_port, 10, b"no sky").await;
    assert_eq!(fate(&mut near_port).await, Err((10, Refusal::NoNetwork)));
    // It was not sent later instead.
    far.say(b"\r\nSBDRING\r\n");
    assert_eq!(frame(&mut far_port).await.0, b"up");
    send(&far_port, 11, b"down").await;
    assert_eq!(fate(&mut far_port).await, Ok(11));
    near.say(b"\r\nSBDRING\r\n");
    assert_eq!(frame(&mut near_port).await.0, b"down");
    // Each was asked for once: what stands around it was understood.
    assert_eq!(near.told().matches("AT+SBDRB\r").count(), 4);
}

#[tokio::test]
async fn a_transparent_radio_is_set_up_where_that_is_wired_and_is_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e22.toml");
    // As the E22 that is shipped, without the wire that a pseudo terminal does not have.
    let text = r#"
        name = "E22-unwired"
        option.channel = { max = 83, default = "18" }
        setup = [{ hex = "C0 00 01 {channel.hex2}", expect-hex = "C1 00 01 {channel.hex2}" }]
        line = { bits-per-s = 2400, turn-ms = 120 }
    "#;
    std::fs::write(&path, text).unwrap();
    let plug = Plug::new(|unused, _| {
        let came = std::mem::take(unused);
        match &came[..] {
            b"\xc0\x00\x01\x05" => b"garbage\xc1\x00\xc1\x00\x01\x05".to_vec(),
            _ => came,
        }
    });
    let options = format!("profile={}&channel=5", path.display());
    let Pipe::Line { mut port, bits_per_s: 2400, turn_ms: Some(120) } =
        dial(&plug, &options).await.unwrap()
    else {
        panic!("not a line")
    };
    soon(tokio::io::AsyncWriteExt::write_all(&mut port, b"\x00\xff")).await.unwrap();
    let mut came = [0; 2];
    soon(tokio::io::AsyncReadExt::read_exact(&mut port, &mut came)).await.unwrap();
    assert_eq!(&came, b"\x00\xff");
    drop(port);
    let failed = dial(&plug, &format!("profile={}&channel=6", path.display())).await;
    let why = failed.unwrap_err().to_string();
    assert!(why.contains("\"C0000106\""), "{why}");
}

#[tokio::test]
async fn a_radio_whose_wire_is_not_there_says_so_and_one_that_is_taken_as_it_is_is_told_nothing() {
    let plug = Plug::new(|_, _| Vec::new());
    let why = dial(&plug, "profile=hc-12&set=rts").await.unwrap_err().to_string();
    assert!(why.contains("no rts"), "{why}");
    for (profile, bits) in [("hc-12", 9_600), ("e22&air=19200", 19_200)] {
        let pipe = dial(&plug, &format!("profile={profile}&turn=33&duplex=half")).await.unwrap();
        assert!(
            matches!(pipe, Pipe::Line { turn_ms: Some(33), bits_per_s, .. } if bits_per_s == bits)
        );
    }
    assert_eq!(plug.told(), "");
}

#[tokio::test]
async fn a_modem_that_is_unplugged_ends() {
    let (air, none) = (Air::default(), Instead::default());
    let plug = rylr998(&air, &none, None);
    let mut port = open(&plug, "profile=rylr998").await;
    plug.unplug();
    send(&port, 1, b"frame").await;
    assert_eq!(fate(&mut port).await, Err((1, Refusal::Silent)));
    assert!(matches!(soon(port.heard.recv()).await, Some(Heard::Ended(_))));
    assert!(soon(port.heard.recv()).await.is_none());
}
