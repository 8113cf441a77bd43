//! Forms that were heard lately, and what the shell said of them: so that none is given to it twice.

use std::collections::VecDeque;

use super::{
    code::{Key, key_of},
    contract::{FormNumber, ItemId, Verdict},
};

/// Forms remembered: some minutes of a busy channel. About 60 bytes each.
const FORMS_MAX: usize = 256;
/// For so long one that was not taken, or never judged, is not given again.
const AGAIN_US: u64 = 600_000_000;

/// What to do with a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Let it be judged.
    New(FormNumber),
    /// It is this, and here.
    Is(ItemId),
    /// It cannot be read here.
    Unread,
    /// It was heard before.
    Nothing,
}

#[derive(Debug, Default)]
pub(super) struct Forms {
    known: VecDeque<Form>,
    next: u64,
}

/// What is known of a form that was given to the shell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    number: FormNumber,
    hash: [u8; 16],
    pub key: Key,
    /// Its second byte.
    pub hop: u8,
    judged: Option<Verdict>,
    at_us: u64,
}

impl Forms {
    /// A form came.
    pub fn came(&mut self, now_us: u64, bytes: &[u8]) -> Came {
        let mut hash = [0; 16];
        hash.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
        let known = self.known.iter().find(|form| form.hash == hash);
        if let Some(known) = known {
            let lately = now_us.saturating_sub(known.at_us) < AGAIN_US;
            match known.judged {
                Some(Verdict::Kept(id) | Verdict::Known(id)) => return Came::Is(id),
                Some(Verdict::Unread) if lately => return Came::Unread,
                _ if lately => return Came::Nothing,
                _ => self.known.retain(|form| form.hash != hash),
            }
        }
        if self.known.len() >= FORMS_MAX {
            self.known.pop_front();
        }
        let number = FormNumber(self.next);
        self.next += 1;
        let hop = bytes.get(1).copied().unwrap_or(0);
        let form = Form { number, hash, key: key_of(bytes), hop, judged: None, at_us: now_us };
        self.known.push_back(form);
        Came::New(number)
    }

    /// The shell has judged it; none if it was forgotten.
    pub fn judged(&mut self, number: FormNumber, verdict: Verdict) -> Option<Form> {
        let form = self.known.iter_mut().find(|form| form.number == number)?;
        form.judged = Some(verdict);
        Some(*form)
    }

    /// What was judged to be here of what came under this key.
    pub fn by_key(&self, key: Key) -> Option<Form> {
        self.known.iter().rev().find(|form| form.key == key && form.id().is_some()).copied()
    }
}

impl Form {
    /// What it is, if it is here.
    pub fn id(&self) -> Option<ItemId> {
        match self.judged {
            Some(Verdict::Kept(id) | Verdict::Known(id)) => Some(id),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_judged_once_and_what_was_not_taken_may_come_again() {
        let mut forms = Forms::default();
        let id = ItemId([7; 8]);
        for (bytes, verdict, then) in [
            (b"one", Verdict::Kept(id), Came::Is(id)),
            (b"two", Verdict::Known(id), Came::Is(id)),
            (b"six", Verdict::Unread, Came::Unread),
            (b"ten", Verdict::Unwanted, Came::Nothing),
        ] {
            let Came::New(number) = forms.came(0, bytes) else { panic!("it was known") };
            assert_eq!(forms.came(1, bytes), Came::Nothing);
            assert!(forms.judged(number, verdict).is_some());
            assert_eq!(forms.came(AGAIN_US - 1, bytes), then);
            let later = forms.came(AGAIN_US, bytes);
            assert_eq!(matches!(later, Came::Is(_)), matches!(then, Came::Is(_)), "{later:?}");
        }
        assert_eq!(forms.by_key(key_of(b"one")).and_then(|form| form.id()), Some(id));
        assert!(forms.by_key(key_of(b"ten")).is_none());
    }

    #[test]
    fn a_flood_pushes_out_what_is_old() {
        let mut forms = Forms::default();
        let first = forms.came(0, b"first");
        (0..1_000_u32).for_each(|n| {
            forms.came(0, &n.to_be_bytes());
        });
        assert_eq!(forms.known.len(), FORMS_MAX);
        let Came::New(number) = first else { panic!("it was known") };
        assert!(forms.judged(number, Verdict::Unwanted).is_none());
    }
}
