//! Many threads commit, one of them writes for all: group commit.
//!
//! Whoever finds nobody leading takes everything that waits, does it with one write and one sync,
//! and hands out the answers; who comes meanwhile waits for the next turn. Nothing waits longer
//! than two turns, and nobody waits on purpose: a lone thread commits at once.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// The waiting line. It is as long as there are threads in it, so it needs no bound of its own.
pub(crate) struct Commits<R, T> {
    line: Mutex<Line<R, T>>,
    turn_over: Condvar,
    /// Weight taken in one turn, so that one write stays bounded.
    turn_weight: usize,
}

struct Line<R, T> {
    waiting: Vec<(u64, usize, R)>,
    answers: BTreeMap<u64, T>,
    next: u64,
    leading: bool,
    /// A leader panicked: its followers' answers will never come.
    broken: bool,
}

impl<R, T> Commits<R, T> {
    pub(crate) fn new(turn_weight: usize) -> Self {
        Self {
            line: Mutex::new(Line {
                waiting: Vec::new(),
                answers: BTreeMap::new(),
                next: 0,
                leading: false,
                broken: false,
            }),
            turn_over: Condvar::new(),
            turn_weight,
        }
    }

    /// Has `request` done, by this thread or another; `lead` does a turn's requests in order and
    /// answers each. `None` when a leader panicked.
    pub(crate) fn submit(
        &self,
        request: R,
        weight: usize,
        lead: impl Fn(Vec<R>) -> Vec<T>,
    ) -> Option<T> {
        let mut line = self.lock();
        let mine = line.next;
        line.next += 1;
        line.waiting.push((mine, weight, request));
        loop {
            if let Some(answer) = line.answers.remove(&mine) {
                return Some(answer);
            }
            if line.broken {
                return None;
            }
            if line.leading {
                line = self.turn_over.wait(line).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            line.leading = true;
            let turn = take_turn(&mut line.waiting, self.turn_weight);
            drop(line);
            let (numbers, requests): (Vec<u64>, Vec<R>) = turn.into_iter().unzip();
            let guard = Leading(self);
            let answers = lead(requests);
            std::mem::forget(guard);
            line = self.lock();
            line.answers.extend(numbers.into_iter().zip(answers));
            line.leading = false;
            self.turn_over.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line<R, T>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_turn<R>(waiting: &mut Vec<(u64, usize, R)>, limit: usize) -> Vec<(u64, R)> {
    let mut weight = 0;
    let fitting = waiting
        .iter()
        .take_while(|(_, w, _)| {
            weight += w;
            weight <= limit
        })
        .count();
    waiting.drain(..fitting.max(1)).map(|(number, _, request)| (number, request)).collect()
}

/// Runs only when `lead` unwinds.
struct Leading<'a, R, T>(&'a Commits<R, T>);

impl<R, T> Drop for Leading<'_, R, T> {
    fn drop(&mut self) {
        let mut line = self.0.lock();
        line.broken = true;
        line.leading = false;
        self.0.turn_over.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn every_thread_gets_its_own_answer_and_turns_are_shared() {
        let commits = Commits::new(100);
        let turns = AtomicUsize::new(0);
        let lead = |requests: Vec<usize>| {
            turns.fetch_add(1, Ordering::Relaxed);
            assert!(requests.len() <= 10, "10 of weight 10 fit into a turn");
            thread::yield_now();
            requests.into_iter().map(|n| n * 2).collect()
        };
        thread::scope(|scope| {
            for t in 0..8 {
                let (commits, lead) = (&commits, &lead);
                scope.spawn(move || {
                    for i in 0..200 {
                        let n = t * 1000 + i;
                        assert_eq!(commits.submit(n, 10, lead), Some(n * 2));
                    }
                });
            }
        });
        assert!(turns.load(Ordering::Relaxed) <= 1600);
        assert!(commits.lock().answers.is_empty() && commits.lock().waiting.is_empty());
    }

    #[test]
    fn a_panicking_leader_leaves_nobody_waiting() {
        let commits: Commits<u8, u8> = Commits::new(100);
        let led = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            commits.submit(1, 1, |_| panic!("a bug"))
        }));
        assert!(led.is_err());
        assert_eq!(commits.submit(2, 1, |requests| requests), None);
    }
}
