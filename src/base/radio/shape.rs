//! The first byte of a form: which fields follow it, and how long they are.
//!
//! ```text
//! bit 7 6 5 4 3 2 1 0
//!     0 1 l  6 d + s     hidden; d: 0 tag, 1 node, 2 group, 3 left out: it is the reader's tag
//!                        s: 0 compact, 1 compact with nonce, 2 compact without lock, 3 age, 4 age
//!                        with nonce, 5 age without lock
//!     1 h l  5 d + s     open; h: a hint stands for the source
//!                        d: 0 node, 1 its hint, 2 group, 3 its hint, 4 left out: it is the reader
//!                        s: 0 none, 1 compact, 2 compact without lock, 3 age, 4 age without lock
//!         l              a level follows the class
//! ```

use crate::bundle::{LockField, SealKind};

/// Which fields a form has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) origin: Origin,
    pub(super) to: To,
    pub(super) seal: SealKind,
    pub(super) lock: Locked,
    pub(super) levelled: bool,
}

/// What a form says of the author.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nothing: it is inside the seal.
    Hidden,
    /// Its key.
    Key,
    /// Four bytes of its key.
    Hint,
}

/// What a form says of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    Tag,
    Node,
    NodeHint,
    Group,
    GroupHint,
    /// Nothing: it is for whoever reads.
    Reader,
}

/// What the header has in the place of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locked {
    No,
    Yes,
    Nonce,
}

const HIDDEN_TO: [To; 4] = [To::Tag, To::Node, To::Group, To::Reader];
const HIDDEN_SEALS: [(SealKind, Locked); 6] = [
    (SealKind::Compact, Locked::Yes),
    (SealKind::Compact, Locked::Nonce),
    (SealKind::Compact, Locked::No),
    (SealKind::Age, Locked::Yes),
    (SealKind::Age, Locked::Nonce),
    (SealKind::Age, Locked::No),
];
const OPEN_TO: [To; 5] = [To::Node, To::NodeHint, To::Group, To::GroupHint, To::Reader];
const OPEN_SEALS: [(SealKind, Locked); 5] = [
    (SealKind::None, Locked::No),
    (SealKind::Compact, Locked::Yes),
    (SealKind::Compact, Locked::No),
    (SealKind::Age, Locked::Yes),
    (SealKind::Age, Locked::No),
];
const LEVELLED: u8 = 0x20;

impl Shape {
    /// The byte; `None` for a combination that no valid header has.
    pub(super) fn byte(self) -> Option<u8> {
        let (first, number) = match self.origin {
            Origin::Hidden => (0x40, self.number(&HIDDEN_TO, &HIDDEN_SEALS)?),
            Origin::Key => (0x80, self.number(&OPEN_TO, &OPEN_SEALS)?),
            Origin::Hint => (0xc0, self.number(&OPEN_TO, &OPEN_SEALS)?),
        };
        Some(first | if self.levelled { LEVELLED } else { 0 } | number)
    }

    /// What a byte means, if it begins a form.
    pub(super) fn of(byte: u8) -> Option<Self> {
        let origin = match byte >> 6 {
            1 => Origin::Hidden,
            2 => Origin::Key,
            3 => Origin::Hint,
            _ => return None,
        };
        let (all_to, seals) = if origin == Origin::Hidden {
            (&HIDDEN_TO[..], &HIDDEN_SEALS[..])
        } else {
            (&OPEN_TO[..], &OPEN_SEALS[..])
        };
        let number = usize::from(byte & 0x1f);
        let to = *all_to.get(number / seals.len())?;
        let (seal, lock) = seals[number % seals.len()];
        let shape = Self { origin, to, seal, lock, levelled: byte & LEVELLED != 0 };
        shape.is_possible().then_some(shape)
    }

    /// How many bytes stand for the lock. The recipient of a compact seal computes it.
    pub(super) const fn lock_bytes(self) -> usize {
        match (self.lock, self.seal, self.to) {
            (Locked::No, ..) | (Locked::Yes, SealKind::Compact, To::Reader) => 0,
            (Locked::Yes, SealKind::Age, _) => 16,
            (Locked::Yes | Locked::Nonce, ..) => 8,
        }
    }

    /// A tag is left out only of what a compact seal can then decide about.
    fn is_possible(self) -> bool {
        self.origin != Origin::Hidden
            || self.to != To::Reader
            || self.seal == SealKind::Compact && self.lock != Locked::No
    }

    fn number(self, all_to: &[To], seals: &[(SealKind, Locked)]) -> Option<u8> {
        let to = all_to.iter().position(|to| *to == self.to)?;
        let seal = seals.iter().position(|seal| *seal == (self.seal, self.lock))?;
        let number = u8::try_from(to * seals.len() + seal).ok()?;
        self.is_possible().then_some(number)
    }
}

impl Locked {
    pub(super) const fn of(lock: &LockField) -> Self {
        match lock {
            LockField::None => Self::No,
            LockField::Compact(_) | LockField::Age(_) => Self::Yes,
            LockField::Nonce(_) => Self::Nonce,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_means_one_shape_or_none() {
        let mut meant = 0;
        for byte in 0..=u8::MAX {
            let Some(shape) = Shape::of(byte) else { continue };
            assert_eq!(shape.byte(), Some(byte), "{byte:#x}");
            assert!(byte >= 0x40);
            meant += 1;
        }
        // Hidden 4 x 6 without the reader's age seals and its compact one without lock; open 2 x 5 x 5.
        assert_eq!(meant, 2 * (24 - 4) + 2 * 50);
        assert_eq!(Shape::of(0xff), None);
    }
}
