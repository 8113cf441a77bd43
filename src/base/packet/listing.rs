//! A manifest's list of files as it is read: it stops growing at its bounds.
//!
//! Checking a list once it is built is too late. A name of one byte takes fifty in memory, and
//! compressed names take next to none under way: two kilobytes of mail could ask for 400 MB.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_bytes::ByteBuf;

use super::manifest::{FILES_MAX, NAMES_MAX, PATH_DEPTH_MAX};

/// `[path, bytes, blake3, mtime | null, flags]`.
pub(super) type EntryWire = (Path, u64, ByteBuf, Option<u64>, u8);
/// The components of one path.
pub(super) type Path = Bounded<String>;
/// All files.
pub(super) type Files = Bounded<EntryWire>;

/// A list whose items count against two bounds.
pub(super) struct Bounded<T>(pub(super) Vec<T>);

pub(super) trait Item {
    /// Most items in a list.
    const ITEMS_MAX: usize;
    /// How many names an item holds.
    fn names(&self) -> usize;
}

impl Item for String {
    const ITEMS_MAX: usize = PATH_DEPTH_MAX;

    fn names(&self) -> usize {
        1
    }
}

impl Item for EntryWire {
    const ITEMS_MAX: usize = FILES_MAX;

    fn names(&self) -> usize {
        self.0.0.len()
    }
}

impl<T: Serialize> Serialize for Bounded<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de, T: Item + Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Growing(PhantomData))
    }
}

struct Growing<T>(PhantomData<T>);

impl<'de, T: Item + Deserialize<'de>> Visitor<'de> for Growing<T> {
    type Value = Bounded<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {}", T::ITEMS_MAX)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let (mut list, mut names) = (Vec::new(), 0);
        while let Some(item) = items.next_element::<T>()? {
            names += item.names();
            if list.len() == T::ITEMS_MAX || names > NAMES_MAX {
                return Err(A::Error::custom("more files or names than a manifest has"));
            }
            list.push(item);
        }
        Ok(Bounded(list))
    }
}
