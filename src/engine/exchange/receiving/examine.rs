//! What a bundle is, from its head: before a byte of a large body is taken.

use postrider_base::{
    BundleId, Head, Header,
    bundle::{self, HeadError, Hop},
};

use crate::{
    exchange::{
        peer::Peer,
        unit::{Begin, Offered},
    },
    node::{Class, Custody, Destination, Reason, Row, ShortId, Verdict, core::Core},
    router::Placement,
};

/// Everything that can be said of a bundle from its head (and its payload, when that is small):
/// what it will be in the spool, and what the body of a large one must hash to.
pub(super) fn examine(
    core: &Core,
    peer: &Peer,
    offer: &Offered,
    begin: &Begin,
) -> Result<(Row, Custody, [u8; 32]), Verdict> {
    let head = Head::decode(&begin.head).map_err(|_| Verdict::Damaged)?;
    let header = head.header();
    let fits = header.length == offer.length && header.nice.value() == offer.nice;
    if !fits || !header.is_small() && !begin.payload.is_empty() {
        return Err(Verdict::Damaged);
    }
    // The id first: bytes that were damaged on the way are not called forged.
    if begin.payload.len() as u64 == if header.is_small() { header.length } else { 0 }
        && ShortId::of(&head.id(&begin.payload)) != offer.id
    {
        return Err(Verdict::Damaged);
    }
    let id =
        if header.is_small() { head.verify_small(&begin.payload) } else { head.verify_large() };
    let id = id.map_err(|error| match error {
        HeadError::Signature => Verdict::Forged,
        _ => Verdict::Damaged,
    })?;
    let hop = begin.hop.admitted(header.nice).ok_or(Verdict::Refused(Reason::Hops))?;
    let hop = core.router.believed(header, hop, &peer.neighbour());
    match core.router.place(header, hop, &peer.neighbour()) {
        Placement::Refuse(reason) => Err(Verdict::Refused(reason)),
        Placement::Keep(custody, class, recipient) => {
            if custody == Custody::Carry
                && let Some(reason) = core.local.policy.carried.refuses(class, header.length)
            {
                return Err(Verdict::Refused(reason));
            }
            let tagged_for = match header.destination {
                bundle::Destination::Tag(_) => recipient.map(|node| *node.as_bytes()),
                _ => None,
            };
            let row = Row {
                class,
                tagged_for,
                from: peer.node.map(|node| *node.as_bytes()),
                ..row_of(id, header, hop)
            };
            Ok((row, custody, header.hash.unwrap_or_default()))
        }
    }
}

/// A row of what the header says; the rest as of a stranger's.
fn row_of(id: BundleId, header: &Header, hop: Hop) -> Row {
    Row {
        id,
        destination: match header.destination {
            bundle::Destination::Node(node) => Destination::Node(*node.as_bytes()),
            bundle::Destination::Group(group) => Destination::Group(group),
            bundle::Destination::Tag(tag) => Destination::Tag(tag),
        },
        tagged_for: None,
        source: header.source().map(|(source, _)| *source.as_bytes()),
        nice: header.nice.value(),
        lifetime_s: header.lifetime.seconds(),
        length: header.length,
        hop,
        class: Class::Stranger,
        from: None,
        arrived_held_ms: 0,
        arrival: 0,
    }
}
