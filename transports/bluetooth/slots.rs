//! How many links there are, and with whom: a stranger takes a bounded part of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;

/// Links that others may have with an adapter at once. A controller holds seven to ten connections, and
/// some are wanted for links that this end dials, for a keyboard and a headset.
pub const TAKEN_MAX: usize = 5;
/// Links that one device may have with an adapter at once: the second is for one that lost the first and
/// knows it before this end does. A device that changes its address is another; hence [`TAKEN_MAX`].
pub const TAKEN_OF_ONE_MAX: usize = 2;

/// The links of one adapter.
#[derive(Debug)]
pub(super) struct Slots {
    used: Mutex<BTreeMap<[u8; 6], Used>>,
    /// Told of devices that have no link any more.
    ended: mpsc::Sender<Ended>,
}

/// The last link with a device has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) of: [u8; 6],
    /// Whether this end had dialled it.
    pub(super) dialled: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    taken: usize,
    dialled: usize,
}

/// A link's place among those of its adapter; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    of: [u8; 6],
    dialled: bool,
}

impl Slots {
    /// None are used. `ended` is told, when it has room, whenever the last link with a device ends.
    pub(super) fn new(ended: mpsc::Sender<Ended>) -> Arc<Self> {
        Arc::new(Self { used: Mutex::default(), ended })
    }

    /// For a link that somebody dialled, if there is room.
    pub(super) fn take(self: &Arc<Self>, of: [u8; 6]) -> Option<Slot> {
        let mut used = self.used();
        let all: usize = used.values().map(|used| used.taken).sum();
        let ours = used.get(&of).map_or(0, |used| used.taken);
        if all >= TAKEN_MAX || ours >= TAKEN_OF_ONE_MAX {
            return None;
        }
        used.entry(of).or_default().taken += 1;
        Some(Slot { slots: self.clone(), of, dialled: false })
    }

    /// For a link that this end dials: whoever decides that bounds them.
    pub(super) fn dial(self: &Arc<Self>, of: [u8; 6]) -> Slot {
        self.used().entry(of).or_default().dialled += 1;
        Slot { slots: self.clone(), of, dialled: true }
    }

    /// Whether there is a link with a device.
    pub(super) fn has(&self, of: [u8; 6]) -> bool {
        self.used().contains_key(&of)
    }

    fn used(&self) -> MutexGuard<'_, BTreeMap<[u8; 6], Used>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut used = self.slots.used();
        let Some(of) = used.get_mut(&self.of) else { return };
        let count = if self.dialled { &mut of.dialled } else { &mut of.taken };
        *count = count.saturating_sub(1);
        if of.taken + of.dialled == 0 {
            used.remove(&self.of);
            let _ = self.slots.ended.try_send(Ended { of: self.of, dialled: self.dialled });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots() -> (Arc<Slots>, mpsc::Receiver<Ended>) {
        let (ended, told) = mpsc::channel(8);
        (Slots::new(ended), told)
    }

    #[test]
    fn one_device_gets_two_and_all_get_five() {
        let (slots, _told) = slots();
        let first: Vec<_> = (0..3).filter_map(|_| slots.take([1; 6])).collect();
        assert_eq!(first.len(), TAKEN_OF_ONE_MAX);
        let others: Vec<_> = (2..9).filter_map(|n| slots.take([n; 6])).collect();
        assert_eq!(first.len() + others.len(), TAKEN_MAX);
        drop(first);
        assert!(slots.take([1; 6]).is_some());
    }

    #[test]
    fn links_that_are_dialled_take_no_room_from_those_that_come() {
        let (slots, _told) = slots();
        let dialled: Vec<_> = (0..20).map(|n| slots.dial([n; 6])).collect();
        assert!(slots.take([1; 6]).is_some());
        drop(dialled);
    }

    #[test]
    fn the_end_of_the_last_link_with_a_device_is_told() {
        let (slots, mut told) = slots();
        let (first, second) = (slots.take([1; 6]), slots.dial([1; 6]));
        drop(first);
        assert!(slots.has([1; 6]) && told.try_recv().is_err());
        drop(second);
        assert!(!slots.has([1; 6]));
        assert_eq!(told.try_recv(), Ok(Ended { of: [1; 6], dialled: true }));
    }
}
