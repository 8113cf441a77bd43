//! A large message on its way out: read once, sealed in parts on several cores.
//!
//! One thread reads the files in order, hashing each file and each part; workers seal, stage and
//! commit the parts. A buffer holds one part and goes round: memory is one part per worker and one
//! being filled, whatever the size of the files.

use std::{
    cell::Cell,
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
pub(super) struct Parts<'a> {
    /// What the parts have in common.
    pub set: SetId,
    /// Bytes in all.
    pub total: u64,
    /// Parts worked on at the same time.
    pub workers: usize,
    /// What to call the work.
    pub what: String,
    /// What was said of it before it is sealed, if anything was.
    pub promised: Option<Promised<'a>>,
}

/// What a manifest says that is out already: parts are sealed as it says, or not at all.
pub(super) struct Promised<'a> {
    /// What each part is.
    pub hashes: Vec<[u8; 32]>,
    /// What is sealed already, by index.
    pub sealed: BTreeMap<u32, [u8; 32]>,
    /// A part is another than was said.
    pub changed: AtomicBool,
    /// Whether nobody wants the rest any more.
    pub is_over: &'a (dyn Fn() -> Result<bool, Failure> + Sync),
}

/// The key of a sealed part's note.
pub(super) fn sealed_key(set: SetId, index: u32) -> Vec<u8> {
    [&set.0[..], &index.to_be_bytes()].concat()
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
    parts: &Parts<'_>,
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
        let stopped = || Failure::new(FailureKind::Failed, "sealing stopped");
        let buffer = || empty.recv().map_err(|_| stopped());
        let mut outcome =
            read_parts(files, buffer, |filled| to_seal.send(filled).map_err(|_| stopped()));
        drop(to_seal);
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

/// What each part is, and each file: read once, and nothing is made of it.
pub(super) fn hash_parts(files: &mut [Outgoing]) -> Result<Vec<[u8; 32]>, Failure> {
    let spare = Cell::new(Vec::new());
    read_parts(
        files,
        || Ok(spare.take()),
        |filled| {
            spare.set(filled.bytes);
            Ok(())
        },
    )
}

/// Reads files in order, part by part; a buffer comes back when its part is done with.
fn read_parts(
    files: &mut [Outgoing],
    buffer: impl Fn() -> Result<Vec<u8>, Failure>,
    mut each: impl FnMut(Filled) -> Result<(), Failure>,
) -> Result<Vec<[u8; 32]>, Failure> {
    let part_bytes = usize::try_from(PART_BYTES).unwrap_or(usize::MAX);
    let mut stream = Stream::new(files);
    let mut hashes = Vec::new();
    loop {
        let mut bytes = buffer()?;
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
        each(Filled { index, bytes, blake3 })?;
    }
}

fn work(
    post: &dyn Post,
    parts: &Parts<'_>,
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
    parts: &Parts<'_>,
    letter: &NextLetter<'_>,
    part: &Filled,
) -> Result<(), Failure> {
    if let Some(promised) = &parts.promised {
        let index = usize::try_from(part.index).unwrap_or(usize::MAX);
        if promised.hashes.get(index) != Some(&part.blake3) {
            promised.changed.store(true, Ordering::Relaxed);
            return Err(Failure::new(FailureKind::Failed, "a part is another than was said"));
        }
        if promised.sealed.get(&part.index) == Some(&part.blake3) {
            return Ok(());
        }
        if (promised.is_over)()? {
            return Err(Failure::new(FailureKind::Ended, "nobody wants the rest any more"));
        }
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
    if parts.promised.is_some() {
        let key = sealed_key(parts.set, part.index);
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
