//! `queue`, `trace`, `why`, `status`: what waits, and what happened.

use std::collections::BTreeSet;

use postrider_base::{BundleId, Head, Niceness, NodeId, bundle::Destination};
use postrider_engine::node::Row;
use postrider_spool::{Change, Class, Cursor, DurableSpool, Entry, Queue, Seen, Spool, Stats, Why};

use super::{
    Desk, Failure, FailureKind, Watch, clock,
    held::tidy_held,
    hex,
    inbox::{find_note, note_keys, note_keys_of},
    incoming::lock,
    ledger::{End, EventNote, OwnNote, SentNote, event, remove_note, set_note, space},
    outlook::row_for,
    people::{name_of, tagged},
    promise,
    reply::{ClassLine, Queued, Sent, Status, Traced},
};
use crate::home::Contacts;

const PAGE: usize = 256;

impl Desk {
    /// Everything that waits, own first, most urgent first.
    pub fn queue(&self, watch: &dyn Watch) -> Result<Vec<Queued>, Failure> {
        let spool = self.spool(watch)?;
        let contacts = self.home.contacts()?;
        let mut rows = Vec::new();
        for class in Class::ALL {
            let mut cursor: Option<Cursor> = None;
            loop {
                let page = spool.page(Queue::Class(class), cursor, PAGE)?;
                let done = page.len() < PAGE;
                cursor = page.last().map(Entry::cursor);
                for entry in &page {
                    rows.push(queued(spool, &contacts, entry)?);
                }
                if done {
                    break;
                }
            }
        }
        Ok(rows)
    }

    /// One bundle that waits, by its own id or its message's.
    pub fn queue_show(&self, id: &str, watch: &dyn Watch) -> Result<Queued, Failure> {
        let spool = self.spool(watch)?;
        let entry = self.live(spool, id)?;
        let shown = queued(spool, &*self.home.contacts()?, &entry)?;
        let message =
            shown.message.as_deref().map(|id| find_note(spool, space::SENT, id, "message"));
        let parts = match message {
            Some(Ok(id)) => self.parts_received(spool, id, &sent_note(spool, id)?)?,
            _ => None,
        };
        Ok(Queued { parts, ..shown })
    }

    /// Changes how urgent a bundle is, here only: its niceness is signed by its author.
    pub fn bump(&self, id: &str, nice: Niceness, watch: &dyn Watch) -> Result<Queued, Failure> {
        let shown = self.queue_show(id, watch)?;
        Err(Failure::new(
            FailureKind::Failed,
            format!("bundle {} keeps niceness {}", shown.id, shown.nice),
        )
        .next(format!(
            "niceness is signed when a message is sent; cancel it and send it again with --nice {}",
            nice.value()
        )))
    }

    /// What happened to a message, oldest first.
    pub fn trace(&self, id: &str, watch: &dyn Watch) -> Result<Vec<Traced>, Failure> {
        let spool = self.spool(watch)?;
        let id = match find_note(spool, space::SENT, id, "message") {
            Err(failure) if failure.kind == FailureKind::Unknown => {
                find_note(spool, space::MESSAGE, id, "message")?
            }
            found => found?,
        };
        let contacts = self.home.contacts()?;
        let held_ms = spool.held_ms(clock::now());
        let mut found = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = spool.notes(space::EVENT, &id.0, after.as_deref(), PAGE)?;
            for key in &page {
                let value = spool.note(space::EVENT, key)?;
                let Some(note) = value.as_deref().and_then(EventNote::read) else { continue };
                // An author may have become a contact since.
                let who = match note.2.parse::<NodeId>() {
                    Ok(node) => name_of(&contacts, &node),
                    Err(_) => note.2,
                };
                found.push(Traced {
                    id: id.to_string(),
                    what: note.1,
                    who,
                    via: note.3,
                    age_s: held_ms.saturating_sub(note.4) / 1000,
                });
            }
            let done = page.len() < PAGE;
            after = page.into_iter().next_back();
            if done {
                break;
            }
        }
        // Each part's receipt is no event of its own: how many there are now is the last of them.
        if let Some(note) = spool.note(space::SENT, &id.0)?.as_deref().and_then(SentNote::read)
            && let Some((received, all)) = self.parts_received(spool, id, &note)?
            && let Ok(to) = NodeId::from_bytes(&note.1)
        {
            found.push(Traced {
                id: id.to_string(),
                what: "parts".into(),
                who: name_of(&contacts, &to),
                via: format!("{received} of {all} received"),
                age_s: 0,
            });
        }
        Ok(found)
    }

    /// Why a message is where it is, in sentences.
    pub fn why(&self, id: &str, watch: &dyn Watch) -> Result<Vec<String>, Failure> {
        let spool = self.spool(watch)?;
        if let Ok(id) = find_note(spool, space::SENT, id, "message") {
            let note = sent_note(spool, id)?;
            let contacts = self.home.contacts()?;
            let node = NodeId::from_bytes(&note.1).ok();
            let to = node.map_or_else(|| "somebody".to_owned(), |to| name_of(&contacts, &to));
            let revoked = node.and_then(|to| contacts.rosters().revoked_by(&to));
            let mut lines = match ended(spool, id)? {
                Some(End::Delivered) => {
                    return Ok(vec![format!(
                        "{to} has it: the receipt that only its recipient could make has come back"
                    )]);
                }
                Some(End::Cancelled) => return Ok(vec![self.called_back(id, watch)?]),
                Some(End::Expired) => {
                    return Ok(vec!["its lifetime ended before a receipt came".into()]);
                }
                None => match revoked {
                    Some(roster) => vec![format!(
                        "it stays here: the key of {to} is revoked by the roster {roster}; it goes if \
                         a newer one takes that back, or postrider queue cancel ends it"
                    )],
                    None => vec![format!("it is safe here and waits for a receipt from {to}")],
                },
            };
            let waiting = own_bundles(spool)?
                .into_iter()
                .filter(|(b, own)| b.id == id || own.2.is_some() && own.2 == note.5)
                .count();
            lines.push(format!("{waiting} of its {} bundles wait in this spool", note.6));
            let events = self.trace(&id.to_string(), watch)?;
            let of = |what: &'static str| events.iter().filter(move |event| event.what == what);
            let sticks: Vec<&str> = of("written").map(|event| &*event.via).collect();
            let takers: BTreeSet<&str> = of("carried").map(|event| &*event.who).collect();
            for taker in &takers {
                lines.push(format!("{taker} has taken a copy over a link"));
            }
            if !sticks.is_empty() {
                lines.push(format!("copies are on {}", sticks.join(", ")));
            } else if takers.is_empty() {
                lines.push("no medium has carried it yet: postrider toss STICK".into());
            }
            return Ok(lines);
        }
        if let Ok(found) = find_note(spool, space::OPENING, id, "bundle")
            && self.opening(spool)?.aside(spool.held_ms(clock::now())).contains(&found)
        {
            return Ok(vec![
                "it is set aside: this program died twice when it was opened".to_owned(),
                "it is tried again when it comes again after a day; nothing else waits for it"
                    .into(),
            ]);
        }
        if let Some(line) = gone(spool, id)? {
            return Ok(vec![line]);
        }
        let entry = self.live(spool, id)?;
        let row = queued(spool, &*self.home.contacts()?, &entry)?;
        Ok(vec![
            format!("carried for others ({}), to {}", row.class, row.to),
            format!("it expires in {} s unless a receipt frees it before", row.expires_in_s),
        ])
    }

    /// How a message was called back.
    fn called_back(&self, id: BundleId, watch: &dyn Watch) -> Result<String, Failure> {
        let events = self.trace(&id.to_string(), watch)?;
        let newer = events.iter().find(|event| event.what == "superseded");
        Ok(match newer {
            Some(event) => format!("a newer message took its place: {}", event.via),
            None => "you called it back".into(),
        })
    }

    /// How a sent message stands.
    pub fn sent_state(&self, id: &str, watch: &dyn Watch) -> Result<Sent, Failure> {
        let spool = self.spool(watch)?;
        let id = find_note(spool, space::SENT, id, "sent message")?;
        let note = sent_note(spool, id)?;
        let node = NodeId::from_bytes(&note.1).ok();
        let contacts = self.home.contacts()?;
        let to = node.map_or_else(String::new, |to| name_of(&contacts, &to));
        let state = self.state_of(spool, &contacts, id, &note)?;
        Ok(Sent { id: id.to_string(), to, state: state.into(), bytes: note.3, supersedes: None })
    }

    /// How a sent message stands, in one word: never one without the fact.
    pub(super) fn state_of(
        &self,
        spool: &DurableSpool,
        contacts: &Contacts,
        id: BundleId,
        note: &SentNote,
    ) -> Result<&'static str, Failure> {
        let node = NodeId::from_bytes(&note.1).ok();
        let revoked = node.is_some_and(|to| contacts.rosters().revoked_by(&to).is_some());
        Ok(match ended(spool, id)? {
            Some(end) => end.word(),
            None if revoked => "refused",
            None if self.has_left(spool, id)? => "carried",
            None => "saved",
        })
    }

    /// Whether another node has proven to have taken a message; a copy on a stick proves nothing.
    fn has_left(&self, spool: &DurableSpool, id: BundleId) -> Result<bool, Failure> {
        let page = spool.notes(space::EVENT, &id.0, None, PAGE)?;
        for key in &page {
            let note = spool.note(space::EVENT, key)?;
            let note = note.as_deref().and_then(EventNote::read);
            if note.is_some_and(|note| note.1 == "carried") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The bundles behind an id, as routing sees them: one that waits here, or those of a message.
    pub fn rows(&self, id: &str, watch: &dyn Watch) -> Result<Vec<Row>, Failure> {
        let spool = self.spool(watch)?;
        let contacts = self.home.contacts()?;
        let Ok(message) = find_note(spool, space::SENT, id, "message") else {
            return Ok(vec![row_for(spool, &contacts, &self.live(spool, id)?)?]);
        };
        let set = sent_note(spool, message)?.5;
        let own = own_bundles(spool)?.into_iter();
        let own = own.filter(|(b, own)| b.id == message || own.2.is_some() && own.2 == set);
        own.map(|(bundle, _)| row_for(spool, &contacts, &bundle)).collect()
    }

    /// How the node is.
    pub fn status(&self, watch: &dyn Watch) -> Result<Status, Failure> {
        let spool = self.spool(watch)?;
        let stats = spool.stats()?;
        let held_ms = spool.held_ms(clock::now());
        let messages = note_keys(spool, space::MESSAGE)?.len() as u64;
        let read = note_keys(spool, space::READ)?.len() as u64;
        let contacts = self.home.contacts()?;
        let disk_free = self.free_bytes()?;
        let carried = &stats.classes[1..];
        let mut ills = Vec::new();
        let aside = self.opening(spool)?.aside(held_ms).len();
        if aside > 0 {
            let (bundles, them) =
                if aside == 1 { ("bundle is", "it") } else { ("bundles are", "them") };
            ills.push(format!(
                "{aside} {bundles} set aside: this program died twice when it opened {them}"
            ));
        }
        if contacts.damage().0 > 0 {
            ills.push("the contacts file is damaged".to_owned());
        }
        if disk_free < LOW_DISK_BYTES {
            ills.push("the disk is nearly full".to_owned());
        }
        let alarms = self.alarms(watch)?;
        ills.extend(alarms.iter().map(|alarm| format!("ALARM: {alarm}; see postrider doctor")));
        ills.extend(self.roster_ills(&contacts));
        Ok(Status {
            name: self.home.card.name.clone(),
            id: self.home.card.node.to_string(),
            links: Vec::new(),
            out: stats.classes[0].bundles,
            unread: messages.saturating_sub(read),
            carried: carried.iter().map(|share| share.bundles).sum(),
            carried_bytes: carried.iter().map(|share| share.bytes).sum(),
            oldest_s: stats.oldest_held_ms.map_or(0, |ms| held_ms.saturating_sub(ms) / 1000),
            disk_free,
            health: if ills.is_empty() { "ok".to_owned() } else { ills.join("; ") },
            media: Vec::new(),
            ports: Vec::new(),
            bluetooth: None,
            alarms,
            classes: self.class_lines(&stats)?,
        })
    }

    /// What waits here, by class.
    pub(super) fn class_lines(&self, stats: &Stats) -> Result<Vec<ClassLine>, Failure> {
        let quotas = self.quotas(stats)?;
        let line = |class: Class| {
            let share = stats.classes[class as usize];
            let quota = Some(quotas.of(class)).filter(|_| class != Class::Own);
            ClassLine {
                class: class.word().into(),
                bytes: share.bytes,
                bundles: share.bundles,
                counted_bytes: share.counted_bytes,
                quota_bytes: quota.map(|quota| quota.bytes),
                quota_bundles: quota.map(|quota| quota.bundles),
            }
        };
        Ok(Class::ALL.map(line).into())
    }

    /// Ends what has outlived itself, and what a crash left half-sent; sprays again what is due.
    pub(super) fn tidy(&self, spool: &DurableSpool) -> Result<(), Failure> {
        self.renew_rosters(spool)?;
        self.spray_again(spool)?;
        tidy_held(spool)?;
        loop {
            let now = clock::now();
            let expired = spool.expired(now, PAGE)?;
            if expired.is_empty() {
                break;
            }
            let held_ms = spool.held_ms(now);
            let mut changes = Vec::new();
            for id in expired {
                changes.push(Change::Retire { id, why: Why::Expired });
                if spool.note(space::SENT, &id.0)?.is_some() && ended(spool, id)?.is_none() {
                    let end = End::Expired.word().as_bytes().to_vec();
                    changes.push(set_note(space::ENDED, &id.0, end));
                    changes.push(event(&id, held_ms, 5, ("expired", "", "")));
                }
            }
            spool.commit(now, changes)?;
        }
        // We own the spool: what is marked as being sent and is not being sent by this process
        // never will be.
        let begun = {
            // Locked over both: a set is listed before its note and for as long as that stands.
            let sending = lock(&self.sending);
            let mut begun = note_keys(spool, space::SENDING)?;
            begun.retain(|key| !sending.iter().any(|set| set[..] == key[..]));
            // Nor is one that answers a request which still waits: that goes on with it.
            let mut over = Vec::new();
            for key in begun {
                let whose = spool.note(space::SENDING, &key)?.unwrap_or_default();
                if !promise::goes_on(spool, &whose)? {
                    over.push(key);
                }
            }
            over
        };
        if !begun.is_empty() {
            let mut changes: Vec<Change> = Vec::new();
            for (bundle, own) in own_bundles(spool)? {
                if own.set().is_some_and(|set| begun.iter().any(|key| key[..] == set.0)) {
                    changes.push(Change::Retire { id: bundle.id, why: Why::Cancelled });
                }
                if changes.len() >= 1024 {
                    spool.commit(clock::now(), std::mem::take(&mut changes))?;
                }
            }
            for key in &begun {
                changes.push(remove_note(space::SENDING, key));
                let sealed = note_keys_of(spool, space::SEALED, key)?;
                changes.extend(sealed.iter().map(|part| remove_note(space::SEALED, part)));
            }
            spool.commit(clock::now(), changes)?;
        }
        Ok(())
    }

    /// A live bundle by its own id, or the head of a sent message.
    pub(super) fn live(&self, spool: &DurableSpool, digits: &str) -> Result<Entry, Failure> {
        let found = spool.resolve(digits)?;
        let mut live = Vec::new();
        for id in &found {
            live.extend(spool.entry(id)?);
        }
        match (live.len(), found.first()) {
            (1, _) => Ok(live.remove(0)),
            (0, Some(id)) => {
                let how = match spool.seen(id)? {
                    Some(Seen::Retired(why)) => format!("{why:?}").to_lowercase(),
                    _ => "gone".into(),
                };
                Err(Failure::new(
                    FailureKind::Ended,
                    format!("bundle {id} is no longer here: {how}"),
                ))
            }
            (0, None) => Err(Failure::new(
                FailureKind::Unknown,
                format!("no bundle here begins with {digits}"),
            )
            .next("see what waits: postrider queue")),
            _ => Err(Failure::new(
                FailureKind::Usage,
                format!("{} bundles begin with {digits}", live.len()),
            )
            .next("give more digits")),
        }
    }
}

/// Below this a node cannot take much more mail.
const LOW_DISK_BYTES: u64 = 64 << 20;

/// What is known of a message that was sent.
pub(super) fn sent_note(spool: &DurableSpool, id: BundleId) -> Result<SentNote, Failure> {
    spool.note(space::SENT, &id.0)?.as_deref().and_then(SentNote::read).ok_or_else(|| {
        Failure::new(FailureKind::Damaged, format!("what is known of {id} cannot be read"))
            .next("postrider spool check says what is damaged")
    })
}

/// How a message that was sent ended, if it has.
pub(super) fn ended(spool: &DurableSpool, id: BundleId) -> Result<Option<End>, Failure> {
    Ok(spool.note(space::ENDED, &id.0)?.as_deref().and_then(End::from_note))
}

/// What became of a bundle that was carried, when nothing else is called so.
fn gone(spool: &DurableSpool, digits: &str) -> Result<Option<String>, Failure> {
    let found = spool.resolve(digits)?;
    let [id] = found[..] else { return Ok(None) };
    Ok(match spool.seen(&id)? {
        Some(Seen::Retired(Why::Dropped)) => Some(
            "it was carried for others and dropped: its class was over its quota, and whoever \
             brought it had the largest part; it is not taken again before it would have expired"
                .to_owned(),
        ),
        _ => None,
    })
}

/// All own bundles with what their sender noted.
pub(super) fn own_bundles(spool: &DurableSpool) -> Result<Vec<(Entry, OwnNote)>, Failure> {
    let mut found = Vec::new();
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = spool.page(Queue::Class(Class::Own), cursor, PAGE)?;
        let done = page.len() < PAGE;
        cursor = page.last().map(Entry::cursor);
        for entry in page {
            let envelope = spool.envelope(&entry.id)?;
            let own = envelope.and_then(|e| e.own).as_deref().and_then(OwnNote::read);
            found.extend(own.map(|own| (entry, own)));
        }
        if done {
            return Ok(found);
        }
    }
}

/// A row of the queue.
pub(super) fn queued(
    spool: &DurableSpool,
    contacts: &Contacts,
    entry: &Entry,
) -> Result<Queued, Failure> {
    let envelope = spool.envelope(&entry.id)?;
    let head = envelope.as_ref().and_then(|e| Head::decode(&e.head).ok());
    let own = envelope.as_ref().and_then(|e| e.own.as_deref()).and_then(OwnNote::read);
    let message = match own.as_ref().and_then(OwnNote::set) {
        Some(set) => spool.note(space::SENT_SET, &set.0)?.map(|id| hex(&id)),
        None => own.as_ref().map(|_| entry.id.to_string()),
    };
    let sent_to = match &message {
        Some(id) => {
            let id = find_note(spool, space::SENT, id, "message").ok();
            let note = id.map(|id| spool.note(space::SENT, &id.0)).transpose()?.flatten();
            note.as_deref().and_then(SentNote::read).and_then(|n| NodeId::from_bytes(&n.1).ok())
        }
        None => None,
    };
    let to = match (sent_to, head.as_ref().map(|head| head.header().destination)) {
        (Some(node), _) | (None, Some(Destination::Node(node))) => name_of(contacts, &node),
        (None, Some(Destination::Tag(tag))) => head
            .as_ref()
            .and_then(|head| tagged(contacts, head.header()))
            .map_or_else(|| format!("tag {}", hex(&tag)), |contact| contact.name.clone()),
        (None, Some(Destination::Group(group))) => match contacts.rosters().of_group(&group) {
            Some(followed) => format!("who follows {}", followed.name),
            None => format!("group {}", hex(&group)),
        },
        (None, None) => String::new(),
    };
    let for_whom = match (sent_to, head.as_ref().map(|head| head.header().destination)) {
        (Some(node), _) | (None, Some(Destination::Node(node))) => Some(node),
        _ => None,
    };
    let revoked = for_whom.and_then(|node| contacts.rosters().revoked_by(&node));
    let held_ms = spool.held_ms(clock::now());
    Ok(Queued {
        id: entry.id.to_string(),
        message,
        to,
        nice: entry.summary.nice,
        bytes: entry.summary.length,
        age_s: entry.age_s(held_ms),
        expires_in_s: entry.expires_held_ms().saturating_sub(held_ms) / 1000,
        state: if revoked.is_some() { "refused" } else { "saved" }.into(),
        tokens: entry.hop.tokens,
        reason: match revoked {
            Some(roster) => format!("stays here: the key it is for is revoked by {roster}"),
            None if own.is_some() => "waits for a receipt".into(),
            None => "carried for others".into(),
        },
        class: entry.class.word().into(),
        level: entry.hop.level,
        eta_s: None,
        parts: None,
    })
}
