//! Contact cards: a small signed record of who somebody is and how to seal mail to them.

use std::{fmt, str::FromStr};

use bech32::{Bech32m, Hrp, primitives::decode::CheckedHrpstring};
use serde_bytes::ByteBuf;

use crate::{
    domain,
    id::{NodeId, NodeIdError},
    key::{NodeSecret, SealKeyError, SealPublic},
    wire::{self, WireError},
};

/// A card is at most this long: it rides in first messages and must fit a QR code.
pub const CARD_MAX: usize = 600;
/// A suggested name has at most this many bytes.
pub const NAME_MAX: usize = 64;
/// Longest hint: a host name and a port, and room.
pub const HINT_MAX: usize = 128;
/// Hints on a card: a few ways to the same machine.
pub const HINTS_MAX: usize = 8;
const SEAL_KEYS_MAX: usize = 8;
const VERSION: u8 = 1;

/// A contact card whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    facts: Facts,
    bytes: Vec<u8>,
}

/// What a card says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whose card it is.
    pub node: NodeId,
    /// Counts up with every change; a lower number never replaces a higher one.
    pub number: u64,
    /// Seal keys with their numbers, newest first; never empty.
    pub seal_keys: Vec<(u32, SealPublic)>,
    /// The name that the owner suggests; the holder decides.
    pub name: String,
    /// Where the owner may be reached (addresses; none by default).
    pub hints: Vec<String>,
    /// Bits for what the owner's program understands; [`Facts::HIDDEN`] and reserved ones.
    pub features: u64,
}

impl Facts {
    /// The owner asks for hidden envelopes.
    pub const HIDDEN: u64 = 1;
}

/// Why something is not a card.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CardError {
    /// Longer than [`CARD_MAX`].
    #[error("a card of {0} bytes is too long")]
    TooLong(usize),
    /// Not canonical CBOR of the right shape.
    #[error("the card is damaged: {0}")]
    Wire(#[from] WireError),
    /// A card of another version.
    #[error("a card of version {0}, which this program does not know")]
    Version(u8),
    /// The owner's key is not usable.
    #[error("the card's node key: {0}")]
    Node(#[from] NodeIdError),
    /// One of the seal keys is not usable.
    #[error("the card's seal key: {0}")]
    SealKey(#[from] SealKeyError),
    /// A field has a value that it cannot have.
    #[error("the card's {0} has an impossible value")]
    Field(&'static str),
    /// The owner's signature does not hold.
    #[error("the card is damaged or forged: its signature does not hold")]
    Signature,
    /// The text's checksum or alphabet is wrong.
    #[error("not a card: a character is wrong or missing")]
    Text,
}

type BodyWire = (u8, ByteBuf, u64, Vec<(u32, ByteBuf)>, String, Vec<String>, u64);

impl Card {
    /// Signs a card.
    pub fn sign(facts: Facts, secret: &NodeSecret) -> Result<Self, CardError> {
        facts.check()?;
        let keys = facts.seal_keys.iter().map(|(n, key)| (*n, ByteBuf::from(*key.as_bytes())));
        let body = wire::encode(&(
            VERSION,
            ByteBuf::from(*facts.node.as_bytes()),
            facts.number,
            keys.collect::<Vec<_>>(),
            &facts.name,
            &facts.hints,
            facts.features,
        ));
        let signature = secret.sign(&domain::CARD, &digest(&body));
        let bytes = wire::encode(&(ByteBuf::from(body), ByteBuf::from(signature)));
        // Signed with somebody else's secret, or too long: decoding says so.
        Self::decode(&bytes)
    }

    /// Reads a card and checks its signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, CardError> {
        let (card, body, signature) = Self::parse(bytes)?;
        if !card.node.is_torsion_free() {
            return Err(NodeIdError::Point.into());
        }
        let signature = signature.as_slice().try_into().map_err(|_| CardError::Signature)?;
        if !card.node.verify(&domain::CARD, &digest(&body), signature) {
            return Err(CardError::Signature);
        }
        Ok(card)
    }

    /// Reads the text form of a card that was checked when it came and has been kept since under a
    /// checksum of our own: the signature, which takes most of the time, is not checked again.
    pub fn decode_kept(text: &str) -> Result<Self, CardError> {
        Ok(Self::parse(&bytes_of(text)?)?.0)
    }

    /// As [`Self::decode_kept`], of the bytes themselves.
    pub(crate) fn decode_kept_bytes(bytes: &[u8]) -> Result<Self, CardError> {
        Ok(Self::parse(bytes)?.0)
    }

    fn parse(bytes: &[u8]) -> Result<(Self, ByteBuf, ByteBuf), CardError> {
        if bytes.len() > CARD_MAX {
            return Err(CardError::TooLong(bytes.len()));
        }
        let (body, signature): (ByteBuf, ByteBuf) = wire::decode(bytes)?;
        let wire: BodyWire = wire::decode(&body)?;
        if wire.0 != VERSION {
            return Err(CardError::Version(wire.0));
        }
        let facts = Facts {
            node: NodeId::from_bytes(&wire.1)?,
            number: wire.2,
            seal_keys: wire
                .3
                .iter()
                .map(|(n, key)| Ok((*n, SealPublic::from_bytes(key)?)))
                .collect::<Result<_, CardError>>()?,
            name: wire.4,
            hints: wire.5,
            features: wire.6,
        };
        facts.check()?;
        Ok((Self { facts, bytes: bytes.to_vec() }, body, signature))
    }

    /// Reads a card from a file or a paste: the text form or the bare bytes.
    pub fn read(file: &[u8]) -> Result<Self, CardError> {
        match std::str::from_utf8(file) {
            Ok(text) if text.trim_start().to_ascii_lowercase().starts_with("prcard1") => {
                text.parse()
            }
            _ => Self::decode(file),
        }
    }

    /// The card's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::ops::Deref for Card {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.facts
    }
}

impl Facts {
    /// The key that new mail is sealed to.
    pub fn seal_key(&self) -> &SealPublic {
        &self.seal_keys[0].1
    }

    /// Whether the owner asks for hidden envelopes.
    pub fn wants_hidden(&self) -> bool {
        self.features & Self::HIDDEN != 0
    }

    fn check(&self) -> Result<(), CardError> {
        let falling = self.seal_keys.windows(2).all(|pair| pair[0].0 > pair[1].0);
        if !(1..=SEAL_KEYS_MAX).contains(&self.seal_keys.len()) || !falling {
            return Err(CardError::Field("list of seal keys"));
        }
        if self.number == 0 {
            return Err(CardError::Field("number"));
        }
        if self.name.len() > NAME_MAX || self.name.chars().any(char::is_control) {
            return Err(CardError::Field("name"));
        }
        let plain = |hint: &String| hint.len() <= HINT_MAX && !hint.chars().any(char::is_control);
        if self.hints.len() > HINTS_MAX || !self.hints.iter().all(plain) {
            return Err(CardError::Field("list of hints"));
        }
        Ok(())
    }
}

fn digest(body: &[u8]) -> [u8; 32] {
    domain::derive(domain::CARD_DIGEST, &[body])
}

/// One line that survives mail, chat and paper: bech32m with the prefix `prcard`, without BIP-350's
/// rule on length (a card is longer than an address, and signed besides).
impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hrp = Hrp::parse_unchecked("prcard");
        let text = bech32::encode::<Bech32m>(hrp, &self.bytes);
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Card {
    type Err = CardError;

    fn from_str(text: &str) -> Result<Self, CardError> {
        let card = Self::decode(&bytes_of(text)?)?;
        // Bits that are left over in the last character are zero.
        let joined: String = text.split_whitespace().collect();
        if card.to_string().eq_ignore_ascii_case(&joined) { Ok(card) } else { Err(CardError::Text) }
    }
}

/// The bytes of a card's text form.
fn bytes_of(text: &str) -> Result<Vec<u8>, CardError> {
    // Mail programs break long lines.
    let joined: String = text.split_whitespace().collect();
    let checked = CheckedHrpstring::new::<Bech32m>(&joined).map_err(|_| CardError::Text)?;
    if !checked.hrp().as_str().eq_ignore_ascii_case("prcard") {
        return Err(CardError::Text);
    }
    Ok(checked.byte_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(secret: &NodeSecret) -> Facts {
        Facts {
            node: secret.id(),
            number: 3,
            seal_keys: vec![(1, secret.first_seal_key().public())],
            name: "Alice".into(),
            hints: vec![],
            features: 0,
        }
    }

    #[test]
    fn cards_round_trip_as_bytes_and_as_text() {
        let secret = NodeSecret::from_seed([1; 32]);
        let card = Card::sign(facts(&secret), &secret).unwrap();
        assert_eq!(Card::decode(card.as_bytes()), Ok(card.clone()));
        assert_eq!(Card::read(card.as_bytes()), Ok(card.clone()));
        let text = card.to_string();
        let broken = format!("  {}\n {}\r\n", &text[..76], &text[76..]);
        assert_eq!(Card::read(broken.as_bytes()), Ok(card));
    }

    #[test]
    fn the_largest_card_has_a_text_form() {
        let secret = NodeSecret::from_seed([1; 32]);
        let hints = vec!["x".repeat(128); 3];
        let card =
            Card::sign(Facts { hints, name: "n".repeat(40), ..facts(&secret) }, &secret).unwrap();
        assert!(card.as_bytes().len() > 550);
        assert_eq!(card.to_string().parse(), Ok(card));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let secret = NodeSecret::from_seed([1; 32]);
        let bytes = Card::sign(facts(&secret), &secret).unwrap().bytes;
        for at in 0..bytes.len() * 8 {
            let mut spoiled = bytes.clone();
            spoiled[at / 8] ^= 1 << (at % 8);
            assert!(Card::decode(&spoiled).is_err(), "bit {at}");
        }
    }

    #[test]
    fn nobody_signs_for_somebody_else() {
        let [alice, mallory] = [1, 6].map(|n| NodeSecret::from_seed([n; 32]));
        assert_eq!(Card::sign(facts(&alice), &mallory), Err(CardError::Signature));
    }

    #[test]
    fn impossible_values_are_refused() {
        let secret = NodeSecret::from_seed([1; 32]);
        let key = secret.first_seal_key().public();
        let cases: [fn(&mut Facts, SealPublic); 5] = [
            |f, _| f.number = 0,
            |f, _| f.seal_keys.clear(),
            |f, key| f.seal_keys = vec![(1, key), (1, key)],
            |f, _| f.name = "a\u{1b}[2J".into(),
            |f, _| f.hints = vec![String::new(); 9],
        ];
        for spoil in cases {
            let mut facts = facts(&secret);
            spoil(&mut facts, key);
            assert!(matches!(Card::sign(facts, &secret), Err(CardError::Field(_))));
        }
    }
}
