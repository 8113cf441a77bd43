//! Links over TLS on real sockets: who finds whom, and who is refused.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use common::{Node, assert_talks, dialler, heard_until_end, id, soon, stream};
use postrider_transports::{
    Transport as _, TransportError,
    contract::Address,
    tls::{Resolver, Socks5, TlsOptions},
};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

fn names(addresses: Vec<SocketAddr>) -> Resolver {
    Arc::new(move |_, _| {
        let addresses = addresses.clone();
        Box::pin(async move { Ok(addresses) })
    })
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

#[tokio::test]
async fn two_ends_talk_and_each_knows_the_other() {
    let mut hub = Node::start(1, TlsOptions::default());
    let tls = dialler(2, TlsOptions::default());
    let near = soon(tls.dial(&hub.address(), Some(hub.id))).await.unwrap();
    let far = hub.link().await;
    assert_eq!((near.facts.peer, near.facts.dialled), (Some(id(1)), true));
    assert_eq!((far.facts.peer, far.facts.dialled), (Some(id(2)), false));
    assert_eq!(near.facts.address, hub.address());
    assert!(far.facts.address.as_str().starts_with("tls://127.0.0.1:"));
    assert_ne!(far.facts.address, near.facts.address, "it is seen where it dials from");
    assert_talks(&mut *stream(near), &mut *stream(far)).await;
}

#[tokio::test]
async fn megabytes_pass_both_ways_at_once() {
    const BYTES: usize = 4 << 20;
    let options = TlsOptions { send_buffer_bytes: Some(32 << 10), ..TlsOptions::default() };
    let mut hub = Node::start(1, options.clone());
    let near = soon(dialler(2, options).dial(&hub.address(), Some(hub.id))).await.unwrap();
    let ends = [stream(near), stream(hub.link().await)].map(|end| {
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(end);
            let writing = tokio::spawn(async move {
                write.write_all(&vec![7; BYTES]).await.unwrap();
                write.shutdown().await.unwrap();
            });
            let mut heard = Vec::new();
            read.read_to_end(&mut heard).await.unwrap();
            writing.await.unwrap();
            heard
        })
    });
    for end in ends {
        assert!(soon(end).await.unwrap() == vec![7; BYTES]);
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused_before_ours_is_shown() {
    let asked = Arc::new(AtomicBool::new(false));
    let ask = asked.clone();
    let admission = Arc::new(move |_: &_| {
        ask.store(true, Ordering::SeqCst);
        true
    });
    let options = TlsOptions { public: true, admission, ..TlsOptions::default() };
    let impostor = Node::start(1, options);
    let tls = dialler(2, TlsOptions::default());
    let error = soon(tls.dial(&impostor.address(), Some(id(3)))).await.unwrap_err();
    assert!(matches!(error, TransportError::WrongPeer { expected, .. } if expected == id(3)));
    impostor.counted(|counts| counts.failed == 1).await;
    assert!(!asked.load(Ordering::SeqCst), "the impostor learned who dialled");
    assert_eq!(impostor.tls.counts().welcomed, 0);
}

#[tokio::test]
async fn a_node_that_is_not_wanted_gets_no_link() {
    let admission = Arc::new(|node: &_| *node == id(3));
    let mut hub = Node::start(1, TlsOptions { admission, ..TlsOptions::default() });
    // In TLS 1.3 the dialler is done before the listener has seen its key.
    let unwanted = soon(dialler(2, TlsOptions::default()).dial(&hub.address(), Some(hub.id))).await;
    assert!(heard_until_end(&mut stream(unwanted.unwrap())).await.is_empty());
    hub.counted(|counts| counts.refused == 1).await;
    let wanted = soon(dialler(3, TlsOptions::default()).dial(&hub.address(), Some(hub.id))).await;
    let far = hub.link().await;
    assert_eq!(far.facts.peer, Some(id(3)));
    assert_talks(&mut *stream(wanted.unwrap()), &mut *stream(far)).await;
}

#[tokio::test]
async fn whoever_knows_no_name_reaches_public_listeners_only() {
    let open = Node::start(1, TlsOptions { public: true, ..TlsOptions::default() });
    let closed = Node::start(3, TlsOptions::default());
    let tls = dialler(2, TlsOptions::default());
    let link = soon(tls.dial(&open.address(), None)).await.unwrap();
    assert_eq!(link.facts.peer, Some(id(1)));
    let error = soon(tls.dial(&closed.address(), None)).await.unwrap_err();
    assert!(matches!(error, TransportError::Handshake { .. }), "{error}");
    closed.counted(|counts| counts.no_token == 1).await;
}

#[tokio::test]
async fn a_silent_address_does_not_hold_up_the_one_that_answers() {
    let mut hub = Node::start(1, TlsOptions::default());
    let silent = Silent::new();
    let resolver = names(vec![hub.at(), silent.at]);
    let tls = dialler(2, TlsOptions { resolver, ..TlsOptions::default() });
    let near = soon(tls.dial(&address("tls://hub:1"), Some(hub.id))).await.unwrap();
    assert_eq!(near.facts.address, address("tls://hub:1"));
    assert_eq!(hub.link().await.facts.peer, Some(id(2)));
}

#[tokio::test]
async fn an_address_where_somebody_else_answers_is_passed_over() {
    let portal = Node::start(3, TlsOptions { public: true, ..TlsOptions::default() });
    let stranger = Node::start(4, TlsOptions::default());
    let mut hub = Node::start(1, TlsOptions::default());
    let resolver = names(vec![portal.at(), stranger.at(), hub.at()]);
    let tls = dialler(2, TlsOptions { resolver, ..TlsOptions::default() });
    let near = soon(tls.dial(&address("tls://hub"), Some(hub.id))).await.unwrap();
    assert_talks(&mut *stream(near), &mut *stream(hub.link().await)).await;
}

#[tokio::test]
async fn a_dial_that_fails_says_why() {
    let tls = |resolver| dialler(2, TlsOptions { resolver, ..TlsOptions::default() });
    let hub = address("tls://hub");
    let none = soon(tls(names(Vec::new())).dial(&hub, Some(id(1)))).await.unwrap_err();
    assert!(matches!(none, TransportError::Unresolved { .. }), "{none}");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = soon(tls(names(vec![closed])).dial(&hub, Some(id(1)))).await.unwrap_err();
    assert!(matches!(refused, TransportError::Connect { .. }), "{refused}");
    let other = soon(tls(names(Vec::new())).dial(&address("pipe:cat"), None)).await.unwrap_err();
    assert!(matches!(other, TransportError::Address { .. }), "{other}");
}

#[tokio::test]
async fn a_dropped_dial_leaves_no_socket() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = address(&format!("tls://{}", mute.local_addr().unwrap()));
    let tls = dialler(2, TlsOptions::default());
    let mut dial = tls.dial(&at, Some(id(1)));
    // The dial is in the middle of its handshake when it is dropped.
    let mut far = tokio::select! {
        accepted = mute.accept() => accepted.unwrap().0,
        _ = &mut dial => unreachable!("nobody answered"),
    };
    let mut head = [0; 5];
    tokio::select! {
        read = far.read_exact(&mut head) => drop(read.unwrap()),
        _ = &mut dial => unreachable!("nobody answered"),
    }
    drop(dial);
    let rest = heard_until_end(&mut far).await;
    assert_eq!(
        rest.len(),
        usize::from(u16::from_be_bytes([head[3], head[4]])),
        "the hello, then the end"
    );
}

#[tokio::test]
async fn a_dial_goes_out_from_the_port_it_was_given() {
    let mut hub = Node::start(1, TlsOptions::default());
    let held = held_port();
    let local = held.local_addr().unwrap().as_socket().unwrap();
    let tls = dialler(2, TlsOptions::default());
    let near = soon(tls.dial_from(local, hub.at(), Some(hub.id))).await.unwrap();
    let far = hub.link().await;
    assert_eq!(far.facts.address, address(&format!("tls://{local}")));
    assert_talks(&mut *stream(near), &mut *stream(far)).await;
}

#[tokio::test]
async fn dials_keep_to_their_local_address_and_interface() {
    let mut hub = Node::start(1, TlsOptions::default());
    let bind = Some(SocketAddr::from(([127, 0, 0, 5], 0)));
    let tls = |interface: &str| {
        let interface = Some(interface.to_owned());
        dialler(2, TlsOptions { bind, interface, ..TlsOptions::default() })
    };
    soon(tls("lo").dial(&hub.address(), Some(hub.id))).await.unwrap();
    let seen = hub.link().await.facts.address;
    assert!(seen.as_str().starts_with("tls://127.0.0.5:"), "{seen}");
    assert!(soon(tls("not-there").dial(&hub.address(), Some(hub.id))).await.is_err());
}

#[tokio::test]
async fn two_that_open_at_once_meet_once() {
    let held = [held_port(), held_port()];
    let at = held.each_ref().map(|socket| socket.local_addr().unwrap().as_socket().unwrap());
    let (low, high) = if id(1) < id(2) { (1, 2) } else { (2, 1) };
    let [a, b] = [low, high].map(|seed| dialler(seed, TlsOptions::default()));
    let both =
        async { tokio::join!(a.meet(at[0], at[1], id(high)), b.meet(at[1], at[0], id(low))) };
    let (near, far) = soon(both).await;
    let (near, far) = (near.unwrap(), far.unwrap());
    assert_eq!((near.facts.peer, near.facts.dialled), (Some(id(high)), true), "the lower dials");
    assert_eq!((far.facts.peer, far.facts.dialled), (Some(id(low)), false));
    assert_talks(&mut *stream(near), &mut *stream(far)).await;
}

#[tokio::test]
async fn a_meeting_works_from_the_port_of_a_live_link() {
    let mut broker = Node::start(3, TlsOptions::default());
    let held = [held_port(), held_port()];
    let at = held.each_ref().map(|socket| socket.local_addr().unwrap().as_socket().unwrap());
    let [a, b] = [1, 2].map(|seed| dialler(seed, TlsOptions::default()));
    let to_broker = soon(a.dial_from(at[0], broker.at(), Some(broker.id))).await.unwrap();
    let from_a = broker.link().await;
    let both = async { tokio::join!(a.meet(at[0], at[1], id(2)), b.meet(at[1], at[0], id(1))) };
    let (near, far) = soon(both).await;
    assert_talks(&mut *stream(near.unwrap()), &mut *stream(far.unwrap())).await;
    assert_talks(&mut *stream(to_broker), &mut *stream(from_a)).await;
}

#[tokio::test]
async fn a_meeting_with_somebody_else_comes_to_nothing() {
    let held = [held_port(), held_port()];
    let at = held.each_ref().map(|socket| socket.local_addr().unwrap().as_socket().unwrap());
    let [a, b] = [1, 2].map(|seed| dialler(seed, TlsOptions::default()));
    // Somebody for whom `a` takes the same role as for `b`, or neither would begin.
    let other = (3..).find(|&seed| (id(1) < id(seed)) == (id(1) < id(2))).unwrap();
    let both = async { tokio::join!(a.meet(at[0], at[1], id(other)), b.meet(at[1], at[0], id(1))) };
    let (near, far) = soon(both).await;
    assert!(near.is_err(), "{near:?}");
    // The client of TLS 1.3 is done first; it learns from the end of the stream.
    if let Ok(far) = far {
        assert!(heard_until_end(&mut stream(far)).await.is_empty());
    }
    assert!(soon(a.meet(at[0], at[1], id(1))).await.is_err(), "not with itself either");
}

#[tokio::test]
async fn a_proxy_is_told_the_name_and_nobody_else() {
    let mut hub = Node::start(1, TlsOptions::default());
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let via = format!("socks5://me:secret@{}", proxy.local_addr().unwrap());
    let target = hub.at();
    let served = tokio::spawn(async move {
        let (mut near, _) = proxy.accept().await.unwrap();
        let mut heard = Vec::new();
        for (read, answer) in [
            (3, &b"\x05\x02"[..]),
            (1 + 1 + 2 + 1 + 6, b"\x01\x00"),
            (4 + 1 + 9 + 2, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x09"),
        ] {
            let at = heard.len();
            heard.resize(at + read, 0);
            near.read_exact(&mut heard[at..]).await.unwrap();
            near.write_all(answer).await.unwrap();
        }
        let mut far = TcpStream::connect(target).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        heard
    });
    let resolver: Resolver =
        Arc::new(|name, _| Box::pin(async move { unreachable!("{name} was looked up here") }));
    let options =
        TlsOptions { resolver, via: Some(Socks5::parse(&via).unwrap()), ..TlsOptions::default() };
    let tls = dialler(2, options);
    let near = soon(tls.dial(&address("tls://hub.onion:443"), Some(hub.id))).await.unwrap();
    assert_eq!(near.facts.address, address("tls://hub.onion:443"));
    let (mut near, mut far) = (stream(near), stream(hub.link().await));
    assert_talks(&mut *near, &mut *far).await;
    drop((near, far));
    let heard = soon(served).await.unwrap();
    assert_eq!(heard, b"\x05\x01\x02\x01\x02me\x06secret\x05\x01\x00\x03\x09hub.onion\x01\xbb");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_without_its_password() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let via = format!("tls://hub?via=socks5://me:secret@{}", proxy.local_addr().unwrap());
    let tls = dialler(2, TlsOptions::default());
    let to = address(&via);
    let refusing = async {
        let (mut near, _) = proxy.accept().await.unwrap();
        near.write_all(b"\x05\xff").await.unwrap();
        near
    };
    let (dialled, _) = soon(async { tokio::join!(tls.dial(&to, Some(id(1))), refusing) }).await;
    let error = dialled.unwrap_err();
    assert!(matches!(error, TransportError::Proxy { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[tokio::test]
async fn both_families_listen_side_by_side() {
    let Ok(v6) = std::net::TcpListener::bind("[::1]:0") else { return };
    let port = v6.local_addr().unwrap().port();
    drop(v6);
    let listen = ["[::]", "0.0.0.0"].map(|host| address(&format!("tls://{host}:{port}"))).into();
    let mut hub = Node::start(1, TlsOptions { listen, ..TlsOptions::default() });
    let tls = dialler(2, TlsOptions::default());
    for host in ["[::1]", "127.0.0.1"] {
        let to = address(&format!("tls://{host}:{port}"));
        soon(tls.dial(&to, Some(hub.id))).await.unwrap();
        let seen = hub.link().await.facts.address;
        assert!(seen.as_str().starts_with(&format!("tls://{host}:")), "{seen}");
    }
}

#[tokio::test]
async fn stopping_frees_the_port_and_spares_live_links() {
    let mut hub = Node::start(1, TlsOptions::default());
    let tls = dialler(2, TlsOptions::default());
    let near = soon(tls.dial(&hub.address(), Some(hub.id))).await.unwrap();
    let far = hub.link().await;
    hub.stop.cancel();
    soon(&mut hub.run).await.unwrap().unwrap();
    assert!(soon(tls.dial(&hub.address(), Some(hub.id))).await.is_err());
    assert_talks(&mut *stream(near), &mut *stream(far)).await;
    let (again, _arrivals) = tokio::sync::mpsc::channel(1);
    let again = soon(hub.tls.clone().run(again, hub.stop.clone())).await;
    assert!(matches!(again, Err(TransportError::AlreadyStarted)));
}

#[tokio::test]
async fn a_port_that_is_taken_is_known_at_once() {
    let hub = Node::start(1, TlsOptions::default());
    let options = TlsOptions { listen: vec![hub.address()], ..TlsOptions::default() };
    let error = postrider_transports::tls::TlsTransport::new(common::secret(2), options);
    assert!(matches!(error, Err(TransportError::Listen { .. })));
}

/// A free port, held so that nobody else gets it, and shared with those who know.
fn held_port() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket
}

/// An address that answers nobody, as a black hole in the network does: a listener whose queue is
/// full, so that the kernel drops every further SYN.
struct Silent {
    at: SocketAddr,
    _sockets: Vec<Socket>,
}

impl Silent {
    fn new() -> Self {
        let bound = |at: &str| -> io::Result<Socket> {
            let at: SocketAddr = at.parse().unwrap();
            let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
            socket.bind(&at.into())?;
            Ok(socket)
        };
        let listener = bound("[::1]:0").or_else(|_| bound("127.0.0.1:0")).unwrap();
        listener.listen(0).unwrap();
        let at = listener.local_addr().unwrap().as_socket().unwrap();
        let mut sockets = vec![listener];
        for _ in 0..4 {
            let filler = Socket::new(Domain::for_address(at), Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&at.into());
            sockets.push(filler);
        }
        Self { at, _sockets: sockets }
    }
}
