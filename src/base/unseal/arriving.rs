//! A part that is opened while it comes, piece by piece.
//!
//! The checks are those of [`open_stream`](super::open_stream), in the same order. The hash of the
//! payload is not among them: whoever takes the pieces compares it.

use std::io::{self, Write};

use super::{Keyring, OpenError, Opened, PREFIX_BYTES, check_start};
use crate::{
    blocks::BlockWriter,
    bundle::{Head, Origin, ReceiptSecret, SealKind},
    packet::{Body, Packet, PacketError, PartHead},
    seal::age::{self, Opener},
};

/// The start of an age-sealed bundle that turned out to be a part for us.
pub struct PartOpening<W: Write> {
    head: Head,
    secret: Option<ReceiptSecret>,
    packet: Packet,
    /// Bytes of the payload so far.
    bytes: u64,
    opener: Opener,
    content: Content<W>,
    failed: Option<OpenError>,
}

impl<W: Write> PartOpening<W> {
    /// Begins with the first bytes of a payload whose head was verified. `None` when they do not
    /// show a part that can be opened so: it is compressed, its author is hidden, it is something
    /// else or nothing that opens, or `begin` has no place for it.
    pub fn begin(
        head: &Head,
        start: &[u8],
        ring: &Keyring<'_>,
        begin: impl FnOnce(&PartHead) -> Option<W>,
    ) -> Option<Self> {
        let header = head.header();
        if header.seal != SealKind::Age || !matches!(header.origin, Origin::Open { .. }) {
            return None;
        }
        let (mut opener, at) = age::open_pieces(ring.keys, start).ok()?;
        let mut plain = Vec::new();
        let keep = |bytes: &[u8]| {
            plain.extend_from_slice(bytes);
            Ok::<_, OpenError>(())
        };
        opener.push(&start[at..], keep).ok()?;
        let (own, said) = plain.split_first_chunk()?;
        let secret = check_start(head, &header.core(), own).ok()?;
        let prefix = &said[..said.len().min(PREFIX_BYTES)];
        if !Packet::is_part(prefix) {
            return None;
        }
        let (packet, rest) = Packet::decode_first(prefix).ok()?;
        let Body::Part(part) = &packet.body else { return None };
        if part.compressed {
            return None;
        }
        let out = BlockWriter::new(begin(part)?);
        let mut content = Content { out, left: part.stored_bytes };
        let failed = content.take(&said[prefix.len() - rest.len()..]).err();
        let (head, bytes) = (head.clone(), start.len() as u64);
        Some(Self { head, secret, packet, bytes, opener, content, failed })
    }

    /// Takes the next bytes. What is wrong with them is said at the end.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.failed.is_none() {
            self.failed = self.opener.push(bytes, |plain| self.content.take(plain)).err();
        }
    }

    /// Whether there is no room for it: then the rest need not come.
    pub fn is_full(&self) -> bool {
        let full = io::ErrorKind::StorageFull;
        matches!(&self.failed, Some(OpenError::Write(error)) if error.kind() == full)
    }

    /// No more comes. What was written may be used only after this returned `Ok`.
    pub fn finish(mut self) -> Result<Opened<W>, OpenError> {
        if self.bytes != self.head.header().length {
            return Err(OpenError::Damaged);
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        let Origin::Open { source, sequence, created } = self.head.header().origin else {
            return Err(OpenError::Author);
        };
        self.opener.finish(|plain| self.content.take(plain))?;
        if self.content.left != 0 {
            return Err(PacketError::Compression.into());
        }
        let part = Some(self.content.out.finish().map_err(OpenError::Write)?);
        let (secret, packet) = (self.secret, self.packet);
        Ok(Opened { source, sequence, created, secret, packet, packet_bytes: Vec::new(), part })
    }
}

/// A part's own bytes, and the padding behind them.
struct Content<W> {
    out: BlockWriter<W>,
    left: u64,
}

impl<W: Write> Content<W> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let (own, padding) = bytes.split_at(n);
        if let Err(error) = self.out.write_all(own) {
            return Err(OpenError::Write(self.out.failed().unwrap_or(error)));
        }
        self.left -= n as u64;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(PacketError::Padding.into());
        }
        Ok(())
    }
}

impl<W: Write> std::fmt::Debug for PartOpening<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartOpening").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Lifetime, Niceness, NodeSecret,
        bundle::Sequence,
        compose::{AgeSealer, Letter, Padding, Privacy, To},
        id::SetId,
        packet::Tail,
        unseal::open_stream,
    };

    const BYTES: u64 = 300_000;

    fn node(n: u8) -> NodeSecret {
        NodeSecret::from_seed([n; 32])
    }

    fn content() -> Vec<u8> {
        (0..BYTES).map(|n| u8::try_from(n % 251).unwrap()).collect()
    }

    /// A part with so many bytes as its own, what is sealed behind its packet, and to whom.
    fn sealed(stored_bytes: u64, raw: &[u8], to: u8, privacy: Privacy) -> (Head, Vec<u8>) {
        let compressed = stored_bytes != BYTES;
        let plain_bytes = BYTES;
        let part =
            PartHead { set: SetId([1; 16]), index: 0, stored_bytes, plain_bytes, compressed };
        let packet = Packet { body: Body::Part(part), tail: Tail::default() }.encode();
        let author = node(1);
        let letter = Letter {
            author: &author,
            to: To::One(node(to).id(), node(to).first_seal_key().public()),
            sequence: Sequence { epoch: 1, counter: 1 },
            created: 0,
            lifetime: Lifetime::DEFAULT,
            nice: Niceness::BULK,
            privacy,
            padding: Padding::Class,
        };
        let mut sealer = AgeSealer::new(&letter, &[7; 32], &packet, Vec::new()).unwrap();
        sealer.write_all(raw).unwrap();
        let sealed = sealer.finish().unwrap();
        (sealed.head, sealed.payload)
    }

    /// What comes of it in pieces, and what of it whole.
    type Both = (Option<Result<Opened<Vec<u8>>, OpenError>>, Result<Opened<Vec<u8>>, OpenError>);

    fn opened(head: &Head, payload: &[u8], start: usize, piece: usize) -> Both {
        let keys = [node(2).first_seal_key()];
        let ring = Keyring { node: &node(2).id(), keys: &keys, senders: &[] };
        let (start, rest) = payload.split_at(start);
        let part = PartOpening::begin(head, start, &ring, |_| Some(Vec::new())).map(|mut part| {
            rest.chunks(piece).for_each(|piece| part.push(piece));
            part.finish()
        });
        (part, open_stream(head, payload, &ring, |_| Ok(Vec::new())))
    }

    #[test]
    fn pieces_of_any_length_open_to_what_the_whole_opens_to() {
        let (head, payload) = sealed(BYTES, &content(), 2, Privacy::Open);
        for (start, piece) in
            [(66_000, 1), (70_000, 65_552), (payload.len(), 1), (131_072, 262_144)]
        {
            let (part, whole) = opened(&head, &payload, start, piece);
            let (part, whole) = (part.unwrap().unwrap(), whole.unwrap());
            assert!(part.part == whole.part && part.part.unwrap().0 == content());
            assert_eq!((part.packet, part.secret.is_some()), (whole.packet, true));
            assert_eq!((part.source, part.sequence), (whole.source, whole.sequence));
        }
    }

    #[test]
    fn what_was_changed_or_cut_does_not_open() {
        let (head, payload) = sealed(BYTES, &content(), 2, Privacy::Open);
        for at in [0, 30, 200, 60_000, 131_072, 200_000, payload.len() - 1] {
            let mut spoiled = payload.clone();
            spoiled[at] ^= 1;
            let (part, whole) = opened(&head, &spoiled, 131_072, 10_000);
            assert!(part.is_none_or(|part| part.is_err()) && whole.is_err(), "byte {at}");
        }
        for cut in [131_072, 196_000, payload.len() - 16, payload.len() - 1] {
            let (part, whole) = opened(&head, &payload[..cut], 131_072, 10_000);
            assert!(
                matches!(part, Some(Err(OpenError::Damaged))) && whole.is_err(),
                "cut at {cut}"
            );
        }
        let more = [&payload[..], &[0]].concat();
        assert!(matches!(opened(&head, &more, 131_072, 10_000).0, Some(Err(OpenError::Damaged))));
    }

    #[test]
    fn more_or_less_than_the_part_says_is_refused_and_nothing_is_written_beyond_it() {
        let less = &content()[1..];
        let more = [&content()[..], &[1]].concat();
        for raw in [less, &more] {
            let (head, payload) = sealed(BYTES, raw, 2, Privacy::Open);
            let (part, whole) = opened(&head, &payload, 131_072, 10_000);
            let (part, whole) = (part.unwrap().map(|_| ()), whole.map(|_| ()));
            if raw.len() < content().len() {
                // What the padding adds is the part's: the hash in the manifest tells.
                assert!(part.is_ok() && whole.is_ok());
            } else {
                assert!(matches!(part, Err(OpenError::Packet(PacketError::Padding))), "{part:?}");
                assert!(whole.is_err());
            }
        }
    }

    #[test]
    fn only_an_open_part_for_us_is_opened_in_pieces() {
        let hidden = Privacy::Hidden { known: false };
        for (what, (head, payload)) in [
            ("for somebody else", sealed(BYTES, &content(), 3, Privacy::Open)),
            ("by a hidden author", sealed(BYTES, &content(), 2, hidden)),
            ("compressed", sealed(200_000, &content()[..200_000], 2, Privacy::Open)),
        ] {
            assert!(opened(&head, &payload, 131_072, 10_000).0.is_none(), "{what}");
        }
        let (head, payload) = sealed(BYTES, &content(), 2, Privacy::Open);
        assert!(opened(&head, &payload, 60_000, 10_000).0.is_none(), "too little to tell");
        let (other, _) = sealed(BYTES, &content(), 3, Privacy::Open);
        assert!(opened(&other, &payload, 131_072, 10_000).0.is_none(), "another's head");
    }
}
