//! The sending end: a set as an endless row of coded symbols.

use std::fmt;

use super::{
    SYMBOLS_MAX,
    item::{ItemHash, ItemId, SessionKey, Table, TooManyItems},
    mapping::next_index,
    symbol::Symbol,
};

/// The first window: one symbol is often enough.
const WINDOW_FIRST: u32 = 1;

/// Makes the coded symbols of a set, one after the other.
///
/// Memory: 28 bytes for each item, and 16 for each symbol of the present window. Time for the first m
/// symbols of n items: O(n log m), since an item is part of about 2 ln m of them.
pub struct Sketcher {
    table: Table,
    /// For each item of the table, the first symbol from the window's end on that has it.
    next: Vec<u32>,
    /// Symbols made ahead. Each window is as long as all before it, so that going through all items
    /// once for each window adds up to a logarithm.
    window: Vec<Symbol>,
    /// How many symbols of the window have been given out.
    taken: usize,
    /// The index after the window.
    end: u32,
}

impl Sketcher {
    /// Starts over a set; ids that come twice count once.
    pub fn new(
        key: SessionKey,
        items: impl IntoIterator<Item = ItemId>,
    ) -> Result<Self, TooManyItems> {
        let table = Table::new(key, items)?;
        let next = vec![0; table.len()];
        Ok(Self { table, next, window: Vec::new(), taken: 0, end: 0 })
    }

    /// The next symbol; `None` after [`SYMBOLS_MAX`].
    pub fn next_symbol(&mut self) -> Option<Symbol> {
        if self.taken == self.window.len() {
            self.make_window();
        }
        let symbol = *self.window.get(self.taken)?;
        self.taken += 1;
        Some(symbol)
    }

    /// The next `count` symbols; fewer only at [`SYMBOLS_MAX`].
    pub fn next_symbols(&mut self, count: usize) -> Vec<Symbol> {
        std::iter::from_fn(|| self.next_symbol()).take(count).collect()
    }

    /// Which item the other end asks for; `None` for a hash that is none of ours.
    pub fn id_of(&self, hash: ItemHash) -> Option<ItemId> {
        self.table.id_of(hash)
    }

    /// The number of different items.
    pub fn items(&self) -> usize {
        self.table.len()
    }

    fn make_window(&mut self) {
        let start = self.end;
        self.end = start.max(WINDOW_FIRST).saturating_add(start).min(SYMBOLS_MAX);
        self.taken = 0;
        self.window.clear();
        self.window.resize((self.end - start) as usize, Symbol::default());
        for (item, next) in self.table.hashes().zip(&mut self.next) {
            while *next < self.end {
                self.window[(*next - start) as usize] ^= Symbol::of(item);
                *next = next_index(item, *next);
            }
        }
    }
}

impl fmt::Debug for Sketcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sketcher").field("items", &self.items()).finish_non_exhaustive()
    }
}
