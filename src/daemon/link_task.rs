//! The task that owns one link: bytes in, bytes out, and nothing decided.
//!
//! 1. A link that proves nobody runs the Noise handshake first.
//! 2. The engine hears of the link, with the cursors that this node remembers of its peer.
//! 3. Units are cut out of what comes and handed over; what the engine gives is written. The
//!    engine and the disk may lag behind by [`AHEAD_BYTES`] of a link, then it is read no further.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use bytes::{Bytes, BytesMut};
use postrider_base::{NodeId, NodeSecret};
use postrider_engine::{
    carriage::{
        Deframer, length_prefix,
        noise::{
            HANDSHAKE_MESSAGE_MAX, Initiator, Introduction, LENGTH_BYTES, RECORD_MAX, Responder,
            Transport as Noise, first_message,
        },
    },
    exchange::{CHUNK_MAX, UNIT_MAX},
    node::{Input, LinkId, LinkPolicy},
};
use postrider_transports::contract::{Link, Pipe};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::{Semaphore, mpsc},
    time::{Duration, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    board::{LinkRow, Traffic},
    engine_task::{NewLink, OUTGOING_MAX, Outgoing, ToEngine},
    node::Node,
};
use crate::desk::Failure;

/// Bytes of units that one link may have on their way to the engine, and of bodies to the disk.
const AHEAD_BYTES: usize = 4 << 20;
/// What the engine may give a link before bytes of it have left: four chunks.
const ROOM_BYTES: u64 = 4 * CHUNK_MAX as u64;
/// Small units are written together up to this size.
const GATHER_BYTES: usize = 64 << 10;
/// A Noise handshake takes one round trip; on the slowest line a few seconds.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a closed link may take to write what it was given before.
const LINGER: Duration = Duration::from_secs(5);

type Stream = Box<dyn postrider_transports::contract::StreamPipe>;

/// Runs a link to its end, or until `over`.
pub(super) async fn run(
    node: Arc<Node>,
    link: Link,
    expect: Option<NodeId>,
    over: CancellationToken,
) -> io::Result<()> {
    let Link { mut facts, pipe } = link;
    let Pipe::Stream(mut stream) = pipe else {
        return Err(io::Error::other("a link of another kind"));
    };
    let (noise, begun) = match facts.peer {
        Some(_) => (None, BytesMut::new()),
        None => {
            let secret = node.secret();
            let handshake = async {
                match expect {
                    Some(peer) => initiate(&mut stream, secret, peer).await,
                    None => respond(&mut stream, secret).await,
                }
            };
            let (noise, begun) = timeout(HANDSHAKE_TIME_MAX, handshake)
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            facts.peer = Some(noise.peer());
            (Some(Arc::new(Mutex::new(noise))), begun)
        }
    };
    if let Some(peer) = facts.peer
        && !node.admits(&peer)
    {
        return Err(io::Error::other("this node is not wanted here"));
    }
    if facts.guest {
        // A guest key proves that the link is with whom it was begun, and nobody's name.
        facts.peer = None;
    }
    let (mine, theirs) = match facts.peer {
        Some(peer) => node.recall(peer).await.map_err(failed)?,
        None => (None, None),
    };
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let (outgoing, given) = mpsc::channel(OUTGOING_MAX);
    let LinkRow { link: id, traffic, closing, .. } = node.board.link_up(&facts);
    let policy = LinkPolicy { keepalive: !facts.metered, ..node.link_policy() };
    let new =
        NewLink { link: id, facts, policy, room_bytes: ROOM_BYTES, mine, theirs, random, outgoing };
    let ended = if node.engine.send(ToEngine::Link(Box::new(new))).await.is_ok() {
        let (reading, writing) = tokio::io::split(stream);
        let incoming = Incoming {
            node: &node,
            id,
            noise: noise.clone(),
            traffic: &traffic,
            ahead: Arc::new(Semaphore::new(AHEAD_BYTES)),
        };
        let outgoing = OutgoingHalf { node: &node, id, noise, traffic: &traffic };
        // Whichever ends first ends the link. Neither is polled again, so nothing that was half
        // done is continued.
        tokio::select! {
            ended = incoming.run(reading, begun) => ended,
            ended = outgoing.run(writing, given) => ended,
            () = over.cancelled() => Ok(()),
            () = closing.cancelled() => Ok(()),
        }
    } else {
        Ok(())
    };
    node.board.link_down(id);
    let _ = node.engine.send(ToEngine::input(Input::LinkDown { link: id })).await;
    ended
}

/// What comes.
struct Incoming<'a> {
    node: &'a Node,
    id: LinkId,
    noise: Option<Arc<Mutex<Noise>>>,
    traffic: &'a Traffic,
    ahead: Arc<Semaphore>,
}

impl Incoming<'_> {
    async fn run(self, from: ReadHalf<Stream>, begun: BytesMut) -> io::Result<()> {
        let mut deframer = Deframer::default();
        let ended = self.read(from, begun, &mut deframer).await;
        // What came of a body's piece before the cut need not come again.
        if let Some(unit) = deframer.cut_unit() {
            let input = ToEngine::input(Input::Unit { link: self.id, unit });
            let _ = self.node.engine.send(input).await;
        }
        ended
    }

    async fn read(
        &self,
        mut from: ReadHalf<Stream>,
        mut sealed: BytesMut,
        deframer: &mut Deframer,
    ) -> io::Result<()> {
        loop {
            match &self.noise {
                None => {
                    let buffer = deframer.buffer();
                    buffer.reserve(CHUNK_MAX);
                    if self.count(from.read_buf(buffer).await?) == 0 {
                        return Ok(());
                    }
                }
                Some(noise) => {
                    if !unseal(noise, &mut sealed, deframer)? {
                        sealed.reserve(RECORD_MAX);
                        if self.count(from.read_buf(&mut sealed).await?) == 0 {
                            return Ok(());
                        }
                        continue;
                    }
                }
            }
            while let Some(unit) = deframer.next_unit().map_err(io::Error::other)? {
                let bytes = u32::try_from(unit.len().clamp(64, UNIT_MAX)).unwrap_or(u32::MAX);
                let permit = Arc::clone(&self.ahead).acquire_many_owned(bytes).await;
                let permit = permit.map_err(io::Error::other)?;
                let input = Box::new(Input::Unit { link: self.id, unit });
                if self.node.engine.send(ToEngine::Input(input, Some(permit))).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    fn count(&self, bytes: usize) -> usize {
        self.traffic.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        bytes
    }
}

/// Opens the records that are whole; whether there were any.
fn unseal(
    noise: &Mutex<Noise>,
    sealed: &mut BytesMut,
    deframer: &mut Deframer,
) -> io::Result<bool> {
    let mut noise = noise.lock().unwrap_or_else(PoisonError::into_inner);
    let mut any = false;
    let mut plain = Vec::new();
    while let Some(record) = first_message(sealed, RECORD_MAX).map_err(io::Error::other)? {
        let length = record.len();
        plain.clear();
        noise.open(record, &mut plain).map_err(io::Error::other)?;
        deframer.push(&plain);
        let _ = sealed.split_to(LENGTH_BYTES + length);
        any = true;
        if plain.len() + deframer.buffer().len() > 2 * UNIT_MAX {
            break;
        }
    }
    Ok(any)
}

/// What goes.
struct OutgoingHalf<'a> {
    node: &'a Node,
    id: LinkId,
    noise: Option<Arc<Mutex<Noise>>>,
    traffic: &'a Traffic,
}

impl OutgoingHalf<'_> {
    async fn run(
        self,
        mut to: WriteHalf<Stream>,
        mut given: mpsc::Receiver<Outgoing>,
    ) -> io::Result<()> {
        let mut gathered = Vec::with_capacity(GATHER_BYTES);
        loop {
            let Some(mut next) = given.recv().await else { return Ok(()) };
            let mut units_bytes = 0;
            let mut last = false;
            loop {
                match next {
                    Outgoing::Close => last = true,
                    Outgoing::Unit(head, body) => {
                        let length = head.len() + body.len();
                        units_bytes += length as u64;
                        gathered.extend_from_slice(&length_prefix(length));
                        gathered.extend_from_slice(&head);
                        if self.noise.is_some() || body.len() < GATHER_BYTES / 4 {
                            gathered.extend_from_slice(&body);
                        } else {
                            self.write(&mut to, &mut gathered).await?;
                            self.write_body(&mut to, &body).await?;
                        }
                    }
                }
                if last || gathered.len() >= GATHER_BYTES {
                    break;
                }
                match given.try_recv() {
                    Ok(more) => next = more,
                    Err(_) => break,
                }
            }
            self.write(&mut to, &mut gathered).await?;
            to.flush().await?;
            if last {
                let _ = timeout(LINGER, to.shutdown()).await;
                return Ok(());
            }
            let room = Input::Room { link: self.id, bytes: units_bytes };
            if self.node.engine.send(ToEngine::input(room)).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn write(&self, to: &mut WriteHalf<Stream>, bytes: &mut Vec<u8>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(noise) = &self.noise {
            let mut sealed = Vec::with_capacity(bytes.len() + 64);
            noise
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .seal(bytes, &mut sealed)
                .map_err(io::Error::other)?;
            *bytes = sealed;
        }
        to.write_all(bytes).await?;
        self.traffic.sent_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        bytes.clear();
        Ok(())
    }

    async fn write_body(&self, to: &mut WriteHalf<Stream>, body: &Bytes) -> io::Result<()> {
        to.write_all(body).await?;
        self.traffic.sent_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

async fn initiate(
    stream: &mut Stream,
    secret: &NodeSecret,
    peer: NodeId,
) -> io::Result<(Noise, BytesMut)> {
    let (handshake, message) = Initiator::start(secret, peer, fresh()?, Introduction::Signed, &[])
        .map_err(io::Error::other)?;
    write_message(stream, &message).await?;
    let (answer, rest) = read_message(stream).await?;
    let (_, noise) = handshake.finish(&answer).map_err(io::Error::other)?;
    Ok((noise, rest))
}

async fn respond(stream: &mut Stream, secret: &NodeSecret) -> io::Result<(Noise, BytesMut)> {
    let (first, rest) = read_message(stream).await?;
    let (handshake, greeting) =
        Responder::accept(secret, fresh()?, &first).map_err(io::Error::other)?;
    // Without the signature the key has two names (docs/noise.md); our own nodes always sign.
    if greeting.introduction != Introduction::Signed {
        return Err(io::Error::other("the other end does not sign its introduction"));
    }
    let (answer, noise) = handshake.reply(&[]).map_err(io::Error::other)?;
    write_message(stream, &answer).await?;
    Ok((noise, rest))
}

async fn write_message(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    // The handshake gives its messages with their length in front.
    to.write_all(message).await?;
    to.flush().await
}

/// One handshake message, and what came behind it.
async fn read_message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(Vec<u8>, BytesMut)> {
    let mut buffer = BytesMut::new();
    loop {
        let whole = first_message(&buffer, HANDSHAKE_MESSAGE_MAX)
            .map_err(io::Error::other)?
            .map(<[u8]>::to_vec);
        if let Some(message) = whole {
            let _ = buffer.split_to(LENGTH_BYTES + message.len());
            return Ok((message, buffer));
        }
        if from.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn fresh() -> io::Result<[u8; 32]> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(random)
}

fn failed(failure: Failure) -> io::Error {
    io::Error::other(failure.to_string())
}
