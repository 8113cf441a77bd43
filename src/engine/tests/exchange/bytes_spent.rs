//! What a contact costs on the wire.

use postrider_base::bundle::SmallBundle;
use postrider_engine::node::Class;

use crate::{
    net::{Net, Wire},
    store::made,
};

/// A record of Noise over a stream: its length and its tag.
const RECORD_BYTES: u64 = 18;
/// Both handshake messages of Noise IK; the first units travel in their payloads.
const NOISE_IK_BYTES: u64 = 144;

/// In how many records the units of one direction travel: what is ready together goes together.
fn records(net: &Net, from: usize, to: usize) -> u64 {
    let mut times: Vec<u64> = net.units(from, to).iter().map(|(at, ..)| *at).collect();
    times.dedup();
    times.len() as u64
}

#[test]
fn meeting_again_with_nothing_new_costs_at_most_100_bytes_each_way() {
    let mut net = Net::new(2);
    for counter in 1..=10_000 {
        net.lay(0, &made(1, 2, 160, 60, counter), Class::Own);
    }
    net.connect(0, 1, Wire::default());
    net.run();
    assert_eq!(net.nodes[1].store.admitted.len(), 10_000);
    net.cut_all();
    net.past.clear();
    net.connect(0, 1, Wire { dialled: true, ..Wire::default() });
    net.pass(10_000);
    for (from, to) in [(0, 1), (1, 0)] {
        let bytes = net.bytes(from, to) + RECORD_BYTES * records(&net, from, to);
        println!("nothing new among 10,000, {from} to {to}: {bytes} B {:?}", net.units(from, to));
        assert!(bytes <= 100, "{bytes} bytes");
    }
}

#[test]
fn a_message_to_a_known_neighbour_over_noise_costs_at_most_600_bytes() {
    let bytes = message(Wire { dialled: true, ..Wire::default() }, "Begin");
    // Everything beside the bundle itself, which has 325 bytes in the case that is promised.
    assert!(bytes.0 - bytes.1 + 325 <= 600, "{bytes:?}");
}

/// A line of 9,600 bit/s: the bundle goes in its radio form, which leaves out what both ends know.
#[test]
fn over_a_narrow_link_it_costs_less() {
    let narrow = Wire { dialled: true, rate_bps: 9_600, told: true, ..Wire::default() };
    let bytes = message(narrow, "Brief");
    assert!(bytes.0 - bytes.1 + 325 <= 555, "{bytes:?}");
}

/// What a message to a known neighbour costs in all, and how long its bundle is; it travels in such a
/// unit.
fn message(wire: Wire, unit: &str) -> (u64, u64) {
    let mut net = Net::new(2);
    // They know each other: a first bundle each way, long ago.
    net.lay(0, &made(1, 2, 160, 60, 1), Class::Own);
    net.lay(1, &made(2, 1, 160, 60, 1), Class::Own);
    net.connect(0, 1, Wire::default());
    net.pass(10_000);
    net.cut_all();
    net.past.clear();
    // As long as 100 characters of text, compressed, sealed and signed.
    let bundle = made(1, 2, 160, 140, 2);
    let whole = SmallBundle {
        head: postrider_base::Head::decode(&bundle.head).unwrap(),
        payload: bundle.body.to_vec(),
    };
    let bundle_bytes = whole.encode().len();
    net.send(0, &bundle);
    // Fast, so that what would be one record is sent at one time; a byte costs the same.
    net.connect(0, 1, wire);
    net.pass(20_000);
    assert!(net.has(1, &bundle));
    assert!(net.units(0, 1).iter().any(|(_, name, _)| *name == unit), "{:?}", net.units(0, 1));
    let kept = net.nodes[1].store.live.values().find(|stored| stored.row.id == bundle.id).unwrap();
    assert!(kept.head == bundle.head && kept.body == bundle.body, "another bundle");
    let units = net.bytes(0, 1) + net.bytes(1, 0);
    let records = records(&net, 0, 1) + records(&net, 1, 0) - 2;
    let bytes = units + NOISE_IK_BYTES + RECORD_BYTES * records;
    println!("a bundle of {bundle_bytes} B to a known neighbour: {bytes} B in all");
    println!("{:?} {:?}", net.units(0, 1), net.units(1, 0));
    (bytes, bundle_bytes as u64)
}
