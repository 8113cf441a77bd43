//! Taking back what was sent: its bundles end here, and its receipt secrets, published, end the copies
//! that have left.
//!
//! Alone (`queue cancel`), or in the moment in which a newer message takes its place (`send
//! --supersede`): then in the group that makes the newer one durable, so that a crash leaves both or
//! the newer one.

use postrider_base::{BundleId, bundle::Receipt};
use postrider_spool::{Change, DurableSpool, Outcome, Why};

use super::{
    Desk, Failure, FailureKind, Watch, clock,
    inbox::find_note,
    incoming::lock,
    ledger::{End, event, set_note, space},
    queue::{ended, own_bundles, sent_note},
    receipts::Numbered,
    reply::Sent,
    store::Post,
};
use crate::home::Contact;

/// Changes in one group; the newer message has room beside them.
const GROUP: usize = 3072;

/// What becomes durable together with a message, or not at all.
pub(super) enum Beside<'a> {
    /// These.
    Changes(Vec<Change>),
    /// What follows from its id.
    Of(&'a dyn Fn(&BundleId) -> Vec<Change>),
    /// The end of an older message.
    End(&'a Older<'a>),
}

/// A message whose place a newer one takes.
pub(super) struct Older<'a> {
    spool: &'a DurableSpool,
    id: BundleId,
}

/// What ends a message.
struct CallingBack {
    /// Never empty; what says that it ended is in the first.
    groups: Vec<Vec<Change>>,
    /// Held until all of them are durable.
    numbered: Vec<Numbered>,
    gone: Vec<BundleId>,
}

impl Desk {
    /// Calls a message back. Copies that left already are freed by its receipt secret, which goes
    /// out with the next toss; a message that was read stays read.
    pub fn cancel(&self, id: &str, watch: &dyn Watch) -> Result<Sent, Failure> {
        Ok(self.cancel_bundles(id, watch)?.0)
    }

    /// As [`Self::cancel`]; also which bundles are gone by it.
    pub fn cancel_bundles(
        &self,
        id: &str,
        watch: &dyn Watch,
    ) -> Result<(Sent, Vec<BundleId>), Failure> {
        let spool = self.spool(watch)?;
        let id = find_note(spool, space::SENT, id, "sent message")?;
        // A receipt must not come in between.
        let _taking = lock(&self.taking);
        let _leaving = lock(&self.leaving);
        let back = self.calling_back(spool, id, "cancelled", "")?;
        let gone = back.commit(spool, Vec::new())?.1;
        Ok((self.sent_state(&id.to_string(), watch)?, gone))
    }

    /// The message whose place a newer one to the same recipient is to take.
    pub(super) fn older<'a>(
        &self,
        spool: &'a DurableSpool,
        digits: &str,
        contact: &Contact,
    ) -> Result<Older<'a>, Failure> {
        let id = find_note(spool, space::SENT, digits, "sent message")?;
        let to = sent_note(spool, id)?.1;
        if to[..] != contact.card.node.as_bytes()[..] {
            let what = format!("message {digits} is not for {}", contact.name);
            return Err(Failure::new(FailureKind::Usage, what)
                .next("nothing was sent; a message takes the place of one to the same recipient"));
        }
        // Said before anything is sealed; asked again when it counts.
        check_open(spool, id).map_err(send_without)?;
        Ok(Older { spool, id })
    }

    /// Makes a new message durable, and what stands beside it. Also which bundles are gone by it.
    pub(super) fn commit_new(
        &self,
        post: &dyn Post,
        new: &BundleId,
        mut changes: Vec<Change>,
        beside: Beside<'_>,
    ) -> Result<(Vec<Outcome>, Vec<BundleId>), Failure> {
        match beside {
            Beside::Changes(more) => {
                changes.extend(more);
                Ok((post.commit(clock::now(), changes)?, Vec::new()))
            }
            Beside::Of(more) => {
                changes.extend(more(new));
                Ok((post.commit(clock::now(), changes)?, Vec::new()))
            }
            Beside::End(Older { spool, id }) => {
                let _taking = lock(&self.taking);
                let _leaving = lock(&self.leaving);
                let new = new.to_string();
                let back =
                    self.calling_back(spool, *id, "superseded", &new).map_err(send_without)?;
                back.commit(spool, changes)
            }
        }
    }

    /// All that ends a message that has not ended.
    fn calling_back(
        &self,
        spool: &DurableSpool,
        id: BundleId,
        what: &str,
        via: &str,
    ) -> Result<CallingBack, Failure> {
        check_open(spool, id)?;
        let set = sent_note(spool, id)?.5;
        let held_ms = spool.held_ms(clock::now());
        let mut group = vec![
            set_note(space::ENDED, &id.0, End::Cancelled.word().as_bytes().to_vec()),
            event(&id, held_ms, 4, (what, "", via)),
        ];
        let (mut groups, mut numbered, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (bundle, own) in own_bundles(spool)? {
            let of_set = own.2.is_some() && own.2 == set;
            if bundle.id != id && !of_set {
                continue;
            }
            if let Some(r) = own.secret() {
                let receipt = Receipt { id_prefix: bundle.id.prefix(), r };
                let until = bundle.expires_held_ms();
                let (change, number) = self.receipt_numbers.note(spool, &receipt, until)?;
                group.push(change);
                numbered.push(number);
            }
            group.push(Change::Retire { id: bundle.id, why: Why::Cancelled });
            gone.push(bundle.id);
            if group.len() >= GROUP {
                groups.push(std::mem::take(&mut group));
            }
        }
        groups.push(group);
        Ok(CallingBack { groups, numbered, gone })
    }
}

impl Older<'_> {
    /// Its id.
    pub(super) fn id(&self) -> String {
        self.id.to_string()
    }
}

impl CallingBack {
    /// Makes the end durable, in the group that has these changes. What a message of very many parts
    /// has beyond that follows: nothing of it is told any more by then.
    fn commit(
        self,
        spool: &DurableSpool,
        mut changes: Vec<Change>,
    ) -> Result<(Vec<Outcome>, Vec<BundleId>), Failure> {
        let mut groups = self.groups.into_iter();
        changes.extend(groups.next().unwrap_or_default());
        let outcomes = spool.commit(clock::now(), changes)?;
        for group in groups.filter(|group| !group.is_empty()) {
            spool.commit(clock::now(), group)?;
        }
        drop(self.numbered);
        Ok((outcomes, self.gone))
    }
}

/// A message that has ended stays so.
fn check_open(spool: &DurableSpool, id: BundleId) -> Result<(), Failure> {
    match ended(spool, id)? {
        None => Ok(()),
        Some(end) => {
            Err(Failure::new(FailureKind::Ended, format!("that message is {} already", end.word())))
        }
    }
}

fn send_without(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::Ended => {
            failure.next("nothing was sent; send it without --supersede, as a message of its own")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::desk::{AddRequest, InitRequest, SendRequest, Silent};

    /// Whatever a crash cuts off, it is a whole group: one that has both the newer message and the end
    /// of the older one.
    #[test]
    fn the_newer_message_and_the_end_of_the_older_one_are_one_group() {
        let dir = tempfile::tempdir().unwrap();
        let [alice, bob] = ["Alice", "Bob"].map(|name| {
            let home = dir.path().join(name);
            let request = InitRequest { home, name: Some(name.into()), even_if_public: false };
            Desk::init(&request).unwrap().0
        });
        alice.add(&AddRequest { card: bob.home().card.clone(), name: None }).unwrap();
        let request = |text: &str, supersede: Option<String>| SendRequest {
            to: "Bob".into(),
            text: Some(text.into()),
            files: Vec::new(),
            nice: None,
            lifetime: None,
            hidden: None,
            reply_to: None,
            supersede,
        };
        let old = alice.send(&request("at six", None), &Silent).unwrap();
        let groups = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&groups);
        alice.open_live(&Silent).unwrap().on_commit(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let (new, gone) =
            alice.send_bundles(&request("at seven", Some(old.id.clone())), &Silent).unwrap();
        assert_eq!(groups.load(Ordering::Relaxed), 1);
        assert_eq!(gone.iter().map(ToString::to_string).collect::<Vec<_>>(), [old.id]);
        let waits = alice.queue(&Silent).unwrap();
        assert_eq!(waits.iter().map(|row| &row.id).collect::<Vec<_>>(), [&new.id]);
        let (again, gone) = (request("at eight", Some(new.id.clone())), [new.id.clone()]);
        assert_eq!(alice.cancel(&gone[0], &Silent).unwrap().state, "cancelled");
        assert_eq!(alice.send(&again, &Silent).unwrap_err().kind, FailureKind::Ended);
    }
}
