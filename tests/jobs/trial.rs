//! What an update changes is on trial: kept where it is well, undone where it is not, whatever is killed meanwhile.

use std::{fs, path::PathBuf};

use crate::{between::Pair, line::until};

/// An update of Bob's that puts a word into a file, and says what it does in a ledger.
struct Update {
    pair: Pair,
    dir: PathBuf,
}

impl Update {
    /// `more`: further options.
    fn new(more: &[&str]) -> Self {
        let pair = Pair::new();
        let dir = pair.ledger.parent().unwrap().to_owned();
        let update = Self { pair, dir };
        let at = update.dir.display();
        update.script("arm", &format!("cp {at}/next {at}/used"));
        update.script("check", &format!("test -e {at}/well || {{ echo not well >&2; exit 1; }}"));
        update.script("keep", &format!("cp {at}/next {at}/kept"));
        update.script("undo", &format!("echo old > {at}/used"));
        update.script("restart", "");
        update.put("used", "old\n");
        let command = |name: &str| format!("/bin/sh {at}/{name}.sh");
        let (arm, check) = (command("arm"), command("check"));
        let (keep, undo) = (command("keep"), command("undo"));
        let mut options = vec!["--arm", &arm, "--check", &check, "--keep", &keep, "--undo", &undo];
        options.extend(more);
        let stage = format!("echo command >> {at}/said; echo new > {at}/next; echo staged");
        update.pair.allow("update", &stage, &options);
        update
    }

    /// What starts the machine anew, outside the cage.
    fn restart(&self) -> String {
        format!("/bin/sh {}/restart.sh", self.dir.display())
    }

    fn script(&self, name: &str, does: &str) {
        let at = self.dir.display();
        self.put(&format!("{name}.sh"), &format!("echo {name} >> {at}/said\n{does}\n"));
    }

    fn put(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    fn said(&self) -> Vec<String> {
        self.read("said").lines().map(str::to_owned).collect()
    }

    fn until_said(&self, word: &str) {
        until(word, || self.said().iter().any(|said| said == word));
    }

    /// Bob's machine goes down at once, and comes up.
    fn power_cycle(&mut self) {
        self.pair.bob.kill();
        self.pair.bob.start();
    }
}

#[test]
fn what_is_found_well_is_kept() {
    let mut update = Update::new(&["--within", "60s"]);
    update.put("said", "");
    update.put("kept", "");
    update.put("next", "");
    update.put("well", "");
    update.pair.link();
    let id = update.pair.job("update", 1, &[]);
    let shown = update.pair.ended(&id);
    assert_eq!((&shown["state"], &shown["exit_code"]), (&"exited".into(), &0.into()), "{shown}");
    assert_eq!(shown["stdout"], "staged\n");
    assert_eq!(update.said(), ["command", "arm", "check", "keep"]);
    assert_eq!((&*update.read("used"), &*update.read("kept")), ("new\n", "new\n"));
}

#[test]
fn what_is_not_found_well_in_time_is_undone() {
    let mut update = Update::new(&["--within", "1s"]);
    update.put("said", "");
    update.put("next", "");
    update.pair.link();
    let id = update.pair.job("update", 1, &[]);
    let shown = update.pair.ended(&id);
    assert_eq!(shown["state"], "undone", "{shown}");
    let why = shown["why"].as_str().unwrap();
    assert!(why.contains("within 1 s the check ended with 1: not well"), "{why}");
    assert_eq!(shown["stdout"], "staged\n");
    assert_eq!(update.said(), ["command", "arm", "check", "check", "undo"]);
    assert_eq!(update.read("used"), "old\n");
}

#[test]
fn after_starts_in_which_it_was_never_well_it_is_undone_and_what_was_is_started() {
    let first = Update::new(&[]);
    let restart = first.restart().replace(first.dir.to_str().unwrap(), "DIR");
    drop(first);
    // The directory is known only then.
    let mut update = Update::new(&["--within", "1h", "--starts", "2"]);
    update.put("said", "");
    update.put("next", "");
    let list = update.pair.bob.home().join("allow.toml");
    let restart = restart.replace("DIR", update.dir.to_str().unwrap());
    let words: Vec<String> = restart.split(' ').map(|word| format!("{word:?}")).collect();
    let text = fs::read_to_string(&list).unwrap();
    let text = text.replace("check = ", &format!("restart = [{}]\ncheck = ", words.join(", ")));
    fs::write(&list, text).unwrap();
    update.pair.link();
    let id = update.pair.job("update", 1, &[]);
    update.until_said("restart");
    assert_eq!(update.said(), ["command", "arm", "restart"], "nothing is checked before");
    for checks in 1..=2 {
        update.power_cycle();
        until("a check", || update.said().iter().filter(|said| *said == "check").count() >= checks);
        assert_eq!(update.read("used"), "new\n");
    }
    update.power_cycle();
    update.until_said("undo");
    until("what was is started", || update.said().iter().filter(|s| *s == "restart").count() == 2);
    update.power_cycle();
    update.pair.alice.command(&["call", "bob", "--once"]).output().unwrap();
    let shown = update.pair.ended(&id);
    assert_eq!(shown["state"], "undone", "{shown}");
    assert!(shown["why"].as_str().unwrap().contains("after 3 starts"), "{shown}");
    assert_eq!(update.said().iter().filter(|said| *said == "command").count(), 1);
    assert_eq!(update.read("used"), "old\n");
}

#[test]
fn where_no_daemon_comes_up_any_more_a_guard_undoes_it() {
    let mut update = Update::new(&["--within", "1h", "--starts", "2"]);
    update.put("said", "");
    update.put("next", "");
    update.pair.link();
    let id = update.pair.job("update", 1, &[]);
    update.until_said("check");
    let refused = update.pair.bob.command(&["job", "guard"]).output().unwrap();
    assert!(!refused.status.success(), "the daemon counts by itself");
    update.pair.bob.kill();
    for start in 1..=2 {
        let line = update.pair.bob.run(&["job", "guard"]).remove(0);
        assert_eq!((&line["starts"], &line["stage"]), (&start.into(), &"check".into()), "{line}");
        assert_eq!(update.read("used"), "new\n");
    }
    let line = update.pair.bob.run(&["job", "guard"]).remove(0);
    assert_eq!((&line["id"], &line["stage"]), (&id.clone().into(), &"undo".into()), "{line}");
    assert_eq!(update.read("used"), "old\n", "before any daemon");
    update.pair.bob.start();
    update.pair.alice.command(&["call", "bob", "--once"]).output().unwrap();
    let shown = update.pair.ended(&id);
    assert_eq!(shown["state"], "undone", "{shown}");
    assert_eq!(update.said(), ["command", "arm", "check", "undo"], "done once");
}

#[test]
fn taken_back_by_force_it_is_undone() {
    let mut update = Update::new(&["--within", "1h"]);
    update.put("said", "");
    update.put("next", "");
    update.pair.link();
    let id = update.pair.job("update", 1, &[]);
    update.until_said("check");
    update.pair.alice.run(&["job", "cancel", &id, "--force"]);
    let shown = update.pair.ended(&id);
    assert_eq!(shown["state"], "undone", "{shown}");
    assert!(shown["why"].as_str().unwrap().contains("taken back"), "{shown}");
    assert_eq!(update.read("used"), "old\n");
}
