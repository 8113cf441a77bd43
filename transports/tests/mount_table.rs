//! The table of mounts, in a mount namespace of its own, so that nobody else sees what is mounted
//! here. Skipped with a word where that is not permitted.
#![cfg(feature = "watch")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use postrider_transports::media::{self, FOLDER, MountTable};

/// Set in the process within the namespace.
const INSIDE: &str = "POSTRIDER_TEST_NAMESPACE";
/// The kernel tells at once; this is for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(tool: &str, args: &[&str]) -> bool {
    let status = Command::new(tool).args(args).stdin(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Runs the test of this name again, alone in a namespace.
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

fn wait(table: &MountTable) {
    let begun = Instant::now();
    while !table.wait(Duration::from_secs(1)).unwrap() {
        assert!(begun.elapsed() < PATIENCE, "nothing was told");
    }
}

fn ours(table: &mut MountTable, below: &Path) -> Vec<String> {
    let mut ours = media::ours(table.read().unwrap());
    ours.retain(|mount| mount.place.starts_with(below));
    ours.iter().map(|mount| mount.place.file_name().unwrap().to_string_lossy().into()).collect()
}

#[test]
fn a_mount_with_our_marker_is_told_of_and_another_is_not() {
    if !runs_inside("a_mount_with_our_marker_is_told_of_and_another_is_not") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (stick, other, filled) =
        (dir.path().join("my stick"), dir.path().join("other"), dir.path().join("filled"));
    for place in [&stick, &other, &filled] {
        fs::create_dir(place).unwrap();
    }
    fs::create_dir(filled.join(FOLDER)).unwrap();
    fs::write(filled.join(FOLDER).join("VOLUME.PR"), b"").unwrap();

    let mut table = MountTable::open().unwrap();
    assert_eq!(ours(&mut table, dir.path()), [""; 0]);
    assert!(run("mount", &["-t", "tmpfs", "none", other.to_str().unwrap()]));
    wait(&table);
    assert_eq!(ours(&mut table, dir.path()), [""; 0]);

    // What lies on a tmpfs has no marker when it is mounted; moving one there whole has.
    assert!(run("cp", &["-r", filled.join(FOLDER).to_str().unwrap(), other.to_str().unwrap()]));
    assert!(run("mount", &["--bind", other.to_str().unwrap(), stick.to_str().unwrap()]));
    wait(&table);
    // One tree at two places is one medium.
    assert_eq!(ours(&mut table, dir.path()), ["other"]);
    assert!(run("umount", &[other.to_str().unwrap()]));
    wait(&table);
    assert_eq!(ours(&mut table, dir.path()), ["my stick"]);
    assert!(run("umount", &[stick.to_str().unwrap()]));
    wait(&table);
    assert_eq!(ours(&mut table, dir.path()), [""; 0]);
    assert!(!table.wait(Duration::ZERO).unwrap(), "nothing changed any more");
}
