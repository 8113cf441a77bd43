//! Daemons and media: a folder that two of them share, a stick that appears.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use postrider::{
    daemon::{Daemon, DaemonOptions, Happening},
    desk::{Desk, TossDirection, TossRequest},
};
use tokio::{runtime::Runtime, sync::broadcast::Receiver, time::timeout};

use crate::town::{Town, know_each_other, request, send, state, texts, toss};

/// Nothing here takes longer on a machine that does anything at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// Set in the process within a mount namespace.
const INSIDE: &str = "POSTRIDER_TEST_NAMESPACE";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

struct Running {
    daemon: Daemon,
    heard: Receiver<Happening>,
}

impl Running {
    fn start(desk: &Arc<Desk>, runtime: &Runtime) -> Self {
        let daemon = Daemon::start(Arc::clone(desk), &DaemonOptions::default(), runtime).unwrap();
        Self { heard: daemon.node().board.listen(), daemon }
    }

    async fn until(&mut self, meant: impl Fn(&Happening) -> bool) -> Happening {
        let wait = async {
            loop {
                let happening = self.heard.recv().await.unwrap();
                if meant(&happening) {
                    return happening;
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("it did not happen")
    }

    async fn until_id(&mut self, what: &str, id: &str) {
        self.until(|happening| happening.what == what && happening.id.as_deref() == Some(id)).await;
    }
}

fn marked(town: &Town, desk: &Desk, name: &str) -> std::path::PathBuf {
    let place = town.stick(name);
    let init = TossRequest { init: true, ..request(&place, TossDirection::Both) };
    desk.toss(&init, &postrider::desk::Silent).unwrap();
    place
}

fn sharing(town: &Town, desk: Desk, place: &Path) -> Arc<Desk> {
    let dirs = format!("media-dirs = [{:?}]", place.to_str().unwrap());
    Arc::new(town.set(desk, "media-dirs = []", &dirs))
}

#[test]
fn two_daemons_that_share_a_folder_deliver_both_ways_by_it() {
    let town = Town::new();
    let (alice, bob) = (town.node("alice"), town.node("bob"));
    know_each_other(&alice, &bob);
    let place = marked(&town, &alice, "shared");
    let (alice, bob) = (sharing(&town, alice, &place), sharing(&town, bob, &place));
    let runtime = runtime();
    let (mut at_alice, mut at_bob) =
        (Running::start(&alice, &runtime), Running::start(&bob, &runtime));
    let there = send(&alice, "bob", "by the folder");
    let back = send(&bob, "alice", "and back");
    runtime.block_on(async {
        at_bob.until_id("message", &there.id).await;
        at_alice.until_id("delivered", &there.id).await;
        at_bob.until_id("delivered", &back.id).await;
        at_alice.daemon.stop().await;
        at_bob.daemon.stop().await;
    });
    assert_eq!(
        (texts(&bob), texts(&alice)),
        (vec!["by the folder".into()], vec!["and back".into()])
    );
    assert_eq!(state(&alice, &there), "delivered");
    assert_eq!(state(&bob, &back), "delivered");
}

#[test]
fn a_folder_that_nobody_else_writes_comes_to_rest() {
    let town = Town::new();
    let (alice, bob) = (town.node("alice"), town.node("bob"));
    know_each_other(&alice, &bob);
    let place = marked(&town, &alice, "shared");
    send(&alice, "bob", "once");
    let alice = sharing(&town, alice, &place);
    let runtime = runtime();
    let mut at_alice = Running::start(&alice, &runtime);
    let written = |happening: &Happening| happening.what == "media-tossed";
    runtime.block_on(async {
        at_alice.until(written).await;
        // Whatever its own writing wakes has ended when another message has been written.
        let second = send(&alice, "bob", "twice");
        let told = at_alice.until(written).await;
        assert_eq!(told.detail.as_deref(), Some("0 taken, 1 written"), "{second:?}");
        at_alice.daemon.stop().await;
    });
    let names = |dir| fs::read_dir(place.join("POSTRIDER").join(dir)).unwrap().count();
    assert_eq!(names("C"), 2);
    drop(alice);
    toss(&bob, &place);
    assert_eq!(texts(&bob), ["once", "twice"]);
}

#[test]
fn torn_files_and_copies_of_a_conflict_survive_and_harm_nobody() {
    let town = Town::new();
    let (alice, bob) = (town.node("alice"), town.node("bob"));
    know_each_other(&alice, &bob);
    let place = marked(&town, &alice, "shared");
    send(&alice, "bob", "first");
    toss(&alice, &place);
    let folder = place.join("POSTRIDER/C");
    let whole = crate::town::containers(&place).remove(0);
    let bytes = fs::read(&whole).unwrap();
    // As a syncing program leaves them: a conflict, its temporary file, a file that is half there.
    let stem = whole.file_stem().unwrap().to_str().unwrap();
    let conflict = folder.join(format!("{stem}.sync-conflict-20260102-030405-ABCDEFG.PRC"));
    let temporary = folder.join(format!(".syncthing.{stem}.PRC.tmp"));
    fs::write(&conflict, &bytes).unwrap();
    fs::write(&temporary, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(&whole, &bytes[..bytes.len() / 2]).unwrap();

    let bob = sharing(&town, bob, &place);
    let runtime = runtime();
    let mut at_bob = Running::start(&bob, &runtime);
    runtime.block_on(async {
        // It is looked at while it is torn: the answer that is written says so.
        let note = send(&bob, "alice", "I am here");
        at_bob.until(|happening| happening.what == "media-tossed").await;
        assert!(texts(&bob).is_empty(), "{note:?}");
        // Now the other end finishes it.
        fs::write(&whole, &bytes).unwrap();
        at_bob.until(|happening| happening.what == "message").await;
        at_bob.daemon.stop().await;
    });
    assert_eq!(texts(&bob), ["first"]);
    assert!(conflict.exists() && temporary.exists());
}

#[test]
fn a_folder_without_our_marker_gets_nothing_until_it_has_one() {
    let town = Town::new();
    let (alice, bob) = (town.node("alice"), town.node("bob"));
    know_each_other(&alice, &bob);
    let marked = marked(&town, &bob, "marked");
    let place = town.stick("empty");
    send(&alice, "bob", "to be kept");
    let alice = sharing(&town, alice, &place);
    let runtime = runtime();
    let mut at_alice = Running::start(&alice, &runtime);
    runtime.block_on(async {
        at_alice.until(|happening| happening.what == "media-trouble").await;
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
        fs::rename(marked.join("POSTRIDER"), place.join("POSTRIDER")).unwrap();
        at_alice.until(|happening| happening.what == "media-tossed").await;
        at_alice.daemon.stop().await;
    });
    toss(&bob, &place);
    assert_eq!(texts(&bob), ["to be kept"]);
}

fn run(tool: &str, args: &[&str]) -> bool {
    let status = Command::new(tool).args(args).stdin(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Runs the test of this name again, alone in a mount namespace.
fn runs_inside(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    if !run("unshare", &["-m", "--propagation", "private", "true"]) {
        println!("skipped: no mount namespace is permitted here");
        return false;
    }
    let status = Command::new("unshare")
        .args(["-m", "--propagation", "private"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed inside");
    false
}

#[test]
fn a_stick_that_appears_is_visited_and_may_then_be_removed() {
    if !runs_inside("media::a_stick_that_appears_is_visited_and_may_then_be_removed") {
        return;
    }
    let town = Town::new();
    let (alice, bob) = (town.node("alice"), town.node("bob"));
    know_each_other(&alice, &bob);
    let drive = town.stick("drive");
    assert!(run("mount", &["-t", "tmpfs", "none", drive.to_str().unwrap()]));
    let stick = town.stick("drive/stick");
    let init = TossRequest { init: true, ..request(&stick, TossDirection::Both) };
    bob.toss(&init, &postrider::desk::Silent).unwrap();
    send(&bob, "alice", "from a pocket");
    toss(&bob, &stick);
    let plugged = town.stick("plugged");

    let alice = Arc::new(town.set(alice, "media = false", "media = true"));
    let runtime = runtime();
    let mut at_alice = Running::start(&alice, &runtime);
    send(&alice, "bob", "into a pocket");
    assert!(run("mount", &["--bind", stick.to_str().unwrap(), plugged.to_str().unwrap()]));
    runtime.block_on(async {
        let here = |happening: &Happening| happening.who.as_deref() == plugged.to_str();
        at_alice.until(|happening| happening.what == "media-seen" && here(happening)).await;
        at_alice.until(|happening| happening.what == "safe-to-remove" && here(happening)).await;
        assert!(run("umount", &[plugged.to_str().unwrap()]));
        at_alice.until(|happening| happening.what == "media-gone" && here(happening)).await;
        // The same stick once more is a new visit.
        assert!(run("mount", &["--bind", stick.to_str().unwrap(), plugged.to_str().unwrap()]));
        at_alice.until(|happening| happening.what == "safe-to-remove" && here(happening)).await;
        at_alice.daemon.stop().await;
    });
    assert_eq!(texts(&alice), ["from a pocket"]);
    toss(&bob, &stick);
    assert_eq!(texts(&bob), ["into a pocket"]);
}
