//! Wakes when interfaces or their addresses may have changed.
//!
//! Linux tells by netlink at once. What it says is not read, only that it says something: the whole
//! list is then taken anew. Where there is no netlink the list is taken every second.

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

    /// Protocol 0, which is also no protocol, is `NETLINK_ROUTE`; `RTMGRP_LINK` and
    /// `RTMGRP_IPV6_IFADDR` of `<linux/rtnetlink.h>`.
    const GROUPS: u32 = 0x1 | 0x100;
    /// Messages read in one go.
    const READS_MAX: usize = 64;

    /// A socket of datagrams like any other: tokio has a type for those of Unix, and of a netlink
    /// socket it needs no more than to wait and to read.
    #[derive(Debug)]
    pub struct Netlink(UnixDatagram);

    impl Netlink {
        pub fn new() -> io::Result<Self> {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
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

/// Tells when to look.
#[derive(Debug)]
pub(super) struct Changes {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    netlink: Option<netlink::Netlink>,
}

impl Changes {
    pub fn new() -> Self {
        Self {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            netlink: netlink::Netlink::new().ok(),
        }
    }

    /// Waits until it is worth looking; `soon` if the last look left something undone. Cancel-safe.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub async fn next(&mut self, soon: bool) {
        tokio::time::sleep(LOOKS_APART).await;
        let Some(netlink) = &self.netlink else { return tokio::time::sleep(POLL_EVERY).await };
        let told =
            tokio::time::timeout(if soon { POLL_EVERY } else { ASSURE_EVERY }, netlink.changed())
                .await;
        if matches!(told, Ok(Err(_))) {
            self.netlink = None;
        }
    }

    /// Waits until it is worth looking; always soon here. Cancel-safe.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub async fn next(&mut self, _soon: bool) {
        tokio::time::sleep(POLL_EVERY).await;
    }
}
