//! The whole contract between the engine and whatever runs it: read this first.
//!
//! One [`Engine`](super::Engine) per node owns every decision about live links. It does nothing
//! itself: a shell (the daemon, or a simulation) feeds it [`Input`]s and obeys its [`Output`]s.
//!
//! ```text
//! loop {
//!     input = the next of: a link came up or down, a unit came, a carriage has room,
//!             an answer, the clock passed poll_timeout
//!     engine.handle(now, input)
//!     while let Some(output) = engine.poll() { obey(output) }     // until None, then the next input
//! }
//! ```
//!
//! What holds:
//! - Values in, values out. The engine reads no clock and draws no randomness.
//! - Outputs come in one deterministic order; the shell obeys them in that order, at least those of
//!   one link and those of one transfer.
//! - An output with a [`Ticket`] is a question. Its answer, [`Input::Done`], may come at any time
//!   and in any order; a ticket is answered at most once. When the link for which it was asked is
//!   gone by then, the answer is dropped (an answer to [`Output::Keep`] never is).
//! - Nothing is settled as kept before the answer [`Kept::Kept`] to its [`Output::Keep`], which the
//!   shell gives when the commit is durable. The shell may put all `Keep`s of one drain into one
//!   group.
//! - A transfer that the shell has lost ([`Input::StageLost`]) may still be named in outputs that
//!   were given before; they mean nothing.
//! - Rows say what the spool has. The engine keeps none but those it is about to offer.
//!
//! How links and offers end, and what is told of that, is in `ending.rs`; what a bundle is to the
//! engine, in `row.rs`.

use std::net::SocketAddr;

use bytes::Bytes;
use postrider_base::{
    BundleId, NodeId, SealPublic,
    bundle::{Hop, Receipt},
    link::LinkFacts,
};

use super::policy::{LinkPolicy, Policy};
use crate::{
    reconcile::{Work, Worked},
    router::{Meeting, NodeHint},
};

pub use super::{
    ending::{Ending, Event, Reason, Verdict, Violation},
    row::{Class, Destination, Place, Row, ShortId},
};

/// Two clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Any monotonic clock in milliseconds: for timers and rates.
    pub mono_ms: u64,
    /// The spool's custody clock in milliseconds: for ages.
    pub held_ms: u64,
}

/// A live link. The shell numbers them and never uses a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A local network on which a datagram reaches everybody: an interface, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub u32);

/// A question to the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A large body on its way in: names a file that is being staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub u64);

/// Names the numbering of one spool: its random epoch, redrawn whenever numbers may have been
/// forgotten. Two numberings share a name once in 2^32 redraws; the daily reconciliation finds
/// what that hides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance(pub [u8; 4]);

/// How far one node has dealt with what another has: a cursor into the other's numbering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Which numbering.
    pub instance: Instance,
    /// Everything offered up to this arrival number is kept, known, or refused for good.
    pub bundles: u64,
    /// Every receipt up to this order number has been taken.
    pub receipts: u64,
}

/// What the engine knows of the node it decides for.
#[derive(Clone, Debug)]
pub struct Local {
    /// Who this is.
    pub node: NodeId,
    /// All seal keys whose tags are for this node.
    pub tag_keys: Vec<SealPublic>,
    /// The spool's numbering.
    pub instance: Instance,
    /// What holds for all links.
    pub policy: Policy,
}

/// Whom this node knows; replaces what was said before.
#[derive(Clone, Debug, Default)]
pub struct People {
    /// Contacts.
    pub contacts: Vec<Contact>,
    /// Friends of contacts: what is to or from them goes before what strangers write.
    pub friends: Vec<NodeId>,
    /// Nodes from which, for which and to which nothing is carried.
    pub blocked: Vec<NodeId>,
    /// (destination, neighbour): what is for the first goes to the second.
    pub via: Vec<(NodeId, NodeId)>,
    /// Groups whose bundles this node takes for itself and for others, over any link and from
    /// anybody: its shell lets none in that is not what the group is for.
    pub groups: Vec<[u8; 16]>,
}

/// One contact, as far as carrying for it asks.
#[derive(Clone, Debug)]
pub struct Contact {
    /// Its key.
    pub node: NodeId,
    /// Its seal keys: they resolve the tags of hidden bundles.
    pub seal_keys: Vec<SealPublic>,
    /// How often a month the owner says that it is met: counts until it is met as often.
    pub meets_per_month: u16,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A link is up and its security, if any, has been negotiated.
    LinkUp {
        /// Its number, new.
        link: LinkId,
        /// What is known of it. Only a proven peer's settles are believed.
        facts: LinkFacts,
        /// What is allowed on it.
        policy: LinkPolicy,
        /// Bytes its carriage buffers at most before it calls itself full.
        room_bytes: u64,
        /// My cursor into what this peer has, as last remembered.
        mine: Option<Seen>,
        /// Its cursor into what I have, as last remembered: a hint, so that offers can go in the
        /// first flight.
        theirs: Option<Seen>,
        /// Random, for this link: keys what must not be guessed.
        random: [u8; 16],
    },
    /// A link is gone, for whatever reason; also the echo of [`Output::Close`].
    LinkDown {
        /// Which.
        link: LinkId,
    },
    /// One whole unit came, without its length prefix.
    Unit {
        /// Over which link.
        link: LinkId,
        /// At most [`UNIT_MAX`](crate::exchange::UNIT_MAX) bytes.
        unit: Bytes,
    },
    /// One whole unit came that may be a recorded one, sent again by anybody: from the payload of a
    /// first handshake message. Only Hello and Offer come so. They are answered; nothing is marked
    /// or remembered because of them, nothing is left to the peer as to one that is near, and it is
    /// introduced to nobody, until the first [`Input::Unit`] proves it.
    Early {
        /// Over which link.
        link: LinkId,
        /// At most [`UNIT_MAX`](crate::exchange::UNIT_MAX) bytes.
        unit: Bytes,
    },
    /// Whoever packs units tightly asks to be told ([`Output::Flushed`]) when all has been given
    /// that follows from what came so far.
    Flush {
        /// Over which link.
        link: LinkId,
    },
    /// So many of the bytes given in [`Output::Send`] have left the carriage since the last time.
    /// Counts units without their framing; over the life of a link it sums to what was sent.
    Room {
        /// Which link.
        link: LinkId,
        /// How many.
        bytes: u64,
    },
    /// The spool admitted a bundle by another way: sent here, or tossed; or it renewed one, which has
    /// another arrival number now and more tokens. Its row is asked for
    /// ([`Output::Since`]), so only the last of many need be told, and too many do no harm.
    Arrived {
        /// Which.
        id: BundleId,
    },
    /// A bundle was retired by another way: cancelled, receipted on a stick, expired.
    Gone {
        /// Which.
        id: BundleId,
    },
    /// Receipts became known by another way: they are asked for ([`Output::ReceiptsSince`]).
    Receipts,
    /// A bundle was cast on a network, and heard whole. Comes before its [`Input::Arrived`].
    CastHeard {
        /// Where.
        network: NetworkId,
        /// Which.
        id: BundleId,
        /// This node had it before.
        here: bool,
    },
    /// Somebody on a network said what it has: as [`Output::Haves`] gave it there, or anything else.
    Haves {
        /// Where.
        network: NetworkId,
        /// It.
        said: Bytes,
    },
    /// Contacts, blocked nodes or routes changed.
    People(People),
    /// Whether this node is under pressure now ([`is_pressed`](super::is_pressed)); said again is no
    /// news.
    Pressure(bool),
    /// What [`Output::Meet`] asked for came to nothing. When it succeeds a link comes up instead.
    MeetFailed {
        /// Whom.
        node: NodeId,
    },
    /// Somebody wants to know whether a link answers: [`Event::Answered`] has the same nonce.
    Ping {
        /// Which link.
        link: LinkId,
        /// Tells answers apart. Those below 2^32 are the engine's own.
        nonce: u64,
    },
    /// The shell could not write what it was given for this transfer: it is over, and what was
    /// staged is gone.
    StageLost {
        /// Which.
        transfer: TransferId,
        /// Whether room was what it lacked: then it is worth coming again.
        full: bool,
    },
    /// The answer to a question.
    Done {
        /// Which.
        ticket: Ticket,
        /// What came out.
        answer: Answer,
    },
    /// The time of [`Engine::poll_timeout`](super::Engine::poll_timeout) has come.
    Timeout,
}

/// What the shell answers. The variant is that of the question.
#[derive(Debug)]
pub enum Answer {
    /// To [`Output::Since`], [`Output::Page`] and [`Output::Toward`].
    Rows {
        /// In the order asked for.
        rows: Vec<Row>,
        /// Whether more follow.
        more: bool,
        /// The highest arrival number given out so far, read *before* the rows were.
        upto: u64,
    },
    /// To [`Output::Look`]: one for each id, in order.
    Looked(Vec<Known>),
    /// To [`Output::Load`]; `None` when it is not live any more.
    Loaded(Option<Loaded>),
    /// To [`Output::Read`] and [`Output::ReadStaged`]: exactly what was asked for; `None` when it is
    /// gone or damaged.
    Read(Option<Bytes>),
    /// To [`Output::Keep`].
    Kept(Kept),
    /// To [`Output::Change`]: whether the bundle was live.
    Changed(bool),
    /// To [`Output::TakeReceipts`]: how many of them were news and have an order number now.
    Taken {
        /// How many.
        news: usize,
    },
    /// To [`Output::ReceiptsSince`].
    Receipts {
        /// In order.
        list: Vec<(u64, Receipt)>,
        /// Whether more follow.
        more: bool,
        /// The highest order number given out so far.
        upto: u64,
    },
    /// To [`Output::Sketch`].
    Sketched(Box<Worked>),
    /// To any of them: the disk did not answer. Asked for a link, the link is closed and comes
    /// again; for a bundle, it is settled as "later".
    Failed,
}

/// What the spool knows of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Unknown,
    /// It is in custody, or was and is remembered.
    Known,
}

/// A bundle from the spool, for sending.
#[derive(Debug)]
pub struct Loaded {
    /// The envelope head.
    pub head: Bytes,
    /// Hop data; the age is the one at arrival.
    pub hop: Hop,
    /// The custody clock at its arrival.
    pub arrived_held_ms: u64,
    /// The payload, if it has at most [`SMALL_PAYLOAD_MAX`](postrider_base::bundle::SMALL_PAYLOAD_MAX)
    /// bytes; else empty.
    pub payload: Bytes,
}

/// What became of a bundle that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is durable, and [`Output::Since`] shows it.
    Kept,
    /// It was known already; nothing was written.
    Known,
    /// There is no room for it now.
    Full,
    /// This node will never take it: a job from a stranger, a sequence that cheats, a quota that it
    /// does not fit.
    Refused,
}

/// What the shell is to do.
#[derive(Debug)]
pub enum Output {
    /// Send one unit: `head`, then `body`, under one length prefix. Two pieces so that a body is
    /// never copied.
    Send {
        /// Over which link.
        link: LinkId,
        /// The unit's beginning.
        head: Bytes,
        /// Its end, often empty.
        body: Bytes,
    },
    /// To [`Input::Flush`], once for each: what the spool was asked for this link before that has
    /// been answered, and every unit that follows from it was given. Commits and bodies are not
    /// waited for. None comes for a link that is closed.
    Flushed {
        /// Which link.
        link: LinkId,
    },
    /// Replace a live bundle's tokens, durably, and raise its level; then answer [`Answer::Changed`]. Until then nothing
    /// goes out that depends on it. Changes of one bundle are made in the order in which they were
    /// asked.
    Change {
        /// Answer to this.
        ticket: Ticket,
        /// Which.
        id: BundleId,
        /// Its hop data from now on; only tokens differ, and a level that is lower than what the spool
        /// has does not count.
        hop: Hop,
    },
    /// A neighbour so near to its recipient has a copy of a live bundle: its hop data says so from now
    /// on. At leisure; lost, a copy more is made.
    Raise {
        /// Which.
        id: BundleId,
        /// It never falls.
        level: u8,
    },
    /// Meetings with a node changed; may become durable at leisure, for the router of the next start.
    /// One that is worth nothing is to be forgotten.
    Met {
        /// With whom.
        node: NodeId,
        /// What is known of them.
        meeting: Meeting,
    },
    /// Send what was given before, then close the link. The engine has forgotten it already.
    Close {
        /// Which.
        link: LinkId,
        /// Why.
        why: Ending,
    },
    /// Up to `limit` live rows with an arrival number above `after`, in the order of those.
    Since {
        /// Answer to this.
        ticket: Ticket,
        /// Not these.
        after: u64,
        /// At most [`ROWS_MAX`](crate::exchange::ROWS_MAX).
        limit: usize,
    },
    /// Up to `limit` live rows of a class by niceness, then arrival.
    Page {
        /// Answer to this.
        ticket: Ticket,
        /// Of which class.
        class: Class,
        /// Where the last page ended.
        after: Option<Place>,
        /// At most [`ROWS_MAX`](crate::exchange::ROWS_MAX).
        limit: usize,
    },
    /// Up to `limit` live rows for nodes with these hints: those for the first by niceness, then
    /// arrival, then those for the second, and so on.
    Toward {
        /// Answer to this.
        ticket: Ticket,
        /// At most [`MEETS_MAX`](crate::router::MEETS_MAX).
        nodes: Vec<NodeHint>,
        /// Where the last answer ended, in what is for the first.
        after: Option<Place>,
        /// At most [`ROWS_MAX`](crate::exchange::ROWS_MAX).
        limit: usize,
    },
    /// Which of these ids are known, live or retired.
    Look {
        /// Answer to this.
        ticket: Ticket,
        /// At most [`OFFERS_OPEN`](crate::exchange::OFFERS_OPEN).
        ids: Vec<ShortId>,
    },
    /// A live bundle's head, hop data, and its payload if small.
    Load {
        /// Answer to this.
        ticket: Ticket,
        /// Which.
        id: BundleId,
    },
    /// A piece of a live bundle's body.
    Read {
        /// Answer to this.
        ticket: Ticket,
        /// Which.
        id: BundleId,
        /// From where.
        at: u64,
        /// How much; never past the end.
        bytes: usize,
    },
    /// Begin a body that arrives in pieces. Its head has been verified.
    Stage {
        /// Its name from now on.
        transfer: TransferId,
        /// Whose body.
        id: BundleId,
        /// Its length: refuse ([`Input::StageLost`]) what cannot fit.
        length: u64,
        /// The envelope head, as it will be in [`Output::Keep`].
        head: Bytes,
        /// What will be done with it, as far as can be seen now: what is for this node may be
        /// opened while it comes. [`Output::Keep`] says what holds.
        custody: Custody,
    },
    /// Write these bytes behind those that a transfer has.
    Append {
        /// Which.
        transfer: TransferId,
        /// What.
        bytes: Bytes,
    },
    /// A piece of what a transfer has, which was appended before this.
    ReadStaged {
        /// Answer to this.
        ticket: Ticket,
        /// Which.
        transfer: TransferId,
        /// From where.
        at: u64,
        /// How much; never past what was appended.
        bytes: usize,
    },
    /// Forget a transfer and what was staged for it.
    Drop {
        /// Which.
        transfer: TransferId,
    },
    /// Admit a bundle, durably; then answer.
    Keep {
        /// Answer to this.
        ticket: Ticket,
        /// What.
        bundle: Box<NewBundle>,
    },
    /// Take receipts: keep those that open the lock of a bundle here, retire what they free, and say
    /// how many were news. One whose bundle is not here cannot be checked: it is no news and not handed
    /// on. It may be remembered; when its bundle comes, that is over ([`Kept::Known`]).
    TakeReceipts {
        /// Answer to this.
        ticket: Ticket,
        /// Who brought them, if proven.
        from: Option<NodeId>,
        /// At most [`RECEIPTS_MAX`](crate::exchange::RECEIPTS_MAX).
        list: Vec<Receipt>,
    },
    /// Up to `limit` receipts with an order number above `after`.
    ReceiptsSince {
        /// Answer to this.
        ticket: Ticket,
        /// Not these.
        after: u64,
        /// At most [`RECEIPTS_MAX`](crate::exchange::RECEIPTS_MAX).
        limit: usize,
    },
    /// Cursors moved. They may become durable at leisure: an old one costs a few offers.
    Remember {
        /// Shared with whom.
        peer: NodeId,
        /// Mine into theirs; `None`: as it was.
        mine: Option<Seen>,
        /// Theirs into mine; `None`: as it was.
        theirs: Option<Seen>,
    },
    /// A proven neighbour has settled a bundle as kept, or knew it.
    Carried {
        /// Which.
        id: BundleId,
        /// Who.
        peer: NodeId,
    },
    /// Compute something that takes long, on another thread where other links wait; the answer is
    /// [`Answer::Sketched`] with what [`Work::run`] returns. Each link has at most one out.
    Sketch {
        /// Answer to this.
        ticket: Ticket,
        /// What.
        work: Box<Work>,
    },
    /// Open a link together with a node that does the same, now, from the port that `link` has
    /// here. Ends in a link, or in [`Input::MeetFailed`].
    Meet {
        /// Whose port is used.
        link: LinkId,
        /// With whom; nobody else may answer.
        node: NodeId,
        /// Where it is seen.
        at: SocketAddr,
    },
    /// Send the form of a live bundle to everybody on a network, once, and repair what gets lost there.
    /// At leisure: what nobody says that it has goes by link.
    Cast {
        /// Where.
        network: NetworkId,
        /// Which.
        id: BundleId,
    },
    /// Send this to everybody on a network: [`Input::Haves`] there.
    Haves {
        /// Where.
        network: NetworkId,
        /// At most [`HAVES_MAX`](super::HAVES_MAX) bytes.
        said: Vec<u8>,
    },
    /// Something worth telling; nothing depends on it.
    Event(Event),
}

/// A bundle whose head, signature and body have been verified.
#[derive(Clone, Debug)]
pub struct NewBundle {
    /// What it is, but for its arrival number and time, which are zero.
    pub row: Row,
    /// The envelope head as it came.
    pub head: Bytes,
    /// Where it goes here.
    pub custody: Custody,
    /// How near this node is to whom it is for: what is worth less goes sooner where there is no room.
    pub worth: u8,
    /// Its body.
    pub body: Body,
}

/// What is done with a bundle that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custody {
    /// It is for this node.
    Deliver,
    /// It is carried.
    Carry,
}

/// Where a body is.
#[derive(Clone, Debug)]
pub enum Body {
    /// Here, whole.
    Inline(Bytes),
    /// In what was staged under this name, whole; the name is free after the answer.
    Staged(TransferId),
}
