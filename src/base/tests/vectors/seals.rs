//! Both seals from their primitives, with every secret given: the same bytes at every run, and
//! faults that an honest library would not commit.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{Aead, Payload},
};
use curve25519_dalek::MontgomeryPoint;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;

const KEM: &[u8] = b"KEM\x00\x20";
const SUITE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x03";

/// A sender's HPKE context.
pub(crate) struct Hpke {
    pub(crate) encapsulated: [u8; 32],
    key: [u8; 32],
    nonce: [u8; 12],
    exporter: [u8; 32],
}

impl Hpke {
    pub(crate) fn new(ephemeral: [u8; 32], recipient: &[u8; 32], info: &[u8]) -> Self {
        let encapsulated = MontgomeryPoint::mul_base_clamped(ephemeral).to_bytes();
        let shared = MontgomeryPoint(*recipient).mul_clamped(ephemeral).to_bytes();
        Self::from_shared(encapsulated, shared, recipient, info)
    }

    /// What follows from a shared secret, be it honest or zero.
    pub(crate) fn from_shared(
        encapsulated: [u8; 32],
        shared: [u8; 32],
        recipient: &[u8; 32],
        info: &[u8],
    ) -> Self {
        let prk = extract(KEM, &[], b"eae_prk", &shared);
        let context = [encapsulated, *recipient].concat();
        let kem_secret: [u8; 32] = expand(KEM, &prk, b"shared_secret", &context);
        let schedule = [
            &[0][..],
            &extract(SUITE, &[], b"psk_id_hash", &[]),
            &extract(SUITE, &[], b"info_hash", info),
        ]
        .concat();
        let secret = extract(SUITE, &kem_secret, b"secret", &[]);
        Self {
            encapsulated,
            key: expand(SUITE, &secret, b"key", &schedule),
            nonce: expand(SUITE, &secret, b"base_nonce", &schedule),
            exporter: expand(SUITE, &secret, b"exp", &schedule),
        }
    }

    pub(crate) fn export(&self, context: &[u8]) -> [u8; 16] {
        expand(SUITE, &self.exporter, b"sec", context)
    }

    pub(crate) fn seal(&self, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let cipher = ChaCha20Poly1305::new(&self.key.into());
        let sealed = cipher.encrypt(&self.nonce.into(), Payload { msg: plain, aad }).unwrap();
        [&self.encapsulated[..], &sealed].concat()
    }
}

fn extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> [u8; 32] {
    let labeled = [b"HPKE-v1", suite, label, ikm].concat();
    Hkdf::<Sha256>::extract(Some(salt), &labeled).0.into()
}

fn expand<const N: usize>(suite: &[u8], prk: &[u8], label: &[u8], info: &[u8]) -> [u8; N] {
    let size = u16::try_from(N).unwrap().to_be_bytes();
    let labeled = [&size[..], b"HPKE-v1", suite, label, info].concat();
    let mut out = [0; N];
    Hkdf::<Sha256>::from_prk(prk).unwrap().expand(&labeled, &mut out).unwrap();
    out
}

/// How an age file is written.
pub(crate) struct Age {
    pub(crate) recipients: Vec<[u8; 32]>,
    pub(crate) file_key: [u8; 16],
    /// Use this share of small order and the shared secret zero, which any key "agrees" on.
    pub(crate) zero_share: Option<[u8; 32]>,
    /// Changes the header's lines under a MAC that covers the change.
    pub(crate) header: Option<fn(&mut Vec<u8>)>,
    /// Whether this chunk of so many is marked as the last.
    pub(crate) last: fn(usize, usize) -> bool,
    /// End with an empty last chunk where none belongs.
    pub(crate) empty_last: bool,
}

impl Age {
    pub(crate) fn to(recipient: [u8; 32]) -> Self {
        let recipients = vec![recipient];
        let last = |index, count| index + 1 == count;
        let file_key = [0x5a; 16];
        Self { recipients, file_key, zero_share: None, header: None, last, empty_last: false }
    }

    pub(crate) fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut out = b"age-encryption.org/v1\n".to_vec();
        for (i, recipient) in self.recipients.iter().enumerate() {
            let ephemeral = [0x40 + u8::try_from(i).unwrap(); 32];
            let (share, shared) = if let Some(share) = self.zero_share {
                (share, [0; 32])
            } else {
                let shared = MontgomeryPoint(*recipient).mul_clamped(ephemeral).to_bytes();
                (MontgomeryPoint::mul_base_clamped(ephemeral).to_bytes(), shared)
            };
            let wrap =
                derive(&[share, *recipient].concat(), &shared, b"age-encryption.org/v1/X25519");
            let cipher = ChaCha20Poly1305::new(&wrap.into());
            let body = cipher.encrypt(&[0; 12].into(), &self.file_key[..]).unwrap();
            let (share, body) = (STANDARD_NO_PAD.encode(share), STANDARD_NO_PAD.encode(body));
            out.extend_from_slice(format!("-> X25519 {share}\n{body}\n").as_bytes());
        }
        if let Some(change) = self.header {
            change(&mut out);
        }
        out.extend_from_slice(b"---");
        let mac_key = derive(&[], &self.file_key, b"header");
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&mac_key).unwrap();
        mac.update(&out);
        let mac = STANDARD_NO_PAD.encode(mac.finalize().into_bytes());
        out.extend_from_slice(format!(" {mac}\n").as_bytes());
        let nonce = [0x77; 16];
        out.extend_from_slice(&nonce);
        out.extend(self.stream(&derive(&nonce, &self.file_key, b"payload"), plain));
        out
    }

    fn stream(&self, key: &[u8; 32], plain: &[u8]) -> Vec<u8> {
        let cipher = ChaCha20Poly1305::new(key.into());
        let mut chunks: Vec<&[u8]> = plain.chunks(64 * 1024).collect();
        if self.empty_last {
            chunks.push(&[]);
        }
        let mut out = Vec::new();
        for (i, chunk) in chunks.iter().enumerate() {
            let mut nonce = [0; 12];
            nonce[3..11].copy_from_slice(&(i as u64).to_be_bytes());
            nonce[11] = u8::from((self.last)(i, chunks.len()));
            out.extend(cipher.encrypt(&nonce.into(), *chunk).unwrap());
        }
        out
    }
}

fn derive(salt: &[u8], ikm: &[u8], info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, &mut out).unwrap();
    out
}
