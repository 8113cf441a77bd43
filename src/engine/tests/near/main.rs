//! Who is near, in virtual time: how fast they link, who is served, and what liars can do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod air;

use std::collections::BTreeSet;

use air::{Air, Spec, card, place};
use postrider_engine::{
    near::{
        Profile,
        advert::nonce,
        limits::{LINKS_KEPT, NEIGHBOURS_MAX, UNPROVEN_MAX},
    },
    node::LinkId,
};

const QUICK: Profile = Profile::Quick;
const SAVER: Profile = Profile::Saver;

/// Nodes that all know each other.
fn friends(nodes: usize, profile: Profile) -> Vec<Spec> {
    let knows = |n| (0..nodes).filter(|m| *m != n).collect();
    (0..nodes).map(|n| Spec { knows: knows(n), profile, ..Spec::default() }).collect()
}

/// Many who know the first one, and whom it knows.
fn around(nodes: usize, profile: Profile, talks_ms: u64) -> Vec<Spec> {
    let mut specs = vec![Spec { knows: vec![0], profile, talks_ms, ..Spec::default() }; nodes + 1];
    specs[0].knows = (1..=nodes).collect();
    specs
}

fn all_up(specs: Vec<Spec>, seed: u64) -> Air {
    let mut air = Air::new(specs, seed);
    for n in 0..air.nodes.len() {
        air.up(n);
    }
    air
}

/// The share of all that is at most `bound`, in hundredths.
fn share(times: &[u64], bound: u64) -> usize {
    times.iter().filter(|time| **time <= bound).count() * 100 / times.len()
}

fn quantile(times: &mut [u64], hundredths: usize) -> u64 {
    times.sort_unstable();
    times[(times.len() - 1) * hundredths / 100]
}

fn assert_capped(air: &Air) {
    let most = air.nodes.iter().map(|node| node.most_links).max().unwrap();
    // One may be proven in the instant in which it is one too many.
    assert!(most <= LINKS_KEPT + UNPROVEN_MAX + 1, "{most} links");
}

#[test]
fn two_that_come_up_are_linked_within_five_seconds() {
    for (profile, most_ms) in [(QUICK, 5_000), (SAVER, 5_000)] {
        let mut times = Vec::new();
        for seed in 0..1_000 {
            let mut air = all_up(friends(2, profile), seed);
            times.push(air.until(60_000, |air| air.linked(0, 1)).unwrap());
        }
        let (p50, p95) = (quantile(&mut times, 50), quantile(&mut times, 95));
        println!("{profile:?}: first link p50 {p50} p95 {p95} worst {} ms", times[999]);
        assert!(share(&times, most_ms) >= 95, "{profile:?}: p95 {p95} ms");
    }
}

#[test]
fn a_newcomer_is_linked_at_once_however_long_the_other_waited() {
    for (profile, most_ms) in [(QUICK, 9_000), (SAVER, 10_000)] {
        let mut times = Vec::new();
        for seed in 0..300 {
            let mut air = Air::new(friends(2, profile), seed);
            air.up(0);
            let waited = 300_000 + air.below(20_000);
            air.run(waited);
            air.up(1);
            times.push(air.until(60_000, |air| air.linked(0, 1)).unwrap());
        }
        let p95 = quantile(&mut times, 95);
        println!("{profile:?}: a newcomer is linked p50 {} p95 {p95} ms", times[150]);
        assert!(p95 <= most_ms, "{profile:?}: p95 {p95} ms");
    }
}

/// Both have been up for long and come near each other.
#[test]
fn two_that_walk_up_to_each_other_are_linked_within_a_period() {
    for (profile, most_ms) in [(QUICK, 10_000), (SAVER, 25_000)] {
        let mut times = Vec::new();
        for seed in 0..300 {
            let mut air = all_up(friends(2, profile), seed);
            air.leave(1);
            let waited = 300_000 + air.below(20_000);
            air.run(waited);
            air.come_back(1);
            times.push(air.until(120_000, |air| air.linked(0, 1)).unwrap());
        }
        let p95 = quantile(&mut times, 95);
        println!("{profile:?}: two who walk up are linked p50 {} p95 {p95} ms", times[150]);
        assert!(p95 <= most_ms, "{profile:?}: p95 {p95} ms");
    }
}

#[test]
fn out_of_range_and_back_they_are_linked_within_five_seconds_of_being_heard() {
    let mut times = Vec::new();
    for seed in 0..300 {
        let mut air = all_up(friends(2, QUICK), seed);
        air.until(60_000, |air| air.linked(0, 1)).unwrap();
        air.run(20_000);
        let away_ms = 8_000 + air.below(300_000);
        air.leave(1);
        air.run(away_ms);
        assert!(!air.linked(0, 1));
        air.come_back(1);
        let here = |air: &Air| {
            let heard = |n: usize| {
                let near = &air.nodes[n].near;
                near.here(air.now_ms).any(|heard| heard.ago_ms.is_some_and(|ago| ago < 1_000))
            };
            heard(0) || heard(1) || air.linked(0, 1)
        };
        air.until(60_000, here).unwrap();
        times.push(air.until(60_000, |air| air.linked(0, 1)).unwrap());
    }
    let p95 = quantile(&mut times, 95);
    println!(
        "back in range: linked p50 {} p95 {p95} worst {} ms after heard",
        times[150], times[299]
    );
    assert!(p95 <= 5_000, "p95 {p95} ms");
}

#[test]
fn in_a_quiet_room_a_link_stays_in_quick_and_ends_in_saver_until_there_is_mail() {
    let mut air = all_up(friends(2, QUICK), 3);
    air.run(3_600_000);
    assert!(air.linked(0, 1));
    assert_eq!(air.history.len(), 1, "nobody dials again because of a new nonce");

    let mut air = all_up(friends(2, SAVER), 3);
    air.run(60_000);
    assert!(!air.linked(0, 1) && air.history.len() == 1, "{:?}", air.history);
    // Heard lately, or not: mail goes soon.
    for wait_ms in [5_000, 100_000, 33_000] {
        air.run(wait_ms);
        air.mail(0, &[1]);
        let took = air.until(30_000, |air| !air.has_mail(0)).unwrap();
        println!("saver: mail for a neighbour went within {took} ms");
        assert!(took <= 12_000, "{took} ms");
        air.run(40_000);
        assert!(!air.linked(0, 1));
    }
    // And without mail they meet again, for what is carried for others.
    let before = air.history.len();
    air.run(3_600_000);
    let visits = air.history.len() - before;
    assert!((8..=24).contains(&visits), "{visits} visits in an hour");
}

/// Of an hour alone: how long it listens. What is said costs little.
#[test]
fn alone_it_listens_for_its_share_and_no_more() {
    for (profile, most) in [(QUICK, 52), (SAVER, 11), (Profile::Off, 0)] {
        let mut specs = friends(2, profile);
        specs[0].talks_ms = 0;
        let mut air = Air::new(specs, 1);
        air.up(0);
        air.run(3_600_000);
        let share = air.nodes[0].listened_ms * 100 / 3_600_000;
        println!("{profile:?}: listens {share} % of an hour alone");
        assert!(share <= most, "{share} %");
        assert_eq!(air.nodes[0].said.is_some(), profile != Profile::Off);
    }
    // Who knows nobody finds nobody, and can still be found.
    let mut air = all_up(vec![Spec::default()], 1);
    air.run(60_000);
    assert!(!air.nodes[0].listening && air.nodes[0].said.is_some());
}

#[test]
fn off_says_nothing_and_ends_what_there_is() {
    let mut air = all_up(friends(3, QUICK), 1);
    air.until(60_000, |air| air.linked(0, 1) && air.linked(0, 2)).unwrap();
    air.profile(0, Profile::Off);
    air.run(500);
    assert!(!air.linked(0, 1) && !air.linked(0, 2));
    let dials = air.nodes[0].dials.len();
    air.run(600_000);
    assert!(air.nodes[0].said.is_none() && !air.nodes[0].listening);
    assert_eq!(air.nodes[0].dials.len(), dials);
    air.profile(0, QUICK);
    assert!(air.until(10_000, |air| air.linked(0, 1)).is_some());
}

fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) = (shares.iter().sum::<f64>(), shares.iter().map(|x| x * x).sum::<f64>());
    sum * sum / (shares.len() as f64 * squares)
}

#[test]
fn ten_around_one_adapter_are_all_served_and_alike() {
    for (profile, talks_ms, first_ms) in [(QUICK, 3_000, 60_000), (SAVER, 3_000, 90_000)] {
        let (mut times, mut worst) = (Vec::new(), 1.0_f64);
        for seed in 0..50 {
            let mut air = all_up(around(10, profile, talks_ms), seed);
            let all = |air: &Air| (1..=10).all(|n| air.meetings(0, n) > 0);
            times.push(air.until(300_000, all).unwrap());
            air.run(1_800_000);
            let served: Vec<f64> = (1..=10).map(|n| air.meetings(0, n) as f64).collect();
            worst = worst.min(jain(&served));
            assert_capped(&air);
        }
        let p95 = quantile(&mut times, 95);
        println!(
            "{profile:?}: ten neighbours all met p50 {} p95 {p95} ms, Jain ≥ {worst:.3}",
            times[25]
        );
        assert!(p95 <= first_ms, "{profile:?}: {p95} ms");
        assert!(worst >= 0.95, "{profile:?}: Jain {worst}");
    }
}

/// Everybody has more to say than time: places go round all the same.
#[test]
fn ten_that_never_stop_talking_take_turns() {
    let mut worst = 1.0_f64;
    for seed in 0..20 {
        let mut air = all_up(around(10, QUICK, u64::MAX / 2), seed);
        air.run(1_800_000);
        let served: Vec<f64> = (1..=10).map(|n| air.together_s(0, n) as f64).collect();
        assert!(served.iter().all(|s| *s >= 300.0), "seed {seed}: {served:?} s of 1800");
        worst = worst.min(jain(&served));
        assert_capped(&air);
    }
    println!("ten who never stop: Jain ≥ {worst:.3}");
    assert!(worst >= 0.9, "Jain {worst}");
}

#[test]
fn in_a_room_of_eleven_who_all_know_each_other_everybody_meets_everybody() {
    let mut times = Vec::new();
    for seed in 0..40 {
        let mut air = all_up(friends(11, QUICK), seed);
        let all = |air: &Air| (0..11).all(|a| (a + 1..11).all(|b| air.meetings(a, b) > 0));
        times.push(air.until(1_200_000, all).unwrap_or(1_200_000));
        assert_capped(&air);
    }
    let p95 = quantile(&mut times, 95);
    println!("eleven, 55 pairs: all met p50 {} p95 {p95} ms", times[20]);
    assert!(p95 <= 300_000, "{p95} ms");
}

#[test]
fn mail_gets_a_place_among_ten_at_once() {
    let mut times = Vec::new();
    for seed in 0..50 {
        let mut air = all_up(around(10, QUICK, 2_000), seed);
        air.run(200_000);
        let to = 1 + usize::try_from(air.below(10)).unwrap();
        if air.linked(0, to) {
            continue;
        }
        air.mail(0, &[to]);
        times.push(air.until(60_000, |air| !air.has_mail(0)).unwrap());
    }
    let p95 = quantile(&mut times, 95);
    println!("mail among ten: p50 {} p95 {p95} ms, of {}", times[times.len() / 2], times.len());
    assert!(times.len() >= 10 && p95 <= 15_000, "{p95} ms");
}

/// Both have mail, with controllers that can be dialled while they dial and with those that cannot; and where a
/// channel takes longer than anybody waits for it, so that many do dial each other.
#[test]
fn two_never_dial_each_other_for_ever() {
    for (channel_ms, pairs, twice) in [(200, 10_000, 0..=100), (4_000, 2_000, 100..=2_000)] {
        let (mut dials, mut collided) = (0, 0);
        for seed in 0..pairs {
            let mut air = Air::new(friends(2, QUICK), seed);
            air.channel_ms = channel_ms;
            air.up(0);
            air.up(1);
            air.mail(0, &[1]);
            air.mail(1, &[0]);
            air.until(60_000, |air| air.linked(0, 1)).unwrap();
            air.run(30_000);
            assert!(air.linked(0, 1), "seed {seed}");
            assert_eq!(air.links.len(), 1, "seed {seed}");
            let all: usize = air.nodes.iter().map(|node| node.dials.len()).sum();
            assert!(all <= 6, "seed {seed}: {all} dials");
            collided += usize::from(all > 1);
            dials += all;
        }
        println!("{pairs} pairs, {channel_ms} ms: {dials} dials, {collided} times more than one");
        assert!(twice.contains(&collided), "{collided} of {pairs} dialled more than once");
    }
}

#[test]
fn only_one_of_two_knows_the_other_and_they_are_linked() {
    for (seed, knows) in [(1, 0), (2, 0), (3, 1), (4, 1)] {
        let mut specs = friends(2, QUICK);
        specs[1 - knows].knows.clear();
        let mut air = all_up(specs, seed);
        assert!(air.until(10_000, |air| air.linked(0, 1)).is_some());
    }
}

#[test]
fn whoever_is_reached_elsewhere_is_not_dialled_and_the_blocked_never() {
    let mut air = Air::new(friends(2, QUICK), 1);
    air.elsewhere(0, &[1]);
    air.elsewhere(1, &[0]);
    air.up(0);
    air.up(1);
    air.run(60_000);
    assert!(air.nodes.iter().all(|node| node.dials.is_empty()));
    air.elsewhere(0, &[]);
    assert!(air.until(10_000, |air| air.linked(0, 1)).is_some());
    // A way that comes later makes the link spare, and its end makes it needed at once.
    air.elsewhere(0, &[1]);
    air.elsewhere(1, &[0]);
    air.run(15_000);
    assert!(!air.linked(0, 1));
    air.elsewhere(0, &[]);
    air.elsewhere(1, &[]);
    assert!(air.until(15_000, |air| air.linked(0, 1)).is_some());

    let mut specs = friends(2, QUICK);
    specs[0].blocks = vec![1];
    let mut air = all_up(specs, 1);
    air.run(120_000);
    assert!(air.nodes[0].dials.is_empty());
    assert!(!air.linked(0, 1), "what they dialled was closed");
    assert!(
        air.nodes[1].dials.len() <= 10,
        "{} dials to who does not want",
        air.nodes[1].dials.len()
    );
}

#[test]
fn a_restart_is_noticed_and_linked_again() {
    let mut times = Vec::new();
    for seed in 0..100 {
        let mut air = all_up(friends(2, QUICK), seed);
        let up_ms = 15_000 + air.below(60_000);
        air.run(up_ms);
        air.restart(1);
        let off_ms = air.below(10_000);
        air.run(off_ms);
        air.up(1);
        let before = air.history.len();
        times.push(
            air.until(120_000, |air| air.history.len() > before && air.linked(0, 1)).unwrap(),
        );
    }
    let p95 = quantile(&mut times, 95);
    println!("restart: linked again p50 {} p95 {p95} ms", times[50]);
    assert!(p95 <= 30_000, "{p95} ms");
}

#[test]
fn an_adapter_that_is_pulled_out_ends_its_links_and_is_found_again() {
    let mut air = all_up(friends(2, QUICK), 4);
    air.until(60_000, |air| air.linked(0, 1)).unwrap();
    air.down(0);
    assert!(!air.linked(0, 1));
    air.run(5_000);
    air.up(0);
    let took = air.until(30_000, |air| air.linked(0, 1)).unwrap();
    assert!(took <= 15_000, "{took} ms");
}

#[test]
fn strangers_are_not_dialled_and_are_remembered_within_bounds() {
    let mut specs = vec![Spec::default(); 22];
    // The strangers know each other, not the first two.
    for (n, spec) in specs.iter_mut().enumerate().skip(2) {
        spec.knows = (2..22).filter(|m| *m != n).collect();
    }
    specs[0].knows = vec![1];
    specs[1].knows = vec![0];
    let mut air = all_up(specs, 5);
    let took = air.until(10_000, |air| air.linked(0, 1)).unwrap();
    assert!(took <= 5_000, "{took} ms");
    air.run(600_000);
    assert_eq!(air.nodes[0].dials.len() + air.nodes[1].dials.len(), 1);
    assert_eq!(air.nodes[0].near.remembered(), 1);
    // Each says something else with each of its links.
    let strangers = air.nodes[0].near.strangers(air.now_ms - 10_000);
    assert!((18..=60).contains(&strangers), "{strangers} seen");
}

#[test]
fn strangers_that_open_links_and_say_nothing_are_few_and_soon_gone() {
    let mut air = all_up(friends(2, QUICK), 1);
    air.until(60_000, |air| air.linked(0, 1)).unwrap();
    let mut open: BTreeSet<LinkId> = BTreeSet::new();
    for n in 0..200 {
        open.insert(air.knock(0, place(n)));
        air.run(200);
        let still = air.nodes[0].links.intersection(&open).count();
        assert!(still <= UNPROVEN_MAX, "{still} at once");
    }
    assert!(air.linked(0, 1), "the friend stays");
    air.run(16_000);
    assert_eq!(air.nodes[0].links.intersection(&open).count(), 0, "they are over");
}

/// Who may be calling is waited for, but not for ever.
#[test]
fn strangers_that_only_connect_keep_nobody_from_dialling() {
    let mut times = Vec::new();
    for seed in 0..200 {
        // Only the one that strangers connect with knows the other.
        let mut specs = friends(2, QUICK);
        specs[1].knows.clear();
        let mut air = all_up(specs, seed);
        let begun_ms = air.now_ms;
        while !air.linked(0, 1) && air.now_ms < begun_ms + 60_000 {
            air.connect(0);
            air.run(250);
        }
        times.push(air.now_ms - begun_ms);
    }
    let p95 = quantile(&mut times, 95);
    println!("strangers connect four times a second: linked p50 {} p95 {p95} ms", times[100]);
    assert!(p95 <= 15_000, "p95 {p95} ms");
}

#[test]
fn nothing_of_what_is_said_outlives_its_nonce() {
    let mut air = all_up(friends(2, QUICK), 9);
    air.run(24 * 3_600_000);
    let sayings = &air.nodes[0].sayings;
    assert!(sayings.len() >= 96, "{} in a day", sayings.len());
    // With the link, which comes soon, another one begins.
    assert!(
        sayings[1].0 < 30_000 && sayings[2].0 > 13 * 60_000,
        "{} {}",
        sayings[1].0,
        sayings[2].0
    );
    let longest = sayings[1..].windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap();
    let shortest = sayings[1..].windows(2).map(|pair| pair[1].0 - pair[0].0).min().unwrap();
    assert!((13 * 60_000..=15 * 60_000).contains(&longest), "{longest} ms");
    assert!((13 * 60_000..=15 * 60_000).contains(&shortest), "{shortest} ms");
    for (n, a) in sayings.iter().enumerate() {
        for b in &sayings[n + 1..] {
            assert_ne!(nonce(&a.1), nonce(&b.1));
            assert_ne!(a.2, b.2, "another address each time");
            let runs = (0..8).filter(|i| a.1[*i..i + 3] == b.1[*i..i + 3]).count();
            assert_eq!(runs, 0);
        }
    }
    // No two that come up together and stay together.
    assert_ne!(sayings[2].0, air.nodes[1].sayings[2].0);
    // What they said before is forgotten.
    assert_eq!(air.nodes[0].near.remembered(), 1);
}

/// Each link has its both ends say something else, and that alone makes nobody dial.
#[test]
fn what_links_change_leads_to_no_more_links() {
    let mut air = all_up(friends(2, Profile::Saver), 9);
    air.run(3_600_000);
    let links = air.history.len();
    assert!((8..=14).contains(&links), "{links} in an hour, of visits every five minutes");
}

/// Somebody repeats what a neighbour says, from ever other addresses.
#[test]
fn words_repeated_from_elsewhere_cost_a_few_dials_and_keep_nobody_waiting() {
    let mut worst = 0;
    for seed in 0..50 {
        let mut air = Air::new(around(3, QUICK, 2_000), seed);
        air.up(1);
        air.run(2_000);
        let said = air.nodes[1].said.unwrap();
        air.up(0);
        // The neighbour itself is here, and the repeater is louder and faster.
        for n in 0..200 {
            air.forge(0, place(0x0bad_0000 + n % 7), said, Some(-40));
            air.run(300);
        }
        assert!(air.linked(0, 1), "seed {seed}");
        let vain = air.nodes[0].dials.iter().filter(|dial| dial.1 != air.nodes[1].place).count();
        worst = worst.max(vain);
        // Others are served as ever.
        air.up(2);
        for n in 0..100 {
            air.forge(0, place(0x0bad_0000 + n % 7), said, Some(-40));
            air.run(100);
        }
        assert!(air.linked(0, 2), "seed {seed}");
    }
    println!("repeated beside the neighbour itself: at most {worst} dials in vain");
    assert!(worst <= 6, "{worst} dials in vain");
}

/// The neighbour is not here at all; what it said once is repeated, with whatever channel.
#[test]
fn words_of_the_absent_and_forged_channels_starve_nobody() {
    let mut worst = 0;
    for seed in 0..20 {
        let mut air = Air::new(around(8, QUICK, 2_000), seed);
        let absent: Vec<_> = (4..=8)
            .map(|n| card(n).1.say([9, 9, 9, u8::try_from(n).unwrap()], Some(0x81)))
            .collect();
        air.up(0);
        let mut all_ms = None;
        for round in 0..600_u64 {
            for (n, said) in absent.iter().enumerate() {
                let mut said = *said;
                said[9] ^= u8::try_from(round % 128).unwrap();
                air.forge(0, place(0x0bad_0000 + n as u64 * 16 + round % 5), said, Some(-50));
            }
            air.run(200);
            if round == 100 {
                (1..=3).for_each(|n| air.up(n));
            }
            let served = (1..=3).filter(|n| air.meetings(0, *n) > 0).count();
            if served == 3 && all_ms.is_none() {
                all_ms = Some((round - 100) * 200);
            }
        }
        worst = worst.max(all_ms.unwrap_or(u64::MAX));
        let vain = air.nodes[0].dials.len();
        // The first half a minute is four dials that take six seconds, then it is one in half a minute.
        assert!(vain <= 12, "seed {seed}: {vain} dials");
        // Nobody says one thing for longer than a quarter of an hour: then nobody believes it.
        let before = air.nodes[0].dials.len();
        for round in 0..6_000_u64 {
            for (n, said) in absent.iter().enumerate() {
                air.forge(0, place(0x0bad_0000 + n as u64), *said, Some(-50));
            }
            air.run(300);
            if round == 4_000 {
                break;
            }
        }
        let after = air.nodes[0].dials.iter().filter(|dial| dial.0 > air.now_ms - 120_000).count();
        assert!(
            after <= 3,
            "{after} dials of {} in the last two minutes",
            air.nodes[0].dials.len() - before
        );
    }
    println!("five absent ones repeated: three others served within {worst} ms");
    assert!(worst <= 60_000, "{worst} ms");
}

#[test]
fn a_flood_of_adverts_stays_bounded_and_hides_nobody() {
    let mut specs = friends(3, QUICK);
    specs[0].knows = (1..=2_000).collect();
    let mut air = Air::new(specs, 3);
    air.up(0);
    air.up(1);
    air.until(60_000, |air| air.linked(0, 1)).unwrap();
    let mut draw = 77_u64;
    let mut flood = |air: &mut Air, number: u64| {
        for n in 0..number {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut said = [0; 10];
            said[..8].copy_from_slice(&draw.to_be_bytes());
            said[8..].copy_from_slice(&n.to_be_bytes()[6..]);
            air.forge(0, place(draw >> 24), said, Some(-30));
            if n % 2 == 0 {
                air.run(1);
            }
        }
    };
    flood(&mut air, 60_000);
    air.up(2);
    flood(&mut air, 40_000);
    assert!(air.linked(0, 1), "who was here stays");
    assert!(air.linked(0, 2), "who came is found");
    assert_eq!(air.nodes[0].near.remembered(), 2);
    assert!(air.nodes[0].near.strangers(0) <= 1_024);
    assert!(air.nodes[0].dials.len() <= 4, "{} dials", air.nodes[0].dials.len());
}

/// Many who are known, said to be everywhere at once.
#[test]
fn a_crowd_of_the_known_is_remembered_within_bounds() {
    let mut specs = friends(2, QUICK);
    specs[0].knows = (1..=600).collect();
    let mut air = Air::new(specs, 3);
    air.up(0);
    air.up(1);
    air.until(60_000, |air| air.linked(0, 1)).unwrap();
    for n in 2..=600_usize {
        let said = card(n).1.say([1; 4], Some(0x90));
        for at in 0..12 {
            air.forge(0, place((n as u64) << 8 | at), said, Some(-60));
            air.run(5);
        }
    }
    assert!(air.nodes[0].near.remembered() <= NEIGHBOURS_MAX);
    assert!(air.linked(0, 1), "who is linked is not forgotten");
}
