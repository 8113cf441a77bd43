//! An introduction: somebody's card, passed on by the author of the packet, who vouches for it with
//! the signature of the bundle.

use serde_bytes::ByteBuf;

use super::PacketError;
use crate::{card::CARD_MAX, wire};

/// A word about somebody, not a letter.
pub const NOTE_MAX: usize = 1024;
/// A card, a note, and what stands around them.
pub(super) const INTRODUCTION_MAX: usize = CARD_MAX + NOTE_MAX + 16;

/// Who is introduced, and what is said of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Their card. It is only carried here: whoever uses it checks it.
    pub card: Vec<u8>,
    /// What the author says of them.
    pub note: Option<String>,
}

impl Introduction {
    pub(super) fn encode(&self) -> Vec<u8> {
        wire::encode(&(ByteBuf::from(&*self.card), &self.note))
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, PacketError> {
        let (card, note): (ByteBuf, Option<String>) = wire::decode(body)?;
        if !(1..=CARD_MAX).contains(&card.len()) {
            return Err(PacketError::Field("card"));
        }
        if note.as_ref().is_some_and(|note| note.is_empty() || note.len() > NOTE_MAX) {
            return Err(PacketError::Field("note"));
        }
        Ok(Self { card: card.into_vec(), note })
    }
}
