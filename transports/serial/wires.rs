//! The modem lines of a port: RTS and DTR, which a program raises and lowers, and the carrier, by which a
//! modem says that it is connected.
//!
//! Only a driver that the address names touches them, and only where its profile says so. A pseudo terminal
//! and a port behind a network have none.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

#[cfg(target_os = "linux")]
use super::system;

/// The lines of an open port. It belongs to the port: while it lives the port stays locked.
#[derive(Debug)]
pub(super) struct Wires(OwnedFd);

/// A line that is raised and lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Rts,
    Dtr,
}

impl Wire {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "rts" => Some(Self::Rts),
            "dtr" => Some(Self::Dtr),
            _ => None,
        }
    }
}

#[cfg(target_os = "linux")]
impl Wires {
    /// Those of a port, if it has any.
    pub(super) fn of(port: BorrowedFd<'_>) -> Option<Self> {
        system::lines(port).ok()?;
        port.try_clone_to_owned().ok().map(Self)
    }

    /// Raises or lowers a line.
    pub(super) fn set(&self, wire: Wire, raised: bool) -> io::Result<()> {
        let line = match wire {
            Wire::Rts => libc::TIOCM_RTS,
            Wire::Dtr => libc::TIOCM_DTR,
        };
        system::set_lines(&self.0, line, raised)
    }

    /// Whether the modem says that it is connected.
    pub(super) fn has_carrier(&self) -> bool {
        system::lines(&self.0).is_ok_and(|lines| lines & libc::TIOCM_CAR != 0)
    }
}

/// Other systems have them under other numbers.
#[cfg(not(target_os = "linux"))]
impl Wires {
    pub(super) fn of(_: BorrowedFd<'_>) -> Option<Self> {
        None
    }

    pub(super) fn set(&self, _: Wire, _: bool) -> io::Result<()> {
        let _ = &self.0;
        Ok(())
    }

    pub(super) fn has_carrier(&self) -> bool {
        true
    }
}
