//! That what runs is what was meant.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use postrider_exec::{
    cage::look,
    contract::{End, Standing},
};

use super::job::{Job, open_to_all, well};

/// A folder that every user may enter, and an executable file in it.
fn script(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    open_to_all(dir.path());
    let path = dir.path().join("program");
    write(&path, text);
    (dir, path)
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn job(path: &Path) -> Job {
    Job::new(&[path.to_str().unwrap(), "one", "two words", "$(x)", "--", ""])
}

#[track_caller]
fn not_begun(job: &Job, why: &str) {
    let outcome = job.run();
    let End::NotBegun(said) = &outcome.end else { panic!("{outcome:?}") };
    assert!(said.contains(why), "{said}");
    assert_eq!(look(&job.dir()).unwrap(), Standing::Ended(Box::new(outcome)));
}

#[test]
fn a_script_gets_its_arguments_as_they_are() {
    let (_dir, path) = script("#!/bin/sh\nfor a; do echo \"<$a>\"; done\n");
    let job = job(&path);
    well(&job, &job.run());
    assert_eq!(job.stdout(), "<one>\n<two words>\n<$(x)>\n<-->\n<>\n");
}

#[test]
fn a_program_is_called_by_the_name_of_the_order() {
    let (dir, _) = script("");
    let link = dir.path().join("called");
    symlink("/bin/sh", &link).unwrap();
    let job = Job::new(&[link.to_str().unwrap(), "-c", "echo $0"]);
    well(&job, &job.run());
    assert_eq!(job.stdout().trim(), link.to_str().unwrap());
}

#[test]
fn what_cannot_be_run_does_not_begin() {
    not_begun(&Job::new(&["true"]), "absolute");
    not_begun(&Job::new(&["/no/such/program"]), "No such file");
    not_begun(&Job::new(&["/usr"]), "regular");
    not_begun(&Job::new(&["/etc/passwd"]), "executable");
    let (_dir, path) = script("#!/no/such/interpreter\n");
    not_begun(&job(&path), "could not be run");
    for (mode, why) in [(0o777, "others"), (0o775, "others"), (0o4755, "user or group")] {
        let (_dir, path) = script("#!/bin/sh\n");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        not_begun(&job(&path), why);
    }
    for text in ["not a program at all", "#", ""] {
        let (_dir, path) = script(text);
        not_begun(&job(&path), "neither");
    }
}

#[test]
fn a_pin_is_of_the_file_that_runs() {
    let (_dir, path) = script("#!/bin/sh\necho pinned\n");
    let mut pinned = job(&path);
    pinned.order.pin = Some(*blake3::hash(&fs::read(&path).unwrap()).as_bytes());
    well(&pinned, &pinned.run());
    assert_eq!(pinned.stdout(), "pinned\n");
    write(&path, "#!/bin/sh\necho other\n");
    let mut other = job(&path);
    other.order.pin = pinned.order.pin;
    not_begun(&other, "pinned");
}

/// Somebody swaps the link, the name and the file behind it, as fast as can be, between one that is pinned
/// and one that is not: what runs is the pinned one or nothing.
#[test]
fn whoever_swaps_the_program_gets_nothing_else_run() {
    let (dir, good) = script("#!/bin/sh\necho good\n");
    let bad = dir.path().join("bad");
    write(&bad, "#!/bin/sh\necho bad\n");
    let link = dir.path().join("link");
    symlink(&good, &link).unwrap();
    let pin = *blake3::hash(&fs::read(&good).unwrap()).as_bytes();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut ran = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let fresh = dir.path().join("fresh");
            let mut flip = false;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                flip = !flip;
                symlink(if flip { &bad } else { &good }, &fresh).unwrap();
                fs::rename(&fresh, &link).unwrap();
            }
        });
        for _ in 0..30 {
            let mut job = job(&link);
            job.order.pin = Some(pin);
            match job.run().end {
                End::Exited(0) => {
                    assert_eq!(job.stdout(), "good\n");
                    ran += 1;
                }
                End::NotBegun(_) => {}
                other => panic!("{other:?}"),
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    println!("{ran} of 30 ran");
}
