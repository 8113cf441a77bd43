//! A cable between two serial ports: pseudo terminals, and a thread that loses, damages and delays.

use std::{
    collections::VecDeque,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use postrider_testkit::Seeded;
use rustix::{
    fs::{Mode, OFlags, fcntl_setfl, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};

/// The line's clock.
const TICK: Duration = Duration::from_millis(1);
/// What a port holds that nobody reads; the rest is lost, as on a wire.
const HELD_MAX: usize = 64 << 10;

/// What something answers to some bytes.
pub type Answer = fn(&[u8]) -> Vec<u8>;

/// What a cable does to what it carries.
#[derive(Clone, Default)]
pub struct Faults {
    /// One bit in so many is wrong; 0: none.
    pub bit_errors: u64,
    pub swallowed: Vec<u8>,
    pub seven_bits: bool,
    pub delay: Duration,
    /// Nothing passes.
    pub is_cut: bool,
    /// The next 00 in each direction is lost.
    pub loses_a_zero: [bool; 2],
    /// There is no cable but something that answers at each port.
    pub modem: Option<Answer>,
}

/// One port: what a daemon opens, and our side of it.
struct Plug {
    ours: OwnedFd,
    /// So that nothing hangs up when a daemon closes it.
    _theirs: OwnedFd,
    waiting: VecDeque<(Instant, u8)>,
}

struct Shared {
    faults: Faults,
    plugs: [Option<Plug>; 2],
    carried: [u64; 2],
    chance: Seeded,
}

/// A cable with a port at each end: `a` and `b`.
pub struct Cable {
    dir: PathBuf,
    shared: Arc<Mutex<Shared>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Cable {
    /// Both ends are plugged in.
    pub fn new(dir: &Path, faults: Faults) -> Self {
        let shared =
            Shared { faults, plugs: [None, None], carried: [0, 0], chance: Seeded::new(7) };
        let shared = Arc::new(Mutex::new(shared));
        let stop = Arc::new(AtomicBool::new(false));
        let (of_thread, until) = (Arc::clone(&shared), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                of_thread.lock().unwrap().tick();
                thread::sleep(TICK);
            }
        });
        let cable = Self { dir: dir.to_owned(), shared, stop, thread: Some(thread) };
        cable.plug(0);
        cable.plug(1);
        cable
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    fn path(&self, end: usize) -> PathBuf {
        self.dir.join(["a", "b"][end])
    }

    /// The address of a port; `options` as behind the question mark.
    pub fn address(&self, end: usize, options: &str) -> String {
        format!("serial://{}?{options}", self.path(end).display())
    }

    /// Another device at the same name.
    pub fn plug(&self, end: usize) {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let mut termios = tcgetattr(&theirs).unwrap();
        termios.make_raw();
        tcsetattr(&theirs, OptionalActions::Now, &termios).unwrap();
        fcntl_setfl(&ours, OFlags::NONBLOCK).unwrap();
        let plug = Plug { ours, _theirs: theirs, waiting: VecDeque::new() };
        self.lock().plugs[end] = Some(plug);
        let new = self.dir.join("new");
        std::os::unix::fs::symlink(name.to_str().unwrap(), &new).unwrap();
        fs::rename(&new, self.path(end)).unwrap();
    }

    /// The port is gone, and its name.
    pub fn unplug(&self, end: usize) {
        fs::remove_file(self.path(end)).unwrap();
        self.lock().plugs[end] = None;
    }

    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock().faults);
    }

    /// Random bytes arrive at both ends.
    pub fn noise(&self, bytes: usize) {
        let mut shared = self.lock();
        for end in [0, 1] {
            let noise = shared.chance.bytes(bytes);
            shared.arrive(end, &noise);
        }
    }

    /// Bytes that came from an end.
    pub fn carried(&self, end: usize) -> u64 {
        self.lock().carried[end]
    }

    /// Waits until so many bytes came from an end after the first so many.
    pub fn until_carried(&self, end: usize, from: u64, bytes: u64, patience: Duration) {
        let begun = Instant::now();
        while self.carried(end) < from + bytes {
            assert!(begun.elapsed() < patience, "the cable carries nothing");
            thread::sleep(TICK);
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn tick(&mut self) {
        for end in [0, 1] {
            let Some(plug) = &self.plugs[end] else { continue };
            let mut bytes = [0; 4096];
            // While nobody has it open there is nothing, or an error.
            let read = rustix::io::read(&plug.ours, &mut bytes).unwrap_or(0);
            self.carried[end] += read as u64;
            let bytes = &bytes[..read];
            match self.faults.modem {
                Some(answer) if !bytes.is_empty() => self.arrive(end, &answer(bytes)),
                Some(_) => {}
                None => {
                    let damaged = self.damaged(end, bytes);
                    self.arrive(1 - end, &damaged);
                }
            }
        }
        for plug in self.plugs.iter_mut().flatten() {
            let now = Instant::now();
            let due: Vec<u8> =
                plug.waiting.iter().take_while(|(at, _)| *at <= now).map(|(_, b)| *b).collect();
            let wrote =
                if due.is_empty() { 0 } else { rustix::io::write(&plug.ours, &due).unwrap_or(0) };
            plug.waiting.drain(..wrote);
        }
    }

    fn arrive(&mut self, end: usize, bytes: &[u8]) {
        let at = Instant::now() + self.faults.delay;
        if let Some(plug) = &mut self.plugs[end] {
            plug.waiting.extend(bytes.iter().map(|byte| (at, *byte)));
            plug.waiting.truncate(HELD_MAX);
        }
    }

    fn damaged(&mut self, from: usize, bytes: &[u8]) -> Vec<u8> {
        let faults = &mut self.faults;
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes.iter().copied().filter(|_| !faults.is_cut) {
            let mut byte = byte;
            for bit in 0..8 {
                let is_wrong = faults.bit_errors > 0 && self.chance.chance(1, faults.bit_errors);
                byte ^= u8::from(is_wrong) << bit;
            }
            if faults.seven_bits {
                byte &= 0x7f;
            }
            if byte == 0 && std::mem::take(&mut faults.loses_a_zero[from]) {
                continue;
            }
            if !faults.swallowed.contains(&byte) {
                out.push(byte);
            }
        }
        out
    }
}
