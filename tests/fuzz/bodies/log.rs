//! The spool's log after rot or a stranger's hand: any bytes as its last segment, and records that
//! pass every check but say anything at all.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use postrider_base::disk::Disk;
use postrider_spool::{
    Body, BundleId, Change, Class, Damage, Delivered, Destination, DurableSpool, Entropy, Hop,
    NewBundle, Now, Options, Outcome, Place, Queue, Seen, Spool, SpoolError, Summary, Why,
};
use postrider_testkit::{CrashDisk, Names, Seeded};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::medium::Script;

/// Where records begin in a segment, and its header's second copy (spool/log/frame.rs).
const RECORDS_FROM: usize = 4096 + 64;
const COPY_B: usize = 4096;
const SEED: u64 = 0x5eed;
/// The segment that follows those of the good spool.
const NEXT: u32 = 2;
/// A segment longer than this teaches nothing new.
const DATA_MAX: usize = 64 * 1024;

/// Any bytes as the segment that is being written.
pub fn segment(data: &[u8]) -> bool {
    let data = &data[..data.len().min(DATA_MAX)];
    let disk = good().fork();
    put(&disk, data);
    let Some(spool) = open(&disk) else { return false };
    // What the good segment holds is there, whatever lies beside it.
    assert_eq!(spool.seen(&id(0)).unwrap(), Some(Seen::Live));
    assert_eq!(spool.seen(&id(1)).unwrap(), Some(Seen::Retired(Why::Read)));
    goes_on(spool, &disk)
}

/// Records of any kind, version, flags and body, with their checks made.
pub fn records(data: &[u8]) -> bool {
    let mut script = Script(&data[..data.len().min(DATA_MAX)]);
    let mut file = header(NEXT, SEED);
    while !script.0.is_empty() {
        let kind = [script.byte(), script.byte(), script.byte()];
        let length = usize::from(script.byte()) << (script.byte() % 4);
        let body = script.bytes(length);
        record(&mut file, kind, &body);
    }
    let disk = good().fork();
    put(&disk, &file);
    let Some(spool) = open(&disk) else { return false };
    goes_on(spool, &disk)
}

/// Segments of good spools, for the twins to spoil: raw, and as the script of [`records`].
pub(super) fn good_segments() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let file = good().open(&first()).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len_bytes().unwrap()).unwrap()];
    file.read_exact_at(0, &mut bytes).unwrap();
    let mut script = Vec::new();
    let mut at = RECORDS_FROM;
    while let Some(head) = bytes.get(at..at + 12) {
        let length = usize::try_from(u32::from_be_bytes([head[4], head[5], head[6], head[7]]));
        let length = length.unwrap();
        let body = &bytes[at + 12..at + 12 + length];
        if let Ok(short) = u8::try_from(length) {
            script.extend([head[0], head[1], head[2], short, 0]);
            script.extend(body);
        }
        at += 12 + length + 8;
    }
    // The same segment under the number that is expected next.
    let mut next = header(NEXT, SEED);
    let mut rest = Script(&script);
    while !rest.0.is_empty() {
        let kind = [rest.byte(), rest.byte(), rest.byte()];
        let length = usize::from(rest.byte());
        rest.byte();
        record(&mut next, kind, &rest.bytes(length));
    }
    (vec![header(NEXT, SEED), next], vec![script])
}

fn first() -> PathBuf {
    Path::new("log/00000001.seg").to_owned()
}

fn put(disk: &CrashDisk, bytes: &[u8]) {
    let file = disk.create(&Path::new("log").join(format!("{NEXT:08}.seg"))).unwrap();
    file.write_all_at(0, bytes).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("log")).unwrap();
}

fn header(number: u32, seed: u64) -> Vec<u8> {
    let mut copy = b"PRSPLOG1\x00\x01".to_vec();
    copy.extend(number.to_be_bytes());
    copy.extend(seed.to_be_bytes());
    copy.extend(xxh3_64_with_seed(&copy, seed).to_be_bytes());
    let mut out = vec![0; RECORDS_FROM];
    out[..copy.len()].copy_from_slice(&copy);
    out[COPY_B..COPY_B + copy.len()].copy_from_slice(&copy);
    out
}

fn record(file: &mut Vec<u8>, [kind, version, flags]: [u8; 3], body: &[u8]) {
    let (start, offset) = (file.len(), file.len() as u64);
    file.extend([kind, version, flags, 0]);
    file.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    let head = [&offset.to_be_bytes()[..], &file[start..]].concat();
    file.extend(&xxh3_64_with_seed(&head, SEED).to_be_bytes()[4..]);
    file.extend(body);
    let sum = xxh3_64_with_seed(&file[start..], SEED.wrapping_add(offset));
    file.extend(sum.to_be_bytes());
}

fn open(disk: &CrashDisk) -> Option<DurableSpool> {
    match DurableSpool::open(place(disk), &Options::default()) {
        Ok((spool, _)) => Some(spool),
        Err(SpoolError::NewerFormat { .. }) => None,
        Err(error) => panic!("the spool does not open: {error}"),
    }
}

/// Everything can be asked and checked, and what is committed now is there after the next open.
fn goes_on(spool: DurableSpool, disk: &CrashDisk) -> bool {
    let now = Now { boot: [1; 16], boottime_ms: 20_000 };
    let report = spool.check(now).expect("a check names damage and goes on");
    spool.stats().unwrap();
    spool.expired(now, 10).unwrap();
    for class in Class::ALL {
        for entry in spool.page(Queue::Class(class), None, 100).unwrap() {
            // Damage is an answer here; only a panic would be wrong.
            let _ = spool.envelope(&entry.id);
            let _ = spool.read(&entry.id, 0, &mut [0; 512]);
        }
    }
    for space in 0..4 {
        for key in spool.notes(space, &[], None, 100).unwrap() {
            let _ = spool.note(space, &key);
        }
    }
    let outcomes = spool.commit(now, vec![Change::Bundle(bundle(999))]).unwrap();
    assert!(matches!(outcomes[..], [Outcome::Admitted | Outcome::Duplicate]), "{outcomes:?}");
    spool.take_sequence(&Destination::Node([1; 32])).unwrap();
    drop(spool);
    let spool = open(disk).expect("it opened before");
    assert!(spool.seen(&id(999)).unwrap().is_some(), "a committed bundle is gone");
    // The good segment was the last when it was written, so it lacks its end: that costs 0 bytes.
    !report.damaged.iter().any(|damage| match damage {
        Damage::Log(damage) => damage.len_bytes > 0,
        _ => true,
    })
}

/// A closed spool with one segment and a bit of everything.
fn good() -> &'static CrashDisk {
    static GOOD: OnceLock<CrashDisk> = OnceLock::new();
    GOOD.get_or_init(|| {
        let disk = CrashDisk::new(Names::Atomic);
        let (spool, _) = DurableSpool::open(place(&disk), &Options::default()).unwrap();
        let now = Now { boot: [1; 16], boottime_ms: 10_000 };
        let sequence = spool.take_sequence(&Destination::Node([1; 32])).unwrap();
        let (source, id8) = ([2; 32], [3; 8]);
        for changes in [
            vec![Change::Bundle(bundle(0)), Change::Sequence(sequence)],
            vec![Change::Bundle(bundle(1))],
            vec![Change::Bundle(bundle(2))],
            vec![Change::Retire { id: id(1), why: Why::Read }],
            vec![Change::Hop {
                id: id(2),
                hop: Hop { tokens: 2, hops: 1, age_s: 5, level: 0 },
                class: Class::Stranger,
            }],
            vec![Change::Renew { id: id(0), hop: Hop { tokens: 8, hops: 0, age_s: 0, level: 0 } }],
            vec![Change::Delivered(Delivered { source, epoch: 1, counter: 1, id8 })],
            vec![Change::Note { space: 1, key: vec![9; 4], value: Some(vec![7; 30]) }],
        ] {
            spool.commit(now, changes).unwrap();
        }
        drop(spool);
        assert!(disk.files().iter().any(|(path, _)| *path == first()));
        disk
    })
}

fn place(disk: &CrashDisk) -> Place {
    let chance = Mutex::new(Seeded::new(1));
    let entropy: Entropy = Arc::new(move |out| chance.lock().unwrap().fill(out));
    Place::on(Arc::new(disk.clone()), entropy)
}

fn id(n: u64) -> BundleId {
    let mut bytes = [0xa5; 32];
    bytes[24..].copy_from_slice(&n.to_be_bytes());
    BundleId(bytes)
}

fn bundle(n: u64) -> NewBundle {
    let body = vec![0x42; 100];
    NewBundle {
        id: id(n),
        head: format!("head {n}").into_bytes(),
        summary: Summary {
            destination: Destination::Node([1; 32]),
            source: Some([2; 32]),
            nice: 160,
            lifetime_s: 86_400,
            length: body.len() as u64,
        },
        hop: Hop { tokens: 8, hops: 0, age_s: 0, level: 0 },
        class: Class::Contact,
        worth: 0,
        from: None,
        own: None,
        body: Body::Inline(body),
    }
}
