//! Jobs, results and words about them: golden and malformed, in bundles whose seals open.

use postrider_base::{
    BundleId,
    packet::{
        Answer, Body, Content, Fact, FileEntry, Fleet, Job, JobResult, Manifest, Packet, Proposal,
        Said, State, Stream, Tail, Then, Turn, Word, approval_of,
    },
};
use serde_json::{Value, json};

use crate::{
    cbor::{V, b, t},
    craft::{ALICE, BOB, Craft, node, seed},
    decode::manifest,
    vector::{Vector, bad, hex},
};

/// What is said of a job in a vector.
pub(crate) fn job(job: &Job) -> Value {
    let handle = |handle: &Option<_>| handle.as_ref().map(ToString::to_string);
    let turn = &job.turn;
    let then = ["run", "skip", "hold"][match turn.then {
        Then::Run => 0,
        Then::Skip => 1,
        Then::Hold => 2,
    }];
    json!({
        "kind": "job", "handle": job.handle.to_string(),
        "args": job.args.iter().map(hex).collect::<Vec<_>>(),
        "turn": {
            "queue": handle(&turn.queue), "after": turn.after.iter().map(|id| hex(id.0)).collect::<Vec<_>>(),
            "if_ok": turn.if_ok, "patience_s": turn.patience_s, "then": then,
            "supersedes": handle(&turn.supersedes), "age_s": turn.age_s,
            "not_before": turn.not_before, "not_after": turn.not_after,
        },
        "answer": answer(job.answer), "files": job.files.as_ref().map(manifest), "stdin": job.stdin,
        "fleet": job.fleet.as_ref().map(|fleet| json!({
            "name": fleet.name.to_string(), "place": fleet.place, "of": fleet.of,
            "canary": fleet.canary, "failures": fleet.failures,
        })),
        "rerun_of": job.rerun_of.map(|id| hex(id.0)),
    })
}

/// What is said of a result.
pub(crate) fn result(result: &JobResult) -> Value {
    let (state, code) = match result.state {
        State::Exited(code) => ("exited", Some(code)),
        State::Signalled(signal) => ("signalled", Some(signal)),
        State::Overran => ("overran", None),
        State::Killed => ("killed", None),
        State::Unknown => ("unknown", None),
        State::Refused => ("refused", None),
        State::UnknownHandle => ("unknown-handle", None),
        State::NotBegun => ("not-begun", None),
        State::Expired => ("expired", None),
        State::Cancelled => ("cancelled", None),
        State::Superseded => ("superseded", None),
        State::Skipped => ("skipped", None),
        State::Undone => ("undone", None),
    };
    let stream = |stream: &Stream| {
        json!({
            "bytes": stream.bytes, "blake3": hex(stream.blake3), "head": hex(&stream.head),
            "tail": hex(&stream.tail), "gap": stream.gap,
        })
    };
    json!({
        "kind": "result", "job": hex(result.job.0), "state": state, "code": code,
        "why": result.why, "ran_ms": result.ran_ms, "waited_ms": result.waited_ms,
        "clock": result.clock, "stdout": stream(&result.stdout), "stderr": stream(&result.stderr),
        "enforced": result.enforced, "audit": result.audit.map(hex),
        "files": result.files.as_ref().map(manifest),
    })
}

/// What is said of a word.
pub(crate) fn word(word: &Word) -> Value {
    let said = match &word.said {
        Said::Cancel { force } => json!({ "said": "cancel", "force": force }),
        Said::Approve(hash) => json!({ "said": "approve", "approval": hex(hash) }),
        Said::Ask(wanted) => json!({ "said": "ask", "answer": answer(*wanted) }),
        Said::Notice { fact, age_s, why } => {
            let fact = match fact {
                Fact::Held => "held",
                Fact::Admitted => "admitted",
                Fact::Started => "started",
            };
            json!({ "said": "notice", "fact": fact, "age_s": age_s, "why": why })
        }
        Said::Propose(it) => json!({
            "said": "propose", "issuer": hex(it.issuer.as_bytes()),
            "handle": it.handle.to_string(), "argv": it.argv.iter().map(hex).collect::<Vec<_>>(),
            "given": it.given.iter().map(hex).collect::<Vec<_>>(), "needed": it.needed,
            "approval": hex(approval_of(&word.job, &it.argv)),
        }),
    };
    crate::vector::merged([json!({ "kind": "word", "job": hex(word.job.0) }), said])
}

fn answer(answer: Answer) -> &'static str {
    match answer {
        Answer::Full => "full",
        Answer::Brief => "brief",
    }
}

/// Golden ones, by name.
pub(crate) fn good() -> Vec<(&'static str, &'static str, Packet)> {
    let packet = |body| Packet { body, tail: Tail::default() };
    let of_job = |job| packet(Body::Job(Box::new(job)));
    let of_result = |result| packet(Body::Result(Box::new(result)));
    let of_word = |said| packet(Body::Word(Box::new(Word { job: BundleId([0x10; 32]), said })));
    let proposal = Proposal {
        issuer: node(ALICE).id(),
        handle: "pump.restart".parse().unwrap(),
        argv: ["/usr/bin/pump", "", "--level=3"].map(|word| word.as_bytes().to_vec()).to_vec(),
        given: vec![[0x77; 32]],
        needed: 2,
    };
    let why = Some("1 of 2 agree".into());
    let held = Said::Notice { fact: Fact::Held, age_s: 10_800, why };
    let started = Said::Notice { fact: Fact::Started, age_s: 0, why: None };
    let refused = JobResult {
        why: Some("argument 1 (level): 11 is not between 0 and 9".into()),
        clock: Some(1_800_000_000),
        ..JobResult::without_output(BundleId([0x10; 32]), State::Refused)
    };
    let undone = JobResult {
        why: Some("within 900 s the check ended with 1".into()),
        ran_ms: 1200,
        stdout: Stream::whole(b"unpacked\n".to_vec()),
        ..JobResult::without_output(BundleId([0x10; 32]), State::Undone)
    };
    vec![
        ("job", "a job with nothing but its handle", of_job(least())),
        ("job-full", "a job in which every field says something", of_job(full())),
        ("result-exited", "a result with a file of what was kept", of_result(exited())),
        ("result-brief", "a result for a narrow link", of_result(brief())),
        ("result-refused", "a refusal", of_result(refused)),
        ("result-undone", "an update that did not stand its trial", of_result(undone)),
        ("word-cancel", "a job taken back by force", of_word(Said::Cancel { force: true })),
        ("word-approve", "an approval", of_word(Said::Approve([0xab; 32]))),
        ("word-ask", "a result asked for again, in full", of_word(Said::Ask(Answer::Full))),
        ("word-held", "a job that waits, and why", of_word(held)),
        ("word-started", "a job that runs", of_word(started)),
        ("word-propose", "a command to agree to", of_word(Said::Propose(proposal))),
    ]
}

fn least() -> Job {
    Job {
        handle: "uptime".parse().unwrap(),
        args: vec![],
        turn: Turn::now(86_400),
        answer: Answer::Full,
        files: None,
        stdin: None,
        fleet: None,
        rerun_of: None,
    }
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

fn full() -> Job {
    let handle = |text: &str| Some(text.parse().unwrap());
    Job {
        args: vec![b"3".to_vec(), vec![0xff, b'\n', b'\''], vec![]],
        turn: Turn {
            queue: handle("pumps"),
            after: vec![BundleId([7; 32]), BundleId([6; 32])],
            if_ok: true,
            patience_s: 3600,
            then: Then::Hold,
            supersedes: handle("pump-config"),
            not_before: Some(1_800_000_000),
            not_after: Some(1_800_086_400),
            ..Turn::now(u32::MAX)
        },
        answer: Answer::Brief,
        files: Some(Manifest {
            text: None,
            files: vec![file("plan.txt", b"the plan"), file("stdin", b"in")],
            content: Content::Inline(b"the planin".to_vec()),
        }),
        stdin: Some(1),
        fleet: Some(Fleet {
            name: "pumps-2026".parse().unwrap(),
            place: 3,
            of: 40,
            canary: 4,
            failures: 2,
        }),
        rerun_of: Some(BundleId([9; 32])),
        ..least()
    }
}

fn exited() -> JobResult {
    let kept = b"0123456789".repeat(600);
    let stdout = Stream {
        bytes: 1 << 20,
        blake3: [0xcd; 32],
        head: kept[..100].to_vec(),
        tail: kept[..200].to_vec(),
        gap: Some(3000),
    };
    JobResult {
        ran_ms: 1200,
        waited_ms: 5,
        stdout,
        stderr: Stream::whole(b"no valve\n".to_vec()),
        enforced: [("memory", "cgroup"), ("net", "namespace"), ("wall", "timer")]
            .map(|(bound, means)| (bound.into(), means.into()))
            .into(),
        audit: Some([6; 32]),
        files: Some(Manifest {
            text: None,
            files: vec![file("stdout", &kept)],
            content: Content::Inline(kept),
        }),
        ..JobResult::without_output(BundleId([0x10; 32]), State::Exited(3))
    }
}

fn brief() -> JobResult {
    let stdout = Stream {
        bytes: 70_000,
        blake3: [0xcd; 32],
        head: vec![],
        tail: b"pump 3 is up".to_vec(),
        gap: None,
    };
    JobResult {
        ran_ms: 90_000,
        stdout,
        ..JobResult::without_output(BundleId([0x10; 32]), State::Signalled(9))
    }
}

const JOB: u64 = 12;
const RESULT: u64 = 14;
const WORD: u64 = 22;

/// The elements of a good one, to be spoiled, by the number of their packet.
pub(crate) fn elements(kind: u64) -> Vec<V> {
    let files = || {
        let file = V::A(vec![
            V::A(vec![t("in")]),
            V::U(2),
            b(blake3::hash(b"hi").as_bytes()),
            V::Null,
            V::U(0),
        ]);
        b(V::A(vec![V::Null, V::Null, V::A(vec![file]), b("hi")]).bytes())
    };
    let number = |n: u64| V::U(n);
    match kind {
        JOB => {
            let turn = vec![
                t("pumps"),
                V::A(vec![b([7; 32])]),
                number(1),
                number(60),
                number(2),
                V::Null,
                number(86_400),
                number(5),
                number(6),
            ];
            let fleet = V::A(vec![t("pumps"), number(1), number(4), number(1), number(1)]);
            let args = V::A(vec![b("3"), b("")]);
            vec![t("pump"), args, V::A(turn), number(0), files(), number(0), fleet, b([9; 32])]
        }
        RESULT => {
            let cut = V::A(vec![number(5000), b([1; 32]), b("begin"), b("end"), V::Null]);
            let whole = V::A(vec![number(5), V::Null, b("hello"), b(""), V::Null]);
            let bounds =
                V::A(vec![V::A(vec![t("net"), t("none")]), V::A(vec![t("wall"), t("timer")])]);
            let id = b([5; 32]);
            let (audit, why) = (b([6; 32]), t("so it is"));
            vec![
                id,
                number(0),
                number(3),
                why,
                number(9),
                number(9),
                number(9),
                cut,
                whole,
                bounds,
                audit,
                V::Null,
            ]
        }
        _ => {
            let argv = V::A(vec![b("/bin/a"), b("b")]);
            let (alice, given) = (b(node(ALICE).id().as_bytes()), V::A(vec![b([7; 32])]));
            vec![b([5; 32]), number(4), alice, t("pump"), argv, given, number(2)]
        }
    }
}

/// A list within the elements.
fn inner(elements: &mut [V], at: usize) -> &mut Vec<V> {
    match &mut elements[at] {
        V::A(items) => items,
        other => panic!("{other:?} is no list"),
    }
}

pub(crate) fn malformed() -> Vec<Vector> {
    let case = |kind: u64, name: &str, what: &str, spoil: &dyn Fn(&mut Vec<V>)| {
        let mut items = elements(kind);
        spoil(&mut items);
        // What is long goes under age.
        let body = V::A(items).bytes();
        let seal = if body.len() > 2000 { 2 } else { 1 };
        let craft = Craft::new(seal, false).packet(vec![V::U(kind), b(body)]);
        let of = match kind {
            JOB => "job",
            RESULT => "result",
            _ => "word",
        };
        bad(&format!("packet-{of}-{name}"), what, "bundle", &craft.build(), "packet")
            .for_seed(seed(BOB))
    };
    let mut out = Vec::new();
    let mut job = |name: &str, what: &str, spoil: &dyn Fn(&mut Vec<V>)| {
        out.push(case(JOB, name, what, spoil));
    };
    job("7-elements", "seven elements", &|it| drop(it.pop()));
    job("9-elements", "nine elements", &|it| it.push(V::Null));
    job("handle-empty", "a handle of no bytes", &|it| it[0] = t(""));
    job("handle-65", "a handle of 65 bytes", &|it| it[0] = t("x".repeat(65)));
    job("handle-slash", "a handle that is a path", &|it| it[0] = t("../sh"));
    job("handle-dash", "a handle that begins as an option does", &|it| it[0] = t("-rf"));
    job("handle-upper", "a handle in upper case", &|it| it[0] = t("Pump"));
    job("handle-bytes", "a handle as a byte string", &|it| it[0] = b("pump"));
    job("args-text", "an argument as a text", &|it| it[1] = V::A(vec![t("3")]));
    job("args-257", "257 arguments", &|it| it[1] = V::A(vec![b(""); 257]));
    job("args-nul", "an argument with a zero byte", &|it| it[1] = V::A(vec![b("a\0b")]));
    job("args-65537", "an argument of one byte too many", &|it| {
        it[1] = V::A(vec![b(vec![b'x'; 65_537])]);
    });
    job("args-together", "arguments of more than 128 KiB together", &|it| {
        it[1] = V::A(vec![b(vec![b'x'; 65_536]), b(vec![b'x'; 65_536]), b("x")]);
    });
    job("turn-8", "a turn of eight elements", &|it| drop(inner(it, 2).pop()));
    job("queue", "a queue that is no word", &|it| inner(it, 2)[0] = t("a b"));
    job("after-17", "after 17 others", &|it| inner(it, 2)[1] = V::A(vec![b([7; 32]); 17]));
    job("after-31", "after an id of 31 bytes", &|it| inner(it, 2)[1] = V::A(vec![b([7; 31])]));
    job("if-ok-2", "if ok, neither yes nor no", &|it| inner(it, 2)[2] = V::U(2));
    job("if-ok-true", "if ok, as true", &|it| inner(it, 2)[2] = V::Raw(vec![0xf5]));
    job("if-ok-none", "if none ended well", &|it| inner(it, 2)[1] = V::A(vec![]));
    job("patience-33-bits", "a patience of 33 bits", &|it| inner(it, 2)[3] = V::U(1 << 32));
    job("then-3", "an unknown end of patience", &|it| inner(it, 2)[4] = V::U(3));
    job("supersedes", "a key of no bytes", &|it| inner(it, 2)[5] = t(""));
    job("age-0", "an age that is over", &|it| inner(it, 2)[6] = V::U(0));
    job("age-null", "no age", &|it| inner(it, 2)[6] = V::Null);
    job("window", "an end before its beginning", &|it| inner(it, 2)[8] = V::U(4));
    job("answer-2", "an unknown answer", &|it| it[3] = V::U(2));
    job("files-array", "attachments that are no byte string", &|it| it[4] = V::A(vec![]));
    job("files-empty", "attachments of no bytes", &|it| it[4] = b(""));
    job("files-none", "standard input, and no attachments", &|it| it[4] = V::Null);
    let files = |files: Vec<V>, text: V, content: &[u8]| {
        b(V::A(vec![V::Null, text, V::A(files), b(content)]).bytes())
    };
    let entry = |path: &[&str], flags: u64| {
        let path = V::A(path.iter().map(|name| t(*name)).collect());
        V::A(vec![path, V::U(0), b(blake3::hash(b"").as_bytes()), V::Null, V::U(flags)])
    };
    job("files-text", "attachments with a text", &|it| {
        it[4] = files(vec![entry(&["a"], 0)], t("hi"), b"");
    });
    job("files-folder", "an attachment in a folder", &|it| {
        it[4] = files(vec![entry(&["a", "b"], 0)], V::Null, b"");
    });
    job("files-directory", "a directory as an attachment", &|it| {
        it[4] = files(vec![entry(&["a"], 2)], V::Null, b"");
    });
    job("files-257", "257 attachments", &|it| {
        it[4] = files(vec![entry(&["a"], 0); 257], V::Null, b"");
    });
    job("stdin-1", "a second attachment as standard input, where there is one", &|it| {
        it[5] = V::U(1);
    });
    job("fleet-4", "a fleet of four elements", &|it| drop(inner(it, 6).pop()));
    job("fleet-place", "a place beyond the fleet", &|it| inner(it, 6)[1] = V::U(4));
    job("fleet-canary", "more ahead than there are", &|it| inner(it, 6)[3] = V::U(5));
    job("fleet-large", "a fleet of 65,537", &|it| inner(it, 6)[2] = V::U(65_537));
    job("rerun-31", "a job of 31 bytes, repeated", &|it| it[7] = b([9; 31]));

    let mut result = |name: &str, what: &str, spoil: &dyn Fn(&mut Vec<V>)| {
        out.push(case(RESULT, name, what, spoil));
    };
    result("11-elements", "eleven elements", &|it| drop(it.pop()));
    result("job-31", "an id of 31 bytes", &|it| it[0] = b([5; 31]));
    result("state-13", "an unknown state", &|it| it[1] = V::U(13));
    result("exited-no-code", "ended by itself, without a status", &|it| it[2] = V::Null);
    result("exited-256", "a status of nine bits", &|it| it[2] = V::U(256));
    result("signal-0", "ended by signal 0", &|it| (it[1], it[2]) = (V::U(1), V::U(0)));
    result("signal-128", "ended by signal 128", &|it| (it[1], it[2]) = (V::U(1), V::U(128)));
    result("killed-code", "killed, with a status", &|it| it[1] = V::U(3));
    result("refused-ran", "refused, and yet it ran", &|it| (it[1], it[2]) = (V::U(5), V::Null));
    result("why-empty", "a reason that says nothing", &|it| it[3] = t(""));
    result("why-513", "a reason of 513 bytes", &|it| it[3] = t("x".repeat(513)));
    result("why-escape", "a reason that moves the cursor", &|it| it[3] = t("\u{1b}[2J"));
    result("why-c1", "a reason with a control character beyond ASCII", &|it| it[3] = t("\u{9b}J"));
    result("ran-null", "no time", &|it| it[4] = V::Null);
    result("stream-4", "a stream of four elements", &|it| drop(inner(it, 7).pop()));
    result("stream-no-hash", "a stream in part, without its hash", &|it| inner(it, 7)[1] = V::Null);
    result("stream-hash-31", "a hash of 31 bytes", &|it| inner(it, 7)[1] = b([1; 31]));
    result("stream-hash-twice", "a whole stream, with its hash", &|it| {
        inner(it, 8)[1] = b(blake3::hash(b"hello").as_bytes());
    });
    result("stream-tail", "a whole stream, and an end", &|it| inner(it, 8)[3] = b("x"));
    result("stream-fewer", "more shown than there was", &|it| inner(it, 7)[0] = V::U(7));
    result("stream-exact", "all shown, in two pieces", &|it| inner(it, 7)[0] = V::U(8));
    result("stream-4097", "4,097 bytes shown", &|it| inner(it, 7)[2] = b(vec![b'x'; 4094]));
    result("stream-gap", "a gap in no file", &|it| inner(it, 7)[4] = V::U(1));
    result("bounds-falling", "bounds that do not rise", &|it| inner(it, 9).reverse());
    result("bounds-twice", "a bound twice", &|it| {
        let first = inner(it, 9)[0].clone();
        inner(it, 9)[1] = first;
    });
    result("bounds-33", "33 bounds", &|it| {
        it[9] = V::A((10..43).map(|n| V::A(vec![t(format!("b{n}")), t("x")])).collect());
    });
    result("bounds-empty", "a bound that is called nothing", &|it| {
        it[9] = V::A(vec![V::A(vec![t(""), t("x")])]);
    });
    result("bounds-65", "means of 65 bytes", &|it| {
        it[9] = V::A(vec![V::A(vec![t("x"), t("x".repeat(65))])]);
    });
    result("bounds-3", "a bound of three elements", &|it| {
        it[9] = V::A(vec![V::A(vec![t("x"), t("x"), t("x")])]);
    });
    result("audit-31", "an audit head of 31 bytes", &|it| it[10] = b([6; 31]));
    let output = |name: &str, bytes: u64| {
        let hash = b(blake3::hash(&vec![b'x'; usize::try_from(bytes).unwrap()]).as_bytes());
        V::A(vec![V::A(vec![t(name)]), V::U(bytes), hash, V::Null, V::U(0)])
    };
    result("files-other", "a file that is no stream", &|it| {
        it[11] = files(vec![output("core", 1)], V::Null, b"x");
    });
    result("files-whole", "a file of what is shown whole", &|it| {
        it[11] = files(vec![output("stderr", 1)], V::Null, b"x");
    });
    result("files-hash", "a file of all, with another hash", &|it| {
        it[11] = files(vec![output("stdout", 5000)], V::Null, &[b'x'; 5000]);
    });
    result("files-short", "a file of a part, without its gap", &|it| {
        it[11] = files(vec![output("stdout", 10)], V::Null, &[b'x'; 10]);
    });
    result("files-gap", "a gap beyond the file", &|it| {
        inner(it, 7)[4] = V::U(11);
        it[11] = files(vec![output("stdout", 10)], V::Null, &[b'x'; 10]);
    });
    result("files-twice", "a stream's file twice", &|it| {
        inner(it, 7)[4] = V::U(1);
        it[11] = files(vec![output("stdout", 1), output("stdout", 1)], V::Null, b"xx");
    });
    result("files-text", "a file with a text", &|it| {
        inner(it, 7)[4] = V::U(1);
        it[11] = files(vec![output("stdout", 1)], t("hi"), b"x");
    });

    let mut word = |name: &str, what: &str, spoil: &dyn Fn(&mut Vec<V>)| {
        out.push(case(WORD, name, what, spoil));
    };
    let short = |number: u64, rest: V| vec![b([5; 32]), V::U(number), rest];
    word("2-elements", "an id, a number, and nothing said", &|it| it.truncate(2));
    word("job-31", "an id of 31 bytes", &|it| it[0] = b([5; 31]));
    word("job-text", "the id as a text", &|it| it[0] = t("x".repeat(32)));
    word("5", "an unknown word", &|it| it[1] = V::U(5));
    word("null", "null as word", &|it| it[1] = V::Null);
    word("cancel-2", "force, neither yes nor no", &|it| *it = short(0, V::U(2)));
    word("cancel-4", "cancel, of four elements", &|it| {
        *it = short(0, V::U(1));
        it.push(V::Null);
    });
    word("approve-31", "an approval of 31 bytes", &|it| *it = short(1, b([3; 31])));
    word("ask-2", "an unknown answer", &|it| *it = short(2, V::U(2)));
    let notice = |fact: u64, why: V| vec![b([5; 32]), V::U(3), V::U(fact), V::U(60), why];
    word("notice-3", "an unknown fact", &|it| *it = notice(3, V::Null));
    word("notice-why", "a reason of two lines", &|it| *it = notice(0, t("a\nb")));
    word("notice-4", "a notice of four elements", &|it| {
        *it = notice(0, V::Null);
        it.pop();
    });
    word("propose-6", "a proposal of six elements", &|it| drop(it.pop()));
    word("propose-issuer", "an issuer that is no key", &|it| it[2] = b([0; 32]));
    word("propose-handle", "a handle that is no word", &|it| it[3] = t("a/b"));
    word("propose-argv-empty", "a command of no words", &|it| it[4] = V::A(vec![]));
    word("propose-argv-513", "a command of 513 words", &|it| it[4] = V::A(vec![b(""); 513]));
    word("propose-argv-nul", "a word with a zero byte", &|it| it[4] = V::A(vec![b("a\0")]));
    word("propose-argv-long", "a command of more than 256 KiB", &|it| {
        it[4] = V::A(vec![b(vec![b'x'; 262_145])]);
    });
    word("propose-given-31", "a hash of 31 bytes", &|it| it[5] = V::A(vec![b([7; 31])]));
    word("propose-given-257", "257 hashes", &|it| it[5] = V::A(vec![b([7; 32]); 257]));
    word("propose-needed-0", "nobody has to agree", &|it| it[6] = V::U(0));
    for (kind, name) in [(JOB, "job"), (RESULT, "result"), (WORD, "word")] {
        let body = [V::A(elements(kind)).bytes(), vec![0]].concat();
        let craft = Craft::open().packet(vec![V::U(kind), b(body)]);
        let name = format!("packet-{name}-trailing");
        let vector = bad(&name, "a byte behind the body", "bundle", &craft.build(), "packet");
        out.push(vector.for_seed(seed(BOB)));
    }
    out
}

/// Each malformed one but for its fault would be a good one.
#[test]
fn the_elements_are_good_until_they_are_spoiled() {
    for kind in [JOB, RESULT, WORD] {
        let bytes = V::A(vec![V::U(kind), b(V::A(elements(kind)).bytes())]).bytes();
        let read = Packet::decode(&bytes);
        assert!(read.is_ok(), "{kind}: {read:?}");
    }
}
