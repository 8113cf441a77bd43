//! The parts of a reconciliation that take long: values that run by themselves, on any thread.
//!
//! A set of 100,000 items takes 60 to 100 ms, of a million a second. That must hold up no link, so
//! the engine hands it out and goes on when it comes back.

use super::{
    item::{ItemId, SessionKey},
    peeler::{Failure, Peeler, Progress},
    sketcher::Sketcher,
    symbol::Symbol,
};

/// Something to compute, with all that it needs.
#[derive(Debug)]
pub enum Work {
    /// Begin a sketch and make its first symbols.
    Sketch {
        /// Of this session.
        key: SessionKey,
        /// The set.
        items: Vec<ItemId>,
        /// How many symbols.
        count: usize,
    },
    /// Make its next symbols.
    More {
        /// The sketch so far.
        sketcher: Box<Sketcher>,
        /// How many symbols.
        count: usize,
    },
    /// Begin to peel, with the first symbols.
    Begin {
        /// Of this session.
        key: SessionKey,
        /// The set.
        items: Vec<ItemId>,
        /// What came.
        symbols: Vec<Symbol>,
    },
    /// Peel with the next symbols.
    Peel {
        /// The peeling so far.
        peeler: Box<Peeler>,
        /// What came.
        symbols: Vec<Symbol>,
    },
}

/// What came out.
#[derive(Debug)]
pub enum Worked {
    /// Of a sketch.
    Sketched {
        /// The sketch so far.
        sketcher: Box<Sketcher>,
        /// Its next symbols; fewer only at the last.
        symbols: Vec<Symbol>,
    },
    /// Of peeling.
    Peeled {
        /// The peeling so far.
        peeler: Box<Peeler>,
        /// Where it stands.
        progress: Progress,
    },
    /// The set is too large.
    TooMany,
}

impl Work {
    /// Does it. Bounded by the set and by the symbols; see `docs/reconcile.md`.
    pub fn run(self) -> Worked {
        match self {
            Self::Sketch { key, items, count } => match Sketcher::new(key, items) {
                Ok(sketcher) => sketch(Box::new(sketcher), count),
                Err(_) => Worked::TooMany,
            },
            Self::More { sketcher, count } => sketch(sketcher, count),
            Self::Begin { key, items, symbols } => match Peeler::new(key, items) {
                Ok(peeler) => peel(Box::new(peeler), symbols),
                Err(_) => Worked::TooMany,
            },
            Self::Peel { peeler, symbols } => peel(peeler, symbols),
        }
    }
}

fn sketch(mut sketcher: Box<Sketcher>, count: usize) -> Worked {
    let symbols = sketcher.next_symbols(count);
    Worked::Sketched { sketcher, symbols }
}

/// What comes behind the end belongs to a batch that was on its way.
fn peel(mut peeler: Box<Peeler>, symbols: Vec<Symbol>) -> Worked {
    let mut progress = Progress::Failed(Failure::Ended);
    for symbol in symbols {
        progress = peeler.push(symbol);
        if progress != Progress::More {
            break;
        }
    }
    Worked::Peeled { peeler, progress }
}
