//! What runs an engine: answers its questions from the spool, and writes what it wants written.
//!
//! It does what the daemon's threads and the desk do, on the memory twin: pieces of a body in their
//! order, bundles that wait taken in one group, the mark of a delivery and its receipt in the same
//! group. Where the contract leaves open what a shell does, chance decides.

use bytes::Bytes;
use postrider_base::{
    BundleId, Head,
    bundle::{Hop, Receipt, SMALL_PAYLOAD_MAX},
};
use postrider_engine::{
    node::{
        self as engine, Answer, Custody, Input, Kept, Known, Loaded, NewBundle, Output, Place, Row,
        Ticket, TransferId,
    },
    router::{NodeHint, due_again},
};
use postrider_spool::{
    Body, Change, Class, Cursor, Delivered, Destination, Entry, NewBundle as Admission, Outcome,
    Queue, Seen, Spool, SpoolError, Staging, Summary, Why,
};

use crate::{chance::Chance, letters::Letters, node::Node};

/// Note spaces: bundles for this node that were delivered; receipts to hand on by their number;
/// receipts of bundles that have not come.
const DONE: u8 = 1;
const RECEIPT: u8 = 2;
const AWAITED: u8 = 3;
/// Own bundles that were renewed: after which eighth of their lifetime, last.
const RENEWED: u8 = 4;
/// Receipts of bundles that are still to come; beyond, further ones are not kept.
const AWAITED_MAX: usize = 1000;
/// Receipts that are read at once: as many notes as a spool shows.
const RECEIPTS_PAGE: usize = 1024;

/// How the shells of a world behave.
#[derive(Clone, Copy, Debug)]
pub struct Nature {
    /// A question is answered after up to so long, each by itself.
    pub answer_ms: u64,
    /// What is written waits up to so long for its commit.
    pub commit_ms: u64,
    /// Of a thousand questions, how many the disk does not answer.
    pub failed_permille: u64,
    /// Of a thousand pieces of a body, how many are lost with all of it.
    pub lost_permille: u64,
    /// Whether engines are told of what receipts retired.
    pub tells_gone: bool,
    /// How long the end of a link may go unnoticed.
    pub notice_ms: u64,
}

impl Default for Nature {
    fn default() -> Self {
        Self {
            answer_ms: 3,
            commit_ms: 10,
            failed_permille: 0,
            lost_permille: 0,
            tells_gone: false,
            notice_ms: 0,
        }
    }
}

/// Something to be written.
pub(crate) enum Order {
    Stage { transfer: TransferId, length: u64 },
    Append { transfer: TransferId, bytes: Bytes },
    Read { ticket: Ticket, transfer: TransferId, at: u64, bytes: usize },
    Drop { transfer: TransferId },
    Keep { ticket: Ticket, bundle: Box<NewBundle> },
    Change { ticket: Ticket, id: BundleId, hop: Hop },
    Raise { id: BundleId, level: u8 },
    Take { ticket: Ticket, list: Vec<Receipt> },
}

/// What became durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Admitted(BundleId, engine::Class),
    Delivered(BundleId),
    Retired(BundleId, Why),
    /// Its author knows that it arrived.
    Proved(BundleId),
    /// Its author sprays it again.
    Renewed(BundleId),
}

/// What a turn of the writer came to.
#[derive(Default)]
pub(crate) struct Turn {
    /// For the engine.
    pub answers: Vec<Input>,
    pub deeds: Vec<Deed>,
    /// Laws that do not hold.
    pub faults: Vec<String>,
    /// Whether receipts were noted to be handed on.
    pub receipts: bool,
}

impl Node {
    /// Answers a question from what is durable now.
    pub(crate) fn answer(&self, question: &Output) -> Answer {
        self.try_answer(question).unwrap_or(Answer::Failed)
    }

    fn try_answer(&self, question: &Output) -> Result<Answer, SpoolError> {
        let spool = &self.spool;
        Ok(match question {
            Output::Since { after, limit, .. } => {
                let upto = spool.numbering().latest;
                let rows: Vec<Row> = spool.since(*after, *limit)?.iter().map(row).collect();
                Answer::Rows { more: rows.len() >= *limit, rows, upto }
            }
            Output::Page { class, after, limit, .. } => {
                let upto = spool.numbering().latest;
                let after = after.map(|place| Cursor { nice: place.nice, arrival: place.arrival });
                let page = spool.page(Queue::Class(class_there(*class)), after, *limit)?;
                let rows: Vec<Row> = page.iter().map(row).collect();
                Answer::Rows { more: rows.len() >= *limit, rows, upto }
            }
            Output::Toward { nodes, after, limit, .. } => {
                let upto = spool.numbering().latest;
                let rows = self.toward(nodes, *after, *limit)?;
                Answer::Rows { more: rows.len() >= *limit, rows, upto }
            }
            Output::Look { ids, .. } => {
                let known = ids.iter().map(|short| {
                    let known = !spool.resolve(&hex(&short.0))?.is_empty()
                        || !spool.notes(DONE, &short.0, None, 1)?.is_empty();
                    Ok(if known { Known::Known } else { Known::Unknown })
                });
                Answer::Looked(known.collect::<Result<_, SpoolError>>()?)
            }
            Output::Load { id, .. } => Answer::Loaded(self.load(id)?),
            Output::Read { id, at, bytes, .. } => Answer::Read(self.read(id, *at, *bytes)?),
            Output::ReceiptsSince { after, limit, .. } => {
                let before = after.saturating_add(1).to_be_bytes();
                let keys = spool.notes(RECEIPT, &[], Some(&before), *limit)?;
                let more = keys.len() >= *limit;
                let list = keys.iter().filter_map(|key| {
                    let (number, receipt) = key.split_first_chunk::<8>()?;
                    Some((u64::from_be_bytes(*number), Receipt::decode(receipt).ok()?))
                });
                Answer::Receipts { list: list.collect(), more, upto: self.receipts_last }
            }
            _ => Answer::Failed,
        })
    }

    fn toward(
        &self,
        nodes: &[NodeHint],
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Row>, SpoolError> {
        let mut rows = Vec::new();
        let mut after = after.map(|place| Cursor { nice: place.nice, arrival: place.arrival });
        for hint in nodes {
            let page = self.spool.page(Queue::Toward(*hint), after.take(), limit - rows.len())?;
            rows.extend(page.iter().map(row));
            if rows.len() >= limit {
                break;
            }
        }
        Ok(rows)
    }

    fn load(&self, id: &BundleId) -> Result<Option<Loaded>, SpoolError> {
        let (Some(entry), Some(envelope)) = (self.spool.entry(id)?, self.spool.envelope(id)?)
        else {
            return Ok(None);
        };
        let length = entry.summary.length;
        let payload = if length <= SMALL_PAYLOAD_MAX {
            match self.read(id, 0, usize::try_from(length).unwrap_or(0))? {
                Some(payload) => payload,
                None => return Ok(None),
            }
        } else {
            Bytes::new()
        };
        let (hop, arrived_held_ms) = (entry.hop, entry.arrived_held_ms);
        Ok(Some(Loaded { head: envelope.head.into(), hop, arrived_held_ms, payload }))
    }

    fn read(&self, id: &BundleId, at: u64, bytes: usize) -> Result<Option<Bytes>, SpoolError> {
        let mut piece = vec![0; bytes];
        let got = self.spool.read(id, at, &mut piece)?;
        Ok((got == Some(bytes)).then(|| piece.into()))
    }

    /// Whether a bundle is here or was.
    pub(crate) fn knows(&self, id: &BundleId) -> bool {
        matches!(self.spool.seen(id), Ok(Some(_))) || self.has_delivered(id)
    }

    /// Whether it was for this node and was delivered.
    pub(crate) fn has_delivered(&self, id: &BundleId) -> bool {
        matches!(self.spool.note(DONE, &id.0), Ok(Some(_)))
    }

    /// Writes up to `most` of what waits; bundles that wait together share a group.
    pub(crate) fn write(
        &mut self,
        now_ms: u64,
        most: usize,
        letters: &Letters,
        (chance, nature): (&mut Chance, &Nature),
    ) -> Turn {
        let mut turn = Turn::default();
        let mut keeps = Vec::new();
        for order in self.orders.drain(..most.min(self.orders.len())).collect::<Vec<_>>() {
            match order {
                Order::Stage { transfer, length } => {
                    if chance.permille(nature.lost_permille) {
                        let full = length.is_multiple_of(2);
                        turn.answers.push(Input::StageLost { transfer, full });
                    } else if let Ok(staging) = self.spool.stage() {
                        self.bodies.insert(transfer, staging);
                    }
                }
                Order::Append { transfer, bytes } => {
                    let Some(staging) = self.bodies.get_mut(&transfer) else { continue };
                    if chance.permille(nature.lost_permille) || staging.append(&bytes).is_err() {
                        self.bodies.remove(&transfer);
                        turn.answers.push(Input::StageLost { transfer, full: false });
                    }
                }
                Order::Read { ticket, transfer, at, bytes } => {
                    let read = self.bodies.get(&transfer).and_then(|staging| {
                        let mut piece = vec![0; bytes];
                        let n = staging.read_at(at, &mut piece).ok()?;
                        (n == bytes).then(|| Bytes::from(piece))
                    });
                    let answer = Answer::Read(read);
                    turn.answers.push(Input::Done { ticket, answer });
                }
                Order::Drop { transfer } => {
                    self.bodies.remove(&transfer);
                }
                Order::Keep { ticket, bundle } => keeps.push((ticket, bundle)),
                Order::Change { ticket, id, hop } => {
                    let answer =
                        self.change(now_ms, id, hop).map_or(Answer::Failed, Answer::Changed);
                    turn.answers.push(Input::Done { ticket, answer });
                }
                Order::Raise { id, level } => {
                    let entry = self.spool.entry(&id).ok().flatten();
                    let hop = entry.map(|entry| Hop { level, ..entry.hop });
                    // At worst a copy more is made.
                    let _ = hop.map(|hop| self.change(now_ms, id, hop));
                }
                Order::Take { ticket, list } => {
                    // They may speak of what waits to be kept.
                    self.keep_all(now_ms, std::mem::take(&mut keeps), letters, &mut turn);
                    let mut news = 0;
                    for receipt in list {
                        let taken = self.take_receipt(now_ms, &receipt, &mut turn);
                        news += usize::from(taken.unwrap_or(false));
                    }
                    turn.answers.push(Input::Done { ticket, answer: Answer::Taken { news } });
                }
            }
        }
        self.keep_all(now_ms, keeps, letters, &mut turn);
        turn
    }

    fn keep_all(
        &mut self,
        now_ms: u64,
        keeps: Vec<(Ticket, Box<NewBundle>)>,
        letters: &Letters,
        turn: &mut Turn,
    ) {
        for (ticket, bundle) in keeps {
            let answer = match self.keep(now_ms, *bundle, letters, turn) {
                Ok(kept) => Answer::Kept(kept),
                Err(_) => Answer::Failed,
            };
            turn.answers.push(Input::Done { ticket, answer });
        }
    }

    /// Makes a bundle durable that was verified, by whatever way it came.
    pub(crate) fn keep(
        &mut self,
        now_ms: u64,
        bundle: NewBundle,
        letters: &Letters,
        turn: &mut Turn,
    ) -> Result<Kept, SpoolError> {
        let NewBundle { row, head, custody, worth, body } = bundle;
        let body = match body {
            engine::Body::Inline(bytes) => bytes.to_vec(),
            engine::Body::Staged(transfer) => {
                let Some(staging) = self.bodies.remove(&transfer) else {
                    return Ok(Kept::Full);
                };
                staged_bytes(staging)?
            }
        };
        let (at, id) = (self.at, row.id);
        match letters.of(&id) {
            None => turn.faults.push(format!("node {at} keeps {id}, which nobody wrote")),
            Some(letter) if letter.head != head || letter.body != body => {
                turn.faults.push(format!("node {at} keeps other bytes as {id}"));
            }
            Some(letter) if (custody == Custody::Deliver) != (letter.to == at) => {
                turn.faults.push(format!("node {at} mistakes for whom {id} is: {custody:?}"));
            }
            Some(letter) => {
                if self.knows(&id) {
                    return Ok(Kept::Known);
                }
                if custody == Custody::Deliver {
                    return self.deliver(now_ms, letter, turn);
                }
            }
        }
        let mut changes = vec![Change::Bundle(admission((&row, worth), &head, body, None))];
        let mut deeds = vec![Deed::Admitted(id, row.class)];
        // Its receipt may have overtaken it.
        if let Some(r) = self.spool.note(AWAITED, &id.prefix())?
            && let Ok(r) = r.try_into()
            && let Some(letter) = letters.of(&id)
        {
            let receipt = Receipt { id_prefix: id.prefix(), r };
            if receipt.opens(&id, &letter.header, &letter.body) {
                changes.push(Change::Retire { id, why: Why::Receipt });
                changes.push(note(AWAITED, &id.prefix(), None));
                self.hand_on(&receipt, &mut changes, turn);
                deeds.push(Deed::Retired(id, Why::Receipt));
            }
        }
        let outcomes = self.spool.commit(self.clock.spool_now(now_ms), changes)?;
        let dropped = self.spool.take_dropped().into_iter();
        turn.deeds.extend(dropped.map(|(id, why)| Deed::Retired(id, why)));
        if outcomes.first() == Some(&Outcome::Full) {
            return Ok(Kept::Full);
        }
        turn.deeds.append(&mut deeds);
        Ok(Kept::Kept)
    }

    /// Replaces the tokens of a bundle; whether it was live.
    fn change(&self, now_ms: u64, id: BundleId, hop: Hop) -> Result<bool, SpoolError> {
        let Some(entry) = self.spool.entry(&id)? else { return Ok(false) };
        let change = Change::Hop { id, hop, class: entry.class };
        let outcomes = self.spool.commit(self.clock.spool_now(now_ms), vec![change])?;
        Ok(outcomes.first() == Some(&Outcome::Done))
    }

    /// The mark, and the receipt that speaks of it, in one group.
    fn deliver(
        &mut self,
        now_ms: u64,
        letter: &crate::letters::Letter,
        turn: &mut Turn,
    ) -> Result<Kept, SpoolError> {
        let id = letter.id;
        let mut id8 = [0; 8];
        id8.copy_from_slice(&id.0[..8]);
        let source = *crate::letters::node_id(letter.from).as_bytes();
        let (epoch, counter) = (letter.sequence.epoch, letter.sequence.counter);
        let mut changes = vec![
            Change::Delivered(Delivered { source, epoch, counter, id8 }),
            note(DONE, &id.0, Some(vec![1])),
        ];
        if let Some(receipt) = letter.receipt() {
            self.hand_on(&receipt, &mut changes, turn);
        }
        let outcomes = self.spool.commit(self.clock.spool_now(now_ms), changes)?;
        if outcomes.first() != Some(&Outcome::New) {
            turn.faults.push(format!("node {} delivers {id} again: {outcomes:?}", self.at));
        }
        turn.deeds.push(Deed::Delivered(id));
        Ok(Kept::Kept)
    }

    /// Takes a receipt; whether it was news.
    pub(crate) fn take_receipt(
        &mut self,
        now_ms: u64,
        receipt: &Receipt,
        turn: &mut Turn,
    ) -> Result<bool, SpoolError> {
        let now = self.clock.spool_now(now_ms);
        let ids = self.spool.resolve(&hex(&receipt.id_prefix))?;
        for id in &ids {
            if self.spool.seen(id)? != Some(Seen::Live) {
                continue;
            }
            let (Some(envelope), Some(entry)) = (self.spool.envelope(id)?, self.spool.entry(id)?)
            else {
                continue;
            };
            let Ok(head) = Head::decode(&envelope.head) else { continue };
            let mut start = [0; 32];
            let n = self.spool.read(id, 0, &mut start)?.unwrap_or(0);
            if !receipt.opens(id, head.header(), &start[..n]) {
                continue;
            }
            if entry.class == Class::Own && entry.from.is_none() {
                // What the author believes depends on what it kept, not on the lock alone.
                if envelope.own.as_deref() != Some(&receipt.r[..]) {
                    continue;
                }
                turn.deeds.push(Deed::Proved(*id));
            }
            let mut changes = vec![Change::Retire { id: *id, why: Why::Receipt }];
            self.hand_on(receipt, &mut changes, turn);
            self.spool.commit(now, changes)?;
            turn.deeds.push(Deed::Retired(*id, Why::Receipt));
            return Ok(true);
        }
        let known =
            !ids.is_empty() || self.spool.notes(DONE, &receipt.id_prefix, None, 1)?.len() == 1;
        let waiting = self.spool.notes(AWAITED, &[], None, AWAITED_MAX)?.len();
        if !known && waiting < AWAITED_MAX {
            let change = note(AWAITED, &receipt.id_prefix, Some(receipt.r.to_vec()));
            self.spool.commit(now, vec![change])?;
        }
        Ok(false)
    }

    fn hand_on(&mut self, receipt: &Receipt, changes: &mut Vec<Change>, turn: &mut Turn) {
        if !self.receipts {
            return;
        }
        self.receipts_last += 1;
        let key = [&self.receipts_last.to_be_bytes()[..], &receipt.encode()].concat();
        changes.push(note(RECEIPT, &key, Some(vec![1])));
        turn.receipts = true;
    }

    /// All receipts that are handed on.
    pub(crate) fn receipts(&self) -> Result<Vec<Receipt>, SpoolError> {
        let (mut list, mut after) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let keys = self.spool.notes(RECEIPT, &[], after.as_deref(), RECEIPTS_PAGE)?;
            let receipt = |key: &Vec<u8>| Receipt::decode(key.get(8..)?).ok();
            list.extend(keys.iter().filter_map(receipt));
            match keys.last() {
                Some(last) if keys.len() == RECEIPTS_PAGE => after = Some(last.clone()),
                _ => return Ok(list),
            }
        }
    }

    /// Gives own bundles without a receipt, of so many tokens, all of them anew where that is due.
    pub(crate) fn renew(&mut self, now_ms: u64, all: u8, letters: &Letters) -> Vec<BundleId> {
        let now = self.clock.spool_now(now_ms);
        let held_ms = self.spool.held_ms(now);
        let (mut renewed, mut after) = (Vec::new(), None);
        while let Ok(page) = self.spool.page(Queue::Class(Class::Own), after, RECEIPTS_PAGE)
            && let Some(last) = page.last()
        {
            after = Some(last.cursor());
            let written = |id| letters.of(id).is_some_and(|letter| letter.from == self.at);
            for entry in page.iter().filter(|entry| written(&entry.id)) {
                let noted = self.spool.note(RENEWED, &entry.id.0).ok().flatten();
                let last = noted.and_then(|note| note.first().copied()).unwrap_or(0);
                let age_s = entry.age_s(held_ms);
                let (lifetime_s, left) = (entry.summary.lifetime_s, (entry.hop, all));
                let Some(part) = due_again(age_s, lifetime_s, left, last) else { continue };
                let hop = Hop { tokens: all, ..entry.hop };
                let changes = vec![
                    Change::Renew { id: entry.id, hop },
                    note(RENEWED, &entry.id.0, Some(vec![part])),
                ];
                let done = self.spool.commit(now, changes);
                renewed.extend(done.is_ok().then_some(entry.id));
            }
        }
        renewed
    }

    /// Drops what has outlived its time; what it was.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<BundleId> {
        let now = self.clock.spool_now(now_ms);
        let ended = self.spool.expired(now, usize::MAX).unwrap_or_default();
        for id in &ended {
            let change = Change::Retire { id: *id, why: Why::Expired };
            let _ = self.spool.commit(now, vec![change]);
        }
        let _ = self.spool.tick(now);
        ended
    }
}

/// A body that came in pieces.
pub(crate) fn staged_bytes(staging: Staging) -> Result<Vec<u8>, SpoolError> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut staging.into_reader()?, &mut bytes)
        .map_err(|source| SpoolError::Io { what: "reading memory", source })?;
    Ok(bytes)
}

/// What goes into the spool; `own` is the author's note.
pub(crate) fn admission(
    (row, worth): (&Row, u8),
    head: &[u8],
    body: Vec<u8>,
    own: Option<Vec<u8>>,
) -> Admission {
    let destination = match row.destination {
        engine::Destination::Tag(tag) => Destination::Tag(tag),
        engine::Destination::Group(group) => Destination::Group(group),
        engine::Destination::Node(node) => Destination::Node(node),
    };
    let summary = Summary {
        destination,
        source: row.source,
        nice: row.nice,
        lifetime_s: row.lifetime_s,
        length: row.length,
    };
    Admission {
        id: row.id,
        head: head.to_vec(),
        summary,
        hop: row.hop,
        class: class_there(row.class),
        worth,
        from: row.from,
        own,
        body: Body::Inline(body),
    }
}

fn class_there(class: engine::Class) -> Class {
    match class {
        engine::Class::Own => Class::Own,
        engine::Class::Contact => Class::Contact,
        engine::Class::Friend => Class::Friend,
        engine::Class::Stranger => Class::Stranger,
    }
}

/// A bundle of the spool, as the engine sees it.
pub(crate) fn row(entry: &Entry) -> Row {
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

fn note(space: u8, key: &[u8], value: Option<Vec<u8>>) -> Change {
    Change::Note { space, key: key.to_vec(), value }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
