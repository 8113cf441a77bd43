//! The supervisor: one process that sees one job through, from the lock to a durable outcome.
//!
//! One thread and one loop, which waits for whatever comes first: bytes, a word of the cell, the end of a
//! child, a wish that the command end, the clock.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, stdout},
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    signal::{SigSet, Signal as Wanted},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{
        Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group,
        set_child_subreaper, wait, waitpid,
    },
    stdio::dup2_stdout,
};

use super::{
    bounds,
    ending::end_everything,
    folder::{
        self, FolderError, GRACE, Lock, OUTCOME, Reserve, STARTED, STDERR, STDOUT, TROUBLE, WORK,
        asked_to_end, mark_started,
    },
    groups::Groups,
    program,
    scratch::Scratch,
    spawning::{Born, bear, may_begin, told},
    stream::Stream,
    talk::{Word, hear, say},
};
use crate::contract::{Bound, Captured, End, Limits, Outcome};

/// A cell is confined within milliseconds; reading a program that is pinned takes the longest.
const READY_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether something is wanted or too much was written.
const ROUND: Duration = Duration::from_millis(200);
/// Of the time, looking takes at the most one part of this many.
const SHARE: u32 = 20;
/// Of output beyond its bound so many pieces are taken at once, then the command waits for so long: 200 MB/s
/// at the most, so that neither disk nor processor is full of what nobody will read.
const PIECES_PER_REST: u64 = 4;
const REST: Duration = Duration::from_millis(1);
/// So long an outcome becomes durable elsewhere first: two syncs at once take each longer.
const FIRST_ELSEWHERE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// When what is left of a job is cleared away: whoever waits for its outcome needs the processor first.
const CLEARED_AFTER: Duration = Duration::from_millis(20);
const NOT_WANTED: &str = "it was to end before it began";
/// A reason fits a line or two; an outcome must fit its reserve.
const WHY_BYTES_MAX: usize = 1000;

/// Why a supervisor could do nothing at all. What happens to a command is an [`Outcome`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuperviseError {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The system refused something that is needed before anything can run.
    #[error("{0}")]
    Io(&'static str, #[source] io::Error),
}

/// Sees the job of a folder through: `postrider job-supervisor DIR`. Without a folder it has everything ready
/// and is told one on its standard input, or ends with that. `cell` is how its cell is started, which then
/// calls [`super::confine`].
///
/// Must be called in a process that has no thread beside this one. Does nothing where another supervisor
/// has the job, or had it.
pub fn supervise(dir: Option<&Path>, cell: Command) -> Result<(), SuperviseError> {
    begin_alone().map_err(|error| SuperviseError::Io("a process of its own", error))?;
    match dir {
        Some(dir) => said_in(dir, supervise_in(dir, || bear(cell, None), || true)),
        None => wait_for_one(cell),
    }
}

/// Has everything ready, then sees the job through that it is told of.
fn wait_for_one(cell: Command) -> Result<(), SuperviseError> {
    let mut said = io::stdin().lock();
    let unheard = |error| SuperviseError::Io("its folder's name", error);
    let Some(under) = told(&mut said).map_err(unheard)? else { return Ok(()) };
    let stood = bounds::step_aside();
    let mut born = Some(bear(cell, Some((&under, stood))));
    let dir = told(&mut said).map_err(unheard);
    bounds::come_back(stood);
    let done = match dir {
        Ok(Some(dir)) => match &born {
            // Then nothing is done, and another supervisor may be started.
            Some(Ok(born)) if born.has_ended() => Ok(()),
            _ => {
                let begun = || born.take().unwrap_or_else(|| Err(NOT_WANTED.to_owned()));
                said_in(&dir, supervise_in(&dir, begun, || may_begin(&mut said)))
            }
        },
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Some(Ok(born)) = born {
        born.end();
    }
    done
}

/// Notes why nothing could be done.
fn said_in(dir: &Path, done: Result<(), SuperviseError>) -> Result<(), SuperviseError> {
    if let Err(error) = &done {
        let mut text = error.to_string();
        if let Some(source) = std::error::Error::source(error) {
            text.push_str(&format!(": {source}"));
        }
        // For a person; who cannot write it down can do nothing more.
        let _ = fs::write(dir.join(TROUBLE), text);
    }
    done
}

/// Leaves whoever started it, and becomes what all that loses its parent is given to, where no namespace
/// does that.
fn begin_alone() -> io::Result<()> {
    // Started as the leader of a session already: then there is nothing to leave.
    let _ = rustix::process::setsid();
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// `may_begin` waits until it may, and says whether it will. Before that nothing is written that means
/// something: the folder may not be durable.
fn supervise_in(
    dir: &Path,
    born: impl FnOnce() -> Result<Born, String>,
    may_begin: impl FnOnce() -> bool,
) -> Result<(), SuperviseError> {
    let failed = |what: &'static str| move |error: io::Error| SuperviseError::Io(what, error);
    let dir = &fs::canonicalize(dir).map_err(failed("its folder"))?;
    let Some(lock) = Lock::take(dir).map_err(failed("its lock"))? else { return Ok(()) };
    if dir.join(OUTCOME).exists() || dir.join(STARTED).exists() {
        return Ok(());
    }
    let order = folder::order(dir)?;
    let signals = hear_signals().map_err(|errno| failed("signals")(errno.into()))?;

    let limits = order.limits;
    let begun = program::find(order.argv.first().map_or(&[], Vec::as_slice)).and_then(|program| {
        if asked_to_end(dir).is_some() {
            return Err(NOT_WANTED.to_owned());
        }
        let mut born = born()?;
        match born.hand(dir, order, program) {
            Ok(()) => Ok(born),
            Err(why) => {
                born.end();
                Err(why)
            }
        }
    });
    // Before anything runs, or a full disk could hide how it ended; and while the cell confines itself.
    let reserve = match Reserve::make(dir) {
        Ok(reserve) => reserve,
        Err(error) => {
            if let Ok(born) = begun {
                born.end();
            }
            return Err(failed("no room for its outcome")(error));
        }
    };
    let done = match begun {
        Ok(born) => run(dir, &limits, born, signals, may_begin),
        Err(why) => may_begin()
            .then(|| Done { outcome: not_begun(why, BTreeMap::new()), left: Left::default() }),
    };
    let Some(Done { outcome, left }) = done else { return Ok(()) };
    if outcome.stands_alone() {
        // Whoever waits makes it durable in a way of its own. It may be that nobody waits any more.
        let told = say(&mut stdout(), &outcome);
        if told.is_ok() {
            let _ = poll(&mut [PollFd::new(&stdout(), PollFlags::empty())], Some(&FIRST_ELSEWHERE));
        }
    }
    let filled = reserve.fill(&outcome);
    if filled.is_ok() {
        // It is durable: whoever waits need not wait for the rest.
        lock.let_go();
        if let Ok(nothing) = fs::File::options().write(true).open("/dev/null") {
            let _ = dup2_stdout(&nothing);
        }
    }
    bounds::step_aside();
    thread::sleep(CLEARED_AFTER);
    left.clear();
    filled.map_err(failed("its outcome"))
}

/// A job that is over.
struct Done {
    outcome: Outcome,
    left: Left,
}

/// What is left then, and takes the kernel time to clear away.
#[derive(Default)]
struct Left {
    groups: Groups,
    /// A cell that is alone.
    cell: Option<(Pid, UnixStream)>,
    /// Its namespace of mounts, as long as this is open: the last process in it would not be gone before that
    /// is cleared away.
    mounts: Option<fs::File>,
}

impl Left {
    fn clear(self) {
        let Self { groups, cell, mounts } = self;
        if let Some((pid, socket)) = cell {
            drop(socket);
            let _ = rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
        }
        drop(mounts);
        groups.remove();
    }
}

fn hear_signals() -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [Wanted::SIGCHLD, Wanted::SIGTERM, Wanted::SIGINT, Wanted::SIGHUP] {
        mask.add(signal);
    }
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

fn not_begun(why: String, enforced: BTreeMap<String, String>) -> Outcome {
    let mut why = why;
    let mut at = WHY_BYTES_MAX.min(why.len());
    while !why.is_char_boundary(at) {
        at -= 1;
    }
    why.truncate(at);
    let none = Captured { blake3: *blake3::hash(b"").as_bytes(), ..Captured::default() };
    let (stdout, stderr) = (none.clone(), none);
    Outcome { end: End::NotBegun(why), ran_ms: 0, stdout, stderr, enforced }
}

/// From a cell that was born to an end of everything that came of it; nothing if it was not to begin.
fn run(
    dir: &Path,
    limits: &Limits,
    born: Born,
    signals: SignalFd,
    may_begin: impl FnOnce() -> bool,
) -> Option<Done> {
    let streams =
        Stream::new(born.stdout, &dir.join(STDOUT), limits.output_bytes).and_then(|out| {
            Ok([out, Stream::new(born.stderr, &dir.join(STDERR), limits.output_bytes)?])
        });
    let (streams, problem) = match streams {
        Ok(streams) => (Some(streams), None),
        Err(error) => (None, Some(format!("its streams: {error}"))),
    };
    let mut job = Job {
        dir,
        pid: born.pid,
        first: born.first,
        groups: born.groups,
        socket: Some(born.socket),
        streams,
        signals,
        beyond: 0,
        scratch: Scratch::new(&dir.join(WORK), limits.scratch_bytes).ok(),
        next_look: Instant::now() + ROUND,
        wall: Duration::from_secs(limits.wall_s.into()),
        began: None,
        enforced: BTreeMap::new(),
        refused: problem,
        said: None,
        alone: false,
        ended: None,
        cause: None,
        kill_at: None,
    };
    if job.refused.is_none() {
        job.wait_until_ready();
    }
    let mounts = fs::File::open(format!("/proc/{}/ns/mnt", job.pid.as_raw_nonzero())).ok();
    let begins = may_begin();
    if begins && job.refused.is_none() {
        job.begin();
    }
    if !begins || job.refused.is_some() {
        job.kill();
    }
    while job.ended.is_none() && !job.alone {
        job.step();
    }
    if !begins {
        job.groups.remove();
        return None;
    }
    let ran = job.began.map_or(Duration::ZERO, |began| began.elapsed());
    if !job.first {
        end_everything(&job.groups, &job.signals);
    }
    if !job.alone {
        job.hear_last_words();
    }
    let cell = job.socket.take().filter(|_| job.alone).map(|socket| (job.pid, socket));
    let groups = std::mem::take(&mut job.groups);
    let memory = groups.out_of_memory();
    let left = Left { groups, cell, mounts };
    Some(Done { outcome: job.outcome(ran, memory), left })
}

struct Job<'a> {
    dir: &'a Path,
    /// The cell; then the command in its place, or the first process of the command's namespace.
    pid: Pid,
    first: bool,
    groups: Groups,
    socket: Option<UnixStream>,
    streams: Option<[Stream; 2]>,
    /// Pieces of output beyond its bound.
    beyond: u64,
    signals: SignalFd,
    scratch: Option<Scratch>,
    next_look: Instant,
    wall: Duration,
    began: Option<Instant>,
    enforced: BTreeMap<String, String>,
    /// There will be no command, and why.
    refused: Option<String>,
    /// How the command ended, if the cell could tell.
    said: Option<End>,
    /// Nothing is left but the cell.
    alone: bool,
    /// How the process ended that we started.
    ended: Option<WaitStatus>,
    /// Why we ended it.
    cause: Option<End>,
    kill_at: Option<Instant>,
}

impl Job<'_> {
    /// The cell confines itself and says so. It is our own program, so nothing else is minded meanwhile.
    fn wait_until_ready(&mut self) {
        let word = self.socket.as_mut().map(|socket| {
            socket.set_read_timeout(Some(READY_MAX))?;
            hear::<Word>(socket)
        });
        match word {
            Some(Ok(Some(Word::Ready(enforced)))) => self.enforced = enforced,
            Some(Ok(Some(Word::Refused(why, enforced)))) => {
                self.enforced = enforced;
                self.refused = Some(why);
            }
            Some(Err(error)) => self.refused = Some(format!("its cell is not confined: {error}")),
            _ => self.refused = Some("its cell ended before it was confined".to_owned()),
        }
    }

    /// Makes durable that it begins, then lets it.
    fn begin(&mut self) {
        // Who asks from here on sends a signal too, which is waiting for us by then.
        if asked_to_end(self.dir).is_some() {
            self.refused = Some(NOT_WANTED.to_owned());
            return;
        }
        if let Err(error) = mark_started(self.dir) {
            self.refused = Some(format!("it cannot be made durable that it begins: {error}"));
            return;
        }
        self.groups.stand_back();
        self.began = Some(Instant::now());
        if let Some(socket) = &mut self.socket {
            // A cell that is gone is buried soon.
            let _ = say(socket, &());
        }
    }

    /// Waits for whatever comes first and takes it.
    fn step(&mut self) {
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        // Where the command is in the place of the cell, it says nothing and is heard at its end.
        let says = self.socket.as_ref().filter(|_| self.first && self.began.is_some());
        fds.extend(says.map(|socket| PollFd::new(socket, PollFlags::IN)));
        let streams = self.streams.iter().flatten().filter_map(Stream::waits);
        fds.extend(streams.map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)));
        let now = Instant::now();
        let left = self.next_moment().saturating_duration_since(now);
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let _ = poll(&mut fds, Some(&timeout));
        let says = says.is_some() && !fds[1].revents().is_empty();
        drop(fds);
        for stream in self.streams.iter_mut().flatten() {
            let took = stream.take();
            if took && stream.is_over() {
                if self.beyond == 0 {
                    // Reading what is not kept is the command's own work, and can be endless.
                    let _ = bounds::stand_back();
                }
                self.beyond = self.beyond.saturating_add(1);
                if self.beyond.is_multiple_of(PIECES_PER_REST) {
                    thread::sleep(REST);
                }
            }
        }
        // First whether it has ended by itself: then there is nothing to end any more.
        let asked = self.take_signals();
        if self.ended.is_none() && says {
            self.hear_last_words();
        }
        if self.ended.is_some() || self.alone {
            return;
        }
        // Whoever wants it to end says so by a signal, too; else it is seen with the next look.
        let now = Instant::now();
        let looks = now >= self.next_look;
        if asked || looks {
            let wish = asked_to_end(self.dir);
            if let Some(grace) = wish.or(asked.then_some(GRACE)) {
                self.end(End::Killed, grace);
            }
        }
        if looks {
            self.look(now);
        }
        if self.began.is_some_and(|began| now >= began + self.wall) {
            self.end(End::Overran(Bound::Wall), GRACE);
        }
        if self.kill_at.is_some_and(|at| now >= at) {
            self.kill();
        }
    }

    fn next_moment(&self) -> Instant {
        let wall = self.began.filter(|_| self.cause.is_none()).map(|began| began + self.wall);
        [wall, self.kill_at].into_iter().flatten().fold(self.next_look, Instant::min)
    }

    /// Looks how much was written.
    fn look(&mut self, now: Instant) {
        if self.scratch.as_ref().is_some_and(Scratch::is_over) {
            // Each moment more of it costs the disk.
            self.end(End::Overran(Bound::Scratch), Duration::ZERO);
        }
        self.next_look = Instant::now() + ROUND.max(now.elapsed() * SHARE);
    }

    /// Takes all signals that came: whether one wants this to end. Buries whoever ended.
    fn take_signals(&mut self) -> bool {
        let mut asked = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            asked |= i32::try_from(signal.ssi_signo).ok() != Some(Wanted::SIGCHLD as i32);
        }
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.pid => self.ended = Some(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return asked,
            }
        }
    }

    /// Asks the command to end, if nobody did; the first cause is the one that is told.
    fn end(&mut self, cause: End, grace: Duration) {
        let kill_at = Instant::now() + grace;
        self.kill_at = Some(self.kill_at.map_or(kill_at, |at| at.min(kill_at)));
        if self.cause.is_none() {
            self.cause = Some(cause);
            // Its own group, as far as the command left it so; the first process of a namespace does not
            // hear it.
            let _ = kill_process_group(self.pid, Signal::TERM);
        }
    }

    /// Ends the process that we started, and with it what ends with it.
    fn kill(&mut self) {
        let _ = kill_process(self.pid, Signal::KILL);
        self.kill_at = None;
    }

    /// What the cell says since it was ready, to its end: that it could not run the program, or how that
    /// ended.
    fn hear_last_words(&mut self) {
        let Some(mut socket) = self.socket.take() else { return };
        while let Ok(Some(word)) = hear::<Word>(&mut socket) {
            match word {
                Word::Ready(_) => {}
                Word::Refused(why, enforced) => {
                    self.enforced = enforced;
                    self.refused.get_or_insert(why);
                }
                Word::Exited(code) => self.said = Some(End::Exited(code)),
                Word::Signalled(signal) => self.said = Some(End::Signalled(signal)),
                Word::Alone => {
                    self.alone = true;
                    self.socket = Some(socket);
                    return;
                }
            }
        }
    }

    fn outcome(self, ran: Duration, out_of_memory: bool) -> Outcome {
        if let Some(why) = self.refused {
            return not_begun(why, self.enforced);
        }
        let streams = self.streams.map(|[out, err]| (out.finish(), err.finish()));
        let (stdout, stderr) = match streams {
            Some((Ok(out), Ok(err))) => (out, err),
            // The disk failed: nothing that was kept can be relied on.
            _ => Default::default(),
        };
        let byte = |code: Option<i32>| code.and_then(|code| u8::try_from(code).ok());
        let status = self.ended;
        let of_process = || {
            let code = byte(status.and_then(WaitStatus::exit_status)).map(End::Exited);
            code.or(byte(status.and_then(WaitStatus::terminating_signal)).map(End::Signalled))
        };
        // A cell that stayed and could not tell was killed: by the kernel for memory, or by somebody.
        let by_itself = match self.said {
            Some(end) => end,
            None if self.first => End::Signalled(KILLED),
            None => of_process().unwrap_or(End::Signalled(KILLED)),
        };
        let end = match (self.cause, by_itself) {
            (Some(cause), _) => cause,
            (None, End::Signalled(PROCESSOR)) => End::Overran(Bound::Cpu),
            (None, End::Signalled(KILLED)) if out_of_memory => End::Overran(Bound::Memory),
            (None, by_itself) => by_itself,
        };
        let ran_ms = u64::try_from(ran.as_millis()).unwrap_or(u64::MAX);
        Outcome { end, ran_ms, stdout, stderr, enforced: self.enforced }
    }
}

/// SIGKILL and SIGXCPU, which have the same numbers wherever Linux runs but on MIPS.
const KILLED: u8 = 9;
const PROCESSOR: u8 = 24;
