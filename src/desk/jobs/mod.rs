//! Jobs: what others may have run here, and what this node asks of others.

#[cfg(target_os = "linux")]
mod answer;
mod approve;
mod asked;
#[cfg(target_os = "linux")]
mod audited;
mod fleet;
mod issue;
mod issued;
mod news;
mod notes;
mod output;
mod standing;
#[cfg(target_os = "linux")]
mod target;
#[cfg(target_os = "linux")]
mod trial;
mod words;

pub use self::{
    fleet::{FleetRequest, Share},
    issue::RunRequest,
    news::Touched,
    output::Which,
};
pub(super) use news::JobNews;
pub(super) use notes::{CameNote, FactNote, IssuedNote, WordNote};
#[cfg(target_os = "linux")]
pub use target::{Jobs, WaitingWord};
#[cfg(target_os = "linux")]
pub(super) use target::{PROGRAM, SUPERVISOR};
#[cfg(target_os = "linux")]
pub use trial::do_stage;

use std::time::Duration;

use super::Desk;

/// In place of a word's id: somebody here lets the job go on.
const RELEASED: &[u8] = b"released";

impl Desk {
    /// Wakes whoever waits for news of jobs.
    pub fn ring_jobs(&self) {
        self.job_news.ring();
    }

    /// Waits for more news of jobs than there was, or for so long; how often there was some by then.
    pub fn job_news_beyond(&self, times: u64, at_most: Duration) -> u64 {
        self.job_news.wait_beyond(times, at_most)
    }
}

#[cfg(test)]
mod tests;
