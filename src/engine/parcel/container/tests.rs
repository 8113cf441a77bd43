//! Containers as writers leave them, as sticks ruin them, and as enemies make them.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use postrider_base::{BundleId, Lifetime, Niceness, bundle::Hop};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    id: BundleId,
    nice: u8,
    lifetime_s: u32,
    hop: Hop,
    head: Vec<u8>,
    body: Vec<u8>,
}

fn given() -> impl Strategy<Value = Given> {
    let hop = (any::<u8>(), any::<u32>()).prop_map(|(hops, age_s)| Hop {
        tokens: 1,
        hops,
        age_s,
        level: 0,
    });
    (
        any::<[u8; 32]>(),
        1..=255_u8,
        1..=u32::MAX,
        hop,
        prop::collection::vec(any::<u8>(), 1..200),
        prop::collection::vec(any::<u8>(), 0..600),
    )
        .prop_map(|(id, nice, lifetime_s, hop, head, body)| Given {
            id: BundleId(id),
            nice,
            lifetime_s,
            hop,
            head,
            body,
        })
}

/// Bundles that are the same in every run.
fn fixed(count: u8) -> Vec<Given> {
    (0..count)
        .map(|n| Given {
            id: BundleId([n; 32]),
            nice: 160,
            lifetime_s: 86_400,
            hop: Hop { tokens: 1, hops: n, age_s: u32::from(n), level: 0 },
            head: vec![0xa0 ^ n; 90 + usize::from(n)],
            body: noise(n.into(), 100 + 37 * usize::from(n)),
        })
        .collect()
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut out);
    out
}

fn write(salt: Salt, bundles: &[Given]) -> Vec<u8> {
    let mut writer = ContainerWriter::new(salt);
    let mut file = writer.header().to_vec();
    for bundle in bundles {
        let record = NewRecord {
            id: bundle.id,
            nice: Niceness::new(bundle.nice).unwrap(),
            lifetime: Lifetime::new(bundle.lifetime_s).unwrap(),
            hop: bundle.hop,
            head: &bundle.head,
            body_bytes: bundle.body.len() as u64,
        };
        file.extend(writer.begin_record(&record).unwrap());
        for chunk in bundle.body.chunks(64) {
            writer.body(chunk).unwrap();
            file.extend(chunk);
        }
        file.extend(writer.end_record().unwrap());
        assert_eq!(writer.position(), file.len() as u64);
    }
    file.extend(writer.finish().unwrap());
    file
}

/// Id if the trailer told it, hop data, head, body.
type Whole = (Option<BundleId>, Hop, Vec<u8>, Vec<u8>);

/// What a careful reader gets: whole records, and the damage it was told of.
#[derive(Debug, Default)]
struct Read {
    whole: Vec<Whole>,
    damaged: Vec<Option<BundleId>>,
}

impl Read {
    fn agrees(&self, given: &Given) -> bool {
        self.whole.iter().any(|(id, hop, head, body)| {
            id.is_none_or(|id| id == given.id)
                && (*hop, head, body) == (given.hop, &given.head, &given.body)
        })
    }
}

fn read(file: &[u8]) -> Result<Read, ContainerError> {
    let container = Container::open(&file)?;
    let mut all = Read::default();
    for content in container.contents(|_| true) {
        match content? {
            Ok(found) => {
                let id = found.entry.map(|entry| entry.id);
                match container.body(&found.record).read_whole(1 << 20) {
                    Ok(Some(body)) => {
                        all.whole.push((id, found.record.hop, found.record.head, body));
                    }
                    Ok(None) | Err(RecordError::Damaged) => all.damaged.push(id),
                    Err(RecordError::Read(error)) => return Err(error.into()),
                }
            }
            Err(damage) => all.damaged.push(damage.id),
        }
    }
    Ok(all)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read(
        salt in any::<[u8; 8]>(),
        bundles in prop::collection::vec(given(), 1..12),
    ) {
        let file = write(Salt(salt), &bundles);
        let source = file.as_slice();
        let container = Container::open(&source).unwrap();
        let listed = container.listed().unwrap();
        prop_assert_eq!(listed.len(), bundles.len());
        for (entry, bundle) in listed.iter().zip(&bundles) {
            prop_assert_eq!(entry.id, bundle.id);
            prop_assert_eq!(entry.nice.value(), bundle.nice);
            prop_assert!(entry.lifetime.longest_s() >= u64::from(bundle.lifetime_s));
            prop_assert!(entry.lifetime.longest_s() / 2 < u64::from(bundle.lifetime_s));
            prop_assert_eq!(entry.record_bytes, record_bytes(bundle.head.len(), bundle.body.len() as u64));
        }
        for by_trailer in [true, false] {
            let found: Vec<Found> = if by_trailer {
                container.contents(|_| true).map(|found| found.unwrap().unwrap()).collect()
            } else {
                container.contents_by_walk().map(|found| found.unwrap().unwrap()).collect()
            };
            prop_assert_eq!(found.len(), bundles.len());
            for (found, bundle) in found.iter().zip(&bundles) {
                prop_assert_eq!(&found.record.head, &bundle.head);
                prop_assert_eq!(found.record.hop, bundle.hop);
                let body = container.body(&found.record).read_whole(4096).unwrap().unwrap();
                prop_assert_eq!(&body, &bundle.body);
            }
        }
        // The same bundles under the same salt give the same bytes.
        prop_assert_eq!(write(Salt(salt), &bundles), file);
    }

    #[test]
    fn no_prefix_yields_a_record_that_was_not_written(
        bundles in prop::collection::vec(given(), 1..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let file = write(Salt([3; 8]), &bundles);
        let cut = cut.index(file.len());
        if let Ok(all) = read(&file[..cut]) {
            let mut at = 12;
            for bundle in &bundles {
                at += record_bytes(bundle.head.len(), bundle.body.len() as u64);
                prop_assert_eq!(all.agrees(bundle), at <= cut as u64, "cut at {}", cut);
            }
            prop_assert!(all.whole.len() <= bundles.len());
        } else {
            prop_assert!(cut < 12);
        }
    }

    /// Several faults at once: as long as one of the two salts is whole, each record that was not
    /// hit comes through.
    #[test]
    fn many_flipped_bytes_cost_only_the_records_they_lie_in(
        bundles in prop::collection::vec(given(), 1..12),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..8),
    ) {
        let file = write(Salt([4; 8]), &bundles);
        let mut damaged = file.clone();
        for (place, flip) in &flips {
            damaged[place.index(file.len())] ^= flip;
        }
        let differs = |from: usize, to: usize| file[from..to] != damaged[from..to];
        let ends: Vec<usize> = bundles
            .iter()
            .scan(12, |at, b| {
                *at += usize::try_from(record_bytes(b.head.len(), b.body.len() as u64)).unwrap();
                Some(*at)
            })
            .collect();
        let records_end = ends[ends.len() - 1];
        prop_assume!(!differs(0, 12) || !differs(records_end, file.len()));
        let all = read(&damaged).unwrap();
        let mut from = 12;
        for (bundle, to) in bundles.iter().zip(ends) {
            prop_assert_eq!(all.agrees(bundle), !differs(from, to), "record {}..{}", from, to);
            from = to;
        }
        prop_assert!(all.whole.len() <= bundles.len());
    }

    #[test]
    fn bytes_of_any_kind_are_read_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        begins_well in any::<bool>(),
    ) {
        let mut file = if begins_well { b"PRC1saltsalt".to_vec() } else { Vec::new() };
        file.extend(bytes);
        if let Ok(all) = read(&file) {
            prop_assert!(all.whole.is_empty());
        }
    }
}

/// The image of a stick cut at 50 places, as when it is pulled and its file system repaired.
#[test]
fn a_container_cut_anywhere_gives_all_records_before_the_cut() {
    let bundles = fixed(20);
    let file = write(Salt([5; 8]), &bundles);
    for seed in 0..50_u64 {
        let place = noise(seed, 8);
        let place = u64::from_be_bytes(place.try_into().unwrap());
        let cut = usize::try_from(place % file.len() as u64).unwrap();
        let Ok(all) = read(&file[..cut]) else {
            assert!(cut < 12, "seed {seed}, cut at {cut}");
            continue;
        };
        let mut at = 12;
        let mut whole = 0;
        for bundle in &bundles {
            at += record_bytes(bundle.head.len(), bundle.body.len() as u64);
            if at <= cut as u64 {
                whole += 1;
                assert!(all.agrees(bundle), "seed {seed}, cut at {cut}");
            }
        }
        assert_eq!(all.whole.len(), whole, "seed {seed}, cut at {cut}");
        assert!(all.damaged.len() <= 1, "seed {seed}, cut at {cut}");
    }
}

/// Every byte of a container, in turn, in two ways: at most the record that it lies in is lost, and
/// when one is lost, it is named.
#[test]
fn one_flipped_byte_costs_at_most_the_record_it_lies_in() {
    let bundles = fixed(6);
    let file = write(Salt([6; 8]), &bundles);
    for flip in [0x01, 0xff] {
        for place in 0..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= flip;
            let all = read(&damaged).unwrap_or_else(|e| panic!("byte {place}: {e}"));
            let mut at = 12;
            for bundle in &bundles {
                let end = at
                    + usize::try_from(record_bytes(bundle.head.len(), bundle.body.len() as u64))
                        .unwrap();
                let hit = (at..end).contains(&place);
                assert_eq!(all.agrees(bundle), !hit, "byte {place}, record {at}..{end}");
                if hit {
                    assert_eq!(all.damaged, [Some(bundle.id)], "byte {place}");
                }
                at = end;
            }
            if place >= at {
                // In the trailer: nothing but the trailer is lost.
                assert!(all.damaged.iter().all(Option::is_none), "byte {place}");
            }
        }
    }
}

/// Two faults at once: the trailer is gone and a byte is flipped. Still only one record is lost.
#[test]
fn without_a_trailer_the_next_head_is_found_again() {
    let bundles = fixed(6);
    let whole = write(Salt([6; 8]), &bundles);
    let records = bundles.iter().map(|b| record_bytes(b.head.len(), b.body.len() as u64));
    let end = 12 + usize::try_from(records.sum::<u64>()).unwrap();
    for place in 12..end {
        let mut file = whole[..end].to_vec();
        file[place] ^= 0x10;
        let all = read(&file).unwrap();
        assert_eq!(all.whole.len(), 5, "byte {place}");
        assert_eq!(all.damaged, [None], "byte {place}");
    }
}

/// A bundle's author knows the format but not the salt: records of a container of his own, in a
/// body, are not taken for records of the container that carries it.
#[test]
fn a_container_within_a_body_is_never_searched_into() {
    let inner = write(Salt([66; 8]), &fixed(3));
    let mut bundles = fixed(3);
    bundles[1].body = inner;
    let file = write(Salt([5; 8]), &bundles);
    let end = file.len() - usize::try_from(TRAILER_FIXED_BYTES + 3 * ENTRY_BYTES).unwrap();
    let second = 12
        + usize::try_from(record_bytes(bundles[0].head.len(), bundles[0].body.len() as u64))
            .unwrap();
    let mut damaged = file[..end].to_vec();
    damaged[second + 30] ^= 1;
    let all = read(&damaged).unwrap();
    assert!(all.agrees(&bundles[0]) && all.agrees(&bundles[2]), "{:?}", all.damaged);
    assert_eq!((all.whole.len(), all.damaged.len()), (2, 1));
}

#[test]
fn only_wanted_records_are_read() {
    let bundles = fixed(6);
    let file = write(Salt([6; 8]), &bundles);
    let source = file.as_slice();
    let container = Container::open(&source).unwrap();
    let found: Vec<_> =
        container.contents(|id| id.0[0] % 2 == 1).map(|found| found.unwrap().unwrap()).collect();
    let ids: Vec<_> = found.iter().map(|found| found.entry.unwrap().id.0[0]).collect();
    assert_eq!(ids, [1, 3, 5]);
    assert_eq!(container.at(&found[1].entry.unwrap()).unwrap(), found[1].record);
}

#[test]
fn a_trailer_that_lies_about_lengths_is_not_believed() {
    let bundles = fixed(3);
    let file = write(Salt([9; 8]), &bundles);
    let keys = Keys::new(Salt([9; 8]));
    let source = file.as_slice();
    let trailer = trailer::read(&source, file.len() as u64).unwrap().unwrap();
    let records = usize::try_from(trailer.offset).unwrap();
    type Change<'a> = &'a dyn Fn(&mut Vec<Entry>);
    let lie = |change: Change<'_>| {
        let mut entries = trailer.entries.clone();
        change(&mut entries);
        [&file[..records], &trailer::encode(&keys, &entries).unwrap()].concat()
    };
    let impossible: [Change<'_>; 6] = [
        &|entries| entries[0].record_bytes += 1,
        &|entries| entries[2].record_bytes = 1 << 63,
        &|entries| entries[1].record_bytes = 0,
        &|entries| entries.truncate(2),
        &|entries| entries.push(entries[0]),
        &|entries| entries.clear(),
    ];
    for (number, change) in impossible.into_iter().enumerate() {
        let file = lie(change);
        let source = file.as_slice();
        assert!(Container::open(&source).unwrap().listed().is_none(), "lie {number}");
        let all = read(&file).unwrap();
        assert!(bundles.iter().all(|bundle| all.agrees(bundle)), "lie {number}");
    }
    // A sum that fits over borders that do not: the records there are refused one by one, and
    // the walk finds the truth.
    let file = lie(&|entries| {
        entries[0].record_bytes += 10;
        entries[1].record_bytes -= 10;
    });
    let source = file.as_slice();
    let container = Container::open(&source).unwrap();
    assert_eq!(container.contents(|_| true).filter(|c| matches!(c, Ok(Err(_)))).count(), 2);
    assert_eq!(container.contents_by_walk().filter(|c| matches!(c, Ok(Ok(_)))).count(), 3);
}

#[test]
fn lengths_and_counts_beyond_reason_are_refused_before_anything_is_allocated() {
    let keys = Keys::new(Salt([1; 8]));
    let hop = Hop { tokens: 1, hops: 0, age_s: 0, level: 0 };
    // A head that checks and states a body of 2^63 bytes.
    let mut front = Record::encode_front(&keys, hop, b"head", 0).unwrap();
    front[12..20].copy_from_slice(&(1_u64 << 63).to_be_bytes());
    let check = keys.check(&[&front[..20], b"head"]);
    front[20..28].copy_from_slice(&check);
    let file = [b"PRC1", &[1; 8][..], &front].concat();
    let all = read(&file).unwrap();
    assert_eq!((all.whole.len(), all.damaged.len()), (0, 1));

    // A trailer that counts 2^32 - 1 bundles, in its count, in its length, in both.
    let good = write(Salt([1; 8]), &fixed(1));
    let trailer = good.len() - 32 - 42;
    for places in [vec![trailer + 4], vec![good.len() - 8], vec![trailer + 4, good.len() - 8]] {
        let mut file = good.clone();
        for place in &places {
            file[*place..place + 4].copy_from_slice(&[0xff; 4]);
        }
        let all = read(&file).unwrap();
        assert_eq!((all.whole.len(), all.damaged.len()), (1, 0), "{places:?}");
    }
}

struct Sparse(u64);

impl ReadAt for Sparse {
    fn len_bytes(&self) -> std::io::Result<u64> {
        Ok(self.0)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.0.saturating_sub(offset)).unwrap_or(usize::MAX);
        let n = out.len().min(left);
        out[..n].fill(0);
        if offset == 0 {
            out[..12].copy_from_slice(b"PRC1saltsalt");
        }
        Ok(n)
    }
}

#[test]
fn a_file_of_4_gib_of_nothing_costs_no_more_than_a_container() {
    let started = Instant::now();
    assert!(matches!(Container::open(&Sparse(1 << 32)), Err(ContainerError::TooLong(_))));
    let sparse = Sparse((1 << 32) - 1);
    let container = Container::open(&sparse).unwrap();
    let contents: Vec<_> = container.contents(|_| true).map(Result::unwrap).collect();
    assert_eq!(contents.len(), 1);
    assert!(contents[0].is_err());
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn a_file_full_of_heads_that_are_none_is_given_up() {
    // The front of a record with every cheap question answered right, as often as it fits.
    let mut front = Record::encode_front(
        &Keys::new(Salt([2; 8])),
        Hop { tokens: 1, hops: 0, age_s: 0, level: 0 },
        b"h",
        0,
    )
    .unwrap();
    front[20] ^= 1;
    let file = [b"PRC1", &[2; 8][..], &front.repeat(200_000)].concat();
    let started = Instant::now();
    let all = read(&file).unwrap();
    assert_eq!((all.whole.len(), all.damaged.len()), (0, 1));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn a_container_of_more_records_than_allowed_is_read_up_to_the_bound() {
    let keys = Keys::new(Salt([2; 8]));
    let hop = Hop { tokens: 1, hops: 0, age_s: 0, level: 0 };
    let mut record = Record::encode_front(&keys, hop, b"h", 0).unwrap();
    let mut check = keys.record_check();
    check.update(&record);
    record.extend(check.digest().to_be_bytes());
    let file = [b"PRC1", &[2; 8][..], &record.repeat(CONTAINER_RECORDS_MAX + 5)].concat();
    let all = read(&file).unwrap();
    assert_eq!((all.whole.len(), all.damaged.len()), (CONTAINER_RECORDS_MAX, 1));
}

/// A file with one sector that cannot be read.
struct BadSector<'a> {
    file: &'a [u8],
    bad: std::ops::Range<u64>,
}

impl ReadAt for BadSector<'_> {
    fn len_bytes(&self) -> std::io::Result<u64> {
        Ok(self.file.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<usize> {
        if self.bad.contains(&offset) {
            return Err(std::io::Error::other("bad sector"));
        }
        let most = if offset < self.bad.start { self.bad.start - offset } else { u64::MAX };
        let n = usize::try_from(most).unwrap_or(usize::MAX).min(out.len());
        self.file.read_at(offset, &mut out[..n])
    }
}

#[test]
fn a_bad_sector_costs_the_records_that_it_touches() {
    let bundles = fixed(20);
    let file = write(Salt([8; 8]), &bundles);
    let records_end = file.len() - usize::try_from(TRAILER_FIXED_BYTES + 20 * ENTRY_BYTES).unwrap();
    for start in (0..file.len() as u64).step_by(512) {
        let bad = start..start + 512;
        let source = BadSector { file: &file, bad: bad.clone() };
        let Ok(container) = Container::open(&source) else { panic!("sector {start}") };
        if bad.end > records_end as u64 {
            // The trailer is hit: the walk gets as far as the sector.
            let heads = container.contents(|_| true).filter(|c| matches!(c, Ok(Ok(_)))).count();
            assert!(heads >= 17, "sector {start}: {heads}");
            continue;
        }
        for (content, bundle) in container.contents(|_| true).zip(&bundles) {
            let whole = content
                .ok()
                .and_then(Result::ok)
                .and_then(|found| container.body(&found.record).read_whole(4096).ok().flatten());
            let entry = container.listed().unwrap().iter().find(|e| e.id == bundle.id).unwrap();
            let hit = entry.offset < bad.end && bad.start < entry.offset + entry.record_bytes;
            assert_eq!(hit, whole.is_none(), "sector {start}, {:?}", bundle.id);
        }
    }
}

#[test]
fn other_versions_and_other_files_are_told_apart() {
    let open = |bytes: &[u8]| Container::open(&bytes).map(drop);
    assert!(matches!(open(b"PRC2saltsalt more"), Err(ContainerError::Version)));
    for bytes in [&b""[..], b"PRC1", b"MZ some other file", &[0; 100]] {
        assert!(matches!(open(bytes), Err(ContainerError::NotAContainer)), "{bytes:?}");
    }
    assert!(open(b"PRC1saltsalt").is_ok());
}

#[test]
fn the_writer_refuses_what_its_reader_would() {
    let good = NewRecord {
        id: BundleId([1; 32]),
        nice: Niceness::NORMAL,
        lifetime: Lifetime::new(1).unwrap(),
        hop: Hop { tokens: 8, hops: 0, age_s: 0, level: 0 },
        head: b"head",
        body_bytes: 3,
    };
    let mut writer = ContainerWriter::new(Salt([1; 8]));
    assert_eq!(writer.body(b"x"), Err(WriterError::Order));
    assert_eq!(writer.end_record(), Err(WriterError::Order));
    for bad in [
        NewRecord { head: b"", ..good },
        NewRecord { head: &[0; 513], ..good },
        NewRecord { body_bytes: u64::MAX, ..good },
    ] {
        assert!(matches!(writer.begin_record(&bad), Err(WriterError::Length { .. })));
    }
    let front = writer.begin_record(&good).unwrap();
    assert_eq!(front[4], 1, "a medium carries one token");
    assert_eq!(writer.begin_record(&good), Err(WriterError::Order));
    writer.body(b"ab").unwrap();
    assert_eq!(writer.end_record(), Err(WriterError::Body { announced: 3, got: 2 }));
    assert_eq!(writer.body(b"cd"), Err(WriterError::Body { announced: 3, got: 4 }));
    // A body that could not be read to its end is given up; the next record takes its place.
    writer.cancel_record();
    assert_eq!(writer.position(), 12);
    assert_eq!(ContainerWriter::new(Salt([1; 8])).finish(), Err(WriterError::Empty));
}

#[test]
fn lifetime_classes_are_powers_of_two() {
    let class = |s| LifetimeClass::of(Lifetime::new(s).unwrap()).longest_s();
    let cases = [(1, 1), (2, 2), (3, 4), (4, 4), (86_400, 131_072), (u32::MAX, 1 << 32)];
    for (seconds, longest) in cases {
        assert_eq!(class(seconds), longest, "{seconds}");
    }
}
