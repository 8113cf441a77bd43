//! The task that owns the engine: hands it what happens, obeys what it says.

use std::{collections::HashMap, sync::OnceLock};

use bytes::Bytes;
use postrider_base::{BundleId, link::LinkFacts};
use postrider_engine::{
    node::{
        Answer, Ending, Engine, Event, Input, LinkId, LinkPolicy, Now, Output, Seen, Ticket,
        TransferId,
    },
    reconcile::Work,
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Duration, Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    board::Board, cut::Taker, introduce::Meet, lan::Notice, reader::Question, stager::Order,
};

/// Inputs that wait. What they hold is bounded by the permits of the links.
pub(super) const INPUTS_MAX: usize = 4096;
/// Units that wait for one link: what the engine may owe a carriage is bounded, so more are never
/// due unless the link's task hangs.
pub(super) const OUTGOING_MAX: usize = 8192;

/// How long what was given before a link's end may take: some 64 KiB at 20 kbit/s.
const LAST_WRITE: Duration = Duration::from_secs(30);

/// Something for the engine.
#[derive(Debug)]
pub(super) enum ToEngine {
    /// As it is; the permit is freed when it has been dealt with.
    Input(Box<Input>, Option<OwnedSemaphorePermit>),
    /// A link came up.
    Link(Box<NewLink>),
    /// Somebody wants to know something of it.
    Look(Look),
    /// Somebody has the rest of a body that was cut.
    HandOut(HandOut),
}

/// A question to the engine itself; it sends its own answer.
pub(super) struct Look(pub Box<dyn FnOnce(&Engine) + Send>);

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Look")
    }
}

/// What is here of a body is to go there, if it is still that; else the way is dropped.
#[derive(Debug)]
pub(super) struct HandOut {
    pub id: BundleId,
    pub transfer: TransferId,
    pub at: u64,
    pub to: Taker,
}

/// A link that came up, and the way to its task.
#[derive(Debug)]
pub(super) struct NewLink {
    pub link: LinkId,
    pub facts: LinkFacts,
    pub policy: LinkPolicy,
    pub room_bytes: u64,
    pub mine: Option<Seen>,
    pub theirs: Option<Seen>,
    pub random: [u8; 16],
    pub outgoing: mpsc::Sender<Outgoing>,
}

/// Something for a link's task.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// One unit in two pieces.
    Unit(Bytes, Bytes),
    /// All that follows from what came before an [`Input::Flush`] has been given.
    Flushed,
    /// Nothing follows.
    Close,
}

impl ToEngine {
    pub(super) fn input(input: Input) -> Self {
        Self::Input(Box::new(input), None)
    }
}

/// What the engine's task needs.
pub(super) struct EngineTask<'a> {
    pub engine: Engine,
    pub stager: mpsc::Sender<Order>,
    pub reader: mpsc::Sender<(Ticket, Question)>,
    pub sketcher: mpsc::Sender<(Ticket, Box<Work>)>,
    pub meetings: mpsc::Sender<Meet>,
    pub board: &'a Board,
    /// The way to the task of the local network, where there is one.
    pub lan: &'a OnceLock<mpsc::Sender<Notice>>,
    pub held_ms: Box<dyn Fn() -> u64 + Send + 'a>,
    pub links: HashMap<LinkId, mpsc::Sender<Outgoing>>,
    /// Answers that could not even be asked for.
    pub unasked: Vec<Input>,
    /// The permit of the input that is being dealt with: bytes that it brought take it along.
    pub permit: Option<OwnedSemaphorePermit>,
    /// Who takes the body that is being asked for.
    pub taker: Option<Taker>,
    pub begun: Instant,
}

impl EngineTask<'_> {
    /// Runs until told to stop, then closes every link.
    pub(super) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<ToEngine>,
        stop: CancellationToken,
    ) {
        loop {
            let due = self.engine.poll_timeout().map(|ms| self.begun + Duration::from_millis(ms));
            let timer = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // Receiving and sleeping lose nothing when the other comes first.
            let input = tokio::select! {
                () = stop.cancelled() => break,
                input = inputs.recv() => match input {
                    Some(input) => input,
                    None => break,
                },
                () = timer => ToEngine::input(Input::Timeout),
            };
            self.take(input);
            // What has come meanwhile needs no further look at the timers.
            for _ in 0..256 {
                let Ok(input) = inputs.try_recv() else { break };
                self.take(input);
            }
        }
        for outgoing in self.links.values() {
            let _ = outgoing.try_send(Outgoing::Close);
        }
    }

    fn take(&mut self, input: ToEngine) {
        match input {
            ToEngine::Look(Look(ask)) => ask(&self.engine),
            ToEngine::HandOut(HandOut { id, transfer, at, to }) => {
                self.taker = Some(to);
                self.handle(Input::HandOut { id, transfer, at });
                self.taker = None;
            }
            ToEngine::Input(input, permit) => {
                self.permit = permit;
                self.handle(*input);
                self.permit = None;
            }
            ToEngine::Link(new) => {
                let NewLink { link, facts, policy, room_bytes, mine, theirs, random, outgoing } =
                    *new;
                self.links.insert(link, outgoing);
                self.handle(Input::LinkUp {
                    link,
                    facts,
                    policy,
                    room_bytes,
                    mine,
                    theirs,
                    random,
                });
            }
        }
        while let Some(input) = self.unasked.pop() {
            self.handle(input);
        }
    }

    fn handle(&mut self, input: Input) {
        if let Input::LinkDown { link } = &input {
            self.links.remove(link);
        }
        let mono_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = Now { mono_ms, held_ms: (self.held_ms)() };
        self.engine.handle(now, input);
        while let Some(output) = self.engine.poll() {
            self.obey(output);
        }
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Send { link, head, body } => {
                let Some(outgoing) = self.links.get(&link) else { return };
                if outgoing.try_send(Outgoing::Unit(head, body)).is_err() {
                    self.give_up(link);
                }
            }
            Output::Flushed { link } => {
                let Some(outgoing) = self.links.get(&link) else { return };
                if outgoing.try_send(Outgoing::Flushed).is_err() {
                    self.give_up(link);
                }
            }
            Output::Close { link, why } => {
                self.board.closed(link, &why);
                if let Some(outgoing) = self.links.remove(&link) {
                    let _ = outgoing.try_send(Outgoing::Close);
                    // Whoever does not read keeps the task at what it writes, which does not see that.
                    let dead = matches!(why, Ending::Silent | Ending::Stuck);
                    self.end(link, if dead { Duration::ZERO } else { LAST_WRITE });
                }
            }
            Output::Since { ticket, after, limit } => {
                self.ask(ticket, Question::Since { after, limit });
            }
            Output::Page { ticket, class, after, limit } => {
                self.ask(ticket, Question::Page { class, after, limit });
            }
            Output::Toward { ticket, nodes, after, limit } => {
                self.ask(ticket, Question::Toward { nodes, after, limit });
            }
            Output::Look { ticket, ids } => self.ask(ticket, Question::Look { ids }),
            Output::Load { ticket, id } => self.ask(ticket, Question::Load { id }),
            Output::Read { ticket, id, at, bytes } => {
                self.ask(ticket, Question::Read { id, at, bytes });
            }
            Output::ReceiptsSince { ticket, after, limit } => {
                self.ask(ticket, Question::ReceiptsSince { after, limit });
            }
            Output::Stage { transfer, length, head, custody, .. } => {
                self.order(Order::Stage { transfer, length, head, custody }, || Input::StageLost {
                    transfer,
                    full: false,
                });
            }
            Output::Append { transfer, bytes } => {
                let permit = self.permit.take();
                self.order(Order::Append { transfer, bytes, permit }, || Input::StageLost {
                    transfer,
                    full: false,
                });
            }
            Output::ReadStaged { ticket, transfer, at, bytes } => {
                self.order(Order::Read { ticket, transfer, at, bytes }, || Input::Done {
                    ticket,
                    answer: Answer::Read(None),
                });
            }
            Output::Drop { transfer } => self.tell(Order::Drop { transfer }),
            Output::Keep { ticket, bundle } => {
                self.order(Order::Keep { ticket, bundle }, || failed(ticket));
            }
            Output::Change { ticket, id, hop } => {
                self.order(Order::Change { ticket, id, hop }, || failed(ticket));
            }
            Output::Raise { id, level } => self.tell(Order::Raise { id, level }),
            Output::Met { node, meeting } => self.tell(Order::Met { node, meeting }),
            Output::TakeReceipts { ticket, from, list } => {
                self.order(Order::TakeReceipts { ticket, from, list }, || failed(ticket));
            }
            Output::Remember { peer, mine, theirs } => {
                self.tell(Order::Remember { peer, mine, theirs });
            }
            Output::Carried { id, peer } => self.tell(Order::Carried { id, peer }),
            Output::Held { id, peer, at } => self.tell(Order::Held { id, peer, at }),
            Output::HandOut { transfer } => {
                // Where there is no way to it any more it is dropped, and comes again.
                if let Some(to) = self.taker.take() {
                    self.tell(Order::HandOut { transfer, to });
                }
            }
            Output::Sketch { ticket, work } => {
                if self.sketcher.try_send((ticket, work)).is_err() {
                    self.unasked.push(failed(ticket));
                }
            }
            Output::Meet { link, node, at } => {
                if self.meetings.try_send(Meet { link, node, at }).is_err() {
                    self.unasked.push(Input::MeetFailed { node });
                }
            }
            // Lost, it goes by link.
            Output::Cast { network, id } => self.tell_lan(Notice::Cast { network, id }),
            Output::Haves { network, said } => self.tell_lan(Notice::Haves { network, said }),
            Output::Event(event) => self.event(event),
        }
    }

    fn tell_lan(&self, notice: Notice) {
        if let Some(lan) = self.lan.get() {
            let _ = lan.try_send(notice);
        }
    }

    /// A link's task hangs or is gone.
    fn give_up(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.end(link, Duration::ZERO);
        self.unasked.push(Input::LinkDown { link });
    }

    /// Ends a link's task, if it has not ended by then.
    fn end(&self, link: LinkId, after: Duration) {
        let Some(closing) = self.board.closing(link) else { return };
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            closing.cancel();
        });
    }

    fn event(&mut self, event: Event) {
        // The first round trip of a link is measured at once.
        if let Event::Greeted { link, .. } = event
            && let Some(nonce) = self.board.begin_first_ping(link)
        {
            self.unasked.push(Input::Ping { link, nonce });
        }
        self.board.event(&event);
    }

    fn ask(&mut self, ticket: Ticket, question: Question) {
        if self.reader.try_send((ticket, question)).is_err() {
            self.unasked.push(failed(ticket));
        }
    }

    fn order(&mut self, order: Order, or: impl FnOnce() -> Input) {
        if self.stager.try_send(order).is_err() {
            self.unasked.push(or());
        }
    }

    /// An order whose loss costs nothing but a repetition.
    fn tell(&self, order: Order) {
        let _ = self.stager.try_send(order);
    }
}

fn failed(ticket: Ticket) -> Input {
    Input::Done { ticket, answer: Answer::Failed }
}
