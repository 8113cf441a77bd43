//! Serial ports: how they are opened, what they take, how they end.
#![cfg(all(feature = "serial", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::{io::Read as _, os::fd::OwnedFd, time::Duration};

use postrider_transports::{
    Link, Pipe, StreamPipe, Transport as _, TransportError,
    contract::{Address, PortTrouble},
    serial::{SerialTransport, look},
};
use rustix::{
    fs::{Mode, OFlags, fcntl_setfl, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{ControlModes, InputModes, LocalModes, tcgetattr},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A test that takes longer hangs. It never decides what is right.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("the test hangs")
}

/// A pseudo terminal as a port: its far end, and its name.
fn pty() -> (OwnedFd, String) {
    let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&far).unwrap();
    unlockpt(&far).unwrap();
    let name = ptsname(&far, Vec::new()).unwrap().into_string().unwrap();
    fcntl_setfl(&far, OFlags::NONBLOCK).unwrap();
    (far, name)
}

async fn dial(text: &str) -> Result<Link, TransportError> {
    let to: Address = text.parse().unwrap();
    let transports = SerialTransport::all();
    let transport = transports.iter().find(|it| it.scheme() == to.scheme()).unwrap();
    soon(transport.dial(&to, None)).await
}

async fn port(name: &str, options: &str) -> Box<dyn StreamPipe> {
    match dial(&format!("serial://{name}?{options}")).await.unwrap().pipe {
        Pipe::Line { port, .. } => port,
        pipe => panic!("{pipe:?}"),
    }
}

fn trouble(failed: Result<Link, TransportError>) -> (PortTrouble, String) {
    match failed {
        Err(TransportError::Port { trouble, detail }) => (trouble, detail),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_port_is_raw_and_keeps_what_boards_take_for_a_reset() {
    let (_far, name) = pty();
    let link = dial(&format!("serial://{name}?rate=9600&duplex=half&turn=20")).await.unwrap();
    assert!(matches!(link.pipe, Pipe::Line { bits_per_s: 9600, turn_ms: Some(20), .. }));
    assert_eq!((link.facts.rate_bps, link.facts.half_duplex), (Some(7680), true));
    assert_eq!((link.facts.peer, link.facts.mtu_bytes, link.facts.metered), (None, None, false));
    let looked_at = open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty());
    // Root may, whoever has it.
    let Ok(looked_at) = looked_at else { return };
    let termios = tcgetattr(&looked_at).unwrap();
    assert!(!termios.local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO));
    assert!(!termios.input_modes.intersects(InputModes::ICRNL | InputModes::IXON));
    assert!(!termios.control_modes.contains(ControlModes::HUPCL));
    assert!(termios.control_modes.contains(ControlModes::CLOCAL | ControlModes::CS8));
    assert_eq!(termios.output_speed(), 9600);
}

#[tokio::test]
async fn every_byte_passes_both_ways() {
    let (far, name) = pty();
    let mut port = port(&name, "rate=1000000").await;
    let all: Vec<u8> = (0..=255).collect();
    soon(port.write_all(&all)).await.unwrap();
    let mut far = std::fs::File::from(far);
    let mut came = [0; 256];
    // A terminal that is raw has passed it on already.
    far.read_exact(&mut came).unwrap();
    assert_eq!(&came[..], all);
    rustix::io::write(&far, &all).unwrap();
    soon(port.read_exact(&mut came)).await.unwrap();
    assert_eq!(&came[..], all);
}

#[tokio::test]
async fn a_port_belongs_to_one_and_whoever_comes_later_is_told_to_whom() {
    let (_far, name) = pty();
    let uri = format!("serial://{name}");
    let first = port(&name, "").await;
    let (kind, why) = trouble(dial(&uri).await);
    assert_eq!(kind, PortTrouble::Busy);
    assert!(why.contains(&format!("process {}", std::process::id())), "{why}");
    drop(first);
    dial(&uri).await.unwrap();
}

#[tokio::test]
async fn what_is_no_port_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"no port").unwrap();
    let (kind, why) = trouble(dial(&format!("serial://{}", file.display())).await);
    assert!(kind == PortTrouble::Other && why.contains("is not a serial port"), "{why}");
    let nowhere = format!("serial://{}/ttyUSB0", dir.path().display());
    let (kind, why) = trouble(dial(&nowhere).await);
    assert!(kind == PortTrouble::Absent && why.contains("is not there"), "{why}");
    assert!(look(&nowhere.parse().unwrap()).is_err());
}

#[tokio::test]
async fn a_port_that_is_pulled_ends() {
    let (far, name) = pty();
    let mut port = port(&name, "").await;
    drop(far);
    let ended = soon(port.read(&mut [0; 16])).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_port_takes_no_more_than_its_line_carries_in_a_quarter_of_a_second() {
    let (far, name) = pty();
    let mut port = port(&name, "rate=9600").await;
    let mut taken = 0;
    let filled = async {
        loop {
            taken += port.write(&[7; 1000]).await.unwrap();
        }
    };
    // The clock stands until nobody can go on.
    let _ = tokio::time::timeout(Duration::from_millis(1), filled).await;
    assert!((100..=240).contains(&taken), "{taken}");
    drop(far);
}
