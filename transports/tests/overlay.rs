//! Links between two addresses of the overlay, in a network namespace where the loopback has them.
//! Skipped with a word where that is not permitted.
#![cfg(feature = "ygg")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::{
    env,
    net::Ipv6Addr,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use postrider_base::{NodeId, NodeSecret};
use postrider_transports::{
    Arrival, Link, Pipe, Stop, Transport as _,
    tls::TlsOptions,
    ygg::{Listen, YggTransport, address_of, own_address},
};
use tokio::{io::AsyncReadExt as _, sync::mpsc, time::timeout};

/// Set in the process within the namespace.
const INSIDE: &str = "POSTRIDER_TEST_NAMESPACE";
/// A test that takes longer hangs. It never decides what is right.
const HANGS_AFTER: Duration = Duration::from_secs(60);

fn run(tool: &str, args: &[&str]) -> bool {
    let mut command = Command::new(tool);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status();
    status.is_ok_and(|status| status.success())
}

fn runs_inside(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    if !run("unshare", &["-n", "ip", "link", "set", "lo", "up"]) {
        println!("skipped: no network namespace is permitted here, or there is no ip");
        return false;
    }
    let status = Command::new("unshare")
        .arg("-n")
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed inside");
    false
}

struct Node {
    id: NodeId,
    transport: Arc<YggTransport>,
    arrivals: mpsc::Receiver<Arrival>,
    gone: Stop,
}

impl Node {
    fn start(seed: u8) -> Self {
        let secret = NodeSecret::from_seed([seed; 32]);
        let id = secret.id();
        let own: Ipv6Addr = postrider_base::address::address(&id);
        assert!(run("ip", &["addr", "add", &format!("{own}/128"), "dev", "lo", "nodad"]));
        // The kernel makes the way to it a moment later, on its own.
        let way = |_| run("ip", &["-6", "route", "get", &own.to_string()]);
        assert!((0..1000).any(way), "there is no way to an address of our own");
        let gone = Stop::new();
        let options = TlsOptions::default();
        let transport =
            YggTransport::new(Arc::new(secret), own, Listen::Here, options, gone.clone()).unwrap();
        let transport = Arc::new(transport);
        let (sender, arrivals) = mpsc::channel(4);
        tokio::spawn(Arc::clone(&transport).run(sender, gone.clone()));
        Self { id, transport, arrivals, gone }
    }
}

async fn read_to_end(link: Link) -> bool {
    let Pipe::Stream(mut stream) = link.pipe else { panic!("a stream") };
    let mut byte = [0];
    timeout(HANGS_AFTER, stream.read(&mut byte)).await.unwrap().is_err()
}

#[tokio::test]
async fn a_neighbour_is_reached_where_its_key_says_and_lost_with_the_network() {
    if !runs_inside("a_neighbour_is_reached_where_its_key_says_and_lost_with_the_network") {
        return;
    }
    assert!(run("ip", &["link", "set", "lo", "up"]));
    assert_eq!(own_address(), None);
    let (alice, mut bob) = (Node::start(1), Node::start(2));
    assert!(own_address().is_some());
    let to = address_of(&bob.id);
    let dialled = alice.transport.dial(&to, Some(bob.id));
    let dialled = timeout(HANGS_AFTER, dialled).await.unwrap().unwrap();
    let Some(Arrival::Link(arrived)) = timeout(HANGS_AFTER, bob.arrivals.recv()).await.unwrap()
    else {
        panic!("a link")
    };
    for (link, peer) in [(&dialled, bob.id), (&arrived, alice.id)] {
        assert_eq!(link.facts.peer, Some(peer));
        assert!(link.facts.overlay);
        assert_eq!(link.facts.address.scheme(), "ygg");
    }
    // It comes from where a neighbour of its key would be, so the other end can dial back.
    assert!(arrived.facts.address.as_str().contains(&own(&alice)), "{:?}", arrived.facts);
    assert!(alice.transport.dial(&address_of(&alice.id), None).await.is_err());
    alice.gone.cancel();
    assert!(read_to_end(dialled).await);
    drop(arrived);
}

fn own(node: &Node) -> String {
    postrider_base::address::address(&node.id).to_string()
}
