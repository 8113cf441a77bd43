//! What a person's disk and pipes bring: settings, key file, contacts, packed streams; and what others
//! send for what that person allowed.

use std::{cell::RefCell, fs, path::PathBuf};

use postrider::{
    desk::{Desk, FailureKind, Silent},
    home::{Config, Contacts, Home, KeyFile, Shares},
};
use postrider_base::packet::{ARGV_BYTES_MAX, ARGV_MAX, WHY_MAX};
use postrider_exec::allow::{
    AllowList, Asked, Attached, Entry, Here, Template, Verdict, entry_text, judge,
};
use tempfile::TempDir;

use super::seeds::BOB;

thread_local! {
    /// One folder per thread: making one costs more than reading what is in it.
    static DIR: TempDir = tempfile::tempdir().unwrap();
    /// Bob's home, used for so many streams and then made afresh, so that it stays small.
    static DESK: RefCell<Option<(TempDir, Desk, u32)>> = const { RefCell::new(None) };
}

/// After so many streams a home is thrown away.
const STREAMS_PER_HOME: u32 = 256;

pub fn config(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(config) = Config::parse(text) else { return false };
    assert_eq!(Config::parse(&config.to_text()).unwrap(), config);
    assert!((1..=64).contains(&config.worker_count()));
    true
}

pub fn allow_list(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(list) = AllowList::parse(text) else { return false };
    for (handle, entry) in &list.0 {
        let alone = AllowList::parse(&entry_text(handle, entry)).unwrap();
        assert_eq!(alone.0.get(handle), Some(entry));
        // Taken away where it stands in a form that is understood; else nothing is changed.
        if let Ok(without) = AllowList::edited(text, handle, None) {
            let mut wanted = list.clone();
            wanted.0.remove(handle);
            assert_eq!(AllowList::parse(&without).unwrap(), wanted);
        }
    }
    !list.0.is_empty()
}

pub fn shares(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(shares) = Shares::parse(text) else { return false };
    for (name, share) in &shares.0 {
        assert_eq!(share.check(), Ok(()));
        let alone = Shares::parse(&Shares::edited("", name, Some(share)).unwrap()).unwrap();
        assert_eq!(alone.0.get(name), Some(share));
        if let Ok(without) = Shares::edited(text, name, None) {
            let mut wanted = shares.clone();
            wanted.0.remove(name);
            assert_eq!(Shares::parse(&without).unwrap(), wanted);
        }
    }
    !shares.0.is_empty()
}

/// A command, a line a word; behind an empty line the arguments, each behind its length.
pub fn allowed(data: &[u8]) -> bool {
    let end = data.windows(2).position(|pair| pair == b"\n\n").unwrap_or(data.len());
    let Ok(words) = std::str::from_utf8(&data[..end]) else { return false };
    let words: Vec<String> = words.split('\n').map(str::to_owned).collect();
    let Ok(command) = Template::parse(&words) else { return false };
    let mut rest = data.get(end + 2..).unwrap_or_default();
    let mut args = Vec::new();
    while let Some((length, after)) = rest.split_first() {
        let (arg, after) = after.split_at(after.len().min((*length).into()));
        args.push(arg.to_vec());
        rest = after;
    }
    let mut entry = Entry::new(command);
    entry.files = Some(10);
    let list = AllowList([("h".parse().unwrap(), entry)].into());
    let files = [Attached { name: "plan".into(), bytes: 5 }];
    let asked =
        Asked { handle: &"h".parse().unwrap(), args: &args, stdin_bytes: None, files: &files };
    let here =
        Here { may: &|_| true, contact: &|name| (name == "Bob").then(|| "pr1bob".to_owned()) };
    match judge(&list, &asked, &here) {
        Verdict::Run(rendered) => {
            assert_eq!(rendered.argv[0], rendered.entry.command.program().as_bytes());
            let bytes: usize = rendered.argv.iter().map(Vec::len).sum();
            assert!(rendered.argv.len() <= ARGV_MAX && bytes <= ARGV_BYTES_MAX);
            // A word of the operator's own may be anything; one that somebody filled never is a
            // line, and the program is never told of more words than it was given.
            assert!(rendered.argv.len() <= words.len() + args.len());
            assert!(rendered.argv.iter().all(|word| !word.contains(&0)));
            let lines = |words: &[Vec<u8>]| words.concat().iter().filter(|c| **c == b'\n').count();
            assert_eq!(lines(&rendered.argv), 0);
            true
        }
        Verdict::Refused(refusal) => {
            let why = refusal.why();
            assert!(why.len() <= WHY_MAX && !why.chars().any(char::is_control));
            false
        }
        Verdict::NoSuchHandle => panic!("it is there"),
    }
}

pub fn key_file(data: &[u8]) -> bool {
    let Ok(key) = KeyFile::read(&written(data)) else { return false };
    let text = key.to_text();
    let again = KeyFile::read(&written(text.as_bytes())).expect("what is written can be read");
    assert_eq!(again.to_text(), text);
    assert!(!key.seal_keys.is_empty());
    true
}

/// Lines of contacts, as they are and with their checksums made.
pub fn contacts(data: &[u8]) -> bool {
    let mut summed = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        let sum = blake3::hash(line).to_hex();
        summed.extend([&sum.as_bytes()[..16], b" ", line, b"\n"].concat());
    }
    known(data) | known(&summed)
}

fn known(file: &[u8]) -> bool {
    let path = written(file);
    let contacts = Contacts::read(&path).expect("damage costs lines, never the file");
    let (damaged, repaired) = contacts.damage();
    assert!(repaired <= damaged);
    let names = |contacts: &Contacts| -> Vec<_> { contacts.iter().cloned().collect() };
    // An edit that changes nothing writes a damaged file anew.
    Contacts::edit(&path, |_| Ok(())).unwrap();
    let again = Contacts::read(&path).unwrap();
    assert_eq!(names(&again), names(&contacts));
    assert_eq!(again.damage(), (0, 0), "what was saved is whole");
    for contact in contacts.iter() {
        assert!(contacts.of(&contact.card.node).is_some());
        // Hostile lines may share a name; resolving still says something.
        let _ = contacts.resolve(&contact.name);
    }
    let found = contacts.iter().next().is_some();
    // Only a file that was written anew has a version before.
    let _ = fs::remove_file(path.with_extension("before"));
    found
}

/// A stream that Bob unpacks.
pub fn stream(data: &[u8]) -> bool {
    DESK.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|(.., used)| *used >= STREAMS_PER_HOME) {
            *slot = None;
            let (dir, desk) = home_of(BOB, "Bob");
            *slot = Some((dir, desk, 0));
        }
        let Some((_, desk, used)) = slot else { return false };
        *used += 1;
        match desk.unpack(&mut &data[..], &Silent) {
            Ok(reply) => reply.damaged == 0 && reply.skipped == 0,
            Err(failure) => {
                assert_eq!(failure.kind, FailureKind::Damaged, "{failure:?}");
                false
            }
        }
    })
}

/// A home whose identity is always the same.
pub(super) fn home_of(seed: [u8; 32], name: &str) -> (TempDir, Desk) {
    let dir = tempfile::tempdir().unwrap();
    Home::create(dir.path(), Some(name), seed, true).unwrap();
    let desk = Desk::open(dir.path()).unwrap();
    (dir, desk)
}

fn written(data: &[u8]) -> PathBuf {
    DIR.with(|dir| {
        let path = dir.path().join("file");
        fs::write(&path, data).unwrap();
        path
    })
}
