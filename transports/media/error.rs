//! What goes wrong with a medium, in the words of somebody who holds it in the hand.

use std::io;

use rustix::io::Errno;
use thiserror::Error;

/// Why a medium refused. Travels inside [`io::Error`], because the file-layer contract speaks that;
/// [`MediumError::of`] takes it out again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MediumError {
    /// The path is not made of names that we write. A fault of the caller, never of the medium.
    #[error("{path:?} is not a name of ours")]
    BadName {
        /// What was asked for.
        path: String,
    },
    /// Under a name of ours lies a link, fifo, socket, device, or a directory instead of a file.
    #[error("{name} on the medium is neither a plain file nor a folder of ours")]
    NotPlain {
        /// The name, relative to our folder.
        name: String,
    },
    /// Write-protected, or mounted read-only (some systems do that after an error).
    #[error("the medium is read-only")]
    ReadOnly,
    /// No room, and the file system's own figures agree.
    #[error("the medium is full")]
    Full,
    /// "No room", but the figures show room: a stick that was pulled out answers like that, and so
    /// does the root folder of a small FAT, which holds 512 entries.
    #[error("the medium is full, or was pulled out")]
    FullOrPulled,
    /// The device behind the medium has gone.
    #[error("the medium was pulled out")]
    Pulled,
    /// A read or write failed and the device, as far as one can see, is still there.
    #[error("the medium is damaged, or was pulled out")]
    Broken,
    /// The file system cannot hold a file of this length.
    #[error("the medium cannot hold a file this large")]
    FileTooLarge,
    /// Anything else, as the system said it.
    #[error("{0}")]
    Other(#[source] io::Error),
}

impl MediumError {
    /// The medium's own words inside an error of the file layer, if it came from a medium.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::BadName { .. } => io::ErrorKind::InvalidInput,
            Self::NotPlain { .. } => io::ErrorKind::InvalidData,
            Self::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
            Self::Full | Self::FullOrPulled => io::ErrorKind::StorageFull,
            Self::Pulled => io::ErrorKind::NotConnected,
            Self::Broken => io::ErrorKind::Other,
            Self::FileTooLarge => io::ErrorKind::FileTooLarge,
            Self::Other(error) => error.kind(),
        }
    }
}

impl From<MediumError> for io::Error {
    fn from(error: MediumError) -> Self {
        match error {
            // Callers of the file layer match on `NotFound` and `AlreadyExists`: leave those as
            // the system made them.
            MediumError::Other(error) => error,
            told => io::Error::new(told.kind(), told),
        }
    }
}

/// What is known about the device and its room at the moment of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    /// The block device behind the medium no longer exists.
    pub(super) device_gone: bool,
    /// Free bytes and whether another file can be made; `None` when the file system gave no answer.
    pub(super) room: Option<Room>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Figures that agree with "no space left".
    None,
    /// Figures that do not.
    Some,
}

/// Reads an error number in the light of the evidence.
///
/// A pulled stick answers ENOSPC to creating a file and EIO or ENODEV to the rest, and may be
/// turned read-only by its own driver: so the device's absence is asked before the number is
/// believed.
pub(super) fn explain(errno: Errno, evidence: impl FnOnce() -> Evidence) -> MediumError {
    let suspicious = [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::ROFS,
        Errno::IO,
        Errno::NODEV,
        Errno::NXIO,
        Errno::SHUTDOWN,
        Errno::NOTCONN,
        Errno::STALE,
        Errno::REMOTEIO,
    ];
    if errno == Errno::FBIG || errno == Errno::OVERFLOW {
        return MediumError::FileTooLarge;
    }
    if !suspicious.contains(&errno) {
        return MediumError::Other(errno.into());
    }
    let evidence = evidence();
    if evidence.device_gone {
        return MediumError::Pulled;
    }
    match errno {
        Errno::ROFS => MediumError::ReadOnly,
        Errno::DQUOT => MediumError::Full,
        Errno::NOSPC if evidence.room == Some(Room::None) => MediumError::Full,
        Errno::NOSPC => MediumError::FullOrPulled,
        _ => MediumError::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_number_is_read_in_the_light_of_the_evidence() {
        let gone = Evidence { device_gone: true, room: Some(Room::Some) };
        let full = Evidence { device_gone: false, room: Some(Room::None) };
        let roomy = Evidence { device_gone: false, room: Some(Room::Some) };
        let mute = Evidence { device_gone: false, room: None };
        let cases = [
            (Errno::NOSPC, gone, "the medium was pulled out"),
            (Errno::ROFS, gone, "the medium was pulled out"),
            (Errno::IO, gone, "the medium was pulled out"),
            (Errno::NOSPC, full, "the medium is full"),
            (Errno::DQUOT, roomy, "the medium is full"),
            (Errno::NOSPC, roomy, "the medium is full, or was pulled out"),
            (Errno::NOSPC, mute, "the medium is full, or was pulled out"),
            (Errno::ROFS, roomy, "the medium is read-only"),
            (Errno::IO, roomy, "the medium is damaged, or was pulled out"),
            (Errno::NODEV, mute, "the medium is damaged, or was pulled out"),
            (Errno::FBIG, roomy, "the medium cannot hold a file this large"),
        ];
        for (errno, evidence, said) in cases {
            assert_eq!(explain(errno, || evidence).to_string(), said, "{errno:?} {evidence:?}");
        }
    }

    #[test]
    fn the_words_survive_the_way_through_an_io_error() {
        let error: io::Error = MediumError::FullOrPulled.into();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(matches!(MediumError::of(&error), Some(MediumError::FullOrPulled)));

        let plain: io::Error = explain(Errno::NOENT, || unreachable!("no evidence asked")).into();
        assert_eq!(plain.kind(), io::ErrorKind::NotFound);
        assert!(MediumError::of(&plain).is_none());
    }
}
