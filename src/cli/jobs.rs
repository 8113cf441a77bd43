//! The two processes of a job: not verbs, but what a daemon starts of this very program.
//!
//! They are looked for before the grammar is: a supervisor must be there at once, and a cell must have no
//! thread and nothing open.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
};

use postrider_exec::cage::{confine, supervise};

/// The supervisor of one job, with its folder as argument; without, it is told one later.
const SUPERVISOR: &str = "job-supervisor";
/// What becomes the command of a job.
const CELL: &str = "job-cell";

/// Runs such a process; `None` where these arguments are for a person's command.
pub(super) fn run(args: &[OsString]) -> Option<ExitCode> {
    let (verb, dir) = match args {
        [_, verb] => (verb, None),
        [_, verb, dir] => (verb, Some(dir)),
        _ => return None,
    };
    let done = if verb == SUPERVISOR {
        supervise(dir.map(Path::new), cell()).map_err(|error| error.to_string())
    } else if verb == CELL {
        confine().map_err(|error| error.to_string())
    } else {
        return None;
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            super::eprint_line(&why);
            ExitCode::FAILURE
        }
    })
}

/// This very program, even if another has taken its name since.
fn cell() -> Command {
    let mut cell = Command::new("/proc/self/exe");
    cell.arg0("postrider").arg(CELL);
    cell
}
