//! What goes into the machine of meeting and what comes out of it.

use std::net::Ipv6Addr;

use postrider_base::{NodeId, NodeSecret, SealPublic};

use super::beacon::{BEACON_BYTES, ContactKey, GroupKey};
use crate::node::LinkId;

/// A network interface, by the number that the system gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u32);

/// Where a neighbour takes links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// On which interface.
    pub interface: InterfaceId,
    /// Its link-local address.
    pub address: Ipv6Addr,
    /// Its TCP port.
    pub port: u16,
}

/// Who this node is to its neighbours.
#[derive(Debug)]
pub struct Local {
    /// Its key.
    pub node: NodeId,
    /// From its first seal key.
    pub key: ContactKey,
    /// The groups to whose members it shows itself; the first three count.
    pub groups: Vec<GroupKey>,
    /// Where it takes links.
    pub port: u16,
    /// Whether it meets strangers, under guest keys.
    pub carrier: bool,
}

/// Whom this node knows.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Contacts that may be dialled, with their first seal keys.
    pub contacts: Vec<(NodeId, SealPublic)>,
    /// Never dialled, even if a group has them.
    pub blocked: Vec<NodeId>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// An interface can be used, or its address has changed.
    InterfaceUp {
        /// Which.
        interface: InterfaceId,
        /// Its link-local address, from which beacons go.
        address: Ipv6Addr,
        /// Where somebody is heard on several interfaces the lowest is dialled.
        priority: u8,
        /// Whether beacons are sent there.
        beacons: bool,
    },
    /// It cannot be used any more.
    InterfaceDown {
        /// Which.
        interface: InterfaceId,
    },
    /// A datagram came on the port of beacons, from a link-local address.
    Heard {
        /// On which interface.
        interface: InterfaceId,
        /// From where.
        from: Ipv6Addr,
        /// Whatever it is.
        datagram: &'a [u8],
    },
    /// A link to a link-local address is up.
    LinkUp {
        /// Its number, new.
        link: LinkId,
        /// The key that the other end has proven: its own, or a guest key.
        node: NodeId,
        /// Whether ours or theirs is a guest key.
        guest: bool,
        /// How it came about.
        came: Came,
    },
    /// It is gone, also after [`Output::Close`].
    LinkDown {
        /// Which.
        link: LinkId,
    },
    /// [`Output::Dial`] led to no link.
    DialFailed {
        /// Where to.
        at: Place,
    },
    /// Contacts changed; replaces what was said before.
    Known(Known),
    /// Nodes for which there is mail, the most urgent first; replaces what was said before.
    Wanted(Vec<NodeId>),
    /// The time of `poll_timeout` has come.
    Timeout,
}

/// How a link came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// This end dialled, as [`Output::Dial`] said.
    Dialled(Place),
    /// The other end dialled.
    Accepted {
        /// On which interface.
        interface: InterfaceId,
        /// From where; its port means nothing.
        from: Ipv6Addr,
    },
}

/// As whom we dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// As ourselves, somebody whom we know.
    Known,
    /// As a guest, a guest.
    Guest,
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// Take links under this key as well from now on, beside the one before, and dial guests with
    /// it. Comes before the beacons that show it.
    Guest(NodeSecret),
    /// Send a beacon to everybody on an interface, from the address it was said to have.
    SendBeacon {
        /// Where.
        interface: InterfaceId,
        /// Bytes.
        datagram: Box<[u8; BEACON_BYTES]>,
    },
    /// Dial; answered by `LinkUp` or `DialFailed`.
    Dial {
        /// Where.
        at: Place,
        /// Who has to be there.
        expect: NodeId,
        /// With which key.
        role: Role,
    },
    /// End this link: there are too many, or there is a better one to the same node. The machine
    /// has forgotten it.
    Close {
        /// Which.
        link: LinkId,
    },
}
