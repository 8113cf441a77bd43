//! The marker of a medium, and what is derived from it.
//!
//! The volume id is a property of the medium, not of a person: 16 random bytes, drawn by whoever
//! wrote to it first. Everything short that stands in notes is keyed by it, so that two sticks
//! cannot be linked by what their notes have in common.

use postrider_base::BundleId;

use super::FileNumber;

/// Length of the marker: CBOR `[1, volume id, check]` as 1 + 1 + 17 + 9 bytes.
pub const MARKER_BYTES: usize = 28;

/// `83 01 50`: an array of three, version 1, a byte string of 16.
const OPENING: [u8; 3] = [0x83, 0x01, 0x50];
/// `48`: a byte string of 8.
const CHECK_OPENING: u8 = 0x48;

/// Names one medium for as long as nobody formats it. A copy of the medium has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VolumeId(pub [u8; 16]);

impl VolumeId {
    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The marker file.
    pub fn encode(&self) -> [u8; MARKER_BYTES] {
        let mut out = [0; MARKER_BYTES];
        out[..3].copy_from_slice(&OPENING);
        out[3..19].copy_from_slice(&self.0);
        out[19] = CHECK_OPENING;
        out[20..].copy_from_slice(&self.check());
        out
    }

    /// Reads a marker file. `None` when it is not one or is damaged: then the medium gets a new
    /// id, and its old notes, which nobody can read any more, are replaced.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let id = Self(*bytes.get(3..)?.first_chunk()?);
        (bytes == id.encode()).then_some(id)
    }

    /// How notes name a bundle on this volume: 8 bytes that mean nothing on another one.
    pub(super) fn salted(&self, id: &BundleId) -> [u8; 8] {
        first_8(&self.keyed("postrider 2026 parcel note v1", &[&id.0]))
    }

    /// How notes name one copy of a bundle: the one in this container. A second copy, written to
    /// repair the first, has another name and so is not under the same suspicion.
    pub(super) fn salted_copy(&self, id: &BundleId, container: FileNumber) -> [u8; 8] {
        let number = container.0.to_be_bytes();
        first_8(&self.keyed("postrider 2026 parcel copy v1", &[&id.0, &number]))
    }

    /// The check of a file on this volume: against rot and strangers' files, not against forgers,
    /// who can read the id as well as we can.
    pub(super) fn check_of(&self, parts: &[&[u8]]) -> [u8; 8] {
        first_8(&self.keyed("postrider 2026 parcel check v1", parts))
    }

    fn check(&self) -> [u8; 8] {
        self.check_of(&[])
    }

    fn keyed(&self, context: &str, parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&blake3::derive_key(context, &self.0));
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize()
    }
}

/// The first 8 bytes of a hash.
pub(super) fn first_8(hash: &blake3::Hash) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(&hash.as_bytes()[..8]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_round_trips_and_any_damage_is_noticed() {
        let id = VolumeId([7; 16]);
        let marker = id.encode();
        assert_eq!(VolumeId::decode(&marker), Some(id));
        for bit in 0..MARKER_BYTES * 8 {
            let mut flipped = marker;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(VolumeId::decode(&flipped), None, "bit {bit}");
        }
        for cut in 0..MARKER_BYTES {
            assert_eq!(VolumeId::decode(&marker[..cut]), None, "cut at {cut}");
        }
        assert_eq!(VolumeId::decode(&[&marker[..], &[0]].concat()), None);
    }

    #[test]
    fn a_bundle_has_another_name_on_every_volume_and_in_every_container() {
        let (one, other) = (VolumeId([1; 16]), VolumeId([2; 16]));
        let id = BundleId([3; 32]);
        assert_ne!(one.salted(&id), other.salted(&id));
        let names = [
            one.salted(&id),
            one.salted_copy(&id, FileNumber(1)),
            one.salted_copy(&id, FileNumber(2)),
            other.salted_copy(&id, FileNumber(1)),
        ];
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name), "{at}");
        }
    }
}
