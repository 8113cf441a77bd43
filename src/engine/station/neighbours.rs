//! Which contacts are heard, by their beacons. All of it is hearsay.

use std::collections::{BTreeMap, VecDeque};

use postrider_base::{NodeId, air::Strength};

use super::{CONTACTS_MAX, beacon::ContactKey};

/// Contacts heard at a time.
const HEARD_MAX: usize = 256;
/// Beacons and wants remembered, so that one that is repeated says nothing new.
const REPEATS_MAX: usize = 128;
/// Quarters of a decibel that are news.
const LOUDER: u16 = 24;

#[derive(Debug, Default)]
pub(super) struct Neighbours {
    contacts: Vec<(NodeId, ContactKey)>,
    heard: BTreeMap<NodeId, Heard>,
    repeats: VecDeque<[u8; 8]>,
}

#[derive(Debug)]
struct Heard {
    at_us: u64,
    told: Strength,
}

/// What a beacon says of who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Somebody who was not there before.
    New,
    /// Heard otherwise than before.
    Changed,
    Nothing,
}

impl Neighbours {
    pub fn know(&mut self, mut contacts: Vec<(NodeId, ContactKey)>) {
        contacts.truncate(CONTACTS_MAX);
        self.contacts = contacts;
    }

    /// Whether it was heard before, and is remembered from now on.
    pub fn is_repeated(&mut self, frame: &[u8]) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(frame).as_bytes();
        let print = [a, b, c, d, e, f, g, h];
        if self.repeats.contains(&print) {
            return true;
        }
        if self.repeats.len() >= REPEATS_MAX {
            self.repeats.pop_front();
        }
        self.repeats.push_back(print);
        false
    }

    /// Whose something is, if that is a contact.
    pub fn resolve(&self, is_from: impl Fn(&ContactKey) -> bool) -> Option<NodeId> {
        self.contacts.iter().find(|(_, key)| is_from(key)).map(|(node, _)| *node)
    }

    pub fn hear(&mut self, now_us: u64, node: NodeId, strength: Strength) -> News {
        if let Some(heard) = self.heard.get_mut(&node) {
            heard.at_us = now_us;
            let snr = |strength: Strength| strength.snr_quarter_db.unwrap_or(0);
            if snr(heard.told).abs_diff(snr(strength)) < LOUDER {
                return News::Nothing;
            }
            heard.told = strength;
            return News::Changed;
        }
        if self.heard.len() >= HEARD_MAX {
            return News::Nothing;
        }
        self.heard.insert(node, Heard { at_us: now_us, told: strength });
        News::New
    }

    /// Takes out who was not heard for so long.
    pub fn gone(&mut self, now_us: u64, after_us: u64) -> Vec<NodeId> {
        let is_gone = |heard: &Heard| now_us.saturating_sub(heard.at_us) >= after_us;
        let gone = self.heard.iter().filter(|(_, heard)| is_gone(heard)).map(|(node, _)| *node);
        let gone: Vec<NodeId> = gone.collect();
        for node in &gone {
            self.heard.remove(node);
        }
        gone
    }

    /// When the next one will be gone.
    pub fn next_us(&self, after_us: u64) -> u64 {
        let next = self.heard.values().map(|heard| heard.at_us.saturating_add(after_us)).min();
        next.unwrap_or(u64::MAX)
    }
}
