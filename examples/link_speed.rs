//! How fast one node passes bundles to another when no disk is in the way: two engines with their
//! exchange and carriage, over TLS on loopback, and memory for a spool.
//!
//! ```text
//! cargo run --release --example link_speed -- [MIB]
//! ```
//!
//! `tests/bench/live.sh link` sets it beside a bare rustls stream. It is also the smallest program
//! that runs an engine: what a node's threads do with its outputs is here in a page.

use std::{collections::HashMap, sync::Arc, time::Instant};

use bytes::{Buf, Bytes};
use postrider_base::{
    BundleId, Head, Header, Lifetime, LinkFacts, Niceness, NodeSecret,
    bundle::{self, Hop, LockField, Origin, SealKind, Sequence},
};
use postrider_engine::{
    carriage::{Deframer, length_prefix},
    exchange::CHUNK_MAX,
    node::{
        Answer, Body, Class, Destination, Engine, Input, Instance, Kept, Known, LinkId, LinkPolicy,
        Loaded, Local, Now, Output, Policy, Row, TransferId,
    },
    router::Flood,
};
use postrider_transports::{
    contract::{Arrival, Link, Pipe, Stop, StreamPipe, Transport},
    tls::{TlsOptions, TlsTransport},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::mpsc,
};

/// Bytes of one bundle: a part of a file.
const BODY_BYTES: usize = 8 << 20;
/// What the engine may give a link before bytes of it have left, as in the daemon.
const ROOM_BYTES: u64 = 4 * CHUNK_MAX as u64;
/// Inputs that wait for an engine: 8 MiB of chunks.
const INPUTS_MAX: usize = 32;
const LINK: LinkId = LinkId(1);

type End = Box<dyn StreamPipe>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mib: usize = std::env::args().nth(1).map_or(Ok(512), |text| text.parse())?;
    let count = (mib << 20).div_ceil(BODY_BYTES);
    let [sender, receiver] = [1, 2].map(|seed| Arc::new(NodeSecret::from_seed([seed; 32])));
    let (near, far) = link(&sender, &receiver).await?;
    // One body for all: a gigabyte that lies in memory would measure that, and the bare stream beside
    // which this is set has but one chunk.
    let mut body = vec![0; BODY_BYTES];
    blake3::Hasher::new().finalize_xof().fill(&mut body);
    let body = Bytes::from(body);
    let mut full = Shelf::default();
    for number in 0..count {
        full.put(&sender, &receiver, number, &body);
    }
    // Memory that was never touched would be measured too: the shelf's slots are.
    let empty = Shelf { slots: vec![vec![1; BODY_BYTES]; 8], ..Shelf::default() };

    let begun = Instant::now();
    let (told, mut arrived) = mpsc::unbounded_channel();
    tokio::spawn(run(sender, full, near, None));
    tokio::spawn(run(receiver, empty, far, Some(told)));
    for _ in 0..count {
        arrived.recv().await.ok_or_else(|| anyhow::anyhow!("the link ended"))?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{:.0} MB/s: {count} bundles of 8 MiB", (count * BODY_BYTES) as f64 / 1e6 / seconds);
    Ok(())
}

/// A TLS link between two nodes.
async fn link(
    sender: &Arc<NodeSecret>,
    receiver: &Arc<NodeSecret>,
) -> anyhow::Result<(Link, Link)> {
    let options =
        TlsOptions { listen: vec!["tls://127.0.0.1:0".parse()?], ..TlsOptions::default() };
    let listener = TlsTransport::new(Arc::clone(receiver), options)?;
    let dialler = TlsTransport::new(Arc::clone(sender), TlsOptions::default())?;
    let to = format!("tls://{}", listener.listening()[0]).parse()?;
    let (arrived, mut arrivals) = mpsc::channel(1);
    let stop = Stop::new();
    tokio::spawn(Arc::new(listener).run(arrived, stop.clone()));
    let near = dialler.dial(&to, Some(receiver.id())).await?;
    let Some(Arrival::Link(far)) = arrivals.recv().await else { anyhow::bail!("no link") };
    stop.cancel();
    Ok((near, far))
}

/// A spool in memory. What arrives is kept in slots that later bodies use again.
#[derive(Default)]
struct Shelf {
    rows: Vec<Row>,
    bundles: HashMap<BundleId, (Bytes, Bytes)>,
    slots: Vec<Vec<u8>>,
    staged: HashMap<TransferId, Vec<u8>>,
}

impl Shelf {
    fn put(&mut self, from: &NodeSecret, to: &NodeSecret, number: usize, body: &Bytes) {
        let counter = number as u64 + 1;
        let header = Header {
            destination: bundle::Destination::Node(to.id()),
            lifetime: Lifetime::DEFAULT,
            nice: Niceness::NORMAL,
            seal: SealKind::None,
            lock: LockField::None,
            origin: Origin::Open {
                source: from.id(),
                sequence: Sequence { epoch: 1, counter },
                created: 0,
            },
            length: body.len() as u64,
            hash: Some(*blake3::hash(body).as_bytes()),
        };
        let head = Head::sign(header, &[], from);
        let id = head.id(&[]);
        self.rows.push(Row {
            id,
            destination: Destination::Node(*to.id().as_bytes()),
            tagged_for: None,
            source: Some(*from.id().as_bytes()),
            nice: Niceness::NORMAL.value(),
            lifetime_s: Lifetime::DEFAULT.seconds(),
            length: body.len() as u64,
            hop: Hop::fresh(),
            class: Class::Own,
            from: None,
            arrived_held_ms: 0,
            arrival: counter,
        });
        self.bundles.insert(id, (head.encode().into(), body.clone()));
    }

    /// Answers a question, or does what is ordered.
    fn obey(&mut self, output: Output) -> Option<Input> {
        let upto = self.rows.len() as u64;
        let (ticket, answer) = match output {
            Output::Since { ticket, after, limit } => {
                let rows = self.rows.iter().filter(|row| row.arrival > after);
                let rows: Vec<Row> = rows.take(limit).cloned().collect();
                (ticket, Answer::Rows { more: rows.len() == limit, rows, upto })
            }
            Output::Page { ticket, .. } => {
                (ticket, Answer::Rows { rows: vec![], more: false, upto })
            }
            Output::Look { ticket, ids } => {
                (ticket, Answer::Looked(vec![Known::Unknown; ids.len()]))
            }
            Output::Load { ticket, id } => {
                let loaded = self.bundles.get(&id).map(|(head, _)| Loaded {
                    head: head.clone(),
                    hop: Hop::fresh(),
                    arrived_held_ms: 0,
                    payload: Bytes::new(),
                });
                (ticket, Answer::Loaded(loaded))
            }
            Output::Read { ticket, id, at, bytes } => {
                let at = usize::try_from(at).ok()?;
                let piece = self.bundles.get(&id).map(|(_, body)| body.slice(at..at + bytes));
                (ticket, Answer::Read(piece))
            }
            Output::ReceiptsSince { ticket, .. } => {
                (ticket, Answer::Receipts { list: vec![], more: false, upto: 0 })
            }
            Output::Change { ticket, .. } => (ticket, Answer::Changed(true)),
            Output::TakeReceipts { ticket, .. } => (ticket, Answer::Taken { news: 0 }),
            Output::Stage { transfer, .. } => {
                let mut slot = self.slots.pop().unwrap_or_default();
                slot.clear();
                self.staged.insert(transfer, slot);
                return None;
            }
            Output::Append { transfer, bytes } => {
                self.staged.get_mut(&transfer)?.extend_from_slice(&bytes);
                return None;
            }
            Output::Keep { ticket, bundle } => {
                if let Body::Staged(transfer) = bundle.body {
                    self.slots.extend(self.staged.remove(&transfer));
                }
                (ticket, Answer::Kept(Kept::Kept))
            }
            Output::Sketch { ticket, .. } => (ticket, Answer::Failed),
            _ => return None,
        };
        Some(Input::Done { ticket, answer })
    }
}

/// One node: its engine, and a task for each direction of its link.
async fn run(
    me: Arc<NodeSecret>,
    mut shelf: Shelf,
    link: Link,
    kept: Option<mpsc::UnboundedSender<()>>,
) {
    let Link { facts, pipe: Pipe::Stream(stream) } = link else { return };
    let (inputs, mut came) = mpsc::channel(INPUTS_MAX);
    let (units, given) = mpsc::unbounded_channel();
    let (from, to) = tokio::io::split(stream);
    tokio::spawn(read(from, inputs.clone()));
    tokio::spawn(write(to, given, inputs));
    let begun = Instant::now();
    let mut engine = engine(&me);
    let mut next = Some(up(facts));
    while let Some(input) = next {
        let mono_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(0);
        let mut waiting = vec![input];
        while let Some(input) = waiting.pop() {
            engine.handle(Now { mono_ms, held_ms: mono_ms }, input);
            while let Some(output) = engine.poll() {
                match output {
                    Output::Send { head, body, .. } => drop(units.send((head, body))),
                    Output::Keep { .. } => {
                        waiting.extend(shelf.obey(output));
                        let _ = kept.as_ref().map(|kept| kept.send(()));
                    }
                    other => waiting.extend(shelf.obey(other)),
                }
            }
        }
        next = came.recv().await;
    }
}

fn engine(me: &NodeSecret) -> Engine {
    let instance = Instance([0; 4]);
    let local = Local { node: me.id(), tag_keys: vec![], instance, policy: Policy::default() };
    Engine::new(local, Box::new(Flood::new(me.id(), vec![])))
}

fn up(facts: LinkFacts) -> Input {
    Input::LinkUp {
        link: LINK,
        facts,
        policy: LinkPolicy::default(),
        room_bytes: ROOM_BYTES,
        mine: None,
        theirs: None,
        random: [0; 16],
    }
}

async fn read(mut from: ReadHalf<End>, inputs: mpsc::Sender<Input>) {
    let mut deframer = Deframer::default();
    loop {
        while let Ok(Some(unit)) = deframer.next_unit() {
            if inputs.send(Input::Unit { link: LINK, unit }).await.is_err() {
                return;
            }
        }
        if !matches!(from.read_buf(&mut deframer.inlet()).await, Ok(1..)) {
            return;
        }
    }
}

async fn write(
    mut to: WriteHalf<End>,
    mut given: mpsc::UnboundedReceiver<(Bytes, Bytes)>,
    inputs: mpsc::Sender<Input>,
) {
    while let Some((head, body)) = given.recv().await {
        let length = head.len() + body.len();
        let start = [&length_prefix(length)[..], &head].concat();
        let written = async {
            to.write_all_buf(&mut Buf::chain(&start[..], &body[..])).await?;
            to.flush().await
        };
        let room = Input::Room { link: LINK, bytes: length as u64 };
        if written.await.is_err() || inputs.send(room).await.is_err() {
            return;
        }
    }
}
