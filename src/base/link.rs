//! Links as values: where somebody can be reached ([`Address`]) and what is known about a live link
//! ([`LinkFacts`]). Transports report these, policy and exchange decide by them.

use std::{fmt, net::SocketAddr, str::FromStr};

use crate::id::NodeId;

/// Longest address. A host name has at most 253 characters; the rest leaves room for a command
/// line behind `pipe:` and keeps a card with several hints small.
pub const ADDRESS_MAX: usize = 512;

/// Where somebody can be reached: `scheme:rest`, as in `tls://[2001:db8::1]:7531` or `pipe:ssh hub`.
///
/// Printable ASCII of at most [`ADDRESS_MAX`] bytes with a lower-case scheme, so that it can be
/// logged, stored and compared as it stands. What `rest` means is the transport's business.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(String);

/// Why a text is not an [`Address`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// Longer than [`ADDRESS_MAX`].
    #[error("an address has at most {ADDRESS_MAX} bytes, this has {0}")]
    Length(usize),
    /// A control character, or one outside ASCII.
    #[error("an address is printable ASCII")]
    Character,
    /// Nothing before a colon, or not a scheme.
    #[error("an address starts with a scheme and a colon, as in tls://host:port")]
    Scheme,
}

impl Address {
    /// The part before the first colon, which names the transport.
    pub fn scheme(&self) -> &str {
        self.split().0
    }

    /// Everything behind the first colon.
    pub fn rest(&self) -> &str {
        self.split().1
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn split(&self) -> (&str, &str) {
        self.0.split_once(':').expect("checked when it was parsed")
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > ADDRESS_MAX {
            return Err(AddressError::Length(text.len()));
        }
        if !text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
            return Err(AddressError::Character);
        }
        let (scheme, _) = text.split_once(':').ok_or(AddressError::Scheme)?;
        // RFC 3986, section 3.1, in lower case only: one scheme has one spelling.
        let fine =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
        if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(fine) {
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
        fmt::Display::fmt(self, f)
    }
}

/// What is known about a live link when it comes up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// Who is at the other end, proven by the link's own security; `None` if the link proves
    /// nothing and the carriage has to.
    pub peer: Option<NodeId>,
    /// Where the other end is: as dialled, or as seen when it dialled us.
    pub address: Address,
    /// Between which sockets it runs, where these two are all there is to it: no proxy, no command.
    pub ends: Option<Ends>,
    /// Whether this end dialled.
    pub dialled: bool,
    /// We are at this link under a guest key: to the other end we are nobody it knows, and its own
    /// key may be that of a guest as well, a name that does not last.
    pub guest: bool,
    /// What the link carries, in bits per second, if that is known beforehand.
    pub rate_bps: Option<u64>,
    /// One-way latency in milliseconds, if that is known beforehand.
    pub latency_ms: Option<u32>,
    /// Longest frame in bytes; `None` for a stream, which has no frames.
    pub mtu_bytes: Option<u32>,
    /// Only one end can send at a time.
    pub half_duplex: bool,
    /// Bytes cost money.
    pub metered: bool,
    /// The link runs inside another network of ours, such as Yggdrasil: it is not a way of its own.
    pub overlay: bool,
    /// Ciphers are forbidden here (amateur radio): only clear, signed bundles may pass.
    pub clear_only: bool,
}

/// The sockets of a link, as this end sees them: through an address translation the other end sees
/// others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// This end's.
    pub here: SocketAddr,
    /// The other's.
    pub there: SocketAddr,
}

impl LinkFacts {
    /// A two-way, unmetered stream of unknown rate to nobody in particular, dialled at `address`.
    pub fn stream(address: Address) -> Self {
        Self {
            peer: None,
            address,
            ends: None,
            dialled: true,
            guest: false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_and_a_rest() {
        for (text, scheme, rest) in [
            ("tls://[::]:7531", "tls", "//[::]:7531"),
            ("pipe:ssh -T hub postrider", "pipe", "ssh -T hub postrider"),
            ("kiss+tcp://host:8001", "kiss+tcp", "//host:8001"),
            ("lan:", "lan", ""),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.scheme(), address.rest()), (scheme, rest));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        let long = format!("tls:{}", "x".repeat(ADDRESS_MAX - 3));
        for (text, error) in [
            ("", AddressError::Scheme),
            ("tls", AddressError::Scheme),
            (":rest", AddressError::Scheme),
            ("TLS:rest", AddressError::Scheme),
            ("7z:rest", AddressError::Scheme),
            ("a b:rest", AddressError::Scheme),
            ("tls:line\nbreak", AddressError::Character),
            ("tls:m\u{fc}ller", AddressError::Character),
            (&long, AddressError::Length(ADDRESS_MAX + 1)),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text:?}");
        }
        assert!(long[..ADDRESS_MAX].parse::<Address>().is_ok());
    }
}
