//! Telephone modems: two small ones on pseudo terminals with a line between them, and what goes wrong.
#![cfg(all(feature = "serial", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "the modems of the other tests need more of it")]
#[path = "at_modems/port.rs"]
mod port;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use postrider_transports::{
    Pipe, StreamPipe, Transport as _, TransportError, contract::Address, serial::SerialTransport,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use self::port::{Plug, take_line};

/// A test that takes longer hangs. It never decides what is right.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("the test hangs")
}

/// Telephones by their numbers.
#[derive(Clone, Default)]
struct Network(Arc<Mutex<BTreeMap<&'static str, Phone>>>);

struct Phone {
    plug: Plug,
    /// Who calls, or is called.
    other: Option<&'static str>,
    is_connected: bool,
}

impl Network {
    /// A modem with a number. It repeats what it is told until it is told not to.
    fn modem(&self, number: &'static str) -> Plug {
        let (network, mut echoes) = (self.clone(), true);
        let plug = Plug::new(move |unused, _| {
            let mut answers: Vec<u8> = Vec::new();
            loop {
                if network.is_connected(number) {
                    let bytes = std::mem::take(unused);
                    if bytes == b"+++" {
                        network.set_connected(number, false);
                        return b"\r\nOK\r\n".to_vec();
                    }
                    network.pass(number, &bytes);
                    return answers;
                }
                let Some(line) = take_line(unused, "\r") else { return answers };
                let text = String::from_utf8(line).unwrap();
                if echoes {
                    answers.extend(format!("{text}\r").bytes());
                }
                let answer = match &*text {
                    "ATZ" => {
                        echoes = true;
                        "OK"
                    }
                    "ATE0Q0V1" => {
                        echoes = false;
                        "OK"
                    }
                    "ATS0=0" | "AT&K3" => "OK",
                    "ATH0" => {
                        network.hang_up(number);
                        "OK"
                    }
                    "ATA" => {
                        network.answer(number);
                        continue;
                    }
                    _ => match text.strip_prefix("ATDT") {
                        Some("1") => "BUSY",
                        Some("2") => "NO DIALTONE",
                        Some("3") => "NO CARRIER",
                        Some("4") => "NO ANSWER",
                        Some(called) => {
                            network.ring(number, called);
                            continue;
                        }
                        None => "ERROR",
                    },
                };
                answers.extend(format!("\r\n{answer}\r\n").bytes());
            }
        });
        let phone = Phone { plug: plug.clone(), other: None, is_connected: false };
        self.0.lock().unwrap().insert(number, phone);
        plug
    }

    fn is_connected(&self, number: &str) -> bool {
        self.0.lock().unwrap().get(number).is_some_and(|phone| phone.is_connected)
    }

    fn set_connected(&self, number: &str, is_connected: bool) {
        self.0.lock().unwrap().get_mut(number).unwrap().is_connected = is_connected;
    }

    fn ring(&self, from: &'static str, to: &str) {
        let mut phones = self.0.lock().unwrap();
        let called = phones.get_mut(to).unwrap();
        called.other = Some(from);
        called.plug.say(b"\r\nRING\r\n");
        let called = *phones.get_key_value(to).unwrap().0;
        phones.get_mut(from).unwrap().other = Some(called);
    }

    fn answer(&self, number: &'static str) {
        let mut phones = self.0.lock().unwrap();
        let other = phones[number].other.unwrap();
        for number in [number, other] {
            let phone = phones.get_mut(number).unwrap();
            phone.is_connected = true;
            phone.plug.say(b"\r\nCONNECT 33600\r\n");
        }
    }

    fn pass(&self, from: &str, bytes: &[u8]) {
        let phones = self.0.lock().unwrap();
        phones[phones[from].other.unwrap()].plug.say(bytes);
    }

    /// Somebody puts the receiver down.
    fn hang_up(&self, number: &str) {
        let mut phones = self.0.lock().unwrap();
        let Some(other) = phones.get_mut(number).unwrap().other.take() else { return };
        let other = phones.get_mut(other).unwrap();
        if std::mem::take(&mut other.is_connected) {
            other.plug.say(b"\r\nNO CARRIER\r\n");
        }
    }
}

async fn dial(plug: &Plug, options: &str) -> Result<Box<dyn StreamPipe>, TransportError> {
    let to: Address = format!("serial://{}?driver=hayes&{options}", plug.name()).parse().unwrap();
    let transports = SerialTransport::all();
    let transport = transports.iter().find(|it| it.scheme() == "serial").unwrap();
    match soon(transport.dial(&to, None)).await?.pipe {
        Pipe::Line { port, turn_ms: None, .. } => Ok(port),
        pipe => panic!("{pipe:?}"),
    }
}

#[tokio::test]
async fn one_dials_and_one_answers_and_the_line_is_a_line() {
    let network = Network::default();
    let (near, far) = (network.modem("0301"), network.modem("0302"));
    let called = far.clone();
    let answered = tokio::spawn(async move { dial(&far, "answer=yes").await });
    waits(&called).await;
    let mut near_line = dial(&near, "number=0302&init=AT\\x26K3").await.unwrap();
    let mut far_line = soon(answered).await.unwrap().unwrap();
    assert!(near.told().contains("AT&K3\rATDT0302\r"), "{}", near.told());
    let all: Vec<u8> = (0..=255).collect();
    let mut came = [0; 256];
    soon(near_line.write_all(&all)).await.unwrap();
    soon(far_line.read_exact(&mut came)).await.unwrap();
    assert_eq!(&came[..], all);
    soon(far_line.write_all(&all)).await.unwrap();
    soon(near_line.read_exact(&mut came)).await.unwrap();
    assert_eq!(&came[..], all);
    // Whoever lets go hangs up, and the other end ends.
    drop(near_line);
    let mut rest = Vec::new();
    let why = soon(far_line.read_to_end(&mut rest)).await.unwrap_err();
    assert_eq!(why.to_string(), "the line was hung up");
    assert_eq!(rest, b"\r\nNO CARRIER\r\n");
    assert!(near.told().ends_with("+++ATH0\r"), "{}", near.told());
}

#[tokio::test]
async fn a_call_in_vain_says_why() {
    let network = Network::default();
    let plug = network.modem("0301");
    for (number, words) in [
        ("1", "the number is busy"),
        ("2", "no dial tone"),
        ("3", "NO CARRIER"),
        ("4", "nobody answers"),
    ] {
        let Err(why) = dial(&plug, &format!("number={number}")).await else { panic!("connected") };
        let why = why.to_string();
        assert!(why.starts_with(plug.name()) && why.contains(words), "{why}");
        assert!(why.contains(&format!("ATDT{number}")), "{why}");
    }
    let Err(why) = dial(&plug, "number=5&init=ATX9").await else { panic!("connected") };
    let why = why.to_string();
    assert!(why.contains("\"ATX9\"") && why.contains("\"ERROR\""), "{why}");
}

#[tokio::test]
async fn a_line_that_was_left_connected_is_hung_up_first() {
    let network = Network::default();
    let (near, far) = (network.modem("0301"), network.modem("0302"));
    {
        let mut phones = network.0.lock().unwrap();
        for (number, other) in [("0301", "0302"), ("0302", "0301")] {
            let phone = phones.get_mut(number).unwrap();
            (phone.other, phone.is_connected) = (Some(other), true);
        }
    }
    let Err(why) = dial(&near, "number=1").await else { panic!("connected") };
    assert!(why.to_string().contains("busy"), "{why}");
    assert_eq!(near.told(), "ATZ\r+++ATH0\rATZ\rATE0Q0V1\rATS0=0\rATDT1\r");
    assert!(!network.is_connected("0302"));
    assert_eq!(far.told(), "");
}

/// Reads until that comes.
async fn until(line: &mut Box<dyn StreamPipe>, wanted: &str) {
    let mut came = Vec::new();
    while !came.ends_with(wanted.as_bytes()) {
        let mut byte = [0];
        soon(line.read_exact(&mut byte)).await.unwrap();
        came.push(byte[0]);
    }
}

/// Until a modem waits for a call.
async fn waits(plug: &Plug) {
    soon(async {
        while !plug.told().contains("ATS0=0") {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_login_is_talked_through_before_the_line_is_ours() {
    let network = Network::default();
    let (near, far) = (network.modem("0301"), network.modem("0302"));
    let plug = far.clone();
    let host = tokio::spawn(async move {
        let mut line = dial(&far, "answer=yes").await.unwrap();
        for (says, wants) in [
            ("Welcome\r\nlogin: ", "postrider\r"),
            ("\r\npassword: ", "a b\r"),
            ("\r\nhello ", "x"),
        ] {
            line.write_all(says.as_bytes()).await.unwrap();
            until(&mut line, wants).await;
        }
        line.write_all(b"y").await.unwrap();
        line
    });
    waits(&plug).await;
    let chat = "chat=ogin: postrider ssword: a\\sb ello";
    let mut line = dial(&near, &format!("number=0302&{chat}")).await.unwrap();
    soon(line.write_all(b"x")).await.unwrap();
    until(&mut line, "y").await;
    drop(soon(host).await.unwrap());
}

#[tokio::test]
async fn a_login_that_is_refused_ends_at_once() {
    let network = Network::default();
    let (near, far) = (network.modem("0301"), network.modem("0302"));
    let plug = far.clone();
    let host = tokio::spawn(async move {
        let mut line = dial(&far, "answer=yes").await.unwrap();
        line.write_all(b"login: ").await.unwrap();
        until(&mut line, "postrider\r").await;
        line.write_all(b"who are you?").await.unwrap();
        line
    });
    waits(&plug).await;
    let chat = "chat=ABORT are\\syou ogin: postrider ssword: secret";
    let Err(why) = dial(&near, &format!("number=0302&{chat}")).await else { panic!("let in") };
    let why = why.to_string();
    assert!(why.contains("are you") && !why.contains("postrider"), "{why}");
    drop(soon(host).await.unwrap());
}
