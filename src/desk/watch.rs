//! Progress, as events that somebody may watch.

/// What a long piece of work tells while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something long begins; `total` in `unit`s where it is known.
    Begin {
        /// What, for a person: "sealing film.mkv for Bob".
        what: String,
        /// How much there is to do.
        total: Option<u64>,
        /// Of what.
        unit: Unit,
    },
    /// So much more is done.
    Advance(u64),
    /// What began last is done.
    End,
    /// Another process has the spool; we wait.
    Waiting,
    /// Worth knowing.
    Note(String),
    /// Worth acting on.
    Warn(String),
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Bundles or messages.
    Items,
}

/// Somebody who watches. Called from several threads.
pub trait Watch: Sync {
    /// Something happened.
    fn event(&self, event: Event);

    /// Whether the work is to stop at the next place where stopping loses nothing.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Nobody watches.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Watch for Silent {
    fn event(&self, _: Event) {}
}
