//! `thread`: all that belongs together, mine and theirs, in the order in which it was said.

use std::collections::HashMap;

use postrider_base::{BundleId, NodeId, packet::Body};
use postrider_spool::{DurableSpool, Spool, contract::PAGE_MAX};

use super::{
    order::{Heard, Number, order},
    written::{WrittenNote, number_of},
};
use crate::{
    desk::{
        Desk, Failure, FailureKind, Watch, clock, hex,
        inbox::{Kept, find_note},
        ledger::{SentNote, space},
        people::name_of,
        reply::{ReceivedFile, Said},
    },
    home::Contacts,
};

/// What is known of a message beside what it says.
pub(super) struct Known {
    heard: Heard,
    mine: bool,
    /// The other side.
    peer: NodeId,
}

/// A message that this node wrote.
pub(super) struct Mine {
    pub id: BundleId,
    pub sent: SentNote,
    pub note: WrittenNote,
    pub to: NodeId,
}

impl Desk {
    /// The conversation that a message belongs to, or all that was exchanged with somebody.
    pub fn thread(&self, of: &str, watch: &dyn Watch) -> Result<Vec<Said>, Failure> {
        let spool = self.spool(watch)?;
        let contacts = self.home.contacts()?;
        let with = match contacts.resolve(of) {
            Ok(contact) => Some(contact.card.node),
            Err(_) => of.parse::<NodeId>().ok(),
        };
        let mut all = self.all_known(spool)?;
        match with {
            Some(peer) => all.retain(|known| known.peer == peer),
            None => {
                let id = find_message(spool, of).map_err(|failure| match failure.kind {
                    // It may have been meant as a name.
                    FailureKind::Usage if of.bytes().any(|b| !b.is_ascii_hexdigit()) => {
                        Failure::new(
                            FailureKind::Unknown,
                            format!("{of:?} is neither a contact nor a message's id"),
                        )
                        .next("postrider contact ls, postrider inbox and postrider queue name them")
                    }
                    _ => failure,
                })?;
                let all_of = conversations(&all);
                let this = all.iter().position(|known| known.heard.id == id);
                let this = this.map(|at| all_of[at]);
                let mut at = 0;
                all.retain(|_| {
                    at += 1;
                    Some(all_of[at - 1]) == this
                });
            }
        }
        let heard: Vec<Heard> = all.iter().map(|known| known.heard.clone()).collect();
        let here: HashMap<BundleId, &Known> =
            all.iter().map(|known| (known.heard.id, known)).collect();
        let mut said = Vec::with_capacity(all.len());
        for known in order(&heard).into_iter().map(|at| &all[at]) {
            let answered = known.heard.answers.is_some_and(|id| {
                here.get(&id).is_some_and(|answered| may_answer(known, answered))
            });
            let found = self.said(spool, &contacts, known.heard.id)?;
            said.extend(found.map(|said| Said { answered_is_here: answered, ..said }));
        }
        Ok(said)
    }

    /// One message, mine or somebody else's, without marking it as read.
    pub fn message(&self, id: &str, watch: &dyn Watch) -> Result<Said, Failure> {
        let spool = self.spool(watch)?;
        let id = find_message(spool, id)?;
        self.said(spool, &*self.home.contacts()?, id)?.ok_or_else(|| {
            Failure::new(FailureKind::Damaged, format!("the message {id} cannot be read back"))
                .next("postrider spool check says what is damaged")
        })
    }

    fn all_known(&self, spool: &DurableSpool) -> Result<Vec<Known>, Failure> {
        let me = *self.home.card.node.as_bytes();
        let mut all = Vec::new();
        self.each_received(spool, &mut |kept| {
            let number = spool.note(space::NUMBER, &kept.id.0)?;
            let number = number.as_deref().and_then(number_of).map(|(epoch, counter)| Number {
                author: *kept.author.as_bytes(),
                to: me,
                epoch,
                counter,
            });
            let heard = Heard {
                id: kept.id,
                answers: kept.packet.tail.reply_to,
                number,
                known_ms: kept.note.3,
            };
            all.push(Known { heard, mine: false, peer: kept.author });
            Ok(())
        })?;
        self.each_written(spool, &mut |mine| {
            let (epoch, counter) = mine.note.number();
            let to = *mine.to.as_bytes();
            let heard = Heard {
                id: mine.id,
                answers: mine.note.answers(),
                number: Some(Number { author: me, to, epoch, counter }),
                known_ms: mine.sent.2,
            };
            // To oneself, it is there as received, too.
            if mine.to != self.home.card.node {
                all.push(Known { heard, mine: true, peer: mine.to });
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// Gives every received message that the inbox shows, one after the other.
    pub(super) fn each_received(
        &self,
        spool: &DurableSpool,
        each: &mut dyn FnMut(Kept) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        each_id(spool, space::MESSAGE, &mut |id| {
            if spool.note(space::DOUBLE, &id.0)?.is_none()
                && let Some(kept) = self.kept(spool, id)?
                && !matches!(kept.packet.body, Body::Result(_))
            {
                each(kept)?;
            }
            Ok(())
        })
    }

    /// Gives every message that this node wrote and still knows, one after the other.
    pub(super) fn each_written(
        &self,
        spool: &DurableSpool,
        each: &mut dyn FnMut(Mine) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        each_id(spool, space::WRITTEN, &mut |id| mine(spool, id)?.map_or(Ok(()), &mut *each))
    }

    fn said(
        &self,
        spool: &DurableSpool,
        contacts: &Contacts,
        id: BundleId,
    ) -> Result<Option<Said>, Failure> {
        if let Some(mine) = mine(spool, id)? {
            return self.said_by_me(spool, contacts, &mine).map(Some);
        }
        let kept = self.kept(spool, id)?;
        kept.map(|kept| self.said_to_me(spool, contacts, &kept)).transpose()
    }

    pub(super) fn said_by_me(
        &self,
        spool: &DurableSpool,
        contacts: &Contacts,
        Mine { id, sent, note, to }: &Mine,
    ) -> Result<Said, Failure> {
        let files = note.files().map(|(name, bytes, hash)| ReceivedFile {
            name: name.to_owned(),
            bytes,
            blake3: hex(hash),
        });
        Ok(Said {
            id: id.to_string(),
            from: self.my_name(),
            to: name_of(contacts, to),
            kind: note.kind().to_owned().into(),
            text: note.text().to_owned(),
            files: files.collect(),
            age_s: spool.held_ms(clock::now()).saturating_sub(sent.2) / 1000,
            read: true,
            state: self.state_of(spool, contacts, *id, sent)?.into(),
            reply_to: note.answers().map(|id| id.to_string()),
            answered_is_here: answered_is_here(spool, note.answers(), None)?,
            mine: true,
            peer: to.to_string(),
            known_peer: contacts.of(to).is_some(),
        })
    }

    pub(super) fn said_to_me(
        &self,
        spool: &DurableSpool,
        contacts: &Contacts,
        kept: &Kept,
    ) -> Result<Said, Failure> {
        let received = self.describe(spool, contacts, kept)?;
        let answers = kept.packet.tail.reply_to;
        Ok(Said {
            id: received.id,
            from: received.from,
            to: self.my_name(),
            kind: received.kind,
            text: received.text,
            files: received.files,
            age_s: received.age_s,
            read: received.read,
            state: if received.complete { "received" } else { "arriving" }.into(),
            reply_to: received.reply_to,
            answered_is_here: answered_is_here(spool, answers, Some(&kept.author))?,
            mine: false,
            peer: kept.author.to_string(),
            known_peer: received.known_sender,
        })
    }

    fn my_name(&self) -> String {
        match &*self.home.card.name {
            "" => "me".into(),
            name => name.into(),
        }
    }
}

/// Whether an answer can be one to that message. Relays see ids: a stranger who names one must not
/// stand in a conversation of others. What I answer is my own affair.
fn may_answer(answer: &Known, answered: &Known) -> bool {
    answer.mine || answer.peer == answered.peer
}

/// As [`may_answer`], of a message by itself; `None` writes mine.
fn answered_is_here(
    spool: &DurableSpool,
    answered: Option<BundleId>,
    author: Option<&NodeId>,
) -> Result<bool, Failure> {
    let Some(id) = answered else { return Ok(false) };
    let Some(author) = author else {
        return Ok(spool.note(space::MESSAGE, &id.0)?.is_some()
            || spool.note(space::WRITTEN, &id.0)?.is_some());
    };
    if let Some(mine) = mine(spool, id)? {
        return Ok(mine.to == *author);
    }
    let note = spool.note(space::MESSAGE, &id.0)?;
    let note = note.as_deref().and_then(crate::desk::ledger::MessageNote::read);
    Ok(note.is_some_and(|note| note.1[..] == author.as_bytes()[..]))
}

/// Of each message the number of its conversation: those that an answer ties together, and those that
/// answer the same message that is not here.
fn conversations(all: &[Known]) -> Vec<usize> {
    let places: HashMap<BundleId, usize> =
        all.iter().enumerate().map(|(at, known)| (known.heard.id, at)).collect();
    let mut above: Vec<usize> = (0..all.len()).collect();
    let mut missing: HashMap<(NodeId, BundleId), usize> = HashMap::new();
    for (at, known) in all.iter().enumerate() {
        let Some(id) = known.heard.answers else { continue };
        let answered = places.get(&id).filter(|answered| may_answer(known, &all[**answered]));
        let other = match answered {
            Some(answered) => *answered,
            None => *missing.entry((known.peer, id)).or_insert(at),
        };
        let (a, b) = (top(&mut above, at), top(&mut above, other));
        above[a.max(b)] = a.min(b);
    }
    (0..all.len()).map(|at| top(&mut above, at)).collect()
}

/// Follows what stands above to the end, and halves the way for whoever comes next.
fn top(above: &mut [usize], mut at: usize) -> usize {
    while above[at] != at {
        above[at] = above[above[at]];
        at = above[at];
    }
    at
}

fn mine(spool: &DurableSpool, id: BundleId) -> Result<Option<Mine>, Failure> {
    let note = spool.note(space::WRITTEN, &id.0)?;
    let Some(note) = note.as_deref().and_then(WrittenNote::read) else { return Ok(None) };
    let sent = spool.note(space::SENT, &id.0)?;
    let Some(sent) = sent.as_deref().and_then(SentNote::read) else { return Ok(None) };
    let Ok(to) = NodeId::from_bytes(&sent.1) else { return Ok(None) };
    Ok(Some(Mine { id, sent, note, to }))
}

/// The message, mine or somebody else's, whose id begins with these digits.
fn find_message(spool: &DurableSpool, digits: &str) -> Result<BundleId, Failure> {
    let written = find_note(spool, space::WRITTEN, digits, "message");
    let received = find_note(spool, space::MESSAGE, digits, "message");
    match (written, received) {
        (Ok(mine), Ok(theirs)) if mine != theirs => {
            Err(Failure::new(FailureKind::Usage, format!("2 messages begin with {digits}"))
                .next("give more digits"))
        }
        (Err(failure), received) if failure.kind == FailureKind::Unknown => received,
        (Ok(id), Err(failure)) if failure.kind == FailureKind::Unknown => Ok(id),
        (written, Err(failure)) => written.and(Err(failure)),
        (written, _) => written,
    }
}

/// Gives the ids of a namespace in pages.
fn each_id(
    spool: &DurableSpool,
    space: u8,
    each: &mut dyn FnMut(BundleId) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = spool.notes(space, &[], after.as_deref(), PAGE_MAX)?;
        for key in &page {
            if let Ok(id) = key.as_slice().try_into().map(BundleId) {
                each(id)?;
            }
        }
        let done = page.len() < PAGE_MAX;
        after = page.into_iter().next_back();
        if done {
            return Ok(());
        }
    }
}
