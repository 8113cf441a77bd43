//! Whoever answers requests hears that one came, and whoever asked that an answer did.

use std::{
    collections::BTreeSet,
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use postrider_base::BundleId;

/// Messages that are remembered until somebody asks; beyond, all requests of mine are to be looked at.
const MESSAGES_MAX: usize = 4096;

/// What became durable since somebody asked last.
#[derive(Debug, Default)]
pub(in crate::desk) struct RequestNews {
    heard: Mutex<Heard>,
    bell: Condvar,
}

/// What is to be looked at.
#[derive(Debug, Default)]
pub struct Heard {
    /// Messages that came and may answer something.
    pub messages: BTreeSet<BundleId>,
    /// More than could be remembered: everything.
    pub all: bool,
    /// Somebody asks something, or wants whoever waits to look up.
    pub rung: bool,
}

impl RequestNews {
    /// Messages that are complete, or answers.
    pub fn tell(&self, messages: impl IntoIterator<Item = BundleId>) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.messages.extend(messages);
        if heard.messages.len() > MESSAGES_MAX {
            heard.messages.clear();
            heard.all = true;
        }
        if heard.is_news() {
            self.bell.notify_all();
        }
    }

    pub fn ring(&self) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).rung = true;
        self.bell.notify_all();
    }

    /// What there is, or comes within this time.
    pub fn wait(&self, at_most: Duration) -> Heard {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.bell.wait_timeout_while(heard, at_most, |heard| !heard.is_news());
        let (mut heard, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *heard)
    }
}

impl Heard {
    fn is_news(&self) -> bool {
        !self.messages.is_empty() || self.all || self.rung
    }
}
