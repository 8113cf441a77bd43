//! Jobs: what others may have run here, and what this node asks of others.

mod approve;
mod asked;
mod issue;
mod issued;
mod notes;
mod output;
mod standing;
mod words;

pub use self::{issue::RunRequest, output::Which};
pub(super) use notes::{CameNote, FactNote, IssuedNote, WordNote};

#[cfg(test)]
mod tests;
