//! The engine: inputs to the links they concern, and what one link's input means for the others.

use std::collections::BTreeMap;

use postrider_base::NodeId;

use super::{
    contract::{
        Answer, Ending, Event, Input, Kept, LinkId, Local, Now, Output, Row, ShortId, TransferId,
        Violation,
    },
    core::{Asked, Core, Task, What},
};
use crate::{
    exchange::{DUPLICATE, Exchange, LINKS_MAX, Opening, Unit},
    router::{NoRoad, Outlook, Road, Router},
};

/// After a protocol error the peer is asked to stay away for so long: the same bytes would come
/// again.
const RETRY_PROTOCOL_S: u32 = 600;
/// After a shortage on this side.
const RETRY_SHORTAGE_S: u32 = 30;

/// Every decision about live links; [`contract`](super::contract) says how it is run.
#[derive(Debug)]
pub struct Engine {
    core: Core,
    links: BTreeMap<LinkId, Exchange>,
}

impl Engine {
    /// For this node, without links.
    pub fn new(local: Local, router: Box<dyn Router>) -> Self {
        Self { core: Core::new(local, router), links: BTreeMap::new() }
    }

    /// Takes an input; then [`Self::poll`] until there is nothing.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.core.now = now;
        match input {
            Input::LinkUp { link, facts, policy, room_bytes, mine, theirs, random } => {
                self.open(Opening { link, facts, policy, room_bytes, mine, theirs, random });
            }
            Input::LinkDown { link } => self.forget(link),
            Input::Unit { link, unit } => {
                if let Some(node) = self.core.near.heard(self.core.now.mono_ms, link) {
                    self.core.tasks.push_back(Task::Near(node));
                }
                self.with(link, |exchange, core| exchange.handle(core, &unit));
            }
            Input::Early { link, unit } => {
                self.with(link, |exchange, core| exchange.handle_early(core, &unit));
            }
            Input::Flush { link } => {
                if self.links.contains_key(&link) {
                    self.core.note_flush(link);
                }
            }
            Input::Room { link, bytes } => self.with(link, |exchange, core| {
                exchange.take_room(core, bytes);
                Ok(())
            }),
            Input::MeetFailed { node } => {
                self.core.introductions.failed(self.core.now.mono_ms, &node);
            }
            Input::Arrived { id } => {
                self.core.handovers.renewed(&id);
                self.arrived(ShortId::of(&id));
            }
            Input::Gone { id } => self.core.tasks.push_back(Task::Gone(ShortId::of(&id))),
            Input::Receipts => self.core.tasks.push_back(Task::NewReceipts),
            Input::CastHeard { network, id, here } => {
                let now_ms = self.core.now.mono_ms;
                self.core.casts.heard(now_ms, network, ShortId::of(&id), here);
            }
            Input::Haves { network, said } => self.core.casts.take_haves(network, &said),
            Input::People(people) => {
                if self.core.memory.note_people(&people) {
                    self.links.values_mut().for_each(Exchange::compare);
                    self.core.touched.extend(self.links.keys());
                }
                let contacts = people.contacts.iter().map(|contact| contact.node);
                let blocked = |node: &NodeId| people.blocked.contains(node);
                self.core.introductions.set_contacts(contacts.filter(|node| !blocked(node)));
                self.core.router.set_people(people);
                self.end_blocked();
            }
            Input::Pressure(pressed) => {
                // What was held back meanwhile, cursors have passed; over radios it still is.
                if self.core.router.set_pressed(pressed) && !pressed {
                    self.core.memory.note_widened();
                    let wide = |exchange: &&mut Exchange| !exchange.peer().policy.radio;
                    self.links.values_mut().filter(wide).for_each(Exchange::compare);
                    self.core.touched.extend(self.links.keys());
                }
            }
            Input::Ping { link, nonce } => self.with(link, |exchange, core| {
                exchange.ping(core, nonce);
                Ok(())
            }),
            Input::StageLost { transfer, .. } => self.stage_lost(transfer),
            Input::Done { ticket, answer } => {
                if let Some(asked) = self.core.answered(ticket) {
                    self.answer(asked, answer);
                }
            }
            Input::Timeout => {}
        }
        self.tick();
        self.settle();
        self.core.flush();
        self.trim();
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.core.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due, on the clock of [`Now::mono_ms`].
    pub fn poll_timeout(&self) -> Option<u64> {
        let stall = self.core.arrivals.stall_at(self.core.local.policy.stall_ms);
        let said = self.core.casts.due_ms();
        self.links.values().filter_map(Exchange::deadline).chain(stall).chain(said).min()
    }

    /// Whether a bundle would be offered over a link, and why or why not; `None` without the link.
    pub fn why(&self, link: LinkId, row: &Row) -> Option<Result<Road, NoRoad>> {
        let exchange = self.links.get(&link)?;
        Some(self.core.router.eligible(self.core.now, &exchange.peer().neighbour(), row))
    }

    /// How soon a bundle may be with whom it is for; `None` where nobody is named.
    pub fn outlook(&self, row: &Row) -> Option<Outlook> {
        let near = self.core.router.near(self.core.now, row)?;
        let goes = |exchange: &Exchange| {
            let to = exchange.peer().neighbour();
            self.core.router.eligible(self.core.now, &to, row) == Ok(Road::Direct)
        };
        let now = self.links.values().any(goes);
        Some(if now { Outlook::Now } else { Outlook::of(near, row.hop.level) })
    }

    /// Bits per second that a link is believed to carry.
    pub fn rate_bps(&self, link: LinkId) -> Option<u64> {
        Some(self.links.get(&link)?.peer().pace.rate_bps())
    }

    /// Bodies that were cut and wait for a link, and their bytes.
    pub fn partials(&self) -> (usize, u64) {
        self.core.arrivals.idle()
    }

    fn open(&mut self, opening: Opening) {
        let (link, peer) = (opening.link, opening.facts.peer);
        if self.links.contains_key(&link) {
            return;
        }
        let refused = if self.links.len() >= LINKS_MAX {
            Some(Ending::Crowded)
        } else if peer.is_some_and(|peer| self.core.router.is_blocked(&peer)) {
            Some(Ending::Blocked)
        } else {
            None
        };
        if let Some(why) = refused {
            return self.close(link, why);
        }
        self.core.introductions.link_up(link, &opening.facts);
        self.core.near.link_up(link, &opening.facts, &opening.policy);
        if let Some(network) = opening.policy.network {
            let peer = peer.map(|peer| *peer.as_bytes());
            self.core.casts.link_up(link, network, peer, &opening.random);
        }
        let exchange = Exchange::open(&mut self.core, opening);
        self.links.insert(link, exchange);
        self.core.touched.insert(link);
    }

    /// Lets a link do something; ends it if that fails.
    fn with(
        &mut self,
        link: LinkId,
        act: impl FnOnce(&mut Exchange, &mut Core) -> Result<(), Ending>,
    ) {
        let Some(exchange) = self.links.get_mut(&link) else { return };
        self.core.touched.insert(link);
        if let Err(why) = act(exchange, &mut self.core) {
            self.end(link, why);
        }
    }

    fn answer(&mut self, asked: Asked, answer: Answer) {
        let Asked { link, what } = asked;
        match (&what, &answer) {
            (What::Keep { bundle, handle }, _) => {
                let (short, spot) = (bundle.short, (link, *handle));
                let (_, waiting, _) = self.core.arrivals.finish(&short);
                let here = matches!(answer, Answer::Kept(Kept::Kept | Kept::Known));
                let others = waiting.into_iter().filter(|other| *other != spot);
                self.core.tasks.extend(others.map(|other| {
                    if here { Task::Settle(other, short) } else { Task::Retry(other) }
                }));
                if !matches!(answer, Answer::Kept(Kept::Kept)) {
                    self.core.tasks.push_back(Task::Stopped(short));
                } else {
                    self.core.tasks.push_back(Task::NewBundle);
                    let (id, length, custody) = (bundle.id, bundle.length, bundle.custody);
                    self.core.event(Event::Received { link, id, length, custody });
                }
            }
            (What::Take { .. }, Answer::Taken { news: 1.. }) => {
                self.core.tasks.push_back(Task::NewReceipts);
            }
            _ => {}
        }
        let moved = match &what {
            What::Load { spends, .. } => *spends,
            What::Change { id, .. } => Some(*id),
            _ => None,
        };
        self.with(link, |exchange, core| exchange.answer(core, what, answer));
        moved.iter().for_each(|id| self.core.handovers.answered(id));
    }

    /// A bundle came by another way: nobody need bring it any more.
    fn arrived(&mut self, id: ShortId) {
        if !self.core.arrivals.is_keeping(&id) {
            let (owner, waiting, transfer) = self.core.arrivals.finish(&id);
            let spots = owner.into_iter().chain(waiting);
            self.core.tasks.extend(spots.map(|spot| Task::Settle(spot, id)));
            self.core.outputs.extend(transfer.map(|transfer| Output::Drop { transfer }));
        }
        self.core.tasks.push_back(Task::NewBundle);
    }

    fn stage_lost(&mut self, transfer: TransferId) {
        let Some((id, _)) = self.core.arrivals.lose(transfer) else { return };
        let (owner, waiting, _) = self.core.arrivals.finish(&id);
        self.core.tasks.push_back(Task::Stopped(id));
        self.core.tasks.extend(owner.map(Task::Lost));
        self.core.tasks.extend(waiting.into_iter().map(Task::Retry));
    }

    fn end_blocked(&mut self) {
        let blocked = |(link, exchange): (&LinkId, &Exchange)| {
            let node = exchange.peer().node?;
            self.core.router.is_blocked(&node).then_some(*link)
        };
        let all: Vec<LinkId> = self.links.iter().filter_map(blocked).collect();
        for link in all {
            self.end(link, Ending::Blocked);
        }
    }

    /// What the clock brings.
    fn tick(&mut self) {
        let now_ms = self.core.now.mono_ms;
        let due = |(link, exchange): (&LinkId, &Exchange)| {
            exchange.deadline().is_some_and(|at| now_ms >= at).then_some(*link)
        };
        let all: Vec<LinkId> = self.links.iter().filter_map(due).collect();
        for link in all {
            self.with(link, Exchange::tick);
        }
        self.core.casts.tick(now_ms, &mut self.core.outputs);
        let stalled = self.core.arrivals.stalled(now_ms, self.core.local.policy.stall_ms);
        for (id, spot) in stalled {
            let waiting = self.core.arrivals.release(&id, spot);
            self.core.tasks.extend([Task::Stopped(id), Task::Overtaken(spot, id)]);
            self.core.tasks.extend(waiting.into_iter().map(Task::Retry));
        }
    }

    /// Goes on until no link has anything to do for another, or to send.
    fn settle(&mut self) {
        loop {
            if let Some(task) = self.core.tasks.pop_front() {
                self.perform(task);
            } else if let Some(link) = self.core.touched.pop_first() {
                let Some(exchange) = self.links.get_mut(&link) else { continue };
                if let Err(why) = exchange.pump(&mut self.core) {
                    self.end(link, why);
                }
            } else {
                break;
            }
        }
    }

    fn perform(&mut self, task: Task) {
        let range = task.link().map_or(LinkId(0)..=LinkId(u64::MAX), |link| link..=link);
        for (link, exchange) in self.links.range_mut(range) {
            exchange.perform(&mut self.core, &task);
            self.core.touched.insert(*link);
        }
    }

    /// Ends a link from this side.
    fn end(&mut self, link: LinkId, why: Ending) {
        self.close(link, why);
        self.forget(link);
    }

    fn close(&mut self, link: LinkId, why: Ending) {
        let halt = match why {
            Ending::Halted { .. } | Ending::Silent | Ending::Stuck => None,
            Ending::Protocol(violation) => Some((number(violation), RETRY_PROTOCOL_S)),
            Ending::Myself => Some((16, 0)),
            Ending::Duplicate => Some((DUPLICATE, RETRY_PROTOCOL_S)),
            Ending::Blocked => Some((17, 0)),
            Ending::Disk => Some((18, RETRY_SHORTAGE_S)),
            Ending::Crowded => Some((19, RETRY_SHORTAGE_S)),
        };
        if let Some((reason, retry_after_s)) = halt {
            self.core.send(link, &Unit::Halt { reason, retry_after_s });
        }
        self.core.outputs.push_back(Output::Close { link, why });
    }

    fn forget(&mut self, link: LinkId) {
        let Some(mut exchange) = self.links.remove(&link) else { return };
        exchange.end(&mut self.core);
        self.core.introductions.link_down(self.core.now.mono_ms, link);
        self.core.near.link_down(link);
        self.core.casts.link_down(link);
    }

    /// Forgets cut bodies beyond the bounds. A body can be left by its link's end, and as well by a
    /// peer that withdraws what it began: so this is looked at after every input.
    fn trim(&mut self) {
        let dropped = self.core.arrivals.excess(self.core.local.policy.partial_bytes_max);
        self.core.outputs.extend(dropped.into_iter().map(|transfer| Output::Drop { transfer }));
    }
}

/// The number of a reason in a Halt.
fn number(violation: Violation) -> u8 {
    match violation {
        Violation::Malformed => 1,
        Violation::Order => 2,
        Violation::Version => 3,
        Violation::Limit => 4,
        Violation::Handle => 5,
        Violation::Forged => 6,
    }
}
