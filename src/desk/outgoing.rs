//! A large message on its way out: read once, sealed in parts on several cores.
//!
//! One thread reads the files in order, hashing each file and each part; workers seal, stage and
//! commit the parts. A buffer holds one part and goes round: memory is one part per worker and one
//! being filled, whatever the size of the files.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use postrider_base::{
    compose::{AgeSealer, ComposeError, Letter, Sealed},
    id::SetId,
    packet::{Body, PART_BYTES, Packet, PartHead, PartList, Tail, compress_part},
    wire,
};
use postrider_spool::{Body as SpoolBody, Change, Sequence};

use super::{
    Event, Failure, FailureKind, Unit, Watch, clock,
    ledger::{OwnNote, set_note, space},
    message_files::{Outgoing, Stream},
    store::{Post, StagingWriter, must_admit, own_bundle},
};

/// Bytes that are read at once: still in the processor's cache when they are hashed, as a file and as
/// a part.
const PIECE_BYTES: usize = 256 << 10;

/// What is sealed in parts.
pub(super) struct Parts {
    /// What the parts have in common.
    pub set: SetId,
    /// Bytes in all.
    pub total: u64,
    /// Parts worked on at the same time.
    pub workers: usize,
    /// What to call the work.
    pub what: String,
    /// What it goes on with, if somebody may.
    pub halfway: Option<Halfway>,
}

/// A set that answers a request: what a crash leaves of it is gone on with when the request is answered again, so
/// that nothing travels twice.
#[derive(Debug)]
pub(super) struct Halfway {
    /// What its parts have in common.
    pub set: SetId,
    /// Whose request it answers: its note's key.
    pub request: Vec<u8>,
    /// What was sealed before: hashes by index.
    pub sealed: BTreeMap<u32, [u8; 32]>,
    /// One of these is another by now.
    pub changed: AtomicBool,
}

impl Halfway {
    /// The key of a part's note.
    pub(super) fn key(&self, index: u32) -> Vec<u8> {
        [&self.set.0[..], &index.to_be_bytes()].concat()
    }
}

/// Makes a letter under the next sequence.
pub(super) type NextLetter<'a> =
    dyn Fn(&dyn Post) -> Result<(Letter<'a>, Sequence), Failure> + Sync + 'a;

/// One part, read and not yet sealed.
struct Filled {
    index: u32,
    bytes: Vec<u8>,
    blake3: [u8; 32],
}

/// Seals every part; returns what the manifest says of them. The hashes of the files are filled in.
pub(super) fn seal_parts(
    post: &dyn Post,
    parts: &Parts,
    letter: &NextLetter<'_>,
    files: &mut [Outgoing],
    watch: &dyn Watch,
) -> Result<PartList, Failure> {
    let what = parts.what.clone();
    watch.event(Event::Begin { what, total: Some(parts.total), unit: Unit::Bytes });
    let (to_seal, filled) = channel::<Filled>();
    let (emptied, empty) = channel::<Vec<u8>>();
    let filled = Mutex::new(filled);
    for _ in 0..=parts.workers {
        // Filled to its length when first used; both ends outlive the loop.
        let _ = emptied.send(Vec::new());
    }
    let hashes = thread::scope(|scope| {
        let workers: Vec<_> = (0..parts.workers)
            .map(|_| {
                let emptied = emptied.clone();
                let filled = &filled;
                scope.spawn(move || work(post, parts, letter, filled, &emptied, watch))
            })
            .collect();
        drop(emptied);
        let read = read_parts(files, &empty, to_seal);
        let mut outcome = read;
        for worker in workers {
            let sealed = worker.join().unwrap_or_else(|_| {
                Err(Failure::new(FailureKind::Fault, "a sealing thread panicked"))
            });
            // The worker's error is the cause of the reader's, which only saw the queue close.
            if let Err(failure) = sealed {
                outcome = Err(failure);
            }
        }
        outcome
    })?;
    watch.event(Event::End);
    let part_bytes = PART_BYTES;
    Ok(PartList { set: parts.set, part_bytes, total_bytes: parts.total, hashes })
}

fn read_parts(
    files: &mut [Outgoing],
    empty: &Receiver<Vec<u8>>,
    to_seal: Sender<Filled>,
) -> Result<Vec<[u8; 32]>, Failure> {
    let part_bytes = usize::try_from(PART_BYTES).unwrap_or(usize::MAX);
    let mut stream = Stream::new(files);
    let mut hashes = Vec::new();
    let stopped = || Failure::new(FailureKind::Failed, "sealing stopped");
    loop {
        let mut bytes = empty.recv().map_err(|_| stopped())?;
        bytes.resize(part_bytes, 0);
        let (mut got, mut hasher) = (0, blake3::Hasher::new());
        for piece in bytes.chunks_mut(PIECE_BYTES) {
            let n = stream.fill(piece)?;
            hasher.update(&piece[..n]);
            got += n;
            if n < piece.len() {
                break;
            }
        }
        if got == 0 {
            return Ok(hashes);
        }
        bytes.truncate(got);
        let index = u32::try_from(hashes.len())
            .map_err(|_| Failure::new(FailureKind::Usage, "too many parts for one message"))?;
        let blake3 = *hasher.finalize().as_bytes();
        hashes.push(blake3);
        to_seal.send(Filled { index, bytes, blake3 }).map_err(|_| stopped())?;
    }
}

fn work(
    post: &dyn Post,
    parts: &Parts,
    letter: &NextLetter<'_>,
    filled: &Mutex<Receiver<Filled>>,
    emptied: &Sender<Vec<u8>>,
    watch: &dyn Watch,
) -> Result<(), Failure> {
    loop {
        let next = match filled.lock() {
            Ok(filled) => filled.recv(),
            Err(_) => return Err(Failure::new(FailureKind::Fault, "a sealing thread panicked")),
        };
        let Ok(part) = next else { return Ok(()) };
        seal_part(post, parts, letter, &part)?;
        watch.event(Event::Advance(part.bytes.len() as u64));
        // The reader may have ended already.
        let _ = emptied.send(part.bytes);
    }
}

fn seal_part(
    post: &dyn Post,
    parts: &Parts,
    letter: &NextLetter<'_>,
    part: &Filled,
) -> Result<(), Failure> {
    if let Some(halfway) = &parts.halfway
        && let Some(before) = halfway.sealed.get(&part.index)
    {
        if *before == part.blake3 {
            return Ok(());
        }
        halfway.changed.store(true, Ordering::Relaxed);
        return Err(Failure::new(FailureKind::Failed, "a part is another than it was"));
    }
    let packed = compress_part(&part.bytes);
    let raw = packed.as_deref().unwrap_or(&part.bytes);
    let head = PartHead {
        set: parts.set,
        index: part.index,
        stored_bytes: raw.len() as u64,
        plain_bytes: part.bytes.len() as u64,
        compressed: packed.is_some(),
    };
    let packet = Packet { body: Body::Part(head), tail: Tail::default() }.encode();
    let (letter, sequence) = letter(post)?;
    let out = StagingWriter::new(post.stage()?);
    let mut sealer =
        AgeSealer::new(&letter, &clock::random()?, &packet, out).map_err(compose_failure)?;
    sealer.write_all(raw).map_err(|error| compose_failure(error.into()))?;
    let Sealed { id, head, secret, payload } = sealer.finish().map_err(compose_failure)?;
    let own = wire::encode(&OwnNote::new(secret.as_ref(), Some(parts.set), true));
    let bundle = own_bundle(id, &head, SpoolBody::Staged(payload.finish()?), own);
    let mut changes = vec![Change::Sequence(sequence), Change::Bundle(bundle)];
    if let Some(halfway) = &parts.halfway {
        let key = halfway.key(part.index);
        changes.push(set_note(space::SEALED, &key, part.blake3.to_vec()));
    }
    let outcomes = post.commit(clock::now(), changes)?;
    must_admit(&outcomes, 1, &id)
}

/// Why a bundle could not be made, for a person.
pub(super) fn compose_failure(error: ComposeError) -> Failure {
    match error {
        ComposeError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => {
            Failure::new(FailureKind::Full, "the disk is full")
                .next("the message was not sent; free some space and send it again")
                .because(error)
        }
        error => Failure::new(FailureKind::Failed, format!("could not seal: {error}"))
            .next("the message was not sent")
            .because(error),
    }
}
