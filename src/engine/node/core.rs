//! What all exchanges of a node share: the questions asked, the answers to give, who brings what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use postrider_base::{
    BundleId, NodeId,
    bundle::{Hop, Receipt},
};

use super::{
    casts::Casts,
    contract::{Class, Event, LinkId, Local, NewBundle, Now, Output, ShortId, Ticket, TransferId},
    handover::Handovers,
    near::Near,
    partials::{Arrivals, Spot},
};
use crate::{
    exchange::{Memory, Unit},
    introduce::{Introductions, Said},
    router::{Contact, Router, WORTH_UNKNOWN},
};

/// Everything but the links themselves.
#[derive(Debug)]
pub(crate) struct Core {
    pub now: Now,
    pub local: Local,
    pub router: Box<dyn Router>,
    pub arrivals: Arrivals,
    pub introductions: Introductions,
    pub near: Near,
    pub casts: Casts,
    pub outputs: VecDeque<Output>,
    /// What one link's input means for others; done before the next input.
    pub tasks: VecDeque<Task>,
    /// Links that may have something to send now.
    pub touched: BTreeSet<LinkId>,
    asked: BTreeMap<Ticket, Asked>,
    /// Who wants to hear that the questions up to these tickets are answered.
    flushes: VecDeque<(LinkId, Ticket)>,
    pub handovers: Handovers,
    /// Small bundles that go over some link without having been asked for, a few for each link.
    pub given: BTreeSet<ShortId>,
    /// Reconciliations that are going on.
    pub sketching: usize,
    pub memory: Memory,
    /// What was asked over links to this node's own key: whoever hears it is this node itself.
    pub own_pings: BTreeSet<u64>,
    /// How many links there are to whom, of those that are proven.
    met: BTreeMap<NodeId, usize>,
    next_ticket: u64,
    next_transfer: u64,
}

/// Something for links other than the one at work; without a [`Spot`], for all.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// A bundle became durable: to whom it is known now.
    Settle(Spot, ShortId),
    /// Nobody brings this bundle any more: ask for it.
    Retry(Spot),
    /// Another brings this bundle from now on.
    Overtaken(Spot, ShortId),
    /// The shell lost what was staged for it.
    Lost(Spot),
    /// A bundle was retired.
    Gone(ShortId),
    /// More came of a body for others.
    Passing(ShortId),
    /// What comes of that body now will not be whole, or not be kept.
    Stopped(ShortId),
    /// The spool has a new bundle.
    NewBundle,
    /// The spool has new receipts.
    NewReceipts,
    /// This node takes for itself what is for it: nobody else need have it.
    Near([u8; 32]),
    /// Something waits for this node to take it: whether it is still there.
    Ask([u8; 32]),
    /// Part of an introduction.
    Say(LinkId, Said),
}

/// A question that waits for its answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub link: LinkId,
    pub what: What,
}

/// What a question was about.
#[derive(Debug)]
pub(crate) enum What {
    Since {
        generation: u32,
    },
    Page {
        generation: u32,
        class: Class,
    },
    Toward {
        round: u32,
    },
    Look {
        handles: Vec<u32>,
    },
    /// Tokens of the named one are to be handed over.
    Load {
        handle: u32,
        spends: Option<BundleId>,
    },
    /// Without a handle tokens are put back.
    Change {
        handle: Option<u32>,
        id: BundleId,
    },
    Read {
        handle: u32,
        at: u64,
        bytes: usize,
    },
    Keep {
        handle: u32,
        bundle: Keeping,
    },
    Take {
        batch: u64,
    },
    Receipts {
        generation: u32,
    },
    Survey {
        session: u32,
    },
    Sketch {
        session: u32,
    },
}

/// What is left in memory of a bundle on its way to the disk.
#[derive(Debug)]
pub(crate) struct Keeping {
    pub short: ShortId,
    pub id: postrider_base::BundleId,
    pub length: u64,
    pub custody: super::contract::Custody,
}

impl What {
    /// Whether units follow from the answer, and no commit and no body is waited for.
    fn is_quick(&self) -> bool {
        match self {
            Self::Since { .. }
            | Self::Page { .. }
            | Self::Toward { .. }
            | Self::Look { .. }
            | Self::Load { spends: None, .. }
            | Self::Receipts { .. } => true,
            Self::Load { .. }
            | Self::Change { .. }
            | Self::Read { .. }
            | Self::Keep { .. }
            | Self::Take { .. }
            | Self::Survey { .. }
            | Self::Sketch { .. } => false,
        }
    }
}

impl Task {
    /// The one link it is for.
    pub fn link(&self) -> Option<LinkId> {
        match self {
            Self::Settle(spot, _) | Self::Overtaken(spot, _) => Some(spot.0),
            Self::Retry(spot) | Self::Lost(spot) => Some(spot.0),
            Self::Say(link, _) => Some(*link),
            Self::Gone(_) | Self::NewBundle | Self::NewReceipts => None,
            Self::Passing(_) | Self::Stopped(_) | Self::Near(_) | Self::Ask(_) => None,
        }
    }
}

impl Core {
    pub fn new(local: Local, router: Box<dyn Router>) -> Self {
        Self {
            now: Now::default(),
            local,
            router,
            arrivals: Arrivals::default(),
            introductions: Introductions::default(),
            near: Near::default(),
            casts: Casts::default(),
            outputs: VecDeque::new(),
            tasks: VecDeque::new(),
            handovers: Handovers::default(),
            given: BTreeSet::new(),
            touched: BTreeSet::new(),
            asked: BTreeMap::new(),
            flushes: VecDeque::new(),
            sketching: 0,
            memory: Memory::default(),
            own_pings: BTreeSet::new(),
            met: BTreeMap::new(),
            next_ticket: 0,
            next_transfer: 0,
        }
    }

    /// A link to a node is proven to be one.
    pub fn meet(&mut self, node: NodeId) {
        let links = self.met.entry(node).or_default();
        *links += 1;
        if *links == 1 {
            self.router.on_contact(self.now, node, Contact::Began);
            self.remember_meetings();
        }
    }

    /// A link that was proven is gone.
    pub fn part(&mut self, node: NodeId) {
        let Some(links) = self.met.get_mut(&node) else { return };
        *links -= 1;
        if *links == 0 {
            self.met.remove(&node);
            self.router.on_contact(self.now, node, Contact::Ended);
            self.remember_meetings();
        }
    }

    /// What the router has learnt is to outlive this process.
    pub fn remember_meetings(&mut self) {
        let changed = self.router.changed().into_iter();
        self.outputs.extend(changed.map(|(node, meeting)| Output::Met { node, meeting }));
    }

    /// A ticket for a question.
    pub fn ask(&mut self, link: LinkId, what: What) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.asked.insert(ticket, Asked { link, what });
        ticket
    }

    /// The question that this answers.
    pub fn answered(&mut self, ticket: Ticket) -> Option<Asked> {
        self.asked.remove(&ticket)
    }

    /// Forgets what was asked for a link, but not what was asked to be kept or changed.
    pub fn forget_questions(&mut self, link: LinkId) {
        let handovers = &mut self.handovers;
        self.asked.retain(|_, asked| {
            if asked.link != link {
                return true;
            }
            if let What::Load { spends: Some(id), .. } = &asked.what {
                handovers.answered(id);
            }
            matches!(asked.what, What::Keep { .. } | What::Take { .. } | What::Change { .. })
        });
        self.flushes.retain(|(of, _)| *of != link);
    }

    /// Somebody wants to hear when what was asked so far for a link has been answered.
    pub fn note_flush(&mut self, link: LinkId) {
        self.flushes.push_back((link, Ticket(self.next_ticket)));
    }

    /// Tells those whose questions are answered.
    pub fn flush(&mut self) {
        let asked = &self.asked;
        let outputs = &mut self.outputs;
        self.flushes.retain(|(link, upto)| {
            let waits = |asked: &Asked| asked.link == *link && asked.what.is_quick();
            let open = asked.range(..=upto).any(|(_, asked)| waits(asked));
            if !open {
                outputs.push_back(Output::Flushed { link: *link });
            }
            open
        });
    }

    pub fn new_transfer(&mut self) -> TransferId {
        self.next_transfer += 1;
        TransferId(self.next_transfer)
    }

    /// Asks for a bundle to be made durable.
    pub fn keep(&mut self, link: LinkId, handle: u32, mut bundle: NewBundle) {
        bundle.worth = self.router.near(self.now, &bundle.row).unwrap_or(WORTH_UNKNOWN);
        let keeping = Keeping {
            short: bundle.row.short(),
            id: bundle.row.id,
            length: bundle.row.length,
            custody: bundle.custody,
        };
        let ticket = self.ask(link, What::Keep { handle, bundle: keeping });
        self.outputs.push_back(Output::Keep { ticket, bundle: Box::new(bundle) });
    }

    /// Asks for hop data to become durable; whoever hands tokens over waits for it with its handle.
    pub fn change(&mut self, link: LinkId, handle: Option<u32>, id: BundleId, hop: Hop) {
        let ticket = self.ask(link, What::Change { handle, id });
        self.outputs.push_back(Output::Change { ticket, id, hop });
    }

    /// Takes receipts from a link.
    pub fn take_receipts(
        &mut self,
        link: LinkId,
        from: Option<NodeId>,
        batch: u64,
        list: Vec<Receipt>,
    ) {
        let ticket = self.ask(link, What::Take { batch });
        self.outputs.push_back(Output::TakeReceipts { ticket, from, list });
    }

    pub fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// The bytes of a unit go out; how many they are.
    pub fn send(&mut self, link: LinkId, unit: &Unit) -> usize {
        let (head, body): (Bytes, Bytes) = unit.encode();
        let bytes = head.len() + body.len();
        self.outputs.push_back(Output::Send { link, head, body });
        bytes
    }
}
