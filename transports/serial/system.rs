//! The calls that need `unsafe`: being woken for a port, how much the system has of it that it has not
//! sent yet, and its modem lines.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use tokio::io::unix::AsyncFd;

/// Has the runtime wake whoever waits for a port; within a runtime.
pub(super) fn woken(port: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open for as long as it lives, is the same all that time, and is given
    // away here.
    Ok(unsafe { AsyncFd::register(port) }?)
}

/// Bytes that wait; 0 where the system does not tell.
#[cfg(target_os = "linux")]
pub(super) fn waiting_bytes(of: impl AsFd) -> u64 {
    use rustix::ioctl::{Getter, Opcode, ioctl};

    // The number has another type in each libc; it is 16 bits or 32.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::unnecessary_cast)]
    const OUTQ: Opcode = libc::TIOCOUTQ as Opcode;
    // SAFETY: TIOCOUTQ, which is SIOCOUTQ for sockets, writes one `int` where it is told to, and
    // nothing else (tty_ioctl(4), tcp(7)); the getter has room for just that.
    let waiting = unsafe { ioctl(of, Getter::<OUTQ, std::ffi::c_int>::new()) };
    waiting.ok().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0)
}

/// Other systems have it under other numbers.
#[cfg(not(target_os = "linux"))]
pub(super) fn waiting_bytes(_of: impl AsFd) -> u64 {
    0
}

/// Raises or lowers modem lines.
#[cfg(target_os = "linux")]
pub(super) fn set_lines(of: impl AsFd, lines: std::ffi::c_int, raised: bool) -> io::Result<()> {
    use rustix::ioctl::{Opcode, Setter, ioctl};

    // The number has another type in each libc; it is 16 bits or 32.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::unnecessary_cast)]
    const RAISE: Opcode = libc::TIOCMBIS as Opcode;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::unnecessary_cast)]
    const LOWER: Opcode = libc::TIOCMBIC as Opcode;
    if raised {
        // SAFETY: TIOCMBIS reads one `int` from where it is told, and writes nothing (ioctl_tty(2)).
        unsafe { ioctl(of, Setter::<RAISE, std::ffi::c_int>::new(lines)) }?;
    } else {
        // SAFETY: TIOCMBIC does the same with the other outcome.
        unsafe { ioctl(of, Setter::<LOWER, std::ffi::c_int>::new(lines)) }?;
    }
    Ok(())
}

/// How modem lines stand.
#[cfg(target_os = "linux")]
pub(super) fn lines(of: impl AsFd) -> io::Result<std::ffi::c_int> {
    use rustix::ioctl::{Getter, Opcode, ioctl};

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::unnecessary_cast)]
    const GET: Opcode = libc::TIOCMGET as Opcode;
    // SAFETY: TIOCMGET writes one `int` where it is told to, and nothing else (ioctl_tty(2)); the getter has
    // room for just that.
    Ok(unsafe { ioctl(of, Getter::<GET, std::ffi::c_int>::new()) }?)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn what_nobody_reads_waits_and_a_file_does_not_tell() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _far = listener.accept().unwrap();
        assert_eq!(waiting_bytes(&near), 0);
        near.set_nonblocking(true).unwrap();
        while near.write(&[7; 65_536]).is_ok() {}
        assert!(waiting_bytes(&near) > 0);
        assert_eq!(waiting_bytes(std::fs::File::open("/dev/null").unwrap()), 0);
    }
}
