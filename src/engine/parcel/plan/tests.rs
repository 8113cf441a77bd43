//! Plans: tables of single rules, and random visits against what must never happen.

use std::collections::{BTreeMap, BTreeSet};

use postrider_base::{BundleId, Niceness};
use proptest::prelude::*;

use super::*;
use crate::parcel::{FileNumber, Notes, VolumeId};

const VOLUME: VolumeId = VolumeId([1; 16]);
const MIB: u64 = 1 << 20;

fn id(n: u16) -> BundleId {
    let mut id = [0xab; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    BundleId(id)
}

fn room(free_bytes: u64) -> Room {
    Room {
        access: Access::ReadWrite,
        free_bytes,
        total_bytes: 64 * MIB,
        cluster_bytes: 4096,
        file_max_bytes: u32::MAX.into(),
    }
}

/// The margin of [`room`]: a 64th of 64 MiB.
const MARGIN: u64 = MIB;

fn unlimited() -> Budgets {
    Budgets {
        own_bytes: u64::MAX,
        contacts_bytes: u64::MAX,
        strangers_bytes: u64::MAX,
        visit_bytes: None,
    }
}

fn candidate(n: u16, class: Class, nice: Niceness, record_bytes: u64) -> Candidate {
    Candidate { id: id(n), class, nice, record_bytes, for_me: false }
}

fn own(n: u16, nice: Niceness, record_bytes: u64) -> Candidate {
    candidate(n, Class::Own, nice, record_bytes)
}

fn copy(n: u16, nice: Niceness, record_bytes: u64, standing: Standing) -> MediumCopy {
    MediumCopy { id: id(n), record_bytes, nice, standing, condition: Condition::Good }
}

fn container(number: u32, bundles: Vec<MediumCopy>) -> MediumContainer {
    let file_bytes = 44 + bundles.iter().map(|copy| copy.record_bytes + 42).sum::<u64>();
    MediumContainer { number: FileNumber(number), file_bytes, bundles, listing: Listing::Whole }
}

fn planner(room: Room) -> Planner {
    Planner::new(room, unlimited(), Notes::new(VOLUME))
}

fn steps(planner: &mut Planner) -> Vec<Step> {
    planner.finish();
    std::iter::from_fn(|| planner.poll()).collect()
}

fn settled(number: u32, ids: &[u16]) -> Step {
    let taken = ids.iter().map(|n| id(*n)).collect();
    Step::Remove { number: FileNumber(number), why: Removal::Settled, taken }
}

fn makes_room(number: u32) -> Step {
    Step::Remove { number: FileNumber(number), why: Removal::MakesRoom, taken: Vec::new() }
}

fn write(ids: &[u16]) -> Step {
    Step::Write(ids.iter().map(|n| id(*n)).collect())
}

const FLASH: Niceness = Niceness::FLASH;
const NORMAL: Niceness = Niceness::NORMAL;
const BULK: Niceness = Niceness::BULK;

#[test]
fn what_is_new_is_written_and_what_is_there_is_not() {
    let mut planner = planner(room(32 * MIB));
    planner.container(container(7, vec![copy(1, NORMAL, 500, Standing::Held(Class::Own))]));
    assert_eq!(planner.offer(own(1, NORMAL, 500)), Verdict::LeftOut(LeftOut::OnMedium));
    assert_eq!(planner.offer(own(2, NORMAL, 500)), Verdict::Write);
    assert_eq!(planner.offer(own(2, NORMAL, 500)), Verdict::LeftOut(LeftOut::OnMedium));
    assert_eq!(steps(&mut planner), [write(&[2])]);
}

#[test]
fn what_is_for_us_or_taken_stays_off_the_medium() {
    let mut notes = Notes::new(VOLUME);
    notes.add_taken(&id(2));
    let mut planner = Planner::new(room(32 * MIB), unlimited(), notes);
    let mine = Candidate { for_me: true, ..own(1, NORMAL, 500) };
    assert_eq!(planner.offer(mine), Verdict::LeftOut(LeftOut::ForMe));
    assert_eq!(planner.offer(own(2, NORMAL, 500)), Verdict::LeftOut(LeftOut::Taken));
    assert_eq!(steps(&mut planner), []);
}

#[test]
fn a_damaged_copy_is_written_again_and_its_repair_is_not() {
    let broken = MediumCopy {
        condition: Condition::Damaged,
        ..copy(1, NORMAL, 500, Standing::Held(Class::Own))
    };
    let marked = copy(2, NORMAL, 500, Standing::Held(Class::Own));
    let mut notes = Notes::new(VOLUME);
    notes.add_damaged(&id(2), FileNumber(7));
    let mut planner = Planner::new(room(32 * MIB), unlimited(), notes.clone());
    planner.container(container(7, vec![broken, marked]));
    assert_eq!(planner.offer(own(1, NORMAL, 500)), Verdict::Write);
    assert_eq!(planner.offer(own(2, NORMAL, 500)), Verdict::Write);
    assert_eq!(steps(&mut planner), [write(&[1, 2])]);

    // The next visit: the old container still lies there, and so does the mark.
    let mut planner = Planner::new(room(32 * MIB), unlimited(), notes);
    planner.container(container(7, vec![broken, marked]));
    planner.container(container(
        8,
        vec![Condition::Good; 2]
            .into_iter()
            .zip([1, 2])
            .map(|(condition, n)| MediumCopy {
                condition,
                ..copy(n, NORMAL, 500, Standing::Held(Class::Own))
            })
            .collect(),
    ));
    for n in [1, 2] {
        assert_eq!(planner.offer(own(n, NORMAL, 500)), Verdict::LeftOut(LeftOut::OnMedium));
    }
}

#[test]
fn a_container_goes_only_when_every_bundle_in_it_is_settled() {
    let of = |standing| copy(3, NORMAL, 500, standing);
    let receipted = copy(1, NORMAL, 500, Standing::Receipted);
    let delivered = copy(2, NORMAL, 500, Standing::Delivered);
    let cases = [
        (Standing::Receipted, true),
        (Standing::Delivered, true),
        (Standing::Expired, true),
        (Standing::Held(Class::Own), false),
        (Standing::Held(Class::Stranger), false),
        (Standing::Unknown, false),
    ];
    for (standing, goes) in cases {
        let mut planner = planner(room(32 * MIB));
        planner.container(container(7, vec![receipted, delivered, of(standing)]));
        let want = if goes { vec![settled(7, &[1, 2, 3])] } else { vec![] };
        assert_eq!(steps(&mut planner), want, "{standing:?}");
    }
    // What is not known to the end is kept, and so is what lists nothing.
    let mut planner = planner(room(32 * MIB));
    let partial =
        MediumContainer { listing: Listing::Partial, ..container(7, vec![receipted, delivered]) };
    planner.container(partial);
    planner.container(container(8, vec![]));
    assert_eq!(steps(&mut planner), []);
}

/// A pulled stick looks like an empty one. All that follows from it is that everything is
/// offered again.
#[test]
fn an_empty_medium_proves_nothing_and_removes_nothing() {
    let mut planner = planner(room(32 * MIB));
    assert_eq!(planner.offer(own(1, NORMAL, 500)), Verdict::Write);
    assert_eq!(steps(&mut planner), [write(&[1])]);
}

#[test]
fn urgent_mail_makes_room_among_bulk_that_we_still_hold() {
    let bulk = |n, standing| copy(n, BULK, 4 * MIB, standing);
    let held = Standing::Held(Class::Own);
    let mut planner = planner(room(MARGIN));
    planner.container(container(1, vec![bulk(1, Standing::Unknown)]));
    planner.container(container(2, vec![bulk(2, held)]));
    planner.container(container(3, vec![bulk(3, held), bulk(4, Standing::Unknown)]));
    planner.container(container(4, vec![bulk(5, held), copy(6, FLASH, 500, held)]));
    let partial =
        MediumContainer { listing: Listing::Partial, ..container(5, vec![bulk(7, held)]) };
    planner.container(partial);
    assert_eq!(planner.offer(own(10, FLASH, 1000)), Verdict::Write);
    // The displaced bundle is offered later in the same visit, and finds room beside the new one.
    assert_eq!(planner.offer(own(2, BULK, 4 * MIB - 8192)), Verdict::Write);
    assert_eq!(steps(&mut planner), [makes_room(2), write(&[10]), write(&[2])]);
}

#[test]
fn nothing_is_removed_for_mail_that_would_not_fit_even_then() {
    let mut planner = planner(room(MARGIN));
    planner.container(container(2, vec![copy(2, BULK, MIB, Standing::Held(Class::Own))]));
    planner.leftover(Leftover { number: FileNumber(9), file_bytes: 4096, whose: Whose::Others });
    let verdict = planner.offer(own(10, FLASH, 3 * MIB));
    assert!(
        matches!(verdict, Verdict::LeftOut(LeftOut::NoRoom { short_bytes }) if short_bytes > MIB)
    );
    assert_eq!(steps(&mut planner), []);
}

#[test]
fn the_least_urgent_gives_way_first_and_no_more_than_is_needed() {
    let held = Standing::Held(Class::Own);
    let mut planner = planner(room(MARGIN));
    planner.container(container(1, vec![copy(1, NORMAL, MIB, held)]));
    planner.container(container(2, vec![copy(2, BULK, MIB, held)]));
    planner.container(container(3, vec![copy(3, Niceness::new(255).unwrap(), 2 * MIB, held)]));
    planner.container(container(4, vec![copy(4, BULK, MIB, held)]));
    assert_eq!(planner.offer(own(10, FLASH, 3 * MIB - 9000)), Verdict::Write);
    assert_eq!(steps(&mut planner), [makes_room(3), makes_room(2), write(&[10])]);
}

#[test]
fn equals_never_push_each_other_off() {
    let mut planner = planner(room(MARGIN));
    planner.container(container(1, vec![copy(1, BULK, MIB, Standing::Held(Class::Stranger))]));
    let verdict = planner.offer(own(2, BULK, 1000));
    assert!(matches!(verdict, Verdict::LeftOut(LeftOut::NoRoom { .. })), "{verdict:?}");
}

#[test]
fn our_leftovers_go_at_once_and_others_only_for_want_of_room() {
    let ours = Leftover { number: FileNumber(1), file_bytes: MIB, whose: Whose::Ours };
    let others = Leftover { number: FileNumber(2), file_bytes: MIB, whose: Whose::Others };
    for (free_bytes, want) in [
        (32 * MIB, vec![Step::RemoveLeftover(FileNumber(1)), write(&[9])]),
        (
            MARGIN,
            vec![
                Step::RemoveLeftover(FileNumber(1)),
                Step::RemoveLeftover(FileNumber(2)),
                write(&[9]),
            ],
        ),
    ] {
        let mut planner = planner(room(free_bytes));
        planner.leftover(ours);
        planner.leftover(others);
        assert_eq!(planner.offer(own(9, NORMAL, MIB + 5000)), Verdict::Write);
        assert_eq!(steps(&mut planner), want, "{free_bytes} free");
    }
}

#[test]
fn budgets_are_kept_each_for_itself() {
    let budgets = Budgets {
        own_bytes: u64::MAX,
        contacts_bytes: 2000,
        strangers_bytes: 1000,
        visit_bytes: Some(20_000),
    };
    let mut planner = Planner::new(room(32 * MIB), budgets, Notes::new(VOLUME));
    // What we hold and the medium has already counts, what somebody else left there does not.
    planner.container(container(
        1,
        vec![
            copy(1, NORMAL, 600, Standing::Held(Class::Stranger)),
            copy(2, NORMAL, 9_000, Standing::Unknown),
        ],
    ));
    let left_out = |why| Verdict::LeftOut(why);
    let cases = [
        (candidate(10, Class::Own, FLASH, 3000), Verdict::Write),
        (candidate(11, Class::Contact, NORMAL, 1500), Verdict::Write),
        (candidate(12, Class::Contact, NORMAL, 501), left_out(LeftOut::ClassBudget)),
        (candidate(13, Class::Contact, NORMAL, 500), Verdict::Write),
        (candidate(14, Class::Stranger, NORMAL, 500), left_out(LeftOut::ClassBudget)),
        (candidate(15, Class::Stranger, NORMAL, 400), Verdict::Write),
        (candidate(16, Class::Own, NORMAL, 9000), left_out(LeftOut::VisitBudget)),
    ];
    for (candidate, verdict) in cases {
        assert_eq!(planner.offer(candidate), verdict, "{candidate:?}");
    }
}

#[test]
fn default_budgets_leave_most_of_a_medium_to_its_owner() {
    let of = |total_bytes| Budgets::of(&Room { total_bytes, ..room(0) });
    assert_eq!(of(1000 * MIB).strangers_bytes, 100 * MIB);
    assert_eq!(of(1 << 40).strangers_bytes, 2_000_000_000);
    assert_eq!(of(1000 * MIB).contacts_bytes, 500 * MIB);
}

#[test]
fn a_read_only_medium_is_left_alone() {
    let read_only = Room { access: Access::ReadOnly, ..room(32 * MIB) };
    let mut planner = planner(read_only);
    planner.container(container(7, vec![copy(1, NORMAL, 500, Standing::Receipted)]));
    planner.leftover(Leftover { number: FileNumber(1), file_bytes: 1, whose: Whose::Ours });
    assert_eq!(planner.offer(own(2, NORMAL, 500)), Verdict::LeftOut(LeftOut::ReadOnly));
    assert_eq!(steps(&mut planner), []);
}

#[test]
fn bundles_share_containers_by_class_and_urgency_up_to_the_target() {
    let mut planner = planner(Room { total_bytes: 1 << 40, free_bytes: 1 << 40, ..room(0) });
    let offers = [
        own(1, FLASH, 500),
        own(2, Niceness::PRIORITY, 500),
        candidate(3, Class::Contact, FLASH, 500),
        own(4, NORMAL, 500),
        own(5, BULK, 20 * MIB),
        own(6, BULK, 10 * MIB),
        own(7, BULK, 10 * MIB),
        own(8, BULK, 60 * MIB),
        own(9, BULK, 500),
    ];
    for offer in offers {
        assert_eq!(planner.offer(offer), Verdict::Write);
    }
    let want = [
        write(&[1, 2]),
        write(&[3]),
        write(&[4]),
        write(&[5, 6]),
        write(&[7]),
        write(&[8]),
        write(&[9]),
    ];
    assert_eq!(steps(&mut planner), want);
}

#[test]
fn steps_come_out_as_soon_as_they_are_certain() {
    let mut planner = planner(room(60 * MIB));
    planner.container(container(7, vec![copy(1, NORMAL, 500, Standing::Receipted)]));
    assert_eq!(planner.poll(), Some(settled(7, &[1])));
    planner.offer(own(2, BULK, 20 * MIB));
    assert_eq!(planner.poll(), None);
    planner.offer(own(3, BULK, 20 * MIB));
    assert_eq!(planner.poll(), Some(write(&[2])));
}

#[test]
fn a_file_that_the_file_system_cannot_hold_is_not_planned() {
    let small_files = Room { file_max_bytes: MIB, ..room(32 * MIB) };
    let mut planner = planner(small_files);
    assert_eq!(planner.offer(own(1, NORMAL, MIB)), Verdict::LeftOut(LeftOut::TooLarge));
    assert_eq!(planner.offer(own(2, NORMAL, u64::MAX)), Verdict::LeftOut(LeftOut::TooLarge));
    assert_eq!(planner.offer(own(3, NORMAL, MIB - 9000)), Verdict::Write);
}

#[test]
fn a_crowded_medium_is_read_but_not_written() {
    let mut planner = planner(room(32 * MIB));
    for number in 0..u32::try_from(CONTAINERS_MAX).unwrap() {
        let n = u16::try_from(number).unwrap();
        planner.container(container(number, vec![copy(n, NORMAL, 500, Standing::Unknown)]));
    }
    assert_eq!(planner.offer(own(9_999, NORMAL, 500)), Verdict::LeftOut(LeftOut::Crowded));
}

#[derive(Clone, Debug)]
struct Visit {
    free_bytes: u64,
    containers: Vec<MediumContainer>,
    leftovers: Vec<Leftover>,
    offers: Vec<Candidate>,
    budgets: Budgets,
}

fn rest(n: u16, number: u32, standing: Standing, whose: Whose) -> MediumRest {
    let (file_bytes, condition) = (MIB, Condition::Good);
    MediumRest { number: FileNumber(number), file_bytes, id: id(n), standing, whose, condition }
}

#[test]
fn a_rest_is_a_copy_for_whoever_left_it_and_for_nobody_else() {
    let mut planner = planner(room(60 * MIB));
    let held = Standing::Held(Class::Own);
    planner.rest(rest(1, 1, held, Whose::Ours));
    planner.rest(rest(2, 2, held, Whose::Others));
    planner.rest(rest(3, 3, Standing::Unknown, Whose::Others));
    let offer = |n| own(n, Niceness::NORMAL, 1000);
    assert_eq!(planner.offer(offer(1)), Verdict::LeftOut(LeftOut::OnMedium));
    assert_eq!(planner.offer(offer(2)), Verdict::Write);
    assert_eq!(planner.offer_rest(offer(3)), Verdict::Write);
    assert_eq!(planner.offer(offer(3)), Verdict::LeftOut(LeftOut::OnMedium));
    assert_eq!(steps(&mut planner), [Step::WriteRest(id(3)), write(&[2])]);
}

#[test]
fn a_rest_goes_when_its_bundle_is_settled_and_ours_when_it_is_of_no_use() {
    let mut notes = Notes::new(VOLUME);
    for (n, number) in [(4, 4), (5, 5)] {
        notes.add_damaged(&id(n), FileNumber(number));
    }
    let mut planner = Planner::new(room(60 * MIB), unlimited(), notes);
    let held = Standing::Held(Class::Own);
    planner.rest(rest(1, 1, Standing::Receipted, Whose::Ours));
    planner.rest(rest(2, 2, Standing::Delivered, Whose::Others));
    planner.rest(rest(3, 3, Standing::Expired, Whose::Others));
    planner.rest(rest(4, 4, held, Whose::Ours));
    planner.rest(rest(5, 5, held, Whose::Others));
    assert_eq!(planner.offer(own(1, Niceness::NORMAL, 9)), Verdict::LeftOut(LeftOut::Taken));
    assert_eq!(planner.offer(own(4, Niceness::NORMAL, 9)), Verdict::Write);
    let gone = |n: u16, taken| Step::RemoveRest { number: FileNumber(n.into()), taken };
    let [a, b, c] = [1, 2, 3].map(|n| gone(n, Some(id(n))));
    assert_eq!(steps(&mut planner), [a, b, c, gone(4, None), write(&[4])]);
}

#[test]
fn a_rest_takes_room_and_budget_and_never_makes_room() {
    let mut planner = planner(room(MARGIN + 2 * MIB + 8192));
    planner.rest(rest(1, 1, Standing::Held(Class::Own), Whose::Ours));
    let offer = |n| own(n, Niceness::FLASH, MIB);
    assert_eq!(planner.offer_rest(offer(2)), Verdict::Write);
    assert_eq!(planner.offer_rest(offer(3)), Verdict::Write);
    let missing = LeftOut::NoRoom { short_bytes: MIB + 4096 };
    assert_eq!(planner.offer_rest(offer(4)), Verdict::LeftOut(missing));
    assert_eq!(steps(&mut planner), [Step::WriteRest(id(2)), Step::WriteRest(id(3))]);
    let budgets = Budgets { visit_bytes: Some(MIB), ..unlimited() };
    let mut planner = Planner::new(room(60 * MIB), budgets, Notes::new(VOLUME));
    assert_eq!(planner.offer_rest(offer(2)), Verdict::LeftOut(LeftOut::VisitBudget));
    let read_only = Room { access: Access::ReadOnly, ..room(60 * MIB) };
    let mut planner = Planner::new(read_only, unlimited(), Notes::new(VOLUME));
    planner.rest(rest(1, 1, Standing::Receipted, Whose::Ours));
    assert_eq!(planner.offer_rest(offer(2)), Verdict::LeftOut(LeftOut::ReadOnly));
    assert_eq!(steps(&mut planner), []);
}

fn nice() -> impl Strategy<Value = Niceness> {
    (1..=255_u8).prop_map(|value| Niceness::new(value).unwrap())
}

fn class() -> impl Strategy<Value = Class> {
    prop::sample::select(vec![Class::Own, Class::Contact, Class::Stranger])
}

fn visit() -> impl Strategy<Value = Visit> {
    let standing = prop_oneof![
        Just(Standing::Receipted),
        Just(Standing::Delivered),
        Just(Standing::Expired),
        class().prop_map(Standing::Held),
        class().prop_map(Standing::Held),
        Just(Standing::Unknown),
    ];
    let condition =
        prop::sample::select(vec![Condition::Good, Condition::Good, Condition::Damaged]);
    let copy = (0..60_u16, 100..MIB, nice(), standing, condition).prop_map(
        |(n, record_bytes, nice, standing, condition)| MediumCopy {
            id: id(n),
            record_bytes,
            nice,
            standing,
            condition,
        },
    );
    let listing = prop::sample::select(vec![Listing::Whole, Listing::Whole, Listing::Partial]);
    let containers = prop::collection::vec((prop::collection::vec(copy, 0..4), listing), 0..12)
        .prop_map(|list| {
            let numbered = (0_u32..).zip(list);
            numbered
                .map(|(n, (bundles, listing))| MediumContainer { listing, ..container(n, bundles) })
                .collect()
        });
    let whose = prop::sample::select(vec![Whose::Ours, Whose::Others]);
    let leftovers = prop::collection::vec((0..MIB, whose), 0..3).prop_map(|list| {
        let numbered = (1000_u32..).zip(list);
        let leftover =
            |(n, (file_bytes, whose))| Leftover { number: FileNumber(n), file_bytes, whose };
        numbered.map(leftover).collect()
    });
    let offer = (0..100_u16, class(), nice(), 100..2 * MIB, prop::bool::weighted(0.1)).prop_map(
        |(n, class, nice, record_bytes, for_me)| Candidate {
            id: id(n),
            class,
            nice,
            record_bytes,
            for_me,
        },
    );
    let budgets = (0..20 * MIB, 0..20 * MIB, prop::option::of(0..20 * MIB)).prop_map(
        |(contacts_bytes, strangers_bytes, visit_bytes)| Budgets {
            own_bytes: u64::MAX,
            contacts_bytes,
            strangers_bytes,
            visit_bytes,
        },
    );
    let offers = prop::collection::vec(offer, 0..60).prop_map(|mut offers: Vec<Candidate>| {
        offers.sort_by_key(|offer| Rank::of(offer.class, offer.nice));
        offers
    });
    (0..12 * MIB, containers, leftovers, offers, budgets).prop_map(
        |(free_bytes, containers, leftovers, offers, budgets)| Visit {
            free_bytes,
            containers,
            leftovers,
            offers,
            budgets,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_visit_overfills_a_medium_or_takes_what_it_must_not(visit in visit()) {
        let room = room(visit.free_bytes);
        let mut planner = Planner::new(room, visit.budgets, Notes::new(VOLUME));
        let mut on_medium = BTreeMap::new();
        for container in &visit.containers {
            on_medium.insert(container.number, container.clone());
            planner.container(container.clone());
        }
        for leftover in &visit.leftovers {
            planner.leftover(*leftover);
        }
        let mut written_nice = BTreeMap::new();
        let mut promised = BTreeSet::new();
        let mut done: Vec<_> = std::iter::from_fn(|| planner.poll()).collect();
        for offer in &visit.offers {
            let had = on_medium.values().any(|container: &MediumContainer| {
                container
                    .bundles
                    .iter()
                    .any(|copy| copy.id == offer.id && copy.condition == Condition::Good)
            });
            match planner.offer(*offer) {
                Verdict::Write => {
                    prop_assert!(promised.insert(offer.id), "written twice");
                    prop_assert!(!offer.for_me);
                    written_nice.insert(offer.id, offer);
                }
                Verdict::LeftOut(LeftOut::OnMedium) => {
                    prop_assert!(had || promised.contains(&offer.id));
                }
                Verdict::LeftOut(_) => {}
            }
            let settled = done.iter().any(
                |step| matches!(step, Step::Remove { taken, .. } if taken.contains(&offer.id)),
            );
            prop_assert!(!settled || !promised.contains(&offer.id), "settled and written");
            while let Some(step) = planner.poll() {
                if let Step::Remove { number, .. } = &step {
                    on_medium.remove(number);
                }
                done.push(step);
            }
        }
        done.extend(steps(&mut planner));

        // Obey the steps as the loop would, and look at the medium after each.
        let mut free_bytes = visit.free_bytes;
        let mut kept = promised.clone();
        let mut spent = 0;
        for step in &done {
            match step {
                Step::RemoveLeftover(number) => {
                    let leftover = visit.leftovers.iter().find(|l| l.number == *number).unwrap();
                    free_bytes += room.on_disk_bytes(leftover.file_bytes);
                }
                Step::Remove { number, why, taken } => {
                    let container = &visit.containers[usize::try_from(number.0).unwrap()];
                    prop_assert_eq!(container.listing, Listing::Whole);
                    for copy in &container.bundles {
                        prop_assert!(copy.standing != Standing::Unknown, "took what is not ours");
                        if let Standing::Held(_) = copy.standing {
                            prop_assert_eq!(*why, Removal::MakesRoom);
                            let urgent = written_nice.values().any(|o| o.nice < copy.nice);
                            prop_assert!(urgent, "displaced by nothing more urgent");
                        }
                    }
                    prop_assert_eq!(taken.is_empty(), *why == Removal::MakesRoom);
                    free_bytes += room.on_disk_bytes(container.file_bytes);
                }
                Step::Write(ids) => {
                    prop_assert!(!ids.is_empty());
                    let records: u64 =
                        ids.iter().map(|id| written_nice[id].record_bytes + 42).sum();
                    let file_bytes = room.on_disk_bytes(records + 44);
                    prop_assert!(free_bytes >= file_bytes + MARGIN, "overfilled");
                    free_bytes -= file_bytes;
                    spent += file_bytes;
                    for id in ids {
                        prop_assert!(kept.remove(id), "written without a promise");
                    }
                }
                Step::WriteRest(_) | Step::RemoveRest { .. } => {
                    prop_assert!(false, "no rest was spoken of");
                }
            }
        }
        prop_assert!(kept.is_empty(), "promised and not written: {:?}", kept);
        if let Some(most) = visit.budgets.visit_bytes {
            prop_assert!(spent <= most + 44 + 4096, "{} of {}", spent, most);
        }
        for (class, most) in [
            (Class::Contact, visit.budgets.contacts_bytes),
            (Class::Stranger, visit.budgets.strangers_bytes),
        ] {
            let of_class = written_nice.values().filter(|o| o.class == class);
            prop_assert!(of_class.map(|o| o.record_bytes).sum::<u64>() <= most);
        }
    }
}
