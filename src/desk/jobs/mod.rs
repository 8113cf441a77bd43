//! Jobs: what others may have run here, and what this node asks of others.

#[cfg(target_os = "linux")]
mod answer;
mod news;
mod notes;
#[cfg(target_os = "linux")]
mod target;

pub(super) use news::JobNews;
pub use news::Touched;
pub(super) use notes::{CameNote, FactNote, IssuedNote, WordNote};
#[cfg(target_os = "linux")]
pub use target::{Jobs, WaitingWord};

use super::Desk;

impl Desk {
    /// Wakes whoever waits for news of jobs.
    pub fn ring_jobs(&self) {
        self.job_news.ring();
    }
}
