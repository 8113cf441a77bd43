//! What a `tls:` address says: `tls://host[:port][?via=socks5://[user:pass@]host[:port]]`.
//!
//! A host is a name, an IPv4 address, or an IPv6 address in brackets, which may carry a scope as in
//! `[fe80::1%eth0]` (RFC 4007; the interface's name or number). Link-local addresses mean nothing
//! without one.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

use super::socks::Socks5;
use crate::contract::{Address, TransportError};

/// Where a node listens if nobody says otherwise; 443 for brokers has to be said.
pub const PORT: u16 = 7531;
/// Longest host name (RFC 1035, section 2.3.4, as text).
const NAME_MAX: usize = 253;
/// Longest interface name: IFNAMSIZ without its zero byte.
const SCOPE_MAX: usize = 15;

/// A parsed `tls:` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) to: HostPort,
    pub(super) via: Option<Socks5>,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPort {
    pub(super) host: Host,
    pub(super) port: u16,
}

/// A host as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Name(String),
    Ip(IpAddr),
    /// An IPv6 address with an interface, by name or number.
    Scoped(Ipv6Addr, String),
}

impl Target {
    pub(super) fn parse(address: &Address) -> Result<Self, TransportError> {
        let fault = |reason| TransportError::Address { address: shown(address), reason };
        if address.scheme() != "tls" {
            return Err(fault("not a tls: address"));
        }
        let rest = address.rest().strip_prefix("//").ok_or_else(|| fault("// is missing"))?;
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        let via = match query {
            None => None,
            Some(query) => {
                let via = query.strip_prefix("via=").ok_or_else(|| fault("an unknown option"))?;
                Some(Socks5::parse(via).map_err(fault)?)
            }
        };
        Ok(Self { to: HostPort::parse(authority, PORT).map_err(fault)?, via })
    }

    /// The address as it may be shown: a proxy's password stays out.
    pub(super) fn address(&self) -> Address {
        format!("tls://{}", self.to).parse().expect("it was parsed from a longer address")
    }
}

/// An address without its options, which may hold a password.
fn shown(address: &Address) -> String {
    address.as_str().split('?').next().unwrap_or_default().to_owned()
}

impl HostPort {
    pub(super) fn parse(text: &str, default_port: u16) -> Result<Self, &'static str> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (inside, behind) = rest.split_once(']').ok_or("a bracket is not closed")?;
            let port = match behind {
                "" => None,
                _ => Some(behind.strip_prefix(':').ok_or("something follows the bracket")?),
            };
            (bracketed(inside)?, port)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (unbracketed(host)?, Some(port)),
                None => (unbracketed(text)?, None),
            }
        };
        let port = port.map_or(Ok(default_port), |port| {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            port.parse().ok().filter(|_| digits).ok_or("not a port number")
        })?;
        Ok(Self { host, port })
    }

    /// The socket address, if the host is one already.
    pub(super) fn socket_address(&self) -> Result<Option<SocketAddr>, &'static str> {
        Ok(match &self.host {
            Host::Name(_) => None,
            Host::Ip(ip) => Some(SocketAddr::new(*ip, self.port)),
            Host::Scoped(ip, scope) => {
                Some(SocketAddrV6::new(*ip, self.port, 0, scope_id(scope)?).into())
            }
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Scoped(ip, scope) => write!(f, "[{ip}%{scope}]:{}", self.port),
        }
    }
}

fn bracketed(text: &str) -> Result<Host, &'static str> {
    let (ip, scope) = match text.split_once('%') {
        Some((ip, scope)) => (ip, Some(scope)),
        None => (text, None),
    };
    let ip: Ipv6Addr = ip.parse().map_err(|_| "not an IPv6 address in the brackets")?;
    match scope {
        None if ip.is_unicast_link_local() => Err("a link-local address needs an interface: %eth0"),
        None => Ok(Host::Ip(ip.into())),
        Some(scope) => {
            let fine = |byte: u8| byte.is_ascii_graphic() && !b"/%?[]".contains(&byte);
            if scope.is_empty() || scope.len() > SCOPE_MAX || !scope.bytes().all(fine) {
                return Err("not an interface");
            }
            Ok(Host::Scoped(ip, scope.to_owned()))
        }
    }
}

fn unbracketed(text: &str) -> Result<Host, &'static str> {
    if let Ok(ip) = text.parse() {
        return Ok(Host::Ip(IpAddr::V4(ip)));
    }
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.is_empty() || text.len() > NAME_MAX || !text.bytes().all(fine) {
        return Err("not a host name");
    }
    Ok(Host::Name(text.to_ascii_lowercase()))
}

/// The number of an interface that is here now.
fn scope_id(scope: &str) -> Result<u32, &'static str> {
    if let Ok(number) = scope.parse() {
        return Ok(number);
    }
    let none = "there is no such interface";
    let any = rustix::net::socket(
        rustix::net::AddressFamily::INET6,
        rustix::net::SocketType::DGRAM,
        None,
    )
    .map_err(|_| none)?;
    rustix::net::netdevice::name_to_index(&any, scope).map_err(|_| none)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<Target, TransportError> {
        Target::parse(&text.parse().unwrap())
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for (text, shown) in [
            ("tls://hub.example.org:443", "tls://hub.example.org:443"),
            ("tls://HUB", "tls://hub:7531"),
            ("tls://192.0.2.1:7531", "tls://192.0.2.1:7531"),
            ("tls://[2001:db8::1]", "tls://[2001:db8::1]:7531"),
            ("tls://[::]:7531", "tls://[::]:7531"),
            ("tls://[fe80::1%eth0]:7531", "tls://[fe80::1%eth0]:7531"),
            ("tls://[fe80::1%2]:7531", "tls://[fe80::1%2]:7531"),
        ] {
            assert_eq!(target(text).unwrap().address().as_str(), shown);
        }
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for text in [
            "pipe:cat",
            "tls:host",
            "tls://",
            "tls://:7531",
            "tls://host:",
            "tls://host:+1",
            "tls://host:65536",
            "tls://host:1/path",
            "tls://user@host",
            "tls://2001:db8::1",
            "tls://[2001:db8::1",
            "tls://[2001:db8::1]7531",
            "tls://[fe80::1]:7531",
            "tls://[fe80::1%]:7531",
            "tls://[fe80::1%../../../../etc]:7531",
            "tls://[fe80::1%sixteencharacter]:7531",
            "tls://[host]:7531",
            "tls://host?speed=9",
        ] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_scope_is_a_number_or_an_interface_that_is_here() {
        let scope = |text: &str| {
            let target = target(text).unwrap();
            target.to.socket_address().map(|a| match a {
                Some(SocketAddr::V6(v6)) => v6.scope_id(),
                _ => 0,
            })
        };
        assert_eq!(scope("tls://[fe80::1%7]"), Ok(7));
        assert_eq!(scope("tls://[fe80::1%lo]"), Ok(1), "loopback is always the first");
        assert!(scope("tls://[fe80::1%not-there]").is_err());
    }

    #[test]
    fn a_proxy_password_is_never_shown() {
        let good = target("tls://hub?via=socks5://me:secret@[::1]:9050").unwrap();
        let bad = target("tls://hub?via=socks5://me:secret@").unwrap_err();
        for text in [format!("{good:?}"), good.address().to_string(), format!("{bad} {bad:?}")] {
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
