//! What a running daemon answers: every verb of the [desk](crate::desk) over HTTP and JSON, on a
//! Unix socket that only its owner can use.
//!
//! - `verb`, `verbs`, `files`, `fleets`, `audit`: every verb as a request that knows how to run; [`rows`] lists them. The command
//!   line runs the same requests, at a desk of its own or through [`Client`];
//! - `live`, `outlook`: verbs that a running node answers, or answers better; when a bundle may arrive;
//! - `wire`: replies as lines of JSON, there and back;
//! - `server`, `route`, `body`: the socket, its limits, and what becomes of a request;
//! - `client`: the other end, blocking;
//! - `talk`: threads, search and drafts;
//! - `jobs`: what a request to run something says;
//! - `events`, `metrics`, `openapi`: what happens, figures, and the description of all this.
//!
//! docs/operations.md is written for those who use it.

mod audit;
mod bluetooth;
mod body;
mod client;
mod events;
mod files;
mod fleets;
mod jobs;
mod live;
mod metrics;
mod openapi;
mod outlook;
mod ports;
mod route;
mod server;
mod talk;
mod verb;
mod verbs;
mod wire;

use std::path::{Path, PathBuf};

pub use audit::{AuditLs, AuditVerify};
pub use client::{Client, Events};
pub use files::{Get, GetLs, GetSave, GetState, ShareLs, ShareRm, ShareSet};
pub use fleets::{
    FleetCancel, FleetJobs, FleetLs, FleetRelease, FleetShow, FleetTargets, RunFleet,
};
pub use openapi::document;
pub(crate) use server::bind_metrics;
pub use server::{Server, serve_metrics};
pub use talk::{
    DraftLs, DraftRm, DraftSend, DraftShow, DraftWrite, InboxArriving, MessageShow, Search,
    ThreadOf,
};
pub use verb::{At, Field, Row, Verb};
pub use verbs::{
    Add, AlarmClear, AllowLs, AllowRm, AllowSet, AllowTest, BundleImport, BundleLs, BundleShow,
    BundleVerify, Call, ContactChangeVerb, ContactLs, ContactShow, DaemonShow, Doctor, Down, Id,
    InboxLs, InboxRead, InboxSave, Introduce, JobApprove, JobAsk, JobCancel, JobGuard, JobLog,
    JobLs, JobProposal, JobProposals, JobRelease, JobRerun, JobShow, LinkAdd, LinkLs, LinkRm,
    LinkTest, Log, MessageCard, PeersLs, Ping, QueueBump, QueueCancel, QueueLs, QueueShow,
    RosterEdit, RosterExport, RosterFollow, RosterLeave, RosterLs, RosterNew, RosterSend,
    RosterShow, RosterTake, Run, SendBatch, SendOne, SendState, SpoolCheck, SpoolGc, SpoolRebuild,
    SpoolStats, StatusVerb, TossVerb, Trace, Why,
};
pub(crate) use verbs::{bundle_id, from_hex};
pub use wire::{Object, Outcomes, Reply};

use crate::desk::{Failure, FailureKind};

/// The longest path of a socket: 108 bytes with the zero behind it (Linux, `sun_path`).
const SOCKET_PATH_MAX: usize = 107;

/// Every verb.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    let more = talk::TABLE.iter().chain(fleets::TABLE).chain(audit::TABLE);
    verbs::TABLE.iter().chain(files::TABLE).chain(more)
}

/// Where the socket of a home is: in it, or where its path would be too long, under
/// `XDG_RUNTIME_DIR`.
pub fn socket_path(home: &Path) -> Result<PathBuf, Failure> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    place(home, runtime.as_deref())
}

fn place(home: &Path, runtime: Option<&Path>) -> Result<PathBuf, Failure> {
    let path = home.join("socket");
    if path.as_os_str().len() <= SOCKET_PATH_MAX {
        return Ok(path);
    }
    let whole = home.canonicalize().unwrap_or_else(|_| home.to_owned());
    let name = blake3::hash(whole.as_os_str().as_encoded_bytes()).to_hex();
    runtime
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(format!("postrider-{}.socket", name.get(..16).unwrap_or_default())))
        .filter(|path| path.as_os_str().len() <= SOCKET_PATH_MAX)
        .ok_or_else(|| {
            Failure::new(
                FailureKind::Usage,
                format!(
                    "the path of the home has {} bytes, too many for a socket in it",
                    home.as_os_str().len()
                ),
            )
            .next(
                "set XDG_RUNTIME_DIR, or choose a shorter path: --home DIR; without a daemon the \
                 home can be used as it is",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_lies_in_its_home_unless_the_path_would_be_too_long() {
        let short = Path::new("/home/alice/.local/share/postrider");
        assert_eq!(place(short, None).unwrap(), short.join("socket"));
        let long = PathBuf::from(format!("/{}", "x".repeat(120)));
        let runtime = Path::new("/run/user/1000");
        let path = place(&long, Some(runtime)).unwrap();
        assert!(path.starts_with(runtime) && path.as_os_str().len() <= SOCKET_PATH_MAX);
        assert_ne!(path, place(&long.join("y"), Some(runtime)).unwrap());
        for useless in [None, Some(Path::new("relative")), Some(&*long)] {
            assert_eq!(place(&long, useless).unwrap_err().kind, FailureKind::Usage);
        }
    }
}
