//! Containers: bundles written to a medium together, once, and never changed afterwards.
//!
//! ```text
//! header    "PRC1"  salt 8
//! record    "PRR1"  tokens 1  hops 1  age 4  head length 2  body length 8  head check 8
//!           head (the envelope without payload)   body (the sealed payload)   record check 8
//! ...
//! trailer   "PRX1"  count 4
//!           count x { id 32  record length 8  niceness 1  lifetime class 1 }
//!           salt 8  trailer check 8  trailer length 4  "PRCE"
//! ```
//!
//! Integers are big-endian. The trailer lies at the very end and says its own length there, so that
//! the inventory of a container costs one read. It is a hint: it has no offsets, because records
//! follow each other without gaps, and so no trailer can point outside or make records overlap.
//! Nothing in a container is believed before the bundle verifies.
//!
//! Two things make damage cheap. Each record checks itself, so a flipped byte costs that record
//! and no other; and the checks of heads are keyed by the container's random salt, so that no
//! bundle, whose author cannot know the salt, can carry something in its body that a reader in
//! search of the next record would take for one.

mod reader;
mod record;
mod source;
mod trailer;
mod writer;

pub use reader::{Body, Container, ContainerError, Contents, Damage, Found, RecordError};
pub use record::{Record, record_bytes};
pub use source::ReadAt;
pub use trailer::{Entry, LifetimeClass};
pub use writer::{ContainerWriter, NewRecord, WriterError};

pub(super) use trailer::{ENTRY_BYTES, TRAILER_FIXED_BYTES};

/// Containers are closed before they grow beyond this, unless one bundle alone is larger: a stick
/// that is pulled loses at most the container being written, some seconds of a slow stick's work.
pub const CONTAINER_TARGET_BYTES: u64 = 32 << 20;

/// Records in one container: bounds the trailer to 2.7 MB, and so the memory of an inventory.
pub const CONTAINER_RECORDS_MAX: usize = 65_536;

/// Longer files are not ours: FAT ends here, and we stay far below.
pub(super) const CONTAINER_MAX_BYTES: u64 = u32::MAX as u64;

/// Length of the header.
pub(super) const HEADER_BYTES: u64 = 12;

const HEADER_MAGIC: [u8; 4] = *b"PRC1";

/// 8 random bytes, drawn when a container is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub [u8; 8]);

/// What is derived from the salt.
#[derive(Clone)]
struct Keys {
    salt: Salt,
    check: [u8; 32],
}

impl Keys {
    fn new(salt: Salt) -> Self {
        Self { salt, check: blake3::derive_key("postrider 2026 container check v1", &salt.0) }
    }

    /// The check of heads and trailers: nobody who does not know the salt can make one.
    fn check(&self, parts: &[&[u8]]) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new_keyed(&self.check);
        for part in parts {
            hasher.update(part);
        }
        super::volume::first_8(&hasher.finalize())
    }

    /// The check of whole records, against rot alone: forgery is for the bundle's own signature
    /// and hash to find, so speed decides.
    fn record_check(&self) -> xxhash_rust::xxh3::Xxh3 {
        xxhash_rust::xxh3::Xxh3::with_seed(u64::from_be_bytes(self.salt.0))
    }
}

#[cfg(test)]
mod tests;
