//! Two people and a stick.

use std::fs;

use crate::node::{Folder, in_both_modes, of_type, text};

in_both_modes! {
    a_message_and_a_tree_of_files_arrive_by_stick_and_receipts_return
    a_stranger_carries_what_it_cannot_read
    an_answer_names_what_it_answers
    a_dry_run_changes_nothing
    a_stream_carries_what_a_stick_does
    a_bundle_is_taken_out_and_brought_in_by_hand
    a_message_called_back_no_longer_goes
}

fn a_message_and_a_tree_of_files_arrive_by_stick_and_receipts_return(folder: &Folder) {
    let (alice, bob) = (folder.node("Alice"), folder.node("Bob"));
    let stick = folder.dir("stick");
    // Only Alice has a card: her first message brings hers.
    alice.meet(&bob);
    let tree = folder.dir("photos");
    fs::create_dir(tree.join("summer")).unwrap();
    let picture: Vec<u8> =
        (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    fs::write(tree.join("summer/sea.jpg"), &picture).unwrap();
    fs::write(tree.join("empty"), b"").unwrap();
    let mail = alice.send(["Bob", "We are at the school"]);
    let photos = alice.send(["Bob".as_ref(), "-f".as_ref(), tree.as_os_str()]);

    let out = alice.run(["toss".as_ref(), stick.as_os_str()]).ok().out;
    assert!(out.ends_with("Safe to remove.\n"), "{out}");
    let taken = bob.run(["toss".as_ref(), stick.as_os_str()]).ok().out;
    assert!(taken.contains(&format!("postrider add {}", &mail[..8])), "{taken}");
    bob.run(["add", &mail[..8]]).ok();
    let read = bob.run(["inbox", "read", &mail[..4]]).ok().out;
    assert!(read.contains("From Alice") && read.contains("  We are at the school"), "{read}");

    let to = folder.dir("saved");
    bob.run(["inbox".as_ref(), "save".as_ref(), photos.as_ref(), to.as_os_str()]).ok();
    assert_eq!(fs::read(to.join("photos/summer/sea.jpg")).unwrap(), picture);
    assert_eq!(fs::read(to.join("photos/empty")).unwrap(), b"");

    bob.toss(&stick);
    let delivered = alice.toss(&stick);
    assert_eq!(delivered["delivered"].as_array().unwrap().len(), 2, "{delivered}");
    assert!(alice.run(["queue"]).ok().out.contains("Nothing waits"));
    // A second visit of everybody moves nothing and shows nothing twice.
    for node in [&alice, &bob, &alice] {
        let idle = node.toss(&stick);
        assert_eq!((&idle["in"], &idle["out"]), (&0.into(), &0.into()), "{idle}");
    }
    assert_eq!(of_type(&bob.json(["inbox"]), "message").len(), 2);
}

fn a_stranger_carries_what_it_cannot_read(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let carrier = folder.node("Sam");
    let (first, second) = (folder.dir("first"), folder.dir("second"));
    let id = alice.send(["Bob", "through a stranger"]);
    alice.toss(&first);
    assert_eq!(carrier.toss(&first)["messages"].as_array().unwrap().len(), 0);
    assert_eq!(of_type(&carrier.json(["inbox"]), "message").len(), 0);
    assert_eq!(carrier.toss(&second)["out"], 1);
    bob.toss(&second);
    assert_eq!(text(&bob.json(["inbox"])[0], "id"), id);
}

fn an_answer_names_what_it_answers(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let stick = folder.dir("stick");
    let question = alice.send(["Bob", "where are you?"]);
    alice.toss(&stick);
    bob.toss(&stick);
    bob.send(["Alice", "at the school", "--reply", &question[..6]]);
    bob.toss(&stick);
    alice.toss(&stick);
    assert_eq!(text(&alice.json(["inbox"])[0], "reply_to"), question);
}

fn a_dry_run_changes_nothing(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let (stick, empty) = (folder.dir("stick"), folder.dir("empty"));
    alice.send(["Bob", "hi"]);
    let dry = |node: &crate::node::Node, at: &std::path::Path| {
        node.run(["toss".as_ref(), at.as_os_str(), "--dry-run".as_ref()]).ok().out
    };
    dry(&alice, &empty);
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    alice.toss(&stick);
    let told = dry(&bob, &stick);
    assert!(told.contains("Would take 1 bundle"), "{told}");
    assert_eq!(of_type(&bob.json(["inbox"]), "message").len(), 0);
}

fn a_stream_carries_what_a_stick_does(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let id = alice.send(["Bob", "by tape"]);
    let packed = alice.run(["pack"]).ok();
    assert!(packed.err.contains("packed 1 bundle"), "{}", packed.err);
    let unpacked = bob.run_with(["--json", "unpack"], &packed.bytes).ok().objects().remove(0);
    assert_eq!((&unpacked["verb"], &unpacked["in"]), (&"unpack".into(), &1.into()));
    assert_eq!(text(&bob.json(["inbox"])[0], "id"), id);
    // A tape may be read twice.
    bob.run_with(["unpack"], &packed.bytes).ok();
    assert_eq!(of_type(&bob.json(["inbox"]), "message").len(), 1);
}

fn a_bundle_is_taken_out_and_brought_in_by_hand(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let id = alice.send(["Bob", "by hand"]);
    let file = folder.path("one.bundle");
    let export = ["bundle", "export", &id[..8], "--output"];
    alice.run(export.map(AsRef::as_ref).into_iter().chain([file.as_os_str()])).ok();
    // Nothing is ever overwritten.
    alice.run(export.map(AsRef::as_ref).into_iter().chain([file.as_os_str()])).code(1);
    assert_eq!(alice.run(["bundle", "export", &id]).ok().bytes, fs::read(&file).unwrap());
    bob.run(["bundle".as_ref(), "import".as_ref(), file.as_os_str()]).ok();
    assert_eq!(text(&bob.json(["inbox"])[0], "id"), id);
}

fn a_message_called_back_no_longer_goes(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let stick = folder.dir("stick");
    let id = alice.send(["Bob", "never mind"]);
    assert_eq!(alice.json(["queue", "cancel", &id[..8]])[0]["state"], "cancelled");
    alice.run(["queue", "cancel", &id[..8]]).code(13);
    assert_eq!(alice.toss(&stick)["out"], 0);
    bob.toss(&stick);
    assert_eq!(of_type(&bob.json(["inbox"]), "message").len(), 0);
    // A newer one takes the place of an older one, and only of one that is open.
    let old = alice.send(["Bob", "at six"]);
    let late = alice.run(["send", "Bob", "no", "--supersede", &id]).code(13);
    assert!(late.err.contains("send it without --supersede"), "{}", late.err);
    alice.run(["send", "Bob", "no", "--supersede", "abcdef"]).code(5);
    let new = alice.json(["send", "Bob", "at seven", "--supersede", &old[..8]]).remove(0);
    assert_eq!((&new["type"], text(&new, "supersedes")), (&"message".into(), old.clone()));
    let traced = alice.json(["trace", &old]);
    assert_eq!(traced[1]["what"], "superseded");
    assert_eq!(traced[1]["via"], new["id"]);
    alice.toss(&stick);
    bob.toss(&stick);
    assert_eq!(bob.json(["inbox"])[0]["text"], "at seven");
}
