//! A bundle: what relays carry, see and check.
//!
//! ```text
//! header.open   = [1, flags, destination, lifetime, niceness, seal, lock, source, epoch, counter, created, length, hash]
//! header.hidden = [1, flags, destination, lifetime, niceness, seal, lock, length, hash]
//! head.open     = [bstr header, bstr signature]        head.hidden = [bstr header]
//! small bundle  = the same array with the payload as one more byte string (payload <= 4096 B)
//! large bundle  = head, then the payload
//! ```
//!
//! The id is a hash of the header (and of the payload when that is small), never of the signature.
//! `docs/format.md` is the specification.

mod head;
mod header;
mod hop;
mod receipt;

pub use head::{Head, HeadError, SmallBundle};
pub use header::{
    Destination, Header, HeaderError, LockField, Origin, SealKind, Sequence, resolve_tag, tag_of,
};
pub use hop::Hop;
pub use receipt::{RECEIPT_BYTES, Receipt, ReceiptError, ReceiptSecret};

/// Up to here a payload is taken whole and hashed into the id; above, it streams (DESIGN §3).
pub const SMALL_PAYLOAD_MAX: u64 = 4096;

/// No bundle is larger. Larger things travel in parts (default 8 MiB); this leaves room for bigger
/// parts while any node can still stage one and any FAT medium can hold a few.
pub const PAYLOAD_MAX: u64 = 64 << 20;

/// A header is at most this long (the longest valid one has 158 bytes; see docs/format.md).
pub const HEADER_MAX: usize = 256;

/// A head (header and signature) is at most this long.
pub const HEAD_MAX: usize = 512;
