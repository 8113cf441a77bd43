//! What goes into the machine of who is near, and what comes out of it.

use postrider_base::NodeId;

use super::advert::{NearKey, Said};
use crate::node::LinkId;

/// A Bluetooth adapter, by the number that the system gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterId(pub u16);

/// What kind of address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressKind {
    /// Given to a device for ever.
    Public,
    /// Drawn, and soon another.
    Random,
}

/// Where somebody was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The address, as it is written.
    pub address: [u8; 6],
    /// Its kind.
    pub kind: AddressKind,
}

/// Who this node is to those who are near.
#[derive(Debug)]
pub struct Local {
    /// Its key.
    pub node: NodeId,
    /// Under which it says what it says.
    pub key: NearKey,
}

/// Whom this node knows.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Contacts and fellow members, with the keys that resolve what they say.
    pub keys: Vec<(NodeId, NearKey)>,
    /// Never dialled, and no link to them stays.
    pub blocked: Vec<NodeId>,
}

/// How much is done for being found and finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Listens half of the time; links stay while there is room.
    #[default]
    Quick,
    /// Listens a tenth of the time; links end when nothing more is to be said.
    Saver,
    /// Says nothing, does not listen, dials nobody.
    Off,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// An adapter can be used, or its channel has changed.
    AdapterUp {
        /// Which.
        adapter: AdapterId,
        /// Where it takes links, 0x80 or more; `None`: it cannot.
        channel: Option<u8>,
    },
    /// It cannot be used any more.
    AdapterDown {
        /// Which.
        adapter: AdapterId,
    },
    /// Somebody has connected with it, or a dial has got so far. Who that is a link may tell.
    Connected {
        /// Which.
        adapter: AdapterId,
    },
    /// It says nothing any more, because somebody has connected: it is to say something else.
    Silenced {
        /// Which.
        adapter: AdapterId,
    },
    /// Somebody said something.
    Heard {
        /// On which adapter.
        adapter: AdapterId,
        /// From where.
        from: Place,
        /// Whatever it is.
        said: Said,
        /// How strong, in dBm; nearer is more.
        strength_dbm: Option<i16>,
    },
    /// Bytes can go to somebody and back.
    LinkUp {
        /// Its number, new.
        link: LinkId,
        /// Over which adapter.
        adapter: AdapterId,
        /// From where; of an accepted one it says nothing.
        from: Place,
        /// How it came about.
        came: Came,
    },
    /// It is certain who is at the other end.
    Proven {
        /// Of which link.
        link: LinkId,
        /// The key that was proven.
        node: NodeId,
    },
    /// Something other than pings went over it lately, or is due.
    Moved {
        /// Over which.
        link: LinkId,
    },
    /// It is gone, also after [`Output::Close`].
    LinkDown {
        /// Which.
        link: LinkId,
        /// How.
        end: End,
    },
    /// [`Output::Dial`] led to no link.
    DialFailed {
        /// By which adapter.
        adapter: AdapterId,
        /// Where to.
        to: Place,
    },
    /// Contacts changed; replaces what was said before.
    Known(Known),
    /// Nodes for which there is mail, the most urgent first; replaces what was said before.
    Wanted(Vec<NodeId>),
    /// Nodes that are reached in other ways, as over a local network: not dialled; replaces what was
    /// said before.
    Elsewhere(Vec<NodeId>),
    /// How much is to be done from now on.
    Profile(Profile),
    /// A person wants to know who is here: listen, as after coming up.
    Search,
    /// The time of `poll_timeout` has come.
    Timeout,
}

/// How a link came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// This end dialled, as [`Output::Dial`] said.
    Dialled,
    /// The other end dialled.
    Accepted,
}

/// How a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// One of both ends has closed it.
    Closed,
    /// The radios do not reach each other any more, or that end is gone without a word.
    Lost,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Say this again and again from now on, under an address that was not used before; `None`: be
    /// silent.
    Say {
        /// Where.
        adapter: AdapterId,
        /// What.
        said: Option<Said>,
    },
    /// Listen, or do not.
    Listen {
        /// Where.
        adapter: AdapterId,
        /// Whether.
        on: bool,
    },
    /// Dial; answered by `LinkUp` or `DialFailed`. There is one dial at a time on an adapter.
    Dial {
        /// Where.
        adapter: AdapterId,
        /// To.
        to: Place,
        /// On which of its channels.
        channel: u8,
        /// Who has to be there.
        expect: NodeId,
    },
    /// End this link: the machine has forgotten it.
    Close {
        /// Which.
        link: LinkId,
    },
}

/// Somebody whom this node knows and who is heard or linked, for people to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who says it is.
    pub node: NodeId,
    /// Whether there is a link that proved it.
    pub linked: bool,
    /// Since what it said was heard last, in milliseconds.
    pub ago_ms: Option<u64>,
    /// How strong that was, in dBm.
    pub strength_dbm: Option<i16>,
    /// Dials in vain since the last link.
    pub failures: u32,
}
