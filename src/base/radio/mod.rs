//! What travels over links of small frames: bundles, receipts and pieces, in as few bytes as can be.
//!
//! ```text
//! hidden  type 1 | hop 1 | age 1 | class 1 | tag 8 | lock 8 | payload                      20 + payload
//! open    type 1 | hop 1 | age 1 | class 1 | source 4 | destination 4 | lock 8 | epoch 4 |
//!         counter 3 | created 4 | signature 64 | payload                                   95 + payload
//! ```
//!
//! The radio form of a bundle says in classes, hints and short numbers what its header says in full,
//! and expands to the identical bundle: same bytes, same id, same signature. A hidden bundle's form,
//! and an open one's with its keys in full, expand for everybody. Hints are for whoever knows the keys
//! ([`Knowledge`]), and what a recipient can compute is left out for the recipient alone; who sends
//! says to whom ([`Reader`]). What was guessed is believed only when a signature or a seal has decided.
//!
//! - [`shrink`] and [`expand`]: a small bundle and its form;
//! - [`cut`] and [`Pieces`]: a form that is longer than a frame;
//! - [`pack`] and [`unpack`]: receipts, as many as a frame takes;
//! - [`may_go_clear`] and [`Station`]: bands on which nothing may be enciphered.
//!
//! `docs/format.md`, section 17, is the specification, with every limit and why it is there.

mod clear;
mod expand;
mod fields;
mod known;
mod pieces;
mod receipts;
mod shape;
mod shrink;
#[cfg(test)]
mod tests;

pub use clear::{
    CallSign, CallSignError, NotClear, STATION_EVERY_S, Station, may_go_clear, may_header_go_clear,
};
pub use expand::{FormError, expand};
pub use fields::carried;
pub use known::{Knowledge, Reader};
pub use pieces::{CutError, MTU_MIN, PIECE_HEAD, Pieces, Taken, cut};
pub use receipts::{ReceiptsError, pack, unpack};
pub use shrink::{NoForm, shrink};

/// What a frame is, by its first byte. Types from 0x04 to 0x3f are for the link below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameType {
    /// Receipts.
    Receipts,
    /// A piece of a form.
    Piece,
    /// Whose station this is.
    Station,
    /// The form of a bundle.
    Bundle,
}

impl FrameType {
    /// What begins with this byte; `None` for what is none of ours.
    pub const fn of(first: u8) -> Option<Self> {
        match first {
            RECEIPTS => Some(Self::Receipts),
            PIECE => Some(Self::Piece),
            STATION => Some(Self::Station),
            0x40..=0xff => Some(Self::Bundle),
            _ => None,
        }
    }
}

/// A receipt begins with this byte on any wire (docs/format.md, section 6).
const RECEIPTS: u8 = 1;
const PIECE: u8 = 2;
const STATION: u8 = 3;

/// No form is longer: an open bundle of 4096 bytes with everything in full.
pub const FORM_MAX: usize = 4 + 1 + 5 + 32 + 32 + 16 + 4 + 8 + 8 + 64 + 4096;
