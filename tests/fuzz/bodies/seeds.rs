//! Valid inputs to start from: the twins spoil them, and write them as a corpus for
//! the fuzzer.

use std::io::Write;
use std::sync::OnceLock;

use postrider::{
    desk::{AddRequest, SendRequest, Silent},
    home::{Config, Contacts, KeyFile, Trust},
};
use postrider_base::{
    BundleId, Card, Head, Lifetime, Niceness, NodeSecret, Roster,
    bundle::{Hop, LockField, SealKind, Sequence, SmallBundle},
    card::Facts,
    compose::{Letter, Padding, Privacy, Sealed, To, seal},
    id::SetId,
    packet::{
        Answer, Body, Content, Fact, FileEntry, Fleet, Introduction, Job, JobResult, Listed,
        Manifest, No, Packet, PartHead, PartList, Proposal, Range, Request, Said, State, Stream,
        Tail, Then, Told, Turn, Word, compress_part,
    },
    roster::{Day, Entry, Member, RosterFacts},
    seal::{age, compact},
    wire as cbor,
};
use postrider_engine::parcel::{
    ContainerWriter, FileKind, FileNumber, NewRecord, NewRest, Notes, RestWriter, Salt, VolumeId,
};

use super::{home::home_of, log, sealed};

pub(super) const ALICE: [u8; 32] = [1; 32];
pub(super) const BOB: [u8; 32] = [2; 32];
pub(super) const VOLUME: VolumeId = VolumeId([3; 16]);
pub(super) const AGE_PLAIN: &[u8] = b"water at the school";
const TEXT: &str = "We are all at the school. Please bring water and blankets tomorrow.";

type Inputs = Vec<Vec<u8>>;

pub(super) fn alice() -> NodeSecret {
    NodeSecret::from_seed(ALICE)
}

pub(super) fn bob() -> NodeSecret {
    NodeSecret::from_seed(BOB)
}

/// Alice's mail to Bob, always the same.
pub(super) fn sealed_mail() -> &'static Sealed<Vec<u8>> {
    static MAIL: OnceLock<Sealed<Vec<u8>>> = OnceLock::new();
    MAIL.get_or_init(|| mail_in(Privacy::Open))
}

/// Her mail in every envelope, as small bundles.
pub fn mails() -> Vec<Sealed<Vec<u8>>> {
    let hidden = |known| Privacy::Hidden { known };
    [Privacy::Open, hidden(true), hidden(false)].map(mail_in).into()
}

fn mail_in(privacy: Privacy) -> Sealed<Vec<u8>> {
    let author = alice();
    let letter = Letter {
        author: &author,
        to: To::One(bob().id(), bob().first_seal_key().public()),
        sequence: Sequence { epoch: 7, counter: 5 },
        created: 1_800_000_000,
        lifetime: Lifetime::DEFAULT,
        nice: Niceness::NORMAL,
        privacy,
        padding: Padding::Class,
    };
    seal(&letter, &packets()[0], &[4; 32]).unwrap()
}

pub(super) fn wire() -> Inputs {
    let long = "text".repeat(80);
    vec![
        cbor::encode(&(1_u8, serde_bytes::Bytes::new(b"bytes"), Some((70_000_u32, long)))),
        cbor::encode(&vec![vec![vec![1_u64, 1 << 40]]]),
        cbor::encode(&vec![None, Some(true), Some(false)]),
        sealed_mail().head.encode(),
    ]
}

pub(super) fn header() -> Inputs {
    let mut all: Inputs = mails().iter().map(|mail| mail.head.header_bytes().to_vec()).collect();
    let mut large = sealed::header(SealKind::Age, LockField::Age([9; 16]), false);
    (large.length, large.hash) = (9000, Some([8; 32]));
    all.push(large.encode());
    all
}

pub(super) fn head() -> Inputs {
    let mut all: Inputs = mails().iter().map(|mail| mail.head.encode()).collect();
    let mut large = sealed::header(SealKind::Age, LockField::Age([9; 16]), false);
    (large.length, large.hash) = (9000, Some([8; 32]));
    all.push(Head::sign(large, &[], &alice()).encode());
    all
}

pub(super) fn small_bundle() -> Inputs {
    let whole =
        |mail: Sealed<Vec<u8>>| SmallBundle { head: mail.head, payload: mail.payload }.encode();
    mails().into_iter().map(whole).collect()
}

pub(super) fn receipt() -> Inputs {
    let mail = sealed_mail();
    let receipt = postrider_base::bundle::Receipt::new(&mail.id, mail.secret.as_ref().unwrap());
    vec![receipt.encode().to_vec()]
}

fn card_of(secret: &NodeSecret, hints: Vec<String>) -> Card {
    let key = secret.first_seal_key().public();
    let other = postrider_base::SealSecret::from_bytes([5; 32]).public();
    let facts = Facts {
        node: secret.id(),
        number: 3,
        seal_keys: vec![(2, other), (1, key)],
        name: "Alice".into(),
        hints,
        features: Facts::HIDDEN,
    };
    Card::sign(facts, secret).unwrap()
}

pub(super) fn card() -> Inputs {
    let card = card_of(&alice(), vec!["tls://[2001:db8::1]:7531".into()]);
    let text = card.to_string();
    let broken = format!("  {}\n {}\r\n", &text[..76], &text[76..]);
    vec![card.as_bytes().to_vec(), text.clone().into(), text.to_uppercase().into(), broken.into()]
}

pub(super) fn card_body() -> Inputs {
    let card = card_of(&alice(), vec!["lan:".into(), String::new()]);
    let (body, _): (serde_bytes::ByteBuf, serde_bytes::ByteBuf) =
        cbor::decode(card.as_bytes()).unwrap();
    vec![body.into_vec()]
}

pub(super) fn roster() -> Inputs {
    let entry = |who, name: &str| Entry {
        who,
        name: name.into(),
        role: "medic".into(),
        groups: vec!["field".into(), "night-1".into()],
        until: Some(Day(20_830)),
        revoked: false,
    };
    let mut facts = RosterFacts {
        key: alice().id(),
        number: 3,
        issued: Day(20_800),
        name: "Relief".into(),
        entries: vec![],
    };
    let empty = Roster::sign(&facts, &alice()).unwrap();
    facts.put(entry(Member::Card(Box::new(card_of(&alice(), vec![]))), "Alice"));
    let gone = entry(Member::Key(NodeSecret::from_seed(BOB).id()), "Bob");
    facts.put(Entry { revoked: true, role: String::new(), until: None, ..gone });
    let full = Roster::sign(&facts, &alice()).unwrap();
    [empty, full].map(|roster| roster.as_bytes().to_vec()).into()
}

pub(super) fn roster_body() -> Inputs {
    let body = |roster: Vec<u8>| {
        let (body, _): (serde_bytes::ByteBuf, serde_bytes::ByteBuf) =
            cbor::decode(&roster).unwrap();
        body.into_vec()
    };
    roster().into_iter().map(body).collect()
}

pub(super) fn node_text() -> Inputs {
    let id = alice().id();
    let text = id.to_string();
    vec![
        text.clone().into(),
        text.to_uppercase().into(),
        format!(" {text}\n").into(),
        id.as_bytes().to_vec(),
    ]
}

pub(super) fn seal_key_text() -> Inputs {
    let key = bob().first_seal_key().public();
    // In lower case only, as age writes them.
    vec![key.to_string().into(), format!(" {key}\n").into(), key.as_bytes().to_vec()]
}

fn small_manifest() -> Manifest {
    let file = |name: &str, content: &[u8]| FileEntry {
        path: vec!["photos".into(), name.into()],
        bytes: content.len() as u64,
        blake3: *blake3::hash(content).as_bytes(),
        mtime: Some(1_700_000_000),
        executable: false,
        directory: false,
    };
    let directory = FileEntry { path: vec!["empty".into()], directory: true, ..file("x", b"") };
    Manifest {
        text: Some("two files".into()),
        files: vec![file("a.jpg", b"abc"), directory, file("b.jpg", b"defgh")],
        content: Content::Inline(b"abcdefgh".to_vec()),
    }
}

fn large_manifest() -> Manifest {
    let file = FileEntry {
        path: vec!["film.mkv".into()],
        bytes: 3 << 20,
        blake3: [6; 32],
        mtime: None,
        executable: true,
        directory: false,
    };
    let parts = PartList {
        set: SetId([3; 16]),
        part_bytes: 1 << 20,
        total_bytes: 3 << 20,
        hashes: vec![[1; 32], [2; 32], [3; 32]],
    };
    Manifest { text: None, files: vec![file], content: Content::Parts(parts) }
}

fn jobs() -> Vec<Job> {
    let least = Job {
        handle: "uptime".parse().unwrap(),
        args: vec![],
        turn: Turn::now(60),
        answer: Answer::Full,
        files: None,
        stdin: None,
        fleet: None,
        rerun_of: None,
    };
    let mut files = small_manifest();
    files.text = None;
    files.files.retain(|file| !file.directory);
    files.files.iter_mut().for_each(|file| file.path.truncate(1));
    let turn = Turn {
        queue: Some("pumps".parse().unwrap()),
        after: vec![BundleId([7; 32])],
        if_ok: true,
        patience_s: 3600,
        then: Then::Run,
        supersedes: Some("pump".parse().unwrap()),
        not_before: Some(5),
        not_after: Some(1_800_000_000),
        ..Turn::now(86_400)
    };
    let fleet = Fleet { name: "a".parse().unwrap(), place: 1, of: 3, canary: 1, failures: 1 };
    let full = Job {
        args: vec![b"3".to_vec(), vec![0xff]],
        turn,
        answer: Answer::Brief,
        files: Some(files),
        stdin: Some(1),
        fleet: Some(fleet),
        rerun_of: Some(BundleId([9; 32])),
        ..least.clone()
    };
    vec![least, full]
}

fn results() -> Vec<JobResult> {
    let nothing = JobResult::without_output(BundleId([5; 32]), State::Expired);
    let stdout = Stream {
        bytes: 3 << 20,
        blake3: [6; 32],
        head: b"begin".to_vec(),
        tail: b"end".to_vec(),
        gap: None,
    };
    let mut files = large_manifest();
    files.files[0].path = vec!["stdout".into()];
    let full = JobResult {
        state: State::Exited(3),
        why: Some("so it is".into()),
        ran_ms: 5000,
        stdout,
        stderr: Stream::whole(b"no valve".to_vec()),
        enforced: [("net".to_owned(), "none".to_owned())].into(),
        audit: Some([1; 32]),
        files: Some(files),
        ..nothing.clone()
    };
    vec![nothing, full]
}

fn words() -> Vec<Word> {
    let proposal = Proposal {
        issuer: alice().id(),
        handle: "pump".parse().unwrap(),
        argv: vec![b"/bin/pump".to_vec(), b"".to_vec()],
        given: vec![[7; 32]],
        needed: 2,
    };
    let notice = Said::Notice { fact: Fact::Held, age_s: 300, why: Some("1 of 2".into()) };
    let said = [
        Said::Cancel { force: true },
        Said::Propose(proposal),
        notice,
        Said::Approve([1; 32]),
        Said::Ask(Answer::Brief),
    ];
    said.map(|said| Word { job: BundleId([5; 32]), said }).to_vec()
}

fn requests() -> Vec<Request> {
    let path = || vec!["maps".to_owned(), "north".to_owned()];
    let answer = |said| Request::Answer { request: BundleId([5; 32]), said };
    let entry = Listed { name: "a".into(), directory: false, bytes: 7, mtime: Some(9) };
    let range = Some(Range { from: 7, length: Some(100) });
    vec![
        Request::List { path: path(), glob: Some("*.pdf".into()), after: Some("a".into()) },
        Request::Get { path: path(), glob: None, range, known: vec![(5, [7; 32])] },
        Request::Rest { path: path(), bytes: 9, blake3: [7; 32], ranges: vec![(0, 1), (5, 4)] },
        answer(Told::No(No::TooLarge { most: 1000 })),
        answer(Told::Listing { entries: vec![entry], more: true }),
        answer(Told::Same { bytes: 5, blake3: [7; 32] }),
    ]
}

pub(super) fn file_request() -> Inputs {
    requests().iter().map(Request::encode).collect()
}

pub(super) fn job() -> Inputs {
    jobs().iter().map(Job::encode).collect()
}

pub(super) fn job_result() -> Inputs {
    results().iter().map(JobResult::encode).collect()
}

pub(super) fn job_word() -> Inputs {
    words().iter().map(Word::encode).collect()
}

pub(super) fn manifest() -> Inputs {
    vec![small_manifest().encode(), large_manifest().encode()]
}

fn packets() -> Inputs {
    let card = card_of(&alice(), vec![]).as_bytes().to_vec();
    let tail = Tail { reply_to: Some(BundleId([9; 32])), card: Some(card.clone()) };
    let bodies = [
        Body::Mail(TEXT.into()),
        Body::Mail("x".into()),
        Body::Files(small_manifest()),
        Body::Files(large_manifest()),
        Body::Card(card.clone()),
        Body::Introduction(Introduction { card, note: Some("a friend".into()) }),
        Body::Roster(roster().remove(1)),
        Body::Request(Box::new(requests().remove(1))),
        Body::Job(Box::new(jobs().remove(1))),
        Body::Result(Box::new(results().remove(1))),
        Body::Word(Box::new(words().remove(1))),
    ];
    let mut all: Inputs =
        bodies.into_iter().map(|body| Packet { body, tail: Tail::default() }.encode()).collect();
    all.push(Packet { body: Body::Mail(TEXT.into()), tail }.encode());
    all
}

fn part(raw: &[u8], plain_bytes: u64, compressed: bool) -> Vec<u8> {
    let head = PartHead {
        set: SetId([3; 16]),
        index: 7,
        stored_bytes: raw.len() as u64,
        plain_bytes,
        compressed,
    };
    let packet = Packet { body: Body::Part(head), tail: Tail::default() };
    [&packet.encode()[..], raw].concat()
}

pub(super) fn packet() -> Inputs {
    let mut all = packets();
    all.push([&packets()[0][..], &[0; 20]].concat());
    all
}

pub(super) fn compressed() -> Inputs {
    let bodies =
        [Body::Mail(TEXT.into()), Body::Mail("ab".repeat(300)), Body::Files(small_manifest())];
    let packets = bodies.map(|body| Packet { body, tail: Tail::default() }.encode());
    let mut found = Vec::new();
    for packet in packets {
        if let Ok((kind, body)) = cbor::decode::<(u8, serde_bytes::ByteBuf)>(&packet)
            && kind % 2 == 1
        {
            found.push(body.into_vec());
        }
    }
    assert!(found.len() > 1);
    found
}

/// Plaintexts of both envelopes; the first byte says which.
pub(super) fn inside_compact() -> Inputs {
    let mut plain = packets();
    plain.push([&packets()[1][..], &[0; 100]].concat());
    in_both_envelopes(&plain)
}

/// The same, and parts, which only the streaming seal has.
pub(super) fn inside_age() -> Inputs {
    let raw = "the same words again and again, ".repeat(300);
    let packed = compress_part(raw.as_bytes()).expect("it repeats");
    let mut plain = packets();
    plain.push(part(b"raw bytes of a part", 19, false));
    plain.push(part(&packed, raw.len() as u64, true));
    in_both_envelopes(&plain)
}

fn in_both_envelopes(plain: &[Vec<u8>]) -> Inputs {
    let hidden_start = [
        cbor::encode(&serde_bytes::Bytes::new(alice().id().as_bytes())),
        cbor::encode(&7_u32),
        cbor::encode(&5_u64),
        cbor::encode(&1_800_000_000_u64),
    ]
    .concat();
    let hidden = |packet: &Vec<u8>| [&[1, packet[0] + 4], &hidden_start[..], &packet[1..]].concat();
    let open = |packet: &Vec<u8>| [&[0], &packet[..]].concat();
    plain.iter().map(open).chain(plain.iter().map(hidden)).collect()
}

/// The one payload that opens under the header of the body `compact_payload`.
pub(super) fn compact_mail() -> Vec<u8> {
    let (bob, key) = (bob().id(), bob().first_seal_key().public());
    let header = sealed::header(SealKind::Compact, LockField::None, false);
    let sealing = compact::Sealing::new(bob.as_bytes(), &key, [9; 32]).unwrap();
    sealing.seal(&header.core(), &packets()[0]).unwrap().0
}

pub(super) fn compact_payload() -> Inputs {
    vec![compact_mail()]
}

pub(super) fn age_file() -> Inputs {
    let (key, other) = (bob().first_seal_key().public(), alice().first_seal_key().public());
    let sealed = |keys: &[_]| {
        let mut writer = age::seal_to(keys, Vec::new()).unwrap();
        writer.write_all(AGE_PLAIN).unwrap();
        writer.finish().unwrap()
    };
    vec![sealed(&[key]), sealed(&[other, key])]
}

pub(super) fn container() -> Inputs {
    let mails = mails();
    let mut writer = ContainerWriter::new(Salt([7; 8]));
    let mut file = writer.header().to_vec();
    for mail in &mails {
        let head = mail.head.encode();
        let record = NewRecord {
            id: mail.id,
            nice: mail.head.header().nice,
            lifetime: mail.head.header().lifetime,
            hop: Hop { tokens: 1, hops: 3, age_s: 60, level: 0 },
            head: &head,
            body_bytes: mail.payload.len() as u64,
        };
        file.extend(writer.begin_record(&record).unwrap());
        writer.body(&mail.payload).unwrap();
        file.extend(&mail.payload);
        file.extend(writer.end_record().unwrap());
    }
    let records_end = file.len();
    file.extend(writer.finish().unwrap());
    vec![file.clone(), file[..records_end].to_vec()]
}

/// Scripts; see the body.
pub(super) fn forged_container() -> Inputs {
    let good = [&[0, 5, 1, 2, 3, 4, 5, 3, 9, 9, 9][..], &[0, 1, 7, 0]].concat();
    let huge = [&[1, 2, 8, 8, 1, 6][..], &(64_u64 << 20).to_be_bytes()].concat();
    let beyond = [&[1, 2, 8, 8, 1, 6][..], &u64::MAX.to_be_bytes()].concat();
    let lying = [&[3][..], &50_u64.to_be_bytes(), &good].concat();
    let magics = [&[2, 8][..], b"PRR1PRR1"].concat();
    vec![
        good.clone(),
        [&good[..], &huge, &good].concat(),
        [&good[..], &beyond].concat(),
        [&good[..], &lying].concat(),
        [&good[..], &magics, &good].concat(),
    ]
}

pub(super) fn rest() -> Inputs {
    let mail = sealed_mail();
    let head = mail.head.encode();
    let hop = Hop { tokens: 1, hops: 3, age_s: 60, level: 0 };
    let rest = |from: usize| {
        let (body_bytes, offset) = (mail.payload.len() as u64, from as u64);
        let new = NewRest { hop, head: &head, body_bytes, offset };
        let mut writer = RestWriter::new(Salt([7; 8]), &new).unwrap();
        let mut file = writer.front().to_vec();
        writer.body(&mail.payload[from..]).unwrap();
        file.extend(&mail.payload[from..]);
        file.extend(writer.finish().unwrap());
        file
    };
    vec![rest(1), rest(mail.payload.len() - 1)]
}

/// Those, without what is made anew.
pub(super) fn forged_rest() -> Inputs {
    let bare = |file: &Vec<u8>| [&file[12..36], &file[44..file.len() - 8]].concat();
    rest().iter().map(bare).collect()
}

pub(super) fn notes() -> Inputs {
    let mut notes = Notes::new(VOLUME);
    let empty = notes.encode();
    let mail = sealed_mail();
    let receipt = postrider_base::bundle::Receipt::new(&mail.id, mail.secret.as_ref().unwrap());
    notes.add_receipt(receipt);
    notes.add_taken(&mail.id);
    notes.add_damaged(&mail.id, FileNumber(7));
    vec![notes.encode(), empty]
}

pub(super) fn forged_notes() -> Inputs {
    notes().into_iter().map(|bytes| bytes[..bytes.len() - 8].to_vec()).collect()
}

pub(super) fn volume() -> Inputs {
    vec![VOLUME.encode().to_vec()]
}

pub(super) fn file_name() -> Inputs {
    let kinds = [FileKind::Container, FileKind::Notes, FileKind::Card, FileKind::Leftover];
    kinds.map(|kind| FileNumber(0x0a1b_2c3d).name(kind).into()).into()
}

pub(super) fn allow_list() -> Inputs {
    let full = "# mine\n[a]\nargv = ['/bin/a', '{x:int(0..9)}']\n\n['b.c'] # b\nargv = [\n'/bin/b',\n]\n\
        for = ['@chief', 'Bob']\napprovals = 1\nmemory = 33554432\nnet = true\nread = ['/etc']\n\
        reruns = 3\ngroup = 'g'\nwindow = '22:00-06:00'\nstdin = 5\nfiles = 6\n";
    vec![full.into(), b"[a]\nargv = ['/bin/a']\n".to_vec()]
}

pub(super) fn shares() -> Inputs {
    let full = "# mine\n[a]\npath = '/srv/a'\n\n['b.c'] # b\npath = '/b'\nfor = [\n'@chief', 'Bob',\n]\n\
        list = false\nhidden = true\nmax-bytes = 5\n";
    vec![full.into(), b"[a]\npath = '/'\n".to_vec()]
}

pub(super) fn allowed() -> Inputs {
    vec![
        b"/bin/a\n--n={n:int(-5..9)}\n--\n{x:re([a-z]{1,9})}\n{rest...:text(9)}\n\n\x02-3\x02ab\x02-r"
            .to_vec(),
        b"/bin/a\n{c:contact}\n{f?:file}\n\n\x03Bob\x04plan".to_vec(),
        b"/bin/a\n{{x}}\n{s:enum(on,off)}{y}\n\n\x02on\x01y".to_vec(),
    ]
}

pub(super) fn config() -> Inputs {
    let named = Config { name: "Al \"the\" \\ice".into(), workers: 3, ..Config::default() };
    vec![named.to_text().into(), b"hidden = true\nlifetime-days = 7\n".to_vec()]
}

pub(super) fn key_file() -> Inputs {
    let mut key = KeyFile::new(bob());
    let one = key.to_text().as_bytes().to_vec();
    key.seal_keys.insert(0, (2, postrider_base::SealSecret::from_bytes([5; 32])));
    vec![one, key.to_text().as_bytes().to_vec()]
}

pub(super) fn contacts() -> Inputs {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("contacts");
    for (secret, name) in [(alice(), "Alice"), (bob(), "Bob ü")] {
        let card = card_of(&secret, vec![]);
        Contacts::edit(&path, |all| all.add(card, Some(name), Trust::Verified).map(drop)).unwrap();
    }
    let file = std::fs::read(&path).unwrap();
    // And without the checksums, which the body makes again.
    let bare: Vec<&[u8]> =
        file.split(|byte| *byte == b'\n').filter_map(|line| line.get(17..)).collect();
    vec![file.clone(), bare.join(&b'\n')]
}

/// What Alice packs for Bob: a text, a small file, a large text.
pub(super) fn stream() -> Inputs {
    let (_bob_dir, bob) = home_of(BOB, "Bob");
    let (dir, alice) = home_of(ALICE, "Alice");
    alice.add(&AddRequest { card: bob.home().card.clone(), name: None }).unwrap();
    let file = dir.path().join("list.txt");
    std::fs::write(&file, "rice, beans, candles").unwrap();
    let packed = |text: Option<String>, files: Vec<std::path::PathBuf>| {
        let request = SendRequest {
            to: "Bob".into(),
            text,
            files,
            nice: None,
            lifetime: None,
            hidden: None,
            reply_to: None,
            supersede: None,
        };
        alice.send(&request, &Silent).unwrap();
        let mut out = Vec::new();
        alice.pack(&[], &mut out, &Silent).unwrap();
        out
    };
    let mut noise = vec![0; 6000];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut noise);
    let noise = noise.iter().map(|byte| char::from(b'!' + byte % 90)).collect();
    vec![packed(Some(TEXT.into()), vec![]), packed(None, vec![file]), packed(Some(noise), vec![])]
}

pub(super) fn log_segment() -> Inputs {
    log::good_segments().0
}

pub(super) fn log_records() -> Inputs {
    log::good_segments().1
}
