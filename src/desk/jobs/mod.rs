//! Jobs: what others may have run here, and what this node asks of others.

#[cfg(target_os = "linux")]
mod answer;
mod approve;
mod asked;
mod issue;
mod issued;
mod news;
mod notes;
mod output;
mod standing;
#[cfg(target_os = "linux")]
mod target;
mod words;

pub use self::{issue::RunRequest, news::Touched, output::Which};
pub(super) use news::JobNews;
pub(super) use notes::{CameNote, FactNote, IssuedNote, WordNote};
#[cfg(target_os = "linux")]
pub use target::{Jobs, WaitingWord};

use super::Desk;

/// In place of a word's id: somebody here lets the job go on.
const RELEASED: &[u8] = b"released";

impl Desk {
    /// Wakes whoever waits for news of jobs.
    pub fn ring_jobs(&self) {
        self.job_news.ring();
    }
}

#[cfg(test)]
mod tests;
