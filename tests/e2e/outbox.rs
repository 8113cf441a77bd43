//! Folders to drop files into.

use std::{fs, sync::Arc, time::Duration};

use postrider::{
    daemon::{Daemon, DaemonOptions, Happening},
    desk::{Desk, Silent},
};
use tokio::{runtime::Runtime, sync::broadcast::Receiver, time::timeout};

use crate::town::{Town, know_each_other, letter};

/// Nothing here takes longer on a machine that does anything at all.
const PATIENCE: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn until(heard: &mut Receiver<Happening>, what: &str) -> Happening {
    let wait = async {
        loop {
            let happening = heard.recv().await.unwrap();
            if happening.what == what {
                return happening;
            }
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

fn sent_count(desk: &Desk) -> usize {
    desk.queue(&Silent).unwrap().len()
}

#[test]
fn a_file_dropped_into_a_folder_is_sent_once_and_put_aside() {
    let town = Town::new();
    let (alice, bob) = (town.node("alice"), town.node("bob"));
    know_each_other(&alice, &bob);
    let alice = Arc::new(alice);
    let outbox = town.path("alice/outbox/bob");
    fs::create_dir_all(&outbox).unwrap();
    let runtime = runtime();
    let daemon = Daemon::start(Arc::clone(&alice), &DaemonOptions::default(), &runtime).unwrap();
    let mut heard = daemon.node().board.listen();
    // As others leave them: not finished, hidden, of no use.
    for name in ["film.mkv.part", ".hidden", "old~"] {
        fs::write(outbox.join(name), "not yet").unwrap();
    }
    fs::write(outbox.join("map.pdf"), "a map").unwrap();
    let sent = runtime.block_on(async {
        let sent = until(&mut heard, "sent").await;
        daemon.stop().await;
        sent
    });
    assert_eq!(sent.who.as_deref(), Some("bob"));
    assert_eq!(sent_count(&alice), 1);
    assert_eq!(fs::read_to_string(outbox.join("sent/map.pdf")).unwrap(), "a map");
    for name in ["film.mkv.part", ".hidden", "old~"] {
        assert!(outbox.join(name).exists(), "{name}");
    }
}

#[test]
fn what_cannot_be_sent_stays_with_the_reason_beside_it() {
    let town = Town::new();
    let alice = Arc::new(town.node("alice"));
    let outbox = town.path("alice/outbox/nobody");
    fs::create_dir_all(&outbox).unwrap();
    let runtime = runtime();
    let daemon = Daemon::start(Arc::clone(&alice), &DaemonOptions::default(), &runtime).unwrap();
    let mut heard = daemon.node().board.listen();
    fs::write(outbox.join("letter"), "to whom").unwrap();
    runtime.block_on(async {
        until(&mut heard, "outbox-trouble").await;
        daemon.stop().await;
    });
    assert_eq!(fs::read_to_string(outbox.join("letter")).unwrap(), "to whom");
    let reason = fs::read_to_string(outbox.join("letter.error.txt")).unwrap();
    assert!(reason.contains("nobody"), "{reason}");
    assert_eq!(sent_count(&alice), 0);
}

/// What is in the way of putting a file aside stands for a crash before it.
#[test]
fn a_file_that_was_sent_and_not_put_aside_is_put_aside_after_a_restart_and_not_sent_again() {
    let town = Town::new();
    let (alice, bob) = (town.node("alice"), town.node("bob"));
    know_each_other(&alice, &bob);
    let outbox = town.path("alice/outbox/bob");
    fs::create_dir_all(&outbox).unwrap();
    fs::write(outbox.join("sent"), "in the way").unwrap();
    fs::rename(outbox.join("sent"), outbox.join(".sent")).unwrap();
    std::os::unix::fs::symlink(".sent", outbox.join("sent")).unwrap();
    let run = |desk: Desk, what: &str, name: &str| {
        let desk = Arc::new(desk);
        let runtime = runtime();
        let daemon = Daemon::start(Arc::clone(&desk), &DaemonOptions::default(), &runtime).unwrap();
        let mut heard = daemon.node().board.listen();
        fs::write(outbox.join(name), name).unwrap();
        runtime.block_on(async {
            until(&mut heard, what).await;
            daemon.stop().await;
        });
        drop(runtime);
        Arc::into_inner(desk).unwrap()
    };
    let alice = run(alice, "outbox-trouble", "first");
    assert_eq!(sent_count(&alice), 1);
    assert!(outbox.join("first").exists());
    fs::remove_file(outbox.join("sent")).unwrap();
    // Handled after the first, which was seen as early and is older by name.
    fs::write(outbox.join("later"), "later").unwrap();
    let alice = run(town.again(alice), "sent", ".nothing");
    assert_eq!(sent_count(&alice), 2);
    for name in ["first", "later"] {
        assert!(outbox.join("sent").join(name).exists(), "{name}");
    }
    assert!(!outbox.join("first.error.txt").exists());
}

/// A daemon that stopped between sending a file and putting it aside left the mark of the message.
#[test]
fn a_mark_keeps_a_message_from_being_sent_again_until_it_is_forgotten() {
    let town = Town::new();
    let (alice, bob) = (town.node("alice"), town.node("bob"));
    know_each_other(&alice, &bob);
    let large = town.file("large", 1 << 20, 3);
    let requests = [
        letter("bob", "small"),
        postrider::desk::SendRequest { text: None, files: vec![large], ..letter("bob", "") },
    ];
    let mut alice = alice;
    for (mark, request) in [b"a", b"b"].into_iter().zip(&requests) {
        assert!(alice.send_once(request, mark, &Silent).unwrap().is_some());
        alice = town.again(alice);
        assert!(alice.send_once(request, mark, &Silent).unwrap().is_none());
    }
    alice.forget_marks_but(&[b"b".to_vec()].into(), &Silent).unwrap();
    assert!(alice.send_once(&requests[0], b"a", &Silent).unwrap().is_some());
    assert!(alice.send_once(&requests[1], b"b", &Silent).unwrap().is_none());
}
