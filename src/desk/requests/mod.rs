//! Files on request: what others ask of my shares, and what I ask of theirs.
//!
//! - `within`: what names mean in a share, and nothing outside of it;
//! - `target`: a request of somebody else, answered once; `fair`: how much each of them gets;
//! - `asker`: requests of mine, what came of them; `place`: the file, put where it was wanted;
//! - `sources`: of several who may have it one after the other is asked; `rest`: what the first did not
//!   send is put in its place when another one did;
//! - `notes`: what is remembered; `news`: wakes whoever answers.
//!
//! ```text
//! any way in -> one group: delivered mark, request -> daemon::requests -> share, names, bytes
//!            -> one group: answer to whoever asked, request forgotten
//! ```

mod asker;
mod fair;
mod news;
mod notes;
mod place;
mod rest;
mod sources;
mod target;
mod within;

pub use asker::{GetRequest, Settled};
pub use news::Heard;
pub(super) use news::RequestNews;
pub(super) use notes::{AnswerNote, AskedNote, CameNote, key};
pub use target::{Given, Requests, WaitingRequest};

use super::{Desk, Failure, Watch};

impl Desk {
    /// Opens the spool for requests, others' and mine.
    pub fn open_requests(&self, watch: &dyn Watch) -> Result<Requests<'_>, Failure> {
        Ok(Requests::new(self, self.spool(watch)?))
    }

    /// Wakes whoever waits for news of requests.
    pub fn ring_requests(&self) {
        self.request_news.ring();
    }
}

#[cfg(test)]
mod tests;
