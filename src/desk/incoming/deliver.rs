//! What is for this node: a bundle becomes a message or a part of one, a receipt frees and proves.

use postrider_base::{
    BundleId, Card, Head, Niceness, NodeId, Roster,
    bundle::{Hop, Receipt},
    packet::{Body, Packet},
    unseal::Opened,
};
use postrider_spool::{Change, Class, Delivered, Spool};

use super::{Group, Intake, Refusal, Work, change_bytes, jobs::Came, lock};
use crate::{
    desk::{
        Failure, clock,
        early::Bringer,
        hooks::for_message,
        laying::{is_known, to_lay},
        ledger::{End, MessageNote, OwnNote, SentNote, event, set_note, space},
        parts::Place,
        people,
        sets::Arrived,
        talk::numbered,
    },
    home::{Right, Taken},
};

impl Intake<'_> {
    /// Takes a receipt. Returns whether it freed or proved anything.
    pub(in crate::desk) fn take_receipt(
        &self,
        receipt: &Receipt,
        by: Bringer,
    ) -> Result<bool, Failure> {
        let digits = crate::desk::hex(&receipt.id_prefix);
        let known = self.spool.resolve(&digits)?;
        if known.is_empty() {
            self.keep_early(receipt, by)?;
        }
        for id in known {
            let Some(envelope) = self.spool.envelope(&id)? else { continue };
            let Some(entry) = self.spool.entry(&id)? else { continue };
            let Ok(head) = Head::decode(&envelope.head) else { continue };
            let mut start = [0; 32];
            let n = self.spool.read(&id, 0, &mut start)?.unwrap_or(0);
            if !receipt.opens(&id, head.header(), &start[..n]) {
                continue;
            }
            if !lock(&self.group).ids.insert(id) {
                // It came twice, and the first waits for its commit.
                return Ok(false);
            }
            if entry.class == Class::Own {
                // The tick depends on what we kept, never on the lock alone.
                let own = envelope.own.as_deref().and_then(OwnNote::read);
                if own.as_ref().and_then(OwnNote::secret) != Some(receipt.r) {
                    continue;
                }
                self.prove_delivery(id, own.as_ref())?;
            } else {
                let retire = Change::Retire { id, why: postrider_spool::Why::Receipt };
                lock(&self.group).changes.push(retire);
            }
            // It frees copies elsewhere too.
            let held_ms = self.spool.held_ms(clock::now());
            let until = entry.expires_held_ms().max(held_ms);
            let mut group = lock(&self.group);
            self.hand_on(&mut group, receipt, until)?;
            self.flush_if_full(&mut group)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Keeps a receipt until its bundle comes, unless that has come and is over.
    fn keep_early(&self, receipt: &Receipt, by: Bringer) -> Result<(), Failure> {
        if !self.spool.notes(space::DONE, &receipt.id_prefix, None, 1)?.is_empty() {
            return Ok(());
        }
        let held_ms = self.spool.held_ms(clock::now());
        let changes = self.early_receipts.note(self.spool, receipt, by, held_ms)?;
        let mut group = lock(&self.group);
        group.changes.extend(changes);
        self.flush_if_full(&mut group)
    }

    /// A bundle that its receipt has overtaken is over when it comes: nobody needs it any more, and
    /// whoever brings it is told so.
    pub(super) fn refuse_what_is_over(
        &self,
        id: BundleId,
        head: &Head,
        hop: Hop,
        work: &Work,
    ) -> Result<(), Refusal> {
        // Of our own we know how they ended; one that we do not know is an alarm.
        if head.header().source().is_some_and(|(source, _)| source == self.node) {
            return Ok(());
        }
        let mut receipts = self.early_receipts.of(self.spool, id.prefix())?;
        receipts.extend(lock(&self.heard).of(id.prefix()));
        let is_true = |receipt: &Receipt| match work {
            // Whoever can open it need not go by the lock.
            Work::Small(opened) => opened.secret.as_ref().is_some_and(|r| r.0 == receipt.r),
            Work::Opened(opened) => opened.secret.as_ref().is_some_and(|r| r.0 == receipt.r),
            Work::Inline(payload) => receipt.opens(&id, head.header(), payload),
            Work::Staged(_) => receipt.opens(&id, head.header(), &[]),
        };
        let Some(receipt) = receipts.into_iter().find(is_true) else { return Ok(()) };
        let held_ms = self.spool.held_ms(clock::now());
        let left_s = head.header().lifetime.seconds().saturating_sub(hop.age_s);
        let until = held_ms.saturating_add(u64::from(left_s) * 1000);
        let mut group = lock(&self.group);
        if group.ids.insert(id) {
            group.changes.push(set_note(space::DONE, &id.0, until.to_be_bytes().to_vec()));
            group.changes.extend(self.early_receipts.forget(self.spool, &receipt)?);
            self.hand_on(&mut group, &receipt, until)?;
            self.flush_if_full(&mut group)?;
        }
        Err(Refusal::Known)
    }

    /// One bundle for us becomes a message, or a part of one.
    pub(super) fn deliver<W>(
        &self,
        id: BundleId,
        head: &Head,
        hop: Hop,
        opened: Opened<W>,
        place: Option<Place>,
    ) -> Result<(), Refusal> {
        let author = opened.source;
        let blocked = self.check_reach(&author)?;
        let sequence = opened.sequence;
        let mut group = lock(&self.group);
        let key = (author, sequence.epoch, sequence.counter);
        if group.sequences.contains(&key) {
            self.flush_locked(&mut group)?;
        }
        let before = self.spool.delivered(author.as_bytes(), sequence.epoch, sequence.counter)?;
        if before.contains(&id.prefix()) {
            return Err(Refusal::Known);
        }
        let reused = !before.is_empty();
        let held_ms = self.spool.held_ms(clock::now());
        let left_s = head.header().lifetime.seconds().saturating_sub(hop.age_s);
        let until = held_ms.saturating_add(u64::from(left_s) * 1000);
        let receipt = opened.secret.as_ref().map(|secret| Receipt::new(&id, secret));
        let mut changes = vec![
            Change::Delivered(Delivered {
                source: *author.as_bytes(),
                epoch: sequence.epoch,
                counter: sequence.counter,
                id8: id.prefix(),
            }),
            set_note(space::DONE, &id.0, until.to_be_bytes().to_vec()),
        ];
        let mut complete = None;
        let mut receipts = Vec::new();
        let mut show_receipt = !blocked;
        if !blocked {
            self.learn(&author, &opened.packet);
            let in_parts = opened.packet.body.manifest().filter(|all| all.parts().is_some());
            match (&opened.packet.body, in_parts) {
                (Body::Part(part), _) => {
                    let Some((place, (_, hash))) = place.zip(opened.part.as_ref()) else {
                        return Err(Refusal::Unreadable("a part without bytes".into()));
                    };
                    let arrived = Arrived { part: *part, hash: *hash, place };
                    let completed = self.sets.part(&author, &arrived, &mut changes)?;
                    complete = completed.map(|whole| {
                        receipts.extend(whole.receipt);
                        whole.message
                    });
                }
                (_, Some(manifest)) => {
                    let until_receipt = receipt.map(|receipt| (receipt, until));
                    // Shown only when all of it is here: then the sender's tick is true.
                    show_receipt = false;
                    // Parts of this set that wait in the group must be findable.
                    self.flush_locked(&mut group)?;
                    let completed =
                        self.sets.manifest(&author, id, manifest, until_receipt, &mut changes)?;
                    complete = completed.map(|whole| {
                        receipts.extend(whole.receipt);
                        whole.message
                    });
                    self.keep_message(&author, id, &opened, held_ms, reused, &mut changes)?;
                }
                (
                    Body::Mail(_) | Body::Files(_) | Body::Introduction(_) | Body::Roster(_),
                    None,
                ) => {
                    self.learn_of_others(&mut group, &author, &opened.packet.body)?;
                    self.keep_message(&author, id, &opened, held_ms, reused, &mut changes)?;
                    complete = Some(id);
                }
                (Body::Job(_), None) => {
                    self.keep_message(&author, id, &opened, held_ms, reused, &mut changes)?;
                    complete = Some(id);
                }
                // Told of as news of its job.
                (Body::Result(_), None) => {
                    self.keep_message(&author, id, &opened, held_ms, reused, &mut changes)?;
                }
                (Body::Card(_) | Body::Word(_) | Body::Request(_), None) => {}
            }
            if let Some(job) = Self::told_of(&opened.packet.body)
                && group.pending.jobs.contains(&job)
            {
                // What was said of it before, and waits in the group, must be findable.
                self.flush_locked(&mut group)?;
            }
            let came = Came { id, author, sequence, age_s: hop.age_s, held_ms, reused };
            let touched = self.note_job(&came, &opened.packet.body, &mut changes)?;
            group.pending.jobs.extend(touched);
            self.note_request(&came, &opened.packet, &mut group, &mut changes)?;
        }
        receipts.extend(receipt.filter(|_| show_receipt).map(|receipt| (receipt, until)));
        for (receipt, until) in receipts {
            self.hand_on(&mut group, &receipt, until)?;
        }
        let result_of = match &complete {
            Some(message) => self.result_in(message, &opened.packet.body)?,
            None => None,
        };
        if let Some(job) = result_of {
            // All of its output is here now; that is news of the job, and no mail.
            group.pending.jobs.push(job);
        } else if let Some(message) = complete {
            changes.push(event(&message, held_ms, 1, ("received", &author.to_string(), "")));
            let nice = head.header().nice;
            changes.extend(self.to_do(&message, (&author, nice), held_ms, &opened.packet.body));
            group.pending.messages.push(message);
        }
        group.bytes += changes.iter().map(change_bytes).sum::<usize>();
        group.changes.append(&mut changes);
        group.ids.insert(id);
        group.sequences.insert(key);
        group.pending.taken += 1;
        group.pending.bytes += head.header().length;
        Ok(())
    }

    /// What is done with a message once it is complete, by threads that go by these notes. Strangers have
    /// no folder.
    fn to_do(
        &self,
        message: &BundleId,
        (author, nice): (&NodeId, Niceness),
        held_ms: u64,
        body: &Body,
    ) -> Vec<Change> {
        // What it is whose last part this was is seen by whoever does it.
        let may_be_mail = matches!(body, Body::Mail(_) | Body::Files(_) | Body::Part(_));
        if !may_be_mail || !is_known(&lock(&self.contacts), author) {
            return Vec::new();
        }
        let config = &self.home.config;
        let hooked = cfg!(target_os = "linux") && !config.hooks.on_message.is_empty();
        let lay = config.inbox.then(|| to_lay(message, author, held_ms));
        lay.into_iter().chain(hooked.then(|| for_message(message, nice, held_ms))).collect()
    }

    /// Whether what an author sends is taken and not shown, as from somebody whom I refuse. Whose key
    /// is revoked, or who may not reach me, is told so: that can change.
    fn check_reach(&self, author: &NodeId) -> Result<bool, Refusal> {
        let contacts = lock(&self.contacts);
        if *author == self.node {
            return Ok(false);
        }
        if contacts.rosters().revoked_by(author).is_some() {
            return Err(Refusal::Unwanted("its author's key is revoked"));
        }
        if contacts.is_blocked(author) {
            return Ok(true);
        }
        if !self.acl.may(&contacts, Some(author), Right::Reach, self.today) {
            return Err(Refusal::Unwanted("its author may not write to this node"));
        }
        Ok(false)
    }

    /// What a message says of others counts if its author does: an introduction by a contact that I
    /// chose, a roster of a key that I follow by itself.
    fn learn_of_others(
        &self,
        group: &mut Group,
        author: &NodeId,
        body: &Body,
    ) -> Result<(), Refusal> {
        match body {
            Body::Introduction(said) if lock(&self.contacts).is_chosen(author) => {
                if let Ok(card) = Card::decode(&said.card)
                    && card.node != self.node
                    && card.node != *author
                {
                    group.introduced.push((card, *author));
                }
            }
            Body::Roster(bytes) => {
                if let Ok(roster) = Roster::decode(bytes)
                    && self.home.take_roster(&roster).map_err(Failure::from)? == Taken::Newer
                {
                    let contacts = self.home.contacts().map_err(Failure::from)?;
                    *lock(&self.contacts) = (*contacts).clone();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn keep_message<W>(
        &self,
        author: &NodeId,
        id: BundleId,
        opened: &Opened<W>,
        held_ms: u64,
        reused: bool,
        changes: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        let Opened { packet, packet_bytes, .. } = opened;
        let (packet, set) = self.sets.keep_packet(author, packet, packet_bytes)?;
        let note =
            MessageNote::new(author.as_bytes(), opened.created, held_ms, packet, set, reused);
        changes.push(set_note(space::MESSAGE, &id.0, postrider_base::wire::encode(&note)));
        changes.push(numbered(&id, opened.sequence));
        Ok(())
    }

    /// Whoever seals to us knows our card; whoever brings a newer card of a contact updates it.
    fn learn(&self, author: &NodeId, packet: &Packet) {
        let mut contacts = lock(&self.contacts);
        let Some(contact) = contacts.of(author) else { return };
        let mut changed = !contact.answered;
        let card = packet
            .tail
            .card
            .as_deref()
            // Mostly the one I have: that costs no signature check.
            .filter(|bytes| *bytes != contact.card.as_bytes())
            .and_then(|bytes| Card::decode(bytes).ok())
            .filter(|card| card.node == *author && card.number > contact.card.number);
        changed |= card.is_some();
        if changed {
            lock(&self.learnt).push((*author, card.clone()));
            contacts.change(author, |contact| {
                contact.answered = true;
                if let Some(card) = card {
                    contact.card = card;
                }
            });
        }
    }

    /// Our own bundle arrived: free it, and tick the message when this was its last word.
    fn prove_delivery(&self, id: BundleId, own: Option<&OwnNote>) -> Result<(), Failure> {
        let mut group = lock(&self.group);
        group.changes.push(Change::Retire { id, why: postrider_spool::Why::Receipt });
        if own.is_some_and(|own| own.3) {
            return Ok(());
        }
        let held_ms = self.spool.held_ms(clock::now());
        let end = End::Delivered.word().as_bytes().to_vec();
        group.changes.push(set_note(space::ENDED, &id.0, end));
        let sent = self.spool.note(space::SENT, &id.0)?;
        if let Some(sent) = sent.as_deref().and_then(SentNote::read)
            && let Ok(to) = NodeId::from_bytes(&sent.1)
        {
            let mut contacts = lock(&self.contacts);
            if contacts.of(&to).is_some_and(|contact| !contact.answered) {
                contacts.change(&to, |contact| contact.answered = true);
                lock(&self.learnt).push((to, None));
            }
            let who = people::name_of(&contacts, &to);
            group.changes.push(event(&id, held_ms, 2, ("delivered", &who, "receipt")));
        }
        group.pending.delivered.push(id);
        Ok(())
    }

    /// A receipt goes out with whatever leaves this node, until its bundle's lifetime ends.
    fn hand_on(
        &self,
        group: &mut Group,
        receipt: &Receipt,
        until_held_ms: u64,
    ) -> Result<(), Failure> {
        let (change, numbered) = self.receipt_numbers.note(self.spool, receipt, until_held_ms)?;
        group.changes.push(change);
        group.numbered.push(numbered);
        Ok(())
    }
}
