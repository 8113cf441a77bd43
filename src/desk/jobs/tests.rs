//! Jobs between desks that a stream connects: who may say what of one, and what follows here.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, path::Path, thread};

use postrider_base::{
    BundleId, Niceness,
    packet::{
        Answer, Body, Content, Fact, FileEntry, JobResult, Manifest, Packet, Proposal, Said, State,
        Stream, Then, Word, approval_of,
    },
};
use postrider_spool::Spool;

use super::{RunRequest, Which, WordNote};
use crate::desk::{
    AddRequest, Desk, ExportForm, FailureKind, InitRequest, SendRequest, Silent, call_back::Beside,
    clock, inbox::note_keys, introduce::letter, ledger::space, reply::JobLine, send::Small,
};

fn person(dir: &Path, name: &str) -> Desk {
    let request =
        InitRequest { home: dir.join(name), name: Some(name.into()), even_if_public: false };
    Desk::init(&request).unwrap().0
}

/// Desks that all know each other.
fn people<const N: usize>(dir: &Path, names: [&str; N]) -> [Desk; N] {
    let desks = names.map(|name| person(dir, name));
    for (n, desk) in desks.iter().enumerate() {
        for (_, other) in desks.iter().enumerate().filter(|(m, _)| *m != n) {
            desk.add(&AddRequest { card: other.home().card.clone(), name: None }).unwrap();
        }
    }
    desks
}

fn pump() -> RunRequest {
    RunRequest {
        to: "Bob".into(),
        handle: "pump".into(),
        args: vec!["3".into()],
        files: Vec::new(),
        stdin: None,
        queue: None,
        after: Vec::new(),
        if_ok: false,
        patience_s: None,
        then: Then::Skip,
        supersede: None,
        lifetime: None,
        not_before: None,
        not_after: None,
        answer: Answer::Full,
    }
}

fn id(line: &JobLine) -> BundleId {
    crate::api::bundle_id(&line.id).unwrap()
}

/// Everything that waits at one goes to another.
fn carry(from: &Desk, to: &Desk) {
    let mut stream = Vec::new();
    from.pack(&[], &mut stream, &Silent).unwrap();
    to.unpack(&mut &stream[..], &Silent).unwrap();
}

/// Sends any body at all.
fn says(from: &Desk, to: &str, body: Body) {
    let spool = from.spool(&Silent).unwrap();
    let contacts = from.home().contacts().unwrap();
    let contact = contacts.resolve(to).unwrap();
    let request = letter(contact);
    let packet = Packet { body, tail: from.tail(contact, &request) };
    let small = Small { packet, bytes: 0, preview: String::new() };
    let mut changes = Vec::new();
    from.seal_small(spool, contact, &request, small, &mut changes).unwrap();
    spool.commit(clock::now(), changes).unwrap();
}

fn result(job: BundleId, state: State) -> Body {
    Body::Result(Box::new(JobResult::without_output(job, state)))
}

fn notice(job: BundleId, fact: Fact) -> Body {
    Body::Word(Box::new(Word { job, said: Said::Notice { fact, age_s: 5, why: None } }))
}

fn state(desk: &Desk, job: &JobLine) -> String {
    desk.job(&job.id, &Silent).unwrap().state.into_owned()
}

/// What came to a desk in words that nothing followed from yet.
fn words(desk: &Desk) -> Vec<Word> {
    let spool = desk.spool(&Silent).unwrap();
    let notes = note_keys(spool, space::JOB_WORD).unwrap();
    let word = |key: &Vec<u8>| {
        let note = spool.note(space::JOB_WORD, key).unwrap().unwrap();
        WordNote::read(&note).unwrap().1
    };
    notes.iter().map(word).collect()
}

#[test]
fn a_job_stands_as_its_target_says_and_as_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, bob, mallory] = people(dir.path(), ["Alice", "Bob", "Mallory"]);
    let job = alice.run(&pump(), &Silent).unwrap();
    let shown = alice.job(&job.id, &Silent).unwrap();
    assert_eq!((&*shown.state, &*shown.to, &*shown.handle), ("queued", "Bob", "pump"));
    assert_eq!((shown.args, shown.said), (vec!["3".to_owned()], false));
    carry(&alice, &bob);
    let inbox = bob.inbox(&Silent).unwrap();
    assert_eq!((&*inbox[0].kind, &*inbox[0].text), ("job", "pump '3'"));
    assert_eq!(inbox[0].id, job.id);

    // Somebody else knows its id, and says that it has ended, and that it runs.
    says(&mallory, "Alice", result(id(&job), State::Exited(0)));
    says(&mallory, "Alice", notice(id(&job), Fact::Started));
    carry(&mallory, &alice);
    assert_eq!(state(&alice, &job), "queued");

    says(&bob, "Alice", notice(id(&job), Fact::Started));
    carry(&bob, &alice);
    assert_eq!(state(&alice, &job), "running");
    // A word that was overtaken.
    says(&bob, "Alice", notice(id(&job), Fact::Admitted));
    carry(&bob, &alice);
    assert_eq!(state(&alice, &job), "running");

    says(&bob, "Alice", result(id(&job), State::Exited(3)));
    carry(&bob, &alice);
    let ended = alice.job(&job.id, &Silent).unwrap();
    assert_eq!((&*ended.state, ended.exit_code, ended.said), ("exited", Some(3), true));
    assert_eq!(ended.stdout.as_deref(), Some(""));
    // The first word stands, also where two come together.
    says(&bob, "Alice", result(id(&job), State::Exited(0)));
    says(&mallory, "Alice", result(id(&job), State::Refused));
    carry(&bob, &alice);
    carry(&mallory, &alice);
    assert_eq!(alice.job(&job.id, &Silent).unwrap().exit_code, Some(3));
    // Nothing of that is mail.
    assert!(alice.inbox(&Silent).unwrap().is_empty());
    assert_eq!(alice.status(&Silent).unwrap().unread, 0);
    assert_eq!(alice.jobs(&Silent).unwrap().len(), 1);
}

#[test]
fn of_two_results_that_come_together_one_stands_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, bob] = people(dir.path(), ["Alice", "Bob"]);
    let job = alice.run(&pump(), &Silent).unwrap();
    says(&bob, "Alice", result(id(&job), State::Exited(1)));
    says(&bob, "Alice", result(id(&job), State::Exited(2)));
    carry(&bob, &alice);
    let first = alice.job(&job.id, &Silent).unwrap().exit_code.unwrap();
    says(&bob, "Alice", result(id(&job), State::Exited(3 - first)));
    carry(&bob, &alice);
    assert_eq!(alice.job(&job.id, &Silent).unwrap().exit_code, Some(first));
}

fn file(name: &str, bytes: &[u8]) -> FileEntry {
    FileEntry {
        path: vec![name.into()],
        bytes: bytes.len() as u64,
        blake3: *blake3::hash(bytes).as_bytes(),
        mtime: None,
        executable: false,
        directory: false,
    }
}

#[test]
fn more_of_the_same_output_may_follow_and_other_output_may_not() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, bob] = people(dir.path(), ["Alice", "Bob"]);
    let job = alice.run(&pump(), &Silent).unwrap();
    let wrote = [b"one\n".repeat(2000), b"\x1b[2Jtwo\n".to_vec()].concat();
    let stream = |bytes: &[u8]| Stream {
        bytes: bytes.len() as u64,
        blake3: *blake3::hash(bytes).as_bytes(),
        head: bytes[..10].to_vec(),
        tail: bytes[bytes.len() - 4..].to_vec(),
        gap: None,
    };
    let with = |bytes: &[u8], files: Option<Manifest>| {
        let ended = JobResult::without_output(id(&job), State::Exited(0));
        Body::Result(Box::new(JobResult { stdout: stream(bytes), files, ..ended }))
    };
    let kept = |bytes: &[u8]| {
        let content = Content::Inline(bytes.to_vec());
        Some(Manifest { text: None, files: vec![file("stdout", bytes)], content })
    };
    says(&bob, "Alice", with(&wrote, None));
    carry(&bob, &alice);
    let brief = alice.job_output(&job.id, Which::Stdout, &Silent).unwrap();
    assert_eq!((brief.missing, brief.missing_why.as_deref()), (8008 - 14, Some("not-sent")));
    let text = alice.job(&job.id, &Silent).unwrap().stdout.unwrap();
    assert_eq!(text, "one\none\non\n[7994 bytes are not here]\ntwo\n");

    let other = [&wrote[..], b"!"].concat();
    says(&bob, "Alice", with(&other, kept(&other)));
    carry(&bob, &alice);
    assert_eq!(alice.job_output(&job.id, Which::Stdout, &Silent).unwrap().missing, 8008 - 14);
    alice.ask_again(&job.id, &Silent).unwrap();
    carry(&alice, &bob);
    assert_eq!(words(&bob), [Word { job: id(&job), said: Said::Ask(Answer::Full) }]);
    says(&bob, "Alice", with(&wrote, kept(&wrote)));
    carry(&bob, &alice);
    let full = alice.job_output(&job.id, Which::Stdout, &Silent).unwrap();
    assert_eq!((full.missing, full.missing_why), (0, None));
    assert_eq!(crate::api::from_hex(&full.head).unwrap(), wrote);
    assert_eq!(alice.job_output(&job.id, Which::Stderr, &Silent).unwrap().bytes, 0);
}

/// An output of 300 kB comes in parts; until the last is here its ends are shown.
#[test]
fn an_output_in_parts_is_whole_when_its_last_part_is_here_and_is_no_mail() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, bob] = people(dir.path(), ["Alice", "Bob"]);
    let job = alice.run(&pump(), &Silent).unwrap();
    let wrote: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let path = dir.path().join("stdout");
    fs::write(&path, &wrote).unwrap();
    let wrap = |files: Manifest| {
        let stdout = Stream {
            bytes: 300_000,
            blake3: *blake3::hash(&wrote).as_bytes(),
            head: wrote[..10].to_vec(),
            tail: wrote[299_990..].to_vec(),
            gap: None,
        };
        let ended = JobResult::without_output(id(&job), State::Exited(0));
        Body::Result(Box::new(JobResult { stdout, files: Some(files), ..ended }))
    };
    let spool = bob.spool(&Silent).unwrap();
    let contacts = bob.home().contacts().unwrap();
    let alice_there = contacts.resolve("Alice").unwrap();
    let request = SendRequest { files: vec![path], ..letter(alice_there) };
    bob.send_by(spool, &request, &wrap, Beside::Changes(Vec::new()), &Silent).unwrap();
    // The manifest comes alone first, as over a link that breaks.
    let bundles = bob.queue(&Silent).unwrap();
    let manifest = bundles.iter().find(|row| row.message.as_ref() == Some(&row.id)).unwrap();
    let mut bytes = Vec::new();
    bob.bundle_export(&manifest.id, ExportForm::Bundle, &mut bytes, &Silent).unwrap();
    let file = dir.path().join("bundle");
    fs::write(&file, bytes).unwrap();
    alice.bundle_import(&file, &Silent).unwrap();
    assert_eq!(state(&alice, &job), "exited");
    let early = alice.job_output(&job.id, Which::Stdout, &Silent).unwrap();
    assert_eq!((early.missing_why.as_deref(), early.missing), (Some("on-the-way"), 299_980));

    carry(&bob, &alice);
    let whole = alice.job_output(&job.id, Which::Stdout, &Silent).unwrap();
    assert_eq!((whole.missing, whole.head_bytes), (0, 300_000));
    assert_eq!(fs::read(whole.file.unwrap()).unwrap(), wrote);
    assert_eq!(alice.job(&job.id, &Silent).unwrap().stdout, None);
    assert!(alice.inbox(&Silent).unwrap().is_empty());
    assert_eq!(alice.status(&Silent).unwrap().unread, 0);
}

#[test]
fn in_a_queue_each_comes_after_the_last_that_may_not_have_ended() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, bob, carol] = people(dir.path(), ["Alice", "Bob", "Carol"]);
    let queued = |to: &str, queue: &str| {
        let request = RunRequest { to: to.into(), queue: Some(queue.into()), ..pump() };
        alice.run(&request, &Silent).unwrap()
    };
    let [a, b] = ["a", "b"].map(|_| queued("Bob", "pumps"));
    assert_eq!((&a.after, &b.after), (&vec![], &vec![a.id.clone()]));
    // Neither another queue nor another target comes after those.
    assert!(queued("Bob", "lights").after.is_empty());
    assert!(queued("Carol", "pumps").after.is_empty());
    // The last has ended, the one before it has not.
    says(&bob, "Alice", result(id(&b), State::Cancelled));
    carry(&bob, &alice);
    let c = queued("Bob", "pumps");
    assert_eq!(c.after, std::slice::from_ref(&a.id));
    // One of which no copy left is none to wait for.
    alice.cancel_job(&c.id, false, &Silent).unwrap();
    assert_eq!(queued("Bob", "pumps").after, std::slice::from_ref(&a.id));
    // What is told of somebody else's target ends nothing.
    says(&carol, "Alice", result(id(&a), State::Exited(0)));
    carry(&carol, &alice);
    assert_eq!(queued("Bob", "pumps").after.len(), 1);
}

#[test]
fn two_at_once_never_come_after_the_same_one() {
    const THREADS: usize = 4;
    const EACH: usize = 3;
    let dir = tempfile::tempdir().unwrap();
    let [alice, _bob] = people(dir.path(), ["Alice", "Bob"]);
    alice.open_live(&Silent).unwrap();
    let one = || {
        let request = RunRequest { queue: Some("pumps".into()), ..pump() };
        alice.run(&request, &Silent).unwrap()
    };
    let lines: Vec<JobLine> = thread::scope(|scope| {
        let some = || (0..EACH).map(|_| one()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(some)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let after: BTreeSet<&String> = lines.iter().flat_map(|line| &line.after).collect();
    let first = lines.iter().filter(|line| line.after.is_empty()).count();
    assert_eq!((after.len(), first), (THREADS * EACH - 1, 1));
}

#[test]
fn a_job_comes_after_others_of_mine_for_the_same_target_that_may_still_run() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, bob, _carol] = people(dir.path(), ["Alice", "Bob", "Carol"]);
    let [a, b] = [0, 1].map(|_| alice.run(&pump(), &Silent).unwrap());
    let after = |ids: &[&JobLine], if_ok| {
        let after = ids.iter().map(|job| job.id[..8].to_owned()).collect();
        alice.run(&RunRequest { after, if_ok, ..pump() }, &Silent)
    };
    let c = after(&[&a, &b, &a], true).unwrap();
    assert_eq!(c.after, [a.id.clone(), b.id.clone()]);
    carry(&alice, &bob);
    let turn = |job: &JobLine| {
        let spool = bob.spool(&Silent).unwrap();
        match bob.kept(spool, id(job)).unwrap().unwrap().packet.body {
            Body::Job(job) => job.turn,
            _ => panic!("no job"),
        }
    };
    assert!(turn(&c).if_ok);
    assert_eq!((turn(&c).patience_s, turn(&c).then), (turn(&c).age_s, Then::Skip));
    says(&bob, "Alice", result(id(&a), State::Exited(0)));
    says(&bob, "Alice", result(id(&b), State::Exited(1)));
    carry(&bob, &alice);
    // What has ended is none to wait for; what ended badly stops it here.
    assert!(after(&[&a], true).unwrap().after.is_empty());
    assert!(after(&[&b], false).unwrap().after.is_empty());
    let before = alice.jobs(&Silent).unwrap().len();
    assert_eq!(after(&[&b], true).unwrap_err().kind, FailureKind::Ended);
    let other = RunRequest { to: "Carol".into(), after: vec![c.id.clone()], ..pump() };
    assert_eq!(alice.run(&other, &Silent).unwrap_err().kind, FailureKind::Usage);
    let unknown = RunRequest { after: vec!["0123abcd".into()], ..pump() };
    assert_eq!(alice.run(&unknown, &Silent).unwrap_err().kind, FailureKind::Unknown);
    assert_eq!(alice.jobs(&Silent).unwrap().len(), before);
}

#[test]
fn a_job_of_which_no_copy_left_ends_at_once_and_of_another_its_target_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, bob] = people(dir.path(), ["Alice", "Bob"]);
    let [stays, leaves] = [0, 1].map(|_| alice.run(&pump(), &Silent).unwrap());
    let (line, gone) = alice.cancel_job(&stays.id, false, &Silent).unwrap();
    assert_eq!((&*line.state, gone), ("cancelled", vec![id(&stays)]));
    assert!(line.why.unwrap().contains("no copy"));
    carry(&alice, &bob);
    let here: Vec<String> = bob.inbox(&Silent).unwrap().into_iter().map(|it| it.id).collect();
    assert_eq!(here, std::slice::from_ref(&leaves.id));

    let (line, gone) = alice.cancel_job(&leaves.id, true, &Silent).unwrap();
    assert_eq!((&*line.state, gone.len()), ("queued", 0));
    assert!(line.taken_back_s.is_some() && line.why.unwrap().contains("has not answered"));
    let urgent = alice.queue(&Silent).unwrap().into_iter().map(|row| row.nice).min();
    assert_eq!(urgent, Some(Niceness::PRIORITY.value()));
    carry(&alice, &bob);
    let told: Vec<(BundleId, Said)> = words(&bob).into_iter().map(|it| (it.job, it.said)).collect();
    let cancel = |force| Said::Cancel { force };
    assert!(
        told.contains(&(id(&leaves), cancel(true))) && told.contains(&(id(&stays), cancel(false)))
    );

    // What its target says stands, whatever was asked here.
    says(&bob, "Alice", result(id(&leaves), State::Exited(0)));
    carry(&bob, &alice);
    assert_eq!(state(&alice, &leaves), "exited");
    let late = alice.cancel_job(&leaves.id, true, &Silent).unwrap_err();
    assert_eq!(late.kind, FailureKind::Ended);
}

/// Over a link, or to a medium that is drawn out meanwhile: nobody has acknowledged it, and it runs.
#[test]
fn of_a_job_that_is_on_its_way_nobody_says_that_no_copy_left() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, _bob] = people(dir.path(), ["Alice", "Bob"]);
    let [back, leaves] = [0, 1].map(|_| alice.run(&pump(), &Silent).unwrap());
    let live = alice.open_live(&Silent).unwrap();
    let load = |job: &JobLine| live.load(&id(job)).unwrap();
    // Called back before: it does not leave any more.
    assert_eq!(alice.cancel_job(&back.id, false, &Silent).unwrap().0.state, "cancelled");
    assert!(load(&back).is_none());
    let still = alice.job(&back.id, &Silent).unwrap();
    assert!(still.state == "cancelled" && still.why.unwrap().contains("no copy"));
    // It is noted once, however often it is sent.
    assert!(load(&leaves).is_some() && load(&leaves).is_some());
    let events = alice.trace(&leaves.id, &Silent).unwrap();
    assert_eq!(events.iter().filter(|event| event.what == "leaves").count(), 1);
    // It is durable.
    drop(alice);
    let alice = Desk::open(&dir.path().join("Alice")).unwrap();
    let (line, gone) = alice.cancel_job(&leaves.id, true, &Silent).unwrap();
    assert_eq!((&*line.state, gone.len()), ("queued", 0));
    // Nor if only its bundle is called back.
    alice.cancel(&leaves.id, &Silent).unwrap();
    let line = alice.job(&leaves.id, &Silent).unwrap();
    assert!(line.state == "queued" && line.why.unwrap().contains("may still arrive"));
}

#[test]
fn one_agrees_to_exactly_what_was_shown_and_never_to_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, bob, carol] = people(dir.path(), ["Alice", "Bob", "Carol"]);
    let job = alice.run(&pump(), &Silent).unwrap();
    let propose = |word: &str| {
        let argv = vec![b"/bin/pump".to_vec(), word.as_bytes().to_vec()];
        Body::Word(Box::new(Word {
            job: id(&job),
            said: Said::Propose(Proposal {
                issuer: alice.home().card.node,
                handle: "pump".parse().unwrap(),
                argv,
                given: vec![[7; 32]],
                needed: 1,
            }),
        }))
    };
    for to in ["Alice", "Carol"] {
        says(&bob, to, propose("3\u{202e}"));
    }
    carry(&bob, &carol);
    carry(&bob, &alice);
    let mine = alice.proposal(&job.id, &Silent).unwrap();
    assert!(mine.mine);
    assert_eq!(alice.approve(&job.id, None, &Silent).unwrap_err().kind, FailureKind::NotAuthorised);

    let shown = carol.proposal(&job.id[..8], &Silent).unwrap();
    assert_eq!(
        (&*shown.from, &*shown.to, shown.mine, shown.agreed),
        ("Alice", "Bob", false, false)
    );
    assert_eq!(shown.shown, ["'/bin/pump'", r"$'3\u202e'"]);
    assert_eq!(shown.given, ["07".repeat(32)]);
    // Something else is proposed before she answers.
    says(&bob, "Carol", propose("4"));
    carry(&bob, &carol);
    let stale = carol.approve(&job.id, Some(&shown.approval), &Silent).unwrap_err();
    assert!(stale.what.contains("something else"), "{stale}");
    let now = carol.proposals(&Silent).unwrap().remove(0);
    assert!(carol.approve(&job.id, Some(&now.approval), &Silent).unwrap().agreed);
    assert!(carol.proposal(&job.id, &Silent).unwrap().agreed);
    carry(&carol, &bob);
    let argv = [b"/bin/pump".to_vec(), b"4".to_vec()];
    assert_eq!(
        words(&bob),
        [Word { job: id(&job), said: Said::Approve(approval_of(&id(&job), &argv)) }]
    );
    // Yes to the one is no yes to another.
    says(&bob, "Carol", propose("5"));
    carry(&bob, &carol);
    assert!(!carol.proposal(&job.id, &Silent).unwrap().agreed);
}

#[test]
fn files_and_standard_input_come_along_and_small_ones_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, bob] = people(dir.path(), ["Alice", "Bob"]);
    let path = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let request = RunRequest {
        files: vec![path("stdin", b"an attachment of that name"), path("plan", b"up")],
        stdin: Some(path("stdin-0011", b"down")),
        ..pump()
    };
    let first = alice.run(&request, &Silent).unwrap();
    let names: Vec<&str> = first.files.iter().map(|file| &*file.name).collect();
    assert_eq!(names, ["stdin", "plan", "stdin-1"]);
    let again = alice.rerun(&first.id, &Silent).unwrap();
    assert_eq!(again.rerun_of.as_ref(), Some(&first.id));
    assert_ne!(again.id, first.id);
    carry(&alice, &bob);
    let spool = bob.spool(&Silent).unwrap();
    let job = |line: &JobLine| match bob.kept(spool, id(line)).unwrap().unwrap().packet.body {
        Body::Job(job) => *job,
        _ => panic!("no job"),
    };
    let came = job(&first);
    assert_eq!(came.stdin, Some(2));
    let inline = Content::Inline(b"an attachment of that nameupdown".to_vec());
    assert_eq!(came.files.as_ref().unwrap().content, inline);
    assert_eq!((job(&again).files, job(&again).stdin), (came.files, came.stdin));
    // Whoever keeps the machine may look at what was sent there.
    let to = dir.path().join("to");
    fs::create_dir(&to).unwrap();
    assert_eq!(bob.save_message(&first.id, &to, &Silent).unwrap().len(), 3);

    // 300 kB go in parts, of which nothing is kept.
    let large = RunRequest { files: vec![path("film", &vec![7; 300_000])], ..pump() };
    let large = alice.run(&large, &Silent).unwrap();
    assert_eq!(alice.job(&large.id, &Silent).unwrap().files[0].bytes, 300_000);
    let refused = alice.rerun(&large.id, &Silent).unwrap_err();
    assert!(refused.what.contains("film"), "{refused}");
    carry(&alice, &bob);
    assert_eq!(bob.read_message(&large.id, &Silent).unwrap().files[0].bytes, 300_000);
}

#[test]
fn what_no_job_can_be_is_refused_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, _bob] = people(dir.path(), ["Alice", "Bob"]);
    let wrong = [
        RunRequest { handle: "Pump".into(), ..pump() },
        RunRequest { args: vec!["a\0b".into()], ..pump() },
        RunRequest { args: vec!["x".repeat(65 * 1024)], ..pump() },
        RunRequest { args: vec![String::new(); 257], ..pump() },
        RunRequest { queue: Some("-".into()), ..pump() },
        RunRequest { supersede: Some("a b".into()), ..pump() },
        RunRequest { not_before: Some(2), not_after: Some(1), ..pump() },
        RunRequest { files: vec![dir.path().to_owned()], ..pump() },
        RunRequest { stdin: Some("/dev/null".into()), ..pump() },
    ];
    for request in wrong {
        let failure = alice.run(&request, &Silent).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage, "{request:?}");
        assert!(failure.next.unwrap().contains("nothing was sent"), "{request:?}");
    }
    assert!(alice.jobs(&Silent).unwrap().is_empty() && alice.queue(&Silent).unwrap().is_empty());
}

#[test]
fn a_desk_without_an_index_issues_jobs_that_another_finds() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, _bob] = people(dir.path(), ["Alice", "Bob"]);
    let job = alice.run(&pump(), &Silent).unwrap();
    drop(alice);
    let alice = Desk::open(&dir.path().join("Alice")).unwrap();
    assert_eq!(state(&alice, &job), "queued");
    let traced = alice.trace(&job.id, &Silent).unwrap();
    assert_eq!(traced.iter().map(|it| &*it.what).collect::<Vec<_>>(), ["saved"]);
}
