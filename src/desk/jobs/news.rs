//! Whoever waits for jobs hears of what came in about them, by whatever way it came.

use std::{
    collections::BTreeSet,
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use postrider_base::BundleId;

/// Jobs that are remembered until somebody asks; beyond, all are to be looked at.
const TOUCHED_MAX: usize = 4096;

/// Jobs of which something became durable since somebody asked last.
#[derive(Debug, Default)]
pub(in crate::desk) struct JobNews {
    touched: Mutex<Touched>,
    /// How often there was news: for those who only want to know that there was some.
    times: Mutex<u64>,
    bell: Condvar,
    again: Condvar,
}

/// What is to be looked at.
#[derive(Debug, Default)]
pub struct Touched {
    /// These.
    pub jobs: BTreeSet<BundleId>,
    /// More than could be remembered: everything.
    pub all: bool,
    /// Somebody wants whoever waits to look up.
    pub rung: bool,
}

impl JobNews {
    pub fn tell(&self, jobs: impl IntoIterator<Item = BundleId>) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let before = touched.jobs.len();
        touched.jobs.extend(jobs);
        if touched.jobs.len() > TOUCHED_MAX {
            touched.jobs.clear();
            touched.all = true;
        }
        if touched.jobs.len() != before || touched.all {
            self.bell.notify_all();
            drop(touched);
            self.count();
        }
    }

    pub fn ring(&self) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).rung = true;
        self.bell.notify_all();
        self.count();
    }

    fn count(&self) {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.again.notify_all();
    }

    /// Waits until there was news more often than that, or for so long; how often there was by then.
    pub fn wait_beyond(&self, times: u64, at_most: Duration) -> u64 {
        let known = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.again.wait_timeout_while(known, at_most, |known| *known <= times);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// What there is, or comes within this time.
    pub fn wait(&self, at_most: Duration) -> Touched {
        let touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing =
            |touched: &mut Touched| touched.jobs.is_empty() && !touched.all && !touched.rung;
        let waited = self.bell.wait_timeout_while(touched, at_most, nothing);
        let (mut touched, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *touched)
    }
}
