//! Nodes in temporary folders, a directory as the stick: what the README promises, as tests.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "e2e/age.rs"]
mod age;
#[path = "e2e/cable.rs"]
mod cable;
#[path = "e2e/damage.rs"]
mod damage;
#[path = "e2e/delivery.rs"]
mod delivery;
#[path = "e2e/live.rs"]
mod live;
#[path = "e2e/media.rs"]
mod media;
#[path = "e2e/outbox.rs"]
mod outbox;
#[path = "e2e/privacy.rs"]
mod privacy;
#[path = "e2e/radio.rs"]
mod radio;
#[path = "e2e/rest.rs"]
mod rest;
#[path = "e2e/rot.rs"]
mod rot;
#[path = "e2e/serial.rs"]
mod serial;
#[path = "e2e/town.rs"]
mod town;
#[path = "e2e/trust.rs"]
mod trust;
