//! Niceness: how willingly a bundle lets others go first.

use std::fmt;

/// 1 to 255; lower goes first. The names and values are NNCP's, whose users know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Niceness(u8);

impl Niceness {
    /// A call for help.
    pub const FLASH: Self = Self(32);
    /// Urgent.
    pub const PRIORITY: Self = Self(96);
    /// The default.
    pub const NORMAL: Self = Self(160);
    /// Whenever there is room.
    pub const BULK: Self = Self(224);

    /// Zero is no niceness.
    pub const fn new(value: u8) -> Option<Self> {
        if value == 0 { None } else { Some(Self(value)) }
    }

    /// The value, 1 to 255.
    pub const fn value(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Niceness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
