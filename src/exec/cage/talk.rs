//! What supervisor and cell say to each other, over a socket that the command never has; and what a supervisor
//! says to whoever started it.
//!
//! ```text
//! supervisor -> cell   Nest, at its birth; then there may be no job for a long time
//! supervisor -> cell   Plan
//! cell -> supervisor   Ready: confined, with what was enforced; or Refused, and the cell ends
//! supervisor -> cell   Go, once `started` is durable
//! cell -> supervisor   Refused: the program could not be run; or how it ended, where the cell stays;
//!                      then Alone, if it is: it ends when the socket does
//! supervisor -> daemon its outcome, where that holds all of the output, before that is durable; on its standard
//!                      output, which it closes when it is
//! ```
//!
//! The socket closes when the command begins in the cell's place. Whoever reads its end knows that the
//! other is gone: a cell without a supervisor never becomes a command.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    path::PathBuf,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{folder::encode, program::Seen};
use crate::contract::Order;

/// More than an order can have.
const BYTES_MAX: u32 = 64 << 20;

/// What a cell does whatever its job will be.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Nest {
    /// Born as the first process of a namespace: the cell stays, and the command is its child.
    pub(super) first: bool,
    /// In a namespace of users where it may do what only root may elsewhere.
    pub(super) own_users: bool,
    /// Whatever its job will be, it has no network: that is left at once, since it takes long.
    pub(super) alone: bool,
    /// Where its job's folder will be, if its root can be built before that is there.
    pub(super) under: Option<PathBuf>,
    /// How it is to stand when it has a job, where it stood aside before.
    pub(super) stood: Option<i32>,
    /// Files of control groups, to write oneself into.
    pub(super) join: Vec<PathBuf>,
    /// One more, on which nothing depends but who gives way to whom.
    pub(super) share: Option<PathBuf>,
}

/// All that a cell has to know of its job.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) dir: PathBuf,
    pub(super) order: Order,
    /// The program as the supervisor found it.
    pub(super) program: Seen,
    /// Whom to become.
    pub(super) become_user: Option<User>,
    /// Files of further control groups.
    pub(super) join: Vec<PathBuf>,
    /// By which control group memory is bounded, and processes.
    pub(super) memory_by: Option<String>,
    pub(super) processes_by: Option<String>,
    /// How many processes the limit of the kernel counts that are not the command's.
    pub(super) others: u32,
}

/// Whom the command runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// One that nobody else has.
    pub(super) own: bool,
}

/// What a cell says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// Confined.
    Ready(BTreeMap<String, String>),
    /// There will be no command, and why.
    Refused(String, BTreeMap<String, String>),
    /// The command ended by itself, with a status.
    Exited(u8),
    /// The command ended by a signal.
    Signalled(u8),
    /// Nothing is left of it but the cell: whoever waits for its end need not wait for the cell's, which takes
    /// the kernel longer than most commands need.
    Alone,
}

pub(super) fn say<T: Serialize>(to: &mut impl Write, value: &T) -> io::Result<()> {
    let bytes = encode(value);
    let len = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut all = len.to_be_bytes().to_vec();
    all.extend(bytes);
    to.write_all(&all)?;
    to.flush()
}

/// The next value; `None` when the other is gone.
pub(super) fn hear<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut len = [0; 4];
    match from.read_exact(&mut len) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let len = u32::from_be_bytes(len);
    if len > BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Of a process of our own, and for a moment: no reason to grow it step by step.
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::InvalidData)?];
    from.read_exact(&mut bytes)?;
    serde_cbor::from_slice(&bytes).map(Some).map_err(|_| io::ErrorKind::InvalidData.into())
}
