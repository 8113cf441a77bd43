//! Asking a running Yggdrasil who it is.
//!
//! Its admin socket proves nothing and asks for no proof: whoever may open it may ask, and whoever
//! made it may lie. What it says is for people to read.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// It is on this machine and answers at once.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// Longest answer. `getself` has some 400 bytes.
const ANSWER_MAX_BYTES: usize = 16 << 10;

/// Where an admin socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminSocket {
    /// A socket in the file system.
    Path(PathBuf),
    /// A port of this machine.
    Port(u16),
}

/// Where it is by default: of packages, of the program itself, and of versions up to 0.4.
pub const ADMIN_SOCKETS: [&str; 3] =
    ["/run/yggdrasil/yggdrasil.sock", "/var/run/yggdrasil.sock", "9001"];

impl AdminSocket {
    /// A path, or the number of a port.
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Path(text.into()), Self::Port)
    }
}

/// What a Yggdrasil says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Itself {
    /// Its key, in hexadecimal.
    pub key: String,
    /// Its address.
    pub address: Ipv6Addr,
}

/// Why it was not learned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// Nobody is there, or not for us.
    #[error("the admin socket cannot be asked")]
    Io(#[from] io::Error),
    /// No answer in time, or too long a one.
    #[error("the admin socket gives no usable answer")]
    Answer,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    response: serde_json::Value,
}

/// Asks at a socket.
pub async fn ask(at: &AdminSocket) -> Result<Itself, AdminError> {
    let asked = async {
        match at {
            AdminSocket::Path(path) => converse(UnixStream::connect(path).await?).await,
            AdminSocket::Port(port) => {
                let at = SocketAddr::from(([127, 0, 0, 1], *port));
                converse(TcpStream::connect(at).await?).await
            }
        }
    };
    timeout(ANSWER_TIME_MAX, asked).await.map_err(|_| AdminError::Answer)?
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<Itself, AdminError> {
    stream.write_all(b"{\"request\":\"getself\",\"keepalive\":false}\n").await?;
    let mut answer = Vec::new();
    // It closes behind its answer; who does not is cut off by the time.
    let limit = u64::try_from(ANSWER_MAX_BYTES + 1).unwrap_or(u64::MAX);
    stream.take(limit).read_to_end(&mut answer).await?;
    read(&answer).ok_or(AdminError::Answer)
}

fn read(answer: &[u8]) -> Option<Itself> {
    if answer.len() > ANSWER_MAX_BYTES {
        return None;
    }
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    if answer.status != "success" {
        return None;
    }
    // Up to 0.4 what it says lies one deeper, under its own address.
    let it = match answer.response.get("self").and_then(|all| all.as_object()) {
        Some(all) => all.values().next()?,
        None => &answer.response,
    };
    let key = it.get("key")?.as_str()?;
    let is_key = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    let address = it.get("address").and_then(|address| address.as_str());
    let address = address.or_else(|| {
        let all = answer.response.get("self")?.as_object()?;
        all.keys().next().map(String::as_str)
    })?;
    is_key.then(|| Some(Itself { key: key.to_lowercase(), address: address.parse().ok()? }))?
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    const KEY: &str = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29";
    const ADDRESS: &str = "202:24ae:c219:8a4a:de94:eae2:b97e:ac87";

    fn answer() -> String {
        format!(
            r#"{{"status":"success","request":{{}},"response":{{"build_name":"y","key":"{KEY}","address":"{ADDRESS}","subnet":"302::/64"}}}}"#
        )
    }

    #[test]
    fn both_forms_of_the_answer_are_read() {
        let want = Itself { key: KEY.into(), address: ADDRESS.parse().unwrap() };
        assert_eq!(read(answer().as_bytes()), Some(want.clone()));
        let old = format!(
            r#"{{"status":"success","response":{{"self":{{"{ADDRESS}":{{"key":"{KEY}"}}}}}}}}"#
        );
        assert_eq!(read(old.as_bytes()), Some(want));
    }

    #[test]
    fn other_answers_are_none() {
        let long = format!("{}{}", answer(), " ".repeat(ANSWER_MAX_BYTES));
        let deep = "[".repeat(ANSWER_MAX_BYTES);
        for text in [
            "",
            "{}",
            "[1]",
            &answer().replace("success", "error"),
            &answer().replace(KEY, "3b6a"),
            &answer().replace(KEY, &"g".repeat(64)),
            &answer().replace(ADDRESS, "here"),
            r#"{"status":"success","response":{"self":{}}}"#,
            r#"{"status":"success","response":7}"#,
            &long,
            &deep,
        ] {
            assert_eq!(read(text.as_bytes()), None, "{}", text.get(..80).unwrap_or(text));
        }
    }

    #[tokio::test]
    async fn a_socket_is_asked_and_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin");
        let listener = UnixListener::bind(&path).unwrap();
        let fake = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 256];
            let n = stream.read(&mut asked).await.unwrap();
            assert!(String::from_utf8_lossy(&asked[..n]).contains("getself"));
            stream.write_all(answer().as_bytes()).await.unwrap();
        });
        let it = ask(&AdminSocket::Path(path.clone())).await.unwrap();
        assert_eq!((&*it.key, it.address), (KEY, ADDRESS.parse().unwrap()));
        fake.await.unwrap();
        assert!(ask(&AdminSocket::Path(path)).await.is_err());
    }

    #[test]
    fn a_number_is_a_port_and_the_rest_a_path() {
        assert_eq!(AdminSocket::parse("9001"), AdminSocket::Port(9001));
        let path = ADMIN_SOCKETS[0];
        assert_eq!(AdminSocket::parse(path), AdminSocket::Path(path.into()));
    }
}
