//! What is said of forms that came in part: how many frames lack, and never which.
//!
//! ```text
//! 07 | nonce 1 | tag 3 | (key 4 | frames 1) …     1 to 8; frames 0: it is whole, and cannot be read here
//! ```
//!
//! After the last frame of a burst everybody who lacks something draws a moment: who lacks most an early
//! one. Who hears that as much or more is wanted already says nothing, for the frames that come then are
//! for all. So of ten receivers mostly one speaks. The tag says to contacts who wants, so that what false
//! wants cost is not taken from theirs.

use super::{
    beacon::ContactKey,
    code::{Gathering, Key},
    pace::{Pace, around},
};
use crate::meeting::chance::Chance;

/// The first byte.
pub(super) const WANTS: u8 = 7;
/// Type, nonce, tag.
const HEAD: usize = 1 + 1 + 3;
const EACH: usize = 5;
/// Wants in a frame.
const WANTS_MAX: usize = 8;
/// Forms that are wanted at a time: as many as are put together.
const OPEN_MAX: usize = 32;
/// So often one is wanted without a frame of it coming. Its sender may be gone; when it is heard again
/// it is wanted again.
const TRIES_MAX: u32 = 5;
/// And so often somebody else is let want it instead, who may not be answered or does not want it.
const WAITED_MAX: u32 = 3;
/// Who lacks so many frames or more speaks first.
const MANY: u64 = 8;
/// By so many slots later who lacks hardly anything.
const FEW_SLOTS: u64 = 8;
/// From so many slots chance draws: of ten that lack as much two speak at once in one of three rounds.
const DRAWN_SLOTS: u64 = 24;

/// Forms that lack frames.
#[derive(Debug, Default)]
pub(super) struct Wants {
    open: Vec<Want>,
    /// Forms that cannot be read here, and whoever sent them does not know.
    unread: Vec<Key>,
}

#[derive(Debug)]
struct Want {
    key: Key,
    due_us: u64,
    tries: u32,
    /// So often somebody else was let want instead.
    waited: u32,
}

/// A frame of wants as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    head: [u8; HEAD],
    body: Vec<u8>,
}

/// The frame that says it; without a key nobody is to know who.
pub(super) fn encode(key: Option<&ContactKey>, nonce: u8, wants: &[(Key, u8)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, frames) in wants.iter().take(WANTS_MAX) {
        body.extend_from_slice(key);
        body.push(*frames);
    }
    let mut frame = vec![WANTS, nonce];
    frame.extend_from_slice(&key.map_or([0; 3], |key| tag(key, nonce, &body)));
    frame.extend_from_slice(&body);
    frame
}

/// How long it is.
pub(super) fn bytes(wants: usize) -> usize {
    HEAD + EACH * wants.min(WANTS_MAX)
}

fn tag(key: &ContactKey, nonce: u8, body: &[u8]) -> [u8; 3] {
    let [a, b, c, ..] = key.tag(&[&[WANTS, nonce], body].concat());
    [a, b, c]
}

impl Said {
    /// Reads a frame; none if it is none.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let (head, body) = frame.split_first_chunk::<HEAD>()?;
        let whole =
            body.len().is_multiple_of(EACH) && (1..=WANTS_MAX).contains(&(body.len() / EACH));
        (head[0] == WANTS && whole).then(|| Self { head: *head, body: body.to_vec() })
    }

    pub fn wants(&self) -> impl Iterator<Item = (Key, u8)> {
        let (wants, _) = self.body.as_chunks::<EACH>();
        wants.iter().map(|[a, b, c, d, frames]| ([*a, *b, *c, *d], *frames))
    }

    /// Whether whoever holds this key said it.
    pub fn is_from(&self, key: &ContactKey) -> bool {
        self.head[2..] == tag(key, self.head[1], &self.body)
    }
}

impl Wants {
    /// A frame of a form came, and so many lack still. `over`: whoever sent it listens now.
    pub fn lacks(
        &mut self,
        now_us: u64,
        key: Key,
        frames: u8,
        over: bool,
        pace: &Pace,
        chance: &mut Chance,
    ) {
        let drawn_us = draw(u64::from(frames), pace, chance);
        // The last frame of a burst may be what was lost.
        let silence_us = if over { 0 } else { 4 * pace.frame_us };
        let due_us = now_us.saturating_add(drawn_us).saturating_add(silence_us);
        if let Some(want) = self.open.iter_mut().find(|want| want.key == key) {
            (want.due_us, want.tries, want.waited) = (due_us, 0, 0);
            return;
        }
        if self.open.len() >= OPEN_MAX {
            self.open.remove(0);
        }
        self.open.push(Want { key, due_us, tries: 0, waited: 0 });
    }

    /// Somebody wants so many: who lacks no more waits for them.
    pub fn heard(
        &mut self,
        now_us: u64,
        key: Key,
        frames: u8,
        gathering: &Gathering,
        pace: &Pace,
        chance: &mut Chance,
    ) {
        let mine = gathering.lacks(key).unwrap_or(0);
        let want = self.open.iter_mut().find(|want| want.key == key);
        if let Some(want) = want.filter(|want| frames >= mine && want.waited < WAITED_MAX) {
            want.waited += 1;
            let sending_us = pace.frame_us.saturating_mul(u64::from(mine) + 2);
            let wait_us = around(chance, pace.window_us() + sending_us);
            want.due_us = want.due_us.max(now_us.saturating_add(wait_us));
        }
    }

    /// It cannot be read here.
    pub fn unread(&mut self, key: Key) {
        if self.unread.len() < WANTS_MAX && !self.unread.contains(&key) {
            self.unread.push(key);
        }
    }

    /// It is whole, or given up.
    pub fn done(&mut self, key: Key) {
        self.open.retain(|want| want.key != key);
    }

    /// What is to be said now.
    pub fn due(&self, now_us: u64, gathering: &Gathering) -> Vec<(Key, u8)> {
        let due = self.open.iter().filter(|want| want.due_us <= now_us);
        let due = due.filter_map(|want| Some((want.key, gathering.lacks(want.key)?)));
        self.unread.iter().map(|key| (*key, 0)).chain(due).take(WANTS_MAX).collect()
    }

    /// It was said.
    pub fn said(&mut self, now_us: u64, said: &[(Key, u8)], pace: &Pace, chance: &mut Chance) {
        for (key, frames) in said {
            self.unread.retain(|unread| unread != key);
            let Some(want) = self.open.iter_mut().find(|want| want.key == *key) else { continue };
            (want.tries, want.waited) = (want.tries + 1, 0);
            let sending_us = pace.frame_us.saturating_mul(u64::from(*frames) + 4);
            let wait_us = (pace.window_us() + sending_us) << (want.tries - 1).min(16);
            want.due_us = now_us.saturating_add(around(chance, wait_us));
        }
        self.open.retain(|want| want.tries <= TRIES_MAX);
    }

    /// When there is something to say next.
    pub fn next_us(&self) -> u64 {
        let next = self.open.iter().map(|want| want.due_us).min().unwrap_or(u64::MAX);
        if self.unread.is_empty() { next } else { 0 }
    }

    /// Lets go of what is not put together any more.
    pub fn prune(&mut self, gathering: &Gathering) {
        self.open.retain(|want| gathering.lacks(want.key).is_some());
    }
}

/// A moment within the window: the more lack the sooner.
fn draw(frames: u64, pace: &Pace, chance: &mut Chance) -> u64 {
    let few = MANY - frames.min(MANY);
    let base_us = few * pace.want_us * FEW_SLOTS / MANY;
    base_us.saturating_add(chance.up_to(DRAWN_SLOTS * pace.want_us))
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;

    use super::*;

    fn key(seed: u8) -> ContactKey {
        ContactKey::of(&NodeSecret::from_seed([seed; 32]).first_seal_key().public())
    }

    #[test]
    fn who_wants_is_known_to_contacts_alone() {
        let wants = [([1, 2, 3, 4], 5), ([6, 7, 8, 9], 0)];
        let frame = encode(Some(&key(1)), 7, &wants);
        assert_eq!(frame.len(), bytes(2));
        let said = Said::of(&frame).unwrap();
        assert_eq!(said.wants().collect::<Vec<_>>(), wants);
        assert!(said.is_from(&key(1)) && !said.is_from(&key(2)));
        assert!(!Said::of(&encode(None, 7, &wants)).unwrap().is_from(&key(1)));
        for at in 1..frame.len() {
            let mut other = frame.clone();
            other[at] ^= 1;
            assert!(!Said::of(&other).unwrap().is_from(&key(1)), "{at}");
        }
        assert!(
            (0..frame.len())
                .filter(|cut| *cut != bytes(1))
                .all(|cut| Said::of(&frame[..cut]).is_none())
        );
        assert_eq!(
            Said::of(&encode(Some(&key(1)), 7, &[([0; 4], 1); 9])).unwrap().wants().count(),
            8
        );
    }
}
