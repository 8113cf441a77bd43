//! Conversations: what was said in which order, what is found in it, and what is not sent yet.
//!
//! - `order`: what stands before what, decided without a clock;
//! - `written`: what is remembered of own messages, and of others' numbers;
//! - `thread`: the messages of a conversation; `search`: those that say something;
//! - `coming`: what is on its way here, and how far what was sent has come;
//! - `drafts`: messages that are kept and not sent.

mod coming;
mod drafts;
mod order;
mod search;
#[cfg(test)]
mod tests;
mod thread;
mod written;

pub use search::SearchRequest;
pub(super) use written::{numbered, written};
