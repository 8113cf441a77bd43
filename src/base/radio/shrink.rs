//! A small bundle becomes its radio form, as short as the reader's knowledge allows.

use super::{
    fields::{self, IN_FULL},
    known::{Reader, hint_of},
    shape::{Locked, Origin, Shape, To},
};
use crate::bundle::{self, Destination, Header, Hop, SealKind, SmallBundle};

/// Why a bundle has no radio form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoForm {
    /// Its payload is above 4096 bytes, or not the one that its header speaks of. Large bundles gain
    /// nothing by a short header.
    #[error("only bundles with a small payload have a radio form")]
    Payload,
    /// It has passed so many nodes that nobody would take it.
    #[error("it has passed too many nodes")]
    Hops,
    /// Its header is one that no decoder accepts.
    #[error("its header is not valid")]
    Header,
}

/// The radio form of a bundle for a reader.
///
/// A level in the hop data takes a byte; leave it at 0 where that does not fit. What arrives of the
/// rest says [`carried`](super::carried).
pub fn shrink(bundle: &SmallBundle, hop: Hop, reader: &Reader<'_>) -> Result<Vec<u8>, NoForm> {
    let header = bundle.head.header();
    if !header.is_small() || header.length != bundle.payload.len() as u64 {
        return Err(NoForm::Payload);
    }
    let shape = shape_of(header, &hop, reader);
    let hop_byte = fields::hop_byte(&hop).ok_or(NoForm::Hops)?;
    let class = class_of(header);
    let mut out = vec![
        shape.byte().ok_or(NoForm::Header)?,
        hop_byte,
        fields::age_byte(hop.age_s, header.lifetime),
        class,
    ];
    if shape.levelled {
        out.push(hop.level);
    }
    if class == IN_FULL {
        out.extend_from_slice(&header.lifetime.seconds().to_be_bytes());
        out.push(header.nice.value());
    }
    if let bundle::Origin::Open { source, .. } = &header.origin {
        push_key(&mut out, source.as_bytes(), shape.origin == Origin::Hint);
    }
    let destination = header.destination.as_bytes();
    match shape.to {
        To::Reader => {}
        to => push_key(&mut out, destination, matches!(to, To::NodeHint | To::GroupHint)),
    }
    let lock = header.lock.as_bytes().unwrap_or_default();
    out.extend_from_slice(&lock[..shape.lock_bytes().min(lock.len())]);
    if let bundle::Origin::Open { sequence, created, .. } = &header.origin {
        out.extend_from_slice(&sequence.epoch.to_be_bytes());
        let (counter, created) = (sequence.counter.to_be_bytes(), created.to_be_bytes());
        let skipped = if class == IN_FULL { (0, 0) } else { (5, 4) };
        out.extend_from_slice(&counter[skipped.0..]);
        out.extend_from_slice(&created[skipped.1..]);
        out.extend_from_slice(bundle.head.signature().ok_or(NoForm::Header)?);
    }
    out.extend_from_slice(&bundle.payload);
    Ok(out)
}

fn shape_of(header: &Header, hop: &Hop, reader: &Reader<'_>) -> Shape {
    let origin = match &header.origin {
        bundle::Origin::Hidden => Origin::Hidden,
        bundle::Origin::Open { source, .. } => {
            let known = reader.nodes.contains(source) || reader.node == Some(source);
            if known { Origin::Hint } else { Origin::Key }
        }
    };
    let hidden = origin == Origin::Hidden;
    let lock = Locked::of(&header.lock);
    let is_readers = reader.is_addressed(header);
    // Of a tag that was computed only an opened compact seal tells that it is right.
    let is_decided = header.seal == SealKind::Compact && lock != Locked::No;
    let to = match &header.destination {
        Destination::Node(_) if is_readers && !hidden => To::Reader,
        Destination::Tag(_) if is_readers && is_decided => To::Reader,
        Destination::Tag(_) => To::Tag,
        Destination::Node(node) if !hidden && reader.nodes.contains(node) => To::NodeHint,
        Destination::Node(_) => To::Node,
        Destination::Group(group) if !hidden && reader.groups.contains(group) => To::GroupHint,
        Destination::Group(_) => To::Group,
    };
    Shape { origin, to, seal: header.seal, lock, levelled: hop.level != 0 }
}

/// The class byte, or that lifetime, niceness, counter and time follow in full.
fn class_of(header: &Header) -> u8 {
    let short = match &header.origin {
        bundle::Origin::Hidden => true,
        bundle::Origin::Open { sequence, created, .. } => {
            sequence.counter < 1 << 24 && *created <= u64::from(u32::MAX)
        }
    };
    let class = fields::class_byte(header.lifetime, header.nice);
    class.filter(|_| short).unwrap_or(IN_FULL)
}

fn push_key(out: &mut Vec<u8>, key: &[u8], hinted: bool) {
    if hinted {
        out.extend_from_slice(&hint_of(key));
    } else {
        out.extend_from_slice(key);
    }
}
