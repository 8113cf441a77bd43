//! Out through the wall: a packet becomes a sealed, signed bundle.
//!
//! Order of work (docs/format.md): ephemeral key, shared secret, receipt secret r, lock, tag, core,
//! seal, length and hash, header, id, signature. Nothing that a signature or a seal binds is known
//! too late to be bound.

use std::io::{self, Write};

use crate::{
    blocks::BlockWriter,
    bundle::{
        Destination, Head, Header, LockField, Origin, ReceiptSecret, SMALL_PAYLOAD_MAX, SealKind,
        Sequence, tag_of,
    },
    domain,
    id::{BundleId, NodeId},
    key::{NodeSecret, SealPublic},
    nice::Niceness,
    packet::{padme, payload_class},
    seal::{SealError, age, compact},
    time::Lifetime,
    wire,
};

/// Everything about a bundle but its content.
#[derive(Clone, Debug)]
pub struct Letter<'a> {
    /// Who writes.
    pub author: &'a NodeSecret,
    /// To whom.
    pub to: To,
    /// The author's next sequence for this destination; never use one twice.
    pub sequence: Sequence,
    /// Unix seconds by the author's clock, 0 when it has none.
    pub created: u64,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// How urgent.
    pub nice: Niceness,
    /// What relays may see.
    pub privacy: Privacy,
    /// Whether its length is rounded up to a size class.
    pub padding: Padding,
}

/// To whom a bundle goes.
#[derive(Clone, Debug)]
pub enum To {
    /// One node, under one of its seal keys. Only these have receipts.
    One(NodeId, SealPublic),
    /// A group, under its key or its members' keys.
    Group([u8; 16], Vec<SealPublic>),
    /// Everybody at a destination: not sealed.
    Public(Destination),
}

/// What relays and finders of a stick may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Source and destination; relays verify the author.
    Open,
    /// Neither.
    Hidden {
        /// Whether the recipient has answered before and so knows the author's key: an 8-byte hint
        /// stands for it inside.
        known: bool,
    },
}

/// Whether a length is rounded up to a size class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// To the next class: the default.
    Class,
    /// Not at all: the length of the text shows.
    Bare,
}

/// A bundle as it goes to the spool.
#[derive(Debug)]
pub struct Sealed<W> {
    /// Its id.
    pub id: BundleId,
    /// Its header and signature.
    pub head: Head,
    /// What a receipt will show; keep it, the ticks depend on it.
    pub secret: Option<ReceiptSecret>,
    /// The payload, or the writer it went into.
    pub payload: W,
}

/// Why a bundle could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// A recipient's key cannot be sealed to.
    #[error("the recipient's key cannot be sealed to")]
    Recipient(#[from] SealError),
    /// Too large for what was asked.
    #[error("{0} bytes are too many for one bundle")]
    TooLarge(u64),
    /// Combinations that the format does not have.
    #[error("a hidden bundle needs a sealed recipient")]
    NotSealed,
    /// Writing the payload failed.
    #[error("could not write the sealed payload")]
    Io(#[from] io::Error),
}

/// Seals a packet that is in memory, by the smallest seal that fits.
///
/// `entropy` is 32 fresh random bytes.
pub fn seal(
    letter: &Letter<'_>,
    packet: &[u8],
    entropy: &[u8; 32],
) -> Result<Sealed<Vec<u8>>, ComposeError> {
    match &letter.to {
        To::Public(destination) => publish(letter, *destination, packet),
        To::One(node, key) if letter.fits_compact(packet) => {
            seal_compact(letter, Destination::Node(*node), key, packet, entropy)
        }
        To::Group(group, keys) if keys.len() == 1 && letter.fits_compact(packet) => {
            seal_compact(letter, Destination::Group(*group), &keys[0], packet, entropy)
        }
        _ => {
            let mut sealer = AgeSealer::new(letter, entropy, &packet[..1], Vec::new())?;
            sealer.write_all(&packet[1..])?;
            sealer.finish()
        }
    }
}

impl Letter<'_> {
    /// What seals and signatures bind: the NodeId, or the group's 16 bytes.
    fn binding(&self) -> &[u8] {
        match &self.to {
            To::One(node, _) => node.as_bytes(),
            To::Group(group, _) => group,
            To::Public(destination) => destination.as_bytes(),
        }
    }

    fn fits_compact(&self, packet: &[u8]) -> bool {
        let hidden = match self.privacy {
            Privacy::Open => 0,
            // sender 33, epoch 5, counter 9, created 9, signature 64: the longest forms
            Privacy::Hidden { .. } => 120,
        };
        (compact::OVERHEAD + hidden + packet.len()) as u64 <= SMALL_PAYLOAD_MAX
    }

    fn origin(&self) -> Origin {
        match self.privacy {
            Privacy::Open => Origin::Open {
                source: self.author.id(),
                sequence: self.sequence,
                created: self.created,
            },
            Privacy::Hidden { .. } => Origin::Hidden,
        }
    }

    /// What a hidden bundle says first inside its seal, given the packet's array head.
    fn inner_start(&self, key: &SealPublic, known: bool, packet_head: u8) -> Vec<u8> {
        let me = self.author.id();
        let hint = sender_hint(&me, key);
        let sender = if known { &hint[..] } else { &me.as_bytes()[..] };
        let sender = wire::encode(&serde_bytes::Bytes::new(sender));
        // The packet's own two or three elements follow these four in one array.
        let mut out = vec![packet_head + 4];
        out.extend_from_slice(&sender);
        out.extend_from_slice(&wire::encode(&self.sequence.epoch));
        out.extend_from_slice(&wire::encode(&self.sequence.counter));
        out.extend_from_slice(&wire::encode(&self.created));
        out
    }

    fn header(&self, destination: Destination, seal: SealKind, lock: LockField) -> Header {
        Header {
            destination,
            lifetime: self.lifetime,
            nice: self.nice,
            seal,
            lock,
            origin: self.origin(),
            length: 0,
            hash: None,
        }
    }

    /// Destination and lock as a hidden header shows them: a tag, and never nothing to make it of.
    fn hide(
        &self,
        destination: Destination,
        key: &SealPublic,
        lock: LockField,
        entropy: &[u8; 32],
    ) -> (Destination, LockField) {
        if self.privacy == Privacy::Open {
            return (destination, lock);
        }
        let lock = if lock == LockField::None {
            LockField::Nonce(domain::prefix(&self.random(entropy, b"nonce")))
        } else {
            lock
        };
        match tag_of(key, &lock) {
            Some(tag) => (Destination::Tag(tag), lock),
            None => (destination, lock),
        }
    }

    /// 32 bytes that stay unpredictable when the generator repeats itself (a restored snapshot):
    /// the author's secret and the sequence go in too.
    fn random(&self, entropy: &[u8; 32], what: &[u8]) -> [u8; 32] {
        domain::derive(
            domain::RANDOM,
            &[
                entropy,
                self.author.seed(),
                self.binding(),
                &self.sequence.epoch.to_be_bytes(),
                &self.sequence.counter.to_be_bytes(),
                what,
            ],
        )
    }
}

/// The 8 bytes that stand for a sender whom the recipient already knows.
pub(crate) fn sender_hint(sender: &NodeId, recipient: &SealPublic) -> [u8; 8] {
    let parts = [&sender.as_bytes()[..], recipient.as_bytes()];
    domain::prefix(&domain::derive(domain::SENDER_HINT, &parts))
}

/// The digest under the signature inside a hidden bundle, as it streams.
pub(crate) fn hidden_digest(binding: &[u8], core: &[u8]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_derive_key(domain::HIDDEN);
    hasher.update(binding).update(core);
    hasher
}

fn publish(
    letter: &Letter<'_>,
    destination: Destination,
    packet: &[u8],
) -> Result<Sealed<Vec<u8>>, ComposeError> {
    if letter.privacy != Privacy::Open {
        return Err(ComposeError::NotSealed);
    }
    let mut header = letter.header(destination, SealKind::None, LockField::None);
    header.length = packet.len() as u64;
    header.hash = (!header.is_small()).then(|| *blake3::hash(packet).as_bytes());
    let head = Head::sign(header, packet, letter.author);
    Ok(Sealed { id: head.id(packet), head, secret: None, payload: packet.to_vec() })
}

fn seal_compact(
    letter: &Letter<'_>,
    destination: Destination,
    key: &SealPublic,
    packet: &[u8],
    entropy: &[u8; 32],
) -> Result<Sealed<Vec<u8>>, ComposeError> {
    let mut plain = match letter.privacy {
        Privacy::Open => packet.to_vec(),
        Privacy::Hidden { known } => {
            let mut inner = letter.inner_start(key, known, packet[0]);
            inner.extend_from_slice(&packet[1..]);
            inner
        }
    };
    let signature_bytes = if letter.privacy == Privacy::Open { 0 } else { 64 };
    if letter.padding == Padding::Class {
        let class = payload_class(compact::OVERHEAD + plain.len() + signature_bytes);
        plain.resize(class - compact::OVERHEAD - signature_bytes, 0);
    }
    let content = blake3::hash(&plain);
    let hedge = [
        &letter.random(entropy, b"compact")[..],
        key.as_bytes(),
        content.as_bytes(),
        &[letter.nice.value()],
        &letter.lifetime.seconds().to_be_bytes(),
        &letter.created.to_be_bytes(),
    ];
    let ephemeral = domain::derive(domain::EPHEMERAL, &hedge);
    let sealing = compact::Sealing::new(letter.binding(), key, ephemeral)?;
    // A group's readers share the key, so its bundles have no lock.
    let lock = match destination {
        Destination::Group(_) => LockField::None,
        _ => sealing.lock(),
    };
    let (destination, lock) = letter.hide(destination, key, lock, entropy);
    let mut header = letter.header(destination, SealKind::Compact, lock);
    let core = header.core();
    if letter.privacy != Privacy::Open {
        let digest = hidden_digest(letter.binding(), &core).update(&plain).finalize();
        let signature = letter.author.sign(&domain::BUNDLE_HIDDEN, digest.as_bytes());
        plain.extend_from_slice(&signature);
    }
    let (payload, secret) = sealing.seal(&core, &plain)?;
    header.length = payload.len() as u64;
    let secret = matches!(lock, LockField::Compact(_)).then_some(secret);
    let head = Head::sign(header, &payload, letter.author);
    Ok(Sealed { id: head.id(&payload), head, secret, payload })
}

/// Seals a packet, and raw bytes behind it, while they are written.
///
/// Memory does not grow with the content. [`AgeSealer::finish`] must be called; what was written
/// until then is not a bundle.
pub struct AgeSealer<'a, W: Write> {
    letter: Letter<'a>,
    header: Header,
    age: age::SealWriter<Measured<W>>,
    /// Of the plaintext so far, the seal's own 48 bytes included.
    plain_bytes: u64,
    hidden: Option<blake3::Hasher>,
    secret: Option<ReceiptSecret>,
}

impl<'a, W: Write> AgeSealer<'a, W> {
    /// Starts a bundle whose packet begins with `start` (at least its first byte, the array head)
    /// and whose payload goes to `out`.
    pub fn new(
        letter: &Letter<'a>,
        entropy: &[u8; 32],
        start: &[u8],
        out: W,
    ) -> Result<Self, ComposeError> {
        let letter = letter.clone();
        let r = ReceiptSecret(domain::prefix(&letter.random(entropy, b"age receipt")));
        let (destination, keys, lock) = match &letter.to {
            To::One(node, key) => {
                (Destination::Node(*node), std::slice::from_ref(key), r.age_lock())
            }
            To::Group(group, keys) => (Destination::Group(*group), &keys[..], LockField::None),
            To::Public(_) => return Err(ComposeError::NotSealed),
        };
        let first_key = keys.first().ok_or(ComposeError::NotSealed)?;
        let (destination, lock) = letter.hide(destination, first_key, lock, entropy);
        let header = letter.header(destination, SealKind::Age, lock);
        let core = header.core();
        let inner = match letter.privacy {
            Privacy::Open => start.to_vec(),
            Privacy::Hidden { known } => {
                let mut inner = letter.inner_start(first_key, known, start[0]);
                inner.extend_from_slice(&start[1..]);
                inner
            }
        };
        let hidden = match letter.privacy {
            Privacy::Open => None,
            Privacy::Hidden { .. } => Some(hidden_digest(letter.binding(), &core)),
        };
        let mut age = age::seal_to(keys, Measured::new(out))?;
        age.write_all(blake3::hash(&core).as_bytes())?;
        age.write_all(&r.0)?;
        let secret = matches!(lock, LockField::Age(_)).then_some(r);
        let mut sealer = Self { letter, header, age, plain_bytes: 48, hidden, secret };
        sealer.write_all(&inner)?;
        Ok(sealer)
    }

    /// Pads, signs, and ends the bundle.
    pub fn finish(mut self) -> Result<Sealed<W>, ComposeError> {
        let signature_bytes = if self.hidden.is_some() { 64 } else { 0 };
        if self.letter.padding == Padding::Class {
            let end = padme(self.plain_bytes + signature_bytes) - signature_bytes;
            let zeros = [0; 4096];
            while self.plain_bytes < end {
                let n = usize::try_from(end - self.plain_bytes).unwrap_or(usize::MAX);
                self.write_all(&zeros[..n.min(zeros.len())])?;
            }
        }
        if let Some(hasher) = self.hidden.take() {
            let digest = hasher.finalize();
            let signature = self.letter.author.sign(&domain::BUNDLE_HIDDEN, digest.as_bytes());
            self.age.write_all(&signature)?;
        }
        let measured = self.age.finish()?;
        let mut header = self.header;
        header.length = measured.bytes;
        if header.length > crate::bundle::PAYLOAD_MAX {
            return Err(ComposeError::TooLarge(header.length));
        }
        let (payload, hash) = measured.out.finish()?;
        header.hash = (!header.is_small()).then_some(hash);
        let head = Head::sign(header, &measured.start, self.letter.author);
        let id = head.id(&measured.start);
        Ok(Sealed { id, head, secret: self.secret, payload })
    }
}

impl<W: Write> Write for AgeSealer<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.age.write_all(bytes)?;
        self.plain_bytes += bytes.len() as u64;
        if let Some(hasher) = &mut self.hidden {
            hasher.update(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.age.flush()
    }
}

/// Counts and hashes a payload, and keeps as much of its start as a small bundle's id needs.
struct Measured<W> {
    out: BlockWriter<W>,
    bytes: u64,
    start: Vec<u8>,
}

impl<W: Write> Measured<W> {
    fn new(out: W) -> Self {
        Self { out: BlockWriter::new(out), bytes: 0, start: Vec::new() }
    }
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        if self.bytes <= SMALL_PAYLOAD_MAX {
            self.start.extend_from_slice(&bytes[..written]);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
