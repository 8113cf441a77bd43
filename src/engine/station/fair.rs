//! Fairness: sources share the airtime equally, and what others ask for costs a part of it at most.

use std::collections::BTreeMap;

use postrider_base::NodeId;

use super::contract::Source;

/// What strangers, together, can make us send within an hour: a quarter of what we may, and as much
/// at once. Nothing on the air says who asks, so whoever asks falsely spends what is for all of them.
const STRANGERS_PART: u64 = 4;
/// The same for each contact that is heard.
const CONTACT_PART: u64 = 4;
/// The same for all together.
const ALL_PART: u64 = 2;
/// Contacts with a budget of their own; more than that are in earshot of nobody.
const CONTACTS_MAX: usize = 256;
/// Sources whose shares are remembered though they have nothing here.
const SOURCES_MAX: usize = 1_024;
const HOUR_US: u128 = 3_600_000_000;

/// For whom something is sent that was not to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asker {
    Strangers,
    Contact(NodeId),
}

/// What may be sent because others asked.
#[derive(Debug)]
pub(super) struct Budgets {
    hour_us: u64,
    all: Bucket,
    strangers: Bucket,
    contacts: BTreeMap<NodeId, Bucket>,
}

/// So much at once, and as much again within an hour. A burst that was begun ends, and what it was too
/// long is owed.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    most_us: u64,
    left_us: u64,
    owed_us: u64,
    at_us: u64,
}

impl Budgets {
    pub fn new(now_us: u64, hour_us: u64) -> Self {
        Self {
            hour_us,
            all: Bucket::new(now_us, hour_us / ALL_PART),
            strangers: Bucket::new(now_us, hour_us / STRANGERS_PART),
            contacts: BTreeMap::new(),
        }
    }

    /// Whether so much may be sent for somebody; else when.
    pub fn may(&mut self, now_us: u64, asker: Asker, us: u64) -> Result<(), u64> {
        let own = self.of(now_us, asker).ready_us(now_us, us);
        match own.max(self.all.ready_us(now_us, us)) {
            ready_us if ready_us > now_us => Err(ready_us),
            _ => Ok(()),
        }
    }

    pub fn spend(&mut self, now_us: u64, asker: Asker, us: u64) {
        self.of(now_us, asker).take(now_us, us);
        self.all.take(now_us, us);
    }

    fn of(&mut self, now_us: u64, asker: Asker) -> &mut Bucket {
        let Asker::Contact(node) = asker else { return &mut self.strangers };
        if !self.contacts.contains_key(&node) && self.contacts.len() >= CONTACTS_MAX {
            // Whoever has spent nothing for longest has the fullest one, and gets a full one again.
            let fullest = self.contacts.iter().max_by_key(|(_, bucket)| bucket.left_us);
            let fullest = fullest.map(|(node, _)| *node);
            fullest.map(|node| self.contacts.remove(&node));
        }
        let most_us = self.hour_us / CONTACT_PART;
        self.contacts.entry(node).or_insert_with(|| Bucket::new(now_us, most_us))
    }
}

impl Bucket {
    fn new(now_us: u64, most_us: u64) -> Self {
        Self { most_us, left_us: most_us, owed_us: 0, at_us: now_us }
    }

    fn fill(&mut self, now_us: u64) {
        let passed = u128::from(now_us.saturating_sub(self.at_us));
        let more = passed * u128::from(self.most_us) / HOUR_US;
        let Ok(more @ 1..) = u64::try_from(more) else { return };
        let paid_us = more.min(self.owed_us);
        self.owed_us -= paid_us;
        self.left_us = self.left_us.saturating_add(more - paid_us).min(self.most_us);
        self.at_us = now_us;
    }

    /// When there is so much; what is more than it ever holds goes when it is full.
    fn ready_us(&mut self, now_us: u64, us: u64) -> u64 {
        self.fill(now_us);
        let missing = us.min(self.most_us).saturating_sub(self.left_us) + self.owed_us;
        if missing == 0 {
            return now_us;
        }
        let wait = (u128::from(missing) * HOUR_US).div_ceil(u128::from(self.most_us.max(1)));
        now_us.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX).max(1))
    }

    fn take(&mut self, now_us: u64, us: u64) {
        self.fill(now_us);
        self.owed_us = self.owed_us.saturating_add(us.saturating_sub(self.left_us));
        self.left_us = self.left_us.saturating_sub(us);
    }
}

/// What each source has had on the air. The one with the least goes next.
#[derive(Debug, Default)]
pub(super) struct Shares(BTreeMap<Source, u64>);

impl Shares {
    /// A source has something to send again: what it did not use while it had nothing is gone.
    pub fn join(&mut self, source: Source, others: impl Iterator<Item = Source>) {
        let least = others.filter(|other| *other != source).filter_map(|other| self.0.get(&other));
        let least = least.min().copied().unwrap_or(0);
        if self.0.len() >= SOURCES_MAX && !self.0.contains_key(&source) {
            self.0.pop_first();
        }
        let held = self.0.entry(source).or_insert(least);
        *held = (*held).max(least);
    }

    pub fn had_us(&self, source: Source) -> u64 {
        self.0.get(&source).copied().unwrap_or(0)
    }

    pub fn spend(&mut self, source: Source, us: u64) {
        let held = self.0.entry(source).or_insert(0);
        *held = held.saturating_add(us);
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;

    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn who_asks_spends_its_own_part_and_all_together_half() {
        let mut budgets = Budgets::new(0, 36 * SECOND);
        let node = |n| NodeSecret::from_seed([n; 32]).id();
        let mut spent = 0;
        while budgets.may(0, Asker::Strangers, SECOND).is_ok() {
            budgets.spend(0, Asker::Strangers, SECOND);
            spent += 1;
        }
        assert_eq!(spent, 9);
        // A second comes back in a ninth of an hour.
        assert_eq!(budgets.may(0, Asker::Strangers, SECOND), Err(400 * SECOND));
        assert_eq!(budgets.may(399 * SECOND, Asker::Strangers, SECOND), Err(400 * SECOND));
        assert_eq!(budgets.may(400 * SECOND, Asker::Strangers, SECOND), Ok(()));
        // Two hours are owed for a burst that was longer.
        budgets.spend(400 * SECOND, Asker::Strangers, 19 * SECOND);
        assert_eq!(budgets.may(400 * SECOND, Asker::Strangers, SECOND), Err(8_000 * SECOND));
        let mut budgets = Budgets::new(0, 36 * SECOND);
        for n in 1..=100 {
            let asker = Asker::Contact(node(n));
            while budgets.may(0, asker, SECOND).is_ok() {
                budgets.spend(0, asker, SECOND);
            }
        }
        assert_eq!(budgets.all.left_us, 0);
        assert!(budgets.may(0, Asker::Strangers, 1).is_err());
        assert_eq!(Budgets::new(0, 8).may(0, Asker::Strangers, SECOND), Ok(()), "it must go once");
    }

    #[test]
    fn many_contacts_are_not_remembered_without_bound() {
        let mut budgets = Budgets::new(0, 36 * SECOND);
        for n in 0..600_u16 {
            let mut seed = [7; 32];
            seed[..2].copy_from_slice(&n.to_be_bytes());
            budgets.spend(0, Asker::Contact(NodeSecret::from_seed(seed).id()), 1);
        }
        assert_eq!(budgets.contacts.len(), CONTACTS_MAX);
    }

    #[test]
    fn who_had_nothing_to_send_does_not_catch_up() {
        let mut shares = Shares::default();
        let (a, b) = (Source(1), Source(2));
        shares.join(a, [].into_iter());
        shares.spend(a, 100);
        shares.join(b, [a].into_iter());
        assert_eq!(shares.had_us(b), 100);
        shares.spend(b, 5);
        shares.join(a, [a, b].into_iter());
        assert_eq!((shares.had_us(a), shares.had_us(b)), (105, 105));
    }
}
