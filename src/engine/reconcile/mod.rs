//! Reconciliation: two nodes learn in what their sets differ, for bytes that grow with the
//! difference and not with the sets.
//!
//! A rateless invertible Bloom lookup table, after Yang, Gilad and Alizadeh, "Practical Rateless Set
//! Reconciliation" (SIGCOMM 2024). `docs/reconcile.md` has the byte layout, the derivation of the
//! index mapping and the measured figures.
//!
//! 1. One end draws a random 16-byte [`SessionKey`] and tells the other. Each turns the 16-byte ids of
//!    its set into keyed 8-byte [`ItemHash`]es.
//! 2. One end sends the symbols of its [`Sketcher`] in batches ([`batch_symbols`]), without end.
//! 3. The other pushes each into its [`Peeler`], which subtracts its own symbol and peels, until it
//!    is [`Progress::Done`] and says stop. Sets that are equal cost one symbol, 12 bytes.
//! 4. The peeling end offers `only_ours`, which are ids, and asks for `only_theirs`, which are
//!    hashes: the other end finds their ids by [`Sketcher::id_of`].
//!
//! Hashes instead of ids halve a symbol. Both directions are settled by one stream of symbols.
//!
//! What can go wrong is bounded. Somebody who makes bundles does not know the session key, so no
//! bundle can be crafted to collide with another one, or to overload some symbols. The neighbour
//! itself knows it and may send anything: that costs at most [`SYMBOLS_MAX`] symbols of work, ends
//! as [`Progress::Failed`] or with a wrong difference, and a wrong difference is only a list of
//! offers and questions, whose bundles are verified like any other. After a failure the plain list
//! is sent instead.
//!
//! ```
//! use postrider_engine::reconcile::{ItemHash, Peeler, Progress, SessionKey, Sketcher};
//!
//! let key = SessionKey([7; 16]); // random in earnest
//! let mut theirs = Sketcher::new(key, [[1; 16], [2; 16], [3; 16]])?;
//! let mut ours = Peeler::new(key, [[2; 16], [3; 16], [4; 16]])?;
//! let difference = loop {
//!     let symbol = theirs.next_symbol().expect("far from the last one");
//!     match ours.push(symbol) {
//!         Progress::More => {}
//!         Progress::Done(difference) => break difference,
//!         Progress::Failed(why) => panic!("{why}"),
//!     }
//! };
//! assert_eq!(difference.only_ours, [[4; 16]]);
//! let asked: ItemHash = difference.only_theirs[0];
//! assert_eq!(theirs.id_of(asked), Some([1; 16]));
//! # Ok::<(), postrider_engine::reconcile::TooManyItems>(())
//! ```

mod item;
mod mapping;
mod peeler;
mod sketcher;
mod symbol;
mod work;

pub use item::{ItemHash, ItemId, SessionKey, TooManyItems};
pub use peeler::{Difference, Failure, Peeler, Progress};
pub use sketcher::Sketcher;
pub use symbol::{BatchError, SYMBOL_BYTES, Symbol, decode_batch, encode_batch};
pub use work::{Work, Worked};

/// Items in one set. At 28 bytes each (hash, id, next index) a sketch or a peeler of this many takes
/// 28 MiB, which is what a node that holds a million bundles can spare for one link; a larger set is
/// reconciled in classes, or by cursor.
pub const ITEMS_MAX: usize = 1 << 20;

/// Symbols in one session, 3 MiB of them: enough for a difference of 190,000, a fifth of the largest
/// set. Sets that differ more are better off with the plain list. It also keeps the integers of the
/// index mapping in range.
pub const SYMBOLS_MAX: u32 = 1 << 18;

/// Symbols in one batch: 12 KiB, far below the largest unit, so that a batch never holds up what is
/// urgent.
pub const BATCH_SYMBOLS_MAX: usize = 1024;

/// How many symbols to send next when `sent` are on their way already.
///
/// One first, because most sets that meet are equal or nearly so. Then by half as much again: on a
/// link where the answer takes long, at most a third of the symbols are sent in vain.
pub fn batch_symbols(sent: usize) -> usize {
    match sent {
        0 => 1,
        _ => (sent / 2).clamp(8, BATCH_SYMBOLS_MAX),
    }
}
