//! Modems without radios: each is a pseudo terminal or a TCP port, and all of one air hear each other at once.
//!
//! A station is a thread that owns its port. What its modem says and does is a plain machine in `kiss`, `rnode`,
//! `meshtastic` or `rylr998`; none of them shares a line with the drivers.
#![allow(dead_code, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod kiss;
mod meshtastic;
mod rnode;
mod rylr998;

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{Mode, OFlags, fcntl_setfl, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};

/// What a modem does: bytes of its port in, frames of the air in; both out.
pub trait Modem: Send {
    fn said(&mut self, bytes: &[u8], out: &mut Out);
    fn heard(&mut self, frame: &[u8], out: &mut Out);
}

#[derive(Default)]
pub struct Out {
    pub port: Vec<u8>,
    pub air: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Kiss,
    Rnode,
    Meshtastic,
    /// One that was bought and never set up.
    MeshtasticWithoutRegion,
    /// A module that is told lines.
    Rylr998,
}

impl Kind {
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "kiss" => Some(Self::Kiss),
            "rnode" => Some(Self::Rnode),
            "meshtastic" => Some(Self::Meshtastic),
            "rylr998" => Some(Self::Rylr998),
            _ => None,
        }
    }

    fn modem(self, number: u8) -> Box<dyn Modem> {
        match self {
            Self::Kiss => Box::<kiss::Kiss>::default(),
            Self::Rnode => Box::<rnode::Rnode>::default(),
            Self::Meshtastic => Box::new(meshtastic::Radio::new(number, 3)),
            Self::MeshtasticWithoutRegion => Box::new(meshtastic::Radio::new(number, 0)),
            Self::Rylr998 => Box::<rylr998::Rylr998>::default(),
        }
    }
}

/// How a station misbehaves, if it does.
#[derive(Debug, Default)]
pub struct Whims {
    /// It takes what it is told and says nothing.
    pub is_mute: AtomicBool,
    /// It says every byte by itself, and garbage before whatever it says.
    pub is_noisy: AtomicBool,
}

/// What all of its stations hear.
#[derive(Clone, Default)]
pub struct Air(Arc<Mutex<Vec<Ear>>>);

struct Ear {
    frames: Sender<Vec<u8>>,
    wake: UnixStream,
}

impl Air {
    /// A station at a pseudo terminal.
    pub fn station(&self, kind: Kind) -> Station {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        // Held open, so that whoever had it may go and another come.
        let slave = open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let mut termios = tcgetattr(&slave).unwrap();
        termios.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &termios).unwrap();
        fcntl_setfl(&master, OFlags::NONBLOCK).unwrap();
        let port = Port { listener: None, held: Some(slave), open: Some(master.into()) };
        self.put(kind, port, name)
    }

    /// A station at a TCP port of this machine.
    pub fn station_at_tcp(&self, kind: Kind) -> Station {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap().to_string();
        self.put(kind, Port { listener: Some(listener), held: None, open: None }, place)
    }

    fn put(&self, kind: Kind, port: Port, place: String) -> Station {
        let (wake, woken) = UnixStream::pair().unwrap();
        let (frames, come) = channel();
        let mut ears = self.0.lock().unwrap();
        let number = ears.len();
        ears.push(Ear { frames, wake: wake.try_clone().unwrap() });
        drop(ears);
        let whims = Arc::new(Whims::default());
        let modem = kind.modem(u8::try_from(number).unwrap());
        let runs =
            Runs { air: self.clone(), number, port, modem, come, woken, whims: whims.clone() };
        let thread = std::thread::spawn(move || runs.run());
        Station { place, whims, wake, thread: Some(thread) }
    }

    fn send(&self, from: usize, frame: &[u8]) {
        for (number, ear) in self.0.lock().unwrap().iter_mut().enumerate() {
            if number != from && ear.frames.send(frame.to_vec()).is_ok() {
                let _ = ear.wake.write_all(b"f");
            }
        }
    }
}

/// A modem that is plugged in. Dropping it pulls it out.
pub struct Station {
    /// A path, or a host and its port.
    pub place: String,
    pub whims: Arc<Whims>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Station {
    pub fn is_mute(&self, is_so: bool) {
        self.whims.is_mute.store(is_so, Ordering::SeqCst);
    }

    pub fn is_noisy(&self, is_so: bool) {
        self.whims.is_noisy.store(is_so, Ordering::SeqCst);
    }

    /// For as long as nobody pulls it out.
    pub fn wait(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        let _ = self.wake.write_all(b"e");
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

struct Port {
    listener: Option<TcpListener>,
    held: Option<OwnedFd>,
    open: Option<File>,
}

struct Runs {
    air: Air,
    number: usize,
    port: Port,
    modem: Box<dyn Modem>,
    come: Receiver<Vec<u8>>,
    woken: UnixStream,
    whims: Arc<Whims>,
}

impl Runs {
    fn run(mut self) {
        let mut buffer = [0; 512];
        loop {
            let (is_woken, is_said, is_called) = self.wait();
            let mut out = Out::default();
            if is_woken {
                let read = self.woken.read(&mut buffer).unwrap();
                if read == 0 || buffer[..read].contains(&b'e') {
                    return;
                }
                while let Ok(frame) = self.come.try_recv() {
                    self.modem.heard(&frame, &mut out);
                }
            }
            if is_called {
                let (stream, _) = self.port.listener.as_ref().unwrap().accept().unwrap();
                stream.set_nonblocking(true).unwrap();
                self.port.open = Some(OwnedFd::from(stream).into());
            }
            if is_said {
                match self.port.open.as_mut().unwrap().read(&mut buffer) {
                    Ok(read @ 1..) => self.modem.said(&buffer[..read], &mut out),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    _ => self.port.open = None,
                }
            }
            for frame in std::mem::take(&mut out.air) {
                self.air.send(self.number, &frame);
            }
            self.say(&out.port);
        }
    }

    /// Until something comes from the air, from the port, from somebody new.
    fn wait(&self) -> (bool, bool, bool) {
        let mut fds = vec![PollFd::from_borrowed_fd(self.woken.as_fd(), PollFlags::IN)];
        let port = self.port.open.as_ref().map(AsFd::as_fd);
        let listener = self.port.listener.as_ref().map(AsFd::as_fd);
        let others = port.into_iter().chain(listener);
        fds.extend(others.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        poll(&mut fds, None).unwrap();
        let is = |n: usize| fds.get(n).is_some_and(|fd| !fd.revents().is_empty());
        match (port, listener) {
            (Some(_), _) => (is(0), is(1), is(2)),
            (None, _) => (is(0), false, is(1)),
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        let is_mute = self.whims.is_mute.load(Ordering::SeqCst);
        let Some(port) = self.port.open.as_mut().filter(|_| !is_mute && !bytes.is_empty()) else {
            return;
        };
        if !self.whims.is_noisy.load(Ordering::SeqCst) {
            return drop(port.write_all(bytes));
        }
        for byte in b"\xdb\x00boot \x94\xc3\xff log\r\n".iter().chain(bytes) {
            let _ = port.write_all(&[*byte]);
        }
    }
}
