//! Daemons and media: a folder that two of them share, a stick that appears.

use std::{
    collections::VecDeque,
    env, fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use postrider::{
    daemon::{Daemon, DaemonOptions, Happening, Labels, Udisks},
    desk::{Desk, TossDirection, TossRequest, reply::MediumLine},
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
    /// What happened before anybody listened.
    early: VecDeque<Happening>,
    heard: Receiver<Happening>,
    /// The number of the last one that was looked at.
    last: u64,
}

impl Running {
    fn start(desk: &Arc<Desk>, runtime: &Runtime) -> Self {
        Self::start_with(desk, &DaemonOptions::default(), runtime)
    }

    fn start_with(desk: &Arc<Desk>, options: &DaemonOptions, runtime: &Runtime) -> Self {
        let daemon = Daemon::start(Arc::clone(desk), options, runtime).unwrap();
        let board = &daemon.node().board;
        let (heard, early) = (board.listen(), board.since(0).into());
        Self { daemon, early, heard, last: 0 }
    }

    async fn until(&mut self, meant: impl Fn(&Happening) -> bool) -> Happening {
        let wait = async {
            loop {
                let happening = match self.early.pop_front() {
                    Some(happening) => happening,
                    None => self.heard.recv().await.unwrap(),
                };
                // Some stand in both.
                if happening.number > self.last {
                    self.last = happening.number;
                    if meant(&happening) {
                        return happening;
                    }
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

    let alice = Arc::new(town.set(alice, "\nmedia = false", "\nmedia = true"));
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

/// What udev, the kernel and udisks2 would be: directories, and a script that mounts memory and
/// fills it from `store`, which is what is on the stick.
struct Machine {
    town: Town,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { town: Town::new() };
        for dir in ["dev/by-label", "class", "usb1/sdb", "store", "place"] {
            fs::create_dir_all(machine.town.path(dir)).unwrap();
        }
        fs::write(machine.town.path("usb1/sdb/dev"), "8:16\n").unwrap();
        symlink(machine.town.path("usb1/sdb"), machine.town.path("class/sdb")).unwrap();
        fs::write(machine.town.path("dev/sdb"), "").unwrap();
        let at = |name| machine.town.path(name).display().to_string();
        let (place, store, log) = (at("place"), at("store"), at("log"));
        let script = format!(
            "set -e\n\
             echo $1 >>{log}\n\
             case $1 in\n\
             mount) mount -t tmpfs $4 {place}; cp -a {store}/. {place} ;;\n\
             unmount) rm -rf {store}/*; cp -a {place}/. {store}; umount {place} ;;\n\
             esac\n"
        );
        fs::write(machine.town.path("script"), script).unwrap();
        machine
    }

    fn options(&self) -> DaemonOptions {
        let labels =
            Labels { links: self.town.path("dev/by-label"), blocks: self.town.path("class") };
        let udisks = Udisks::by(["sh".into(), self.town.path("script")]);
        DaemonOptions { labels, udisks, ..DaemonOptions::default() }
    }

    fn plug(&self, label: &str) {
        symlink("../sdb", self.town.path("dev/by-label").join(label)).unwrap();
    }

    fn pull(&self, label: &str) {
        fs::remove_file(self.town.path("dev/by-label").join(label)).unwrap();
    }

    /// What the script was asked for.
    fn asked(&self) -> String {
        fs::read_to_string(self.town.path("log")).unwrap_or_default()
    }
}

async fn until_media(running: &Running, meant: impl Fn(&[MediumLine]) -> bool) {
    let wait = async {
        while !meant(&running.daemon.node().board.media()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the board did not show it");
}

#[test]
fn a_stick_that_nobody_mounts_is_mounted_visited_and_unmounted() {
    if !runs_inside("media::a_stick_that_nobody_mounts_is_mounted_visited_and_unmounted") {
        return;
    }
    let machine = Machine::new();
    let town = &machine.town;
    let (alice, bob) = (town.node("alice"), town.node("bob"));
    know_each_other(&alice, &bob);
    let stick = town.path("store");
    let init = TossRequest { init: true, ..request(&stick, TossDirection::Both) };
    bob.toss(&init, &postrider::desk::Silent).unwrap();
    send(&bob, "alice", "from a pocket");
    toss(&bob, &stick);

    let alice = Arc::new(town.set(alice, "media = false", "media = true"));
    send(&alice, "bob", "into a pocket");
    let runtime = runtime();
    let mut at_alice = Running::start_with(&alice, &machine.options(), &runtime);
    machine.plug("Postrider");
    runtime.block_on(async {
        let safe = at_alice.until(|happening| happening.what == "safe-to-remove").await;
        assert!(safe.detail.unwrap().contains("unmounted"));
        assert!(at_alice.daemon.node().board.media().is_empty());
        at_alice.daemon.stop().await;
    });
    assert_eq!(machine.asked(), "mount\nunmount\n");
    assert_eq!(texts(&alice), ["from a pocket"]);
    toss(&bob, &stick);
    assert_eq!(texts(&bob), ["into a pocket"]);
}

#[test]
fn a_stick_with_our_label_and_without_our_marker_is_left_as_it_is() {
    if !runs_inside("media::a_stick_with_our_label_and_without_our_marker_is_left_as_it_is") {
        return;
    }
    let machine = Machine::new();
    fs::write(machine.town.path("store/holiday"), "sun").unwrap();
    let alice = machine.town.node("alice");
    let alice = Arc::new(machine.town.set(alice, "media = false", "media = true"));
    let runtime = runtime();
    let mut at_alice = Running::start_with(&alice, &machine.options(), &runtime);
    machine.plug("POSTRIDER");
    runtime.block_on(async {
        let trouble = at_alice.until(|happening| happening.what == "media-trouble").await;
        assert!(trouble.detail.unwrap().contains("not our marker"));
        at_alice.daemon.stop().await;
    });
    assert_eq!(machine.asked(), "mount\nunmount\n");
    let names: Vec<_> = fs::read_dir(machine.town.path("store")).unwrap().collect();
    assert_eq!(names.len(), 1);
}

#[test]
fn a_stick_that_cannot_be_mounted_is_shown_until_it_is_pulled_out() {
    let machine = Machine::new();
    let refuses = "echo GDBus.Error:org.freedesktop.UDisks2.Error.NotAuthorized: no >&2; exit 1";
    fs::write(machine.town.path("script"), refuses).unwrap();
    let alice = machine.town.node("alice");
    let alice = Arc::new(machine.town.set(alice, "media = false", "media = true"));
    let runtime = runtime();
    let mut at_alice = Running::start_with(&alice, &machine.options(), &runtime);
    machine.plug("POSTRIDER");
    runtime.block_on(async {
        let trouble = at_alice.until(|happening| happening.what == "media-trouble").await;
        assert!(trouble.detail.unwrap().contains("polkit"));
        until_media(&at_alice, |media| !media.is_empty()).await;
        let line = at_alice.daemon.node().board.media().remove(0);
        assert_eq!((&*line.label, &*line.state), ("POSTRIDER", "unmounted"));
        assert!(line.why.contains("polkit"), "{}", line.why);
        machine.pull("POSTRIDER");
        until_media(&at_alice, <[MediumLine]>::is_empty).await;
        at_alice.daemon.stop().await;
    });
}
