//! The desk's half of the live node: what the engine asks of the spool, answered.
//!
//! The daemon's threads call this; nothing here knows of links. What comes in goes the same way as
//! what a stick brings: [`Intake`].

use std::collections::{BTreeMap, HashSet};

use bytes::{Bytes, BytesMut};
use postrider_base::{
    BundleId, Head, NodeId,
    bundle::{Hop, Receipt, SMALL_PAYLOAD_MAX},
    link::LinkFacts,
    roster::Entry,
};
use postrider_engine::node::{
    self as engine, Answer, CarriedMax, Custody, Instance, Kept, Known, Loaded, Local, NewBundle,
    People, Place, Policy, Row, Seen, ShortId,
};
use postrider_spool::{
    Change, Class, Cursor, Destination, DurableSpool, Entry as SpoolEntry, Outcome, Queue, Spool,
};
use postrider_transports::lan::{LanOptions, Pattern, Rule};

use crate::home::{FileMark, Followed, LinkRule};

pub use super::arriving::{Arrivals, Arriving};
use super::{
    Desk, Failure, FailureKind, Silent, Watch, clock,
    early::bringer,
    held::forget_held,
    hex,
    incoming::{Gains, Intake, Ready, Refusal, lock},
    ledger::{CursorNote, OwnNote, event, set_note, space},
    outlook::row_for,
    parallel::in_parallel,
    people::name_of,
    receipts,
};

/// Small bundles fewer than this are opened by one thread: starting others would take longer.
const PARALLEL_FROM: usize = 8;

/// Bundles that are named to the engine when others put them into the spool: it asks for the rest.
const ARRIVALS_TOLD: u64 = 256;

/// An opened spool, for the engine.
#[derive(Clone, Copy)]
pub struct Live<'a> {
    desk: &'a Desk,
    pub(super) spool: &'a DurableSpool,
}

/// A verified bundle to keep, its body at hand.
#[derive(Debug)]
pub struct Arrival {
    /// As the engine gave it.
    pub bundle: Box<NewBundle>,
    /// The body, if it came in pieces.
    pub arriving: Option<Arriving>,
}

/// What a group brought beside the verdicts.
#[derive(Debug, Default)]
pub struct News {
    /// Messages for us that became complete.
    pub messages: Vec<BundleId>,
    /// Our messages whose receipts came.
    pub delivered: Vec<BundleId>,
}

impl From<Gains> for News {
    fn from(gains: Gains) -> Self {
        Self { messages: gains.messages, delivered: gains.delivered }
    }
}

impl Desk {
    /// Opens the spool for a live node.
    pub fn open_live(&self, watch: &dyn Watch) -> Result<Live<'_>, Failure> {
        Ok(Live { desk: self, spool: self.spool(watch)? })
    }

    /// Who this node is, for the engine.
    pub fn local(&self, watch: &dyn Watch) -> Result<Local, Failure> {
        let spool = self.spool(watch)?;
        let epoch = spool.numbering().epoch;
        let quotas = self.quotas(&spool.stats()?)?;
        let longest = |class| self.longest(&quotas, class);
        let carried = CarriedMax {
            contact_bytes: longest(Class::Contact),
            friend_bytes: longest(Class::Friend),
            stranger_bytes: longest(Class::Stranger),
        };
        Ok(Local {
            node: self.home.card.node,
            tag_keys: self.home.key.seal_secrets().iter().map(|key| key.public()).collect(),
            instance: Instance(epoch.to_be_bytes()),
            policy: Policy { carried, ..Policy::default() },
        })
    }

    /// The custody clock; 0 before the spool is open.
    pub fn held_ms(&self) -> u64 {
        self.spool.get().map_or(0, |spool| spool.held_ms(clock::now()))
    }

    /// Whether a node may have a link at all.
    pub fn admits(&self, node: &NodeId) -> bool {
        let known = self.home.contacts();
        known.is_ok_and(|known| !known.is_blocked(node))
    }

    /// Whether a node is a contact, and not a blocked one.
    pub fn is_contact(&self, node: &NodeId) -> bool {
        let known = self.home.contacts();
        known.is_ok_and(|known| known.is_known(node))
    }

    /// What a node is called here, or its id.
    pub fn name_of(&self, node: &NodeId) -> String {
        self.home.contacts().map_or_else(|_| node.to_string(), |known| name_of(&known, node))
    }

    /// How this node meets neighbours on local networks, if it does.
    pub fn lan_options(&self) -> Result<Option<LanOptions>, Failure> {
        let config = &self.home.config;
        if !config.lan {
            return Ok(None);
        }
        let mut rules = Vec::with_capacity(config.lan_rules.len());
        for rule in &config.lan_rules {
            let interfaces = Pattern::new(&rule.interfaces).map_err(|error| {
                let what = format!("config.toml: lan-rules: {:?} is no pattern", rule.interfaces);
                Failure::new(FailureKind::Usage, what).because(error)
            })?;
            let (beacons, listen, priority) = (rule.beacons, rule.listen, rule.priority);
            rules.push(Rule { interfaces, beacons, listen, priority });
        }
        if rules.is_empty() {
            rules.push(Rule::default());
        }
        Ok(Some(LanOptions { rules, port: config.lan_port, hears_itself: false }))
    }

    /// What the settings say of a link.
    pub fn link_rule(&self, facts: &LinkFacts) -> Result<LinkRule, Failure> {
        let rules = &self.home.config.links;
        if rules.is_empty() {
            return Ok(LinkRule::default());
        }
        let (contacts, today) = (self.home.contacts()?, clock::today());
        let fitting = rules.iter().filter(|rule| rule.is_for(facts, &contacts, today));
        Ok(LinkRule::together(fitting))
    }

    /// Whom this node knows, for the engine.
    pub fn known_people(&self) -> Result<People, Failure> {
        let contacts = self.home.contacts()?;
        let me = self.home.card.node;
        let chosen = contacts.iter().filter(|contact| contacts.is_chosen(&contact.card.node));
        Ok(People {
            blocked: contacts.blocked().filter(|node| *node != me).collect(),
            friends: self.friends()?,
            via: Vec::new(),
            groups: contacts.rosters().iter().map(Followed::group).collect(),
            contacts: chosen
                .map(|contact| engine::Contact {
                    node: contact.card.node,
                    seal_keys: vec![*contact.card.seal_key()],
                    meets_per_month: contact.meets.unwrap_or(0),
                })
                .collect(),
        })
    }

    /// Whom others vouch for and I have not accepted: introductions that wait, and members of rosters
    /// whose last day is not over.
    pub fn friends(&self) -> Result<Vec<NodeId>, Failure> {
        let (contacts, today) = (self.home.contacts()?, clock::today());
        let (rosters, me) = (contacts.rosters(), self.home.card.node);
        let listed = rosters.iter().filter_map(|followed| followed.roster.as_ref());
        let members = listed.flat_map(|roster| roster.entries.iter().map(Entry::node));
        let mut friends: Vec<NodeId> = contacts
            .iter()
            .map(|contact| contact.card.node)
            .chain(members)
            .filter(|node| *node != me && contacts.is_friend(node, today))
            .collect();
        friends.sort_unstable();
        friends.dedup();
        Ok(friends)
    }
}

impl Live<'_> {
    /// Calls this after every commit, by whomever; see [`DurableSpool::on_commit`].
    pub fn on_commit(&self, tell: impl Fn() + Send + Sync + 'static) -> bool {
        self.spool.on_commit(tell)
    }

    /// What changes whenever contacts or rosters do.
    pub fn people_mark(&self) -> FileMark {
        self.desk.home.people_mark()
    }

    /// Whom this node knows.
    pub fn people(&self) -> Result<People, Failure> {
        self.desk.known_people()
    }

    /// The numbers of the rosters that are followed.
    pub fn roster_numbers(&self) -> Result<BTreeMap<NodeId, u64>, Failure> {
        let contacts = self.desk.home.contacts()?;
        let rosters = contacts.rosters().iter();
        Ok(rosters.filter_map(|of| Some((of.key, of.roster.as_ref()?.number))).collect())
    }

    /// What a roster is called here.
    pub fn roster_name(&self, key: &NodeId) -> String {
        let contacts = self.desk.home.contacts();
        let name = contacts.ok().and_then(|all| Some(all.rosters().of(key)?.name.clone()));
        name.unwrap_or_else(|| key.to_string())
    }

    /// Raises the alarm that this node's key is in two places.
    pub fn alarm_of_identity(&self, what: &str) -> Result<(), Failure> {
        self.desk.alarm_of_identity(self.spool, what)
    }

    /// How many alarms this process has raised.
    pub fn alarms_raised(&self) -> u64 {
        self.desk.alarms_raised()
    }

    /// Alarms that nobody has cleared.
    pub fn alarms(&self) -> Result<Vec<String>, Failure> {
        self.desk.alarms(&Silent)
    }

    /// The custody clock.
    pub fn held_ms(&self) -> u64 {
        self.spool.held_ms(clock::now())
    }

    /// Whether this node is under pressure, if it was so `before`.
    pub fn is_pressed(&self, before: bool) -> Result<bool, Failure> {
        let stats = self.spool.stats()?;
        let quotas = self.desk.quotas(&stats)?;
        let carried = Class::ALL.into_iter().filter(|class| *class != Class::Own);
        let parts = carried.flat_map(|class| {
            let (share, quota) = (&stats.classes[class as usize], quotas.of(class));
            [(share.counted_bytes, quota.bytes), (share.bundles, quota.bundles)]
        });
        Ok(engine::is_pressed(parts, before))
    }

    /// The highest arrival number so far.
    pub fn latest(&self) -> u64 {
        self.spool.numbering().latest
    }

    /// Some of the bundles above an arrival number, the last among them, and its number.
    pub fn arrivals(&self, after: u64) -> Result<(Vec<BundleId>, u64), Failure> {
        let latest = self.latest();
        let from = after.max(latest.saturating_sub(ARRIVALS_TOLD));
        let entries = self.spool.since(from, usize::try_from(ARRIVALS_TOLD).unwrap_or(1))?;
        Ok((entries.iter().map(|entry| entry.id).collect(), latest))
    }

    /// Up to which number receipts can be listed, and whether there is one above `after`.
    pub fn receipts_news(&self, after: u64) -> Result<(u64, bool), Failure> {
        let upto = self.receipts_upto()?;
        let listed = receipts::since(self.spool, after, 1, self.held_ms())?;
        Ok((upto, !listed.list.is_empty()))
    }

    /// Live rows above an arrival number.
    pub fn since(&self, after: u64, limit: usize) -> Result<Answer, Failure> {
        let upto = self.latest();
        let entries = self.spool.since(after, limit)?;
        let more = entries.len() >= limit;
        Ok(Answer::Rows { rows: self.rows(&entries)?, more, upto })
    }

    /// Live rows of a class, nicest last.
    pub fn page(
        &self,
        class: engine::Class,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Answer, Failure> {
        let upto = self.latest();
        let class = class_here(class);
        let after = after.map(|place| Cursor { nice: place.nice, arrival: place.arrival });
        let entries = self.spool.page(Queue::Class(class), after, limit)?;
        let more = entries.len() >= limit;
        Ok(Answer::Rows { rows: self.rows(&entries)?, more, upto })
    }

    /// These, and whom they are for, where that is known here.
    pub(super) fn rows(&self, entries: &[SpoolEntry]) -> Result<Vec<Row>, Failure> {
        let contacts = self.desk.home.contacts()?;
        entries.iter().map(|entry| row_for(self.spool, &contacts, entry)).collect()
    }

    /// Which of these are known here.
    pub fn look(&self, ids: &[ShortId]) -> Result<Vec<Known>, Failure> {
        ids.iter()
            .map(|short| {
                let known = !self.spool.resolve(&hex(&short.0))?.is_empty()
                    || !self.spool.notes(space::DONE, &short.0, None, 1)?.is_empty();
                Ok(if known { Known::Known } else { Known::Unknown })
            })
            .collect()
    }

    /// What is sent before a body, and the body if it is small. Nothing of a bundle leaves before it.
    pub fn load(&self, id: &BundleId) -> Result<Option<Loaded>, Failure> {
        let (Some(entry), Some(envelope)) = (self.spool.entry(id)?, self.spool.envelope(id)?)
        else {
            return Ok(None);
        };
        if entry.class == Class::Own && !self.desk.may_leave(self.spool, id)? {
            return Ok(None);
        }
        let length = entry.summary.length;
        let payload = if length <= SMALL_PAYLOAD_MAX {
            match self.read(id, 0, usize::try_from(length).unwrap_or(0), BytesMut::new())? {
                Some(payload) => payload,
                None => return Ok(None),
            }
        } else {
            Bytes::new()
        };
        Ok(Some(Loaded {
            head: envelope.head.into(),
            hop: entry.hop,
            arrived_held_ms: entry.arrived_held_ms,
            payload,
        }))
    }

    /// Exactly these bytes of a body, or `None`. They come to lie in `memory`.
    pub fn read(
        &self,
        id: &BundleId,
        at: u64,
        bytes: usize,
        memory: BytesMut,
    ) -> Result<Option<Bytes>, Failure> {
        let mut piece = memory;
        piece.resize(bytes, 0);
        let mut got = 0;
        while got < bytes {
            match self.spool.read(id, at + got as u64, &mut piece[got..])? {
                Some(n) if n > 0 => got += n,
                _ => return Ok(None),
            }
        }
        Ok(Some(piece.freeze()))
    }

    /// Takes bodies that come in pieces.
    pub fn arrivals_of_bodies(&self) -> Arrivals<'_> {
        Arrivals::new(self.desk, self.spool)
    }

    /// Keeps bundles, in one or few groups; durable when it returns. One verdict for each.
    pub fn keep(&self, arrivals: Vec<Arrival>) -> Result<(Vec<Answer>, News), Failure> {
        let _taking = lock(&self.desk.taking);
        let intake = Intake::new(self.desk, self.spool)?;
        let large = arrivals.iter().any(|arrival| arrival.arriving.is_some());
        let workers = if large || arrivals.len() >= PARALLEL_FROM {
            self.desk.home.config.worker_count()
        } else {
            1
        };
        let ready = in_parallel(arrivals, workers, |arrival| open(&intake, self.spool, arrival));
        let mut synced = HashSet::new();
        let settled: Vec<Result<BundleId, Refusal>> = ready
            .into_iter()
            .map(|ready| ready.and_then(|ready| intake.settle(ready, &mut synced)))
            .collect();
        let gains = intake.finish()?;
        let full = |id: &BundleId| gains.full.contains(id);
        let settled = settled.into_iter().map(|settled| match settled {
            Ok(id) if full(&id) => Answer::Kept(Kept::Full),
            settled => verdict(settled),
        });
        Ok((settled.collect(), gains.into()))
    }

    /// Replaces hop data of live bundles, in order and in one group; durable when it returns. Which of
    /// them were live.
    pub fn change(&self, list: &[(BundleId, Hop)]) -> Result<Vec<bool>, Failure> {
        let (mut changes, mut live) = (Vec::new(), Vec::with_capacity(list.len()));
        for (id, hop) in list {
            let entry = self.spool.entry(id)?;
            live.push(entry.is_some());
            let change = |entry: SpoolEntry| Change::Hop { id: *id, hop: *hop, class: entry.class };
            changes.extend(entry.map(change));
        }
        if changes.is_empty() {
            return Ok(live);
        }
        let mut outcomes = self.spool.commit(clock::now(), changes)?.into_iter();
        // It may have been retired in between.
        let done = |live| live && outcomes.next() == Some(Outcome::Done);
        Ok(live.into_iter().map(done).collect())
    }

    /// Takes receipts that this node brought, if it is proven; durable when it returns. Also how many of
    /// them freed or proved something.
    pub fn take_receipts(
        &self,
        from: Option<NodeId>,
        list: &[Receipt],
    ) -> Result<(usize, News), Failure> {
        let _taking = lock(&self.desk.taking);
        let intake = Intake::new(self.desk, self.spool)?;
        let mut news = 0;
        for receipt in list {
            news += usize::from(intake.take_receipt(receipt, bringer(from.as_ref()))?);
        }
        Ok((news, intake.finish()?.into()))
    }

    /// Every receipt with a number up to this one can be listed.
    pub fn receipts_upto(&self) -> Result<u64, Failure> {
        self.desk.receipt_numbers.horizon(self.spool)
    }

    /// Receipts above a number.
    pub fn receipts_since(&self, after: u64, limit: usize) -> Result<Answer, Failure> {
        let upto = self.receipts_upto()?;
        let listed = receipts::since(self.spool, after, limit, self.held_ms())?;
        Ok(Answer::Receipts { more: listed.next.is_some(), list: listed.list, upto })
    }

    /// Where two nodes stood when they last met: mine into theirs, theirs into mine.
    pub fn recall(&self, peer: &NodeId) -> Result<(Option<Seen>, Option<Seen>), Failure> {
        let note = self.spool.note(space::CURSOR, peer.as_bytes())?;
        Ok(note.as_deref().and_then(CursorNote::read).map_or((None, None), CursorNote::seen))
    }

    /// Remembers where two nodes stand.
    pub fn remember(&self, peers: &[(NodeId, Option<Seen>, Option<Seen>)]) -> Result<(), Failure> {
        let mut changes = Vec::with_capacity(peers.len());
        for (peer, mine, theirs) in peers {
            let (my_last, their_last) = self.recall(peer)?;
            let note = CursorNote::new(mine.or(my_last), theirs.or(their_last));
            changes.push(set_note(space::CURSOR, peer.as_bytes(), note.encode()));
        }
        self.spool.commit(clock::now(), changes)?;
        Ok(())
    }

    /// Notes in the history of own messages that a proven neighbour has taken them.
    pub fn carried(&self, list: &[(BundleId, NodeId)]) -> Result<(), Failure> {
        let contacts = self.desk.home.contacts()?;
        let held_ms = self.held_ms();
        let mut changes: Vec<Change> = Vec::new();
        for (id, peer) in list {
            changes.extend(forget_held(self.spool, id)?);
            let Some(envelope) = self.spool.envelope(id)? else { continue };
            let own = envelope.own.as_deref().and_then(OwnNote::read);
            if own.is_some_and(|own| !own.3) {
                let who = name_of(&contacts, peer);
                changes.push(event(id, held_ms, 5, ("carried", &who, "link")));
            }
        }
        if !changes.is_empty() {
            self.spool.commit(clock::now(), changes)?;
        }
        Ok(())
    }

    /// Drops what has outlived its time.
    pub fn tidy(&self) -> Result<(), Failure> {
        self.desk.tidy(self.spool)?;
        Ok(self.spool.tick(clock::now())?)
    }
}

fn verdict(settled: Result<BundleId, Refusal>) -> Answer {
    Answer::Kept(match settled {
        Ok(_) => Kept::Kept,
        Err(Refusal::Known) => Kept::Known,
        Err(Refusal::NotCarried(_)) => Kept::Full,
        Err(
            Refusal::Damaged(_)
            | Refusal::Forged(_)
            | Refusal::Unreadable(_)
            | Refusal::Unwanted(_)
            | Refusal::Aside,
        ) => Kept::Refused,
        Err(Refusal::Failed(failure)) if failure.kind == FailureKind::Full => Kept::Full,
        Err(Refusal::Failed(_)) => return Answer::Failed,
    })
}

/// Opens what is for us, from memory or from where it was staged; or it is open already.
fn open(intake: &Intake<'_>, spool: &DurableSpool, arrival: Arrival) -> Result<Ready, Refusal> {
    let Arrival { bundle, arriving } = arrival;
    let NewBundle { row, head, custody, worth, body } = *bundle;
    let head = Head::decode(&head).map_err(|error| Refusal::Damaged(error.to_string()))?;
    let ready =
        match (body, arriving) {
            (engine::Body::Inline(payload), _) => {
                intake.read_verified_small(row.id, &head, row.hop, &payload)
            }
            (engine::Body::Staged(_), Some(arriving)) if custody == Custody::Deliver => {
                arriving.deliver(intake, row.id, &head, row.hop, spool)
            }
            (engine::Body::Staged(_), Some(arriving)) => {
                if intake.knows(&row.id)? {
                    return Err(Refusal::Known);
                }
                let staging = arriving.carry(spool)?;
                if intake.is_for_followers(&head) {
                    return Ok(intake
                        .read_large(&head, row.hop, staging.into_reader()?)?
                        .brought_by(row.from, class_here(row.class), worth));
                }
                Ok(intake.staged(row.id, &head, row.hop, staging))
            }
            (engine::Body::Staged(_), None) => {
                Err(Refusal::Failed(Failure::new(FailureKind::Failed, "what was staged is gone")))
            }
        };
    ready.map(|ready| ready.brought_by(row.from, class_here(row.class), worth))
}

/// A bundle of the spool, as the engine sees it; whom a tag stands for is said by [`row_for`].
pub(super) fn row(entry: &SpoolEntry) -> Row {
    Row {
        id: entry.id,
        destination: match entry.summary.destination {
            Destination::Tag(tag) => engine::Destination::Tag(tag),
            Destination::Group(group) => engine::Destination::Group(group),
            Destination::Node(node) => engine::Destination::Node(node),
        },
        tagged_for: None,
        source: entry.summary.source,
        nice: entry.summary.nice,
        lifetime_s: entry.summary.lifetime_s,
        length: entry.summary.length,
        hop: entry.hop,
        class: match entry.class {
            Class::Own => engine::Class::Own,
            Class::Contact => engine::Class::Contact,
            Class::Friend => engine::Class::Friend,
            Class::Stranger => engine::Class::Stranger,
        },
        from: entry.from,
        arrived_held_ms: entry.arrived_held_ms,
        arrival: entry.arrival,
    }
}

fn class_here(class: engine::Class) -> Class {
    match class {
        engine::Class::Own => Class::Own,
        engine::Class::Contact => Class::Contact,
        engine::Class::Friend => Class::Friend,
        engine::Class::Stranger => Class::Stranger,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::{AddRequest, InitRequest, SendRequest};

    #[test]
    fn tokens_are_changed_in_order_durably_and_only_where_the_bundle_is_live() {
        let dir = tempfile::tempdir().unwrap();
        let [alice, bob] = ["Alice", "Bob"].map(|name| {
            let home = dir.path().join(name);
            let request = InitRequest { home, name: Some(name.into()), even_if_public: false };
            Desk::init(&request).unwrap().0
        });
        alice.add(&AddRequest { card: bob.home().card.clone(), name: None }).unwrap();
        let request = SendRequest {
            to: "Bob".into(),
            text: Some("for many".into()),
            files: Vec::new(),
            nice: None,
            lifetime: None,
            hidden: None,
            reply_to: None,
            supersede: None,
        };
        alice.send(&request, &Silent).unwrap();
        let live = alice.open_live(&Silent).unwrap();
        let id = live.arrivals(0).unwrap().0.pop().unwrap();
        let hop = live.load(&id).unwrap().unwrap().hop;
        let with = |tokens| Hop { tokens, ..hop };
        let nobodys = BundleId([7; 32]);
        let list = [(id, with(6)), (nobodys, with(3)), (id, with(4))];
        assert_eq!(live.change(&list).unwrap(), [true, false, true]);
        assert_eq!(live.change(&list[1..2]).unwrap(), [false]);
        drop(alice);
        let alice = Desk::open(&dir.path().join("Alice")).unwrap();
        let loaded = alice.open_live(&Silent).unwrap().load(&id).unwrap().unwrap();
        assert_eq!(loaded.hop, with(4));
    }
}
