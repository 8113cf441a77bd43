//! The examples run to their ends: what is shown to others must not rot.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../examples/custom_transport.rs"]
mod custom_transport;
#[path = "../examples/embedded_node.rs"]
mod embedded_node;
#[path = "../examples/send_by_stick.rs"]
mod send_by_stick;

#[test]
fn two_nodes_and_a_stick() {
    send_by_stick::main().unwrap();
}

#[test]
fn a_node_inside_another_program() {
    embedded_node::main().unwrap();
}

#[test]
fn a_transport_from_outside() {
    custom_transport::main().unwrap();
}
