//! What packets about jobs are built of: short lists, short texts, numbers that stand for a choice.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_bytes::ByteBuf;

use super::PacketError;
use crate::id::BundleId;

/// A list of at most `MAX` items. It stops growing there: checking it once it is built is too late,
/// for an item of one byte takes thirty in memory.
pub(super) struct Few<T, const MAX: usize>(pub(super) Vec<T>);

impl<T: Serialize, const MAX: usize> Serialize for Few<T, MAX> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Few<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Growing(PhantomData))
    }
}

struct Growing<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Growing<T, MAX> {
    type Value = Few<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::custom(format_args!("more than {MAX}")));
            }
            list.push(item);
        }
        Ok(Few(list))
    }
}

/// Bytes of several items, for the wire.
pub(super) fn few<const MAX: usize>(
    items: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Few<ByteBuf, MAX> {
    Few(items.into_iter().map(|item| ByteBuf::from(item.as_ref())).collect())
}

/// 32 bytes.
pub(super) fn digest(bytes: &ByteBuf, field: &'static str) -> Result<[u8; 32], PacketError> {
    bytes.as_slice().try_into().map_err(|_| PacketError::Field(field))
}

/// The id of a message.
pub(super) fn id(bytes: &ByteBuf, field: &'static str) -> Result<BundleId, PacketError> {
    digest(bytes, field).map(BundleId)
}

/// Whether a text says something, on one line, in at most so many bytes.
pub(super) fn is_line(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// An error unless something holds.
pub(super) fn holds(condition: bool, field: &'static str) -> Result<(), PacketError> {
    if condition { Ok(()) } else { Err(PacketError::Field(field)) }
}

/// A yes or a no, of which the format knows only the numbers.
pub(super) fn flag(number: u8, field: &'static str) -> Result<bool, PacketError> {
    holds(number <= 1, field).map(|()| number == 1)
}
