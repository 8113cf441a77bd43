//! Two desks with a stream between them: what is asked, what is answered, and how often.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{target::WaitingRequest, *};
use crate::desk::{
    AddRequest, FailureKind, InitRequest, ShareRequest, Silent,
    reply::{RequestLine, ShareLine},
};

mod again;
mod several;

/// Alice asks; Bob has something.
struct Two {
    dir: tempfile::TempDir,
    alice: Desk,
    bob: Desk,
}

impl Two {
    fn new() -> Self {
        Self::with_config("")
    }

    /// Bob's settings.
    fn with_config(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = |name: &str| {
            let home = dir.path().join(name);
            let request = InitRequest { home, name: Some(name.into()), even_if_public: false };
            Desk::init(&request).unwrap().0
        };
        let (alice, bob) = (node("Alice"), node("Bob"));
        for (one, other) in [(&alice, &bob), (&bob, &alice)] {
            one.add(&AddRequest { card: other.home().card.clone(), name: None }).unwrap();
        }
        drop(bob);
        let file = dir.path().join("Bob/config.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text + config).unwrap();
        let bob = Desk::open(&dir.path().join("Bob")).unwrap();
        let files = dir.path().join("files");
        fs::create_dir_all(files.join("north")).unwrap();
        fs::write(files.join("plan.txt"), "the plan").unwrap();
        fs::write(files.join("north/map.pdf"), vec![7; 300_000]).unwrap();
        Self { dir, alice, bob }
    }

    fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    fn share(&self, who: &[&str], change: impl FnOnce(&mut ShareRequest)) -> ShareLine {
        let mut request = ShareRequest {
            name: "maps".into(),
            path: self.files(),
            who: Some(who.iter().map(ToString::to_string).collect()),
            ..ShareRequest::default()
        };
        change(&mut request);
        self.bob.share(&request).unwrap()
    }

    fn ask(&self, wanted: GetRequest) -> RequestLine {
        let wanted = GetRequest { to: vec!["Bob".into()], ..wanted };
        self.alice.get(&wanted, &Silent).unwrap()
    }

    /// Everything of one goes to the other.
    fn carry(&self, from: &Desk, to: &Desk) {
        let mut stream = Vec::new();
        from.pack(&[], &mut stream, &Silent).unwrap();
        to.unpack(&mut &stream[..], &Silent).unwrap();
    }

    /// Bob answers what waits; what, in words.
    fn answer(&self) -> Vec<String> {
        answer(&self.bob)
    }

    /// Asks, has it answered, and how it stands then.
    fn ask_all(&self, wanted: GetRequest) -> RequestLine {
        let asked = self.ask(wanted);
        self.carry(&self.alice, &self.bob);
        self.answer();
        self.carry(&self.bob, &self.alice);
        self.alice.get_state(&asked.id, &Silent).unwrap()
    }

    /// What came of it, in a word.
    fn word(&self, path: &str) -> String {
        let line = self.ask_all(get(path));
        line.why.unwrap_or(line.state).into_owned()
    }

    fn save(&self, line: &RequestLine, to: &Path) -> PathBuf {
        self.alice.save_answer(&line.id, to, &Silent).unwrap().remove(0).path.into()
    }
}

fn answer(desk: &Desk) -> Vec<String> {
    let requests = desk.open_requests(&Silent).unwrap();
    let mut said = Vec::new();
    loop {
        let waiting: Vec<WaitingRequest> = requests.waiting().unwrap();
        if waiting.is_empty() {
            return said;
        }
        for request in waiting {
            said.extend(requests.answer(&request).unwrap().map(|given| given.what.into_owned()));
        }
    }
}

fn get(path: &str) -> GetRequest {
    GetRequest { path: path.into(), ..GetRequest::default() }
}

fn list(path: &str) -> GetRequest {
    GetRequest { list: true, ..get(path) }
}

#[test]
fn a_file_that_is_asked_for_comes_and_is_saved_whole_beside_what_is_there() {
    let two = Two::new();
    two.share(&["Alice"], |_| {});
    for (path, content) in
        [("maps/plan.txt", b"the plan".to_vec()), ("maps/north/map.pdf", vec![7; 300_000])]
    {
        let line = two.ask_all(get(path));
        assert_eq!((&*line.state, line.bytes), ("here", Some(content.len() as u64)), "{path}");
        let out = two.dir.path().join("out");
        fs::create_dir_all(&out).unwrap();
        let name = path.rsplit('/').next().unwrap();
        fs::write(out.join(name), "mine").unwrap();
        let saved = two.save(&line, &out);
        assert!(fs::read(&saved).unwrap() == content);
        assert_eq!(fs::read(out.join(name)).unwrap(), b"mine", "never in place of anything");
        let given = two.save(&line, &out.join("given"));
        assert_eq!(given, out.join("given"));
        assert!(fs::read(&given).unwrap() == content);
        fs::remove_file(given).unwrap();
        let left = fs::read_dir(&out).unwrap().map(|it| it.unwrap().file_name());
        assert!(left.into_iter().all(|it| !it.to_string_lossy().contains("postrider")));
    }
    let inbox = two.alice.inbox(&Silent).unwrap();
    assert_eq!(inbox.len(), 2);
    assert!(inbox.iter().all(|it| it.reply_to.is_some() && it.read));
    assert!(two.bob.inbox(&Silent).unwrap().is_empty(), "a request is no mail");
}

#[test]
fn whoever_may_not_hears_the_same_of_what_is_there_and_of_what_is_not() {
    let two = Two::new();
    for path in ["maps/plan.txt", "maps/none", "none"] {
        assert_eq!(two.word(path), "not-allowed", "nothing is shared: {path}");
    }
    two.share(&["Carol"], |_| {});
    assert_eq!(two.word("maps/plan.txt"), "not-allowed");
    // Some other share is for Alice: that there is one of Carol's is not said.
    two.share(&["Alice"], |it| it.name = "other".into());
    for path in ["maps/plan.txt", "maps/none", "none/plan.txt"] {
        assert_eq!(two.word(path), "not-found", "{path}");
    }
    let shares = two.ask_all(list(""));
    assert_eq!(shares.entries.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["other"]);
    two.bob.unshare("other").unwrap();
    two.bob
        .home()
        .edit_contacts(|contacts| {
            contacts.change(&two.alice.home().card.node, |it| it.blocked = true);
            Ok(())
        })
        .unwrap();
    let asked = two.ask(get("maps/plan.txt"));
    two.carry(&two.alice, &two.bob);
    assert!(two.answer().is_empty(), "whom Bob blocks is told nothing: {}", asked.id);
    // Nor is whoever is blocked before the answer.
    let block = |blocked: bool| {
        let edited = two.bob.home().edit_contacts(|contacts| {
            contacts.change(&two.alice.home().card.node, |it| it.blocked = blocked);
            Ok(())
        });
        edited.unwrap();
    };
    block(false);
    two.ask(get("maps/plan.txt"));
    two.carry(&two.alice, &two.bob);
    block(true);
    assert!(two.answer().is_empty());
    assert!(two.bob.open_requests(&Silent).unwrap().waiting().unwrap().is_empty());
}

#[test]
fn a_share_that_is_not_listed_tells_no_names_and_no_reasons() {
    let two = Two::new();
    std::os::unix::fs::symlink("/etc/passwd", two.files().join("link")).unwrap();
    two.share(&["Alice"], |_| {});
    assert_eq!(two.word("maps/link"), "special");
    assert_eq!(two.word("maps/north"), "directory");
    two.share(&["Alice"], |it| it.unlisted = true);
    for path in ["maps/link", "maps/north", "maps/none"] {
        assert_eq!(two.word(path), "not-found", "{path}");
    }
    assert_eq!(two.word("maps/plan.txt"), "here");
    assert_eq!(two.ask_all(list("maps")).why.as_deref(), Some("not-found"));
    assert!(two.ask_all(list("")).entries.is_empty());
}

#[test]
fn a_list_says_what_there_is() {
    let two = Two::new();
    two.share(&["Alice"], |_| {});
    let line = two.ask_all(list("maps"));
    let entries: Vec<_> = line.entries.iter().map(|it| (&*it.name, &*it.kind, it.bytes)).collect();
    assert_eq!(entries, [("north", "directory", 0), ("plan.txt", "file", 8)]);
    assert!(!line.more && line.entries[1].mtime.is_some());
    let line = two.ask_all(list("maps/north/*.p?f"));
    assert_eq!(line.entries[0].name, "map.pdf");
    let after = two.ask_all(GetRequest { after: Some("north".into()), ..list("maps/") });
    assert_eq!(after.entries.len(), 1);
    assert_eq!(two.ask_all(list("maps/plan.txt")).entries[0].bytes, 8);
}

#[test]
fn bytes_of_a_file_are_sent_and_only_as_many_as_may_be() {
    let two = Two::new();
    two.share(&["Alice"], |it| it.max_bytes = Some(100));
    let range = |from, length| GetRequest { from: Some(from), length, ..get("maps/north/map.pdf") };
    let all = two.ask_all(get("maps/north/map.pdf"));
    assert_eq!((all.why.as_deref(), all.most), (Some("too-large"), Some(100)));
    let some = two.ask_all(range(299_950, Some(100)));
    assert_eq!((&*some.state, some.bytes), ("here", Some(50)), "as many as there are");
    let out = two.dir.path().join("out");
    fs::create_dir(&out).unwrap();
    assert_eq!(two.save(&some, &out), out.join("map.pdf.from-299950"));
    let text = &two.alice.inbox(&Silent).unwrap()[0].text;
    assert_eq!(text, "bytes 299950-299999 of 300000");
    assert_eq!(two.ask_all(range(300_000, None)).why.as_deref(), Some("beyond"));
    assert_eq!(two.ask_all(range(0, None)).why.as_deref(), Some("too-large"));
}

#[test]
fn all_files_that_fit_a_pattern_come_together() {
    let two = Two::new();
    two.share(&["Alice"], |_| {});
    fs::write(two.files().join("b.txt"), "").unwrap();
    let line = two.ask_all(get("maps/*.txt"));
    assert_eq!((&*line.state, line.bytes), ("here", Some(8)));
    let out = two.dir.path().join("out");
    let refused = two.alice.save_answer(&line.id, &out, &Silent).unwrap_err();
    assert_eq!(refused.kind, FailureKind::Usage, "many files go in a directory");
    fs::create_dir(&out).unwrap();
    assert_eq!(two.alice.save_answer(&line.id, &out, &Silent).unwrap().len(), 2);
    assert_eq!(fs::read(out.join("plan.txt")).unwrap(), b"the plan");
    assert_eq!(fs::read(out.join("b.txt")).unwrap(), b"");
    assert_eq!(two.word("maps/*.none"), "not-found");
}

#[test]
fn what_came_before_is_not_sent_again_unless_it_changed() {
    let two = Two::new();
    two.share(&["Alice"], |_| {});
    let path = "maps/north/map.pdf";
    let first = two.ask_all(get(path));
    let second = two.ask_all(get(path));
    assert_eq!((&*second.state, second.bytes), ("same", Some(300_000)));
    assert_eq!(two.alice.inbox(&Silent).unwrap().len(), 1);
    let saved = two.save(&second, &two.dir.path().join("again"));
    assert!(fs::read(&saved).unwrap() == vec![7; 300_000]);
    // Whoever writes into what was saved may change what is kept: that is noticed, and not given out.
    let linked = two.save(&first, &two.dir.path().join("linked"));
    fs::write(&linked, vec![8; 300_000]).unwrap();
    let refused = two.alice.save_answer(&second.id, &two.dir.path().join("x"), &Silent);
    assert!(refused.is_err_and(|it| it.next.is_some_and(|next| next.contains("--again"))));
    assert!(!two.dir.path().join("x").exists());
    assert_eq!(two.ask_all(GetRequest { again: true, ..get(path) }).state, "here");
    fs::write(two.files().join("north/map.pdf"), vec![9; 300_000]).unwrap();
    assert_eq!(two.ask_all(get(path)).state, "here");
}

/// NNCP repeats what it was doing when it was killed; a request is answered once, whatever comes twice.
#[test]
fn a_request_that_comes_twice_is_answered_once_and_none_is_lost_in_between() {
    let two = Two::new();
    two.share(&["Alice"], |_| {});
    let asked = two.ask(get("maps/plan.txt"));
    let mut stream = Vec::new();
    two.alice.pack(&[], &mut stream, &Silent).unwrap();
    for _ in 0..2 {
        two.bob.unpack(&mut &stream[..], &Silent).unwrap();
    }
    // Bob ends before he has answered; what came is durable.
    let home = two.dir.path().join("Bob");
    let Two { dir, alice, bob } = two;
    drop(bob);
    let two = Two { dir, alice, bob: Desk::open(&home).unwrap() };
    assert_eq!(two.answer(), ["files"]);
    two.bob.unpack(&mut &stream[..], &Silent).unwrap();
    assert!(two.answer().is_empty());
    two.carry(&two.bob, &two.alice);
    assert_eq!(two.alice.get_state(&asked.id, &Silent).unwrap().state, "here");
    assert_eq!(two.alice.inbox(&Silent).unwrap().len(), 1);
}

/// The answer and the forgetting of the request are one group: whatever a crash cuts off is whole.
#[test]
fn an_answer_and_the_end_of_its_request_are_one_group() {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    let two = Two::new();
    two.share(&["Alice"], |_| {});
    for wanted in [get("maps/plan.txt"), get("maps/none"), list("maps")] {
        two.ask(wanted);
    }
    two.carry(&two.alice, &two.bob);
    let groups = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&groups);
    two.bob.open_live(&Silent).unwrap().on_commit(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(two.answer().len(), 3);
    assert_eq!(groups.load(Ordering::Relaxed), 3);
}

#[test]
fn nobody_gets_more_than_their_part_of_a_day_or_of_the_way() {
    let two = Two::with_config("\n[files]\nbytes-per-day = 20\nwaiting = 2\n");
    two.share(&["Alice"], |_| {});
    fs::write(two.files().join("a"), "a").unwrap();
    for expected in ["here", "here", "spent"] {
        let line = two.ask_all(GetRequest { again: true, ..get("maps/plan.txt") });
        assert_eq!(line.why.unwrap_or(line.state), expected);
        two.carry(&two.alice, &two.bob);
    }
    // Four bytes are left. These do not arrive, and so wait.
    for _ in 0..3 {
        two.ask(GetRequest { again: true, ..get("maps/a") });
    }
    two.carry(&two.alice, &two.bob);
    assert_eq!(two.answer(), ["files", "files", "waiting"]);
    two.carry(&two.bob, &two.alice);
    two.carry(&two.alice, &two.bob);
    let line = two.ask_all(GetRequest { again: true, ..get("maps/a") });
    assert_eq!(line.state, "here", "they have arrived");
}

#[test]
fn of_one_who_asks_no_more_than_so_many_requests_wait() {
    let two = Two::new();
    two.share(&["Alice"], |_| {});
    // In groups, as a stick brings them: what waits in one is counted with the next.
    for _ in 0..3 {
        for _ in 0..200 {
            two.ask(list("maps"));
        }
        two.carry(&two.alice, &two.bob);
    }
    let waiting = two.bob.open_requests(&Silent).unwrap();
    assert_eq!(waiting.waiting().unwrap().len(), 1, "the oldest of each who asks");
    let answered = two.answer().len();
    assert!((256..600).contains(&answered), "{answered}");
}

/// An answer counts only from whoever was asked.
#[test]
fn nobody_else_answers_a_request() {
    let two = Two::new();
    let home = two.dir.path().join("Eve");
    let request = InitRequest { home, name: Some("Eve".into()), even_if_public: false };
    let eve = Desk::init(&request).unwrap().0;
    eve.add(&AddRequest { card: two.alice.home().card.clone(), name: None }).unwrap();
    let asked = two.ask(get("maps/plan.txt"));
    let forged = two.dir.path().join("plan.txt");
    fs::write(&forged, "another plan").unwrap();
    let id = asked.id.parse_id();
    let letter = crate::desk::SendRequest {
        to: "Alice".into(),
        text: None,
        files: vec![forged],
        nice: None,
        lifetime: None,
        hidden: None,
        reply_to: Some(id),
        supersede: None,
    };
    eve.send(&letter, &Silent).unwrap();
    two.carry(&eve, &two.alice);
    let line = two.alice.get_state(&asked.id, &Silent).unwrap();
    assert_eq!((&*line.state, line.message), ("saved", None));
    assert!(two.alice.save_answer(&asked.id, two.dir.path(), &Silent).is_err());
}

trait ParseId {
    fn parse_id(&self) -> postrider_base::BundleId;
}

impl ParseId for String {
    fn parse_id(&self) -> postrider_base::BundleId {
        crate::api::bundle_id(self).unwrap()
    }
}

#[test]
fn what_cannot_be_asked_is_said_before_anything_is_asked() {
    let two = Two::new();
    for (path, list) in [
        ("", false),
        ("/etc/passwd", false),
        ("maps/../../x", false),
        ("maps//x", false),
        ("maps/./x", true),
        ("maps\\x", false),
        ("maps/", false),
        (&"x/".repeat(65), true),
        (&"x".repeat(256), false),
        ("*", false),
    ] {
        let wanted = GetRequest { to: vec!["Bob".into()], list, ..get(path) };
        let refused = two.alice.get(&wanted, &Silent).unwrap_err();
        assert_eq!(refused.kind, FailureKind::Usage, "{path}");
        assert!(refused.next.unwrap().contains("nothing was asked"), "{path}");
    }
    for to in [vec![], vec!["Bob".to_owned(); 17]] {
        assert!(two.alice.get(&GetRequest { to, ..get("a/b") }, &Silent).is_err());
    }
    let unknown = GetRequest { to: vec!["Bob".into(), "Zoe".into()], ..get("a/b") };
    assert_eq!(two.alice.get(&unknown, &Silent).unwrap_err().kind, FailureKind::Unknown);
    assert!(two.alice.gets(&Silent).unwrap().is_empty(), "all of them or none");
}

#[test]
fn a_share_says_what_its_owner_may_not_have_meant() {
    let two = Two::new();
    let of = |line: ShareLine| line.warnings.join("; ");
    assert_eq!(of(two.share(&["Alice"], |_| {})), "");
    assert!(of(two.share(&["*"], |_| {})).contains("anybody"));
    assert!(of(two.share(&[], |_| {})).contains("nobody"));
    assert!(of(two.share(&["Alice"], |it| it.path = "/nowhere".into())).contains("/nowhere"));
    assert!(of(two.share(&["Alice"], |it| it.path = two.dir.path().into())).contains("home"));
    assert_eq!(two.word("maps/Bob/key"), "not-found");
    assert_eq!(two.word("maps/files/plan.txt"), "here");
    let wrong = ShareRequest { name: "Maps".into(), path: "/".into(), ..ShareRequest::default() };
    assert_eq!(two.bob.share(&wrong).unwrap_err().kind, FailureKind::Usage);
    let wrong = ShareRequest { name: "maps".into(), path: "x".into(), ..ShareRequest::default() };
    assert_eq!(two.bob.share(&wrong).unwrap_err().kind, FailureKind::Usage);
    assert_eq!(two.bob.unshare("none").unwrap_err().kind, FailureKind::Unknown);
}
