//! A serial port of this machine: opened for us alone, raw, and as a stream.
//!
//! What is done when it is opened, and why:
//! 1. `O_NOCTTY`: a hang-up of the line is not to end the program; `O_NONBLOCK`: the wait for a
//!    carrier neither.
//! 2. `flock`, then `TIOCEXCL`: the lock keeps out those who ask and shows who has it, the other those
//!    who do not ask. Root passes the second, so it is not enough.
//! 3. Raw, eight bits, no parity, one stop bit, modem lines ignored (`CLOCAL`).
//! 4. Without `HUPCL`: closing would drop DTR, and many boards take that for their reset button. Opening
//!    raises it in any case.
//!
//! The modem lines are not touched otherwise: a pseudo terminal has none.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    io::Errno,
    termios::{
        ControlModes, InputModes, OptionalActions, QueueSelector, SpecialCodeIndex, ioctl_tiocexcl,
        ioctl_tiocnxcl, isatty, tcflush, tcgetattr, tcsetattr,
    },
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd};

use super::{
    address::{Flow, PortAddress},
    holder,
    paced::Waiting,
    system,
    wires::Wires,
};
use crate::contract::{PortTrouble, TransportError};

/// An open port.
pub(super) struct Tty {
    port: AsyncFd<OwnedFd>,
    /// Somebody else may stop what is sent.
    may_stop: bool,
}

impl Tty {
    /// Opens a port. Setting an adapter may take it a while, so that is done elsewhere.
    pub(super) async fn open(path: &Path, of: &PortAddress) -> Result<Self, TransportError> {
        let (at, so) = (path.to_owned(), of.clone());
        let opened = tokio::task::spawn_blocking(move || prepare(&at, &so)).await;
        let port = opened.map_err(|error| other(path, &io::Error::other(error)))??;
        let port = system::woken(port).map_err(|error| other(path, &error))?;
        Ok(Self { port, may_stop: of.flow != Flow::None })
    }
}

impl Tty {
    /// Its modem lines, for as long as the port is open. Nothing where it has none.
    pub(super) fn wires(&self) -> Option<Wires> {
        Wires::of(self.port.as_fd())
    }
}

fn prepare(path: &Path, of: &PortAddress) -> Result<OwnedFd, TransportError> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let port = open(path, flags, Mode::empty()).map_err(|errno| trouble(path, errno))?;
    if !isatty(&port) {
        let detail = format!("{} is not a serial port", path.display());
        return Err(TransportError::Port { trouble: PortTrouble::Other, detail });
    }
    // Where there are no locks the other way must do.
    if let Err(Errno::WOULDBLOCK) = flock(&port, FlockOperation::NonBlockingLockExclusive) {
        return Err(busy(path));
    }
    ioctl_tiocexcl(&port).map_err(|errno| trouble(path, errno))?;
    set(port.as_fd(), of).map_err(|errno| trouble(path, errno))?;
    // What came before is of another rate, or of another time.
    let _ = tcflush(&port, QueueSelector::IOFlush);
    Ok(port)
}

impl Drop for Tty {
    fn drop(&mut self) {
        // It would stay so for as long as anybody else has it open.
        let _ = ioctl_tiocnxcl(&self.port);
        if self.may_stop {
            // The system would wait half a minute for a line that takes nothing.
            let _ = tcflush(&self.port, QueueSelector::OFlush);
        }
    }
}

fn set(port: BorrowedFd<'_>, of: &PortAddress) -> Result<(), Errno> {
    let mut termios = tcgetattr(port)?;
    termios.make_raw();
    termios.control_modes &= !(ControlModes::CSIZE
        | ControlModes::PARENB
        | ControlModes::CSTOPB
        | ControlModes::HUPCL
        | ControlModes::CRTSCTS);
    termios.control_modes |= ControlModes::CS8 | ControlModes::CLOCAL | ControlModes::CREAD;
    termios.control_modes.set(ControlModes::CRTSCTS, of.flow == Flow::RtsCts);
    termios.input_modes &= !(InputModes::IXOFF | InputModes::IXANY | InputModes::INPCK);
    termios.input_modes.set(InputModes::IXON | InputModes::IXOFF, of.flow == Flow::XonXoff);
    termios.special_codes[SpecialCodeIndex::VMIN] = 1;
    termios.special_codes[SpecialCodeIndex::VTIME] = 0;
    termios.set_speed(of.bits_per_s)?;
    tcsetattr(port, OptionalActions::Now, &termios)
}

/// Whether a port could be opened, without opening it: that would reset the board that is behind it.
pub(super) fn look(path: &Path) -> Result<(), TransportError> {
    rustix::fs::access(path, rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK)
        .map_err(|errno| trouble(path, errno))
}

fn trouble(path: &Path, errno: Errno) -> TransportError {
    let shown = path.display();
    let (trouble, detail) = match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::NODEV | Errno::NXIO | Errno::IO => {
            (PortTrouble::Absent, format!("{shown} is not there"))
        }
        Errno::ACCESS | Errno::PERM => {
            let group = group_of(path).unwrap_or_else(|| "dialout".into());
            let detail = format!(
                "this user may not use {shown}: usermod -aG {group} USER as root, and log in again"
            );
            (PortTrouble::Forbidden, detail)
        }
        Errno::BUSY => return busy(path),
        Errno::INVAL => (
            PortTrouble::Other,
            format!("{shown} cannot be set so: at this rate, or with this flow"),
        ),
        errno => return other(path, &errno.into()),
    };
    TransportError::Port { trouble, detail }
}

fn busy(path: &Path) -> TransportError {
    let by = holder::of(path).map_or_else(|| "another program".to_owned(), |by| by.to_string());
    let detail = format!("{} is in use by {by}", path.display());
    TransportError::Port { trouble: PortTrouble::Busy, detail }
}

fn other(path: &Path, error: &io::Error) -> TransportError {
    let detail = format!("{} cannot be used: {error}", path.display());
    TransportError::Port { trouble: PortTrouble::Other, detail }
}

/// The name of the group that may use a device.
fn group_of(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let wanted = fs::metadata(path).ok()?.gid().to_string();
    let groups = fs::read_to_string("/etc/group").ok()?;
    // name:password:number:members
    let mut names = groups.lines().filter_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)? == wanted).then(|| name.to_owned())
    });
    // In root's own group nobody should be.
    names.next().filter(|name| name != "root")
}

impl Waiting for Tty {
    fn waiting_bytes(&self) -> u64 {
        system::waiting_bytes(&self.port)
    }
}

impl AsyncRead for Tty {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.port.poll_read_ready(context))?;
            let read =
                |fd: &AsyncFd<OwnedFd>| Ok(rustix::io::read(fd, buffer.initialize_unfilled())?);
            if let Ok(read) = guard.try_io(read) {
                buffer.advance(read?);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Tty {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.port.poll_write_ready(context))?;
            if let Ok(wrote) = guard.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
                return Poll::Ready(wrote);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A port has no end to say.
        Poll::Ready(Ok(()))
    }
}
