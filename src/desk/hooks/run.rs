//! Hooks as they run: a command of the owner's, in the cage of jobs, at most once for each thing that came.
//!
//! ```text
//! HOME/hooks/<hash of the event's key>/     the folder of one run (postrider_exec::contract)
//! ```
//!
//! 1. What it is to run for is a durable note already.
//! 2. The folder is made, durable, and a supervisor started there.
//! 3. Once the folder says how that ended the note is forgotten, and then the folder removed.
//!
//! So whoever stops anywhere finds the note, and the folder says whether the command may have begun: then
//! it is not begun again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use postrider_base::{Niceness, packet::Body};
use postrider_exec::{
    cage::{self, Supervisor},
    contract::{End, Limits, Order, Reach, STDIN_MAX, Standing},
};
use postrider_spool::{DurableSpool, Spool, contract::PAGE_MAX};

use super::{Due, Kind};
use crate::desk::{
    Desk, Failure, FailureKind, Silent, Watch, clock, hex,
    inbox::note_keys,
    jobs,
    laying::{self, is_mail},
    ledger::{remove_note, space},
    local_time,
    own_command::{as_line, ended, last_word},
};

/// What a hook reads at most, in bytes; how long the whole is stands in `POSTRIDER_BYTES`.
const INPUT_MAX: usize = 64 << 10;
/// So long a hook waits for files to be laid where it may want to find them.
const LAID_WITHIN_MS: u64 = 60_000;
/// Those that wait for it beyond which nobody looks for others: they are laid in the same order.
const NOT_LAID_MAX: usize = 64;
/// Notes forgotten in one commit.
const TOGETHER: usize = 256;

/// The hooks of a home.
pub struct Hooks<'a> {
    desk: &'a Desk,
    spool: &'a DurableSpool,
    /// Where the folders are, from the root: supervisors stand elsewhere.
    all: PathBuf,
}

/// How it stands with a hook that was to begin.
pub enum Begun {
    /// There is nothing to run for: the message is no mail, or is gone.
    Nothing,
    /// A supervisor was started.
    Started(Supervisor, PathBuf),
    /// One of before has it.
    Running(PathBuf),
    /// It ended before; nobody took note of it.
    Ended(Standing),
}

/// What became of a hook.
#[derive(Debug, PartialEq, Eq)]
pub enum Became {
    /// It did what it does.
    Done,
    /// It ran and failed, or nobody knows; it is not run again. Why, for a person.
    Failed(String),
    /// It certainly did not begin, and is to be begun later. Why, for a person.
    NotBegun(String),
}

impl Desk {
    /// Opens the hooks: what waits for one that is no longer set is forgotten, and folders are removed that
    /// nobody needs.
    pub fn open_hooks(&self, watch: &dyn Watch) -> Result<Hooks<'_>, Failure> {
        let all = self.home.dir().join("hooks");
        let all = std::path::absolute(&all).map_err(|error| Failure::file("find", &all, error))?;
        let hooks = Hooks { desk: self, spool: self.spool(watch)?, all };
        hooks.tidy()?;
        Ok(hooks)
    }
}

impl Hooks<'_> {
    fn tidy(&self) -> Result<(), Failure> {
        let mut needed = BTreeSet::new();
        let mut gone = Vec::new();
        for key in note_keys(self.spool, space::TO_HOOK)? {
            match Due::of(key.clone()).filter(|due| !self.command(due.kind()).is_empty()) {
                Some(due) => drop(needed.insert(hex(&due.run()))),
                None => gone.push(key),
            }
        }
        self.forget(gone)?;
        let Ok(entries) = fs::read_dir(&self.all) else { return Ok(()) };
        for entry in entries.flatten() {
            let dir = entry.path();
            let is_needed = needed.contains(&*entry.file_name().to_string_lossy());
            if !is_needed && !matches!(cage::look(&dir), Ok(Standing::Running)) {
                clear(&dir)?;
            }
        }
        Ok(())
    }

    fn command(&self, kind: Kind) -> &[String] {
        let hooks = &self.desk.home.config.hooks;
        match kind {
            Kind::Message => &hooks.on_message,
            Kind::Job => &hooks.on_job,
        }
    }

    /// What is to be begun next, but for those.
    pub fn next(&self, but: &BTreeSet<Due>) -> Result<Option<Due>, Failure> {
        let is_quiet = self.is_quiet();
        let held_ms = Spool::held_ms(self.spool, clock::now());
        let (mut after, mut not_laid): (Option<Vec<u8>>, usize) = (None, 0);
        loop {
            let page = self.spool.notes(space::TO_HOOK, &[], after.as_deref(), PAGE_MAX)?;
            after = page.last().cloned();
            if after.is_none() {
                return Ok(None);
            }
            for key in page {
                let Some(due) = Due::of(key.clone()) else {
                    self.forget(vec![key])?;
                    continue;
                };
                if is_quiet && due.may_wait() {
                    return Ok(None);
                }
                if but.contains(&due) {
                    continue;
                }
                if !self.is_to_be_laid(&due, held_ms)? {
                    return Ok(Some(due));
                }
                not_laid += 1;
                if not_laid >= NOT_LAID_MAX {
                    return Ok(None);
                }
            }
        }
    }

    /// Whether these are quiet hours. A clock that cannot be trusted says nothing: then mail is told of.
    fn is_quiet(&self) -> bool {
        let quiet = self.desk.home.config.hooks.quiet_hours().zip(clock::trusted_wall_s());
        quiet.is_some_and(|(quiet, wall_s)| quiet.wait(local_time::minute_of_day(wall_s)) == 0)
    }

    /// Whether its files are about to be laid, where the hook may want to find them.
    fn is_to_be_laid(&self, due: &Due, held_ms: u64) -> Result<bool, Failure> {
        Ok(due.may_wait()
            && self.desk.home.config.inbox
            && held_ms.saturating_sub(due.held_ms()) < LAID_WITHIN_MS
            && laying::is_to_be_laid(self.spool, &due.id(), due.held_ms())?)
    }

    /// Begins a hook, unless it may have begun before.
    pub fn begin(&self, due: &Due) -> Result<Begun, Failure> {
        let dir = self.dir(due);
        if dir.join("order").exists() {
            // A folder that cannot be read says nothing.
            match cage::look(&dir).unwrap_or(Standing::Unknown) {
                Standing::NotStarted => return self.start(dir),
                Standing::Running => return Ok(Begun::Running(dir)),
                ended => return Ok(Begun::Ended(ended)),
            }
        }
        let facts = match due.kind() {
            Kind::Message => self.of_message(due)?,
            Kind::Job => self.of_job(due)?,
        };
        let Some(facts) = facts else { return Ok(Begun::Nothing) };
        self.place(due, &dir, facts)?;
        self.start(dir)
    }

    fn start(&self, dir: PathBuf) -> Result<Begun, Failure> {
        let program = Path::new(jobs::PROGRAM);
        let started = cage::start(&dir, program.as_os_str(), &[jobs::SUPERVISOR.into()]);
        match started {
            Ok(supervisor) => Ok(Begun::Started(supervisor, dir)),
            Err(error) => Err(Failure::file("start", program, error)),
        }
    }

    fn place(&self, due: &Due, dir: &Path, facts: Facts) -> Result<(), Failure> {
        clear(dir)?;
        for path in [&*self.all, dir] {
            // A command under a user of its own must come through to its folder, and see no other.
            match DirBuilder::new().mode(0o711).create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Failure::file("make", path, error));
                }
                _ => {}
            }
        }
        let config = &self.desk.home.config.hooks;
        let mut input = facts.input;
        input.truncate(INPUT_MAX);
        let is_short = u64::try_from(input.len()).is_ok_and(|bytes| bytes <= STDIN_MAX);
        let stdin = if is_short {
            Some(input)
        } else {
            let path = dir.join("stdin");
            let mut options = OpenOptions::new();
            let made = options.write(true).create_new(true).mode(0o600).open(&path);
            made.and_then(|mut file| file.write_all(&input).and_then(|()| file.sync_all()))
                .map_err(|error| Failure::file("write", &path, error))?;
            None
        };
        let order = Order {
            job: due.run(),
            from: facts.from,
            argv: self.command(due.kind()).iter().map(|word| word.clone().into_bytes()).collect(),
            pin: None,
            stdin,
            limits: Limits {
                wall_s: config.timeout,
                cpu_s: config.timeout,
                output_bytes: 64 << 10,
                scratch_bytes: 16 << 20,
                ..Limits::default()
            },
            reach: Reach {
                net: config.net,
                read: config.read.iter().map(PathBuf::from).collect(),
                write: config.write.iter().map(PathBuf::from).collect(),
                user: Some(config.user.clone()).filter(|user| !user.is_empty()),
            },
            best_effort: config.best_effort,
            told: facts.told,
        };
        cage::place(dir, &order).map_err(cage_failure)
    }

    /// Takes note of how a hook ended.
    pub fn settle(&self, due: &Due, standing: &Standing) -> Result<Became, Failure> {
        let dir = self.dir(due);
        let (is_over, became) = match standing {
            Standing::Ended(outcome) => match &outcome.end {
                End::Exited(0) => (true, Became::Done),
                // It certainly never began, and what keeps it from that may change.
                End::NotBegun(why) => {
                    clear(&dir)?;
                    (false, Became::NotBegun(why.clone()))
                }
                end => (true, Became::Failed(format!("{}{}", ended(end), last_word(&dir)))),
            },
            Standing::Unknown => {
                (true, Became::Failed("began, and nobody knows how it ended".into()))
            }
            Standing::Running => return Ok(Became::NotBegun("another has it".into())),
            Standing::NotStarted => {
                let why = fs::read_to_string(dir.join("trouble")).unwrap_or_default();
                (false, Became::NotBegun(as_line(why.as_bytes())))
            }
        };
        if is_over {
            self.drop(due)?;
        }
        Ok(became)
    }

    /// Forgets what a hook was to run for, and then its folder.
    pub fn drop(&self, due: &Due) -> Result<(), Failure> {
        self.forget(vec![due.key.clone()])?;
        // Its supervisor may still be making durable what it has told.
        let _ = cage::wait(&self.dir(due));
        clear(&self.dir(due))
    }

    fn forget(&self, keys: Vec<Vec<u8>>) -> Result<(), Failure> {
        for some in keys.chunks(TOGETHER) {
            let changes = some.iter().map(|key| remove_note(space::TO_HOOK, key)).collect();
            Spool::commit(self.spool, clock::now(), changes)?;
        }
        Ok(())
    }

    /// The folder of its run.
    pub fn dir(&self, due: &Due) -> PathBuf {
        self.all.join(hex(&due.run()))
    }

    /// What a hook is told of a message.
    fn of_message(&self, due: &Due) -> Result<Option<Facts>, Failure> {
        let contacts = self.desk.home.contacts()?;
        let kept = self.desk.kept(self.spool, due.id())?;
        let Some(kept) = kept.filter(|kept| is_mail(self.spool, kept)) else { return Ok(None) };
        let Some(contact) = contacts.of(&kept.author) else { return Ok(None) };
        let (kind, text, files) = match kept.packet.body {
            Body::Mail(text) => ("mail", text, 0),
            Body::Files(all) => {
                let files = all.files.iter().filter(|file| !file.directory).count();
                ("file", all.text.unwrap_or_default(), files)
            }
            _ => return Ok(None),
        };
        let nice = self.spool.note(space::TO_HOOK, &due.key)?;
        let nice = nice.and_then(|nice| Niceness::new(*nice.first()?)).unwrap_or(Niceness::NORMAL);
        let mut facts = Facts::new("message", contact.name.clone(), text.into_bytes());
        facts.tell("MESSAGE_ID", due.id().to_string());
        facts.tell("KIND", kind.into());
        facts.tell("FILES", files.to_string());
        facts.tell("SOS", u8::from(nice <= Niceness::FLASH).to_string());
        facts.tell("URGENT", u8::from(nice <= Niceness::PRIORITY).to_string());
        if self.desk.home.config.inbox {
            let folder = laying::folder_of(&self.desk.home, contact);
            let folder = std::path::absolute(&folder).unwrap_or(folder);
            facts.tell("FOLDER", folder.display().to_string());
        }
        Ok(Some(facts))
    }

    /// What a hook is told of a job's result.
    fn of_job(&self, due: &Due) -> Result<Option<Facts>, Failure> {
        let line = match self.desk.job_line(self.spool, &due.id(), &Silent) {
            // Nothing more will ever be known of it.
            Err(failure) if failure.kind == FailureKind::Damaged => return Ok(None),
            line => line?,
        };
        let output = line.stdout.unwrap_or_default().into_bytes();
        let mut facts = Facts::new("job", line.to, output);
        facts.tell("KIND", "job".into());
        facts.tell("JOB_ID", line.id);
        facts.tell("HANDLE", line.handle);
        facts.tell("STATE", line.how.into_owned());
        facts.tell("EXIT_CODE", line.exit_code.map_or_else(String::new, |code| code.to_string()));
        Ok(Some(facts))
    }
}

/// What a hook is told, and what it reads.
struct Facts {
    from: String,
    told: BTreeMap<String, String>,
    input: Vec<u8>,
}

impl Facts {
    fn new(event: &str, from: String, input: Vec<u8>) -> Self {
        let mut facts = Self { from: from.clone(), told: BTreeMap::new(), input };
        facts.tell("EVENT", event.into());
        facts.tell("FROM", from);
        facts.tell("BYTES", facts.input.len().to_string());
        facts
    }

    fn tell(&mut self, name: &str, value: String) {
        self.told.insert(format!("POSTRIDER_{name}"), value);
    }
}

fn clear(dir: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::file("remove", dir, error))
        }
        _ => Ok(()),
    }
}

fn cage_failure(error: cage::FolderError) -> Failure {
    Failure::new(FailureKind::Failed, "a hook's folder cannot be used").because(error)
}
