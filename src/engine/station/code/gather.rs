//! Frames become forms again, within bounds, whatever is false among them.
//!
//! A form is known by its key, four bytes of its hash, and nothing but the key says which frames are
//! true. When enough are there and they do not make it, one more is waited for and each is left out in
//! turn: a single false frame costs one true one. Where more are false the newest ones count.

use std::collections::VecDeque;

use postrider_base::radio::FORM_MAX;

use super::{
    Fragment, Key, Sum, factors,
    field::{Equation, solve},
    key_of, sum,
};

/// Forms that are put together at the same time. Nobody says on the air who sends: what has least goes
/// first, so a flood of beginnings pushes out its own.
const SETS_MAX: usize = 32;
/// Frames beyond those that are needed, before the oldest goes.
const SPARE: usize = 4;
/// With more pieces none is left out in turn: each try is a solution.
const TRIES_MAX: usize = 32;
/// What got no frame for so long is given up: an hour and a half is longer than any wait for airtime.
const STALE_US: u64 = 5_400_000_000;
/// Forms remembered that are here, so that a late frame begins none: 280 KiB of the longest.
const DONE_MAX: usize = 64;
/// One that nobody has judged yet for so long, by its key alone.
const DONE_US: u64 = 600_000_000;
/// Where a form says how far it has come and how old it is.
const HOP: std::ops::Range<usize> = 1..3;
/// Keys under which others pass one on.
const OTHERS_MAX: usize = 8;

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Gathered {
    /// The form is whole, by its key and nothing else.
    Whole(Vec<u8>),
    /// So many frames lack still; and whether others may speak now.
    Lacks { key: Key, frames: u8, over: bool },
    /// Its form is here, under this key; what this frame calls it, which is another key where it has
    /// come farther or less far; and how long nothing of it was heard.
    Known { key: Key, heard_as: Key, idle_us: u64 },
    /// Not a fragment.
    Refused,
}

/// Forms that are not whole yet: at most 32 of three times [`FORM_MAX`] and what rows take, 500 KiB.
#[derive(Debug, Default)]
pub(in super::super) struct Gathering {
    sets: Vec<Set>,
    done: VecDeque<Done>,
}

/// A form that is here.
#[derive(Debug)]
struct Done {
    key: Key,
    since_us: u64,
    heard_us: u64,
    standing: Standing,
    pieces: Vec<Vec<u8>>,
    /// What others call it who pass it on.
    others: Vec<Key>,
}

/// What is known of a form that became whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Standing {
    /// It has its key, which anybody can see to.
    Whole,
    /// It is what it says, and others with these pieces are the same bundle.
    True,
}

#[derive(Debug)]
struct Set {
    key: Key,
    last: u8,
    /// Bytes of each piece but the last; none while only that was heard.
    size: Option<usize>,
    rows: Vec<(Sum, Vec<u8>)>,
    /// At least so many more.
    lacks: usize,
    /// So often there were enough, and something among them was false.
    disputes: usize,
    heard_us: u64,
}

impl Gathering {
    /// Takes a frame.
    pub fn take(&mut self, now_us: u64, frame: &[u8]) -> Gathered {
        let Some(fragment) = Fragment::of(frame) else { return Gathered::Refused };
        let key = fragment.key;
        if let Some((known, idle_us)) = self.known(now_us, &fragment) {
            self.sets.retain(|set| set.key != key);
            return Gathered::Known { key: known, heard_as: key, idle_us };
        }
        self.sets.retain(|set| now_us.saturating_sub(set.heard_us) < STALE_US);
        // What cannot be of what is there is of another form with that name: one of them is false.
        let fitting = self.sets.iter_mut().filter(|set| set.fits(&fragment));
        let at = fitting.max_by_key(|set| set.rows.len()).map(|set| (set.key, set.last, set.size));
        let at = at.and_then(|name| self.sets.iter().position(|set| set.name() == name));
        let mut set = match at {
            Some(at) => self.sets.swap_remove(at),
            None => Set::new(&fragment),
        };
        set.heard_us = now_us;
        if let Some(form) = set.add(&fragment) {
            self.sets.retain(|other| other.key != key);
            self.note(now_us, key, Standing::Whole, form.chunks(set.size.unwrap_or(1)));
            return Gathered::Whole(form);
        }
        let over = frame.first().is_some_and(|first| fragment.ends_burst(*first));
        let frames = u8::try_from(set.lacks).unwrap_or(u8::MAX);
        if self.sets.len() >= SETS_MAX {
            let least = |(_, set): &(usize, &Set)| (set.rows.len(), set.heard_us);
            let least = self.sets.iter().enumerate().min_by_key(least).map(|(at, _)| at);
            least.map(|at| self.sets.swap_remove(at));
        }
        self.sets.push(set);
        Gathered::Lacks { key, frames, over }
    }

    /// How many frames a form lacks; none of one that is not being put together.
    pub fn lacks(&self, key: Key) -> Option<u8> {
        let of_key = self.sets.iter().filter(|set| set.key == key);
        let lacks = of_key.max_by_key(|set| set.rows.len())?.lacks;
        Some(u8::try_from(lacks).unwrap_or(u8::MAX))
    }

    /// A form of these pieces is here: none of it need come for a while.
    pub fn note<'a>(
        &mut self,
        now_us: u64,
        key: Key,
        standing: Standing,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) {
        self.forget(key);
        if self.done.len() == DONE_MAX {
            self.done.pop_front();
        }
        let pieces = pieces.into_iter().map(<[u8]>::to_vec).collect();
        let (since_us, heard_us) = (now_us, now_us);
        self.done.push_back(Done { key, since_us, heard_us, standing, pieces, others: Vec::new() });
    }

    /// Whether a form came in pieces lately.
    pub fn has(&self, key: Key) -> bool {
        self.done.iter().any(|done| done.key == key)
    }

    /// The form of that key is what it says.
    pub fn confirm(&mut self, key: Key) {
        let of_key = self.done.iter_mut().filter(|done| done.key == key);
        of_key.for_each(|done| done.standing = Standing::True);
    }

    /// It is not: another one of that name may come.
    pub fn forget(&mut self, key: Key) {
        self.done.retain(|done| done.key != key);
    }

    /// Under which key the form is here that this is of, and how long nothing of it was heard.
    fn known(&mut self, now_us: u64, fragment: &Fragment<'_>) -> Option<(Key, u64)> {
        let done = self.done.iter_mut().find(|done| done.has(now_us, fragment))?;
        if done.key != fragment.key
            && !done.others.contains(&fragment.key)
            && done.others.len() < OTHERS_MAX
        {
            done.others.push(fragment.key);
        }
        let idle_us = now_us.saturating_sub(done.heard_us);
        done.heard_us = now_us;
        Some((done.key, idle_us))
    }
}

impl Done {
    /// Whether a fragment is of this form, or of the same passed on: that differs in how far it has come
    /// and how old it is, two bytes of the first piece. What is true is compared, so that whoever makes
    /// another form with its key keeps nothing out.
    fn has(&self, now_us: u64, fragment: &Fragment<'_>) -> bool {
        if self.standing == Standing::Whole {
            return self.key == fragment.key && now_us.saturating_sub(self.since_us) < DONE_US;
        }
        let size = self.pieces.first().map_or(0, Vec::len);
        if self.pieces.len() != usize::from(fragment.last) + 1 || fragment.content.len() > size {
            return false;
        }
        let named = self.key == fragment.key || self.others.contains(&fragment.key);
        match fragment.sum {
            // Of other pieces than the first nobody can tell: two bundles may bring the same.
            Sum::Piece(number) if number > 0 => {
                let own = self.pieces.get(usize::from(number));
                named && own.is_some_and(|own| own == fragment.content)
            }
            Sum::Piece(_) => differ_in_hop(&self.pieces[0], fragment.content),
            Sum::Seed(_) if fragment.content.len() != size => false,
            Sum::Seed(seed) => {
                let own = sum(fragment.key, seed, self.pieces.iter().map(Vec::as_slice));
                differ_in_hop(&own, fragment.content)
            }
        }
    }
}

/// Whether these are the same, but for the second and third byte.
fn differ_in_hop(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).enumerate().all(|(at, (a, b))| a == b || HOP.contains(&at))
}

impl Set {
    fn new(fragment: &Fragment<'_>) -> Self {
        Self {
            key: fragment.key,
            last: fragment.last,
            size: None,
            rows: Vec::new(),
            lacks: usize::from(fragment.last) + 1,
            disputes: 0,
            heard_us: 0,
        }
    }

    fn name(&self) -> (Key, u8, Option<usize>) {
        (self.key, self.last, self.size)
    }

    fn fits(&self, fragment: &Fragment<'_>) -> bool {
        let length = fragment.content.len();
        let shorter = self.rows.iter().all(|(_, content)| content.len() <= length);
        (self.key, self.last) == (fragment.key, fragment.last)
            && match (self.size, fragment.sum) {
                (Some(size), Sum::Piece(number)) if number == self.last => length <= size,
                (Some(size), _) => length == size,
                (None, Sum::Piece(number)) if number == self.last => true,
                (None, _) => shorter,
            }
    }

    /// Takes a frame that fits; the form if it is whole then.
    fn add(&mut self, fragment: &Fragment<'_>) -> Option<Vec<u8>> {
        let row = (fragment.sum, fragment.content.to_vec());
        if self.rows.contains(&row) {
            return None;
        }
        if fragment.sum != Sum::Piece(self.last) {
            self.size = Some(fragment.content.len());
        }
        let count = usize::from(self.last) + 1;
        if self.rows.len() >= count + SPARE {
            self.rows.remove(0);
        }
        self.rows.push(row);
        self.lacks = count.saturating_sub(self.rows.len());
        if self.lacks > 0 {
            return None;
        }
        match self.solve(None) {
            Ok(Some(form)) => return Some(form),
            // Enough, and something is false: with one more it may be found, and if not, with many.
            Ok(None) => {
                self.disputes += 1;
                self.lacks = self.disputes.min(count);
            }
            Err(lacking) => self.lacks = lacking,
        }
        if self.rows.len() > count && count <= TRIES_MAX {
            return (0..self.rows.len()).find_map(|without| self.solve(Some(without)).ok()?);
        }
        None
    }

    /// The form that the rows make, but for one of them; how many frames lack if they make none.
    fn solve(&self, without: Option<usize>) -> Result<Option<Vec<u8>>, usize> {
        let count = usize::from(self.last) + 1;
        let size = self.size.unwrap_or(0);
        // The newest first: what was false before does not count for ever.
        let rows = self.rows.iter().enumerate().rev().filter(|(at, _)| Some(*at) != without);
        let equations = rows.map(|(_, (sum, content))| {
            let factors = match sum {
                Sum::Seed(seed) => factors(self.key, *seed, count),
                Sum::Piece(number) => {
                    (0..count).map(|at| u8::from(at == usize::from(*number))).collect()
                }
            };
            let mut sum = content.clone();
            sum.resize(size, 0);
            Equation { factors, sum }
        });
        let pieces = solve(count, equations)?;
        Ok(self.trimmed(pieces.concat()))
    }

    /// How long the last piece is nobody says: at most as many zeros are too many as there are.
    fn trimmed(&self, mut form: Vec<u8>) -> Option<Vec<u8>> {
        let most = self.size?.min(usize::from(u8::MAX));
        for _ in 0..most {
            if form.len() <= FORM_MAX && key_of(&form) == self.key {
                return Some(form);
            }
            if form.pop() != Some(0) {
                return None;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::*, *};

    fn form(bytes: usize, salt: u64) -> Vec<u8> {
        let mut out = vec![0; bytes];
        blake3::Hasher::new().update(&salt.to_be_bytes()).finalize_xof().fill(&mut out);
        out
    }

    /// Gives frames until the form is whole; how many it took.
    fn needed(frames: impl IntoIterator<Item = Vec<u8>>, form: &[u8]) -> Option<usize> {
        let mut gathering = Gathering::default();
        let whole = |frame: Vec<u8>| match gathering.take(0, &frame) {
            Gathered::Whole(there) => {
                assert!(there == form);
                true
            }
            _ => false,
        };
        frames.into_iter().map(whole).position(|whole| whole).map(|at| at + 1)
    }

    #[test]
    fn any_mix_of_pieces_and_sums_makes_the_form() {
        for (bytes, mtu) in [(231, 230), (600, 230), (4270, 230), (4270, 48), (1000, 77), (49, 48)]
        {
            let form = form(bytes, 1);
            let coded = Coded::new(&form, mtu).unwrap();
            let count = coded.frames().len();
            for kept in [0, 1, count / 2, count - 1] {
                let pieces = coded.frames().iter().rev().take(kept).cloned();
                let sums = (7..).map(|seed| coded.repair(seed, Follows::More));
                let frames: Vec<_> = pieces.chain(sums.take(count - kept + 3)).collect();
                assert!(frames.iter().all(|frame| frame.len() <= mtu));
                let took = needed(frames, &form).unwrap();
                assert!(took <= count + 3, "{bytes} in {mtu}: {took} of {count}");
            }
            assert_eq!(needed(coded.frames().to_vec(), &form), Some(count));
        }
        let one = Coded::new(&form(230, 1), 230).unwrap();
        assert!(one.is_one() && one.frames() == [form(230, 1)]);
    }

    #[test]
    fn a_frame_too_few_is_rare() {
        let form = form(300, 2);
        let coded = Coded::new(&form, 48).unwrap();
        let count = coded.frames().len();
        let rounds = 3_000;
        let more = (0..rounds).filter(|round| {
            let sums = (0..20).map(|n| coded.repair(round * 20 + n, Follows::More));
            needed(sums, &form) != Some(count)
        });
        let more = more.count();
        println!("{more} of {rounds} needed more than {count} sums");
        // One in 255 and a bit; thrice that would be by a fault.
        assert!((1..=36).contains(&more), "{more}");
    }

    #[test]
    fn zeros_at_the_end_are_kept_and_padding_is_not() {
        for zeros in [0, 1, 5, 90] {
            let mut form = form(500, 3);
            form.extend(vec![0; zeros]);
            let coded = Coded::new(&form, 200).unwrap();
            let sums = (0..9).map(|seed| coded.repair(seed, Follows::Nothing));
            assert!(needed(sums, &form).is_some(), "{zeros}");
        }
    }

    #[test]
    fn a_false_frame_costs_a_true_one_and_many_a_beginning() {
        let form = form(1_000, 4);
        let coded = Coded::new(&form, 230).unwrap();
        let true_ones = |from: u16| (from..).map(|seed| coded.repair(seed, Follows::More));
        let lie = |seed| {
            let mut lie = coded.repair(seed, Follows::More);
            *lie.last_mut().unwrap() ^= 1;
            lie
        };
        for place in 0..coded.frames().len() {
            let mut frames: Vec<_> = true_ones(0).take(9).collect();
            frames.insert(place, lie(900));
            assert_eq!(needed(frames, &form), Some(coded.frames().len() + 1), "{place}");
            // The false one has the name of a true one.
            let mut frames = coded.frames().to_vec();
            let mut other = frames[place].clone();
            *other.last_mut().unwrap() ^= 9;
            frames.insert(place, other);
            assert_eq!(needed(frames, &form), Some(coded.frames().len() + 1), "{place}");
        }
        // However many were false: as many true ones as there are pieces make it.
        for lies in [3, 9, 200] {
            let frames = (800..800 + lies).map(lie).chain(true_ones(0).take(20));
            let took = needed(frames, &form).unwrap();
            assert!(took <= usize::from(lies) + coded.frames().len() + 1, "{took}");
        }
        // Of another length or number: it is another form's.
        let mut frames = coded.frames().to_vec();
        let short = frames[1][..40].to_vec();
        let mut many = frames[1].clone();
        many[6] = 17;
        frames.splice(2..2, [short, many]);
        assert_eq!(needed(frames, &form), Some(coded.frames().len() + 2));
    }

    #[test]
    fn what_lacks_is_told() {
        let coded = Coded::new(&form(1_000, 5), 230).unwrap();
        let mut gathering = Gathering::default();
        let lacks = |frames, over| Gathered::Lacks { key: coded.key(), frames, over };
        assert_eq!(gathering.take(0, &coded.frames()[4]), lacks(4, true));
        assert_eq!(gathering.take(0, &coded.frames()[4]), lacks(4, true));
        assert_eq!(gathering.take(0, &coded.repair(9, Follows::More)), lacks(3, false));
        assert_eq!(gathering.take(0, &coded.repair(8, Follows::Nothing)), lacks(2, true));
        assert_eq!(gathering.lacks(coded.key()), Some(2));
        gathering.take(0, &coded.frames()[0]);
        assert!(matches!(gathering.take(0, &coded.frames()[1]), Gathered::Whole(_)));
        let known =
            |of: &Coded| Gathered::Known { key: coded.key(), heard_as: of.key(), idle_us: 0 };
        assert_eq!(gathering.take(0, &coded.frames()[0]), known(&coded));
        assert_eq!(gathering.lacks(coded.key()), None);
        // Another node passes it on: its first piece says that it has come farther.
        let mut farther = form(1_000, 5);
        farther[1] += 1;
        let farther = Coded::new(&farther, 230).unwrap();
        assert!(matches!(gathering.take(0, &farther.frames()[1]), Gathered::Lacks { .. }));
        // Only what the shell confirmed is known by what it is; a sum or the first piece is enough.
        gathering.confirm(coded.key());
        assert_eq!(gathering.take(0, &farther.repair(3, Follows::More)), known(&farther));
        assert!(gathering.sets.is_empty());
        assert!(farther.frames().iter().all(|frame| gathering.take(0, frame) == known(&farther)));
        let later = gathering.take(DONE_US, &coded.frames()[3]);
        assert!(matches!(later, Gathered::Known { idle_us: DONE_US, .. }), "{later:?}");
        // Another form with the same content, or with the same name.
        let mut other = form(1_000, 5);
        other[9] ^= 1;
        let other = Coded::new(&other, 230).unwrap();
        let whole = other.frames().iter().map(|frame| gathering.take(0, frame)).last();
        assert!(matches!(whole, Some(Gathered::Whole(_))));
        let mut lie = coded.frames()[2].clone();
        lie[20] ^= 1;
        assert!(matches!(gathering.take(0, &lie), Gathered::Lacks { .. }));
    }

    #[test]
    fn a_flood_of_beginnings_pushes_out_beginnings() {
        let form = form(4_000, 6);
        let coded = Coded::new(&form, 230).unwrap();
        let mut gathering = Gathering::default();
        let mut whole = false;
        for (n, frame) in (0_u32..).zip(coded.frames()) {
            for lie in 0..200 {
                let head = [&[PIECE][..], &(n * 1_000 + lie).to_be_bytes(), &[0, 9]].concat();
                gathering.take(0, &[&head[..], &[7; 220]].concat());
            }
            whole |= gathering.take(0, frame) == Gathered::Whole(form.clone());
            // The first of it stands alone among as many others.
            if n == 0 {
                gathering.take(0, &coded.frames()[1]);
            }
        }
        assert!(whole);
        assert!(gathering.sets.len() <= SETS_MAX);
    }

    proptest! {
        #[test]
        fn nothing_that_is_heard_hurts(
            frames in proptest::collection::vec(
                (2..7_u8, 0..3_u8, any::<u8>(), 0..5_u8, proptest::collection::vec(any::<u8>(), 0..60)),
                0..200,
            ),
        ) {
            let mut gathering = Gathering::default();
            for (n, (first, key, last, number, content)) in frames.into_iter().enumerate() {
                let last = if n % 3 == 0 { last } else { last % 4 };
                let head = if first == PIECE { [number, last, 1] } else { [last, number, 1] };
                let frame = [&[first, key, 0, 0, 0][..], &head, &content].concat();
                gathering.take(0, &frame);
                let held: usize =
                    gathering.sets.iter().flat_map(|set| &set.rows).map(|(_, row)| row.len()).sum();
                prop_assert!(held <= SETS_MAX * 3 * FORM_MAX);
            }
        }
    }
}
