//! A radio form becomes the bundle that it was made of, or nothing.

use super::{
    FORM_MAX,
    fields::{self, IN_FULL},
    known::Knowledge,
    shape::{Locked, Origin, Shape, To},
};
use crate::{
    bundle::{
        self, Destination, HeadError, Header, HeaderError, Hop, LockField, SealKind, Sequence,
        SmallBundle, tag_of,
    },
    id::NodeId,
    key::SealSecret,
    nice::Niceness,
    seal::compact,
    time::Lifetime,
    unseal::Keyring,
    wire,
};

/// So many keys are tried for one form, at one signature or one seal each. Hints of four bytes meet by
/// chance once in four billion pairs; whoever makes them meet on purpose gets no further.
const TRIES_MAX: usize = 16;

/// Why bytes are not the radio form of a bundle, here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormError {
    /// Longer than [`FORM_MAX`].
    #[error("a radio form of {0} bytes is too long")]
    TooLong(usize),
    /// Cut before its payload.
    #[error("the radio form ends too early")]
    Truncated,
    /// The first byte is not that of a bundle's form.
    #[error("no radio form begins with {0:#04x}")]
    Type(u8),
    /// A class of lifetime and niceness that there is not, a value in full that cannot be, or a level
    /// of nothing.
    #[error("the field {0} has an impossible value")]
    Field(&'static str),
    /// It says nothing that could be a bundle.
    #[error("it is not a bundle: {0}")]
    Bundle(#[from] HeadError),
    /// It needs keys that are not here: whoever sent it can send the form for strangers. Or it is
    /// forged, which cannot be told from that.
    #[error("it takes keys that are not known here")]
    Unknown,
    /// Its keys are in full, and the author's signature does not hold.
    #[error("forged or damaged: the author's signature does not hold")]
    Forged,
}

/// What was read, with the choices that are left.
struct Read<'a> {
    shape: Shape,
    lifetime: Lifetime,
    nice: Niceness,
    sources: Vec<NodeId>,
    destinations: Vec<Destination>,
    lock: &'a [u8],
    sequence: Sequence,
    created: u64,
    signature: &'a [u8],
    payload: &'a [u8],
}

/// The bundle, and the hop data that came with it.
///
/// An open bundle's signature was verified, whatever was guessed; a hidden one is as authentic to
/// relays as any hidden one, and was opened where its tag had to be guessed.
pub fn expand(bytes: &[u8], known: &Knowledge<'_>) -> Result<(SmallBundle, Hop), FormError> {
    if bytes.len() > FORM_MAX {
        return Err(FormError::TooLong(bytes.len()));
    }
    let (read, hop) = read(bytes, known)?;
    let bundle = match read.shape.origin {
        Origin::Hidden if read.shape.to == To::Reader => hidden_for_me(&read, known)?,
        Origin::Hidden => {
            let destination = *read.destinations.first().ok_or(FormError::Unknown)?;
            read.build(destination, read.plain_lock()?, bundle::Origin::Hidden)?
        }
        Origin::Key | Origin::Hint => open_by_somebody(&read, known)?,
    };
    Ok((bundle, hop))
}

fn read<'a>(bytes: &'a [u8], known: &Knowledge<'_>) -> Result<(Read<'a>, Hop), FormError> {
    let mut rest = Rest(bytes);
    let [first, hop, age, class] = rest.take()?;
    let shape = Shape::of(first).ok_or(FormError::Type(first))?;
    let level = if shape.levelled {
        let [level] = rest.take()?;
        if level == 0 {
            return Err(FormError::Field("level"));
        }
        level
    } else {
        0
    };
    let (lifetime, nice) = if class == IN_FULL {
        let lifetime = Lifetime::new(u32::from_be_bytes(rest.take()?));
        let [nice] = rest.take()?;
        (
            lifetime.ok_or(FormError::Field("lifetime"))?,
            Niceness::new(nice).ok_or(FormError::Field("niceness"))?,
        )
    } else {
        fields::of_class(class).ok_or(FormError::Field("class"))?
    };
    let sources = match shape.origin {
        Origin::Hidden => Vec::new(),
        Origin::Key => vec![rest.node()?],
        Origin::Hint => known.nodes_with(rest.take()?).take(TRIES_MAX).collect(),
    };
    let destinations = match shape.to {
        To::Tag => vec![Destination::Tag(rest.take()?)],
        To::Node => vec![Destination::Node(rest.node()?)],
        To::Group => vec![Destination::Group(rest.take()?)],
        To::NodeHint => {
            known.nodes_with(rest.take()?).take(TRIES_MAX).map(Destination::Node).collect()
        }
        To::GroupHint => {
            known.groups_with(rest.take()?).take(TRIES_MAX).map(Destination::Group).collect()
        }
        To::Reader => known.me.iter().map(|ring| Destination::Node(*ring.node)).collect(),
    };
    let lock = rest.bytes(shape.lock_bytes())?;
    let (mut sequence, mut created, mut signature) =
        (Sequence { epoch: 0, counter: 0 }, 0, &[][..]);
    if shape.origin != Origin::Hidden {
        sequence.epoch = u32::from_be_bytes(rest.take()?);
        (sequence.counter, created) = if class == IN_FULL {
            (u64::from_be_bytes(rest.take()?), u64::from_be_bytes(rest.take()?))
        } else {
            let [high, middle, low] = rest.take()?;
            let counter = u32::from_be_bytes([0, high, middle, low]);
            (u64::from(counter), u64::from(u32::from_be_bytes(rest.take()?)))
        };
        signature = rest.bytes(64)?;
    }
    let payload = rest.0;
    let read = Read {
        shape,
        lifetime,
        nice,
        sources,
        destinations,
        lock,
        sequence,
        created,
        signature,
        payload,
    };
    Ok((read, fields::of_hop(hop, age, lifetime, level)))
}

/// Tries every author, destination and lock that the form may mean; the signature decides.
fn open_by_somebody(read: &Read<'_>, known: &Knowledge<'_>) -> Result<SmallBundle, FormError> {
    let locks = match (&known.me, read.lock_is_left_out()) {
        (_, false) => vec![read.plain_lock()?],
        (Some(ring), true) => locks_of(ring, read.payload).map(|(_, lock)| lock).collect(),
        (None, true) => Vec::new(),
    };
    let guesses = read.sources.iter().flat_map(|source| {
        let pairs =
            read.destinations.iter().flat_map(|to| locks.iter().map(move |lock| (to, lock)));
        pairs.map(move |(to, lock)| (*source, *to, *lock))
    });
    let guessed = read.shape.origin == Origin::Hint
        || !matches!(read.shape.to, To::Node | To::Group)
        || read.lock_is_left_out();
    for (source, destination, lock) in guesses.take(TRIES_MAX) {
        let (sequence, created) = (read.sequence, read.created);
        let origin = bundle::Origin::Open { source, sequence, created };
        let bundle = read.build(destination, lock, origin)?;
        match bundle.head.verify_small(&bundle.payload) {
            Ok(_) => return Ok(bundle),
            Err(HeadError::Signature) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(if guessed { FormError::Unknown } else { FormError::Forged })
}

/// Tries each of our seal keys; that the seal opens under the header which it makes decides.
fn hidden_for_me(read: &Read<'_>, known: &Knowledge<'_>) -> Result<SmallBundle, FormError> {
    let ring = known.me.as_ref().ok_or(FormError::Unknown)?;
    let guesses: Vec<(&SealSecret, LockField)> = if read.lock_is_left_out() {
        locks_of(ring, read.payload).collect()
    } else {
        let lock = read.plain_lock()?;
        ring.keys.iter().map(|key| (key, lock)).collect()
    };
    for (key, lock) in guesses.into_iter().take(TRIES_MAX) {
        let Some(tag) = tag_of(&key.public(), &lock) else { continue };
        let bundle = read.build(Destination::Tag(tag), lock, bundle::Origin::Hidden)?;
        let core = bundle.head.header().core();
        if compact::open(ring.node.as_bytes(), key, &core, &lock, &bundle.payload).is_ok() {
            return Ok(bundle);
        }
    }
    Err(FormError::Unknown)
}

/// The locks that a compact seal has if it was made for one of these keys.
fn locks_of<'a>(
    ring: &Keyring<'a>,
    payload: &[u8],
) -> impl Iterator<Item = (&'a SealSecret, LockField)> {
    let node = *ring.node;
    ring.keys
        .iter()
        .filter_map(move |key| Some((key, compact::lock_for(node.as_bytes(), key, payload).ok()?)))
}

impl Read<'_> {
    /// Whether the recipient has to compute the lock.
    fn lock_is_left_out(&self) -> bool {
        self.shape.lock == Locked::Yes && self.lock.is_empty()
    }

    fn plain_lock(&self) -> Result<LockField, FormError> {
        let wrong = |_| FormError::Field("lock");
        Ok(match (self.shape.lock, self.shape.seal) {
            (Locked::No, _) => LockField::None,
            (Locked::Nonce, _) => LockField::Nonce(self.lock.try_into().map_err(wrong)?),
            (Locked::Yes, SealKind::Age) => LockField::Age(self.lock.try_into().map_err(wrong)?),
            (Locked::Yes, _) => LockField::Compact(self.lock.try_into().map_err(wrong)?),
        })
    }

    /// The bundle with these choices. Its bytes are made and read again: what comes out has passed
    /// everything that the canonical bytes would have to.
    fn build(
        &self,
        destination: Destination,
        lock: LockField,
        origin: bundle::Origin,
    ) -> Result<SmallBundle, HeadError> {
        let hidden = origin == bundle::Origin::Hidden;
        let header = Header {
            destination,
            lifetime: self.lifetime,
            nice: self.nice,
            seal: self.shape.seal,
            lock,
            origin,
            length: self.payload.len() as u64,
            hash: None,
        };
        let header = header.encode();
        let mut elements: Vec<&serde_bytes::Bytes> = vec![serde_bytes::Bytes::new(&header)];
        if !hidden {
            elements.push(serde_bytes::Bytes::new(self.signature));
        }
        elements.push(serde_bytes::Bytes::new(self.payload));
        SmallBundle::decode(&wire::encode(&elements))
    }
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], FormError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(FormError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], FormError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(FormError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn node(&mut self) -> Result<NodeId, FormError> {
        let key = self.take::<32>()?;
        let refused = |why| FormError::Bundle(HeadError::Header(HeaderError::Node(why)));
        NodeId::from_bytes(&key).map_err(refused)
    }
}
