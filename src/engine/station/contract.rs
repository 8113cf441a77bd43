//! The whole contract between a station and whatever runs it: read this first.
//!
//! One [`Station`](super::Station) for each radio channel decides what goes on the air and when, and puts
//! together what is heard. It does nothing itself and routes nothing: the shell tells it what there is to
//! send and to whom, and obeys.
//!
//! ```text
//! loop {
//!     input = the next of: something to send, a frame heard, the fate of a frame, the carrier, an answer,
//!             the clock passed poll_timeout
//!     station.handle(now, ledger, input)
//!     while let Some(output) = station.poll() { obey(output) }     // until None, then the next input
//! }
//! ```
//!
//! A frame goes out so:
//!
//! ```text
//! station  books it in the ledger           -> WriteLedger { write }
//! shell    makes ledger.encode() durable    -> Input::LedgerDurable { write }
//! station  listens, backs off               -> Transmit { number, frame }
//! shell    gives it to the modem            -> Input::Sent or Input::Refused { number }
//! station  settles what was booked
//! ```
//!
//! A form comes in so:
//!
//! ```text
//! station  puts it together                 -> Form { form, bytes }
//! shell    expands it, commits it durably   -> Input::Judged { form, verdict }
//! station  only now lets others know that this node has it
//! ```
//!
//! When the radio is gone, [`Station::end`](super::Station::end) gives back what was booked and not sent.
//!
//! What holds:
//! - Values in, values out. The station reads no clock; all chance comes from the seed it began with.
//! - The ledger is the shell's, one for all radios of a node, and must be the same one at every call; what
//!   several stations share by it is an account, not an order. The lanes are kept within each station.
//! - Every `WriteLedger` is answered, in any order; the later answer holds for those before it. Nothing
//!   goes on the air before the answer. Of every `Transmit` the fate is told, once.
//! - Every `Form` is answered once, whenever the shell likes. `Kept` only after the durable commit: from
//!   then on others are told that they need not send it.
//! - Nothing that is heard ends an item: only [`Input::TakeBack`] does. What others seem to have makes
//!   repetitions rarer, however surely; a tick for people follows from a receipt that opened, and the
//!   shell is who opens it.
//! - All that is heard is bounded and may be a lie.

use postrider_base::{
    BundleId, NodeId,
    air::Strength,
    bundle::Receipt,
    radio::{CallSign, Station as Called},
};

use super::beacon::ContactKey;
use crate::air::{Lane, Why, ledger::Limit, lora::Modulation, regions::Silence};

/// Two clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Any clock that never goes back, in microseconds: for timers and for listening.
    pub us: u64,
    /// The custody clock in milliseconds: for the ledger and for how long items live.
    pub custody_ms: u64,
}

/// The first eight bytes of a bundle's id, as receipts name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(pub [u8; 8]);

/// What a radio is like and what the law says, for as long as the station lives.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What others who hold this node's card know it by.
    pub key: ContactKey,
    /// Bytes of the longest frame, by the modem and by how long the law lets a frame be. At least
    /// [`super::MTU_LEAST`].
    pub mtu_bytes: usize,
    /// How bytes become time on the air.
    pub modulation: Modulation,
    /// The account that airtime goes into, and how much it may hold.
    pub limit: Limit,
    /// What the law wants to be heard before a frame, and left after it.
    pub silence: Option<Silence>,
    /// Who listens before a frame goes.
    pub listening: Listening,
    /// Whether this station says that it is there.
    pub beacons: Beacons,
    /// Whose station this is, where every station must say so: in a frame before the first, and every
    /// ten minutes while it sends.
    pub call: Option<Called>,
}

/// Who listens before a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// This station, by [`Input::Carrier`] or at least by the frames that are heard.
    Here,
    /// The modem by itself: it gets frames at once.
    Modem,
}

/// Whether a station says that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beacons {
    /// When there is something new, and rarely when there is not.
    Sent,
    /// Never, as where nothing may be said that only some understand: nothing that it sends says who it
    /// is, it is found by nobody, and offered nothing that it did not hear of itself.
    Silent,
}

/// Something to send: a bundle in its radio form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is. Given again with the same id it takes the place of what was there: with a form that
    /// differs in its age alone it goes on as before, else it begins anew.
    pub id: ItemId,
    /// As `radio::shrink` made it, for whoever is to read it.
    pub form: Vec<u8>,
    /// How urgent it is, by a word that is believed.
    pub lane: Lane,
    /// Who is to have it.
    pub to: To,
    /// Who brought it here. Sources of one lane have equal shares of the airtime.
    pub source: Source,
    /// How long it lives from now on, by the custody clock. The station lets go of it then, and says
    /// [`Output::Ended`].
    pub lives_ms: u64,
    /// Whether this node waits for a receipt, as it does for its own messages: it asks others for one
    /// when somebody seems to have the item and none comes.
    pub asks: Asks,
    /// Whether it goes again by itself.
    pub repeats: Repeats,
}

/// Whether an item goes again although nobody says that they lack it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// Ever more rarely, until it is taken back.
    Ever,
    /// No: whoever did not hear of it gets it another way. What others lack of it is repaired.
    Never,
}

/// Whether a receipt is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Ever more rarely.
    Receipt,
    /// Not here.
    Nothing,
}

/// Who is to have an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum To {
    /// Whoever hears it.
    Anybody,
    /// This neighbour: what others seem to have does not replace it.
    Neighbour(NodeId),
}

/// Who brought an item: a number that the shell gives, as to itself, a link, an author. Nothing on the
/// air says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(pub u64);

/// A form that came whole, within one run of the station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FormNumber(pub u64);

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// There is this to send, or to send differently.
    Send(Item),
    /// It is not to be sent any more: receipted, expired, cancelled, gone another way.
    TakeBack {
        /// Which.
        id: ItemId,
    },
    /// Receipts to pass on: once each. They are asked for when they got lost
    /// ([`Output::ReceiptWanted`], [`Output::Again`]), and then given again. Whatever item they end is
    /// taken back by the shell.
    Receipts {
        /// True ones.
        receipts: Vec<Receipt>,
        /// How urgent: mostly as the message was.
        lane: Lane,
    },
    /// Somebody's frame was heard.
    Heard {
        /// Whatever it is.
        frame: &'a [u8],
        /// How well.
        strength: Strength,
    },
    /// A frame of ours has left the antenna.
    Sent {
        /// Which.
        number: u32,
    },
    /// A frame of ours was not sent.
    Refused {
        /// Which.
        number: u32,
        /// Why.
        why: Refusal,
    },
    /// Somebody began to send, or the channel is free again, where the modem tells.
    Carrier {
        /// Whether somebody sends.
        busy: bool,
    },
    /// The ledger is durable, with all that was booked until that write was asked for.
    LedgerDurable {
        /// Which write.
        write: u32,
    },
    /// What came of a form.
    Judged {
        /// Which.
        form: FormNumber,
        /// What.
        verdict: Verdict,
    },
    /// Whom this node knows; replaces what was said before. The first [`super::CONTACTS_MAX`] count.
    Contacts(Vec<(NodeId, ContactKey)>),
    /// What this node has or had and does not want to be sent; replaces all that the station knew of
    /// that, and is given when it begins and when something was dropped. What is judged kept or known
    /// is added. The last [`super::HELD_MAX`] count, so the newest stand last.
    Held(Vec<ItemId>),
    /// The time of `poll_timeout` has come.
    Timeout,
}

/// Why a modem did not send a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is busy, or the channel is, or it has no network: the frame goes later, and was not on the
    /// air.
    Later,
    /// It says that it has sent as much as it may: as before, and much later.
    Duty,
    /// It never takes a frame like this: too long. What the frame was of waits for another form.
    Never,
    /// It did not answer: the frame may have been on the air, and counts.
    Unknown,
}

/// What came of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is new, and kept durably.
    Kept(ItemId),
    /// It was here before, or is done with.
    Known(ItemId),
    /// It is not taken: refused, blocked, no room. Nobody is told, and it may come again.
    Unwanted,
    /// It can be expanded only by somebody else, or somebody who knows more: whoever sent it is told.
    Unread,
}

/// What is to be done, and what is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Make the ledger durable, as it is now; answered by [`Input::LedgerDurable`].
    WriteLedger {
        /// Rises by one each time.
        write: u32,
    },
    /// Put this on the air at once; answered by [`Input::Sent`] or [`Input::Refused`]. One at a time.
    Transmit {
        /// Tells frames apart.
        number: u32,
        /// At most as long as the settings say.
        frame: Vec<u8>,
    },
    /// A form came whole; answered by [`Input::Judged`]. It was compared with nothing.
    Form {
        /// Its number.
        form: FormNumber,
        /// It.
        bytes: Vec<u8>,
        /// How well its last frame was heard.
        strength: Strength,
    },
    /// Somebody sends what this node was judged to have. If there is a receipt for it, they do not
    /// have that.
    Again {
        /// What.
        id: ItemId,
    },
    /// Receipts came. Whether they are true is for the shell to find out.
    Receipts(Vec<Receipt>),
    /// Somebody asks for the receipt for what begins with these bytes. If there is one, pass it on.
    ReceiptWanted {
        /// The first bytes of an [`ItemId`].
        prefix: [u8; 3],
    },
    /// Whoever got this item cannot read its form. Send it again with a form for strangers, if this is
    /// not one.
    Unread {
        /// Which.
        id: ItemId,
    },
    /// A contact is there, or there again, or heard otherwise than before.
    Neighbour {
        /// Who. Hearsay: a beacon can be repeated from elsewhere.
        node: NodeId,
        /// How well it is heard.
        strength: Strength,
    },
    /// It was not heard for long.
    NeighbourGone {
        /// Who.
        node: NodeId,
    },
    /// Somebody says whose station it is.
    Called(CallSign),
    /// An item waits; said once for each reason.
    Waits {
        /// Which.
        id: ItemId,
        /// For what.
        waiting: Waiting,
    },
    /// An item was on the air, all of it, or was offered again to those who lack something of it.
    Aired {
        /// Which.
        id: ItemId,
        /// The how manyth time.
        times: u32,
    },
    /// An item seems to be with somebody. It is repeated rarely from now on.
    Taken {
        /// Which.
        id: ItemId,
        /// With whom; nobody knows that of one whom we only heard pass it on.
        by: Option<NodeId>,
    },
    /// The station let go of an item by itself.
    Ended {
        /// Which.
        id: ItemId,
        /// Why.
        ending: Ending,
    },
}

/// What an item waits for, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// For airtime, until about then by the custody clock in milliseconds.
    Airtime(u64, Why),
    /// For others to be silent, who have been speaking since then by the other clock in microseconds.
    Silence(u64),
    /// For the modem, which has sent as much as it may.
    Modem,
}

/// Why the station let go of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its life is over.
    Expired,
    /// It can never go here, and why.
    Never(Why),
    /// Neither can a form like this.
    Form,
    /// There were more items than the station holds, and this was the least urgent and last. It may be
    /// given again later.
    Full,
}

impl ItemId {
    /// Of a bundle.
    pub fn of(id: &BundleId) -> Self {
        Self(id.prefix())
    }
}

impl std::fmt::Debug for ItemId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
