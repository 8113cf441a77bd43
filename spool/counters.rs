//! Our own numbers: sequences per destination, order of admission, the custody clock.
//!
//! They are repeated at the start of every segment (the checkpoint), so that a process that only
//! appends finds them in the last one. The table is bounded: beyond [`DESTINATIONS_MAX`] the less
//! recently used half is forgotten. That is safe because a forgotten destination starts again under
//! an epoch that was never used before: the home's epoch is redrawn with every forgetting (a
//! checkpoint goes into the next group), and the table keeps each destination's own. Recipients
//! remember (epoch, counter) pairs singly, so a new epoch costs them nothing.

use std::collections::BTreeMap;

use crate::{
    clock::CustodyClock,
    contract::{Destination, Sequence},
    log::{
        frame::MOVED,
        record::{Checkpoint, Record},
    },
    place::Entropy,
};

/// Destinations whose counters are kept: with 45 bytes each, a checkpoint stays below 3 % of a
/// segment, and few people write to more between two segments.
pub(crate) const DESTINATIONS_MAX: usize = 1024;

/// The numbers of one spool.
pub(crate) struct Counters {
    pub(crate) clock: CustodyClock,
    pub(crate) next_arrival: u64,
    epoch: u32,
    table: BTreeMap<Destination, Row>,
    uses: u64,
    /// Whether the next group must begin with a checkpoint, because what the log says does not
    /// imply the present table.
    pub(crate) checkpoint_due: bool,
    /// Whether numbers may be missing from the table.
    pub(crate) doubtful: bool,
}

struct Row {
    epoch: u32,
    counter: u64,
    used: u64,
}

impl Counters {
    /// The numbers of a new spool.
    pub(crate) fn fresh(entropy: &Entropy) -> Self {
        let mut counters = Self::from_checkpoint(&Checkpoint::default());
        counters.redraw(entropy);
        counters
    }

    fn from_checkpoint(checkpoint: &Checkpoint) -> Self {
        let mut counters = Self {
            clock: CustodyClock::from_point(checkpoint.clock),
            next_arrival: checkpoint.next_arrival.max(1),
            epoch: checkpoint.epoch,
            table: BTreeMap::new(),
            uses: 0,
            checkpoint_due: false,
            doubtful: false,
        };
        for sequence in &checkpoint.sequences {
            counters.raise(sequence);
        }
        counters
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What a checkpoint says now.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        let mut rows: Vec<(&Destination, &Row)> = self.table.iter().collect();
        rows.sort_by_key(|(_, row)| row.used);
        Checkpoint {
            clock: self.clock.last_point(),
            epoch: self.epoch,
            next_arrival: self.next_arrival,
            sequences: rows
                .into_iter()
                .map(|(destination, row)| Sequence {
                    destination: *destination,
                    epoch: row.epoch,
                    counter: row.counter,
                })
                .collect(),
        }
    }

    /// Upper bound of the checkpoint that the next group begins with; 0 when none is due.
    pub(crate) fn checkpoint_bound(&self) -> usize {
        if self.checkpoint_due { 128 + 45 * self.table.len() } else { 0 }
    }

    /// Takes a record of the log into account.
    pub(crate) fn replay(&mut self, record: &Record, flags: u8) {
        match record {
            Record::Checkpoint(checkpoint) => {
                let (latest, arrival) = (self.clock.latest_ms(), self.next_arrival);
                *self = Self::from_checkpoint(checkpoint);
                self.clock.at_least(latest);
                self.next_arrival = self.next_arrival.max(arrival);
            }
            Record::Clock(point) => self.clock.stored(*point),
            Record::Sequence(sequence) => self.raise(sequence),
            Record::Bundle(bundle) if flags & MOVED == 0 => {
                self.next_arrival = self.next_arrival.max(bundle.entry.arrival + 1);
                self.clock.at_least(bundle.entry.arrived_held_ms);
            }
            Record::Renewed { arrival, .. } => {
                self.next_arrival = self.next_arrival.max(arrival.saturating_add(1));
            }
            _ => {}
        }
    }

    /// The next sequence for a destination.
    pub(crate) fn take(&mut self, destination: &Destination, entropy: &Entropy) -> Sequence {
        if !self.table.contains_key(destination) && self.table.len() >= DESTINATIONS_MAX {
            self.forget_half();
            self.epoch = draw(self.epoch, entropy);
            self.checkpoint_due = true;
        }
        self.uses += 1;
        let (epoch, used) = (self.epoch, self.uses);
        let row = self.table.entry(*destination).or_insert(Row { epoch, counter: 0, used });
        row.counter += 1;
        row.used = used;
        Sequence { destination: *destination, epoch: row.epoch, counter: row.counter }
    }

    /// Forgets all counters under a new epoch.
    pub(crate) fn redraw(&mut self, entropy: &Entropy) {
        self.epoch = draw(self.epoch, entropy);
        self.table.clear();
        self.checkpoint_due = true;
        self.doubtful = false;
    }

    /// Whether the next sequence of this destination could follow this one. A thread that took
    /// its number before a redraw need not record it: its epoch is never used again.
    pub(crate) fn is_current(&self, sequence: &Sequence) -> bool {
        self.table.get(&sequence.destination).is_some_and(|row| row.epoch == sequence.epoch)
    }

    fn raise(&mut self, sequence: &Sequence) {
        self.uses += 1;
        let fresh = Row { epoch: sequence.epoch, counter: sequence.counter, used: self.uses };
        match self.table.get_mut(&sequence.destination) {
            Some(row) if row.epoch == sequence.epoch => {
                row.counter = row.counter.max(sequence.counter);
                row.used = fresh.used;
            }
            Some(row) => *row = fresh,
            None => {
                if self.table.len() >= DESTINATIONS_MAX {
                    // The writer forgot something at this point and said so in a checkpoint that
                    // is not there (any more).
                    self.forget_half();
                    self.doubtful = true;
                }
                self.table.insert(sequence.destination, fresh);
            }
        }
    }

    fn forget_half(&mut self) {
        let mut used: Vec<u64> = self.table.values().map(|row| row.used).collect();
        used.sort_unstable();
        let keep_from = used.get(used.len() / 2).copied().unwrap_or(0);
        self.table.retain(|_, row| row.used >= keep_from);
    }
}

fn draw(old: u32, entropy: &Entropy) -> u32 {
    let mut bytes = [0; 4];
    entropy(&mut bytes);
    let new = u32::from_be_bytes(bytes);
    // The one value that would surely be a repetition.
    if new == old { new.wrapping_add(1) } else { new }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        sync::{
            Arc,
            atomic::{AtomicU8, Ordering},
        },
    };

    use super::*;

    fn entropy() -> Entropy {
        let next = AtomicU8::new(1);
        Arc::new(move |out| out.fill(next.fetch_add(1, Ordering::Relaxed)))
    }

    fn node(n: u16) -> Destination {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&n.to_be_bytes());
        Destination::Node(key)
    }

    #[test]
    fn forgetting_a_destination_never_repeats_a_number() {
        let entropy = entropy();
        let mut counters = Counters::fresh(&entropy);
        let mut seen = HashSet::new();
        for round in 0..3 {
            for n in 0..1500 {
                let s = counters.take(&node(n), &entropy);
                assert!(seen.insert((n, s.epoch, s.counter)), "round {round}, destination {n}");
                assert!(counters.checkpoint().sequences.len() <= DESTINATIONS_MAX);
            }
        }
    }

    #[test]
    fn a_checkpoint_and_the_sequences_after_it_bring_every_counter_back() {
        let entropy = entropy();
        let mut counters = Counters::fresh(&entropy);
        for n in 0..5 {
            counters.take(&node(n), &entropy);
        }
        let mut log = vec![Record::Checkpoint(counters.checkpoint())];
        for n in [3, 3, 7] {
            log.push(Record::Sequence(counters.take(&node(n), &entropy)));
        }
        let mut again = Counters::fresh(&entropy);
        for record in &log {
            again.replay(record, 0);
        }
        for n in 0..9 {
            assert_eq!(again.take(&node(n), &entropy), counters.take(&node(n), &entropy));
        }
        let stale = counters.take(&node(1), &entropy);
        counters.redraw(&entropy);
        assert!(!counters.is_current(&stale));
        let fresh = counters.take(&node(1), &entropy);
        assert!(fresh.epoch != stale.epoch && fresh.counter == 1);
    }
}
