//! Tells the service manager how it goes: the `sd_notify` protocol, which is one datagram to the
//! socket that `NOTIFY_SOCKET` names.

use std::{
    ffi::OsStr,
    io,
    os::unix::{ffi::OsStrExt, net::UnixDatagram},
    path::Path,
    time::Duration,
};

/// The manager that started this process, if there is one.
#[derive(Debug)]
pub struct Manager(Option<UnixDatagram>);

impl Manager {
    /// From the environment.
    pub fn of_environment() -> Self {
        let named = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        Self(named.and_then(|name| connect(&name).ok()))
    }

    /// Everything is up.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// Still alive.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// A manager that does not listen is no reason to stop.
    fn say(&self, what: &str) {
        if let Some(socket) = &self.0
            && let Err(error) = socket.send(what.as_bytes())
        {
            tracing::debug!(%error, what, "the service manager was not told");
        }
    }
}

/// How often the manager wants to hear from us: half of what it waits.
pub fn watchdog_interval() -> Option<Duration> {
    let micros = std::env::var("WATCHDOG_USEC").ok()?.parse::<u64>().ok()?;
    let for_us =
        std::env::var("WATCHDOG_PID").ok().is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    (for_us && micros > 0).then(|| Duration::from_micros(micros / 2).max(Duration::from_millis(1)))
}

/// An absolute path, or a name without a file behind an `@`.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match name.as_bytes().split_first() {
        #[cfg(target_os = "linux")]
        Some((b'@', name)) => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            socket.connect_addr(&address)?;
        }
        _ => socket.connect(Path::new(name))?,
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_by_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        Manager(Some(connect(path.as_os_str()).unwrap())).ready();
        let mut said = [0; 32];
        let n = manager.recv(&mut said).unwrap();
        assert_eq!(&said[..n], b"READY=1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_manager_hears_by_a_name_without_a_file() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("postrider-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        Manager(Some(connect(OsStr::new(&format!("@{name}"))).unwrap())).stopping();
        let mut said = [0; 32];
        let n = manager.recv(&mut said).unwrap();
        assert_eq!(&said[..n], b"STOPPING=1");
    }

    #[test]
    fn a_manager_that_is_not_there_does_no_harm() {
        assert!(connect(OsStr::new("/nowhere/at/all")).is_err());
        Manager(None).ready();
    }
}
