//! The handshake of a link that proves nobody, with the first units of both ends in it.
//!
//! ```text
//! initiator   LinkUp, Flush -> Hello, Offer…      in the first message
//! responder   LinkUp, Early… Flush -> Hello, Want, Offer…   in the second
//! initiator   its first record proves it; with nothing else to say, it is a Pong
//! ```
//!
//! Who is called is known before it answers, so the engine speaks first; what it says is sealed for
//! that node alone. The first message can be a recorded one: its units go to the engine as
//! [`Input::Early`], and until the first record opens, the responder shows the link to nobody and
//! writes nothing behind its answer. A replay so costs one answer.

use std::{collections::VecDeque, io, time::Instant};

use bytes::{Bytes, BytesMut};
use postrider_base::{NodeId, link::LinkFacts};
use postrider_engine::{
    carriage::{
        Deframer, length_prefix,
        noise::{
            HANDSHAKE_MESSAGE_MAX, HANDSHAKE_PAYLOAD_MAX, Initiator, Introduction, LENGTH_BYTES,
            RECORD_MAX, Responder, Transport as Noise, first_message,
        },
    },
    exchange::Unit,
    node::{Input, LinkId},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    time::Duration,
};

use super::{
    engine_task::{Outgoing, ToEngine},
    link_task::{Joined, Stream, admit, join, unseal},
    node::Node,
};

/// What was read of a link before its two halves run.
#[derive(Default)]
pub(super) struct Begun {
    /// Units that are to be handed over.
    pub deframer: Deframer,
    /// Records that are to be opened.
    pub sealed: BytesMut,
}

/// A link whose ends have proven themselves.
pub(super) struct Greeted {
    pub noise: Noise,
    /// What the engine gives from now on.
    pub given: mpsc::Receiver<Outgoing>,
    pub begun: Begun,
    /// What it gave before and the handshake did not carry.
    pub first: VecDeque<Outgoing>,
    /// What proves this end if it has nothing to say.
    pub proof: Option<Bytes>,
    pub rtt: Duration,
    pub received_bytes: u64,
    pub sent_bytes: u64,
}

/// What the engine gave for a handshake message.
#[derive(Default)]
struct Flight {
    /// Units with their lengths, as many as fit.
    payload: Vec<u8>,
    /// Their bytes without the lengths.
    units_bytes: u64,
    rest: VecDeque<Outgoing>,
    /// The engine does not want the link.
    over: bool,
}

/// Calls `peer`.
pub(super) async fn initiate(
    node: &Node,
    id: LinkId,
    stream: &mut Stream,
    facts: &LinkFacts,
    peer: NodeId,
) -> io::Result<Greeted> {
    admit(node, &peer)?;
    let facts = LinkFacts { peer: Some(peer), ..facts.clone() };
    let Joined { mut given, met } = join(node, id, facts).await?;
    let flight = gather(node, id, &mut given).await?;
    if flight.over {
        return Err(io::Error::other("the link is not wanted here"));
    }
    let known = node.is_known_to(&peer, met);
    let introduction = if known { Introduction::Known } else { Introduction::Signed };
    let (handshake, message) =
        Initiator::start(node.secret(), peer, fresh()?, introduction, &flight.payload)
            .map_err(io::Error::other)?;
    let begun = Instant::now();
    if known {
        // Whoever has forgotten this node does not answer, and lets it in with a signature.
        node.note_introduced(peer, false);
    }
    write_message(stream, &message).await?;
    tell_room(node, id, flight.units_bytes).await;
    let (answer, sealed) = read_message(stream).await?;
    let rtt = begun.elapsed();
    let (payload, noise) = handshake.finish(&answer).map_err(io::Error::other)?;
    node.note_introduced(peer, true);
    let mut deframer = Deframer::default();
    deframer.push(&payload.bytes);
    Ok(Greeted {
        noise,
        given,
        received_bytes: (LENGTH_BYTES + answer.len() + sealed.len()) as u64,
        begun: Begun { deframer, sealed },
        first: flight.rest,
        proof: Some(Unit::Pong(0).encode().0),
        rtt,
        sent_bytes: message.len() as u64,
    })
}

/// Answers whoever calls, or whoever is expected.
pub(super) async fn respond(
    node: &Node,
    id: LinkId,
    stream: &mut Stream,
    facts: &LinkFacts,
    expect: Option<NodeId>,
) -> io::Result<Greeted> {
    let (first, mut sealed) = read_message(stream).await?;
    let (handshake, greeting) =
        Responder::accept(node.secret(), fresh()?, &first).map_err(io::Error::other)?;
    let peer = greeting.peer;
    admit(node, &peer)?;
    if expect.is_some_and(|expected| expected != peer) {
        return Err(io::Error::other(format!(
            "{} calls, who is not expected here",
            node.desk.name_of(&peer)
        )));
    }
    // Without the signature the key has two names (docs/noise.md): one of them must be known.
    if greeting.introduction != Introduction::Signed && !node.has_met(peer).await {
        return Err(io::Error::other("the other end is not known, and does not sign"));
    }
    let facts = LinkFacts { peer: Some(peer), ..facts.clone() };
    let Joined { mut given, .. } = join(node, id, facts).await?;
    let mut early = Deframer::default();
    early.push(&greeting.payload.bytes);
    while let Some(unit) = early.next_unit().map_err(io::Error::other)? {
        tell(node, Input::Early { link: id, unit }).await?;
    }
    if !early.is_between_units() {
        return Err(io::Error::other("a cut unit in the handshake"));
    }
    let flight = gather(node, id, &mut given).await?;
    let (answer, mut noise) = handshake.reply(&flight.payload).map_err(io::Error::other)?;
    write_message(stream, &answer).await?;
    if flight.over {
        return Err(io::Error::other("the link is not wanted here"));
    }
    tell_room(node, id, flight.units_bytes).await;
    let begun = Instant::now();
    let mut deframer = Deframer::default();
    let mut received_bytes = (LENGTH_BYTES + first.len() + sealed.len()) as u64;
    while !unseal(&mut noise, &mut sealed, &mut deframer)? {
        sealed.reserve(RECORD_MAX);
        let read = stream.read_buf(&mut sealed).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        received_bytes += read as u64;
    }
    Ok(Greeted {
        noise,
        given,
        begun: Begun { deframer, sealed },
        first: flight.rest,
        proof: None,
        rtt: begun.elapsed(),
        received_bytes,
        sent_bytes: answer.len() as u64,
    })
}

/// What the engine has to say before it hears more. What does not fit into a handshake message
/// follows in records, and nothing overtakes it.
async fn gather(
    node: &Node,
    id: LinkId,
    given: &mut mpsc::Receiver<Outgoing>,
) -> io::Result<Flight> {
    tell(node, Input::Flush { link: id }).await?;
    let mut flight = Flight::default();
    loop {
        match given.recv().await {
            Some(Outgoing::Unit(head, body)) => {
                let length = head.len() + body.len();
                let prefix = length_prefix(length);
                let whole = flight.payload.len() + prefix.len() + length;
                if whole > HANDSHAKE_PAYLOAD_MAX || !flight.rest.is_empty() {
                    flight.rest.push_back(Outgoing::Unit(head, body));
                } else {
                    for part in [&prefix, &head, &body] {
                        flight.payload.extend_from_slice(part);
                    }
                    flight.units_bytes += length as u64;
                }
            }
            Some(Outgoing::Flushed) => return Ok(flight),
            Some(Outgoing::Close) | None => {
                flight.over = true;
                return Ok(flight);
            }
        }
    }
}

async fn tell(node: &Node, input: Input) -> io::Result<()> {
    let told = node.engine.send(ToEngine::input(input)).await;
    told.map_err(|_| io::Error::other("the engine has ended"))
}

/// Units have left. When the engine has ended, the link's halves will see it.
async fn tell_room(node: &Node, link: LinkId, bytes: u64) {
    let _ = node.engine.send(ToEngine::input(Input::Room { link, bytes })).await;
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
