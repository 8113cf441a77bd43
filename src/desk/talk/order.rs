//! In which order the messages of a conversation stand: what was answered before its answer, and of one
//! sender what was written first before what was written later.
//!
//! No clock of anybody takes part. Where nothing else decides, a message stands where this node came to
//! know it; one that came late, and that something here already follows, stands before that.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use postrider_base::BundleId;

/// What the order of a message depends on.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    /// Its id, which no other one has.
    pub id: BundleId,
    /// The message it answers; it need not be here.
    pub answers: Option<BundleId>,
    /// Its number, where that is known.
    pub number: Option<Number>,
    /// When this node came to know it, by its custody clock: that goes on while the node runs, and at
    /// worst goes a minute again after a power cut.
    pub known_ms: u64,
}

/// A bundle's number. Epochs are drawn by chance, so only numbers of one epoch tell an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number {
    pub author: [u8; 32],
    pub to: [u8; 32],
    pub epoch: u32,
    pub counter: u64,
}

/// The messages in order, as places in `all`.
///
/// An answer never stands before what it answers. Numbers are only what their authors say: where they
/// contradict the answers, the answers count. Takes n log n time, and memory for each message once.
pub(super) fn order(all: &[Heard]) -> Vec<usize> {
    let mut known: Vec<usize> = (0..all.len()).collect();
    known.sort_by_key(|at| (all[*at].known_ms, all[*at].number, all[*at].id));
    let mut rank = vec![0; all.len()];
    for (n, at) in known.iter().enumerate() {
        rank[*at] = n;
    }
    let mut line = Line::new(all, &rank);
    // What decides among messages that nothing holds back: the first message known that must follow
    // this one, then when this one became known.
    let reach = line.reach(&known);
    let key = |at: usize| (reach[at], rank[at]);

    // Free: nothing holds it back. Held: only an earlier number does. The rest waits for what it
    // answers.
    let (mut free, mut held, mut waiting) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for at in 0..all.len() {
        match (line.answers[at], line.earlier[at]) {
            (Some(_), _) => waiting.insert(key(at)),
            (None, Some(_)) => held.insert(key(at)),
            (None, None) => free.insert(key(at)),
        };
    }
    let mut placed = Vec::with_capacity(all.len());
    // The last case is a circle of answers, which hashes do not allow.
    while let Some(next) =
        free.pop_first().or_else(|| held.pop_first()).or_else(|| waiting.pop_first())
    {
        let at = known[next.1];
        placed.push(at);
        if let Some(later) = line.take(at)
            && held.remove(&key(later))
        {
            free.insert(key(later));
        }
        for answer in std::mem::take(&mut line.answered_by[at]) {
            if waiting.remove(&key(answer)) {
                let set = if line.earlier[answer].is_some() { &mut held } else { &mut free };
                set.insert(key(answer));
            }
        }
    }
    placed
}

/// What stands before what.
struct Line {
    answers: Vec<Option<usize>>,
    answered_by: Vec<Vec<usize>>,
    /// Of the messages not placed yet, the one of the same author with the number before.
    earlier: Vec<Option<usize>>,
    later: Vec<Option<usize>>,
}

impl Line {
    fn new(all: &[Heard], rank: &[usize]) -> Self {
        let places: HashMap<BundleId, usize> =
            all.iter().enumerate().map(|(at, heard)| (heard.id, at)).collect();
        let mut line = Self {
            answers: vec![None; all.len()],
            answered_by: vec![Vec::new(); all.len()],
            earlier: vec![None; all.len()],
            later: vec![None; all.len()],
        };
        let mut series: BTreeMap<_, Vec<(u64, usize, usize)>> = BTreeMap::new();
        for (at, heard) in all.iter().enumerate() {
            let answered = heard.answers.and_then(|id| places.get(&id)).copied();
            if let Some(answered) = answered.filter(|answered| *answered != at) {
                line.answers[at] = Some(answered);
                line.answered_by[answered].push(at);
            }
            if let Some(Number { author, to, epoch, counter }) = heard.number {
                series.entry((author, to, epoch)).or_default().push((counter, rank[at], at));
            }
        }
        for mut numbered in series.into_values() {
            numbered.sort_unstable();
            for pair in numbered.windows(2) {
                let (before, after) = (pair[0].2, pair[1].2);
                line.later[before] = Some(after);
                line.earlier[after] = Some(before);
            }
        }
        line
    }

    /// Of each message the first one known that it must stand before, itself among them.
    fn reach(&self, known: &[usize]) -> Vec<usize> {
        let mut reach = vec![usize::MAX; known.len()];
        let mut before = Vec::new();
        for (rank, at) in known.iter().enumerate() {
            before.push(*at);
            while let Some(at) = before.pop() {
                if reach[at] == usize::MAX {
                    reach[at] = rank;
                    before.extend(self.answers[at]);
                    before.extend(self.earlier[at]);
                }
            }
        }
        reach
    }

    /// Takes a message out of the line of its author's numbers; which one is the first of the rest by
    /// that.
    fn take(&mut self, at: usize) -> Option<usize> {
        let (earlier, later) = (self.earlier[at].take(), self.later[at].take());
        if let Some(earlier) = earlier {
            self.later[earlier] = later;
        }
        let later = later?;
        self.earlier[later] = earlier;
        earlier.is_none().then_some(later)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: usize) -> BundleId {
        BundleId(*blake3::hash(&n.to_be_bytes()).as_bytes())
    }

    fn number(author: u8, epoch: u32, counter: u64) -> Option<Number> {
        Some(Number { author: [author; 32], to: [9; 32], epoch, counter })
    }

    fn heard(n: usize, answers: Option<usize>, number: Option<Number>, known_ms: u64) -> Heard {
        Heard { id: id(n), answers: answers.map(id), number, known_ms }
    }

    #[test]
    fn what_comes_late_stands_before_what_follows_it() {
        // The second of two messages came first, and was followed by one of mine.
        let all = [
            heard(0, None, number(1, 7, 2), 10),
            heard(1, Some(0), number(2, 7, 1), 20),
            heard(2, None, number(1, 7, 1), 30),
            heard(3, None, number(2, 7, 2), 25),
        ];
        assert_eq!(order(&all), [2, 0, 1, 3]);
    }

    #[test]
    fn numbers_of_two_epochs_tell_no_order() {
        let all = [heard(0, None, number(1, 9, 1), 10), heard(1, None, number(1, 3, 5), 20)];
        assert_eq!(order(&all), [0, 1]);
    }

    #[test]
    fn an_answer_counts_more_than_a_number_that_contradicts_it() {
        let all = [
            heard(0, Some(1), number(1, 7, 1), 10),
            heard(1, None, number(1, 7, 2), 20),
            heard(2, None, number(1, 7, 3), 30),
        ];
        assert_eq!(order(&all), [1, 0, 2]);
    }

    #[test]
    fn a_circle_ends_and_loses_nobody() {
        let all =
            [heard(0, Some(1), None, 3), heard(1, Some(0), None, 2), heard(2, Some(2), None, 1)];
        assert_eq!(order(&all), [2, 1, 0]);
    }

    #[test]
    fn a_chain_of_answers_as_long_as_anybody_makes_it_costs_no_stack() {
        let all: Vec<Heard> = (0..50_000_usize)
            .map(|n| heard(n, n.checked_sub(1), None, 50_000 - n as u64))
            .collect();
        assert_eq!(order(&all), (0..50_000).collect::<Vec<_>>());
    }

    /// A message: by whom, which earlier one it answers, when it became known, whether another
    /// epoch begins with it.
    type Made = (u8, Option<prop::sample::Index>, u64, bool);

    fn made() -> impl Strategy<Value = Vec<Made>> {
        let one = (
            0..4_u8,
            proptest::option::of(any::<prop::sample::Index>()),
            0..40_u64,
            prop::bool::weighted(0.1),
        );
        proptest::collection::vec(one, 0..60)
    }

    /// Messages as honest people write them, in the order of the world; each becomes known at any time.
    fn honest(made: &[Made]) -> Vec<Heard> {
        let mut counters: HashMap<u8, (u32, u64)> = HashMap::new();
        made.iter()
            .enumerate()
            .map(|(n, (author, answers, known_ms, again))| {
                let (epoch, counter) = counters.entry(*author).or_insert((100, 0));
                if *again {
                    // Chance draws it: later is as often lower.
                    (*epoch, *counter) = (epoch.wrapping_mul(0x9e37_79b9), 0);
                }
                *counter += 1;
                let answers = answers.as_ref().filter(|_| n > 0).map(|index| index.index(n));
                heard(n, answers, number(*author, *epoch, *counter), *known_ms)
            })
            .collect()
    }

    fn places(all: &[Heard]) -> HashMap<BundleId, usize> {
        order(all).iter().enumerate().map(|(place, at)| (all[*at].id, place)).collect()
    }

    fn check_answers(
        all: &[Heard],
        places: &HashMap<BundleId, usize>,
    ) -> Result<(), TestCaseError> {
        prop_assert_eq!(places.len(), all.len(), "everything stands somewhere, once");
        for heard in all {
            if let Some(answered) = heard.answers.and_then(|id| places.get(&id)) {
                prop_assert!(*answered < places[&heard.id]);
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn honest_messages_stand_as_they_were_written(made in made(), gone in any::<u64>()) {
            // Not all of them came.
            let mut all = honest(&made);
            all.retain(|heard| u64::from(heard.id.0[0]) % 8 != gone % 8);
            let places = places(&all);
            check_answers(&all, &places)?;
            for (a, x) in all.iter().enumerate() {
                for y in &all[a + 1..] {
                    if let (Some(m), Some(n)) = (x.number, y.number)
                        && (m.author, m.epoch) == (n.author, n.epoch)
                    {
                        prop_assert!(places[&x.id] < places[&y.id], "one sender's order is kept");
                    }
                }
            }
        }

        #[test]
        fn whatever_numbers_are_said_answers_stand_behind(made in made(), lies in proptest::collection::vec((0..5_u64, 0..2_u32), 60)) {
            let mut all = honest(&made);
            for (heard, (counter, epoch)) in all.iter_mut().zip(lies) {
                heard.number = heard.number.map(|number| Number { epoch, counter, ..number });
            }
            check_answers(&all, &places(&all))?;
        }

        #[test]
        fn the_order_is_one_whatever_order_it_is_asked_in(made in made(), mix in any::<u64>()) {
            let all = honest(&made);
            let mut mixed = all.clone();
            mixed.sort_by_key(|heard| {
                *blake3::hash(&[&heard.id.0[..], &mix.to_be_bytes()].concat()).as_bytes()
            });
            prop_assert_eq!(places(&all), places(&mixed));
        }
    }
}
