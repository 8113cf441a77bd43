//! One listener under several keys: its own, and those of guests.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Arc;

use common::{Node, assert_talks, dialler, id, soon, stream};
use postrider_base::NodeSecret;
use postrider_transports::{Transport as _, TransportError, tls::TlsOptions};

fn guest(seed: u8) -> NodeSecret {
    NodeSecret::from_seed([seed; 32])
}

#[tokio::test]
async fn guests_meet_without_showing_who_they_are() {
    let mut hub = Node::start(1, TlsOptions::default());
    hub.tls.set_guest(Some(guest(101)));
    let visitor = dialler(2, TlsOptions::default());
    visitor.set_guest(Some(guest(102)));
    let near = soon(visitor.dial_as_guest(&hub.address(), id(101))).await.unwrap();
    let far = hub.link().await;
    assert_eq!((near.facts.peer, near.facts.guest), (Some(id(101)), true));
    assert_eq!((far.facts.peer, far.facts.guest), (Some(id(102)), true));
    assert_talks(&mut *stream(near), &mut *stream(far)).await;
}

#[tokio::test]
async fn the_nodes_own_key_answers_beside_a_guest_key() {
    let mut hub = Node::start(1, TlsOptions::default());
    hub.tls.set_guest(Some(guest(101)));
    let near = soon(dialler(2, TlsOptions::default()).dial(&hub.address(), Some(hub.id))).await;
    let far = hub.link().await;
    assert_eq!((near.unwrap().facts.guest, far.facts.guest), (false, false));
    assert_eq!(far.facts.peer, Some(id(2)));
}

#[tokio::test]
async fn a_guest_key_answers_until_the_one_after_the_next() {
    let hub = Node::start(1, TlsOptions::default());
    let visitor = dialler(2, TlsOptions::default());
    visitor.set_guest(Some(guest(102)));
    let answers = async |key| soon(visitor.dial_as_guest(&hub.address(), id(key))).await.is_ok();
    assert!(!answers(101).await);
    hub.tls.set_guest(Some(guest(101)));
    assert!(answers(101).await);
    hub.tls.set_guest(Some(guest(103)));
    assert!(answers(101).await && answers(103).await);
    hub.tls.set_guest(Some(guest(104)));
    assert!(!answers(101).await && answers(103).await);
    hub.tls.set_guest(None);
    assert!(!answers(103).await && !answers(104).await);
}

#[tokio::test]
async fn who_has_no_guest_key_dials_no_guest() {
    let hub = Node::start(1, TlsOptions::default());
    hub.tls.set_guest(Some(guest(101)));
    let visitor = dialler(2, TlsOptions::default());
    let dial = soon(visitor.dial_as_guest(&hub.address(), id(101))).await;
    assert!(matches!(dial, Err(TransportError::NoGuest)));
    assert_eq!(hub.tls.counts().accepted, 0);
}

#[tokio::test]
async fn the_admission_is_asked_about_nodes_and_not_about_guests() {
    let nobody = TlsOptions { admission: Arc::new(|_| false), ..TlsOptions::default() };
    let mut hub = Node::start(1, nobody);
    hub.tls.set_guest(Some(guest(101)));
    let visitor = dialler(2, TlsOptions::default());
    visitor.set_guest(Some(guest(102)));
    let _near = soon(visitor.dial_as_guest(&hub.address(), id(101))).await.unwrap();
    assert!(hub.link().await.facts.guest);
    let _refused = soon(visitor.dial(&hub.address(), Some(hub.id))).await;
    hub.counted(|counts| counts.refused == 1).await;
}
