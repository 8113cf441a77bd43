//! Where somebody is in the room: a device address, which most change every few minutes.

use std::fmt;

/// A device address and its kind, which belongs to it: the same six bytes may be two devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// As it is written, the highest byte first.
    pub address: [u8; 6],
    /// What kind of address it is.
    pub kind: AddressKind,
}

/// What kind a device address is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressKind {
    /// The device's own, for good.
    Public,
    /// Drawn by chance, for a while.
    Random,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.address;
        write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_everybody_writes_it() {
        let place = Place { address: [0xc0, 0xde, 0, 1, 2, 0xff], kind: AddressKind::Random };
        assert_eq!(place.to_string(), "C0:DE:00:01:02:FF");
    }
}
