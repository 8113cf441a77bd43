//! Conversations and drafts, at desks that hand bundles to each other on a stick.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use postrider_base::{BundleId, Niceness};
use tempfile::TempDir;

use super::SearchRequest;
use crate::desk::{
    AddRequest, Desk, ExportForm, FailureKind, InitRequest, SendRequest, Silent, TossDirection,
    TossRequest, reply::Said,
};

fn desk(dir: &Path, name: &str) -> Desk {
    let request =
        InitRequest { home: dir.join(name), name: Some(name.into()), even_if_public: false };
    Desk::init(&request).unwrap().0
}

fn friends<const N: usize>(names: [&str; N]) -> (TempDir, [Desk; N]) {
    let dir = tempfile::tempdir().unwrap();
    let all = names.map(|name| desk(dir.path(), name));
    for one in &all {
        for other in all.iter().filter(|other| other.home().dir() != one.home().dir()) {
            one.add(&AddRequest { card: other.home().card.clone(), name: None }).unwrap();
        }
    }
    (dir, all)
}

fn request(to: &str, text: &str, reply_to: Option<&str>) -> SendRequest {
    SendRequest {
        to: to.into(),
        text: Some(text.into()),
        files: Vec::new(),
        nice: None,
        lifetime: None,
        hidden: None,
        reply_to: reply_to.map(|id| crate::api::bundle_id(id).unwrap()),
        supersede: None,
    }
}

fn toss(stick: &Path, desk: &Desk) {
    let direction = TossDirection::Both;
    let request = TossRequest {
        path: stick.to_owned(),
        direction,
        dry_run: false,
        budget: None,
        init: true,
        with_card: false,
    };
    desk.toss(&request, &Silent).unwrap();
}

/// What goes from one desk to another now, on a stick of its own.
fn carry(dir: &Path, from: &Desk, to: &Desk) {
    let stick = dir.join(format!("stick-{}", fs::read_dir(dir).unwrap().count()));
    fs::create_dir(&stick).unwrap();
    toss(&stick, from);
    toss(&stick, to);
    toss(&stick, from);
}

fn texts(said: &[Said]) -> Vec<&str> {
    said.iter().map(|said| &*said.text).collect()
}

#[test]
fn a_thread_has_both_sides_with_answers_behind_and_honest_ticks() {
    let (dir, [alice, bob]) = friends(["Alice", "Bob"]);
    let first = alice.send(&request("Bob", "where are you?", None), &Silent).unwrap().id;
    alice.send(&request("Bob", "something else", None), &Silent).unwrap();
    assert_eq!(alice.thread(&first[..6], &Silent).unwrap()[0].state, "saved");
    carry(dir.path(), &alice, &bob);
    let answer = bob.send(&request("Alice", "at the school", Some(&first)), &Silent).unwrap().id;
    carry(dir.path(), &bob, &alice);
    let last = alice.send(&request("Bob", "stay there", Some(&answer)), &Silent).unwrap().id;

    let thread = alice.thread(&answer, &Silent).unwrap();
    assert_eq!(texts(&thread), ["where are you?", "at the school", "stay there"]);
    let states: Vec<&str> = thread.iter().map(|said| &*said.state).collect();
    assert_eq!(states, ["delivered", "received", "saved"]);
    assert_eq!(thread.iter().map(|said| said.mine).collect::<Vec<_>>(), [true, false, true]);
    assert!(thread[1].answered_is_here && !thread[0].answered_is_here);
    assert!(alice.thread(&last, &Silent).unwrap().len() == 3, "whichever of them is asked for");
    assert!(!thread[1].read, "showing a thread reads nothing");

    let with = alice.thread("bob", &Silent).unwrap();
    let everything = ["where are you?", "something else", "at the school", "stay there"];
    assert_eq!(texts(&with), everything);
    alice.cancel(&last, &Silent).unwrap();
    assert_eq!(alice.thread("Bob", &Silent).unwrap()[3].state, "cancelled");
    assert_eq!(alice.thread("nobody", &Silent).unwrap_err().kind, FailureKind::Unknown);
    assert_eq!(alice.thread("ffff0000", &Silent).unwrap_err().kind, FailureKind::Unknown);
}

/// Whoever carries mail sees its ids, and could name one in a message of their own.
#[test]
fn a_stranger_cannot_answer_into_a_conversation_of_others() {
    let (dir, [alice, bob, mallory]) = friends(["Alice", "Bob", "Mallory"]);
    let first =
        alice.send(&request("Bob", "the key is under the stone", None), &Silent).unwrap().id;
    mallory.send(&request("Alice", "put it on the table", Some(&first)), &Silent).unwrap();
    carry(dir.path(), &mallory, &alice);
    let thread = alice.thread(&first, &Silent).unwrap();
    assert_eq!(texts(&thread), ["the key is under the stone"]);
    let theirs = alice.thread("Mallory", &Silent).unwrap();
    assert_eq!(theirs[0].reply_to.as_deref(), Some(&*first));
    assert!(!theirs[0].answered_is_here);
    // Two who answer the same that is not here belong together only when one wrote both.
    let gone = BundleId([7; 32]).to_string();
    for (desk, text) in [(&bob, "b"), (&bob, "b again"), (&mallory, "m")] {
        desk.send(&request("Alice", text, Some(&gone)), &Silent).unwrap();
    }
    carry(dir.path(), &bob, &alice);
    carry(dir.path(), &mallory, &alice);
    let b = alice.thread("Bob", &Silent).unwrap()[1].id.clone();
    assert_eq!(texts(&alice.thread(&b, &Silent).unwrap()), ["b", "b again"]);
}

#[test]
fn a_search_finds_all_words_in_any_case_in_texts_and_names_of_both_sides() {
    let (dir, [alice, bob]) = friends(["Alice", "Bob"]);
    let file = dir.path().join("Brücke-Karte.txt");
    fs::write(&file, "x").unwrap();
    bob.send(&request("Alice", "the BRIDGE is closed", None), &Silent).unwrap();
    carry(dir.path(), &bob, &alice);
    alice.send(&request("Bob", "which bridge?", None), &Silent).unwrap();
    let with_file = SendRequest { files: vec![file], ..request("Bob", "here", None) };
    alice.send(&with_file, &Silent).unwrap();
    let find = |words: &[&str], from: Option<&str>, to: Option<&str>| {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let request = SearchRequest { words, from: from.map(Into::into), to: to.map(Into::into) };
        alice.search(&request, &Silent)
    };
    assert_eq!(
        texts(&find(&["bridge"], None, None).unwrap()),
        ["the BRIDGE is closed", "which bridge?"]
    );
    assert_eq!(texts(&find(&["bridge", "closed"], None, None).unwrap()), ["the BRIDGE is closed"]);
    assert_eq!(texts(&find(&["BRÜCKE"], None, None).unwrap()), ["here"]);
    assert_eq!(texts(&find(&["bridge"], Some("bob"), None).unwrap()), ["the BRIDGE is closed"]);
    assert_eq!(texts(&find(&["bridge"], Some("me"), None).unwrap()), ["which bridge?"]);
    assert_eq!(texts(&find(&["bridge"], None, Some("Bob")).unwrap()), ["which bridge?"]);
    assert!(find(&["bridge", "here"], None, None).unwrap().is_empty());
    assert_eq!(find(&["x"], Some("Nobody"), None).unwrap_err().kind, FailureKind::Unknown);
    assert_eq!(find(&[""], None, None).unwrap_err().kind, FailureKind::Usage);
}

/// Whatever a crash cuts off is a whole group: one that has both the message and the end of its draft.
#[test]
fn a_draft_is_sent_once_and_its_end_and_the_message_are_one_group() {
    let (dir, [alice, _bob]) = friends(["Alice", "Bob"]);
    let file = dir.path().join("map");
    fs::write(&file, "x").unwrap();
    let draft = SendRequest { files: vec![file.clone()], ..request("Bob", "later", None) };
    let draft = alice.write_draft(&draft, &Silent).unwrap();
    assert!(alice.queue(&Silent).unwrap().is_empty());

    fs::remove_file(&file).unwrap();
    assert_eq!(alice.draft(&draft.id, &Silent).unwrap().files[0].bytes, None);
    let missing = alice.send_draft(&draft.id, &Silent).unwrap_err();
    assert!(missing.what.contains("map"), "{}", missing.what);
    assert_eq!(alice.drafts(&Silent).unwrap().len(), 1, "the draft stays");
    fs::write(&file, "x").unwrap();

    let groups = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&groups);
    alice.open_live(&Silent).unwrap().on_commit(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let sent = alice.send_draft(&draft.id[..8], &Silent).unwrap();
    assert_eq!(groups.load(Ordering::Relaxed), 1);
    assert!(alice.drafts(&Silent).unwrap().is_empty());
    let again = alice.send_draft(&draft.id, &Silent).unwrap();
    assert_eq!((&again.id, &*again.state), (&sent.id, "saved"));
    assert_eq!(alice.queue(&Silent).unwrap().len(), 1, "sent once");
    let removed = alice.remove_draft(&draft.id, &Silent);
    assert_eq!(removed.unwrap_err().kind, FailureKind::Unknown);
}

#[test]
fn a_large_draft_sent_by_many_at_once_is_one_message() {
    let (dir, [alice, _bob]) = friends(["Alice", "Bob"]);
    let file = dir.path().join("film");
    fs::write(&file, vec![7; 600_000]).unwrap();
    let draft = SendRequest { files: vec![file], text: None, ..request("Bob", "", None) };
    let draft = alice.write_draft(&draft, &Silent).unwrap().id;
    let ids: Vec<String> = std::thread::scope(|scope| {
        let send = || alice.send_draft(&draft, &Silent).unwrap().id;
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(send)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]));
    let thread = alice.thread("Bob", &Silent).unwrap();
    assert_eq!((thread.len(), &*thread[0].files[0].name), (1, "film"));
}

#[test]
fn a_draft_outlives_its_process_and_can_be_forgotten() {
    let (_dir, [alice, bob]) = friends(["Alice", "Bob"]);
    let answered = bob.send(&request("Alice", "?", None), &Silent).unwrap().id;
    let id = alice.write_draft(&request("Bob", "dear Bob", Some(&answered)), &Silent).unwrap().id;
    let home = alice.home().dir().to_owned();
    drop(alice);
    let alice = Desk::open(&home).unwrap();
    let draft = alice.draft(&id, &Silent).unwrap();
    assert_eq!((&*draft.to, &*draft.text), ("Bob", "dear Bob"));
    assert_eq!(draft.reply_to, Some(answered));
    alice.remove_draft(&id, &Silent).unwrap();
    assert!(alice.drafts(&Silent).unwrap().is_empty());
    let nothing = SendRequest { text: None, ..request("Bob", "", None) };
    assert_eq!(alice.write_draft(&nothing, &Silent).unwrap_err().kind, FailureKind::Usage);
}

/// The manifest comes ahead of its parts, and says what waits for a better way.
#[test]
fn what_comes_in_parts_is_named_and_counted_and_has_not_arrived() {
    let (dir, [alice, bob]) = friends(["Alice", "Bob"]);
    let film = dir.path().join("film.mkv");
    // Nothing that a compressor makes small.
    let noise = |n: u32| *blake3::hash(&n.to_be_bytes()).as_bytes();
    fs::write(&film, (0..650_000).flat_map(noise).collect::<Vec<u8>>()).unwrap();
    let send = SendRequest { files: vec![film], ..request("Bob", "from the valley", None) };
    let id = alice.send(&SendRequest { nice: Some(Niceness::BULK), ..send }, &Silent).unwrap().id;
    let rows = alice.queue(&Silent).unwrap();
    let (manifest, parts): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.id == id);
    assert_eq!(parts.len(), 3);
    assert!(parts.iter().all(|part| part.nice == 224 && manifest[0].nice == 223));
    assert_eq!(alice.queue_show(&id, &Silent).unwrap().parts, Some((0, 3)));

    let take = |id: &str| {
        let file = dir.path().join(id);
        let mut to = fs::File::create(&file).unwrap();
        alice.bundle_export(id, ExportForm::Bundle, &mut to, &Silent).unwrap();
        bob.bundle_import(&file, &Silent).unwrap();
    };
    take(&parts[0].id);
    let coming = bob.coming(&Silent).unwrap();
    assert_eq!((coming.len(), &coming[0].message, coming[0].parts), (1, &None, None));
    assert_eq!((&*coming[0].from, coming[0].parts_here), ("Alice", 1));
    assert!(bob.inbox(&Silent).unwrap().is_empty());
    take(&id);
    let coming = bob.coming(&Silent).unwrap();
    assert_eq!((coming.len(), coming[0].message.as_ref()), (1, Some(&id)));
    assert_eq!((&*coming[0].files[0].name, &*coming[0].text), ("film.mkv", "from the valley"));
    assert_eq!((coming[0].parts_here, coming[0].parts), (1, Some(3)));
    assert_eq!(coming[0].bytes, Some(20_800_000));
    assert!(coming[0].bytes_here < 20_800_000);
    assert_eq!(bob.thread("Alice", &Silent).unwrap()[0].state, "arriving");

    // The receipt of a part says nothing of the message.
    let stick = dir.path().join("back");
    fs::create_dir(&stick).unwrap();
    toss(&stick, &bob);
    let direction = TossDirection::In;
    let back = TossRequest {
        path: stick,
        direction,
        dry_run: false,
        budget: None,
        init: false,
        with_card: false,
    };
    alice.toss(&back, &Silent).unwrap();
    assert_eq!(alice.queue_show(&id, &Silent).unwrap().parts, Some((1, 3)));
    let trace = alice.trace(&id, &Silent).unwrap();
    assert_eq!(trace.last().map(|event| &*event.via), Some("1 of 3 received"));
    assert_ne!(alice.sent_state(&id, &Silent).unwrap().state, "delivered");
    for part in &parts[1..] {
        take(&part.id);
    }
    assert!(bob.coming(&Silent).unwrap().is_empty());
    assert!(bob.inbox(&Silent).unwrap()[0].complete);
}
