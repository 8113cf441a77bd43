//! A text over a relay, with its receipts: as few frames as can be.

use postrider_engine::air::Lane;

use super::{
    mail::{Mail, TEXT_BYTES},
    world::{Channel, World},
};

const SF8: Channel = Channel {
    spreading: 8,
    bandwidth_hz: 125_000,
    mtu_bytes: 230,
    duty_permille: Some(100),
    loss_permille: 0,
};

#[test]
fn a_text_over_a_relay_and_both_receipts_are_four_frames() {
    let mut most = (0, 0);
    for seed in 0..200 {
        let mut world = World::new(SF8, 3, seed);
        world.hide(0, 2);
        // They have found each other.
        world.run(600_000_000);
        let before = world.frames.len();
        let mail = Mail::new(0, 2, Lane::Normal, 1, TEXT_BYTES);
        world.write(&mail);
        let done = |world: &World| world.nodes[0].ticked.contains_key(&mail.id());
        assert!(world.run_until(620_000_000, done), "seed {seed}");
        let took_us = world.now_us - 600_000_000;
        // And then there is nothing more to say.
        world.run(880_000_000);
        let sent = &world.frames[before..];
        let bytes: usize = sent.iter().map(|(.., bytes)| bytes.len()).sum();
        let kinds: Vec<_> = sent.iter().map(|(n, us, bytes)| (*n, *us / 1000, bytes[0])).collect();
        if kinds.len() > 4 {
            println!("{took_us} {kinds:?}");
        }
        most = most.max((sent.len(), bytes));
    }
    println!("most: {most:?}");
    assert!(most.0 <= 4 && most.1 <= 530, "{most:?}");
}
