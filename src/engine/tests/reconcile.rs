//! Reconciliation from outside: two sets, a stream of symbols, and what an enemy may make of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use postrider_engine::reconcile::{
    BATCH_SYMBOLS_MAX, Difference, Failure, ItemHash, ItemId, Peeler, Progress, SYMBOL_BYTES,
    SessionKey, Sketcher, Symbol, batch_symbols, decode_batch, encode_batch,
};
use proptest::prelude::*;

/// Symbols that a test pushes before it gives up; honest ends need 1.4 for each difference.
const ENOUGH: usize = 5_000;

/// The n-th id of a row: as good as random, the same in every run.
fn id(seed: u64, n: u64) -> ItemId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_be_bytes()).update(&n.to_be_bytes());
    let mut out = [0; 16];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    out
}

fn key(seed: u64) -> SessionKey {
    SessionKey(id(seed, u64::MAX))
}

/// Goes on until the peeler ends; the difference and the number of symbols.
fn run(theirs: &mut Sketcher, ours: &mut Peeler) -> (Difference, usize) {
    for _ in 0..ENOUGH {
        match ours.push(theirs.next_symbol().unwrap()) {
            Progress::More => {}
            Progress::Done(difference) => return (difference, ours.symbols()),
            Progress::Failed(why) => panic!("{why}"),
        }
    }
    panic!("{ENOUGH} symbols were not enough")
}

/// Symbols for `theirs` items that they have and `ours` that we have, beside those in common.
fn symbols_for(seed: u64, theirs: u64, ours: u64) -> usize {
    let mut sketcher = Sketcher::new(key(seed), (0..theirs).map(|n| id(seed, n))).unwrap();
    let own = (0..ours).map(|n| id(seed, 1_000_000 + n));
    let mut peeler = Peeler::new(key(seed), own).unwrap();
    run(&mut sketcher, &mut peeler).1
}

fn ids(theirs: &Sketcher, hashes: &[ItemHash]) -> BTreeSet<ItemId> {
    hashes.iter().map(|hash| theirs.id_of(*hash).unwrap()).collect()
}

#[test]
fn equal_sets_cost_one_symbol_and_at_most_30_bytes() {
    for size in [0, 1, 100_000] {
        let set = || (0..size).map(|n| id(1, n));
        let mut theirs = Sketcher::new(key(1), set()).unwrap();
        let mut ours = Peeler::new(key(1), set()).unwrap();
        assert_eq!(run(&mut theirs, &mut ours), (Difference::default(), 1));
    }
    assert_eq!(batch_symbols(0), 1);
    assert_eq!(encode_batch(&[Symbol::default()]).len(), 12);
}

#[test]
fn ten_differences_among_100_000_cost_less_than_1_kb_in_all() {
    let mut theirs = Sketcher::new(key(2), (0..100_000).map(|n| id(2, n))).unwrap();
    let mut ours = Peeler::new(key(2), (5..100_005).map(|n| id(2, n))).unwrap();
    let (difference, _) = run(&mut theirs, &mut ours);
    let expected: BTreeSet<_> = (0..5).map(|n| id(2, n)).collect();
    assert_eq!(ids(&theirs, &difference.only_theirs), expected);
    let expected: BTreeSet<_> = (100_000..100_005).map(|n| id(2, n)).collect();
    assert_eq!(BTreeSet::from_iter(difference.only_ours), expected);
}

#[test]
fn ten_differences_stay_below_1_kb_for_1_000_keys_with_batches_and_questions() {
    let mut totals: Vec<usize> = (0..1_000)
        .map(|seed| {
            let needed = symbols_for(seed, 5, 5);
            let mut sent = 0;
            while sent < needed {
                sent += batch_symbols(sent);
            }
            // Five hashes are asked for; five ids are offered.
            sent * SYMBOL_BYTES + 5 * 8 + 5 * 16
        })
        .collect();
    totals.sort_unstable();
    let mean = totals.iter().sum::<usize>() / totals.len();
    println!("10 differences, bytes: mean {mean}, p99 {}, worst {}", totals[989], totals[999]);
    assert!(totals[989] < 800, "{}", totals[989]);
    assert!(totals[999] < 1_000, "{}", totals[999]);
}

#[test]
fn a_difference_of_1_000_takes_fewer_than_1_500_symbols() {
    for seed in 0..5 {
        let symbols = symbols_for(seed, 500, 500);
        assert!((1_000..1_500).contains(&symbols), "{symbols}");
    }
}

#[test]
fn batches_start_with_one_symbol_and_stay_below_their_limit() {
    let mut sent = 0;
    for _ in 0..100 {
        let batch = batch_symbols(sent);
        assert!((1..=BATCH_SYMBOLS_MAX).contains(&batch));
        assert!(sent < 24 || batch <= sent / 2);
        sent += batch;
    }
}

#[test]
fn symbols_are_the_same_on_every_machine_and_in_every_version() {
    // A second program, in Python, with integers of any size and a plain search, made the same.
    let mut sketcher = Sketcher::new(SessionKey([7; 16]), (0..100).map(|n| [n; 16])).unwrap();
    let symbols = encode_batch(&sketcher.next_symbols(1_000));
    let shown: String = symbols[..36].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(shown, "4f7d716aac011c65a1ab8c8bffab2f018643dfe8ef23c2c2729460d180910e8c96c0e18b");
    assert_eq!(
        blake3::hash(&symbols).to_hex().as_str(),
        "776237013d193041c6c6f6acad62f33db73cff4627eda80e921e437acde4c310"
    );
}

#[test]
fn symbols_do_not_depend_on_how_many_are_asked_for_at_once() {
    let sketcher = || Sketcher::new(key(3), (0..50).map(|n| id(3, n))).unwrap();
    let at_once = sketcher().next_symbols(300);
    let (mut one, mut some) = (sketcher(), sketcher());
    assert_eq!(at_once, (0..300).map(|_| one.next_symbol().unwrap()).collect::<Vec<_>>());
    assert_eq!(at_once, (0..43).flat_map(|_| some.next_symbols(7)).take(300).collect::<Vec<_>>());
}

#[test]
fn another_key_on_the_other_end_gives_no_wrong_ids() {
    let set = || (0..20).map(|n| id(4, n));
    let mut theirs = Sketcher::new(key(4), set()).unwrap();
    let mut ours = Peeler::new(key(5), set()).unwrap();
    let (difference, _) = run(&mut theirs, &mut ours);
    // All look different: offers and questions in vain, and no harm.
    assert_eq!((difference.only_theirs.len(), difference.only_ours.len()), (20, 20));
}

#[test]
fn after_the_end_nothing_more_is_taken() {
    let mut peeler = Peeler::new(key(6), []).unwrap();
    assert_eq!(peeler.push(Symbol::default()), Progress::Done(Difference::default()));
    assert_eq!(peeler.push(Symbol::default()), Progress::Failed(Failure::Ended));
    assert_eq!(peeler.symbols(), 1);
}

#[test]
fn a_single_item_where_it_does_not_belong_is_a_contradiction() {
    // Symbol 0 has the item and another one, symbol 1 should have it and does not, or the reverse:
    // whatever the mapping says, pushing the item alone into every symbol contradicts it.
    let mut one = Sketcher::new(key(7), [id(7, 0)]).unwrap();
    let mut both = Sketcher::new(key(7), [id(7, 0), id(7, 1)]).unwrap();
    let single = one.next_symbol().unwrap();
    let mut peeler = Peeler::new(key(7), []).unwrap();
    let mut progress = peeler.push(both.next_symbol().unwrap());
    for _ in 0..100 {
        if progress != Progress::More {
            break;
        }
        progress = peeler.push(single);
    }
    assert_eq!(progress, Progress::Failed(Failure::Contradiction));
}

#[test]
fn one_symbol_over_and_over_ends_at_the_limit_at_the_latest() {
    let mut theirs = Sketcher::new(key(8), (0..30).map(|n| id(8, n))).unwrap();
    let symbol = theirs.next_symbol().unwrap();
    let mut peeler = Peeler::new(key(8), (0..10).map(|n| id(9, n))).unwrap();
    let end = (0..=postrider_engine::reconcile::SYMBOLS_MAX)
        .map(|_| peeler.push(symbol))
        .find(|progress| *progress != Progress::More);
    assert!(matches!(end, Some(Progress::Failed(_))), "{end:?}");
}

#[test]
fn random_symbols_end_at_the_limit_at_the_latest() {
    let mut peeler = Peeler::new(key(9), (0..10).map(|n| id(9, n))).unwrap();
    let end = (0..=u64::from(postrider_engine::reconcile::SYMBOLS_MAX))
        .map(|n| peeler.push(decode_batch(&id(10, n)[..SYMBOL_BYTES]).unwrap()[0]))
        .find(|progress| *progress != Progress::More);
    assert!(matches!(end, Some(Progress::Failed(_))), "{end:?}");
}

/// Numbers of items: in common, only theirs, only ours.
fn sizes() -> impl Strategy<Value = (u64, u64, u64)> {
    (0..2_000_u64, 0..250_u64, 0..250_u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_difference_is_that_of_the_sets(seed: u64, (common, theirs, ours) in sizes()) {
        let part = |from: u64, count: u64| (from..from + count).map(|n| id(seed, n));
        let only_theirs = part(10_000, theirs);
        let only_ours = part(20_000, ours);
        let their_set = part(0, common).chain(only_theirs.clone());
        let our_set = part(0, common).chain(only_ours.clone());
        let mut sketcher = Sketcher::new(key(seed), their_set).unwrap();
        let mut peeler = Peeler::new(key(seed), our_set).unwrap();
        let (difference, _) = run(&mut sketcher, &mut peeler);
        prop_assert_eq!(difference.only_theirs.len() as u64, theirs);
        prop_assert_eq!(difference.only_ours.len() as u64, ours);
        prop_assert_eq!(ids(&sketcher, &difference.only_theirs), only_theirs.collect());
        prop_assert_eq!(BTreeSet::from_iter(difference.only_ours), only_ours.collect());
    }

    #[test]
    fn a_mutated_stream_fails_or_ends_and_never_finds_more_than_its_symbols(
        seed: u64,
        (common, theirs, ours) in sizes(),
        at in 0..40_usize,
        byte in 0..SYMBOL_BYTES,
        flip in 1..=255_u8,
    ) {
        let part = |from: u64, count: u64| (from..from + count).map(|n| id(seed, n));
        let their_set = part(0, common).chain(part(10_000, theirs));
        let our_set = part(0, common).chain(part(20_000, ours));
        let mut sketcher = Sketcher::new(key(seed), their_set).unwrap();
        let mut peeler = Peeler::new(key(seed), our_set).unwrap();
        let mut bytes = encode_batch(&sketcher.next_symbols(1_024));
        bytes[at * SYMBOL_BYTES + byte] ^= flip;
        for symbol in decode_batch(&bytes).unwrap() {
            if let Progress::Done(Difference { only_theirs, only_ours }) = peeler.push(symbol) {
                prop_assert!(only_theirs.len() + only_ours.len() <= peeler.symbols());
                // Done before the wrong symbol came, or not at all.
                prop_assert!(peeler.symbols() <= at);
            }
        }
    }

    #[test]
    fn whatever_bytes_come_nothing_panics(
        seed: u64,
        batches in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 0..8),
    ) {
        let mut peeler = Peeler::new(key(seed), (0..20).map(|n| id(seed, n))).unwrap();
        for batch in batches {
            for symbol in decode_batch(&batch).unwrap_or_default() {
                let _ = peeler.push(symbol);
            }
        }
    }

    #[test]
    fn symbols_made_with_the_key_to_mislead_are_bounded(
        seed: u64,
        chosen in proptest::collection::vec(0..12_u64, 1..400),
    ) {
        // The neighbour knows the key, so it can send single items wherever it likes.
        let singles: Vec<Symbol> = (0..12)
            .map(|n| Sketcher::new(key(seed), [id(seed, n)]).unwrap().next_symbol().unwrap())
            .collect();
        let mut peeler = Peeler::new(key(seed), (0..6).map(|n| id(seed, n))).unwrap();
        for n in chosen {
            let progress = peeler.push(singles[usize::try_from(n).unwrap()]);
            if let Progress::Done(Difference { only_theirs, only_ours }) = progress {
                prop_assert!(only_theirs.len() + only_ours.len() <= peeler.symbols());
            }
        }
    }
}
