//! How a supervisor is started, and how it brings its cell into being.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, Permissions},
    io::{self, BufRead, Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, PermissionsExt, chown},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Signal, WaitOptions, getegid, geteuid, kill_process, waitpid},
    thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities},
};

use super::{
    folder::{FolderError, GIVEN, WORK, look, order},
    groups::Groups,
    program::Seen,
    talk::{Nest, Plan, User, hear, say},
};
use crate::contract::{Order, Outcome, Standing};

/// Users from here on belong to nobody: above what container managers give out, below what systems
/// misread as a negative number.
const OWN_FROM: u32 = 1_879_048_192;
const OWN_COUNT: u32 = 1 << 27;

/// A supervisor that this process started.
///
/// It does not end with this value: it outlives whoever started it. But it must be waited for by somebody
/// who lives as long, or it stays as an entry in the table of processes.
#[derive(Debug)]
pub struct Supervisor {
    child: Child,
    /// Says how the command ended, if that is short; closed once that is durable, and with its end at the
    /// latest.
    says: Option<ChildStdout>,
    waited: bool,
}

impl Supervisor {
    fn new(mut child: Child) -> Self {
        let says = child.stdout.take();
        Self { child, says, waited: false }
    }

    /// Waits until it knows how the command ended.
    ///
    /// Where the outcome holds all of the output it becomes durable in the folder when this value is gone, or
    /// a second later: whoever makes durable elsewhere what follows from it does that first. The folder is in
    /// use until [`super::wait`] returns. Else the folder says it, and [`Standing::NotStarted`] means that
    /// it could do nothing, for reasons in `trouble`.
    pub fn wait(&mut self, dir: &Path) -> Result<Standing, FolderError> {
        if !self.waited
            && let Some(says) = &mut self.says
        {
            self.waited = true;
            if let Ok(Some(outcome)) = hear::<Outcome>(says) {
                return Ok(Standing::Ended(Box::new(outcome)));
            }
        } else {
            self.says = None;
            // Not ours to wait for any more: then it has ended.
            let _ = self.child.wait();
        }
        look(dir)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.waited {
            self.says = None;
            let _ = self.child.wait();
        } else {
            let _ = self.child.try_wait();
        }
    }
}

/// Starts the supervisor of a job's folder: `program`, with `arguments` and then the folder. Returns at
/// once; nothing of this process's environment, streams or session is handed on.
pub fn start(dir: &Path, program: &OsStr, arguments: &[OsString]) -> io::Result<Supervisor> {
    let child = supervisor(program, arguments).arg(dir).stdin(Stdio::null()).spawn()?;
    Ok(Supervisor::new(child))
}

fn supervisor(program: &OsStr, arguments: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// A supervisor that was started before there is a job for it, with its cell: what takes the most time is
/// done by then. It ends when this value does, or when this process does.
#[derive(Debug)]
pub struct Ahead {
    child: Option<Child>,
    tell: Option<ChildStdin>,
}

impl Ahead {
    /// Starts one, as [`start`] does, but without a folder; the job's will be in `under`, which is there.
    pub fn start(program: &OsStr, arguments: &[OsString], under: &Path) -> io::Result<Self> {
        let mut child = supervisor(program, arguments).stdin(Stdio::piped()).spawn()?;
        let mut ahead = Self { tell: child.stdin.take(), child: Some(child) };
        ahead.say(under)?;
        Ok(ahead)
    }

    fn say(&mut self, path: &Path) -> io::Result<()> {
        let tell = self.tell.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        tell.write_all(&[path.as_os_str().as_bytes(), &[TOLD]].concat())
    }

    /// Gives it the folder of a job: it does what comes before a beginning, and waits for [`begin`]. Until
    /// then it ends with this value, and nothing was begun.
    ///
    /// An error where the job is to have a network, which its cell has left.
    ///
    /// [`begin`]: Self::begin
    pub fn prepare(&mut self, dir: &Path) -> io::Result<()> {
        if order(dir).is_ok_and(|order| order.reach.net) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.say(dir)
    }

    /// Lets it begin. Where that fails it runs nothing, and another may be started.
    pub fn begin(mut self) -> io::Result<Supervisor> {
        let (tell, child) = (self.tell.take(), self.child.take());
        let (mut tell, child) = tell.zip(child).ok_or(io::ErrorKind::BrokenPipe)?;
        let supervisor = Supervisor::new(child);
        tell.write_all(&[BEGIN])?;
        Ok(supervisor)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.tell = None;
        if let Some(mut child) = self.child.take() {
            // It has nothing to do but to end.
            let _ = child.wait();
        }
    }
}

/// Ends the name of a folder: one that is cut off is none.
const TOLD: u8 = 0;
/// What comes after it, when the job may begin.
const BEGIN: u8 = 1;
/// Longer than any path that the kernel takes.
const NAME_MAX: u64 = 8192;

/// A folder that a supervisor which was started ahead is told: where its job's will be, then that; nothing if
/// there will be none.
pub(super) fn told(from: &mut impl BufRead) -> io::Result<Option<PathBuf>> {
    let mut name = Vec::new();
    from.by_ref().take(NAME_MAX).read_until(TOLD, &mut name)?;
    let name = name.strip_suffix(&[TOLD]).filter(|name| !name.is_empty());
    Ok(name.map(|name| PathBuf::from(OsStr::from_bytes(name))))
}

/// Waits until the job of that folder may begin; `false` when it will not.
pub(super) fn may_begin(from: &mut impl BufRead) -> bool {
    let mut word = [0];
    from.read_exact(&mut word).is_ok() && word == [BEGIN]
}

/// A cell, and what its supervisor has of it.
pub(super) struct Born {
    pub(super) pid: Pid,
    pub(super) socket: UnixStream,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) groups: Groups,
    /// Everything ends with it.
    pub(super) first: bool,
    own_users: bool,
}

/// Brings a cell into being, as far as that can be without knowing its job. One that is to wait for it is told
/// where its folder will be, and how this process stood before; it will have no network.
///
/// Leaves namespaces: whatever this process starts afterwards is in the cell's.
pub(super) fn bear(mut cell: Command, waits: Option<(&Path, Option<i32>)>) -> Result<Born, String> {
    let in_words = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let (first, own_users) = leave().map_err(in_words("namespaces"))?;
    let groups = Groups::make();
    let (ours, theirs) = UnixStream::pair().map_err(in_words("a socket"))?;
    let (stdout, out) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| format!("a pipe: {e}"))?;
    let (stderr, err) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| format!("a pipe: {e}"))?;
    let child = cell
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(out))
        .stderr(Stdio::from(err))
        .spawn()
        .map_err(in_words("its cell"))?;
    // The command holds our ends of its pipes; they must be gone here, or they would never end.
    drop(cell);
    let pid =
        i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("its cell has no pid")?;
    let mut socket = ours;
    // One that is gone already is noticed when it is buried.
    let nest = Nest {
        first,
        own_users,
        alone: waits.is_some(),
        under: waits.and_then(|(under, _)| fs::canonicalize(under).ok()),
        stood: waits.and_then(|(_, stood)| stood),
        join: groups.join(),
        share: groups.share.clone(),
    };
    let _ = say(&mut socket, &nest);
    Ok(Born { pid, socket, stdout, stderr, groups, first, own_users })
}

impl Born {
    /// Whether the cell is gone before it had anything to do.
    pub(super) fn has_ended(&self) -> bool {
        !matches!(waitpid(Some(self.pid), WaitOptions::NOHANG), Ok(None))
    }

    /// Ends a cell that has no job.
    pub(super) fn end(self) {
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = rustix::io::retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()));
        self.groups.remove();
    }

    /// Tells the cell what to do. It does not become the command until it is told to.
    pub(super) fn hand(&mut self, dir: &Path, order: Order, program: Seen) -> Result<(), String> {
        let (become_user, same) = whom(&order)?;
        if let Some(user) = &become_user {
            hand_over(dir, user).map_err(|error| format!("its folder: {error}"))?;
        }
        let exact = self.own_users || become_user.as_ref().is_some_and(|user| user.own);
        let join = self.groups.bound(&order.limits, u32::from(self.first), exact);
        // What the kernel's limit counts beside the command: of a user of its own nobody, in a namespace of
        // users this process and the cell, else all that its user runs.
        let others = match &become_user {
            Some(user) if user.own => u32::from(self.first),
            _ if self.own_users => 2,
            Some(user) => count_of(user.uid) + u32::from(self.first),
            None => count_of(same) + u32::from(self.first),
        };
        let plan = Plan {
            dir: dir.to_owned(),
            program,
            become_user,
            join,
            memory_by: self.groups.memory_by.clone(),
            processes_by: self.groups.processes_by.clone(),
            others,
            order,
        };
        // One that is gone already is noticed when it is buried.
        let _ = say(&mut self.socket, &plan);
        Ok(())
    }
}

/// Whom the command runs as, if that is somebody else; and who this process is.
fn whom(order: &Order) -> Result<(Option<User>, u32), String> {
    let me = geteuid().as_raw();
    let named = order.reach.user.as_deref().map(|name| (name, user(name)));
    let user = match named {
        Some((name, None)) => return Err(format!("there is no user {name} here")),
        Some((_, Some(user))) if me == 0 || user.uid == me => Some(user),
        // That cannot be enforced here; the cell says so.
        Some(_) => None,
        None if me == 0 => {
            let [a, b, c, d, ..] = order.job;
            let own = OWN_FROM + u32::from_be_bytes([a, b, c, d]) % OWN_COUNT;
            Some(User { uid: own, gid: own, own: true })
        }
        None => None,
    };
    Ok((user, me))
}

/// A user by name or number, from the system's own list.
fn user(name: &str) -> Option<User> {
    let list = fs::read_to_string("/etc/passwd").ok()?;
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (named, uid) = (fields.next()?, fields.nth(1)?);
        let gid = fields.next()?;
        (named == name || uid == name).then_some(())?;
        Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()?, own: false })
    })
}

/// Gives the command's own folder to its user, and lets it read what it was given.
fn hand_over(dir: &Path, user: &User) -> io::Result<()> {
    if user.uid == geteuid().as_raw() {
        return Ok(());
    }
    chown(dir.join(WORK), Some(user.uid), Some(user.gid))?;
    for entry in fs::read_dir(dir.join(GIVEN))? {
        let path = entry?.path();
        chown(&path, None, Some(user.gid))?;
        fs::set_permissions(&path, Permissions::from_mode(0o440))?;
    }
    Ok(())
}

/// Leaves namespaces as far as this user may: whether the next child is the first process of one, and
/// whether it is in a namespace of users.
fn leave() -> io::Result<(bool, bool)> {
    if geteuid().is_root() {
        return Ok((unshare(CloneFlags::CLONE_NEWPID).is_ok(), false));
    }
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    if unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID).is_err() {
        return Ok((false, false));
    }
    // Whoever may map its own group must not be able to leave others.
    let denied = fs::write("/proc/self/setgroups", "deny");
    if let Err(error) = denied
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    // In there we have every right, and would lose it by running the cell: it needs these to leave
    // further namespaces and to give up the rest.
    let hand_on = CapabilitySet::SYS_ADMIN | CapabilitySet::SETPCAP;
    let mut rights = capabilities(None)?;
    rights.inheritable = hand_on;
    set_capabilities(None, rights)?;
    for right in hand_on {
        configure_capability_in_ambient_set(right, true)?;
    }
    Ok((true, true))
}

/// How many processes and threads a user has.
fn count_of(uid: u32) -> u32 {
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let numbers = entries.flatten().filter(|entry| {
        entry.file_name().as_bytes().iter().all(u8::is_ascii_digit)
            && entry.metadata().is_ok_and(|found| found.uid() == uid)
    });
    let threads = numbers.map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        fields.split_ascii_whitespace().nth(17).and_then(|n| n.parse().ok()).unwrap_or(1_u32)
    });
    threads.sum()
}
