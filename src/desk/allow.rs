//! `allow`: which commands others may have run here, and what would become of a request.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use postrider_base::packet::Handle;
use postrider_exec::{
    allow::{
        Asked, Attached, Entry, EntryError, Here, LimitsSaid, RERUNS, Template, Trial, Verdict,
        judge, shown,
    },
    contract::Reach,
};

use super::{
    Desk, Failure, FailureKind, clock, hex,
    reply::{AllowLine, AllowVerdict},
};
use crate::home::{Acl, Right};

/// Whoever else may write a file.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// What to allow.
#[derive(Clone, Debug, Default)]
pub struct AllowRequest {
    /// By which handle.
    pub handle: String,
    /// The command, with its slots.
    pub argv: Vec<String>,
    /// Who may; those of `[acl] run` by default.
    pub who: Option<Vec<String>>,
    /// How many others must agree.
    pub approvals: u8,
    /// Who may agree; those who may have it run by default.
    pub approvers: Option<Vec<String>>,
    /// Whether it may be run again when nobody can say how it ended.
    pub idempotent: bool,
    /// Seconds from its start to its end.
    pub timeout_s: Option<u32>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Whether it has a network.
    pub net: bool,
    /// What it may read beyond the system.
    pub read: Vec<PathBuf>,
    /// What it may write beyond its own folder.
    pub write: Vec<PathBuf>,
    /// Whose name it runs under.
    pub user: Option<String>,
    /// Of the commands of one group one runs at a time.
    pub group: Option<String>,
    /// Whether only the program as it is now is run.
    pub pin: bool,
    /// Whether it is run where not every bound can be enforced.
    pub best_effort: bool,
    /// When in the day it may begin.
    pub window: Option<String>,
    /// Bytes of standard input that it takes.
    pub stdin: Option<u64>,
    /// Bytes of attachments that it takes.
    pub files: Option<u64>,
    /// What it changes is on trial.
    pub trial: Option<Trial>,
}

/// A request that nobody has made.
#[derive(Clone, Debug, Default)]
pub struct AllowTestRequest {
    /// The handle.
    pub handle: String,
    /// What fills the slots.
    pub args: Vec<String>,
    /// On whose behalf; without anybody it is not asked who may.
    pub who: Option<String>,
    /// As which names attachments come along.
    pub files: Vec<String>,
    /// Bytes of standard input that come along.
    pub stdin: Option<u64>,
}

impl Desk {
    /// Everything that others may have run.
    pub fn allowed(&self) -> Result<Vec<AllowLine>, Failure> {
        let list = self.home.allow_list()?;
        Ok(list.0.iter().map(|(handle, entry)| self.allow_line(handle, entry)).collect())
    }

    /// Allows a command; what its handle stood for before is forgotten.
    pub fn allow(&self, request: &AllowRequest) -> Result<AllowLine, Failure> {
        let handle = handle(&request.handle)?;
        let entry = request.entry().map_err(|error| {
            Failure::new(FailureKind::Usage, error.to_string())
                .next("nothing was changed; postrider allow set --help, and docs/jobs.md")
        })?;
        let pin = if request.pin { Some(hash_of(entry.command.program())?) } else { None };
        let entry = Entry { pin, ..entry };
        let before = self.home.edit_allow_list(&handle, Some(&entry))?;
        let done = match before {
            None => "new",
            Some(before) if before == entry => "same",
            Some(_) => "changed",
        };
        Ok(AllowLine { done: Some(done.into()), ..self.allow_line(&handle, &entry) })
    }

    /// Allows a command no more; it is returned as it was.
    pub fn disallow(&self, name: &str) -> Result<AllowLine, Failure> {
        let handle = handle(name)?;
        let entry = self.home.edit_allow_list(&handle, None)?.ok_or_else(|| no_such(name))?;
        let line = self.allow_line(&handle, &entry);
        Ok(AllowLine { done: Some("removed".into()), warnings: Vec::new(), ..line })
    }

    /// What would become of a request; nothing is run.
    pub fn test_allowed(&self, request: &AllowTestRequest) -> Result<AllowVerdict, Failure> {
        let handle = handle(&request.handle)?;
        let list = self.home.allow_list()?;
        let contacts = self.home.contacts()?;
        let who = match &request.who {
            Some(who) => Some(contacts.resolve(who)?),
            None => None,
        };
        let today = clock::today();
        let may = |words: Option<&[String]>| {
            let Some(who) = who.map(|who| &who.card.node) else { return true };
            // Nothing of theirs is even taken in.
            if contacts.rosters().revoked_by(who).is_some() {
                return false;
            }
            match words {
                Some(words) => Acl::means(words, &contacts, Some(who), today),
                None => self.home.config.acl.may(&contacts, Some(who), Right::Run, today),
            }
        };
        let contact = |name: &str| {
            let contact = contacts.resolve(name).ok()?;
            contacts.is_chosen(&contact.card.node).then(|| contact.card.node.to_string())
        };
        let args: Vec<Vec<u8>> = request.args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let attached = request.files.iter().map(|name| Attached { name: name.clone(), bytes: 0 });
        let files: Vec<Attached> = attached.collect();
        let asked =
            Asked { handle: &handle, args: &args, stdin_bytes: request.stdin, files: &files };
        let verdict = AllowVerdict {
            handle: handle.to_string(),
            r#as: who.map(|who| who.name.clone()),
            ..AllowVerdict::default()
        };
        match judge(&list, &asked, &Here { may: &may, contact: &contact }) {
            Verdict::Run(rendered) => {
                let text = |word: &Vec<u8>| String::from_utf8_lossy(word).into_owned();
                let entry = rendered.entry;
                Ok(AllowVerdict {
                    verdict: "run".into(),
                    argv: rendered.argv.iter().map(text).collect(),
                    shown: rendered.argv.iter().map(|word| shown(word)).collect(),
                    approvals: entry.approvals,
                    window: entry.window.map(|window| window.to_string()),
                    warnings: self.warnings(entry),
                    ..verdict
                })
            }
            Verdict::Refused(refusal) => {
                Ok(AllowVerdict { verdict: "refused".into(), why: Some(refusal.why()), ..verdict })
            }
            Verdict::NoSuchHandle => Err(no_such(&request.handle)),
        }
    }

    fn allow_line(&self, handle: &Handle, entry: &Entry) -> AllowLine {
        let limits = entry.limits();
        let paths = |paths: &[PathBuf]| paths.iter().map(|it| it.display().to_string()).collect();
        AllowLine {
            handle: handle.to_string(),
            argv: entry.command.source().to_vec(),
            usage: entry.command.usage(),
            r#for: entry.who.clone(),
            approvals: entry.approvals,
            approvers: entry.approvers.clone(),
            timeout_s: limits.wall_s,
            cpu_s: limits.cpu_s,
            memory: limits.memory_bytes,
            processes: limits.processes,
            output: limits.output_bytes,
            scratch: limits.scratch_bytes,
            net: entry.reach.net,
            read: paths(&entry.reach.read),
            write: paths(&entry.reach.write),
            user: entry.reach.user.clone(),
            reruns: entry.reruns,
            group: entry.group.as_ref().map(ToString::to_string),
            pin: entry.pin.map(|pin| hex(&pin)),
            best_effort: entry.best_effort,
            window: entry.window.map(|window| window.to_string()),
            stdin: entry.stdin,
            files: entry.files,
            trial: entry.trial.clone(),
            done: None,
            warnings: self.warnings(entry),
        }
    }

    /// What an operator may not have meant. Nothing of it is refused: the program may come with the
    /// next update, and people with the next card.
    fn warnings(&self, entry: &Entry) -> Vec<String> {
        let program = entry.command.program();
        let about_program = match std::fs::metadata(program) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some(format!("{program} is not there"))
            }
            Err(error) => Some(format!("{program} cannot be looked at: {error}")),
            Ok(file) if !file.is_file() => Some(format!("{program} is no file")),
            Ok(file) if file.permissions().mode() & 0o111 == 0 => {
                Some(format!("{program} cannot be run: chmod +x {program}"))
            }
            Ok(file) if file.permissions().mode() & WRITABLE_BY_OTHERS != 0 => {
                Some(format!("others can change {program}: chmod go-w {program}"))
            }
            Ok(_) => None,
        };
        let nobody = |words: &[String]| words.is_empty();
        let about_people = match entry.who.as_deref() {
            None if nobody(&self.home.config.acl.run) => {
                Some("nobody may have it run: say who with --for, or in [acl] run".to_owned())
            }
            Some(words) if nobody(words) => {
                Some("nobody may have it run: say who with --for".to_owned())
            }
            Some(words) if words.iter().any(|word| word == "*") => {
                Some("anybody at all may have it run".to_owned())
            }
            _ => None,
        };
        about_program.into_iter().chain(about_people).collect()
    }
}

impl AllowRequest {
    fn entry(&self) -> Result<Entry, EntryError> {
        let limits = LimitsSaid {
            wall_s: self.timeout_s,
            memory_bytes: self.memory,
            ..LimitsSaid::default()
        };
        let reach = Reach {
            net: self.net,
            read: self.read.clone(),
            write: self.write.clone(),
            user: self.user.clone(),
        };
        let entry = Entry {
            who: self.who.clone(),
            approvals: self.approvals,
            approvers: self.approvers.clone(),
            limits,
            reach,
            reruns: if self.idempotent { RERUNS } else { 0 },
            group: self.group.as_deref().map(str::parse).transpose()?,
            best_effort: self.best_effort,
            window: self.window.as_deref().map(str::parse).transpose()?,
            stdin: self.stdin,
            files: self.files,
            trial: self.trial.clone(),
            ..Entry::new(Template::parse(&self.argv)?)
        };
        entry.check()?;
        Ok(entry)
    }
}

fn handle(text: &str) -> Result<Handle, Failure> {
    text.parse().map_err(|_| {
        Failure::new(FailureKind::Usage, EntryError::Handle.to_string()).next("nothing was changed")
    })
}

fn no_such(handle: &str) -> Failure {
    Failure::new(FailureKind::Unknown, format!("nothing here is called {handle}"))
        .next("nothing was changed; see what is: postrider allow ls")
}

/// BLAKE3 of a program.
fn hash_of(program: &str) -> Result<[u8; 32], Failure> {
    let failed = |error| {
        Failure::file("read", Path::new(program), error)
            .next("nothing was changed; without --pin the program need not be there yet")
    };
    let mut file = File::open(program).map_err(failed)?;
    // A device or a pipe may never end.
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Failure::new(FailureKind::Usage, format!("{program} is no file"))
            .next("nothing was changed; only a program can be pinned"));
    }
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece).map_err(failed)? {
            0 => return Ok(*hasher.finalize().as_bytes()),
            n => hasher.update(&piece[..n]),
        };
    }
}
