//! What the handshake computes with: X25519 from base, ChaCha20-Poly1305 and SHA-256 from ring.
//!
//! snow comes without any of its own. So the secret's type is the one that wipes itself, an
//! agreement on nothing is refused, and the only randomness is what we were given.

use postrider_base::agreement::AgreementSecret;
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey},
    digest,
};
use snow::{
    Error,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::CryptoResolver,
    types::{Cipher, Dh, Hash, Random},
};

use super::TAG_BYTES;

/// The suite of one handshake, with the ephemeral key that it will draw.
pub(super) struct Suite {
    ephemeral: AgreementSecret,
}

impl Suite {
    /// Noise's name for the pattern and for what is below.
    pub(super) const NAME: &'static str = "Noise_IK_25519_ChaChaPoly_SHA256";

    pub(super) fn new(ephemeral: AgreementSecret) -> Self {
        Self { ephemeral }
    }
}

impl CryptoResolver for Suite {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(OneDraw(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::<X25519>::default() as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::<Sha256>::default() as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly)
            .then(|| Box::<ChaChaPoly>::default() as Box<dyn Cipher>)
    }
}

/// Gives the ephemeral key, once: a handshake that wanted a second one would be another pattern.
struct OneDraw(Option<AgreementSecret>);

impl Random for OneDraw {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        let secret = self.0.take().ok_or(Error::Rng)?;
        if out.len() != secret.as_bytes().len() {
            return Err(Error::Rng);
        }
        out.copy_from_slice(secret.as_bytes());
        Ok(())
    }
}

struct X25519 {
    secret: AgreementSecret,
    public: [u8; 32],
}

impl X25519 {
    fn put(&mut self, secret: [u8; 32]) {
        self.secret = AgreementSecret::from_bytes(secret);
        self.public = self.secret.public();
    }
}

impl Default for X25519 {
    fn default() -> Self {
        Self { secret: AgreementSecret::from_bytes([0; 32]), public: [0; 32] }
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, secret: &[u8]) {
        self.put(secret.try_into().expect("we hand in 32 bytes"));
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), Error> {
        let mut secret = zeroize::Zeroizing::new([0; 32]);
        random.try_fill_bytes(&mut *secret)?;
        self.put(*secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    fn dh(&self, theirs: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let theirs = theirs.first_chunk().ok_or(Error::Dh)?;
        let shared = self.secret.agree(theirs).ok_or(Error::Dh)?;
        out.first_chunk_mut().ok_or(Error::Dh).map(|out| *out = shared)
    }
}

#[derive(Default)]
struct ChaChaPoly {
    key: Option<LessSafeKey>,
}

impl ChaChaPoly {
    fn nonce(count: u64) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&count.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has 32 bytes");
        self.key = Some(LessSafeKey::new(key));
    }

    fn encrypt(&self, count: u64, bound: &[u8], plain: &[u8], out: &mut [u8]) -> usize {
        let key = self.key.as_ref().expect("snow sets a key first");
        let (sealed, rest) = out.split_at_mut(plain.len());
        sealed.copy_from_slice(plain);
        let tag = key
            .seal_in_place_separate_tag(Self::nonce(count), Aad::from(bound), sealed)
            .expect("only gigabytes are too long");
        rest[..TAG_BYTES].copy_from_slice(tag.as_ref());
        plain.len() + TAG_BYTES
    }

    fn decrypt(
        &self,
        count: u64,
        bound: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let key = self.key.as_ref().ok_or(Error::Decrypt)?;
        let (sealed, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Error::Decrypt)?;
        let out = out.get_mut(..sealed.len()).ok_or(Error::Decrypt)?;
        out.copy_from_slice(sealed);
        key.open_in_place_separate_tag(
            Self::nonce(count),
            Aad::from(bound),
            Tag::from(*tag),
            out,
            0..,
        )
        .map(|plain| plain.len())
        .map_err(|_| Error::Decrypt)
    }
}

struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn input(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(self.0.clone().finish().as_ref());
    }
}
