//! Wakes when interfaces, their addresses or the ways out may have changed.
//!
//! Linux tells by netlink at once. What it says is not read, only that it says something: whoever
//! waits looks for itself. Where there is no netlink it should look every second.

use std::time::Duration;

/// Between two looks where nobody tells.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Between two looks although somebody would tell: for what is lost on the way.
const ASSURE_EVERY: Duration = Duration::from_secs(30);
/// At least this between two looks: interfaces of containers come and go by dozens.
const LOOKS_APART: Duration = Duration::from_millis(50);

#[cfg(any(target_os = "linux", target_os = "android"))]
mod netlink {
    use std::{io, os::unix::net};

    use rustix::net::{
        AddressFamily, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, socket_with,
    };
    use tokio::net::UnixDatagram;

    use super::About;

    /// `RTMGRP_LINK` and `RTMGRP_IPV6_IFADDR` of `<linux/rtnetlink.h>`.
    const LINK_LOCAL: u32 = 0x1 | 0x100;
    /// The same with `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE` and `RTMGRP_IPV6_ROUTE`.
    const WAYS: u32 = LINK_LOCAL | 0x10 | 0x40 | 0x400;
    /// Messages read in one go.
    const READS_MAX: usize = 64;

    /// A socket of datagrams like any other: tokio has a type for those of Unix, and of a netlink
    /// socket it needs no more than to wait and to read.
    #[derive(Debug)]
    pub struct Netlink(UnixDatagram);

    impl Netlink {
        pub fn new(about: About) -> io::Result<Self> {
            let groups = match about {
                About::LinkLocal => LINK_LOCAL,
                About::Ways => WAYS,
            };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            // Protocol 0, which is also no protocol, is `NETLINK_ROUTE`.
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            bind(&socket, &SocketAddrNetlink::new(0, groups))?;
            Ok(Self(UnixDatagram::from_std(net::UnixDatagram::from(socket))?))
        }

        /// Waits for a message and throws away what has come. Cancel-safe.
        pub async fn changed(&self) -> io::Result<()> {
            let mut buffer = [0; 4096];
            self.0.readable().await?;
            for _ in 0..READS_MAX {
                match self.0.try_recv(&mut buffer) {
                    // More has come than the kernel could keep: all the more reason to look.
                    Err(error) if error.raw_os_error() == Some(NOBUFS) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    told => drop(told?),
                }
            }
            Ok(())
        }
    }

    const NOBUFS: i32 = rustix::io::Errno::NOBUFS.raw_os_error();
}

/// What somebody wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Interfaces, and their link-local addresses.
    LinkLocal,
    /// Also other addresses and routes: everything that decides how others are reached.
    Ways,
}

/// Tells when to look.
#[derive(Debug)]
pub struct Changes {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    netlink: Option<netlink::Netlink>,
}

impl Changes {
    /// From now on; within a runtime.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn new(about: About) -> Self {
        Self { netlink: netlink::Netlink::new(about).ok() }
    }

    /// From now on; within a runtime.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub fn new(_about: About) -> Self {
        Self {}
    }

    /// Waits until it is worth looking; `soon` if the last look left something undone. Whether the
    /// system told of a change. Cancel-safe.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub async fn next(&mut self, soon: bool) -> bool {
        tokio::time::sleep(LOOKS_APART).await;
        let Some(netlink) = &self.netlink else {
            tokio::time::sleep(POLL_EVERY).await;
            return false;
        };
        let limit = if soon { POLL_EVERY } else { ASSURE_EVERY };
        let told = tokio::time::timeout(limit, netlink.changed()).await;
        if matches!(told, Ok(Err(_))) {
            self.netlink = None;
        }
        matches!(told, Ok(Ok(())))
    }

    /// Waits until it is worth looking; always soon here. Cancel-safe.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub async fn next(&mut self, _soon: bool) -> bool {
        tokio::time::sleep(POLL_EVERY).await;
        false
    }
}
