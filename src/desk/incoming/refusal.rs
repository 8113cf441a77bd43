//! Why a bundle from outside was not taken.

use std::io;

use postrider_base::{bundle::HeadError, unseal::OpenError};
use postrider_spool::SpoolError;

use crate::desk::{Failure, FailureKind};

/// Why a bundle from outside was not taken.
#[derive(Debug)]
pub(in crate::desk) enum Refusal {
    /// Bytes are not what they were when it was made.
    Damaged(String),
    /// Signed or sealed by somebody who is not who it says.
    Forged(String),
    /// Addressed to us, and we cannot open it.
    Unreadable(String),
    /// Known already.
    Known,
    /// Set aside: this program died when it was opened, and will not try again yet.
    Aside,
    /// Not carried: over a limit, and which.
    NotCarried(&'static str),
    /// Never taken here, and why.
    Unwanted(&'static str),
    /// The reading or writing itself failed.
    Failed(Failure),
}

pub(super) fn head_refusal(error: &HeadError) -> Refusal {
    match error {
        HeadError::Signature => Refusal::Forged(error.to_string()),
        _ => Refusal::Damaged(error.to_string()),
    }
}

pub(super) fn open_refusal(error: OpenError) -> Refusal {
    match error {
        OpenError::Damaged => Refusal::Damaged(error.to_string()),
        OpenError::Binding | OpenError::Author => Refusal::Forged(error.to_string()),
        OpenError::Read(source) => Refusal::Failed(read_failure(source)),
        OpenError::Write(source) => write_refusal(source),
        error => Refusal::Unreadable(error.to_string()),
    }
}

pub(super) fn write_refusal(error: io::Error) -> Refusal {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull => FailureKind::Full,
        _ => FailureKind::Failed,
    };
    Refusal::Failed(
        Failure::new(kind, "could not write into the inbox")
            .next("nothing was lost: it is still where it came from")
            .because(error),
    )
}

pub(super) fn read_failure(error: io::Error) -> Failure {
    Failure::new(FailureKind::Failed, "could not read from the medium")
        .next("nothing was lost: what was taken before is safe; do it again")
        .because(error)
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<SpoolError> for Refusal {
    fn from(error: SpoolError) -> Self {
        Self::Failed(error.into())
    }
}
