//! What a neighbour has of a body that has not ended: for the day when the link is cut, and the rest
//! goes by a stick.

use crate::{
    exchange::{limits::HELD_FROM_BYTES, peer::Peer},
    node::{Output, Row, core::Core, near::recipient},
};

use super::passing::NO_ARRIVAL;

/// A neighbour has said so. It counts if that neighbour is proven, the bundle is for it alone, and it
/// is long enough for its rest to be worth a file.
pub(super) fn note(core: &mut Core, peer: &Peer, row: &Row, at: u64) {
    let Some(node) = peer.node.filter(|_| peer.proven) else { return };
    let is_for_it = recipient(row) == Some(*node.as_bytes());
    if is_for_it && row.arrival != NO_ARRIVAL && row.length > HELD_FROM_BYTES {
        core.outputs.push_back(Output::Held { id: row.id, peer: node, at });
    }
}
