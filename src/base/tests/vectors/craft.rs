//! Bundles made by hand, from the specification, with one thing wrong at a chosen place.
//!
//! A fault sits *behind* everything that would notice it by accident: a changed header field is
//! changed before the seal binds it and before the id is signed, so that only the check which the
//! vector names can refuse it.

use postrider_base::{NodeSecret, SealPublic};

use crate::{
    cbor::{V, b},
    seals::{Age, Hpke},
};

pub(crate) const SMALL_MAX: usize = 4096;

/// BLAKE3 in derive_key mode.
pub(crate) fn dk(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    blake3::derive_key(context, &parts.concat())
}

pub(crate) fn seed(n: u8) -> [u8; 32] {
    [n; 32]
}

pub(crate) fn node(n: u8) -> NodeSecret {
    NodeSecret::from_seed(seed(n))
}

/// Alice writes, Bob reads, Mallory interferes.
pub(crate) const ALICE: u8 = 1;
pub(crate) const BOB: u8 = 2;
pub(crate) const MALLORY: u8 = 6;

type Hook<T> = Option<Box<dyn Fn(&mut T)>>;

/// A bundle to be. Every hook spoils one stage and leaves the later ones consistent with it.
pub(crate) struct Craft {
    pub(crate) author: NodeSecret,
    pub(crate) recipient: NodeSecret,
    pub(crate) seal_key: SealPublic,
    pub(crate) hidden: bool,
    /// 0 none, 1 compact, 2 age.
    pub(crate) seal: u64,
    pub(crate) packet: Vec<V>,
    /// What follows the packet: a part's bytes, padding.
    pub(crate) after: Vec<u8>,
    pub(crate) locked: bool,
    pub(crate) nonce_lock: bool,
    pub(crate) sender: Option<V>,
    /// What HPKE's info and the hidden digest bind; the recipient's NodeId when honest.
    pub(crate) binding: Option<Vec<u8>>,
    pub(crate) hidden_binding: Option<Vec<u8>>,
    pub(crate) open_domain: &'static [u8],
    pub(crate) hidden_domain: &'static [u8],
    pub(crate) zero_shared: bool,
    pub(crate) age: Age,
    /// The header, before lock, tag and core are made of it.
    pub(crate) early: Hook<Vec<V>>,
    /// The header as the seal binds it, when that shall differ from the one that is sent.
    pub(crate) core: Hook<Vec<V>>,
    /// The header, once length and hash are in it.
    pub(crate) late: Hook<Vec<V>>,
    /// The encoded header.
    pub(crate) header_bytes: Hook<Vec<u8>>,
    /// The array inside a hidden seal.
    pub(crate) inner: Hook<Vec<V>>,
    /// The encoded packet with all that follows it, before the inner signature.
    pub(crate) plain: Hook<Vec<u8>>,
    pub(crate) inner_signature: Hook<[u8; 64]>,
    /// The 48 bytes in front of an age plaintext.
    pub(crate) age_start: Hook<Vec<u8>>,
    pub(crate) payload: Hook<Vec<u8>>,
    pub(crate) signature: Hook<Signed>,
    /// The payload after length, hash, id and signature were made.
    pub(crate) carried: Hook<Vec<u8>>,
    pub(crate) envelope: Hook<Vec<V>>,
}

/// An open signature and what it covers.
pub(crate) struct Signed {
    pub(crate) signature: [u8; 64],
    pub(crate) message: Vec<u8>,
}

/// `[kind, body]` of a plain text.
pub(crate) fn mail(text: &str) -> Vec<V> {
    vec![V::U(0), b(text)]
}

fn run<T>(hook: &Hook<T>, value: &mut T) {
    if let Some(hook) = hook {
        hook(value);
    }
}

fn domain(ascii: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out[..ascii.len()].copy_from_slice(ascii);
    out
}

impl Craft {
    pub(crate) fn new(seal: u64, hidden: bool) -> Self {
        let (author, recipient) = (node(ALICE), node(BOB));
        let seal_key = recipient.first_seal_key().public();
        Self {
            author,
            recipient,
            seal_key,
            hidden,
            seal,
            packet: mail("meet me at the old mill"),
            after: vec![0; 20],
            locked: seal != 0,
            nonce_lock: false,
            sender: None,
            binding: None,
            hidden_binding: None,
            open_domain: b"postrider bundle open v1",
            hidden_domain: b"postrider bundle hidden v1",
            zero_shared: false,
            age: Age::to(*seal_key.as_bytes()),
            early: None,
            core: None,
            late: None,
            header_bytes: None,
            inner: None,
            plain: None,
            inner_signature: None,
            age_start: None,
            payload: None,
            signature: None,
            carried: None,
            envelope: None,
        }
    }

    pub(crate) fn open() -> Self {
        Self::new(1, false)
    }

    pub(crate) fn hidden() -> Self {
        Self::new(1, true)
    }

    pub(crate) fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }

    /// Spoils a header field before anything binds it.
    pub(crate) fn header(self, change: impl Fn(&mut Vec<V>) + 'static) -> Self {
        self.with(|c| c.early = Some(Box::new(change)))
    }

    /// Spoils length or hash, under a signature that covers the spoiled value.
    pub(crate) fn late(self, change: impl Fn(&mut Vec<V>) + 'static) -> Self {
        self.with(|c| c.late = Some(Box::new(change)))
    }

    pub(crate) fn envelope(self, change: impl Fn(&mut Vec<V>) + 'static) -> Self {
        self.with(|c| c.envelope = Some(Box::new(change)))
    }

    pub(crate) fn packet(self, packet: Vec<V>) -> Self {
        self.with(|c| c.packet = packet)
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let receiver: &[u8; 32] = self.seal_key.as_bytes();
        let binding = self.binding.clone().unwrap_or_else(|| self.recipient.id().as_bytes().into());
        let info = [b"postrider compact v1", &binding[..]].concat();
        let ephemeral = [0x33; 32];
        let hpke = if self.zero_shared {
            Hpke::from_shared([0; 32], [0; 32], receiver, &info)
        } else {
            Hpke::new(ephemeral, receiver, &info)
        };
        let (r, lock) = if self.seal == 1 {
            let r = hpke.export(b"postrider receipt v1");
            let lock = dk("postrider 2026 receipt lock v1", &[&hpke.encapsulated, &r]);
            (r, lock[..8].to_vec())
        } else {
            let r = [0x52; 16];
            (r, dk("postrider 2026 receipt lock v1", &[&r])[..16].to_vec())
        };
        let lock = match (self.locked, self.nonce_lock) {
            (_, true) => b([0x4e; 8]),
            (true, false) => b(lock),
            (false, false) => V::Null,
        };

        let mut header = self.header_fields(lock);
        let (length_at, hash_at) = (header.len() - 2, header.len() - 1);
        run(&self.early, &mut header);
        let mut bound = header.clone();
        run(&self.core, &mut bound);
        let core = V::A(bound).bytes();

        let plain = self.plain(&core);
        let mut payload = match self.seal {
            1 => hpke.seal(&core, &plain),
            2 => {
                let mut start = [&blake3::hash(&core).as_bytes()[..], &r].concat();
                run(&self.age_start, &mut start);
                self.age.seal(&[start, plain].concat())
            }
            _ => plain,
        };
        run(&self.payload, &mut payload);

        if let Some(length) = header.get_mut(length_at).filter(|v| matches!(v, V::Null)) {
            *length = V::U(payload.len() as u64);
        }
        if payload.len() > SMALL_MAX
            && let Some(hash) = header.get_mut(hash_at)
        {
            *hash = b(blake3::hash(&payload).as_bytes());
        }
        run(&self.late, &mut header);
        let mut header = V::A(header).bytes();
        run(&self.header_bytes, &mut header);
        self.wrap(&header, payload)
    }

    /// Id, signature, envelope.
    fn wrap(&self, header: &[u8], mut payload: Vec<u8>) -> Vec<u8> {
        let small = payload.len() <= SMALL_MAX;
        let id = dk("postrider 2026 bundle id v1", &[header, if small { &payload } else { &[] }]);
        let mut envelope = vec![b(header)];
        if !self.hidden {
            let mut signed = Signed {
                signature: self.author.sign(&domain(self.open_domain), &id),
                message: [domain(self.open_domain), id].concat(),
            };
            run(&self.signature, &mut signed);
            envelope.push(b(signed.signature));
        }
        run(&self.carried, &mut payload);
        if small {
            envelope.push(b(&payload));
        }
        run(&self.envelope, &mut envelope);
        let mut out = V::A(envelope).bytes();
        if !small {
            out.extend(payload);
        }
        out
    }

    fn header_fields(&self, lock: V) -> Vec<V> {
        let me = self.author.id();
        let destination = match &lock {
            V::B(lock) if self.hidden => b(self.tag(lock)),
            _ => b(self.recipient.id().as_bytes()),
        };
        let flags = u64::from(self.hidden) | if self.nonce_lock { 2 } else { 0 };
        let mut header = vec![
            V::U(1),
            V::U(flags),
            destination,
            V::U(2_592_000),
            V::U(160),
            V::U(self.seal),
            lock,
        ];
        if !self.hidden {
            header.extend([b(me.as_bytes()), V::U(7), V::U(5), V::U(1_800_000_000)]);
        }
        header.extend([V::Null, V::Null]);
        header
    }

    pub(crate) fn tag(&self, lock: &[u8]) -> [u8; 8] {
        let key = dk("postrider 2026 tag key v1", &[self.seal_key.as_bytes()]);
        let tag = blake3::keyed_hash(&key, &[b"postrider tag v1", lock].concat());
        tag.as_bytes()[..8].try_into().unwrap()
    }

    fn plain(&self, core: &[u8]) -> Vec<u8> {
        if !self.hidden {
            let mut plain = [V::A(self.packet.clone()).bytes(), self.after.clone()].concat();
            run(&self.plain, &mut plain);
            return plain;
        }
        let me = self.author.id();
        let sender = self.sender.clone().unwrap_or_else(|| b(me.as_bytes()));
        let mut inner = vec![sender, V::U(7), V::U(5), V::U(1_800_000_000)];
        inner.extend(self.packet.clone());
        run(&self.inner, &mut inner);
        let mut plain = [V::A(inner).bytes(), self.after.clone()].concat();
        run(&self.plain, &mut plain);
        let recipient = self.recipient.id();
        let binding = self.hidden_binding.as_deref().unwrap_or(recipient.as_bytes());
        let digest = dk("postrider 2026 hidden v1", &[binding, core, &plain]);
        let mut signature = self.author.sign(&domain(self.hidden_domain), &digest);
        run(&self.inner_signature, &mut signature);
        plain.extend(signature);
        plain
    }
}
