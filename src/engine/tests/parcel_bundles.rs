//! Real bundles on a medium: what a reader takes is exactly what an author signed, or nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use postrider_base::{
    BundleId, Head, Header, Lifetime, Niceness, NodeSecret,
    bundle::{Destination, Hop, LockField, Origin, SMALL_PAYLOAD_MAX, SealKind, Sequence},
};
use postrider_engine::parcel::{
    Container, ContainerError, ContainerWriter, Found, NewRecord, RecordError, Salt,
};

#[derive(Clone)]
struct Bundle {
    id: BundleId,
    head: Head,
    body: Vec<u8>,
}

/// An open bundle of `length` bytes, signed.
fn bundle(counter: u64, length: usize) -> Bundle {
    let author = NodeSecret::from_seed([1; 32]);
    let body: Vec<u8> =
        (0..length).map(|at| u8::try_from((at as u64 + counter) % 251).unwrap()).collect();
    let small = length as u64 <= SMALL_PAYLOAD_MAX;
    let header = Header {
        destination: Destination::Node(NodeSecret::from_seed([2; 32]).id()),
        lifetime: Lifetime::DEFAULT,
        nice: Niceness::NORMAL,
        seal: SealKind::None,
        lock: LockField::None,
        origin: Origin::Open {
            source: author.id(),
            sequence: Sequence { epoch: 7, counter },
            created: 0,
        },
        length: length as u64,
        hash: (!small).then(|| *blake3::hash(&body).as_bytes()),
    };
    let head = Head::sign(header, &body, &author);
    Bundle { id: head.id(&body), head, body }
}

fn write(bundles: &[Bundle]) -> Vec<u8> {
    let mut writer = ContainerWriter::new(Salt([9; 8]));
    let mut file = writer.header().to_vec();
    for bundle in bundles {
        let record = NewRecord {
            id: bundle.id,
            nice: bundle.head.header().nice,
            lifetime: bundle.head.header().lifetime,
            hop: Hop::fresh().on_medium(60),
            head: &bundle.head.encode(),
            body_bytes: bundle.body.len() as u64,
        };
        file.extend(writer.begin_record(&record).unwrap());
        writer.body(&bundle.body).unwrap();
        file.extend(&bundle.body);
        file.extend(writer.end_record().unwrap());
    }
    file.extend(writer.finish().unwrap());
    file
}

/// What a careful reader takes from a container: bundles that verify.
fn take(file: &[u8]) -> Result<BTreeMap<BundleId, Vec<u8>>, ContainerError> {
    let container = Container::open(&file)?;
    let mut taken = BTreeMap::new();
    for content in container.contents(|_| true) {
        let Ok(found) = content? else { continue };
        if let Some((id, body)) = verified(&container, &found)? {
            taken.insert(id, body);
        }
    }
    Ok(taken)
}

fn verified(
    container: &Container<'_>,
    found: &Found,
) -> Result<Option<(BundleId, Vec<u8>)>, ContainerError> {
    let Ok(head) = Head::decode(&found.record.head) else { return Ok(None) };
    if head.header().length != found.record.body_bytes {
        return Ok(None);
    }
    let body = match container.body(&found.record).read_whole(1 << 20) {
        Ok(Some(body)) => body,
        Ok(None) | Err(RecordError::Damaged) => return Ok(None),
        Err(RecordError::Read(error)) => return Err(error.into()),
        Err(other) => panic!("{other}"),
    };
    let id = if head.header().is_small() { head.verify_small(&body) } else { head.verify_large() };
    let hash_holds = head.header().hash.is_none_or(|hash| hash == *blake3::hash(&body).as_bytes());
    Ok(id.ok().filter(|_| hash_holds).map(|id| (id, body)))
}

#[test]
fn bundles_come_through_as_they_were_signed() {
    let bundles =
        [bundle(1, 1), bundle(2, 210), bundle(3, 4096), bundle(4, 4097), bundle(5, 70_000)];
    let taken = take(&write(&bundles)).unwrap();
    assert_eq!(taken.len(), bundles.len());
    for bundle in &bundles {
        assert_eq!(taken[&bundle.id], bundle.body);
    }
}

/// Every byte of a container, damaged in turn: a bundle comes through as it was signed or not at
/// all, and no more than one is missing.
#[test]
fn no_damaged_bundle_is_accepted() {
    let bundles = [bundle(1, 100), bundle(2, 210), bundle(3, 5000)];
    let file = write(&bundles);
    // The middle of the large body is all alike.
    let places =
        (0..1600).chain(file.len() - 1200..file.len()).chain((1600..file.len()).step_by(97));
    for place in places {
        let mut damaged = file.clone();
        damaged[place] ^= 0x20;
        let taken = take(&damaged).unwrap();
        assert!(taken.len() >= 2, "byte {place}: {} came through", taken.len());
        for bundle in &bundles {
            assert!(
                taken.get(&bundle.id).is_none_or(|body| *body == bundle.body),
                "byte {place} changed a bundle"
            );
        }
        assert!(taken.keys().all(|id| bundles.iter().any(|b| b.id == *id)), "byte {place}");
    }
}

/// Somebody with the stick in his hand makes a container with perfect checks around changed
/// content: that is for the bundles themselves to refuse.
#[test]
fn a_container_rewritten_around_a_changed_bundle_gives_nothing() {
    let honest = bundle(1, 300);
    let large = bundle(2, 9000);
    let other = bundle(3, 300);
    let mut changed_body = honest.clone();
    changed_body.body[7] ^= 1;
    let mut changed_large = large.clone();
    changed_large.body[8000] ^= 1;
    let other_head = Bundle { head: other.head.clone(), ..honest.clone() };
    let shorter = Bundle { body: honest.body[..200].to_vec(), ..honest.clone() };
    let file = write(&[changed_body, changed_large, other_head, shorter]);
    assert_eq!(take(&file).unwrap(), BTreeMap::new());

    // A lie in the trailer about the id changes nothing about which bundle it is.
    let renamed = Bundle { id: other.id, ..honest.clone() };
    let taken = take(&write(&[renamed])).unwrap();
    assert_eq!(taken.keys().collect::<Vec<_>>(), [&honest.id]);
}
