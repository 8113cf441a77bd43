//! The task that owns one link: bytes in, bytes out, and nothing decided.
//!
//! 1. A link that proves nobody runs the Noise handshake first, with the first units in it.
//! 2. The engine hears of the link, with the cursors that this node remembers of its peer.
//! 3. Units are cut out of what comes and handed over; what the engine gives is written. The
//!    engine and the disk may lag behind by [`AHEAD_BYTES`] of a link, then it is read no further.
//!
//! On a narrow link a record costs 18 bytes. So what follows from one read goes into one record:
//! writing waits until the engine says that there is no more of it.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::{Buf, Bytes, BytesMut};
use postrider_base::{NodeId, link::LinkFacts};
use postrider_engine::{
    carriage::{
        Deframer, length_prefix,
        noise::{LENGTH_BYTES, RECORD_MAX, Transport as Noise, first_message},
    },
    exchange::{CHUNK_MAX, UNIT_MAX},
    node::{Input, LinkId},
};
use postrider_transports::contract::{Link, Pipe};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::{Semaphore, mpsc, oneshot},
    time::{Duration, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    board::{LinkRow, Traffic},
    engine_task::{NewLink, OUTGOING_MAX, Outgoing, ToEngine},
    greeting::{self, Begun, Greeted},
    node::Node,
    roaming,
};
use crate::desk::Failure;

/// Bytes of units that one link may have on their way to the engine, and of bodies to the disk.
const AHEAD_BYTES: usize = 4 << 20;
/// What the engine may give a link before bytes of it have left: four chunks.
const ROOM_BYTES: u64 = 4 * CHUNK_MAX as u64;
/// Small units are written together up to this size.
const GATHER_BYTES: usize = 64 << 10;
/// So much goes at once on a narrow link, although more may follow: then a record costs little.
const HOLD_BYTES: usize = 4 << 10;
/// Answers to such questions that one link may have waiting: they take places of units.
const FLUSHES_MAX: usize = 4;
/// A Noise handshake takes one round trip; on the slowest line a few seconds.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(60);
/// After so long without a byte, what came of a body's piece is handed over: the link may be dead, and another
/// is asked for the rest before this one is known to be over.
const QUIET: Duration = Duration::from_secs(1);
/// How long a link that is over is read on: what the system has of it comes at once.
const LAST_READ: Duration = Duration::from_millis(20);
/// How long a closed link may take to write what it was given before.
const LINGER: Duration = Duration::from_secs(5);

pub(super) type Stream = Box<dyn postrider_transports::contract::StreamPipe>;

/// Who begins on a link that proves nobody, and who must be at its other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// This end calls that node.
    Calls(NodeId),
    /// This end answers whoever calls; or that node alone.
    Answers(Option<NodeId>),
}

impl From<Option<NodeId>> for Role {
    /// Where whoever dials knows whom, and whoever is dialled does not.
    fn from(expect: Option<NodeId>) -> Self {
        expect.map_or(Self::Answers(None), Self::Calls)
    }
}

/// Runs a link to its end, or until `over`. `proven` hears who is at its other end.
pub(super) async fn run(
    node: Arc<Node>,
    link: Link,
    role: Role,
    over: CancellationToken,
    proven: Option<oneshot::Sender<Box<LinkRow>>>,
) -> io::Result<()> {
    let id = node.board.next_link();
    let ended = live(&node, id, link, role, over, proven).await;
    node.board.link_down(id);
    let _ = node.engine.send(ToEngine::input(Input::LinkDown { link: id })).await;
    ended
}

async fn live(
    node: &Arc<Node>,
    id: LinkId,
    link: Link,
    role: Role,
    over: CancellationToken,
    proven: Option<oneshot::Sender<Box<LinkRow>>>,
) -> io::Result<()> {
    let Link { mut facts, pipe } = link;
    // A port's bytes come here as a stream: `line_task`.
    let Pipe::Stream(mut stream) = pipe else {
        return Err(io::Error::other("a link of another kind"));
    };
    let greeted = if let Some(peer) = facts.peer {
        admit(node, &peer)?;
        if facts.guest {
            // A guest key proves that the link is with whom it was begun, and nobody's name.
            facts.peer = None;
        }
        None
    } else {
        let greeting = async {
            match role {
                Role::Calls(peer) => greeting::initiate(node, id, &mut stream, &facts, peer).await,
                Role::Answers(expect) => {
                    greeting::respond(node, id, &mut stream, &facts, expect).await
                }
            }
        };
        // A handshake that was begun is never continued.
        let greeted = tokio::select! {
            greeted = timeout(HANDSHAKE_TIME_MAX, greeting) => greeted,
            () = over.cancelled() => return Ok(()),
        };
        Some(greeted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??)
    };
    facts.peer = greeted.as_ref().map_or(facts.peer, |greeted| Some(greeted.noise.peer()));
    let rtt = greeted.as_ref().map(|greeted| greeted.rtt);
    let row = node.board.link_up(id, &facts, rtt);
    tracing::debug!(link = id.0, address = %facts.address, "a link is up");
    let (traffic, closing) = (Arc::clone(&row.traffic), row.closing.clone());
    // Whoever waited may have gone.
    let _ = proven.map(|proven| proven.send(Box::new(row)));
    // Both ends are proven here: whoever plays a recorded handshake makes no link doubted.
    for row in roaming::overtaken(node.board.links(), id) {
        node.doubt(row);
    }
    let (from, to) = tokio::io::split(stream);
    let (mut outgoing, begun) = match greeted {
        Some(greeted) => {
            let Greeted { noise, given, begun, first, proof, .. } = greeted;
            traffic.received_bytes.fetch_add(greeted.received_bytes, Ordering::Relaxed);
            traffic.sent_bytes.fetch_add(greeted.sent_bytes, Ordering::Relaxed);
            let tight = Tight { noise: Mutex::new(noise), flushes: AtomicUsize::new(0) };
            let tight = Some(Arc::new(tight));
            (OutgoingHalf { node, id, tight, traffic: &traffic, given, first, proof }, begun)
        }
        None => {
            let given = join(node, id, facts).await?.given;
            let (tight, first, proof) = (None, VecDeque::new(), None);
            let outgoing = OutgoingHalf { node, id, tight, traffic: &traffic, given, first, proof };
            (outgoing, Begun::default())
        }
    };
    let Begun { deframer, sealed } = begun;
    let mut incoming = Incoming {
        node,
        id,
        tight: outgoing.tight.clone(),
        traffic: &traffic,
        ahead: Arc::new(Semaphore::new(AHEAD_BYTES)),
        from,
        sealed,
        deframer,
        next: None,
        flush_due: false,
    };
    // Whichever ends first ends the link. Of what comes nothing is lost with a future that is
    // dropped; what was half written is never continued. The engine's way here stays open until it
    // has the last units: it would take a closed one for the end, and them for nobody's.
    let ended = tokio::select! {
        ended = incoming.run() => ended,
        ended = outgoing.run(to) => ended,
        () = over.cancelled() => Ok(()),
        () = closing.cancelled() => Ok(()),
    };
    incoming.finish().await;
    let bytes = |of: &AtomicU64| of.load(Ordering::Relaxed);
    let (received, sent) = (bytes(&traffic.received_bytes), bytes(&traffic.sent_bytes));
    tracing::debug!(link = id.0, received, sent, "the bytes of a link that ended");
    ended
}

/// Whether this node may have a link at all.
pub(super) fn admit(node: &Node, peer: &NodeId) -> io::Result<()> {
    if node.admits(peer) { Ok(()) } else { Err(io::Error::other("this node is not wanted here")) }
}

/// What the engine gives a link that it knows of.
pub(super) struct Joined {
    pub given: mpsc::Receiver<Outgoing>,
    /// Whether the peer is remembered from before.
    pub met: bool,
}

/// Tells the engine of a link, with the cursors that this node remembers of its peer.
pub(super) async fn join(node: &Node, link: LinkId, facts: LinkFacts) -> io::Result<Joined> {
    let (mine, theirs) = match facts.peer {
        Some(peer) => node.recall(peer).await.map_err(failed)?,
        None => (None, None),
    };
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let (outgoing, given) = mpsc::channel(OUTGOING_MAX);
    let policy = node.link_policy(&facts).map_err(failed)?;
    let room_bytes = ROOM_BYTES;
    let new = NewLink { link, facts, policy, room_bytes, mine, theirs, random, outgoing };
    let told = node.engine.send(ToEngine::Link(Box::new(new))).await;
    told.map_err(|_| io::Error::other("the engine has ended"))?;
    Ok(Joined { given, met: mine.is_some() || theirs.is_some() })
}

/// What both directions of a narrow link share: its records, each of which costs 18 bytes. So what
/// is ready together goes together.
struct Tight {
    noise: Mutex<Noise>,
    /// How often the engine was asked to say when all has been given that follows from what came.
    flushes: AtomicUsize,
}

impl Tight {
    fn noise(&self) -> MutexGuard<'_, Noise> {
        self.noise.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to ask the engine again; not while the writer is behind.
    fn begin_flush(&self) -> bool {
        let one_more = |flushes: usize| (flushes < FLUSHES_MAX).then_some(flushes + 1);
        self.flushes.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
    }
}

/// What comes.
struct Incoming<'a> {
    node: &'a Node,
    id: LinkId,
    tight: Option<Arc<Tight>>,
    traffic: &'a Traffic,
    ahead: Arc<Semaphore>,
    from: ReadHalf<Stream>,
    /// Records that are not whole yet, on a narrow link.
    sealed: BytesMut,
    deframer: Deframer,
    /// A unit that waits for its turn at the engine.
    next: Option<Bytes>,
    /// The engine is to be asked, behind the units that came, and the writer counts on it.
    flush_due: bool,
}

impl Incoming<'_> {
    /// Hands over and reads, to the end of the stream. Cancel-safe: it can be run again.
    async fn run(&mut self) -> io::Result<()> {
        while self.hand_over().await? && self.read().await? {}
        Ok(())
    }

    /// Gives the engine all units that are whole; `false` when it has ended.
    async fn hand_over(&mut self) -> io::Result<bool> {
        // Before the first unit, so that no answer to it is seen while this is zero.
        if let Some(tight) = &self.tight {
            self.flush_due = self.flush_due || tight.begin_flush();
        }
        while let Some(unit) = self.next_unit()? {
            let bytes = u32::try_from(unit.len().clamp(64, UNIT_MAX)).unwrap_or(u32::MAX);
            self.next = Some(unit);
            let permit = Arc::clone(&self.ahead).acquire_many_owned(bytes).await;
            let permit = permit.map_err(io::Error::other)?;
            let Ok(place) = self.node.engine.reserve().await else { return Ok(false) };
            if let Some(unit) = self.next.take() {
                let input = Box::new(Input::Unit { link: self.id, unit });
                place.send(ToEngine::Input(input, Some(permit)));
            }
        }
        if self.flush_due {
            let Ok(place) = self.node.engine.reserve().await else { return Ok(false) };
            self.flush_due = false;
            place.send(ToEngine::input(Input::Flush { link: self.id }));
        }
        Ok(true)
    }

    fn next_unit(&mut self) -> io::Result<Option<Bytes>> {
        match self.next.take() {
            Some(unit) => Ok(Some(unit)),
            None => self.deframer.next_unit().map_err(io::Error::other),
        }
    }

    /// Reads until there may be another unit; `false` at the end of the stream.
    async fn read(&mut self) -> io::Result<bool> {
        if self.deframer.is_between_units() {
            return self.read_on().await;
        }
        if let Ok(read) = timeout(QUIET, self.read_on()).await {
            return read;
        }
        self.next = self.deframer.begun_unit();
        if self.next.is_some() { Ok(true) } else { self.read_on().await }
    }

    async fn read_on(&mut self) -> io::Result<bool> {
        let Some(tight) = &self.tight else {
            let read = self.from.read_buf(&mut self.deframer.inlet()).await?;
            return Ok(self.count(read) > 0);
        };
        let tight = Arc::clone(tight);
        while !unseal(&mut tight.noise(), &mut self.sealed, &mut self.deframer)? {
            self.sealed.reserve(RECORD_MAX);
            let read = self.from.read_buf(&mut self.sealed).await?;
            if self.count(read) == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The link is over: what lies here already need not come again, not even the beginning of a
    /// body's piece.
    async fn finish(mut self) {
        // How it ends was told before.
        let _ = timeout(LAST_READ, self.run()).await;
        let last = self.next.take().into_iter().chain(self.deframer.cut_unit());
        for unit in last {
            let input = ToEngine::input(Input::Unit { link: self.id, unit });
            let _ = self.node.engine.send(input).await;
        }
    }

    fn count(&self, bytes: usize) -> usize {
        self.traffic.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        bytes
    }
}

/// Opens the records that are whole; whether there were any.
pub(super) fn unseal(
    noise: &mut Noise,
    sealed: &mut BytesMut,
    deframer: &mut Deframer,
) -> io::Result<bool> {
    let mut any = false;
    let mut plain = Vec::new();
    while let Some(record) = first_message(sealed, RECORD_MAX).map_err(io::Error::other)? {
        let length = record.len();
        plain.clear();
        noise.open(record, &mut plain).map_err(io::Error::other)?;
        deframer.push(&plain);
        let _ = sealed.split_to(LENGTH_BYTES + length);
        any = true;
        if deframer.held_bytes() > 2 * UNIT_MAX {
            break;
        }
    }
    Ok(any)
}

/// What goes into one record of so many bytes that go together: all, up to twice [`HOLD_BYTES`].
/// What of a record has come when the link is cut cannot be opened, and comes again. So records of what is long are
/// short, as long as that costs less than half a percent.
fn record_bytes(together: usize) -> usize {
    together.div_ceil((together / HOLD_BYTES).max(1)).max(1)
}

/// What goes.
struct OutgoingHalf<'a> {
    node: &'a Node,
    id: LinkId,
    tight: Option<Arc<Tight>>,
    traffic: &'a Traffic,
    given: mpsc::Receiver<Outgoing>,
    /// What did not fit into the handshake.
    first: VecDeque<Outgoing>,
    /// What to send if there is nothing else to send first.
    proof: Option<Bytes>,
}

impl OutgoingHalf<'_> {
    async fn run(&mut self, mut to: WriteHalf<Stream>) -> io::Result<()> {
        let mut gathered = Vec::with_capacity(GATHER_BYTES);
        loop {
            let mut units_bytes = 0;
            let mut last = false;
            let mut next = self.next().await;
            while let Some(given) = next {
                match given {
                    Outgoing::Close => last = true,
                    Outgoing::Flushed => self.note_flushed(&mut gathered),
                    Outgoing::Unit(head, body) => {
                        let length = head.len() + body.len();
                        units_bytes += length as u64;
                        gathered.extend_from_slice(&length_prefix(length));
                        gathered.extend_from_slice(&head);
                        if self.tight.is_some() || body.len() < GATHER_BYTES / 4 {
                            gathered.extend_from_slice(&body);
                        } else {
                            self.write_with(&mut to, &mut gathered, &body).await?;
                        }
                    }
                }
                if last || gathered.len() >= GATHER_BYTES {
                    break;
                }
                next = if self.is_more_due(gathered.len()) {
                    self.next().await
                } else {
                    self.first.pop_front().or_else(|| self.given.try_recv().ok())
                };
            }
            // The engine has dropped its end, and nothing more comes of it.
            last |= self.given.is_closed() && self.given.is_empty() && self.first.is_empty();
            self.write(&mut to, &mut gathered).await?;
            // A long body was written already. On a full link its end may still be kept back behind the
            // cipher, where nothing but this or the next unit moves it.
            to.flush().await?;
            if last {
                let _ = timeout(LINGER, to.shutdown()).await;
                return Ok(());
            }
            let room = Input::Room { link: self.id, bytes: units_bytes };
            if units_bytes > 0 && self.node.engine.send(ToEngine::input(room)).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn next(&mut self) -> Option<Outgoing> {
        match self.first.pop_front() {
            Some(first) => Some(first),
            None => self.given.recv().await,
        }
    }

    /// Whether it pays to wait for what follows from what came last.
    fn is_more_due(&self, gathered: usize) -> bool {
        let flushes = self.tight.as_ref().map_or(0, |t| t.flushes.load(Ordering::Acquire));
        (1..HOLD_BYTES).contains(&gathered) && flushes > 0
    }

    fn note_flushed(&mut self, gathered: &mut Vec<u8>) {
        if let Some(tight) = &self.tight {
            tight.flushes.fetch_sub(1, Ordering::AcqRel);
        }
        if let Some(proof) = self.proof.take()
            && gathered.is_empty()
        {
            gathered.extend_from_slice(&length_prefix(proof.len()));
            gathered.extend_from_slice(&proof);
        }
    }

    async fn write(&mut self, to: &mut WriteHalf<Stream>, bytes: &mut Vec<u8>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.proof = None;
        if let Some(tight) = &self.tight {
            let mut sealed = Vec::with_capacity(bytes.len() + 64);
            for piece in bytes.chunks(record_bytes(bytes.len())) {
                tight.noise().seal(piece, &mut sealed).map_err(io::Error::other)?;
            }
            *bytes = sealed;
        }
        to.write_all(bytes).await?;
        self.traffic.sent_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        bytes.clear();
        Ok(())
    }

    /// Writes a long body behind what was gathered: together, so that the few bytes before a body
    /// make no record and no packet of their own.
    async fn write_with(
        &mut self,
        to: &mut WriteHalf<Stream>,
        gathered: &mut Vec<u8>,
        body: &Bytes,
    ) -> io::Result<()> {
        self.proof = None;
        let length = gathered.len() + body.len();
        to.write_all_buf(&mut Buf::chain(&gathered[..], &body[..])).await?;
        self.traffic.sent_bytes.fetch_add(length as u64, Ordering::Relaxed);
        gathered.clear();
        Ok(())
    }
}

fn failed(failure: Failure) -> io::Error {
    io::Error::other(failure.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_long_goes_in_records_that_are_short() {
        for together in 1..2 * HOLD_BYTES {
            assert_eq!(record_bytes(together), together);
        }
        for together in 2 * HOLD_BYTES..=2 * GATHER_BYTES {
            assert!((HOLD_BYTES..2 * HOLD_BYTES).contains(&record_bytes(together)), "{together}");
        }
    }
}
