//! Small bundles over narrow links: in their radio form, which leaves out what both ends know.
//!
//! Both know each other's keys, and nothing else is taken for known. The sender makes the bundle of the
//! form again before it sends it: what would not arrive as it is, its copies included, goes as it is.

use bytes::Bytes;
use postrider_base::{
    Head, NodeId,
    bundle::{Hop, SmallBundle},
    radio::{Knowledge, Reader, carried, expand, shrink},
};

use super::unit::Begin;

/// The form of a bundle, where it has one that is shorter and loses nothing but seconds of its age.
pub(super) fn form(keys: &[NodeId], head: &Bytes, payload: &Bytes, hop: Hop) -> Option<Bytes> {
    let bundle = SmallBundle { head: Head::decode(head).ok()?, payload: payload.to_vec() };
    let arrives = carried(hop, bundle.head.header().lifetime)?;
    if (Hop { age_s: hop.age_s, ..arrives }) != hop {
        return None;
    }
    let reader = Reader { nodes: keys, ..Reader::STRANGER };
    let form = shrink(&bundle, hop, &reader).ok()?;
    let (again, _) = expand(&form, &Knowledge { nodes: keys, ..Knowledge::default() }).ok()?;
    let is_same = again.head.encode()[..] == head[..] && again.payload == bundle.payload;
    (is_same && form.len() < head.len() + payload.len()).then(|| form.into())
}

/// What a form stands for. One that stands for nothing is a beginning without a head, which is damaged.
pub(super) fn begin(keys: &[NodeId], handle: u32, form: &[u8]) -> Begin {
    let known = Knowledge { nodes: keys, ..Knowledge::default() };
    match expand(form, &known) {
        Ok((bundle, hop)) => {
            Begin { handle, hop, head: bundle.head.encode().into(), payload: bundle.payload.into() }
        }
        Err(_) => Begin { handle, hop: Hop::fresh(), head: Bytes::new(), payload: Bytes::new() },
    }
}
