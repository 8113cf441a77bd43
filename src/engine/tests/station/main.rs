//! Stations on one channel, in simulated time: LoRa airtime, collisions where each one hears them, hidden
//! pairs, loss, a judge of the duty; and figures of what all of it costs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod alone;
mod crash;
mod crowd;
mod hidden;
mod hostile;
mod mail;
mod near;
#[path = "../air/radio.rs"]
#[allow(dead_code, reason = "chance and the judge are the same, the radio is another")]
mod radio;
mod relay;
mod world;

/// Seeds of a story; `POSTRIDER_STORM` tells it so many times as often, `POSTRIDER_SEED` with one.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    match number("POSTRIDER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..usual * number("POSTRIDER_STORM").unwrap_or(1),
    }
}
