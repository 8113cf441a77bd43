//! Strangers at the door of a TLS listener: what they hear, and what they cost.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::{net::SocketAddr, time::Duration};

use common::{Node, assert_talks, dialler, heard_until_end, id, soon, stream};
use postrider_base::NodeId;
use postrider_transports::{Transport as _, contract::Address, tls::TlsOptions};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};

/// As in `slots.rs`.
const FROM_ONE_PLACE_MAX: usize = 8;
const HANDSHAKES_MAX: usize = 64;
/// A deadline that no test lives to see.
const NEVER: Duration = Duration::from_secs(3600);

/// The first bytes that a dialler sends to somebody whom it takes for `expect`.
async fn hello(expect: Option<NodeId>) -> Vec<u8> {
    let ear = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at: Address = format!("tls://{}", ear.local_addr().unwrap()).parse().unwrap();
    let tls = dialler(2, TlsOptions::default());
    let mut dial = tls.dial(&at, expect);
    let mut head = [0; 5];
    let record = async {
        let (mut stream, _) = ear.accept().await.unwrap();
        stream.read_exact(&mut head).await.unwrap();
        let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        stream.read_exact(&mut body).await.unwrap();
        body
    };
    let body = tokio::select! {
        body = record => body,
        _ = &mut dial => unreachable!("nobody answered"),
    };
    [&head[..], &body].concat()
}

async fn knock(at: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = soon(TcpStream::connect(at)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// A connection from another address of the loopback network: another place.
async fn from(place: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((place, 0).into()).unwrap();
    soon(socket.connect(to)).await.unwrap()
}

#[tokio::test]
async fn without_a_door_token_not_a_byte_comes_back() {
    let hub = Node::start(1, TlsOptions { handshake_time: NEVER, ..TlsOptions::default() });
    let replaced = |with: &[u8]| {
        let with = with.to_vec();
        async move {
            let mut hello = hello(Some(id(1))).await;
            let suffix = b".door.invalid";
            let at = hello.windows(suffix.len()).position(|w| w == suffix).unwrap();
            hello[at - with.len()..at].copy_from_slice(&with);
            hello
        }
    };
    // Good records of a hello that TLS would allow; only our own limit stops it.
    let begins = [&b"\x16\x03\x01\x40\x00\x01\x00\xff\xf0"[..], &[0; 0x4000 - 4]].concat();
    let goes_on = [&b"\x16\x03\x01\x40\x00"[..], &[0; 0x4000]].concat();
    let oversized = [begins, goes_on].concat();
    for (what, bytes) in [
        ("no server name", hello(None).await),
        ("somebody else's token", hello(Some(id(3))).await),
        ("a spoilt token", replaced(b"aaaaaaaa").await),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n".to_vec()),
        ("a broken record", b"\x16\x03\x01\x00\x05\x02aaaa".to_vec()),
        ("an alert", b"\x15\x03\x03\x00\x02\x02\x28".to_vec()),
        ("a hello that never ends", oversized),
    ] {
        let mut stranger = knock(hub.at(), &bytes).await;
        assert_eq!(heard_until_end(&mut stranger).await, b"", "{what}");
    }
    hub.counted(|counts| counts.no_token == 7).await;
    // The same ear hears an answer when the token fits.
    let mut friend = knock(hub.at(), &hello(Some(id(1))).await).await;
    let mut heard = [0; 6];
    soon(friend.read_exact(&mut heard)).await.unwrap();
    assert_eq!((heard[0], heard[5]), (0x16, 2), "a handshake record with a ServerHello");
}

#[tokio::test]
async fn a_handshake_that_never_ends_ends() {
    let handshake_time = Duration::from_millis(200);
    let hub = Node::start(1, TlsOptions { handshake_time, ..TlsOptions::default() });
    let hello = hello(Some(id(1))).await;
    let mut silent = knock(hub.at(), b"").await;
    let mut half = knock(hub.at(), &hello[..hello.len() / 2]).await;
    let mut known = knock(hub.at(), &hello).await;
    assert_eq!(heard_until_end(&mut silent).await, b"");
    assert_eq!(heard_until_end(&mut half).await, b"");
    heard_until_end(&mut known).await;
    hub.counted(|counts| counts.failed == 3).await;
}

#[tokio::test]
async fn one_place_cannot_keep_others_out() {
    let mut hub = Node::start(1, TlsOptions { handshake_time: NEVER, ..TlsOptions::default() });
    let mut silent = Vec::new();
    for _ in 0..FROM_ONE_PLACE_MAX {
        silent.push(from([127, 0, 0, 2], hub.at()).await);
    }
    let mut beyond = from([127, 0, 0, 2], hub.at()).await;
    assert_eq!(heard_until_end(&mut beyond).await, b"", "closed at once");
    assert_eq!(hub.tls.counts().crowded, 1);
    let near = soon(dialler(2, TlsOptions::default()).dial(&hub.address(), Some(hub.id))).await;
    assert_talks(&mut *stream(near.unwrap()), &mut *stream(hub.link().await)).await;
    // Whoever leaves makes room.
    drop(silent);
    hub.counted(|counts| counts.no_token == FROM_ONE_PLACE_MAX as u64).await;
    drop(from([127, 0, 0, 2], hub.at()).await);
    hub.counted(|counts| counts.no_token == FROM_ONE_PLACE_MAX as u64 + 1).await;
}

#[tokio::test]
async fn silent_strangers_in_all_slots_make_room() {
    let mut hub = Node::start(1, TlsOptions { handshake_time: NEVER, ..TlsOptions::default() });
    let mut silent = Vec::new();
    for i in 0..u8::try_from(HANDSHAKES_MAX).unwrap() {
        silent.push(from([127, 0, 1, i], hub.at()).await);
        hub.counted(|counts| counts.accepted == u64::from(i) + 1).await;
    }
    let near = soon(dialler(2, TlsOptions::default()).dial(&hub.address(), Some(hub.id))).await;
    assert_talks(&mut *stream(near.unwrap()), &mut *stream(hub.link().await)).await;
    assert_eq!(heard_until_end(&mut silent[0]).await, b"", "the oldest had to go");
    assert_eq!(hub.tls.counts().crowded, 1);
}

#[tokio::test]
async fn those_who_showed_a_token_are_not_pushed_out() {
    let hub = Node::start(1, TlsOptions { handshake_time: NEVER, ..TlsOptions::default() });
    let hello = hello(Some(id(1))).await;
    let mut known = Vec::new();
    for i in 0..u8::try_from(HANDSHAKES_MAX).unwrap() {
        let mut friend = from([127, 0, 1, i], hub.at()).await;
        friend.write_all(&hello).await.unwrap();
        soon(friend.read_u8()).await.unwrap();
        known.push(friend);
    }
    let mut beyond = from([127, 0, 2, 1], hub.at()).await;
    assert_eq!(heard_until_end(&mut beyond).await, b"", "closed at once");
    assert_eq!((hub.tls.counts().crowded, hub.tls.counts().failed), (1, 0));
}

#[tokio::test]
async fn a_node_that_is_busy_takes_nobody_in() {
    let options = TlsOptions { handshake_time: NEVER, ..TlsOptions::default() };
    let mut hub = Node::start_with_room(1, options, 1);
    let tls = dialler(2, TlsOptions::default());
    let mut links = vec![soon(tls.dial(&hub.address(), Some(hub.id))).await.unwrap()];
    hub.counted(|counts| counts.welcomed == 1).await;
    // The channel is full: these keep their slots, and beyond them nobody gets one.
    for _ in 0..FROM_ONE_PLACE_MAX {
        links.push(soon(tls.dial(&hub.address(), Some(hub.id))).await.unwrap());
    }
    assert!(soon(tls.dial(&hub.address(), Some(hub.id))).await.is_err());
    assert_eq!((hub.tls.counts().welcomed, hub.tls.counts().crowded), (1, 1));
    for _ in &links {
        hub.link().await;
    }
    hub.counted(|counts| counts.welcomed == links.len() as u64).await;
}
