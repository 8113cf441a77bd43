//! Jobs: what others may have run here, and what this node asks of others.

mod notes;

pub(super) use notes::{CameNote, FactNote, IssuedNote, WordNote};
