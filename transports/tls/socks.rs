//! Dialling through a SOCKS5 proxy (RFC 1928; user and password by RFC 1929), as Tor or `ssh -D`
//! offer it. Names are resolved by the proxy, so that a dial through Tor tells no resolver.

use std::{fmt, io, net::IpAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::target::{Host, HostPort};

/// The usual port of a SOCKS proxy (IANA).
const PORT: u16 = 1080;
const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const LOGIN: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// A SOCKS5 proxy: `socks5://[user:pass@]host[:port]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Socks5 {
    pub(super) at: HostPort,
    login: Option<(String, String)>,
}

/// Why there is no way through the proxy.
#[derive(Debug)]
pub(super) enum SocksError {
    Io(io::Error),
    Refused(&'static str),
}

impl Socks5 {
    /// Parses `socks5://[user:pass@]host[:port]`. User and password are taken as they stand,
    /// the password after the first colon, the host after the last `@`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix("socks5://").ok_or("a proxy is socks5://host:port")?;
        let (login, at) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((login, at)) => {
                let (user, pass) = login.split_once(':').ok_or("a login is user:pass")?;
                // RFC 1929: both lengths are one byte, and nothing is not a name.
                if user.is_empty() || user.len() > 255 || pass.is_empty() || pass.len() > 255 {
                    return Err("a proxy's user and password have 1 to 255 bytes");
                }
                (Some((user.to_owned(), pass.to_owned())), at)
            }
        };
        Ok(Self { at: HostPort::parse(at, PORT)?, login })
    }

    /// Asks the proxy behind `stream` for a connection to `to`. Reads not a byte beyond its answer.
    pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        to: &HostPort,
    ) -> Result<(), SocksError> {
        let request = request(to)?;
        let method = if self.login.is_some() { LOGIN } else { NO_LOGIN };
        stream.write_all(&[VERSION, 1, method]).await?;
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).await?;
        if chosen != [VERSION, method] {
            return Err(SocksError::Refused(match chosen {
                [VERSION, _] if self.login.is_some() => "it takes no password",
                [VERSION, _] => "it wants a password",
                _ => "it does not speak SOCKS5",
            }));
        }
        if let Some((user, pass)) = &self.login {
            let mut login = vec![1];
            for text in [user, pass] {
                login.push(length(text)?);
                login.extend(text.as_bytes());
            }
            stream.write_all(&login).await?;
            let mut answer = [0; 2];
            stream.read_exact(&mut answer).await?;
            if answer[1] != 0 {
                return Err(SocksError::Refused("the password is wrong"));
            }
        }
        stream.write_all(&request).await?;
        answer(stream).await
    }
}

fn request(to: &HostPort) -> Result<Vec<u8>, SocksError> {
    let mut request = vec![VERSION, CONNECT, 0];
    match &to.host {
        Host::Name(name) => {
            request.extend([NAME, length(name)?]);
            request.extend(name.as_bytes());
        }
        Host::Ip(IpAddr::V4(ip)) => {
            request.push(IPV4);
            request.extend(ip.octets());
        }
        Host::Ip(IpAddr::V6(ip)) => {
            request.push(IPV6);
            request.extend(ip.octets());
        }
        Host::Scoped(..) => {
            return Err(SocksError::Refused("a link-local address means nothing to a proxy"));
        }
    }
    request.extend(to.port.to_be_bytes());
    Ok(request)
}

async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(), SocksError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version, reply, _, kind] = head;
    if version != VERSION {
        return Err(SocksError::Refused("it does not speak SOCKS5"));
    }
    if reply != 0 {
        // RFC 1928, section 6.
        return Err(SocksError::Refused(match reply {
            2 => "its rules do not allow it",
            3 => "the network is unreachable",
            4 => "the host is unreachable",
            5 => "the connection is refused",
            6 => "it took too long",
            8 => "it does not know this kind of address",
            _ => "it cannot",
        }));
    }
    // The address the proxy dials from is of no interest, but it has to be read.
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(stream.read_u8().await?),
        _ => return Err(SocksError::Refused("it does not speak SOCKS5")),
    };
    let mut rest = [0; 255 + 2];
    stream.read_exact(&mut rest[..length + 2]).await?;
    Ok(())
}

fn length(text: &str) -> Result<u8, SocksError> {
    u8::try_from(text.len()).map_err(|_| SocksError::Refused("the name is too long"))
}

impl From<io::Error> for SocksError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Debug for Socks5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socks5://{}", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `connect` against a proxy that says `answers` whatever it hears; also what it heard.
    async fn against(proxy: &str, to: &str, answers: &[u8]) -> (Result<(), SocksError>, Vec<u8>) {
        let (mut near, mut far) = tokio::io::duplex(1024);
        far.write_all(answers).await.unwrap();
        far.shutdown().await.unwrap();
        let to = HostPort::parse(to, 1).unwrap();
        let result = Socks5::parse(proxy).unwrap().connect(&mut near, &to).await;
        let mut behind = Vec::new();
        near.read_to_end(&mut behind).await.unwrap();
        assert!(result.is_err() || behind == b"tls", "read too far: {behind:?}");
        drop(near);
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        (result, heard)
    }

    #[tokio::test]
    async fn a_name_is_left_to_the_proxy() {
        let answers = b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x09tls";
        let (result, heard) = against("socks5://proxy", "hub.onion:7531", answers).await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(heard, b"\x05\x01\x00\x05\x01\x00\x03\x09hub.onion\x1d\x6b");
    }

    #[tokio::test]
    async fn a_login_is_shown_only_to_a_proxy_that_asks() {
        let proxy = "socks5://me:se:cr@t@proxy:9050";
        let answers = b"\x05\x02\x01\x00\x05\x00\x00\x03\x04name\x00\x09tls";
        let (result, heard) = against(proxy, "[2001:db8::1]:1", answers).await;
        assert!(result.is_ok(), "{result:?}");
        assert!(heard.starts_with(b"\x05\x01\x02\x01\x02me\x07se:cr@t\x05\x01\x00\x04\x20\x01"));
        let (result, heard) = against(proxy, "hub", b"\x05\x00").await;
        assert!(matches!(result, Err(SocksError::Refused("it takes no password"))));
        assert_eq!(heard, b"\x05\x01\x02");
    }

    #[tokio::test]
    async fn every_refusal_and_every_cut_is_an_error() {
        let whole = b"\x05\x00\x05\x00\x00\x04aaaabbbbccccddddpptls";
        for cut in 0..24 {
            let (result, _) = against("socks5://proxy", "hub", &whole[..cut]).await;
            assert!(result.is_err(), "cut at {cut}");
        }
        for answers in [
            &b"\x04\x00"[..],
            b"\x05\xff",
            b"\x05\x00\x05\x05\x00\x01",
            b"\x05\x00\x05\x00\x00\x07",
        ] {
            let (result, _) = against("socks5://proxy", "hub", answers).await;
            assert!(matches!(result, Err(SocksError::Refused(_))), "{answers:?}");
        }
        let (result, heard) = against("socks5://proxy", "[fe80::1%lo]", b"").await;
        assert!(matches!(result, Err(SocksError::Refused(_))));
        assert!(heard.is_empty());
    }

    #[test]
    fn what_is_no_proxy_is_refused() {
        let long = format!("socks5://{}:pass@host", "x".repeat(256));
        for text in
            ["", "http://host", "socks5://", "socks5://user@host", "socks5://:p@host", &long]
        {
            assert!(Socks5::parse(text).is_err(), "{text}");
        }
    }
}
