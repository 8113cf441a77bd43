//! A modem on a pseudo terminal: bytes that it is told go to a closure, and what that returns comes back.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};

/// The modem's end of a port.
#[derive(Clone)]
pub struct Plug {
    far: Arc<Mutex<Option<File>>>,
    /// What it was told, for the test to look at.
    told: Arc<Mutex<Vec<u8>>>,
    is_silent: Arc<AtomicBool>,
    name: String,
    /// Keeps the terminal open, so that a modem is there before anybody opens the port.
    _near: Arc<OwnedFd>,
}

impl Plug {
    /// Plugs a modem in. `modem` takes what came and was not used yet, and answers.
    pub fn new(mut modem: impl FnMut(&mut Vec<u8>, &Plug) -> Vec<u8> + Send + 'static) -> Self {
        let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&far).unwrap();
        unlockpt(&far).unwrap();
        let name = ptsname(&far, Vec::new()).unwrap().into_string().unwrap();
        let near = open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let mut termios = tcgetattr(&near).unwrap();
        termios.make_raw();
        tcsetattr(&near, OptionalActions::Now, &termios).unwrap();
        let mut reader = File::from(far.try_clone().unwrap());
        let plug = Self {
            far: Arc::new(Mutex::new(Some(far.into()))),
            told: Arc::default(),
            is_silent: Arc::default(),
            name,
            _near: Arc::new(near),
        };
        let (of, told) = (plug.clone(), Arc::clone(&plug.told));
        thread::spawn(move || {
            let (mut buffer, mut unused) = ([0; 1024], Vec::new());
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                if of.far.lock().unwrap().is_none() {
                    return;
                }
                told.lock().unwrap().extend(&buffer[..read]);
                unused.extend(&buffer[..read]);
                let answer = modem(&mut unused, &of);
                of.say(&answer);
            }
        });
        plug
    }

    /// A modem that answers each line. `end` ends one.
    pub fn lines(
        end: &'static str,
        mut modem: impl FnMut(&[u8], &Plug) -> Vec<u8> + Send + 'static,
    ) -> Self {
        Self::new(move |unused, plug| {
            let mut answers = Vec::new();
            while let Some(line) = take_line(unused, end) {
                answers.extend(modem(&line, plug));
            }
            answers
        })
    }

    /// It is pulled with the next that it is told.
    pub fn unplug(&self) {
        *self.far.lock().unwrap() = None;
    }

    /// From now on it takes everything and says nothing.
    pub fn fall_silent(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }

    /// The modem says something.
    pub fn say(&self, bytes: &[u8]) {
        if self.is_silent.load(Ordering::Relaxed) {
            return;
        }
        if let Some(far) = &mut *self.far.lock().unwrap() {
            far.write_all(bytes).unwrap();
        }
    }

    /// What it was told so far, as text.
    pub fn told(&self) -> String {
        String::from_utf8_lossy(&self.told.lock().unwrap()).into_owned()
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The first line of what came, without its end.
pub fn take_line(unused: &mut Vec<u8>, end: &str) -> Option<Vec<u8>> {
    let at = unused.windows(end.len()).position(|window| window == end.as_bytes())?;
    let line = unused[..at].to_vec();
    unused.drain(..at + end.len());
    Some(line)
}
