//! In through the wall: a bundle whose envelope was verified is opened.
//!
//! Order of checks (docs/format.md): the receipt lock, the seal, the binding to the header, the
//! inner signature where the envelope is hidden, the padding, and for large payloads the hash.
//! Nothing that was opened may be used before all of it has passed.

mod arriving;

use std::io::{self, Read, Write};

use subtle::ConstantTimeEq;

use crate::{
    blocks::{BlockReader, BlockWriter},
    bundle::{
        Destination, Head, LockField, Origin, ReceiptSecret, SealKind, Sequence, resolve_tag,
    },
    compose::{hidden_digest, sender_hint},
    domain,
    id::NodeId,
    key::{SealPublic, SealSecret},
    packet::{Body, MANIFEST_MAX, Packet, PacketError, PartHead, decompress_part, padme},
    seal::{SealError, age, compact},
    wire,
};

pub use self::arriving::PartOpening;

/// How much of a streamed plaintext is read before its kind is known: a hidden start (57 bytes at
/// most) and a part's packet with a full tail fit well.
const PREFIX_BYTES: usize = 1024;

/// The largest plaintext that is taken into memory: a manifest, padded, with its surroundings.
const WHOLE_MAX: u64 = MANIFEST_MAX as u64 + (MANIFEST_MAX as u64 / 8) + 4096;

/// Who opens.
#[derive(Clone, Copy, Debug)]
pub struct Keyring<'a> {
    /// The recipient.
    pub node: &'a NodeId,
    /// Its seal keys, newest first.
    pub keys: &'a [SealSecret],
    /// Nodes whose hints are understood: the contacts.
    pub senders: &'a [NodeId],
}

/// What came out of a bundle. Everything in it has been checked.
#[derive(Debug)]
pub struct Opened<W> {
    /// The author.
    pub source: NodeId,
    /// The author's sequence.
    pub sequence: Sequence,
    /// Unix seconds by the author's clock; for display only.
    pub created: u64,
    /// What the receipt will show, where the bundle has a lock.
    pub secret: Option<ReceiptSecret>,
    /// The packet.
    pub packet: Packet,
    /// Its bytes as its author wrote them, for keeping; empty for a part.
    pub packet_bytes: Vec<u8>,
    /// For a part: where its bytes went, and their BLAKE3.
    pub part: Option<(W, [u8; 32])>,
}

/// Why a bundle did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The payload is not the one that the header speaks of.
    #[error("the payload is damaged")]
    Damaged,
    /// Addressed to somebody else.
    #[error("addressed to somebody else")]
    NotOurs,
    /// None of our keys opens it, or it was sealed for another header.
    #[error("the seal does not open with our keys")]
    Seal,
    /// The seal holds a payload taken from another bundle.
    #[error("forged: the sealed text belongs to another bundle")]
    Binding,
    /// The inner signature does not hold, or the sender is unknown to us.
    #[error("forged, or from a sender we do not know: the signature inside does not hold")]
    Author,
    /// What is inside is not a packet.
    #[error("the sealed packet is not one: {0}")]
    Packet(#[from] PacketError),
    /// Reading the payload failed; nothing is said about the bundle.
    #[error("could not read the payload")]
    Read(#[source] io::Error),
    /// The part's bytes could not be written.
    #[error("could not write the part")]
    Write(#[source] io::Error),
}

impl From<SealError> for OpenError {
    fn from(_: SealError) -> Self {
        Self::Seal
    }
}

impl Keyring<'_> {
    /// Whether a header is addressed to this node, by key or by tag.
    pub fn is_for_us(&self, head: &Head) -> bool {
        match head.header().destination {
            Destination::Node(node) => node == *self.node,
            Destination::Tag(_) => {
                let publics: Vec<SealPublic> = self.keys.iter().map(SealSecret::public).collect();
                resolve_tag(head.header(), &publics).is_some()
            }
            Destination::Group(_) => false,
        }
    }

    /// What seals and signatures to us bind.
    fn binding(&self, head: &Head) -> Vec<u8> {
        match head.header().destination {
            Destination::Group(group) => group.to_vec(),
            Destination::Node(_) | Destination::Tag(_) => self.node.as_bytes().to_vec(),
        }
    }
}

/// Opens a bundle that is in memory and whose head was verified with this payload.
pub fn open_small(
    head: &Head,
    payload: &[u8],
    ring: &Keyring<'_>,
) -> Result<Opened<io::Sink>, OpenError> {
    match head.header().seal {
        SealKind::None => {
            let Origin::Open { source, sequence, created } = head.header().origin else {
                return Err(OpenError::Author);
            };
            let (packet, packet_bytes) = Packet::decode_padded(payload.to_vec())?;
            let secret = None;
            Ok(Opened { source, sequence, created, secret, packet, packet_bytes, part: None })
        }
        SealKind::Compact => open_compact(head, payload, ring),
        SealKind::Age => open_stream(head, payload, ring, |_| Ok(io::sink())),
    }
}

fn open_compact(
    head: &Head,
    payload: &[u8],
    ring: &Keyring<'_>,
) -> Result<Opened<io::Sink>, OpenError> {
    let (binding, core) = (ring.binding(head), head.header().core());
    let lock = &head.header().lock;
    let (plain, secret, key) = ring
        .keys
        .iter()
        .find_map(|key| {
            let (plain, secret) = compact::open(&binding, key, &core, lock, payload).ok()?;
            Some((plain, secret, key))
        })
        .ok_or(OpenError::Seal)?;
    let (inner, author) = match &head.header().origin {
        Origin::Open { source, sequence, created } => {
            (plain, Author { source: *source, sequence: *sequence, created: *created })
        }
        Origin::Hidden => {
            let (said, signature) = plain.split_last_chunk::<64>().ok_or(OpenError::Author)?;
            let digest = hidden_digest(&binding, &core).update(said).finalize();
            let inner = Inner::read(said)?;
            let author = inner.verified(ring, &key.public(), digest.as_bytes(), signature)?;
            (inner.packet, author)
        }
    };
    let (packet, packet_bytes) = Packet::decode_padded(inner)?;
    if matches!(packet.body, Body::Part(_)) {
        return Err(PacketError::Field("kind").into());
    }
    let Author { source, sequence, created } = author;
    Ok(Opened { source, sequence, created, secret, packet, packet_bytes, part: None })
}

/// Opens an age-sealed bundle of any size while it is read.
///
/// When it turns out to be a part, `begin` says where its bytes go; they may be used only after
/// this returned `Ok`.
pub fn open_stream<R: Read, W: Write>(
    head: &Head,
    payload: R,
    ring: &Keyring<'_>,
    begin: impl FnOnce(&PartHead) -> io::Result<W>,
) -> Result<Opened<W>, OpenError> {
    open_payload(head, Checked::hashed(payload, head), ring, begin)
}

/// As [`open_stream`], of a payload that was compared with the header's hash before. What happened
/// to it since, the seal notices.
pub fn open_hashed_stream<R: Read, W: Write>(
    head: &Head,
    payload: R,
    ring: &Keyring<'_>,
    begin: impl FnOnce(&PartHead) -> io::Result<W>,
) -> Result<Opened<W>, OpenError> {
    open_payload(head, Checked::plain(payload), ring, begin)
}

fn open_payload<R: Read, W: Write>(
    head: &Head,
    mut payload: Checked<R>,
    ring: &Keyring<'_>,
    begin: impl FnOnce(&PartHead) -> io::Result<W>,
) -> Result<Opened<W>, OpenError> {
    let opened = open_age(head, &mut payload, ring, begin);
    // A damaged byte shows as a broken seal or a broken packet: the hash tells which it was.
    match (payload.into_whole(head), opened) {
        (Err(error), _) => Err(OpenError::Read(error)),
        (Ok(_), Err(error @ OpenError::Write(_))) => Err(error),
        (Ok(true), opened) => opened,
        (Ok(false), _) => Err(OpenError::Damaged),
    }
}

fn open_age<R: Read, W: Write>(
    head: &Head,
    payload: &mut Checked<R>,
    ring: &Keyring<'_>,
    begin: impl FnOnce(&PartHead) -> io::Result<W>,
) -> Result<Opened<W>, OpenError> {
    if head.header().seal != SealKind::Age {
        return Err(OpenError::Seal);
    }
    let (binding, core) = (ring.binding(head), head.header().core());
    let mut reader = age::open_with(ring.keys, payload).map_err(|_| OpenError::Seal)?;
    let mut start = [0; 48];
    reader.read_exact(&mut start).map_err(|_| OpenError::Seal)?;
    let secret = check_start(head, &core, &start)?;

    let hidden = head.header().origin == Origin::Hidden;
    let digest = hidden.then(|| hidden_digest(&binding, &core));
    let mut plain = HoldBack::new(reader, if hidden { 64 } else { 0 }, digest);
    let mut prefix = vec![0; PREFIX_BYTES];
    let got = plain.fill(&mut prefix).map_err(|_| OpenError::Seal)?;
    prefix.truncate(got);
    let inner = if hidden { Some(Inner::read(&prefix)?) } else { None };
    let packet_start = inner.as_ref().map_or(&prefix[..], |inner| &inner.packet[..]);

    let (packet, packet_bytes, part) = if Packet::is_part(packet_start) {
        let (packet, rest) = Packet::decode_first(packet_start)?;
        let Body::Part(part) = packet.body else { return Err(OpenError::Seal) };
        let out = begin(&part).map_err(OpenError::Write)?;
        (packet, Vec::new(), Some(receive_part(&part, rest, &mut plain, out)?))
    } else {
        let mut whole = packet_start.to_vec();
        plain.by_ref().take(WHOLE_MAX).read_to_end(&mut whole).map_err(|_| OpenError::Seal)?;
        if whole.len() as u64 > padme(WHOLE_MAX) {
            let limit = MANIFEST_MAX;
            return Err(PacketError::TooLong { limit, got: whole.len() }.into());
        }
        let (packet, packet_bytes) = Packet::decode_padded(whole)?;
        (packet, packet_bytes, None)
    };
    let (held, digest) = plain.end().map_err(|_| OpenError::Seal)?;
    let author = match (&head.header().origin, inner, digest) {
        (Origin::Open { source, sequence, created }, ..) => {
            Author { source: *source, sequence: *sequence, created: *created }
        }
        (Origin::Hidden, Some(inner), Some(digest)) => {
            let signature = held.as_slice().try_into().map_err(|_| OpenError::Author)?;
            // The hint is made with the key that the mail was sealed to; any of ours may be it.
            let digest = digest.finalize();
            ring.keys
                .iter()
                .find_map(|key| {
                    inner.verified(ring, &key.public(), digest.as_bytes(), signature).ok()
                })
                .ok_or(OpenError::Author)?
        }
        (Origin::Hidden, ..) => return Err(OpenError::Author),
    };
    let Author { source, sequence, created } = author;
    Ok(Opened { source, sequence, created, secret, packet, packet_bytes, part })
}

/// The seal's own start says for which header it was made, and what the receipt will show.
fn check_start(
    head: &Head,
    core: &[u8],
    start: &[u8; 48],
) -> Result<Option<ReceiptSecret>, OpenError> {
    let (core_hash, r) = start.split_at(32);
    if !bool::from(core_hash.ct_eq(blake3::hash(core).as_bytes())) {
        return Err(OpenError::Binding);
    }
    let mut secret = ReceiptSecret([0; 16]);
    secret.0.copy_from_slice(r);
    match &head.header().lock {
        lock @ LockField::Age(_) if secret.opens(lock, &[]) => Ok(Some(secret)),
        LockField::None | LockField::Nonce(_) => Ok(None),
        _ => Err(OpenError::Binding),
    }
}

/// Moves a part's raw bytes to `out`, then checks that only padding is left.
fn receive_part<W: Write>(
    part: &PartHead,
    start: &[u8],
    rest: &mut impl Read,
    out: W,
) -> Result<(W, [u8; 32]), OpenError> {
    let mut raw = start.chain(rest);
    let mut stored = raw.by_ref().take(part.stored_bytes);
    let mut out = BlockWriter::new(out);
    let mut chunk = vec![0; 64 * 1024];
    let received = if part.compressed {
        decompress_part(&mut stored, &mut out, part.plain_bytes)
    } else {
        pump(&mut stored, &mut out, &mut chunk)
    };
    if let Some(error) = out.failed() {
        return Err(OpenError::Write(error));
    }
    if received.is_err() || stored.limit() != 0 {
        return Err(PacketError::Compression.into());
    }
    loop {
        match raw.read(&mut chunk).map_err(|_| OpenError::Seal)? {
            0 => break,
            n if chunk[..n].iter().any(|byte| *byte != 0) => {
                return Err(PacketError::Padding.into());
            }
            _ => {}
        }
    }
    out.finish().map_err(OpenError::Write)
}

fn pump(from: &mut impl Read, to: &mut impl Write, chunk: &mut [u8]) -> io::Result<()> {
    loop {
        match from.read(chunk)? {
            0 => return Ok(()),
            n => to.write_all(&chunk[..n])?,
        }
    }
}

struct Author {
    source: NodeId,
    sequence: Sequence,
    created: u64,
}

/// The start of a hidden bundle's plaintext: who says it; and the packet made whole again.
struct Inner {
    sender: Vec<u8>,
    sequence: Sequence,
    created: u64,
    packet: Vec<u8>,
}

impl Inner {
    fn read(said: &[u8]) -> Result<Self, OpenError> {
        let wrong = |_| OpenError::Packet(PacketError::Field("inner head"));
        let (array @ (0x86 | 0x87), rest) =
            said.split_first().map_or((0, &[][..]), |(a, rest)| (*a, rest))
        else {
            return Err(PacketError::Field("inner head").into());
        };
        let (sender, rest) = wire::decode_first::<serde_bytes::ByteBuf>(rest).map_err(wrong)?;
        let (epoch, rest) = wire::decode_first(rest).map_err(wrong)?;
        let (counter, rest) = wire::decode_first(rest).map_err(wrong)?;
        let (created, rest) = wire::decode_first(rest).map_err(wrong)?;
        if !matches!(sender.len(), 8 | 32) || counter == 0 {
            return Err(PacketError::Field("inner head").into());
        }
        let packet = [&[array - 4], rest].concat();
        let sequence = Sequence { epoch, counter };
        Ok(Self { sender: sender.into_vec(), sequence, created, packet })
    }

    /// The author: the one stated, or whichever known sender fits the hint and signed.
    fn verified(
        &self,
        ring: &Keyring<'_>,
        key: &SealPublic,
        digest: &[u8; 32],
        signature: &[u8; 64],
    ) -> Result<Author, OpenError> {
        let stated = NodeId::from_bytes(&self.sender).ok();
        let hinted =
            ring.senders.iter().filter(|node| self.sender == sender_hint(node, key)).copied();
        let source = stated
            .into_iter()
            .chain(hinted)
            .find(|node| node.verify(&domain::BUNDLE_HIDDEN, digest, signature))
            .ok_or(OpenError::Author)?;
        Ok(Author { source, sequence: self.sequence, created: self.created })
    }
}

/// Counts and hashes what is read, and remembers when reading itself failed.
struct Checked<R> {
    inner: Source<R>,
    bytes: u64,
    error: Option<io::Error>,
}

enum Source<R> {
    Hashed(BlockReader<R>),
    /// There is no hash, or it was compared before.
    Plain(R),
}

impl<R: Read> Checked<R> {
    fn hashed(inner: R, head: &Head) -> Self {
        if head.header().hash.is_none() {
            return Self::plain(inner);
        }
        // One byte more than announced is enough to know.
        let limit = head.header().length.saturating_add(1);
        Self { inner: Source::Hashed(BlockReader::new(inner, limit)), bytes: 0, error: None }
    }

    fn plain(inner: R) -> Self {
        Self { inner: Source::Plain(inner), bytes: 0, error: None }
    }

    /// Reads what is left and compares with the header.
    fn into_whole(mut self, head: &Head) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        while self.error.is_none() && self.bytes <= head.header().length {
            if self.read(&mut chunk)? == 0 {
                break;
            }
        }
        match self.error {
            Some(error) => Err(error),
            None => {
                let good = match &self.inner {
                    Source::Hashed(blocks) => head.header().hash == Some(blocks.hash()),
                    Source::Plain(_) => true,
                };
                Ok(good && self.bytes == head.header().length)
            }
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.inner {
            Source::Hashed(blocks) => blocks.read(out),
            Source::Plain(inner) => inner.read(out),
        };
        match read {
            Ok(n) => {
                self.bytes += n as u64;
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let again = io::Error::from(error.kind());
                self.error = Some(error);
                Err(again)
            }
        }
    }
}

/// Gives out all but the last bytes (the signature), hashing what it gives out.
struct HoldBack<R> {
    inner: R,
    held: Vec<u8>,
    size: usize,
    hasher: Option<blake3::Hasher>,
}

impl<R: Read> HoldBack<R> {
    fn new(inner: R, size: usize, hasher: Option<blake3::Hasher>) -> Self {
        Self { inner, held: Vec::new(), size, hasher }
    }

    /// Fills as much of `out` as there is.
    fn fill(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        while got < out.len() {
            match self.read(&mut out[got..])? {
                0 => break,
                n => got += n,
            }
        }
        Ok(got)
    }

    /// The held bytes and the hasher of all others, once the end was reached.
    fn end(mut self) -> io::Result<(Vec<u8>, Option<blake3::Hasher>)> {
        if self.read(&mut [0])? != 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok((self.held, self.hasher))
    }
}

impl<R: Read> Read for HoldBack<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.size == 0 {
            return self.inner.read(out);
        }
        if out.is_empty() {
            return Ok(0);
        }
        // Read into `out` behind what is held, so that bulk data moves once.
        loop {
            let mut chunk = vec![0; out.len()];
            let n = self.inner.read(&mut chunk)?;
            if n == 0 {
                return Ok(0);
            }
            self.held.extend_from_slice(&chunk[..n]);
            let ready = self.held.len().saturating_sub(self.size).min(out.len());
            if ready > 0 {
                out[..ready].copy_from_slice(&self.held[..ready]);
                self.held.drain(..ready);
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(&out[..ready]);
                }
                return Ok(ready);
            }
        }
    }
}
