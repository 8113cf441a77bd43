//! `postrider demo --radio`: three daemons on the air.
//!
//! Alice and Bob do not hear each other. Pat, who knows neither, hears both, and every tenth frame is
//! lost. Messages go one way, receipts the other.

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use super::{
    Folder, Story,
    air::{Air, AirSettings, Tally},
    check, fault, message, node, short, until,
};
use crate::{
    daemon::{Daemon, DaemonOptions},
    desk::{AddRequest, Desk, Failure, SendRequest, Silent},
};

const TEXT: &str =
    "Bridge at the mill is out. Come by the upper road, we have water and two beds. Alice.";
const ANSWER: &str = "Understood. We start at first light.";
/// Several frames of it.
const LONG: usize = 1_500;
/// Mostly a second or two; who has lost most of what it said takes minutes (docs/station.md, figures).
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs the demonstration in a temporary folder, which is removed afterwards.
pub fn run(out: &mut dyn Write) -> Result<(), Failure> {
    let folder = Folder::new()?;
    let mut story = Story { out, began: Instant::now() };
    story.tell("Three radios. Alice and Bob do not hear each other; Pat, whom neither knows,")?;
    story
        .tell("hears both. Every tenth frame is lost. The air is simulated, its times are real.")?;
    story.tell("")?;
    let [alice, bob, pat] = ["Alice", "Bob", "Pat"].map(|name| node(&folder.0, name).map(Arc::new));
    let (alice, bob, pat) = (alice?, bob?, pat?);
    for (desk, other) in [(&alice, &bob), (&bob, &alice)] {
        desk.add(&AddRequest { card: other.home().card.clone(), name: None })?;
    }
    let air = Air::start(AirSettings {
        stations: 3,
        deaf: vec![(0, 1)],
        lost_percent: 10,
        seed: u64::from(std::process::id()),
    })
    .map_err(|error| fault("no simulated air").because(error))?;
    let runtime = Runtime::new().map_err(|error| fault("no runtime").because(error))?;
    let mut daemons = Vec::new();
    for (n, desk) in [&alice, &bob, &pat].into_iter().enumerate() {
        let peers = vec![air.address(n)];
        let options = DaemonOptions { peers, ..DaemonOptions::default() };
        daemons.push(Daemon::start(Arc::clone(desk), &options, &runtime)?);
    }
    let mut alice_hears = daemons[0].node().board.listen();
    let mut bob_hears = daemons[1].node().board.listen();
    story.step("three daemons, each with a LoRa board (SF7, 500 kHz) on a KISS port")?;

    let begun = Instant::now();
    let mail = send(&alice, "Bob", TEXT)?;
    story.step(&format!(
        "Alice writes {} characters to Bob: durable as {}",
        TEXT.len(),
        short(&mail)
    ))?;
    until(&runtime, &mut bob_hears, "message", &mail, PATIENCE)?;
    let read = bob.read_message(&mail, &Silent)?;
    check(read.text == TEXT && read.from == "Alice", "the text must be Alice's")?;
    story.step(&format!(
        "Bob has it after {:.1} s, by way of Pat: {:?}",
        seconds(begun),
        read.text
    ))?;
    until(&runtime, &mut alice_hears, "delivered", &mail, PATIENCE)?;
    let tally = air.tally();
    story.step(&format!(
        "its receipt is back with Alice: {}; two frames and two receipts where none is lost",
        told(&tally)
    ))?;

    let begun = Instant::now();
    let answer = send(&bob, "Alice", ANSWER)?;
    until(&runtime, &mut alice_hears, "message", &answer, PATIENCE)?;
    story.step(&format!("Bob answers; Alice has it after {:.1} s", seconds(begun)))?;
    until(&runtime, &mut bob_hears, "delivered", &answer, PATIENCE)?;

    let begun = Instant::now();
    let long: String = (0..)
        .map(|n| format!("{n}: {:08x} ", noise(n)))
        .flat_map(|it| it.chars().collect::<Vec<_>>())
        .take(LONG)
        .collect();
    let report = send(&alice, "Bob", &long)?;
    until(&runtime, &mut bob_hears, "message", &report, PATIENCE)?;
    check(bob.read_message(&report, &Silent)?.text == long, "the report must be whole")?;
    story.step(&format!(
        "a report of {LONG} characters, in pieces that any other can stand in for: {:.1} s",
        seconds(begun)
    ))?;
    until(&runtime, &mut alice_hears, "delivered", &report, PATIENCE)?;

    let tally = air.tally();
    nobody_reads(&tally)?;
    check(pat.inbox(&Silent)?.is_empty(), "Pat must read nothing")?;
    story.step(&format!(
        "on the air in all: {}; {} times somebody missed a frame, {} of them by collision",
        told(&tally),
        tally.lost + tally.collided,
        tally.collided
    ))?;
    story.step("searched every frame: no text, no name; Pat has read nothing")?;
    runtime.block_on(async {
        for daemon in daemons {
            daemon.stop().await;
        }
    });
    story.tell("")?;
    story.tell("With boards of your own: docs/radio.md. The same by hand: postrider link add")
}

fn send(from: &Arc<Desk>, to: &str, text: &str) -> Result<String, Failure> {
    let request = SendRequest { to: to.into(), ..message(Some(text), vec![]) };
    Ok(from.send(&request, &Silent)?.id)
}

fn seconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64()
}

fn told(tally: &Tally) -> String {
    let bytes: usize = tally.frames.iter().map(|(_, frame)| frame.len()).sum();
    let airtime = tally.airtime.as_secs_f64();
    format!("{} frames, {bytes} bytes, {airtime:.1} s of airtime", tally.frames.len())
}

/// Numbers that no compression shortens much.
fn noise(n: u32) -> u32 {
    let [a, b, c, d, ..] = *blake3::hash(&n.to_be_bytes()).as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

fn nobody_reads(tally: &Tally) -> Result<(), Failure> {
    for (_, frame) in &tally.frames {
        for secret in [&TEXT.as_bytes()[..12], &ANSWER.as_bytes()[..10], b"Alice", b"Bob"] {
            let seen = frame.windows(secret.len()).any(|window| window == secret);
            check(!seen, "the air shows what is sent")?;
        }
    }
    Ok(())
}
