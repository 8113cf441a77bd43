//! What Bluetooth does here, for people and for the lab.
fn main() {}
