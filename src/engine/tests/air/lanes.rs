//! The urgent goes first, whatever else there is to send.

use postrider_engine::air::{Lane, May, Span};

use super::radio::{Chance, HOUR_US, Radio, Writes};

fn place(lane: Lane) -> usize {
    Lane::ALL.iter().position(|other| *other == lane).unwrap()
}

/// Lets the first frame of a lane go that may; which lane that was.
fn send_one(radio: &mut Radio, waiting: &mut [Option<u64>; 4]) -> Option<Lane> {
    let told = radio.ledger.outlook(radio.now_ms(), radio.limit, *waiting);
    let mut going = Lane::ALL.into_iter().filter(|lane| told[place(*lane)] == Some(May::Now));
    let lane = going.next()?;
    assert_eq!(going.next(), None, "one goes at a time");
    let us = waiting[place(lane)].take()?;
    let booking = radio.ledger.book(radio.now_ms(), radio.limit, lane, us).unwrap();
    radio.aired.push((radio.true_us, radio.true_us + us));
    radio.pass(us);
    radio.ledger.settle(radio.now_ms(), booking, us);
    Some(lane)
}

#[test]
fn nothing_goes_while_something_more_urgent_waits() {
    for seed in 0..2_000 {
        let mut chance = Chance::new(seed);
        let mut radio =
            Radio::new([1, 10, 100][usize::try_from(chance.below(3)).unwrap()], Writes::Before);
        let longest_us = radio.most_us / (2 + chance.below(20));
        let mut waiting = [None; 4];
        let mut since_us = [0; 4];
        while radio.true_us < 4 * HOUR_US {
            for lane in Lane::ALL {
                let often = if lane <= Lane::Urgent { 40 } else { 2 };
                if waiting[place(lane)].is_none() && chance.one_in(often) {
                    // None that could never go.
                    waiting[place(lane)] = Some(chance.below(longest_us) + 1);
                    since_us[place(lane)] = radio.true_us;
                }
            }
            let first = Lane::ALL.into_iter().find(|lane| waiting[place(*lane)].is_some());
            match send_one(&mut radio, &mut waiting) {
                Some(lane) => assert_eq!(Some(lane), first, "seed {seed}"),
                None => radio.pass(chance.below(60_000_000) + 1_000),
            }
            // The first lane waits for an hour and a slot, and for how long this took to ask again.
            let most_us = (Span::Hour.ms() + Span::Hour.slot_ms()) * 1_000 + 60_000_000;
            if waiting[0].is_some() {
                let waited_us = radio.true_us - since_us[0];
                assert!(waited_us <= most_us + longest_us, "seed {seed}: {waited_us}");
            }
        }
        assert!(radio.worst_us() <= radio.most_us, "seed {seed}");
    }
}

/// Within its reserve an urgent frame does not wait at all, however much else there is.
#[test]
fn a_flood_of_others_never_keeps_the_urgent_waiting() {
    for seed in 0..200 {
        let mut chance = Chance::new(seed);
        let mut radio = Radio::new(10, Writes::Before);
        let us = radio.most_us / 40;
        // Two frames an hour, of which each is a fortieth: less than the tenth that it has to itself.
        let mut next_us = chance.below(HOUR_US);
        let mut sent = 0;
        while radio.true_us < 6 * HOUR_US {
            if radio.true_us >= next_us {
                let may = radio.ledger.may(radio.now_ms(), radio.limit, Lane::Urgent, us);
                assert_eq!(may, May::Now, "seed {seed}");
                let mut waiting = [None, Some(us), Some(us), Some(us)];
                assert_eq!(send_one(&mut radio, &mut waiting), Some(Lane::Urgent));
                next_us += HOUR_US / 2 + chance.below(HOUR_US / 2);
                sent += 1;
            }
            let small = chance.below(us) + 1;
            if send_one(&mut radio, &mut [None, None, Some(small), Some(us)]).is_none() {
                radio.pass(chance.below(10_000_000) + 1_000);
            }
        }
        assert!(sent >= 6, "seed {seed}");
    }
}

/// Short frames that fit into every gap would keep a long one from ever having room.
#[test]
fn a_long_urgent_frame_is_not_starved_by_short_ones() {
    let mut radio = Radio::new(10, Writes::Before);
    let (long_us, short_us) = (radio.most_us / 2, radio.most_us / 100);
    let mut shorts = 0;
    while radio.true_us < 2 * HOUR_US {
        shorts +=
            u64::from(send_one(&mut radio, &mut [None, None, Some(short_us), None]).is_some());
        radio.pass(10_000_000);
    }
    assert!(shorts > 100);
    let begun_us = radio.true_us;
    let mut waiting = [None, Some(long_us), Some(short_us), None];
    while waiting[1].is_some() {
        let sent = send_one(&mut radio, &mut waiting);
        assert!(sent.is_none_or(|lane| lane == Lane::Urgent));
        radio.pass(10_000_000);
        assert!(radio.true_us - begun_us <= HOUR_US + 40_000_000);
    }
}
