//! The cell: a process that confines itself, then becomes the command or stays as its first ancestor.
//!
//! It runs alone and without threads, and it uses no library that would start one: what it puts on holds
//! for its one thread and for whatever that becomes. The order matters; each step says why it is where it
//! is.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::{ffi::OsStrExt, net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Command,
};

use landlock::ABI;
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::{
        signal::SigSet,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
};
use rustix::{
    fs::{MemfdFlags, Mode, SealFlags, fcntl_add_seals, memfd_create},
    io::fcntl_dupfd_cloexec,
    process::{
        DumpableBehavior, Gid, Signal, Uid, WaitOptions, geteuid, set_dumpable_behavior,
        set_parent_process_death_signal,
    },
    stdio::{dup2_stdin, stdin},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use super::{
    bounds,
    calls::{Bar, Sockets},
    folder::{GIVEN, STDIN, WORK},
    paths::{Paths, bar_paths},
    program::Program,
    root::{self, Ahead},
    talk::{Nest, Plan, Word, hear, say},
};
use crate::contract::Order;

/// What a command runs with where its supervisor says nothing of it.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Before it there was a way to make a file empty that no rule saw.
const LANDLOCK_LEAST: ABI = ABI::V3;

/// The whole life of a cell: `postrider job-cell`. Its standard input is the socket to its supervisor.
/// Returns only when there was no command, or when it ended.
pub fn confine() -> io::Result<()> {
    let socket = fcntl_dupfd_cloexec(stdin(), 3)?;
    close_inherited(socket.as_raw_fd())?;
    let mut socket = UnixStream::from(socket);
    // Before anything is heard: a supervisor that is gone by then has closed its end.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The supervisor hears its signals as a descriptor, and what it blocks for that is inherited.
    SigSet::empty().thread_set_mask()?;
    let _ = rustix::process::setsid();
    let Some(nest) = hear::<Nest>(&mut socket)? else { return Ok(()) };
    // First, so that all that follows counts and is bounded.
    let joined = join(&nest.join);
    join(nest.share.as_slice());
    let own_network = nest.first && nest.alone && unshare(CloneFlags::CLONE_NEWNET).is_ok();
    // What most jobs need.
    let likely = Bar::new(Sockets::Local, joined && !nest.join.is_empty()).ok();
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    let under = nest.under.as_deref().filter(|_| nest.first && !nest.own_users);
    let ahead = under.and_then(Ahead::enter);
    // A job may be long in coming. Where the root is not built by now, namespaces are left after that: a
    // mount that somebody takes away meanwhile would stay in use by this process.
    let Some(plan) = hear::<Plan>(&mut socket)? else { return Ok(()) };
    bounds::come_back(nest.stood);
    let mut cell = Cell { nest, plan, ahead, likely, enforced: BTreeMap::new() };
    if !(joined && join(&cell.plan.join)) {
        (cell.plan.memory_by, cell.plan.processes_by) = (None, None);
    }
    let word = match cell.run(&mut socket, own_network) {
        Ok(Some(word)) => word,
        Ok(None) => return Ok(()),
        Err(why) => Word::Refused(why, cell.enforced),
    };
    say(&mut socket, &word)
}

struct Cell {
    nest: Nest,
    plan: Plan,
    ahead: Option<Ahead>,
    likely: Option<Bar>,
    enforced: BTreeMap<String, String>,
}

/// What could not be done, in words.
fn because<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}

impl Cell {
    fn run(&mut self, socket: &mut UnixStream, own_network: bool) -> Result<Option<Word>, String> {
        let (input, own_root, own_network) = self.enter_root(own_network)?;
        let work = self.plan.dir.join(WORK);
        std::env::set_current_dir(&work).map_err(because("its folder"))?;
        // Through the new root, so that its name stays true.
        let program = Program::open(&self.plan.program, self.plan.order.pin.as_ref())?;
        let name = program.name().map_err(because("the program"))?;
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
        self.bound()?;
        bounds::bar_privileges().map_err(because("privileges"))?;
        self.become_user(&work)?;
        bounds::give_up_privileges().map_err(because("privileges"))?;
        // Whoever changed its user is told of its parent's death no more.
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(because("its supervisor"))?;
        self.bar(program.file().as_fd(), own_root, own_network)?;
        self.insist()?;
        say(socket, &Word::Ready(self.enforced.clone())).map_err(because("its supervisor"))?;
        if hear::<()>(socket).map_err(because("its supervisor"))?.is_none() {
            return Ok(None);
        }
        let mut command = command(&self.plan.order, &name, &work);
        // As late as can be: it binds this process as well.
        if self.plan.memory_by.is_none() {
            bounds::limit_memory(self.plan.order.limits.memory_bytes).map_err(because("memory"))?;
        }
        if !self.nest.first {
            return Err(become_it(command, &input));
        }
        let word = stay(command.stdin(input))?;
        if is_alone() {
            say(socket, &word)
                .and_then(|()| say(socket, &Word::Alone))
                .map_err(because("its supervisor"))?;
            // Until the supervisor has made durable how it ended.
            let _ = hear::<()>(socket);
            return Ok(None);
        }
        Ok(Some(word))
    }

    /// Leaves namespaces and enters a root of its own, as far as that can be done: the command's input, whether
    /// it has such a root, and a network that is nobody's.
    fn enter_root(&mut self, own_network: bool) -> Result<(File, bool, bool), String> {
        let Plan { dir, order, program, .. } = &self.plan;
        if let Some(ahead) = self.ahead.take() {
            if ahead.suits(dir, program, &order.reach) {
                let input = self.take_input(&ahead.folder(dir))?;
                ahead.finish(dir).map_err(because("a root of its own"))?;
                return Ok((input, true, own_network));
            }
            ahead.leave().map_err(because("what it may reach"))?;
        }
        let input = self.take_input(dir)?;
        if !self.nest.first {
            return Ok((input, false, false));
        }
        let own_network =
            own_network || !order.reach.net && unshare(CloneFlags::CLONE_NEWNET).is_ok();
        let own_root = unshare(root::OWN).is_ok()
            && root::enter(dir, program, &order.reach, self.nest.first)
                .map_err(because("a root of its own"))?;
        Ok((input, own_root, own_network))
    }

    /// Opened before anything is given up; no file is an end at once, so that no read hangs.
    fn take_input(&self, dir: &Path) -> Result<File, String> {
        if let Some(bytes) = &self.plan.order.stdin {
            return in_memory(bytes).map_err(because("stdin"));
        }
        match File::open(dir.join(STDIN)) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                File::open("/dev/null").map_err(because("/dev/null"))
            }
            Err(error) => Err(because("stdin")(error)),
        }
    }

    fn bound(&mut self) -> Result<(), String> {
        let limits = self.plan.order.limits;
        let own = self.plan.become_user.as_ref().is_some_and(|user| user.own);
        // Where a group counts them this is a second bound; but one that counts others as well would
        // stand in the way.
        let counted = self.plan.processes_by.is_none() || own || self.nest.own_users;
        let most = u64::from(limits.processes) + u64::from(self.plan.others);
        bounds::limit(&limits, counted.then_some(most)).map_err(because("limits"))?;
        self.note("cpu", "rlimit, each process; nice");
        let by = self.plan.processes_by.clone().unwrap_or_else(|| {
            let exact = own || self.nest.own_users;
            if exact { "rlimit" } else { "rlimit, with all of its user's" }.to_owned()
        });
        self.note("processes", &by);
        let by = self.plan.memory_by.clone();
        self.note("memory", by.as_deref().unwrap_or("rlimit, address space of each process"));
        self.note("scratch", "rlimit for each file, all of them watched");
        self.note("output", "supervisor");
        self.note("wall", "supervisor");
        let whole = if self.nest.first { "pid namespace" } else { "none" };
        self.note("ends-with-supervisor", whole);
        Ok(())
    }

    fn become_user(&mut self, work: &Path) -> Result<(), String> {
        let Some(user) = self.plan.become_user.clone() else {
            let asked = self.plan.order.reach.user.is_some();
            self.note("user", if asked { "none" } else { "the node's" });
            return Ok(());
        };
        let shown = user.uid.to_string();
        if user.uid == geteuid().as_raw() && user.uid != 0 {
            self.note("user", &shown);
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        set_thread_groups(&[])
            .and_then(|()| set_thread_res_gid(gid, gid, gid))
            .and_then(|()| set_thread_res_uid(uid, uid, uid))
            .map_err(because("its user"))?;
        if let Err(error) = fs::symlink_metadata(work.join(".")) {
            return Err(format!(
                "its user may not enter {}: {error}; each directory above must be open to all (chmod o+x)",
                work.display()
            ));
        }
        self.note("user", if user.own { "its own" } else { &shown });
        Ok(())
    }

    fn bar(
        &mut self,
        program: std::os::fd::BorrowedFd<'_>,
        own_root: bool,
        own_network: bool,
    ) -> Result<(), String> {
        let Plan { dir, order, .. } = &self.plan;
        let system =
            root::SYSTEM.iter().map(PathBuf::from).chain(["/proc".into(), dir.join(GIVEN)]);
        let mut paths = Paths {
            read: system.chain(order.reach.read.iter().cloned()).collect(),
            write: order.reach.write.iter().cloned().chain([dir.join(WORK)]).collect(),
            devices: root::DEVICES.iter().map(PathBuf::from).collect(),
            program,
        };
        if own_root {
            // There is nothing in it that it may not read.
            paths.read = vec!["/".into()];
        } else if order.reach.net {
            paths.read.extend(fs::canonicalize("/etc/resolv.conf"));
        }
        let abi = bar_paths(&paths).map_err(because("landlock"))?;
        let net = order.reach.net;
        let files = abi.map(|abi| {
            let hidden = if own_root { ", own root" } else { "" };
            (abi >= LANDLOCK_LEAST, format!("landlock {}{hidden}", abi as i32))
        });
        self.note(
            "reach",
            match &files {
                Some((true, by)) => by,
                _ => "none",
            },
        );
        let sockets = match (net, own_root) {
            (true, _) => Sockets::All,
            (false, true) => Sockets::Local,
            (false, false) => Sockets::None,
        };
        let counted = self.plan.memory_by.is_some();
        let likely = self.likely.take().filter(|bar| bar.is_for(sockets, counted));
        let bar = likely.map_or_else(|| Bar::new(sockets, counted), Ok);
        let calls = bar.and_then(|bar| bar.put_on()).map_err(because("seccomp"))?;
        self.note("calls", if calls { "seccomp" } else { "none" });
        self.note(
            "net",
            match (net, own_network, calls) {
                (true, ..) => "granted",
                (_, true, true) => "net namespace, seccomp",
                (_, true, false) => "net namespace",
                (_, false, true) => "seccomp",
                (_, false, false) => "none",
            },
        );
        Ok(())
    }

    /// Refuses where something that was ordered is not enforced, unless that is fine.
    fn insist(&self) -> Result<(), String> {
        if self.plan.order.best_effort {
            return Ok(());
        }
        for bound in ["reach", "net", "user"] {
            if self.enforced.get(bound).is_some_and(|by| by == "none") {
                return Err(format!(
                    "{bound} cannot be enforced here, and the order insists on it; see docs/jobs-sandbox.md"
                ));
            }
        }
        Ok(())
    }

    fn note(&mut self, bound: &str, by: &str) {
        self.enforced.insert(bound.to_owned(), by.to_owned());
    }
}

/// Joins control groups; whether all of them.
fn join(groups: &[PathBuf]) -> bool {
    groups.iter().all(|path| {
        let file = File::options().write(true).open(path);
        file.is_ok_and(|mut file| file.write_all(b"0").is_ok())
    })
}

fn command(order: &Order, program: &Path, work: &Path) -> Command {
    let argument = |bytes: &Vec<u8>| OsString::from(OsStr::from_bytes(bytes));
    let mut command = Command::new(program);
    if let Some((name, rest)) = order.argv.split_first() {
        command.arg0(argument(name)).args(rest.iter().map(argument));
    }
    let job: String = order.job.iter().map(|byte| format!("{byte:02x}")).collect();
    command
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", work)
        .env("TMPDIR", work)
        .env("LANG", "C.UTF-8");
    if order.told.is_empty() {
        command.env("POSTRIDER_JOB_ID", job).env("POSTRIDER_JOB_FROM", &order.from);
    } else {
        // None of those that a program or its loader goes by, whoever wrote the order.
        command.envs(order.told.iter().filter(|(name, _)| name.starts_with("POSTRIDER_")));
    }
    command
}

/// Becomes the command; returns only why it could not.
fn become_it(mut command: Command, input: &File) -> String {
    if let Err(error) = dup2_stdin(input) {
        return because("stdin")(error);
    }
    not_run(command.exec())
}

fn not_run(error: io::Error) -> String {
    format!("the program could not be run: {error}")
}

/// Stays as the first process of the namespace: runs the command as a child, buries whatever is orphaned,
/// and with its own end everything ends that is left.
fn stay(command: &mut Command) -> Result<Word, String> {
    // What this process holds is not the command's to look at.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(because("its cell"))?;
    let child = command.spawn().map_err(not_run)?;
    drop_standard().map_err(because("its cell"))?;
    let child = i32::try_from(child.id()).unwrap_or_default();
    loop {
        let found = rustix::io::retry_on_intr(|| rustix::process::wait(WaitOptions::empty()));
        let Some((pid, status)) = found.map_err(because("its cell"))? else { continue };
        if pid.as_raw_nonzero().get() != child {
            continue;
        }
        let byte = |code: Option<i32>| code.and_then(|code| u8::try_from(code).ok());
        if let Some(code) = byte(status.exit_status()) {
            return Ok(Word::Exited(code));
        }
        if let Some(signal) = byte(status.terminating_signal()) {
            return Ok(Word::Signalled(signal));
        }
    }
}

/// Whether this process, the first of its namespace, is the last one there. Whoever loses a parent there
/// becomes a child of this one.
fn is_alone() -> bool {
    // Those that a command began in ways of its own count, too.
    let all = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
    loop {
        match waitpid(None, Some(all)) {
            Ok(WaitStatus::StillAlive) => return false,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return errno == Errno::ECHILD,
        }
    }
}

/// Lets go of the command's streams: they end with the command, not with this process.
fn drop_standard() -> io::Result<()> {
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok(rustix::stdio::dup2_stderr(&nothing)?)
}

/// A file of these bytes that has no name and can only be read.
fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("stdin", flags)?);
    file.write_all(bytes)?;
    fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Closes whatever somebody left open for all their descendants.
fn close_inherited(keep: i32) -> io::Result<()> {
    // Listed before any is closed: the listing has a descriptor too, which is gone by then.
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| *fd > 2 && *fd != keep) {
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}
