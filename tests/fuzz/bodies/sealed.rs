//! What only the recipient reads: packets, manifests, and the way to them through both seals.

use std::io::{self, Read, Write};

use postrider_base::{
    Head, Header, Lifetime, Niceness,
    bundle::{Destination, LockField, Origin, SealKind, Sequence, tag_of},
    domain,
    packet::{Body, Content, INLINE_MAX, Job, JobResult, Manifest, Packet, Request, Word},
    seal::{age, compact},
    unseal::{Keyring, OpenError, open_small, open_stream},
    wire,
};
use serde_bytes::Bytes;

use super::seeds::{AGE_PLAIN, alice, bob, compact_mail};

/// Longer plaintexts only cost time: every bound inside is below, or is about a stated length.
const PLAIN_MAX: usize = 64 * 1024;

pub fn packet(data: &[u8]) -> bool {
    if let Ok((_, rest)) = Packet::decode_first(data) {
        assert!(rest.len() < data.len(), "a packet of no bytes");
    }
    let Ok(packet) = Packet::decode(data) else { return false };
    // Compressed bodies have many spellings, so the bytes may differ; what they say may not.
    assert_eq!(Packet::decode(&packet.encode()).as_ref(), Ok(&packet));
    if let Body::Files(manifest) = &packet.body {
        within_bounds(manifest);
    }
    true
}

/// The bytes of a compressed body, as a text, a manifest, a card, and what is said of jobs and requests.
pub fn compressed(data: &[u8]) -> bool {
    let mut accepted = false;
    for kind in [1_u8, 3, 7, 11, 13, 15, 23] {
        accepted |= packet(&wire::encode(&(kind, Bytes::new(data))));
    }
    accepted
}

pub fn manifest(data: &[u8]) -> bool {
    let Ok(manifest) = Manifest::decode(data) else { return false };
    assert_eq!(manifest.encode(), data);
    within_bounds(&manifest);
    true
}

pub fn file_request(data: &[u8]) -> bool {
    let Ok(request) = Request::decode(data) else { return false };
    assert_eq!(request.encode(), data);
    assert_eq!(request.check(), Ok(()));
    if let Request::List { path, .. } | Request::Get { path, .. } | Request::Rest { path, .. } =
        &request
    {
        let leaves =
            |name: &String| ["", ".", ".."].contains(&&**name) || name.contains(['/', '\\', '\0']);
        assert!(!path.iter().any(leaves));
    }
    true
}

pub fn job(data: &[u8]) -> bool {
    let Ok(job) = Job::decode(data) else { return false };
    assert_eq!(job.encode(), data);
    assert_eq!(job.check(), Ok(()));
    assert!(job.args.iter().all(|arg| !arg.contains(&0)));
    job.files.iter().for_each(within_bounds);
    true
}

pub fn job_result(data: &[u8]) -> bool {
    let Ok(result) = JobResult::decode(data) else { return false };
    assert_eq!(result.encode(), data);
    assert_eq!(result.check(), Ok(()));
    assert!(result.state.may_have_run() || result.stdout.bytes + result.stderr.bytes == 0);
    result.files.iter().for_each(within_bounds);
    true
}

pub fn job_word(data: &[u8]) -> bool {
    let Ok(word) = Word::decode(data) else { return false };
    assert_eq!(word.encode(), data);
    assert_eq!(word.check(), Ok(()));
    true
}

fn within_bounds(manifest: &Manifest) {
    assert!(!manifest.files.is_empty());
    let total: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    assert_eq!(total, manifest.total_bytes());
    for name in manifest.files.iter().flat_map(|file| &file.path) {
        assert!(!["", ".", ".."].contains(&name.as_str()) && !name.contains(['/', '\\', '\0']));
    }
    match &manifest.content {
        Content::Inline(bytes) => assert!(bytes.len() as u64 <= INLINE_MAX),
        Content::Parts(parts) => {
            let sum: u64 = (0..).map_while(|index| parts.bytes_of(index)).sum();
            assert_eq!(sum, parts.total_bytes);
        }
    }
}

/// A plaintext in a compact seal: open envelopes when the first byte is even, hidden else.
pub fn compact_inside(data: &[u8]) -> bool {
    let Some((hidden, plain)) = split(data, 4096 - compact::OVERHEAD - 64) else { return false };
    let (bob, key) = (bob().id(), bob().first_seal_key().public());
    let sealing = compact::Sealing::new(bob.as_bytes(), &key, [9; 32]).unwrap();
    let mut header = header(SealKind::Compact, sealing.lock(), hidden);
    let core = header.core();
    let (payload, _) = sealing.seal(&core, &signed(plain, &core, hidden)).unwrap();
    header.length = payload.len() as u64;
    opens(&Head::sign(header, &payload, &alice()), &payload)
}

/// The same in an age seal, where parts stream.
pub fn age_inside(data: &[u8]) -> bool {
    let Some((hidden, plain)) = split(data, PLAIN_MAX) else { return false };
    let r = [0x52; 16];
    let mut lock = [0; 16];
    lock.copy_from_slice(&domain::derive(domain::LOCK, &[&r])[..16]);
    let mut header = header(SealKind::Age, LockField::Age(lock), hidden);
    let core = header.core();
    let key = bob().first_seal_key().public();
    let mut writer = age::seal_to(&[key], Vec::new()).unwrap();
    writer.write_all(blake3::hash(&core).as_bytes()).unwrap();
    writer.write_all(&r).unwrap();
    writer.write_all(&signed(plain, &core, hidden)).unwrap();
    let payload = writer.finish().unwrap();
    header.length = payload.len() as u64;
    header.hash = (!header.is_small()).then(|| *blake3::hash(&payload).as_bytes());
    opens(&Head::sign(header, &payload, &alice()), &payload)
}

/// A compact payload as a relay could have left it: only the author's own opens.
pub fn compact_payload(data: &[u8]) -> bool {
    if !(49..=4096).contains(&data.len()) {
        return false;
    }
    let mut header = header(SealKind::Compact, LockField::None, false);
    header.length = data.len() as u64;
    let accepted = opens(&Head::sign(header, data, &alice()), data);
    assert_eq!(accepted, data == compact_mail(), "a payload that nobody sealed opens");
    accepted
}

/// An age file: whatever opens says what was sealed.
pub fn age_file(data: &[u8]) -> bool {
    let Ok(reader) = age::open_with(&[bob().first_seal_key()], data) else { return false };
    let mut plain = Vec::new();
    if reader.take(1 << 20).read_to_end(&mut plain).is_err() {
        return false;
    }
    assert_eq!(plain, AGE_PLAIN, "a file that nobody sealed opens");
    true
}

fn split(data: &[u8], most: usize) -> Option<(bool, &[u8])> {
    let (first, plain) = data.split_first()?;
    (!plain.is_empty()).then(|| (first % 2 == 1, &plain[..plain.len().min(most)]))
}

/// A header of Alice's to Bob, for any payload.
pub(super) fn header(seal: SealKind, lock: LockField, hidden: bool) -> Header {
    let key = bob().first_seal_key().public();
    let (destination, origin) = match tag_of(&key, &lock) {
        Some(tag) if hidden => (Destination::Tag(tag), Origin::Hidden),
        _ => {
            let sequence = Sequence { epoch: 7, counter: 5 };
            let source = alice().id();
            let origin = Origin::Open { source, sequence, created: 1_800_000_000 };
            (Destination::Node(bob().id()), origin)
        }
    };
    let (lifetime, nice) = (Lifetime::DEFAULT, Niceness::NORMAL);
    Header { destination, lifetime, nice, seal, lock, origin, length: 0, hash: None }
}

/// Inside a hidden envelope the author signs whatever stands there.
fn signed(plain: &[u8], core: &[u8], hidden: bool) -> Vec<u8> {
    let mut out = plain.to_vec();
    if hidden {
        let digest = domain::derive(domain::HIDDEN, &[bob().id().as_bytes(), core, plain]);
        out.extend(alice().sign(&domain::BUNDLE_HIDDEN, &digest));
    }
    out
}

fn opens(head: &Head, payload: &[u8]) -> bool {
    let verified =
        if head.header().is_small() { head.verify_small(payload) } else { head.verify_large() };
    verified.expect("signed just now");
    let (node, keys, senders) = (bob().id(), [bob().first_seal_key()], [alice().id()]);
    let ring = Keyring { node: &node, keys: &keys, senders: &senders };
    assert!(ring.is_for_us(head));
    let opened = if head.header().seal == SealKind::Age {
        open_stream(head, payload, &ring, |_| Ok(Counted::default()))
            .map(|opened| (opened.source, opened.packet, opened.part))
    } else {
        open_small(head, payload, &ring).map(|opened| (opened.source, opened.packet, None))
    };
    let (source, packet, part) = match opened {
        Ok(opened) => opened,
        Err(OpenError::Read(error)) => panic!("memory cannot fail: {error}"),
        Err(_) => return false,
    };
    assert_eq!(source, alice().id(), "nobody else signed it");
    match (&packet.body, part) {
        (Body::Part(said), Some((got, hash))) => {
            assert_eq!(got.bytes, said.plain_bytes, "a part of another length than it says");
            assert_eq!(got.hasher.finalize().as_bytes(), &hash);
        }
        (Body::Part(_), None) => panic!("a part without its bytes"),
        (_, part) => assert!(part.is_none()),
    }
    true
}

/// Counts and hashes: a bomb must not be kept to be measured.
#[derive(Default)]
struct Counted {
    bytes: u64,
    hasher: blake3::Hasher,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
