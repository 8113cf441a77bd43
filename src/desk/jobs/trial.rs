//! What belongs to a trial, done: the operator's commands for its stages, as they were when the job began.
//!
//! ```text
//! HOME/jobs/<job id>/<attempt>/trial         what is done at which stage
//! HOME/jobs/<job id>/<attempt>.<stage>/      the folder of the last command of a stage
//! ```
//!
//! All but what starts the machine run in the cage, as their job did. One that has ended well is not run again,
//! and one that runs is waited for; only a check is new each time.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use postrider_exec::{
    allow::Trial,
    cage,
    contract::{End, Order, Standing},
    schedule::contract::{Phase, Record, Stage},
};
use postrider_spool::Spool;
use serde::{Deserialize, Serialize};

use super::target::{PROGRAM, SUPERVISOR};
use crate::desk::{
    Desk, Failure, Watch, clock, hex,
    inbox::note_keys,
    ledger::{set_note, space},
    own_command::{as_line, ended, last_word},
    reply::TrialLine,
};

/// In the folder of a run.
const TRIAL: &str = "trial";
/// Longer than any that an entry can lead to.
const TRIAL_BYTES_MAX: u64 = 16 << 20;
/// Whatever starts the machine is not waited for any longer: it may wait for this program.
const RESTART_MAX: Duration = Duration::from_secs(60);
const ROUND: Duration = Duration::from_millis(50);
/// Where what starts the machine is looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Desk {
    /// Counts a start of a daemon that may not come up, for each trial; undoes what was not found well in as many
    /// as it has. The daemon that comes then says so.
    pub fn guard_trials(&self, watch: &dyn Watch) -> Result<Vec<TrialLine>, Failure> {
        let spool = self.spool(watch)?;
        let all = self.home.dir().join("jobs");
        let all = std::path::absolute(&all).map_err(|error| Failure::file("find", &all, error))?;
        let mut lines = Vec::new();
        for key in note_keys(spool, space::JOB)? {
            let note = spool.note(space::JOB, &key)?;
            let Some(mut record) = note.as_deref().and_then(Record::decode) else { continue };
            let Phase::Starting { attempt, .. } = record.phase else { continue };
            let Some(trial) = record.trial.as_mut() else { continue };
            let undoes = trial.guard();
            let stage = trial.stage;
            let mut line = TrialLine {
                id: hex(&key),
                stage: stage.word().into(),
                starts: trial.starts,
                of: trial.terms.starts,
                why: Some(trial.why.clone()).filter(|why| !why.is_empty()),
            };
            if trial.guarded {
                let change = set_note(space::JOB, &key, record.encode());
                Spool::commit(spool, clock::now(), vec![change])?;
            }
            // One that another guard began, too.
            if undoes || stage == Stage::Undo {
                let dir = all.join(hex(&key)).join(attempt.to_string());
                if let Err(why) = do_stage(&dir, Stage::Undo) {
                    line.why = Some(format!("the undo {why}"));
                }
            }
            lines.push(line);
        }
        Ok(lines)
    }
}

#[derive(Serialize, Deserialize)]
struct Plan {
    trial: Trial,
    /// As the job's, but for the command.
    order: Order,
}

/// Makes durable what is done at which stage, but for the name in its folder.
pub(super) fn note(dir: &Path, trial: &Trial, order: &Order) -> Result<(), Failure> {
    let order = Order { argv: Vec::new(), pin: None, stdin: None, ..order.clone() };
    let plan = Plan { trial: trial.clone(), order };
    let path = dir.join(TRIAL);
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(&serde_json::to_vec(&plan).map_err(io::Error::other)?)?;
        file.sync_all()
    };
    write().map_err(|error| Failure::file("write", &path, error))
}

/// Does what belongs to a stage, whatever was done of it before; blocks for as long as that takes. Else what it
/// did, as "ended with 1".
pub fn do_stage(dir: &Path, stage: Stage) -> Result<(), String> {
    let plan = read(dir).map_err(|error| format!("is not known any more: {error}"))?;
    let Trial { arm, restart, check, keep, undo, .. } = plan.trial;
    match stage {
        Stage::Arm => in_cage(dir, stage, arm, plan.order),
        Stage::Check => in_cage(dir, stage, check, plan.order),
        Stage::Keep => in_cage(dir, stage, keep, plan.order),
        Stage::Undo => in_cage(dir, stage, undo, plan.order),
        Stage::Restart | Stage::Back => free(&restart),
        Stage::Command | Stage::Kept | Stage::Undone => Ok(()),
    }
}

/// Removes the folders of its stages.
pub(super) fn clear(dir: &Path) -> io::Result<()> {
    for stage in [Stage::Arm, Stage::Check, Stage::Keep, Stage::Undo] {
        match fs::remove_dir_all(of(dir, stage)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn read(dir: &Path) -> Result<Plan, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = fs::File::open(dir.join(TRIAL)).map_err(|error| error.to_string())?;
    file.take(TRIAL_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

fn of(dir: &Path, stage: Stage) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(stage.word());
    dir.with_file_name(name)
}

fn in_cage(dir: &Path, stage: Stage, argv: Vec<String>, order: Order) -> Result<(), String> {
    if argv.is_empty() {
        return Ok(());
    }
    let at = of(dir, stage);
    let standing = match cage::look(&at) {
        Ok(Standing::Running) => cage::wait(&at).unwrap_or(Standing::Unknown),
        Ok(standing) if stage != Stage::Check => standing,
        // There is none, or a check of before.
        _ => Standing::NotStarted,
    };
    if let Standing::Ended(outcome) = &standing
        && outcome.end == End::Exited(0)
    {
        return Ok(());
    }
    let told = [
        ("POSTRIDER_TRIAL", stage.word().to_owned()),
        ("POSTRIDER_JOB_ID", hex(&order.job)),
        ("POSTRIDER_JOB_FROM", order.from.clone()),
    ];
    let order = Order {
        argv: argv.into_iter().map(String::into_bytes).collect(),
        told: told.map(|(name, value)| (name.to_owned(), value)).into(),
        ..order
    };
    let in_words = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    match fs::remove_dir_all(&at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(in_words("cannot have a folder", &error));
        }
        _ => {}
    }
    cage::place(&at, &order).map_err(|error| in_words("cannot have a folder", &error))?;
    let started = cage::start(&at, PROGRAM.as_ref(), &[SUPERVISOR.into()]);
    let mut supervisor = started.map_err(|error| in_words("cannot be started", &error))?;
    let standing = supervisor.wait(&at);
    // The folder is in use until it has ended.
    drop(supervisor);
    match standing.map_err(|error| in_words("cannot be seen", &error))? {
        Standing::Ended(outcome) if outcome.end == End::Exited(0) => Ok(()),
        Standing::Ended(outcome) => Err(format!("{}{}", ended(&outcome.end), last_word(&at))),
        Standing::NotStarted => {
            let why = fs::read(at.join("trouble")).unwrap_or_default();
            Err(format!("did not begin: {}", as_line(&why)))
        }
        Standing::Running | Standing::Unknown => {
            Err("was begun, and nobody knows how it ended".into())
        }
    }
}

/// Runs what starts the machine, or this program, as nothing in a cage could.
fn free(argv: &[String]) -> Result<(), String> {
    let Some((program, rest)) = argv.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(rest).env_clear().env("PATH", PATH).current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("could not be run: {error}"))?;
    let since = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("failed: {status}")),
            Err(error) => return Err(format!("cannot be waited for: {error}")),
            Ok(None) if since.elapsed() > RESTART_MAX => return Ok(()),
            Ok(None) => thread::sleep(ROUND),
        }
    }
}
