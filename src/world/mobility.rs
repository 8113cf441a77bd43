//! Crowds that were never observed: who would meet whom in a town, between towns, after a disaster.
//!
//! Everybody is at one place for each hour. Who is there meets some of the others, for a few minutes
//! or most of the hour. Where people go:
//!
//! ```text
//! town        at home by night, at work by day, in the evening at one of three favourite places
//! commuters   three towns; one in ten works in another one, and rides there and back with others
//! disaster    camps without roads; in each some wells and tents. One in fifty is a courier, who
//!             walks from camp to camp and stays for some hours
//! conference  by day in one of some halls or in the foyer, by night nowhere. Meetings are many and
//!             short, most with somebody who is not met again, some with whom one came with; a few
//!             people talk to everybody. One in five comes for one day only
//! ```
//!
//! The figures are judgements, made to give the shape of such networks (few regular acquaintances,
//! many strangers, days that repeat), not measurements of any place.

use std::collections::BTreeMap;

use crate::{
    chance::Chance,
    letters::NODES_MAX,
    meetings::{Meeting, Meetings, TraceError},
};

const HOUR_MS: u64 = 3_600_000;
/// People whom somebody meets at a place within an hour, at most; who is met by others is met too.
const COMPANY: u64 = 3;
/// Households, workplaces and places for the evening, each for so many people.
const HOUSEHOLD: usize = 4;
const WORKPLACE: usize = 12;
const EVENING_PLACE: usize = 30;
/// One in so many works in another town; one in so many is a courier.
const COMMUTERS: usize = 10;
const COURIERS: usize = 50;
const TOWNS: usize = 3;
/// People of a camp, and those who share a tent or a well.
const CAMP: usize = 40;
const TENT: usize = 8;
/// Hours that a courier stays in a camp; the way to the next takes one.
const STAY_H: (u64, u64) = (2, 6);
/// People of a conference for whom there is one hall; those who came together; the hours of its days.
const HALL: usize = 100;
const PARTY: usize = 5;
const DAY_H: std::ops::RangeInclusive<u64> = 8..=17;
/// Whom somebody talks to in an hour, on average: one in so many ten times as often as most.
const TALKS: u64 = 4;
const HOSTS: usize = 20;
/// One in so many comes for one day only.
const GUESTS: usize = 5;

/// A crowd to make up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mobility {
    /// One town.
    Town,
    /// Three towns and those who work in another than they live in.
    Commuters,
    /// Camps without roads, and couriers.
    Disaster,
    /// Many who talk to each other briefly, by day.
    Conference,
}

impl Mobility {
    /// All of them, by their names.
    pub const ALL: [(&'static str, Self); 4] = [
        ("town", Self::Town),
        ("commuters", Self::Commuters),
        ("disaster", Self::Disaster),
        ("conference", Self::Conference),
    ];

    /// The meetings of so many people in so many hours; equal for equal seeds.
    pub fn meetings(self, people: usize, hours: u64, seed: u64) -> Result<Meetings, TraceError> {
        if people > NODES_MAX {
            return Err(TraceError::TooMany { what: "nodes", limit: NODES_MAX });
        }
        let mut chance = Chance::new(seed ^ 0x706c_6163_6573);
        let mut crowd: Vec<Person> =
            (0..people).map(|number| Person::new(self, number, people, &mut chance)).collect();
        let mut all = Vec::new();
        for hour in 0..hours {
            let mut places: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
            for (number, person) in crowd.iter_mut().enumerate() {
                if let Some(place) = person.place(hour, &mut chance) {
                    places.entry(place).or_default().push(number);
                }
            }
            for there in places.into_values() {
                if self == Self::Conference {
                    talk(&there, hour, &mut chance, &mut all);
                } else {
                    meet(&there, hour, &mut chance, &mut all);
                }
            }
        }
        Meetings::of(people, all)
    }
}

/// A kind of place, and which of them.
type Place = (u8, usize);

const HOME: u8 = 0;
const WORK: u8 = 1;
const EVENING: u8 = 2;
const RIDE: u8 = 3;
const TENTS: u8 = 4;
const WELLS: u8 = 5;
const HALLS: u8 = 6;
const FOYER: u8 = 7;

struct Person {
    home: Place,
    day: Place,
    evening: [Place; 3],
    /// To which town somebody rides, and with whom.
    ride: Option<Place>,
    walk: Option<Walk>,
    visit: Option<Visit>,
}

/// When somebody is at a conference.
struct Visit {
    /// The hall where what interests them is spoken of mostly, of so many.
    hall: usize,
    halls: usize,
    /// The only day, where it is one: odd or even.
    day: Option<u64>,
}

/// A courier's way.
struct Walk {
    camps: usize,
    camp: usize,
    until: u64,
}

impl Person {
    fn new(of: Mobility, number: usize, people: usize, chance: &mut Chance) -> Self {
        if of == Mobility::Disaster {
            return Self::in_camp(number, people, chance);
        }
        if of == Mobility::Conference {
            return Self::at_conference(people, chance);
        }
        let towns = if of == Mobility::Commuters { TOWNS } else { 1 };
        let (town, size) = (number % towns, people.div_ceil(towns));
        let commutes = towns > 1 && number.is_multiple_of(COMMUTERS);
        let works_in = if commutes { (town + 1 + chance.index(towns - 1)) % towns } else { town };
        // Places of a town have numbers of their own.
        let mut one_of = |kind: u8, town: usize, each: usize| {
            let count = size.div_ceil(each);
            (kind, town * size + chance.index(count))
        };
        Self {
            home: (HOME, town * size + number / towns / HOUSEHOLD),
            day: one_of(WORK, works_in, WORKPLACE),
            evening: [(); 3].map(|()| one_of(EVENING, town, EVENING_PLACE)),
            ride: commutes.then_some((RIDE, town * towns + works_in)),
            walk: None,
            visit: None,
        }
    }

    fn at_conference(people: usize, chance: &mut Chance) -> Self {
        let halls = people.div_ceil(HALL);
        let day = (chance.index(GUESTS) == 0).then(|| chance.below(2));
        let nowhere = (HOME, 0);
        Self {
            home: nowhere,
            day: nowhere,
            evening: [nowhere; 3],
            ride: None,
            walk: None,
            visit: Some(Visit { hall: chance.index(halls), halls, day }),
        }
    }

    fn in_camp(number: usize, people: usize, chance: &mut Chance) -> Self {
        let camps = people.div_ceil(CAMP).max(1);
        let camp = number % camps;
        let well = (WELLS, camp);
        let walk = Walk { camps, camp, until: chance.within(STAY_H.0, STAY_H.1) };
        Self {
            home: (TENTS, camp * CAMP + number / camps / TENT),
            day: well,
            evening: [well; 3],
            ride: None,
            walk: number.is_multiple_of(COURIERS).then_some(walk),
            visit: None,
        }
    }

    /// Where somebody is in an hour; `None` on the way, alone.
    fn place(&mut self, hour: u64, chance: &mut Chance) -> Option<Place> {
        if let Some(walk) = &mut self.walk {
            return walk.place(hour, chance);
        }
        if let Some(visit) = &self.visit {
            return visit.place(hour, chance);
        }
        match hour % 24 {
            7 | 17 if self.ride.is_some() => self.ride,
            8..=16 => Some(self.day),
            // Some stay at home, or are out for a walk.
            18..=21 if chance.permille(700) => chance.one_of(&self.evening),
            7..=22 if chance.permille(200) => None,
            _ => Some(self.home),
        }
    }
}

impl Walk {
    fn place(&mut self, hour: u64, chance: &mut Chance) -> Option<Place> {
        if hour < self.until {
            return Some((WELLS, self.camp));
        }
        let others = self.camps.saturating_sub(1);
        if others > 0 {
            self.camp = (self.camp + 1 + chance.index(others)) % self.camps;
        }
        self.until = hour + 1 + chance.within(STAY_H.0, STAY_H.1);
        None
    }
}

impl Visit {
    fn place(&self, hour: u64, chance: &mut Chance) -> Option<Place> {
        let is_there = DAY_H.contains(&(hour % 24)) && !chance.permille(150);
        if !is_there || self.day.is_some_and(|day| day != hour / 24 % 2) {
            return None;
        }
        // Halls are left for the foyer, or for another hall.
        Some(match chance.below(10) {
            0..6 => (HALLS, self.hall),
            6 => (HALLS, chance.index(self.halls)),
            _ => (FOYER, 0),
        })
    }
}

/// Who is at a conference talks to some of the others, mostly for less than a minute.
fn talk(there: &[usize], hour: u64, chance: &mut Chance, all: &mut Vec<Meeting>) {
    for a in there {
        let talks = if a.is_multiple_of(HOSTS) { 10 * TALKS } else { 2 * TALKS - 1 };
        for _ in 0..chance.within(1, talks) {
            let party: Vec<_> = there.iter().filter(|b| *b / PARTY == a / PARTY).copied().collect();
            let among = if chance.permille(350) { &party } else { there };
            let Some(b) = chance.one_of(among).filter(|b| b != a) else { continue };
            let begin_ms = hour * HOUR_MS + chance.below(HOUR_MS * 9 / 10);
            let most_ms = if chance.permille(150) { HOUR_MS / 10 } else { HOUR_MS / 60 };
            let end_ms = begin_ms + chance.within(20_000, most_ms);
            all.push(Meeting { begin_ms, end_ms, ends: [*a.min(&b), *a.max(&b)] });
        }
    }
}

/// Who is at a place meets some of the others.
fn meet(there: &[usize], hour: u64, chance: &mut Chance, all: &mut Vec<Meeting>) {
    if there.len() < 2 {
        return;
    }
    for a in there {
        for _ in 0..chance.within(1, COMPANY) {
            let Some(b) = chance.one_of(there).filter(|b| b != a) else { continue };
            let begin_ms = hour * HOUR_MS + chance.below(HOUR_MS * 3 / 4);
            // Most say hello; some sit together.
            let most_ms = if chance.permille(300) { HOUR_MS } else { HOUR_MS / 12 };
            let end_ms = (begin_ms + chance.within(30_000, most_ms)).min((hour + 1) * HOUR_MS);
            all.push(Meeting { begin_ms, end_ms, ends: [*a.min(&b), *a.max(&b)] });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_makes_a_crowd_and_another_a_different_one() {
        for (name, mobility) in Mobility::ALL {
            let one = mobility.meetings(120, 48, 1).unwrap();
            assert_eq!(one, mobility.meetings(120, 48, 1).unwrap(), "{name}");
            assert_ne!(one, mobility.meetings(120, 48, 2).unwrap(), "{name}");
            assert_eq!(one.nodes(), 120);
            assert!(one.span_ms().1 <= 48 * HOUR_MS);
            let met: BTreeSet<usize> = one.list().iter().flat_map(|m| m.ends).collect();
            assert!(met.len() > 110, "{name}: {} meet somebody", met.len());
        }
        assert!(Mobility::Town.meetings(NODES_MAX + 1, 1, 1).is_err());
        assert!(matches!(Mobility::Town.meetings(1, 24, 1), Err(TraceError::Empty)));
    }

    #[test]
    fn days_repeat_more_with_acquaintances_than_with_strangers() {
        let town = Mobility::Town.meetings(300, 48, 5).unwrap();
        let day = |of: u64| -> BTreeSet<[usize; 2]> {
            let that = |m: &&Meeting| m.begin_ms / HOUR_MS / 24 == of;
            town.list().iter().filter(that).map(|m| m.ends).collect()
        };
        let (first, second) = (day(0), day(1));
        let both = first.intersection(&second).count();
        assert!(both * 5 > first.len() && both * 10 < first.len() * 9, "{both} of {}", first.len());
    }

    #[test]
    fn only_couriers_join_the_camps() {
        let camps = Mobility::Disaster.meetings(200, 72, 3).unwrap();
        let (count, mut across) = (200_usize.div_ceil(CAMP), 0);
        for meeting in camps.list() {
            let [a, b] = meeting.ends;
            if a % count != b % count {
                across += 1;
                assert!(a % COURIERS == 0 || b % COURIERS == 0, "{meeting:?}");
            }
        }
        assert!(across > 20, "{across}");
    }

    #[test]
    fn at_a_conference_most_meet_once_and_by_day() {
        let all = Mobility::Conference.meetings(200, 48, 3).unwrap();
        let mut times: BTreeMap<[usize; 2], usize> = BTreeMap::new();
        for meeting in all.list() {
            assert!(DAY_H.contains(&(meeting.begin_ms / HOUR_MS % 24)), "{meeting:?}");
            *times.entry(meeting.ends).or_default() += 1;
        }
        let once = times.values().filter(|times| **times == 1).count();
        assert!(once * 2 > times.len() && times.values().any(|times| *times > 5), "{once}");
        let of = |n: usize| all.list().iter().filter(|m| m.ends.contains(&n)).count();
        assert!(of(0) + of(HOSTS) > 3 * (of(1) + of(HOSTS + 1)), "{} {}", of(0), of(1));
    }

    #[test]
    fn commuters_join_the_towns() {
        let towns = Mobility::Commuters.meetings(300, 48, 3).unwrap();
        let across = towns.list().iter().filter(|m| m.ends[0] % TOWNS != m.ends[1] % TOWNS);
        let across: Vec<_> = across.collect();
        assert!(across.len() > 50, "{}", across.len());
        let commutes = |n: usize| n.is_multiple_of(COMMUTERS);
        assert!(across.iter().all(|m| commutes(m.ends[0]) || commutes(m.ends[1])));
    }
}
