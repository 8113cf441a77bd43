//! What a person's disk and pipes bring: settings, key file, contacts, packed streams.

use std::{cell::RefCell, fs, path::PathBuf};

use postrider::{
    desk::{Desk, FailureKind, Silent},
    home::{Config, Contacts, Home, KeyFile},
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
