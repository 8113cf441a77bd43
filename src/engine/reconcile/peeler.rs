//! The receiving end: symbols of another set against our own, until the difference is known.
//!
//! A symbol less our own symbol of the same index holds the items that only one of us has. Where one
//! item is left alone, it is known; taken out of the other symbols that have it, it leaves others
//! alone there. Every item is in symbol 0, so that everything is known when nothing is left.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    fmt,
};

use super::{
    item::{ItemHash, ItemId, SessionKey, TooManyItems},
    mapping::{next_index, walk},
    sketcher::Sketcher,
    symbol::Symbol,
};

/// Takes symbols of another set and finds in what it differs from ours.
///
/// Memory: that of a [`Sketcher`], and about 100 bytes for each symbol pushed. A symbol costs the work
/// of making our own, and each item found about 2 ln m steps for m symbols, whatever is pushed. There
/// are never more items found than symbols pushed, but one symbol can set off most of them.
pub struct Peeler {
    ours: Sketcher,
    /// What is left of each symbol.
    cells: Vec<Symbol>,
    /// How many of them are not empty.
    open: usize,
    found: BTreeSet<ItemHash>,
    /// The found items by the next symbol that will have them.
    coming: BinaryHeap<Reverse<(u32, ItemHash)>>,
    ended: bool,
}

/// What a symbol led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More symbols are needed.
    More,
    /// Everything is known.
    Done(Difference),
    /// It leads nowhere; the plain list must do.
    Failed(Failure),
}

/// In what two sets differ. Both lists are in the order of the hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What the other end has and we lack. It finds the ids by [`Sketcher::id_of`].
    pub only_theirs: Vec<ItemHash>,
    /// What we have and the other end lacks.
    pub only_ours: Vec<ItemId>,
}

/// Why peeling ended without a difference.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Failure {
    /// [`SYMBOLS_MAX`](super::SYMBOLS_MAX) symbols were not enough.
    #[error("too many symbols")]
    Symbols,
    /// No two sets have such symbols; or, once in some millions of sessions, chance made several
    /// items look like one.
    #[error("symbols that contradict each other")]
    Contradiction,
    /// A symbol after the end.
    #[error("the session has ended")]
    Ended,
}

impl Peeler {
    /// Starts with our own set.
    pub fn new(
        key: SessionKey,
        items: impl IntoIterator<Item = ItemId>,
    ) -> Result<Self, TooManyItems> {
        Ok(Self {
            ours: Sketcher::new(key, items)?,
            cells: Vec::new(),
            open: 0,
            found: BTreeSet::new(),
            coming: BinaryHeap::new(),
            ended: false,
        })
    }

    /// Takes the next symbol. After `Done` or `Failed` nothing more is taken.
    pub fn push(&mut self, symbol: Symbol) -> Progress {
        if self.ended {
            return Progress::Failed(Failure::Ended);
        }
        match self.peel(symbol) {
            Ok(()) if self.open > 0 => Progress::More,
            Ok(()) => {
                self.ended = true;
                Progress::Done(self.difference())
            }
            Err(why) => {
                self.ended = true;
                Progress::Failed(why)
            }
        }
    }

    /// How many symbols were pushed.
    pub fn symbols(&self) -> usize {
        self.cells.len()
    }

    fn peel(&mut self, symbol: Symbol) -> Result<(), Failure> {
        let index = u32::try_from(self.cells.len()).map_err(|_| Failure::Symbols)?;
        let mut cell = self.ours.next_symbol().ok_or(Failure::Symbols)?;
        cell ^= symbol;
        while let Some(Reverse((next, item))) = self.coming.peek().copied()
            && next == index
        {
            self.coming.pop();
            cell ^= Symbol::of(item);
            self.coming.push(Reverse((next_index(item, next), item)));
        }
        self.cells.push(cell);
        self.open += usize::from(!cell.is_empty());

        let mut alone = vec![index];
        while let Some(index) = alone.pop() {
            // What was alone may have been taken out since, by way of another symbol.
            let Some(item) = self.cells[index as usize].single() else { continue };
            // An item that is found twice was never there. In symbols of two sets each item found
            // empties a symbol for good, so there are at most as many: that bounds the work on
            // symbols that are made up.
            if !self.found.insert(item) || self.found.len() > self.cells.len() {
                return Err(Failure::Contradiction);
            }
            self.take_out(item, index, &mut alone)?;
        }
        Ok(())
    }

    /// Removes an item that was alone in the symbol `from` from all symbols that have it, and lists
    /// those where another one is alone then.
    fn take_out(&mut self, item: ItemHash, from: u32, alone: &mut Vec<u32>) -> Result<(), Failure> {
        let end = u32::try_from(self.cells.len()).map_err(|_| Failure::Symbols)?;
        let mut belongs = false;
        let next = walk(item, end, |index| {
            belongs |= index == from;
            let cell = &mut self.cells[index as usize];
            let was_open = !cell.is_empty();
            *cell ^= Symbol::of(item);
            let is_open = !cell.is_empty();
            self.open = self.open + usize::from(is_open) - usize::from(was_open);
            // Only those where something is alone now, so that the list stays short.
            if cell.single().is_some() {
                alone.push(index);
            }
        });
        self.coming.push(Reverse((next, item)));
        // It must be a symbol that the item is part of.
        if belongs { Ok(()) } else { Err(Failure::Contradiction) }
    }

    fn difference(&self) -> Difference {
        let mut difference = Difference::default();
        for hash in &self.found {
            match self.ours.id_of(*hash) {
                Some(id) => difference.only_ours.push(id),
                None => difference.only_theirs.push(*hash),
            }
        }
        difference
    }
}

impl fmt::Debug for Peeler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peeler")
            .field("items", &self.ours.items())
            .field("symbols", &self.symbols())
            .field("found", &self.found.len())
            .finish_non_exhaustive()
    }
}
