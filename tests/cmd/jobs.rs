//! `run` and `job`, seen by whoever asks. What the target says is sealed here with its own key.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Child,
};

use postrider::home::Home;
use postrider_base::{
    BundleId, Lifetime, Niceness,
    bundle::{Sequence, SmallBundle},
    compose::{Letter, Padding, Privacy, To, seal},
    packet::{
        Body, Content, FileEntry, JobResult, Manifest, Packet, Proposal, Said, State, Stream, Tail,
        Word,
    },
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::node::{Folder, Node, in_both_modes, of_type, text, until, with_json};

in_both_modes! {
    a_job_goes_out_and_ends_here_as_its_command_did_there
    every_end_has_its_own_code_and_says_why
    what_ends_a_job_is_told_and_what_is_not_known_is_not_claimed
    agreement_goes_by_stick_to_exactly_what_was_shown
    a_queue_and_a_rerun_name_the_jobs_before_them
    a_fleet_is_one_line_with_a_name_until_everybody_has_ended
}

/// One after the other, a target says things about jobs.
pub(crate) struct Voice<'a> {
    folder: &'a Folder,
    of: &'a Node,
    to: &'a Node,
    said: u64,
}

impl<'a> Voice<'a> {
    pub(crate) fn new(folder: &'a Folder, of: &'a Node, to: &'a Node) -> Self {
        Self { folder, of, to, said: 0 }
    }

    /// Says something; it arrives at once.
    pub(crate) fn says(&mut self, body: Body) {
        self.said += 1;
        let file = self.bundle(body);
        self.to.run(["bundle".as_ref(), "import".as_ref(), file.as_os_str()]).ok();
    }

    fn bundle(&self, body: Body) -> PathBuf {
        let (of, to) = (Home::open(self.of.home()).unwrap(), Home::open(self.to.home()).unwrap());
        let letter = Letter {
            author: &of.key.node,
            to: To::One(to.card.node, *to.card.seal_key()),
            sequence: Sequence { epoch: 77, counter: self.said },
            created: 0,
            lifetime: Lifetime::DEFAULT,
            nice: Niceness::NORMAL,
            privacy: Privacy::Open,
            padding: Padding::Class,
        };
        let packet = Packet { body, tail: Tail::default() }.encode();
        let sealed = seal(&letter, &packet, &[7; 32]).unwrap();
        let bytes = if sealed.head.header().is_small() {
            SmallBundle { head: sealed.head, payload: sealed.payload }.encode()
        } else {
            [sealed.head.encode(), sealed.payload].concat()
        };
        self.folder.file("bundle", &bytes)
    }
}

fn id_of(id: &str) -> BundleId {
    let bytes = id.as_bytes().as_chunks::<2>().0.iter();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    BundleId(bytes.map(byte).collect::<Vec<u8>>().try_into().unwrap())
}

pub(crate) fn ended(id: &str, state: State) -> JobResult {
    JobResult::without_output(id_of(id), state)
}

pub(crate) fn result(result: JobResult) -> Body {
    Body::Result(Box::new(result))
}

/// Asks Bob to run something and returns the id.
pub(crate) fn ask(alice: &Node, args: &[&str]) -> String {
    let args = ["run", "Bob"].iter().chain(args);
    text(&alice.json(args)[0], "id")
}

fn show(alice: &Node, id: &str) -> Value {
    alice.json(["job", "show", id]).remove(0)
}

fn a_job_goes_out_and_ends_here_as_its_command_did_there(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let stick = folder.dir("stick");
    let plan = folder.file("plan", b"up");
    let run = ["run", "Bob", "-f"].map(Into::into).into_iter();
    let run = run.chain([plan.into_os_string()]).chain(["--", "pump", "3", "-v"].map(Into::into));
    let asked = alice.run_with(run, b"down").ok();
    let id = asked.out.lines().next().unwrap().strip_prefix("queued ").unwrap().to_owned();
    assert!(asked.out.contains("  pump for Bob; it goes "), "{}", asked.out);
    assert!(asked.out.contains(&format!("postrider job show {}", &id[..8])), "{}", asked.out);
    let left_over = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains("stdin");
    let home = fs::read_dir(alice.home()).unwrap().map(Result::unwrap);
    assert_eq!(home.filter(left_over).count(), 0);

    let job = show(&alice, &id[..6]);
    for key in "type id to handle state exit_code signal stdout stderr ran_ms why age_s sent args"
        .split_whitespace()
    {
        assert!(job.as_object().unwrap().contains_key(key), "no {key} in {job}");
    }
    assert_eq!(
        (&job["type"], &job["state"], &job["to"]),
        (&"job".into(), &"queued".into(), &"Bob".into())
    );
    assert_eq!((&job["exit_code"], &job["stdout"]), (&Value::Null, &Value::Null));
    assert_eq!(job["args"], serde_json::json!(["3", "-v"]));
    let files: Vec<String> =
        job["files"].as_array().unwrap().iter().map(|f| text(f, "name")).collect();
    assert_eq!(files, ["plan", "stdin"]);

    alice.toss(&stick);
    bob.toss(&stick);
    let inbox = bob.json(["inbox"]);
    let came = of_type(&inbox, "message")[0];
    assert_eq!((text(came, "kind"), text(came, "id")), ("job".into(), id.clone()));
    assert_eq!(text(came, "text"), "pump '3' '-v'");
    let early = alice.run(["job", "log", &id]).code(1);
    assert!(early.err.contains("that job is queued"), "{}", early.err);

    let mut bob_says = Voice::new(folder, &bob, &alice);
    let notice = Said::Notice { fact: postrider_base::packet::Fact::Started, age_s: 9, why: None };
    bob_says.says(Body::Word(Box::new(Word { job: id_of(&id), said: notice })));
    let running = alice.run(["job", "ls"]).ok().out;
    assert!(running.contains("running, said just now"), "{running}");
    let out = b"\xff raw \x1b[2J\r\nno end of line";
    bob_says.says(result(JobResult {
        ran_ms: 1234,
        waited_ms: 50,
        stdout: Stream::whole(out.to_vec()),
        stderr: Stream::whole(b"careful\n".to_vec()),
        enforced: BTreeMap::from([("wall".into(), "timer".into())]),
        ..ended(&id, State::Exited(3))
    }));
    for args in [&["job", "wait", &id][..], &["job", "log", &id], &["-q", "job", "wait", &id]] {
        let code = if args.contains(&"log") { 0 } else { 3 };
        let told = alice.run(args).code(code);
        assert_eq!((&told.bytes[..], &*told.err), (&out[..], "careful\n"), "{args:?}");
    }
    assert_eq!(alice.run(["job", "log", "--stderr", &id]).ok().out, "careful\n");
    let file = folder.path("out");
    let to_file =
        ["job", "log", &id, "--out"].map(Into::into).into_iter().chain([file.clone().into()]);
    let to_file: Vec<std::ffi::OsString> = to_file.collect();
    alice.run(&to_file).ok();
    assert_eq!(fs::read(&file).unwrap(), out);
    alice.run(&to_file).code(1);

    let job = show(&alice, &id);
    assert_eq!((&job["state"], &job["exit_code"]), (&"exited".into(), &3.into()));
    assert_eq!((&job["ran_ms"], &job["waited_ms"]), (&1234.into(), &50.into()));
    assert_eq!(text(&job, "stdout"), String::from_utf8_lossy(out));
    assert_eq!(job["enforced"]["wall"], "timer");
    // For a person nothing in it moves the terminal, and it stands behind an indent.
    let shown = alice.run(["job", "show", &id]).ok().out;
    assert!(shown.starts_with("pump '3' '-v' at Bob\n"), "{shown}");
    assert!(shown.contains("  state    exited with 3, said just now\n"), "{shown}");
    assert!(shown.contains("  ran      1.2 s, waited 50 ms before\n"), "{shown}");
    assert!(!shown.contains('\u{1b}') && shown.contains("    no end of line\n"), "{shown:?}");
    let waited = alice.run(with_json(["job", "wait", &id])).code(3).objects();
    assert_eq!((waited.len(), &waited[0]["stderr"]), (1, &"careful\n".into()));
    // Results are no mail.
    assert_eq!(of_type(&alice.json(["inbox"]), "message").len(), 0);
    assert_eq!(alice.json(["status"])[0]["in"], 0);
}

fn every_end_has_its_own_code_and_says_why(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let mut bob_says = Voice::new(folder, &bob, &alice);
    for (state, why, code, word, said) in [
        (State::Exited(0), None, 0, "exited", ""),
        (State::Signalled(9), None, 137, "exited", "ended by signal 9"),
        (State::Overran, None, 124, "exited", "overran: it took longer than it may"),
        (State::Killed, None, 13, "exited", "killed: somebody ended it"),
        (State::Unknown, None, 75, "unknown", "unknown: it was begun"),
        (State::Refused, Some("pump is not for you here"), 126, "refused", "not for you"),
        (State::UnknownHandle, None, 127, "unknown-handle", "no such handle"),
        (State::NotBegun, Some("no room"), 125, "not-begun", "could not be begun: no room"),
        (State::Expired, Some("older than it may be"), 13, "expired", "older"),
        (State::Cancelled, None, 13, "cancelled", "cancelled"),
        (State::Superseded, None, 13, "superseded", "a newer one took its place"),
        (State::Skipped, Some("it did not come"), 13, "skipped", "it did not come"),
    ] {
        let id = ask(&alice, &["pump"]);
        bob_says.says(result(JobResult { why: why.map(Into::into), ..ended(&id, state) }));
        let told = alice.run(["job", "wait", &id]).code(code);
        assert_eq!(told.out, "");
        assert!(told.err.contains(said), "{state:?}: {}", told.err);
        let objects = alice.run(with_json(["job", "wait", &id])).code(code).objects();
        assert_eq!((objects.len(), &objects[0]["state"]), (1, &word.into()), "{state:?}");
    }
    // Of what was cut it is said in its place how much is missing.
    let id = ask(&alice, &["pump"]);
    let kept = [b"begin\n".repeat(700), b"end\n".repeat(300)].concat();
    let entry = FileEntry {
        path: vec!["stdout".into()],
        bytes: kept.len() as u64,
        blake3: *blake3::hash(&kept).as_bytes(),
        mtime: None,
        executable: false,
        directory: false,
    };
    let stdout = Stream {
        bytes: 1_000_000,
        blake3: [5; 32],
        head: kept[..6].to_vec(),
        tail: b"end\n".to_vec(),
        gap: Some(4200),
    };
    let files = Manifest { text: None, files: vec![entry], content: Content::Inline(kept.clone()) };
    bob_says.says(result(JobResult { stdout, files: Some(files), ..ended(&id, State::Exited(1)) }));
    let told = alice.run(["job", "wait", &id]).code(1);
    assert_eq!(told.bytes, kept);
    let missing =
        "[postrider: 994600 bytes of stdout are not here; where it ran they were not kept]\n";
    assert_eq!(told.err, missing);
}

fn what_ends_a_job_is_told_and_what_is_not_known_is_not_claimed(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let carol = folder.node("Carol");
    carol.meet(&alice);
    alice.meet(&carol);
    let stick = folder.dir("stick");
    let stays = ask(&alice, &["pump"]);
    let told = alice.run(["job", "cancel", &stays]).ok();
    assert!(told.out.starts_with(&format!("cancelled {}: no copy", &stays[..8])), "{}", told.out);
    alice.run(["job", "wait", &stays]).code(13);

    let leaves = ask(&alice, &["pump"]);
    alice.toss(&stick);
    let told = alice.run(["job", "cancel", &leaves]).ok().out;
    assert!(
        told.contains("Bob is told before everything else") && told.contains("--force"),
        "{told}"
    );
    let job = show(&alice, &leaves);
    assert_eq!(job["state"], "queued");
    assert!(text(&job, "why").contains("its target has not answered"), "{job}");
    assert!(job["taken_back_s"].is_u64());
    let waited = alice.run(["job", "wait", &leaves, "--timeout", "1s"]).code(7);
    assert!(waited.err.contains("next: "), "{}", waited.err);
    // Somebody else's word for it is none.
    Voice::new(folder, &carol, &alice).says(result(ended(&leaves, State::Exited(0))));
    assert_eq!(show(&alice, &leaves)["state"], "queued");
    let mut bob_says = Voice::new(folder, &bob, &alice);
    bob_says.says(result(ended(&leaves, State::Exited(0))));
    bob_says.says(result(ended(&leaves, State::Cancelled)));
    assert_eq!(show(&alice, &leaves)["state"], "exited");
    let over = alice.run(["job", "cancel", &leaves]).code(13);
    assert!(over.err.contains("that job is over: exited"), "{}", over.err);
}

fn agreement_goes_by_stick_to_exactly_what_was_shown(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let carol = folder.node("Carol");
    for (a, b) in [(&carol, &bob), (&bob, &carol), (&alice, &carol), (&carol, &alice)] {
        a.meet(b);
    }
    let id = ask(&alice, &["pump", "3"]);
    let issuer = Home::open(alice.home()).unwrap().card.node;
    let propose = |word: &str| {
        let said = Said::Propose(Proposal {
            issuer,
            handle: "pump".parse().unwrap(),
            argv: vec![b"/bin/pump".to_vec(), word.as_bytes().to_vec()],
            given: vec![[7; 32]],
            needed: 1,
        });
        Body::Word(Box::new(Word { job: id_of(&id), said }))
    };
    Voice::new(folder, &bob, &carol).says(propose("3; \u{1b}[2J"));
    Voice::new(folder, &bob, &alice).says(propose("3"));
    let own = alice.run(["job", "approve", &id, "--yes"]).code(4);
    assert!(own.err.contains("of their own"), "{}", own.err);

    let list = carol.run(["job", "approve"]).ok().out;
    assert!(list.contains("open    Alice") && list.contains("pump at Bob"), "{list}");
    assert!(carol.run(["job", "ls"]).ok().out.contains("1 job of others"));
    let asked = carol.run(["job", "approve", &id[..6]]).code(2);
    assert!(asked.err.contains("--yes"), "{}", asked.err);
    for line in [
        "Alice wants pump run at Bob\n",
        "  runs     '/bin/pump'\n           $'3; \\x1b[2J'\n",
        &format!("  with     {}\n", "07".repeat(32)),
        &format!("  job      {id}\n"),
    ] {
        assert!(asked.out.contains(line), "{line:?} is not in {}", asked.out);
    }
    assert_eq!(of_type(&carol.json(["queue"]), "bundle").len(), 0, "nothing was sent");
    let agreed = carol.run(["job", "approve", &id[..6], "--yes"]).ok();
    assert!(agreed.out.contains("Bob is told"), "{}", agreed.out);
    let again = carol.json(["job", "approve", &id, "--yes"]).remove(0);
    assert_eq!((&again["type"], &again["agreed"]), (&"proposal".into(), &true.into()));
    let waits = carol.json(["queue"]);
    assert_eq!((of_type(&waits, "bundle").len(), &waits[0]["nice"]), (1, &96.into()));
    carol.run(["job", "approve", "0123"]).code(5);
}

fn a_queue_and_a_rerun_name_the_jobs_before_them(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let [first, second] = [0, 1].map(|_| ask(&alice, &["--queue", "pumps", "--", "pump"]));
    let job = show(&alice, &second);
    assert_eq!((&job["queue"], &job["after"]), (&"pumps".into(), &serde_json::json!([first])));
    let told = alice.run(["run", "Bob", "--if-ok", &first[..8], "--else", "hold", "pump"]).ok().out;
    assert!(told.contains(&format!("  after {}\n", &first[..8])), "{told}");
    Voice::new(folder, &bob, &alice).says(result(ended(&first, State::Exited(1))));
    let not_ok = alice.run(["run", "Bob", "--if-ok", &first, "--", "pump"]).code(13);
    assert!(not_ok.err.contains("did not end well"), "{}", not_ok.err);
    let again = alice.json(["job", "rerun", &first]).remove(0);
    assert_eq!((&again["rerun_of"], &again["state"]), (&first.into(), &"queued".into()));
}

#[test]
fn what_cannot_be_asked_for_is_refused_and_nothing_is_sent() {
    let folder = Folder::new();
    let (alice, _bob) = folder.acquainted();
    for (args, code, said) in [
        (&["run", "Bob"][..], 2, "HANDLE"),
        (&["run", "Eve", "pump"], 5, "Eve"),
        (&["run", "Bob", "Pump"], 2, "a-z 0-9"),
        (&["run", "Bob", "--after", "1234", "pump"], 5, "job of mine"),
        (&["run", "Bob", "--after", "1234", "--if-ok", "1234", "pump"], 2, "cannot be used"),
        (&["run", "Bob", "--not-after", "tomorrow", "pump"], 2, "2026-12-31T22:00Z"),
        (&["run", "Bob", "--not-before", "+2h", "--not-after", "+1h", "pump"], 2, "last hour"),
        (&["run", "Bob", "-f", "nowhere", "pump"], 1, "nowhere"),
        (&["run", "Bob", "-f", ".", "pump"], 2, "no file"),
        (&["run", "Bob", "-n", "--stdin", "x", "pump"], 2, "cannot be used"),
        (&["job"], 2, "Usage"),
        (&["job", "show", "1234"], 5, "job of mine"),
        (&["job", "wait", "1234"], 5, "job of mine"),
        (&["job", "log", "xyz"], 2, "no id"),
        (&["job", "cancel", "1234"], 5, "job of mine"),
        (&["job", "rerun", "1234"], 5, "job of mine"),
    ] {
        let ended = alice.run(args).code(code);
        assert!(ended.err.contains(said), "{args:?}: {}", ended.err);
    }
    let ended = alice.run_with(["run", "Bob", "pump"], &vec![b'x'; (16 << 20) + 1]).code(2);
    assert!(ended.err.contains("--stdin FILE"), "{}", ended.err);
    assert!(of_type(&alice.json(["queue"]), "bundle").is_empty());
    let empty = alice.run(["job", "ls"]).ok().out;
    assert!(empty.contains("postrider run --help"), "{empty}");
}

#[test]
fn without_a_daemon_a_wait_says_that_nothing_carries_the_job() {
    let folder = Folder::new();
    let (alice, _bob) = folder.acquainted();
    let ended = alice.run(["run", "Bob", "--wait", "pump"]).code(7);
    assert_eq!(ended.out, "");
    assert!(ended.err.contains("the job is queued and safe: postrider up"), "{}", ended.err);
    let objects = alice.run(with_json(["run", "Bob", "--wait", "--", "pump"])).code(7).objects();
    assert_eq!(
        (&objects[0]["state"], &objects[1]["code"]),
        (&"queued".into(), &"wait-ran-out".into())
    );
}

#[test]
fn standard_input_is_left_alone_where_that_is_said() {
    let folder = Folder::new();
    let (alice, _bob) = folder.acquainted();
    let with = |args: &[&str], input: &[u8]| {
        let args = ["run", "Bob"].iter().chain(args).chain(&["pump"]);
        let asked = alice.run_with(with_json(args), input).ok().objects().remove(0);
        asked["files"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((with(&[], b"x"), with(&[], b""), with(&["-n"], b"x")), (1, 0, 0));
    let file = folder.file("plan", b"up");
    assert_eq!(with(&["--stdin", file.to_str().unwrap()], b"x"), 1);
}

#[test]
fn whoever_interrupts_a_wait_learns_that_the_job_goes_on() {
    let folder = Folder::with_daemons();
    let (alice, _bob) = folder.acquainted();
    let child = alice.command(["run", "Bob", "--wait", "--", "pump"]).spawn().unwrap();
    until("it hears interrupts", || hears_interrupts(&child));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    let id = text(&alice.json(["job", "ls"])[0], "id");
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("the job goes on"), "{said}");
    assert!(said.contains(&format!("postrider job wait {}", &id[..8])), "{said}");
}

/// The result comes while it is waited for, and a daemon answers.
#[test]
fn a_wait_ends_when_the_result_comes() {
    let folder = Folder::with_daemons();
    let (alice, bob) = folder.acquainted();
    let child = alice.command(["run", "Bob", "--wait", "--", "pump"]).spawn().unwrap();
    until("it waits", || hears_interrupts(&child));
    let id = text(&alice.json(["job", "ls"])[0], "id");
    let stdout = Stream::whole(b"done\n".to_vec());
    let said = JobResult { stdout, ..ended(&id, State::Exited(9)) };
    Voice::new(&folder, &bob, &alice).says(result(said));
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), &ended.stdout[..]), (Some(9), &b"done\n"[..]));
    assert_eq!(ended.stderr, b"");
}

/// Whether a process has a handler for the interrupt: before that it would end in silence.
fn hears_interrupts(child: &Child) -> bool {
    let path = Path::new("/proc").join(child.id().to_string()).join("status");
    let status = fs::read_to_string(path).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).is_some_and(|b| b & 2 != 0)
}

fn a_fleet_is_one_line_with_a_name_until_everybody_has_ended(folder: &Folder) {
    let alice = folder.node("Alice");
    for name in ["North", "South"] {
        alice.meet(&folder.node(name));
        alice.run(["contact", "set", name, "label=pumps"]).ok();
    }
    let dry = alice.run(["run", "--on", "South,pumps", "--canary", "1", "--dry-run"]).ok().out;
    let lines: Vec<&str> = dry.lines().collect();
    assert_eq!(
        lines,
        ["South                 canary", "North", "2 targets would get it; nothing was sent."]
    );
    assert!(of_type(&alice.json(["job", "ls"]), "fleet").is_empty());

    let run = "run --on South,pumps --canary 50% --max-failures 1 --name nightly -n -- pump 7";
    let sent = alice.json(run.split(' '));
    assert_eq!((text(&sent[0], "name"), sent[0]["sent"].as_u64()), ("nightly".into(), Some(1)));
    let shown = alice.json(["job", "show", "night"]);
    let jobs = of_type(&shown, "job");
    let states: Vec<String> = jobs.iter().map(|job| text(job, "state")).collect();
    assert_eq!(states, ["queued", "waiting"]);
    assert_eq!((text(jobs[0], "to"), text(jobs[1], "id")), ("South".into(), String::new()));
    alice.run("job wait nightly --timeout 0s".split(' ')).code(7);
    assert_eq!(alice.json(["job", "release", "nightly"])[0]["sent"], 2);
    alice.run(["job", "cancel", "nightly"]).ok();
    alice.run(["job", "wait", "nightly"]).code(1);
    alice.run(["job", "cancel", "nightly"]).code(13);
    let all = alice.json(["job", "ls"]);
    assert_eq!((of_type(&all, "fleet").len(), of_type(&all, "job").len()), (1, 0));
    assert_eq!(all.last().unwrap()["count"], 1);

    for (args, code) in [
        ("run --on pumps --canary 101% -- pump", 2),
        ("run --on pumps --max-failures 0 -- pump", 2),
        ("run --on pumps --queue q -- pump", 2),
        ("run --canary 1 North -- pump", 2),
        ("run North", 2),
        ("run --on role=pump-station -- pump", 5),
        ("job show nobody", 2),
        ("contact set North label=A", 2),
    ] {
        alice.run(args.split(' ')).code(code);
    }
}
