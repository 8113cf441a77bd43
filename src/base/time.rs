//! Time as the format knows it: lifetimes and ages in seconds, never a wall clock that decides.

/// How long a bundle lives, in seconds of accumulated age, 1 to 2^32 - 1 (136 years).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifetime(u32);

impl Lifetime {
    /// 30 days: the default of a message or file.
    pub const DEFAULT: Self = Self(30 * 86_400);

    /// Zero is no lifetime.
    pub const fn new(seconds: u32) -> Option<Self> {
        if seconds == 0 { None } else { Some(Self(seconds)) }
    }

    /// Seconds, at least 1.
    pub const fn seconds(self) -> u32 {
        self.0
    }
}
