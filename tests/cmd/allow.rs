//! `allow`: what others may have run, seen by whoever keeps the list.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::node::{Folder, in_both_modes, of_type, text, with_json};

in_both_modes! {
    what_is_allowed_is_listed_tested_and_taken_away
    a_request_is_judged_on_somebodys_behalf
    a_file_that_a_person_wrote_keeps_its_other_lines
}

fn what_is_allowed_is_listed_tested_and_taken_away(folder: &Folder) {
    let alice = folder.node("Alice");
    let empty = alice.run(["allow", "ls"]).ok();
    assert!(empty.out.contains("postrider allow set"), "{}", empty.out);
    let set = [
        "allow",
        "set",
        "say",
        "--for",
        "Bob, @chief",
        "--timeout",
        "5m",
        "--memory",
        "64M",
        "--",
        "/bin/echo",
        "--level={level:int(0..9)}",
        "{words...:text(20)}",
    ];
    let line = alice.json(set).remove(0);
    assert_eq!((&line["type"], &line["v"]), (&"allow".into(), &1.into()));
    assert_eq!((&line["done"], &line["usage"]), (&"new".into(), &"LEVEL [WORDS...]".into()));
    assert_eq!(line["for"], serde_json::json!(["Bob", "@chief"]));
    assert_eq!((&line["timeout_s"], &line["memory"]), (&300.into(), &(64 << 20).into()));
    assert_eq!((&line["net"], &line["cpu_s"]), (&false.into(), &300.into()));
    assert_eq!(text(&alice.json(set)[0], "done"), "same");
    let file = alice.home().join("allow.toml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let listed = alice.json(["allow", "ls"]);
    assert_eq!(of_type(&listed, "allow").len(), 1);
    assert_eq!(text(listed.last().unwrap(), "verb"), "allow ls");
    let shown = alice.run(["allow", "ls"]).ok().out;
    let runs = "  runs  /bin/echo '--level={level:int(0..9)}' '{words...:text(20)}'\n";
    assert!(shown.contains("Bob, @chief") && shown.contains(runs), "{shown}");

    let test = alice.run(["allow", "test", "say", "3", "it's $(id)", "Straße"]).ok();
    let words = "'/bin/echo'\n'--level=3'\n'it'\\''s $(id)'\n$'Stra\\u00dfe'\n";
    assert!(test.out.starts_with(words), "{}", test.out);
    assert!(test.out.contains("It would be run for whoever may."), "{}", test.out);
    let quiet = alice.run(["-q", "allow", "test", "say", "3"]).ok();
    assert_eq!(quiet.out, "'/bin/echo'\n'--level=3'\n");
    let refused = alice.run(["allow", "test", "say", "11"]).code(12);
    assert!(refused.err.contains("argument 1 (level): 11 is not from 0 to 9"), "{}", refused.err);
    assert!(refused.err.contains("postrider allow ls"), "{}", refused.err);
    let object = alice.run(with_json(["allow", "test", "say", "--", "3", "-rf"])).code(12);
    let object = object.objects().remove(0);
    assert_eq!((&object["type"], &object["verdict"]), (&"allow".into(), &"refused".into()));
    assert!(text(&object, "why").contains("would be an option"), "{object}");
    alice.run(["allow", "test", "sing", "3"]).code(5);

    let gone = alice.json(["allow", "rm", "say"]).remove(0);
    assert_eq!((&gone["done"], &gone["handle"]), (&"removed".into(), &"say".into()));
    alice.run(["allow", "rm", "say"]).code(5);
    alice.run(["allow", "test", "say", "3"]).code(5);
}

fn a_request_is_judged_on_somebodys_behalf(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let carol = folder.node("Carol");
    alice.meet(&carol);
    let echo = ["--", "/bin/echo", "{who:contact}", "{page?:file}"];
    alice.run(["allow", "set", "e", "--for", "Bob", "--files", "1M"].iter().chain(&echo)).ok();
    let id = text(&bob.json(["id"])[0], "id");
    let verdict =
        alice.json(["allow", "test", "e", "--as", "Bob", "--file", "p", "bob", "p"]).remove(0);
    assert_eq!(verdict["argv"], serde_json::json!(["/bin/echo", id, "../given/0"]));
    assert_eq!((&verdict["as"], &verdict["verdict"]), (&"Bob".into(), &"run".into()));
    let refused = alice.run(["allow", "test", "e", "--as", "Carol", "Bob"]).code(12);
    assert!(refused.err.contains("e is not for you here"), "{}", refused.err);
    alice.run(["allow", "test", "e", "--as", "Eve", "Bob"]).code(5);
    alice.run(["contact", "block", "Bob"]).ok();
    alice.run(["allow", "test", "e", "--as", "Bob", "Carol"]).code(12);
    // Without people it is nobody's, and that is said.
    let unsaid = alice.run(["allow", "set", "n", "--", "/bin/echo"]).ok();
    assert!(unsaid.out.contains("nobody may have it run"), "{}", unsaid.out);
    alice.run(["allow", "test", "n", "--as", "Carol"]).code(12);
}

fn a_file_that_a_person_wrote_keeps_its_other_lines(folder: &Folder) {
    let alice = folder.node("Alice");
    let file = alice.home().join("allow.toml");
    let own = "# Mine.\n[a]  # the first\nargv = ['/bin/echo', '{x}']\nfor = ['contacts']\n";
    fs::write(&file, own).unwrap();
    alice.run(["allow", "set", "b", "--for", "*", "--", "/nowhere/b"]).ok();
    let listed = alice.json(["allow", "ls"]);
    assert_eq!(listed[1]["warnings"][0], "/nowhere/b is not there");
    assert_eq!(listed[1]["warnings"][1], "anybody at all may have it run");
    alice.run(["allow", "rm", "b"]).ok();
    assert!(fs::read_to_string(&file).unwrap().starts_with(own));
    fs::write(&file, own.replace("argv", "agrv")).unwrap();
    let refused = alice.run(["allow", "ls"]).code(2);
    assert!(refused.err.contains("line 3") && refused.err.contains("agrv"), "{}", refused.err);
    assert!(refused.err.contains("docs/jobs.md"), "{}", refused.err);
    alice.run(["allow", "set", "b", "--", "/bin/echo"]).code(2);
    assert!(fs::read_to_string(&file).unwrap().contains("agrv"), "left as it was");
}

#[test]
fn what_cannot_be_allowed_changes_nothing_and_says_what_can() {
    let folder = Folder::new();
    let alice = folder.node("Alice");
    for (args, said) in [
        (&["Say", "--", "/bin/echo"][..], "a-z 0-9"),
        (&["say", "--", "echo"], "absolute"),
        (&["say", "--", "/bin/echo", "{x:path}"], "text(64)"),
        (&["say", "--", "/bin/echo", "{x?}", "{y}"], "before"),
        (&["say", "--", "/bin/sh", "-c", "echo {x}"], "$1"),
        (&["say", "--for", "@", "--", "/bin/echo"], "nobody"),
        (&["say", "--", "/bin/echo", "{f:file}"], "files"),
        (&["say", "--read", "etc", "--", "/bin/echo"], "absolute"),
        (&["say", "--window", "night", "--", "/bin/echo"], "22:00-06:00"),
        (&["say", "--memory", "1k", "--", "/bin/echo"], "memory"),
        (&["say", "--timeout", "52w", "--", "/bin/echo"], "2678400"),
        (&["say", "--pin", "--", "/dev/null"], "no file"),
        (&["say"], "ARGV"),
    ] {
        let ended = alice.run(["allow", "set"].iter().chain(args)).code(2);
        assert!(ended.err.contains(said), "{args:?}: {}", ended.err);
        assert!(!alice.home().join("allow.toml").exists(), "{args:?}");
    }
    alice.run(["allow", "set", "say", "--pin", "--", "/nowhere/at/all"]).code(1);
    let pinned = alice.json(["allow", "set", "say", "--pin", "--", "/bin/echo"]).remove(0);
    let hash = blake3::hash(&fs::read("/bin/echo").unwrap()).to_hex();
    assert_eq!(text(&pinned, "pin"), hash.as_str());
}
