//! Verbs whose names and meanings are settled and which do not exist yet.
//!
//! They are not in the help. A script that uses one learns why it does nothing, and exits as it will
//! when there is a daemon to ask and it does not run.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use super::Ended;
use crate::desk::{Failure, FailureKind};

#[derive(Debug, Subcommand)]
pub(super) enum Reserved {
    #[command(hide = true)]
    Group(Anything),
    #[command(hide = true)]
    Board(Anything),
    #[command(hide = true)]
    Checkin(Anything),
}

/// Arguments whose grammar is not there yet.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<OsString>,
}

impl Reserved {
    pub(super) fn run(self) -> Ended {
        let (name, kind) = match self {
            Self::Group(_) => ("group", FailureKind::Failed),
            Self::Board(_) => ("board", FailureKind::Failed),
            Self::Checkin(_) => ("checkin", FailureKind::Failed),
        };
        Err(Failure::new(kind, format!("{name} is not in this version yet"))
            .next("nothing was changed; postrider --help lists what there is")
            .into())
    }
}
