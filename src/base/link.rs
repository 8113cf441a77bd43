//! Links as values: where one leads ([`Address`]) and what is known of it ([`LinkFacts`]).

use std::{fmt, str::FromStr};

use crate::id::NodeId;

/// No address is longer: a URI in a config or a card; long enough for any host name with a port and
/// a few parameters.
pub const ADDRESS_MAX: usize = 512;

/// What a transport says of a live link. Facts, not wishes: policy is another matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// Who is at the other end, where the link's security proved it.
    pub peer: Option<NodeId>,
    /// As dialled, or as reported by the transport.
    pub address: Address,
    /// Whether this end dialled.
    pub dialled: bool,
    /// Bits per second, where the transport knows.
    pub rate_bps: Option<u64>,
    /// One way, where the transport knows.
    pub latency_ms: Option<u32>,
    /// The largest datagram; `None` is a stream.
    pub mtu_bytes: Option<u32>,
    /// Only one end can send at a time.
    pub half_duplex: bool,
    /// Every byte costs money.
    pub metered: bool,
    /// Runs over another mesh, so that a direct link to the same peer is better.
    pub overlay: bool,
    /// Nothing sealed may be sent over it: amateur radio.
    pub clear_only: bool,
}

impl LinkFacts {
    /// A plain stream of which nothing more is known.
    pub fn stream(address: Address, peer: Option<NodeId>) -> Self {
        Self {
            peer,
            address,
            dialled: false,
            rate_bps: None,
            latency_ms: None,
            mtu_bytes: None,
            half_duplex: false,
            metered: false,
            overlay: false,
            clear_only: false,
        }
    }
}

/// A link's URI, `scheme:rest`: printable ASCII, at most [`ADDRESS_MAX`] bytes. What `rest` means
/// is for the transport of that scheme to say.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(String);

/// Why a text is not an [`Address`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// Longer than [`ADDRESS_MAX`].
    #[error("an address of {0} bytes is too long")]
    TooLong(usize),
    /// A byte that is not printable ASCII, or a space.
    #[error("an address has only printable ASCII without spaces; byte {0} is not")]
    Character(usize),
    /// No `scheme:`, or not of lower-case letters, digits, `+` and `-`, a letter first.
    #[error("an address begins with a scheme, as in tls://host:port")]
    Scheme,
    /// Nothing behind the scheme's colon is fine, nothing before it is not.
    #[error("the address is empty")]
    Empty,
}

impl Address {
    /// What names the transport.
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// What the transport reads, without the colon.
    pub fn rest(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, rest)| rest)
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.len() > ADDRESS_MAX {
            return Err(AddressError::TooLong(text.len()));
        }
        if let Some(at) = text.bytes().position(|byte| !byte.is_ascii_graphic()) {
            return Err(AddressError::Character(at));
        }
        let (scheme, _) = text.split_once(':').ok_or(AddressError::Scheme)?;
        let fits =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-".contains(&byte);
        if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(fits) {
            return Err(AddressError::Scheme);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_and_a_rest() {
        let address: Address = "tls://[fe80::1%eth0]:7531".parse().unwrap();
        assert_eq!((address.scheme(), address.rest()), ("tls", "//[fe80::1%eth0]:7531"));
        assert_eq!(address.to_string().parse(), Ok(address));
        assert!("lan:".parse::<Address>().is_ok());
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, error) in [
            ("", AddressError::Empty),
            ("host", AddressError::Scheme),
            ("://host", AddressError::Scheme),
            ("TLS://host", AddressError::Scheme),
            ("1a:x", AddressError::Scheme),
            ("tls://a b", AddressError::Character(7)),
            ("tls://a\u{e9}", AddressError::Character(7)),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
        let long = format!("tls:{}", "a".repeat(ADDRESS_MAX - 3));
        assert_eq!(long.parse::<Address>(), Err(AddressError::TooLong(513)));
    }
}
