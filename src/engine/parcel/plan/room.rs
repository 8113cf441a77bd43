//! How much may be written, and what a file costs.

use super::Class;
use crate::parcel::container::{ENTRY_BYTES, HEADER_BYTES, TRAILER_FIXED_BYTES};

/// Free space that we leave, at least and at most: the notes of this visit and the next (1 MiB
/// each), the marker and directory entries; and a file system filled to the brim is slow and
/// brittle. On a floppy 64 KiB must do.
const MARGIN_MIN_BYTES: u64 = 64 << 10;
const MARGIN_MAX_BYTES: u64 = 4 << 20;
/// Between the two, this part of the whole.
const MARGIN_PART: u64 = 64;

/// Strangers' share of a medium by default: a tenth, and no more than 2 GB, as in the spool.
const STRANGERS_PART: u64 = 10;
const STRANGERS_MAX_BYTES: u64 = 2_000_000_000;
/// Contacts' share by default: half, so that one's own mail always finds room for itself.
const CONTACTS_PART: u64 = 2;

/// Whether a medium can be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It can.
    ReadWrite,
    /// It cannot: nothing will be planned.
    ReadOnly,
}

/// What a medium has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Whether it can be written to.
    pub access: Access,
    /// Bytes free now.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Every file takes a multiple of this.
    pub cluster_bytes: u64,
    /// Longest file that the file system can hold.
    pub file_max_bytes: u64,
}

impl Room {
    /// Free space that stays.
    pub(super) fn margin_bytes(&self) -> u64 {
        (self.total_bytes / MARGIN_PART).clamp(MARGIN_MIN_BYTES, MARGIN_MAX_BYTES)
    }

    /// What a file of that length takes, and gives back when it goes.
    pub(super) fn on_disk_bytes(&self, file_bytes: u64) -> u64 {
        file_bytes.checked_next_multiple_of(self.cluster_bytes.max(1)).unwrap_or(u64::MAX)
    }

    /// What a container takes beside its records: at most, since the last cluster may be full.
    pub(super) fn container_overhead_bytes(&self) -> u64 {
        HEADER_BYTES + TRAILER_FIXED_BYTES + self.cluster_bytes
    }
}

/// What a record takes, with its entry in the trailer.
pub(super) fn cost_bytes(record_bytes: u64) -> u64 {
    record_bytes.saturating_add(ENTRY_BYTES)
}

/// How much of whose mail may be on a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Own mail, in bytes on the medium, old and new.
    pub own_bytes: u64,
    /// Contacts' mail that we hold, in bytes on the medium, old and new.
    pub contacts_bytes: u64,
    /// Strangers' mail that we hold, in bytes on the medium, old and new.
    pub strangers_bytes: u64,
    /// Bytes written in this visit, of all classes, when the user named a limit.
    pub visit_bytes: Option<u64>,
}

impl Budgets {
    /// The defaults for a medium.
    pub fn of(room: &Room) -> Self {
        Self {
            own_bytes: u64::MAX,
            contacts_bytes: room.total_bytes / CONTACTS_PART,
            strangers_bytes: (room.total_bytes / STRANGERS_PART).min(STRANGERS_MAX_BYTES),
            visit_bytes: None,
        }
    }

    pub(super) fn of_class(&self, class: Class) -> u64 {
        match class {
            Class::Own => self.own_bytes,
            Class::Contact => self.contacts_bytes,
            Class::Stranger => self.strangers_bytes,
        }
    }
}
